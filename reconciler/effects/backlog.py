"""What stands in the outbox: how much of it has not arrived, and what became of one run's effects.

Takes a connection inside a transaction; gives counts and lists, for reports. Nothing is locked.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from psycopg import Connection


class Backlog(msgspec.Struct, frozen=True):
    """What has not arrived, of all runs. `oldest_at` is since when the oldest waits; None where none does."""

    waiting: int
    dead: int
    oldest_at: datetime | None
    next_attempt_at: datetime | None


def read_backlog(connection: Connection[Any]) -> Backlog:
    """How much waits, and how much was given up."""
    row = connection.execute(
        """
        SELECT count(*) FILTER (WHERE state = 'pending'), count(*) FILTER (WHERE state = 'dead'),
               min(at) FILTER (WHERE state = 'pending'), min(next_attempt_at) FILTER (WHERE state = 'pending')
          FROM reconciler.outbox
         WHERE state IN ('pending', 'dead')
        """
    ).fetchone()
    assert row is not None
    return Backlog(*row)


class Undelivered(msgspec.Struct, frozen=True):
    """Effects that have not arrived and are alike: of one kind, for one target, for one reason."""

    state: str
    kind: str
    target: str
    error: str | None
    number: int
    oldest_at: datetime


def read_undelivered(connection: Connection[Any], limit: int) -> list[Undelivered]:
    """What waits and what was given up, the dead first, then the oldest; at most `limit` groups."""
    found = connection.execute(
        """
        SELECT state, kind, target, last_error, count(*), min(at)
          FROM reconciler.outbox WHERE state IN ('pending', 'dead')
         GROUP BY state, kind, target, last_error
         ORDER BY state, min(at)
         LIMIT %s
        """,
        (limit,),
    )
    return [Undelivered(*row) for row in found]


def count_of_run(connection: Connection[Any], run_id: str) -> dict[str, int]:
    """How many effects of a run are in each state."""
    found = connection.execute(
        "SELECT state, count(*) FROM reconciler.outbox WHERE run_id = %s GROUP BY state", (run_id,)
    )
    return dict(found.fetchall())
