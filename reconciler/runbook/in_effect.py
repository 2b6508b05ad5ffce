"""Has somebody thrown the switch already? What the kills of a playbook would set, against what the rows have.

Takes rows (table and key), the options of a playbook, and a connection; gives the names of the options that hold. An
incident goes on being seen for as long as its window is, so triage says what has been done about it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import psycopg
from psycopg import sql

from reconciler.canonical import text_array
from reconciler.database.address import DatabaseAddress
from reconciler.database.connection import DatabaseConnection, NotConnected, connect
from reconciler.database.transaction import begin_read_only
from reconciler.errors import ReconcileError
from reconciler.model import Json, RowKey
from reconciler.playbook import SUBJECT, KillOption, Playbook
from reconciler.runbook.database_probe import APPLICATION_NAME
from reconciler.schema import Definitions, Table

__all__ = ["LiveRows", "options_in_effect", "read_live", "rows_of"]

LiveRows = Mapping[RowKey, Mapping[str, Json]]
"""The fields of the rows that were found, by table and key."""


def rows_of(playbook: Playbook, key: str | None) -> Iterator[tuple[RowKey, str]]:
    """(row, field) for each field that a kill of the playbook may set; `key` is the subject's."""
    for option in playbook.kill.options.values():
        for one in option.set:
            row = key if one.row == SUBJECT else one.row
            if row is not None:
                yield (one.table, row), one.field


def options_in_effect(playbook: Playbook, key: str | None, live: LiveRows) -> tuple[str, ...]:
    """The options of which everything stands already as they would set it."""

    def holds(option: KillOption) -> bool:
        rows = [live.get((one.table, (key or "") if one.row == SUBJECT else one.row)) for one in option.set]
        return all(row is not None and row[one.field] == one.value for row, one in zip(rows, option.set, strict=True))

    return tuple(name for name, option in playbook.kill.options.items() if holds(option))


def read_live(
    address: DatabaseAddress, definitions: Definitions, wanted: Iterable[tuple[RowKey, str]], deadline_s: float
) -> LiveRows | None:
    """The wanted fields of the wanted rows, None where they cannot be read in time."""
    by_table: dict[str, tuple[set[str], set[str]]] = {}
    for (table, key), field in wanted:
        keys, fields = by_table.setdefault(table, (set(), set()))
        keys.add(key)
        fields.add(field)
    limit_ms = max(1, int(deadline_s * 1000))
    try:
        with connect(
            address,
            connect_timeout_s=deadline_s,
            statement_timeout_ms=limit_ms,
            application_name=APPLICATION_NAME,
        ) as connection:
            live: dict[RowKey, Mapping[str, Json]] = {}
            with begin_read_only(connection, doing="reading what is switched off", lock_timeout_ms=limit_ms):
                for name, (keys, fields) in by_table.items():
                    live.update(_read_table(connection, definitions.tables[name], keys, sorted(fields)))
            return live
    except (NotConnected, ReconcileError, psycopg.Error):
        return None


def _read_table(
    connection: DatabaseConnection, table: Table, keys: Iterable[str], fields: list[str]
) -> Iterator[tuple[RowKey, Mapping[str, Json]]]:
    """The keys go as a literal of no type, so that the server takes the key's own and can use its index."""
    definition = table.definition
    statement = sql.SQL("SELECT t.{key}::text, {fields} FROM {table} AS t WHERE t.{key} = ANY (%s)").format(
        key=sql.Identifier(definition.key),
        fields=sql.SQL(", ").join(sql.SQL("to_jsonb(t.{})").format(sql.Identifier(field)) for field in fields),
        table=sql.Identifier(*filter(None, (definition.schema, table.name))),
    )
    for key, *values in connection.execute(statement, (text_array(sorted(keys)),)):
        yield (table.name, key), dict(zip(fields, values, strict=True))
