"""BullMQ's queues as they lie in Redis, counted in two trips without BullMQ's own library, which has no such call.

Takes a Redis client and the queues' names; gives a `Queue` each. The keys (https://docs.bullmq.io, versions 5 and 6): a
list of what waits (pushed on the left, taken on the right), one of what a paused queue keeps back, sorted sets of what
is prioritized, delayed, and failed (scored by when, in milliseconds), and a hash for each job, with its `timestamp`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

_LOOKED_AT = 500
"""Prioritized jobs whose age is looked at: they lie in order of priority, so the oldest may be anywhere."""


class Queue(msgspec.Struct, frozen=True):
    """One queue: jobs by state, and for how many seconds the oldest of the waiting ones has waited (None: none waits).

    `failed` counts those of the last seconds that were asked for, or all.
    """

    name: str
    exists: bool
    waiting: int
    active: int
    failed: int
    delayed: int
    oldest_s: float | None
    is_paused: bool


def read_queues(client: Any, names: Sequence[str], prefix: str, failed_within_s: int | None) -> list[Queue]:
    """The queues, in two trips: one for the counts, one for the times of those that may be the oldest."""
    since = "-inf" if failed_within_s is None else f"{1000 * (time.time() - failed_within_s):.0f}"
    counts = [_count(f"{prefix}:{name}", since) for name in names]
    answers = _in_one_trip(client, [command for commands in counts for command in commands])
    each = len(answers) // len(names) if names else 0
    found = [answers[index * each : index * each + each] for index in range(len(names))]
    oldest = _oldest(client, [f"{prefix}:{name}" for name in names], [[*of[8], *of[9], *of[10]] for of in found])
    return [
        Queue(
            name,
            exists=bool(exists),
            waiting=wait + paused + prioritized,
            active=active,
            failed=failed,
            delayed=delayed,
            oldest_s=age,
            is_paused=is_paused is not None,
        )
        for name, (exists, wait, paused, prioritized, active, failed, delayed, is_paused, *_), age in zip(
            names, found, oldest, strict=True
        )
    ]


_Command = tuple[str | int, ...]


def _count(key: str, since: str) -> list[_Command]:
    """What is asked of one queue. It exists from when its first Queue object writes `meta`; workers write others."""
    return [
        ("EXISTS", *(f"{key}:{part}" for part in ("meta", "id", "events", "wait", "active", "completed", "failed"))),
        ("LLEN", f"{key}:wait"),
        ("LLEN", f"{key}:paused"),
        ("ZCARD", f"{key}:prioritized"),
        ("LLEN", f"{key}:active"),
        ("ZCOUNT", f"{key}:failed", since, "+inf"),
        ("ZCARD", f"{key}:delayed"),
        ("HGET", f"{key}:meta", "paused"),
        ("LRANGE", f"{key}:wait", -1, -1),
        ("LRANGE", f"{key}:paused", -1, -1),
        ("ZRANGE", f"{key}:prioritized", 0, _LOOKED_AT - 1),
    ]


def _oldest(client: Any, keys: Sequence[str], candidates: Sequence[Sequence[Any]]) -> list[float | None]:
    """For each queue the age of the oldest of its candidates, in seconds. A job that is gone by now has none."""
    asked = [(key, job) for key, jobs in zip(keys, candidates, strict=True) for job in jobs]
    stamps = _in_one_trip(client, [("HGET", f"{key}:{_text(job)}", "timestamp") for key, job in asked])
    times: dict[str, list[int]] = {}
    for (key, _), stamp in zip(asked, stamps, strict=True):
        if stamp is not None and _text(stamp).isdigit():
            times.setdefault(key, []).append(int(stamp))
    now = time.time()
    return [max(0.0, now - min(times[key]) / 1000) if key in times else None for key in keys]


def _in_one_trip(client: Any, commands: Iterable[_Command]) -> list[Any]:
    with client.pipeline(transaction=False) as pipe:
        for command in commands:
            pipe.execute_command(*command)
        return list(pipe.execute())


def _text(found: bytes | str) -> str:
    return found.decode("utf-8", "replace") if isinstance(found, bytes) else found
