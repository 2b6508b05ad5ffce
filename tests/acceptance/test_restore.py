"""`reconcile restore`: the way back, with its steps confirmed and its guards in force."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from reconciler.repository import Repository
from tests.acceptance.test_kill import NOWHERE, PEOPLE, STATE
from tests.acceptance.test_terminal import Terminal
from tests.support.cli import Finished
from tests.support.hosting import add_remote, api, pushed
from tests.support.postgres import Database
from tests.support.project import ACME, Project

STEPS = ("--confirm", "waited", "--confirm", "new-session", "--confirm", "qr-code")
BACK = ("restore", "whatsapp-ban", "--tenant", "acme", "--reason", "a new number")


@pytest.fixture
def killed(project: Project, tmp_path: Path) -> Project:
    """WhatsApp of Acme is off: killed with --now, merged, applied and pushed."""
    project.commit_state(STATE, "Bob wants AI")
    project.succeed()
    add_remote(project.repo, tmp_path / "bare.git")
    kill(project, "whatsapp-ban", "--tenant", "acme", "--reason", "banned, INC-142")
    return project


def kill(project: Project, *words: str) -> None:
    done = project.run("kill", *words, "--now", "--yes", "--no-pr", environment=PEOPLE)
    merge(project, done)


def merge(project: Project, done: Finished) -> None:
    """Merge, push and apply what the command has committed."""
    assert done.code == 0, str(done)
    (branch,) = re.findall(r"Committed \w+ on (\S+),", done.err)
    project.repo.git("merge", "--quiet", "--no-ff", "-m", "Merge", branch, environment=PEOPLE)
    project.repo.git("push", "--quiet")
    project.succeed()


def branches(project: Project) -> list[str]:
    return project.repo.git("for-each-ref", "--format=%(refname:short)", "refs/heads/restore").split()


def past(database: Database, hours: int) -> None:
    """The kills were made so long ago."""
    database.execute("UPDATE reconciler.mark SET killed_at = killed_at - make_interval(hours => %s)", (hours,))


def test_a_restore_is_proposed_with_its_steps_confirmed_and_held_until_the_guard_lets_it_pass(
    killed: Project, database: Database, tmp_path: Path
) -> None:
    with api() as host:
        done = killed.run(*BACK, *STEPS, environment=PEOPLE | host.environment)
    assert done.code == 0, str(done)
    assert "HELD" in done.out
    assert "restores wait 24h" in done.out
    assert "watch for 1h" in done.err
    assert "The connection stays open, and messages go out." in done.err
    (branch,) = branches(killed)
    assert branch.startswith("restore/whatsapp-ban-acme-bakery-")
    assert branch in pushed(killed.repo, tmp_path / "bare.git")
    with Repository.open(killed.directory) as repository:
        trailers = repository.commit(branch).trailers
    assert trailers["confirmed"] == [
        "waited by Ana <ana@example.org>",
        "new-session by Ana <ana@example.org>",
        "qr-code by Ana <ana@example.org>",
    ]
    assert "reconcile-option" not in trailers
    (_, asked, _), (_, labels, _) = host.requests
    assert asked["title"] == "Restore: WhatsApp ban, Acme Bakery: a new number"
    assert "The QR code has been scanned." in asked["body"]
    assert labels == {"labels": ["restore", "whatsapp-ban"]}
    merge(killed, done)
    assert database.row("tenants", ACME)["isWhatsappEnabled"] is False
    past(database, 25)
    killed.succeed()
    assert database.row("tenants", ACME)["isWhatsappEnabled"] is True


def test_steps_that_nobody_has_confirmed_are_listed_and_nothing_is_committed(killed: Project) -> None:
    done = killed.run(*BACK, "--confirm", "waited", environment=PEOPLE)
    assert done.code == 1
    assert "--confirm new-session  A new session has been made on another device." in done.err
    assert "--confirm qr-code" in done.err
    assert "--confirm waited" not in done.err
    assert branches(killed) == []
    wrong = killed.run(*BACK, "--confirm", "scanned", environment=PEOPLE)
    assert wrong.code == 64
    assert "there is no such step" in wrong.err


def test_an_incident_names_its_playbook_and_its_subject(killed: Project) -> None:
    words = ("--reason", "a new number", *STEPS, "--no-push")
    assert killed.run("restore", "INC-14", *words, environment=PEOPLE).code == 64
    done = killed.run("restore", "inc-142", *words, environment=PEOPLE)
    assert done.code == 0, str(done)
    (branch,) = branches(killed)
    message = killed.repo.git("log", "-1", "--format=%B", branch)
    assert f"Reconcile-Subject: tenants/{ACME}" in message
    assert "Reconcile-Playbook: whatsapp-ban" in message


def test_a_waiver_stands_beside_the_value_and_lets_the_guard_pass(killed: Project, database: Database) -> None:
    done = killed.run(*BACK, *STEPS, "--no-pr", "--override", "after=WhatsApp lifted it", environment=PEOPLE)
    assert done.code == 0, str(done)
    merge(killed, done)
    assert database.row("tenants", ACME)["isWhatsappEnabled"] is True
    assert killed.run(*BACK, *STEPS, "--override", "uncommitted=x", environment=PEOPLE).code == 64


@pytest.mark.parametrize("ledger", [True, False])
def test_what_was_before_comes_from_the_ledger_or_from_gits_own_history(
    project: Project, database: Database, tmp_path: Path, ledger: bool
) -> None:
    project.commit_state(f"{ACME}: {{aiDailyLimit: 70, aiMonthlyLimit: 900}}\n", "Acme's plan")
    project.succeed()
    add_remote(project.repo, tmp_path / "bare.git")
    kill(project, "ai-cost-spike", "--limits", "--tenant", "acme", "--reason", "costs, INC-9")
    assert database.row("tenants", ACME)["aiDailyLimit"] == 5
    words = ("restore", "INC-9", "--reason", "talked", "--confirm", "talked", "--confirm", "plan", "--no-pr")
    done = project.run(*words, url=None if ledger else NOWHERE, environment=PEOPLE)
    assert done.code == 0, str(done)
    assert "isAiEnabled: git does not name it" in done.err
    merge(project, done)
    row = database.row("tenants", ACME)
    assert (row["aiDailyLimit"], row["aiMonthlyLimit"]) == (70, 900)


def test_what_another_playbook_has_killed_stays_off(killed: Project) -> None:
    kill(killed, "tenant-abuse", "--tenant", "acme", "--reason", "spam")
    done = killed.run("restore", "ai-cost-spike", "--tenant", "acme", "--reason", "x", environment=PEOPLE)
    assert done.code == 1
    assert "it was killed by tenant-abuse" in done.err
    assert branches(killed) == []


def test_a_kill_that_is_not_merged_yet_is_said(project: Project, tmp_path: Path) -> None:
    project.commit_state(STATE, "Bob wants AI")
    project.succeed()
    add_remote(project.repo, tmp_path / "bare.git")
    words = ("--tenant", "acme", "--reason", "banned, INC-5")
    assert project.run("kill", "whatsapp-ban", *words, "--no-pr", environment=PEOPLE).code == 0
    done = project.run("restore", "INC-5", "--reason", "x", *STEPS, environment=PEOPLE)
    assert done.code == 1
    assert "Is the kill merged?" in done.err


def test_the_playbooks_checks_are_shown_and_kept(killed: Project) -> None:
    kill(killed, "redis-down", "--reason", "ECONNREFUSED, INC-3")
    words = ("--confirm", "redis-back", "--confirm", "stuck-jobs", "--reason", "it answers", "--no-push")
    done = killed.run("restore", "redis-down", *words, environment=PEOPLE)
    assert done.code == 0, str(done)
    assert "Check redis: does not pass: could not be made: REDIS_URL" in done.err
    message = killed.repo.git("log", "-1", "--format=%B", branches(killed)[-1])
    assert "Check redis does not pass" in message


def test_a_dry_run_shows_the_edit_and_writes_nothing(killed: Project) -> None:
    done = killed.run(*BACK, "--dry-run", environment=PEOPLE)
    assert done.code == 0, str(done)
    assert "-    value: false" in done.out
    assert "+    value: true" in done.out
    assert branches(killed) == []


def test_at_a_terminal_each_step_is_asked_for_and_one_that_is_not_done_stops_it(killed: Project) -> None:
    terminal = Terminal(killed, *BACK, "--no-push", "--confirm", "waited", **PEOPLE)
    terminal.wait_for("Done: A new session has been made on another device.")
    terminal.type("y\n")
    terminal.wait_for("Done: The QR code has been scanned.")
    terminal.type("n\n")
    assert terminal.end() == 1
    assert "--confirm qr-code" in terminal.shown
    assert branches(killed) == []


def test_restoring_twice_says_that_nothing_is_left(killed: Project) -> None:
    merge(killed, killed.run(*BACK, *STEPS, "--no-pr", environment=PEOPLE))
    again = killed.run(*BACK, *STEPS, environment=PEOPLE)
    assert again.code == 1
    assert "git has true, which no kill of whatsapp-ban has put there" in again.err
