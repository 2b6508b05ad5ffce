"""`reconcile fmt`: which files it looks at, what it writes, what it only says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import cli
from tests.support.corpus import POLICY_FILE, TABLE_FILE
from tests.support.project import TOP

HEADER = "# yaml-language-server: $schema=../schemas/json/shops.state.schema.json\n"
BAD = "acme: {title: Acme, open: True}\n"
GOOD = HEADER + "acme:\n  open: true\n  title: Acme\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for path, data in {"schemas/shops.yaml": TABLE_FILE, "schemas/policy.yaml": POLICY_FILE}.items():
        write(tmp_path, path, data.decode())
    return tmp_path


def write(project: Path, path: str, text: str) -> Path:
    file = project / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text.encode())
    return file


def test_all_of_state_is_written_in_the_style_and_then_stays_so(project: Path) -> None:
    bad, good = write(project, "state/shops.yaml", BAD), write(project, "state/shops/b.yml", "b: {open: true}\r\n")
    done = cli.run("fmt", cwd=project)
    assert (done.code, done.out) == (0, "2 of 2 files formatted.\n"), str(done)
    assert done.err == "state/shops.yaml: formatted\nstate/shops/b.yml: formatted\n"
    assert bad.read_text() == GOOD
    assert good.read_bytes().endswith(b"\nb:\n  open: true\n")
    done = cli.run("fmt", cwd=project)
    assert (done.code, done.out, done.err) == (0, "0 of 2 files formatted.\n", "")


def test_a_check_lists_files_writes_nothing_and_ends_with_2(project: Path) -> None:
    file = write(project, "state/shops.yaml", BAD)
    done = cli.run("fmt", "--check", cwd=project)
    assert (done.code, done.out, done.err) == (2, "state/shops.yaml\n", "1 of 1 file would be formatted.\n")
    assert file.read_text() == BAD
    file.write_text(GOOD)
    done = cli.run("fmt", "--check", cwd=project)
    assert (done.code, done.out) == (0, "")


def test_a_diff_shows_what_would_change(project: Path) -> None:
    file = write(project, "state/shops.yaml", BAD)
    done = cli.run("fmt", "--diff", cwd=project)
    assert done.code == 0
    assert done.out.startswith("--- a/state/shops.yaml\n+++ b/state/shops.yaml\n")
    assert "\n-acme: {title: Acme, open: True}\n" in done.out
    assert cli.run("fmt", "--diff", "--check", cwd=project).code == 2
    assert file.read_text() == BAD


def test_paths_are_seen_from_where_the_command_runs(project: Path) -> None:
    one, other = write(project, "state/shops/a.yaml", BAD), write(project, "state/shops/b.yaml", "b: {open: True}\n")
    done = cli.run("fmt", "-C", str(project), "b.yaml", cwd=other.parent)
    assert (done.code, done.err) == (0, "state/shops/b.yaml: formatted\n"), str(done)
    assert one.read_text() == BAD
    assert cli.run("fmt", "--check", "state/shops", cwd=project).out == "state/shops/a.yaml\n"
    assert cli.run("fmt", "--check", ".", cwd=project).out == "state/shops/a.yaml\n"


def test_a_path_that_is_none_of_state_is_a_mistake(project: Path) -> None:
    write(project, "state/shops.yaml", BAD)
    for path in ("schemas/policy.yaml", ".."):
        done = cli.run("fmt", path, cwd=project)
        assert done.code == 64, str(done)
    assert "no folder, of state/" in cli.run("fmt", "schemas/policy.yaml", cwd=project).err


def test_what_is_no_state_is_said_and_the_others_are_formatted(project: Path) -> None:
    good = write(project, "state/shops.yaml", BAD)
    write(project, "state/shops/broken.yaml", "b: [\n")
    write(project, "state/shosp.yaml", "a: {open: true}\n")
    done = cli.run("fmt", cwd=project)
    assert done.code == 3
    assert "state/shops/broken.yaml:1:5: " in done.err
    assert 'state/shosp.yaml:1:1: no schema for a table "shosp" (did you mean "shops"?)' in done.err
    assert good.read_text() == GOOD


def test_what_cannot_be_formatted_is_left_and_named(project: Path) -> None:
    text = "? acme\n: ? extra\n  : - 1\n"
    file = write(project, "state/shops.yaml", text)
    done = cli.run("fmt", cwd=project)
    assert done.code == 0
    assert "note: state/shops.yaml is left as it is" in done.err
    assert file.read_text() == text


def test_the_state_of_this_project_and_of_a_new_one_is_formatted(tmp_path: Path) -> None:
    done = cli.run("fmt", "--check", cwd=TOP)
    assert (done.code, done.out) == (0, ""), str(done)
    assert cli.run("new", "ours", "--install", "reconcile==1", cwd=tmp_path).code == 0
    assert cli.run("fmt", "--check", "-C", "ours", cwd=tmp_path).code == 0
