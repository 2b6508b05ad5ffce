"""Templates are data: names become values, and whatever a template may not say is found before it is used."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.effects.templates import NAMES, Names, compile_template, problems_of
from tests.support.plan_examples import VALUES

NAMES_OF_A_ROW = Names(frozenset({"is_open", "owner"}), frozenset({"pin"}))
SAMPLE: dict[str, Any] = {name: f"<{name}>" for name in NAMES} | {
    "before": True,
    "after": None,
    "row.owner": Decimal("0.50"),
    "row.is_open": {"b": [1, None], "a": "ü"},
}


def rendered(template: Any, **values: Any) -> Any:
    assert list(problems_of(template, NAMES_OF_A_ROW)) == []
    return compile_template(template).render({**SAMPLE, **values})


@pytest.mark.parametrize(
    ("template", "result"),
    [
        ("$before", True),
        ("${after}", None),
        ("$row.owner", Decimal("0.50")),
        ("$row.is_open", {"b": [1, None], "a": "ü"}),
        ("x$before", "xtrue"),
        ("[$after]", "[]"),
        ("${row.owner}s", "0.50s"),
        ("$row.is_open!", '{"a":"ü","b":[1,null]}!'),
        ("tenant:$key:settings", "tenant:<key>:settings"),
        ("${key}x$key.json", "<key>x<key>.json"),
        ("$$key costs $$5", "$key costs $5"),
        ("$$", "$"),
        ("", ""),
        ("no name", "no name"),
        (5, 5),
        (None, None),
        ({"a": ["$key", {"b": "$before"}], "c": 1}, {"a": ["<key>", {"b": True}], "c": 1}),
    ],
)
def test_names_become_values_and_a_name_alone_keeps_its_type(template: Any, result: Any) -> None:
    assert rendered(template) == result


@pytest.mark.parametrize(
    ("template", "path", "message", "hint"),
    [
        ("$kye", (), "$kye is nothing that a template has", 'did you mean "$key"?'),
        ("$row", (), "$row is nothing that a template has", "one of $key"),
        ("$row.ownr", (), "$row.ownr: unknown field ownr", 'did you mean "owner"?'),
        ("$row.color", (), "$row.color: unknown field color", "managed fields"),
        ("$row.pin", (), "pin is named under `secret`, and can never be read", ""),
        ("${}", (), "a $ that begins no name", "write $$ for a dollar sign"),
        ("5 $", (), "a $ that begins no name", "write $$ for a dollar sign"),
        ("$5", (), "a $ that begins no name", "write $$ for a dollar sign"),
        ("$ENV_SECRET", (), "$ENV_SECRET is nothing that a template has", ""),
        ({"a": [1, "$pin"]}, ("a", 1), "$pin is nothing that a template has", ""),
        ({"a": {"$key": 1}}, ("a", "$key"), "$key: names stand in values, not in keys", ""),
        ("a\x00", (), "PostgreSQL cannot store the character NUL", ""),
    ],
)
def test_what_a_template_may_not_say_is_found_with_its_place(
    template: Any, path: tuple[Any, ...], message: str, hint: str
) -> None:
    [(found_path, found_message, found_hint)] = problems_of(template, NAMES_OF_A_ROW)
    assert (found_path, found_message) == (path, message)
    assert hint in found_hint


@given(VALUES)
def test_a_value_is_never_read_as_a_template_again(value: Any) -> None:
    assert rendered(["$label"], label=value) == [value]


@given(st.text())
def test_doubled_dollars_are_the_text_itself(text: str) -> None:
    text = text.replace("\x00", "")
    assert rendered(text.replace("$", "$$")) == text
