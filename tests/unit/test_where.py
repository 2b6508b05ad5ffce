"""`$where` as it stands in files: what is read, what is refused and where, and what reports and reviews make of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import jsonschema
import pytest

from reconciler.desired import read_desired
from reconciler.diff import ASKED, diff_row, entry_digest
from reconciler.editor_schema import state_schema
from reconciler.errors import Problem
from reconciler.marks import Doer, marks_after
from reconciler.model import MISSING, Action, Direction, Finding, Location, Mark, Match, Matched, Row
from reconciler.plan import Plan
from reconciler.plan_json import decode_plan, encode_plan, plan_json_schema
from reconciler.report import render_plan
from reconciler.review import changed_entries
from reconciler.schema import Definitions
from reconciler.where import rows_meant
from tests.support.definitions import definitions_of, documents, sound_definitions
from tests.support.plan_examples import NOW, change
from tests.support.plan_examples import plan as plan_of

SHOPS = """\
table: shops
key: id
audit: {event: E}
secret: [token]
match:
  plan: {type: enum, values: [FREE, PAID, GOLD]}
  since: {type: timestamp}
fields:
  isOpen: {type: boolean, kill: false, title: Opening}
  limit: {type: integer, min: 1, kill: lower, nullable: true}
  mode: {type: enum, values: [fast, slow]}
  note: {type: string}
  tags: {type: array, items: {type: string}}
"""


@pytest.fixture(scope="module")
def definitions() -> Definitions:
    return sound_definitions(shops=SHOPS)


def read(definitions: Definitions, *files: str) -> tuple[list[Match], list[str]]:
    """The entries of these files, and what is wrong in any of them."""
    problems: list[Problem] = []
    matches: dict[str, list[Match]] = {}
    named = {f"state/shops/{number}.yaml": text for number, text in enumerate(files)}
    read_desired(documents(named, problems), definitions, "state", problems, matches)
    return list(matches.get("shops", ())), [str(one) for one in sorted(problems, key=Problem.sort_key)]


def sound(definitions: Definitions, *files: str) -> Sequence[Match]:
    matches, problems = read(definitions, *files)
    assert problems == []
    return matches


def test_entries_of_all_files_of_a_table_add_up_and_know_their_places(definitions: Definitions) -> None:
    one = "$where:\n  - match: {plan: FREE, limit: null}\n    set:\n      limit: {value: 5, reason: costs}\n"
    one = one.replace(", limit: null", ", note: [a b, '1'], mode: null")
    other = "a: {note: x}\n$where: [{match: {since: 2026-01-01T01:00:00+01:00}, set: {isOpen: false}}]\n"
    first, second = sound(definitions, one, other)
    assert first.columns == {"plan": ("FREE",), "note": ("a b", "1"), "mode": (None,)}
    assert first.values["limit"] == Matched(
        5, "state/shops/0.yaml", 4, 22, "costs", match='plan = FREE and note in ("a b", 1) and mode = null'
    )
    assert first.location == Location("state/shops/0.yaml", 2, 5)
    assert second.columns == {"since": ("2026-01-01T00:00:00Z",)}


@pytest.mark.parametrize(
    ("yaml", "mistake"),
    [
        ("$where: {}", "1:9: $where takes a list of entries"),
        ("$where: []", "1:9: $where takes a list of entries"),
        ("$where: [a]", "1:10: an entry of $where is a mapping"),
        ("$where: [{match: {}, set: {isOpen: true}}]", "1:11: `match` takes a mapping in which something stands"),
        ("$where: [{match: {plan: FREE}}]", "1:10: `set` takes a mapping"),
        ("$where: [{match: {plan: FREE}, set: {isOpen: true}, sets: 1}]", '1:53: sets is not known below $where'),
        ("$where: [{match: {plan: FRE}, set: {isOpen: true}}]", '1:25: match shops.plan: "FRE" is not one of'),
        ("$where: [{match: {plan: []}, set: {isOpen: true}}]", "1:25: match shops.plan: no row has one of no values"),
        ("$where: [{match: {isOpen: yes}, set: {limit: 1}}]", "1:27: match shops.isOpen: `yes` is a string"),
        ("$where: [{match: {token: x}, set: {limit: 1}}]", "1:19: token holds a secret: it can never be read"),
        ("$where: [{match: {tags: x}, set: {limit: 1}}]", "1:19: tags is of type array, which cannot be matched"),
        ("$where: [{match: {plam: x}, set: {limit: 1}}]", 'column "plam" that may be matched (did you mean "plan"?)'),
        ("$where: [{match: {plan: FREE}, set: {plan: PAID}}]", '1:38: table shops has no managed field "plan"'),
        ("$where: [{match: {plan: FREE}, set: {limit: 0}}]", "1:45: shops.limit: 0 is less than the minimum 1"),
        ("$where: [{match: {plan: FREE}, set: {$expect: {note: a}}}]", "1:38: $expect is for one row"),
        ("$where: [{match: {limit: 3}, set: {limit: 5}}]", "1:36: limit is matched here as well"),
        (
            "$where: [{match: {plan: FREE}, set: {limit: 5}}, {match: {limit: 5}, set: {isOpen: true}}]",
            "1:50: this matches by limit, which the $where at state/shops/0.yaml:1:45 sets",
        ),
        (
            "$where: [{match: {plan: FREE}, set: {limit: 5}}, {match: {plan: [PAID, FREE]}, set: {limit: 6}}]",
            "1:93: limit is 6 here and 5 at state/shops/0.yaml:1:45 (every row with plan = FREE has plan in (",
        ),
        ("$where: [{match: {plan: FREE}, set: {limit: 5}}]\n$where: []", '2:1: the key "$where"'),
    ],
)  # fmt: skip
def test_every_mistake_is_said_with_its_place(definitions: Definitions, yaml: str, mistake: str) -> None:
    _, problems = read(definitions, yaml)
    assert [mistake in problem for problem in problems] == [True], problems


def test_entries_that_agree_may_overlap(definitions: Definitions) -> None:
    one = "$where: [{match: {plan: FREE}, set: {limit: {value: 5, reason: costs}}}]"
    other = "$where: [{match: {plan: [FREE, PAID]}, set: {limit: 5}}, {match: {mode: fast}, set: {limit: 6}}]"
    assert len(sound(definitions, one, other)) == 3


@pytest.mark.parametrize(
    ("column", "mistake"),
    [
        ("limit: {type: integer}", "limit is a field, and may be matched as it is"),
        ("token: {type: string}", "token is named under `secret`, and can never be read"),
        ("size: {type: integer, kill: lower}", "`kill` has no meaning for a column that is only matched"),
        ("more: {type: json}", "a column of type json cannot be matched"),
        ("size: {type: int}", "int is not a type"),
        ("size: {type: integer, mn: 1}", "unknown property mn"),
        ("size: 5", "field size has no type"),
    ],
)
def test_a_column_that_cannot_be_matched_cannot_be_declared(column: str, mistake: str) -> None:
    _, problems = definitions_of(shops=SHOPS.replace("match:\n", f"match:\n  {column}\n"))
    assert [(mistake in one.message, one.location and one.location.line) for one in problems] == [(True, 6)], problems


def test_editors_know_what_may_stand_below_where(definitions: Definitions) -> None:
    schema = state_schema(definitions.tables["shops"])
    sound_entry = {"match": {"plan": ["FREE", None], "limit": 5}, "set": {"limit": {"value": 5, "reason": "costs"}}}
    jsonschema.validate({"$where": [sound_entry], "a": {"limit": 5}}, schema)
    for wrong in (
        {"match": {"token": "x"}, "set": {"limit": 5}},
        {"match": {"plan": "FRE"}, "set": {"limit": 5}},
        {"match": {"tags": ["a"]}, "set": {"limit": 5}},
        {"match": {}, "set": {"limit": 5}},
        {"match": {"plan": "FREE"}, "set": {}},
        {"match": {"plan": "FREE"}, "set": {"$expect": {}}},
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({"$where": [wrong]}, schema)


# The decision


def test_a_row_that_begins_to_match_is_told_apart_from_a_commit_that_asks(definitions: Definitions) -> None:
    table, seen_at = definitions.tables["shops"], NOW
    applied, later = NOW - timedelta(hours=1), NOW + timedelta(hours=1)

    def verdict(since: datetime | None, mark: Mark | None = None) -> tuple[Finding, Action]:
        wanted = Row("shops", "a", {"isOpen": Matched(True, match="plan = FREE", since=since)})
        actual = {"isOpen": False}
        (one,) = diff_row(table, "a", wanted, None, actual, {"isOpen": mark} if mark else {}, None)
        assert one.match == "plan = FREE"
        return one.finding, one.action

    by_digest = entry_digest(Matched(True, match=""))
    assert verdict(None) == (Finding.ADOPTION, Action.UPDATE)
    assert verdict(applied) == (Finding.KILLED_BY_HAND, Action.KEEP)
    seen = Mark(seen_at=seen_at, seen_value=False, seen_entry="another")
    assert verdict(applied, seen) == (Finding.KILLED_BY_HAND, Action.KEEP)
    assert verdict(later, seen) == (Finding.ADOPTION, Action.UPDATE)
    same = Mark(seen_at=seen_at, seen_value=False, seen_entry=by_digest)
    assert verdict(later, same) == (Finding.KILLED_BY_HAND, Action.KEEP)
    assert verdict(applied, Mark(seen_at=seen_at, seen_value=False, seen_entry=ASKED)) == (
        Finding.ADOPTION, Action.UPDATE,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("match", "glass", "remembered"), [("plan = FREE", None, ASKED), (None, None, ASKED), ("plan = FREE", "ann", None)]
)
def test_that_a_commit_has_asked_is_remembered_where_a_guard_holds_what_was_never_applied(
    definitions: Definitions, match: str | None, glass: str | None, remembered: str | None
) -> None:
    held = change(
        table="shops", key="a", field="isOpen", finding=Finding.ADOPTION, action=Action.HOLD,
        direction=Direction.RESTORE, before=False, desired=True, base=MISSING, match=match,
    )  # fmt: skip
    marks = marks_after([held], {}, desired={}, tables=definitions.tables, now=NOW, doer=Doer("commit", glass))
    assert [(mark.seen_value, mark.seen_entry) for mark in marks.values()] == [(False, remembered)]
    again = marks_after([held], marks, desired={}, tables=definitions.tables, now=NOW, doer=Doer("commit"))
    assert [mark.seen_entry for mark in (marks | again).values()] == [ASKED]


# Reports


def fleet() -> Plan:
    """41 free tenants whose limit is cut, one of them held, and a row of its own."""
    cut = [
        change(
            key=f"t{number}", label=f"Tenant {number}", field="aiDailyLimit", before=50, desired=20, reason="costs",
            match="aiPlan = FREE", location=Location("state/tenants.yaml", 4, 29),
        )
        for number in range(41)
    ]  # fmt: skip
    return plan_of([*cut, change()])


def test_a_terminal_tells_rows_alike_in_one_line_and_rows_that_are_named_below() -> None:
    text = render_plan("text", fleet(), now=NOW, width=100)
    assert "tenants  where aiPlan = FREE\n" in text
    assert "  aiDailyLimit  50 -> 20  KILL      41 rows  costs  state/tenants.yaml:4:29\n" in text
    assert "such as Tenant 0, Tenant 1, Tenant 10" in text
    assert text.count("50 -> 20") == 1
    assert "Acme Bakery" in text


def test_markdown_tells_them_in_one_line_and_in_the_headline() -> None:
    text = render_plan("markdown", fleet(), now=NOW)
    assert "kills `aiDailyLimit` for 41 tenants where aiPlan = FREE" in text.partition("\n")[0]
    assert text.count("where aiPlan = FREE") == 2
    assert text.count("such as") == 1


def test_json_has_every_row_and_those_alike_once() -> None:
    plan = fleet()
    data = encode_plan(plan)
    document = json.loads(data)
    jsonschema.validate(document, plan_json_schema())
    assert len([one for one in document["changes"] if one.get("match") == "aiPlan = FREE"]) == 41
    assert document["matches"] == [
        {
            "table": "tenants", "match": "aiPlan = FREE", "field": "aiDailyLimit", "finding": "change",
            "action": "update", "direction": "kill", "rows": 41,
            "location": {"file": "state/tenants.yaml", "line": 4, "column": 29}, "before": 50, "desired": 20,
        }
    ]  # fmt: skip
    assert decode_plan(data, "plan.json") == plan
    document["matches"][0]["rows"] = 4
    with pytest.raises(Exception, match="the plan was edited after it was made"):
        decode_plan(json.dumps(document).encode(), "plan.json")


# Reviews


def reviewed(definitions: Definitions, before: str, after: str) -> dict[tuple[str, str], tuple[Direction, ...]]:
    sides = []
    for text in (before, after):
        problems: list[Problem] = []
        matches: dict[str, list[Match]] = {}
        desired = read_desired(documents({"state/shops.yaml": text}, problems), definitions, "state", problems, matches)
        assert problems == []
        sides.append((desired, matches))
    (was, was_asked), (becomes, asked) = sides
    entries = changed_entries(was, becomes, definitions, definitions, was_asked, asked)
    return {(entry.key, entry.field): entry.directions for entry in entries}


FREE = "$where: [{match: {plan: FREE}, set: {isOpen: %s}}]\n"


@pytest.mark.parametrize(
    ("before", "after", "directions"),
    [
        ("{}", FREE % "false", {("$where plan = FREE", "isOpen"): (Direction.KILL,)}),
        ("{}", FREE % "true", {("$where plan = FREE", "isOpen"): (Direction.RESTORE,)}),
        (FREE % "true", FREE % "false", {("$where plan = FREE", "isOpen"): (Direction.KILL,)}),
        (FREE % "true" + "a: {isOpen: false}", FREE % "true", {("a", "isOpen"): (Direction.RESTORE,)}),
        ("a: {isOpen: false}", "{}", {("a", "isOpen"): (Direction.NEUTRAL,)}),
        (FREE % "true", FREE % "true" + "a: {isOpen: false}", {("a", "isOpen"): (Direction.KILL,)}),
        (
            "$where: [{match: {mode: fast}, set: {isOpen: true}}]\na: {mode: slow}",
            "$where: [{match: {mode: fast}, set: {isOpen: true}}]\na: {mode: fast}",
            {("a", "mode"): (Direction.RESTORE,)},
        ),
    ],
)
def test_a_review_knows_what_an_entry_of_where_may_do(
    definitions: Definitions, before: str, after: str, directions: dict[tuple[str, str], tuple[Direction, ...]]
) -> None:
    assert reviewed(definitions, before, after) == directions


def test_rows_are_spoken_of_as_people_do() -> None:
    assert rows_meant({"a": ("x y",), "b": (True, None), "c": (datetime(2026, 1, 1, tzinfo=UTC).isoformat(),)}) == (
        'a = "x y" and b in (true, null) and c = 2026-01-01T00:00:00+00:00'
    )
