"""How the ledger stands to git: the commit whose state it holds, and the rows that it does not hold that state of yet.

Takes a connection inside a transaction; gives a Sync, and gives and stores the rows that wait. A run of a large project
then needs to look at nothing but what git has changed since, and at those rows (`change_path`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec
from psycopg import Connection

from reconciler.canonical import int_array, text_array
from reconciler.model import RowKey


class Sync(msgspec.Struct, frozen=True):
    """`commit` is the one whose state the ledger holds, `definitions` the id of the schemas that it was read with.

    `rows` and `fields` are those that git names; `full_pass_at` is when a run last looked at all of them.
    `has_matches`: some of it is asked of whatever rows match a `$where`.
    """

    commit: str
    definitions: str
    rows: int
    fields: int
    full_pass_at: datetime
    has_matches: bool = False

    @property
    def as_text(self) -> str:
        """As JSON, for the ledger."""
        return msgspec.json.encode(self).decode()

    def is_full_pass_due(self, every: timedelta, now: datetime) -> bool:
        """Whether every row must be looked at again."""
        return now - self.full_pass_at >= every


_DECODER = msgspec.json.Decoder(Sync)


def read_sync(connection: Connection[Any]) -> Sync | None:
    """What the last run from git has left; None where there is no ledger, no such run, or it does not say."""
    there = connection.execute("SELECT to_regclass('reconciler.pending') IS NOT NULL").fetchone()
    if there is None or not there[0]:
        return None
    found = connection.execute(
        "SELECT sync::text FROM reconciler.run WHERE NOT holds ORDER BY sequence DESC LIMIT 1"
    ).fetchone()
    return _DECODER.decode(found[0]) if found is not None and found[0] is not None else None


def is_large(connection: Connection[Any], rows: int) -> bool:
    """Whether the ledger holds so many rows."""
    found = connection.execute(
        "SELECT count(*) >= %(rows)s FROM (SELECT FROM reconciler.managed_row LIMIT %(rows)s) AS few", {"rows": rows}
    ).fetchone()
    return bool(found and found[0])


def read_pending(connection: Connection[Any]) -> dict[RowKey, list[str]]:
    """The rows that every run must look at, with the files that name them; no file where it is not known."""
    found = connection.execute(
        """
        SELECT table_name, key, files FROM reconciler.pending
        UNION ALL
        SELECT DISTINCT table_name, key, '{}'::text[] FROM reconciler.mark m
         WHERE seen_at IS NOT NULL
           AND NOT EXISTS (SELECT FROM reconciler.pending p WHERE p.table_name = m.table_name AND p.key = m.key)
        """
    )
    return {(table, key): files for table, key, files in found}


def applied_beyond(connection: Connection[Any], known: Mapping[RowKey, Collection[str]]) -> set[RowKey]:
    """Those of the rows of which the ledger holds other fields than these, too."""
    by_table: dict[str, list[str]] = {}
    for table, key in known:
        by_table.setdefault(table, []).append(key)
    beyond: set[RowKey] = set()
    for table, keys in by_table.items():
        # Most rows have the same fields: of each set of them, the others only say which it is.
        sets: dict[str, int] = {}
        places = [sets.setdefault("\n".join(known[table, key]), len(sets) + 1) for key in keys]
        # The keys are said once more as a condition on the ledger alone: else the server would put all of it into a
        # hash, a million rows, to look up a thousand.
        found = connection.execute(
            """
            SELECT k.key
              FROM unnest(%(keys)s::text[], %(places)s::int[]) AS k (key, place)
              JOIN reconciler.managed_row r ON r.key = k.key
             WHERE r.table_name = %(table)s AND r.key = ANY (%(keys)s::text[])
               AND r.applied - string_to_array((%(sets)s::text[])[k.place], chr(10)) <> '{}'
            """,
            {
                "table": table,
                "keys": text_array(keys),
                "places": int_array(places),
                "sets": text_array(list(sets)),
            },
        )
        beyond |= {(table, key) for (key,) in found}
    return beyond


def record_pending(
    connection: Connection[Any],
    pending: Mapping[RowKey, Iterable[str]],
    settled: Mapping[str, Iterable[str]] | None,
) -> None:
    """Store the rows that wait from now on; those of `settled` (None: all), which are keys by table, that are not among
    them wait no longer.
    """
    if settled is None:
        connection.execute("DELETE FROM reconciler.pending")
    for table, keys in (settled or {}).items():
        over = [key for key in keys if (table, key) not in pending] if pending else list(keys)
        if over:
            connection.execute(
                "DELETE FROM reconciler.pending WHERE table_name = %s AND key = ANY (%s::text[])",
                (table, text_array(over)),
            )
    if pending:
        rows = sorted(pending)
        connection.execute(
            """
            INSERT INTO reconciler.pending (table_name, key, files)
            SELECT p.table_name, p.key, ARRAY(SELECT jsonb_array_elements_text(p.files))
              FROM unnest(%s::text[], %s::text[], %s::jsonb[]) AS p (table_name, key, files)
                ON CONFLICT (table_name, key) DO UPDATE SET files = excluded.files
            """,
            (
                text_array([table for table, _ in rows]),
                text_array([key for _, key in rows]),
                text_array([msgspec.json.encode(sorted(set(pending[row]))).decode() for row in rows]),
            ),
        )
