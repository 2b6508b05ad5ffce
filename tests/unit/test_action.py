"""The action is one: the copy that `reconcile new` writes is the same, and so are the workflows, but for its place."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler.cli.ci import command
from tests.support.project import TOP
from tests.support.workflow_runner import read, read_outputs

SCAFFOLD = TOP / "reconciler" / "scaffold" / "files"


def test_a_new_repository_gets_the_same_action() -> None:
    assert (SCAFFOLD / "action.yml").read_text() == (TOP / "action.yml").read_text()


@pytest.mark.parametrize("name", ["plan", "apply", "drift"])
def test_a_new_repository_gets_the_same_workflows(name: str) -> None:
    ours = (TOP / ".github" / "workflows" / f"{name}.yml").read_text()
    theirs = (SCAFFOLD / f"{name}.yml").read_text()
    theirs = theirs.replace("          requirements: requirements.txt\n", "")
    uses = re.compile(r"- uses: \./.*")
    assert uses.sub("-", theirs) == uses.sub("-", ours)


def test_no_script_of_the_action_holds_an_expression() -> None:
    steps = read(TOP / "action.yml")["runs"]["steps"]
    scripts = [step["run"] for step in steps if "run" in step]
    assert len(scripts) == 4
    assert not [script for script in scripts if "${{" in script]


def test_the_modes_that_the_action_names_are_those_of_the_command() -> None:
    [mode] = [parameter for parameter in command.params if parameter.name == "mode"]
    described = read(TOP / "action.yml")["inputs"]["mode"]["description"]
    for name in mode.type.choices:  # type: ignore[attr-defined]
        assert name in described


def test_every_input_and_output_is_documented() -> None:
    action = read(TOP / "action.yml")
    page = (TOP / "docs" / "github.md").read_text()
    rows = re.findall(r"^\| (`.*?) \|", page, flags=re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`([\w-]+)`", row)}
    assert set(action["inputs"]) | set(action["outputs"]) <= named


def key_of(action: Path, workspace: Path, **given: str) -> str:
    """The cache's key, by the action's own step."""
    [step] = [step for step in read(TOP / "action.yml")["runs"]["steps"] if step.get("id") == "installed"]
    written = workspace / "outputs"
    written.write_text("")
    inputs = {"PYTHON": sys.executable, "REQUIREMENTS": "", "EXTRAS": "", **given}
    runner = {"RUNNER_OS": "Linux", "RUNNER_ARCH": "X64", "RUNNER_TEMP": "/temp", "GITHUB_OUTPUT": str(written)}
    subprocess.run(
        ["bash", "-c", step["run"]], cwd=workspace, check=True,
        env={"PATH": os.environ["PATH"], "GITHUB_ACTION_PATH": str(action), **runner, **inputs},
    )  # fmt: skip
    return read_outputs(written.read_text())["key"]


def test_whatever_decides_what_is_installed_is_in_the_key_of_the_cache(tmp_path: Path) -> None:
    action, workspace = tmp_path / "an action", tmp_path / "work"
    for path in ("reconciler/cli/app.py", "pyproject.toml", "constraints.txt", "README.md"):
        (action / path).parent.mkdir(parents=True, exist_ok=True)
        (action / path).write_text("x")
    workspace.mkdir()
    (workspace / "requirements.txt").write_text("reconcile==1")
    keys = [key_of(action, workspace)]
    (action / "README.md").write_text("y")
    (action / "reconciler/cli/app.pyc").write_text("what a run leaves")
    assert key_of(action, workspace) == keys[0]
    keys += [key_of(action, workspace, EXTRAS="bullmq"), key_of(action, workspace, REQUIREMENTS="requirements.txt")]
    (workspace / "requirements.txt").write_text("reconcile==2")
    keys.append(key_of(action, workspace, REQUIREMENTS="requirements.txt"))
    (action / "reconciler/cli/app.py").rename(action / "reconciler/cli/other.py")
    keys.append(key_of(action, workspace))
    for path in ("reconciler/cli/other.py", "pyproject.toml", "constraints.txt"):
        (action / path).write_text("z")
        keys.append(key_of(action, workspace))
    assert len(set(keys)) == len(keys) == 8
