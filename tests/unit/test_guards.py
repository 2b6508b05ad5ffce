"""Each guard in both directions: what it holds, until when, what waives it; and that a kill passes them all."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any, get_args

import pytest
from msgspec.structs import replace

from reconciler.diff import diff_row
from reconciler.guards import (
    CheckResult,
    Frozen,
    Situation,
    checks_needed,
    hold_back,
    is_guarded,
    spend_waivers,
    spoken,
    waiver_digest,
    waivers_of,
)
from reconciler.model import (
    AFTER,
    FREEZE,
    MISSING,
    REQUIRES,
    UNCOMMITTED,
    Action,
    Change,
    Direction,
    Finding,
    Guard,
    Json,
    Mark,
    Matched,
    Missing,
    Row,
    Value,
)
from reconciler.schema import Table
from tests.support.definitions import POLICY, sound_definitions

NOW = datetime(2026, 11, 26, 9, 50, tzinfo=UTC)
CHECKS = POLICY + "checks: {healthy: {type: sql, query: SELECT true}, quick: {type: postgres, latency_below: 9}}\n"
RESTORE = "restore: {after: 24h, requires: [healthy]}"
KINDS: dict[str, tuple[str, Json, Json]] = {
    "a boolean": ("type: boolean, kill: false", True, False),
    "a boolean that is killed by switching on": ("type: boolean, kill: true", False, True),
    "a boolean that may be null": ("type: boolean, nullable: true, kill: false", None, False),
    "an enum": ("type: enum, values: [A, B, X, Y], kill: [X, Y]", "B", "Y"),
    "a string": ("type: string, nullable: true, kill: [off]", None, "off"),
    "a limit": ("type: integer, kill: lower", 50, 5),
    "a limit that has no limit": ("type: integer, nullable: true, kill: lower", None, 5),
    "a delay": ("type: integer, kill: higher", 5, 50),
}
"""What a field is like, with a value on its open side and one on its kill side."""

KILLED = Mark(killed_at=NOW - timedelta(hours=1, minutes=50), killed_by="commit 1a2b (Ann)")
PASSED = {"healthy": CheckResult(True, "true"), "quick": CheckResult(True, "answers in 1.0 ms")}
FAILED = {"healthy": CheckResult(False, "ECONNREFUSED")}

GUARDS: dict[Guard, dict[str, Any]] = {
    AFTER: {"mark": KILLED, "results": PASSED},
    REQUIRES: {"results": FAILED},
    FREEZE: {"frozen": [Frozen("Launch", NOW + timedelta(hours=2))], "results": PASSED},
    UNCOMMITTED: {"committed": False, "results": PASSED},
}
"""Each guard, in a situation in which it alone objects."""


def table_with(field: str) -> Table:
    text = f"table: shops\nkey: id\nmissing_row: create\naudit: {{event: E}}\nfields:\n  f: {{{field}}}\n"
    return sound_definitions(CHECKS, shops=text).tables["shops"]


def decided(
    field: str,
    base: Json | Missing,
    actual: Json | Missing,
    desired: Value,
    *,
    mark: Mark | None = None,
    now: datetime = NOW,
    **situation: Any,
) -> Change:
    """What becomes of the one field of a row."""
    change, about = found(field, base, actual, desired, mark=mark, now=now, **situation)
    [guarded] = hold_back([change], about)
    return guarded


def found(
    field: str,
    base: Json | Missing,
    actual: Json | Missing,
    desired: Value,
    *,
    mark: Mark | None = None,
    now: datetime = NOW,
    **situation: Any,
) -> tuple[Change, Situation]:
    """What the diff says of the one field of a row, before the guards; and what they look at."""
    table = table_with(field)
    row = Row("shops", "a", {"f": desired})
    of_base = None if isinstance(base, Missing) else {"f": base}
    of_actual = None if isinstance(actual, Missing) else {"f": actual}
    marks: Mapping[str, Mark] = {} if mark is None else {"f": mark}
    [change] = diff_row(table, "a", row, of_base, of_actual, marks, None)
    return change, Situation(
        now=now,
        tables={"shops": table},
        desired={"shops": {"a": row}},
        marks={("shops", "a", name): one for name, one in marks.items()},
        **situation,
    )


# Every guard, every kind of field, both directions


def test_every_guard_that_there_is_has_its_situation_here() -> None:
    assert set(GUARDS) == set(get_args(Guard))


@pytest.mark.parametrize("guard", GUARDS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_kill_passes_every_guard_but_the_blast_limit(kind: str, guard: Guard) -> None:
    field, is_open, is_killed = KINDS[kind]
    change = decided(f"{field}, {RESTORE}", is_open, is_open, Value(is_killed), **GUARDS[guard])
    assert (change.action, change.direction, change.hold) == (Action.UPDATE, Direction.KILL, None)
    assert change.after == is_killed


@pytest.mark.parametrize("guard", GUARDS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_restore_is_held_by_each_of_them(kind: str, guard: Guard) -> None:
    field, is_open, is_killed = KINDS[kind]
    asked = "requires: [healthy]" if guard == REQUIRES else "after: 24h, requires: [healthy]"
    mark = {} if guard == AFTER else {"mark": replace(KILLED, killed_at=NOW - timedelta(days=2))}
    change = decided(f"{field}, restore: {{{asked}}}", is_killed, is_killed, Value(is_open), **mark | GUARDS[guard])
    assert (change.action, change.direction, change.after) == (Action.HOLD, Direction.RESTORE, is_killed)
    assert change.hold is not None
    assert change.hold.guard == guard


@pytest.mark.parametrize("kind", KINDS)
def test_a_restore_passes_where_none_of_them_objects(kind: str) -> None:
    field, is_open, is_killed = KINDS[kind]
    mark = replace(KILLED, killed_at=NOW - timedelta(hours=24))
    change = decided(f"{field}, {RESTORE}", is_killed, is_killed, Value(is_open), mark=mark, results=PASSED)
    assert (change.action, change.after, change.hold, change.waived) == (Action.UPDATE, is_open, None, None)


@pytest.mark.parametrize("guard", [AFTER, REQUIRES, UNCOMMITTED])
def test_a_neutral_change_is_held_by_freezes_alone(guard: Guard) -> None:
    field = f"type: enum, values: [A, B, X], kill: [X], {RESTORE}"
    assert decided(field, "A", "A", Value("B"), **GUARDS[guard]).action is Action.UPDATE
    change = decided(field, "A", "A", Value("B"), **GUARDS[FREEZE])
    assert change.hold is not None
    assert (change.hold.guard, change.hold.until) == (FREEZE, "2026-11-26T11:50:00Z")


@pytest.mark.parametrize("situation", GUARDS.values())
def test_a_kill_passes_what_a_hand_or_broken_glass_has_left_too(situation: dict[str, Any]) -> None:
    field = f"type: enum, values: [A, B, X, Y], kill: [X, Y], {RESTORE}"
    glass = Mark(seen_at=NOW, seen_value="B", glass="eve broke the glass (INC-7)")
    assert decided(field, "A", "B", Value("X"), **situation | {"mark": glass}).after == "X"
    limit = f"type: integer, kill: lower, {RESTORE}"
    by_hand = Mark(killed_at=NOW, seen_at=NOW, seen_value=20, seen_entry="as it was")
    assert decided(limit, 50, 20, Value(5), **situation | {"mark": by_hand}).after == 5


EVERYTHING_OBJECTS: dict[str, Any] = {
    "results": FAILED,
    "frozen": [Frozen("Launch", NOW + timedelta(hours=2))],
    "committed": False,
}
"""To a restore of what was killed a moment ago."""

SIDES: dict[str, list[Json]] = {
    "type: boolean, nullable: true, kill: false": [True, False, None],
    "type: enum, values: [A, B, X, Y], kill: [X, Y]": ["A", "B", "X", "Y"],
    "type: enum, values: [A, B, X, Y], kill: [X, Y], drift: keep": ["A", "B", "X", "Y"],
    "type: integer, nullable: true, kill: lower": [5, 20, 50, None],
    "type: integer, kill: higher, drift: keep": [5, 20, 50],
}
"""Kinds of field, with values on their two sides, and more than one of each where there can be."""


def entries(asked: Json) -> list[Value]:
    """All that git's entry for a value may be: plain, waived, what a `then` has made of it, and of a `$where`."""
    return [
        Value(asked),
        Value(asked, reason="INC-7", override=dict.fromkeys([AFTER, REQUIRES, FREEZE], "support confirmed")),
        Value(asked, reason="until 2026-11-26T09:00:00Z has passed", entry="as it was written"),
        Matched(asked, match="plan = FREE"),
        Matched(asked, match="plan = FREE", since=NOW - timedelta(days=1)),
    ]


def memories(has: Json) -> list[Mark | None]:
    """All that the ledger may remember of a field that has this value."""
    killed = replace(KILLED, killed_at=NOW)
    seen = replace(killed, killed_by="by hand, or by the application", seen_at=NOW, seen_value=has)
    return [
        None,
        killed,
        replace(killed, spent=tuple(waiver_digest(guard, "support confirmed") for guard in (AFTER, REQUIRES, FREEZE))),
        seen,
        replace(seen, seen_entry="as it was written"),
        replace(seen, seen_entry="released"),
        replace(seen, glass="eve broke the glass (INC-7)"),
        replace(seen, glass="eve broke the glass (INC-7)", seen_entry="as it was written"),
    ]


@pytest.mark.parametrize("kind", SIDES)
def test_nothing_whatever_keeps_a_kill_from_being_written(kind: str) -> None:
    """Whatever was applied last, is there, is asked and is remembered, with every guard against it: what git has on the
    kill side of the database goes to the kill side, and as far as git asks.
    """
    table = table_with(f"{kind}, {RESTORE}")
    field, sides = table.fields["f"], SIDES[kind]
    kills = 0
    for base, has, asked in product([MISSING, *sides], sides, sides):
        if field.direction(has, asked) is not Direction.KILL:
            continue
        for value, mark in product(entries(asked), memories(has)):
            row, was = Row("shops", "a", {"f": value}), {} if isinstance(base, Missing) else {"f": base}
            marks = {} if mark is None else {"f": mark}
            found = diff_row(table, "a", row, was, {"f": has}, marks, None)
            about = Situation(
                now=NOW,
                tables={"shops": table},
                desired={"shops": {"a": row}},
                marks={("shops", "a", "f"): mark} if mark is not None else {},
                **EVERYTHING_OBJECTS,
            )
            [change] = hold_back(found, about)
            told = (base, has, asked, value, mark, change)
            assert (change.action, change.direction, change.hold) == (Action.UPDATE, Direction.KILL, None), told
            assert not isinstance(change.after, Missing)
            # Where a hand has opened it, it may go back further than git asks: to what was applied last.
            assert change.after in (asked, base), told
            assert field.direction(change.after, asked) is not Direction.KILL, told
            kills += 1
    assert kills >= 100


# Cooldown


def test_a_cooldown_says_who_killed_when_and_until_when_it_waits() -> None:
    change = decided(f"type: boolean, kill: false, {RESTORE}", False, False, Value(True), mark=KILLED, results=PASSED)
    assert change.hold is not None
    assert change.hold.until == "2026-11-27T08:00:00Z"
    assert change.hold.explanation == "f was killed 1 h 50 min ago by commit 1a2b (Ann); restores wait 24h"


@pytest.mark.parametrize(
    ("killed_by", "said"),
    [
        ("by hand, or by the application", "f was killed 1 h 50 min ago by hand, or by the application"),
        ("before it was managed", "f was killed 1 h 50 min ago, before it was managed"),
        (None, "f was killed 1 h 50 min ago by nobody knows whom"),
    ],
)
def test_a_cooldown_reads_well_whoever_killed(killed_by: str | None, said: str) -> None:
    mark = replace(KILLED, killed_by=killed_by)
    change = decided("type: boolean, kill: false, restore: {after: 24h}", False, False, Value(True), mark=mark)
    assert change.hold is not None
    assert change.hold.explanation == f"{said}; restores wait 24h"


def test_a_restore_is_held_to_the_very_moment_and_not_beyond() -> None:
    field = "type: boolean, kill: false, restore: {after: 24h}"
    mark = Mark(killed_at=NOW - timedelta(hours=24) + timedelta(microseconds=1), killed_by="Ann")
    held = decided(field, False, False, Value(True), mark=mark)
    assert held.hold is not None
    assert held.hold.until == "2026-11-26T09:50:01Z"  # rounded up: who comes then is let through
    assert decided(field, False, False, Value(True), mark=mark, now=NOW + timedelta(seconds=1)).hold is None
    assert decided(field, False, False, Value(True), mark=mark, now=NOW + timedelta(microseconds=1)).hold is None


def test_a_value_that_nobody_saw_being_killed_waits_from_now_on() -> None:
    change = decided("type: boolean, kill: false, restore: {after: 24h}", MISSING, False, Value(True))
    assert change.hold is not None
    assert change.hold.until == "2026-11-27T09:50:00Z"
    assert change.hold.explanation == "f was killed, nobody knows when (first seen now); restores wait 24h"


def test_a_limit_that_was_never_cut_may_be_raised() -> None:
    change = decided("type: integer, kill: lower, restore: {after: 24h}", MISSING, 5, Value(50))
    assert (change.action, change.direction) == (Action.UPDATE, Direction.RESTORE)


def test_a_clock_that_goes_backwards_holds_longer_and_says_nothing_odd() -> None:
    mark = replace(KILLED, killed_at=NOW + timedelta(minutes=10))
    change = decided("type: boolean, kill: false, restore: {after: 24h}", False, False, Value(True), mark=mark)
    assert change.hold is not None
    assert change.hold.until == "2026-11-27T10:00:00Z"
    assert "killed 0 s ago" in change.hold.explanation


def test_a_schema_that_shortens_the_cooldown_counts_at_once() -> None:
    short = "type: boolean, kill: false, restore: {after: 1h}"
    assert decided(short, False, False, Value(True), mark=KILLED).action is Action.UPDATE
    long = "type: boolean, kill: false, restore: {after: 7d}"
    held = decided(long, False, False, Value(True), mark=KILLED).hold
    assert held is not None
    assert held.until == "2026-12-03T08:00:00Z"


# Health


def test_a_check_that_failed_holds_with_what_it_saw() -> None:
    field = "type: boolean, kill: false, restore: {requires: [healthy, quick]}"
    change = decided(field, False, False, Value(True), results=FAILED)
    assert change.hold is not None
    assert change.hold.explanation == "a check has not passed: healthy: ECONNREFUSED; quick: not checked"
    assert change.hold.until is None


def test_checks_are_asked_for_only_where_no_other_guard_decides() -> None:
    field = f"type: boolean, kill: false, {RESTORE}"
    cold = replace(KILLED, killed_at=NOW - timedelta(days=2))
    asks: list[tuple[set[str], dict[str, Any]]] = [
        ({"healthy"}, {"mark": cold}),
        (set(), {"mark": KILLED}),
        (set(), {"mark": cold, "frozen": [Frozen("Launch", None)]}),
        (set(), {"mark": cold, "committed": False}),
        (set(), {"mark": cold, "results": PASSED}),
        (set(), {"mark": cold, "results": FAILED}),
    ]
    for names, situation in asks:
        change, about = found(field, False, False, Value(True), **situation)
        assert checks_needed([change], about) == names, situation


def test_a_kill_a_neutral_change_and_what_is_not_written_ask_for_no_check() -> None:
    field = "type: enum, values: [A, B, X], kill: [X], restore: {requires: [healthy]}"
    for base, actual, desired in [("A", "A", "X"), ("A", "A", "B"), ("A", "X", "A")]:
        change, about = found(field, base, actual, Value(desired))
        assert checks_needed([change], about) == set()


def test_a_check_that_is_waived_is_not_made() -> None:
    field = "type: boolean, kill: false, restore: {requires: [healthy]}"
    waived = Value(True, override={REQUIRES: "looked at it myself"})
    change, about = found(field, False, False, waived)
    assert checks_needed([change], about) == set()
    assert hold_back([change], about)[0].waived == {REQUIRES: "looked at it myself"}


# Several guards at once


@pytest.mark.parametrize(
    ("frozen_for", "guard", "until"),
    [
        (timedelta(hours=2), AFTER, "2026-11-27T08:00:00Z"),
        (timedelta(days=30), FREEZE, "2026-12-26T09:50:00Z"),
        (None, FREEZE, None),
    ],
)
def test_of_several_guards_the_one_is_told_that_holds_longest(
    frozen_for: timedelta | None, guard: Guard, until: str | None
) -> None:
    frozen = [Frozen("Launch", NOW + frozen_for if frozen_for else None)]
    field = f"type: boolean, kill: false, {RESTORE}"
    change = decided(field, False, False, Value(True), mark=KILLED, frozen=frozen, results=FAILED)
    assert change.hold is not None
    assert (change.hold.guard, change.hold.until) == (guard, until)
    change = decided(field, False, False, Value(True), mark=KILLED, frozen=frozen, committed=False)
    assert change.hold is not None
    assert change.hold.guard == UNCOMMITTED


# Freezes


def test_of_several_freezes_the_one_that_ends_last_is_named() -> None:
    freezes = [Frozen("A", NOW + timedelta(hours=1)), Frozen("B", NOW + timedelta(hours=9)), Frozen("C", NOW)]
    change = decided("type: boolean, kill: false", False, False, Value(True), frozen=freezes)
    assert change.hold is not None
    assert (change.hold.explanation, change.hold.until) == (
        'frozen: "B"; only kills are applied',
        "2026-11-26T18:50:00Z",
    )
    without_end = [*freezes, Frozen("D", None)]
    change = decided("type: boolean, kill: false", False, False, Value(True), frozen=without_end)
    assert change.hold is not None
    assert change.hold.until is None


@pytest.mark.parametrize(
    ("base", "actual", "desired", "guarded"),
    [
        ("X", "X", "A", True),  # a restore
        ("A", "A", "B", True),  # neutral
        ("X", "A", "A", True),  # opened by hand, ahead of git
        ("A", "A", "X", False),  # a kill
        ("X", "A", "X", False),  # re-opened: a kill
        ("A", "X", "A", False),  # killed by hand, and left
        ("A", "X", "X", False),  # both killed
        (MISSING, "A", "A", False),  # adopted as it is
    ],
)
def test_guards_have_a_say_in_what_opens_or_is_neutral(base: Any, actual: Json, desired: Json, guarded: bool) -> None:
    change, about = found("type: enum, values: [A, B, X], kill: [X]", base, actual, Value(desired))
    assert is_guarded(change, about.tables) is guarded


# Waivers


@pytest.mark.parametrize("guard", [AFTER, REQUIRES, FREEZE])
def test_a_waiver_in_git_lets_a_restore_through_and_is_named_in_the_change(guard: Guard) -> None:
    value = Value(True, override={guard: "support confirmed"})
    field = "type: boolean, kill: false, restore: " + ("{after: 24h}" if guard != REQUIRES else "{requires: [healthy]}")
    mark = {} if guard == AFTER else {"mark": replace(KILLED, killed_at=NOW - timedelta(days=2))}
    change = decided(field, False, False, value, **mark | GUARDS[guard])
    assert (change.action, change.waived) == (Action.UPDATE, {guard: "support confirmed"})


def test_a_waiver_for_another_guard_does_not_count() -> None:
    value = Value(True, override={REQUIRES: "support confirmed", FREEZE: "support confirmed"})
    change = decided("type: boolean, kill: false, restore: {after: 24h}", False, False, value, mark=KILLED)
    assert change.action is Action.HOLD


def test_a_waiver_that_was_not_needed_is_not_named() -> None:
    value = Value(True, override={AFTER: "support confirmed"})
    change = decided("type: boolean, kill: false", False, False, value)
    assert (change.action, change.waived) == (Action.UPDATE, None)


def test_what_is_not_committed_cannot_be_waived() -> None:
    value = Value(True, override={UNCOMMITTED: "hurry"})
    change = decided("type: boolean, kill: false", False, False, value, committed=False)
    assert change.action is Action.HOLD


def test_a_spent_waiver_does_not_count_and_the_hold_says_why() -> None:
    value = Value(True, override={AFTER: "support confirmed"})
    spent = replace(KILLED, spent=(waiver_digest(AFTER, "support confirmed"),))
    change = decided("type: boolean, kill: false, restore: {after: 24h}", False, False, value, mark=spent)
    assert change.hold is not None
    assert change.hold.explanation.endswith("its waiver was spent on an earlier kill, or stood there before this one")
    again = Value(True, override={AFTER: "support confirmed again"})
    assert decided("type: boolean, kill: false, restore: {after: 24h}", False, False, again, mark=spent).hold is None


def test_a_change_spends_the_waivers_it_used_and_those_that_stand_there() -> None:
    value = Value(True, override={AFTER: "a", REQUIRES: "b"})
    field = "type: boolean, kill: false, restore: {after: 24h}"
    change = decided(field, False, False, value, mark=KILLED)
    assert spend_waivers(change, Mark(spent=("x",)), value) == tuple(sorted(["x", *waivers_of(value)]))


def test_a_change_that_is_held_spends_none() -> None:
    value = Value(True, override={AFTER: "a"})
    change = decided(f"type: boolean, kill: false, {RESTORE}", False, False, value, mark=KILLED, results=FAILED)
    assert change.action is Action.HOLD
    assert spend_waivers(change, Mark(), value) == ()


def test_equal_reasons_for_different_guards_are_different_waivers() -> None:
    assert waiver_digest(AFTER, "x") != waiver_digest(REQUIRES, "x")


# Hands that are quicker than git


OPENED = [
    ("type: boolean, kill: false", False, True, True),
    ("type: integer, kill: lower", 5, 50, 50),
    ("type: integer, kill: lower", 5, 60, 50),  # beyond what git asks
    ("type: integer, kill: lower", 5, 20, 50),  # not as far
    ("type: enum, values: [A, B, X], kill: [X]", "X", "B", "A"),  # to another open value
    ("type: enum, values: [A, B, X], kill: [X], drift: keep", "X", "B", "A"),
]
"""Field, base, what a hand has made it, and what git asks."""


@pytest.mark.parametrize(("field", "base", "actual", "desired"), OPENED)
@pytest.mark.parametrize("guard", GUARDS)
def test_a_hand_does_not_get_around_a_guard_that_holds_gits_own_restore(
    field: str, base: Json, actual: Json, desired: Json, guard: Guard
) -> None:
    asked = "requires: [healthy]" if guard == REQUIRES else "after: 24h"
    mark = {} if guard == AFTER else {"mark": replace(KILLED, killed_at=NOW - timedelta(days=2))}
    change = decided(f"{field}, restore: {{{asked}}}", base, actual, Value(desired), **mark | GUARDS[guard])
    assert (change.finding, change.action, change.direction) == (Finding.REOPENED, Action.UPDATE, Direction.KILL)
    assert (change.after, change.hold) == (base, None)
    assert "re-opened by hand while git's own restore is held" in change.explanation


@pytest.mark.parametrize(("field", "base", "actual", "desired"), OPENED[:5])
def test_what_a_hand_opened_is_as_git_asks_once_the_guards_pass(
    field: str, base: Json, actual: Json, desired: Json
) -> None:
    mark = replace(KILLED, killed_at=NOW - timedelta(days=2))
    change = decided(f"{field}, {RESTORE}", base, actual, Value(desired), mark=mark, results=PASSED)
    assert change.hold is None
    assert change.after == desired


def test_what_a_hand_opened_asks_for_the_checks_that_decide_about_it() -> None:
    change, about = found("type: boolean, kill: false, restore: {requires: [healthy]}", False, True, Value(True))
    assert change.finding is Finding.CONVERGED
    assert checks_needed([change], about) == {"healthy"}


def test_a_waiver_covers_what_a_hand_has_opened() -> None:
    value = Value(True, override={AFTER: "support confirmed"})
    change = decided("type: boolean, kill: false, restore: {after: 24h}", False, True, value, mark=KILLED)
    assert (change.action, change.waived) == (Action.RECORD, {AFTER: "support confirmed"})


# Rows that are made


def row_of(base: dict[str, Json], desired: dict[str, Json], **situation: Any) -> dict[str, Change]:
    """What becomes of a row that does not exist."""
    text = (
        "table: shops\nkey: id\nmissing_row: create\naudit: {event: E}\nfields:\n"
        "  switch: {type: boolean, kill: false, restore: {after: 24h}}\n"
        "  limit: {type: integer, kill: lower, restore: {after: 24h}}\n"
        "  name: {type: string}\n"
        "  other: {type: boolean, kill: false}\n"
    )
    table = sound_definitions(CHECKS, shops=text).tables["shops"]
    row = Row("shops", "a", {name: Value(data) for name, data in desired.items()})
    known = base or None
    marks = situation.pop("marks", {})
    changes = diff_row(table, "a", row, known, None, marks, None)
    about = Situation(
        now=NOW,
        tables={"shops": table},
        desired={"shops": {"a": row}},
        marks={("shops", "a", name): mark for name, mark in marks.items()},
        **situation,
    )
    return {change.field: change for change in hold_back(changes, about)}


def test_a_row_that_was_never_there_is_made_as_git_asks() -> None:
    made = row_of({}, {"switch": True, "limit": 50, "name": "a"})
    assert {name: (change.action, change.after) for name, change in made.items()} == {
        "switch": (Action.CREATE, True),
        "limit": (Action.CREATE, 50),
        "name": (Action.CREATE, "a"),
    }


def test_to_delete_a_row_ends_no_cooldown() -> None:
    made = row_of({"switch": False}, {"switch": True}, marks={"switch": KILLED})
    assert made["switch"].action is Action.HOLD


@pytest.mark.parametrize(("field", "killed", "asked"), [("switch", False, True), ("limit", 5, 50)])
def test_a_row_that_is_made_for_others_gets_what_was_applied_last_where_a_restore_is_held(
    field: str, killed: Json, asked: Json
) -> None:
    made = row_of({field: killed, "name": "a"}, {field: asked, "name": "a"}, marks={field: KILLED})
    assert (made["name"].action, made["name"].after) == (Action.CREATE, "a")
    assert (made[field].action, made[field].after, made[field].direction) == (Action.CREATE, killed, Direction.KILL)
    assert "git's restore is held" in made[field].explanation


def test_a_freeze_holds_a_row_that_only_opens_or_is_neutral() -> None:
    made = row_of({}, {"switch": True, "name": "a"}, frozen=[Frozen("Launch", None)])
    assert {change.action for change in made.values()} == {Action.HOLD}


def test_a_row_that_a_kill_makes_is_made_whole_even_in_a_freeze() -> None:
    made = row_of({}, {"switch": False, "other": True, "name": "a"}, frozen=[Frozen("Launch", None)])
    assert {name: (change.action, change.after) for name, change in made.items()} == {
        "switch": (Action.CREATE, False),
        "other": (Action.CREATE, True),
        "name": (Action.CREATE, "a"),
    }


@pytest.mark.parametrize(
    ("length", "said"),
    [
        (timedelta(seconds=-5), "0 s"),
        (timedelta(seconds=59.9), "59 s"),
        (timedelta(minutes=1), "1 min"),
        (timedelta(minutes=59, seconds=59), "59 min"),
        (timedelta(hours=1, minutes=50), "1 h 50 min"),
        (timedelta(days=3, hours=2, minutes=59), "3 d 2 h"),
    ],
)
def test_lengths_of_time_are_said_in_two_units(length: timedelta, said: str) -> None:
    assert spoken(length) == said
