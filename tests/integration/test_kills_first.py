"""A commit that kills one thing and restores another: the kill waits for no health check."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from reconciler import change_path, pipeline, project, row_reader
from reconciler.database.connection import open_database
from reconciler.database.url import parse_database_url
from reconciler.errors import Failed, NotAsExpected, Problem, ReconcileError, Refused, Stale
from reconciler.guards import CheckResult
from reconciler.model import Location
from reconciler.outcome import Outcome
from reconciler.pipeline import Origin, Request, apply, make_plan, read_for_apply
from reconciler.plan import Plan
from tests.support.gitrepo import GitRepo
from tests.support.http_server import WebServer, serving
from tests.support.postgres import Database
from tests.support.project import ACME, BOB, Project
from tests.support.waiting import wait_until


class Runs:
    """A project in which restores of `isAiEnabled` need an answer of `web`, and the runs that are made in it."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.database = project.database

    def ask(self, url: str) -> None:
        """From now on, restores ask this URL."""
        self.project.edit_schema("policy", "url: $HEALTH", f"url: {url}")

    def commit(self, acme: str, bob: str, message: str = "Change") -> None:
        self.project.commit_state(f"{ACME}:\n  {acme}\n{BOB}:\n  {bob}\n", message)

    def run(self, reviewed: Plan | None = None) -> Outcome:
        asked = Request(directory=self.project.directory)
        with open_database([parse_database_url(self.database.url, variable="DATABASE_URL")]) as connection:
            return apply(connection, asked, read_for_apply(asked), Origin(actor="ann"), reviewed)

    def plan(self) -> Plan:
        asked = Request(directory=self.project.directory)
        with open_database([parse_database_url(self.database.url, variable="DATABASE_URL")]) as connection:
            return make_plan(connection, asked, read_for_apply(asked))

    def whatsapp(self, key: str = BOB) -> object:
        return self.database.row("tenants", key)["isWhatsappEnabled"]

    def ai(self, key: str = ACME) -> object:
        return self.database.row("tenants", key)["isAiEnabled"]


@pytest.fixture
def web() -> Iterator[WebServer]:
    with serving() as server:
        yield server


@pytest.fixture
def runs(git_repo: GitRepo, database: Database) -> Runs:
    """Acme's AI was killed by git, and its restore needs the check; Bob has everything."""
    database.tenant(ACME, name="Acme Bakery")
    database.tenant(BOB, name="Bob's Bikes")
    project = Project(git_repo, database)
    project.edit_schema("policy", "checks:\n", "checks:\n  healthy: {type: http, url: $HEALTH, timeout: 60s}\n")
    project.edit_schema("tenants", "isAiEnabled:\n    type: boolean\n", "isAiEnabled:\n    type: boolean\n"
                        "    restore: {requires: [healthy]}\n")  # fmt: skip
    project.init()
    runs = Runs(project)
    runs.commit("isAiEnabled: false", "isWhatsappEnabled: true")
    runs.run()
    return runs


def test_a_kill_is_committed_while_the_check_of_a_restore_still_hangs(runs: Runs) -> None:
    done: list[Outcome] = []
    with serving() as web:
        runs.ask(f"{web.url}/hang")
        runs.commit("isAiEnabled: true", "isWhatsappEnabled: false")
        thread = threading.Thread(target=lambda: done.append(runs.run()))
        thread.start()
        wait_until(lambda: web.paths == ["/hang"])
        assert (runs.whatsapp(), runs.ai()) == (False, False)
        assert [entry["metadata"]["field"] for entry in runs.project.entries()[-1:]] == ["isWhatsappEnabled"]
        assert not done
    thread.join()
    [outcome] = done
    assert (outcome.applied, outcome.plan.counts.kills, outcome.plan.counts.held) == (1, 1, 1)
    assert runs.ai() is False


def test_both_runs_are_told_as_one_whose_plan_is_the_one_that_was_reviewed(runs: Runs, web: WebServer) -> None:
    runs.ask(f"{web.url}/status/200")
    before = runs.project.runs()[-1]["commit_id"]
    runs.commit("isAiEnabled: true", "isWhatsappEnabled: false")
    reviewed = runs.plan()
    outcome = runs.run()
    assert (runs.whatsapp(), runs.ai()) == (False, True)
    assert (outcome.applied, outcome.audit_entries, outcome.rows) == (2, 2, 2)
    assert outcome.plan.fingerprint == reviewed.fingerprint
    assert outcome.plan.counts == reviewed.counts
    assert outcome.plan.last_applied == before
    assert outcome.plan.effects == reviewed.effects != ()
    assert [str(run["id"]) for run in runs.project.runs()[-2:]] == [outcome.kills_run_id, outcome.run_id]
    assert runs.run().applied == 0


def test_the_report_says_that_there_were_two_transactions(runs: Runs, web: WebServer) -> None:
    runs.ask(f"{web.url}/status/200")
    runs.commit("isAiEnabled: true", "isWhatsappEnabled: false")
    said = runs.project.succeed().out
    [kills, rest] = [str(run["id"])[:8] for run in runs.project.runs()[-2:]]
    assert f"Applied 2 changes to 2 rows in two transactions, the kills first (runs {kills} and {rest}, 2 audit" in said
    assert said.count("KILL") == said.count("RESTORE") == 1


def test_a_failure_of_the_rest_says_that_the_kills_stay_and_the_next_run_goes_on(runs: Runs, web: WebServer) -> None:
    runs.ask(f"{web.url}/status/200")
    runs.commit("isAiEnabled: true", "isWhatsappEnabled: false")
    runs.database.execute(
        """
        CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not now'; END $$;
        CREATE TRIGGER no BEFORE UPDATE OF "isAiEnabled" ON tenants FOR EACH ROW EXECUTE FUNCTION no();
        """
    )
    with pytest.raises(ReconcileError) as raised:
        runs.run()
    assert (runs.whatsapp(), runs.ai()) == (False, False)
    run = runs.project.runs()[-1]["id"]
    last = f"The kills of this commit were applied before that, by run {run}, and stay"
    assert str(raised.value).splitlines()[-1] == last
    runs.database.execute("DROP TRIGGER no ON tenants")
    assert runs.run().applied == 1
    assert runs.ai() is True


def test_what_a_hand_opened_is_not_put_back_before_the_check_was_asked(runs: Runs, web: WebServer) -> None:
    runs.ask(f"{web.url}/status/500")
    runs.commit("isAiEnabled: true", "isWhatsappEnabled: true")
    runs.run()  # git's restore is held
    runs.database.execute('UPDATE tenants SET "isAiEnabled" = true WHERE id = %s', [ACME])
    runs.project.edit_schema("policy", "/status/500", "/status/200")
    runs.commit("isAiEnabled: true", "isWhatsappEnabled: false")
    outcome = runs.run()
    assert (outcome.applied, outcome.recorded) == (1, 1)
    assert runs.ai() is True
    fields = [entry["metadata"]["field"] for entry in runs.project.entries()]
    assert fields == ["isAiEnabled", "isWhatsappEnabled"], "nothing was switched off and on again"


def test_a_run_that_is_refused_when_the_checks_pass_is_not_made_smaller_by_being_cut_in_two(
    runs: Runs, web: WebServer
) -> None:
    runs.ask(f"{web.url}/status/200")
    runs.project.edit_schema(
        "policy", "kill: {rows: 500, share: 50%, floor: 50}\n  restore: {rows: 100, share: 20%, floor: 20}",
        "restore: {rows: 1}",
    )  # fmt: skip
    runs.project.commit_state(
        f"{ACME}:\n  isAiEnabled: true\n{BOB}:\n  isWhatsappEnabled: false\n  aiCustomModel: large\n"
    )
    with pytest.raises(Refused, match="2 rows would change, and the policy allows 1") as raised:
        runs.run()
    assert "kills" not in str(raised.value)
    assert (runs.whatsapp(), runs.ai()) == (True, False)


def test_a_waiver_in_the_commit_message_counts_for_both_runs(runs: Runs, web: WebServer) -> None:
    runs.ask(f"{web.url}/status/200")
    runs.project.edit_schema(
        "policy", "kill: {rows: 500, share: 50%, floor: 50}\n  restore: {rows: 100, share: 20%, floor: 20}",
        "restore: {rows: 1}",
    )  # fmt: skip
    runs.project.commit_state(
        f"{ACME}:\n  isAiEnabled: true\n{BOB}:\n  isWhatsappEnabled: false\n  aiCustomModel: large\n",
        "Both\n\nReconcile-Allow-Changes: 2\n",
    )
    assert runs.run().applied == 3
    assert (runs.whatsapp(), runs.ai()) == (False, True)


def test_nothing_is_written_where_the_whole_commit_must_not_be_applied(runs: Runs, web: WebServer) -> None:
    runs.ask(f"{web.url}/status/200")
    runs.commit("isAiEnabled: true", "isWhatsappEnabled: false")
    runs.database.execute("UPDATE reconciler.run SET commit_id = %s", ["0" * 40])
    with pytest.raises(Stale):
        runs.run()
    assert runs.whatsapp() is True


def test_a_reviewed_plan_is_one_run(runs: Runs, web: WebServer) -> None:
    runs.ask(f"{web.url}/status/200")
    runs.commit("isAiEnabled: true", "isWhatsappEnabled: false")
    outcome = runs.run(runs.plan())
    assert (outcome.applied, outcome.kills_run_id) == (2, None)


def test_a_kill_of_a_where_goes_first_for_every_row_that_it_means(runs: Runs) -> None:
    done: list[Outcome] = []
    with serving() as web:
        runs.ask(f"{web.url}/hang")
        of_all = "$where:\n  - match: {status: ACTIVE}\n    set: {isWhatsappEnabled: false}\n"
        runs.project.commit_state(f"{of_all}{ACME}:\n  isAiEnabled: true\n")
        thread = threading.Thread(target=lambda: done.append(runs.run()))
        thread.start()
        wait_until(lambda: web.paths == ["/hang"])
        assert (runs.whatsapp(ACME), runs.whatsapp(BOB), runs.ai()) == (False, False, False)
    thread.join()
    assert (done[0].plan.counts.kills, done[0].plan.counts.held) == (2, 1)
    assert {change.action.value for change in runs.plan().changes} == {"hold"}


def test_in_a_large_project_the_rest_is_found_by_the_run_after_an_interruption(
    runs: Runs, web: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(change_path, "FEW_ROWS", 0)
    monkeypatch.setattr(project, "FEW_FILES", 1)
    monkeypatch.setattr(row_reader, "MOST", 1_000)
    runs.ask(f"{web.url}/status/200")
    runs.commit("isAiEnabled: false", "isWhatsappEnabled: true", "Another schema")
    runs.run()
    runs.commit("isAiEnabled: true", "isWhatsappEnabled: false")
    with monkeypatch.context() as interrupted, pytest.raises(KeyboardInterrupt):
        interrupted.setattr(pipeline, "run_checks", interrupt)
        runs.run()
    assert (runs.whatsapp(), runs.ai()) == (False, False)
    runs.project.state("system: {}\n", "system_settings.yaml")
    runs.project.commit("Nothing of it")
    outcome = runs.run()
    assert (outcome.applied, outcome.plan.is_full) == (1, False)
    assert runs.ai() is True


def interrupt(*_: object) -> dict[str, CheckResult]:
    """Somebody presses Ctrl-C while the checks are made."""
    raise KeyboardInterrupt


def test_problems_of_the_rest_keep_their_places_and_say_that_the_kills_stay() -> None:
    problem = Problem("no such column", Location("schemas/tenants.yaml", 3, 1))
    summarised = NotAsExpected([problem], "This cannot be.")
    for error in (Failed("no"), NotAsExpected([problem]), summarised):
        before = str(error)
        error.also_say("The kills stay")
        assert str(error) == f"{before}\nThe kills stay"
    assert (summarised.summary, summarised.problems) == ("This cannot be. The kills stay", (problem,))
