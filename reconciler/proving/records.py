"""What the ledger keeps of proofs: the verdicts of each run, and the changes that were not seen in effect.

Takes a connection inside a transaction; writes and reads, set-based.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from psycopg import Connection

from reconciler.canonical import int_array, nullable_text_array, text_array
from reconciler.outcome import Verdict
from reconciler.proving.sight import Job


class Asked(msgspec.Struct, frozen=True):
    """That a proof is asked: `changes` called for it, `asked` of them are looked at."""

    table: str
    field: str
    kind: str
    target: str
    changes: int
    asked: int


def record_asked(connection: Connection[Any], run_id: str, asked: Sequence[Asked]) -> None:
    """Store that proofs are asked, before they are: whatever happens to the run afterwards, the question is left."""
    connection.execute(
        """
        INSERT INTO reconciler.proof (run_id, ordinal, table_name, field, kind, target, changes, asked)
        SELECT %(run)s::uuid, p.ordinal - 1, p.table_name, p.field, p.kind, p.target, p.changes, p.asked
          FROM unnest(%(tables)s::text[], %(fields)s::text[], %(kinds)s::text[], %(targets)s::text[],
                      %(changes)s::int[], %(asked)s::int[])
               WITH ORDINALITY AS p (table_name, field, kind, target, changes, asked, ordinal)
        """,
        {
            "run": run_id,
            "tables": text_array([each.table for each in asked]),
            "fields": text_array([each.field for each in asked]),
            "kinds": text_array([each.kind for each in asked]),
            "targets": text_array([each.target for each in asked]),
            "changes": int_array(each.changes for each in asked),
            "asked": int_array(each.asked for each in asked),
        },
    )


def record_verdicts(connection: Connection[Any], run_id: str, verdicts: Sequence[Verdict]) -> None:
    """Store what was found of a run's proofs, which are in the order in which they were recorded as asked."""
    connection.execute(
        """
        UPDATE reconciler.proof AS p
           SET seen = v.seen, after_ms = v.after_ms::int, waited_ms = v.waited_ms, at = now()
          FROM unnest(%(seen)s::int[], %(after)s::text[], %(waited)s::int[])
               WITH ORDINALITY AS v (seen, after_ms, waited_ms, ordinal)
         WHERE p.run_id = %(run)s::uuid AND p.ordinal = v.ordinal - 1
        """,
        {
            "run": run_id,
            "seen": int_array(verdict.seen for verdict in verdicts),
            "after": nullable_text_array(
                None if verdict.after_s is None else str(round(verdict.after_s * 1000)) for verdict in verdicts
            ),
            "waited": int_array(round((verdict.waited_s or 0.0) * 1000) for verdict in verdicts),
        },
    )
    unseen = [(ordinal, v.table, v.field, each) for ordinal, v in enumerate(verdicts) for each in v.unseen]
    if not unseen:
        return
    connection.execute(
        """
        INSERT INTO reconciler.unseen (run_id, ordinal, table_name, key, field, label, said)
        SELECT %(run)s::uuid, * FROM unnest(%(ordinals)s::int[], %(tables)s::text[], %(keys)s::text[],
                                            %(fields)s::text[], %(labels)s::text[], %(said)s::text[])
        """,
        {
            "run": run_id,
            "ordinals": int_array(ordinal for ordinal, _, _, _ in unseen),
            "tables": text_array([table for _, table, _, _ in unseen]),
            "keys": text_array([each.key for *_, each in unseen]),
            "fields": text_array([field for _, _, field, _ in unseen]),
            "labels": nullable_text_array(each.label for *_, each in unseen),
            "said": text_array([each.said.replace("\x00", "") for *_, each in unseen]),
        },
    )


def jobs_of_run(connection: Connection[Any], run_id: str) -> dict[tuple[str, str, str, str, str], Job]:
    """The jobs of a run by table, key, field, queue and name."""
    found = connection.execute(
        """
        SELECT table_name, key, field, target, payload ->> 'job', id::text, state, last_error
          FROM reconciler.outbox WHERE run_id = %s AND kind = 'bullmq' ORDER BY sequence
        """,
        (run_id,),
    )
    return {(table, key, field, queue, name): Job(*job) for table, key, field, queue, name, *job in found}


class NotSeen(msgspec.Struct, frozen=True):
    """Changes that are committed and were not seen in effect, alike: of one field, one proof and one run.

    `key` and `label` are those of one of them, `said` what was seen of it instead; `number` is how many there are.
    `waited_ms` None: the run has not said yet, or was ended before it could.
    """

    table: str
    field: str
    kind: str
    target: str
    number: int
    key: str
    label: str | None
    said: str
    run: str
    at: datetime
    waited_ms: int | None


def read_not_seen(connection: Connection[Any], limit: int) -> list[NotSeen]:
    """What was not seen in effect when its run ended, and has not been written again since: the newest first."""
    found = connection.execute(
        """
        WITH not_seen AS (
            SELECT run_id, ordinal, table_name, key, field, label, said FROM reconciler.unseen
            UNION ALL
            SELECT p.run_id, p.ordinal, c.table_name, c.key, c.field, c.label, %(open)s
              FROM reconciler.proof p
              JOIN reconciler.change c ON c.run_id = p.run_id AND c.table_name = p.table_name AND c.field = p.field
             WHERE p.waited_ms IS NULL
        )
        SELECT u.table_name, u.field, p.kind, p.target, count(*), min(u.key),
               (array_agg(u.label ORDER BY u.key))[1], (array_agg(u.said ORDER BY u.key))[1],
               r.id::text, r.at, p.waited_ms
          FROM not_seen u
          JOIN reconciler.proof p USING (run_id, ordinal)
          JOIN reconciler.run r ON r.id = u.run_id
         WHERE NOT EXISTS (SELECT FROM reconciler.change c JOIN reconciler.run later ON later.id = c.run_id
                            WHERE c.table_name = u.table_name AND c.key = u.key AND c.field = u.field
                              AND later.sequence > r.sequence)
         GROUP BY u.run_id, u.ordinal, u.table_name, u.field, p.kind, p.target, r.id, r.at, r.sequence, p.waited_ms
         ORDER BY r.sequence DESC, u.ordinal
         LIMIT %(limit)s
        """,
        {"limit": limit, "open": _OPEN},
    )
    return [NotSeen(*row) for row in found]


_OPEN = "its run has not said yet whether it is seen, or was ended before it could"
