"""Issues on drift and on failed runs, labels, and the comparison with the plan that was reviewed."""

from __future__ import annotations

import shlex
from typing import Any

from hypothesis import example, given
from msgspec.structs import replace

from reconciler.console.comparison import compare_plans
from reconciler.console.issues import drift_issue, failure_issue
from reconciler.console.labels import BLOCKED, KILL, LABELS, RESTORE, labels_of
from reconciler.errors import Failed, InvalidInput
from reconciler.model import Action, Change, Direction, Hold, Location
from reconciler.plan import Plan
from tests.support import console_examples as examples
from tests.support.console_examples import BY_HAND, GLOBAL, HOSTILE_TEXT, REOPENED, WAIVED
from tests.support.console_examples import KILL as A_KILL
from tests.support.hosts_eyes import Seen, acted_on
from tests.support.plan_examples import HELD, PLANS, RELEASED, REVISION, change, plan, recorded
from tests.unit.test_console_comment import TEXTS

# Drift ----------------------------------------------------------------------------------------------------------------


def test_there_is_no_issue_where_nothing_drifted() -> None:
    assert drift_issue(plan([A_KILL, HELD, RELEASED, recorded(1)])) is None


def test_a_kill_by_hand_is_named_as_such_with_the_line_to_edit_and_the_command() -> None:
    issue = drift_issue(examples.FULL, source_url=examples.SOURCE, titles=examples.TITLES)
    assert issue is not None
    assert issue.title == "reconcile: isWhatsappEnabled of Bolt Coffee was killed by hand, and 2 more fields drifted"
    assert "> **Killed by hand.** It stays killed until a commit touches its entry in git." in issue.body
    assert f"`reconcile import --adopt --propose --only tenants/{BY_HAND.key}`" in issue.body
    edit = f"[`state/tenants/bolt-coffee.yaml:4`](<{examples.SOURCE}/state/tenants/bolt-coffee.yaml#L4>)): `false`"
    assert f"- WhatsApp for Bolt Coffee ({edit}" in issue.body
    assert issue.body.index("Killed by hand (1)") < issue.body.index("Moved otherwise (2)")


def test_what_git_asks_for_otherwise_is_left_out() -> None:
    issue = drift_issue(examples.FULL)
    assert issue is not None
    assert "Acme Bakery" not in issue.body


def test_drift_that_a_freeze_holds_is_drift_nevertheless() -> None:
    held = replace(examples.RENAMED, action=Action.HOLD, after=examples.RENAMED.before, hold=Hold("freeze", "Holidays"))
    assert drift_issue(plan([held])) is not None


def test_the_key_is_that_of_the_fields_and_their_values_and_of_nothing_else() -> None:
    def key(*changes: object) -> str:
        issue = drift_issue(plan(changes))  # type: ignore[arg-type] # a test's own values
        assert issue is not None
        return issue.key

    assert key(BY_HAND) == key(replace(BY_HAND, reason="told otherwise"), A_KILL)
    assert len({key(BY_HAND), key(REOPENED), key(BY_HAND, REOPENED), key(replace(BY_HAND, before=None))}) == 4


def commands(*changes: Change, **options: Any) -> list[list[str]]:
    """The commands in the issue, as a shell takes them."""
    issue = drift_issue(plan(changes), **options)
    assert issue is not None
    return [shlex.split(code) for code in Seen(issue.body).codes if code.startswith("reconcile import")]


def test_the_command_names_the_rows_quoted_and_which_project_and_database_are_meant() -> None:
    spaced = replace(BY_HAND, key="a b'c")
    where = ["--directory", "ops", "--target", "eu"]
    only = ["--only", f"tenants/{BY_HAND.key}", "--only", "tenants/a b'c"]
    assert commands(spaced, replace(spaced, field="isAiEnabled"), BY_HAND, options=where) == [
        ["reconcile", "import", *where, "--adopt", "--propose", *only]
    ]


def test_rows_that_cannot_be_named_or_are_too_many_are_adopted_with_all_others() -> None:
    everything = [["reconcile", "import", "--adopt", "--propose"]]
    assert commands(BY_HAND, replace(BY_HAND, key="a\nb")) == everything
    assert commands(*(replace(BY_HAND, key=str(number)) for number in range(21))) == everything


@given(TEXTS)
@example(HOSTILE_TEXT)
def test_nothing_in_an_issue_comes_from_a_text_but_text(text: str) -> None:
    def body(text: str) -> str:
        place = Location(text, 1, 1)
        by_hand = replace(BY_HAND, key=text, label=text, field=text, table=text, reason=text, location=place)
        issue = drift_issue(plan([by_hand, REOPENED], database=text), source_url=examples.SOURCE)
        assert issue is not None
        assert issue.title.isprintable()
        failed = failure_issue(Failed(text + "\n" + text), revision=examples.HOSTILE.revision, run_url=examples.RUN)
        assert failed.title.isprintable()
        return issue.body + "\n\n" + failed.body if text.isprintable() else failed.body

    seen = Seen(body(text))
    if len(text.splitlines()) == 1:
        assert seen.skeleton == Seen(body("x" if text.isprintable() else "\x00")).skeleton
    assert set(seen.comments) <= {"reconcile:drift", "reconcile:failure"}
    assert acted_on(seen) == []


@given(PLANS)
def test_no_issue_is_longer_than_its_limit(shown: Plan) -> None:
    issue = drift_issue(shown, limit=3_000)
    assert issue is None or (len(issue.body) <= 3_000 and len(issue.title) <= 200)


# Failures -------------------------------------------------------------------------------------------------------------


def test_a_failure_says_why_for_which_commit_and_where_the_log_is() -> None:
    issue = failure_issue(Failed("no way"), revision=REVISION, run_url=examples.RUN)
    assert issue.title == "reconcile failed: no way"
    commit = "commit `1a2b3c4d5e6f` Stop WhatsApp for Acme Bakery by Ada Lovelace"
    assert f"exit code 1 · {commit} · [the run](<{examples.RUN}>)" in issue.body


def test_every_problem_of_a_failure_is_listed() -> None:
    error = InvalidInput(examples.PROBLEMS)
    issue = failure_issue(error, revision=None, run_url=None, source_url=examples.SOURCE)
    assert issue.title == "reconcile failed: 3 problems in what was written"
    seen = Seen(issue.body)
    assert seen.tags.count("li") == 3
    assert seen.hrefs[0] == f"{examples.SOURCE}/state/tenant.yaml#L1"


def test_an_error_without_a_message_still_has_a_title() -> None:
    assert failure_issue(Failed(), revision=None, run_url=None).title == "reconcile failed: Failed"


# Labels ---------------------------------------------------------------------------------------------------------------


def test_labels_say_which_way_it_goes_and_whether_it_goes() -> None:
    assert labels_of(plan()) == frozenset()
    assert labels_of(plan([A_KILL])) == {KILL}
    assert labels_of(plan([WAIVED])) == {RESTORE}
    assert labels_of(plan([GLOBAL])) == {RESTORE, BLOCKED}
    assert labels_of(plan([A_KILL], refusals=("too much",))) == {KILL, BLOCKED}
    assert labels_of(plan([change(direction=Direction.NEUTRAL), BY_HAND, RELEASED])) == frozenset()


def test_every_label_has_a_colour_and_a_description() -> None:
    assert set(LABELS) == {KILL, RESTORE, BLOCKED}
    assert all(len(colour) == 6 and int(colour, 16) >= 0 and text for colour, text in LABELS.values())


# What moved since the review ------------------------------------------------------------------------------------------


@given(PLANS)
def test_nothing_moved_between_a_plan_and_itself(shown: Plan) -> None:
    assert compare_plans(shown, replace(shown, id="another", created_at="2026-11-27T00:00:00Z")).moved == 0


def test_what_came_what_went_and_what_is_done_otherwise_are_told_apart() -> None:
    moved = compare_plans(plan([A_KILL, HELD]), plan([replace(A_KILL, before=None), GLOBAL]))
    assert [each.field for each in moved.gone] == [HELD.field]
    assert [each.field for each in moved.new] == [GLOBAL.field]
    assert [(old.before, new.before) for old, new in moved.other] == [(True, None)]


def test_another_reason_or_place_is_no_move() -> None:
    told_otherwise = replace(A_KILL, reason="another", location=None)
    assert compare_plans(plan([A_KILL]), plan([told_otherwise])).moved == 0
