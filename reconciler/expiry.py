"""`until`: what a value that is meant for a time becomes once that time has passed, and what plans say of it before.

Takes the desired State, the time, and what was there before overrides; gives the State as it counts now, and Notices.
Pure. An expiry by itself changes nothing: only a `then` that stands in git does, and it passes the guards like any
other change.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

from msgspec.structs import replace

from reconciler.canonical import to_text
from reconciler.diff import entry_digest
from reconciler.guards import spoken
from reconciler.model import FieldKey, Json, Row, Value
from reconciler.plan import Notice

Rows = Mapping[str, Mapping[str, Row]]


def restoring(desired: Rows, now: datetime) -> dict[FieldKey, Json]:
    """The fields that are due to become what they were before their override, with the override's value."""
    return {
        field: value.data
        for field, value in _timed(desired)
        if value.then is not None and value.then.restores and _until(value) <= now
    }


def in_effect(desired: Rows, now: datetime, before: Mapping[FieldKey, Json]) -> dict[str, dict[str, Row]]:
    """The desired State at `now`. `before` holds, for `then: restore`, the values that the overrides replaced."""
    changed: dict[str, dict[str, Row]] = {}
    for (table, key, name), value in _timed(desired):
        then = _after(value, now, before.get((table, key, name)), known=(table, key, name) in before)
        if then is None:
            continue
        rows = changed.setdefault(table, dict(desired[table]))
        row = rows[key]
        rows[key] = replace(row, values={**row.values, name: then})
    return {table: changed.get(table, dict(rows)) for table, rows in desired.items()} if changed else _plain(desired)


def expiry_notices(
    desired: Rows, now: datetime, soon: timedelta, before: Mapping[FieldKey, Json]
) -> Iterator[Notice]:
    """What has expired and stays, and what expires within `soon`."""
    for (table, key, name), value in _timed(desired):
        until, what = _until(value), f"{name} of {table} {key}"
        shown = to_text(value.data)
        if until > now + soon:
            continue
        if until > now:
            then = _what_then(value, before.get((table, key, name)), known=(table, key, name) in before)
            text = f"{what} expires in {spoken(until - now)} (until {value.until}): {then}"
        elif value.then is None:
            text = (
                f"{what} has expired {spoken(now - until)} ago (until {value.until}) and stays {shown}: an expiry by "
                "itself changes nothing. Change it in git, or move `until`"
            )
        elif value.then.restores and (table, key, name) not in before:
            text = (
                f"{what} has expired {spoken(now - until)} ago (until {value.until}) and stays {shown}: what was there "
                "before is not in the ledger. Write the value after `then:`"
            )
        else:
            continue
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


def _after(value: Value, now: datetime, before: Json, *, known: bool) -> Value | None:
    """The value that counts from `until` on; None while the one that stands there still does."""
    if value.then is None or _until(value) > now or (value.then.restores and not known):
        return None
    reason = f"until {value.until} has passed" + (f": {value.reason}" if value.reason else "")
    data = before if value.then.restores else value.then.data
    return replace(value, data=data, reason=reason, entry=entry_digest(value))


def _what_then(value: Value, before: Json, *, known: bool) -> str:
    if value.then is None:
        return f"it stays {to_text(value.data)} until git says otherwise"
    if value.then.restores:
        if not known:
            return f"then it stays {to_text(value.data)}, for what was there before is not in the ledger"
        return f"then it becomes {to_text(before)} again"
    return f"then it becomes {to_text(value.then.data)}"
