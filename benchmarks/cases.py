"""What is measured: every case with its floor, its tool, and the ratio that issue "The main job" asks for.

Takes the sizes of the fleet; gives Cases, which `bench` runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch

from benchmarks.fleet import FLIP, Change

ONE_PERCENT, TEN_PERCENT = Change(1), Change(10)
CHANGES = (FLIP, ONE_PERCENT, TEN_PERCENT)
FLIP_ROWS = (1, 1_000)
"""How many rows are managed where one switch is flipped."""


TARGETS: Mapping[str, tuple[float, float | None]] = {
    "flip-1": (30, None),
    "flip-1000": (30, None),
    "plan-10000-0": (12, 1.85),
    "apply-100000-10": (3, None),
}
"""By the case's name: how many times the floor it may take, and how many seconds. The others are for looking at."""


@dataclass(frozen=True)
class Case:
    """One line of the table.

    `change` None is a dry run of what was applied already; `writes` tells an apply from a dry run.
    """

    name: str
    rows: int
    change: Change | None
    writes: bool

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
        return self.changed_rows * (2 if self.change and self.change.percent else 1)


def cases(sizes: Sequence[int], only: Sequence[str]) -> list[Case]:
    """All cases of these sizes, or those whose name one of the patterns `only` names, the small fleets first."""
    every = sorted(set(_all(sizes)), key=lambda case: (case.rows, _ORDER.index(case.name.partition("-")[0]), case.name))
    return [case for case in every if not only or any(fnmatch(case.name, pattern) for pattern in only)]


_ORDER = ("flip", "plan", "apply")


def _all(sizes: Sequence[int]) -> Iterator[Case]:
    for rows in FLIP_ROWS:
        yield Case(f"flip-{rows}", rows, FLIP, writes=True)
    for rows in sizes:
        yield Case(f"plan-{rows}-0", rows, None, writes=False)
        for change in (ONE_PERCENT, TEN_PERCENT):
            if change.fits(rows):
                yield Case(f"plan-{rows}-{change.percent}", rows, change, writes=False)
                yield Case(f"apply-{rows}-{change.percent}", rows, change, writes=True)
