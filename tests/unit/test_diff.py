"""The three-way table: what desired, base and actual of one field come to, for every kind of field."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.canonical import equal
from reconciler.diff import diff_row, entry_digest, touched_since_seen
from reconciler.model import (
    MISSING,
    Action,
    Change,
    Direction,
    Finding,
    Json,
    Location,
    Mark,
    Missing,
    Row,
    Then,
    Value,
)
from reconciler.schema import Table
from tests.support.definitions import table_of_fields

TABLE = table_of_fields(
    "{switch: {type: boolean, kill: false}, limit: {type: integer, kill: lower, nullable: true},"
    " delay: {type: number, kill: higher}, status: {type: enum, values: [A, B, X, Y], kill: [X, Y]},"
    " plain: {type: string}, lenient: {type: string, drift: keep}, options: {type: json, nullable: true},"
    " status_kept: {type: enum, values: [A, B, X, Y], kill: [X, Y], drift: keep}}"
)
SEEN = datetime(2026, 11, 24, 8, 30, tzinfo=UTC)
SEEN_TEXT = " (first seen 2026-11-24 08:30 UTC)"

CHANGE, ADOPTION, RELEASED = Finding.CHANGE, Finding.ADOPTION, Finding.RELEASED
BY_HAND, REOPENED, DRIFT = Finding.KILLED_BY_HAND, Finding.REOPENED, Finding.DRIFT
CONFLICT, CONVERGED, BREAK_GLASS = Finding.CONFLICT, Finding.CONVERGED, Finding.BREAK_GLASS
UPDATE, CREATE, KEEP, RECORD, RELEASE = Action.UPDATE, Action.CREATE, Action.KEEP, Action.RECORD, Action.RELEASE
KILL, RESTORE, NEUTRAL = Direction.KILL, Direction.RESTORE, Direction.NEUTRAL


def row_of(field: str, data: Json | Missing, **more: Any) -> Row | None:
    """A row with this one value; None where there is none."""
    return None if isinstance(data, Missing) else Row("shops", "a", {field: Value(data, **more)})


def changes_of(
    field: str,
    desired: Json | Missing,
    base: Json | Missing,
    actual: Json | Missing,
    *,
    mark: Mark | None = None,
    table: Table = TABLE,
    **entry: Any,
) -> list[Change]:
    """What one field comes to; `entry` is what stands beside git's value."""
    marks = {} if mark is None else {field: mark}
    base_data, actual_data = ({field: data} if not isinstance(data, Missing) else None for data in (base, actual))
    return list(diff_row(table, "a", row_of(field, desired, **entry), base_data, actual_data, marks, "Acme"))


def verdict(*sides: Any, **more: Any) -> tuple[Finding, Action, Direction] | None:
    """Finding, action and direction; None for in sync."""
    found = changes_of(*sides, **more)
    assert len(found) <= 1
    return (found[0].finding, found[0].action, found[0].direction) if found else None


def seen(value: Json, *, entry: Json, reason: str | None = None, glass: str | None = None) -> Mark:
    """The database was first seen with `value` while git's entry was this."""
    digest = entry_digest(Value(entry, reason=reason))
    return Mark(killed_at=SEEN, killed_by="x", seen_at=SEEN, seen_value=value, seen_entry=digest, glass=glass)


# The table, row by row: (field, desired, base, actual) ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("switch", True),
        ("switch", False),
        ("limit", 5),
        ("limit", None),
        ("delay", Decimal("0.5")),
        ("status", "X"),
        ("plain", ""),
        ("options", {"a": [1, None], "b": {}}),
        ("options", None),
    ],
)
def test_where_git_base_and_database_agree_there_is_nothing_to_do(field: str, value: Json) -> None:
    assert verdict(field, value, value, value) is None


@pytest.mark.parametrize(
    ("field", "desired", "base", "direction"),
    [
        ("switch", False, True, KILL),
        ("switch", True, False, RESTORE),
        ("limit", 5, 50, KILL),
        ("limit", 50, 5, RESTORE),
        ("limit", 50, None, KILL),
        ("limit", None, 50, RESTORE),
        ("delay", 2, Decimal("0.5"), KILL),
        ("delay", Decimal("0.5"), 2, RESTORE),
        ("status", "X", "A", KILL),
        ("status", "A", "Y", RESTORE),
        ("status", "B", "A", NEUTRAL),
        ("status", "Y", "X", NEUTRAL),
        ("plain", "new", "old", NEUTRAL),
        ("lenient", "new", "old", NEUTRAL),
        ("options", {"a": 1}, {"a": True}, NEUTRAL),
    ],
)
def test_a_change_in_git_is_applied_in_its_direction(
    field: str, desired: Json, base: Json, direction: Direction
) -> None:
    assert verdict(field, desired, base, base) == (CHANGE, UPDATE, direction)


KILLS_BY_HAND: list[tuple[str, Json, Json]] = [
    ("switch", True, False),
    ("limit", 50, 5),
    ("limit", None, 5),
    ("delay", Decimal("0.5"), 2),
    ("status", "A", "X"),
    ("status_kept", "A", "X"),
]


@pytest.mark.parametrize(("field", "base", "actual"), KILLS_BY_HAND)
def test_a_kill_by_hand_is_left_as_it_is_and_said(field: str, base: Json, actual: Json) -> None:
    assert verdict(field, base, base, actual) == (BY_HAND, KEEP, KILL)
    [change] = changes_of(field, base, base, actual)
    assert change.after == change.before == actual
    assert "killed by hand: left as it is until a commit touches this entry" in change.explanation


@pytest.mark.parametrize(("field", "base", "actual"), KILLS_BY_HAND)
def test_a_kill_by_hand_says_since_when_once_it_was_seen(field: str, base: Json, actual: Json) -> None:
    [change] = changes_of(field, base, base, actual, mark=seen(actual, entry=base))
    assert (change.finding, change.action) == (BY_HAND, KEEP)
    assert f"killed by hand{SEEN_TEXT}: left as it is" in change.explanation


@pytest.mark.parametrize(("field", "base", "actual"), KILLS_BY_HAND)
def test_a_kill_by_hand_is_restored_by_a_commit_that_touches_the_entry_after_it_was_seen(
    field: str, base: Json, actual: Json
) -> None:
    mark = seen(actual, entry=base)
    assert verdict(field, base, base, actual, mark=mark, reason="fixed") == (BY_HAND, UPDATE, RESTORE)


@pytest.mark.parametrize(("field", "base", "actual"), KILLS_BY_HAND)
def test_a_kill_by_hand_that_moved_since_it_was_seen_counts_as_new(field: str, base: Json, actual: Json) -> None:
    mark = seen("elsewhere", entry=base)
    assert verdict(field, base, base, actual, mark=mark, reason="fixed") == (BY_HAND, KEEP, KILL)
    assert "first seen" not in changes_of(field, base, base, actual, mark=mark)[0].explanation


@pytest.mark.parametrize("mark", [Mark(killed_at=SEEN), Mark(killed_at=SEEN, seen_at=SEEN, seen_value=False)])
def test_a_kill_whose_entry_nobody_remembers_is_not_restored(mark: Mark) -> None:
    assert verdict("switch", True, True, False, mark=mark, reason="new") == (BY_HAND, KEEP, KILL)


@pytest.mark.parametrize(
    ("field", "base", "actual"),
    [
        ("switch", False, True),
        ("limit", 5, 50),
        ("limit", 5, None),
        ("delay", 2, Decimal("0.5")),
        ("status", "X", "A"),
        ("status_kept", "X", "A"),
    ],
)
def test_what_was_reopened_behind_gits_back_goes_back_to_the_kill_side(field: str, base: Json, actual: Json) -> None:
    assert verdict(field, base, base, actual) == (REOPENED, UPDATE, KILL)
    assert verdict(field, base, base, actual, mark=seen(actual, entry="other")) == (REOPENED, UPDATE, KILL)
    assert changes_of(field, base, base, actual)[0].after == base


@pytest.mark.parametrize(
    ("field", "base", "actual", "action"),
    [
        ("status", "A", "B", UPDATE),
        ("status", "X", "Y", UPDATE),
        ("plain", "ours", "theirs", UPDATE),
        ("options", {"a": 1}, None, UPDATE),
        ("lenient", "ours", "theirs", KEEP),
        ("status_kept", "A", "B", KEEP),
        ("status_kept", "X", "Y", KEEP),
    ],
)
def test_drift_to_neither_side_follows_the_fields_policy(field: str, base: Json, actual: Json, action: Action) -> None:
    assert verdict(field, base, base, actual) == (DRIFT, action, NEUTRAL)
    assert changes_of(field, base, base, actual)[0].after == (base if action is UPDATE else actual)


@pytest.mark.parametrize(
    ("field", "desired", "base", "actual", "action", "direction"),
    [
        # git is on the kill side
        ("limit", 5, 50, 100, UPDATE, KILL),
        ("limit", 5, 50, None, UPDATE, KILL),
        ("limit", 5, 50, 20, UPDATE, KILL),
        ("delay", 3, 1, 2, UPDATE, KILL),
        ("status", "X", "A", "B", UPDATE, KILL),
        ("status_kept", "X", "A", "B", UPDATE, KILL),
        # the database is
        ("limit", 20, 50, 5, KEEP, KILL),
        ("limit", None, 50, 5, KEEP, KILL),
        ("delay", 2, 1, 3, KEEP, KILL),
        ("status", "B", "A", "X", KEEP, KILL),
        ("status_kept", "B", "A", "X", KEEP, KILL),
        # both moved to the open side, git further
        ("limit", 60, 5, 20, UPDATE, RESTORE),
        ("delay", 1, 3, 2, UPDATE, RESTORE),
        # neither is, or both are
        ("status", "Y", "A", "X", UPDATE, NEUTRAL),
        ("status_kept", "Y", "A", "X", KEEP, NEUTRAL),
        ("plain", "mine", "old", "theirs", UPDATE, NEUTRAL),
        ("lenient", "mine", "old", "theirs", KEEP, NEUTRAL),
        ("options", {}, {"a": 1}, [], UPDATE, NEUTRAL),
    ],
)
def test_in_a_conflict_the_kill_side_wins_else_the_fields_policy(
    field: str, desired: Json, base: Json, actual: Json, action: Action, direction: Direction
) -> None:
    assert verdict(field, desired, base, actual) == (CONFLICT, action, direction)
    assert changes_of(field, desired, base, actual)[0].after == (desired if action is UPDATE else actual)


def test_a_conflict_that_was_seen_is_decided_by_a_later_commit_that_touches_the_entry() -> None:
    mark = seen(5, entry=20)
    assert verdict("limit", 20, 50, 5, mark=mark) == (CONFLICT, KEEP, KILL)
    assert SEEN_TEXT in changes_of("limit", 20, 50, 5, mark=mark)[0].explanation
    assert verdict("limit", 30, 50, 5, mark=mark) == (CONFLICT, UPDATE, RESTORE)


@pytest.mark.parametrize(
    ("field", "both", "base"),
    [("switch", False, True), ("switch", True, False), ("limit", 5, 50), ("plain", "a", "b"), ("lenient", "a", "b")],
)
def test_where_both_moved_to_the_same_value_only_the_ledger_learns_of_it(field: str, both: Json, base: Json) -> None:
    assert verdict(field, both, base, both) == (CONVERGED, RECORD, NEUTRAL)


@pytest.mark.parametrize(
    ("field", "desired", "actual", "direction"),
    [
        ("switch", False, True, KILL),
        ("switch", True, False, RESTORE),
        ("limit", 5, 50, KILL),
        ("limit", 50, 5, RESTORE),
        ("status", "X", "A", KILL),
        ("status", "A", "X", RESTORE),
        ("status", "A", "B", NEUTRAL),
        ("lenient", "a", "b", NEUTRAL),
    ],
)
def test_the_first_time_git_names_a_field_is_an_adoption(
    field: str, desired: Json, actual: Json, direction: Direction
) -> None:
    assert verdict(field, desired, MISSING, actual) == (ADOPTION, UPDATE, direction)


@pytest.mark.parametrize(("field", "value"), [("switch", False), ("limit", None), ("plain", "")])
def test_an_adoption_of_what_the_database_has_already_is_only_recorded(field: str, value: Json) -> None:
    assert verdict(field, value, MISSING, value) == (ADOPTION, RECORD, NEUTRAL)


@pytest.mark.parametrize(("base", "actual"), [(False, False), (False, True), (True, False), (False, MISSING)])
def test_a_field_that_git_names_no_more_is_released_and_never_switched(base: Json, actual: Json | Missing) -> None:
    assert verdict("switch", MISSING, base, actual) == (RELEASED, RELEASE, NEUTRAL)
    [change] = changes_of("switch", MISSING, base, actual)
    assert change.desired is MISSING
    assert change.after == change.before == actual


def test_a_field_that_no_schema_describes_any_more_is_released() -> None:
    assert verdict("gone", MISSING, 1, MISSING) == (RELEASED, RELEASE, NEUTRAL)


@pytest.mark.parametrize(
    ("field", "desired", "base", "expected"),
    [
        ("switch", True, MISSING, (ADOPTION, CREATE, NEUTRAL)),
        ("switch", False, MISSING, (ADOPTION, CREATE, KILL)),
        ("switch", False, False, (DRIFT, CREATE, KILL)),
        ("switch", True, False, (DRIFT, CREATE, RESTORE)),
        ("limit", 5, MISSING, (ADOPTION, CREATE, NEUTRAL)),
        ("limit", 5, 50, (DRIFT, CREATE, KILL)),
        ("limit", 50, 5, (DRIFT, CREATE, RESTORE)),
        ("lenient", "a", "a", (DRIFT, CREATE, NEUTRAL)),
    ],
)
def test_a_row_that_does_not_exist_is_made(
    field: str, desired: Json, base: Json | Missing, expected: tuple[Finding, Action, Direction]
) -> None:
    assert verdict(field, desired, base, MISSING) == expected
    [change] = changes_of(field, desired, base, MISSING)
    assert change.before is MISSING
    assert change.after == desired


# Broken glass -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "desired", "left"), [("switch", True, False), ("limit", 50, 5), ("status", "A", "B"), ("plain", "a", "b")]
)
def test_what_a_run_of_a_dirty_work_tree_left_is_kept_until_git_answers(field: str, desired: Json, left: Json) -> None:
    mark = seen(left, entry=desired, glass="Eve broke the glass (INC-7)")
    assert verdict(field, desired, desired, left, mark=mark) == (BREAK_GLASS, KEEP, NEUTRAL)
    assert changes_of(field, desired, desired, left, mark=mark)[0].explanation.startswith("Eve broke the glass")


@pytest.mark.parametrize(
    ("field", "desired", "left"), [("switch", False, True), ("limit", 5, 50), ("status", "X", "A")]
)
def test_a_kill_in_git_does_not_wait_for_broken_glass(field: str, desired: Json, left: Json) -> None:
    mark = seen(left, entry=desired, glass="Eve broke the glass (INC-7)")
    assert verdict(field, desired, desired, left, mark=mark) == (REOPENED, UPDATE, KILL)


def test_git_answers_broken_glass_by_touching_the_entry() -> None:
    mark = seen(False, entry=True, glass="Eve")
    assert verdict("switch", True, True, False, mark=mark, reason="not so") == (BY_HAND, UPDATE, RESTORE)


def test_git_answers_broken_glass_by_saying_the_same() -> None:
    mark = seen(False, entry=True, glass="Eve")
    assert verdict("switch", False, True, False, mark=mark) == (CONVERGED, RECORD, NEUTRAL)


def test_broken_glass_does_not_cover_what_somebody_did_after_it() -> None:
    mark = seen(5, entry=50, glass="Eve")
    assert verdict("limit", 50, 50, 100, mark=mark) == (REOPENED, UPDATE, KILL)
    assert verdict("limit", 50, 50, 1, mark=mark) == (BY_HAND, KEEP, KILL)


# What is beside the decision ----------------------------------------------------------------------------------------


def test_changes_come_in_order_of_field_and_carry_what_the_reader_must_know() -> None:
    desired = Row("shops", "a", {
        "switch": Value(False, "state/s.yaml", 3, 5, reason="flood"), "limit": Value(5, "state/s.yaml", 2, 5),
    })  # fmt: skip
    base: dict[str, Json] = {"switch": True, "limit": 50, "plain": "x"}
    actual: dict[str, Json] = {**base, "options": 1}
    changes = list(diff_row(TABLE, "a", desired, base, actual, {}, "Acme"))
    assert [change.field for change in changes] == ["limit", "plain", "switch"]
    switch = changes[-1]
    assert (switch.table, switch.key, switch.label, switch.reason) == ("shops", "a", "Acme", "flood")
    assert switch.location == Location("state/s.yaml", 3, 5)
    assert (switch.before, switch.after, switch.desired, switch.base) == (True, False, False, True)


@pytest.mark.parametrize(
    "touched",
    [
        Value(True, reason="other"),
        Value(False, reason="why"),
        Value(1, reason="why"),
        Value(True, reason="why", until="2026-11-27T09:00:00Z"),
        Value(True, reason="why", then=Then(False)),
        Value(True, reason="why", then=Then(restores=True)),
        Value(True, reason="why", override={"after": "x"}),
    ],
)
def test_everything_that_git_says_of_a_value_is_part_of_its_entry(touched: Value) -> None:
    assert entry_digest(touched) != entry_digest(Value(True, reason="why"))


def test_where_an_entry_stands_is_no_part_of_it() -> None:
    assert entry_digest(Value(True, "state/a.yaml", 1, 1)) == entry_digest(Value(True, "state/b/c.yaml", 99, 3))


def test_a_value_whose_time_has_passed_keeps_the_digest_of_what_stands_in_git() -> None:
    in_git = Value(False, until="2026-11-27T09:00:00Z", then=Then(True))
    in_effect = Value(True, reason="until has passed", entry=entry_digest(in_git))
    assert entry_digest(in_effect) == entry_digest(in_git)


def test_an_entry_counts_as_touched_only_since_this_very_value_was_seen() -> None:
    mark = seen(False, entry=True)
    assert touched_since_seen(Value(True, reason="new"), False, mark)
    assert not touched_since_seen(Value(True), False, mark)
    assert not touched_since_seen(Value(True, reason="new"), True, mark)
    assert not touched_since_seen(Value(True, reason="new"), 0, mark)
    assert not touched_since_seen(Value(True, reason="new"), False, None)


_DATA: dict[str, st.SearchStrategy[Any]] = {
    "switch": st.booleans(),
    "limit": st.none() | st.integers(1, 4),
    "delay": st.sampled_from([1, Decimal("1.5"), 2]),
    "status": st.sampled_from("ABXY"),
    "status_kept": st.sampled_from("ABXY"),
    "plain": st.sampled_from("ab"),
    "lenient": st.sampled_from("ab"),
    "options": st.sampled_from([None, {}, [1]]),
}
_SIDES = st.sampled_from(sorted(_DATA)).flatmap(
    lambda field: st.tuples(st.just(field), *[_DATA[field] | st.just(MISSING)] * 3)
)


@given(_SIDES, st.booleans())
def test_nothing_leaves_the_kill_side_unless_git_asks_for_it(sides: tuple[str, Any, Any, Any], was_seen: bool) -> None:
    field, desired, base, actual = sides
    mark = seen(actual, entry=desired) if was_seen and not isinstance(actual, Missing) else None
    definition = TABLE.fields[field]
    for change in changes_of(field, desired, base, actual, mark=mark):
        assert change.action.writes or change.after is change.before
        if change.action.writes:
            assert change.after == desired
        if not change.action.writes or isinstance(change.before, Missing):
            continue
        assert not isinstance(change.after, Missing)
        went = definition.direction(change.before, change.after)
        assert change.direction is went
        if went is RESTORE:
            assert isinstance(base, Missing) or not equal(desired, base)


@given(_SIDES)
def test_a_field_is_in_sync_only_where_all_that_is_known_agrees(sides: tuple[str, Any, Any, Any]) -> None:
    field, desired, base, actual = sides
    known = [side for side in (desired, base, actual) if not isinstance(side, Missing)]
    agree = len(known) == 3 and equal(known[0], known[1]) and equal(known[1], known[2])
    unnamed = isinstance(desired, Missing) and isinstance(base, Missing)
    assert (verdict(field, desired, base, actual) is None) == (agree or unnamed)
