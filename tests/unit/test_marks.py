"""What the ledger remembers of a field: when it was killed and by whom, and what is at odds with git, since when."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from reconciler.diff import ASKED, BY_HAND, diff_row, entry_digest, touched_since_seen
from reconciler.guards import Situation, hold_back, waiver_digest
from reconciler.marks import BEFORE_MANAGED, Doer, marks_after, released
from reconciler.model import MISSING, Action, Change, Direction, FieldKey, Finding, Json, Mark, Missing, Row, Value
from tests.support.definitions import table_of_fields

TABLE = table_of_fields(
    "{switch: {type: boolean, kill: false, restore: {after: 24h}}, limit: {type: integer, kill: lower},"
    " status: {type: enum, values: [A, B, X, Y], kill: [X, Y], drift: keep}, plain: {type: string}}"
)
TABLES = {"shops": TABLE}
NOW = datetime(2026, 11, 26, 9, 0, tzinfo=UTC)
EARLIER = NOW - timedelta(hours=30)
GIT = Doer("commit 1a2b (Ann)")
GLASS = Doer("eve, not committed", "eve broke the glass (INC-7)")


class Field:
    """One field of one row, and what the runs make of it: git's value, the database's, the ledger's, the mark."""

    def __init__(self, name: str, base: Json | Missing, actual: Json, mark: Mark | None = None) -> None:
        self.name = name
        self.base = base
        self.actual = actual
        self.marks: dict[FieldKey, Mark] = {} if mark is None else {self.key: mark}

    @property
    def key(self) -> FieldKey:
        return ("shops", "a", self.name)

    @property
    def mark(self) -> Mark:
        return self.marks.get(self.key, Mark())

    def run(self, desired: Value | None, now: datetime = NOW, doer: Doer = GIT) -> tuple[Change | None, set[FieldKey]]:
        """What one apply does with the field; its change, and the marks that were stored."""
        row = Row("shops", "a", {self.name: desired} if desired else {})
        base = None if isinstance(self.base, Missing) else {self.name: self.base}
        actual = {self.name: self.actual}
        of_row = {name: mark for (_, _, name), mark in self.marks.items()}
        found = list(diff_row(TABLE, "a", row, base, actual, of_row, None))
        state: Mapping[str, Mapping[str, Row]] = {"shops": {"a": row}}
        situation = Situation(now=now, tables=TABLES, desired=state, marks=self.marks, committed=doer.glass is None)
        found = hold_back(found, situation)
        stored = marks_after(found, self.marks, desired=state, tables=TABLES, now=now, doer=doer)
        self.marks |= stored
        for change in found:
            if change.action.writes:
                assert not isinstance(change.after, Missing)
                self.actual = change.after
            if doer.glass is None and (change.action.writes or change.action is Action.RECORD):
                self.base = change.desired
            if doer.glass is None and change.action is Action.RELEASE:
                self.base = MISSING
        return (found[0] if found else None), set(stored)


@pytest.mark.parametrize(("name", "base", "desired"), [("switch", True, False), ("limit", 50, 5), ("status", "A", "X")])
def test_a_kill_is_remembered_with_its_time_and_its_commit(name: str, base: Json, desired: Json) -> None:
    field = Field(name, base, base)
    field.run(Value(desired))
    assert field.mark == Mark(killed_at=NOW, killed_by="commit 1a2b (Ann)")


@pytest.mark.parametrize(
    ("name", "base", "desired"), [("limit", 5, 50), ("status", "X", "A"), ("status", "A", "B"), ("plain", "a", "b")]
)
def test_a_change_that_is_no_kill_leaves_no_mark(name: str, base: Json, desired: Json) -> None:
    field = Field(name, base, base)
    _, stored = field.run(Value(desired))
    assert stored == set()


def test_the_time_of_the_kill_outlives_the_restore() -> None:
    field = Field("switch", False, False, Mark(killed_at=EARLIER, killed_by="Ann"))
    change, stored = field.run(Value(True))
    assert change is not None
    assert change.action is Action.UPDATE
    assert stored == set()
    assert field.mark.killed_at == EARLIER


def test_a_restore_that_is_held_leaves_the_mark_as_it_was() -> None:
    killed = Mark(killed_at=NOW - timedelta(hours=1), killed_by="Ann")
    field = Field("switch", False, False, killed)
    change, stored = field.run(Value(True))
    assert change is not None
    assert change.action is Action.HOLD
    assert stored == set()


def test_a_kill_by_hand_is_remembered_when_it_is_first_seen_together_with_gits_entry() -> None:
    field = Field("switch", True, False)
    field.run(Value(True, reason="open"))
    assert field.mark == Mark(
        killed_at=NOW, killed_by=BY_HAND, seen_at=NOW, seen_value=False,
        seen_entry=entry_digest(Value(True, reason="open")),
    )  # fmt: skip


def test_seeing_the_same_kill_again_writes_nothing() -> None:
    field = Field("switch", True, False)
    field.run(Value(True))
    _, stored = field.run(Value(True), NOW + timedelta(hours=1))
    assert stored == set()
    assert field.mark.seen_at == NOW


def test_a_hand_that_kills_further_starts_the_clock_anew() -> None:
    field = Field("limit", 50, 20)
    field.run(Value(50))
    field.actual = 5
    later = NOW + timedelta(hours=1)
    field.run(Value(50), later)
    assert (field.mark.seen_at, field.mark.seen_value, field.mark.killed_at) == (later, 5, later)


def test_a_commit_that_touches_the_entry_restores_once_the_cooldown_is_over_and_the_mark_is_closed() -> None:
    field = Field("switch", True, False)
    field.run(Value(True))
    touched = Value(True, reason="repaired")
    change, _ = field.run(touched, NOW + timedelta(hours=1))
    assert change is not None
    assert change.action is Action.HOLD
    change, _ = field.run(touched, NOW + timedelta(hours=25))
    assert change is not None
    assert change.action is Action.UPDATE
    assert field.mark == Mark(killed_at=NOW, killed_by=BY_HAND)
    assert field.run(touched, NOW + timedelta(hours=26)) == (None, set())


def test_a_kill_that_a_hand_takes_back_closes_the_mark_but_not_the_memory_of_the_kill() -> None:
    field = Field("switch", True, False)
    field.run(Value(True))
    field.actual = True
    change, stored = field.run(Value(True), NOW + timedelta(hours=1))
    assert change is None
    assert stored == {field.key}
    assert field.mark == Mark(killed_at=NOW, killed_by=BY_HAND)


def test_a_later_kill_of_the_same_value_counts_as_a_new_one() -> None:
    field = Field("switch", True, False)
    field.run(Value(True))
    field.actual = True
    field.run(Value(True))
    field.actual = False
    later = NOW + timedelta(days=2)
    change, _ = field.run(Value(True, reason="an old commit, not a new one"), later)
    assert change is not None
    assert change.action is Action.KEEP
    assert field.mark.killed_at == field.mark.seen_at == later


def test_what_is_reopened_behind_gits_back_is_killed_again_by_the_commit() -> None:
    field = Field("switch", False, True, Mark(killed_at=EARLIER, killed_by="Ann"))
    field.run(Value(False))
    assert field.mark == Mark(killed_at=NOW, killed_by="commit 1a2b (Ann)")


@pytest.mark.parametrize(("name", "value"), [("switch", False), ("status", "X")])
def test_a_value_that_is_adopted_on_its_kill_side_counts_as_killed_when_it_is_first_seen(
    name: str, value: Json
) -> None:
    field = Field(name, MISSING, value)
    field.run(Value(value))
    assert field.mark == Mark(killed_at=NOW, killed_by=BEFORE_MANAGED)


def test_a_value_that_is_adopted_on_its_open_side_has_no_story() -> None:
    _, stored = Field("switch", MISSING, True).run(Value(True))
    assert stored == set()


def test_a_restore_of_what_was_killed_before_it_was_managed_waits_from_when_that_was_first_seen() -> None:
    field = Field("switch", MISSING, False)
    change, _ = field.run(Value(True))
    assert change is not None
    assert change.action is Action.HOLD
    held = Mark(killed_at=NOW, killed_by=BEFORE_MANAGED, seen_at=NOW, seen_value=False, seen_entry=ASKED)
    assert field.mark == held
    change, _ = field.run(Value(True), NOW + timedelta(hours=23, minutes=59))
    assert change is not None
    assert change.action is Action.HOLD
    change, _ = field.run(Value(True), NOW + timedelta(hours=24))
    assert change is not None
    assert change.action is Action.UPDATE


def test_a_kill_in_git_that_a_hand_made_first_is_remembered_as_the_hands() -> None:
    field = Field("switch", True, False)
    field.run(Value(False))
    assert field.base is False
    assert field.mark == Mark(killed_at=NOW, killed_by=BY_HAND)


def test_a_detour_over_git_releasing_the_field_does_not_end_the_cooldown() -> None:
    field = Field("switch", True, True)
    field.run(Value(False))
    field.run(None, NOW + timedelta(hours=1))
    assert field.mark == Mark(killed_at=NOW, killed_by="commit 1a2b (Ann)")
    change, _ = field.run(Value(True), NOW + timedelta(hours=2))
    assert change is not None
    assert change.action is Action.HOLD


def test_drift_within_the_kill_side_that_is_kept_does_not_move_the_time_of_the_kill() -> None:
    field = Field("status", "X", "Y", Mark(killed_at=EARLIER, killed_by="Ann"))
    _, stored = field.run(Value("X"))
    assert stored == set()


# Broken glass -------------------------------------------------------------------------------------------------------


def test_what_a_dirty_work_tree_writes_stays_open_with_who_and_why() -> None:
    field = Field("switch", True, True)
    change, _ = field.run(Value(False), doer=GLASS)
    assert change is not None
    assert change.action is Action.UPDATE
    assert field.base is True
    assert field.mark == Mark(
        killed_at=NOW, killed_by="eve, not committed", seen_at=NOW, seen_value=False,
        glass="eve broke the glass (INC-7)",
    )  # fmt: skip


def test_the_first_run_from_git_remembers_its_entry_and_leaves_what_broken_glass_left() -> None:
    field = Field("switch", True, True)
    field.run(Value(False), doer=GLASS)
    change, stored = field.run(Value(True), NOW + timedelta(hours=1))
    assert change is not None
    assert change.action is Action.KEEP
    assert stored == {field.key}
    assert field.mark.seen_entry == entry_digest(Value(True))
    assert field.mark.seen_at == NOW
    assert field.run(Value(True), NOW + timedelta(hours=2))[1] == set()
    assert field.actual is False


def test_git_that_says_what_broken_glass_left_closes_the_mark() -> None:
    field = Field("switch", True, True)
    field.run(Value(False), doer=GLASS)
    change, _ = field.run(Value(False), NOW + timedelta(hours=1))
    assert change is not None
    assert change.action is Action.RECORD
    assert field.mark == Mark(killed_at=NOW, killed_by="eve, not committed")


def test_a_run_of_a_dirty_work_tree_closes_no_mark_of_a_field_that_it_does_not_touch() -> None:
    field = Field("switch", True, True, Mark(seen_at=EARLIER, seen_value=False))
    assert field.run(Value(True), doer=GLASS) == (None, set())


def test_what_broken_glass_killed_and_a_hand_opens_is_put_back_and_stays_open_with_its_waivers_spent() -> None:
    field = Field("switch", True, True)
    field.run(Value(False), doer=GLASS)
    field.actual = True
    change, _ = field.run(waived("prepared"), NOW + timedelta(hours=1))
    assert change is not None
    assert (change.finding, change.direction, change.after) == (Finding.REOPENED, Direction.KILL, False)
    assert (field.base, field.actual) == (True, False)
    assert field.mark.killed_at == NOW + timedelta(hours=1)
    assert field.mark.killed_by == "eve, not committed"
    assert field.mark.spent == (waiver_digest("after", "prepared"),)
    change, _ = field.run(waived("prepared"), NOW + timedelta(hours=2))
    assert change is not None
    assert change.finding is Finding.BREAK_GLASS
    for hours, action in ((3, Action.UPDATE), (27, Action.RECORD)):  # a commit has answered: the cooldown decides
        field.actual = True
        change, _ = field.run(Value(True, reason="it is over"), NOW + timedelta(hours=hours))
        assert change is not None
        assert change.action is action


def test_what_is_killed_ahead_of_git_and_is_off_already_stays_open_all_the_same() -> None:
    field = Field("switch", False, False, Mark(killed_at=EARLIER, killed_by="Ann"))
    insisted: dict[FieldKey, Json] = {field.key: False}
    stored = marks_after([], field.marks, desired={}, tables={}, now=NOW, doer=GLASS, insisted=insisted)
    assert stored == {
        field.key: Mark(
            killed_at=NOW, killed_by="eve, not committed", seen_at=NOW, seen_value=False,
            glass="eve broke the glass (INC-7)",
        )
    }  # fmt: skip
    assert marks_after([], stored, desired={}, tables={}, now=NOW, doer=GLASS, insisted=insisted) == {}


@pytest.mark.parametrize("git_says", [Value(True), Value(True, reason="as it was")])
def test_a_mark_that_somebody_released_lets_git_have_its_way(git_says: Value) -> None:
    mark = Mark(killed_at=EARLIER, seen_at=EARLIER, seen_value=False, seen_entry=entry_digest(Value(True)), glass="eve")
    freed = released(mark)
    assert freed == replace(mark, seen_entry="released", glass=None)
    assert touched_since_seen(git_says, False, freed)
    field = Field("switch", True, False, freed)
    change, _ = field.run(git_says)
    assert change is not None
    assert change.action is Action.UPDATE


# Waivers ------------------------------------------------------------------------------------------------------------


def waived(reason: str, data: Json = True) -> Value:
    return Value(data, override={"after": reason})


def test_a_waiver_is_spent_by_the_restore_that_used_it() -> None:
    field = Field("switch", False, False, Mark(killed_at=NOW, killed_by="Ann"))
    change, _ = field.run(waived("owner called"))
    assert change is not None
    assert change.action is Action.UPDATE
    assert change.waived == {"after": "owner called"}
    assert field.mark.spent == (waiver_digest("after", "owner called"),)


def test_a_waiver_that_stands_there_when_the_field_is_killed_is_spent_by_the_kill() -> None:
    field = Field("switch", True, True)
    field.run(waived("prepared", data=False))
    change, _ = field.run(waived("prepared"), NOW + timedelta(hours=1))
    assert change is not None
    assert change.action is Action.HOLD
    change, _ = field.run(waived("written after the kill"), NOW + timedelta(hours=2))
    assert change is not None
    assert change.action is Action.UPDATE


def test_a_waiver_that_stands_there_when_a_kill_by_hand_is_seen_is_spent() -> None:
    field = Field("switch", True, False)
    field.run(waived("from last month"))
    assert field.mark.spent == (waiver_digest("after", "from last month"),)


@pytest.mark.parametrize("other", [("shops", "a", "plain"), ("shops", "b", "switch")])
def test_what_is_remembered_of_other_fields_is_left_alone(other: FieldKey) -> None:
    field = Field("switch", True, True)
    field.marks[other] = Mark(killed_at=EARLIER, killed_by="Ann")
    _, stored = field.run(Value(False))
    assert stored == {field.key}
