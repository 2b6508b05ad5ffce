"""Commits on a branch of their own, by git's plumbing: in any repository, and nothing else is touched."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from reconciler.editing.files import EditedFile
from reconciler.errors import Failed, Refused, UsageProblem
from reconciler.repository import Repository
from reconciler.runbook.side_branch import Base, branch_name, commit_on_branch, find_base, push
from tests.support.gitrepo import GitRepo
from tests.support.hosting import add_remote, pushed

EDIT = [EditedFile("state/a.yaml", "a", b"1\n", b"2\r\n")]


@pytest.fixture
def repo(git_repo: GitRepo) -> GitRepo:
    git_repo.git("config", "user.name", "Ana")
    git_repo.git("config", "user.email", "ana@example.org")
    git_repo.write("state/a.yaml", "1\n")
    git_repo.write("README", "read me\n")
    git_repo.commit("First")
    return git_repo


def base_of(repo: GitRepo, branch: str | None = None, *, fetch: bool = True) -> Base:
    return find_base(repo.path, branch, fetch=fetch)


def test_the_bytes_are_committed_as_they_are_whatever_converts_line_ends(repo: GitRepo) -> None:
    repo.git("config", "core.autocrlf", "true")
    commit = commit_on_branch(repo.path, base_of(repo), "kill/x", EDIT, "Kill\n")
    with Repository.open(repo.path) as repository:
        assert [file.data for file in repository.files_at(commit, ("state",), [])] == [b"2\r\n"]
    assert repo.git("diff", "--name-only", "main", commit) == "state/a.yaml"
    assert repo.git("rev-parse", "kill/x") == commit
    assert repo.git("status", "--porcelain") == ""


def test_a_project_in_a_folder_and_a_file_that_is_new_and_one_that_is_executable(repo: GitRepo) -> None:
    below = repo.write("ops/state/a.yaml", "1\n")
    below.chmod(0o755)
    repo.commit("Below")
    new = EditedFile("state/b/new ü.yaml", "b", None, b"new\n")
    base = find_base(repo.path / "ops")
    commit = commit_on_branch(repo.path / "ops", base, "kill/x", [*EDIT, new], "Kill\n")
    listed = repo.git("-c", "core.quotePath=false", "ls-tree", "-r", commit, "ops").splitlines()
    assert [(line.split()[0], line.partition("\t")[2]) for line in listed] == [
        ("100755", "ops/state/a.yaml"),
        ("100644", "ops/state/b/new ü.yaml"),
    ]


def test_an_existing_branch_is_continued_and_one_that_is_checked_out_is_not_moved(repo: GitRepo) -> None:
    first = commit_on_branch(repo.path, base_of(repo), "kill/x", EDIT, "Kill\n")
    base = base_of(repo, "kill/x")
    assert (base.branch, base.commit) == ("kill/x", first)
    again = [EditedFile("state/a.yaml", "a", b"2\r\n", b"3\n")]
    second = commit_on_branch(repo.path, base, "kill/x", again, "More\n")
    assert repo.git("rev-parse", "kill/x^") == first
    repo.git("switch", "--quiet", "kill/x")
    with pytest.raises(Refused, match="is checked out"):
        commit_on_branch(repo.path, base_of(repo, "kill/x"), "kill/x", EDIT, "No\n")
    assert repo.head == second
    with pytest.raises(UsageProblem, match="no name for a branch"):
        base_of(repo, "kill/..")


def test_a_branch_that_somebody_has_moved_meanwhile_is_left_alone(repo: GitRepo) -> None:
    commit_on_branch(repo.path, base_of(repo), "kill/x", EDIT, "Kill\n")
    base = base_of(repo, "kill/x")
    moved = commit_on_branch(repo.path, base, "kill/x", [EditedFile("README", "", b"", b"x")], "Theirs\n")
    with pytest.raises(Failed, match="did not make the branch"):
        commit_on_branch(repo.path, base, "kill/x", EDIT, "Ours\n")
    assert repo.git("rev-parse", "kill/x") == moved


def test_names_that_are_taken_get_a_number(repo: GitRepo) -> None:
    names = []
    for _ in range(3):
        names.append(branch_name(repo.path, "kill", "ban", "Bob's & Söhne", "20261127-0312"))
        commit_on_branch(repo.path, base_of(repo), names[-1], EDIT, "Kill\n")
    plain = "kill/ban-bob-s-s-hne-20261127-0312"
    assert names == [plain, f"{plain}-2", f"{plain}-3"]


def test_a_key_that_cannot_sign_is_said(repo: GitRepo) -> None:
    repo.git("config", "commit.gpgsign", "true")
    repo.git("config", "gpg.program", "false")
    with pytest.raises(Failed, match=r"commit\.gpgsign"):
        commit_on_branch(repo.path, base_of(repo), "kill/x", EDIT, "Kill\n")
    assert repo.git("for-each-ref", "refs/heads/kill") == ""


def test_the_base_is_the_remotes_default_branch_and_head_only_where_that_is_behind_it(
    repo: GitRepo, tmp_path: Path
) -> None:
    assert base_of(repo).name == "HEAD (main)"
    add_remote(repo, tmp_path / "bare.git")
    pushed_commit = repo.head
    assert (base_of(repo).name, base_of(repo).commit) == ("origin/main", pushed_commit)
    repo.commit("Not pushed")
    assert (base_of(repo).name, base_of(repo).commit) == ("HEAD (main)", repo.head)
    repo.git("switch", "--quiet", "--create", "feature")
    assert base_of(repo).commit == pushed_commit
    repo.git("switch", "--quiet", "--detach")
    assert base_of(repo).commit == pushed_commit


def test_a_remote_that_is_away_is_said_and_what_is_known_of_it_is_used(repo: GitRepo, tmp_path: Path) -> None:
    bare = add_remote(repo, tmp_path / "bare.git")
    known = repo.head
    bare.rename(tmp_path / "away")
    base = base_of(repo)
    assert base.commit == known
    assert "could not be fetched" in base.notes[0]
    commit_on_branch(repo.path, base, "kill/x", EDIT, "Kill\n")
    assert push(repo.path, "origin", "kill/x") is not None
    (tmp_path / "away").rename(bare)
    assert push(repo.path, "origin", "kill/x") is None
    assert "kill/x" in pushed(repo, bare)


def test_a_remote_that_never_answers_is_given_up_in_time(repo: GitRepo, tmp_path: Path) -> None:
    add_remote(repo, tmp_path / "bare.git")
    repo.git("remote", "set-url", "origin", "ssh://git@127.0.0.1/acme/platform.git")
    repo.git("config", "core.sshCommand", "sleep 30; true")
    started = time.monotonic()
    base = find_base(repo.path, timeout_s=0.5)
    assert time.monotonic() - started < 10
    assert "no answer within 0.5 s" in base.notes[0]
