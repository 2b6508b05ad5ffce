"""What a drill has shown: for each playbook its steps, in order, with the time that each took.

Takes nothing; gives frozen structs that reports are drawn from.
"""

from __future__ import annotations

from typing import Literal

import msgspec

STEPS = ("symptom", "triage", "kill", "effect", "early restore held", "recovery", "restore")
"""The names of the steps, in order. One that fails is the last."""

Outcome = Literal["shown", "not shown", "failed"]


class Step(msgspec.Struct, frozen=True):
    """One step: how it ended, how many seconds it took, and what was seen. `not shown` says why it could not be."""

    name: str
    outcome: Outcome
    seconds: float
    said: str


class Drilled(msgspec.Struct, frozen=True):
    """One playbook, drilled."""

    playbook: str
    title: str
    incident: int | None
    steps: tuple[Step, ...]

    @property
    def failed(self) -> Step | None:
        """The step that failed."""
        return next((step for step in self.steps if step.outcome == "failed"), None)

    @property
    def seconds(self) -> float:
        """How long all of it took."""
        return sum(step.seconds for step in self.steps)


class DrillResult(msgspec.Struct, frozen=True):
    """All of a drill. `where` is what it was made on, for people; `notes` say what it left out."""

    at: str
    where: str
    is_staging: bool
    playbooks: tuple[Drilled, ...]
    notes: tuple[str, ...] = ()

    @property
    def failures(self) -> list[tuple[Drilled, Step]]:
        """The playbooks that failed, with the step at which they did."""
        return [(one, one.failed) for one in self.playbooks if one.failed is not None]
