"""What is switched off is said with since when, by whom, why and until when, whoever did it and however it stands."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from reconciler.database.connection import DatabaseConnection, open_database
from reconciler.database.url import parse_database_url
from reconciler.pipeline import Origin, Request, apply, make_plan, read_for_apply, read_for_plan
from reconciler.plan import Plan, Scope
from reconciler.report import status as as_text
from reconciler.report import status_json, status_markdown
from reconciler.runbook.status import Status, read_status
from tests.support.cli import run as run_command
from tests.support.gitrepo import GitRepo
from tests.support.postgres import Database
from tests.support.project import ACME, BOB, Project

WHOLE_STATE = f"{ACME}: {{isWhatsappEnabled: true, aiDailyLimit: 100}}\n{BOB}: {{isAiEnabled: true, status: ACTIVE}}\n"


class Watched:
    """A project with a connection, on which runs and statuses are made in this process: most tests need several."""

    def __init__(self, project: Project, connection: DatabaseConnection) -> None:
        self.project = project
        self._connection = connection

    def apply(self, **options: Any) -> None:
        request = Request(directory=self.project.directory, **options)
        apply(self._connection, request, read_for_apply(request), Origin(actor="robot"))

    def change(self, text: str, message: str, file: str = "tenants.yaml") -> str:
        """Write state, commit and apply it; the commit."""
        self.project.state(text, file)
        commit = self.project.commit(message)
        self.apply()
        return commit

    def plan(self) -> Plan:
        request = Request(directory=self.project.directory)
        return make_plan(self._connection, request, read_for_plan(request))

    def status(self, *only: str, tables: tuple[str, ...] = (), limit: int | None = None) -> Status:
        request = Request(directory=self.project.directory, scope=Scope(tables, only))
        return read_status(self._connection, request, read_for_plan(request), limit)

    def document(self, *only: str) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(status_json.render_status(self.status(*only)))
        return document

    def off(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.document()["off"]
        return found

    def text(self, limit: int = 8) -> str:
        return as_text.render_status(self.status(limit=limit), limit=limit, colour=False, width=200)

    def by_hand(self, statement: str, *parameters: Any) -> None:
        self.project.database.execute(statement, parameters)


@pytest.fixture
def bare(git_repo: GitRepo, database: Database) -> Project:
    """Two tenants and the settings, everything on; the ledger made; nothing committed."""
    database.tenant(ACME, name="Acme Bakery", aiDailyLimit=100)
    database.tenant(BOB, name="Bob's Bikes")
    database.settings(defaultAiProvider="openrouter", emailEnabled=True, passwordResetEnabled=True)
    project = Project(git_repo, database)
    project.init()
    return project


@pytest.fixture
def watched(bare: Project) -> Iterator[Watched]:
    """The same, taken over into git and applied once."""
    with open_database([parse_database_url(bare.database.url, variable="DATABASE_URL")]) as connection:
        watched = Watched(bare, connection)
        bare.state("system: {globalWhatsappEnabled: true}\n", "system_settings.yaml")
        watched.change(WHOLE_STATE, "Take over")
        yield watched


def kill_acme(watched: Watched, whatsapp: str = "{value: false, reason: 'WhatsApp ban, INC-142'}") -> str:
    text = WHOLE_STATE.replace("isWhatsappEnabled: true", f"isWhatsappEnabled: {whatsapp}")
    return watched.change(text, "Stop Acme")


def test_where_nothing_is_off_it_says_so(watched: Watched) -> None:
    assert "Nothing that git manages is switched off." in watched.text()
    document = watched.document()
    assert (document["total_off"], document["off"], document["unmanaged"]) == (0, [], [])


def test_a_kill_from_git_is_told_with_its_commit_author_reason_and_place(watched: Watched) -> None:
    commit = kill_acme(watched)
    (off,) = watched.off()
    assert (off["key"], off["field"], off["title"], off["value"]) == (ACME, "isWhatsappEnabled", "WhatsApp", False)
    assert (off["label"], off["everybody"], off["managed"], off["asked"]) == ("Acme Bakery", False, True, True)
    assert (off["reason"], off["file"], off["line"]) == ("WhatsApp ban, INC-142", "state/tenants.yaml", 1)
    assert (off["cause"]["commit"], off["cause"]["author"], off["cause"]["before"]) == (commit, "Ann Author", True)
    assert off["since"] is not None
    text = watched.text()
    for part in ("Switched off: 1 value", "Acme Bakery", '"WhatsApp ban, INC-142"', "Ann Author", commit[:12],
                 "state/tenants.yaml:1", "a restore would wait until"):  # fmt: skip
        assert part in text, part


def test_until_and_the_end_of_the_cooldown_are_both_said(watched: Watched) -> None:
    kill_acme(watched, "{value: false, until: 2100-01-01T00:00:00Z}")
    (off,) = watched.off()
    assert off["until"] == "2100-01-01T00:00:00Z"
    assert off["reason"] == "Stop Acme", "the run's reason stands in where the value has none"
    waits = datetime.fromisoformat(off["earliest"]) - datetime.fromisoformat(off["since"])
    assert timedelta(hours=24) <= waits <= timedelta(hours=24, seconds=1)
    assert "meant until 2100-01-01 00:00 UTC" in watched.text()


def test_a_restore_that_is_held_is_shown_with_what_holds_it_and_until_when(watched: Watched) -> None:
    kill_acme(watched)
    watched.project.state(WHOLE_STATE)
    watched.project.commit("Bring Acme back")
    document = watched.document()
    (off,) = document["off"]
    assert off["change"]["hold"]["guard"] == "after"
    assert off["change"]["hold"]["until"] == off["earliest"]
    assert (off["asked"], off["reason"]) == (False, "WhatsApp ban, INC-142"), "why it is off, not why it is to return"
    assert [change["key"] for change in document["held"]] == [ACME]
    held, planned = watched.status().held, watched.plan().changes
    assert [(c.sort_key(), c.action, c.hold and c.hold.until) for c in held] == [
        (c.sort_key(), c.action, c.hold and c.hold.until) for c in planned
    ], "a status can say nothing else than a dry run"
    assert "restore held until" in watched.text()


def test_a_kill_by_hand_is_seen_at_once_and_dated_by_the_run_that_saw_it(watched: Watched) -> None:
    watched.by_hand('UPDATE tenants SET "isAiEnabled" = false WHERE id = %s', BOB)
    (off,) = watched.off()
    assert (off["seen"], off["since"], off["cause"]) == (False, None, None)
    assert "since the last run" in watched.text()
    watched.apply()
    (off,) = watched.off()
    assert (off["seen"], off["by"], off["cause"]) == (True, "by hand, or by the application", None)
    assert off["since"] is not None
    assert off["change"]["finding"] == "killed_by_hand"


def test_a_value_that_was_killed_restored_and_killed_by_hand_is_not_blamed_on_the_old_commit(watched: Watched) -> None:
    watched.change(WHOLE_STATE.replace("status: ACTIVE", "status: SUSPENDED"), "Suspend Bob")
    watched.change(WHOLE_STATE, "Bob is back")
    watched.by_hand("UPDATE tenants SET status = 'SUSPENDED' WHERE id = %s", BOB)
    (off,) = watched.off()
    assert (off["field"], off["value"], off["seen"], off["since"], off["cause"], off["reason"]) == (
        "status", "SUSPENDED", False, None, None, None,
    )  # fmt: skip
    watched.apply()
    (off,) = watched.off()
    assert (off["by"], off["cause"], off["reason"]) == ("by hand, or by the application", None, None)


def test_global_switches_come_first(watched: Watched) -> None:
    kill_acme(watched)
    watched.change("system: {globalWhatsappEnabled: {value: false, reason: Redis}}\n", "Redis", "system_settings.yaml")
    watched.by_hand('UPDATE tenants SET "isAiEnabled" = false WHERE id = %s', BOB)
    assert [(off["table"], off["everybody"]) for off in watched.off()] == [
        ("system_settings", True), ("tenants", False), ("tenants", False),
    ]  # fmt: skip
    text = watched.text(limit=1)
    assert "EVERYBODY" in text
    assert "and 2 more: --output json" in text


def test_a_limit_is_off_from_its_cut_until_its_restore(watched: Watched) -> None:
    watched.change(WHOLE_STATE.replace("aiDailyLimit: 100", "aiDailyLimit: 5"), "Cut")
    (off,) = watched.off()
    assert (off["field"], off["value"], off["cause"]["before"]) == ("aiDailyLimit", 5, 100)
    assert "5 (was 100)" in watched.text()
    watched.change(WHOLE_STATE, "Give it back")
    assert watched.off() == []


def test_a_limit_that_was_cut_by_hand_is_off_until_the_hand_gives_it_back(watched: Watched) -> None:
    watched.by_hand('UPDATE tenants SET "aiDailyLimit" = 7 WHERE id = %s', ACME)
    document = watched.document()
    assert document["off"] == [], "no run has marked it yet"
    assert [change["finding"] for change in document["drifted"]] == ["killed_by_hand"]
    watched.apply()
    assert [(off["value"], off["seen"], off["cause"]) for off in watched.off()] == [(7, True, None)]
    watched.by_hand('UPDATE tenants SET "aiDailyLimit" = 100 WHERE id = %s', ACME)
    assert watched.off() == []


def test_what_git_never_named_is_counted_and_not_listed(watched: Watched) -> None:
    watched.project.database.tenant(name="Nobody's", isAiEnabled=False)
    document = watched.document()
    assert document["off"] == []
    assert document["unmanaged"] == [{"table": "tenants", "field": "isAiEnabled", "values": 1}]
    assert "1 value that git never named is off as well: tenants.isAiEnabled 1" in watched.text()


def test_what_git_has_let_go_of_is_listed_while_it_is_off(watched: Watched) -> None:
    kill_acme(watched)
    watched.change(f"{BOB}: {{isAiEnabled: true}}\n", "Let go of Acme")
    (off,) = watched.off()
    assert (off["key"], off["managed"], off["asked"]) == (ACME, False, False)
    assert "git manages it no more" in watched.text()
    watched.by_hand('UPDATE tenants SET "isWhatsappEnabled" = true WHERE id = %s', ACME)
    assert watched.off() == []


def test_drift_pending_changes_and_freezes_are_on_the_same_screen(watched: Watched) -> None:
    watched.by_hand('UPDATE tenants SET "aiDailyLimit" = 500 WHERE id = %s', ACME)
    watched.project.state("system: {globalWhatsappEnabled: true, maxMessagesPerHour: 7}\n", "system_settings.yaml")
    watched.project.commit("Change a limit")
    watched.project.succeed("freeze", "--until", "2100-01-01T00:00:00Z", "--reason", "Black Friday")
    document = watched.document()
    assert [change["field"] for change in document["drifted"]] == ["aiDailyLimit"]
    assert [(change["field"], change["direction"]) for change in document["waiting"]] == [
        ("maxMessagesPerHour", "kill")
    ]
    (freeze,) = document["freezes"]
    assert (freeze["reason"], freeze["until"]) == ("Black Friday", "2100-01-01T00:00:00Z")
    text = watched.text()
    for part in (
        'FROZEN: "Black Friday" until 2100-01-01',
        "Changed behind git's back: 1",
        "Waiting for the next run: 1",
    ):
        assert part in text, part


def test_broken_glass_is_said_with_who_broke_it(watched: Watched) -> None:
    watched.project.state(WHOLE_STATE.replace("isWhatsappEnabled: true", "isWhatsappEnabled: false"))
    watched.apply(allow_dirty=True, reason="No time for git")
    watched.project.repo.git("checkout", "--quiet", "state")
    document = watched.document()
    (glass,) = document["broken_glass"]
    assert "No time for git" in glass["broken_by"]
    assert glass["change"]["key"] == ACME
    (off,) = document["off"]
    assert (off["cause"]["dirty"], off["reason"]) == (True, "No time for git")
    assert document["drifted"] == [], "it is told once"


def test_a_kill_that_was_applied_before_its_merge_is_said_to_be_so(watched: Watched) -> None:
    repo = watched.project.repo
    repo.git("checkout", "--quiet", "-b", "kill/acme")
    watched.project.state(WHOLE_STATE.replace("isWhatsappEnabled: true", "isWhatsappEnabled: false"))
    commit = watched.project.commit("Stop Acme, INC-142")
    watched.apply(ahead=True)
    repo.git("checkout", "--quiet", "main")
    document = watched.document()
    (off,) = document["off"]
    assert (off["cause"]["commit"], off["cause"]["ahead"], off["reason"]) == (commit, True, "Stop Acme, INC-142")
    assert [glass["change"]["field"] for glass in document["broken_glass"]] == ["isWhatsappEnabled"]
    assert document["last"]["commit"] != commit, "main is what was applied last"
    assert f"in commit {commit[:12]} before its merge" in watched.text()


def test_effects_that_have_not_arrived_are_shown_with_their_error(watched: Watched) -> None:
    kill_acme(watched)  # no Redis is named, so the job for the open session waits
    said = "bullmq whatsapp-worker-commands: REDIS_URL is not set"
    assert f"  1 waiting since {watched.status(limit=8).undelivered[0].oldest_at:%Y-%m-%d %H:%M} UTC  {said}" in (
        watched.text().split("\n")
    )
    watched.by_hand("UPDATE reconciler.outbox SET state = 'dead', last_error = 'WRONGTYPE'")
    assert "- ⏳ 1 dead since " in status_markdown.render_status(watched.status(limit=8), limit=8)
    [group] = watched.document()["undelivered"]
    assert (group["state"], group["number"], group["error"]) == ("dead", 1, "WRONGTYPE")


def test_markdown_and_a_scope_show_the_same(watched: Watched) -> None:
    kill_acme(watched)
    watched.by_hand('UPDATE tenants SET "isAiEnabled" = false WHERE id = %s', BOB)
    markdown = status_markdown.render_status(watched.status(f"tenants/{ACME}", limit=8), limit=8)
    assert "### Switched off: 1 value" in markdown
    assert "**Acme Bakery** WhatsApp" in markdown
    assert BOB not in markdown
    assert [off["key"] for off in watched.document(f"tenants/{BOB}")["off"]] == [BOB]
    assert watched.status(tables=("system_settings",)).off == ()


def test_text_of_the_database_cannot_move_the_cursor(watched: Watched) -> None:
    evil = "\x1b[2J | <b>\u202e"
    watched.by_hand("UPDATE tenants SET name = %s WHERE id = %s", evil, ACME)
    kill_acme(watched)
    for shown in (watched.text(), status_markdown.render_status(watched.status(limit=8), limit=8)):
        assert all(line.isprintable() for line in shown.split("\n"))
        assert "\\u001b" in shown or "&#92;u001b" in shown


def test_the_screen_is_kept_however_much_is_off(bare: Project) -> None:
    keys = [bare.database.tenant(isAiEnabled=True) for _ in range(60)]
    bare.state("".join(f"{key}: {{isAiEnabled: false}}\n" for key in keys))
    commit = bare.commit("Stop sixty\n\nReconcile-Allow-Changes: 60")
    bare.succeed("--yes")
    text = bare.succeed("status", environment={"LINES": "40", "COLUMNS": "120"}).out
    assert "Switched off: 60 values (tenants.isAiEnabled 60)" in text
    assert "and 52 more: --output json" in text
    assert len(text.splitlines()) <= 40
    document = json.loads(bare.succeed("status", "--output", "json").out)
    assert {off["cause"]["commit"] for off in document["off"]} == {commit}
    assert sorted(off["key"] for off in document["off"]) == sorted(keys)


def test_a_role_that_may_only_read_can_ask(bare: Project) -> None:
    bare.state(WHOLE_STATE.replace("isWhatsappEnabled: true", "isWhatsappEnabled: false"))
    bare.commit()
    bare.succeed("--yes")
    role = bare.database.role("reader", grants=[
        "USAGE ON SCHEMA reconciler", "SELECT ON ALL TABLES IN SCHEMA reconciler", "SELECT ON tenants",
        "SELECT ON system_settings", "SELECT ON audit_logs", "SELECT ON users",
    ])  # fmt: skip
    assert "Acme Bakery" in bare.succeed("status", "--output", "markdown", url=role.url).out


def test_without_a_ledger_one_sentence_says_so(git_repo: GitRepo, database: Database) -> None:
    project = Project(git_repo, database)
    done = project.run("status")
    assert (done.code, done.out) == (4, "")
    assert "has no ledger" in done.err
    assert "reconcile init" in done.err


def test_without_a_project_it_says_where_one_would_be(tmp_path: Path, database: Database) -> None:
    done = run_command("status", cwd=tmp_path, database=database.url)
    assert done.code == 3
    assert "--directory" in done.err
