"""What a drill stands on: where its commands run, which database they see, and what can be made to happen there.

Takes nothing; gives the Ground that `story` tells its story on. There are two: `local`, on servers of the drill's own,
and `staging`, inside a transaction of a database that belongs to somebody.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import msgspec

from reconciler.database.address import DatabaseAddress
from reconciler.drill.scratch import Scratch
from reconciler.playbook import Happening

__all__ = ["Ground", "Ran"]


class Ran(msgspec.Struct, frozen=True):
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def last_words(self) -> str:
        """What it said in the end, on one line."""
        lines = [line.strip() for line in (self.err or self.out).splitlines() if line.strip()]
        return f"exit code {self.code}: {' / '.join(lines[-3:]) or 'it said nothing'}"


class Ground(ABC):
    """One place for one playbook."""

    is_staging: bool
    scratch: Scratch
    address: DatabaseAddress

    @abstractmethod
    def run(self, words: Sequence[str]) -> Ran:
        """Run `reconcile` with these arguments, in the scratch repository, to its end."""

    @abstractmethod
    def begin_waiting(self, words: Sequence[str]) -> None:
        """Start `reconcile` with these arguments and return once it waits for the database."""

    @abstractmethod
    def end_waiting(self) -> Ran:
        """How the command ended that was begun, which waited for the database."""

    @abstractmethod
    def can_make(self, happening: Happening) -> bool:
        """Whether this can be made to happen here."""

    @abstractmethod
    def make(self, happening: Happening, subject: str | None) -> None:
        """Make it happen. Raises ReconcileError where it cannot be."""

    @abstractmethod
    def query(self, statement: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Rows of the database, as the commands have left it."""

    @abstractmethod
    def job(self, queue: str, id: str) -> dict[str, str] | None:
        """The job with this id in a BullMQ queue; None where it has not arrived."""

    @property
    @abstractmethod
    def database_is_away(self) -> bool:
        """Whether the database was stopped."""

    @property
    @abstractmethod
    def redis_is_away(self) -> bool:
        """Whether Redis was stopped."""
