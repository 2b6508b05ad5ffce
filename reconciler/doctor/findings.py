"""What an examination finds: a row for everything that was looked at, with its verdict and what to do about it.

Takes and gives values only. Every part makes Findings, `examine` puts them together, and a report draws them.
"""

from __future__ import annotations

import enum
from typing import Literal

import msgspec

from reconciler.errors import Failed, InvalidInput, NotAsExpected, ReconcileError, Stale, UsageProblem

__all__ = [
    "PARTS",
    "Examination",
    "Finding",
    "Purpose",
    "Verdict",
    "counted",
    "not_seen",
    "note",
    "of_error",
    "ok",
    "warning",
    "wrong",
]

Purpose = Literal["plan", "apply"]
"""What the role and the machine are to be good for: dry runs alone, or applies as well."""

PARTS = ("program", "git", "files", "database", "privileges", "ledger", "plan", "redis", "effects", "github")
"""The parts, in the order in which they are told."""

_CODES = tuple(kind.exit_code for kind in (InvalidInput, NotAsExpected, Stale, UsageProblem, Failed))
"""Which exit code counts where several things are wrong: the first of these."""


class Verdict(enum.Enum):
    """What to think of a row. Only WRONG and UNKNOWN may keep an apply (or a dry run) from its work."""

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    WRONG = "wrong"
    UNKNOWN = "unknown"


class Finding(msgspec.Struct, frozen=True):
    """One row. `advice` says what to do, `commands` are lines to copy: SQL, or of a shell.

    `exit_code` is what an apply (or a dry run) ends with that meets it, 0 where it stands in nobody's way.
    """

    part: str
    name: str
    verdict: Verdict
    saw: str
    advice: str = ""
    commands: tuple[str, ...] = ()
    exit_code: int = 0


class Examination(msgspec.Struct, frozen=True):
    """All rows, in the order of PARTS; when it was made (RFC 3339, this machine's clock), and how long it took."""

    purpose: Purpose
    at: str
    seconds: float
    findings: tuple[Finding, ...]

    def count(self, verdict: Verdict) -> int:
        """How many rows have this verdict."""
        return sum(finding.verdict is verdict for finding in self.findings)

    @property
    def exit_code(self) -> int:
        """0 where nothing is in the way; else 3 before 4, 6, 64 and 1."""
        found = {finding.exit_code for finding in self.findings}
        return next((code for code in _CODES if code in found), 0)


def ok(part: str, name: str, saw: str) -> Finding:
    """It is as it should be."""
    return Finding(part, name, Verdict.OK, saw)


def note(part: str, name: str, saw: str, advice: str = "", *commands: str) -> Finding:
    """Neither right nor wrong, and worth knowing."""
    return Finding(part, name, Verdict.NOTE, saw, advice, commands)


def warning(part: str, name: str, saw: str, advice: str = "", *commands: str) -> Finding:
    """It is in nobody's way now, and should be mended."""
    return Finding(part, name, Verdict.WARNING, saw, advice, commands)


def wrong(part: str, name: str, code: int, saw: str, advice: str = "", *commands: str) -> Finding:
    """It makes an apply (or a dry run) end with this exit code."""
    return Finding(part, name, Verdict.WRONG, saw, advice, commands, code)


def not_seen(part: str, name: str, why: str, code: int = 0) -> Finding:
    """It could not be looked at. With a code: what could not be seen is needed."""
    return Finding(part, name, Verdict.UNKNOWN, why, exit_code=code)


def counted(number: int, noun: str) -> str:
    """`1 row`, `2,000 rows`."""
    return f"{number:,} {noun}{'s' if number != 1 else ''}"


_MOST_PROBLEMS = 5


def of_error(part: str, name: str, error: ReconcileError) -> list[Finding]:
    """A row for each problem of an error, the first few of many."""
    lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    found = [wrong(part, name, error.exit_code, line) for line in lines[:_MOST_PROBLEMS]]
    if len(lines) > _MOST_PROBLEMS:
        found.append(wrong(part, name, error.exit_code, f"and {len(lines) - _MOST_PROBLEMS:,} more of the same kind"))
    return found

