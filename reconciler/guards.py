"""The guards: what may hold a change that is otherwise decided.

Takes the Changes of `diff`, the marks, what the checks saw, and the time; gives the Changes back, some of them held. Pure:
checks are made elsewhere (`checks`), and asked for here by name.

A change toward the kill side passes every guard. A guard is waived only by an `override` on the value in git; a waiver
is used once: it does not count for a kill at whose time it stood there already, or that came after it was used.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

import msgspec

from reconciler.fields import Field, format_timestamp, seconds
from reconciler.model import (
    AFTER,
    FREEZE,
    REQUIRES,
    UNCOMMITTED,
    Action,
    Change,
    Direction,
    FieldKey,
    Finding,
    Hold,
    Mark,
    Missing,
    Row,
    Value,
)
from reconciler.schema import Table



class CheckResult(msgspec.Struct, frozen=True):
    """What a health check saw, in words with numbers."""

    passed: bool
    saw: str


class Frozen(msgspec.Struct, frozen=True):
    """A freeze that is on now: why, and until when (None: until somebody ends it)."""

    name: str
    until: datetime | None


class Situation(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that guards look at besides the change itself. `results` holds the checks that were made."""

    now: datetime
    tables: Mapping[str, Table]
    desired: Mapping[str, Mapping[str, Row]]
    marks: Mapping[FieldKey, Mark]
    results: Mapping[str, CheckResult] = {}
    frozen: Sequence[Frozen] = ()
    committed: bool = True


def hold_back(changes: Iterable[Change], situation: Situation) -> list[Change]:
    """The same changes; those that write away from the kill side against a guard are held."""
    return [_guarded(change, situation) for change in changes]


def checks_needed(changes: Iterable[Change], situation: Situation) -> set[str]:
    """The checks that would decide a change that no other guard holds, and that were not made yet."""
    needed: set[str] = set()
    for change in changes:
        if change.hold is not None and change.hold.guard == REQUIRES:
            field = situation.tables[change.table].fields[change.field]
            needed.update(name for name in _required(field) if name not in situation.results)
    return needed


def waiver_digest(guard: str, reason: str) -> str:
    """A short digest of a waiver, as the ledger remembers that it is spent."""
    return hashlib.sha256(f"{guard}:{reason}".encode()).hexdigest()[:16]


def waivers_of(value: Value | None) -> list[str]:
    """The digests of all waivers that stand on a value."""
    return sorted(waiver_digest(guard, reason) for guard, reason in value.override.items()) if value else []


def _guarded(change: Change, situation: Situation) -> Change:
    if change.finding is Finding.CONVERGED and _is_restore_behind_git(change, situation):
        return _converged_on_open_side(change, situation)
    if not change.action.writes or change.direction is Direction.KILL:
        return change
    hold, waived = _ask_guards(change, situation)
    if hold is not None:
        return msgspec.structs.replace(change, action=Action.HOLD, after=change.before, hold=hold)
    return msgspec.structs.replace(change, waived=waived) if waived else change


def _is_restore_behind_git(change: Change, situation: Situation) -> bool:
    field = situation.tables[change.table].fields[change.field]
    if isinstance(change.base, Missing) or isinstance(change.desired, Missing):
        return False
    return field.direction(change.base, change.desired) is Direction.RESTORE


def _converged_on_open_side(change: Change, situation: Situation) -> Change:
    """Git asks for a restore that a guard may still hold, and somebody has made it already, by hand.

    While the guard holds, the value goes back to what was applied last: a hand is no way around a cooldown.
    """
    hold, _ = _ask_guards(change, situation)
    if hold is None:
        return change
    until = f" until {hold.until}" if hold.until else ""
    text = f"re-opened by hand while git's own restore is held{until} ({hold.explanation}): put back to the kill side"
    return msgspec.structs.replace(
        change,
        finding=Finding.REOPENED,
        action=Action.UPDATE,
        direction=Direction.KILL,
        after=change.base,
        explanation=text,
    )


def _ask_guards(change: Change, situation: Situation) -> tuple[Hold | None, dict[str, str]]:
    """The first hold that nothing waives, and the waivers that were needed (guard to reason)."""
    value = situation.desired.get(change.table, {}).get(change.key, _NOBODY).values.get(change.field)
    mark = situation.marks.get((change.table, change.key, change.field), Mark())
    waived: dict[str, str] = {}
    for hold in _objections(change, mark, situation):
        reason = value.override.get(hold.guard) if value is not None else None
        if reason is None:
            return hold, {}
        if waiver_digest(hold.guard, reason) in mark.spent:
            spent = f"{hold.explanation}; its waiver was spent on an earlier kill, or stood there before this one"
            return msgspec.structs.replace(hold, explanation=spent), {}
        waived[hold.guard] = reason
    return None, waived


_NOBODY = Row("", "", {})


def _objections(change: Change, mark: Mark, situation: Situation) -> Iterator[Hold]:
    """Every guard's hold on a change that is not toward the kill side."""
    if change.direction is Direction.RESTORE or change.finding is Finding.CONVERGED:
        if not situation.committed:
            text = "only a commit switches a killed thing on, and this is not committed"
            yield Hold(UNCOMMITTED, text)
        field = situation.tables[change.table].fields[change.field]
        cooldown = _cooldown(change, field, mark, situation.now)
        if cooldown is not None:
            yield cooldown
        yield from _health(field, situation.results)
    for frozen in situation.frozen:
        until = format_timestamp(frozen.until) if frozen.until else None
        yield Hold(FREEZE, f'frozen: "{frozen.name}"; only kills are applied', until)


def _cooldown(change: Change, field: Field, mark: Mark, now: datetime) -> Hold | None:
    """`restore.after`: not before so long after the last kill, by whomever."""
    if field.restore is None or field.restore.after is None:
        return None
    before = change.base if change.finding is Finding.CONVERGED else change.before
    if mark.killed_at is None and not (not isinstance(before, Missing) and field.is_killed(before)):
        return None
    killed_at, by = mark.killed_at or now, mark.killed_by or "nobody knows whom, first seen now"
    earliest = killed_at + timedelta(seconds=seconds(field.restore.after))
    if now >= earliest:
        return None
    ago = f"{spoken(now - killed_at)} ago" if mark.killed_at else "at an unknown time"
    text = f"{change.field} was killed {ago} by {by}; restores wait {field.restore.after}"
    # Rounded up, so that who comes at that time does not come a fraction of a second early.
    return Hold(AFTER, text, format_timestamp(earliest.replace(microsecond=0) + timedelta(seconds=1)))


def _required(field: Field) -> list[str]:
    return field.restore.requires if field.restore is not None else []


def _health(field: Field, results: Mapping[str, CheckResult]) -> Iterator[Hold]:
    """`restore.requires`: a check that failed, or was not made, holds."""
    failed = [name for name in _required(field) if name not in results or not results[name].passed]
    if failed:
        saw = [f"{name}: {results[name].saw}" if name in results else f"{name}: not checked" for name in failed]
        yield Hold(REQUIRES, f"a check has not passed: {'; '.join(saw)}")


def spoken(length: timedelta) -> str:
    """A length of time as people say it: `1 h 50 min`, `3 d 2 h`, `40 s`."""
    whole = int(length.total_seconds())
    if whole < 60:
        return f"{whole} s"
    days, rest = divmod(whole, 86400)
    hours, minutes = rest // 3600, rest % 3600 // 60
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def spend_waivers(change: Change, old: Mark, value: Value | None) -> tuple[str, ...]:
    """Which waivers are spent once this change is made: those it used, and for a kill, those that stand there now."""
    used = [waiver_digest(guard, reason) for guard, reason in (change.waived or {}).items()]
    standing = waivers_of(value) if change.direction is Direction.KILL else []
    return tuple(sorted({*old.spent, *used, *standing}))
