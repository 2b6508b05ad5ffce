"""Equal values have one form, whatever way they were written; arrays of a statement carry any text unharmed."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.canonical import (
    equal,
    from_text,
    int_array,
    nullable_text_array,
    number,
    text_array,
    to_text,
)
from reconciler.fields import normalized
from reconciler.model import Json
from tests.support.plan_examples import VALUES
from tests.support.postgres import Server

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=12)
CANONICAL = VALUES.map(normalized)


@pytest.fixture(scope="module")
def connection(postgres_server: Server) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(postgres_server.url, autocommit=True) as connection:
        yield connection


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("1.0", 1),
        ("1e3", 1000),
        ("10E-1", 1),
        ("-0", 0),
        ("-0.0", 0),
        ("1.50", Decimal("1.5")),
        ("0.000001", Decimal("0.000001")),
        ("1E+60", 10**60),
        ("12345678901234567890123456789012345678901234567890.0", 12345678901234567890123456789012345678901234567890),
    ],
)
def test_a_number_has_one_form_however_it_is_spelt(text: str, value: Json) -> None:
    found = number(text)
    assert found == value
    assert type(found) is type(value)
    assert str(found) == str(value)


def test_a_number_of_absurd_size_does_not_become_a_million_digits() -> None:
    assert number("1e999999") == Decimal("1e999999")


@given(st.decimals(allow_nan=False, allow_infinity=False, places=30, min_value=-(10**30), max_value=10**30))
def test_no_digit_of_a_number_is_rounded_away(value: Decimal) -> None:
    assert number(str(value)) == value


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (True, 1),
        (False, 0),
        (None, False),
        ("1", 1),
        ([True], [1]),
        ({"a": {"b": [False]}}, {"a": {"b": [0]}}),
        ([], {}),
        ([1, 2], [2, 1]),
        ({"a": None}, {}),
    ],
)
def test_values_that_python_or_a_reader_might_confuse_are_not_equal(one: Json, other: Json) -> None:
    assert not equal(one, other)
    assert not equal(other, one)


def test_the_order_of_keys_does_not_count() -> None:
    assert equal({"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"d": 3, "c": 2}, "a": 1})


@given(CANONICAL)
def test_a_canonical_value_survives_its_json_text(value: Json) -> None:
    assert equal(from_text(to_text(value)), value)
    assert to_text(from_text(to_text(value))) == to_text(value)


@given(CANONICAL, CANONICAL)
def test_two_values_are_equal_exactly_if_their_texts_are(one: Json, other: Json) -> None:
    assert equal(one, other) == (to_text(one) == to_text(other))


@given(value=VALUES.filter(lambda value: "\\u0000" not in to_text(value)))
def test_a_value_that_went_through_jsonb_is_the_same_canonical_value(
    connection: psycopg.Connection[Any], value: Json
) -> None:
    row = connection.execute("SELECT %s::jsonb::text", (to_text(value),)).fetchone()
    assert row is not None
    assert equal(from_text(row[0]), normalized(value))


@given(texts=st.lists(TEXTS | st.sampled_from(["", "NULL", "null", '"', "\\", '","', "{}", "a,b", " "]), max_size=6))
def test_any_texts_arrive_in_the_server_as_they_were(connection: psycopg.Connection[Any], texts: list[str]) -> None:
    assert connection.execute("SELECT %s::text[]", (text_array(texts),)).fetchone() == (texts,)


@given(texts=st.lists(st.none() | TEXTS | st.sampled_from(["", "NULL", '"', "\\"]), max_size=6))
def test_null_and_the_word_null_arrive_as_what_they_are(
    connection: psycopg.Connection[Any], texts: list[str | None]
) -> None:
    assert connection.execute("SELECT %s::text[]", (nullable_text_array(texts),)).fetchone() == (texts,)


def test_integers_arrive_in_the_server_as_they_were(connection: psycopg.Connection[Any]) -> None:
    numbers = [0, -1, 2**31 - 1]
    assert connection.execute("SELECT %s::int[]", (int_array(numbers),)).fetchone() == (numbers,)
    assert connection.execute("SELECT %s::int[]", (int_array([]),)).fetchone() == ([],)
