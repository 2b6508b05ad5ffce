"""The writes of an apply: rows by compare-and-set, then history, audit entries, ledger and marks.

Takes a connection inside the apply's transaction, with the rows locked and the Plan made from them; every statement is
set-based, so their number depends on the tables and on which fields change together, and of rows on their thousands.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from psycopg import Connection, Cursor, sql

from reconciler.actual import Seen
from reconciler.canonical import text_array, to_text
from reconciler.catalog import Relation
from reconciler.diff import is_put_back_past_git
from reconciler.drifted import row_hash
from reconciler.errors import Failed
from reconciler.model import Action, Change, Json, Missing, RowKey
from reconciler.policy import NOW
from reconciler.schema import Table

LOCK_KEY = 0x7265636F6E63696C
"""The advisory lock that one apply holds at a time: the bytes of "reconcil"."""


def take_lock(connection: Connection[Any]) -> None:
    """Wait for the advisory lock until the transaction's lock_timeout.

    At transaction level: a session-level lock taken through a transaction pooler stays with a server connection that
    others get next.
    """
    connection.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK_KEY,))


Written = Callable[[], dict[RowKey, int | None]]
"""Waits for the server to have written rows; gives its hash of each (`drifted`).

Raises Failed where one had moved, and where one now holds something else than was written.
"""


def prepare_updates(
    connection: Connection[Any], table: Table, relation: Relation, changes: Sequence[Change]
) -> Callable[[], Written]:
    """What writes the changed columns, and only those, of rows that exist, once it is called.

    Compare-and-set on the values that the plan saw. A row was locked, so where one has moved only a trigger or a rule
    of the database can be behind it. What the row holds afterwards is compared as well: an audit entry must not claim
    what a trigger has made something else of.
    """
    rows: dict[str, list[Change]] = {}
    for change in changes:
        rows.setdefault(change.key, []).append(change)
    by_fields: dict[tuple[str, ...], list[str]] = {}
    for key, of_row in rows.items():
        by_fields.setdefault(tuple(change.field for change in of_row), []).append(key)
    prepared = [
        (
            (fields, len(keys)),
            _update_statement(connection, table, relation, fields),
            {
                "keys": text_array(keys),
                "before": text_array([to_text({c.field: _json(c.before) for c in rows[key]}) for key in keys]),
                "after": text_array([to_text({c.field: _json(c.after) for c in rows[key]}) for key in keys]),
            },
        )
        for fields, keys in by_fields.items()
    ]

    def send() -> Written:
        sent = [(expected, connection.execute(statement, values)) for expected, statement, values in prepared]
        prepared.clear()
        return lambda: _hashes(table, relation, sent)

    return send


def _hashes(
    table: Table, relation: Relation, sent: Sequence[tuple[tuple[tuple[str, ...], int], Cursor[Any]]]
) -> dict[RowKey, int | None]:
    hashes: dict[RowKey, int | None] = {}
    for (fields, expected), cursor in sent:
        found = cursor.fetchall()
        if len(found) != expected:
            raise Failed(
                f"{expected - len(found)} of {expected} rows of {relation} did not take the change although they "
                "were locked: look for a trigger, a rule or row-level security on the table. Nothing was applied."
            )
        altered = [key for key, _, took in found if not took]
        if altered:
            more = f" (and {len(altered) - 1} more rows)" if len(altered) > 1 else ""
            raise Failed(
                f"row {altered[0]} of {relation}{more} did not keep what was written to {', '.join(fields)}: a trigger "
                "of the database makes something else of it. Nothing was applied. Change the trigger, or take the "
                "value out of state; --only applies other rows until then."
            )
        hashes |= {(table.name, key): hashed for key, hashed, _ in found}
    return hashes


def _update_statement(
    connection: Connection[Any], table: Table, relation: Relation, fields: Sequence[str]
) -> sql.Composed:
    columns = relation.columns
    after, before = sql.SQL("d.after"), sql.SQL("d.before")
    settings = [
        sql.SQL("{} = {}").format(sql.Identifier(name), columns[name].from_document(after, name)) for name in fields
    ]
    if table.definition.touch is not None:
        touch = columns[table.definition.touch]
        settings.append(sql.SQL("{} = {}").format(sql.Identifier(touch.name), touch.now))

    def holds(document: sql.SQL) -> sql.Composable:
        return sql.SQL(" AND ").join(
            sql.SQL("{} IS NOT DISTINCT FROM {}").format(
                columns[name].comparable("t"), columns[name].from_document(document, name, comparable=True)
            )
            for name in fields
        )

    return sql.SQL(
        """
        UPDATE {table} AS t SET {settings}
          FROM unnest(%(keys)s::text[], %(before)s::jsonb[], %(after)s::jsonb[]) AS d (key, before, after)
         WHERE t.{key} = d.key::{key_type} AND {unmoved}
        RETURNING d.key, {row_hash}, {took}
        """
    ).format(
        table=relation.identifier,
        settings=sql.SQL(", ").join(settings),
        key=sql.Identifier(table.definition.key),
        key_type=sql.SQL(columns[table.definition.key].declared),
        unmoved=holds(before),
        took=holds(after),
        row_hash=row_hash(connection, table, relation, "t"),
    )


def create_row(connection: Connection[Any], table: Table, relation: Relation, changes: Sequence[Change]) -> str | None:
    """Make one row with the fields of `changes` and what the schema's `create` gives. Returns its tenant's id, if any.

    Rows that may be made are few (a settings row); each has a statement of its own.
    """
    columns = relation.columns
    document = sql.SQL("%(after)s::jsonb")
    values: dict[str, sql.Composable] = {
        name: columns[name].now if value == NOW else columns[name].from_document(document, name)
        for name, value in table.definition.create.items()
    }
    if table.definition.touch is not None:
        values[table.definition.touch] = columns[table.definition.touch].now
    values[table.definition.key] = sql.SQL("%(key)s::{}").format(sql.SQL(columns[table.definition.key].declared))
    for change in changes:
        values[change.field] = columns[change.field].from_document(document, change.field)
    tenant = table.definition.audit.tenant
    statement = sql.SQL("INSERT INTO {} ({}) VALUES ({}) RETURNING {}").format(
        relation.identifier,
        sql.SQL(", ").join(map(sql.Identifier, values)),
        sql.SQL(", ").join(values.values()),
        sql.SQL("{}::text").format(sql.Identifier(tenant)) if tenant else sql.SQL("NULL"),
    )
    after = {**table.definition.create, **{change.field: _json(change.after) for change in changes}}
    parameters = {"key": changes[0].key, "after": to_text(after)}
    row = connection.execute(statement, parameters).fetchone()
    return row[0] if row else None


def applied_after(changes: Sequence[Change], seen: Mapping[str, Mapping[str, Seen]]) -> dict[RowKey, dict[str, Json]]:
    """What the ledger holds of each row that `changes` speak of once they are applied; rows where nothing moves are
    left out.

    Held and kept fields stay as they were: their base is still what was applied last. So does what was
    put back, where git asks for something else.
    """
    after: dict[RowKey, dict[str, Json]] = {}
    moved: set[RowKey] = set()
    for change in changes:
        row = (change.table, change.key)
        if row not in after:
            known = seen.get(change.table, {}).get(change.key)
            after[row] = dict(known.base or {}) if known is not None else {}
        if change.action is Action.RELEASE:
            after[row].pop(change.field, None)
            moved.add(row)
        elif is_put_back_past_git(change):
            continue
        elif change.action.writes or change.action is Action.RECORD:
            after[row][change.field] = _json(change.after)
            moved.add(row)
    return {row: fields for row, fields in after.items() if row in moved}


def _json(value: Json | Missing) -> Json:
    return None if isinstance(value, Missing) else value
