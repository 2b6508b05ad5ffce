"""`until`: what a value that is meant for a time becomes once that time has passed, and what plans say of it before.

Takes the desired State, the time, and what was there before overrides; gives the State as it counts now, and Notices.
Pure. An expiry by itself changes nothing: only a `then` that stands in git does, and it passes the guards like any
other change.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

from msgspec.structs import replace

from reconciler.canonical import equal, to_text
from reconciler.diff import entry_digest
from reconciler.guards import spoken
from reconciler.model import MISSING, FieldKey, Json, Missing, Row, Value
from reconciler.plan import Notice

Rows = Mapping[str, Mapping[str, Row]]


def restoring(desired: Rows, now: datetime) -> dict[FieldKey, Json]:
    """The fields that are due to become what they were before their override, with the override's value."""
    return {
        field: value.data
        for field, value in _timed(desired)
        if value.then is not None and value.then.restores and _until(value) <= now
    }


def what_was_before(
    overrides: Mapping[FieldKey, Json], known: Mapping[FieldKey, Json], applied: Mapping[FieldKey, Json]
) -> dict[FieldKey, Json | Missing]:
    """What each override replaced, or would: what history knows (`known`), else what was applied last, where that is
    something else. MISSING where nothing was ever applied; absent where the override's value is all that anyone knows.
    """
    before: dict[FieldKey, Json | Missing] = dict(known)
    for field, value in overrides.items():
        if field not in known and (field not in applied or not equal(applied[field], value)):
            before[field] = applied.get(field, MISSING)
    return before


def in_effect(desired: Rows, now: datetime, before: Mapping[FieldKey, Json | Missing]) -> dict[str, dict[str, Row]]:
    """The desired State at `now`. `before` holds, for `then: restore`, what the overrides replaced.

    An override that has passed before it was ever applied, and of which nobody knows what it would have replaced, is
    as if it did not stand there.
    """
    changed: dict[str, dict[str, Row]] = {}
    for (table, key, name), value in _timed(desired):
        if value.then is None or _until(value) > now:
            continue
        then = _after(value, before.get((table, key, name), value.data))
        rows = changed.setdefault(table, dict(desired[table]))
        others = {other: rows[key].values[other] for other in rows[key].values if other != name}
        rows[key] = replace(rows[key], values=others if then is None else {**others, name: then})
    return {table: changed.get(table, dict(rows)) for table, rows in desired.items()} if changed else _plain(desired)


def expiry_notices(
    desired: Rows, now: datetime, soon: timedelta, before: Mapping[FieldKey, Json | Missing]
) -> Iterator[Notice]:
    """What has expired and stays, and what expires within `soon`."""
    for (table, key, name), value in _timed(desired):
        until, what = _until(value), f"{name} of {table} {key}"
        was = before.get((table, key, name), value.data)
        if until > now + soon:
            continue
        if until > now:
            text = f"{what} expires in {spoken(until - now)} (until {value.until}): {_what_then(value, was)}"
        else:
            passed = f"{what} has expired {spoken(now - until)} ago (until {value.until})"
            text = _what_stays(value, was, passed)
        if text:
            yield Notice(text, value.location)


def _plain(desired: Rows) -> dict[str, dict[str, Row]]:
    return {table: rows if isinstance(rows, dict) else dict(rows) for table, rows in desired.items()}


def _timed(desired: Rows) -> Iterator[tuple[FieldKey, Value]]:
    for table, rows in desired.items():
        for key, row in rows.items():
            for name in row.timed:
                value = row.values.get(name)
                if value is not None and value.until is not None:
                    yield (table, key, name), value


def _until(value: Value) -> datetime:
    return datetime.fromisoformat(str(value.until))


def _after(value: Value, before: Json | Missing) -> Value | None:
    """The value that counts from `until` on, None where none does. `before` is what an override replaced."""
    assert value.then is not None
    data = before if value.then.restores else value.then.data
    if isinstance(data, Missing):
        return None
    if value.then.restores and equal(data, value.data):
        return value
    reason = f"until {value.until} has passed" + (f": {value.reason}" if value.reason else "")
    return replace(value, data=data, reason=reason, entry=entry_digest(value))


def _what_then(value: Value, before: Json | Missing) -> str:
    """What becomes of a value that will expire."""
    if value.then is None:
        return f"it stays {to_text(value.data)} until git says otherwise"
    if not value.then.restores:
        return f"then it becomes {to_text(value.then.data)}"
    if isinstance(before, Missing):
        return "then it becomes what it was before"
    if equal(before, value.data):
        return f"then it stays {to_text(value.data)}, for what was there before is not in the ledger"
    return f"then it becomes {to_text(before)} again"


def _what_stays(value: Value, before: Json | Missing, passed: str) -> str:
    """What an expiry leaves as it is, and why; empty where something comes after it."""
    if value.then is None:
        return (
            f"{passed} and stays {to_text(value.data)}: an expiry by itself changes nothing. Change it in git, or move "
            "`until`"
        )
    if not value.then.restores:
        return ""
    if isinstance(before, Missing):
        return f"{passed} before it was ever applied: nothing is done. Move `until`, or take it out of git"
    if equal(before, value.data):
        return (
            f"{passed} and stays {to_text(value.data)}: what was there before is not in the ledger. Write the value "
            "after `then:`"
        )
    return ""
