"""Makes the one connection of a run, safe behind a transaction-mode pooler, within a time that is kept.

Takes DatabaseAddresses (`url.read_environment`); gives a DatabaseConnection: a psycopg connection in
autocommit mode without prepared statements, proven by one query. Raises Unreachable with one sentence about all that
was tried.

Nothing of the session is relied on: no `options`, no SET, which a pooler refuses or hands to the next client. What a
transaction needs it sets for itself (`transaction`).

libpq is polled here directly, because its own connect_timeout counts whole seconds per host, two at least, and its name
look-ups know no timeout and cannot be interrupted. And a pooler lets a client in while its database is down, so a
connection counts only when it has answered a query.
"""

from __future__ import annotations

import selectors
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from reconciler.database.driver import psycopg  # isort: skip  before any other import of it
from psycopg import pq
from psycopg.abc import PQGen
from psycopg.rows import TupleRow, tuple_row

from reconciler.database.address import DatabaseAddress, Host
from reconciler.database.connect_failure import Failure, explain, no_answer, not_resolved
from reconciler.errors import Unreachable

__all__ = ["DatabaseConnection", "NotConnected", "connect", "is_rehearsing", "only_connection", "open_database"]

T = TypeVar("T")

_GRACE_S = (1.0, 10.0)
"""How much longer than the server's statement_timeout the client waits before it gives the connection up: as long
again, within these limits."""

_LONGEST_PAUSE_S = 15.0

_PARAMETERS = {
    "client_encoding": "UTF8",
    # A peer that is gone without a word is noticed within a minute, not after the system's two hours.
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "60000",
    "gssencmode": "disable",
}


# The privilege is asked for here, because a statement that named the function without it would fail as a whole.
_PROOF = b"""
SELECT pg_catalog.pg_is_in_recovery(),
       pg_catalog.has_function_privilege(pg_catalog.to_regprocedure('pg_catalog.pg_control_system()'), 'EXECUTE')
"""


class DatabaseConnection(psycopg.Connection[TupleRow]):
    """A psycopg connection that knows its address and does not wait for ever.

    `statement_timeout_ms` is what transactions set in the server; where the server is silent for that long and some
    more, the network is at fault and the connection is given up (0: never). `notes` are sentences for the user.
    `may_identify`: whether the role may ask the server which one it is (everybody may, unless somebody has revoked it).
    """

    address: DatabaseAddress
    notes: tuple[str, ...] = ()
    statement_timeout_ms: int = 0
    is_replica: bool = False
    may_identify: bool = False
    is_rehearsal: bool = False
    """Whether everything is inside one transaction that will be rolled back (see `rehearsal`)."""

    @property
    def search_path(self) -> tuple[str, ...]:
        """The schemas that the address names, for SET LOCAL; empty where it names none."""
        return self.address.search_path

    def wait(self, gen: PQGen[T], *args: Any, **kwargs: Any) -> T:
        """psycopg's wait, which Ctrl-C and signals interrupt, with an end to the server's silence."""
        if not self.statement_timeout_ms:
            return super().wait(gen, *args, **kwargs)
        return super().wait(self._unless_silent(gen, _silence_s(self.statement_timeout_ms)), *args, **kwargs)

    def _unless_silent(self, gen: PQGen[T], limit_s: float) -> PQGen[T]:
        deadline = time.monotonic() + limit_s
        try:
            waiting_for = next(gen)
            while True:
                ready = yield waiting_for
                if ready:
                    deadline = time.monotonic() + limit_s
                elif time.monotonic() > deadline:
                    self.pgconn.finish()
                    raise psycopg.OperationalError(f"no answer for {limit_s:.0f} s")
                waiting_for = gen.send(ready)
        except StopIteration as end:
            result: T = end.value
            return result


def _silence_s(statement_timeout_ms: int) -> float:
    """For how many seconds a server may say nothing at all."""
    shortest, longest = _GRACE_S
    statement_s = statement_timeout_ms / 1000
    return statement_s + min(max(statement_s, shortest), longest)


class NotConnected(Unreachable):
    """One address, with all of its hosts, could not be connected to; `failure` says why."""

    def __init__(self, address: DatabaseAddress, failure: Failure) -> None:
        self.address = address
        self.failure = failure
        super().__init__(f"{self.clause}. {failure.advice}".strip())

    @property
    def clause(self) -> str:
        """Which address, from which variable, and why not."""
        return f"{self.address.safe} ({self.address.variable}): {self.failure.reason}"


_rehearsed: list[DatabaseConnection] = []


@contextmanager
def only_connection(connection: DatabaseConnection) -> Iterator[None]:
    """Whoever asks for a connection within the block, in whichever thread, is given this one.

    It stands at the one place where connections are made, so that nothing can be written past a rehearsal.
    """
    _rehearsed.append(connection)
    try:
        yield
    finally:
        _rehearsed.remove(connection)


def is_rehearsing() -> bool:
    """Whether a block of `only_connection` is on: what is done is rolled back, and nobody is to be told of it."""
    return bool(_rehearsed)


def open_database(
    addresses: Sequence[DatabaseAddress],
    *,
    timeout_s: float = 10.0,
    wait_s: float = 0.0,
    statement_timeout_ms: int = 60_000,
    application_name: str = "reconcile",
    on_wait: Callable[[str], None] | None = None,
) -> DatabaseConnection:
    """A connection to the first of the addresses that answers.

    Each round of trying takes `timeout_s` seconds at most; with `wait_s` there are rounds for that long and no longer
    (a shorter `wait_s` ends the first round, too), else one.
    `on_wait` gets a sentence before each pause. What waiting cannot cure (a wrong password, an unknown database) raises
    at once. An address is passed over only where it does not answer; one that answers "no" is not, except that a
    fallback's "no" leaves the others their chances.
    """
    started = time.monotonic()
    deadline = started + (wait_s if wait_s > 0 else timeout_s)
    pause = 1.0
    while True:
        failed: list[NotConnected] = []
        round_end = min(time.monotonic() + timeout_s, deadline)
        for number, address in enumerate(addresses):
            share = (round_end - time.monotonic()) / (len(addresses) - number)
            try:
                connection = connect(
                    address,
                    connect_timeout_s=share,
                    statement_timeout_ms=statement_timeout_ms,
                    application_name=application_name,
                )
            except NotConnected as failure:
                failed.append(failure)
                if not failed[0].failure.curable:
                    break
            else:
                instead = [f"{failure.clause}; {address.variable} is used instead" for failure in failed]
                connection.notes = (*addresses[0].notes, *(address.notes if number else ()), *instead)
                return connection
        left = deadline - time.monotonic() - pause if wait_s > 0 else 0.0
        if left <= 0 or not failed[0].failure.curable:
            raise Unreachable(_sentence(failed, time.monotonic() - started, asked_to_wait=wait_s > 0))
        if on_wait:
            reasons = "; ".join(failure.clause for failure in failed)
            on_wait(f"{reasons}. Trying again in {pause:.0f} s, for {_duration(left + pause)} more")
        time.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE_S)


def connect(
    address: DatabaseAddress, *, connect_timeout_s: float, statement_timeout_ms: int, application_name: str
) -> DatabaseConnection:
    """Try the hosts of one address, and all that their names resolve to, in `connect_timeout_s` seconds altogether.

    Raises NotConnected. The time is shared out, so that a host that is silent leaves some to those after it.
    While something is rehearsed, the rehearsal's connection is the only one there is.
    """
    if _rehearsed:
        return _rehearsed[-1]
    limit = min(connect_timeout_s, address.connect_timeout_s or connect_timeout_s)
    deadline = time.monotonic() + limit
    hosts: list[Host | None] = list(address.hosts) or [None]
    failures: list[Failure] = []
    while hosts:
        host = hosts.pop(0)
        until = time.monotonic() + (deadline - time.monotonic()) / (1 + len(hosts))
        if host and not host.address and not host.is_socket:
            found = _resolve(host, until)
            if isinstance(found, Failure):
                failures.append(found)
            else:
                hosts[:0] = found
            continue
        made = _attempt(address, host, until, application_name)
        if isinstance(made, DatabaseConnection):
            made.statement_timeout_ms = statement_timeout_ms
            return made
        failures.append(made)
        if not (made.curable or made.other_host):
            break
    raise NotConnected(address, _most_telling(failures))


def _attempt(
    address: DatabaseAddress, host: Host | None, deadline: float, application_name: str
) -> DatabaseConnection | Failure:
    """One connection to one socket address, proven by a query; a Failure where it does not come about in time."""
    started = time.monotonic()
    conninfo = address.conninfo(host, application_name=application_name, **_PARAMETERS)
    pgconn = pq.PGconn.connect_start(conninfo.encode())
    connection = None
    try:
        for events in _connecting(pgconn):
            if not _wait(pgconn.socket, events, deadline):
                return no_answer(host, time.monotonic() - started)
        if pgconn.status != pq.ConnStatus.OK:
            return explain(pgconn.error_message.decode(errors="replace"), address, host)
        pgconn.nonblocking = 1
        answer = _ask(pgconn, _PROOF, deadline)
        if answer is None:
            return no_answer(host, time.monotonic() - started)
        if answer.status != pq.ExecStatus.TUPLES_OK:
            return explain(answer.error_message.decode(errors="replace"), address, host)
        connection = DatabaseConnection(pgconn, tuple_row)
        connection.address = address
        connection.is_replica = answer.get_value(0, 0) == b"t"
        connection.may_identify = answer.get_value(0, 1) == b"t"
        connection.prepare_threshold = None
        connection.autocommit = True
        return connection
    except psycopg.OperationalError as error:  # the server went between its welcome and its answer
        return explain(str(error), address, host)
    finally:
        if connection is None:
            pgconn.finish()


def _connecting(pgconn: pq.abc.PGconn) -> Generator[int, None, None]:
    """Drive libpq; yields the events to wait for, and ends where the connection is made or has failed."""
    while pgconn.status != pq.ConnStatus.BAD:
        match pgconn.connect_poll():
            case pq.PollingStatus.READING:
                yield selectors.EVENT_READ
            case pq.PollingStatus.WRITING:
                yield selectors.EVENT_WRITE
            case _:
                return


def _ask(pgconn: pq.abc.PGconn, query: bytes, deadline: float) -> pq.abc.PGresult | None:
    """The result of one statement, None where it does not come in time."""
    pgconn.send_query(query)
    while pgconn.flush():
        if not _wait(pgconn.socket, selectors.EVENT_WRITE, deadline):
            return None
    answer = None
    while True:
        while pgconn.is_busy():
            if not _wait(pgconn.socket, selectors.EVENT_READ, deadline):
                return None
            pgconn.consume_input()
        result = pgconn.get_result()
        if result is None:
            return answer
        answer = answer or result


def _wait(fileno: int, events: int, deadline: float) -> bool:
    with selectors.DefaultSelector() as selector:
        selector.register(fileno, events)
        return bool(selector.select(max(deadline - time.monotonic(), 0.0)))


def _resolve(host: Host, deadline: float) -> list[Host] | Failure:
    """The host once per address of its name.

    In a thread of its own, because getaddrinfo can be neither limited nor interrupted.
    """
    if host.name.replace(".", "").isdigit() or ":" in host.name:
        return [Host(host.name, host.port, host.name)]
    import socket  # most addresses are numbers, or a name for which libpq has one

    answers: list[list[Host] | Failure] = []

    def look_up() -> None:
        try:
            found = socket.getaddrinfo(host.name, host.port, type=socket.SOCK_STREAM)
            addresses = dict.fromkeys(str(entry[4][0]) for entry in found)
            answers.append([Host(host.name, host.port, address) for address in addresses])
        except (OSError, UnicodeError) as error:
            answers.append(not_resolved(host, getattr(error, "strerror", None) or "not a host's name"))

    thread = threading.Thread(target=look_up, daemon=True)
    thread.start()
    thread.join(max(deadline - time.monotonic(), 0.0))
    return answers[0] if answers else not_resolved(host, "the name server did not answer in time")


def _most_telling(failures: Sequence[Failure]) -> Failure:
    """One Failure for several: a plain "no" before silence; else all reasons, the last one's advice."""
    for failure in failures:
        if not failure.curable:
            return failure
    reasons = list(dict.fromkeys(failure.reason for failure in failures))
    return Failure(", and ".join(reasons), failures[-1].advice)


def _sentence(failed: Sequence[NotConnected], seconds: float, *, asked_to_wait: bool) -> str:
    tried = "; ".join(failure.clause for failure in failed)
    advice = " ".join(dict.fromkeys(failure.failure.advice for failure in failed if failure.failure.advice))
    if not failed[0].failure.curable:
        return f"the database cannot be used: {tried}. {advice}".strip()
    waited = f" after {_duration(seconds)} of trying" if asked_to_wait else ""
    later = "" if asked_to_wait else "With --wait 10m it is tried again until it answers."
    return " ".join(filter(None, (f"the database cannot be reached{waited}: {tried}.", advice, later)))


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
