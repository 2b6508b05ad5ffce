"""The defaults of a table's columns, as the database itself evaluates them.

Takes a connection inside a transaction, and a Relation; gives canonical values. Only constants count: what a default
such as `now()` or a sequence gave a row is not to be known afterwards. Which expression is constant is asked of the
server's own parse of it: every part a constant, or a call of one of PostgreSQL's functions that is declared immutable.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from psycopg import Connection, sql

from reconciler.canonical import from_text
from reconciler.catalog import Relation, document_of
from reconciler.model import Json

__all__ = ["read_defaults"]

_CONSTANT_DEFAULTS = """
SELECT a.attname, pg_get_expr(d.adbin, d.adrelid)
  FROM pg_attrdef d
  JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
  JOIN pg_class c ON c.oid = d.adrelid
  JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = %s AND c.relname = %s AND a.attname = ANY (%s) AND a.attgenerated = ''
   AND NOT EXISTS (
       SELECT FROM regexp_matches(d.adbin::text, '\\{([A-Z_]+)', 'g') AS node
        WHERE node[1] NOT IN ('CONST', 'FUNCEXPR', 'OPEXPR', 'RELABELTYPE', 'ARRAY', 'ARRAYEXPR', 'ARRAYCOERCEEXPR',
                              'CASETESTEXPR', 'COLLATEEXPR'))
   AND NOT EXISTS (
       SELECT FROM regexp_matches(d.adbin::text, ':(?:op)?funcid (\\d+)', 'g') AS called
         JOIN pg_proc p ON p.oid = called[1]::oid
        WHERE p.provolatile <> 'i' OR p.pronamespace <> 'pg_catalog'::regnamespace)
"""


def read_defaults(connection: Connection[Any], relation: Relation, names: Iterable[str]) -> dict[str, Json]:
    """The default of each of these columns that has a constant one; None (NULL) for those that have none at all."""
    columns = {name: relation.columns[name] for name in names}
    defaults: dict[str, Json] = {name: None for name, column in columns.items() if not column.has_default}
    found = connection.execute(_CONSTANT_DEFAULTS, (relation.schema, relation.name, list(columns))).fetchall()
    if not found:
        return defaults
    values = [
        sql.SQL("({})::{} AS {}").format(sql.SQL(expression), sql.SQL(columns[name].declared), sql.Identifier(name))
        for name, expression in found
    ]
    statement = sql.SQL("SELECT ({document})::text FROM (SELECT {values}) AS t").format(
        document=document_of({name: columns[name] for name, _ in found}), values=sql.SQL(", ").join(values)
    )
    row = connection.execute(statement).fetchone()
    assert row is not None
    defaults.update(from_text(row[0]))
    return defaults
