"""The effective value: when a change has no effect, or a larger one than it looks (`masked_by` in a schema).

Takes a connection inside a transaction, the Definitions and the Plan's changes; gives Notices for the plan. Made for
plans that a person reads; a kill does not wait for it. The row that `reconcile init` makes is nobody to count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from psycopg import Connection

from reconciler.actual import count_open, read_value
from reconciler.canonical import to_text
from reconciler.catalog import Catalog
from reconciler.fit import made_by_init, relation_of
from reconciler.model import Change, Direction, Json, Missing
from reconciler.plan import Notice
from reconciler.schema import Definitions, Table


def mask_notices(
    connection: Connection[Any], definitions: Definitions, catalog: Catalog, changes: Sequence[Change]
) -> list[Notice]:
    """One Notice for each masked field that changes in vain, and for each mask that covers more than its own row."""
    tables = definitions.tables
    written = [change for change in changes if change.action.writes]
    after = {f"{change.table}/{change.key}.{change.field}": change.after for change in written}
    notices = []
    for table in tables.values():
        for name, field in table.fields.items():
            if field.masked_by is None:
                continue
            in_vain = [c for c in written if c.table == table.name and c.field == name]
            if in_vain:
                notices += _without_effect(connection, tables, catalog, table, name, in_vain, after)
            for change in written:
                if f"{change.table}/{change.key}.{change.field}" == field.masked_by:
                    notices += _covering(connection, definitions, catalog, table, name, change)
    return notices


def _without_effect(
    connection: Connection[Any],
    tables: Mapping[str, Table],
    catalog: Catalog,
    table: Table,
    name: str,
    changes: Sequence[Change],
    after: Mapping[str, Json | Missing],
) -> list[Notice]:
    mask = table.fields[name].masked_by
    assert mask is not None
    mask_table, _, rest = mask.partition("/")
    key, _, mask_field = rest.rpartition(".")
    masking = tables[mask_table]
    value = after.get(mask)
    if mask not in after:
        value = read_value(connection, masking, relation_of(catalog, masking), key, mask_field)
    if value is None or isinstance(value, Missing) or not masking.fields[mask_field].is_killed(value):
        return []
    rows = "1 row" if len(changes) == 1 else f"{len(changes)} rows"
    text = f"no effect for now: {name} of {rows} of {table.name} changes while {mask} is {to_text(value)}"
    return [Notice(text, changes[0].location)]


def _covering(
    connection: Connection[Any], definitions: Definitions, catalog: Catalog, table: Table, name: str, change: Change
) -> list[Notice]:
    if change.direction is Direction.NEUTRAL:
        return []
    left_out = made_by_init(definitions, table)
    count = count_open(connection, table, relation_of(catalog, table), name, left_out)
    if count == 0:
        return []
    verb = "kills" if change.direction is Direction.KILL else "restores"
    title = table.fields[name].title or name
    whom = f"1 row of {table.name}" if count == 1 else f"{count} {table.name}"
    text = f"larger than it looks: {change.table}/{change.key}.{change.field} {verb} {title} for {whom}"
    return [Notice(text, change.location)]
