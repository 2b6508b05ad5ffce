"""What a proof is asked of, and what was seen.

Takes nothing but data, and gives structs; the askers (`database`, `http`, `jobs`) and `watching` meet here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from reconciler.model import Json


class Job(msgspec.Struct, frozen=True):
    """A job as the outbox has it: its id, how its entry stands there, and why it has not arrived."""

    id: str
    state: str
    error: str | None


class Target(msgspec.Struct, frozen=True):
    """One change of which a proof is asked. `values` are those of its templates, `job` its job where it has one."""

    number: int
    table: str
    key: str
    field: str
    label: str | None
    after: Json
    values: Mapping[str, Json]
    job: Job | None = None


class Sighting(msgspec.Struct, frozen=True):
    """What an asker has seen of one target. `said` completes "not in effect: ...", and is empty where it was seen.

    `final`: to ask again would change nothing.
    """

    seen: bool
    said: str = ""
    final: bool = False


SEEN = Sighting(True)


class Asker(Protocol):
    """Asks one proof of many targets at once."""

    def ask(self, targets: Sequence[Target], until: float) -> Mapping[int, Sighting]:
        """What was seen of each target, by its number; those that had no answer are left out.

        Takes no longer than until that time (of `time.monotonic`), and raises nothing for what it asks.
        """
        ...

    def close(self) -> None:
        """Let go of every connection."""
        ...
