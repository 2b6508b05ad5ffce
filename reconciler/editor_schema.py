"""The JSON Schemas that make editors complete and complain: of state files, schema files, the policy, playbooks, plans.

Takes Definitions; gives file name to JSON text, in the order and form in which they are committed below schemas/json/.
They are drawn from the classes that validate, so that an editor and `reconcile validate` cannot disagree about a name.
Draft 2020-12, as yaml-language-server understands it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from reconciler.effects.declared import KINDS
from reconciler.errors import Problem
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
from reconciler.model import WAIVABLE
from reconciler.plan_json import plan_json_schema
from reconciler.playbook import BEFORE, Playbook
from reconciler.policy import AUDIT_WORDS, Policy
from reconciler.schema import Definitions, Table, TableDefinition
from reconciler.verify.declared import PROOF_KINDS
from reconciler.where import WHERE

_DRAFT = "https://json-schema.org/draft/2020-12/schema"


def editor_schemas(definitions: Definitions) -> dict[str, str]:
    """Every file of schemas/json/, by name."""
    documents = {
        "table.schema.json": _of_table_files(),
        "policy.schema.json": _of_policy(),
        "playbook.schema.json": _of_playbooks(definitions),
        "plan.schema.json": plan_json_schema(),
    }
    for name, table in definitions.tables.items():
        documents[f"{name}.state.schema.json"] = state_schema(table)
    return {name: json.dumps(document, indent=2, ensure_ascii=False) + "\n" for name, document in documents.items()}


def editor_settings(definitions: Definitions) -> str:
    """.vscode/settings.json: which of these schemas counts for which path, for files without a line that names it."""
    paths = {f"{name}.state": [f"state/{name}.yaml", f"state/{name}/**/*.yaml"] for name in definitions.tables}
    paths["table"] = [f"schemas/{name}.yaml" for name in definitions.tables]
    paths |= {"policy": ["schemas/policy.yaml"], "playbook": ["schemas/playbooks/**/*.yaml"]}
    matched = {f"./schemas/json/{name}.schema.json": patterns for name, patterns in paths.items()}
    settings = {"yaml.schemas": matched, "[yaml]": {"editor.tabSize": 2, "editor.insertSpaces": True}}
    return json.dumps(settings, indent=2) + "\n"


def stale_files(folder: Path, definitions: Definitions) -> tuple[list[str], list[str]]:
    """The names of files in `schemas/json` that are missing or out of date, and of those that belong to no table."""
    wanted = editor_schemas(definitions)
    stale = [name for name, text in wanted.items() if _text_of(folder / name) != text]
    return stale, [file.name for file in sorted(folder.glob("*.state.schema.json")) if file.name not in wanted]


def stale_problems(folder: Path, definitions: Definitions) -> list[Problem]:
    """The same as Problems, each with what to do."""
    stale, extra = stale_files(folder, definitions)
    return [
        *(Problem(f"schemas/json/{name} is out of date", None, "run `reconcile schema`") for name in stale),
        *(Problem(f"schemas/json/{name} belongs to no table", None, "`reconcile schema`") for name in extra),
    ]


def _text_of(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def state_schema(table: Table) -> dict[str, Any]:
    """What a file below state/ may hold for this table."""
    long_forms = {name: _long_form(value_schema(field)) for name, field in table.fields.items()}
    row: dict[str, Any] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "$expect": {
                "description": "The row must look so, or nothing is applied.",
                "type": "object",
                "propertyNames": {"not": {"enum": sorted(table.secret)}},
                "additionalProperties": {"type": ["string", "number", "boolean", "null"]},
            },
            **long_forms,
        },
    }
    return {
        "$schema": _DRAFT,
        "title": f"Rows of {table.name}",
        "description": f"A top-level key is a row's {table.definition.key}; below it stand the managed fields.",
        "type": ["object", "null"],
        "properties": {WHERE: _where(table, long_forms)},
        "additionalProperties": row,
    }


def _where(table: Table, long_forms: dict[str, Any]) -> dict[str, Any]:
    """What may stand below `$where`."""
    matched = {}
    for name, field in table.matchable.items():
        value = value_schema(field)
        some = {"type": "array", "items": {"anyOf": [value, {"type": "null"}]}, "minItems": 1}
        described = {"description": value["description"]} if "description" in value else {}
        matched[name] = {**described, "anyOf": [value, {"type": "null"}, some]}
    return {
        "description": "What is asked of every row that looks so. A row's own entry beats it, field by field.",
        "type": "array",
        "minItems": 1,
        "items": {
            "type": "object",
            "additionalProperties": False,
            "required": ["match", "set"],
            "properties": {
                "match": {
                    "description": "What the rows have: a value, or a list of which one is enough.",
                    "type": "object",
                    "minProperties": 1,
                    "additionalProperties": False,
                    "properties": matched,
                },
                "set": {
                    "description": "What they are to be.",
                    "type": "object",
                    "minProperties": 1,
                    "additionalProperties": False,
                    "properties": long_forms,
                },
            },
        },
    }


def value_schema(field: Field) -> dict[str, Any]:
    """What may stand as a value of the field."""
    schema = _plain_schema(field)
    if field.nullable:
        schema = {"anyOf": [schema, {"type": "null"}]}
    described = _describe(field)
    return {"description": described, **schema} if described else schema


def _plain_schema(field: Field) -> dict[str, Any]:
    match field:
        case BooleanField():
            return {"type": "boolean"}
        case IntegerField():
            return _without_none({"type": "integer", "minimum": field.min, "maximum": field.max})
        case NumberField():
            low = None if field.min is None else float(field.min)
            high = None if field.max is None else float(field.max)
            return _without_none({"type": "number", "minimum": low, "maximum": high})
        case StringField():
            bounds = {"pattern": field.pattern, "minLength": field.min_length, "maxLength": field.max_length}
            return _without_none({"type": "string", **bounds})
        case EnumField():
            return {"enum": list(field.values)}
        case TimestampField():
            return {"type": "string", "format": "date-time"}
        case ArrayField():
            bounds = {"minItems": field.min_items, "maxItems": field.max_items}
            return _without_none({"type": "array", "items": value_schema(field.items), **bounds})
        case JsonField():
            return {}


def _describe(field: Field) -> str:
    parts = [field.title] if field.title else []
    kill = getattr(field, "kill", None)
    if kill is not None and kill != []:
        parts.append(f"Kill side: {json.dumps(kill)}")
    return ". ".join(parts)


def _long_form(value: dict[str, Any]) -> dict[str, Any]:
    long = {
        "type": "object",
        "additionalProperties": False,
        "required": ["value"],
        "properties": {
            "value": value,
            "reason": {"type": "string", "minLength": 1, "description": "Why; goes into the audit log."},
            "until": {
                "type": "string",
                "format": "date-time",
                "description": "Until when it is meant to last. When that has passed, every plan says so.",
            },
            "then": {
                "description": "What it becomes once `until` has passed, under the same guards.",
                "anyOf": [
                    {"const": "restore", "description": "What it was before."},
                    value,
                    {
                        "type": "object",
                        "additionalProperties": False,
                        "required": ["value"],
                        "properties": {"value": value},
                    },
                ],
            },
            "override": {
                "description": "Guards that are waived, once, each with the reason.",
                "type": "object",
                "additionalProperties": False,
                "properties": {guard: {"type": "string", "minLength": 1} for guard in WAIVABLE},
            },
        },
        "dependentRequired": {"then": ["until"]},
    }
    return {"anyOf": [value, long], **({"description": value["description"]} if "description" in value else {})}


def _of_table_files() -> dict[str, Any]:
    (table, field), components = msgspec.json.schema_components(
        [TableDefinition, Field], ref_template="#/$defs/{name}"
    )
    definitions = components
    definitions["TableDefinition"]["properties"]["fields"] = {
        "type": "object",
        "description": "The fields that git may manage, by column.",
        "additionalProperties": field,
    }
    definitions["TableDefinition"]["properties"]["match"] = {
        "type": "object",
        "description": "Columns that `$where` may match by, beside the fields. Git never writes them.",
        "additionalProperties": field,
    }
    definitions["Effect"]["oneOf"] = [{"required": [kind]} for kind in KINDS]
    definitions["Proof"]["oneOf"] = [{"required": [kind]} for kind in PROOF_KINDS]
    return {"$schema": _DRAFT, **table, "$defs": definitions}


def _of_policy() -> dict[str, Any]:
    (policy,), components = msgspec.json.schema_components([Policy], ref_template="#/$defs/{name}")
    columns = components["AuditPolicy"]["properties"]["columns"]
    columns["additionalProperties"] = {
        "anyOf": [{"enum": list(AUDIT_WORDS)}, {"type": "string", "pattern": "^[^$]"}],
    }
    return {"$schema": _DRAFT, **policy, "$defs": components}


def _of_playbooks(definitions: Definitions) -> dict[str, Any]:
    """What a playbook may set is a field of these tables, what it may ask a check of this policy."""
    (playbook,), components = msgspec.json.schema_components([Playbook], ref_template="#/$defs/{name}")
    components["Playbook"]["properties"]["subject"] = {"enum": [*definitions.tables, None]}
    components["Symptom"]["properties"]["check"] = {"enum": [*definitions.policy.checks, None]}
    components["Symptom"]["oneOf"] = [{"required": [one]} for one in ("query", "check", "probe")]
    components["Recovery"]["properties"]["checks"]["items"] = {"enum": list(definitions.policy.checks)}
    base = components["Assignment"]
    components["Assignment"] = _assignment(base, definitions, [])
    components["AssignmentBack"] = _assignment(base, definitions, [{"const": BEFORE}])
    components["Recovery"]["properties"]["set"]["items"] = {"$ref": "#/$defs/AssignmentBack"}
    return {"$schema": _DRAFT, **playbook, "$defs": components}


def _assignment(base: dict[str, Any], definitions: Definitions, more: list[dict[str, Any]]) -> dict[str, Any]:
    """One variant for each managed field; `more` may stand as a value besides those of the field."""
    variants = [
        {
            "properties": {
                "table": {"const": table.name},
                "field": {"const": name},
                "value": {"anyOf": [value_schema(field), *more]} if more else value_schema(field),
            }
        }
        for table in definitions.tables.values()
        for name, field in table.fields.items()
    ]
    fields = sorted({name for table in definitions.tables.values() for name in table.fields})
    known = {"table": {"enum": list(definitions.tables)}, "field": {"enum": fields}}
    return {**base, "properties": {**base["properties"], **known}, "anyOf": variants}


def _without_none(schema: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in schema.items() if value is not None}
