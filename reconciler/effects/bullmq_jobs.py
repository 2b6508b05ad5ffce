"""Adds jobs to a BullMQ queue, through BullMQ's own Python package, so that its workers in Node take them.

Takes an asynchronous client of redis-py and entries for one queue; gives an error or None for each. All jobs of a call
travel in one pipeline. A job's id is the effect's: where the job is there already, BullMQ adds nothing.

The package is an extra (`reconcile[bullmq]`), and must be of its 2.x line. That is the one which writes what BullMQ 5
reads, and 6 reads it as well. 3.x puts jobs where a paused queue of BullMQ 5 loses them when it is resumed.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from typing import Any

import redis

from reconciler.canonical import to_text
from reconciler.effects.outbox import Entry
from reconciler.effects.redis_errors import is_about_the_server

_INSTALL = "pip install 'reconcile[bullmq]'"

DEFAULT_OPTIONS: dict[str, Any] = {
    "attempts": 3,
    "backoff": {"type": "exponential", "delay": 1000},
    # Kept for a while, so that a repeat is known to be one, and not for ever, so that they do not fill Redis.
    "removeOnComplete": {"age": 86_400, "count": 1_000},
    "removeOnFail": {"count": 500},
}
"""What a job is added with, unless the schema says otherwise."""


_REFUSALS = (redis.ResponseError, TypeError, ValueError, OverflowError)
"""What adding a job may end with that is about the job; the last three before anything is sent."""


class BullmqMissing(redis.ConnectionError):
    """The package is not there, or of another line: nothing can be added until somebody installs it."""


async def add_jobs(client: Any, prefix: str, queue: str, entries: Sequence[Entry]) -> list[Exception | None]:
    """Add a job for each entry. Raises what concerns the server as a whole.

    Where a pipeline fails over one of its jobs, each is added on its own, to learn which it is.
    """
    jobs = [
        {
            "name": entry.payload["job"],
            "data": _plain(entry.payload["data"]),
            "opts": {**DEFAULT_OPTIONS, **_plain(entry.payload["options"]), "jobId": entry.id},
        }
        for entry in entries
    ]
    bullmq_queue = load_package().Queue(queue, {"connection": client, "prefix": prefix})
    try:
        return [_refusal(added.id) for added in await bullmq_queue.addBulk(jobs)]
    except _REFUSALS as error:
        if is_about_the_server(error):
            raise
        if len(jobs) == 1:
            return [error]
    return [await _error_of_adding(bullmq_queue, job) for job in jobs]


async def _error_of_adding(queue: Any, job: dict[str, Any]) -> Exception | None:
    try:
        [added] = await queue.addBulk([job])
    except _REFUSALS as error:
        if is_about_the_server(error):
            raise
        return error
    return _refusal(added.id)


def _refusal(id: Any) -> Exception | None:
    """BullMQ's script gives the job's id, or a negative number for why it was not added."""
    return redis.ResponseError(f"BullMQ refuses the job, with code {id}") if isinstance(id, int) and id < 0 else None


def _plain(value: Any) -> Any:
    """The same JSON with floats, which is what JavaScript makes of it anyway: the package knows no Decimal."""
    return json.loads(to_text(value))


def load_package() -> Any:
    """The package, imported. Raises BullmqMissing."""
    try:
        package = importlib.import_module("bullmq")
    except ImportError:
        raise BullmqMissing(f"the Python package bullmq is not installed: {_INSTALL}") from None
    if not str(package.__version__).startswith("2."):
        found = f"the Python package bullmq has version {package.__version__}"
        raise BullmqMissing(f"{found}, whose jobs a paused queue of BullMQ 5 loses: {_INSTALL}")
    return package
