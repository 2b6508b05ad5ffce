"""The YAML that an import writes means, to the strict reader, exactly the values that went in."""

from __future__ import annotations

import io
import string
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from yaml.emitter import Emitter

from reconciler.canonical import equal, number
from reconciler.desired import read_desired
from reconciler.documents import Document, read_document
from reconciler.errors import Problem
from reconciler.fields import NotAValue
from reconciler.model import Json, Row
from reconciler.nodes import Mapping
from reconciler.schema import Definitions, read_definitions
from reconciler.state_files import file_names, schema_of
from reconciler.state_yaml import DEFAULT_EMITTER, MakesEmitter, StateText, long_form, node_of

SCHEMAS = {
    "schemas/policy.yaml": b"""
audit: {table: journal, columns: {owner: $tenant, what: $event, about: $metadata}, without_tenant: {tenant: none}}
""",
    "schemas/shops.yaml": b"""
table: shops
key: code
label: title
audit: {event: SHOP}
fields:
  motto: {type: string, nullable: true}
  seats: {type: integer, nullable: true}
  price: {type: number}
  open: {type: boolean}
  mood: {type: enum, values: ["yes", "no", "~", "12:30:00", "plain"]}
  renewed: {type: timestamp}
  extras: {type: json, nullable: true}
  tags: {type: array, items: {type: string}}
  sizes: {type: array, items: {type: integer}}
""",
}


def definitions() -> Definitions:
    problems: list[Problem] = []
    documents = [read_document(path, data, problems) for path, data in SCHEMAS.items()]
    found = read_definitions([document for document in documents if document], problems)
    assert found is not None, problems
    return found


DEFINITIONS = definitions()

# Every character that Postgres can hold: no NUL, no half of a surrogate pair.
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
TRAPS = st.sampled_from(
    [
        *(
            "",
            " ",
            "~",
            "null",
            "Null",
            "true",
            "no",
            "on",
            "y",
            "0",
            "-1",
            "1e3",
            "0x1F",
            "0o7",
            "1_000",
            ".5",
            ".inf",
        ),
        *("12:30:00", "2026-11-27", "2026-11-27T09:00:00Z", "=", "<<", "$x", "$expect", "a: b", "a:", ": a", "#x"),
        *("a #b", "- a", "-", "? a", "?", "*a", "&a", "!a", "!!str a", "|", ">", "%TAG", "@a", "`a", "[a]", "{a}"),
        *("a,b", "---", "...", "--- a", "'", '"', "\\", "a\\n", " a", "a ", "a\n", "\na", "a\n\nb", "a\r\nb", "\t"),
        *("a\tb", "\x07", "\x7f", "\x85", "\u2028", "\ufeff", "\ufffe", "\u200b", "\u202e", "caf\u00e9", "\U0001f600"),
        *("a" * 2000, "a b " * 500),
    ]
)
TEXTS = TEXT | TRAPS | TEXT.map(lambda text: f"{text}: #{text}")
KEYS = TEXTS.filter(bool)
NUMBERS = st.integers() | st.decimals(
    allow_nan=False, allow_infinity=False, min_value=-(10**12), max_value=10**12, places=9
).map(lambda value: number(str(value)))
MOMENTS = st.datetimes(min_value=datetime(1000, 1, 1, tzinfo=UTC).replace(tzinfo=None))
DOCUMENTS: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


def written(
    rows: dict[str, dict[str, Json]], emitter: MakesEmitter = DEFAULT_EMITTER, expect: str | None = None
) -> str:
    text = StateText("../schemas/json/shops.state.schema.json", emitter)
    for key, values in rows.items():
        nodes = {name: node_of(value) for name, value in values.items()}
        if isinstance(extras := values.get("extras"), dict) and "value" in extras:
            nodes["extras"] = long_form(nodes["extras"])
        text.add(key, {"title": node_of(expect)} if expect is not None else {}, nodes)
    return text.finish()


def read_back(text: str) -> dict[str, Row]:
    problems: list[Problem] = []
    document = read_document("state/shops.yaml", text.encode(), problems)
    assert isinstance(document, Document)
    state = read_desired([document], DEFINITIONS, "state", problems)
    assert not problems, f"{problems}\n{text}"
    return state["shops"]


def assert_same(row: Row, values: dict[str, Json]) -> None:
    assert list(row.values) == list(values)
    for name, value in values.items():
        assert equal(row.values[name].data, value), (name, value, row.values[name].data)


@pytest.mark.parametrize("emitter", [DEFAULT_EMITTER, Emitter])
@given(key=KEYS, label=TEXTS, motto=TEXTS | st.none(), tags=st.lists(TEXTS, max_size=5))
@example(key="123", label="null", motto="yes", tags=["~", "a: b", "#x"])
def test_texts_and_keys_are_read_back_whatever_stands_in_them(
    emitter: MakesEmitter, key: str, label: str, motto: str | None, tags: list[str]
) -> None:
    values: dict[str, Json] = {"motto": motto, "tags": list(tags)}
    rows = read_back(written({key: values}, emitter, expect=label))
    assert list(rows) == [key]
    assert_same(rows[key], values)
    assert rows[key].expect["title"].data == label


@given(
    seats=st.integers() | st.none(),
    price=NUMBERS,
    is_open=st.booleans(),
    sizes=st.lists(st.integers(), max_size=30),
    renewed=MOMENTS.map(lambda moment: moment.isoformat() + "Z"),
    mood=st.sampled_from(["yes", "no", "~", "12:30:00", "plain"]),
)
def test_numbers_truth_values_lists_and_times_are_read_back(
    seats: int | None, price: Json, is_open: bool, sizes: list[Any], renewed: str, mood: str
) -> None:
    moment = renewed.rstrip("Z").rstrip("0").rstrip(".") + "Z" if "." in renewed else renewed
    values: dict[str, Json] = {
        "seats": seats, "price": price, "open": is_open, "sizes": sizes, "renewed": moment, "mood": mood
    }  # fmt: skip
    assert_same(read_back(written({"row": values}))["row"], values)


@pytest.mark.parametrize("emitter", [DEFAULT_EMITTER, Emitter])
@given(extras=DOCUMENTS)
@example(extras={"value": 1})
@example(extras={"value": {"value": 1, "reason": "x"}, "until": "never"})
@example(extras={"<<": {"": None}, "$expect": []})
def test_json_documents_are_read_back(emitter: MakesEmitter, extras: Json) -> None:
    assert_same(read_back(written({"row": {"extras": extras}}, emitter))["row"], {"extras": extras})


@given(st.dictionaries(KEYS, st.fixed_dictionaries({"motto": TEXTS}), min_size=1, max_size=8))
def test_many_rows_are_read_back_in_their_order(rows: dict[str, dict[str, Json]]) -> None:
    found = read_back(written(rows))
    assert list(found) == list(rows)
    for key, values in rows.items():
        assert_same(found[key], values)


@given(text=TEXTS)
def test_another_yaml_reader_takes_no_text_for_anything_else(text: str) -> None:
    loaded = yaml.safe_load(io.StringIO(written({"row": {"motto": text}})))
    assert loaded == {"row": {"motto": text}}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("Acme Bakery", "motto: Acme Bakery"),
        ("B\u00e4ckerei M\u00fcller", "motto: B\u00e4ckerei M\u00fcller"),
        ("gpt-4o:mini/x", "motto: gpt-4o:mini/x"),
        ("yes", 'motto: "yes"'),
        ("2026-11-27", 'motto: "2026-11-27"'),
        ("0123", 'motto: "0123"'),
        ("two\nlines", 'motto: "two\\nlines"'),
    ],
)
def test_a_text_is_quoted_only_where_it_must_be(text: str, line: str) -> None:
    assert written({"row": {"motto": text}}).splitlines()[2].strip() == line


def test_every_printable_ascii_text_of_one_or_two_characters_is_read_back() -> None:
    texts = [one + other for one in string.printable for other in ["", *string.printable]]
    rows: dict[str, dict[str, Json]] = {text: {"motto": text} for text in texts}
    found = read_back(written(rows))
    assert {key: row.values["motto"].data for key, row in found.items()} == {text: text for text in texts}


def test_a_file_is_laid_out_as_a_person_would_write_it() -> None:
    rows: dict[str, dict[str, Json]] = {
        "8a6e0804-2bd0-4672-b79d-d97027f9071a": {
            "extras": {"theme": {"dark": True}, "none": {}},
            "open": False,
            "price": Decimal("12.5"),
            "tags": ["a", "b"],
        }
    }
    assert written(rows, expect="Acme Bakery") == (
        "# yaml-language-server: $schema=../schemas/json/shops.state.schema.json\n"
        "8a6e0804-2bd0-4672-b79d-d97027f9071a:\n"
        "  $expect: {title: Acme Bakery}\n"
        "  extras:\n"
        "    theme:\n"
        "      dark: true\n"
        "    none: {}\n"
        "  open: false\n"
        "  price: 12.5\n"
        "  tags: [a, b]\n"
    )


def test_what_no_state_file_could_hold_is_refused_before_it_is_written() -> None:
    deep: Json = []
    for _ in range(100):
        deep = [deep]
    for value in (deep, 10**5000):
        with pytest.raises(NotAValue):
            node_of(value)


def test_the_deepest_value_that_is_not_refused_can_be_read_in_the_long_form() -> None:
    deep: dict[str, Json] = {"value": 1}
    while True:
        try:
            node_of({"value": deep})
        except NotAValue:
            break
        deep = {"value": deep}
    assert isinstance(node_of(deep), Mapping)
    assert_same(read_back(written({"row": {"extras": deep}}))["row"], {"extras": deep})


def test_files_are_called_after_labels_and_never_after_two_rows_at_once() -> None:
    rows: list[tuple[str, str | None]] = [
        ("1", "Acme Bakery"),
        ("2", "Caf\u00e9 \u00c9t\u00e9"),
        ("3", "Twin"),
        ("4", "twin!"),
        ("5", "\u65e5\u672c"),
        ("A/6", None),
        ("7", "../../etc/passwd"),
        ("\u65e5", "\u65e5"),
        ("8", "Taken"),
        ("9", "Mine"),
    ]
    held = {"state/shops/taken.yaml": {"another"}, "state/shops/mine.yaml": {"9"}}
    names = [path.removeprefix("state/shops/") for path in file_names("shops", rows, held)]
    assert names[:2] == ["acme-bakery.yaml", "cafe-ete.yaml"]
    assert [name.rpartition("-")[0] for name in names[2:4]] == ["twin", "twin"]
    assert names[4:7] == ["5.yaml", "a-6.yaml", "etc-passwd.yaml"]
    assert names[7].startswith("row-")
    assert names[8].startswith("taken-")
    assert names[9] == "mine.yaml"
    assert len(set(names)) == len(names)


def test_the_way_to_the_schema_is_relative_to_the_file() -> None:
    assert schema_of("shops", "state/shops.yaml") == "../schemas/json/shops.state.schema.json"
    assert schema_of("shops", "state/shops/a.yaml") == "../../schemas/json/shops.state.schema.json"
