"""The guards: what may hold a change that is otherwise decided.

Takes the Changes of `diff` and gives them back, some of them held. Pure; time and what was remembered come in as
arguments. A guard is a function from a change to a Hold or None; a change toward the kill side is never asked about.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import msgspec

from reconciler.model import Action, Change, Direction, Hold

Guard = Callable[[Change], Hold | None]


def hold_back(changes: Iterable[Change], guards: Sequence[Guard]) -> list[Change]:
    """The same changes; those that write away from the kill side, and that a guard objects to, are held."""
    return [_guarded(change, guards) for change in changes]


def _guarded(change: Change, guards: Sequence[Guard]) -> Change:
    if not change.action.writes or change.direction is Direction.KILL:
        return change
    for guard in guards:
        hold = guard(change)
        if hold is not None:
            return msgspec.structs.replace(change, action=Action.HOLD, after=change.before, hold=hold)
    return change
