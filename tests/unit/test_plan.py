"""A plan's fingerprint is a hash of what would be done; its counts and its drift follow from the changes."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.model import MISSING, Action, Change, Direction, Finding, Hold, Json, Location, Missing
from reconciler.plan import Scope, count, drift_of, fingerprint_of
from tests.support.plan_examples import (
    CHANGES,
    EVERY_KIND,
    HELD,
    KEPT,
    NEW_ROW,
    RELEASED,
    RESTORE,
    change,
    plan,
    recorded,
)


@pytest.mark.parametrize(
    "told_differently",
    [
        {"reason": "another reason"},
        {"explanation": "another sentence"},
        {"location": Location("state/elsewhere.yaml", 99, 1)},
        {"label": "Acme Ltd"},
        {"finding": Finding.ADOPTION},
        {"base": MISSING},
        {"waived": {"after": "confirmed"}},
    ],
    ids=lambda given: next(iter(given)),
)
def test_the_same_deed_has_the_same_fingerprint_however_it_is_told(told_differently: dict[str, Any]) -> None:
    assert fingerprint_of([change(**told_differently)]) == fingerprint_of([change()])


@pytest.mark.parametrize(
    "done_differently",
    [
        {"table": "shops"},
        {"key": "another"},
        {"field": "isAiEnabled"},
        {"before": None},
        {"before": MISSING},
        {"desired": 0},
        {"desired": Decimal("0.5")},
        {"after": True},
        {"action": Action.KEEP},
        {"direction": Direction.NEUTRAL},
    ],
    ids=str,
)
def test_another_deed_has_another_fingerprint(done_differently: dict[str, Any]) -> None:
    assert fingerprint_of([change(**done_differently)]) != fingerprint_of([change()])


def test_a_change_that_waits_for_another_guard_has_another_fingerprint_but_the_hour_does_not_count() -> None:
    def held(hold: Hold) -> str:
        return fingerprint_of([change(action=Action.HOLD, hold=hold)])

    assert held(Hold("after", "killed 1 h ago", "2026-11-27T09:00:00Z")) == held(Hold("after", "killed 2 h ago"))
    assert held(Hold("after", "")) != held(Hold("freeze", ""))


@pytest.mark.parametrize("value", [None, [], False, 0, "", {}, "missing"])
def test_no_value_is_mistaken_for_its_absence(value: Json) -> None:
    assert fingerprint_of([change(before=value)]) != fingerprint_of([change(before=MISSING)])


def test_texts_that_run_together_are_told_apart() -> None:
    one = change(table="ab", key="c")
    other = change(table="a", key="bc")
    assert fingerprint_of([one]) != fingerprint_of([other])


@given(st.lists(CHANGES, max_size=4))
def test_a_plan_of_more_changes_has_another_fingerprint(changes: list[Change]) -> None:
    assert fingerprint_of([*changes, change()]) != fingerprint_of(changes)


def test_the_counts_tell_the_kinds_of_change_apart() -> None:
    counts = count(EVERY_KIND, managed_rows=41, managed_fields=120)
    assert (counts.managed_rows, counts.managed_fields) == (41, 120)
    assert counts.changes == 4
    assert counts.kills == 2
    assert counts.restores == 1
    assert counts.held == 1
    assert counts.kept == 1
    assert counts.recorded == 8
    assert counts.released == 1


def test_a_restore_that_is_held_does_not_count_as_a_restore() -> None:
    counts = count([HELD], managed_rows=1, managed_fields=1)
    assert (counts.changes, counts.restores, counts.held) == (0, 0, 1)


def test_a_plan_writes_only_what_is_updated_or_created() -> None:
    assert {change.action for change in plan(EVERY_KIND).writes} == {Action.UPDATE, Action.CREATE}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([], False),
        ([HELD], False),
        ([KEPT], False),
        ([HELD, KEPT], False),
        ([recorded(1)], True),
        ([RELEASED], True),
        ([RESTORE], True),
        ([NEW_ROW], True),
    ],
)
def test_a_plan_has_work_if_an_apply_would_write_more_than_its_run(changes: list[Change], expected: bool) -> None:
    assert plan(changes).has_work is expected


def names_of_drift(*changes: Change) -> list[str]:
    return [change.field for change in drift_of(plan(changes)).changes]


@pytest.mark.parametrize(
    ("base", "before", "drifted"),
    [
        (True, True, False),
        (True, False, True),
        (True, MISSING, True),
        (MISSING, True, False),
        (1, True, True),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, False),
    ],
)
def test_drift_is_what_differs_from_what_was_applied_last_whatever_git_asks_for(
    base: Json | Missing, before: Json | Missing, drifted: bool
) -> None:
    assert bool(names_of_drift(change(base=base, before=before))) is drifted


def test_what_was_released_and_cannot_be_read_has_not_drifted() -> None:
    released = {"finding": Finding.RELEASED, "action": Action.RELEASE, "base": True, "desired": MISSING}
    assert names_of_drift(change(**released, before=MISSING)) == []
    assert names_of_drift(change(**released, before=False)) == ["isWhatsappEnabled"]


def test_a_drift_report_is_a_plan_of_its_own_with_its_own_counts_and_fingerprint() -> None:
    drifted = change(field="isAiEnabled", base=True, before=False, action=Action.KEEP)
    whole = plan([change(), drifted])
    report = drift_of(whole)
    assert report.changes == (drifted,)
    assert report.counts == count([drifted], managed_rows=41, managed_fields=120)
    assert report.fingerprint == fingerprint_of([drifted])
    assert report.id == whole.id


def test_a_scope_is_everything_only_while_it_names_nothing() -> None:
    assert Scope().is_everything
    assert not Scope(tables=("tenants",)).is_everything
    assert not Scope(rows=("tenants/a",)).is_everything
