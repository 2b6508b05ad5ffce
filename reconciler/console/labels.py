"""The labels of a pull request: which way it goes, and whether it goes at all.

Takes a Plan; gives labels. They are words for branch rules and for lists of pull requests, so they never change.
"""

from __future__ import annotations

from reconciler.model import Direction
from reconciler.plan import Plan

__all__ = ["BLOCKED", "KILL", "LABELS", "RESTORE", "labels_of"]

KILL = "kill"
RESTORE = "restore"
BLOCKED = "blocked"

LABELS = {
    KILL: ("d1242f", "Switches something off, or lowers a limit"),
    RESTORE: ("1a7f37", "Switches something on again, or raises a limit"),
    BLOCKED: ("bf8700", "Held by a guard, would be refused, or has no plan: merged now, it is not applied at once"),
}
"""Each label's colour (hexadecimal, without `#`) and description, for a host that has to make it first."""


def labels_of(plan: Plan) -> frozenset[str]:
    """What is true of the plan: `kill`, `restore` (one that is held as well), `blocked` (held or refused)."""
    asked = {change.direction for change in plan.changes if change.action.writes or change.hold is not None}
    labels = {
        KILL: Direction.KILL in asked,
        RESTORE: Direction.RESTORE in asked,
        BLOCKED: bool(plan.refusals) or plan.counts.held > 0,
    }
    return frozenset(label for label, holds in labels.items() if holds)
