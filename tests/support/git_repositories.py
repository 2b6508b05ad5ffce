"""Real git repositories for tests: made by the git program in a temporary folder, with no configuration but their own.

Where `gitrepo` gives one repository and its commits, this gives clones, work trees and whatever else git can be told to
make. A test module imports `git_environment` (used by all of its tests), `origin`, and what it needs of the functions.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from reconciler.errors import Problem
from reconciler.repository import Ancestry, Repository

FOLDERS = ("state", "schemas")


@pytest.fixture(autouse=True)
def git_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No configuration but the tests' own, and one author for all commits."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    settings = {
        "HOME": str(tmp_path),
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CEILING_DIRECTORIES": str(tmp_path),
        "GIT_AUTHOR_NAME": "Ann",
        "GIT_AUTHOR_EMAIL": "ann@example.org",
        "GIT_AUTHOR_DATE": "2026-11-24T10:00:00+01:00",
        "GIT_COMMITTER_NAME": "Bob",
        "GIT_COMMITTER_EMAIL": "bob@example.org",
        "GIT_COMMITTER_DATE": "2026-11-24T11:00:00+01:00",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)


def git(directory: Path, *arguments: str, stdin: bytes = b"") -> str:
    command = ["git", "-C", str(directory), *arguments]
    done = subprocess.run(command, check=False, input=stdin, capture_output=True)
    assert done.returncode == 0, (command, done.stderr)
    return done.stdout.decode().strip()


def new_repository(directory: Path, *options: str) -> Path:
    directory.mkdir(parents=True)
    git(directory, "init", "-q", "-b", "main", *options)
    return directory


def write(directory: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def commit(directory: Path, message: str = "change", **files: str) -> str:
    """A commit of files given as ``name="text"``, each at ``state/<name>.yaml``; its id."""
    write(directory, {f"state/{name}.yaml": text for name, text in files.items()})
    git(directory, "add", "-A")
    git(directory, "commit", "-q", "--allow-empty", "-m", message)
    return git(directory, "rev-parse", "HEAD")


def paths_at(directory: Path, revision: str = "HEAD") -> list[str]:
    problems: list[Problem] = []
    with Repository.open(directory) as repository:
        found = [file.path for file in repository.files_at(revision, FOLDERS, problems)]
    assert problems == []
    return found


def ancestry(directory: Path, applied: str, candidate: str = "HEAD") -> Ancestry:
    with Repository.open(directory) as repository:
        return repository.ancestry(applied, candidate)


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    """Three commits on main; the first holds state/a.yaml, each changes it."""
    directory = new_repository(tmp_path / "origin")
    for number in (1, 2, 3):
        commit(directory, f"commit {number}", a=f"a: {number}\n")
    git(directory, "config", "uploadpack.allowFilter", "true")
    git(directory, "config", "uploadpack.allowAnySHA1InWant", "true")
    return directory


def clone(origin: Path, *options: str) -> Path:
    directory = origin.parent / "clone"
    git(origin.parent, "clone", "-q", *options, f"file://{origin}", str(directory))
    return directory
