"""The main job as a user does it, with the real command: edit a flag, look, commit, apply, find it in the records."""

from __future__ import annotations

import getpass
import json
import re
import socket
from pathlib import Path

import psycopg
import pytest

from tests.support.postgres import Database, with_database
from tests.support.project import ACME, BOB, KILL, Project, snapshot
from tests.support.refusals import assert_plainly_refused

ANA = "Ana Lyst <ana@platform.example>"


# The journey


def test_a_flag_goes_from_a_file_to_its_row_and_into_all_records(project: Project, database: Database) -> None:
    ana = database.user("Ana@platform.example", BOB)
    project.state(KILL)

    seen = project.succeed("--dry-run")
    flag = r"isWhatsappEnabled +true -> false +KILL +WhatsApp ban, INC-142 +state/tenants.yaml:3:12"
    assert re.search(flag, seen.out)
    assert re.search(r"aiDailyLimit +50 -> 5 +KILL", seen.out)
    assert seen.out.splitlines()[-1].startswith("Plan: 2 to change (2 kills)")
    assert project.entries() == []

    commit = project.commit("Acme is banned", author=ANA, committer="Merge Bot <bot@platform.example>")
    before = database.row("tenants", ACME)
    applied = project.succeed()
    assert "isWhatsappEnabled  true -> false" in applied.out

    row = database.row("tenants", ACME)
    assert (row["isWhatsappEnabled"], row["aiDailyLimit"]) == (False, 5)
    (now,) = database.execute("SELECT now() AT TIME ZONE 'UTC' AS now")
    assert abs((now["now"] - row["updatedAt"]).total_seconds()) < 60
    written = {"isWhatsappEnabled", "aiDailyLimit", "updatedAt"}
    assert {name: row[name] for name in row.keys() - written} == {name: before[name] for name in row.keys() - written}
    assert database.row("tenants", BOB)["isWhatsappEnabled"]

    (run,) = project.runs()
    limit, entry = project.entries()
    assert entry["metadata"] == {
        "source": "reconcile",
        "run": str(run["id"]),
        "commit": commit,
        "author": ANA,
        "committer": "Merge Bot <bot@platform.example>",
        "actor": f"{getpass.getuser()}@{socket.gethostname()}",
        "runReason": "Acme is banned",
        "table": "tenants",
        "key": ACME,
        "field": "isWhatsappEnabled",
        "finding": "adoption",
        "direction": "kill",
        "file": "state/tenants.yaml",
        "line": 3,
        "before": True,
        "after": False,
        "reason": "WhatsApp ban, INC-142",
    }
    assert (entry["tenantId"], entry["actorUserId"], entry["eventType"]) == (ACME, ana, "TENANT_RECONCILED")
    assert (limit["metadata"]["field"], limit["metadata"]["reason"]) == ("aiDailyLimit", "Acme is banned")

    again = project.succeed()
    assert len(again.out.splitlines()) == 1
    assert "nothing to" in again.out.lower()
    assert len(project.entries()) == 2
    assert [run["outcome"] for run in project.runs()] == ["applied", "unchanged"]

    told = json.loads(project.succeed("history", "--tenant", "Acme Bakery", "--output", "json").out)
    assert {change["field"] for change in told["changes"]} == {"isWhatsappEnabled", "aiDailyLimit"}
    assert "WhatsApp ban, INC-142" in project.succeed("history", "--row", f"tenants/{ACME}").out


def test_a_run_of_github_actions_leaves_its_url_and_pull_request_in_the_entry(project: Project) -> None:
    project.commit_state(message="Merge pull request #17 from acme/ban")
    project.succeed(
        environment={
            "GITHUB_ACTIONS": "true", "GITHUB_SERVER_URL": "https://git.example", "GITHUB_REPOSITORY": "acme/state",
            "GITHUB_RUN_ID": "42", "GITHUB_ACTOR": "octo", "GITHUB_REF": "refs/heads/main", "CI": "true",
        }
    )  # fmt: skip
    for entry in project.entries():
        assert entry["metadata"]["runUrl"] == "https://git.example/acme/state/actions/runs/42"
        assert entry["metadata"]["pullRequest"] == 17
        assert entry["metadata"]["actor"] == "octo"


def test_an_author_whom_the_platform_does_not_know_leaves_the_entry_without_a_user(
    project: Project, database: Database
) -> None:
    database.user("twin@platform.example", ACME)
    database.user("Twin@platform.example", BOB)
    project.commit_state(author="Twin <twin@platform.example>")
    project.succeed()
    assert {entry["actorUserId"] for entry in project.entries()} == {None}


def test_a_settings_row_that_is_not_there_is_made_and_its_entries_belong_to_system(
    project: Project, database: Database
) -> None:
    database.execute("DELETE FROM system_settings")
    project.state("system:\n  globalWhatsappEnabled: false\n  maxMessagesPerHour: 10\n", "system_settings.yaml")
    project.commit("Redis is down")
    assert "NEW" in project.succeed("--dry-run").out
    project.succeed()
    row = database.row("system_settings", "system")
    assert (row["globalWhatsappEnabled"], row["maxMessagesPerHour"], row["defaultAiProvider"]) == (False, 10, "mock")
    entries = project.entries()
    assert [entry["tenantId"] for entry in entries] == ["SYSTEM", "SYSTEM"]
    assert [entry["eventType"] for entry in entries] == ["SYSTEM_SETTINGS_RECONCILED"] * 2
    assert all(entry["metadata"]["before"] is None for entry in entries)


def test_a_field_that_git_no_longer_names_is_released_and_keeps_its_value(project: Project, database: Database) -> None:
    project.commit_state()
    project.succeed()
    project.commit_state(f"{ACME}:\n  aiDailyLimit: 5\n", "WhatsApp is the application's again")
    plan = project.plan()
    assert [(change["field"], change["action"]) for change in plan["changes"]] == [("isWhatsappEnabled", "release")]
    project.succeed()
    assert database.row("tenants", ACME)["isWhatsappEnabled"] is False
    assert len(project.entries()) == 2
    database.execute("""UPDATE tenants SET "isWhatsappEnabled" = true""")
    assert project.plan()["changes"] == []


# What a run is limited to


def test_only_and_table_limit_a_run(project: Project, database: Database) -> None:
    project.state(f"{ACME}:\n  aiDailyLimit: 5\n{BOB}:\n  aiDailyLimit: 6\n")
    project.state("system:\n  maxMessagesPerHour: 10\n", "system_settings.yaml")
    project.commit()
    project.succeed("--only", f"tenants/{BOB}")
    assert database.row("tenants", BOB)["aiDailyLimit"] == 6
    assert database.row("tenants", ACME)["aiDailyLimit"] == 50
    project.succeed("--table", "system_settings")
    assert database.row("system_settings", "system")["maxMessagesPerHour"] == 10
    assert database.row("tenants", ACME)["aiDailyLimit"] == 50
    project.succeed()
    assert database.row("tenants", ACME)["aiDailyLimit"] == 5
    assert [run["scope"] for run in project.runs()] == [
        {"rows": [f"tenants/{BOB}"], "tables": []},
        {"rows": [], "tables": ["system_settings"]},
        {"rows": [], "tables": []},
    ]


def test_a_key_that_is_mistyped_is_said_and_not_only_that_nothing_is_to_be_done(project: Project) -> None:
    project.commit_state(KILL)
    said = f'--only tenants/{ACME[:-1]}: git names no such row (did you mean "{ACME}"?)'
    for arguments in (["--dry-run"], ["--yes"]):
        done = project.succeed("--only", f"tenants/{ACME[:-1]}", *arguments)
        assert said in " ".join(done.out.split())
    project.succeed()
    project.state("{}\n")
    project.commit("Released")
    assert "git names no such row" not in project.succeed("--only", f"tenants/{ACME}").out


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--only", "tenant/x", 'no schema for a table "tenant" (did you mean "tenants"?)'),
        ("--only", "tenants", "name a row as table/key"),
        ("--table", "nothing", 'no schema for a table "nothing"'),
    ],
)
def test_a_scope_that_names_nothing_is_a_usage_error(project: Project, option: str, value: str, said: str) -> None:
    project.state(KILL)
    done = project.run("--dry-run", option, value)
    assert (done.code, done.out) == (64, "")
    assert said in done.err


# Saved plans


def test_a_saved_plan_is_shown_applied_exactly_once_and_still_shown(
    project: Project, database: Database, tmp_path: Path
) -> None:
    first = project.commit_state()
    file = str(tmp_path / "plan.json")
    planned = project.succeed("--dry-run", "--plan-out", file)
    assert project.succeed("show", file).out == planned.out
    project.commit_state(KILL.replace("5", "7"), "Another limit")

    project.succeed("--plan", file)
    assert database.row("tenants", ACME)["aiDailyLimit"] == 5
    assert [run["commit_id"] for run in project.runs()] == [first]

    before = snapshot(database)
    again = project.run("--plan", file)
    assert (again.code, again.out) == (6, "")
    assert "was applied already" in again.err
    assert snapshot(database) == before
    assert "isWhatsappEnabled  true -> false" in project.succeed("show", file).out


def test_a_plan_whose_rows_have_moved_is_refused_as_stale(project: Project, database: Database, tmp_path: Path) -> None:
    project.commit_state()
    file = str(tmp_path / "plan.json")
    project.succeed("--dry-run", "--plan-out", file)
    database.execute("""UPDATE tenants SET "aiDailyLimit" = 49 WHERE id = %s""", [ACME])
    before = snapshot(database)
    done = project.run("--plan", file)
    assert done.code == 6
    assert f"tenants/{ACME}/aiDailyLimit moved" in done.err
    assert snapshot(database) == before


def test_a_saved_plan_is_applied_to_the_database_it_was_made_for_and_to_no_copy_of_it(
    project: Project, database: Database, tmp_path: Path
) -> None:
    project.commit_state()
    file = str(tmp_path / "plan.json")
    project.succeed("--dry-run", "--plan-out", file)
    aside = f"{database.name}_aside"
    with psycopg.connect(with_database(database.url, "postgres"), autocommit=True) as admin:
        admin.execute(f'CREATE DATABASE "{aside}" TEMPLATE "{database.name}"'.encode())
        copy = Database(with_database(database.url, aside))
        before = snapshot(copy)
        done = project.run("--plan", file, url=copy.url)
        assert_plainly_refused(done, 4, f"for database {database.name}, and this is {aside}", "nothing was applied")
        assert snapshot(copy) == before

        swap = "ALTER DATABASE {} RENAME TO {}".format
        for old, new in ((database.name, "for_a_moment"), (aside, database.name), ("for_a_moment", aside)):
            admin.execute(swap(f'"{old}"', f'"{new}"').encode())
        done = project.run("--plan", file)
        assert_plainly_refused(done, 4, f"made for database {database.name}, and this is another one of that name")
        assert snapshot(database) == before

        admin.execute(f'DROP DATABASE "{database.name}"'.encode())
        admin.execute(swap(f'"{aside}"', f'"{database.name}"').encode())
    project.succeed("--plan", file)
    assert database.row("tenants", ACME)["aiDailyLimit"] == 5


def test_where_the_server_may_not_be_asked_which_it_is_a_saved_plan_goes_by_the_name(
    project: Project, database: Database, tmp_path: Path
) -> None:
    database.execute("REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC")
    url = database.role("shy", grants=[
        "ALL ON ALL TABLES IN SCHEMA public, reconciler", "ALL ON ALL SEQUENCES IN SCHEMA reconciler",
        "USAGE ON SCHEMA public, reconciler",
    ]).url  # fmt: skip
    project.commit_state()
    file = tmp_path / "plan.json"
    project.succeed("--dry-run", "--plan-out", str(file), url=url)
    assert json.loads(file.read_text())["database_id"] is None
    project.succeed("--plan", str(file), url=url)


def test_a_plan_of_uncommitted_files_is_not_applied(project: Project, database: Database, tmp_path: Path) -> None:
    project.commit("Nothing yet")
    project.state(KILL)
    file = str(tmp_path / "plan.json")
    project.succeed("--dry-run", "--plan-out", file)
    before = snapshot(database)
    done = project.run("--plan", file)
    assert done.code == 64
    assert "commit, and plan again" in done.err
    assert snapshot(database) == before


def test_a_file_that_is_no_plan_is_invalid_input(project: Project, tmp_path: Path) -> None:
    project.commit_state()
    file = tmp_path / "plan.json"
    for text in ("", "{}", "[1, 2", '{"format_version": 99}', "\x00\xff"):
        file.write_bytes(text.encode("latin-1"))
        for arguments in (["show", str(file)], ["--plan", str(file)]):
            done = project.run(*arguments)
            assert (done.code, done.out) == (3, ""), str(done)
            assert "Traceback" not in done.err
