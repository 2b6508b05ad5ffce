"""Which class a change of git is: what a rule for reviews must know, derived from git alone.

Takes the desired State and the Definitions before and after; gives a Review: each entry that says something else, with
the directions that it may take, and what else has changed. Pure. Whatever the database has is not known here, so where
it matters, the side that needs more review is taken: naming a field for the first time on its open side, or touching
the entry of an open value (which is how a kill by hand is undone), counts as a restore.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Literal

import msgspec

from reconciler.canonical import equal, to_text
from reconciler.fields import Field
from reconciler.model import Direction, Json, Location, Match, Matched, Row, Then, Value
from reconciler.policy import Approvals
from reconciler.schema import Definitions, Table
from reconciler.where import WHERE, rows_meant

__all__ = ["ChangedEntry", "ChangedFile", "Review", "ReviewClass", "changed_entries", "weakened"]

ReviewClass = Literal["none", "neutral", "kill", "restore", "mixed", "unknown"]
Kind = Literal["schema", "policy", "playbook"]
Rows = Mapping[str, Mapping[str, Row]]


class ChangedEntry(msgspec.Struct, frozen=True):
    """What git says of one field, or (`field` is empty) of a whole row, and says differently after.

    `directions` are those that it may take, the gravest first. `location` is None for what is gone.
    """

    table: str
    key: str
    field: str
    directions: tuple[Direction, ...]
    what: str
    location: Location | None


class ChangedFile(msgspec.Struct, frozen=True):
    """A file of `schemas/` that means something else, and what of it concerns kills and restores."""

    path: str
    kind: Kind
    details: tuple[str, ...] = ()


class Review(msgspec.Struct, frozen=True):
    """All that a change of git does. Commits are full ids.

    `others` are changed paths that have no part in it: comments, other folders. `unknown` says why the class cannot be
    told, None where it can. `notes` are sentences that somebody should read.
    """

    base: str
    head: str
    entries: tuple[ChangedEntry, ...]
    files: tuple[ChangedFile, ...]
    others: tuple[str, ...]
    approvals: Approvals
    unknown: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def review_class(self) -> ReviewClass:
        """`mixed` is a kill together with anything else; a restore with what is neutral is a restore."""
        if self.unknown is not None:
            return "unknown"
        found = {direction for entry in self.entries for direction in entry.directions}
        if Direction.KILL in found:
            return "kill" if found == {Direction.KILL} and not self.files else "mixed"
        if Direction.RESTORE in found:
            return "restore"
        return "neutral" if found or self.files else "none"

    def count(self, direction: Direction) -> int:
        """Entries that may go that way."""
        return sum(direction in entry.directions for entry in self.entries)

    @property
    def needed(self) -> int:
        """How many people must approve, by the policy of the base."""
        asked = self.approvals
        if self.unknown is not None:
            return max(asked.kill, asked.neutral, asked.restore, asked.definitions)
        wanted = [0]
        if self.count(Direction.KILL):
            wanted.append(asked.kill)
        if self.count(Direction.RESTORE):
            wanted.append(asked.restore)
        if self.count(Direction.NEUTRAL) or self.others:
            wanted.append(asked.neutral)
        if self.files:
            wanted.append(asked.definitions)
        return max(wanted)


def changed_entries(
    before: Rows,
    after: Rows,
    old: Definitions,
    new: Definitions,
    matches_before: Mapping[str, Sequence[Match]] = {},
    matches_after: Mapping[str, Sequence[Match]] = {},
) -> list[ChangedEntry]:
    """Every entry that says something else, in the order of tables, keys and fields. Where it stands does not count.

    An entry of `$where` counts as a row whose key says which rows it means.
    """
    found: list[ChangedEntry] = []
    for table in sorted({*before, *after, *matches_before, *matches_after}):
        was = {**before.get(table, {}), **_as_rows(table, matches_before.get(table, ()))}
        becomes = {**after.get(table, {}), **_as_rows(table, matches_after.get(table, ()))}
        tables = [definitions.tables[table] for definitions in (old, new) if table in definitions.tables]
        matches = (*matches_before.get(table, ()), *matches_after.get(table, ()))
        for key in sorted({*was, *becomes}):
            found += _of_row(tables, table, key, was.get(key), becomes.get(key), matches)
    return found


def _as_rows(table: str, matches: Sequence[Match]) -> dict[str, Row]:
    rows: dict[str, Row] = {}
    for match in matches:
        key = f"{WHERE} {rows_meant(match.columns)}"
        row = rows.setdefault(key, Row(table, key, {}, match.location))
        row.values = {**row.values, **match.values}
    return rows


def _of_row(
    tables: Sequence[Table],
    table: str,
    key: str,
    before: Row | None,
    after: Row | None,
    matches: Sequence[Match],
) -> Iterator[ChangedEntry]:
    was = before.values if before is not None else {}
    becomes = after.values if after is not None else {}
    expected = [{name: value.data for name, value in row.expect.items()} if row else {} for row in (before, after)]
    if expected[0] != expected[1]:
        place = after.location if after is not None else None
        yield ChangedEntry(table, key, "", (Direction.NEUTRAL,), "$expect asks for something else", place)
    for name in sorted({*was, *becomes}):
        old, new = was.get(name), becomes.get(name)
        if old is not None and new is not None and _says_the_same(old, new):
            continue
        fields = [one.fields[name] for one in tables if name in one.fields]
        directions, what = _judged(fields, old, new)
        if not isinstance(new if new is not None else old, Matched):
            moved, why = _through_matches(fields, name, old, new, matches)
            directions, what = (directions | moved) - ({Direction.NEUTRAL} if moved else set()), f"{what}{why}"
        place = new.location if new is not None else None
        yield ChangedEntry(table, key, name, tuple(sorted(directions, key=_GRAVEST.index)), what, place)


def _through_matches(
    fields: Sequence[Field], name: str, old: Value | None, new: Value | None, matches: Sequence[Match]
) -> tuple[set[Direction], str]:
    """What the entry of a row does to what `$where` asks of it: which rows look how, git alone cannot tell."""
    if any(name in match.columns for match in matches):
        return {Direction.RESTORE}, f"; {WHERE} matches by it, and may ask for something else by then"
    asking = [match.values[name] for match in matches if name in match.values]
    found: set[Direction] = set()
    for value in asking if new is None else ():
        found |= _judged(fields, old, value)[0]
    return found, f"; where the row matches, {WHERE} says what it is then" if found else ""


def _says_the_same(one: Value, other: Value) -> bool:
    """Whether no run could tell the two entries apart."""
    parts = ((value.reason, value.until, value.then, dict(value.override)) for value in (one, other))
    return equal(one.data, other.data) and next(parts) == next(parts)


_GRAVEST = (Direction.RESTORE, Direction.KILL, Direction.NEUTRAL)


def _judged(fields: Sequence[Field], old: Value | None, new: Value | None) -> tuple[set[Direction], str]:
    """The directions, and what has changed in words. Where the schemas disagree about them, both count."""
    if len({field.type_name for field in fields}) > 1:
        return {Direction.RESTORE}, "the type of the field has changed, and no direction can be told"
    found: set[Direction] = set()
    for field in fields:
        found |= set(_directions(field, old, new))
    if len(found) > 1:
        found.discard(Direction.NEUTRAL)
    return found or {Direction.NEUTRAL}, _in_words(old, new)


def _directions(field: Field, old: Value | None, new: Value | None) -> Iterator[Direction]:
    if new is None:  # released: the value stays as it is; but what would have killed it later does not come any more
        assert old is not None
        yield Direction.RESTORE if _then(field, old) is Direction.KILL else Direction.NEUTRAL
        return
    if old is None:
        yield _of_first(field, new)
        yield _then(field, new) or Direction.NEUTRAL
        return
    direction = field.direction(old.data, new.data)
    yield direction
    yield _of_timing(field, old, new)
    if direction is Direction.NEUTRAL and _is_open(field, new.data):
        yield Direction.RESTORE  # a touch, which is how what was killed by hand is restored
    if any(old.override.get(guard) != reason for guard, reason in new.override.items()):
        yield Direction.RESTORE  # a waiver is for nothing else


def _of_first(field: Field, new: Value) -> Direction:
    """Of a field that git names for the first time: what the database has is not known."""
    if field.is_killed(new.data):
        return Direction.KILL
    return Direction.RESTORE if _has_kill_side(field) else Direction.NEUTRAL


def _is_open(field: Field, data: Json) -> bool:
    """Whether a hand could have killed it: no limit is ever so low that none is lower."""
    return _has_kill_side(field) and not field.is_killed(data)


def _has_kill_side(field: Field) -> bool:
    return getattr(field, "kill", None) not in (None, [])


def _then(field: Field, value: Value) -> Direction | None:
    """Which way `then` goes, None where there is none; `restore` goes to what nobody knows here."""
    then: Then | None = value.then
    if then is None:
        return None
    if not then.restores:
        return field.direction(value.data, then.data)
    return Direction.RESTORE if _has_kill_side(field) else Direction.NEUTRAL


def _of_timing(field: Field, old: Value, new: Value) -> Direction:
    """What another `until` or `then` does to the time that a value is killed, or open."""
    was, becomes = _then(field, old), _then(field, new)
    if (old.until, old.then, was) == (new.until, new.then, becomes):
        return Direction.NEUTRAL
    same = new.then is not None and old.then == new.then and was == becomes
    is_later = same and _moment(new) > _moment(old)
    is_sooner = same and _moment(new) < _moment(old)
    if becomes is Direction.RESTORE and not is_later:
        return Direction.RESTORE
    if was is Direction.KILL and not is_sooner:
        return Direction.RESTORE
    return Direction.KILL if becomes is Direction.KILL else Direction.NEUTRAL


def _moment(value: Value) -> datetime:
    return datetime.fromisoformat(str(value.until))


def _in_words(old: Value | None, new: Value | None) -> str:
    if old is None:
        return f"named for the first time: {to_text(new.data)}" if new is not None else ""
    if new is None:
        return f"no longer named (it was {to_text(old.data)}): its value stays as it is"
    parts = []
    if not equal(old.data, new.data):
        parts.append(f"{to_text(old.data)} -> {to_text(new.data)}")
    for part, one, other in (
        ("reason", old.reason, new.reason),
        ("until", old.until, new.until),
        ("then", old.then, new.then),
        ("override", dict(old.override), dict(new.override)),
    ):
        if one != other:
            parts.append(f"{part} changed" if one and other else f"{part} added" if other else f"{part} removed")
    return ", ".join(parts)


def weakened(old: Definitions, new: Definitions, table: str) -> Iterator[str]:
    """What another schema of a table does to kill sides and guards, in sentences."""
    one, other = old.tables.get(table), new.tables.get(table)
    if one is None or other is None:
        yield f"table {table} is {'managed from now on' if one is None else 'managed no more'}"
        return
    for name in sorted({*one.fields, *other.fields}):
        was, becomes = one.fields.get(name), other.fields.get(name)
        if was is None or becomes is None:
            yield f"{table}.{name} is {'managed from now on' if was is None else 'managed no more'}"
            continue
        for part in ("kill", "restore", "masked_by", "drift"):
            sides = [_shown(getattr(field, part, None)) for field in (was, becomes)]
            if sides[0] != sides[1]:
                yield f"{table}.{name}: `{part}` {sides[0]} -> {sides[1]}"


def _shown(part: object) -> str:
    plain = msgspec.to_builtins(part)
    return "nothing" if plain in (None, []) else msgspec.json.encode(plain).decode()
