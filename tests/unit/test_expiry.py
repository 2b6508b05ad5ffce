"""`until` by itself changes nothing; `then` does, once it has passed; and what will happen is said in time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from reconciler.diff import diff_row, entry_digest
from reconciler.expiry import expiry_notices, in_effect, restoring, what_was_before
from reconciler.guards import Situation, hold_back
from reconciler.model import MISSING, Action, Direction, FieldKey, Json, Mark, Missing, Row, Then, Value
from tests.support.definitions import table_of_fields

NOW = datetime(2026, 11, 26, 9, 0, tzinfo=UTC)
PASSED, NOT_YET = "2026-11-26T09:00:00Z", "2026-11-26T09:00:00.000001Z"
DAY = timedelta(days=1)
LIMIT: FieldKey = ("shops", "a", "limit")


def state(value: Value, **others: Value) -> dict[str, dict[str, Row]]:
    """One row with one value that has an `until`, and others."""
    return {"shops": {"a": Row("shops", "a", {"limit": value, **others}, timed=("limit",))}}


def value_at(value: Value, now: datetime = NOW, before: dict[FieldKey, Json | Missing] | None = None) -> Value | None:
    """The value that counts then, None where none does."""
    return in_effect(state(value), now, before or {})["shops"]["a"].values.get("limit")


def said(value: Value, before: dict[FieldKey, Json | Missing] | None = None, soon: timedelta = DAY) -> list[str]:
    return [notice.message for notice in expiry_notices(state(value), NOW, soon, before or {})]


@pytest.mark.parametrize("then", [None, Then(50), Then(restores=True)])
def test_until_its_last_moment_a_value_is_what_stands_there(then: Then | None) -> None:
    value = Value(5, until=NOT_YET, then=then)
    assert value_at(value, before={LIMIT: 70}) is value


def test_a_value_without_then_stays_when_its_time_has_passed() -> None:
    value = Value(5, until=PASSED)
    assert value_at(value) is value


@pytest.mark.parametrize("data", [50, None, 0])
def test_then_takes_the_place_of_the_value_whatever_it_is(data: Json) -> None:
    after = value_at(Value(5, until=PASSED, then=Then(data), reason="INC-1"))
    assert after is not None
    assert (after.data, after.reason) == (data, f"until {PASSED} has passed: INC-1")


def test_then_restore_takes_what_was_there_before_the_override() -> None:
    after = value_at(Value(5, until=PASSED, then=Then(restores=True)), before={LIMIT: 70})
    assert after is not None
    assert (after.data, after.reason) == (70, f"until {PASSED} has passed")


def test_then_restore_can_bring_back_null() -> None:
    after = value_at(Value(5, until=PASSED, then=Then(restores=True)), before={LIMIT: None})
    assert after is not None
    assert after.data is None


def test_where_nobody_knows_what_was_before_the_value_stays() -> None:
    value = Value(5, until=PASSED, then=Then(restores=True))
    assert value_at(value) is value


def test_an_override_that_passed_before_it_was_ever_applied_is_as_if_it_did_not_stand_there() -> None:
    before: dict[FieldKey, Json | Missing] = {LIMIT: MISSING}
    other = Value("x")
    found = in_effect(state(Value(5, until=PASSED, then=Then(restores=True)), name=other), NOW, before)
    assert found["shops"]["a"].values == {"name": other}


def test_an_expiry_does_not_count_as_a_touch_of_the_entry() -> None:
    value = Value(5, until=PASSED, then=Then(50), reason="INC-1")
    after = value_at(value)
    assert after is not None
    assert entry_digest(after) == entry_digest(value)
    assert entry_digest(Value(50)) != entry_digest(value)


def test_where_nothing_has_expired_the_state_is_the_same_object_by_object() -> None:
    desired = state(Value(5, until=NOT_YET, then=Then(50)))
    assert in_effect(desired, NOW, {})["shops"] is desired["shops"]


def test_the_state_as_it_is_written_down_is_left_as_it_is() -> None:
    desired = state(Value(5, until=PASSED, then=Then(50)))
    in_effect(desired, NOW, {})
    assert desired["shops"]["a"].values["limit"].data == 5


@pytest.mark.parametrize(
    ("value", "due"),
    [
        (Value(5, until=PASSED, then=Then(restores=True)), {LIMIT: 5}),
        (Value(5, until=NOT_YET, then=Then(restores=True)), {}),
        (Value(5, until=PASSED, then=Then(50)), {}),
        (Value(5, until=PASSED), {}),
    ],
)
def test_only_restores_that_are_due_ask_for_what_was_before(value: Value, due: dict[FieldKey, Json]) -> None:
    assert restoring(state(value), NOW) == due


@pytest.mark.parametrize(
    ("known", "applied", "before"),
    [
        ({LIMIT: 70}, {LIMIT: 5}, {LIMIT: 70}),  # history knows what the override replaced
        ({LIMIT: 70}, {LIMIT: 60}, {LIMIT: 70}),
        ({}, {LIMIT: 70}, {LIMIT: 70}),  # the override was never applied
        ({}, {LIMIT: 5}, {}),  # a hand made it so, and git agreed
        ({}, {}, {LIMIT: MISSING}),  # nothing was ever applied
    ],
)
def test_history_is_asked_first_and_then_what_was_applied_last(
    known: dict[FieldKey, Json], applied: dict[FieldKey, Json], before: dict[FieldKey, Json | Missing]
) -> None:
    assert what_was_before({LIMIT: 5}, known, applied) == before


# What is said


def test_a_value_that_will_expire_is_said_with_what_becomes_of_it() -> None:
    until = "2026-11-26T12:30:00Z"
    about = f"limit of shops a expires in 3 h 30 min (until {until}): "
    assert said(Value(5, until=until)) == [about + "it stays 5 until git says otherwise"]
    assert said(Value(5, until=until, then=Then(None))) == [about + "then it becomes null"]
    restores = Value(5, until=until, then=Then(restores=True))
    assert said(restores, {LIMIT: 70}) == [about + "then it becomes 70 again"]
    assert said(restores, {LIMIT: MISSING}) == [about + "then it becomes what it was before"]
    stays = "then it stays 5, for what was there before is not in the ledger"
    assert said(restores) == [about + stays]


@pytest.mark.parametrize(("until", "number"), [("2026-11-27T09:00:00Z", 1), ("2026-11-27T09:00:01Z", 0)])
def test_soon_is_what_the_policy_says(until: str, number: int) -> None:
    assert len(said(Value(5, until=until))) == number
    assert said(Value(5, until=until), soon=timedelta(hours=1)) == []


def test_a_value_that_has_expired_and_stays_is_said_until_git_changes_it() -> None:
    until = "2026-11-25T09:00:00Z"
    has_expired = f"limit of shops a has expired 1 d 0 h ago (until {until})"
    [stays] = said(Value(5, until=until))
    assert stays.startswith(f"{has_expired} and stays 5: an expiry by itself changes nothing.")
    [unknown] = said(Value(5, until=until, then=Then(restores=True)))
    assert unknown.startswith(f"{has_expired} and stays 5: what was there before is not in the ledger.")
    [never] = said(Value(5, until=until, then=Then(restores=True)), {LIMIT: MISSING})
    assert never.startswith(f"{has_expired} before it was ever applied: nothing is done.")


def test_what_becomes_something_else_is_left_to_the_plan() -> None:
    assert said(Value(5, until=PASSED, then=Then(50))) == []
    assert said(Value(5, until=PASSED, then=Then(restores=True)), {LIMIT: 70}) == []


def test_a_notice_names_the_place_in_the_file() -> None:
    value = Value(5, file="state/shops.yaml", line=3, column=9, until=PASSED)
    [notice] = expiry_notices(state(value), NOW, DAY, {})
    assert notice.location == value.location


# An expiry is a change like any other


@pytest.mark.parametrize(
    ("data", "then", "action"),
    [
        (5, Then(50), Action.HOLD),  # a restore, within the cooldown
        (5, Then(2), Action.UPDATE),  # a kill
        (5, Then(restores=True), Action.HOLD),
    ],
)
def test_what_comes_after_an_expiry_passes_the_guards(data: Json, then: Then, action: Action) -> None:
    table = table_of_fields("{limit: {type: integer, kill: lower, restore: {after: 24h}}}")
    desired = in_effect(state(Value(data, until=PASSED, then=then)), NOW, {LIMIT: 70})
    applied = {"limit": 5}
    marks = {"limit": Mark(killed_at=NOW - timedelta(hours=3), killed_by="Ann")}
    changes = list(diff_row(table, "a", desired["shops"]["a"], applied, applied, marks, None))
    situation = Situation(now=NOW, tables={"shops": table}, desired=desired, marks={LIMIT: marks["limit"]})
    [change] = hold_back(changes, situation)
    assert change.action is action
    assert (change.direction is Direction.KILL) is (action is Action.UPDATE)
