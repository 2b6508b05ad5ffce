"""Delivers what stands in the outbox: right after an apply, by the next run, or by `reconcile deliver`.

Takes a connection outside of a transaction, the policy and the environment; gives what was delivered and what was not.
Each batch is one transaction, which holds the entries' locks no longer than the policy's timeout: claim, send, mark,
commit. Whoever dies in between has delivered, or not; the entries are free again at once, and are sent again.

An endpoint that fails is left alone for the rest of the pass, so that it costs one timeout, whatever waits for it.
Endpoints of one batch are served at the same time.
"""

from __future__ import annotations

import os
import time
from collections.abc import Coroutine, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import msgspec

from reconciler.database.connection import DatabaseConnection
from reconciler.database.transaction import begin_read_only, begin_read_write
from reconciler.effects.backlog import Backlog, Undelivered, read_backlog, read_undelivered
from reconciler.effects.delivery_policy import DeliveryPolicy
from reconciler.effects.outbox import Entry, Result, Retries, Which, claim, mark, revive
from reconciler.effects.payloads import BULLMQ
from reconciler.errors import NotAsExpected, Problem, UsageProblem
from reconciler.fields import seconds

_BATCH = 1_000
"""Entries that are sent and marked together."""


class Failure(msgspec.Struct, frozen=True):
    """Why so many entries of one kind and target were not delivered in this pass."""

    kind: str
    target: str
    error: str
    number: int


class Delivered(msgspec.Struct, frozen=True):
    """What a pass has done. `delivered` counts entries, those of other runs included. `broken` are the endpoints that
    did not answer, or were left alone.
    """

    delivered: int
    superseded: int
    failures: tuple[Failure, ...]
    broken: frozenset[str] = frozenset()


class Pass(msgspec.Struct, frozen=True, kw_only=True):
    """Which entries a pass is for.

    `run`: those of this run come first. `eager`: also those whose next attempt is not due, unless they were refused.
    `limit`: at most so many attempts. `at_most_s`: no batch is begun after so many seconds. `broken`: endpoints that
    have just not answered, and are left alone.
    """

    run: str | None = None
    eager: bool = False
    limit: int | None = None
    at_most_s: float | None = None
    broken: frozenset[str] = frozenset()


def deliver(
    connection: DatabaseConnection,
    policy: DeliveryPolicy,
    what: Pass,
    environment: Mapping[str, str] = os.environ,
) -> Delivered:
    """Deliver until nothing is left that can be. Raises only what the database does."""
    retries = Retries(
        refusals=policy.attempts,
        backoff_s=seconds(policy.backoff),
        longest_backoff_s=seconds(policy.longest_backoff),
        give_up_after_s=seconds(policy.give_up_after),
    )
    started = time.monotonic()
    tally = _Tally(what.broken)
    with _Senders(environment, seconds(policy.timeout)) as senders:
        while what.at_most_s is None or time.monotonic() - started < what.at_most_s:
            left = _BATCH if what.limit is None else min(_BATCH, what.limit - tally.attempts)
            if left <= 0:
                break
            which = Which(left, what.run, what.eager, tuple(tally.alive - tally.broken), tuple(tally.broken))
            with begin_read_write(connection, doing="delivering effects"):
                claimed = claim(connection, which)
                results = senders.send(claimed.entries) if claimed.entries else []
                if results:
                    mark(connection, results, retries)
            tally.add(results, claimed.superseded)
            if not claimed.entries and not claimed.superseded:
                break
    return tally.result()


class Report(msgspec.Struct, frozen=True):
    """What `reconcile deliver` has done, and what has not arrived, in at most `_LISTED` groups."""

    delivered: Delivered
    revived: int
    backlog: Backlog
    undelivered: tuple[Undelivered, ...]


_LISTED = 50


def deliver_all(
    connection: DatabaseConnection, policy: DeliveryPolicy, *, limit: int | None, retry_dead: bool
) -> Report:
    """Deliver what waits, whether or not its next attempt is due, unless it was refused; first revive the dead."""
    revived = 0
    with begin_read_write(connection, doing="looking into the outbox"):
        found = connection.execute("SELECT to_regclass('reconciler.outbox') IS NOT NULL").fetchone()
        if found is None or not found[0]:
            raise NotAsExpected([Problem("there is no ledger", None, "run `reconcile init` once")])
        if retry_dead:
            revived = revive(connection)
    delivered = deliver(connection, policy, Pass(eager=True, limit=limit))
    with begin_read_only(connection, doing="looking into the outbox"):
        undelivered = read_undelivered(connection, _LISTED)
        return Report(delivered, revived, read_backlog(connection), tuple(undelivered))


class _Tally:
    """What a pass has seen so far."""

    def __init__(self, broken: frozenset[str]) -> None:
        self.attempts = 0
        self.alive: set[str] = set()
        self.broken = set(broken)
        self._delivered = 0
        self._superseded = 0
        self._failures: dict[tuple[str, str, str], int] = {}

    def add(self, results: Sequence[Result], superseded: int) -> None:
        """The results of one batch."""
        self.attempts += len(results)
        self._superseded += superseded
        for result in results:
            entry = result.entry
            if result.error is None:
                self._delivered += 1
                self.alive.add(entry.endpoint)
                continue
            if not result.refused:
                self.broken.add(entry.endpoint)
            what = (entry.kind, entry.target, result.error)
            self._failures[what] = self._failures.get(what, 0) + 1

    def result(self) -> Delivered:
        """The sum."""
        failures = tuple(Failure(*what, number) for what, number in sorted(self._failures.items()))
        return Delivered(self._delivered, self._superseded, failures, frozenset(self.broken))


class _Senders:
    """One sender for each endpoint, made when it is first needed, and closed at the end."""

    def __init__(self, environment: Mapping[str, str], timeout_s: int) -> None:
        self._environment = environment
        self._timeout_s = timeout_s
        self._runner: Any = None
        self._redis: dict[str, Any] = {}
        self._webhooks: dict[str, Any] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._runner is not None:
            try:
                for sender in self._redis.values():
                    self._runner.run(sender.close())
            finally:
                self._runner.close()

    def send(self, entries: Sequence[Entry]) -> list[Result]:
        """Send the entries, each to its endpoint, all endpoints at once. Those not tried are left out."""
        by_endpoint: dict[str, list[Entry]] = {}
        for entry in entries:
            by_endpoint.setdefault(entry.endpoint, []).append(entry)
        to_webhooks = {name: of_one for name, of_one in by_endpoint.items() if of_one[0].kind == "webhook"}
        to_redis = {name: of_one for name, of_one in by_endpoint.items() if name not in to_webhooks}
        for url, of_url in to_webhooks.items():
            self._webhook(url).start(of_url)
        results = self._send_to_redis(to_redis) if to_redis else []
        for url in to_webhooks:
            results += self._webhook(url).results()
        return results

    def _webhook(self, url: str) -> Any:
        from reconciler.effects.webhook import WebhookDelivery

        if url not in self._webhooks:
            self._webhooks[url] = WebhookDelivery(url, self._environment, self._timeout_s)
        return self._webhooks[url]

    def _send_to_redis(self, by_endpoint: Mapping[str, list[Entry]]) -> list[Result]:
        from reconciler.effects.redis_client import read_address

        results: list[Result] = []
        ready = []
        for endpoint, entries in by_endpoint.items():
            try:
                if endpoint not in self._redis:
                    address = read_address(endpoint.removeprefix(BULLMQ), self._environment)
                    # Not before an address is there: the client takes 40 ms to import, a fifth of a whole run.
                    from reconciler.effects.redis_delivery import RedisDelivery

                    self._redis[endpoint] = RedisDelivery(address, self._timeout_s)
            except (LookupError, UsageProblem) as error:
                said = error.args[0]
                results += [Result(entry, said) for entry in entries]
            else:
                ready.append(self._redis[endpoint].send(entries))
        return results + self._all_at_once(ready) if ready else results

    def _all_at_once(self, sending: Sequence[Coroutine[Any, Any, list[Result]]]) -> list[Result]:
        import asyncio

        async def gathered() -> list[Result]:
            return [result for sent in await asyncio.gather(*sending) for result in sent]

        self._runner = self._runner or asyncio.Runner()
        results: list[Result] = self._runner.run(gathered())
        return results
