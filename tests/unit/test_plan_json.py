"""A plan's file: what is written is read back the same, and nothing else is taken for a plan."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from jsonschema import Draft202012Validator

from reconciler.errors import InvalidInput
from reconciler.model import MISSING, Direction, Finding
from reconciler.plan import Notice, Plan
from reconciler.plan_json import decode_plan, encode_plan, plan_json_schema
from tests.support.plan_examples import EVERY_KIND, PLANS, RELEASED, change, plan


def written(document: Any) -> bytes:
    return json.dumps(document).encode()


def read_back(changes: list[Any]) -> Any:
    return json.loads(encode_plan(plan(changes)))["changes"]


def refusal(data: bytes) -> str:
    with pytest.raises(InvalidInput) as caught:
        decode_plan(data, "plan.json")
    [problem] = caught.value.problems
    assert str(problem.location) == "plan.json:1:1"
    return problem.message


@given(PLANS)
def test_any_plan_is_read_back_as_it_was_and_written_again_to_the_same_bytes(original: Plan) -> None:
    data = encode_plan(original)
    again = decode_plan(data, "plan.json")
    assert again == original
    assert encode_plan(again) == data


@given(PLANS)
def test_any_plan_fits_the_json_schema(original: Plan) -> None:
    Draft202012Validator(plan_json_schema()).validate(json.loads(encode_plan(original)))


def test_the_json_schema_is_itself_valid_and_refuses_what_is_no_plan() -> None:
    schema = plan_json_schema()
    Draft202012Validator.check_schema(schema)
    document = json.loads(encode_plan(plan(EVERY_KIND)))
    for broken in (
        {**document, "format_version": 2},
        {**document, "unknown": 1},
        {**document, "changes": [{}]},
        {key: value for key, value in document.items() if key != "fingerprint"},
    ):
        assert not Draft202012Validator(schema).is_valid(broken)


def test_the_format_version_stands_first_and_the_file_ends_with_a_newline() -> None:
    data = encode_plan(plan(EVERY_KIND))
    assert data.startswith(b'{\n  "format_version": 1,\n')
    assert data.endswith(b"}\n")


def test_a_value_that_does_not_exist_is_left_out_and_null_is_written() -> None:
    [released] = read_back([RELEASED])
    assert "desired" not in released
    assert released["before"] == "SUSPENDED"
    [nulled] = read_back([change(before=None, base=MISSING)])
    assert nulled["before"] is None
    assert "base" not in nulled


def test_decimals_are_numbers_and_stay_exact() -> None:
    exact = Decimal("0.1234567890123456789012345678901234567890")
    data = encode_plan(plan([change(before=exact, desired=10**30)]))
    assert b'"before": 0.1234567890123456789012345678901234567890,' in data
    [again] = decode_plan(data, "plan.json").changes
    assert (again.before, again.after) == (exact, 10**30)
    assert isinstance(again.before, Decimal)


def test_keys_of_values_are_sorted_so_that_equal_plans_have_equal_bytes() -> None:
    one, other = {"a": 1, "b": [{"c": 1, "d": 2}]}, {"b": [{"d": 2, "c": 1}], "a": 1}
    assert encode_plan(plan([change(before=one)])) == encode_plan(plan([change(before=other)]))


def test_another_format_is_refused_with_the_one_that_is_read() -> None:
    message = refusal(written({"format_version": 2, "whatever": True}))
    assert message == "this plan has format_version 2"
    with pytest.raises(InvalidInput, match="reads format 1"):
        decode_plan(written({"format_version": 2}), "plan.json")


@pytest.mark.parametrize("length", [0, 1, 40, -20, -3])
def test_a_file_that_was_cut_short_is_refused(length: int) -> None:
    assert "not a whole plan" in refusal(encode_plan(plan(EVERY_KIND))[:length])


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"[]", "this is not a plan"),
        (b"{}", "missing required field `format_version`"),
        (b"table: tenants\n", "not a whole plan"),
        (b'{"format_version": "1"}', "Expected `int`, got `str`"),
        (b'{"format_version": 1, "id": "\xff"}', "not UTF-8"),
        (b"[" * 100_000, "not a"),
        (b'{"format_version": 1, "x": ' + b"[" * 100_000, "not a"),
    ],
)
def test_what_is_no_plan_is_refused_in_a_sentence(data: bytes, said: str) -> None:
    assert said in refusal(data)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("counts", "kills"), "one", "$.counts.kills"),
        (("counts", "kills"), -1, "$.counts.kills"),
        (("changes", 0, "action"), "delete", "Invalid enum value 'delete'"),
        (("changes", 0, "surprise"), 1, "unknown field `surprise`"),
        (("revision", "surprise"), 1, "unknown field `surprise`"),
        (("revision",), [], "$.revision"),
        (("changes", 0, "before"), False, "do not match the fingerprint"),
        (("changes", 0, "key"), "another", "do not match the fingerprint"),
        (("changes",), [], "do not match the fingerprint"),
        (("fingerprint",), "0" * 64, "do not match the fingerprint"),
        (("counts", "held"), 7, "counts do not match"),
    ],
)
def test_an_edited_plan_is_refused(path: tuple[Any, ...], value: Any, said: str) -> None:
    document = json.loads(encode_plan(plan([change()])))
    inner = document
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    assert said in refusal(written(document))


def test_a_number_beyond_all_use_is_refused() -> None:
    data = encode_plan(plan([change(before=Decimal("0.5"))])).replace(b"0.5", b"1e99999999999999999999")
    assert "beyond all use" in refusal(data)


def test_a_value_nested_beyond_all_use_is_refused() -> None:
    data = encode_plan(plan([change(before="HERE")])).replace(b'"HERE"', b"[" * 50_000 + b"]" * 50_000)
    assert "beyond all use" in refusal(data)


def test_a_plan_that_was_only_reformatted_is_taken() -> None:
    original = plan(EVERY_KIND, notices=(Notice("a note"),))
    assert decode_plan(written(json.loads(encode_plan(original))), "plan.json") == original


def test_a_plan_without_a_commit_is_written_and_read() -> None:
    original = plan([change(direction=Direction.NEUTRAL)], revision=None)
    assert decode_plan(encode_plan(original), "plan.json").revision is None


def test_the_documented_example_fits_the_json_schema() -> None:
    page = (Path(__file__).parents[2] / "docs" / "plan-format.md").read_text(encoding="utf-8")
    example = json.loads(page.split("```json\n")[1].split("```")[0])
    Draft202012Validator(plan_json_schema()).validate(example)


def test_every_key_of_a_plan_and_of_a_change_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "plan-format.md").read_text(encoding="utf-8")
    schema = plan_json_schema()
    for finding in Finding:
        assert f"`{finding.value}`" in page
    for key in [*schema["properties"], *schema["$defs"]["ChangeDocument"]["properties"]]:
        assert f"`{key}`" in page
