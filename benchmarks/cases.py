"""What is measured: every case with its floor, its tool, and the ratio that issue "The main job" asks for.

Takes the sizes of the fleet; gives Cases, which `bench` runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch

from benchmarks.fleet import FLIP, Change

ONE_PERCENT, TEN_PERCENT = Change(1), Change(10)
CHANGES = (FLIP, ONE_PERCENT, TEN_PERCENT)
FLIP_ROWS = (1, 1_000)
"""How many rows are managed where one switch is flipped."""


@dataclass(frozen=True)
class Case:
    """One line of the table. `most` is how many times the floor it may take, `seconds` how long at most; None: no
    matter.

    `change` None is a dry run of what was applied already; `writes` tells an apply from a dry run.
    """

    name: str
    rows: int
    change: Change | None
    writes: bool
    most: float | None = None
    seconds: float | None = None

    @property
    def branch(self) -> str:
        """The branch that is checked out for it."""
        return self.change.branch if self.change else "main"

    @property
    def fields(self) -> int:
        """How many fields are changed."""
        if self.change is None:
            return 0
        return len(self.change.of(range(self.rows))) * (2 if self.change.percent else 1)


def cases(sizes: Sequence[int], only: Sequence[str]) -> Iterator[Case]:
    """All cases of these sizes, or those whose name one of the patterns `only` names."""
    for case in _all(sizes):
        if not only or any(fnmatch(case.name, pattern) for pattern in only):
            yield case


def _all(sizes: Sequence[int]) -> Iterator[Case]:
    for rows in FLIP_ROWS:
        yield Case(f"flip-{rows}", rows, FLIP, writes=True, most=30)
    for rows in sizes:
        is_named = rows == 10_000  # for these the issue names targets; the other cases are for looking at
        yield Case(
            f"plan-{rows}-0", rows, None, writes=False, most=12 if is_named else None, seconds=1.85 if is_named else None
        )
        for change in (ONE_PERCENT, TEN_PERCENT):
            if change.percent * rows >= 100:
                yield Case(f"plan-{rows}-{change.percent}", rows, change, writes=False)
        for change in (ONE_PERCENT, TEN_PERCENT):
            if change.percent * rows >= 100:
                most = 3 if (rows, change.percent) == (100_000, 10) else None
                yield Case(f"apply-{rows}-{change.percent}", rows, change, writes=True, most=most)
