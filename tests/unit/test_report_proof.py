"""Verdicts in reports: in effect since when, or exactly what has not arrived."""

from __future__ import annotations

import json
from typing import Any

from reconciler.outcome import Outcome, Unseen, Verdict
from reconciler.report import Format, render_outcome
from tests.support.plan_examples import NOW, change, plan


def verdict(kind: str = "row", target: str = "", seen: int = 1, **more: Any) -> Verdict:
    given = {"changes": 1, "asked": 1, "after_s": 0.18 if seen else None, "waited_s": 0.2, **more}
    return Verdict(table="tenants", field="isWhatsappEnabled", kind=kind, target=target, seen=seen, **given)


def done(form: Format, *verdicts: Verdict) -> str:
    outcome = Outcome(
        run_id="1", plan=plan([change()]), applied=1, audit_entries=1, recorded=0, released=0, duration_s=0.1,
        verdicts=verdicts,
    )  # fmt: skip
    return render_outcome(form, outcome, now=NOW, width=200)


ANSWER = "https://app.example.com/t-acme still answers 200, not 404"
MISSING = verdict(
    "http", "https://app.example.com/$key", seen=0, waited_s=10.04, unseen=(Unseen("t-acme", "Acme", ANSWER),)
)
JOB = verdict("job", "commands STOP", seen=0, waited_s=1.2, unseen=(Unseen("t-acme", None, "the job waits"),))


def test_what_is_in_effect_is_said_with_the_time_it_took() -> None:
    assert "In effect after 0.18 s: seen by the row." in done("text", verdict()).splitlines()
    both = done("text", verdict(), verdict("sql", "SELECT 1", after_s=1.82), verdict("job", "commands STOP"))
    assert "In effect after 1.8 s: seen by the row, a query and the job commands STOP." in both
    assert "✅ In effect after 0.18 s: seen by the row." in done("markdown", verdict())


def test_a_sample_is_called_one() -> None:
    sample = verdict("http", "$APP/$key", changes=10_000, asked=20, seen=20)
    assert "In effect after 0.18 s: seen by $APP/$key (asked for 20 of 10,000 rows)." in done("text", sample)


def test_what_is_not_in_effect_is_said_exactly() -> None:
    lines = done("text", verdict(), MISSING).splitlines()
    at = lines.index("NOT IN EFFECT after 10 s: 1 of 2 not seen (by https://app.example.com/$key).")
    assert lines[at + 1] == f"  tenants/t-acme (Acme) isWhatsappEnabled: {ANSWER}"
    assert "tenants/t-acme isWhatsappEnabled: the job waits (commands STOP)" in done("text", JOB)
    markdown = done("markdown", MISSING)
    assert "⚠️ **NOT IN EFFECT after 10 s: 1 of 1 not seen" in markdown
    assert "\n- tenants/t-acme" in markdown


def test_many_are_cut_short_and_what_comes_from_elsewhere_is_made_visible() -> None:
    unseen = tuple(Unseen(f"t-{number}", None, "\x1b[2Jno" * 200) for number in range(12))
    text = done("text", verdict(seen=0, changes=12, asked=12, unseen=unseen))
    assert "and 2 more: all with `--output json`" in text
    assert "\x1b" not in text
    assert len(text) < 6_000


def test_programs_have_all_of_it() -> None:
    run = json.loads(done("json", verdict(), MISSING))["run"]
    assert run["in_effect"] is False
    assert run["proofs"][1] == {
        "table": "tenants",
        "field": "isWhatsappEnabled",
        "kind": "http",
        "target": "https://app.example.com/$key",
        "changes": 1,
        "asked": 1,
        "seen": 0,
        "in_effect": False,
        "after_s": None,
        "waited_s": 10.04,
        "unseen": [{"key": "t-acme", "label": "Acme", "said": ANSWER}],
    }
    assert json.loads(done("json", verdict()))["run"]["in_effect"] is True


def test_a_run_without_proofs_claims_nothing() -> None:
    assert "effect" not in done("text").lower()
    run = json.loads(done("json"))["run"]
    assert (run["in_effect"], run["proofs"]) == (None, [])
