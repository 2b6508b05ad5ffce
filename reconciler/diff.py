"""The decision: desired, base and actual of one row, compared field by field.

Takes the desired Row and the values of the other two (any may be None), the Table and what the ledger remembers of the
fields; gives Changes, sorted by field, for everything that is not in sync. Pure: no I/O, no clock. Guards come after it
(`guards`): here a change away from the kill side is an UPDATE like any other.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping

from reconciler.canonical import equal, to_text
from reconciler.digests import sha256
from reconciler.fields import Field
from reconciler.model import (
    MISSING,
    Action,
    Change,
    Direction,
    FieldKey,
    Finding,
    Json,
    Mark,
    Matched,
    Missing,
    Row,
    Value,
)
from reconciler.schema import Table

RELEASED = "released"
"""Stands for the digest of git's entry once somebody has released the field: no entry has it, so every entry counts as
touched since."""

ASKED = "asked"
"""Stands for it where git has asked for a value that was never applied, and a guard holds that: git is not to be asked
again.
"""

BY_HAND = "by hand, or by the application"
"""Who has killed what no run did."""

_Side = Json | Missing


def entry_digest(value: Value) -> str:
    """What git's entry for a field says, value and reason together, as a short digest.

    A kill by hand is undone only by a commit that touches the entry after the kill was first seen; a touch is a digest
    that is no longer the one that was remembered then.
    """
    if value.entry is not None:
        return value.entry
    then = [value.then.data, value.then.restores] if value.then is not None else None
    said: Json = [value.data, value.reason, value.until, then, dict(value.override)]
    return sha256(to_text(said).encode()).hexdigest()[:16]


def diff_row(
    table: Table,
    key: str,
    desired: Row | None,
    base: Mapping[str, Json] | None,
    actual: Mapping[str, Json] | None,
    marks: Mapping[str, Mark],
    label: str | None,
) -> Iterator[Change]:
    """The Changes of one row. `marks` holds what the ledger remembers, by field.

    A row that does not exist (`actual` is None) gives CREATE for each desired field; whether it may be made is the
    caller's to know.
    """
    asked = desired.data if desired is not None else {}
    applied: Mapping[str, Json] = base if base is not None else {}
    there: Mapping[str, Json] = actual if actual is not None else {}
    for name in sorted({*asked, *applied}):
        before, has = applied.get(name, MISSING), there.get(name, MISSING)
        mark, field = marks.get(name), table.fields.get(name)
        if mark is None and field is not None and name in asked:
            wish = asked[name]
            if (wish is before or equal(wish, before)) and (before is has or equal(before, has)):
                continue  # as most fields are, of which `_decide` says the same
        wanted = desired.values.get(name) if desired is not None else None
        left_off = _opened_past_broken_glass(field, wanted, has, mark)
        verdict = _reopened(left_off) if left_off is not None else _decide(field, wanted, before, has, mark)
        if mark is not None and _is_opened_before_the_answer(field, wanted, has, mark):
            # The guards are asked of the whole way, from the kill that the answer is to.
            before, text = mark.seen_value, "killed by hand, or through broken glass, and opened by hand since"
            verdict = (Finding.CONVERGED, Action.RECORD, Direction.NEUTRAL, text)
        if verdict is None:
            continue
        finding, action, direction, explanation = verdict
        after = has
        if action.writes and wanted is not None:
            after = left_off.seen_value if left_off is not None else wanted.data
        yield Change(
            table=table.name,
            key=key,
            field=name,
            finding=finding,
            action=action,
            direction=direction,
            before=has,
            after=after,
            desired=wanted.data if wanted is not None else MISSING,
            base=before,
            explanation=explanation,
            reason=wanted.reason if wanted is not None else None,
            location=wanted.location if wanted is not None else None,
            label=label,
            match=wanted.match if isinstance(wanted, Matched) else None,
        )


_Verdict = tuple[Finding, Action, Direction, str]


def _decide(
    field: Field | None, wanted: Value | None, base: _Side, actual: _Side, mark: Mark | None
) -> _Verdict | None:
    """The eight rows of the three-way table (design, section 3), in its order; None is in sync."""
    if wanted is None or field is None:
        text = "git no longer names it: the value stays as it is, and is managed no more"
        return (Finding.RELEASED, Action.RELEASE, Direction.NEUTRAL, text)
    desired = wanted.data
    if _is_left_by_broken_glass(field, wanted, actual, mark):
        text = f"{mark.glass if mark else ''}: left as it is until git agrees, touches this entry, or it is released"
        return (Finding.BREAK_GLASS, Action.KEEP, Direction.NEUTRAL, text)
    if isinstance(actual, Missing):
        finding = Finding.ADOPTION if isinstance(base, Missing) else Finding.DRIFT
        direction = _direction_of_making(field, base, desired)
        return (finding, Action.CREATE, direction, "the row does not exist and is made")
    if isinstance(base, Missing):
        if equal(actual, desired):
            text = "managed from now on; the database has it already"
            return (Finding.ADOPTION, Action.RECORD, Direction.NEUTRAL, text)
        if isinstance(wanted, Matched) and _was_killed_before_it_matched(field, wanted, actual, mark):
            text = "switched off before the row matched: left as it is until a commit touches this entry of `$where`"
            return (Finding.KILLED_BY_HAND, Action.KEEP, Direction.KILL, f"{text}, or names the row")
        return (Finding.ADOPTION, Action.UPDATE, field.direction(actual, desired), "managed from now on")
    if equal(desired, base):
        return None if equal(actual, base) else _moved_behind_git(field, wanted, base, actual, mark)
    if equal(actual, desired):
        text = "git and the database moved to the same value"
        return (Finding.CONVERGED, Action.RECORD, Direction.NEUTRAL, text)
    if equal(actual, base):
        return (Finding.CHANGE, Action.UPDATE, field.direction(actual, desired), "changed in git")
    return _conflict(field, wanted, base, actual, mark)


def is_put_back_past_git(change: Change) -> bool:
    """Whether the change puts back what was opened by hand although git asks to open it: what a guard holds, and what
    broken glass has killed.
    """
    is_put_back = change.finding is Finding.REOPENED and change.action.writes
    return is_put_back and not isinstance(change.after, Missing) and not _is_asked(change.desired, change.after)


def _is_asked(desired: _Side, after: Json) -> bool:
    return not isinstance(desired, Missing) and equal(desired, after)


def _direction_of_making(field: Field, base: _Side, desired: Json) -> Direction:
    """Of a row that was there before, and is gone: from what was applied last, since a deletion ends no cooldown."""
    if field.is_killed(desired):
        return Direction.KILL
    return Direction.NEUTRAL if isinstance(base, Missing) else field.direction(base, desired)


def _was_killed_before_it_matched(field: Field, wanted: Matched, actual: Json, mark: Mark | None) -> bool:
    """Whether the value was killed, and git has not decided since that it be restored: the row has begun to match, by
    the application's doing, what was asked of others before.
    """
    if wanted.since is None or field.direction(actual, wanted.data) is not Direction.RESTORE:
        return False
    is_known = field.is_killed(actual) or (mark is not None and mark.killed_by == BY_HAND)
    return is_known and not touched_since_seen(wanted, actual, mark)


def _moved_behind_git(field: Field, wanted: Value, base: Json, actual: Json, mark: Mark | None) -> _Verdict:
    moved = field.direction(base, actual)
    if moved is Direction.RESTORE:
        text = "re-opened behind git's back: put back to the kill side"
        return (Finding.REOPENED, Action.UPDATE, Direction.KILL, text)
    if moved is Direction.NEUTRAL:
        if field.drift == "keep":
            return (Finding.DRIFT, Action.KEEP, moved, "changed behind git's back; the schema says `drift: keep`")
        return (Finding.DRIFT, Action.UPDATE, moved, "changed behind git's back: put back")
    if touched_since_seen(wanted, actual, mark):
        text = "killed by hand, and restored by a commit that came after the kill was seen"
        if mark is not None and mark.seen_entry == RELEASED:
            text = "killed by hand, or through broken glass, and released to git since"
        return (Finding.KILLED_BY_HAND, Action.UPDATE, Direction.RESTORE, text)
    text = f"killed by hand{_since(actual, mark)}: left as it is until a commit touches this entry"
    text += " (its value or reason)"
    return (Finding.KILLED_BY_HAND, Action.KEEP, Direction.KILL, text)


def _conflict(field: Field, wanted: Value, base: Json, actual: Json, mark: Mark | None) -> _Verdict:
    direction = field.direction(actual, wanted.data)
    if direction is Direction.KILL:
        return (Finding.CONFLICT, Action.UPDATE, direction, "git and the database both moved: git is on the kill side")
    if direction is Direction.RESTORE:
        if field.direction(base, actual) is Direction.RESTORE:
            text = "git and the database both moved away from the kill side: git's value is applied"
            return (Finding.CONFLICT, Action.UPDATE, direction, text)
        if touched_since_seen(wanted, actual, mark):
            text = "git and the database both moved; restored by a commit that came after this was seen"
            return (Finding.CONFLICT, Action.UPDATE, direction, text)
        text = f"git and the database both moved{_since(actual, mark)}: the database is on the kill side and stays so"
        return (Finding.CONFLICT, Action.KEEP, Direction.KILL, text + " until a later commit touches this entry")
    if field.drift == "keep":
        text = "git and the database both moved; the schema says `drift: keep`"
        return (Finding.CONFLICT, Action.KEEP, direction, text)
    return (Finding.CONFLICT, Action.UPDATE, direction, "git and the database both moved: git's value is applied")


def _is_left_by_broken_glass(field: Field, wanted: Value, actual: _Side, mark: Mark | None) -> bool:
    """Whether a run of a dirty work tree left this value, and git has not answered since.

    A kill waits for no answer.
    """
    if mark is None or mark.glass is None or mark.seen_at is None or isinstance(actual, Missing):
        return False
    if equal(actual, wanted.data) or not equal(mark.seen_value, actual):
        return False
    if field.direction(actual, wanted.data) is Direction.KILL:
        return False
    return not touched_since_seen(wanted, actual, mark)


def in_sync_past_a_kill(
    marks: Mapping[FieldKey, Mark], desired: Mapping[str, Mapping[str, Row]], seen: Mapping[str, Container[str]]
) -> dict[str, list[str]]:
    """The keys of rows, by table, that are as git asks, and so not among the `seen`, although a run has seen another
    value in them that was against git, and has not seen it go.
    """
    found: dict[str, set[str]] = {}
    for (table, key, name), mark in marks.items():
        row = desired.get(table, {}).get(key) if table in seen and key not in seen[table] else None
        if mark.seen_at is None or row is None or name not in row.data:
            continue
        if not equal(row.data[name], mark.seen_value):
            found.setdefault(table, set()).add(key)
    return {table: sorted(keys) for table, keys in sorted(found.items())}


def _opened_past_broken_glass(
    field: Field | None, wanted: Value | None, actual: _Side, mark: Mark | None
) -> Mark | None:
    """The mark of what broken glass has killed and somebody has opened since, by hand, before git has answered; None of
    anything else. That git says so, too, is no answer: it did before the kill.
    """
    if field is None or wanted is None or mark is None or mark.glass is None or mark.seen_at is None:
        return None
    if isinstance(actual, Missing) or touched_since_seen(wanted, mark.seen_value, mark):
        return None
    ways = field.direction(mark.seen_value, actual), field.direction(mark.seen_value, wanted.data)
    return mark if ways == (Direction.RESTORE, Direction.RESTORE) else None


def _is_opened_before_the_answer(field: Field | None, wanted: Value | None, actual: _Side, mark: Mark) -> bool:
    """Whether somebody has opened by hand what was killed by hand or through broken glass, and a commit has answered:
    what holds that answer is not to be got around.
    """
    if field is None or wanted is None or isinstance(actual, Missing):
        return False
    if mark.seen_at is None or mark.seen_entry == ASKED:
        return False
    is_answered = equal(actual, wanted.data) and touched_since_seen(wanted, mark.seen_value, mark)
    return is_answered and field.direction(mark.seen_value, actual) is Direction.RESTORE


def _reopened(left_off: Mark) -> _Verdict:
    text = f"{left_off.glass}, and somebody has re-opened it by hand since: put back to the kill side"
    return (Finding.REOPENED, Action.UPDATE, Direction.KILL, text)


def touched_since_seen(wanted: Value, actual: Json, mark: Mark | None) -> bool:
    """Whether git's entry is another than when this very value was first seen in the database against git's will.

    An entry of a `$where` must be newer than that as well: a row that moves from one match to another has another
    entry, and nobody has touched it.
    """
    if mark is None or mark.seen_at is None or mark.seen_entry is None or not equal(mark.seen_value, actual):
        return False
    if mark.seen_entry in (RELEASED, ASKED):
        return True
    if isinstance(wanted, Matched) and wanted.since is not None and wanted.since <= mark.seen_at:
        return False
    return mark.seen_entry != entry_digest(wanted)


def _since(actual: Json, mark: Mark | None) -> str:
    if mark is None or mark.seen_at is None or not equal(mark.seen_value, actual):
        return ""
    return f" (first seen {mark.seen_at.strftime('%Y-%m-%d %H:%M')} UTC)"
