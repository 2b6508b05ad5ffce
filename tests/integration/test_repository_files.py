"""The files of commits, what is not committed, damage, and the processes of git, in real git repositories."""

from __future__ import annotations

import gc
import os
import shutil
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.documents import MAX_FILE_BYTES
from reconciler.errors import Failed, Problem, Refused
from reconciler.git import explain
from reconciler.repository import Ancestry, Repository, SourceFile, files_in_work_tree
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
    write,
)

__all__ = ["git_environment", "origin"]  # fixtures: used by their names

# Files of a commit


def test_the_files_of_any_revision_are_read_without_touching_the_work_tree(origin: Path) -> None:
    write(origin, {"state/a.yaml": "a: edited\n", "state/new.yaml": ""})
    with Repository.open(origin) as repository:
        contents = [repository.files_at(name, FOLDERS, [])[0].data for name in ("HEAD~2", "HEAD~1", "HEAD")]
        assert contents == [b"a: 1\n", b"a: 2\n", b"a: 3\n"]
        [file] = repository.files_at(repository.commit("HEAD~2"), FOLDERS, [])
    assert file.blob == git(origin, "rev-parse", "HEAD~2:state/a.yaml")
    assert (origin / "state" / "a.yaml").read_text() == "a: edited\n"


def test_an_ending_in_capitals_is_a_problem_in_a_commit_as_in_its_work_tree(tmp_path: Path) -> None:
    directory = new_repository(tmp_path / "capitals")
    write(directory, {"state/tenants.YAML": "a: 1\n", "state/t/b.Yml": "", "state/YAML": "", "state/.c.YAML": ""})
    commit(directory)
    of_commit: list[Problem] = []
    of_work_tree: list[Problem] = []
    assert Repository.open(directory).files_at("HEAD", FOLDERS, of_commit) == []
    assert files_in_work_tree(directory, FOLDERS, of_work_tree) == []
    said = "the file's ending has capitals, and such files are not read (rename it: .yaml)"
    expected = {f"state/t/b.Yml:1:1: {said}", f"state/tenants.YAML:1:1: {said}"}
    assert {str(problem) for problem in of_commit} == {str(problem) for problem in of_work_tree} == expected


def test_a_commit_and_its_work_tree_hold_the_same_files_whatever_their_names(tmp_path: Path) -> None:
    directory = new_repository(tmp_path / "names")
    names = [
        "a b",
        "line\nbreak",
        "tab\there",
        'quo"te',
        "back\\slash",
        "Bäckerei",
        "休止",
        "[1]*",
        "a/deep/er/x",
        "a-b",
    ]
    write(directory, {f"state/{name}.yaml": f"{number}: 1\n" for number, name in enumerate(names)})
    write(directory, {"schemas/t.yml": "", "schemas/playbooks/p.yaml": "", "schemas/json/t.json": "{}", "x.yaml": ""})
    write(directory, {"state/.hidden.yaml": "", "state/.hidden/a.yaml": "", "state/README": ""})
    commit(directory)
    problems: list[Problem] = []
    committed = Repository.open(directory).files_at("HEAD", FOLDERS, problems)
    standing = files_in_work_tree(directory, FOLDERS, problems)
    assert problems == []
    assert len(committed) == len(names) + 2
    assert [(file.path, file.data) for file in committed] == [(file.path, file.data) for file in standing]
    assert [file.path for file in committed] == sorted(file.path for file in committed)


def test_links_and_submodules_in_a_commit_are_problems_and_are_not_followed(origin: Path, tmp_path: Path) -> None:
    (origin / "state" / "link.yaml").symlink_to("a.yaml")
    (origin / "state" / "tenants").symlink_to("/etc")
    git(origin, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(clone(origin)), "state/sub")
    commit(origin)
    readers: list[Callable[[list[Problem]], list[SourceFile]]] = [
        lambda problems: Repository.open(origin).files_at("HEAD", FOLDERS, problems),
        lambda problems: files_in_work_tree(origin, FOLDERS, problems),
    ]
    for read in readers:
        problems: list[Problem] = []
        assert [file.path for file in read(problems)] == ["state/a.yaml"]
        told = {str(problem.location): problem.message for problem in problems}
        assert told.keys() == {"state/link.yaml:1:1", "state/tenants:1:1", "state/sub:1:1"}
        assert "symbolic link" in told["state/link.yaml:1:1"]
        assert "symbolic link" in told["state/tenants:1:1"]
        assert "submodule" in told["state/sub:1:1"]


def test_a_folder_that_is_a_file_or_a_link_in_the_commit_is_a_problem(tmp_path: Path) -> None:
    directory = new_repository(tmp_path / "r")
    write(directory, {"state": "", "real/a.yaml": ""})
    (directory / "schemas").symlink_to("real")
    commit(directory)
    problems: list[Problem] = []
    assert Repository.open(directory).files_at("HEAD", FOLDERS, problems) == []
    assert ["not a folder" in problems[0].message, "symbolic link" in problems[1].message] == [True, True]


def test_a_name_in_a_commit_that_is_not_utf8_is_a_problem(origin: Path) -> None:
    blob = git(origin, "hash-object", "-w", "--stdin")
    git(origin, "update-index", "-z", "--index-info", stdin=b"100644 %s\tstate/caf\xe9.yaml\0" % blob.encode())
    git(origin, "commit", "-q", "-m", "latin")
    problems: list[Problem] = []
    assert [file.path for file in Repository.open(origin).files_at("HEAD", FOLDERS, problems)] == ["state/a.yaml"]
    assert [str(problem.location) for problem in problems] == [r"state/caf\xe9.yaml:1:1"]


def test_a_file_above_the_limit_is_not_kept_and_the_files_around_it_are(origin: Path) -> None:
    with open(origin / "state" / "big.yaml", "wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    commit(origin, z="z: 1\n")
    problems: list[Problem] = []
    files = Repository.open(origin).files_at("HEAD", FOLDERS, problems)
    assert [(file.path, file.data) for file in files] == [("state/a.yaml", b"a: 3\n"), ("state/z.yaml", b"z: 1\n")]
    assert [str(problem.location) for problem in problems] == ["state/big.yaml:1:1"]


def test_more_files_than_fit_into_any_pipe_all_arrive(tmp_path: Path) -> None:
    directory = new_repository(tmp_path / "many")
    contents = {f"state/t/{n % 50}/{n}.yaml": f"{n}: {'x' * (n % 99)}\n" for n in range(4000)}
    write(directory, contents)
    commit(directory)
    files = Repository.open(directory).files_at("HEAD", FOLDERS, [])
    assert {file.path: file.data.decode() for file in files} == contents


# What is not committed


def test_every_way_to_differ_from_head_is_listed_once(origin: Path) -> None:
    commit(origin, staged="1\n", gone="1\n", moved="1\n", kept="1\n", modified="1\n")
    write(origin, {".gitignore": "ignored*\n", "elsewhere/x.yaml": "", "state/ignored.txt": ""})
    write(origin, {"state/modified.yaml": "2\n", "state/staged.yaml": "2\n", "state/new folder/ü\n.yaml": ""})
    git(origin, "add", "state/staged.yaml")
    git(origin, "mv", "state/moved.yaml", "state/moved-here.yaml")
    (origin / "state" / "gone.yaml").unlink()
    assert Repository.open(origin).uncommitted(FOLDERS) == [
        "state/gone.yaml",
        "state/modified.yaml",
        "state/moved-here.yaml",
        "state/moved.yaml",
        "state/new folder/ü\n.yaml",
        "state/staged.yaml",
    ]


def test_what_git_ignores_counts_where_a_dry_run_would_read_it(origin: Path) -> None:
    write(origin, {".gitignore": "*.local.*\nkept-here/\n.hidden*\n", "elsewhere/a.local.yaml": ""})
    read = [f"state/{name}" for name in ("B.local.YAML", "a.local.yml", "kept-here/x/c.yaml")]
    write(origin, dict.fromkeys(read, "") | {"state/a.local.txt": "", "state/.hidden.yaml": ""})
    write(origin, {"state/kept-here/README.md": "", "state/kept-here/.hidden/d.yaml": ""})
    assert Repository.open(origin).uncommitted(FOLDERS) == read


def test_a_merge_conflict_counts_as_not_committed(origin: Path) -> None:
    git(origin, "checkout", "-q", "-b", "side", "HEAD~1")
    commit(origin, a="a: side\n")
    subprocess.run(["git", "-C", origin, "merge", "-q", "main"], check=False, capture_output=True)
    assert Repository.open(origin).uncommitted(FOLDERS) == ["state/a.yaml"]


def test_configuration_does_not_hide_or_change_what_is_listed(origin: Path) -> None:
    for name, value in {
        "status.showUntrackedFiles": "no",
        "status.relativePaths": "false",
        "status.branch": "true",
        "status.short": "true",
        "core.quotePath": "true",
        "core.fsmonitor": "false; touch fsmonitor-ran #",
        "color.ui": "always",
    }.items():
        git(origin, "config", name, value)
    write(origin, {"state/é.yaml": ""})
    repository = Repository.open(origin)
    assert repository.uncommitted(FOLDERS) == ["state/é.yaml"]
    assert repository.commit().subject == "commit 3"
    assert not (origin / "fsmonitor-ran").exists()


def test_the_name_of_a_folder_is_no_pattern(origin: Path) -> None:
    write(origin, {"state/new.yaml": "", "s*/new.yaml": ""})
    assert Repository.open(origin).uncommitted(["s*"]) == ["s*/new.yaml"]


def test_asking_leaves_the_index_as_it_is(origin: Path) -> None:
    index = origin / ".git" / "index"
    os.utime(origin / "state" / "a.yaml", (1, 1))  # `git status` by itself would now refresh the index
    before = index.read_bytes()
    assert Repository.open(origin).uncommitted(FOLDERS) == []
    assert index.read_bytes() == before


# Broken repositories


def object_file(directory: Path, name: str) -> Path:
    identity = git(directory, "rev-parse", name)
    path = directory / ".git" / "objects" / identity[:2] / identity[2:]
    path.chmod(stat.S_IRUSR | stat.S_IWUSR)
    return path


@pytest.mark.parametrize("name", ["HEAD", "HEAD^{tree}", "HEAD:state", "HEAD:state/a.yaml"])
@pytest.mark.parametrize(
    "damage", [Path.unlink, lambda path: path.write_bytes(b"garbage"), lambda path: path.write_bytes(b"")],
    ids=["missing", "garbage", "empty"],
)  # fmt: skip
def test_a_missing_or_damaged_object_fails_with_gits_words_and_what_to_do(
    origin: Path, name: str, damage: Callable[[Path], object]
) -> None:
    damage(object_file(origin, name))
    with pytest.raises(Failed, match=r"git cannot read the repository of .*(missing|damaged|corrupt).*fsck") as raised:
        Repository.open(origin).files_at("HEAD", FOLDERS, [])
    assert not isinstance(raised.value, Refused)


def test_a_history_with_a_hole_in_it_fails_instead_of_guessing(origin: Path) -> None:
    git(origin, "checkout", "-q", "-b", "side", "HEAD~2")
    commit(origin, "side")
    object_file(origin, "main~1").unlink()
    with pytest.raises(Failed, match="fsck"):
        ancestry(origin, "side", "main")


def test_a_damaged_index_fails_with_gits_words(origin: Path) -> None:
    (origin / ".git" / "index").write_bytes(b"garbage")
    with pytest.raises(Failed, match=r"index.*fsck"):
        Repository.open(origin).uncommitted(FOLDERS)


def test_a_partial_clone_fetches_what_it_lacks_while_its_remote_is_there(origin: Path) -> None:
    partial = clone(origin, "--no-checkout", "--filter=blob:none")
    assert paths_at(partial) == ["state/a.yaml"]


def test_a_partial_clone_whose_remote_is_gone_says_so_and_how_to_complete_it(origin: Path) -> None:
    partial = clone(origin, "--no-checkout", "--filter=blob:none")
    git(partial, "remote", "set-url", "origin", "https://user:hunter2@127.0.0.1:1/x.git")
    with pytest.raises(Failed, match=r"partial, and what it lacks could not be fetched.*--filter") as raised:
        Repository.open(partial).files_at("HEAD", FOLDERS, [])
    assert "hunter2" not in str(raised.value)


def test_a_password_in_what_git_says_is_left_out(tmp_path: Path) -> None:
    said = b"fatal: unable to access 'https://user:hunter2@example.org/x.git/': no route to host"
    assert "'https://example.org/x.git/': no route" in str(explain(said, tmp_path))


# Processes


def counting_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a `git` before the real one on PATH that notes each of its starts; where it notes them."""
    real = shutil.which("git")
    log = tmp_path / "starts"
    wrapper = tmp_path / "bin" / "git"
    wrapper.parent.mkdir()
    wrapper.write_text(f'#!/bin/sh\necho $$ "$@" >>{log}\nexec {real} "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{wrapper.parent}{os.pathsep}{os.environ['PATH']}")
    return log


def test_an_apply_reads_everything_with_three_starts_of_git(
    origin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = counting_git(tmp_path, monkeypatch)
    with Repository.open(origin) as repository:
        found = repository.commit("HEAD")
        assert repository.uncommitted(FOLDERS) == []
        assert len(repository.files_at(found, FOLDERS, [])) == 1
        assert repository.ancestry(found.id, "HEAD") is Ancestry.SAME
    assert len(log.read_text().splitlines()) == 3


@pytest.mark.parametrize("end", ["close", "collect"])
def test_the_git_process_ends_when_the_repository_is_closed_or_forgotten(
    origin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    log = counting_git(tmp_path, monkeypatch)
    repository = Repository.open(origin)
    repository.commit()
    reader = int(log.read_text().splitlines()[-1].split()[0])
    os.kill(reader, 0)
    if end == "close":
        repository.close()
        repository.close()
    else:
        del repository
        gc.collect()
    with pytest.raises(ProcessLookupError):
        os.kill(reader, 0)


def test_a_repository_that_was_closed_can_be_asked_again(origin: Path) -> None:
    repository = Repository.open(origin)
    repository.commit()
    repository.close()
    assert repository.commit().subject == "commit 3"


def test_a_git_that_is_killed_is_an_error_and_the_next_question_starts_another(
    origin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = counting_git(tmp_path, monkeypatch)
    repository = Repository.open(origin)
    repository.commit()
    os.kill(int(log.read_text().splitlines()[-1].split()[0]), 9)
    time.sleep(0.1)
    with pytest.raises(Failed, match="git ended without a word"):
        repository.commit()
    assert repository.commit().subject == "commit 3"
