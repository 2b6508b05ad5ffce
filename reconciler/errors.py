"""Every way in which a command can end badly, and the exit code of each.

The tree (exit codes are frozen, see README, "Exit codes")::

    ReconcileError
     ├── Failed              1   nothing was applied, or the outcome is unknown and said so
     │    ├── Refused        1   a rule of the tool forbids the run (dirty work tree, blast limit, no reason)
     │    ├── LockNotTaken   1   another run, or another session's row lock, was in the way
     │    └── OutcomeUnknown 1   COMMIT was sent and its answer is not known; says how to look
     ├── InvalidInput        3   state, schemas or policy are wrong; carries every Problem found
     ├── DatabaseProblem     4   the database is not reachable or not as the schemas expect
     │    ├── Unreachable    4   no connection within the timeout
     │    ├── ConnectionLost 4   the connection broke before COMMIT was sent: nothing was applied
     │    └── NotAsExpected  4   table, column, type, privilege or ledger do not fit; carries Problems
     ├── Stale               6   the plan or the revision is older than what was applied
     └── UsageProblem       64   options that do not go together

A message says what is wrong, where, and what to do next. None holds a password: what comes from a driver passes
through `database.driver_errors.translate` first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from reconciler.model import Location

__all__ = [
    "ConnectionLost",
    "DatabaseProblem",
    "Failed",
    "InvalidInput",
    "LockNotTaken",
    "NotAsExpected",
    "OutcomeUnknown",
    "Problem",
    "ReconcileError",
    "Refused",
    "Stale",
    "Unreachable",
    "UsageProblem",
    "nearest",
]


class Problem:
    """One thing that is wrong in what the user wrote: where, what, and what to do."""

    __slots__ = ("hint", "location", "message")

    def __init__(self, message: str, location: Location | None = None, hint: str = "") -> None:
        self.message = message
        self.location = location
        self.hint = hint

    def __str__(self) -> str:
        where = f"{self.location}: " if self.location else ""
        return f"{where}{self.message}" + (f" ({self.hint})" if self.hint else "")

    def __repr__(self) -> str:
        return f"Problem({str(self)!r})"

    def sort_key(self) -> tuple[str, int, int, str]:
        """Problems are reported in the order of the files' names and of the lines in them."""
        place = self.location or Location("", 0, 0)
        return (place.file, place.line, place.column, self.message)


class ReconcileError(Exception):
    """The root. `exit_code` is what the process ends with; `str()` is what the user reads."""

    exit_code = 1

    def also_say(self, sentence: str) -> None:
        """Add a sentence of its own line to what the user reads."""
        self.args = (f"{self}\n{sentence}",)


class Failed(ReconcileError):
    """The run did not do what was asked."""


class Refused(Failed):
    """A rule of the tool forbids this run; the message holds the way to do it on purpose."""


class LockNotTaken(Failed):
    """Another run or session holds what this run needs; the message says who."""


_AGAIN = "Run it again: that does no harm"


class OutcomeUnknown(Failed):
    """The connection broke, or the run was interrupted, after COMMIT was sent and before its answer came.

    It may have been committed or not. `cause` is a clause on what happened; who has a run to apply looks it up in the
    ledger, on a new connection (`lost_answer`). All else that is committed can be asked for again. `interrupted`: by
    somebody who wants it to end.
    """

    def __init__(
        self,
        cause: str,
        unknown: str = f"whether it was committed is not known. {_AGAIN}",
        *,
        interrupted: bool = False,
    ) -> None:
        self.cause = cause
        self.interrupted = interrupted
        super().__init__(f"{cause}: {unknown}")


class _WithProblems(ReconcileError):
    def __init__(self, problems: Iterable[Problem], summary: str = "") -> None:
        self.problems: Sequence[Problem] = tuple(sorted(problems, key=Problem.sort_key))
        self.summary = summary
        lines = [str(problem) for problem in self.problems]
        super().__init__("\n".join([summary, *lines] if summary else lines))

    def also_say(self, sentence: str) -> None:
        self.summary = f"{self.summary} {sentence}" if self.summary else sentence
        super().also_say(sentence)


class InvalidInput(_WithProblems):
    """State, schemas or policy are wrong. Every problem of every file is in `problems`, in order.

    `project` is what could be read all the same (a Project without rows), None where nothing was.
    """

    exit_code = 3
    project: Any = None


class DatabaseProblem(ReconcileError):
    """The database cannot be used as it is."""

    exit_code = 4


class Unreachable(DatabaseProblem):
    """No connection could be made within the timeout."""


class ConnectionLost(DatabaseProblem):
    """The connection broke before COMMIT was sent: the server has rolled everything back."""


class NotAsExpected(_WithProblems, DatabaseProblem):
    """The live database disagrees with the schemas, or lacks the ledger or a privilege."""

    exit_code = 4


class Stale(ReconcileError):
    """The plan, or the revision, is older than what the database says was applied."""

    exit_code = 6
    overtaken = False
    """Whether the revision is part of what was applied last: a later run was quicker, or an old one is run again."""



class UsageProblem(ReconcileError):
    """Options that contradict each other, or a value that no option takes."""

    exit_code = 64


def nearest(word: str, candidates: Iterable[str]) -> str:
    """A hint such as ``did you mean "isAiEnabled"?``, or an empty string where nothing is near."""
    import difflib

    found = difflib.get_close_matches(word, list(candidates), n=1, cutoff=0.6)
    return f'did you mean "{found[0]}"?' if found else ""
