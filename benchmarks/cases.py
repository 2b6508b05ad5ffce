"""What is measured: every case with its floor, its tool, and the ratio that issue "The main job" asks for.

Takes the sizes of the fleet; gives Cases, which `bench` runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch

from benchmarks.fleet import FLIP, Change

ONE_PERCENT, TEN_PERCENT, ONE_FIELD = Change(1), Change(10), Change(10, fields=1)
CHANGES = (FLIP, ONE_PERCENT, TEN_PERCENT, ONE_FIELD)
FLIP_ROWS = (1, 1_000)
"""How many rows are managed where one switch is flipped, whatever the sizes asked for."""

MILLION = 1_000_000

TARGETS: Mapping[str, tuple[float, float | None]] = {
    "flip-1": (30, None),
    "flip-1000": (30, None),
    f"flip-{MILLION}": (25, None),
    "plan-10000-0": (12, 1.85),
    "apply-100000-10": (3, None),
    "cold-100000": (10, None),
    f"drift-{MILLION}": (0.8, None),
    f"warm-{MILLION}": (2, None),
    f"apply-{MILLION}-10-one": (2, None),
}
"""By the case's name: how many times the floor it may take, and how many seconds. The others are for looking at."""


@dataclass(frozen=True)
class Case:
    """One line of the table.

    `change` None: what was applied already. `command` is what the tool is asked to do. `forgotten`: the ledger does not
    say any more which commit it stands at, as after an upgrade: every file must be read, or be found (`cached`) in the
    parse cache.
    """

    name: str
    rows: int
    change: Change | None
    command: tuple[str, ...] = ("--dry-run",)
    forgotten: bool = False
    cached: bool = False

    @property
    def writes(self) -> bool:
        """Whether it is an apply."""
        return "--yes" in self.command

    @property
    def branch(self) -> str:
        """The branch that is checked out for it."""
        return self.change.branch if self.change else "main"

    @property
    def changed_rows(self) -> int:
        """How many rows are changed."""
        return len(self.change.of(range(self.rows))) if self.change else 0

    @property
    def changed_fields(self) -> int:
        """How many fields are changed, of all rows together."""
        return self.changed_rows * (self.change.fields if self.change else 0)


def cases(sizes: Sequence[int], only: Sequence[str]) -> list[Case]:
    """All cases of these sizes, or those whose name one of the patterns `only` names, the small fleets first."""
    every = sorted(set(_all(sizes)), key=lambda case: (case.rows, _ORDER.index(case.name.partition("-")[0]), case.name))
    return [case for case in every if not only or any(fnmatch(case.name, pattern) for pattern in only)]


_ORDER = ("flip", "plan", "drift", "full", "cold", "warm", "apply")


def _all(sizes: Sequence[int]) -> Iterator[Case]:
    for rows in (*FLIP_ROWS, *sizes):
        yield Case(f"flip-{rows}", rows, FLIP, ("--yes",))
    for rows in sizes:
        yield Case(f"plan-{rows}-0", rows, None)
        yield Case(f"drift-{rows}", rows, None, ("drift",))
        yield Case(f"cold-{rows}", rows, None, forgotten=True)
        yield Case(f"warm-{rows}", rows, None, forgotten=True, cached=True)
        for change in (ONE_PERCENT, TEN_PERCENT):
            if change.fits(rows):
                yield Case(f"plan-{rows}-{change.percent}", rows, change)
                yield Case(f"full-{rows}-{change.percent}", rows, change, ("--dry-run", "--full"))
                yield Case(f"apply-{rows}-{change.percent}", rows, change, ("--yes",))
        if ONE_FIELD.fits(rows):
            yield Case(f"apply-{rows}-{ONE_FIELD.percent}-one", rows, ONE_FIELD, ("--yes",))
