"""The nouns: what both sides of the diff are made of, and what a plan says of them.

Takes nothing of ours. Values are frozen. A field's value is always *canonical*: the JSON value (None, bool, int,
Decimal, str, list, dict) that equal database values share, whatever way they were written. Timestamps are RFC 3339
text in UTC, with as many fractional digits as they need. So "equal" means `==`, on every side.

The structs are msgspec's: they are made a hundred thousand at a time, and a process that flips one switch has no time
to import more.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, Literal

import msgspec

Json = None | bool | int | Decimal | str | list[Any] | dict[str, Any]
"""A canonical value."""


class Location(msgspec.Struct, frozen=True, order=True, gc=False):
    """A place in a file of the repository. Lines and columns count from 1, columns in characters."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class Then(msgspec.Struct, frozen=True):
    """What is to be once `until` has passed: a value, or (`restores`) the one before the override."""

    data: Json = None
    restores: bool = False


class Value(msgspec.Struct, frozen=True):
    """What one side says that a field should be, or is.

    Desired values carry the place where they stand and what the long form says beside them; actual ones carry only
    `data`. `override` holds waivers: the guard's name and the reason. `entry` is the digest of git's entry where the
    value is no longer the one that stands there (its `until` has passed).
    """

    data: Json
    file: str = ""
    line: int = 0
    column: int = 0
    reason: str | None = None
    until: str | None = None
    then: Then | None = None
    override: Mapping[str, str] = {}
    entry: str | None = None

    @property
    def location(self) -> Location | None:
        """Where the value stands, None for one that was read from the database."""
        return Location(self.file, self.line, self.column) if self.file else None


class Matched(Value, frozen=True, kw_only=True):
    """A desired value that a `$where` asks for, of every row that it matches.

    `match` says which rows those are, as a report says it. `since` is when a run from git first applied this entry,
    None where none has: whether a commit asks for it anew, or a row has only begun to match.
    """

    match: str
    since: datetime | None = None


class PlainShape(msgspec.Struct, frozen=True, gc=False):
    """What rows have in common that say the same in the same way: each field's value, and its place in the row.

    `places` are lines below the row's key, and columns.
    """

    data: dict[str, Json]
    places: dict[str, tuple[int, int]]


class PlainValues(Mapping[str, Value]):
    """The values of a row in the simplest form, which are made when they are asked for: of a hundred thousand rows that
    a run looks at, few are like no other, and all of them as Values take 60 MB more.
    """

    __slots__ = ("_line", "file", "shape")

    def __init__(self, shape: PlainShape, file: str, line: int) -> None:
        self.shape = shape
        self.file = file
        self._line = line

    def __getitem__(self, name: str) -> Value:
        line, column = self.shape.places[name]
        return Value(self.shape.data[name], self.file, self._line + line, column)

    def __iter__(self) -> Iterator[str]:
        return iter(self.shape.data)

    def __len__(self) -> int:
        return len(self.shape.data)

    def __contains__(self, name: object) -> bool:
        return name in self.shape.data

    def __repr__(self) -> str:
        return repr(dict(self))


class Row(msgspec.Struct):
    """The managed fields of one row. `expect` holds what `$expect` asks of its columns (canonical text or value).

    `timed` names the fields whose value has an `until`: few, and looked at in every run.
    """

    table: str
    key: str
    values: Mapping[str, Value]
    location: Location | None = None
    expect: dict[str, Value] = {}
    timed: tuple[str, ...] = ()

    @property
    def data(self) -> dict[str, Json]:
        """Each field's value and nothing else; not to be changed."""
        if isinstance(self.values, PlainValues):
            return self.values.shape.data
        return {name: value.data for name, value in self.values.items()}


WHERE = "$where"
"""The key of state that no row has: what is asked of rows that look so stands below it."""


class Match(msgspec.Struct, frozen=True):
    """One entry of a `$where`: what the rows of `table` that look so are to be.

    `columns` holds, for each column, the canonical values of which it must have one; None is null. `values` are what is
    asked of each row, `timed` as in Row. `location` is where the entry stands.
    """

    table: str
    columns: Mapping[str, tuple[Json, ...]]
    values: Mapping[str, Value]
    timed: tuple[str, ...]
    location: Location


State = Mapping[str, Mapping[str, Row]]
"""Table name to row key to row. Desired and actual are both of this type."""


RowKey = tuple[str, str]
"""Table name and row key."""

FieldKey = tuple[str, str, str]
"""Table name, row key and field name."""


Guard = Literal["uncommitted", "after", "freeze", "requires"]
"""Everything that can hold a change. A kill passes them all, which the tests prove of each that stands here."""

AFTER: Final = "after"
REQUIRES: Final = "requires"
FREEZE: Final = "freeze"
UNCOMMITTED: Final = "uncommitted"

WAIVABLE: tuple[Guard, ...] = (AFTER, REQUIRES, FREEZE)
"""The guards that an `override` may name."""


class Missing(enum.Enum):
    """The one value that no JSON value equals: there is no base, or the row does not exist."""

    MISSING = "missing"

    def __repr__(self) -> str:
        return "MISSING"


MISSING = Missing.MISSING


class Direction(enum.Enum):
    """Which way a change goes: toward the kill side, away from it, or neither."""

    KILL = "kill"
    RESTORE = "restore"
    NEUTRAL = "neutral"


class Finding(enum.Enum):
    """What comparing desired, base and actual found: one for each row of the three-way table, in sync left out."""

    CHANGE = "change"  # desired moved away from base; actual did not
    ADOPTION = "adoption"  # no base: git names this field for the first time
    KILLED_BY_HAND = "killed_by_hand"  # actual moved to the kill side behind git's back
    REOPENED = "reopened"  # actual moved away from the kill side behind git's back
    DRIFT = "drift"  # actual moved, neither way
    BREAK_GLASS = "break_glass"  # a run of a dirty work tree left it so, and git has not answered yet
    CONFLICT = "conflict"  # desired and actual both moved, to different values
    CONVERGED = "converged"  # desired and actual both moved, to the same value
    RELEASED = "released"  # git no longer names the field


class Action(enum.Enum):
    """What a run does about a finding. The closed set; reasons explain, and never decide."""

    UPDATE = "update"  # write the field
    CREATE = "create"  # write the field of a row that is made in this run
    HOLD = "hold"  # a guard holds the write back for now
    KEEP = "keep"  # leave what the database has, and say so
    RECORD = "record"  # the database already has it; only the ledger learns of it
    RELEASE = "release"  # leave the value, close the ledger's entry

    writes: bool
    """Whether the field of the managed table is written. Asked twenty times of each change."""

    def __init__(self, value: str) -> None:
        self.writes = value in ("update", "create")


class Mark(msgspec.Struct, frozen=True):
    """What the ledger remembers of one field beyond its applied value. Most fields have none.

    `killed_at`: when it was last seen going to, or being on, the kill side, and `killed_by` whose doing it was.
    `seen_at`: since when the database has `seen_value` against git's will, first seen while git's entry was
    `seen_entry` (a digest); None when nothing is open. `glass` says who broke the glass, and why, where it was a run of
    a dirty work tree that left it so. `spent` holds the digests of waivers that no longer count.
    """

    killed_at: datetime | None = None
    killed_by: str | None = None
    seen_at: datetime | None = None
    seen_value: Json = None
    seen_entry: str | None = None
    glass: str | None = None
    spent: tuple[str, ...] = ()


class Hold(msgspec.Struct, frozen=True):
    """Why a change waits. `until` is RFC 3339 in UTC, None where no clock can tell."""

    guard: Guard
    explanation: str
    until: str | None = None


class Change(msgspec.Struct, frozen=True):
    """One field for which something is to be done or said.

    `before` is what the database has, `after` what it has once the run is done (equal to `before` where the action
    does not write), `desired` what git asks for. `base` is what was applied last. `label` is the row's human name.
    `waived` names the guards that git waived for it, each with the reason. `match` says which rows the `$where` means
    that asks for it, None where the row's own entry does.
    """

    table: str
    key: str
    field: str
    finding: Finding
    action: Action
    direction: Direction
    before: Json | Missing
    after: Json | Missing
    desired: Json | Missing
    base: Json | Missing
    explanation: str
    reason: str | None = None
    location: Location | None = None
    label: str | None = None
    hold: Hold | None = None
    waived: Mapping[str, str] | None = None
    match: str | None = None

    def sort_key(self) -> tuple[str, str, str]:
        """Plans list changes in this order."""
        return (self.table, self.key, self.field)
