"""A schema file is read whole or refused with the line of every mistake in it."""

from __future__ import annotations

import pytest

from reconciler.errors import Problem
from reconciler.fields import ArrayField, BooleanField, EnumField, IntegerField, Restore
from reconciler.model import Location
from reconciler.schema import read_definitions
from tests.support.definitions import POLICY, definitions_of, documents, sound_definitions

SHOPS = """\
table: shops
schema: retail
key: id
label: name
touch: changedAt
missing_row: create
create: {name: New shop, openedAt: $now}
audit: {event: SHOP_CHANGED, tenant: owner}
secret: [token]
fields:
  limit: {type: integer, min: 1, max: 9, kill: lower}
  isOpen:
    type: boolean
    kill: false
    restore: {after: 24h}
"""


def plain(fields: str, more: str = "") -> str:
    return f"table: shops\nkey: id\naudit: {{event: E}}\n{more}fields:\n{fields}"


def mistakes(text: str, policy: str = POLICY, **tables: str) -> list[str]:
    """Everything that is said of these files."""
    found, problems = definitions_of(policy, shops=text, **tables)
    assert found is None
    assert problems
    return [str(problem) for problem in problems]


def test_everything_that_a_schema_says_is_there_once_it_is_read() -> None:
    table = sound_definitions(shops=SHOPS).tables["shops"]
    assert table.name == "shops"
    assert table.definition.schema == "retail"
    assert table.definition.create == {"name": "New shop", "openedAt": "$now"}
    assert table.definition.audit.tenant == "owner"
    assert table.secret == {"token"}
    assert table.fields["limit"] == IntegerField(min=1, max=9, kill="lower")
    assert table.fields["isOpen"] == BooleanField(kill=False, restore=Restore(after="24h"))


def test_fields_and_tables_are_in_order_of_name_whatever_the_order_of_the_files() -> None:
    other = plain("  b: {type: json}\n  a: {type: json}\n").replace("shops", "cafes")
    found = sound_definitions(shops=SHOPS, cafes=other)
    assert list(found.tables) == ["cafes", "shops"]
    assert list(found.tables["shops"].fields) == ["isOpen", "limit"]


def test_what_a_schema_leaves_out_is_the_careful_choice() -> None:
    field = sound_definitions(shops=plain("  isOpen: {type: boolean}\n")).tables["shops"].fields["isOpen"]
    assert (field.nullable, field.drift, field.restore, field.masked_by) == (False, "revert", None, None)
    assert sound_definitions(shops=plain("  a: {type: json}\n")).tables["shops"].definition.missing_row == "error"


def test_each_part_of_a_definition_knows_its_line() -> None:
    places = sound_definitions(shops=SHOPS).tables["shops"].places
    assert places.of("key") == Location("schemas/shops.yaml", 3, 1)
    assert places.of("fields", "isOpen", "kill") == Location("schemas/shops.yaml", 14, 5)
    assert places.of("secret", 0) == Location("schemas/shops.yaml", 9, 10)
    assert places.of("fields", "isOpen", "no such part") == Location("schemas/shops.yaml", 12, 3)
    assert places.of("nothing") == Location("schemas/shops.yaml", 1, 1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (plain("  a: {type: bolean}\n"), '5:7: bolean is not a type (did you mean "boolean"?)'),
        (plain("  a: {type: 5}\n"), "5:7: 5 is not a type (one of boolean, "),
        (plain("  a: {kill: false}\n"), "5:3: field a has no type (for example {type: boolean, kill: false})"),
        (plain("  a: boolean\n"), "5:3: field a has no type"),
        (plain("  a: {type: boolean, kil: false}\n"), '5:22: unknown property kil (did you mean "kill"?)'),
        (plain("  a: {type: boolean, kill: off}\n"), "5:22: expected true or false, and this is text (in YAML 1.2"),
        (plain("  a: {type: integer, kill: less}\n"), '5:22: "less" cannot stand here (one of lower, higher)'),
        (plain("  a: {type: enum}\n"), "5:3: values is missing"),
        (plain("  a: {type: enum, values: []}\n"), "5:19: expected a list of at least 1 item"),
        (plain("  a: {type: enum, values: [A], kill: [B]}\n"), '5:32: "B" is not one of the values'),
        (plain("  a: {type: integer, min: 5, max: 1}\n"), "5:22: 5 is more than the maximum 1"),
        (plain("  a: {type: string, pattern: '('}\n"), "5:21: not a regular expression"),
        (plain("  a: {type: boolean, restore: {after: 24}}\n"), "5:32: expected text, and this is a whole number (a "),
        (plain("  a: {type: boolean, restore: {after: 1w}}\n"), "5:32: expected text (a duration: 90s, 30m, 24h, 7d)"),
        (plain("  a: {type: boolean, restore: {afer: 1h}}\n"), "5:32: unknown property afer"),
        (plain("  a: {type: boolean, masked_by: nowhere}\n"), "5:22: expected text (table/row.field)"),
        (plain("  $a: {type: boolean}\n"), "5:3: $a: names that begin with $ are directives, not columns"),
        (plain("  id: {type: string}\n"), "5:3: id is the key, and cannot be managed as well"),
        (plain("  at: {type: json}\n", "touch: at\n"), "6:3: at is the column that is touched on a write"),
        (plain("  a: {type: json}\n", "secret: [a]\n"), "6:3: a is named under `secret`, and can never be managed"),
        (plain("  a: {type: json}\n", "secret: [id]\n"), "2:1: id is named under `secret`, and can never be read"),
        (
            plain("  a: {type: json}\n", "label: b\nsecret: [b]\n"),
            "4:1: b is named under `secret`, and can never be read",
        ),
        (
            plain("  a: {type: json}\n", "missing_row: create\ncreate: {b: 1}\nsecret: [b]\n"),
            "5:10: b is named under `secret`, and can never be written",
        ),
        (
            plain("  a: {type: json}\n", "create: {b: 1}\n"),
            "4:1: `create` has no meaning with `missing_row: error` (missing_row: create)",
        ),
        (plain("  a: {type: json}\n", "missing_row: ignore\n"), '4:1: "ignore" cannot stand here (one of error, '),
        (plain("  a: {type: json}\n", "touched: b\n"), '4:1: unknown property touched (did you mean "touch"?)'),
        ("table: shops\nkey: id\nfields: {}\n", "1:1: audit is missing"),
        ("table: shops\nkey: id\naudit: {event: E, tenant: t}\nsecret: [t]\nfields: {}\n", "t is named under `secret`"),
        ("- a\n", "1:1: a mapping is expected here (see docs/schemas.md)"),
        ("", "1:1: a mapping is expected here"),
        (plain("  a: {type: json}\n").replace("table: shops", "table: shop"), "1:1: the file of table shop must be"),
        (plain("  a: {type: number, max: .inf}\n"), "5:26: \".inf\" is not a number that can"),
    ],
)  # fmt: skip
def test_a_mistake_is_refused_with_its_line_and_what_was_meant(text: str, said: str) -> None:
    [mistake] = mistakes(text)
    assert f"schemas/shops.yaml:{said}" in mistake or (mistake.startswith("schemas/shops.yaml:") and said in mistake)


def test_all_mistakes_of_all_files_are_reported_at_once() -> None:
    found = mistakes(
        plain("  a: {type: bolean}\n  b: {type: json, nul: 1}\n"),
        policy="audit: {table: journal}\n",
        cafes=plain("  c: {}\n").replace("shops", "cafes"),
    )
    assert [mistake.partition(" ")[0] for mistake in found] == [
        "schemas/shops.yaml:5:7:", "schemas/shops.yaml:6:19:", "schemas/cafes.yaml:5:3:", "schemas/policy.yaml:1:1:",
    ]  # fmt: skip


def test_two_files_for_one_table_are_refused() -> None:
    problems: list[Problem] = []
    text = plain("  a: {type: json}\n")
    files = {"schemas/policy.yaml": POLICY, "schemas/shops.yaml": text, "schemas/shops.yml": text}
    assert read_definitions(documents(files, problems), problems) is None
    assert [str(problem) for problem in problems] == [
        "schemas/shops.yml:1:1: table shops is described here and in schemas/shops.yaml (remove one of the two)"
    ]


def test_two_policies_are_refused() -> None:
    problems: list[Problem] = []
    files = {"schemas/policy.yaml": POLICY, "schemas/policy.yml": POLICY}
    assert read_definitions(documents(files, problems), problems) is None
    assert "schemas/policy.yml:1:1: the policy stands here and in schemas/policy.yaml" in str(problems[0])


def test_a_missing_policy_is_said_beside_the_other_mistakes() -> None:
    problems: list[Problem] = []
    files = {"schemas/shops.yaml": plain("  a: {type: bolean}\n")}
    assert read_definitions(documents(files, problems), problems) is None
    assert "bolean" in str(problems[0])
    assert "schemas/policy.yaml is missing" in str(problems[1])


AUDIT = "audit: {table: j, columns: {o: $tenant, e: $event, d: $metadata}}\n"


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ("audit: {table: j, columns: {o: $tenant, e: $evnt, d: $metadata}}\n", 'did you mean "$event"?'),
        ("audit: {table: j, columns: {o: $tenant, e: $event}}\n", "no column of the audit table takes $metadata"),
        (AUDIT + "blast: {kill: {rows: 0}}\n", "2:16: expected a whole number of at least 1"),
        (AUDIT + "blast: {kill: {share: 20}}\n", "2:16: expected text, and this is a whole number (a share of"),
        (AUDIT + "blast: {kil: {}}\n", "2:9: unknown property kil"),
        (AUDIT + "checks: {a: {type: redi}}\n", 'check a has no `type` that is known (did you mean "redis"?)'),
        (AUDIT + "checks: {a: {type: [redis]}}\n", "2:14: check a has no `type` that is known"),
        (AUDIT + "checks: {a: 5}\n", "2:10: check a has no `type` that is known"),
        (AUDIT + "checks: {a: {type: redis, timeout: 2}}\n", "2:27: expected text, and this is a whole number (a "),
        (AUDIT + "checks: {a: {type: redis, timout: 2s}}\n", '2:27: unknown property timout (did you mean "timeout"?)'),
        (AUDIT + "freezes: [{name: A}]\n", "a freeze has either `from` and `to`, or `cron` and `for`"),
        (
            AUDIT + "freezes: [{name: A, from: 2026-01-02T00:00:00Z, to: 2026-01-01T00:00:00Z}]\n",
            "2:49: the freeze ends before it begins",
        ),
        (AUDIT + "freezes: [{name: A, from: 2026-01-02, to: tomorrow}]\n", "has no time zone"),
        (AUDIT + "freezes: [{name: A, cron: 61 * * * *, for: 1h}]\n", "2:21: not a cron expression"),
        (AUDIT + "freezes: [{name: A, cron: 0 * * * *, for: 1h, timezone: Mars}]\n", "Mars is not a time zone"),
        (AUDIT + "invariants: [{table: shop, rule: a, message: m}]\n", '2:15: no schema for a table "shop" (did you'),
        (AUDIT + "invariants: [{table: shops, rule: b > 1, message: m}]\n", 'no managed field "b"'),
        (AUDIT + "invariants: [{table: shops, rule: a >, message: m}]\n", "not an expression"),
        (AUDIT + "invariants: [{table: shops, rule: a(), message: m}]\n", "Call is not part of the language"),
        (
            "audit: {table: j, columns: {o: $tenant, e: $event, d: $metadata}, without_tenant:\n"
            "  {tenant: NOBODY, create: {table: owners, key: id, row: {id: SOMEBODY}}}}\n",
            "2:59: the row to create must have the key NOBODY",
        ),
    ],
)
def test_a_mistake_in_the_policy_is_refused_with_its_line(policy: str, said: str) -> None:
    found = "\n".join(mistakes(plain("  a: {type: integer}\n"), policy))
    assert "schemas/policy.yaml:" in found
    assert said in found


def test_a_check_that_nobody_declared_is_refused_where_it_is_named() -> None:
    policy = POLICY + "checks: {redis: {type: redis}}\n"
    [mistake] = mistakes(plain("  a: {type: boolean, kill: false, restore: {requires: [redis, reddis]}}\n"), policy)
    assert mistake == 'schemas/shops.yaml:5:63: no check is called "reddis" (did you mean "redis"?)'


def test_a_mask_that_is_no_managed_field_is_refused_where_it_is_named() -> None:
    [mistake] = mistakes(plain("  a: {type: boolean, masked_by: shops/all.b}\n"))
    assert mistake == "schemas/shops.yaml:5:22: shops/all.b is no managed field (write table/row.field)"


def test_a_mask_may_be_a_row_whose_key_has_dots_and_slashes() -> None:
    fields = "  a: {type: boolean, masked_by: shops/eu/x.y.b}\n  b: {type: boolean, kill: false}\n"
    assert sound_definitions(shops=plain(fields)).tables["shops"].fields["a"].masked_by == "shops/eu/x.y.b"


def test_a_mask_without_a_kill_side_is_refused_because_it_would_mask_nothing() -> None:
    [mistake] = mistakes(plain("  a: {type: boolean, masked_by: shops/all.b}\n  b: {type: boolean}\n"))
    assert mistake == "schemas/shops.yaml:5:22: shops/all.b has no kill side, and so masks nothing"


@pytest.mark.parametrize("field", ["type: boolean", "type: enum, values: [A, B]", "type: integer", "type: json"])
def test_a_restore_without_a_kill_side_is_refused_because_it_would_guard_nothing(field: str) -> None:
    [mistake] = mistakes(plain(f"  a: {{restore: {{after: 24h}}, {field}}}\n"))
    assert "`restore` guards the way back from the kill side, and the field has none" in mistake
    assert mistake.startswith("schemas/shops.yaml:5:7: ")


def test_an_array_says_what_its_items_are() -> None:
    fields = "  a: {type: array, items: {type: enum, values: [x, y]}, max_items: 2}\n"
    found = sound_definitions(shops=plain(fields)).tables["shops"].fields["a"]
    assert found == ArrayField(items=EnumField(values=["x", "y"]), max_items=2)
    [mistake] = mistakes(plain("  a: {type: array, items: {type: json}}\n"))
    assert mistake.startswith("schemas/shops.yaml:5:")


@pytest.mark.parametrize(
    "said",
    [
        "kill: [x]", "restore: {after: 1h}", "masked_by: shops/s.b", "drift: keep", "title: A",
        "effects: [{pg_notify: {channel: c}}]", "verify: [{row: written}]",
    ],
)  # fmt: skip
def test_what_only_a_field_can_say_is_refused_of_its_items(said: str) -> None:
    """A kill side that nobody asks would be believed in."""
    text = plain(f"  a: {{type: array, items: {{type: string, {said}}}}}\n  b: {{type: boolean, kill: false}}\n")
    column = text.splitlines()[4].index(said) + 1
    name = said.partition(":")[0]
    assert mistakes(text) == [
        f"schemas/shops.yaml:5:{column}: `{name}` says something of a field, and has no meaning below `items`"
        " (remove it)"
    ]


def test_what_refers_to_a_file_that_has_mistakes_of_its_own_is_not_wrong_for_that() -> None:
    other = plain("  b: {type: boolean, masked_by: shops/all.a}\n").replace("table: shops", "table: boxes")
    files = {
        "schemas/shops.yaml": plain("  a: {type: bolean}\n"),
        "schemas/boxes.yaml": other,
        "schemas/policy.yaml": AUDIT + "invariants: [{table: shops, rule: a, message: m}]\n",
    }
    problems: list[Problem] = []
    assert read_definitions(documents(files, problems), problems) is None
    assert [str(problem) for problem in problems] == [
        'schemas/shops.yaml:5:7: bolean is not a type (did you mean "boolean"?)'
    ]


def test_a_policy_that_is_no_yaml_is_not_missing_as_well() -> None:
    problems: list[Problem] = []
    files = {"schemas/shops.yaml": plain("  a: {type: boolean}\n"), "schemas/policy.yaml": "audit: [\n"}
    assert read_definitions(documents(files, problems), problems) is None
    assert [problem.location.file for problem in problems if problem.location] == ["schemas/policy.yaml"]
