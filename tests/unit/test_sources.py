"""The project's files read from a work tree, with everything in it that a file system can hold. No git anywhere."""

from __future__ import annotations

import os
import socket
import stat
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from reconciler import sources
from reconciler.errors import Problem, UsageProblem
from reconciler.sources import files_in_work_tree

FOLDERS = ("state", "schemas")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    directory = tmp_path / "project"
    (directory / "state" / "tenants").mkdir(parents=True)
    return directory


def only_problem(directory: Path) -> Problem:
    problems: list[Problem] = []
    assert files_in_work_tree(directory, FOLDERS, problems) == []
    [problem] = problems
    return problem


def test_yaml_files_of_the_folders_are_read_as_bytes_in_the_order_of_their_paths(project: Path) -> None:
    (project / "state" / "z.yml").write_bytes(b"\xff\r\n")
    (project / "state" / "tenants" / "b.yaml").write_bytes(b"b: 1\n")
    (project / "state" / "tenants" / "a.yaml").write_bytes(b"")
    (project / "schemas" / "json").mkdir(parents=True)
    (project / "schemas" / "tenants.yaml").write_bytes(b"table: tenants\n")
    (project / "schemas" / "json" / "tenants.json").write_bytes(b"{}")
    (project / "other.yaml").write_bytes(b"")
    problems: list[Problem] = []
    files = files_in_work_tree(project, FOLDERS, problems)
    assert problems == []
    assert [(file.path, file.blob, file.data) for file in files] == [
        ("schemas/tenants.yaml", None, b"table: tenants\n"),
        ("state/tenants/a.yaml", None, b""),
        ("state/tenants/b.yaml", None, b"b: 1\n"),
        ("state/z.yml", None, b"\xff\r\n"),
    ]


def test_names_with_spaces_line_breaks_and_any_script_are_kept(project: Path) -> None:
    names = ["a b.yaml", "a\nb.yaml", "Bäckerei [1]*.yaml", "休止.yaml"]
    for name in names:
        (project / "state" / name).write_bytes(b"x: 1\n")
    found = {file.path for file in files_in_work_tree(project, FOLDERS, [])}
    assert found == {f"state/{name}" for name in names}


def test_hidden_files_hidden_folders_and_other_endings_are_left_out(project: Path) -> None:
    (project / "state" / ".swap").mkdir()
    for name in (".a.yaml", ".swap/b.yaml", "README.md", "a.yaml.orig", "yaml"):
        (project / "state" / name).write_bytes(b"x: 1\n")
    (project / "state" / ".#lock.yaml").symlink_to("nowhere")
    problems: list[Problem] = []
    assert (files_in_work_tree(project, FOLDERS, problems), problems) == ([], [])


def test_a_folder_that_does_not_exist_holds_no_files(tmp_path: Path) -> None:
    problems: list[Problem] = []
    assert (files_in_work_tree(tmp_path, FOLDERS, problems), problems) == ([], [])


def test_a_project_directory_that_does_not_exist_is_a_usage_problem(tmp_path: Path) -> None:
    with pytest.raises(UsageProblem, match="--directory"):
        files_in_work_tree(tmp_path / "none", FOLDERS, [])


def test_a_project_directory_that_is_itself_reached_by_a_link_is_read(project: Path, tmp_path: Path) -> None:
    (project / "state" / "a.yaml").write_bytes(b"a: 1\n")
    (tmp_path / "link").symlink_to(project)
    assert [file.path for file in files_in_work_tree(tmp_path / "link", FOLDERS, [])] == ["state/a.yaml"]


def test_a_link_out_of_the_project_is_refused_with_its_target(project: Path, tmp_path: Path) -> None:
    (tmp_path / "project-secrets.yaml").write_bytes(b"password: x\n")
    (project / "state" / "a.yaml").symlink_to("../../project-secrets.yaml")
    problem = only_problem(project)
    assert str(problem.location) == "state/a.yaml:1:1"
    assert f"{tmp_path}/project-secrets.yaml, outside the project's directory" in problem.message


def test_a_link_to_a_folder_outside_is_refused_and_not_walked(project: Path) -> None:
    (project / "state" / "all").symlink_to("/")
    assert "a symbolic link to /, outside" in only_problem(project).message


def test_a_link_within_the_project_is_refused_because_a_commit_holds_only_its_name(project: Path) -> None:
    (project / "shared.yaml").write_bytes(b"a: 1\n")
    (project / "state" / "a.yaml").symlink_to("../shared.yaml")
    problem = only_problem(project)
    assert "links are not followed" in problem.message
    assert "move the file here" in problem.hint


@pytest.mark.parametrize("target", ["gone.yaml", "a.yaml"])
def test_a_link_that_leads_nowhere_or_to_itself_is_refused(project: Path, target: str) -> None:
    (project / "state" / "a.yaml").symlink_to(target)
    assert "leads nowhere" in only_problem(project).message


def test_a_folder_that_is_a_link_or_a_file_is_refused(project: Path) -> None:
    (project / "state" / "tenants").rmdir()
    (project / "state").rmdir()
    (project / "state").symlink_to("schemas")
    (project / "schemas").write_bytes(b"")
    problems: list[Problem] = []
    files_in_work_tree(project, FOLDERS, problems)
    assert ["symbolic link" in problems[0].message, "not a folder" in problems[1].message] == [True, True]


def test_a_fifo_a_socket_and_a_device_are_refused_without_waiting_for_them(project: Path) -> None:
    os.mkfifo(project / "state" / "fifo.yaml")
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.getcwd()
        os.chdir(project / "state")  # a socket's path may not be long
        try:
            listener.bind("socket.yaml")
        finally:
            os.chdir(here)
        problems = problems_without_waiting(project)
    assert sorted(str(problem.location) for problem in problems) == ["state/fifo.yaml:1:1", "state/socket.yaml:1:1"]
    assert all("a FIFO, a device or a socket" in problem.message for problem in problems)


def test_a_fifo_that_takes_a_files_place_after_the_listing_does_not_block(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = project / "state" / "a.yaml"
    target.write_bytes(b"a: 1\n")
    replace_before_open(monkeypatch, [target.unlink, lambda: os.mkfifo(target)])
    [problem] = problems_without_waiting(project)
    assert "a FIFO" in problem.message


def test_a_link_that_takes_a_files_place_after_the_listing_is_not_followed(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = project / "state" / "a.yaml"
    target.write_bytes(b"a: 1\n")
    (tmp_path / "secret").write_bytes(b"secret: 1\n")
    replace_before_open(monkeypatch, [target.unlink, lambda: target.symlink_to(tmp_path / "secret")])
    assert "cannot be read" in only_problem(project).message


def test_a_file_that_is_deleted_between_listing_and_reading_is_a_problem(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = project / "state" / "a.yaml"
    target.write_bytes(b"a: 1\n")
    replace_before_open(monkeypatch, [target.unlink])
    assert "disappeared" in only_problem(project).message


def test_a_file_above_the_limit_is_refused_without_being_read(project: Path) -> None:
    with open(project / "state" / "big.yaml", "wb") as file:
        file.truncate(200 * 1024 * 1024)
    problem = only_problem(project)
    assert "209,715,200 bytes" in problem.message
    assert "split it" in problem.hint


def test_a_file_of_exactly_the_limit_is_read_and_one_more_byte_is_not(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "MAX_FILE_BYTES", 10)
    (project / "state" / "a.yaml").write_bytes(b"0123456789")
    (project / "state" / "b.yaml").write_bytes(b"0123456789x")
    problems: list[Problem] = []
    assert [file.path for file in files_in_work_tree(project, FOLDERS, problems)] == ["state/a.yaml"]
    assert [str(problem.location) for problem in problems] == ["state/b.yaml:1:1"]


def test_a_file_and_a_folder_without_the_right_to_read_are_problems() -> None:
    with readable_by_others() as project:
        (project / "state" / "closed").mkdir(parents=True)
        (project / "state" / "a.yaml").write_bytes(b"a: 1\n")
        (project / "state" / "a.yaml").chmod(0)
        (project / "state" / "closed").chmod(0)
        try:
            with as_ordinary_user():
                problems: list[Problem] = []
                assert files_in_work_tree(project, FOLDERS, problems) == []
        finally:
            (project / "state" / "closed").chmod(stat.S_IRWXU)
    assert sorted(str(problem.location) for problem in problems) == ["state/a.yaml:1:1", "state/closed:1:1"]
    assert all("may not be read" in problem.message for problem in problems)


def test_a_repository_inside_the_folders_is_refused(project: Path) -> None:
    (project / "state" / "tenants" / ".git").mkdir()
    (project / "state" / "tenants" / "a.yaml").write_bytes(b"a: 1\n")
    problem = only_problem(project)
    assert "submodule" in problem.message
    assert str(problem.location) == "state/tenants:1:1"


def test_a_name_that_is_not_utf8_is_a_problem_whose_text_can_be_printed(project: Path) -> None:
    try:
        with open(os.fsencode(project / "state") + b"/caf\xe9.yaml", "wb"):
            pass
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    problem = only_problem(project)
    assert r"state/caf\xe9.yaml" in str(problem)
    str(problem).encode("utf-8")


def problems_without_waiting(project: Path) -> list[Problem]:
    """The problems of a project, read by a thread that is given up where it waits for what never comes."""
    problems: list[Problem] = []
    reading = threading.Thread(target=files_in_work_tree, args=(project, FOLDERS, problems), daemon=True)
    reading.start()
    reading.join(timeout=20)
    assert not reading.is_alive()
    return problems


def replace_before_open(monkeypatch: pytest.MonkeyPatch, steps: list[Callable[[], object]]) -> None:
    """Let another process, as it were, get in between the listing and the reading of the first file."""
    open_descriptor = os.open

    def opening(path: bytes, flags: int) -> int:
        while steps:
            steps.pop(0)()
        return open_descriptor(path, flags)

    monkeypatch.setattr(os, "open", opening)


@contextmanager
def readable_by_others() -> Iterator[Path]:
    """A project directory that another user can get to, as pytest's own cannot be."""
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        yield Path(directory)


@contextmanager
def as_ordinary_user() -> Iterator[None]:
    """Without root's right to read everything, where the tests run as root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
