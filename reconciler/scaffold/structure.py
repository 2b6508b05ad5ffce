"""What a database says of its tables beside their columns: keys, what refers to what, and checks.

Takes a connection inside a READ ONLY transaction; gives the names of the tables that can be seen, and the Structures of
some.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from psycopg import Connection

from reconciler.canonical import text_array
from reconciler.catalog import Relation

__all__ = ["Structure", "read_structures", "visible_tables"]


class Structure(msgspec.Struct, frozen=True):
    """Constraints of one table.

    `keys`: columns that alone identify a row, the primary key first. `refers`: column to the (schema, table, column) it
    refers to. `checks`: the conditions, as the server prints them. `order`: all columns, as the table has them.
    """

    keys: tuple[str, ...] = ()
    refers: dict[str, tuple[str, str, str]] = {}
    checks: tuple[str, ...] = ()
    order: tuple[str, ...] = ()


def visible_tables(connection: Connection[Any]) -> list[str]:
    """The tables that a name without a schema finds, sorted."""
    found = connection.execute(
        """
        SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE c.relkind IN ('r', 'p') AND pg_table_is_visible(c.oid) AND n.nspname NOT IN ('pg_catalog', 'reconciler')
         ORDER BY c.relname COLLATE "C"
        """
    )
    return [name for (name,) in found]


def read_structures(connection: Connection[Any], relations: Iterable[Relation]) -> dict[tuple[str, str], Structure]:
    """The Structure of each relation, by schema and name; two statements."""
    wanted = list(relations)
    names = (text_array([one.schema for one in wanted]), text_array([one.name for one in wanted]))
    ordered = connection.execute(
        """
        SELECT w.schema, w.name, array_agg(a.attname::text ORDER BY a.attnum)
          FROM unnest(%s::text[], %s::text[]) AS w (schema, name)
          JOIN pg_namespace n ON n.nspname = w.schema
          JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.name
          JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
         GROUP BY w.schema, w.name
        """,
        names,
    )
    order = {(schema, name): tuple(columns) for schema, name, columns in ordered}
    found = connection.execute(
        """
        SELECT w.schema, w.name, k.contype::text, k.columns, k.target_schema, k.target, k.target_columns, k.definition
          FROM unnest(%s::text[], %s::text[]) AS w (schema, name)
          JOIN pg_namespace n ON n.nspname = w.schema
          JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.name
         CROSS JOIN LATERAL (
             SELECT k.contype, k.conname, pg_get_constraintdef(k.oid) AS definition, tn.nspname AS target_schema,
                    t.relname AS target,
                    (SELECT array_agg(a.attname::text ORDER BY o.place)
                       FROM unnest(k.conkey) WITH ORDINALITY AS o (number, place)
                       JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = o.number) AS columns,
                    (SELECT array_agg(a.attname::text ORDER BY o.place)
                       FROM unnest(k.confkey) WITH ORDINALITY AS o (number, place)
                       JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = o.number) AS target_columns
               FROM pg_constraint k
               LEFT JOIN pg_class t ON t.oid = k.confrelid
               LEFT JOIN pg_namespace tn ON tn.oid = t.relnamespace
              WHERE k.conrelid = c.oid AND k.contype IN ('p', 'u', 'f', 'c')
         ) AS k
         -- The primary key before other unique columns; the rest in an order that does not change.
         ORDER BY w.schema, w.name, k.contype = 'p' DESC, k.conname
        """,
        names,
    )
    keys: dict[tuple[str, str], list[str]] = {}
    refers: dict[tuple[str, str], dict[str, tuple[str, str, str]]] = {}
    checks: dict[tuple[str, str], list[str]] = {}
    for schema, name, kind, columns, target_schema, target, target_columns, definition in found:
        table = (schema, name)
        if kind == "c":
            checks.setdefault(table, []).append(definition)
        elif columns is None or len(columns) != 1:
            continue
        elif kind == "f":
            refers.setdefault(table, {})[columns[0]] = (target_schema, target, target_columns[0])
        else:
            keys.setdefault(table, []).append(columns[0])
    return {
        (one.schema, one.name): Structure(
            tuple(keys.get((one.schema, one.name), ())),
            refers.get((one.schema, one.name), {}),
            tuple(checks.get((one.schema, one.name), ())),
            order.get((one.schema, one.name), ()),
        )
        for one in wanted
    }
