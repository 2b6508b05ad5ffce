"""Several databases on GitHub: the matrix of docs/targets.md, on the tests' own GitHub."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.support.github import GitHub, Run
from tests.support.github_api import GitHubApi, github_api
from tests.support.gitrepo import GitRepo
from tests.support.postgres import Server
from tests.support.project import ACME, TOP, Project

TARGETS = "\ntargets:\n  eu: {url_env: DATABASE_URL_EU}\n  us: {url_env: DATABASE_URL_US}\n"


def documented_job() -> str:
    """The job as the page has it, to be put into a workflow."""
    page = (TOP / "docs" / "targets.md").read_text(encoding="utf-8")
    [block] = re.findall(r"^```yaml\n(jobs:\n.*?)^```$", page, re.MULTILINE | re.DOTALL)
    return str(block)


@pytest.fixture
def github(git_repo: GitRepo, postgres_server: Server, tmp_path: Path) -> Iterator[GitHub]:
    """A new repository with two databases; its plan is made by the documented job."""
    with postgres_server.platform() as eu, postgres_server.platform() as us, github_api() as api:
        project = Project(git_repo, eu)
        for database in (us, eu):
            database.tenant(ACME, name="Acme Bakery", isAiEnabled=database is eu)
            project.database = database
            project.init()
        policy = project.directory / "schemas" / "policy.yaml"
        policy.write_text(policy.read_text() + TARGETS)
        made = GitHub(project, api, tmp_path / "github", scaffolded=True)
        file = project.repo.path / ".github" / "workflows" / "plan.yml"
        head = file.read_text().partition("\njobs:\n")[0]
        file.write_text(f"{head}\n{documented_job()}")
        project.commit("A job for each database")
        made.repo.git("push", "--quiet", str(made.remote), "main")
        made.secrets |= {"DATABASE_URL_PLAN_EU": eu.url, "DATABASE_URL_PLAN_US": us.url}
        yield made


def plan_of(runs: list[Run]) -> Run:
    """The run of plan.yml."""
    [run] = [run for run in runs if run.workflow == "plan"]
    return run


def test_each_database_has_one_comment_that_is_kept_up_to_date_and_the_labels_are_those_of_all(
    github: GitHub
) -> None:
    api: GitHubApi = github.api
    number, runs = github.open("ai", f"{ACME}:\n  isAiEnabled: false\n")
    ran = plan_of(runs).execute()
    assert set(ran) == {"plan (eu)", "plan (us)"}
    assert all(job.ok for job in ran.values()), "".join(job.log for job in ran.values())
    eu, us = github.comments(number)
    assert (eu.startswith("<!-- reconcile:plan .:eu "), us.startswith("<!-- reconcile:plan .:us ")) == (True, True)
    # It is off in the other one already. The job that has nothing to say takes no label away.
    assert ("kills" in eu.partition("\n")[2], "kills" in us.partition("\n")[2]) == (True, False)
    assert api.pulls[number]["labels"] == ["kill"]
    assert len(api.artifacts) == len({one["name"] for one in api.artifacts}) == 2

    ran = plan_of(github.update(number, f"{ACME}:\n  isAiEnabled: true\n")).execute()
    assert all(job.ok for job in ran.values())
    again = github.comments(number)
    assert len(again) == 2
    assert again[0] != eu
    assert api.pulls[number]["labels"] == ["restore"], "what was said of the old head counts no more"


def test_the_documented_job_is_the_scaffolded_one_with_a_matrix() -> None:
    job = yaml.load(documented_job(), yaml.BaseLoader)["jobs"]["plan"]
    scaffolded = (TOP / "reconciler" / "scaffold" / "files" / "plan.yml").read_text()
    theirs = yaml.load(scaffolded, yaml.BaseLoader)["jobs"]["plan"]
    del job["strategy"]
    del job["steps"][-1]["with"]["arguments"]
    del job["steps"][-1]["env"], theirs["steps"][-1]["env"]
    assert job == theirs
