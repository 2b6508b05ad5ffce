"""The table of guards in tests/golden/README.md: every guard is there, its cases exist, and their plans say so."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, get_args

import pytest

from reconciler.model import Guard

GOLDEN = Path(__file__).parents[1] / "golden"
README = (GOLDEN / "README.md").read_text(encoding="utf-8")
ROWS: dict[str, tuple[list[str], list[str]]] = {
    guard.strip(): (re.findall("`([^`]+)`", kills), re.findall("`([^`]+)`", restores))
    for guard, kills, restores in re.findall(r"^\|([^|]+)\|([^|]+)\|([^|]+)\|$", README, re.MULTILINE)
    if guard.strip() not in ("guard", "---")
}
"""Each guard as the table names it, with its cases for kills and for restores."""

OF_HOLDS = {title: match[1] for title in ROWS if (match := re.search(r"\(`(\w+)`\)", title))}
"""The rows about what holds single changes, with the guard's name in plans."""


def changes_of(case: str) -> list[dict[str, Any]]:
    """The changes of a case's plan; none where it has no plan, but an error."""
    path = GOLDEN / case / "plan.json"
    found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["changes"] if path.exists() else []
    return found


def is_held(change: dict[str, Any], guard: str) -> bool:
    """Whether the guard holds it, or puts back what a hand has opened meanwhile."""
    if change["hold"] is not None:
        return bool(change["hold"]["guard"] == guard)
    return guard == "after" and "while git's own restore is held" in change["explanation"]


def test_the_table_has_every_guard_and_what_else_the_guards_page_tells_of() -> None:
    assert set(OF_HOLDS.values()) == set(get_args(Guard))
    others = {"blast limit", "`until`", "`then: VALUE`", "`then: restore`", "waivers", "invariants", "effective value"}
    assert ROWS.keys() - OF_HOLDS.keys() == others | {"killed by hand", "re-opened by hand", "broken glass"}


@pytest.mark.parametrize("title", ROWS)
def test_every_case_of_the_table_exists_and_there_is_one_for_each_direction(title: str) -> None:
    kills, restores = ROWS[title]
    assert kills
    assert restores
    for case in (*kills, *restores):
        assert (GOLDEN / case / "state").is_dir(), case


@pytest.mark.parametrize("title", OF_HOLDS)
def test_while_a_guard_holds_something_kills_pass_it_and_nothing_ever_holds_one(title: str) -> None:
    for case in ROWS[title][0]:
        changes = changes_of(case)
        assert any(change["action"] == "update" and change["direction"] == "kill" for change in changes), case
        assert any(is_held(change, OF_HOLDS[title]) for change in changes), case
    for case in {folder.name for folder in GOLDEN.iterdir()}:
        assert not any(change["hold"] and change["direction"] == "kill" for change in changes_of(case)), case


@pytest.mark.parametrize("title", OF_HOLDS)
def test_a_guard_has_cases_in_which_it_holds_a_restore_and_in_which_one_passes(title: str) -> None:
    changes = [change for case in ROWS[title][1] for change in changes_of(case)]
    assert any(is_held(change, OF_HOLDS[title]) and change["action"] == "hold" for change in changes)
    assert any(change["action"] == "update" and change["direction"] == "restore" for change in changes)


@pytest.mark.parametrize("title", sorted(ROWS.keys() - OF_HOLDS.keys() - {"`until`"}))
def test_where_nothing_is_held_the_cases_have_both_directions_too(title: str) -> None:
    for direction, cases in zip(("kill", "restore"), ROWS[title], strict=True):
        changes = [change for case in cases for change in changes_of(case)]
        is_refused = any((GOLDEN / case / "error.txt").exists() for case in cases)
        is_put_back = direction == "restore" and any(is_held(change, "after") for change in changes)
        assert is_refused or is_put_back or any(change["direction"] == direction for change in changes), direction


def test_an_until_that_has_passed_leaves_either_side_as_it_is() -> None:
    [case] = {*ROWS["`until`"][0]}
    assert changes_of(case) == []
    notices = json.loads((GOLDEN / case / "plan.json").read_text(encoding="utf-8"))["notices"]
    said = " ".join(notice["message"] for notice in notices)
    assert all(words in said for words in ("and stays false", "and stays true", "it stays false", "it stays true"))
