"""The action is one: the copy that `reconcile new` writes is the same, and so are the workflows, but for its place."""

from __future__ import annotations

import re

import pytest

from reconciler.cli.ci import command
from tests.support.project import TOP
from tests.support.workflow_runner import read

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
    assert len(scripts) == 3
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
