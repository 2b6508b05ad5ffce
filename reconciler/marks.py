"""What the ledger is to remember of single fields after a run: kills, and what is at odds with git.

Takes the Changes of a run, the marks that were there, the time and who the run acts for; gives the marks to store.
Pure. The time a value was killed is remembered however it was killed (a commit, a hand, or before anybody managed it),
and outlives the field's release, so that no detour ends a cooldown early.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from types import MappingProxyType

import msgspec
from msgspec.structs import replace

from reconciler.canonical import equal
from reconciler.diff import ASKED, BY_HAND, RELEASED, entry_digest, is_put_back_past_git
from reconciler.fields import Field, OnASide
from reconciler.guards import spend_waivers, waivers_of
from reconciler.model import Action, Change, Direction, FieldKey, Finding, Json, Mark, Missing, Row, Value
from reconciler.schema import Table

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
    insisted: Mapping[FieldKey, Json] = MappingProxyType({}),
) -> dict[FieldKey, Mark]:
    """Only the marks that differ from what is stored.

    A run of a dirty work tree leaves what it wrote open, as a hand would: git still has another opinion, and must not
    win by its next run. What git does not name stays open, too, until somebody commits or releases it. So does what it
    was to kill and found off already (`insisted`, with the values).
    """
    after: dict[FieldKey, Mark] = {}
    unspoken_of = {field for field, mark in marks.items() if mark.seen_at is not None}
    for change in changes:
        field = (change.table, change.key, change.field)
        unspoken_of.discard(field)
        old = marks.get(field, Mark())
        new = _mark_after(change, old, _value(desired, field), tables.get(change.table), now, doer)
        if new != old:
            after[field] = new
    for field, old in marks.items():
        is_over = old.glass is None or _value(desired, field) is not None
        if field in unspoken_of and doer.glass is None and is_over:
            new = _agreed(old, _value(desired, field), doer)
            if new != old:
                after[field] = new
    for field, has in insisted.items():
        old = marks.get(field, Mark())
        left = _left_off(old, has, now, doer)
        after.pop(field, None)
        if left != old:
            after[field] = left
    return after


def _left_off(old: Mark, has: Json, now: datetime, doer: Doer) -> Mark:
    """The mark of what a run of something that is not merged was to kill, and found off: it is a kill all the same, and
    what git asks for by now is no answer to it.
    """
    if old.glass == doer.glass and old.seen_at is not None and old.seen_entry is None and equal(old.seen_value, has):
        return old  # the same once more
    killed = replace(_closed(old), killed_at=now, killed_by=doer.killer)
    return replace(killed, seen_at=now, seen_value=has, glass=doer.glass)


def _value(desired: Mapping[str, Mapping[str, Row]], field: FieldKey) -> Value | None:
    row = desired.get(field[0], {}).get(field[1])
    return row.values.get(field[2]) if row is not None else None


def _mark_after(change: Change, old: Mark, value: Value | None, table: Table | None, now: datetime, doer: Doer) -> Mark:
    field = table.fields.get(change.field) if table is not None else None
    if doer.glass is not None and change.action in (Action.RECORD, Action.RELEASE):
        return old  # the ledger takes no value from a dirty work tree, and gives none up
    if field is None or change.action is Action.RELEASE:
        return _released_by_git(change, old, field)
    if change.action.writes:
        return _written(change, old, value, field, now, doer)
    if change.finding is Finding.BREAK_GLASS:
        return _told_of(old, value, doer)
    if change.action is Action.KEEP and (change.direction is Direction.KILL or _moved_to_kill_side(change, field)):
        return _seen(change, old, value, field, now, doer)
    has = change.before
    is_seen = old.seen_at is not None and not isinstance(has, Missing) and equal(old.seen_value, has)
    new = old if change.action is Action.HOLD and is_seen else _closed(old)
    if change.action is Action.RECORD and is_seen:
        new = _agreed(old, value, doer)
    new = _with_new_kill(new, change, old, field, now)
    if change.action is Action.HOLD and change.finding is Finding.ADOPTION and not isinstance(has, Missing):
        return _held_before_it_was_applied(new, has, now, doer)
    return replace(new, spent=spend_waivers(change, old, value)) if change.action is Action.RECORD else new


def _held_before_it_was_applied(mark: Mark, has: Json, now: datetime, doer: Doer) -> Mark:
    """The mark of what a guard holds although git was never applied there: no base says what a run has seen. The next
    one must see a cut by hand as the kill that it is, and must not take a row of which a commit has asked this for one
    that has begun to match since.
    """
    entry = ASKED if doer.glass is None else None
    if mark.seen_at is None:
        return replace(mark, seen_at=now, seen_value=has, seen_entry=entry)
    return mark if mark.seen_entry is not None else replace(mark, seen_entry=entry)


def _with_new_kill(new: Mark, change: Change, old: Mark, field: Field, now: datetime) -> Mark:
    """The mark with the time of a kill that this run is the first to see: the value lies on the kill side of what was
    there when a run last looked, or nobody has looked before.
    """
    known = _known(change, old)
    if isinstance(change.before, Missing):
        return new
    if isinstance(known, Missing):
        is_first = old.killed_at is None and field.is_killed(change.before)
        return replace(new, killed_at=now, killed_by=BEFORE_MANAGED) if is_first else new
    if field.direction(known, change.before) is Direction.KILL:
        return replace(new, killed_at=now, killed_by=BY_HAND)
    return new


def _known(change: Change, old: Mark) -> Json | Missing:
    """What the database had when a run last looked, MISSING where none has."""
    return old.seen_value if old.seen_at is not None else change.base


def _moved_to_kill_side(change: Change, field: Field) -> bool:
    """Whether the database went to the kill side from what was applied last."""
    if isinstance(change.base, Missing) or isinstance(change.before, Missing):
        return False
    return field.direction(change.base, change.before) is Direction.KILL


def _released_by_git(change: Change, old: Mark, field: Field | None) -> Mark:
    """The mark of a field that git no longer names: it outlives that, unless the value is seen on the open side. Should
    the application kill it from there, that is another kill, first seen when git names the field again.
    """
    if isinstance(field, OnASide) and not isinstance(change.before, Missing) and not field.is_killed(change.before):
        return Mark(spent=old.spent)
    return _closed(old)


def _written(change: Change, old: Mark, value: Value | None, field: Field, now: datetime, doer: Doer) -> Mark:
    """The mark of a field that this run wrote."""
    after = None if isinstance(change.after, Missing) else change.after
    if is_put_back_past_git(change) and old.seen_at is not None and equal(old.seen_value, after):
        return _told_of(replace(old, killed_at=now), value, doer)
    new = replace(_closed(old), spent=spend_waivers(change, old, value))
    if change.direction is Direction.KILL:
        new = replace(new, killed_at=now, killed_by=doer.killer)
    else:
        new = _with_new_kill(new, change, old, field, now)
    if doer.glass is not None:
        new = replace(new, seen_at=now, seen_value=after, glass=doer.glass)
    return new


def _seen(change: Change, old: Mark, value: Value | None, field: Field, now: datetime, doer: Doer) -> Mark:
    """The mark of a value that the database has against git's will: when first seen, and git's entry at that time.

    A waiver that stood there at the time of a kill does not count against it.
    """
    has = None if isinstance(change.before, Missing) else change.before
    if old.seen_at is not None and equal(old.seen_value, has):
        return _digested(old, value, doer)
    seen = _with_new_kill(replace(_closed(old), seen_at=now, seen_value=has), change, old, field, now)
    if seen.killed_at != old.killed_at:
        seen = replace(seen, spent=tuple(sorted({*old.spent, *waivers_of(value)})))
    return _digested(seen, value, doer)


def _agreed(old: Mark, value: Value | None, doer: Doer) -> Mark:
    """The mark of a value that is as git asks: what was against git is over.

    But an entry that says so only until a time, and stood there when the glass was broken, has not answered: what comes
    after that time must not undo the kill.
    """
    is_for_a_time = value is not None and value.then is not None and value.entry is None
    if old.glass is None or value is None or not is_for_a_time or old.seen_entry not in (None, entry_digest(value)):
        return _closed(old)
    return _told_of(old, value, doer)


def _told_of(old: Mark, value: Value | None, doer: Doer) -> Mark:
    """The mark of what broken glass has left, once a run from git tells of it: a waiver that stands there then stood
    there at the time of the kill.
    """
    new = _digested(old, value, doer)
    return new if new == old else replace(new, spent=tuple(sorted({*old.spent, *waivers_of(value)})))


def _digested(mark: Mark, value: Value | None, doer: Doer) -> Mark:
    """The mark with git's entry remembered, where it was not yet. What a dirty work tree says is not git's entry."""
    if mark.seen_entry is not None or value is None or doer.glass is not None:
        return mark
    return replace(mark, seen_entry=entry_digest(value))


def released(old: Mark) -> Mark:
    """The mark of a field with which git may have its way again, as if a commit had touched its entry."""
    return replace(old, seen_entry=RELEASED, glass=None)


def _closed(old: Mark) -> Mark:
    return Mark(killed_at=old.killed_at, killed_by=old.killed_by, spent=old.spent)
