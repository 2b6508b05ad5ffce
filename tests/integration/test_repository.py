"""Where a project may be, and what its commits say, in real git repositories."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler.errors import Failed, Refused, UsageProblem
from reconciler.repository import Ancestry, NotARepository, Repository, ask_ahead
from tests.support.git_repositories import (
    FOLDERS,
    commit,
    git,
    git_environment,
    new_repository,
    origin,
    paths_at,
    write,
)

__all__ = ["git_environment", "origin"]  # fixtures: used by their names

ROOT = Path(__file__).resolve().parents[2]

# Opening


def test_a_directory_without_git_is_not_a_repository(tmp_path: Path) -> None:
    with pytest.raises(
        NotARepository, match=r"is not in a git repository\. Run this in a clone.*--directory.*git init"
    ):
        Repository.open(tmp_path)


def test_a_directory_that_does_not_exist_is_a_usage_problem(tmp_path: Path) -> None:
    with pytest.raises(UsageProblem, match="is not a directory"):
        Repository.open(tmp_path / "none")


def test_a_bare_repository_is_refused_with_the_way_to_a_work_tree(tmp_path: Path) -> None:
    with pytest.raises(NotARepository, match=r"bare repository.*git worktree add"):
        Repository.open(new_repository(tmp_path / "bare", "--bare"))


def test_the_inside_of_a_git_directory_is_refused(origin: Path) -> None:
    with pytest.raises(NotARepository, match=r"inside a \.git directory"):
        Repository.open(origin / ".git")


def test_a_repository_of_another_owner_is_refused_with_the_exact_command(
    origin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    with pytest.raises(Failed, match=rf"run `git config --global --add safe.directory {origin}` and try again"):
        Repository.open(origin)


def test_a_missing_git_program_is_said_with_how_to_get_it(
    origin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    with pytest.raises(Failed, match=r"git program is not installed.*apt-get install git"):
        Repository.open(origin)


def test_a_linked_work_tree_whose_repository_is_gone_is_told_from_a_plain_directory(
    origin: Path, tmp_path: Path
) -> None:
    git(origin, "worktree", "add", "-q", str(tmp_path / "tree"))
    origin.rename(tmp_path / "moved")
    with pytest.raises(NotARepository, match="git worktree repair"):
        Repository.open(tmp_path / "tree")


# Where a project may be


def test_a_project_in_a_sub_directory_sees_its_own_files_only(tmp_path: Path) -> None:
    top = new_repository(tmp_path / "top")
    write(top, {"state/not-ours.yaml": "", "ops/pro ject/state/a.yaml": "a: 1\n", "ops/pro ject/x.yaml": ""})
    commit(top)
    assert paths_at(top / "ops" / "pro ject") == ["state/a.yaml"]
    write(top, {"state/not-ours.yaml": "x: 1\n", "ops/pro ject/state/b.yaml": ""})
    assert Repository.open(top / "ops" / "pro ject").uncommitted(FOLDERS) == ["state/b.yaml"]


def test_a_project_whose_directory_has_a_line_break_in_its_name_works(tmp_path: Path) -> None:
    top = new_repository(tmp_path / "top")
    write(top, {"od\nd/state/a.yaml": "a: 1\n"})
    commit(top)
    write(top, {"od\nd/state/a.yaml": "a: 2\n"})
    assert paths_at(top / "od\nd") == ["state/a.yaml"]
    assert Repository.open(top / "od\nd").uncommitted(FOLDERS) == ["state/a.yaml"]


def test_a_project_directory_that_the_commit_does_not_have_holds_no_files(origin: Path) -> None:
    (origin / "new" / "state").mkdir(parents=True)
    assert paths_at(origin / "new") == []


def test_a_linked_work_tree_has_its_own_head(origin: Path, tmp_path: Path) -> None:
    git(origin, "worktree", "add", "-q", "-b", "side", str(tmp_path / "tree"), "HEAD~1")
    with Repository.open(tmp_path / "tree") as repository:
        assert repository.commit().subject == "commit 2"
        assert repository.files_at("HEAD", FOLDERS, [])[0].data == b"a: 2\n"


def test_a_detached_head_is_a_commit_like_any_other(origin: Path) -> None:
    git(origin, "checkout", "-q", "HEAD~2")
    assert Repository.open(origin).commit().subject == "commit 1"


def test_a_project_in_a_submodule_reads_the_submodules_commits(origin: Path, tmp_path: Path) -> None:
    outer = new_repository(tmp_path / "outer")
    git(outer, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(origin), "platform")
    commit(outer, "outer")
    with Repository.open(outer / "platform") as repository:
        assert repository.commit().subject == "commit 3"
    assert paths_at(outer / "platform") == ["state/a.yaml"]


def test_a_repository_of_the_sha256_format_works(tmp_path: Path) -> None:
    directory = new_repository(tmp_path / "sha256", "--object-format=sha256")
    first = commit(directory, a="a: 1\n")
    second = commit(directory, a="a: 2\n")
    assert len(second) == 64
    with Repository.open(directory) as repository:
        assert repository.commit().parents == (first,)
        [file] = repository.files_at(first, FOLDERS, [])
        assert (file.path, file.data, file.blob) == (
            "state/a.yaml",
            b"a: 1\n",
            git(directory, "rev-parse", f"{first}:state/a.yaml"),
        )
        assert repository.ancestry(first, second) is Ancestry.DESCENDS


def test_a_hook_reads_the_repository_of_the_directory_it_names(tmp_path: Path) -> None:
    other = new_repository(tmp_path / "other")
    write(other, {"sub/state/a.yaml": "a: 1\n"})
    commit(other, "the other's")
    here = new_repository(tmp_path / "here")
    hook = here / ".git" / "hooks" / "post-commit"
    script = f"""
from pathlib import Path
from reconciler.repository import Repository
repository = Repository.open(Path({str(other / "sub")!r}))
files = repository.files_at("HEAD", ["state"], [])
print(repository.commit().subject, [file.path for file in files], repository.uncommitted(["state"]))
"""
    (here / "script.py").write_text(script)
    hook.write_text(f"#!/bin/sh\nexport GIT_DIR=.git\nexec {sys.executable} script.py >out\n")
    hook.chmod(0o755)
    subprocess.run(
        ["git", "-C", here, "commit", "-q", "--allow-empty", "-m", "here's"],
        check=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert (here / "out").read_text() == "the other's ['state/a.yaml'] []\n"


# Commits


def test_a_commit_says_who_wrote_it_when_and_why(origin: Path) -> None:
    before = git(origin, "rev-parse", "HEAD")
    identity = commit(origin, "Pause Acme\n\nINC-142\n\nTicket: INC-142\nSigned-off-by: Ann <ann@example.org>")
    read = Repository.open(origin).commit()
    assert (read.id, read.parents) == (identity, (before,))
    assert (read.author_name, read.author_email, read.authored_at) == ("Ann", "ann@example.org", "2026-11-24T09:00:00Z")
    assert (read.committer_name, read.committer_email) == ("Bob", "bob@example.org")
    assert read.committed_at == "2026-11-24T10:00:00Z"
    assert (read.subject, read.trailers["ticket"]) == ("Pause Acme", ["INC-142"])


@pytest.mark.parametrize(
    "message",
    [
        "one line",
        "two\nlines of subject\n\nbody\n\nTicket: INC-1\nReason: a\n  longer one\nTicket: INC-2\n",
        "s\n\nprose: yes\nbut not only\n",
        "s\n\nTicket: 1\nprose\nSigned-off-by: Ann <a@b>\nmore prose\n",
        "s\n\na\nb\nc\nd\nSigned-off-by: Ann <a@b>\n",
        "s\n\nTicket : spaced\nEmpty:\n(cherry picked from commit 1234567)\n\n\n",
    ],
)
def test_subjects_and_trailers_are_what_git_log_says_they_are(origin: Path, message: str) -> None:
    git(origin, "commit", "-q", "--allow-empty", "--cleanup=verbatim", "-m", message)
    read = Repository.open(origin).commit()
    expected: dict[str, list[str]] = {}
    for line in git(origin, "log", "-1", "--format=%(trailers:only,unfold)").splitlines():
        name, _, value = line.partition(":")
        expected.setdefault(name.strip().lower(), []).append(value.strip())
    assert (read.subject, read.trailers) == (git(origin, "log", "-1", "--format=%s"), expected)


def test_a_commit_in_another_encoding_without_an_author_and_without_a_message_is_read(origin: Path) -> None:
    tree = git(origin, "rev-parse", "HEAD^{tree}")
    text = f"tree {tree}\nauthor  <> 1 +0000\ncommitter Jürgen <j@example.org> 2 +0000\nencoding ISO-8859-1\n\n"
    raw = text.encode("latin-1")
    identity = git(origin, "hash-object", "-t", "commit", "-w", "--literally", "--stdin", stdin=raw)
    read = Repository.open(origin).commit(identity)
    assert (read.author_name, read.author_email, read.committer_name, read.subject) == ("", "", "Jürgen", "")


def test_branches_tags_short_ids_and_expressions_name_commits(origin: Path) -> None:
    git(origin, "tag", "-a", "v1", "-m", "a tag object", "HEAD~2")
    git(origin, "tag", "-a", "v1-again", "-m", "a tag of a tag", "v1")
    git(origin, "branch", "feature/ü", "HEAD~1")
    with Repository.open(origin) as repository:
        names = [
            "v1",
            "v1-again",
            "feature/ü",
            "main",
            "HEAD^",
            repository.commit().id[:8],
            ":/commit 2",
            "HEAD^{/commit 1}",
        ]
        subjects = [repository.commit(name).subject[-1] for name in names]
    assert subjects == ["1", "1", "2", "3", "2", "3", "2", "1"]


@pytest.mark.parametrize("revision", ["-x", "--all", "--output=/tmp/x", "", "HEAD\nHEAD", "a\0b"])
def test_a_revision_that_looks_like_an_option_or_two_lines_never_reaches_git(origin: Path, revision: str) -> None:
    with pytest.raises(UsageProblem, match=r"is not a revision\. Name a branch"):
        Repository.open(origin).commit(revision)


def test_an_unknown_revision_gets_the_nearest_name_or_the_command_that_fetches(origin: Path) -> None:
    git(origin, "branch", "release-2026")
    repository = Repository.open(origin)
    with pytest.raises(UsageProblem, match=r'"relaese-2026" names no commit .* did you mean "release-2026"'):
        repository.commit("relaese-2026")
    with pytest.raises(UsageProblem, match=r"names no commit.*get it with `git -C .* fetch origin`"):
        repository.commit("f" * 40)


@pytest.mark.parametrize(("revision", "kind"), [("HEAD^{tree}", "tree"), ("HEAD:state/a.yaml", "blob"), ("t", "tree")])
def test_a_revision_that_names_something_else_than_a_commit_is_refused(origin: Path, revision: str, kind: str) -> None:
    git(origin, "update-ref", "refs/tags/t", git(origin, "rev-parse", "HEAD^{tree}"))
    with pytest.raises(UsageProblem, match=f"names a {kind}, not a commit"):
        Repository.open(origin).commit(revision)


def test_an_id_that_is_cut_too_short_to_be_one_object_is_said_to_be(tmp_path: Path) -> None:
    directory = new_repository(tmp_path / "many")
    commit(directory)
    contents: dict[str, bytes] = {}
    for number in range(10_000):
        content = b"%06d" % number
        beginning = hashlib.sha1(b"blob 6\0" + content).hexdigest()[:4]
        if beginning in contents:
            break
        contents[beginning] = content
    for both in (content, contents[beginning]):
        assert git(directory, "hash-object", "-w", "--stdin", stdin=both).startswith(beginning)
    with pytest.raises(UsageProblem, match="beginning of more than one object id"):
        Repository.open(directory).commit(beginning)


def test_a_repository_without_commits_says_how_to_make_one(tmp_path: Path) -> None:
    repository = Repository.open(new_repository(tmp_path / "new"))
    with pytest.raises(Refused, match=r"has no commits yet\. Commit first: `git add state schemas`"):
        repository.commit()


def test_what_is_not_committed_yet_is_listed_without_a_first_commit(tmp_path: Path) -> None:
    directory = new_repository(tmp_path / "new")
    write(directory, {"state/a.yaml": ""})
    assert Repository.open(directory).uncommitted(FOLDERS) == ["state/a.yaml"]


# Asked ahead of time


def test_what_git_was_asked_ahead_is_what_the_repository_says(origin: Path) -> None:
    write(origin, {"state/tenants/new.yaml": "x: {}\n"})
    ahead = ask_ahead(origin, FOLDERS)
    with Repository.open(origin) as later, Repository.open(origin, ahead) as repository:
        assert repository.below == later.below
        assert repository.commit().id == later.commit().id
        assert repository.uncommitted(FOLDERS) == later.uncommitted(FOLDERS) == ["state/tenants/new.yaml"]


def test_an_answer_that_was_asked_ahead_is_given_once(origin: Path) -> None:
    with Repository.open(origin, ask_ahead(origin, FOLDERS)) as repository:
        assert repository.uncommitted(FOLDERS) == []
        write(origin, {"state/tenants/new.yaml": "x: {}\n"})
        assert repository.uncommitted(FOLDERS) == ["state/tenants/new.yaml"]


def test_what_was_asked_ahead_and_is_wanted_by_nobody_ends_with_the_repository(origin: Path) -> None:
    ahead = ask_ahead(origin, FOLDERS)
    assert ahead is not None
    begun = [*ahead._begun.values()]
    assert len(begun) == 2
    Repository.open(origin, ahead).close()
    assert [process.returncode for process in begun].count(None) == 0


def test_asking_ahead_leaves_it_to_opening_to_say_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NotARepository, match="is not in a git repository"):
        Repository.open(tmp_path, ask_ahead(tmp_path, FOLDERS))
    monkeypatch.setenv("PATH", "")
    assert ask_ahead(tmp_path) is None
