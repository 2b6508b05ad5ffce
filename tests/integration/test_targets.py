"""Several databases of one platform, on two real ones: each has a run and a ledger, and there is one report."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from reconciler.database.connection import open_database
from reconciler.database.url import parse_database_url, read_environment
from reconciler.editing.edit import Edit
from reconciler.editing.files import edit_files
from reconciler.errors import UsageProblem
from reconciler.initialize import initialize
from reconciler.project import read_schemas
from reconciler.sources import files_in_work_tree
from reconciler.targets import _CHOSEN
from tests.support.cli import Finished
from tests.support.gitrepo import GitRepo
from tests.support.postgres import Database, Server
from tests.support.project import ACME, BOB, Project
from tests.support.waiting import wait_until

TARGETS = """
targets:
  eu: {url_env: DATABASE_URL_EU}
  us: {url_env: DATABASE_URL_US, direct_env: DIRECT_URL_US}
"""
NOWHERE = "postgresql://nobody@127.0.0.1:1/none"


class Regions:
    """Acme is a tenant of the EU's database, Bob of the other one, and both have settings."""

    def __init__(self, project: Project, eu: Database, us: Database) -> None:
        self.project = project
        self.eu = eu
        self.us = us
        self.urls = {"DATABASE_URL_EU": eu.url, "DATABASE_URL_US": us.url}

    def run(self, *arguments: str, **urls: str) -> Finished:
        return self.project.run(*arguments, url="", environment=self.urls | urls)

    def limits(self) -> tuple[Any, Any]:
        return self.eu.row("tenants", ACME)["aiDailyLimit"], self.us.row("tenants", BOB)["aiDailyLimit"]


@pytest.fixture
def regions(git_repo: GitRepo, postgres_server: Server) -> Iterator[Regions]:
    with postgres_server.platform() as eu, postgres_server.platform() as us:
        project = Project(git_repo, eu)
        policy = project.directory / "schemas/policy.yaml"
        policy.write_text(policy.read_text(encoding="utf-8") + TARGETS, encoding="utf-8")
        eu.tenant(ACME, name="Acme Bakery", aiDailyLimit=50)
        us.tenant(BOB, name="Bob's Bikes", aiDailyLimit=50)
        for database in (eu, us):
            database.settings(maxMessagesPerHour=1000)
            with open_database([parse_database_url(database.url, variable="DATABASE_URL")]) as connection:
                initialize(connection, read_schemas(project.directory))
        project.state(f"{ACME}:\n  aiDailyLimit: 5\n", "tenants/eu/acme.yaml")
        project.state(f"{BOB}:\n  aiDailyLimit: 6\n", "tenants/us/bob.yaml")
        project.state("system:\n  maxMessagesPerHour: 900\n", "system_settings.yaml")
        project.commit()
        yield Regions(project, eu, us)


def test_one_target_is_applied_with_what_is_its_own_and_what_is_everybodys(regions: Regions) -> None:
    done = regions.run("--target", "eu", "--yes")
    assert done.code == 0, str(done)
    assert "Applied 2 changes to 2 rows" in done.out
    assert regions.limits() == (5, 50)
    assert regions.us.execute("SELECT * FROM reconciler.run") == []


@pytest.mark.parametrize("option", [("--target", "all"), ("--target=all",)])
def test_all_targets_are_applied_each_with_a_run_and_a_ledger_of_its_own(
    regions: Regions, option: tuple[str, ...]
) -> None:
    done = regions.run(*option, "--yes")
    assert done.code == 0, str(done)
    assert regions.limits() == (5, 6)
    assert "== eu ==" in done.out
    assert done.out.index("== eu ==") < done.out.index("Acme Bakery") < done.out.index("== us ==")
    assert "2 targets: eu done; us done" in done.err
    for database in (regions.eu, regions.us):
        assert len(database.execute("SELECT * FROM reconciler.run")) == 1
        assert len(database.execute("SELECT * FROM reconciler.managed_row")) == 2


def test_one_that_is_down_stops_no_other_and_is_said(regions: Regions) -> None:
    done = regions.run("--target", "all", "--yes", "--output", "json", DATABASE_URL_EU=NOWHERE)
    assert done.code == 4
    assert regions.limits() == (50, 6)
    report = json.loads(done.out)
    eu, us = report["targets"]
    assert (report["exit_code"], eu["target"], eu["exit_code"], us["exit_code"]) == (4, "eu", 4, 0)
    assert eu["result"]["error"]["kind"] == "unreachable"
    assert us["result"]["run"]["applied"] == 2
    assert "2 targets: eu database not reachable, or not as expected; us done" in done.err


def test_a_dry_run_of_all_ends_with_the_worst_and_writes_nothing(regions: Regions) -> None:
    assert regions.run("--target", "us", "--yes").code == 0
    done = regions.run("--dry-run", "--target", "all", "--exit-code", "--output", "markdown")
    assert done.code == 2
    assert "## eu\n\n### reconcile: kills" in done.out
    assert "## us\n\n### reconcile: nothing to do" in done.out
    assert regions.limits() == (50, 6)


def test_drift_status_and_history_are_about_the_target_that_is_named(regions: Regions) -> None:
    assert regions.run("--target", "all", "--yes").code == 0
    regions.eu.execute('UPDATE tenants SET "aiDailyLimit" = 7')
    assert regions.run("drift", "--target", "eu", "--exit-code").code == 2
    assert regions.run("drift", "--target", "us", "--exit-code").code == 0
    assert regions.run("drift", "--target", "all", "--exit-code").code == 2
    assert "Acme Bakery" in regions.run("history", "--target", "eu").out
    assert "Bob's Bikes" in regions.run("history", "--target", "us").out
    assert regions.run("status", "--target", "all").code == 0
    assert regions.run("init", "--target", "all").code == 0
    doctor = regions.run("doctor", "--target", "us", "--output", "json")
    assert (regions.us.url.rpartition("/")[2] in doctor.out, regions.eu.url.rpartition("/")[2] in doctor.out) == (
        True, False,
    ), doctor.out  # fmt: skip
    assert regions.run("doctor").code == 64


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "schemas/policy.yaml declares several databases (eu, us): give --target NAME, or all"),
        (("--target", "asia"), "declares no such target (there are eu, us, and all)"),
        (("history", "--target", "all"), "--target all: history is about one database; name it"),
        (("--target", "all", "--dry-run", "--plan-out", "plan.json"), "--plan-out: a plan is of one database; name it"),
        (("--target", "eu", "drift"), "--target: options of drift stand after its name"),
    ],
)
def test_what_is_about_no_one_database_is_refused(regions: Regions, arguments: tuple[str, ...], said: str) -> None:
    done = regions.run(*arguments)
    assert (done.code, said in done.err) == (64, True), str(done)
    assert regions.limits() == (50, 50)


def test_each_target_has_batches_of_its_own(regions: Regions) -> None:
    done = regions.run("--target", "all", "--yes", "--batch", "1")
    assert done.code == 0, str(done)
    assert done.out.count("Applied 2 changes to 2 rows in 2 batches") == 2
    for database in (regions.eu, regions.us):
        outcomes = database.execute("SELECT outcome FROM reconciler.run ORDER BY sequence")
        assert [row["outcome"] for row in outcomes] == ["partial", "applied"]


def test_a_project_without_targets_knows_no_such_option(regions: Regions) -> None:
    policy = regions.project.directory / "schemas/policy.yaml"
    policy.write_text(policy.read_text(encoding="utf-8").replace(TARGETS, ""), encoding="utf-8")
    for target in ("eu", "all"):
        done = regions.run("drift", "--target", target)
        assert (done.code, "declares no `targets`" in done.err) == (64, True), str(done)


def test_the_address_that_is_missing_is_called_by_its_own_name(regions: Regions) -> None:
    done = regions.run("drift", "--target", "us", DATABASE_URL_US="")
    assert (done.code, "DATABASE_URL_US is not set" in done.err) == (64, True), str(done)


def test_the_fallback_of_a_target_is_tried() -> None:
    environment = {"US": "postgresql://a@b/c", "US_DIRECT": "postgresql://a@d/c", "DIRECT_URL": "postgresql://a@e/c"}
    assert len(read_environment(environment, "US", None)) == 1
    assert len(read_environment(environment, "US", "US_DIRECT")) == 2
    with pytest.raises(UsageProblem, match="EU is not set"):
        read_environment(environment, "EU", None)


def test_the_same_row_may_be_asked_for_otherwise_in_each_target_and_only_once_in_one(regions: Regions) -> None:
    regions.project.state("system:\n  emailEnabled: true\n", "system_settings/eu/mail.yaml")
    regions.project.state("system:\n  emailEnabled: false\n", "system_settings/us/mail.yaml")
    assert regions.run("validate").code == 0
    regions.project.state("system:\n  emailEnabled: false\n", "system_settings/us/more.yaml")
    done = regions.run("validate")
    assert done.code == 3
    twice = "emailEnabled of row system stands here and at state/system_settings/us/mail.yaml:2:17"
    assert twice in done.out + done.err
    assert "1 problem" in done.out + done.err
    regions.project.state("system:\n  maxMessagesPerHour: no\n", "system_settings.yaml")
    assert "2 problems" in regions.run("validate").err


def test_an_entry_that_a_kill_adds_goes_where_no_other_target_looks(regions: Regions) -> None:
    files = files_in_work_tree(regions.project.directory, ("state",), [])
    edits = [Edit("tenants", "new", "isAiEnabled", False), Edit("system_settings", "system", "globalAiEnabled", False)]
    token = _CHOSEN.set("us")
    try:
        edited = edit_files(files, edits, read_schemas(regions.project.directory))
    finally:
        _CHOSEN.reset(token)
    paths = [file.path for file in edited]
    assert paths == ["state/system_settings/us/system_settings.yaml", "state/tenants/us/bob.yaml"]


def test_a_signal_ends_all_of_them_and_each_says_what_was_applied(regions: Regions) -> None:
    with regions.eu.connect() as application:
        application.execute("BEGIN")
        application.execute("UPDATE tenants SET name = name")
        running = regions.project.start("--target", "all", "--yes", url="", environment=regions.urls)
        with running:
            waits = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            wait_until(lambda: regions.eu.execute(waits))
            wait_until(lambda: regions.us.execute("SELECT 1 FROM reconciler.run"))
            running.send_signal(signal.SIGTERM)
            _, said = running.communicate(timeout=20)
        application.execute("ROLLBACK")
    assert running.returncode == 1
    assert "eu: Interrupted. Nothing was applied." in said
    assert regions.limits() == (50, 6)
