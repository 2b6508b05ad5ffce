"""Which effects follow which changes, and what each of them carries.

Takes the Changes of a plan and the Tables that declare effects; gives what is to be said of them in the plan, and for
an apply the `Outgoing` entries of the outbox. Pure, but for the ids, which are new each time.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from reconciler.effects.compiled import CompiledEffect
from reconciler.effects.templates import ROW
from reconciler.model import Change, Json, Missing, RowKey
from reconciler.schema import Table


class Outgoing(msgspec.Struct, frozen=True):
    """An entry of the outbox that is to be written. `table`, `key` and `field` say what it is about."""

    id: str
    table: str
    key: str
    field: str
    kind: str
    endpoint: str
    target: str
    payload: dict[str, Any]


class RunFacts(msgspec.Struct, frozen=True):
    """What a template can say of the run. `reason` stands where the change itself gives none."""

    run: str
    commit: str
    reason: str | None


def following(changes: Iterable[Change], tables: Mapping[str, Table]) -> Iterator[tuple[Change, CompiledEffect]]:
    """Every effect of every change that writes, in the order of the changes and of the schema."""
    declared = {name: table.effects for name, table in tables.items() if table.effects}
    if not declared:
        return
    for change in changes:
        effects = declared.get(change.table, {}).get(change.field, ())
        if effects and change.action.writes and not isinstance(change.after, Missing):
            after = change.after
            yield from ((change, effect) for effect in effects if effect.follows(after))


def count_following(changes: Iterable[Change], tables: Mapping[str, Table]) -> list[tuple[str, str, int]]:
    """(kind, target, how many) of the effects that would follow, sorted."""
    counts: dict[tuple[str, str], int] = {}
    for _, effect in following(changes, tables):
        what = (effect.kind, effect.target)
        counts[what] = counts.get(what, 0) + 1
    return [(kind, target, number) for (kind, target), number in sorted(counts.items())]


def columns_named(pairs: Sequence[tuple[Change, CompiledEffect]]) -> dict[str, dict[str, set[str]]]:
    """Table to row key to the columns of the row that the templates of its effects name; few effects name any."""
    wanted: dict[str, dict[str, set[str]]] = {}
    for change, effect in pairs:
        columns = {name.removeprefix(ROW) for name in effect.names if name.startswith(ROW)}
        if columns:
            wanted.setdefault(change.table, {}).setdefault(change.key, set()).update(columns)
    return wanted


def outgoing(
    pairs: Iterable[tuple[Change, CompiledEffect]], facts: RunFacts, rows: Mapping[RowKey, Mapping[str, Json]]
) -> list[Outgoing]:
    """The entries. `rows` has the columns, as they are now, of the rows that a template looks into."""
    entries = []
    for change, effect in pairs:
        id = str(uuid.uuid4())
        values = {**values_of(change, facts), "id": id}
        row = rows.get((change.table, change.key), {})
        values.update((ROW + name, value) for name, value in row.items())
        payload = effect.payload(values)
        entries.append(
            Outgoing(id, change.table, change.key, change.field, effect.kind, effect.endpoint, effect.target, payload)
        )
    return entries


def values_of(change: Change, facts: RunFacts) -> dict[str, Json]:
    """What a template can say of a change, but for the effect's id and the columns of the row."""
    return {
        "key": change.key,
        "field": change.field,
        "before": None if isinstance(change.before, Missing) else change.before,
        "after": None if isinstance(change.after, Missing) else change.after,
        "label": change.label,
        "table": change.table,
        "reason": change.reason or facts.reason,
        "commit": facts.commit,
        "run": facts.run,
    }
