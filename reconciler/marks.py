"""What the ledger is to remember of single fields after a run: kills, and what is at odds with git.

Takes the Changes of a run, the marks that were there, the time and who the run acts for; gives the marks to store. Pure.
The time a value was killed is remembered however it was killed (a commit, a hand, or before anybody managed it), and
outlives the field's release, so that no detour ends a cooldown early.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

import msgspec
from msgspec.structs import replace

from reconciler.canonical import equal
from reconciler.diff import entry_digest
from reconciler.guards import spend_waivers, waivers_of
from reconciler.model import Action, Change, Direction, FieldKey, Finding, Mark, Missing, Row, Value
from reconciler.schema import Table

BY_HAND = "by hand, or by the application"
RELEASED = "released"
"""Stands for the digest of git's entry once somebody has released the field: no entry has it, so every entry counts as
touched since."""

BEFORE_MANAGED = "before it was managed"


class Doer(msgspec.Struct, frozen=True):
    """Who a run acts for. `glass` is set where the run applies a dirty work tree: who breaks the glass, and why."""

    killer: str
    glass: str | None = None


def marks_after(
    changes: Iterable[Change],
    marks: Mapping[FieldKey, Mark],
    *,
    desired: Mapping[str, Mapping[str, Row]],
    tables: Mapping[str, Table],
    now: datetime,
    doer: Doer,
) -> dict[FieldKey, Mark]:
    """Only the marks that differ from what is stored.

    A run of a dirty work tree leaves what it wrote open, as a hand would: git still has another opinion, and must not
    win by its next run.
    """
    after: dict[FieldKey, Mark] = {}
    spoken_of = set()
    for change in changes:
        field = (change.table, change.key, change.field)
        spoken_of.add(field)
        old = marks.get(field, Mark())
        row = desired.get(change.table, {}).get(change.key)
        value = row.values.get(change.field) if row is not None else None
        new = _mark_after(change, old, value, tables, now, doer)
        if new != old:
            after[field] = new
    for field, old in marks.items():
        if field not in spoken_of and old.seen_at is not None and doer.glass is None:
            after[field] = _closed(old)
    return after


def _mark_after(
    change: Change, old: Mark, value: Value | None, tables: Mapping[str, Table], now: datetime, doer: Doer
) -> Mark:
    if change.action is Action.RELEASE:
        return _closed(old)
    if change.action.writes:
        return _written(change, old, value, now, doer)
    if change.finding is Finding.BREAK_GLASS:
        return _digested(old, value)
    if change.action is Action.KEEP and change.direction is Direction.KILL:
        return _seen(change, old, value, now)
    field = tables[change.table].fields[change.field]
    is_killed = not isinstance(change.before, Missing) and field.is_killed(change.before)
    if is_killed and old.killed_at is None:
        by = BEFORE_MANAGED if change.finding is Finding.ADOPTION else BY_HAND
        return replace(_closed(old), killed_at=now, killed_by=by, spent=spend_waivers(change, old, value))
    return old if change.action is Action.HOLD else _closed(old)


def _written(change: Change, old: Mark, value: Value | None, now: datetime, doer: Doer) -> Mark:
    """The mark of a field that this run wrote."""
    after = None if isinstance(change.after, Missing) else change.after
    new = replace(_closed(old), spent=spend_waivers(change, old, value))
    if change.direction is Direction.KILL:
        new = replace(new, killed_at=now, killed_by=doer.killer)
    if doer.glass is not None:
        new = replace(new, seen_at=now, seen_value=after, glass=doer.glass)
    return new


def _seen(change: Change, old: Mark, value: Value | None, now: datetime) -> Mark:
    """The mark of a value that the database has against git's will: when first seen, and git's entry at that time."""
    has = None if isinstance(change.before, Missing) else change.before
    if old.seen_at is not None and equal(old.seen_value, has):
        return _digested(old, value)
    first = Mark(killed_at=now, killed_by=BY_HAND, seen_at=now, seen_value=has)
    spent = sorted({*old.spent, *waivers_of(value)})
    return _digested(replace(first, spent=tuple(spent)), value)


def _digested(mark: Mark, value: Value | None) -> Mark:
    """The mark with git's entry remembered, where it was not yet."""
    if mark.seen_entry is not None or value is None:
        return mark
    return replace(mark, seen_entry=entry_digest(value))


def released(old: Mark) -> Mark:
    """The mark of a field with which git may have its way again, as if a commit had touched its entry."""
    return replace(old, seen_entry=RELEASED, glass=None)


def _closed(old: Mark) -> Mark:
    return Mark(killed_at=old.killed_at, killed_by=old.killed_by, spent=old.spent)
