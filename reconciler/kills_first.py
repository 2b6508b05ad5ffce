"""Kills do not wait for the health checks of what is switched on again by the same commit: they are a run of their own,
committed before the checks are made.

Takes the Plans that would be made without the checks, and if all of them passed; gives the kills that go first, and the
one Outcome that tells of both runs. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from reconciler.model import Action, Change, Direction, FieldKey
from reconciler.outcome import EffectCounts, Outcome
from reconciler.plan import EffectSummary, Notice, Plan, Scope, count, fingerprint_of

__all__ = ["kills_ahead", "one_story", "scope_of"]


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


def one_story(first: Outcome, rest: Outcome) -> Outcome:
    """What the run of the kills did and what the run of the rest did, as one Outcome.

    Its plan is the whole: the commit before both, and every change, with the fingerprint of all of them.
    """
    done = [change for change in first.plan.changes if change.action not in (Action.HOLD, Action.KEEP)]
    changes = tuple(sorted([*done, *rest.plan.changes], key=Change.sort_key))
    managed = rest.plan.counts
    plan = replace(
        rest.plan,
        last_applied=first.plan.last_applied,
        changes=changes,
        counts=count(changes, managed_rows=managed.managed_rows, managed_fields=managed.managed_fields),
        fingerprint=fingerprint_of(changes),
        effects=_added([*first.plan.effects, *rest.plan.effects]),
    )
    of_its_own = [notice for notice in first.notices if notice not in first.plan.notices]
    return replace(
        rest,
        plan=plan,
        kills_run_id=first.run_id,
        applied=first.applied + rest.applied,
        audit_entries=first.audit_entries + rest.audit_entries,
        recorded=first.recorded + rest.recorded,
        released=first.released + rest.released,
        duration_s=first.duration_s + rest.duration_s,
        notices=_once([*of_its_own, *rest.notices]),
        effects=EffectCounts(
            delivered=first.effects.delivered + rest.effects.delivered,
            waiting=first.effects.waiting + rest.effects.waiting,
            dead=first.effects.dead + rest.effects.dead,
        ),
        verdicts=(*first.verdicts, *rest.verdicts),
    )


def _added(effects: Iterable[EffectSummary]) -> tuple[EffectSummary, ...]:
    counts: dict[tuple[str, str], int] = {}
    for effect in effects:
        counts[effect.kind, effect.target] = counts.get((effect.kind, effect.target), 0) + effect.count
    return tuple(EffectSummary(kind, target, number) for (kind, target), number in sorted(counts.items()))


def _once(notices: Iterable[Notice]) -> tuple[Notice, ...]:
    return tuple(dict.fromkeys(notices))
