"""The JSON Schemas for editors are fresh, take what the program takes, and find the mistakes that it finds."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from reconciler.canonical import to_text
from reconciler.documents import read_document
from reconciler.editor_schema import editor_schemas, state_schema, value_schema
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
    resolve_plainly,
)
from reconciler.nodes import Mapping
from reconciler.project import read_work_tree
from reconciler.scalars import to_json
from tests.support.definitions import definitions_of, desired_of, sound_definitions

TOP = Path(__file__).parents[2]
FOLDER = TOP / "schemas" / "json"
FILES = sorted(
    str(path.relative_to(TOP)) for folder in ("schemas", "state") for path in (TOP / folder).rglob("*.yaml")
)


def data_of(path: str, text: str) -> Any:
    """What stands in a YAML file, as an editor sees it: by the rules of our own reader, numbers as JSON has them."""
    problems: list[Problem] = []
    document = read_document(path, text.encode(), problems)
    assert problems == []
    assert document is not None
    return None if document.root is None else json.loads(to_text(to_json(document.root)))


def schema_named_in(path: str) -> Path | None:
    """The JSON Schema that the file's yaml-language-server line names."""
    line = (TOP / path).read_text(encoding="utf-8").partition("\n")[0]
    found = re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", line)
    return ((TOP / path).parent / found[1]).resolve() if found else None


def kind_of(path: Path) -> str:
    """What a file of the project is, as its JSON Schema is called."""
    if path.parts[0] == "state":
        return f"{path.parts[1].removesuffix('.yaml')}.state"
    if path.parent.name == "playbooks":
        return "playbook"
    return "policy" if path.stem == "policy" else "table"


def validator(name: str) -> Draft202012Validator:
    return Draft202012Validator(json.loads((FOLDER / name).read_text(encoding="utf-8")))


def test_the_schemas_that_are_committed_are_fresh() -> None:
    wanted = editor_schemas(read_work_tree(TOP).definitions)
    there = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.json")}
    assert there == wanted, "run `reconcile schema`, and commit schemas/json"


@pytest.mark.parametrize("name", sorted(path.name for path in FOLDER.glob("*.json")))
def test_each_of_them_is_a_json_schema(name: str) -> None:
    Draft202012Validator.check_schema(json.loads((FOLDER / name).read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", FILES)
def test_each_file_of_the_project_names_its_schema_and_fits_it(path: str) -> None:
    named = schema_named_in(path)
    assert named is not None, "its first line must be: # yaml-language-server: $schema=..."
    assert named.parent == FOLDER
    assert named.name == f"{kind_of(Path(path))}.schema.json"
    validator(named.name).validate(data_of(path, (TOP / path).read_text(encoding="utf-8")))


SHOPS = """\
table: shops
key: id
audit: {event: E}
secret: [token]
fields:
  isOpen: {type: boolean, kill: false}
  limit: {type: integer, min: 1, max: 9, nullable: true}
  options: {type: json}
"""


@pytest.fixture(scope="module")
def shops() -> Draft202012Validator:
    return Draft202012Validator(state_schema(sound_definitions(shops=SHOPS).tables["shops"]))


SOUND = [
    "",
    "a: {}",
    "a: {isOpen: true, limit: 9}",
    "a: {limit: null}",
    "'1': {isOpen: {value: false, reason: x, until: 2026-11-27T09:00:00Z, then: restore, override: {after: x}}}",
    "a: {isOpen: {value: false, until: 2026-11-27T09:00:00Z, then: true}}",
    "a: {limit: {value: 5, until: 2026-11-27T09:00:00Z, then: {value: null}}}",
    "a: {$expect: {name: x, floor: 3, gone: null}, isOpen: true}",
    "a: {options: [1, {b: c}]}",
    "a: {options: {value: 1}}",
]
WRONG = [
    "[]",
    "a: true",
    "a: {isOpen: off}",
    "a: {isOpen: 'true'}",
    "a: {limit: 0}",
    "a: {limit: 10}",
    "a: {limit: 1.5}",
    "a: {isOpne: true}",
    "a: {token: x}",
    "a: {$expct: {}}",
    "a: {$expect: {token: x}}",
    "a: {$expect: {name: [x]}}",
    "a: {isOpen: {reason: x}}",
    "a: {isOpen: {value: false, resaon: x}}",
    "a: {isOpen: {value: off}}",
    "a: {isOpen: {value: false, reason: ''}}",
    "a: {isOpen: {value: false, reason: [x]}}",
    "a: {isOpen: {value: false, then: true}}",
    "a: {isOpen: {value: false, until: 2026-11-27T09:00:00Z, then: 5}}",
    "a: {isOpen: {value: true, override: {afer: x}}}",
    "a: {isOpen: {value: true, override: after}}",
]


@pytest.mark.parametrize("text", SOUND)
def test_what_the_program_takes_an_editor_takes(shops: Draft202012Validator, text: str) -> None:
    assert desired_of(sound_definitions(shops=SHOPS), shops=text)[1] == []
    shops.validate(data_of("state/shops.yaml", text))


@pytest.mark.parametrize("text", WRONG)
def test_a_mistake_that_the_program_refuses_an_editor_shows(shops: Draft202012Validator, text: str) -> None:
    assert desired_of(sound_definitions(shops=SHOPS), shops=text)[1] != []
    assert not shops.is_valid(data_of("state/shops.yaml", text))


_VALUES = ["true", "off", "'off'", "0", "1", "5", "9", "10", "1.5", "-0.5", "''", "a", "aaaa", "A", "B", "null", "[]",
           "[1]", "[1, a]", "[a, b]", "[a, a, a]", "{}", "{b: 1}", "2026-11-27T09:00:00Z"]  # fmt: skip
_FIELDS: list[Field] = [
    BooleanField(),
    BooleanField(nullable=True),
    IntegerField(min=1, max=9),
    NumberField(max=5),
    StringField(),
    StringField(min_length=1, max_length=3, pattern="^a"),
    EnumField(values=["A", "off"]),
    EnumField(values=["A"], nullable=True),
    ArrayField(items=IntegerField()),
    ArrayField(items=StringField(), min_items=1, max_items=2),
]


@pytest.mark.parametrize("field", _FIELDS, ids=repr)
@pytest.mark.parametrize("yaml", _VALUES)
def test_a_value_is_right_in_an_editor_exactly_if_it_is_for_the_program(field: Field, yaml: str) -> None:
    problems: list[Problem] = []
    document = read_document("state/t.yaml", f"v: {yaml}\n".encode(), problems)
    assert document is not None
    assert isinstance(document.root, Mapping)
    node = document.root.items["v"]
    try:
        field.parse(node)
    except NotAValue:
        taken = False
    else:
        taken = True
    value = json.loads(to_text(resolve_plainly(node)))
    assert Draft202012Validator(value_schema(field)).is_valid(value) is taken


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        (BooleanField(title="WhatsApp", kill=False), "WhatsApp. Kill side: false"),
        (IntegerField(kill="lower"), 'Kill side: "lower"'),
        (EnumField(values=["A", "X"], kill=["X"]), 'Kill side: ["X"]'),
        (TimestampField(title="Opens"), "Opens"),
        (JsonField(), None),
    ],
)
def test_an_editor_shows_what_a_field_is_called_and_its_kill_side(field: Field, expected: str | None) -> None:
    assert value_schema(field).get("description") == expected


TABLE_FILE = SHOPS + "  b: {type: array, items: {type: enum, values: [x]}, restore: {after: 24h}}\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("key: id\n", ""),
        ("key: id", "keys: id"),
        ("type: boolean", "type: bolean"),
        ("kill: false", "kill: off"),
        ("min: 1", "min: one"),
        ("after: 24h", "after: 24"),
        ("after: 24h", "after: 1w"),
        ("values: [x]", "values: []"),
        ("values: [x]", "value: [x]"),
        ("secret: [token]", "secret: token"),
        ("audit: {event: E}", "audit: {}"),
    ],
)
def test_a_mistake_in_a_schema_file_is_shown_too(before: str, after: str) -> None:
    check = validator("table.schema.json")
    check.validate(data_of("schemas/shops.yaml", TABLE_FILE))
    broken = TABLE_FILE.replace(before, after, 1)
    assert broken != TABLE_FILE
    assert definitions_of(shops=broken)[0] is None
    assert not check.is_valid(data_of("schemas/shops.yaml", broken))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("$tenant", "$tennant"),
        ("table: audit_logs", "tabel: audit_logs"),
        ("rows: 500", "rows: 0"),
        ("share: 50%", "share: 50"),
        ("type: redis", "type: reddis"),
        ("expiring_soon: 24h", "expiring_soon: tomorrow"),
        ("message: an archived", "mesage: an archived"),
    ],
)
def test_a_mistake_in_the_policy_is_shown_too(before: str, after: str) -> None:
    text = (TOP / "schemas" / "policy.yaml").read_text(encoding="utf-8")
    broken = text.replace(before, after, 1)
    assert broken != text
    check = validator("policy.schema.json")
    assert check.is_valid(data_of("schemas/policy.yaml", text))
    assert not check.is_valid(data_of("schemas/policy.yaml", broken))


def test_files_without_a_table_or_of_a_removed_one_are_not_written() -> None:
    names = editor_schemas(sound_definitions(shops=SHOPS))
    assert [name for name in names if name.endswith(".state.schema.json")] == ["shops.state.schema.json"]
    assert all(text.endswith("}\n") for text in names.values())
