"""The columns of changed rows that templates look into (`$row.name`), as they are after the writes.

Takes a connection inside the apply's transaction, a Table with its Relation, and which columns are wanted; gives
canonical values. One statement for each table, and only where a template asks.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

from psycopg import Connection, sql

from reconciler.canonical import from_text, text_array
from reconciler.catalog import Relation, document_of
from reconciler.model import Json, RowKey
from reconciler.schema import Table


def read_rows(
    connection: Connection[Any], table: Table, relation: Relation, wanted: Mapping[str, Set[str]]
) -> dict[RowKey, dict[str, Json]]:
    """Of each row (by key) at least the columns that are wanted of it."""
    columns = {name: relation.columns[name] for name in sorted(set().union(*wanted.values()))}
    key = relation.columns[table.definition.key]
    statement = sql.SQL(
        """
        SELECT k.key, ({document})::text FROM unnest(%s::text[]) AS k (key)
          JOIN {table} AS t ON t.{column} = k.key::{type}
        """
    ).format(
        document=document_of(columns),
        table=relation.identifier,
        column=sql.Identifier(key.name),
        type=sql.SQL(key.declared),
    )
    found = connection.execute(statement, (text_array(list(wanted)),))
    return {(table.name, row): from_text(document) for row, document in found}
