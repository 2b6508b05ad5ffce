"""Kills do not wait for the health checks of what is switched on again by the same commit: they are a run of their own,
committed before the checks are made.

Takes the Plans that would be made without the checks, and if all of them passed; gives the kills that go first, and the
one Outcome that tells of both runs. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from reconciler.model import Action, Direction, FieldKey
from reconciler.one_story import one_story
from reconciler.outcome import Outcome
from reconciler.plan import Plan, Scope

__all__ = ["kills_ahead", "kills_and_rest", "scope_of"]


def kills_ahead(unchecked: Plan, passed: Plan) -> frozenset[FieldKey]:
    """The kills that both plans write alike, so that no check has a say in them.

    None where an apply of either would be refused: a run that is too large is refused whole, and is not made smaller by
    cutting it in two. A row that is made is made with all of its fields, and has nothing to kill before.
    """
    if unchecked.refusals or passed.refusals:
        return frozenset()
    also = {change.sort_key(): (change.before, change.after) for change in passed.writes}
    return frozenset(
        change.sort_key()
        for change in unchecked.writes
        if change.direction is Direction.KILL
        and change.action is Action.UPDATE
        and also.get(change.sort_key()) == (change.before, change.after)
    )


def scope_of(kills: Iterable[FieldKey]) -> Scope:
    """The rows of the kills: a run of a part settles nothing for what it has not looked at (`ledger_sync`)."""
    return Scope(rows=tuple(sorted({f"{table}/{key}" for table, key, _ in kills})))


def kills_and_rest(kills: Outcome, rest: Outcome) -> Outcome:
    """What the run of the kills did and what the run of the rest did, as one Outcome."""
    return replace(one_story([kills], rest), kills_run_id=kills.run_id)
