"""Breaking the glass: what a dirty work tree did is left, and told, until git answers; freezes and releases are kept.

What a person types is run as a command once; elsewhere the same runs in this process.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from reconciler.database.connection import open_database
from reconciler.database.url import parse_database_url
from reconciler.outcome import Outcome
from reconciler.pipeline import Origin, Request, apply, make_plan, read_for_apply, read_for_plan
from reconciler.plan import Plan
from tests.support.gitrepo import GitRepo
from tests.support.postgres import Database
from tests.support.project import ACME, BOB, Project

OPEN = f"{ACME}:\n  isAiEnabled: true\n  isWhatsappEnabled: true\n"
KILLED = f"{ACME}:\n  isAiEnabled: false\n  isWhatsappEnabled: true\n"
MODEL = f"{ACME}:\n  aiCustomModel: %s\n"
WHY = "INC-7, the git host is down"
GLASS = ("--allow-dirty", "--reason", WHY)


@pytest.fixture
def project(git_repo: GitRepo, database: Database) -> Project:
    """Two tenants, one of which is managed and open; everything applied."""
    database.tenant(ACME, name="Acme Bakery")
    database.tenant(BOB, name="Bob's Bikes")
    database.settings()
    project = Project(git_repo, database)
    project.init()
    project.commit_state(OPEN, "Acme is open")
    run(project)
    return project


def acme(project: Project) -> dict[str, Any]:
    return project.database.row("tenants", ACME)


def run(project: Project, **request: Any) -> Outcome:
    """What `reconcile` does, in this process."""
    asked = Request(directory=project.directory, **request)
    with open_database([parse_database_url(project.database.url, variable="DATABASE_URL")]) as connection:
        return apply(connection, asked, read_for_apply(asked), Origin(actor="ann"))


def plan(project: Project) -> Plan:
    """What `reconcile --dry-run` finds, in this process."""
    asked = Request(directory=project.directory)
    with open_database([parse_database_url(project.database.url, variable="DATABASE_URL")]) as connection:
        return make_plan(connection, asked, read_for_plan(asked))


def break_glass(project: Project, text: str) -> None:
    """Apply this as it stands in the work tree, and put back what git has."""
    project.state(text)
    run(project, allow_dirty=True, reason=WHY)
    project.repo.git("checkout", "--quiet", "--", ".")


def said(project: Project) -> dict[str, tuple[str, str]]:
    """What a plan says of each field: finding and action."""
    return {change.field: (change.finding.value, change.action.value) for change in plan(project).changes}


def notices(project: Project) -> list[str]:
    return [notice.message for notice in plan(project).notices]


def held(project: Project) -> dict[str, str]:
    """Why fields are held."""
    return {change.field: change.hold.explanation for change in plan(project).changes if change.hold is not None}


# --allow-dirty


def test_a_kill_through_broken_glass_is_left_and_told_by_every_run_from_git(project: Project) -> None:
    project.state(KILLED)
    assert "reconcile release" in project.succeed(*GLASS).out
    project.repo.git("checkout", "--quiet", "--", ".")
    for _ in range(2):
        assert said(project) == {"isAiEnabled": ("break_glass", "keep")}
        done = project.succeed()
        assert "broke the glass (INC-7, the git host is down)" in done.out
        assert acme(project)["isAiEnabled"] is False


def test_it_is_audited_as_not_committed_and_the_ledger_keeps_what_git_asked(project: Project) -> None:
    break_glass(project, KILLED)
    entry = project.entries()[-1]
    assert (entry["tenantId"], entry["metadata"]["uncommitted"]) == (ACME, True)
    assert entry["metadata"]["runReason"] == "INC-7, the git host is down"
    [applied] = project.database.execute("SELECT applied FROM reconciler.managed_row")
    assert applied["applied"] == {"isAiEnabled": True, "isWhatsappEnabled": True}


def test_git_that_says_the_same_closes_it(project: Project) -> None:
    break_glass(project, KILLED)
    project.commit_state(KILLED, "INC-7, as it was done last night")
    assert said(project) == {"isAiEnabled": ("converged", "record")}
    run(project)
    assert said(project) == {}
    # From there on git has its way.
    project.commit_state(OPEN, "INC-7 is over")
    run(project)
    assert acme(project)["isAiEnabled"] is True


def test_a_commit_that_comes_before_the_first_run_from_git_is_no_answer(project: Project) -> None:
    break_glass(project, KILLED)
    project.commit_state(OPEN.replace("isAiEnabled: true", "isAiEnabled: {value: true, reason: as always}"))
    run(project)
    assert acme(project)["isAiEnabled"] is False


def test_a_commit_that_touches_the_entry_after_a_run_has_told_of_it_restores(project: Project) -> None:
    break_glass(project, KILLED)
    run(project)
    project.commit_state(OPEN.replace("isAiEnabled: true", "isAiEnabled: {value: true, reason: INC-7 is over}"))
    assert said(project) == {"isAiEnabled": ("killed_by_hand", "update")}
    run(project)
    assert acme(project)["isAiEnabled"] is True


def test_a_restore_that_answers_broken_glass_passes_the_guards(project: Project) -> None:
    break_glass(project, OPEN.replace("isWhatsappEnabled: true", "isWhatsappEnabled: false"))
    run(project)
    project.commit_state(OPEN.replace("isWhatsappEnabled: true", "isWhatsappEnabled: {value: true, reason: over}"))
    run(project)
    said = held(project)["isWhatsappEnabled"]
    assert re.match(r"isWhatsappEnabled was killed \d+ s ago by ann, not committed", said), said
    assert acme(project)["isWhatsappEnabled"] is False


def test_a_neutral_change_through_broken_glass_is_left_too_and_a_kill_of_gits_passes(project: Project) -> None:
    project.commit_state(MODEL % "small")
    run(project)
    break_glass(project, MODEL % "large")
    run(project)
    assert acme(project)["aiCustomModel"] == "large"
    # The same command once more, in the same work tree, loses nothing of it.
    break_glass(project, MODEL % "large")
    run(project)
    assert acme(project)["aiCustomModel"] == "large"
    project.commit_state((MODEL % "small") + "  isAiEnabled: false\n")
    run(project)
    assert (acme(project)["aiCustomModel"], acme(project)["isAiEnabled"]) == ("large", False)


def test_a_dirty_restore_is_held_and_the_rest_goes_ahead(project: Project) -> None:
    project.commit_state(KILLED, "Acme makes too many requests")
    run(project)
    project.state(OPEN + "  aiDailyLimit: 5\n")
    done = project.run(*GLASS, "--exit-code")
    assert done.code == 5
    assert "only a commit switches a killed thing on, and this is not committed" in done.out
    assert (acme(project)["isAiEnabled"], acme(project)["aiDailyLimit"]) == (False, 5)


def test_a_dirty_restore_is_held_even_with_a_waiver_that_nobody_reviewed(project: Project) -> None:
    project.commit_state(KILLED)
    run(project)
    waived = "isAiEnabled: {value: true, override: {after: x, requires: x, freeze: x}}"
    project.state(OPEN.replace("isAiEnabled: true", waived))
    run(project, allow_dirty=True, reason=WHY)
    assert acme(project)["isAiEnabled"] is False


def test_a_kill_of_what_is_off_already_keeps_the_next_run_from_switching_it_on(project: Project) -> None:
    project.commit_state(KILLED)
    run(project)
    project.commit_state(OPEN, "Not applied yet")
    project.state(KILLED)
    told = " ".join(project.succeed(*GLASS).out.split())
    assert "is false already, so there is nothing to write. Runs from git leave it so" in told
    project.repo.git("checkout", "--quiet", "--", ".")
    for _ in range(2):
        run(project)
        assert acme(project)["isAiEnabled"] is False
        assert said(project) == {"isAiEnabled": ("break_glass", "keep")}
    project.commit_state(OPEN.replace("isAiEnabled: true", "isAiEnabled: {value: true, reason: INC-7 is over}"))
    run(project)
    assert acme(project)["isAiEnabled"] is True


@pytest.mark.parametrize("is_applied", [True, False])
def test_git_that_says_the_same_until_a_time_has_not_answered(project: Project, is_applied: bool) -> None:
    project.database.execute("UPDATE reconciler.meta SET movable_clock = true")
    now = datetime.now(UTC)
    until = f"{now + timedelta(hours=2):%Y-%m-%dT%H:%M:%SZ}"
    timed = f"isAiEnabled: {{value: false, until: {until}, then: true}}"
    project.commit_state(OPEN.replace("isAiEnabled: true", timed))
    if is_applied:
        run(project)
    else:
        project.database.execute('UPDATE tenants SET "isAiEnabled" = false WHERE id = %s', [ACME])
    break_glass(project, KILLED)
    run(project)
    for hours in (1, 3, 4):
        run(project, now=now + timedelta(hours=hours))
        assert acme(project)["isAiEnabled"] is False
    project.commit_state(KILLED, "As it was done")
    run(project, now=now + timedelta(hours=5))
    project.commit_state(OPEN, "It is over")
    run(project, now=now + timedelta(hours=6))
    assert acme(project)["isAiEnabled"] is True


def test_a_dirty_work_tree_insists_on_nothing_that_git_says_too(project: Project) -> None:
    project.commit_state(KILLED)
    run(project)
    break_glass(project, KILLED + "  aiDailyLimit: 20\n")
    project.commit_state(OPEN, "Not said to be over, nor asked to stay")
    run(project)
    assert acme(project)["isAiEnabled"] is True


def test_what_a_hand_opens_past_broken_glass_is_put_back_until_git_answers(project: Project) -> None:
    break_glass(project, KILLED)
    for _ in range(2):
        project.database.execute('UPDATE tenants SET "isAiEnabled" = true WHERE id = %s', [ACME])
        assert said(project) == {"isAiEnabled": ("reopened", "update")}
        told = " ".join(project.succeed().out.split())
        assert "and somebody has re-opened it by hand since: put back to the kill side" in told
        assert acme(project)["isAiEnabled"] is False
        assert said(project) == {"isAiEnabled": ("break_glass", "keep")}
    [applied] = project.database.execute("SELECT applied FROM reconciler.managed_row")
    assert applied["applied"]["isAiEnabled"] is True
    project.succeed("release", f"tenants/{ACME}.isAiEnabled", "--reason", "It was me")
    run(project)
    assert acme(project)["isAiEnabled"] is True


def test_a_waiver_that_stood_in_git_before_the_glass_was_broken_does_not_count_after(project: Project) -> None:
    waiver = "isWhatsappEnabled: {value: true%s, override: {after: it is fine}}"
    waived = OPEN.replace("isWhatsappEnabled: true", waiver)
    project.commit_state(waived % "")
    break_glass(project, OPEN.replace("isWhatsappEnabled: true", "isWhatsappEnabled: false"))
    run(project)
    project.commit_state(waived % ", reason: again")
    run(project)
    assert "its waiver was spent on an earlier kill, or stood there before" in held(project)["isWhatsappEnabled"]
    assert acme(project)["isWhatsappEnabled"] is False


def test_a_dirty_run_is_no_touch_of_the_entry_of_a_value_killed_by_hand(project: Project) -> None:
    project.database.execute('UPDATE tenants SET "isAiEnabled" = false WHERE id = %s', [ACME])
    # The kill is first seen by a run of a work tree in which the entry reads otherwise.
    break_glass(project, OPEN.replace("isAiEnabled: true", "isAiEnabled: {value: true, reason: hm}"))
    assert said(project) == {"isAiEnabled": ("killed_by_hand", "keep")}
    run(project)
    assert acme(project)["isAiEnabled"] is False


def test_what_git_does_not_name_is_told_until_a_commit_names_it(project: Project) -> None:
    break_glass(project, f"{OPEN}{BOB}:\n  isAiEnabled: false\n")
    for _ in range(2):
        [notice] = notices(project)
        assert notice.startswith(f"isAiEnabled of tenants {BOB} was made false without a commit: ")
        assert f"`reconcile release tenants/{BOB}.isAiEnabled`" in notice
        run(project)
    project.commit_state(f"{OPEN}{BOB}:\n  isAiEnabled: false\n")
    assert notices(project) == []
    run(project)
    assert notices(project) == []


def test_what_git_does_not_name_is_told_until_somebody_releases_it(project: Project) -> None:
    break_glass(project, f"{OPEN}{BOB}:\n  isAiEnabled: false\n")
    project.succeed("release", f"tenants/{BOB}.isAiEnabled", "--reason", "Bob sees to it himself")
    assert notices(project) == []
    run(project)
    assert project.database.row("tenants", BOB)["isAiEnabled"] is False
    assert project.run("release", f"tenants/{BOB}.isAiEnabled", "--reason", "again").code == 1


# reconcile release


def test_a_release_lets_git_have_its_way_again(project: Project) -> None:
    break_glass(project, KILLED)
    run(project)
    done = project.succeed("release", f"tenants/{ACME}.isAiEnabled", "--reason", "INC-7 is over")
    assert done.out == f"Released tenants/{ACME}.isAiEnabled: the next run from git decides, under the guards.\n"
    assert acme(project)["isAiEnabled"] is False
    run(project)
    assert acme(project)["isAiEnabled"] is True


def test_a_release_is_audited_for_the_tenant_with_its_reason(project: Project) -> None:
    project.database.execute('UPDATE tenants SET "isAiEnabled" = false, "isWhatsappEnabled" = false')
    run(project)
    names = [f"tenants/{ACME}.isAiEnabled", f"tenants/{ACME}.isWhatsappEnabled"]
    project.succeed("release", *names, "--reason", "it was a test")
    entries = project.database.execute("SELECT * FROM audit_logs WHERE \"eventType\" = 'RECONCILE_RELEASE'")
    assert sorted((entry["tenantId"], entry["metadata"]["released"]) for entry in entries) == [
        (ACME, "isAiEnabled"),
        (ACME, "isWhatsappEnabled"),
    ]
    assert {entry["metadata"]["reason"] for entry in entries} == {"it was a test"}
    assert all(entry["metadata"]["actor"] for entry in entries)


def test_a_release_ends_no_cooldown(project: Project) -> None:
    project.database.execute('UPDATE tenants SET "isWhatsappEnabled" = false WHERE id = %s', [ACME])
    run(project)
    project.succeed("release", f"tenants/{ACME}.isWhatsappEnabled", "--reason", "it was a test")
    run(project)
    assert held(project)["isWhatsappEnabled"].endswith("by hand, or by the application; restores wait 24h")
    assert acme(project)["isWhatsappEnabled"] is False


def test_a_kill_that_comes_after_a_release_is_another_kill(project: Project) -> None:
    project.database.execute('UPDATE tenants SET "aiDailyLimit" = 40')
    project.commit_state(OPEN + "  aiDailyLimit: 50\n")
    run(project)
    project.database.execute('UPDATE tenants SET "aiDailyLimit" = 20')
    run(project)
    project.succeed("release", f"tenants/{ACME}.aiDailyLimit", "--reason", "a mistake")
    project.database.execute('UPDATE tenants SET "aiDailyLimit" = 5')
    run(project)
    assert acme(project)["aiDailyLimit"] == 5


@pytest.mark.parametrize(
    ("field", "code"),
    [
        (f"tenants/{ACME}.isAiEnabled", 1),
        (f"tenants/{ACME}.noSuchField", 1),
        ("tenants", 64),
        (f"tenants/{ACME}", 64),
        (f"/{ACME}.isAiEnabled", 64),
    ],
)
def test_what_is_not_held_against_git_cannot_be_released(project: Project, field: str, code: int) -> None:
    before = project.database.execute("SELECT * FROM audit_logs")
    done = project.run("release", field, "--reason", "x")
    assert (done.code, done.out) == (code, "")
    assert project.database.execute("SELECT * FROM audit_logs") == before


def test_one_field_that_is_not_held_releases_none_of_them(project: Project) -> None:
    break_glass(project, KILLED)
    fields = [f"tenants/{ACME}.isAiEnabled", f"tenants/{ACME}.isWhatsappEnabled"]
    assert project.run("release", *fields, "--reason", "x").code == 1
    assert said(project) == {"isAiEnabled": ("break_glass", "keep")}


# reconcile freeze, unfreeze


def in_an_hour() -> str:
    return (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_a_freeze_holds_all_but_kills_until_it_is_ended(project: Project) -> None:
    until = in_an_hour()
    done = project.succeed("freeze", "--until", until, "--reason", "launch day")
    assert done.out == f"Frozen until {until}: only kills are applied. End it: reconcile unfreeze\n"
    project.commit_state(KILLED + "  aiCustomModel: large\n")
    run(project)
    assert held(project) == {"aiCustomModel": 'frozen: "launch day"; only kills are applied'}
    assert (acme(project)["isAiEnabled"], acme(project)["aiCustomModel"]) == (False, None)
    assert project.succeed("unfreeze", "--reason", "launched").out == "Ended 1 freeze.\n"
    run(project)
    assert acme(project)["aiCustomModel"] == "large"


def test_freezes_are_audited_with_their_ends_and_reasons(project: Project) -> None:
    until = in_an_hour()
    project.succeed("freeze", "--until", until, "--reason", "launch day")
    project.succeed("freeze", "--until", in_an_hour(), "--reason", "and another")
    assert project.succeed("unfreeze", "--reason", "launched").out == "Ended 2 freezes.\n"
    entries = project.database.execute(
        "SELECT * FROM audit_logs WHERE \"eventType\" LIKE 'RECONCILE_%FREEZE' ORDER BY timestamp"
    )
    assert [(entry["eventType"], entry["tenantId"], entry["metadata"]["reason"]) for entry in entries] == [
        ("RECONCILE_FREEZE", "SYSTEM", "launch day"),
        ("RECONCILE_FREEZE", "SYSTEM", "and another"),
        ("RECONCILE_UNFREEZE", "SYSTEM", "launched"),
    ]
    assert entries[0]["metadata"]["until"] == until
    assert entries[2]["metadata"]["ended"] == 2


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("freeze", "--until", "2020-01-01T00:00:00Z", "--reason", "x"), 64),
        (("freeze", "--until", "tomorrow", "--reason", "x"), 64),
        (("freeze", "--until", in_an_hour(), "--reason", " "), 64),
        (("freeze", "--until", in_an_hour()), 64),
        (("unfreeze", "--reason", "x"), 1),
    ],
)
def test_a_freeze_needs_an_end_to_come_and_a_reason_and_nothing_is_recorded_without(
    project: Project, arguments: tuple[str, ...], code: int
) -> None:
    before = project.database.execute("SELECT * FROM audit_logs")
    assert project.run(*arguments).code == code
    assert project.database.execute("SELECT * FROM reconciler.freeze") == []
    assert project.database.execute("SELECT * FROM audit_logs") == before


def test_an_entry_that_cannot_be_written_leaves_no_freeze_behind(project: Project) -> None:
    project.database.execute("DELETE FROM audit_logs WHERE \"tenantId\" = 'SYSTEM'")
    project.database.execute("DELETE FROM tenants WHERE id = 'SYSTEM'")
    done = project.run("freeze", "--until", in_an_hour(), "--reason", "launch day")
    assert done.code == 4
    assert "reconcile init" in done.err
    assert project.database.execute("SELECT * FROM reconciler.freeze") == []


def test_a_work_tree_that_is_half_edited_stands_in_the_way_of_no_freeze(project: Project) -> None:
    project.state("not: even, valid: [")
    project.succeed("freeze", "--until", in_an_hour(), "--reason", "launch day")
    project.succeed("unfreeze", "--reason", "launched")


def test_a_freeze_of_the_policy_cannot_be_ended_by_hand(project: Project) -> None:
    now = datetime.now(UTC)
    window = f"{{name: Launch, from: {now - timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}, to: {in_an_hour()}}}"
    project.edit_schema("policy", "freezes: []", f"freezes: [{window}]")
    project.commit_state(OPEN + "  aiCustomModel: large\n")
    run(project)
    assert held(project) == {"aiCustomModel": 'frozen: "Launch"; only kills are applied'}
    done = project.run("unfreeze", "--reason", "x")
    assert done.code == 1
    assert "Those of schemas/policy.yaml are changed in git" in done.err


def test_a_hand_that_opens_during_a_freeze_what_git_asks_to_open_is_put_back(project: Project) -> None:
    project.commit_state(KILLED)
    run(project)
    project.succeed("freeze", "--until", in_an_hour(), "--reason", "launch day")
    project.commit_state(OPEN)
    run(project)
    project.database.execute('UPDATE tenants SET "isAiEnabled" = true WHERE id = %s', [ACME])
    [change] = run(project).plan.writes
    assert "re-opened by hand while git's own restore is held" in change.explanation
    assert acme(project)["isAiEnabled"] is False
    # The ledger has what was applied, and not what git asks: git's restore is not forgotten.
    project.succeed("unfreeze", "--reason", "launched")
    run(project)
    assert acme(project)["isAiEnabled"] is True
