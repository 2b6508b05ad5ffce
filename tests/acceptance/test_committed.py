"""What counts as committed, and in which order commits are applied: revisions, branches, clones and work trees."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests.support.cli import clean_environment
from tests.support.gitrepo import GitRepo
from tests.support.postgres import Database
from tests.support.project import ACME, KILL, Project, snapshot


def test_uncommitted_files_are_planned_but_not_applied(project: Project, database: Database) -> None:
    project.commit_state()
    project.state(KILL.replace("5", "7"))
    assert "uncommitted" in project.succeed("--dry-run").out
    before = snapshot(database)
    done = project.run()
    assert (done.code, done.out) == (1, "")
    assert "not committed: state/tenants.yaml" in done.err
    assert snapshot(database) == before
    project.write("README", "not a part of the state")
    project.state(KILL)
    project.succeed()


def test_a_kill_in_a_file_that_git_ignores_is_not_taken_for_applied(project: Project, database: Database) -> None:
    project.repo.write(".gitignore", "*.local.yaml\n")
    project.commit("Nothing yet")
    project.state(KILL, "tenants/acme.local.yaml")
    assert "2 kills" in project.succeed("--dry-run").out
    done = project.run()
    assert (done.code, done.out) == (1, "")
    assert "not committed: state/tenants/acme.local.yaml" in done.err
    assert database.row("tenants", ACME)["isWhatsappEnabled"] is True


def test_allow_dirty_needs_a_reason_and_the_entries_say_so(project: Project, database: Database) -> None:
    project.commit("Nothing yet")
    project.state(KILL)
    refused = project.run("--allow-dirty")
    assert refused.code == 64
    assert "--reason" in refused.err
    done = project.succeed("--allow-dirty", "--reason", "the git host is down, INC-142")
    assert "reconcile release" in done.out + done.err
    assert database.row("tenants", ACME)["isWhatsappEnabled"] is False
    for entry in project.entries():
        assert entry["metadata"]["uncommitted"] is True
        assert entry["metadata"]["runReason"] == "the git host is down, INC-142"


def test_a_revision_is_planned_and_applied_without_being_checked_out(project: Project, database: Database) -> None:
    first = project.commit_state()
    project.commit_state(KILL.replace("5", "7"), "Another limit")
    project.state("not: even, valid: [")
    assert project.plan("--revision", first)["revision"]["commit"] == first
    project.succeed("--revision", "HEAD~1")
    assert database.row("tenants", ACME)["aiDailyLimit"] == 5
    assert "not: even" in (project.directory / "state/tenants.yaml").read_text()


def test_an_older_commit_is_refused_unless_the_rewind_is_meant(project: Project, database: Database) -> None:
    first = project.commit_state()
    project.commit_state(KILL.replace("5", "4"), "Less")
    project.succeed()
    before = snapshot(database)
    for arguments in (["--revision", first], ["--revision", first, "--only", f"tenants/{ACME}"]):
        done = project.run(*arguments)
        assert (done.code, done.out) == (6, "")
        assert f"commit {first[:12]} is older than" in done.err
        assert "git revert" in done.err
    assert snapshot(database) == before
    assert project.run("--revision", first, "--allow-rewind").code == 64
    done = project.succeed("--revision", first, "--allow-rewind", "--reason", "the newer one was a mistake")
    assert "the newer one was a mistake" in done.out
    assert database.row("tenants", ACME)["aiDailyLimit"] == 5
    assert project.entries()[-1]["metadata"]["runReason"] == "the newer one was a mistake"


def test_a_commit_of_another_branch_is_refused(project: Project) -> None:
    project.commit("Nothing yet")
    project.repo.git("branch", "side")
    project.commit_state()
    project.succeed()
    project.repo.git("checkout", "--quiet", "side")
    project.commit_state(KILL.replace("5", "9"), "On the side")
    done = project.run()
    assert done.code == 6
    assert "does not descend from" in done.err


def test_a_detached_head_is_applied(project: Project, database: Database) -> None:
    project.commit_state()
    project.repo.git("checkout", "--quiet", "--detach")
    project.succeed()
    assert database.row("tenants", ACME)["aiDailyLimit"] == 5


def test_a_worktree_is_applied(project: Project, database: Database, tmp_path: Path) -> None:
    project.commit_state()
    project.repo.git("worktree", "add", "--quiet", str(tmp_path / "tree"))
    project.state("changed: in the other tree")
    project.succeed(cwd=tmp_path / "tree")
    assert database.row("tenants", ACME)["aiDailyLimit"] == 5


def test_a_project_in_a_folder_of_a_larger_repository_is_applied(
    git_repo: GitRepo, database: Database, tmp_path: Path
) -> None:
    database.tenant(ACME)
    project = Project(git_repo, database, below="ops/platform")
    project.init()
    git_repo.write("state/tenants.yaml", "another: thing, of: [somebody else")
    project.commit_state()
    git_repo.write("src/dirty.py", "elsewhere")
    project.succeed("--directory", "ops/platform", cwd=git_repo.path)
    project.succeed("-C", str(project.directory), cwd=tmp_path)
    project.succeed()
    assert [entry["metadata"]["file"] for entry in project.entries()] == ["state/tenants.yaml"] * 2


def test_a_shallow_clone_is_applied_and_says_how_to_deepen_it(
    project: Project, database: Database, tmp_path: Path
) -> None:
    project.commit_state()
    project.succeed()
    project.commit_state(KILL.replace("5", "4"), "Less")
    project.repo.git("clone", "--quiet", "--depth=1", f"file://{project.repo.path}", str(tmp_path / "shallow"))
    before = snapshot(database)
    done = project.run(cwd=tmp_path / "shallow")
    assert done.code == 6
    assert "too shallow to know" in done.err
    deepen = re.search(r"Deepen it: (git .*)", done.err)
    assert deepen is not None
    assert snapshot(database) == before
    environment = clean_environment() | {"GIT_DIR": str(tmp_path / "shallow/.git")}
    subprocess.run(deepen[1].split(), cwd=tmp_path / "shallow", env=environment, check=True, capture_output=True)
    project.succeed(cwd=tmp_path / "shallow")
    assert database.row("tenants", ACME)["aiDailyLimit"] == 4
