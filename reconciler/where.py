"""`$where`: what is asked of every row that looks so, as it stands in a file of state.

Takes the node below `$where` and its Table; gives Matches, and appends a Problem for each mistake. Which rows they mean
is for the database to say (`fleets`); what can be known without one is said here: columns and values that no row could
have, entries that chase their own tail, entries that cannot but disagree.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Mapping as Columns

from reconciler.canonical import equal, to_text
from reconciler.errors import Problem, nearest
from reconciler.fields import Field, NotAValue, resolve_plainly
from reconciler.model import WHERE, Json, Location, Match, Matched, Row, Value
from reconciler.nodes import Mapping, Node
from reconciler.nodes import Sequence as SequenceNode
from reconciler.schema import Table

__all__ = ["WHERE", "disagree", "match_problems", "read_where", "rows_meant"]

_PARTS = ("match", "set")
_EXAMPLE = "$where: [{match: {column: value}, set: {field: value}}]"
_WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:@/+-]*")

ReadRow = Callable[[Row, Mapping, str], None]
"""Reads the fields of a row's mapping, in a file, into the Row."""


def read_where(table: Table, node: Node, file: str, read_row: ReadRow, problems: list[Problem]) -> list[Match]:
    """The entries of one `$where`, those with a mistake left out."""
    if not isinstance(node, SequenceNode) or not node.items:
        problems.append(Problem(f"{WHERE} takes a list of entries", Location(file, node.line, node.column), _EXAMPLE))
        return []
    found = [_read_entry(table, entry, file, read_row, problems) for entry in node.items]
    return [match for match in found if match is not None]


def _read_entry(table: Table, node: Node, file: str, read_row: ReadRow, problems: list[Problem]) -> Match | None:
    before, place = len(problems), Location(file, node.line, node.column)
    if not isinstance(node, Mapping):
        problems.append(Problem(f"an entry of {WHERE} is a mapping", place, _EXAMPLE))
        return None
    for part in node.items:
        if part not in _PARTS:
            hint = nearest(part, _PARTS) or "an entry has `match` and `set`"
            problems.append(Problem(f"{part} is not known below {WHERE}", Location(file, *node.keys[part]), hint))
    parts = []
    for part in _PARTS:
        child = node.items.get(part)
        if isinstance(child, Mapping) and child.items:
            parts.append(child)
            continue
        where = Location(file, *node.keys[part]) if part in node.keys else place
        hint = "a match of all rows is refused: name a column" if part == "match" else "set: {field: value}"
        problems.append(Problem(f"`{part}` takes a mapping in which something stands", where, hint))
    if len(parts) < len(_PARTS):
        return None
    columns = _read_columns(table, parts[0], file, problems)
    row = Row(table.name, WHERE, {}, place)
    if "$expect" in parts[1].items:
        where = Location(file, *parts[1].keys["$expect"])
        problems.append(Problem("$expect is for one row; here `match` says which rows are meant", where, "remove it"))
    read_row(row, parts[1], file)
    for name in row.values.keys() & columns.keys():
        where = Location(file, *parts[1].keys[name])
        text = f"{name} is matched here as well: once it is set, the rows would match no more"
        problems.append(Problem(text, where, "match by another column, or set another field"))
    if len(problems) > before:
        return None
    meant = rows_meant(columns)
    return Match(
        table=table.name,
        columns=columns,
        values={name: _matched(value, meant) for name, value in row.values.items()},
        timed=row.timed,
        location=place,
    )


def _matched(value: Value, meant: str) -> Matched:
    given = {name: getattr(value, name) for name in Value.__struct_fields__}
    return Matched(**given, match=meant)


def _read_columns(table: Table, node: Mapping, file: str, problems: list[Problem]) -> dict[str, tuple[Json, ...]]:
    columns = {}
    for name, child in node.items.items():
        field = table.matchable.get(name)
        if field is None:
            problems.append(_not_matchable(table, name, Location(file, *node.keys[name])))
            continue
        nodes = child.items if isinstance(child, SequenceNode) else [child]
        values: list[Json] = []
        for one in nodes:
            try:
                values.append(_value(field, one))
            except NotAValue as wrong:
                place = Location(file, one.line, one.column)
                problems.append(Problem(f"match {table.name}.{name}: {wrong}", place, wrong.hint))
        if not nodes:
            place = Location(file, child.line, child.column)
            problems.append(Problem(f"match {table.name}.{name}: no row has one of no values", place, "[a, b]"))
        columns[name] = tuple(values)
    return columns


def _value(field: Field, node: Node) -> Json:
    """One value to be matched. A row may have null where git may not write it."""
    return None if resolve_plainly(node) is None else field.parse(node)


def _not_matchable(table: Table, name: str, place: Location) -> Problem:
    if name in table.secret:
        return Problem(f"{name} holds a secret: it can never be read", place)
    if name in table.fields:
        text = f"{name} is of type {table.fields[name].type_name}, which cannot be matched"
        return Problem(text, place, "match by a column with single values")
    hint = nearest(name, table.matchable) or f"declare it below `match` in schemas/{table.name}.yaml"
    return Problem(f'table {table.name} has no column "{name}" that may be matched', place, hint)


def rows_meant(columns: Columns[str, tuple[Json, ...]]) -> str:
    """`aiPlan = FREE and status in (ACTIVE, SUSPENDED)`."""
    return " and ".join(
        f"{name} = {_spoken(values[0])}" if len(values) == 1 else f"{name} in ({', '.join(map(_spoken, values))})"
        for name, values in columns.items()
    )


def _spoken(data: Json) -> str:
    """A value as people say it: a single word without quotes, anything else as JSON."""
    return data if isinstance(data, str) and _WORD.fullmatch(data) else to_text(data)


def disagree(one: Value, other: Value) -> bool:
    """Whether two entries ask for different things. Their reasons do not count."""
    if not equal(one.data, other.data) or (one.until, one.override) != (other.until, other.override):
        return True
    if one.then is None or other.then is None:
        return one.then is not other.then
    return one.then.restores != other.then.restores or not equal(one.then.data, other.then.data)


def match_problems(matches: Sequence[Match]) -> Iterator[Problem]:
    """What is wrong between the entries of one table, whatever rows it has."""
    setting: dict[str, Match] = {}
    for match in matches:
        for name in match.values:
            setting.setdefault(name, match)
    for match in matches:
        for name in match.columns:
            if name in setting:
                text = f"this matches by {name}, which the {WHERE} at {setting[name].values[name].location} sets"
                yield Problem(text, match.location, "no entry may match by what another one of its table sets")
    for index, match in enumerate(matches):
        for earlier in matches[:index]:
            if not (_implies(match, earlier) or _implies(earlier, match)):
                continue
            for name, value in match.values.items():
                other = earlier.values.get(name)
                if other is not None and disagree(value, other):
                    text = f"{name} is {to_text(value.data)} here and {to_text(other.data)} at {other.location}"
                    wider, narrower = (earlier, match) if _implies(match, earlier) else (match, earlier)
                    hint = f"every row with {_meant(narrower)} has {_meant(wider)}; make the two agree, or exclusive"
                    yield Problem(text, value.location, hint)


def _implies(one: Match, other: Match) -> bool:
    """Whether every row that the one means is meant by the other."""
    return all(name in one.columns and set(one.columns[name]) <= set(values) for name, values in other.columns.items())


def _meant(match: Match) -> str:
    return rows_meant(match.columns)
