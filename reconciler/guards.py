"""The guards: what may hold a change that is otherwise decided.

Takes the Changes of `diff`, the marks, what the checks saw, and the time; gives the Changes back, some of them held.
Pure: checks are made elsewhere (`checks`), and asked for here by name.

A change toward the kill side passes every guard. A guard is waived only by an `override` on the value in git; a waiver
is used once: it does not count for a kill at whose time it stood there already, or that came after it was used.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

import msgspec
from msgspec.structs import replace

from reconciler.digests import sha256
from reconciler.fields import Field, format_timestamp, seconds
from reconciler.model import (
    AFTER,
    FREEZE,
    REQUIRES,
    UNCOMMITTED,
    WAIVABLE,
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
    """What a health check saw, in words with numbers.

    `made` is False where it could not look at all (a variable that is not set): it has not passed, and nobody knows.
    """

    passed: bool
    saw: str
    made: bool = True


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
    return _made_whole([_guarded(change, situation) for change in changes], situation)


def is_guarded(change: Change, tables: Mapping[str, Table]) -> bool:
    """Whether any guard has a say in this change of `diff`: kills, and what is not written, pass without."""
    return _asked(change, tables) is not None


def checks_needed(changes: Iterable[Change], situation: Situation) -> set[str]:
    """The checks that would decide one of the changes of `diff`, which no other guard holds, and that were not made."""
    needed: set[str] = set()
    for change in changes:
        names = [name for name in _required(_field(change, situation.tables)) if name not in situation.results]
        if not names:
            continue
        asked = _asked(change, situation.tables)
        hold = _ask_guards(asked, situation)[0] if asked is not None else None
        if hold is not None and hold.guard == REQUIRES:
            needed.update(names)
    return needed


def waiver_digest(guard: str, reason: str) -> str:
    """A short digest of a waiver, as the ledger remembers that it is spent."""
    return sha256(f"{guard}:{reason}".encode()).hexdigest()[:16]


def waivers_of(value: Value | None) -> list[str]:
    """The digests of all waivers that stand on a value."""
    return sorted(waiver_digest(guard, reason) for guard, reason in value.override.items()) if value else []


def _guarded(change: Change, situation: Situation) -> Change:
    asked = _asked(change, situation.tables)
    if asked is None or not _may_object(asked, situation):
        return change
    hold, waived = _ask_guards(asked, situation)
    if hold is None:
        return replace(change, waived=waived) if waived else change
    if asked is not change:
        return _put_back(change, hold)
    return replace(change, action=Action.HOLD, after=change.before, hold=hold)


def _asked(change: Change, tables: Mapping[str, Table]) -> Change | None:
    """What the guards are asked about: the change; or where git asks to open what somebody has opened by hand, the
    whole way from what was applied last, since a hand is no way around a guard. None where they have no say.
    """
    if change.finding in (Finding.CONVERGED, Finding.CONFLICT) and _is_opened_by_hand(change, tables):
        return replace(change, before=change.base, direction=Direction.RESTORE)
    return change if change.action.writes and change.direction is not Direction.KILL else None


def _is_opened_by_hand(change: Change, tables: Mapping[str, Table]) -> bool:
    field = _field(change, tables)
    base, has, wanted = change.base, change.before, change.desired
    if field is None or isinstance(base, Missing) or isinstance(has, Missing) or isinstance(wanted, Missing):
        return False
    return field.direction(base, has) is Direction.RESTORE and field.direction(base, wanted) is Direction.RESTORE


def _put_back(change: Change, hold: Hold) -> Change:
    """What was opened by hand goes back to what was applied last, as long as the guard holds git's own restore."""
    until = f" until {hold.until}" if hold.until else ""
    text = f"re-opened by hand while git's own restore is held{until} ({hold.explanation}): put back to the kill side"
    return replace(
        change,
        finding=Finding.REOPENED,
        action=Action.UPDATE,
        direction=Direction.KILL,
        after=change.base,
        explanation=text,
    )


def _made_whole(changes: list[Change], situation: Situation) -> list[Change]:
    """A row that is made is made with all of its fields: what stays away is decided by the table's defaults, which know
    of no kill. So where one field goes ahead (a kill), the others do: a restore that is held with what was applied
    last.
    """
    made = {(change.table, change.key) for change in changes if change.action is Action.CREATE}
    if not made:
        return changes
    return [
        _along_with_row(change)
        if change.hold is not None and isinstance(change.before, Missing) and (change.table, change.key) in made
        else change
        for change in changes
    ]


def _along_with_row(change: Change) -> Change:
    if change.direction is not Direction.RESTORE:
        text = f"{change.explanation}, for a kill, and this with it"
        return replace(change, action=Action.CREATE, after=change.desired, hold=None, explanation=text)
    assert change.hold is not None
    text = f"{change.explanation} with what was applied last: git's restore is held ({change.hold.explanation})"
    return replace(
        change, action=Action.CREATE, direction=Direction.KILL, after=change.base, hold=None, explanation=text
    )


def _ask_guards(change: Change, situation: Situation) -> tuple[Hold | None, dict[str, str]]:
    """The hold that lasts longest of those that nothing waives, and the waivers that were needed (guard to reason)."""
    value = situation.desired.get(change.table, {}).get(change.key, _NOBODY).values.get(change.field)
    mark = situation.marks.get((change.table, change.key, change.field), Mark())
    waived: dict[str, str] = {}
    holds = []
    for hold in _objections(change, mark, situation):
        reason = value.override.get(hold.guard) if value is not None and hold.guard in WAIVABLE else None
        if reason is None:
            holds.append(hold)
        elif waiver_digest(hold.guard, reason) in mark.spent:
            spent = f"{hold.explanation}; its waiver was spent on an earlier kill, or stood there before this one"
            holds.append(replace(hold, explanation=spent))
        else:
            waived[hold.guard] = reason
    return (max(holds, key=_how_long), {}) if holds else (None, waived)


def _may_object(change: Change, situation: Situation) -> bool:
    """Whether any guard is set up where the change is: of most fields, none is."""
    field = _field(change, situation.tables)
    return (field is not None and field.restore is not None) or bool(situation.frozen) or not situation.committed


def _how_long(hold: Hold) -> tuple[bool, bool, str]:
    """So that who reads until when it is held is not told of another time when that has come. What a check saw may be
    otherwise by then, so it is told where nothing else holds.
    """
    return hold.guard == UNCOMMITTED, hold.guard == FREEZE and hold.until is None, hold.until or ""


_NOBODY = Row("", "", {})


def _objections(change: Change, mark: Mark, situation: Situation) -> Iterator[Hold]:
    """Every guard's hold on a change that is not toward the kill side."""
    restores = change.direction is Direction.RESTORE
    field = _field(change, situation.tables)
    if restores and not situation.committed:
        yield Hold(UNCOMMITTED, "only a commit switches a killed thing on, and this is not committed")
    if restores and field is not None:
        cooldown = _cooldown(change, field, mark, situation.now)
        if cooldown is not None:
            yield cooldown
    if situation.frozen:
        frozen = max(situation.frozen, key=lambda one: (one.until is None, one.until.timestamp() if one.until else 0.0))
        until = format_timestamp(frozen.until) if frozen.until else None
        yield Hold(FREEZE, f'frozen: "{frozen.name}"; only kills are applied', until)
    if restores:
        yield from _health(field, situation.results)


def _cooldown(change: Change, field: Field, mark: Mark, now: datetime) -> Hold | None:
    """`restore.after`: not before so long after the last kill, by whomever."""
    if field.restore is None or field.restore.after is None:
        return None
    before = change.base if isinstance(change.before, Missing) else change.before
    if mark.killed_at is None and (isinstance(before, Missing) or not field.is_killed(before)):
        return None
    killed_at = mark.killed_at or now
    earliest = killed_at + timedelta(seconds=seconds(field.restore.after))
    if now >= earliest:
        return None
    text = f"{change.field} was killed, nobody knows when (first seen now)"
    if mark.killed_at is not None:
        who = mark.killed_by or "nobody knows whom"
        said = f", {who}" if who.startswith("before ") else f" {who}" if who.startswith("by ") else f" by {who}"
        text = f"{change.field} was killed {spoken(now - killed_at)} ago{said}"
    text += f"; restores wait {field.restore.after}"
    if earliest.microsecond:
        # Rounded up, so that who comes at that time does not come a fraction of a second early.
        earliest = earliest.replace(microsecond=0) + timedelta(seconds=1)
    return Hold(AFTER, text, format_timestamp(earliest))


def _field(change: Change, tables: Mapping[str, Table]) -> Field | None:
    """The field's definition, None where the schemas no longer have it."""
    table = tables.get(change.table)
    return table.fields.get(change.field) if table is not None else None


def _required(field: Field | None) -> list[str]:
    return field.restore.requires if field is not None and field.restore is not None else []


def _health(field: Field | None, results: Mapping[str, CheckResult]) -> Iterator[Hold]:
    """`restore.requires`: a check that failed, or was not made, holds."""
    failed = [name for name in _required(field) if name not in results or not results[name].passed]
    if failed:
        saw = [f"{name}: {results[name].saw}" if name in results else f"{name}: not checked" for name in failed]
        yield Hold(REQUIRES, f"a check has not passed: {'; '.join(saw)}")


def spoken(length: timedelta) -> str:
    """A length of time as people say it: `1 h 50 min`, `3 d 2 h`, `40 s`."""
    whole = max(int(length.total_seconds()), 0)
    if whole < 60:
        return f"{whole} s"
    days, rest = divmod(whole, 86400)
    hours, minutes = rest // 3600, rest % 3600 // 60
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def spend_waivers(change: Change, old: Mark, value: Value | None) -> tuple[str, ...]:
    """Which waivers are spent once this change is done: those it used, and those that stand there and were not needed.

    So that an entry which comes back later, by `git revert` of a kill, does not bring an old waiver with it.
    """
    used = [waiver_digest(guard, reason) for guard, reason in (change.waived or {}).items()]
    standing = waivers_of(value) if change.action is not Action.HOLD else []
    return tuple(sorted({*old.spent, *used, *standing}))
