"""Files below `state/` add up to the desired State; every mistake in any of them is said with its place."""

from __future__ import annotations

from decimal import Decimal

import pytest

from reconciler.desired import table_of
from reconciler.model import Json, Location, Row, Then, Value
from reconciler.schema import Definitions
from tests.support.definitions import desired_of, sound_definitions

SHOPS = """\
table: shops
key: id
audit: {event: E}
secret: [token]
fields:
  isOpen: {type: boolean, kill: false}
  limit: {type: integer, min: 1, kill: lower, nullable: true}
  mode: {type: enum, values: [fast, restore, slow]}
  note: {type: string}
  rate: {type: number}
  options: {type: json, nullable: true}
  tags: {type: array, items: {type: string}}
"""


@pytest.fixture(scope="module")
def definitions() -> Definitions:
    return sound_definitions(shops=SHOPS, cafes=SHOPS.replace("shops", "cafes"))


def rows_of(definitions: Definitions, **state: str) -> dict[str, Row]:
    """The rows of `shops`, from files without a mistake."""
    found, problems = desired_of(definitions, **state)
    assert problems == []
    return found["shops"]


def value_of(definitions: Definitions, field: str, yaml: str) -> Value:
    """What git asks for, from `field: <yaml>`."""
    return rows_of(definitions, shops=f"a:\n  {field}: {yaml}\n")["a"].values[field]


def mistakes(definitions: Definitions, **state: str) -> list[str]:
    _, problems = desired_of(definitions, **state)
    return [str(problem) for problem in sorted(problems, key=lambda problem: problem.sort_key())]


@pytest.mark.parametrize(
    ("path", "table"),
    [
        ("state/shops.yaml", "shops"),
        ("state/shops.yml", "shops"),
        ("state/shops/eu.yaml", "shops"),
        ("state/shops/eu/north/a.yaml", "shops"),
        ("state/shops/cafes.yaml", "shops"),
        ("state/plan.limits.yaml", "plan.limits"),
    ],
)
def test_the_first_name_below_the_folder_is_the_table(path: str, table: str) -> None:
    assert table_of(path, "state") == table
    assert table_of(path, "state/") == table


def test_short_and_long_form_say_the_same(definitions: Definitions) -> None:
    rows = rows_of(definitions, shops="a: {isOpen: false, limit: 5}\nb:\n  isOpen:\n    value: false\n")
    assert rows["a"].values["isOpen"].data is False
    assert rows["a"].values["limit"].data == 5
    assert rows["b"].values["isOpen"].data is False


def test_a_value_knows_where_it_stands_and_what_stands_beside_it(definitions: Definitions) -> None:
    value = value_of(
        definitions,
        "isOpen",
        "\n    value: false\n    reason: ' flood, INC-7 '\n    until: 2026-11-27T10:00:00+01:00\n"
        "    then: restore\n    override: {after: owner asked}",
    )
    assert value == Value(
        False, "state/shops.yaml", 3, 12, "flood, INC-7", "2026-11-27T09:00:00Z", Then(restores=True),
        {"after": "owner asked"},
    )  # fmt: skip
    assert value.location == Location("state/shops.yaml", 3, 12)


def test_a_row_remembers_which_of_its_values_are_meant_for_a_time(definitions: Definitions) -> None:
    long = "{value: false, until: 2026-11-27T09:00:00Z}"
    row = rows_of(definitions, shops=f"a:\n  isOpen: {long}\n  limit: {{value: 5}}\n")["a"]
    assert row.timed == ("isOpen",)


@pytest.mark.parametrize(
    ("field", "then", "expected"),
    [
        ("isOpen", "true", Then(True)),
        ("limit", "null", Then(None)),
        ("limit", "restore", Then(restores=True)),
        ("mode", "restore", Then(restores=True)),
        ("mode", "{value: restore}", Then("restore")),
    ],
)
def test_then_is_a_value_or_the_word_restore(
    definitions: Definitions, field: str, then: str, expected: Then
) -> None:
    first = {"isOpen": "false", "limit": "5", "mode": "slow"}[field]
    value = value_of(definitions, field, f"{{value: {first}, until: 2026-11-27T09:00:00Z, then: {then}}}")
    assert value.then == expected


@pytest.mark.parametrize(
    ("yaml", "data", "reason"),
    [
        ("{a: 1}", {"a": 1}, None),
        ("{value: 1, other: 2}", {"value": 1, "other": 2}, None),
        ("{value: {value: 1}}", {"value": 1}, None),
        ("{value: 1, reason: because}", 1, "because"),
        ("{reason: because}", {"reason": "because"}, None),
        ("[1, {b: off}]", [1, {"b": "off"}], None),
        ("{}", {}, None),
        ("null", None, None),
        ("{value: null}", None, None),
    ],
)
def test_a_json_field_takes_a_mapping_as_its_value_unless_it_is_the_long_form(
    definitions: Definitions, yaml: str, data: Json, reason: str | None
) -> None:
    value = value_of(definitions, "options", yaml)
    assert value.data == data
    assert value.reason == reason


def test_numbers_are_canonical_wherever_they_stand(definitions: Definitions) -> None:
    assert value_of(definitions, "rate", "1.50").data == Decimal("1.5")
    assert value_of(definitions, "options", "{a: [1.0, 2.50]}").data == {"a": [1, Decimal("2.5")]}


@pytest.mark.parametrize("key", ["007", "1e3", "2026-01-01", "true", "null", "~", "a b", "0x10", "off", "'quoted'"])
def test_a_key_is_the_text_that_stands_in_the_file(definitions: Definitions, key: str) -> None:
    [row] = rows_of(definitions, shops=f"{key}: {{isOpen: true}}\n").values()
    assert row.key == key.strip("'")


def test_files_and_folders_of_a_table_add_up_and_a_row_may_be_spread_over_them(definitions: Definitions) -> None:
    rows = rows_of(
        definitions,
        shops="a: {isOpen: true}\n",
        shops__eu="a: {limit: 5}\nb: {isOpen: false}\n",
        shops__us__west="c: {isOpen: false}\n",
    )
    assert sorted(rows) == ["a", "b", "c"]
    assert sorted(rows["a"].values) == ["isOpen", "limit"]
    assert rows["a"].location == Location("state/shops.yaml", 1, 1)
    assert rows["c"].values["isOpen"].file == "state/shops/us/west.yaml"


def test_the_same_field_of_a_row_in_two_places_is_an_error_that_names_both(definitions: Definitions) -> None:
    found = mistakes(
        definitions,
        shops="a:\n  $expect: {name: x}\n  isOpen: true\n",
        shops__eu="a:\n  $expect: {name: y}\n  isOpen: true\n",
    )
    assert found == [
        "state/shops/eu.yaml:2:13: $expect.name of row a stands here and at state/shops.yaml:2:19"
        " (remove one of the two)",
        "state/shops/eu.yaml:3:3: isOpen of row a stands here and at state/shops.yaml:3:11 (remove one of the two)",
    ]


def test_the_same_row_of_two_tables_is_two_rows(definitions: Definitions) -> None:
    found, problems = desired_of(definitions, shops="a: {isOpen: true}\n", cafes="a: {isOpen: false}\n")
    assert problems == []
    assert (found["shops"]["a"].values["isOpen"].data, found["cafes"]["a"].values["isOpen"].data) == (True, False)


@pytest.mark.parametrize("text", ["", "# nothing yet\n"])
def test_an_empty_file_asks_for_nothing(definitions: Definitions, text: str) -> None:
    assert rows_of(definitions, shops=text) == {}


def test_what_is_expected_of_a_row_is_kept_with_its_place(definitions: Definitions) -> None:
    row = rows_of(definitions, shops="a:\n  $expect: {name: Acme, floor: 3, closed: null}\n  isOpen: true\n")["a"]
    assert {name: value.data for name, value in row.expect.items()} == {"name": "Acme", "floor": 3, "closed": None}
    assert row.expect["floor"].location == Location("state/shops.yaml", 2, 32)
    assert list(row.values) == ["isOpen"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("isOpen: off", "2:11: shops.isOpen: `off` is a string in YAML 1.2, not a boolean (write false)"),
        ("limit: 0", "2:10: shops.limit: 0 is less than the minimum 1"),
        ("isOpne: true", '2:3: table shops has no managed field "isOpne" (did you mean "isOpen"?)'),
        ("colour: red", '2:3: table shops has no managed field "colour" (schemas/shops.yaml lists the fields)'),
        ("token: x", "2:3: token holds a secret: it can never be managed or read"),
        ("$expct: {a: 1}", '2:3: $expct is not a directive (did you mean "$expect"?)'),
        ("$other: {a: 1}", "2:3: $other is not a directive (the directives are $expect)"),
        ("$expect: x", "2:12: $expect takes a mapping ($expect: {column: value})"),
        ("$expect: {token: x}", "2:13: token holds a secret: it can never be read"),
        ("$expect: {tags: [a]}", "2:13: $expect.tags: a single value is expected"),
        ("$expect: {a: .nan}", '2:13: $expect.a: ".nan" is not a number that can be stored'),
        ("isOpen: {reason: x}", "2:11: isOpen has no `value`"),
        ("isOpen: {}", "2:11: isOpen has no `value`"),
        ("isOpen: {value: false, resaon: x}", '2:26: resaon is not known beside a value (did you mean "reason"?)'),
        ("isOpen: {value: false, x: y}", "2:26: x is not known beside a value (beside a value may stand reason, "),
        ("isOpen: {value: off}", "2:19: shops.isOpen: `off` is a string in YAML 1.2"),
        ("isOpen: {value: false, reason: [a]}", "2:34: `reason` must be text"),
        ("isOpen: {value: false, reason: ''}", "2:34: `reason` must be text"),
        ("isOpen: {value: false, reason: }", "2:26: `reason` must be text"),
        ("isOpen: {value: false, reason: null}", "2:34: `reason` must be text"),
        ("isOpen: {value: false, until: tomorrow}", '2:33: `until`: "tomorrow" is not a timestamp'),
        ("isOpen: {value: false, until: 2026-11-27}", "2:33: `until`: "),
        ("isOpen: {value: false, then: true}", "2:26: `then` says what comes after `until`, and there is none"),
        (
            "isOpen: {value: false, until: 2026-11-27T09:00:00Z, then: 5}",
            "2:61: shops.isOpen: 5 is not a boolean (write true or false)",
        ),
        ("isOpen: {value: true, override: after}", "2:35: `override` takes a mapping (override: {after: "),
        ("isOpen: {value: true, override: {afer: x}}", '2:36: there is no guard "afer" to waive (did you mean "after"'),
        ("isOpen: {value: true, override: {uncommitted: x}}", 'there is no guard "uncommitted" to waive'),
        ("isOpen: {value: true, override: {after: ''}}", "2:43: `after` must be text"),
        ("tags: a", '2:9: shops.tags: "a" is not a list'),
        ("tags: {value: a}", '2:17: shops.tags: "a" is not a list'),
    ],
)
def test_a_mistake_in_a_row_is_said_with_its_place_and_what_was_meant(
    definitions: Definitions, body: str, said: str
) -> None:
    [mistake] = mistakes(definitions, shops=f"a:\n  {body}\n")
    assert f"state/shops.yaml:{said}" in mistake or (mistake.startswith("state/shops.yaml:2:") and said in mistake)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- a\n", "state/shops.yaml:1:1: a mapping of row keys is expected here (row-key: {field: value})"),
        ("text\n", "state/shops.yaml:1:1: a mapping of row keys is expected here"),
        ("a: true\n", "state/shops.yaml:1:1: row a: a mapping of fields is expected"),
        ("a:\n", "state/shops.yaml:1:1: row a: a mapping of fields is expected"),
        ("'': {isOpen: true}\n", "state/shops.yaml:1:1: a row needs a key"),
    ],
)
def test_a_file_or_row_of_another_form_is_refused(definitions: Definitions, text: str, said: str) -> None:
    [mistake] = mistakes(definitions, shops=text)
    assert mistake.startswith(said)


def test_a_file_for_a_table_that_no_schema_describes_is_refused(definitions: Definitions) -> None:
    assert mistakes(definitions, shop="a: {isOpen: true}\n", other__b="x: {}\n") == [
        'state/other/b.yaml:1:1: no schema for a table "other" (add schemas/other.yaml, or move the file)',
        'state/shop.yaml:1:1: no schema for a table "shop" (did you mean "shops"?)',
    ]


def test_a_mistake_hides_no_other_and_a_row_that_holds_one_keeps_its_sound_values(definitions: Definitions) -> None:
    text = "a: {isOpen: off, limit: 5}\nb: {limit: x, note: 5}\nc: {mode: up}\n"
    found, problems = desired_of(definitions, shops=text)
    assert len(problems) == 4
    assert {key: sorted(row.values) for key, row in found["shops"].items()} == {"a": ["limit"], "b": [], "c": []}


def test_the_same_mistake_is_said_at_each_place_where_it_stands(definitions: Definitions) -> None:
    found = mistakes(definitions, shops="a: {isOpen: off}\nb: {isOpen: off}\nc: {isOpen: 'off'}\n")
    assert [mistake.split(":")[1] for mistake in found] == ["1", "2", "3"]
    assert "not a boolean (write true or false)" in found[2]


@pytest.mark.parametrize(
    ("field", "right", "wrong"), [("limit", "5", "'5'"), ("note", "'5'", "5"), ("isOpen", "true", "!!str true")]
)
def test_a_value_that_was_right_once_is_not_taken_for_one_that_is_spelt_otherwise(
    definitions: Definitions, field: str, right: str, wrong: str
) -> None:
    rows = {"a": right, "b": wrong, "c": right}
    text = "".join(f"{key}: {{{field}: {value}}}\n" for key, value in rows.items())
    [mistake] = mistakes(definitions, shops=text)
    assert mistake.startswith("state/shops.yaml:2:")
