"""Annotations: on the very line, the worst first, never more than a host shows, and never a command of their own."""

from __future__ import annotations

import json
import re

from hypothesis import example, given
from hypothesis import strategies as st

from reconciler.console.annotations import Annotation, annotations_of, code_quality, log_text, workflow_commands
from reconciler.errors import Problem
from reconciler.model import Location
from reconciler.plan import Notice, Plan
from reconciler.report import render_plan
from tests.support import console_examples as examples
from tests.support.hosts_eyes import command_of
from tests.support.plan_examples import EVERY_KIND, NOW, PLANS, TEXTS, change, plan

_LINES = st.none() | st.integers(1, 9_999)
ANNOTATIONS = st.builds(
    Annotation,
    st.sampled_from(["error", "warning", "notice"]),
    TEXTS | st.text("%:,=\r\n0AaD3C#[] ", max_size=12),
    TEXTS | st.text("%:,=\r\n0AaD3C#[] ", max_size=12),
    st.none() | TEXTS | st.text("%:,=\r\n", max_size=6),
    _LINES,
    _LINES,
)


def seen_by_the_runner(log: str) -> list[tuple[str, dict[str, str], str]]:
    """The commands in a log, which every one of its lines must be."""
    found = [command_of(line) for line in log.split("\n")[:-1]]
    commands = [each for each in found if each is not None]
    assert len(commands) == len(found)
    return commands


# What is said, and where ----------------------------------------------------------------------------------------------


def test_the_worst_comes_first() -> None:
    problem = Problem("wrong", Location("state/a.yaml", 1, 2), "right it")
    shown = plan(EVERY_KIND, refusals=("too much",), notices=(Notice("a note"),))
    titles = [each.title for each in annotations_of(shown, [problem])]
    assert [re.split(" (?=[a-z]+[A-Z]|status|ratio)", title)[0] for title in titles] == [
        *("Not valid", "An apply would be refused", "Restores", "Holds back", "Leaves as the database has it"),
        *("Kills", "Kills", "Creates", "Releases", "Note", "Recorded"),
    ]


def test_a_problem_is_said_at_its_line_and_column_with_what_to_do() -> None:
    problem = Problem("a boolean was expected", Location("state/a.yaml", 3, 12), "write true or false")
    assert annotations_of(None, [problem]) == [
        Annotation("error", "Not valid", "a boolean was expected (write true or false)", "state/a.yaml", 3, 12)
    ]


def test_a_change_is_said_in_words_at_the_line_of_its_value() -> None:
    [said] = annotations_of(examples.SMALL, titles=examples.TITLES)
    assert said == Annotation(
        "warning",
        "Kills WhatsApp for Acme Bakery",
        "true -> false. WhatsApp ban, INC-142",
        *("state/tenants/acme.yaml", 4, 3),
    )


def test_what_is_held_says_until_when_and_a_waiver_is_said() -> None:
    said = {each.title: each.message for each in annotations_of(examples.FULL, titles=examples.TITLES)}
    assert "held until 2026-11-27 09:00 UTC: killed 50 min ago" in said["Holds back AI for Acme Bakery"]
    assert "guard `after` waived: support confirmed with the provider" in said["Restores WhatsApp for Corner Shop"]


def test_recorded_fields_are_one_annotation_for_each_table() -> None:
    shown = plan([each for each in EVERY_KIND if each.key.startswith("row-")])
    assert len(annotations_of(shown)) == 1


# GitHub ---------------------------------------------------------------------------------------------------------------


@given(st.lists(ANNOTATIONS, max_size=5))
@example([Annotation("error", "a%3Ab, c", "100% ::error::x\r\n::stop-commands::x", "a:b,c%2C.yaml", 1, 2)])
def test_the_runner_reads_back_exactly_what_was_to_be_said(annotations: list[Annotation]) -> None:
    seen = seen_by_the_runner(workflow_commands(annotations))
    expected = sorted(annotations, key=lambda each: [other.level for other in annotations].index(each.level))
    assert len(seen) == len(expected)
    for (name, properties, message), each in zip(seen, expected, strict=True):
        assert (name, message) == (each.level, each.message)
        assert properties["title"].strip() == each.title.strip()  # the runner trims what comes last
        assert properties.get("file") == each.file
        assert (properties.get("line"), properties.get("col")) == tuple(
            None if number is None else str(number) for number in (each.line, each.column)
        )


def test_no_level_has_more_than_ten_and_the_last_one_counts_the_rest() -> None:
    annotations = [Annotation("error", "e", f"error {number}") for number in range(1_200)]
    annotations += [Annotation("warning", "w", f"warning {number}") for number in range(10)]
    seen = seen_by_the_runner(workflow_commands(annotations))
    errors = [message for name, _, message in seen if name == "error"]
    assert errors[:9] == [f"error {number}" for number in range(9)]
    assert errors[9:] == ["error 9 … and 1,190 more errors: the summary has all of them"]
    assert [message for name, _, message in seen if name == "warning"] == [f"warning {number}" for number in range(10)]


@given(PLANS)
def test_a_plan_of_any_texts_gives_commands_of_three_kinds_only(shown: Plan) -> None:
    for name, properties, message in seen_by_the_runner(workflow_commands(annotations_of(shown))):
        assert name in ("error", "warning", "notice")
        assert set(properties) <= {"file", "line", "col", "title"}
        assert not re.search("[\r\n]", message)


@given(st.text(max_size=30) | st.text(":#[] \n\terror", max_size=20))
@example("a\n  ::set-env name=PATH::x\n##[add-mask]x ##[error]y\n##[##[x]")
@example("::##[x]")
def test_no_line_of_a_text_is_a_command(text: str) -> None:
    shown = log_text(text)
    assert [command_of(line) for line in shown.splitlines() if command_of(line)] == []
    assert shown.replace("\u200b", "") == text.replace("\u200b", "")


def test_a_reason_that_is_a_command_is_none_in_the_text_of_a_plan() -> None:
    shown = plan([change(reason="::stop-commands::x " + "long " * 30, label="##[error]x")])
    drawn = render_plan("text", shown, now=NOW, width=40)
    assert any(command_of(line) for line in drawn.splitlines())
    assert not any(command_of(line) for line in log_text(drawn).splitlines())


# GitLab ---------------------------------------------------------------------------------------------------------------


def test_the_code_quality_report_has_what_gitlab_asks_for() -> None:
    findings = json.loads(code_quality(annotations_of(examples.FULL, examples.PROBLEMS)))
    assert len({each["fingerprint"] for each in findings}) == len(findings)
    assert findings[0] == {
        "description": 'Not valid: no schema for a table "tenant" (did you mean "tenants"?)',
        "check_name": "reconcile/error",
        "fingerprint": findings[0]["fingerprint"],
        "severity": "blocker",
        "location": {"path": "state/tenant.yaml", "lines": {"begin": 1}},
    }
    assert {each["severity"] for each in findings} == {"blocker", "major", "info"}


def test_a_finding_stays_the_same_one_when_its_line_moves_and_two_alike_are_two() -> None:
    def fingerprints(*lines: int) -> list[str]:
        found = [Annotation("error", "t", "m", "state/a.yaml", line, 1) for line in lines]
        return [each["fingerprint"] for each in json.loads(code_quality(found))]

    assert fingerprints(3) == fingerprints(30)
    assert len(set(fingerprints(3, 4))) == 2


def test_what_has_no_place_is_said_of_the_state() -> None:
    [finding] = json.loads(code_quality([Annotation("error", "An apply would be refused", "too much")]))
    assert finding["location"] == {"path": "state", "lines": {"begin": 1}}
