"""Runs cases: builds what they need, lets floor and tool take turns, and looks whether both did what they should.

Takes Cases and the URL of a server; gives a Result per case. Each run is a whole process. One that writes gets a fresh
copy of the database; those that only read share one. The first turn of each case is not counted: it compiles, and it
fills caches.
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import psycopg

from benchmarks import floors
from benchmarks.cases import CHANGES, Case
from benchmarks.databases import Databases
from benchmarks.fleet import TOP, check_out, copy_rows, environment, make_repository, tenants
from benchmarks.stopwatch import Measurement, run
from reconciler.parse_cache import VARIABLE

SHORT_S = 0.5
"""What takes less is run three times as often: the shorter, the noisier."""

TOOL = (sys.executable, "-m", "reconciler")


class Result(NamedTuple):
    """The counted runs of one case."""

    case: Case
    floor: list[Measurement]
    tool: list[Measurement]

    @property
    def ratio(self) -> float:
        """How many times the floor the tool took, by their medians."""
        return seconds(self.tool) / seconds(self.floor)


def seconds(measured: Sequence[Measurement]) -> float:
    """The median of the times."""
    return statistics.median(one.seconds for one in measured)


def peak(measured: Sequence[Measurement]) -> int:
    """The highest peak of memory, in bytes."""
    return max(one.peak for one in measured)


class Bench:
    """Everything that a benchmark needs for as long as it runs; `folder` is its own, and removed by the caller."""

    def __init__(self, folder: Path, databases: Databases, psql: Path) -> None:
        self._folder = folder
        self._databases = databases
        self._psql = psql

    def results(self, wanted: Iterable[Case], runs: int) -> Iterator[Result]:
        """Run the cases, size by size, in their order."""
        for rows, of_size in groupby(wanted, key=lambda case: case.rows):
            self._say(f"{rows:,} rows: making the repository and the database")
            repository = self._folder / f"fleet-{rows}"
            repository.mkdir()
            make_repository(repository, rows, [change for change in CHANGES if change.fits(rows)])
            template = self._template(repository, rows)
            for case in of_size:
                result = self._result(case, repository, template, runs)
                tool, floor = seconds(result.tool), seconds(result.floor)
                self._say(f"{case.name}: {tool:.3f} s, {result.ratio:.1f} x {floor:.3f} s")
                yield result
            shutil.rmtree(repository)

    def _template(self, repository: Path, rows: int) -> str:
        """A database that is in sync with `main`, ledger included, and that nobody will write to."""
        url = self._databases.make(rows, tenants(rows))
        self._run([*TOOL, "init"], repository, url)
        self._run([*TOOL, "--yes"], repository, url)
        self._databases.settle(url)
        return url

    def _result(self, case: Case, repository: Path, template: str, runs: int) -> Result:
        check_out(repository, case.branch)
        script = self._script(case)
        result = Result(case, [], [])
        with ExitStack() as shared:
            read_only = "" if case.writes else shared.enter_context(self._databases.copy_of(template))
            if case.forgotten:
                self._databases.forget(read_only)

            def turn(sink: list[Measurement], *, is_tool: bool) -> None:
                with ExitStack() as own:
                    url = read_only or own.enter_context(self._databases.copy_of(template))
                    command = [*TOOL, *case.command] if is_tool else self._floor(case, url, script)
                    sink.append(self._run(command, repository, url, cached=case.cached))
                    if case.writes:
                        _check(url, case, by="the tool" if is_tool else "psql")

            turns = 1
            while len(result.tool) < turns + 1:
                turn(result.floor, is_tool=False)
                turn(result.tool, is_tool=True)
                turns = 3 * runs if result.tool[0].seconds < SHORT_S else runs
        return Result(case, result.floor[1:], result.tool[1:])

    def _script(self, case: Case) -> Path:
        """The floor's script, and beside it the rows that it copies in."""
        rows, script = self._folder / "rows.txt", self._folder / "floor.sql"
        with rows.open("w", encoding="utf-8") as file:
            file.writelines(copy_rows(tenants(case.rows, case.change)))
        text = floors.APPLY if case.writes else floors.PLAN
        script.write_text(text.format(rows=rows), encoding="utf-8")
        return script

    def _floor(self, case: Case, url: str, script: Path) -> list[str]:
        if case.writes and case.change is not None and not case.change.percent:
            statement = floors.FLIP.format(key=next(tenants(1)).id)
            return floors.command(self._psql, url, statement=statement)
        return floors.command(self._psql, url, script=script)

    def _run(self, command: Sequence[str], repository: Path, url: str, *, cached: bool = False) -> Measurement:
        cache = str(self._folder / "cache") if cached else ""
        variables = environment(os.environ) | {"DATABASE_URL": url, "PYTHONPATH": str(TOP), VARIABLE: cache}
        return run(command, directory=repository, environment=variables, output=self._folder / "output.txt")

    def _say(self, what: str) -> None:
        print(what, file=sys.stderr, flush=True)


def _check(url: str, case: Case, *, by: str) -> None:
    """Look whether the rows were written, by either side: a benchmark of work that was not done is easily won."""
    with psycopg.connect(url) as connection:
        row = connection.execute(
            """
            SELECT (SELECT count(*) FROM audit_logs),
                   (SELECT count(*) FROM tenants WHERE "updatedAt" <> '2026-01-01')
            """
        ).fetchone()
    expected = (case.changed_fields, case.changed_rows)
    if row != expected:
        raise SystemExit(f"{case.name}: {by} wrote {row} audit entries and tenants, not {expected}")
