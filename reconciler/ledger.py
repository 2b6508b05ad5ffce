"""The reconciler's own memory, in the Postgres schema `reconciler`: what was applied last, by which run, and when a
value was killed.

Takes a connection inside a transaction; gives and stores base values, marks and runs. `ledger_schema` holds the DDL.
The layout was measured (docs/ledger.md): a row per managed row with its applied values as JSON compares with a live
table of a hundred thousand rows in 0.11 s inside the server, and a row per *field* exists only where a field has a
story to tell.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from psycopg import Connection

from reconciler.canonical import (
    digest_of_text,
    from_text,
    int_array,
    nullable_text_array,
    row_digest,
    text_array,
    to_text,
    uuid_array,
)
from reconciler.guards import Frozen
from reconciler.model import (
    MISSING,
    Action,
    Change,
    Direction,
    FieldKey,
    Finding,
    Json,
    Mark,
    Missing,
    RowKey,
)


class Head(msgspec.Struct, frozen=True):
    """What the ledger says of itself: its version, the tables it holds rows of, and the last run from git.

    Runs of a dirty work tree do not count: they leave what git asked for as it was. `undelivered`: effects of earlier
    runs have not arrived. `has_matches`: entries of a `$where` have been applied.
    """

    version: int
    movable_clock: bool = False
    tables: tuple[str, ...] = ()
    commit: str | None = None
    run: str | None = None
    at: datetime | None = None
    undelivered: bool = False
    has_matches: bool = False


class BatchRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Which batch a run is. `series` is the id of the plan that its runs apply together, `of` how many they are."""

    series: str
    number: int
    of: int


PARTIAL = "partial"
"""The outcome of a run that is a batch, and not the last one of its series."""


class RunRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One run, as it is stored and as audit entries tell of it. Times are the database's.

    `sync`: how the ledger stands to git after it, as JSON (`ledger_sync`). `batch`: which batch of which series it is,
    where the plan was applied in several.
    """

    id: str
    commit: str
    author_name: str
    author_email: str
    committer_name: str
    committer_email: str
    actor: str
    reason: str | None
    dirty: bool
    ahead: bool
    plan_id: str
    fingerprint: str
    scope: dict[str, list[str]]
    counts: dict[str, int]
    outcome: str
    run_url: str | None
    pull_request: int | None
    version: str
    sync: str | None = None
    batch: BatchRecord | None = None


def read_head(connection: Connection[Any]) -> Head:
    """The ledger's version and its last run. The ledger must exist (`Catalog.has_ledger`)."""
    row = connection.execute(
        """
        -- The distinct tables are found by jumping through the index, not by reading a million keys.
        WITH RECURSIVE held (table_name) AS (
            (SELECT table_name FROM reconciler.managed_row ORDER BY table_name LIMIT 1)
            UNION ALL
            SELECT (SELECT r.table_name FROM reconciler.managed_row r WHERE r.table_name > held.table_name
                     ORDER BY r.table_name LIMIT 1)
              FROM held WHERE held.table_name IS NOT NULL
        )
        SELECT m.version, m.movable_clock,
               (SELECT coalesce(array_agg(table_name), '{}') FROM held WHERE table_name IS NOT NULL),
               r.commit_id, r.id::text, r.at,
               EXISTS (SELECT FROM reconciler.outbox WHERE state IN ('pending', 'dead')),
               EXISTS (SELECT FROM reconciler.match_entry)
          FROM reconciler.meta m
          LEFT JOIN (SELECT * FROM reconciler.run WHERE NOT holds ORDER BY sequence DESC LIMIT 1) r ON true
        """
    ).fetchone()
    if row is None:
        return Head(0)
    version, movable_clock, tables, *last = row
    return Head(version, movable_clock, tuple(tables), *last)


def settled_commit(connection: Connection[Any]) -> str | None:
    """The commit of the last run of everything that held nothing back, and was not one batch of several; None where
    there was none.

    What the commits since then have asked for may still be on its way, and so are the waivers in their messages.
    """
    row = connection.execute(
        """
        SELECT commit_id FROM reconciler.run
         WHERE NOT holds AND scope @> '{"tables": [], "rows": []}' AND jsonb_array_length(scope -> 'tables') = 0
           AND jsonb_array_length(scope -> 'rows') = 0 AND (counts ->> 'held')::integer = 0
           AND outcome <> 'partial'
         ORDER BY sequence DESC LIMIT 1
        """
    ).fetchone()
    return str(row[0]) if row else None


def read_released(connection: Connection[Any], tables: Sequence[str]) -> list[Change]:
    """A release for every field that the ledger holds of these tables, which nothing describes any more."""
    found = connection.execute(
        """
        SELECT table_name, key, f.name, f.value::text
          FROM reconciler.managed_row, jsonb_each(applied) AS f (name, value)
         WHERE table_name = ANY (%s)
        """,
        (list(tables),),
    )
    text = "no schema describes its table any more: the value stays as it is, and is managed no more"
    return [
        Change(
            table=table,
            key=key,
            field=field,
            finding=Finding.RELEASED,
            action=Action.RELEASE,
            direction=Direction.NEUTRAL,
            before=MISSING,
            after=MISSING,
            desired=MISSING,
            base=from_text(value),
            explanation=text,
        )
        for table, key, field, value in found
    ]


def plan_was_applied(connection: Connection[Any], plan_id: str) -> str | None:
    """The id of the run that applied the saved plan, None if none did."""
    row = connection.execute("SELECT id::text FROM reconciler.run WHERE plan_id = %s", (plan_id,)).fetchone()
    return str(row[0]) if row else None


def rows_of_series(connection: Connection[Any], series: str) -> frozenset[RowKey]:
    """The rows that batches of this plan have written, in whatever apply."""
    found = connection.execute(
        """
        SELECT DISTINCT c.table_name, c.key
          FROM reconciler.run r JOIN reconciler.change c ON c.run_id = r.id
         WHERE r.batch ->> 'series' = %s
        """,
        (series,),
    )
    return frozenset((table, key) for table, key in found)


def read_marks(connection: Connection[Any], rows: Sequence[RowKey]) -> dict[FieldKey, Mark]:
    """The marks of the given rows, and of every field that is open (has `seen_at`), in one statement."""
    found = connection.execute(
        """
        SELECT table_name, key, field, killed_at, killed_by, seen_at, seen_value::text, seen_entry, glass, spent
          FROM reconciler.mark
         WHERE (table_name, key) IN (SELECT * FROM unnest(%s::text[], %s::text[]))
        UNION
        SELECT table_name, key, field, killed_at, killed_by, seen_at, seen_value::text, seen_entry, glass, spent
          FROM reconciler.mark
         WHERE seen_at IS NOT NULL
        """,
        (text_array([table for table, _ in rows]), text_array([key for _, key in rows])),
    )
    return {
        (table, key, field): Mark(
            killed_at, killed_by, seen_at, from_text(value) if value else None, entry, glass, tuple(spent)
        )
        for table, key, field, killed_at, killed_by, seen_at, value, entry, glass, spent in found
    }


def values_before(connection: Connection[Any], overrides: Mapping[FieldKey, Json]) -> dict[FieldKey, Json]:
    """For each field, what it was before git last made it what `overrides` says; absent where git never did.

    What a run put back against a hand does not count: before that stood what the hand had written.
    """
    if not overrides:
        return {}
    fields = list(overrides)
    found = connection.execute(
        """
        SELECT DISTINCT ON (c.table_name, c.key, c.field) c.table_name, c.key, c.field, c.before::text
          FROM unnest(%s::text[], %s::text[], %s::text[], %s::jsonb[]) AS o (table_name, key, field, value)
          JOIN reconciler.change c
            ON c.table_name = o.table_name AND c.key = o.key AND c.field = o.field AND c.after = o.value
         WHERE c.before IS NOT NULL AND c.finding NOT IN ('reopened', 'drift', 'killed_by_hand')
         ORDER BY c.table_name, c.key, c.field, c.at DESC
        """,
        (
            text_array([table for table, _, _ in fields]),
            text_array([key for _, key, _ in fields]),
            text_array([field for _, _, field in fields]),
            text_array([to_text(value) for value in overrides.values()]),
        ),
    )
    return {(table, key, field): from_text(before) for table, key, field, before in found}


def applied_values(connection: Connection[Any], fields: Collection[FieldKey]) -> dict[FieldKey, Json]:
    """What was applied last of these fields; absent where nothing was."""
    if not fields:
        return {}
    ordered = sorted(fields)
    found = connection.execute(
        """
        SELECT r.table_name, r.key, f.field, (r.applied -> f.field)::text
          FROM unnest(%s::text[], %s::text[], %s::text[]) AS f (table_name, key, field)
          JOIN reconciler.managed_row r
            ON r.table_name = f.table_name AND r.key = f.key AND r.applied ? f.field
        """,
        tuple(text_array([field[part] for field in ordered]) for part in range(3)),
    )
    return {(table, key, field): from_text(value) for table, key, field, value in found}


def read_freezes(connection: Connection[Any], now: datetime) -> list[Frozen]:
    """The freezes that somebody has called, and that are on at `now`."""
    found = connection.execute(
        """
        SELECT reason, until_at FROM reconciler.freeze
         WHERE ended_at IS NULL AND from_at <= %(now)s AND until_at > %(now)s ORDER BY id
        """,
        {"now": now},
    )
    return [Frozen(reason, until) for reason, until in found]


def record_freeze(connection: Connection[Any], until: datetime, reason: str, actor: str) -> None:
    """A freeze that somebody calls, from now on."""
    connection.execute(
        "INSERT INTO reconciler.freeze (until_at, reason, actor) VALUES (%s, %s, %s)", (until, reason, actor)
    )


def end_freezes(connection: Connection[Any], reason: str, actor: str) -> int:
    """End the called freezes that are on. Returns how many there were."""
    return connection.execute(
        """
        UPDATE reconciler.freeze SET ended_at = now(), ended_by = %s, ended_reason = %s
         WHERE ended_at IS NULL AND until_at > now()
        """,
        (actor, reason),
    ).rowcount


def record_run(connection: Connection[Any], run: RunRecord) -> None:
    """Store the run. Its primary key makes a second store of the same run impossible."""
    connection.execute(
        """
        INSERT INTO reconciler.run (id, commit_id, author_name, author_email, committer_name, committer_email, actor,
                                    reason, dirty, ahead, plan_id, fingerprint, scope, counts, outcome, run_url,
                                    pull_request, version, sync, batch)
        VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s::jsonb, %s::jsonb, %s, %s, %s, %s, %s::jsonb,
                %s::jsonb)
        """,
        (
            run.id,
            run.commit,
            run.author_name,
            run.author_email,
            run.committer_name,
            run.committer_email,
            run.actor,
            run.reason,
            run.dirty,
            run.ahead,
            run.plan_id,
            run.fingerprint,
            to_text(run.scope),
            to_text(run.counts),
            run.outcome,
            run.run_url,
            run.pull_request,
            run.version,
            run.sync,
            to_text(msgspec.to_builtins(run.batch)) if run.batch is not None else None,
        ),
    )


def prepare_changes(
    connection: Connection[Any], run_id: str, changes: Sequence[Change], tenants: Sequence[str], first: int = 0
) -> Callable[[], None]:
    """What stores every written field with what it was and what it is, and to which tenant its audit entry belongs,
    once it is called. `first` is the place of the first of the changes among all of the run.

    An entry's id follows from the run and the change's place in it, so that the audit entry made from it (see `audit`)
    has the same id, and none can be made twice.
    """
    columns = (
        int_array(range(first, first + len(changes))),
        text_array([change.table for change in changes]),
        text_array([change.key for change in changes]),
        text_array([change.field for change in changes]),
        nullable_text_array(_json(change.before) for change in changes),
        text_array([_json(change.after) or "null" for change in changes]),
        text_array([change.finding.value for change in changes]),
        text_array([change.direction.value for change in changes]),
        nullable_text_array(change.reason for change in changes),
        nullable_text_array(change.location.file if change.location else None for change in changes),
        int_array(change.location.line if change.location else 0 for change in changes),
        nullable_text_array(change.label for change in changes),
        text_array(tenants),
        nullable_text_array(to_text(dict(change.waived)) if change.waived else None for change in changes),
    )
    statement = """
        INSERT INTO reconciler.change (run_id, ordinal, id, table_name, key, field, before, after, finding, direction,
                                       reason, file, line, label, tenant, waived)
        SELECT %s::uuid, c.ordinal, md5(%s || ':' || c.ordinal)::uuid, c.table_name, c.key, c.field, c.before, c.after,
               c.finding, c.direction, c.reason, c.file, nullif(c.line, 0), c.label, c.tenant, c.waived
          FROM unnest(%s::int[], %s::text[], %s::text[], %s::text[], %s::jsonb[], %s::jsonb[], %s::text[], %s::text[],
                      %s::text[], %s::text[], %s::int[], %s::text[], %s::text[], %s::jsonb[])
               AS c (ordinal, table_name, key, field, before, after, finding, direction, reason, file, line, label,
                     tenant, waived)
        """

    def record() -> None:
        connection.execute(statement, (run_id, run_id, *columns))

    return record


def prepare_applied(
    connection: Connection[Any],
    run_id: str,
    applied: Mapping[RowKey, dict[str, Json]],
) -> Callable[[Mapping[RowKey, int | None]], None]:
    """What stores what is applied now for these rows, whole, once it is called; a row with no field left is closed.

    It is called with the server's hashes of rows that have now what is applied (`drifted`).
    """
    kept = [row for row, fields in applied.items() if fields]
    closed = [row for row, fields in applied.items() if not fields]
    documents = [to_text(applied[row]) for row in kept]
    columns = (
        run_id,
        text_array([table for table, _ in kept]),
        text_array([key for _, key in kept]),
        text_array(documents),
        uuid_array(
            row_digest(key, digest_of_text(document)) for (_, key), document in zip(kept, documents, strict=True)
        ),
    )

    def record(hashes: Mapping[RowKey, int | None]) -> None:
        if kept:
            connection.execute(
                """
                INSERT INTO reconciler.managed_row (table_name, key, applied, digest, row_hash, run_id)
                SELECT r.table_name, r.key, r.applied, r.digest, r.row_hash, %s::uuid
                  FROM unnest(%s::text[], %s::text[], %s::jsonb[], %s::uuid[], %s::bigint[])
                       AS r (table_name, key, applied, digest, row_hash)
                    ON CONFLICT (table_name, key) DO UPDATE
                   SET applied = excluded.applied, digest = excluded.digest, row_hash = excluded.row_hash,
                       run_id = excluded.run_id
                """,
                (*columns, int_array(hashes.get(row) for row in kept)),
            )
        if closed:
            connection.execute(
                """
                DELETE FROM reconciler.managed_row
                 WHERE (table_name, key) IN (SELECT * FROM unnest(%s::text[], %s::text[]))
                """,
                (text_array([table for table, _ in closed]), text_array([key for _, key in closed])),
            )

    return record


def prepare_marks(connection: Connection[Any], marks: Mapping[FieldKey, Mark]) -> Callable[[], None]:
    """What stores these marks, whole, once it is called."""
    fields = list(marks)
    statement = """
        INSERT INTO reconciler.mark (table_name, key, field, killed_at, killed_by, seen_at, seen_value, seen_entry,
                                     glass, spent)
        SELECT m.table_name, m.key, m.field, m.killed_at, m.killed_by, m.seen_at, m.seen_value, m.seen_entry, m.glass,
               string_to_array(m.spent, ' ')
          FROM unnest(%s::text[], %s::text[], %s::text[], %s::timestamptz[], %s::text[], %s::timestamptz[],
                      %s::jsonb[], %s::text[], %s::text[], %s::text[])
               AS m (table_name, key, field, killed_at, killed_by, seen_at, seen_value, seen_entry, glass, spent)
            ON CONFLICT (table_name, key, field) DO UPDATE
           SET killed_at = excluded.killed_at, killed_by = excluded.killed_by, seen_at = excluded.seen_at,
               seen_value = excluded.seen_value, seen_entry = excluded.seen_entry, glass = excluded.glass,
               spent = excluded.spent
        """
    columns = (
        text_array([table for table, _, _ in fields]),
        text_array([key for _, key, _ in fields]),
        text_array([field for _, _, field in fields]),
        nullable_text_array(_moment(mark.killed_at) for mark in marks.values()),
        nullable_text_array(mark.killed_by for mark in marks.values()),
        nullable_text_array(_moment(mark.seen_at) for mark in marks.values()),
        nullable_text_array(to_text(mark.seen_value) if mark.seen_at else None for mark in marks.values()),
        nullable_text_array(mark.seen_entry for mark in marks.values()),
        nullable_text_array(mark.glass for mark in marks.values()),
        text_array([" ".join(mark.spent) for mark in marks.values()]),
    )

    def record() -> None:
        if fields:
            connection.execute(statement, columns)

    return record


def record_marks(connection: Connection[Any], marks: Mapping[FieldKey, Mark]) -> None:
    """Store these marks, whole."""
    prepare_marks(connection, marks)()


def _json(value: Json | Missing) -> str | None:
    return None if isinstance(value, Missing) else to_text(value)


def _moment(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
