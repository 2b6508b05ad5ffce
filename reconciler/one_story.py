"""What several runs of one apply did, as one Outcome.

Takes the Outcomes of the runs, in order; gives one whose plan is the whole: the commit before all of them, and every
change, with the fingerprint of all of them. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from msgspec.structs import replace

from reconciler.model import Action, Change, FieldKey
from reconciler.outcome import EffectCounts, Outcome, Verdict
from reconciler.plan import EffectSummary, count, fingerprint_of

__all__ = ["one_story", "put_back_of", "without_holds"]


def one_story(earlier: Sequence[Outcome], last: Outcome) -> Outcome:
    """The Outcome of all of them. `last` is the run that looked at everything: what is not done is told by it alone."""
    runs = [*earlier, last]
    done = [
        change
        for run in earlier
        for change in run.plan.changes
        if change.action is not Action.HOLD and change.action is not Action.KEEP
    ]
    put_back = put_back_of(done)
    changes = tuple(sorted([*done, *without_holds(last.plan.changes, put_back)], key=Change.sort_key))
    managed = last.plan.counts
    plan = replace(
        last.plan,
        last_applied=runs[0].plan.last_applied,
        changes=changes,
        counts=count(changes, managed_rows=managed.managed_rows, managed_fields=managed.managed_fields),
        fingerprint=fingerprint_of(changes),
        effects=_added(effect for run in runs for effect in run.plan.effects),
    )
    of_its_own = [notice for run in earlier for notice in run.notices if notice not in run.plan.notices]
    return replace(
        last,
        plan=plan,
        applied=sum(run.applied for run in runs),
        audit_entries=sum(run.audit_entries for run in runs),
        recorded=sum(run.recorded for run in runs),
        released=sum(run.released for run in runs),
        duration_s=sum(run.duration_s for run in runs),
        notices=tuple(dict.fromkeys([*of_its_own, *last.notices])),
        effects=EffectCounts(
            delivered=sum(run.effects.delivered for run in runs),
            waiting=sum(run.effects.waiting for run in runs),
            dead=sum(run.effects.dead for run in runs),
        ),
        verdicts=_together(verdict for run in runs for verdict in run.verdicts),
    )


def put_back_of(changes: Iterable[Change]) -> frozenset[FieldKey]:
    """The fields that a guard puts back against git. Once that is done, git's own restore of them is what is held: the
    same story, which one run tells by one change.
    """
    return frozenset(c.sort_key() for c in changes if c.action.writes and c.after != c.desired)


def without_holds(changes: Iterable[Change], fields: frozenset[FieldKey]) -> Iterator[Change]:
    """The changes but for those of these fields that are held."""
    return (change for change in changes if change.action is not Action.HOLD or change.sort_key() not in fields)


def _added(effects: Iterable[EffectSummary]) -> tuple[EffectSummary, ...]:
    counts: dict[tuple[str, str], int] = {}
    for effect in effects:
        counts[effect.kind, effect.target] = counts.get((effect.kind, effect.target), 0) + effect.count
    return tuple(EffectSummary(kind, target, number) for (kind, target), number in sorted(counts.items()))


def _together(verdicts: Iterable[Verdict]) -> tuple[Verdict, ...]:
    """One verdict for each proof, whatever the number of runs that asked it. Its times are the longest."""
    found: dict[tuple[str, str, str, str], Verdict] = {}
    for one in verdicts:
        proof = (one.table, one.field, one.kind, one.target)
        known = found.get(proof)
        if known is not None:
            one = replace(
                one,
                changes=known.changes + one.changes,
                asked=known.asked + one.asked,
                seen=known.seen + one.seen,
                after_s=_longest(known.after_s, one.after_s),
                waited_s=_longest(known.waited_s, one.waited_s),
                unseen=(*known.unseen, *one.unseen),
            )
        found[proof] = one
    return tuple(found.values())


def _longest(one: float | None, other: float | None) -> float | None:
    """None where either is not known."""
    return None if one is None or other is None else max(one, other)
