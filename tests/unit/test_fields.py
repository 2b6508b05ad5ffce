"""What each type of field takes from a YAML file, and which way a change of it goes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.canonical import equal
from reconciler.documents import read_document
from reconciler.errors import Problem
from reconciler.fields import (
    ArrayField,
    BooleanField,
    EnumField,
    Field,
    IntegerField,
    JsonField,
    NotAValue,
    NumberField,
    StringField,
    TimestampField,
    canonical_timestamp,
    field_type_names,
    format_timestamp,
    seconds,
    shown,
)
from reconciler.model import Direction, Json
from reconciler.nodes import Mapping, Node, Scalar

KILL, RESTORE, NEUTRAL = Direction.KILL, Direction.RESTORE, Direction.NEUTRAL


def node(yaml: str) -> Node:
    """The value as the strict reader sees it."""
    problems: list[Problem] = []
    document = read_document("state/t.yaml", f"value: {yaml}\n".encode(), problems)
    assert document is not None, problems
    assert isinstance(document.root, Mapping)
    return document.root.items["value"]


def refusal(field: Field, yaml: str) -> str:
    """What is said of a value that the field does not take, hint included."""
    with pytest.raises(NotAValue) as caught:
        field.parse(node(yaml))
    return f"{caught.value} ({caught.value.hint})" if caught.value.hint else str(caught.value)


ENUM = EnumField(values=["ACTIVE", "SUSPENDED", "no"], kill=["SUSPENDED"])


@pytest.mark.parametrize(
    ("field", "yaml", "value"),
    [
        (BooleanField(), "true", True),
        (BooleanField(), "False", False),
        (BooleanField(), "!!bool 'true'", True),
        (IntegerField(), "5", 5),
        (IntegerField(), "-5", -5),
        (IntegerField(), "0123", 123),
        (IntegerField(), "5.0", 5),
        (IntegerField(), "1e3", 1000),
        (IntegerField(min=1, max=5), "1", 1),
        (IntegerField(min=1, max=5), "5", 5),
        (NumberField(), "1", 1),
        (NumberField(), "1.50", Decimal("1.5")),
        (NumberField(), "1.0", 1),
        (NumberField(), "0.1", Decimal("0.1")),
        (NumberField(), "1e60", 10**60),
        (NumberField(min=Decimal("0.5")), "0.5", Decimal("0.5")),
        (StringField(), "hello", "hello"),
        (StringField(), "no", "no"),
        (StringField(), "'5'", "5"),
        (StringField(), "!!str 5", "5"),
        (StringField(), "2026-01-01", "2026-01-01"),
        (StringField(), "''", ""),
        (StringField(pattern="^a+$", min_length=2, max_length=3), "aaa", "aaa"),
        (StringField(max_length=2), "😀😀", "😀😀"),
        (ENUM, "ACTIVE", "ACTIVE"),
        (ENUM, "no", "no"),
        (TimestampField(), "2026-11-27T09:00:00Z", "2026-11-27T09:00:00Z"),
        (TimestampField(), "2026-11-27T10:00:00.500+01:00", "2026-11-27T09:00:00.5Z"),
        (TimestampField(), "2026-11-27 09:00:00.000+00:00", "2026-11-27T09:00:00Z"),
        (JsonField(), "{a: [1, 2.50, off, null]}", {"a": [1, Decimal("2.5"), "off", None]}),
        (JsonField(), "[]", []),
        (JsonField(), "text", "text"),
        (ArrayField(items=IntegerField()), "[1, 2.0]", [1, 2]),
        (ArrayField(items=StringField()), "[]", []),
        (ArrayField(items=StringField(nullable=True)), "[a, null]", ["a", None]),
        (ArrayField(items=ENUM), "[no, ACTIVE]", ["no", "ACTIVE"]),
    ],
)
def test_what_fits_becomes_its_canonical_value(field: Field, yaml: str, value: Json) -> None:
    assert equal(field.parse(node(yaml)), value)


@pytest.mark.parametrize(
    ("field", "yaml", "said"),
    [
        (BooleanField(), "off", "`off` is a string in YAML 1.2, not a boolean (write false)"),
        (BooleanField(), "Yes", "`Yes` is a string in YAML 1.2, not a boolean (write true)"),
        (BooleanField(), "'off'", '"off" is not a boolean (write true or false)'),
        (BooleanField(), "1", "1 is not a boolean (write true or false)"),
        (BooleanField(), "[true]", "a list is not a boolean (write true or false)"),
        (IntegerField(), "'5'", '"5" is not an integer (write 5 without quotes)'),
        (IntegerField(), "5.5", "5.5 is not an integer"),
        (IntegerField(), "1_000", '"1_000" is not an integer'),
        (IntegerField(), "true", "true is not an integer"),
        (IntegerField(min=1), "0", "0 is less than the minimum 1"),
        (IntegerField(max=5), "6", "6 is more than the maximum 5"),
        (NumberField(), "true", "true is not a number"),
        (NumberField(), "many", '"many" is not a number'),
        (NumberField(max=Decimal("0.5")), "0.500001", "0.500001 is more than the maximum 0.5"),
        (StringField(), "5", '5 is not a string (quote it: "5")'),
        (StringField(), "true", 'true is not a string (quote it: "true")'),
        (StringField(), "0123", '123 is not a string (quote it: "0123")'),
        (StringField(), "[a]", "a list is not a string"),
        (StringField(min_length=2), "a", "shorter than 2 characters"),
        (StringField(max_length=2), "aaa", "longer than 2 characters"),
        (StringField(pattern="^a+$"), "b", '"b" does not match the pattern ^a+$'),
        (ENUM, "ACTVE", '"ACTVE" is not one of the values (did you mean "ACTIVE"?)'),
        (ENUM, "xyz", '"xyz" is not one of the values (one of ACTIVE, SUSPENDED, no)'),
        (ENUM, "[ACTIVE]", "a list is not one of the values (one of ACTIVE, SUSPENDED, no)"),
        (TimestampField(), "2026-11-27T09:00:00", "has no time zone (write 2026-11-27T09:00:00Z for UTC"),
        (TimestampField(), "2026-11-27 09:00", "has no time zone (write 2026-11-27 09:00Z for UTC"),
        (TimestampField(), "2026-11-27", "has no time zone (write 2026-11-27T00:00:00Z for UTC"),
        (TimestampField(), "tomorrow", '"tomorrow" is not a timestamp (write 2026-11-27T09:00:00Z)'),
        (TimestampField(), "1764234000", "1764234000 is not a timestamp"),
        (TimestampField(), "0001-01-01T00:00:00+05:00", "is not a timestamp"),
        (TimestampField(), "9999-12-31T23:59:59-05:00", "is not a timestamp"),
        (TimestampField(), "2026-11-27T09:00:00.1234567Z", "has more than 6 digits of a second"),
        (JsonField(), "null", "null is not allowed here (the schema does not say `nullable: true`)"),
        (JsonField(), "[.inf]", "is not a number that can be stored"),
        (ArrayField(items=IntegerField()), "5", "5 is not a list (write [a, b])"),
        (ArrayField(items=IntegerField()), "[1, x]", '"x" is not an integer'),
        (ArrayField(items=IntegerField()), "[null]", "null is not allowed here"),
        (ArrayField(items=IntegerField(), min_items=1), "[]", "fewer than 1 items"),
        (ArrayField(items=IntegerField(), max_items=1), "[1, 2]", "more than 1 items"),
        (BooleanField(), "!!int 'x'", '"x" has the tag !!int and is none'),
    ],
)
def test_what_does_not_fit_is_refused_with_what_to_write_instead(field: Field, yaml: str, said: str) -> None:
    assert said in refusal(field, yaml)


EVERY_TYPE: list[Any] = [
    BooleanField,
    IntegerField,
    NumberField,
    StringField,
    TimestampField,
    JsonField,
    lambda **more: EnumField(values=["a"], **more),
    lambda **more: ArrayField(items=StringField(), **more),
]


@pytest.mark.parametrize("make", EVERY_TYPE)
def test_null_is_taken_only_where_the_schema_says_so(make: Any) -> None:
    assert make(nullable=True).parse(node("null")) is None
    assert make(nullable=True).parse(node("~")) is None
    assert "null is not allowed" in refusal(make(), "null")


def test_every_type_knows_the_word_that_stands_for_it() -> None:
    assert [make().type_name for make in EVERY_TYPE] == [
        "boolean", "integer", "number", "string", "timestamp", "json", "enum", "array",
    ]  # fmt: skip
    assert sorted(field_type_names()) == sorted(make().type_name for make in EVERY_TYPE)


SWITCH = BooleanField(kill=False, nullable=True)
MODE = BooleanField(kill=True)
STATUS = EnumField(values=["A", "B", "X", "Y"], kill=["X", "Y"], nullable=True)
TEXT = StringField(kill=["off", ""])
LIMIT = IntegerField(kill="lower", nullable=True)
DELAY = NumberField(kill="higher", nullable=True)


@pytest.mark.parametrize(
    ("field", "before", "after", "direction"),
    [
        (SWITCH, True, False, KILL),
        (SWITCH, False, True, RESTORE),
        (SWITCH, None, False, KILL),
        (SWITCH, False, None, RESTORE),
        (SWITCH, None, True, NEUTRAL),
        (SWITCH, True, True, NEUTRAL),
        (MODE, False, True, KILL),
        (MODE, True, False, RESTORE),
        (BooleanField(), True, False, NEUTRAL),
        (STATUS, "A", "X", KILL),
        (STATUS, "X", "A", RESTORE),
        (STATUS, "X", "Y", NEUTRAL),
        (STATUS, "A", "B", NEUTRAL),
        (STATUS, None, "X", KILL),
        (EnumField(values=["A", "X"]), "A", "X", NEUTRAL),
        (TEXT, "on", "off", KILL),
        (TEXT, "", "on", RESTORE),
        (StringField(), "a", "b", NEUTRAL),
        (LIMIT, 50, 5, KILL),
        (LIMIT, 5, 50, RESTORE),
        (LIMIT, 5, 5, NEUTRAL),
        (LIMIT, None, 5, KILL),
        (LIMIT, 5, None, RESTORE),
        (LIMIT, None, None, NEUTRAL),
        (DELAY, Decimal("0.5"), 2, KILL),
        (DELAY, 2, Decimal("0.5"), RESTORE),
        (DELAY, None, 2, KILL),
        (IntegerField(), 1, 2, NEUTRAL),
        (JsonField(), {}, {"a": 1}, NEUTRAL),
        (TimestampField(), "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z", NEUTRAL),
        (ArrayField(items=BooleanField(kill=False)), [True], [False], NEUTRAL),
    ],
)
def test_a_change_is_a_kill_a_restore_or_neither(
    field: Field, before: Json, after: Json, direction: Direction
) -> None:
    assert field.direction(before, after) is direction


@pytest.mark.parametrize(
    ("before", "after", "direction"),
    [("NaN", 5, KILL), (5, "NaN", RESTORE), ("Infinity", 5, KILL), ("-Infinity", 5, RESTORE), ("NaN", "NaN", NEUTRAL)],
)
def test_a_number_that_json_lacks_has_its_place_among_the_others(
    before: Json, after: Json, direction: Direction
) -> None:
    assert NumberField(kill="lower").direction(before, after) is direction


_CHANGES: list[tuple[Field, list[Json]]] = [
    (SWITCH, [True, False, None]),
    (STATUS, ["A", "B", "X", "Y", None]),
    (TEXT, ["on", "off", "", "x"]),
    (LIMIT, [1, 2, 3, None]),
    (DELAY, [1, Decimal("1.5"), 2, None]),
]


@given(st.sampled_from(_CHANGES).flatmap(lambda c: st.tuples(st.just(c[0]), *[st.sampled_from(c[1])] * 2)))
def test_the_way_back_from_a_kill_is_a_restore_and_the_other_way_round(case: tuple[Field, Json, Json]) -> None:
    field, before, after = case
    opposite = {KILL: RESTORE, RESTORE: KILL, NEUTRAL: NEUTRAL}
    assert field.direction(after, before) is opposite[field.direction(before, after)]


def test_a_value_is_killed_by_itself_only_where_the_kill_side_is_a_set_of_values() -> None:
    assert SWITCH.is_killed(False)
    assert not SWITCH.is_killed(True)
    assert not SWITCH.is_killed(0)
    assert not SWITCH.is_killed(None)
    assert STATUS.is_killed("X")
    assert not STATUS.is_killed("A")
    assert TEXT.is_killed("")
    assert not LIMIT.is_killed(0)
    assert not BooleanField().is_killed(False)
    assert not JsonField().is_killed(False)


@pytest.mark.parametrize(
    ("field", "problem"),
    [
        (IntegerField(min=2, max=1), ("min", "2 is more than the maximum 1")),
        (NumberField(min=2, max=Decimal("1.5")), ("min", "2 is more than the maximum 1.5")),
        (StringField(min_length=2, max_length=1), ("min_length", "2 is more than the maximum 1")),
        (StringField(pattern="("), ("pattern", "not a regular expression: missing )")),
        (EnumField(values=["A"], kill=["B"]), ("kill", '"B" is not one of the values')),
        (ArrayField(items=StringField(), min_items=2, max_items=1), ("min_items", "2 is more than the maximum 1")),
        (ArrayField(items=IntegerField(min=2, max=1)), ("items", "2 is more than the maximum 1")),
    ],
)
def test_a_definition_that_contradicts_itself_says_in_which_property(field: Field, problem: tuple[str, str]) -> None:
    [(part, message)] = field.definition_problems()
    assert part == problem[0]
    assert message.startswith(problem[1])


@pytest.mark.parametrize("field", [IntegerField(min=1, max=1), ENUM, StringField(pattern="a"), JsonField()])
def test_a_sound_definition_has_no_problems(field: Field) -> None:
    assert field.definition_problems() == []


@given(st.datetimes(), st.integers(-840, 840))
def test_a_moment_has_one_canonical_text_whatever_its_offset(moment: datetime, minutes: int) -> None:
    offset = timedelta(minutes=minutes)
    sign = "+" if minutes >= 0 else "-"
    hours, rest = divmod(abs(minutes), 60)
    try:
        local = moment + offset
    except OverflowError:
        return
    text = f"{local.isoformat()}{sign}{hours:02}:{rest:02}"
    canonical = canonical_timestamp(text)
    assert canonical == format_timestamp(moment.replace(tzinfo=UTC))
    assert canonical_timestamp(canonical) == canonical
    assert datetime.fromisoformat(canonical) == moment.replace(tzinfo=UTC)
    assert not canonical.endswith("0Z") or "." not in canonical


@pytest.mark.parametrize(("text", "length"), [("90s", 90), ("30m", 1800), ("24h", 86400), ("7d", 604800)])
def test_a_duration_has_a_length_in_seconds(text: str, length: int) -> None:
    assert seconds(text) == length


@pytest.mark.parametrize("value", ["x" * 200, "a\nb\tc", {"a": 1}, [1], True, Decimal("1." + "1" * 90)])
def test_an_error_shows_a_value_short_and_on_one_line(value: Json) -> None:
    text = shown(value)
    assert len(text) <= 61
    assert text.isprintable()


@given(st.text(st.characters(exclude_characters="\x00"), max_size=20))
def test_a_string_takes_any_text_that_the_database_can_store(text: str) -> None:
    assert StringField().parse(Scalar(text, False, 1, 1)) == text


def test_a_string_does_not_take_the_character_nul() -> None:
    with pytest.raises(NotAValue, match="PostgreSQL cannot store the character NUL"):
        StringField().parse(Scalar("a\x00b", False, 1, 1))
