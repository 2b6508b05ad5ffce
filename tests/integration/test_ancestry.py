"""How a commit stands to the one applied last, in whole, shallow, replaced and skewed histories."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from reconciler.errors import UsageProblem
from reconciler.repository import Ancestry, Repository
from tests.support.git_repositories import (
    FOLDERS,
    ancestry,
    clone,
    commit,
    git,
    git_environment,
    new_repository,
    origin,
    paths_at,
)

__all__ = ["git_environment", "origin"]  # fixtures: used by their names


def test_a_commit_stands_to_the_applied_one_as_its_history_says(origin: Path) -> None:
    git(origin, "checkout", "-q", "-b", "side", "HEAD~1")
    commit(origin, "side", b="b: 1\n")
    first, second, third = (git(origin, "rev-parse", name) for name in ("main~2", "main~1", "main"))
    assert ancestry(origin, third, "main") is Ancestry.SAME
    assert ancestry(origin, first, "main") is Ancestry.DESCENDS
    assert ancestry(origin, third, second) is Ancestry.OLDER
    assert ancestry(origin, third, "side") is Ancestry.DIVERGED
    assert ancestry(origin, "side", "main") is Ancestry.DIVERGED
    assert ancestry(origin, "main~1", "main") is Ancestry.DESCENDS


def test_a_merge_descends_from_both_of_its_sides(origin: Path) -> None:
    git(origin, "checkout", "-q", "-b", "side", "HEAD~1")
    side = commit(origin, "side", b="b: 1\n")
    git(origin, "checkout", "-q", "main")
    git(origin, "merge", "-q", "--no-edit", "side")
    assert ancestry(origin, side) is Ancestry.DESCENDS
    assert ancestry(origin, git(origin, "rev-parse", "HEAD^")) is Ancestry.DESCENDS


def test_commits_whose_clocks_ran_backwards_still_descend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = new_repository(tmp_path / "skewed")
    made = []
    for year in (2030, 2029, 2005, 2004, 2003, 2002, 2001, 2028):
        monkeypatch.setenv("GIT_COMMITTER_DATE", f"{year}-01-01T00:00:00Z")
        made.append(commit(directory))
    git(directory, "checkout", "-q", "-b", "side", made[2])
    monkeypatch.setenv("GIT_COMMITTER_DATE", "1999-01-01T00:00:00Z")
    side = commit(directory, "side")
    assert {ancestry(directory, old, "main") for old in made[:-1]} == {Ancestry.DESCENDS}
    assert {ancestry(directory, "main", old) for old in made[:-1]} == {Ancestry.OLDER}
    assert ancestry(directory, side, "main") is Ancestry.DIVERGED


def test_an_applied_commit_that_is_not_here_is_unknown(origin: Path) -> None:
    assert ancestry(origin, "f" * 40) is Ancestry.UNKNOWN
    assert ancestry(origin, "f" * 64) is Ancestry.UNKNOWN
    assert ancestry(origin, git(origin, "rev-parse", "HEAD^{tree}")) is Ancestry.UNKNOWN


def test_a_clone_of_depth_one_reads_its_commit_and_knows_nothing_of_older_ones(origin: Path) -> None:
    shallow = clone(origin, "--depth", "1")
    older = git(origin, "rev-parse", "HEAD~1")
    with Repository.open(shallow) as repository:
        assert repository.is_shallow
        assert repository.commit().parents == (older,)
        assert repository.ancestry(older, "HEAD") is Ancestry.UNKNOWN
        assert repository.ancestry(repository.commit().id, "HEAD") is Ancestry.SAME
        with pytest.raises(UsageProblem, match="fetch --unshallow origin"):
            repository.commit("HEAD~1")
    assert paths_at(shallow) == ["state/a.yaml"]


def test_a_clone_of_depth_two_knows_the_one_commit_before(origin: Path) -> None:
    shallow = clone(origin, "--depth", "2")
    assert ancestry(shallow, git(origin, "rev-parse", "HEAD~1")) is Ancestry.DESCENDS
    assert ancestry(shallow, "HEAD", "HEAD~1") is Ancestry.OLDER
    assert ancestry(shallow, git(origin, "rev-parse", "HEAD~2")) is Ancestry.UNKNOWN


def test_a_history_that_is_cut_off_above_the_applied_commit_is_unknown_and_not_diverged(origin: Path) -> None:
    git(origin, "branch", "applied", "HEAD~1")
    shallow = clone(origin, "--depth", "1", "--no-single-branch")
    applied = git(shallow, "rev-parse", "origin/applied")
    no = subprocess.run(["git", "-C", shallow, "merge-base", "--is-ancestor", applied, "HEAD"], check=False).returncode
    assert no == 1  # what git says, though the commit does descend
    assert ancestry(shallow, applied) is Ancestry.UNKNOWN
    assert ancestry(shallow, "HEAD", applied) is Ancestry.UNKNOWN  # it is older: this clone cannot know
    git(shallow, "fetch", "-q", "--unshallow", "origin")
    assert ancestry(shallow, applied) is Ancestry.DESCENDS


def test_a_shallow_clone_says_diverged_where_the_history_that_matters_is_complete(origin: Path) -> None:
    git(origin, "checkout", "-q", "--orphan", "orphan")
    commit(origin, "an own root")
    commit(origin, "its tip")
    git(origin, "checkout", "-q", "main")
    shallow = clone(origin, "--depth", "2", "--no-single-branch")
    with Repository.open(shallow) as repository:
        assert repository.is_shallow
        assert repository.ancestry("origin/main", "origin/orphan") is Ancestry.DIVERGED
        assert repository.ancestry("origin/orphan", "origin/main") is Ancestry.UNKNOWN


def test_a_cut_below_both_commits_does_not_hide_that_they_diverged(origin: Path) -> None:
    git(origin, "checkout", "-q", "-b", "side")
    commit(origin, "side")
    git(origin, "checkout", "-q", "main")
    commit(origin, "main")
    shallow = clone(origin, "--depth", "2", "--no-single-branch")
    assert ancestry(shallow, "origin/side", "origin/main") is Ancestry.DIVERGED


def test_a_work_tree_linked_to_a_shallow_clone_finds_where_its_history_is_cut(origin: Path, tmp_path: Path) -> None:
    git(origin, "branch", "applied", "HEAD~2")
    shallow = clone(origin, "--depth", "1", "--no-single-branch")
    git(shallow, "worktree", "add", "-q", "--detach", str(tmp_path / "tree"))
    (tmp_path / "tree" / "deep").mkdir()
    assert ancestry(tmp_path / "tree" / "deep", "origin/applied") is Ancestry.UNKNOWN


def test_the_deepening_command_works_as_printed(origin: Path) -> None:
    shallow = clone(origin, "--depth", "1")
    git(shallow, "remote", "rename", "origin", "up$stream")
    command = Repository.open(shallow).deepen_command
    assert command == f"git -C {shallow} fetch --unshallow 'up$stream'"
    subprocess.run(command, shell=True, check=True, capture_output=True)
    assert ancestry(shallow, git(origin, "rev-parse", "HEAD~2")) is Ancestry.DESCENDS


def test_the_deepening_command_names_the_remote_of_the_branch(
    origin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shallow = clone(origin, "--depth", "1")
    git(shallow, "remote", "add", "fork", "https://user:secret@example.org/x.git")
    monkeypatch.chdir(shallow)
    assert Repository.open(shallow).deepen_command == "git fetch --unshallow origin"
    git(shallow, "config", "branch.main.remote", "fork")
    assert Repository.open(shallow).deepen_command == "git fetch --unshallow fork"
    git(shallow, "checkout", "-q", "--detach")
    assert Repository.open(shallow).deepen_command == "git fetch --unshallow origin"


def test_replacements_and_grafts_of_one_clone_change_neither_files_nor_ancestry(origin: Path) -> None:
    first, head = git(origin, "rev-parse", "HEAD~2"), git(origin, "rev-parse", "HEAD")
    git(origin, "checkout", "-q", "--orphan", "forged")
    forged = commit(origin, "forged", a="a: forged\n")
    git(origin, "checkout", "-q", "main")
    git(origin, "replace", head, forged)
    (origin / ".git" / "info").mkdir(exist_ok=True)
    (origin / ".git" / "info" / "grafts").write_text(f"{forged} {head}\n")
    assert git(origin, "log", "-1", "--format=%s", head) == "forged"
    with Repository.open(origin) as repository:
        assert repository.commit(head).subject == "commit 3"
        assert repository.files_at(head, FOLDERS, [])[0].data == b"a: 3\n"
        assert repository.ancestry(first, head) is Ancestry.DESCENDS
        assert repository.ancestry(head, forged) is Ancestry.DIVERGED


def test_a_trailer_counts_in_every_commit_since_the_applied_one_and_in_none_before(origin: Path) -> None:
    commit(origin, "before\n\nAllow: 1")
    applied = commit(origin, "applied\n\nAllow: 2")
    git(origin, "checkout", "-q", "-b", "side")
    commit(origin, "on a branch\n\nAllow: 3")
    git(origin, "checkout", "-q", "main")
    git(origin, "merge", "-q", "--no-ff", "-m", "merge\n\nallow: 4", "side")
    with Repository.open(origin) as repository:
        head = repository.commit()
        assert set(repository.trailers_since(applied, head, "Allow")) == {"3", "4"}
        assert repository.trailers_since(None, head, "Allow") == ["4"]
        assert repository.trailers_since("f" * 40, head, "Allow") == ["4"]
        assert repository.trailers_since(applied, head, "Other") == []
