"""Jobs that are stuck in BullMQ queues, put there and taken away, and the jobs that effects have added.

Takes a Redis client and names; writes what BullMQ's own workers would have left there (`bullmq_queues` tells of the
keys). It is for servers of a drill's or a test's own: nothing else may write into a queue behind BullMQ's back.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

__all__ = ["drain", "fail", "job_of", "open_queues", "wait"]

PREFIX = "bull"
_LONGEST_EVENTS = 10_000
_STATES = ("wait", "paused", "active", "failed", "delayed", "prioritized")


def open_queues(client: Any, queues: Iterable[str]) -> None:
    """Make each queue exist, as BullMQ does when a queue or a worker is first opened."""
    for queue in queues:
        client.hset(f"{PREFIX}:{queue}:meta", "opts.maxLenEvents", _LONGEST_EVENTS)


def wait(client: Any, queue: str, jobs: int, seconds: float = 0) -> None:
    """So many jobs that have waited in the queue for so long."""
    stamp = _ago(seconds)
    with client.pipeline(transaction=False) as pipe:
        for number in range(jobs):
            pipe.hset(f"{PREFIX}:{queue}:waiting-{stamp}-{number}", "timestamp", stamp)
            pipe.lpush(f"{PREFIX}:{queue}:wait", f"waiting-{stamp}-{number}")
        pipe.execute()


def fail(client: Any, queue: str, jobs: int, seconds: float = 60) -> None:
    """So many jobs that failed in the queue so long ago."""
    stamp = _ago(seconds)
    client.zadd(f"{PREFIX}:{queue}:failed", {f"failed-{stamp}-{number}": stamp for number in range(jobs)})


def drain(client: Any, queue: str) -> None:
    """Take every job out of the queue, as somebody does who has looked at those that were stuck."""
    client.delete(*(f"{PREFIX}:{queue}:{state}" for state in _STATES))


def job_of(client: Any, queue: str, id: str) -> dict[str, str] | None:
    """The job with this id as it lies in Redis, whatever the queue's prefix is; None where there is none."""
    for key in client.scan_iter(match=f"*:{queue}:{id}", count=1000):
        found: dict[str, str] = client.hgetall(key)
        return found
    return None


def _ago(seconds: float) -> int:
    return int(1000 * (time.time() - seconds))
