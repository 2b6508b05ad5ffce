"""What the ledger is to remember of single fields after a run: kills, and what is at odds with git.

Takes the Changes of a run, the marks that were there, the time and who the run acts for; gives the marks to store. Pure.
The time a value was killed is remembered however it was killed (a commit, a hand, or before anybody managed it), and
outlives the field's release, so that no detour ends a cooldown early.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

import msgspec

from reconciler.canonical import equal
from reconciler.diff import entry_digest
from reconciler.model import Action, Change, Direction, FieldKey, Finding, Mark, Missing, Row
from reconciler.schema import Table

BY_HAND = "by hand, or by the application"
BEFORE_MANAGED = "before it was managed"


def marks_after(
    changes: Iterable[Change],
    marks: Mapping[FieldKey, Mark],
    *,
    desired: Mapping[str, Mapping[str, Row]],
    tables: Mapping[str, Table],
    now: datetime,
    killer: str,
    from_git: bool,
) -> dict[FieldKey, Mark]:
    """Only the marks that differ from what is stored. `killer` says who a kill of this run is put down to.

    A run that was not `from_git` (a dirty work tree) leaves what it killed open, as a hand would: git still has another
    opinion, and must not win by its next run.
    """
    after: dict[FieldKey, Mark] = {}
    spoken_of = set()
    for change in changes:
        field = (change.table, change.key, change.field)
        spoken_of.add(field)
        old = marks.get(field, Mark())
        new = _mark_after(change, old, desired, tables, now, killer, from_git)
        if new != old:
            after[field] = new
    for field, old in marks.items():
        if field not in spoken_of and old.seen_at is not None and from_git:
            after[field] = _closed(old)
    return after


def _mark_after(
    change: Change,
    old: Mark,
    desired: Mapping[str, Mapping[str, Row]],
    tables: Mapping[str, Table],
    now: datetime,
    killer: str,
    from_git: bool,
) -> Mark:
    if change.action is Action.RELEASE:
        return _closed(old)
    if change.action.writes:
        if change.direction is not Direction.KILL:
            return _closed(old)
        if from_git:
            return Mark(killed_at=now, killed_by=killer)
        return Mark(now, killer, now, None if isinstance(change.after, Missing) else change.after, None)
    if change.action is Action.KEEP and change.direction is Direction.KILL:
        return _seen(change, old, desired, now)
    field = tables[change.table].fields[change.field]
    is_killed = not isinstance(change.before, Missing) and field.is_killed(change.before)
    if is_killed and old.killed_at is None:
        by = BEFORE_MANAGED if change.finding is Finding.ADOPTION else BY_HAND
        return Mark(killed_at=now, killed_by=by)
    return old if change.action is Action.HOLD else _closed(old)


def _seen(change: Change, old: Mark, desired: Mapping[str, Mapping[str, Row]], now: datetime) -> Mark:
    """The mark of a value that the database has against git's will: when first seen, and git's entry at that time."""
    digest = entry_digest(desired[change.table][change.key].values[change.field])
    value = None if isinstance(change.before, Missing) else change.before
    if old.seen_at is not None and equal(old.seen_value, value):
        return old if old.seen_entry is not None else msgspec.structs.replace(old, seen_entry=digest)
    return Mark(killed_at=now, killed_by=BY_HAND, seen_at=now, seen_value=value, seen_entry=digest)


def _closed(old: Mark) -> Mark:
    return Mark(killed_at=old.killed_at, killed_by=old.killed_by)
