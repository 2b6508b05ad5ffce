"""What the acceptance tests share: a project with its database, ready for its first apply."""

from __future__ import annotations

import pytest

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
