"""What is switched off in one table, found inside the server: one statement, whatever the number of rows.

Takes a connection inside a READ ONLY transaction, a Table and its Relation; gives the newest killed values with who did
it and why, and how many there are of each field. A value with a kill side of its own is found by a scan of the live
table, which reads each row once for all fields; a limit that was lowered is found from its mark, by the mark's key.

*Known* is what the ledger holds, or has a mark of: a value that nobody ever put into git is counted, and not listed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from psycopg import Connection, sql

from reconciler.canonical import from_text, text_array
from reconciler.catalog import Relation
from reconciler.diff import BY_HAND
from reconciler.fields import BooleanField, EnumField, IntegerField, NumberField, StringField
from reconciler.model import MISSING, Json, Missing
from reconciler.schema import Table

__all__ = ["Cause", "KilledValue", "KilledValues", "has_kill_side", "read_killed"]


class Cause(msgspec.Struct, frozen=True):
    """The change that made a value what it is, and the run it was part of. `before` is MISSING where no row was."""

    at: datetime
    before: Json | Missing
    reason: str | None
    file: str | None
    line: int | None
    run: str
    run_reason: str | None
    commit: str
    author: str
    author_email: str
    actor: str
    run_url: str | None
    pull_request: int | None
    dirty: bool
    ahead: bool


class KilledValue(msgspec.Struct, frozen=True):
    """One value on its kill side.

    `killed_at` and `killed_by` are the mark's. `unseen`: it was killed after the last run, so no mark tells of it.
    `managed`: the ledger holds it; else there is only the story of its past.
    """

    key: str
    field: str
    value: Json
    label: str | None
    managed: bool
    unseen: bool
    killed_at: datetime | None
    killed_by: str | None
    cause: Cause | None


class KilledValues(msgspec.Struct, frozen=True):
    """The newest ones, and how many there are of each field: those the ledger knows, and the others."""

    listed: tuple[KilledValue, ...]
    known: Mapping[str, int]
    unknown: Mapping[str, int]


def has_kill_side(table: Table) -> bool:
    """Whether anything in the table can be switched off."""
    return bool(_on_a_side(table) or _ordered(table))


def read_killed(
    connection: Connection[Any],
    table: Table,
    relation: Relation,
    *,
    keys: Sequence[str] | None,
    left_out: str | None,
    limit: int | None,
) -> KilledValues:
    """What is on its kill side now. `keys` None: in all rows but `left_out`; `limit` None: all of it is listed."""
    statement = sql.SQL(
        """
        WITH off AS MATERIALIZED ({sources}),
        listed AS (
            SELECT * FROM off WHERE known
             ORDER BY unseen DESC, killed_at DESC NULLS LAST, key COLLATE "C", field
             LIMIT %(limit)s
        )
        SELECT o.field, o.known, count(*), {nothing} FROM off o GROUP BY o.field, o.known
        UNION ALL
        SELECT l.field, true, NULL, l.key, l.value::text, {label}, l.managed, l.unseen, l.killed_at, l.killed_by,
               c.at, c.before::text, c.reason, c.file, c.line, c.run_id::text, c.run_reason, c.commit_id,
               c.author_name, c.author_email, c.actor, c.run_url, c.pull_request, c.dirty, c.ahead
          FROM listed l
          LEFT JOIN {table} AS t ON t.{key} = l.key::{key_type}
          LEFT JOIN LATERAL (
              -- The newest change of the field; it is the cause only where it left the value that is there now.
              SELECT c.at, c.before, c.after, c.reason, c.file, c.line, c.run_id, r.reason AS run_reason, r.commit_id,
                     r.author_name, r.author_email, r.actor, r.run_url, r.pull_request, r.dirty, r.ahead
                FROM reconciler.change c JOIN reconciler.run r ON r.id = c.run_id
               WHERE c.table_name = %(table)s AND c.key = l.key AND c.field = l.field
               ORDER BY r.sequence DESC LIMIT 1
          ) AS c ON c.after = l.value AND NOT l.unseen
        """
    ).format(
        sources=sql.SQL(" UNION ALL ").join(_sources(table, relation, _condition(table, relation, keys, left_out))),
        nothing=sql.SQL(", ").join(map(sql.SQL, _NOTHING)),
        label=_label(table),
        table=relation.identifier,
        key=sql.Identifier(table.definition.key),
        key_type=sql.SQL(relation.columns[table.definition.key].declared),
    )
    ordered = _ordered(table)
    found = connection.execute(
        statement,
        {
            "table": table.name,
            "limit": limit,
            "only": text_array(keys or []),
            "left_out": left_out,
            "by_hand": BY_HAND,
            "lower": text_array([name for name, way in ordered.items() if way == "lower"]),
            "higher": text_array([name for name, way in ordered.items() if way == "higher"]),
        },
    )
    listed: list[KilledValue] = []
    counts: dict[bool, dict[str, int]] = {True: {}, False: {}}
    for field, known, number, *rest in found:
        if number is None:
            listed.append(_killed_value(field, rest))
        else:
            counts[known][field] = number
    return KilledValues(tuple(listed), dict(sorted(counts[True].items())), dict(sorted(counts[False].items())))


_NOTHING = (
    "NULL::text, NULL::text, NULL::text, NULL::boolean, NULL::boolean, NULL::timestamptz, NULL::text",
    "NULL::timestamptz, NULL::text, NULL::text, NULL::text, NULL::int, NULL::text, NULL::text, NULL::text",
    "NULL::text, NULL::text, NULL::text, NULL::text, NULL::int, NULL::boolean, NULL::boolean",
)
"""The columns of a listed value, in the rows that count."""


def _condition(table: Table, relation: Relation, keys: Sequence[str] | None, left_out: str | None) -> sql.Composable:
    """Which rows are looked at."""
    key = sql.Identifier(table.definition.key)
    if keys is not None:
        key_type = sql.SQL(relation.columns[table.definition.key].declared)
        return sql.SQL(" AND t.{} = ANY (%(only)s::text[]::{}[])").format(key, key_type)
    return sql.SQL(" AND t.{}::text <> %(left_out)s").format(key) if left_out is not None else sql.SQL("")


def _sources(table: Table, relation: Relation, only: sql.Composable) -> list[sql.Composed]:
    sources = []
    key = sql.Identifier(table.definition.key)
    key_type = sql.SQL(relation.columns[table.definition.key].declared)
    if on_a_side := _on_a_side(table):
        killed = {name: _is_killed(relation, name, values) for name, values in on_a_side.items()}
        sources.append(_SCAN.format(
            key=key, table=relation.identifier, only=only, seen=_SEEN, unseen=_UNSEEN, values=_values(relation, killed),
            any_killed=sql.SQL(" OR ").join(killed.values()),
        ))  # fmt: skip
    if ordered := _ordered(table):
        live = sql.SQL(" ").join(
            sql.SQL("WHEN {} THEN to_jsonb({})").format(sql.Literal(name), relation.columns[name].canonical("t"))
            for name in ordered
        )
        sources.append(_MARKED.format(
            key=key, key_type=key_type, table=relation.identifier, only=only, seen=_SEEN, unseen=_UNSEEN, live=live
        ))  # fmt: skip
    return sources


_SEEN = sql.SQL("(m.seen_at IS NOT NULL AND m.seen_value = f.value)")
"""A run has seen the value as it is, and it stands against git's will."""

_UNSEEN = sql.SQL("coalesce(r.applied ? f.field AND r.applied -> f.field <> f.value AND NOT {}, false)").format(
    sql.SQL("coalesce({}, false)").format(_SEEN)
)
"""The value is neither what was applied last nor what a run has seen: somebody killed it since."""

_SCAN = sql.SQL(
    """
    SELECT t.{key}::text AS key, f.field, f.value, coalesce(r.applied ? f.field, false) AS managed,
           r.applied ? f.field IS TRUE OR m.key IS NOT NULL AS known, {unseen} AS unseen,
           CASE WHEN NOT {unseen} THEN m.killed_at END AS killed_at,
           CASE WHEN {unseen} THEN %(by_hand)s ELSE m.killed_by END AS killed_by
      FROM {table} AS t
     CROSS JOIN LATERAL (VALUES {values}) AS f (field, killed, value)
      LEFT JOIN reconciler.managed_row r ON r.table_name = %(table)s AND r.key = t.{key}::text
      LEFT JOIN reconciler.mark m ON m.table_name = %(table)s AND m.key = t.{key}::text AND m.field = f.field
     WHERE ({any_killed}) AND f.killed{only}
    """
)

# A limit has no kill side by itself: it is killed while it is lower than before the change that last cut it. What a
# hand cut is killed while it is lower than what was applied or, once git has taken the cut over, than what was written
# last.
_MARKED = sql.SQL(
    """
    SELECT m.key, m.field, f.value, coalesce(r.applied ? f.field, false) AS managed, true AS known,
           {unseen} AS unseen, CASE WHEN NOT {unseen} THEN m.killed_at END AS killed_at,
           CASE WHEN {unseen} THEN %(by_hand)s ELSE m.killed_by END AS killed_by
      FROM reconciler.mark m
      JOIN {table} AS t ON t.{key} = m.key::{key_type}
     CROSS JOIN LATERAL (SELECT m.field, CASE m.field {live} END) AS f (field, value)
      LEFT JOIN reconciler.managed_row r ON r.table_name = m.table_name AND r.key = m.key
      LEFT JOIN LATERAL (
          SELECT c.direction, c.before, c.after
            FROM reconciler.change c JOIN reconciler.run n ON n.id = c.run_id
           WHERE c.table_name = m.table_name AND c.key = m.key AND c.field = m.field
           ORDER BY n.sequence DESC LIMIT 1
      ) AS c ON true
     CROSS JOIN LATERAL (
         SELECT CASE
             WHEN r.applied ? m.field AND ({seen} OR {unseen}) THEN r.applied -> m.field
             WHEN m.killed_by = %(by_hand)s THEN c.after
             WHEN c.direction = 'kill' THEN c.before
         END
     ) AS w (before)
     WHERE m.table_name = %(table)s AND m.killed_at IS NOT NULL
       AND m.field = ANY (%(lower)s::text[] || %(higher)s::text[])
       AND ((m.field = ANY (%(lower)s::text[]) AND (w.before = 'null' OR f.value < w.before))
            OR (m.field = ANY (%(higher)s::text[]) AND (w.before = 'null' OR f.value > w.before))){only}
    """
)


def _on_a_side(table: Table) -> dict[str, list[Json]]:
    """The fields whose kill side is a set of values, with these."""
    found: dict[str, list[Json]] = {}
    for name, field in table.fields.items():
        if isinstance(field, BooleanField) and field.kill is not None:
            found[name] = [field.kill]
        elif isinstance(field, StringField | EnumField) and field.kill:
            found[name] = list(field.kill)
    return found


def _ordered(table: Table) -> dict[str, str]:
    """The fields that are killed by lowering or raising them, with which of the two."""
    return {
        name: field.kill
        for name, field in table.fields.items()
        if isinstance(field, IntegerField | NumberField) and field.kill is not None
    }


def _is_killed(relation: Relation, name: str, values: Sequence[Json]) -> sql.Composed:
    column = sql.Identifier("t", name)
    if isinstance(values[0], bool):
        return sql.SQL("{} IS {}").format(column, sql.SQL("TRUE" if values[0] else "FALSE"))
    texts = sql.SQL(", ").join(sql.Literal(str(value)) for value in values)
    return sql.SQL("({} IN ({})) IS TRUE").format(relation.columns[name].canonical("t"), texts)


def _values(relation: Relation, killed: Mapping[str, sql.Composed]) -> sql.Composed:
    return sql.SQL(", ").join(
        sql.SQL("({}, {}, to_jsonb({}))").format(sql.Literal(name), is_killed, relation.columns[name].canonical("t"))
        for name, is_killed in killed.items()
    )


def _label(table: Table) -> sql.Composable:
    label = table.definition.label
    return sql.SQL("t.{}::text").format(sql.Identifier(label)) if label else sql.SQL("NULL::text")


def _killed_value(field: str, row: Sequence[Any]) -> KilledValue:
    key, value, label, managed, unseen, killed_at, killed_by, at, before, reason, file, line, run, *of_run = row
    cause = None
    # What a hand did is no change of ours, even where a change of ours once left the same value.
    if at is not None and killed_by != BY_HAND:
        was = MISSING if before is None else from_text(before)
        cause = Cause(at, was, reason, file, line, run, *of_run)
    return KilledValue(key, field, from_text(value), label, managed, unseen, killed_at, killed_by, cause)
