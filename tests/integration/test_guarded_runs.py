"""Guards over several runs, on a real database: what one run leaves behind is what the next one judges by."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest

from reconciler.break_glass import release
from reconciler.errors import InvalidInput, Refused
from reconciler.pipeline import read_for_apply
from tests.support.gitrepo import GitRepo
from tests.support.postgres import Database
from tests.support.project import ACME, BOB
from tests.support.runs import HOUR, START, Runs, runs_of


@pytest.fixture
def runs(git_repo: GitRepo, database: Database) -> Iterator[Runs]:
    with runs_of(git_repo, database) as runs:
        yield runs


def both(value: str) -> str:
    return "".join(f"{key}:\n  isWhatsappEnabled: {value}\n" for key in (ACME, BOB))


# Cooldown


def test_a_held_restore_is_applied_by_a_later_run_of_the_same_commit(runs: Runs) -> None:
    runs.commit(f"{ACME}:\n  isWhatsappEnabled: false\n")
    runs.run()
    runs.commit(f"{ACME}:\n  isWhatsappEnabled: true\n  aiDailyLimit: 60\n")
    assert runs.run().applied == 1
    assert (runs.value("isWhatsappEnabled"), runs.value("aiDailyLimit")) == (False, 60)
    runs.now += 24 * HOUR - timedelta(seconds=1)
    assert runs.run().applied == 0
    runs.now += timedelta(seconds=1)
    assert runs.run().applied == 1
    assert runs.value("isWhatsappEnabled") is True


def test_a_kill_by_hand_that_git_agrees_with_in_the_same_run_counts_from_that_run(runs: Runs) -> None:
    runs.commit(f"{ACME}:\n  isWhatsappEnabled: false\n")
    runs.run()
    runs.now += 48 * HOUR
    runs.commit(f"{ACME}:\n  isWhatsappEnabled: true\n")
    runs.run()
    runs.now += 48 * HOUR
    runs.by_hand("isWhatsappEnabled", False)
    runs.commit(f"{ACME}:\n  isWhatsappEnabled: false\n", "INC-1, as I did it by hand")
    runs.run()
    runs.now += HOUR
    runs.commit(f"{ACME}:\n  isWhatsappEnabled: true\n", "Was it that bad?")
    assert runs.held() == {"isWhatsappEnabled": "after"}


def test_letting_a_field_go_and_taking_it_up_again_ends_no_cooldown(runs: Runs) -> None:
    runs.commit(f"{ACME}:\n  isWhatsappEnabled: false\n")
    runs.run()
    runs.commit("{}\n", "Let it go")
    runs.run()
    runs.now += HOUR
    runs.commit(f"{ACME}:\n  isWhatsappEnabled: true\n")
    assert runs.held() == {"isWhatsappEnabled": "after"}


def test_a_field_that_was_let_go_open_and_killed_by_the_application_since_is_seen_anew(runs: Runs) -> None:
    runs.commit(f"{ACME}:\n  isWhatsappEnabled: false\n")
    runs.run()
    runs.now += 48 * HOUR
    runs.commit(f"{ACME}:\n  isWhatsappEnabled: true\n")
    runs.run()
    runs.commit("{}\n", "Let it go")
    runs.run()
    runs.by_hand("isWhatsappEnabled", False)
    runs.now += 48 * HOUR
    runs.commit(f"{ACME}:\n  isWhatsappEnabled: true\n")
    assert runs.held() == {"isWhatsappEnabled": "after"}


def test_a_revert_of_a_kill_does_not_bring_an_old_waiver_back(runs: Runs) -> None:
    waived = f'{ACME}:\n  isWhatsappEnabled: {{value: true, override: {{after: "support confirmed"}}}}\n'
    runs.commit(f"{ACME}:\n  isWhatsappEnabled: false\n")
    runs.run()
    runs.now += 48 * HOUR
    runs.commit(waived)  # not needed any more
    runs.run()
    runs.commit(f"{ACME}:\n  isWhatsappEnabled: false\n", "The next ban")
    runs.run()
    runs.project.repo.git("revert", "--no-edit", "HEAD", environment=COMMITTER)
    assert runs.held() == {"isWhatsappEnabled": "after"}
    runs.commit(waived.replace("support confirmed", "support confirmed, ticket 4712"))
    runs.run()
    assert runs.value("isWhatsappEnabled") is True
    assert runs.project.entries()[-1]["metadata"]["waived"] == {"after": "support confirmed, ticket 4712"}


COMMITTER = {
    "GIT_AUTHOR_NAME": "Ann",
    "GIT_AUTHOR_EMAIL": "ann@example.org",
    "GIT_COMMITTER_NAME": "Ann",
    "GIT_COMMITTER_EMAIL": "ann@example.org",
}


def test_what_a_hand_cuts_while_gits_first_word_on_it_is_held_is_a_kill(runs: Runs) -> None:
    """Nothing was ever applied there that it could be compared with."""
    runs.project.edit_schema("tenants", "aiDailyLimit:\n", "aiDailyLimit:\n    restore: {after: 24h}\n")
    freeze = "{name: Launch, from: 2030-01-07T00:00:00Z, to: 2030-01-07T12:00:00Z}"
    runs.project.edit_schema("policy", "freezes: []", f"freezes: [{freeze}]")
    runs.by_hand("aiDailyLimit", 20)
    runs.commit(f"{ACME}:\n  aiDailyLimit: 50\n")
    runs.run()
    assert runs.held() == {"aiDailyLimit": "freeze"}
    with pytest.raises(Refused, match="is not held against git"):
        definitions = read_for_apply(runs.request()).definitions
        release(runs.connection, definitions, [("tenants", ACME, "aiDailyLimit")], "let go", "ann")
    runs.now += HOUR
    runs.by_hand("aiDailyLimit", 5)
    runs.run()
    runs.now += 23 * HOUR
    assert runs.held() == {"aiDailyLimit": "after"}
    runs.now += HOUR
    assert runs.run().applied == 1
    assert runs.value("aiDailyLimit") == 50


@pytest.mark.parametrize("is_glass", [False, True])
def test_what_a_hand_opens_while_gits_answer_to_a_kill_is_held_is_put_back(runs: Runs, is_glass: bool) -> None:
    text = f"{ACME}:\n  isWhatsappEnabled: %s\n"
    runs.commit(text % "true")
    runs.run()
    if is_glass:
        runs.project.state(text % "false")
        runs.run(allow_dirty=True, reason="INC-7")
        runs.project.repo.git("checkout", "--quiet", "--", ".")
    else:
        runs.by_hand("isWhatsappEnabled", False)
    runs.run()
    runs.commit(text % "{value: true, reason: it is over}")
    assert runs.held() == {"isWhatsappEnabled": "after"}
    for hours in (1, 22):
        runs.now += hours * HOUR
        runs.by_hand("isWhatsappEnabled", True)
        assert runs.plan().counts.kills == 1
        assert runs.run().applied == 1
        assert runs.value("isWhatsappEnabled") is False
    runs.now += 23 * HOUR
    assert runs.run().applied == 0
    runs.now += HOUR
    assert (runs.run().applied, runs.value("isWhatsappEnabled")) == (1, True)


def test_a_renamed_tenant_whose_restore_is_held_stands_in_the_way_of_no_kill_of_another(runs: Runs) -> None:
    text = f"{ACME}:\n  $expect: {{name: Acme Bakery}}\n  isWhatsappEnabled: %s\n{BOB}:\n  isWhatsappEnabled: %s\n"
    for acme, bob in (("false", "true"), ("true", "true")):
        runs.commit(text % (acme, bob))
        runs.run()
    runs.database.execute("UPDATE tenants SET name = 'Acme Ltd' WHERE id = %s", [ACME])
    with pytest.raises(InvalidInput, match="Acme Ltd"):
        runs.run()  # nothing waits for it: whoever asks for the wrong row is told before the guard lets it through
    runs.commit(text % ("true", "false"))
    outcome = runs.run()
    assert (outcome.applied, runs.value("isWhatsappEnabled", BOB)) == (1, False)
    assert [notice.message for notice in outcome.notices if "$expect" in notice.message]
    assert runs.value("isWhatsappEnabled", ACME) is False


# Health


def test_checks_are_made_when_a_restore_needs_them_and_a_kill_does_not(runs: Runs) -> None:
    runs.commit(f"{ACME}:\n  isAiEnabled: false\n")
    runs.database.execute("ALTER TABLE health RENAME TO elsewhere")  # a check would fail
    assert runs.run().applied == 1
    runs.commit(f"{ACME}:\n  isAiEnabled: true\n")
    assert runs.held() == {"isAiEnabled": "requires"}
    assert runs.run().applied == 0
    runs.database.execute("ALTER TABLE elsewhere RENAME TO health")
    assert runs.run().applied == 1


def test_what_a_hand_opened_stays_where_the_check_that_held_it_passes_by_now(runs: Runs) -> None:
    runs.commit(f"{ACME}:\n  isAiEnabled: false\n")
    runs.run()
    runs.database.execute("UPDATE health SET ok = false")
    runs.commit(f"{ACME}:\n  isAiEnabled: true\n")
    runs.run()
    runs.by_hand("isAiEnabled", True)
    assert runs.run().applied == 1
    assert runs.value("isAiEnabled") is False
    runs.database.execute("UPDATE health SET ok = true")
    runs.by_hand("isAiEnabled", True)
    outcome = runs.run()
    assert (outcome.applied, outcome.recorded) == (0, 1)
    assert runs.value("isAiEnabled") is True


# Blast limit


def test_a_trailer_counts_until_what_its_commit_asks_for_is_applied(runs: Runs) -> None:
    runs.commit(both("false"))
    runs.run()
    runs.commit(both("true"), "All of them again\n\nReconcile-Allow-Changes: 2\n")
    assert runs.run().plan.counts.held == 2
    runs.now += 24 * HOUR
    # Meanwhile somebody else has committed, and run for one row alone.
    runs.commit(both("true") + "  aiCustomModel: large\n", "Another model for Bob")
    runs.run(f"tenants/{ACME}")
    assert runs.run().applied == 2
    # It is over: the next commit needs a waiver of its own.
    runs.commit(model("small"), "Both models")
    with pytest.raises(Refused, match="2 rows would change, and the policy allows 1 in one run"):
        runs.run()


def model(name: str) -> str:
    return "".join(f"{key}:\n  isWhatsappEnabled: true\n  aiCustomModel: {name}\n" for key in (ACME, BOB))


def test_one_row_can_be_killed_while_restores_are_too_many(runs: Runs) -> None:
    runs.commit(model("small"), "Both models")
    with pytest.raises(Refused):
        runs.run()
    text = model("small") + f"{BOB[:-1]}c:\n  isAiEnabled: false\n"
    runs.database.tenant(f"{BOB[:-1]}c")
    runs.commit(text, "Kill")
    with pytest.raises(Refused):
        runs.run()
    assert runs.run(f"tenants/{BOB[:-1]}c").applied == 1


def test_rows_that_are_as_git_asks_are_adopted_whatever_their_number(runs: Runs) -> None:
    runs.commit(both("true"))
    outcome = runs.run()
    assert (outcome.applied, outcome.recorded) == (0, 2)


def test_allowing_changes_by_command_needs_a_reason_that_is_audited(runs: Runs) -> None:
    runs.commit(model("small"))
    runs.run(allow_changes=2, reason="agreed with Bob")
    assert {entry["metadata"]["runReason"] for entry in runs.project.entries()} == {"agreed with Bob"}


# until


def override(value: int, until: datetime, then: str = "restore") -> str:
    return f"{ACME}:\n  aiDailyLimit: {{value: {value}, until: {until:%Y-%m-%dT%H:%M:%SZ}, then: {then}}}\n"


def test_then_restore_brings_back_what_was_there_before_the_override(runs: Runs) -> None:
    runs.by_hand("aiDailyLimit", 70)
    runs.commit(override(5, START + HOUR))
    runs.run()
    assert runs.value("aiDailyLimit") == 5
    runs.now += HOUR
    for _ in range(2):
        runs.run()
        assert runs.value("aiDailyLimit") == 70
    assert "until 2030-01-07T10:00:00Z has passed" in runs.project.entries()[-1]["metadata"]["reason"]


def test_then_restore_never_brings_back_what_a_hand_had_written_meanwhile(runs: Runs) -> None:
    runs.by_hand("aiDailyLimit", 70)
    runs.commit(override(5, START + HOUR))
    runs.run()
    runs.by_hand("aiDailyLimit", 99999)
    runs.run()
    assert runs.value("aiDailyLimit") == 5
    runs.now += HOUR
    runs.run()
    assert runs.value("aiDailyLimit") == 70


def test_an_override_that_comes_after_its_until_changes_nothing_however_often_it_is_run(runs: Runs) -> None:
    runs.by_hand("aiDailyLimit", 70)
    runs.commit(override(5, START - HOUR))
    for _ in range(2):
        assert runs.run().applied == 0
        assert runs.value("aiDailyLimit") == 70
    assert "before it was ever applied: nothing is done" in runs.plan().notices[0].message


def test_an_expiry_that_would_break_a_rule_stands_in_the_way_of_no_kill(runs: Runs) -> None:
    text = f"{ACME}:\n  aiMonthlyLimit: 1000\n" + override(50, START + HOUR, "2000").partition("\n")[2]
    runs.commit(text)
    runs.run()
    runs.now += HOUR
    runs.commit(f"{text}{BOB}:\n  isAiEnabled: false\n")
    assert runs.run().applied == 1
    assert (runs.value("isAiEnabled", BOB), runs.value("aiDailyLimit")) == (False, 50)


# The effective value


def test_a_switch_says_for_how_many_it_is_one(runs: Runs) -> None:
    runs.database.settings()
    runs.by_hand("isWhatsappEnabled", False, BOB)
    runs.project.state("system:\n  globalWhatsappEnabled: false\n", "system_settings.yaml")
    runs.commit("{}\n")
    said = [notice.message for notice in runs.plan().notices]
    field = "system_settings/system.globalWhatsappEnabled"
    assert said == [f"larger than it looks: {field} kills WhatsApp for 1 row of tenants"]
