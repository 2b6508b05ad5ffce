"""What the schemas say is held against the live database's own description before anything else is done."""

from __future__ import annotations

import struct
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.catalog import Catalog, Column, Relation
from reconciler.fields import (
    ArrayField,
    BooleanField,
    EnumField,
    Field,
    IntegerField,
    JsonField,
    NumberField,
    StringField,
    TimestampField,
)
from reconciler.fit import (
    problems_of_creating,
    problems_of_reading,
    problems_of_values,
    problems_of_writing,
    relations_of,
    type_disagreements,
)
from reconciler.model import Json
from reconciler.schema import Definitions
from tests.support.definitions import POLICY, desired_of, sound_definitions
from tests.support.plan_examples import NOW


def column(declared: str, name: str = "a", **more: Any) -> Column:
    """A column as the catalog describes it, from its DDL: `varchar(5)`, `numeric(5,2)[]`, `timestamp(3)`."""
    base, _, rest = declared.removesuffix("[]").partition("(")
    size = [int(number) for number in rest.rstrip(")").split(",") if number]
    internal = {"integer": "int4", "smallint": "int2", "bigint": "int8", "real": "float4", "double precision": "float8",
                "boolean": "bool", "char": "bpchar"}.get(base, base)  # fmt: skip
    typmod = -1
    if size:
        typmod = {"numeric": (size[0] << 16 | (size[-1] & 0x7FF)) + 4, "timestamp": size[0]}.get(base, size[0] + 4)
    is_array = declared.endswith("[]")
    known: dict[str, Any] = {
        "name": name, "type": f"_{internal}" if is_array else internal, "declared": declared, "typmod": typmod,
        "is_enum": False, "is_array": is_array, "element": internal if is_array else None, "labels": (),
        "not_null": False, "has_default": False, "generated": False, "may_select": True, "may_insert": True,
        "may_update": True,
    }  # fmt: skip
    return Column(**known | more)


def enum(*labels: str, **more: Any) -> Column:
    return column("mood", is_enum=True, labels=labels, **more)


def said(field: Field, of: Column) -> list[str]:
    return [f"{part}: {message}" for part, message in type_disagreements(field, of)]


COLUMN_OF_EACH_KIND = {
    "boolean": column("boolean"),
    "integer": column("integer"),
    "numeric": column("numeric"),
    "float": column("real"),
    "text": column("text"),
    "uuid": column("uuid"),
    "enum": enum("x"),
    "timestamp": column("timestamptz"),
    "json": column("jsonb"),
    "array": column("text[]"),
}
FIELDS_AND_WHAT_HOLDS_THEM: list[tuple[Field, set[str]]] = [
    (BooleanField(), {"boolean"}),
    (IntegerField(), {"integer", "numeric"}),
    (NumberField(), {"integer", "numeric", "float"}),
    (StringField(), {"text", "uuid"}),
    (EnumField(values=["x"]), {"text", "enum"}),
    (TimestampField(), {"timestamp"}),
    (JsonField(), {"json"}),
    (ArrayField(items=StringField()), {"array"}),
]


@pytest.mark.parametrize(("field", "kinds"), FIELDS_AND_WHAT_HOLDS_THEM)
def test_each_type_of_field_fits_its_own_kinds_of_column_and_no_other(field: Field, kinds: set[str]) -> None:
    assert {kind for kind, of in COLUMN_OF_EACH_KIND.items() if not said(field, of)} == kinds
    for kind in COLUMN_OF_EACH_KIND.keys() - kinds:
        [message] = said(field, COLUMN_OF_EACH_KIND[kind])
        assert message.startswith(f"type: not {field.type_name}")


@pytest.mark.parametrize(
    ("field", "of", "expected"),
    [
        (EnumField(values=["SAD", "SADD"]), enum("SAD"), ['values: it lacks the value "SADD"; did you mean "SAD"?']),
        (EnumField(values=["x"]), enum("SAD", "GLAD"), ['values: it lacks the value "x"; it has SAD, GLAD']),
        (StringField(), enum("SAD"), ["type: not string (type: enum)"]),
        (IntegerField(max=2**15), column("smallint"), ["max: it holds at most 32767"]),
        (IntegerField(max=2**15 - 1), column("smallint"), []),
        (IntegerField(min=-(2**31) - 1), column("integer"), ["min: it holds at least -2147483648"]),
        (IntegerField(max=2**64), column("numeric"), []),
        (StringField(max_length=6), column("varchar(5)"), ["max_length: it holds at most 5 characters"]),
        (StringField(max_length=5), column("varchar(5)"), []),
        (StringField(), column("varchar(5)"), []),
        (ArrayField(items=IntegerField()), column("text[]"), ["items: its elements: not integer"]),
        (ArrayField(items=IntegerField()), column("smallint[]"), []),
        (
            ArrayField(items=IntegerField(max=2**15)),
            column("smallint[]"),
            ["items: its elements: it holds at most 32767"],
        ),
        (
            ArrayField(items=EnumField(values=["x"])),
            column("mood[]", labels=("y", "z")),
            ['items: its elements: it lacks the value "x"; it has y, z'],
        ),
        (ArrayField(items=EnumField(values=["y"])), column("mood[]", labels=("y", "z")), []),
    ],
)
def test_bounds_and_values_are_held_against_the_columns_own(field: Field, of: Column, expected: list[str]) -> None:
    assert said(field, of) == expected


@pytest.mark.parametrize(
    ("declared", "data", "expected"),
    [
        ("smallint", 32767, None),
        ("smallint", 32768, "32768 is out of its range"),
        ("integer", -(2**31), None),
        ("integer", -(2**31) - 1, "-2147483649 is out of its range"),
        ("bigint", 2**63, "9223372036854775808 is out of its range"),
        ("integer", Decimal("1.5"), "1.5 is not a whole number"),
        ("numeric", Decimal("1.23456789012345678901234567890123456789"), None),
        ("numeric(5,2)", Decimal("999.99"), None),
        ("numeric(5,2)", 1000, "1000 is out of its range"),
        ("numeric(5,2)", Decimal("-1000.5"), "-1000.5 is out of its range"),
        ("numeric(5,2)", Decimal("0.125"), "0.125 has more than 2 digits after the point"),
        ("numeric(5,2)", 0, None),
        ("numeric(2,4)", Decimal("0.0099"), None),
        ("numeric(2,4)", Decimal("0.01"), "0.01 is out of its range"),
        ("numeric(3,-2)", 99900, None),
        ("numeric(3,-2)", 150, "150 has more than -2 digits after the point"),
        ("numeric(5,2)", Decimal("1." + "0" * 40 + "1"), f"1.{'0' * 40}1 has more than 2 digits after the point"),
        ("double precision", Decimal("0.1"), None),
        ("double precision", 2**53 + 1, "it holds 9007199254740993 only as 9007199254740992.0"),
        ("double precision", Decimal("0.1234567890123456789"), "it holds 0.1234567890123456789 only as "),
        ("double precision", Decimal("1e400"), "it holds 1E+400 only as Infinity"),
        ("real", Decimal("0.1"), None),
        ("real", Decimal("3.4028235e38"), None),
        ("real", 16777217, "it holds 16777217 only as "),
        ("real", Decimal("-1e39"), "it holds -1E+39 only as -Infinity"),
        ("varchar(3)", "äöü", None),
        ("varchar(3)", "abcd", "longer than 3 characters"),
        ("char(3)", "ab", None),
        ("char(3)", "ab ", "it does not keep blanks at the end"),
        ("varchar(3)", "ab ", None),
        ("text", "x" * 10_000, None),
        ("uuid", "8a6e0804-2bd0-4672-b79d-d97027f9071a", None),
        ("uuid", "8A6E0804-2BD0-4672-B79D-D97027F9071A", "is not a uuid in lower case, with hyphens"),
        ("uuid", "acme", '"acme" is not a uuid'),
        ("timestamp(3)", "2026-11-27T09:00:00.123Z", None),
        ("timestamp(3)", "2026-11-27T09:00:00.1234Z", "has more than 3 digits of a second"),
        ("timestamp(0)", "2026-11-27T09:00:00Z", None),
        ("timestamptz", "2026-11-27T09:00:00.123456Z", None),
        ("boolean", True, None),
        ("integer", None, None),
        ("smallint[]", [1, None, 40000], "40000 is out of its range"),
        ("varchar(3)[]", ["abc", "abcd"], "longer than 3 characters"),
        ("numeric(3,1)[]", [Decimal("0.55")], "0.55 has more than 1 digits after the point"),
        ("text[]", ["x" * 10_000], None),
    ],
)
def test_a_value_that_the_column_would_change_or_refuse_is_found(
    declared: str, data: Json, expected: str | None
) -> None:
    of = column(declared)
    found = of.misfit(data)
    assert (found is None) == (expected is None)
    assert (expected or "") in (found or "")
    assert of.is_limited or found is None


@given(st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_what_a_binary_column_gives_back_it_also_takes(value: float) -> None:
    shortest = next(text for text in (f"{value:.{digits}e}" for digits in range(9)) if _same_float4(text, value))
    assert column("real").misfit(Decimal(shortest)) is None
    assert column("double precision").misfit(Decimal(repr(value))) is None


def _same_float4(text: str, value: float) -> bool:
    return struct.pack("d", struct.unpack("f", struct.pack("f", float(text)))[0]) == struct.pack("d", value)


@pytest.mark.parametrize(
    ("declared", "key", "hint"),
    [
        ("text", "anything, at all", None),
        ("uuid", "8a6e0804-2bd0-4672-b79d-d97027f9071a", None),
        ("uuid", "8a6e08042bd04672b79dd97027f9071a", "lower case, with hyphens"),
        ("integer", "-7", None),
        ("integer", "007", "a whole number without leading zeros"),
        ("integer", "1e3", "a whole number without leading zeros"),
        ("integer", "2147483648", "2147483648 is out of its range"),
        ("bigint", "9999999999999999999", "9999999999999999999 is out of its range"),
        ("bigint", "99999999999999999999", "a whole number without leading zeros"),
    ],
)
def test_a_key_must_be_spelt_as_the_database_spells_it(declared: str, key: str, hint: str | None) -> None:
    assert column(declared).misspelt_key(key) == hint


# Whole tables -------------------------------------------------------------------------------------------------------

SHOPS = """\
table: shops
key: id
label: name
touch: changedAt
audit: {event: E, tenant: owner}
secret: [token]
fields:
  isOpen: {type: boolean}
  limit: {type: integer, nullable: true}
"""


def relation(name: str, *columns: Column) -> Relation:
    return Relation("public", name, "r", {one.name: one for one in columns}, ("id",))


def shops(**changed: Column | None) -> Relation:
    """The live table that fits SHOPS, with some columns replaced, or left out (None)."""
    columns = {
        name: column(declared, name)
        for name, declared in [("id", "text"), ("name", "text"), ("changedAt", "timestamptz"), ("owner", "text"),
                               ("token", "text"), ("isOpen", "boolean"), ("limit", "integer")]
    }  # fmt: skip
    return relation("shops", *(one for one in (columns | changed).values() if one is not None))


JOURNAL = relation("journal", *(column("text", name) for name in ("id", "owner", "event", "details")))


def catalog(*relations: Relation, **more: Any) -> Catalog:
    known: dict[str, Any] = {
        "database": "db", "role": "robot", "server_version": 180000, "in_recovery": False, "now": NOW,
        "has_ledger": True, "relations": {(None, one.name): one for one in relations},
    }  # fmt: skip
    return Catalog(**known | more)


def definitions(text: str = SHOPS, policy: str = POLICY) -> Definitions:
    return sound_definitions(policy, shops=text)


def reading(of: Relation | None = None, text: str = SHOPS, state: str = "") -> list[str]:
    """What is said before a plan is made."""
    defined = definitions(text)
    desired, problems = desired_of(defined, shops=state)
    assert problems == []
    live = catalog(JOURNAL, of or shops())
    problems = [*problems_of_reading(defined, desired, live), *problems_of_values(defined, desired, live)]
    return [str(problem) for problem in problems]


def writing(of: Relation | None = None, text: str = SHOPS, policy: str = POLICY, **live: Any) -> list[str]:
    """What is said before an apply, beyond that."""
    defined = definitions(text, policy)
    desired, _ = desired_of(defined, shops="a: {isOpen: true}\n")
    journal = live.pop("journal", JOURNAL)
    found = catalog(*([journal] if journal else []), of or shops(), **live)
    return [str(problem) for problem in problems_of_writing(defined, desired, found)]


def test_a_database_that_fits_is_not_complained_of() -> None:
    assert reading(state="a: {isOpen: true, limit: 5}\n") == []
    assert writing() == []


def test_a_table_that_nobody_can_see_is_said_with_the_line_that_names_it() -> None:
    [problem] = problems_of_reading(definitions(), {}, catalog(JOURNAL))
    assert str(problem) == (
        'schemas/shops.yaml:1:1: database db has no table "shops" that role robot can see'
        " (is this the right database? else name its `schema:`)"
    )


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"id": None}, '2:1: table public.shops has no column "id"'),
        ({"name": None}, '3:1: table public.shops has no column "name"'),
        ({"changedAt": None}, '4:1: table public.shops has no column "changedAt"'),
        ({"owner": None}, '5:19: table public.shops has no column "owner"'),
        ({"token": None}, '6:10: table public.shops has no column "token" (a misspelt secret is not protected)'),
        (
            {"isOpen": None, "isOpn": column("boolean", "isOpn")},
            '8:3: table public.shops has no column "isOpen" (did you mean "isOpn"?)',
        ),
        ({"isOpen": column("text", "isOpen")}, "8:12: public.shops.isOpen is text in the database: not boolean"),
        ({"limit": column("integer", "limit", not_null=True)}, "9:26: public.shops.limit is NOT NULL in the database"),
        ({"limit": column("integer", "limit", generated=True)}, "9:3: public.shops.limit is generated by the database"),
        (
            {"limit": column("integer", "limit", may_select=False)},
            '9:3: role robot may not read public.shops.limit (GRANT SELECT ("limit") ON public.shops TO robot;)',
        ),
        ({"id": column("boolean", "id")}, "2:1: a key of type boolean is not supported (text, uuid or an integer)"),
    ],
)
def test_a_disagreement_names_the_line_of_the_schema(changed: dict[str, Column | None], said: str) -> None:
    [problem] = reading(shops(**changed))
    assert problem.startswith(f"schemas/shops.yaml:{said}")


def test_a_secret_column_need_not_be_readable() -> None:
    assert reading(shops(token=column("text", "token", may_select=False))) == []


def test_every_disagreement_is_reported_at_once() -> None:
    assert len(reading(shops(id=None, isOpen=column("text", "isOpen"), limit=None))) == 3


def test_a_column_whose_name_holds_a_percent_sign_is_refused() -> None:
    text = SHOPS.replace("isOpen", '"open%"')
    [problem] = reading(shops(**{"open%": column("boolean", "open%")}), text)
    assert 'schemas/shops.yaml:8:3: "open%": a name with a percent sign in it is not supported' in problem


def test_values_and_keys_of_state_are_held_against_the_columns_and_each_place_is_named() -> None:
    of = shops(id=column("integer", "id"), limit=column("smallint", "limit"))
    assert reading(of, state="1: {limit: 40000}\n2: {limit: 40000}\n007: {limit: 1}\n") == [
        "state/shops.yaml:1:12: public.shops.limit is smallint: 40000 is out of its range",
        "state/shops.yaml:2:12: public.shops.limit is smallint: 40000 is out of its range",
        "state/shops.yaml:3:1: 007 is not a key of public.shops (integer) (a whole number without leading zeros)",
    ]


def test_what_is_to_come_once_an_until_has_passed_is_held_against_the_columns_too() -> None:
    of, until = shops(limit=column("smallint", "limit")), "until: 2026-12-01T00:00:00Z"
    assert reading(of, state=f"a: {{limit: {{value: 5, {until}, then: 40000}}}}\n") == [
        "state/shops.yaml:1:20: public.shops.limit is smallint: `then`: 40000 is out of its range"
    ]
    for then in ("40", "restore"):
        assert reading(of, state=f"a: {{limit: {{value: 5, {until}, then: {then}}}}}\n") == []


def test_what_is_expected_of_a_row_must_be_columns() -> None:
    [problem] = reading(state="a:\n  $expect: {nme: x}\n")
    assert problem == 'state/shops.yaml:2:18: table public.shops has no column "nme" (did you mean "name"?)'


def test_a_column_that_is_expected_of_rows_must_be_readable_and_its_grant_is_named_once() -> None:
    of = shops(name=column("text", "name"), city=column("text", "city", may_select=False))
    assert reading(of, state="a:\n  $expect: {city: Rome}\nb:\n  $expect: {city: Oslo}\n") == [
        "state/shops.yaml:2:19: role robot may not read public.shops.city"
        ' (GRANT SELECT ("city") ON public.shops TO robot;)'
    ]


def test_a_key_must_be_unique_where_the_catalog_can_tell() -> None:
    keyed_otherwise = msgspec.structs.replace(shops(), unique=("name",))
    assert reading(keyed_otherwise) == [
        "schemas/shops.yaml:2:1: no unique constraint of public.shops is on id alone, so two rows may have one key"
        ' (ALTER TABLE public.shops ADD UNIQUE ("id");)'
    ]
    assert reading(msgspec.structs.replace(keyed_otherwise, kind="v")) == []


CREATES = SHOPS.replace("secret:", "missing_row: create\ncreate: {kind: shop}\nsecret:")


def test_a_row_that_may_be_made_needs_a_value_for_every_column_that_has_to_have_one() -> None:
    needed = column("text", "city", not_null=True)
    kind = column("text", "kind", not_null=True)
    [problem] = reading(shops(kind=kind, city=needed), CREATES)
    assert problem == (
        "schemas/shops.yaml:7:1: public.shops.city is NOT NULL and has no default: `create` must give it"
        " (create: {kind: ..., city: ...})"
    )
    assert reading(shops(kind=kind, city=column("text", "city", not_null=True, has_default=True)), CREATES) == []
    assert reading(shops(city=needed), SHOPS) == []


def test_what_is_given_to_a_new_row_must_be_columns() -> None:
    assert reading(shops(), CREATES) == ['schemas/shops.yaml:7:10: table public.shops has no column "kind"']


def test_a_role_without_update_is_told_the_grant_that_it_lacks() -> None:
    assert writing(shops(isOpen=column("boolean", "isOpen", may_update=False))) == [
        "state/shops.yaml:1:13: role robot may not update public.shops.isOpen"
        ' (GRANT UPDATE ("isOpen") ON public.shops TO robot;)'
    ]
    [problem] = writing(shops(changedAt=column("timestamptz", "changedAt", may_update=False)))
    assert problem.startswith("schemas/shops.yaml:4:1: role robot may not update public.shops.changedAt")


def test_a_column_that_state_does_not_name_need_not_be_writable() -> None:
    assert writing(shops(limit=column("integer", "limit", may_update=False))) == []


def test_a_role_that_may_have_to_make_rows_needs_insert() -> None:
    kind = column("text", "kind")
    locked = column("boolean", "isOpen", may_insert=False)
    assert writing(shops(kind=kind, isOpen=locked), CREATES) == [
        "schemas/shops.yaml:6:1: role robot may not insert into public.shops (GRANT INSERT ON public.shops TO robot;)"
    ]
    assert writing(shops(kind=kind, isOpen=locked), SHOPS) == []


def test_a_replica_is_not_written_to() -> None:
    [problem] = writing(in_recovery=True)
    assert "this server is a replica" in problem


@pytest.mark.parametrize(
    ("journal", "said"),
    [
        (None, 'schemas/policy.yaml:2:3: database db has no table "journal"'),
        (
            relation("journal", *(column("text", name) for name in ("id", "owner", "event", "detail"))),
            'schemas/policy.yaml:3:55: table public.journal has no column "details" (did you mean "detail"?)',
        ),
        (
            relation("journal", *JOURNAL.columns.values(), column("text", "at", not_null=True)),
            "schemas/policy.yaml:3:3: public.journal.at is NOT NULL and has no default, and nothing fills it",
        ),
        (
            relation("journal", *[*JOURNAL.columns.values()][1:], column("text", "id", may_insert=False)),
            "schemas/policy.yaml:3:13: role robot may not write public.journal.id",
        ),
    ],
)
def test_an_audit_table_that_would_refuse_an_entry_is_found_before_anything_is_written(
    journal: Relation | None, said: str
) -> None:
    [problem] = writing(journal=journal)
    assert problem.startswith(said)


def test_an_entry_that_would_belong_to_no_tenant_is_refused() -> None:
    policy = POLICY.partition("  without_tenant")[0]
    assert writing(policy=policy) == []
    [problem] = writing(text=SHOPS.replace(", tenant: owner", ""), policy=policy)
    assert problem.startswith("schemas/shops.yaml:5:1: an audit entry of shops would belong to no tenant")


ACTOR = POLICY + "  actor: {table: people, id: id, email: mail}\n"


def test_the_table_of_people_must_be_there_and_readable() -> None:
    people = relation("people", column("text", "id"), column("text", "mail", may_select=False))
    [problem] = writing(policy=ACTOR)
    assert problem.startswith('schemas/policy.yaml:5:3: database db has no table "people"')
    [problem] = writing(policy=ACTOR, relations={(None, "shops"): shops(), (None, "journal"): JOURNAL,
                                                 (None, "people"): people})  # fmt: skip
    assert problem.startswith("schemas/policy.yaml:5:3: role robot may not read public.people.mail")


OWNERS = POLICY.replace("NOBODY}", "NOBODY, create: {table: owners, key: id, row: {id: NOBODY, nme: x}}}")


def test_the_row_that_init_makes_must_fit_its_table() -> None:
    defined = definitions(policy=OWNERS)
    owners = relation("owners", column("text", "id"), column("text", "name"))
    [problem] = problems_of_creating(defined, catalog(JOURNAL))
    assert str(problem).startswith('schemas/policy.yaml:4:45: database db has no table "owners"')
    [problem] = problems_of_creating(defined, catalog(JOURNAL, owners))
    assert str(problem) == (
        'schemas/policy.yaml:4:87: table public.owners has no column "nme" (did you mean "name"?)'
    )


def test_the_catalog_is_asked_for_everything_that_the_definitions_speak_of() -> None:
    policy = OWNERS + "  actor: {table: people, id: id, email: mail, schema: auth}\n"
    found = list(relations_of(definitions(SHOPS.replace("key:", "schema: retail\nkey:"), policy)))
    assert found == [("retail", "shops"), (None, "journal"), ("auth", "people"), (None, "owners")]
