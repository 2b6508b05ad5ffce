"""The table that a benchmark ends with, as Markdown, and what is to be known about the machine.

Takes Results; gives text.
"""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

import psycopg

from benchmarks.bench import Result, peak, seconds
from benchmarks.cases import TARGETS
from reconciler.syntax import DEFAULT_EVENTS

_HEAD = ("case", "floor", "tool", "ratio", "target", "reached", "floor, peak", "tool, peak")


def render(results: Iterable[Result]) -> str:
    """A line per case."""
    lines = [_HEAD, ("---", *["---:"] * (len(_HEAD) - 1)), *map(_line, results)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEAD))]
    return "".join(f"| {' | '.join(map(str.ljust, line, widths))} |\n" for line in lines)


def _line(result: Result) -> tuple[str, ...]:
    case, took = result.case, seconds(result.tool)
    target = verdict = ""
    if case.name in TARGETS:
        most, limit = TARGETS[case.name]
        target = f"{most:g} x" + (f", {limit:g} s" if limit else "")
        verdict = "yes" if result.ratio <= most and took <= (limit or took) else "NO"
    return (
        case.name, _time(seconds(result.floor)), _time(took), f"{result.ratio:.1f}", target, verdict,
        _memory(peak(result.floor)), _memory(peak(result.tool)),
    )  # fmt: skip


def machine(psql: Path, server_version: str, *, durable: bool) -> str:
    """The machine and the versions, in a few lines."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    packages = ("click", "psycopg", "PyYAML", "msgspec")
    waits = "commits wait for the disk" if durable else "NOT DURABLE: commits do not wait for the disk"
    return (
        f"{_processor()}, {os.cpu_count()} cores, {memory / 2**30:.0f} GB, {platform.system()} {platform.release()}.\n"
        f"PostgreSQL {server_version} ({waits}), {_first_line(psql, '--version')}, "
        f"{_first_line('git', '--version')}.\n"
        f"Python {platform.python_version()}, {', '.join(f'{name} {version(name)}' for name in packages)}, "
        f"psycopg in {psycopg.pq.__impl__}, YAML events by {DEFAULT_EVENTS.__module__}.\n"
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _first_line(*command: str | Path) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[0]


def _time(amount: float) -> str:
    return f"{amount * 1000:.0f} ms" if amount < 1 else f"{amount:.2f} s"


def _memory(amount: int) -> str:
    return f"{amount / 2**20:.0f} MB"
