"""The rows that have not in the database what was applied last, found by checksums.

Takes a connection inside a transaction, a Table and its Relation; gives keys. With each row that it applies, the ledger
keeps a hash of the managed columns, made by the server. Where the exclusive or of all hashes of a bucket is the same in
the table and in the ledger, no row of that bucket has moved; to join a million rows, and to compare their columns,
takes three times as long. Rows that nobody manages count on the table's side only: each makes one bucket differ, which
is then compared row by row. What comes out is right in any case, and soon where most of the table is managed.
"""

from __future__ import annotations

from typing import Any

from psycopg import Connection, sql

from reconciler.canonical import int_array
from reconciler.catalog import Relation
from reconciler.schema import Table

__all__ = ["drifted_keys", "row_hash"]

_BUCKETS = 4_096
"""A power of two: the last bits of a hash are its bucket."""

_HASHED_AS_THEY_ARE = frozenset(
    {"bool", "int2", "int4", "int8", "numeric", "text", "varchar", "bpchar", "timestamp", "timestamptz", "date", "uuid"}
)
"""Types whose equal values have equal hashes. Of all others the text is hashed: an enum's hash does not outlive a dump,
and not every type has one.
"""

_OLDEST = 140_000
"""Servers before PostgreSQL 14 have neither the hash of a record nor an exclusive or over rows."""

_IN_DOUBT = sql.SQL(f"(l.row_hash IS NULL OR l.row_hash & {_BUCKETS - 1} = ANY (%(dirty)s::bigint[]))")


def row_hash(connection: Connection[Any], table: Table, relation: Relation, alias: str) -> sql.Composable:
    """SQL for the hash of a row's key and managed columns; NULL where the server cannot make one."""
    if connection.info.server_version < _OLDEST:
        return sql.SQL("NULL::bigint")
    parts: list[sql.Composable] = [sql.SQL("{}::text").format(sql.Identifier(alias, table.definition.key))]
    for name in sorted(table.fields):
        column = relation.columns[name]
        as_it_is = column.type in _HASHED_AS_THEY_ARE and not column.is_array
        parts.append(sql.SQL("{}" if as_it_is else "({})::text").format(column.comparable(alias)))
    return sql.SQL("hash_record_extended(ROW({}), 0)").format(sql.SQL(", ").join(parts))


def drifted_keys(connection: Connection[Any], table: Table, relation: Relation) -> list[str]:
    """The keys of rows that do not have what was applied last, or are gone; only they travel.

    Rows are compared one by one in the buckets whose checksums are not the same in the table and in the ledger: as a
    rule that is none.
    """
    dirty = _dirty_buckets(connection, table, relation)
    if not dirty:
        return []
    applied = sql.SQL("l.applied")
    differs = [
        sql.SQL("OR ({base} IS DISTINCT FROM {actual} AND l.applied ? {name})").format(
            # An enum's labels may have gone since: as text, none is a conversion that fails.
            base=sql.SQL("(l.applied ->> {})").format(sql.Literal(name))
            if column.is_enum
            else column.from_document(applied, name, comparable=True),
            actual=sql.SQL("{}::text").format(column.comparable("t")) if column.is_enum else column.comparable("t"),
            name=sql.Literal(name),
        )
        for name in table.fields
        for column in (relation.columns[name],)
    ]
    statement = sql.SQL(
        """
        SELECT l.key FROM reconciler.managed_row AS l LEFT JOIN {table} AS t ON t.{key} = l.key::{key_type}
         WHERE l.table_name = %(table)s AND {in_doubt} AND (t.{key} IS NULL {differs})
        """
    ).format(
        table=relation.identifier,
        key=sql.Identifier(table.definition.key),
        key_type=sql.SQL(relation.columns[table.definition.key].declared),
        in_doubt=_IN_DOUBT if len(dirty) <= _BUCKETS // 2 else sql.SQL("true"),
        differs=sql.SQL(" ").join(differs),
    )
    buckets = int_array(bucket for bucket in dirty if bucket is not None)
    return [key for (key,) in connection.execute(statement, {"table": table.name, "dirty": buckets})]


def _dirty_buckets(connection: Connection[Any], table: Table, relation: Relation) -> list[int | None]:
    """The buckets of the ledger that may hold a row which has moved; None stands for rows of which it has no hash."""
    if connection.info.server_version < _OLDEST:
        return [None, *range(_BUCKETS)]
    statement = sql.SQL(
        """
        WITH applied AS (
            SELECT row_hash & {last} AS bucket, count(*) AS rows, bit_xor(row_hash) AS sum
              FROM reconciler.managed_row WHERE table_name = %s GROUP BY 1
        ), there AS (
            SELECT hash & {last} AS bucket, count(*) AS rows, bit_xor(hash) AS sum
              FROM (SELECT {row_hash} AS hash FROM {table} AS t OFFSET 0) AS hashed GROUP BY 1
        )
        SELECT a.bucket FROM applied a LEFT JOIN there t ON t.bucket = a.bucket
         WHERE a.bucket IS NULL OR (a.rows, a.sum) IS DISTINCT FROM (t.rows, t.sum)
        """
    ).format(
        last=sql.Literal(_BUCKETS - 1), row_hash=row_hash(connection, table, relation, "t"), table=relation.identifier
    )
    # The server takes every row for a bucket of its own, and would rather sort a million than hash them.
    connection.execute("SET LOCAL enable_sort = off")
    found = connection.execute(statement, (table.name,)).fetchall()
    connection.execute("SET LOCAL enable_sort = DEFAULT")
    return [bucket for (bucket,) in found]
