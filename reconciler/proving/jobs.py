"""The proof that asks BullMQ whether the job of an effect was completed. Counted in one trip for a thousand jobs.

Takes the question and the environment; gives what was seen. The keys (https://docs.bullmq.io, versions 5 and 6): sorted
sets of what is completed and failed for good, and a hash for each job. A job that is in neither and has no hash was
removed once it was done: BullMQ keeps the newest completed ones only. It cannot have failed as long as the queue keeps
more failed jobs than it has.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

from reconciler.effects.redis_client import connected, read_address
from reconciler.errors import UsageProblem
from reconciler.proving.sight import SEEN, Sighting, Target
from reconciler.verify.compiled import JobQuestion

_IN_ONE_TRIP = 1_000
_TIMEOUT_S = 2.0
_COMMANDS_EACH = 3


class JobAsker:
    """One queue of one Redis."""

    def __init__(self, question: JobQuestion, environment: Mapping[str, str] = os.environ) -> None:
        self._question = question
        self._environment = environment

    def ask(self, targets: Sequence[Target], until: float) -> Mapping[int, Sighting]:
        """What has become of each job. One that was not delivered is not looked for."""
        found = {target.number: said for target in targets if (said := _undelivered(target)) is not None}
        to_ask = [target for target in targets if target.number not in found]
        return {**found, **self._look(to_ask, until)} if to_ask else found

    def close(self) -> None:
        """Nothing is kept open."""

    def _look(self, targets: Sequence[Target], until: float) -> Mapping[int, Sighting]:
        # Here, and not above: without an address nothing of it is needed, and it takes 40 ms to import.
        try:
            address = read_address(self._question.variable, self._environment)
        except (LookupError, UsageProblem) as error:
            return dict.fromkeys((target.number for target in targets), Sighting(False, str(error.args[0]), True))
        import redis

        from reconciler.effects.redis_errors import first_line

        timeout_s = min(_TIMEOUT_S, max(until - time.monotonic(), 0.1))
        found: dict[int, Sighting] = {}
        said = "no answer in time"
        try:
            with connected(address, timeout_s) as client:
                for start in range(0, len(targets), _IN_ONE_TRIP):
                    if time.monotonic() > until:
                        break
                    found |= self._of_batch(client, targets[start : start + _IN_ONE_TRIP])
        except (redis.RedisError, redis.exceptions.RedisClusterException, OSError) as error:
            said = first_line(error)
        silent = Sighting(False, f"{address.place}: {said}")
        return {target.number: found.get(target.number, silent) for target in targets}

    def _of_batch(self, client: Any, targets: Sequence[Target]) -> dict[int, Sighting]:
        key = f"{self._question.prefix}:{self._question.queue}"
        with client.pipeline(transaction=False) as pipe:
            pipe.execute_command("ZCARD", f"{key}:failed")
            pipe.execute_command("HGET", f"{key}:meta", "paused")
            for target in targets:
                assert target.job is not None
                pipe.execute_command("ZSCORE", f"{key}:completed", target.job.id)
                pipe.execute_command("ZSCORE", f"{key}:failed", target.job.id)
                pipe.execute_command("HMGET", f"{key}:{target.job.id}", "timestamp", "processedOn", "failedReason")
            failures, paused, *answers = pipe.execute()
        kept = self._question.failures_kept
        told = kept is None or failures < kept
        return {
            target.number: _state(*answers[at : at + _COMMANDS_EACH], told=told, is_paused=paused is not None)
            for at, target in zip(range(0, len(answers), _COMMANDS_EACH), targets, strict=True)
        }


def _undelivered(target: Target) -> Sighting | None:
    job = target.job
    if job is None:
        return Sighting(False, "its job is not in the outbox", final=True)
    if job.state == "delivered":
        return None
    why = f": {job.error}" if job.error else ""
    return Sighting(False, f"the job was not delivered{why}", final=True)


def _state(completed: Any, failed: Any, of_hash: Sequence[Any], *, told: bool, is_paused: bool) -> Sighting:
    timestamp, processed, reason = of_hash
    if completed is not None:
        return SEEN
    if failed is not None:
        return Sighting(False, f"the job has failed: {_line(reason)}", final=True)
    if timestamp is None:
        gone = "the job is gone from its queue, and whether it failed cannot be told"
        return SEEN if told else Sighting(False, gone, final=True)
    if processed is None:
        return Sighting(False, f"the job waits: {'its queue is paused' if is_paused else 'no worker has taken it'}")
    if reason is not None:
        return Sighting(False, f"the job failed, and is tried again: {_line(reason)}")
    return Sighting(False, "the job is not done yet")


def _line(reason: Any) -> str:
    text = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason or "it gave no reason")
    line = (text.strip().splitlines() or ["it gave no reason"])[0]
    return line if len(line) <= 200 else line[:199] + "…"
