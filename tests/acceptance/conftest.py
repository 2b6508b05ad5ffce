"""What the acceptance tests share: a project with its database, ready for its first apply, and a GitHub."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.github import GitHub
from tests.support.github_api import GitHubApi, github_api
from tests.support.gitrepo import GitRepo
from tests.support.postgres import Database
from tests.support.project import ACME, BOB, SECRETS, Project


@pytest.fixture
def project(git_repo: GitRepo, database: Database) -> Project:
    """Two tenants and the settings row in the database, with secrets; the ledger made; no state, no commit."""
    database.tenant(ACME, name="Acme Bakery", stripeCustomerId="cus-canary")
    database.tenant(BOB, name="Bob's Bikes")
    database.settings(defaultAiProvider="openai", **SECRETS)
    project = Project(git_repo, database)
    project.init()
    return project


@pytest.fixture
def api() -> Iterator[GitHubApi]:
    """GitHub's API, which was asked nothing by the end that GitHub does not describe."""
    with github_api() as served:
        yield served


@pytest.fixture
def github(project: Project, api: GitHubApi, tmp_path: Path) -> GitHub:
    """A repository with this project's workflows on its main branch, applied once."""
    made = GitHub(project, api, tmp_path / "github")
    project.succeed("--directory", str(project.directory), cwd=tmp_path)
    return made
