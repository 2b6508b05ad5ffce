"""The hooks for pre-commit, run by pre-commit itself: on a repository that names this one's manifest, and on a new one.

`language: system` takes the place of `python`, which would install this project from a package index.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from reconciler.documents import read_document
from reconciler.errors import Problem
from reconciler.scalars import to_json
from tests.support import cli
from tests.support.gitrepo import GitRepo
from tests.support.project import TOP

MANIFEST = TOP / ".pre-commit-hooks.yaml"
GOOD = "# yaml-language-server: $schema=../schemas/json/accounts.state.schema.json\nacme:\n  messaging_enabled: true\n"
BAD = GOOD.replace("true", "True")


@pytest.fixture
def made(git_repo: GitRepo, tmp_path: Path) -> GitRepo:
    """A new repository, as `reconcile new` makes it, without a commit."""
    done = cli.run("new", str(tmp_path / "made"), "--install", "reconcile==1", cwd=tmp_path)
    assert done.code == 0, str(done)
    for path in sorted((tmp_path / "made").rglob("*")):
        if path.is_file():
            git_repo.write(path.relative_to(tmp_path / "made").as_posix(), path.read_bytes())
    git_repo.write("state/accounts.yaml", GOOD)
    return git_repo


def pre_commit(repo: GitRepo, tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    programs = tmp_path / "programs"
    programs.mkdir(exist_ok=True)
    program = programs / "reconcile"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m reconciler "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    environment = cli.clean_environment(
        environment={"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "PRE_COMMIT_HOME": str(tmp_path / "cache")}
    )
    return subprocess.run(
        [sys.executable, "-m", "pre_commit", *arguments],
        cwd=repo.path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


def outcomes(printed: str) -> dict[str, str]:
    """The word after each hook's command: Passed, Failed, Skipped."""
    return {
        line.partition(":")[0]: line.rpartition(".")[2].rpartition(")")[2].strip()
        for line in printed.splitlines()
        if line.startswith("reconcile ") and "...." in line
    }


def with_manifest(repo: GitRepo, tmp_path: Path) -> None:
    """A configuration that names a repository with this project's manifest."""
    hooks = GitRepo(tmp_path / "hooks")
    hooks.write(MANIFEST.name, MANIFEST.read_bytes())
    revision = hooks.commit("Hooks")
    ids = [hook["id"] for hook in yaml.safe_load(MANIFEST.read_text(encoding="utf-8"))]
    named = [{"id": name, "language": "system"} for name in ids]
    config = {"repos": [{"repo": str(hooks.path), "rev": revision, "hooks": named}]}
    repo.write(".pre-commit-config.yaml", yaml.safe_dump(config))


def test_pre_commit_takes_the_manifest(git_repo: GitRepo, tmp_path: Path) -> None:
    done = pre_commit(git_repo, tmp_path, "validate-manifest", str(MANIFEST))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("from_manifest", [True, False])
def test_a_good_commit_passes_and_a_bad_one_does_not(made: GitRepo, tmp_path: Path, from_manifest: bool) -> None:
    if from_manifest:
        with_manifest(made, tmp_path)
    made.commit("Begin")
    done = pre_commit(made, tmp_path, "run", "--all-files")
    assert outcomes(done.stdout) == {
        "reconcile fmt": "Passed", "reconcile validate": "Passed", "reconcile schema --check": "Passed",
    }, done.stdout + done.stderr  # fmt: skip
    made.write("state/accounts.yaml", BAD)
    made.git("add", "state")
    done = pre_commit(made, tmp_path, "run")
    assert outcomes(done.stdout) == {
        "reconcile fmt": "Failed", "reconcile validate": "Passed", "reconcile schema --check": "Skipped",
    }, done.stdout + done.stderr  # fmt: skip
    assert (made.path / "state" / "accounts.yaml").read_text(encoding="utf-8") == GOOD
    made.write("state/accounts.yaml", GOOD.replace("true", "perhaps"))
    made.git("add", "state")
    done = pre_commit(made, tmp_path, "run")
    assert outcomes(done.stdout)["reconcile validate"] == "Failed"
    assert "state/accounts.yaml:3:22: accounts.messaging_enabled" in done.stdout


def test_a_stale_schema_for_editors_does_not_pass(made: GitRepo, tmp_path: Path) -> None:
    made.commit("Begin")
    file = made.path / "schemas" / "accounts.yaml"
    file.write_text(file.read_text(encoding="utf-8").replace("min: 1", "min: 2"), encoding="utf-8")
    made.git("add", "schemas")
    done = pre_commit(made, tmp_path, "run")
    assert outcomes(done.stdout)["reconcile schema --check"] == "Failed"
    assert "schemas/json/accounts.state.schema.json is out of date" in done.stdout


def test_an_installed_hook_stops_the_commit(made: GitRepo, tmp_path: Path) -> None:
    made.commit("Begin")
    assert pre_commit(made, tmp_path, "install").returncode == 0
    made.write("state/accounts.yaml", BAD)
    made.git("add", "state")
    environment = {"PATH": f"{tmp_path / 'programs'}{os.pathsep}{os.environ['PATH']}",
                   "PRE_COMMIT_HOME": str(tmp_path / "cache")}  # fmt: skip
    who = ("-c", "user.name=Ann", "-c", "user.email=ann@example.org")
    with pytest.raises(subprocess.CalledProcessError) as stopped:
        made.git(*who, "commit", "--message", "Bad", environment=environment)
    assert "files were modified by this hook" in stopped.value.stderr
    made.git("add", "state")
    made.write("README.md", "Other words\n")
    made.git("add", "README.md")
    made.git(*who, "commit", "--message", "Good", environment=environment)


def test_editors_find_the_schema_of_every_file_by_its_path(made: GitRepo) -> None:
    made.write("state/accounts/eu/b.yaml", "b:\n  messaging_enabled: true\n")
    made.write("schemas/playbooks/stop.yaml", "name: stop\n")
    settings = json.loads((made.path / ".vscode" / "settings.json").read_text(encoding="utf-8"))
    found: dict[str, list[str]] = {}
    for schema, patterns in settings["yaml.schemas"].items():
        assert schema.startswith("./"), "or it would be taken for an address"
        Draft202012Validator.check_schema(json.loads((made.path / schema).read_text(encoding="utf-8")))
        for pattern in patterns:
            for path in made.path.glob(pattern):
                found.setdefault(path.relative_to(made.path).as_posix(), []).append(schema)
    assert found == {
        "schemas/accounts.yaml": ["./schemas/json/table.schema.json"],
        "schemas/playbooks/stop.yaml": ["./schemas/json/playbook.schema.json"],
        "schemas/policy.yaml": ["./schemas/json/policy.schema.json"],
        "state/accounts.yaml": ["./schemas/json/accounts.state.schema.json"],
        "state/accounts/eu/b.yaml": ["./schemas/json/accounts.state.schema.json"],
    }
    for name, (schema,) in found.items():
        if "playbooks" in name:
            continue
        problems: list[Problem] = []
        document = read_document(name, (made.path / name).read_bytes(), problems)
        assert document is not None
        assert document.root is not None
        validator = Draft202012Validator(json.loads((made.path / schema).read_text(encoding="utf-8")))
        validator.validate(json.loads(json.dumps(to_json(document.root), default=float)))
