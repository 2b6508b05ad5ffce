"""The same change on many rows, told once.

Takes the changes of a plan that is too long to be read row by row; gives Groups in the plan's order. Nobody reads
10,000 lines at 3 am, and a wrong one among them is found sooner when the 9,999 others are one line.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import msgspec

from reconciler.canonical import to_text
from reconciler.model import Change, Json, Missing

LONG = 200
"""Changes beyond which a plan is grouped."""

_MOST_GROUPS = 100
"""Groups beyond which changes that differ only in their values or reasons are told together as well."""


class Group(msgspec.Struct, frozen=True):
    """Changes of one field that are alike, in the plan's order. `same_values`: from and to the same values."""

    changes: tuple[Change, ...]
    same_values: bool

    @property
    def first(self) -> Change:
        """The one that stands for all."""
        return self.changes[0]

    @property
    def same_place(self) -> bool:
        """Whether all of them are asked for in one place."""
        return all(change.location == self.first.location for change in self.changes)

    @property
    def same_reason(self) -> bool:
        """Whether one reason was given for all of them."""
        return all(change.reason == self.first.reason for change in self.changes)


def group(changes: Sequence[Change]) -> tuple[Group, ...]:
    """Groups of what is alike down to the values and the reason or, where these are too many, alike but for them."""
    fine = _collect(changes, lambda change: (*_kind(change), _values(change), change.reason))
    if len(fine) <= _MOST_GROUPS:
        return tuple(Group(members, True) for members in fine)
    coarse = _collect(changes, _kind)
    return tuple(Group(members, len(set(map(_values, members))) == 1) for members in coarse)


def _collect(changes: Sequence[Change], key: Callable[[Change], Hashable]) -> list[tuple[Change, ...]]:
    groups: dict[Hashable, list[Change]] = {}
    for change in changes:
        groups.setdefault(key(change), []).append(change)
    by_field = sorted(groups.values(), key=lambda each: (each[0].table, each[0].match or "", each[0].field))
    return list(map(tuple, by_field))


def apart(changes: Sequence[Change]) -> tuple[list[Change], list[Change]]:
    """The changes that a `$where` asks for, which are always grouped, and those of rows that are named."""
    matched = [change for change in changes if change.match is not None]
    return matched, [change for change in changes if change.match is None] if matched else list(changes)


def _kind(change: Change) -> tuple[Hashable, ...]:
    guard = change.hold.guard if change.hold else None
    # What git waived is told for each waiver: it is there to be reviewed.
    waived = tuple(sorted((change.waived or {}).items()))
    kind = (change.table, change.match, change.field, change.action, change.finding, change.direction)
    return (*kind, guard, waived)


def _values(change: Change) -> tuple[str, str]:
    return (_text(change.before), _text(change.desired))


def _text(value: Json | Missing) -> str:
    return "" if isinstance(value, Missing) else to_text(value)
