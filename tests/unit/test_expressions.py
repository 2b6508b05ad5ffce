"""The tests' own evaluator of GitHub's expressions: what it knows, it knows as GitHub does; the rest it refuses."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.expressions import Unsupported, evaluate, filled

CONTEXTS = {"vars": {"ON": "true"}, "steps": {"run": {"outputs": {"plan-file": "p.json"}}}, "github": {"event": {}}}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("vars.ON == 'true'", True),
        ("vars.ON == 'TRUE'", True),
        ("vars.OFF == 'true'", False),
        ("vars.OFF == ''", True),
        ("steps.run.outputs.plan-file", "p.json"),
        ("steps.other.outputs.x != 'true'", True),
        ("github.event.pull_request.head.sha", None),
        ("vars.ON && 'a' || 'b'", "a"),
        ("vars.OFF && 'a' || 'b'", "b"),
        ("!(vars.OFF) && (1 == 1)", True),
        ("'it''s'", "it's"),
        ("join(vars.ON, 'x')", "true-x"),
    ],
)
def test_an_expression_has_githubs_value(text: str, value: Any) -> None:
    assert evaluate(text, CONTEXTS, {"join": lambda one, other: f"{one}-{other}"}) == value


@pytest.mark.parametrize("text", ["secrets.X", "hashFiles('x')", "1 < 2", "vars.ON vars.ON", "(vars.ON", "", "a['b']"])
def test_what_is_not_known_is_refused(text: str) -> None:
    with pytest.raises((Unsupported, IndexError)):
        evaluate(text, CONTEXTS, {})


def test_a_text_is_filled_and_nothing_in_a_value_is_evaluated_again() -> None:
    contexts = {"x": {"y": "${{ x.z }}", "z": "secret"}}
    assert filled("a ${{ x.y }} b ${{ x.none }}.", contexts, {}) == "a ${{ x.z }} b ."
