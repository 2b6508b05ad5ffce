"""Rules over the desired state: what they can say, what they cannot, and where a broken one points."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from reconciler.errors import Problem
from reconciler.invariants import LONGEST, broken, names_in, rule_problems
from reconciler.model import Row, Value
from tests.support.definitions import POLICY, definitions_of, desired_of, sound_definitions

FIELDS = ["dailyLimit", "monthlyLimit", "status", "isOpen"]


def row(**values: Any) -> Row:
    placed = {
        name: Value(data, "state/shops.yaml", line, 5) for line, (name, data) in enumerate(values.items(), start=2)
    }
    return Row("shops", "a", placed)


def problems(rule: str, *rows: Row) -> list[Problem]:
    return list(broken(rule, "it must hold", rows))


@pytest.mark.parametrize(
    ("rule", "holds", "breaks"),
    [
        ("dailyLimit <= monthlyLimit", {"dailyLimit": 5, "monthlyLimit": 5}, {"dailyLimit": 6, "monthlyLimit": 5}),
        (
            "status != 'ARCHIVED' or not isOpen",
            {"status": "ARCHIVED", "isOpen": False},
            {"status": "ARCHIVED", "isOpen": True},
        ),
        ("status in ['ACTIVE', 'TRIAL']", {"status": "TRIAL"}, {"status": "ARCHIVED"}),
        ("status not in ('ARCHIVED',)", {"status": "TRIAL"}, {"status": "ARCHIVED"}),
        ("isOpen == true", {"isOpen": True}, {"isOpen": False}),
        ("dailyLimit is null or dailyLimit < 10", {"dailyLimit": None}, {"dailyLimit": 10}),
        ("dailyLimit is not null", {"dailyLimit": 0}, {"dailyLimit": None}),
        ("dailyLimit * 30 <= monthlyLimit + 1", {"dailyLimit": 1, "monthlyLimit": 29}, {"dailyLimit": 1,
                                                                                       "monthlyLimit": 28}),
        ("0 < dailyLimit < 10", {"dailyLimit": 9}, {"dailyLimit": 10}),
        ("dailyLimit > -1", {"dailyLimit": 0}, {"dailyLimit": -1}),
        ("dailyLimit <= 0.1 * monthlyLimit", {"dailyLimit": Decimal("0.3"), "monthlyLimit": 3},
         {"dailyLimit": Decimal("0.31"), "monthlyLimit": 3}),
        ("dailyLimit\n  <= 5", {"dailyLimit": 5}, {"dailyLimit": 6}),
    ],
)  # fmt: skip
def test_a_rule_holds_for_some_rows_and_is_broken_by_others(
    rule: str, holds: dict[str, Any], breaks: dict[str, Any]
) -> None:
    assert list(rule_problems(rule, FIELDS)) == []
    assert problems(rule, row(**holds)) == []
    assert len(problems(rule, row(**breaks))) == 1


def test_a_broken_rule_points_to_the_values_involved() -> None:
    [problem] = problems("dailyLimit <= monthlyLimit", row(dailyLimit=6, status="x", monthlyLimit=5))
    assert str(problem) == (
        "state/shops.yaml:4:5: shops a: it must hold (rule: dailyLimit <= monthlyLimit; "
        "dailyLimit at state/shops.yaml:2:5, monthlyLimit at state/shops.yaml:4:5)"
    )


def test_a_row_in_which_git_does_not_name_every_field_of_the_rule_is_not_asked() -> None:
    assert problems("dailyLimit <= monthlyLimit", row(dailyLimit=6), row(monthlyLimit=5), row()) == []


def test_each_row_is_judged_by_its_own_values_though_equal_ones_are_asked_once() -> None:
    rows = [row(isOpen=False), row(isOpen=True), row(isOpen=False), row(isOpen=0)]
    assert len(problems("isOpen", *rows)) == 3
    assert len(problems("dailyLimit != '1'", row(dailyLimit=1), row(dailyLimit="1"))) == 1


def test_a_rule_that_cannot_be_asked_of_a_row_counts_as_broken_and_says_why() -> None:
    [problem] = problems("dailyLimit <= 5", row(dailyLimit=None))
    assert problem.message.startswith("shops a: it must hold (the rule could not be asked: ")
    [problem] = problems("status * 1000000000 == status", row(status="x"))
    assert "the rule could not be asked" in problem.message


@pytest.mark.parametrize(
    "rule",
    [
        "status.upper() == 'X'",
        "status.__class__",
        "len(status) > 3",
        "__import__('os')",
        "(lambda: isOpen)()",
        "[x for x in status]",
        "status[0] == 'A'",
        "f'{status}'",
        "status if isOpen else dailyLimit",
        "dailyLimit ** 99999999",
        "dailyLimit % 2",
        "1 << dailyLimit",
        "{status: 1}",
        "*status",
        "status := 'x'",
        "await status",
    ],
)
def test_what_could_do_more_than_compare_is_no_part_of_the_language(rule: str) -> None:
    [(_, hint)] = list(rule_problems(rule, FIELDS))
    assert hint


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ("dailyLimit <=", "not an expression"),
        ("", "not an expression"),
        ("1 < 2", "the rule names no field"),
        ("dayliLimit < 5", 'the table has no managed field "dayliLimit"'),
        ("(" * 240 + "isOpen" + ")" * 240, "not an expression"),
        ("not " * 200 + "isOpen", f"longer than {LONGEST} characters"),
        ("status == '\0'", "not an expression"),
    ],
)
def test_a_rule_that_cannot_be_asked_is_refused_when_the_policy_is_read(rule: str, says: str) -> None:
    [(message, _)] = list(rule_problems(rule, FIELDS))
    assert message.startswith(says)


def test_a_misspelt_field_is_suggested() -> None:
    [(_, hint)] = list(rule_problems("dayliLimit < 5", FIELDS))
    assert hint == 'did you mean "dailyLimit"?'


def test_the_words_of_yaml_are_constants_and_no_fields() -> None:
    assert names_in("isOpen == true and status != null or isOpen is false") == ["isOpen", "status"]


POLICY_WITH_RULES = POLICY + (
    "invariants:\n"
    "  - {table: shops, rule: low <= high, message: low is more than high}\n"
    "  - {table: shops, rule: low != 13, message: no thirteen}\n"
)
SHOPS = "table: shops\nkey: id\naudit: {event: E}\nfields: {low: {type: integer}, high: {type: integer}}\n"


def test_rules_of_the_policy_are_checked_with_their_places() -> None:
    found, wrong = definitions_of(POLICY_WITH_RULES.replace("low <= high", "low <= hihg"), shops=SHOPS)
    assert found is None
    assert [str(problem) for problem in wrong] == [
        'schemas/policy.yaml:6:20: the table has no managed field "hihg" (did you mean "high"?)'
    ]


def test_every_rule_that_a_row_breaks_is_said() -> None:
    definitions = sound_definitions(POLICY_WITH_RULES, shops=SHOPS)
    desired, wrong = desired_of(definitions, shops="a: {low: 13, high: 5}\nb: {low: 1, high: 2}\n")
    assert wrong == []
    rules = definitions.policy.invariants
    said = [problem.message for rule in rules for problem in broken(rule.rule, rule.message, desired["shops"].values())]
    assert said == ["shops a: low is more than high", "shops a: no thirteen"]
