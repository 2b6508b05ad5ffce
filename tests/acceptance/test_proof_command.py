"""The command waits until what it wrote is in effect, says so in every form, and never fails for it."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator

import pytest

from tests.support.project import ACME, Project
from tests.support.shop_window import Window, shop_window
from tests.support.waiting import wait_until


@pytest.fixture
def window() -> Iterator[Window]:
    with shop_window() as window:
        yield window


@pytest.fixture
def proven(project: Project, window: Window) -> Project:
    """Acme is switched off, which the application must answer with 404."""
    proof = "- {when: false, http: {url: $APP_URL, path: /shops/$key, status: 404}, within: 1s}"
    project.edit_schema("tenants", "  isAiEnabled:\n", "  isAiEnabled:\n    verify:\n      " + proof + "\n")
    project.state(f"{ACME}: {{isAiEnabled: false}}\n")
    project.commit("AI is off for Acme")
    return project


def environment(window: Window) -> dict[str, str]:
    return {"APP_URL": window.url}


def test_what_is_in_effect_is_said_and_recorded(proven: Project, window: Window) -> None:
    window.answers_left = 1
    done = proven.succeed("--yes", environment=environment(window))
    assert "In effect after " in done.out
    assert "seen by $APP_URL/shops/$key." in done.out
    assert "in effect after " in proven.succeed("history").out
    assert "in effect after " in proven.succeed("history", "--runs").out
    [change] = json.loads(proven.succeed("history", "--output", "json").out)["changes"]
    assert (change["unseen"], change["run"]["in_effect"]) == ([], True)
    assert json.loads(proven.succeed("status", "--output", "json").out)["not_seen"] == []


def test_what_is_not_in_effect_is_said_everywhere_and_fails_nothing(proven: Project, window: Window) -> None:
    done = proven.succeed("--yes", "--exit-code", environment=environment(window))
    assert re.search(r"^NOT IN EFFECT after [0-9.]+ s: 1 of 1 not seen", done.out, re.MULTILINE)
    said = f"isAiEnabled: $APP_URL/shops/{ACME} still answers 200, not 404"
    assert said in " ".join(done.out.split())
    assert "NOT IN EFFECT: $APP_URL/shops/" in " ".join(proven.succeed("history").out.split())
    assert "NOT IN EFFECT: 1 of 1 not seen" in proven.succeed("history", "--runs").out
    assert "NOT IN EFFECT" in proven.succeed("history", "--timeline").out
    status = " ".join(proven.succeed("status").out.split())
    assert "Committed, and not seen in effect" in status
    assert re.search(re.escape(said) + "; [0-9.]+ s after run [0-9a-f]{8}, just now", status)
    assert "⚠️ Not in effect: " in proven.succeed("status", "--output", "markdown").out
    [group] = json.loads(proven.succeed("status", "--output", "json").out)["not_seen"]
    assert (group["key"], group["number"], group["kind"]) == (ACME, 1, "http")


def test_a_run_that_is_killed_while_it_waits_leaves_the_question(proven: Project, window: Window) -> None:
    proven.edit_schema("tenants", "within: 1s", "within: 1h")
    proven.commit("Wait for an hour")
    with proven.start("--yes", environment=environment(window)) as run:
        wait_until(lambda: window.paths)
        run.kill()
        run.communicate()
    status = " ".join(proven.succeed("status").out.split())
    assert "isAiEnabled: its run has not said yet whether it is seen, or was ended before it could; of run" in status
    assert "whether it is in effect is not known" in " ".join(proven.succeed("history").out.split())
    [change] = json.loads(proven.succeed("history", "--output", "json").out)["changes"]
    assert (change["run"]["in_effect"], change["run"]["proofs"][0]["waited_s"]) == (None, None)


def test_ctrl_c_ends_the_waiting_and_nothing_else(proven: Project, window: Window) -> None:
    proven.edit_schema("tenants", "within: 1s", "within: 1h")
    proven.commit("Wait for an hour")
    with proven.start("--yes", environment=environment(window)) as run:
        wait_until(lambda: window.paths)
        run.send_signal(signal.SIGINT)
        out, err = run.communicate()
    assert run.returncode == 0, err
    assert "interrupted while waiting for it to be in effect: the run is committed" in " ".join(out.split())
    assert "NOT IN EFFECT" in out
    assert proven.database.execute("SELECT seen FROM reconciler.proof") == [{"seen": 0}]


def test_json_has_the_verdicts(proven: Project, window: Window) -> None:
    run = json.loads(proven.succeed("--yes", "--output", "json", environment=environment(window)).out)["run"]
    assert run["in_effect"] is False
    assert run["proofs"][0]["unseen"][0]["key"] == ACME


def test_nobody_has_to_wait(proven: Project, window: Window) -> None:
    done = proven.succeed("--yes", "--no-verify", environment=environment(window))
    assert "note: whether it is in effect was not looked at, as you said" in done.out
    assert window.paths == []


def test_nobody_has_to_wait_long(proven: Project, window: Window) -> None:
    proven.edit_schema("tenants", "within: 1s", "within: 1h")
    proven.commit("Wait for an hour")
    done = proven.succeed("--yes", "--verify-within", "0", environment=environment(window))
    assert "NOT IN EFFECT" in done.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--dry-run", "--no-verify"), "--no-verify is for an apply"),
        (("--dry-run", "--verify-within", "0"), "--verify-within is for an apply"),
        (("--no-verify", "--verify-within", "5s"), "give one of the two"),
        (("kill", "whatsapp-ban", "--disable", "--tenant", ACME, "--reason", "x", "--no-verify"), "add --now"),
        (("rollback", "1234", "--reason", "x", "--verify-within", "0"), "is for an apply: add --apply"),
    ],
)
def test_options_that_would_be_ignored_are_refused(project: Project, arguments: tuple[str, ...], said: str) -> None:
    done = project.run(*arguments)
    assert done.code == 64, str(done)
    assert said in done.err


def test_a_role_with_the_grants_that_init_prints_can_record_what_it_saw(proven: Project, window: Window) -> None:
    planner, applier = proven.database.role("planner"), proven.database.role("applier")
    printed = proven.succeed("init", "--plan-role", planner.name, "--apply-role", applier.name).out
    proven.database.execute(printed[printed.index("-- A role that plans") :])
    done = proven.succeed("--yes", url=applier.url, environment=environment(window))
    assert "NOT IN EFFECT" in done.out
    assert "not recorded" not in done.out
    assert proven.database.execute("SELECT seen FROM reconciler.proof") == [{"seen": 0}]
    assert "Committed, and not seen in effect" in proven.succeed("status", url=planner.url).out
