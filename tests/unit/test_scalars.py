"""What a scalar is, by the core rules of YAML 1.2."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reconciler.model import Json
from reconciler.nodes import Mapping, Scalar, Sequence
from reconciler.scalars import MAX_DIGITS, NotStorable, looks_like_yaml11_boolean, resolve, to_json


def plain(text: str) -> Scalar:
    return Scalar(text, True, 1, 1)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("~", None),
        ("null", None),
        ("Null", None),
        ("NULL", None),
        ("true", True),
        ("True", True),
        ("FALSE", False),
        ("0", 0),
        ("-0", 0),
        ("+12", 12),
        ("-12", -12),
        ("0123", 123),
        ("08", 8),
        ("0o17", 15),
        ("0x1F", 31),
        ("1.5", Decimal("1.5")),
        ("-.5", Decimal("-0.5")),
        ("5.", Decimal(5)),
        ("1e3", Decimal(1000)),
        ("1.50E-2", Decimal("0.015")),
    ],
)
def test_a_plain_scalar_of_the_core_schema_has_its_type(text: str, value: Json) -> None:
    resolved = resolve(plain(text))
    assert resolved == value
    assert type(resolved) is type(value)


@pytest.mark.parametrize(
    "text",
    [
        *("no", "off", "on", "yes", "y", "N", "tRUE", "nULL", "none"),
        *("2026-11-27", "2026-11-27T09:00:00Z", "12:30:45", "1_000", "0b11", "-0x1F", "0o8", "+0o7", "0xG", "0O17"),
        *(".", "-", "+", "+-1", "1e", "e3", "1.2.3", ".e3", "1 ", "١٢", "½", "inf", "nan", ".iNF", "-.nan", "1\n"),
    ],
)
def test_a_plain_scalar_that_the_core_schema_does_not_know_is_text(text: str) -> None:
    assert resolve(plain(text)) == text


@pytest.mark.parametrize("text", ["", "5", "true", "null", "~", ".inf", "1e5"])
def test_quoted_text_is_text(text: str) -> None:
    assert resolve(Scalar(text, False, 1, 1)) == text


@pytest.mark.parametrize("is_plain", [True, False])
@pytest.mark.parametrize(
    ("tag", "text", "value"),
    [
        ("!!str", "5", "5"),
        ("!!str", "", ""),
        ("!!int", "05", 5),
        ("!!int", "0x10", 16),
        ("!!float", "5", Decimal(5)),
        ("!!float", "5.5", Decimal("5.5")),
        ("!!bool", "True", True),
        ("!!null", "", None),
    ],
)
def test_a_tag_decides_whether_the_scalar_is_quoted_or_not(tag: str, text: str, value: Json, is_plain: bool) -> None:
    resolved = resolve(Scalar(text, is_plain, 1, 1, tag))
    assert resolved == value
    assert type(resolved) is type(value)


@pytest.mark.parametrize(
    ("tag", "text"), [("!!int", "five"), ("!!int", "1.5"), ("!!float", ""), ("!!bool", "yes"), ("!!null", "0")]
)
def test_a_tag_that_the_text_does_not_bear_out_is_refused(tag: str, text: str) -> None:
    with pytest.raises(NotStorable, match=f'"{text}" has the tag {tag}'):
        resolve(Scalar(text, True, 1, 1, tag))


@pytest.mark.parametrize("text", [".inf", "+.Inf", "-.INF", ".nan", ".NaN"])
@pytest.mark.parametrize("tag", [None, "!!float"])
def test_infinity_and_not_a_number_are_refused_with_the_node(text: str, tag: str | None) -> None:
    node = Scalar(text, True, 3, 7, tag)
    with pytest.raises(NotStorable, match="not a number that can be stored") as caught:
        resolve(node)
    assert caught.value.node is node


@pytest.mark.parametrize(
    "text", ["9" * MAX_DIGITS, "0." + "9" * (MAX_DIGITS - 2), f"1e{MAX_DIGITS}", f"1e-{MAX_DIGITS}"]
)
def test_long_numbers_are_exact(text: str) -> None:
    assert Decimal(str(resolve(plain(text)))) == Decimal(text)


@pytest.mark.parametrize(
    "text", ["9" * (MAX_DIGITS + 1), "0x" + "f" * MAX_DIGITS, "1e1001", "1e-1001", "1e999999999", "1e" + "9" * 900]
)
def test_numbers_of_absurd_size_are_refused(text: str) -> None:
    with pytest.raises(NotStorable, match=r"too (long|large)"):
        resolve(plain(text))


def test_long_text_is_no_number() -> None:
    text = "9" * MAX_DIGITS + "x"
    assert resolve(plain(text)) == text


@given(st.integers(min_value=-(10**MAX_DIGITS) + 1, max_value=10**MAX_DIGITS - 1).filter(lambda n: len(str(n)) <= 1000))
def test_every_integer_is_read_as_itself(number: int) -> None:
    assert resolve(plain(str(number))) == number


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**30), max_value=10**30, places=12))
def test_every_decimal_is_read_digit_by_digit(number: Decimal) -> None:
    resolved = resolve(plain(f"{number:f}"))
    assert isinstance(resolved, Decimal)
    assert resolved.as_tuple() == number.as_tuple()


@given(st.text(), st.sampled_from([None, "!!str", "!!int", "!!bool", "!!float", "!!null"]))
@example("1e" + "9" * 30, None)
@example("٣", "!!int")
def test_any_text_has_a_value_or_is_refused_in_a_sentence(text: str, tag: str | None) -> None:
    try:
        value = resolve(Scalar(text, True, 1, 1, tag))
    except NotStorable as refusal:
        assert str(refusal).startswith(('"', "a number", "the exponent"))
    else:
        assert value is None or isinstance(value, bool | int | Decimal | str)
        if isinstance(value, str):
            assert value == text


def test_a_tree_becomes_lists_and_dictionaries() -> None:
    tree = Mapping(
        {
            "a": Sequence([plain("1"), Scalar("1", False, 1, 1), Sequence([], 1, 1)], 1, 1),
            "1": Mapping({"no": plain("no"), "x": plain("")}, {}, 1, 1),
        },
        {},
        1,
        1,
    )
    assert to_json(tree) == {"a": [1, "1", []], "1": {"no": "no", "x": None}}


def test_a_scalar_deep_in_a_tree_that_has_no_value_is_named() -> None:
    bad = Scalar(".nan", True, 8, 3)
    with pytest.raises(NotStorable) as caught:
        to_json(Mapping({"a": Sequence([plain("1"), bad], 1, 1)}, {}, 1, 1))
    assert caught.value.node is bad


@pytest.mark.parametrize("text", ["yes", "No", "ON", "off", "y", "N"])
def test_words_that_older_yaml_took_for_truth_values_are_known(text: str) -> None:
    assert looks_like_yaml11_boolean(text)


@pytest.mark.parametrize("text", ["true", "false", "", "1", "yes please", "none"])
def test_other_words_are_not_taken_for_them(text: str) -> None:
    assert not looks_like_yaml11_boolean(text)
