"""The actual side of the diff: what the database has, compared inside the server, so that only rows that are not in
sync travel.

Takes a connection inside a transaction, a Table, its Relation and the desired rows; gives `Seen` rows: actual and base
values of every row where desired, base and actual are not all the same. The decision is not made here: what comes back
goes to `diff`, which would say "in sync" of every row that stays behind.

A run may look at a hundred thousand rows, so what is held of each is little, and comes from the server by and by.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

import reconciler.database.driver  # isort: skip  # noqa: F401  before any other import of psycopg
from psycopg import Connection, sql

from reconciler.canonical import digest, from_text, row_digest, text_array, to_text, uuid_array
from reconciler.catalog import Column, Relation, document_of
from reconciler.drifted import row_hash
from reconciler.model import Json, Location, Row
from reconciler.schema import Table

_MANY = 5_000
"""More rows than this come through a cursor in the server, so many at a time."""

_MOST_DOCUMENTS = 20_000
"""So many different documents are remembered; a fleet whose rows are all different gains nothing by more."""

_ANY_IS_HASHED = 140_000
"""Servers before PostgreSQL 14 compare a column with each element of an array, where no index finds them."""

Data = Mapping[str, Json]
"""Field to canonical value; not to be changed, since rows that have the same share it."""


class Sought(msgspec.Struct, frozen=True):
    """The rows of a table that are looked at: those of `desired`, and those that the ledger knows, if there is one.

    `only_keys` limits what the ledger knows to these rows; None means the whole table, so that rows which git no longer
    names are found.
    """

    table: Table
    relation: Relation
    desired: Mapping[str, Row]
    has_ledger: bool
    only_keys: Sequence[str] | None

    def same_key(self, key: str) -> str:
        """The key as the desired row has it, if there is one: a hundred thousand texts need not be held twice."""
        row = self.desired.get(key)
        return row.key if row is not None else key


class Seen(msgspec.Struct, frozen=True, gc=False):
    """One row that is not in sync. `actual` is None where the row does not exist, `base` where nothing was applied.

    `tenant` is the id of the tenant whose row it is, and `row_hash` the server's hash of it (`drifted`), both of a row
    that was locked.
    """

    key: str
    actual: Data | None
    base: Data | None
    label: str | None
    tenant: str | None = None
    row_hash: int | None = None


class Mismatch(msgspec.Struct, frozen=True):
    """A row that does not look as its `$expect` says."""

    key: str
    column: str
    expected: Json
    found: Json
    location: Location | None


def compare(connection: Connection[Any], sought: Sought) -> list[Seen]:
    """Every row that is not in sync, in order of key; one statement whatever the number of rows.

    Of desired only a digest of each row travels, to be compared with the ledger's: parsing a hundred thousand JSON
    documents takes the server longer than all the rest. Where the two are the same, the row is in sync if the table
    agrees with the ledger.
    """
    table, relation = sought.table, sought.relation
    rows = _differing(connection, sought, (_document(_managed_columns(table, relation)), _label(table, relation)))
    read = _Documents().read
    return [
        Seen(
            sought.same_key(key),
            read(document) if exists else None,
            read(base) if base is not None else None,
            label,
        )
        for key, base, exists, document, label in rows
    ]


def find_and_lock(connection: Connection[Any], sought: Sought) -> list[Seen]:
    """The same rows, locked: what is seen of them is read under the lock, once, and stays so until the commit."""
    read = _Documents().read
    rows = _differing(connection, sought, ())
    bases = {sought.same_key(key): read(base) if base is not None else None for key, base, _exists in rows}
    return _locked(connection, sought.table, sought.relation, bases) if bases else []


def _differing(
    connection: Connection[Any], sought: Sought, columns: Sequence[sql.Composable]
) -> Iterator[tuple[Any, ...]]:
    """The rows that are not in sync, in order of key: the key, what is applied, whether the row is there, and
    `columns`.
    """
    table, relation, desired, only_keys = sought.table, sought.relation, sought.desired, sought.only_keys
    applied = sql.SQL("l.applied")
    differs = [
        sql.SQL("OR ({base} IS DISTINCT FROM {actual} AND l.applied ? {name})").format(
            base=column.from_document(applied, name, comparable=True),
            actual=column.comparable("t"),
            name=sql.Literal(name),
        )
        for name, column in _managed_columns(table, relation).items()
    ]
    is_limited = only_keys is not None and desired.keys() <= set(only_keys)
    # CASE, because only values that git still asks for are known to be of the column's type.
    statement = sql.SQL(
        """
        SELECT {columns}
          FROM unnest(%(keys)s::text[], %(digests)s::uuid[]) AS d (key, digest)
          FULL JOIN ({ledger}) AS l ON l.key = d.key
          LEFT JOIN {table} AS t ON t.{key} = coalesce(d.key, l.key)::{key_type} AND {among}
         WHERE CASE WHEN l.digest = d.digest AND t.{key} IS NOT NULL THEN false {differs} ELSE true END
         ORDER BY 1
        """
    ).format(
        columns=sql.SQL(", ").join(
            [
                sql.SQL("coalesce(d.key, l.key)"),
                sql.SQL("l.applied::text"),
                sql.SQL("t.{} IS NOT NULL").format(sql.Identifier(table.definition.key)),
                *columns,
            ]
        ),
        key=sql.Identifier(table.definition.key),
        key_type=sql.SQL(_key_type(table, relation)),
        among=_among(connection, table, relation, "only") if is_limited else sql.SQL("true"),
        ledger=_ledger(has_ledger=sought.has_ledger, limited=only_keys is not None),
        table=relation.identifier,
        differs=sql.SQL(" ").join(differs),
    )
    parameters = {
        "keys": text_array(list(desired)),
        "digests": uuid_array(row_digest(key, digest(row.data)) for key, row in desired.items()),
        "table": table.name,
        "only": text_array(only_keys or ()),
    }
    return _rows(connection, statement, parameters, many=len(desired) > _MANY)


def _locked(
    connection: Connection[Any], table: Table, relation: Relation, bases: Mapping[str, Data | None]
) -> list[Seen]:
    """The rows of these keys, locked in order of key, so that two writers cannot wait for each other; in the order of
    `bases`, which is what was applied.

    FOR NO KEY UPDATE: nobody else changes these rows before the commit, yet the application's inserts that refer to
    them (usage, messages) do not wait.
    """
    tenant = table.definition.audit.tenant
    statement = sql.SQL(
        """
        SELECT k.key, {document}, {label}, {tenant}, {row_hash}
          FROM unnest(%(keys)s::text[]) AS k (key)
          JOIN {table} AS t ON t.{key} = k.key::{key_type}
         WHERE {among}
         ORDER BY t.{key}
           FOR NO KEY UPDATE OF t
        """
    ).format(
        key=sql.Identifier(table.definition.key),
        key_type=sql.SQL(_key_type(table, relation)),
        document=_document(_managed_columns(table, relation)),
        label=_label(table, relation),
        tenant=sql.SQL("t.{}::text").format(sql.Identifier(tenant)) if tenant else sql.SQL("NULL"),
        row_hash=row_hash(connection, table, relation, "t"),
        table=relation.identifier,
        among=_among(connection, table, relation, "keys"),
    )
    read = _Documents().read
    seen = {key: Seen(key, None, base, None) for key, base in bases.items()}
    rows = _rows(connection, statement, {"keys": text_array(list(bases))}, many=len(bases) > _MANY)
    for found, document, label, tenant_id, hashed in rows:
        key = seen[found].key
        # Where the row is a tenant's own, its key is the tenant's id: one text for both.
        seen[key] = Seen(key, read(document), bases[key], label, key if tenant_id == key else tenant_id, hashed)
    return list(seen.values())


def _rows(
    connection: Connection[Any], statement: sql.Composed, parameters: Mapping[str, str], *, many: bool
) -> Iterator[tuple[Any, ...]]:
    """What a query gives; of many rows, never all at once."""
    if not many:
        yield from connection.execute(statement, parameters)
        return
    with connection.cursor(name="reconcile_rows") as cursor:
        cursor.itersize = _MANY
        cursor.execute(statement, parameters)
        yield from cursor


def _among(connection: Connection[Any], table: Table, relation: Relation, parameter: str) -> sql.Composable:
    """That a row is one of those asked for, said once more where that is no condition but a help: the server does not
    know how many rows `unnest` gives, or that each is another, and would rather put a table of a million rows into a
    hash than look up a thousand.
    """
    if connection.info.server_version < _ANY_IS_HASHED:
        return sql.SQL("true")
    key = sql.Identifier("t", table.definition.key)
    return sql.SQL("{} = ANY (%({})s::text[]::{}[])").format(
        key, sql.SQL(parameter), sql.SQL(_key_type(table, relation))
    )


def expectations(
    connection: Connection[Any], table: Table, relation: Relation, desired: Mapping[str, Row]
) -> list[Mismatch]:
    """Rows whose `$expect` does not hold; one statement, and none where nothing is expected.

    A value is as expected if it is the same JSON value (5.00 is 5), or has the same text (a text column may hold 007).
    """
    expecting = [row for row in desired.values() if row.expect]
    if not expecting:
        return []
    columns = sorted({name for row in expecting for name in row.expect})
    statement = sql.SQL(
        """
        SELECT e.key, {document}
          FROM unnest(%(keys)s::text[], %(documents)s::jsonb[]) AS e (key, expected)
          JOIN {table} AS t ON t.{key} = e.key::{key_type}
         WHERE {differs}
        """
    ).format(
        key=sql.Identifier(table.definition.key),
        key_type=sql.SQL(_key_type(table, relation)),
        document=_document({name: relation.columns[name] for name in columns}),
        table=relation.identifier,
        differs=sql.SQL(" OR ").join(
            sql.SQL(
                "(e.expected ? {name} AND e.expected -> {name} IS DISTINCT FROM {actual}"
                " AND e.expected ->> {name} IS DISTINCT FROM {actual} #>> '{{}}')"
            ).format(
                name=sql.Literal(name),
                actual=sql.SQL("to_jsonb({})").format(relation.columns[name].canonical("t")),
            )
            for name in columns
        ),
    )
    rows = connection.execute(
        statement,
        {
            "keys": text_array([row.key for row in expecting]),
            "documents": text_array(
                [to_text({name: value.data for name, value in row.expect.items()}) for row in expecting]
            ),
        },
    ).fetchall()
    mismatches = []
    for key, document in rows:
        found = from_text(document)
        for name, value in desired[key].expect.items():
            if _as_text(found[name]) != _as_text(value.data):
                mismatches.append(Mismatch(key, name, value.data, found[name], value.location))
    return mismatches


def _as_text(data: Json) -> str | None:
    """A single value as `->>` shows it."""
    if data is None or isinstance(data, str):
        return data
    return to_text(data)


def _managed_columns(table: Table, relation: Relation) -> dict[str, Column]:
    return {name: relation.columns[name] for name in table.fields}


def _key_type(table: Table, relation: Relation) -> str:
    return relation.columns[table.definition.key].declared


def _document(fields: Mapping[str, Column]) -> sql.Composable:
    return sql.SQL("{}::text").format(document_of(fields))


def _label(table: Table, relation: Relation) -> sql.Composable:
    label = table.definition.label
    return sql.SQL("t.{}::text").format(sql.Identifier(label)) if label else sql.SQL("NULL")


def _ledger(*, has_ledger: bool, limited: bool) -> sql.SQL:
    if not has_ledger:
        return sql.SQL("SELECT NULL::text AS key, NULL::uuid AS digest, NULL::jsonb AS applied WHERE false")
    only = " AND key = ANY (%(only)s::text[])" if limited else ""
    return sql.SQL("SELECT key, digest, applied FROM reconciler.managed_row WHERE table_name = %(table)s" + only)


class _Documents:
    """Reads documents; rows with the same one, as most are, share what it says."""

    def __init__(self) -> None:
        self._read: dict[str, Data] = {}

    def read(self, document: str) -> Data:
        data = self._read.get(document)
        if data is None:
            if len(self._read) >= _MOST_DOCUMENTS:
                self._read.clear()
            data = self._read[document] = from_text(document)
        return data


def count_rows(connection: Connection[Any], relation: Relation) -> int:
    """How many rows the table has."""
    row = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(relation.identifier)).fetchone()
    return int(row[0]) if row else 0


def read_value(connection: Connection[Any], table: Table, relation: Relation, key: str, field: str) -> Json:
    """One managed value of one row; None where there is no such row."""
    statement = sql.SQL("SELECT jsonb_build_object('v', {value})::text FROM {table} AS t WHERE t.{key} = %s").format(
        value=relation.columns[field].canonical("t"),
        table=relation.identifier,
        key=sql.Identifier(table.definition.key),
    )
    row = connection.execute(statement, (key,)).fetchone()
    return from_text(row[0])["v"] if row else None


def read_tenant(connection: Connection[Any], table: Table, relation: Relation, key: str) -> str | None:
    """The id of the tenant whose row this is; None where the table knows no tenants, or has no such row."""
    name = table.definition.audit.tenant
    if name is None or not {name, table.definition.key} <= relation.columns.keys():
        return None
    statement = sql.SQL("SELECT t.{tenant}::text FROM {table} AS t WHERE t.{key}::text = %s").format(
        tenant=sql.Identifier(name), table=relation.identifier, key=sql.Identifier(table.definition.key)
    )
    row = connection.execute(statement, (key,)).fetchone()
    return row[0] if row else None


def count_open(connection: Connection[Any], table: Table, relation: Relation, field: str, left_out: str | None) -> int:
    """How many rows have the field on another side than the kill side; the row with the key `left_out` never counts."""
    kill = getattr(table.fields[field], "kill", None)
    killed = kill if isinstance(kill, list) else [kill]
    # NULL is a value like any other here: the open side of whatever it may be.
    statement = sql.SQL(
        """
        SELECT count(*) FROM {table} AS t
         WHERE coalesce(to_jsonb({value}), 'null') <> ALL (%s::jsonb[]) AND t.{key}::text IS DISTINCT FROM %s::text
        """
    ).format(
        table=relation.identifier,
        value=relation.columns[field].canonical("t"),
        key=sql.Identifier(table.definition.key),
    )
    row = connection.execute(statement, (text_array([to_text(value) for value in killed]), left_out)).fetchone()
    return int(row[0]) if row else 0
