"""The fixtures that every test may ask for: a database of its own, and a git repository of its own.

TEST_DATABASE_URL names the server (as a superuser of it; other databases on it are left alone). Without it, an embedded
one is started for the run.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import yaml  # noqa: F401  all of it, before the program imports what it needs (`reconciler.yaml_events`)

from reconciler.embedded import NOT_DURABLE, EmbeddedPostgres, folder_in_memory
from tests.support.gitrepo import GitRepo
from tests.support.postgres import Database, Server

# A deadline in milliseconds tells how busy the machine is, and nothing about the code. In CI the same examples are
# drawn each time, so that a commit does not fail for what another one did; at home they are new ones.
hypothesis.settings.register_profile(
    "reconcile", deadline=None, print_blob=True, derandomize=os.environ.get("CI", "").lower() in ("true", "1")
)
hypothesis.settings.load_profile("reconcile")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    """The server of this run."""
    if url := os.environ.get("TEST_DATABASE_URL"):
        server = Server(url)
        yield server
        server.close()
        return
    with EmbeddedPostgres(settings=NOT_DURABLE, parent=folder_in_memory()) as embedded:
        # Copying files is the faster way where nothing waits for a disk.
        server = Server(embedded.url, strategy="file_copy")
        yield server
        server.close()


@pytest.fixture
def database(postgres_server: Server) -> Iterator[Database]:
    """A database with the platform's tables and no rows."""
    with postgres_server.platform() as database:
        yield database


@pytest.fixture
def empty_database(postgres_server: Server) -> Iterator[Database]:
    """A database without tables."""
    with postgres_server.empty() as database:
        yield database


@pytest.fixture
def git_repo(tmp_path: Path) -> GitRepo:
    """An empty git repository, on the branch main."""
    return GitRepo(tmp_path / "repo")
