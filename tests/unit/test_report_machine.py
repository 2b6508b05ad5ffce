"""The reports for programs: plan, outcome and error as JSON; and which renderer an output format imports."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from reconciler.errors import InvalidInput, NotAsExpected, Problem, ReconcileError, Stale, Unreachable
from reconciler.model import Location
from reconciler.outcome import EffectCounts, Outcome
from reconciler.plan import Notice
from reconciler.plan_json import decode_plan, encode_plan
from reconciler.report import Format, render_outcome, render_plan
from reconciler.report.machine import render_error
from tests.support.plan_examples import EVERY_KIND, HELD, KEPT, NOW, change, plan

DONE = Outcome(
    run_id="1a2b3c4d-77",
    plan=plan([change(), HELD, KEPT]),
    applied=1,
    audit_entries=1,
    recorded=0,
    released=0,
    duration_s=0.1841234567,
    notices=(Notice("two effects are still to be delivered"),),
    effects=EffectCounts(delivered=1, waiting=2),
)


def error_of(error: ReconcileError) -> object:
    document = json.loads(render_error(error))
    assert document.pop("format_version") == 1
    return document.pop("error")


def test_a_plan_is_what_a_saved_plan_holds() -> None:
    original = plan(EVERY_KIND)
    assert render_plan("json", original, now=NOW).encode() == encode_plan(original)


def test_an_outcome_holds_the_run_and_a_plan_that_can_be_read_back() -> None:
    document = json.loads(render_outcome("json", DONE, now=NOW))
    assert document["format_version"] == 1
    assert document["run"] == {
        "id": "1a2b3c4d-77",
        "kills_id": None,
        "batches": [],
        "applied": 1,
        "rows": 1,
        "audit_entries": 1,
        "recorded": 0,
        "released": 0,
        "held": 1,
        "kept": 1,
        "duration_s": 0.184123,
        "dirty": False,
        "reason": None,
        "effects": {"delivered": 1, "waiting": 2, "dead": 0},
        "in_effect": None,
        "proofs": [],
        "notices": [{"message": "two effects are still to be delivered", "location": None}],
    }
    assert decode_plan(json.dumps(document["plan"]).encode(), "outcome") == DONE.plan


def test_an_error_has_its_kind_its_exit_code_and_every_problem() -> None:
    problems = [Problem("unknown field", Location("state/a.yaml", 3, 1), "did you mean"), Problem("no schemas")]
    assert error_of(InvalidInput(problems)) == {
        "kind": "invalid_input",
        "exit_code": 3,
        "message": "2 problems",
        "problems": [
            {"file": None, "line": None, "column": None, "message": "no schemas", "hint": None},
            {"file": "state/a.yaml", "line": 3, "column": 1, "message": "unknown field", "hint": "did you mean"},
        ],
    }


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (Stale("older"), {"kind": "stale", "exit_code": 6, "message": "older", "problems": []}),
        (Unreachable("no answer"), {"kind": "unreachable", "exit_code": 4, "message": "no answer", "problems": []}),
        (
            NotAsExpected([], "no ledger"),
            {"kind": "not_as_expected", "exit_code": 4, "message": "no ledger", "problems": []},
        ),
    ],
)
def test_an_error_without_problems_has_its_message(error: ReconcileError, expected: object) -> None:
    assert error_of(error) == expected


@pytest.mark.parametrize("form", ["text", "markdown", "json"])
def test_every_format_draws_the_same_plan_and_outcome(form: Format) -> None:
    assert "isWhatsappEnabled" in render_plan(form, DONE.plan, now=NOW)
    assert "isAiEnabled" in render_outcome(form, DONE, now=NOW)


def test_text_for_a_terminal_is_drawn_without_importing_the_other_formats() -> None:
    program = "import sys, reconciler.report.text; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert "reconciler.report.text" in loaded
    assert not {"reconciler.report.markdown", "reconciler.report.machine", "reconciler.plan_json"} & set(loaded)
