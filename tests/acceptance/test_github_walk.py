"""docs/github.md, as a stranger follows it: from an empty repository to a merged kill switch."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support import cli
from tests.support.github import GitHub
from tests.support.github_api import github_api
from tests.support.gitrepo import GitRepo
from tests.support.postgres import Database
from tests.support.project import ACME, Project

HOOK = "    # kill:"


def test_from_an_empty_repository_to_a_merged_kill_switch(database: Database, tmp_path: Path) -> None:
    database.tenant(ACME, name="Acme Bakery")
    ops = tmp_path / "ops"

    def reconcile(*arguments: str) -> cli.Finished:
        done = cli.run(*arguments, cwd=ops if ops.exists() else tmp_path, database=database.url)
        assert done.code == 0, str(done)
        return done

    # 1 and 2: a repository drawn from the database, in which the kill sides are taken.
    reconcile("new", "ops", "--from-database", "--table", "tenants", "--owner", "@acme/platform", "--install", "x==1")
    repo = GitRepo(ops)
    schema = ops / "schemas" / "tenants.yaml"
    assert schema.read_text().count(HOOK) > 3
    schema.write_text(schema.read_text().replace(HOOK, "    kill:"))
    reconcile("schema")
    repo.commit("Kill sides")
    # 3 and 4: the ledger, and the rows that are there.
    assert "reconcile_plan" in reconcile("init").out
    reconcile("import", "--only", f"tenants/{ACME}")
    repo.commit("Acme is managed")

    with github_api() as api:
        project = object.__new__(Project)  # the repository is there, and is not made for this
        project.repo, project.database, project.below, project.directory = repo, database, "", ops
        github = GitHub(project, api, tmp_path / "github", scaffolded=True)
        [hourly] = [run for run in github.schedule() if run.workflow == "apply"]
        assert hourly.job("apply").ok
        # 7: a line is edited.
        file = "tenants/acme-bakery.yaml"
        text = (ops / "state" / file).read_text()
        killed = text.replace("isWhatsappEnabled: true", 'isWhatsappEnabled: {value: false, reason: "Ban, INC-142"}')
        number, [run] = github.open("ban", killed, file)
        ran = run.execute()
        assert [job.ok for job in ran.values()] == [True, True], "".join(job.log for job in ran.values())
        assert "kills `isWhatsappEnabled` for Acme Bakery" in github.comments(number)[0]
        assert api.pulls[number]["labels"] == ["kill"]
        [run] = github.merge(number)
        done = run.job("apply")
        assert done.ok, done.log
        outcome = github.comments(number)[1]
    assert database.row("tenants", ACME)["isWhatsappEnabled"] is False
    assert "As reviewed" in outcome
    assert re.search(r"In effect [\d.,]+ s after the merge", outcome)
