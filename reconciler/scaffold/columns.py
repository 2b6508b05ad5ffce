"""One table's live columns as the text of `schemas/<table>.yaml`, and of an example for `state/<table>.yaml`.

Takes a Relation and its Structure; gives texts. Pure. What the database knows is written down (types, enum values,
NULL, lengths, checks); what it cannot know is left to a person, and said in comments: which side of a switch is the
kill side, which columns belong to the application alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from reconciler.catalog import INTEGER_BITS, NUMBER_TYPES, TEXT_TYPES, TIMESTAMP_TYPES, Column, Relation
from reconciler.scaffold.guesses import (
    killed_values,
    looks_like_a_counter,
    looks_like_a_limit,
    looks_secret,
    off_value,
    words_of,
)
from reconciler.scaffold.structure import Structure
from reconciler.scaffold.yaml_words import comment, flow, word

__all__ = ["GUESS", "TableText", "describe_table"]

GUESS = "    # kill: "
"""How a line begins that guesses a kill side."""

_LABELS = ("name", "title", "label", "slug", "email")
_TOUCHED = ("updated", "modified", "changed")
_UUID = "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"


class TableText(msgspec.Struct, frozen=True):
    """What is written for one table. `has_tenant`: its entries belong to somebody. `secret`: taken for secrets."""

    name: str
    schema_text: str
    state_text: str
    has_tenant: bool
    secret: tuple[str, ...]


class _Field(msgspec.Struct, frozen=True):
    """A field's properties in order, the line that is only a guess, and an example of a value."""

    name: str
    properties: tuple[tuple[str, str], ...]
    guess: str
    example: str


def describe_table(
    name: str,
    relation: Relation,
    structure: Structure,
    *,
    schema: str | None,
    key: str,
    tenant: str | None,
    origin: str,
) -> TableText:
    """The texts of one table.

    `key` identifies its rows; `tenant` is the column that says whose an entry is; `origin` is a sentence on where the
    columns are from.
    """
    label = _label(relation, key)
    touch = _touch(relation)
    taken = {key, touch, tenant}
    secret = [
        column.name
        for column in relation.columns.values()
        if _may_hold_a_secret(column) and looks_secret(column.name) and column.name not in (key, tenant)
    ]
    fields: list[_Field] = []
    left_out: list[tuple[str, str]] = []
    for column in relation.columns.values():
        if column.name in taken or column.name in secret:
            continue
        reason = _not_to_be_managed(column, structure)
        field = _field(column, structure.checks) if reason is None else None
        if field is not None:
            fields.append(field)
        else:
            left_out.append((column.name, reason or f"is {column.declared}, which no type of field holds"))
    lines = [
        *_head(origin),
        f"table: {word(name)}",
        *([f"schema: {word(schema)}"] if schema is not None else []),
        f"key: {word(key)}",
        *([f"label: {word(label)}"] if label is not None else []),
        *([f"touch: {word(touch)}"] if touch is not None else _no_touch()),
        "# A row that state names must exist; `create` makes it.",
        "missing_row: error",
        *_audit(name, tenant),
        *_secret(secret),
        *_fields(fields),
        *_left_out(left_out),
    ]
    return TableText(name, _text(lines), _state(name, relation.columns[key], fields), tenant is not None, tuple(secret))


def _head(origin: str) -> Iterator[str]:
    yield "# yaml-language-server: $schema=json/table.schema.json"
    yield f"# {comment(origin)}"
    yield "# Read it once from top to bottom. Take out what the application alone should write. Say of each switch"
    yield "# which side is the kill side, the one that must always work. A restore can wait: `restore: {after: 24h}`."
    yield "# Then run `reconcile schema`, and commit both."


def _no_touch() -> Iterator[str]:
    yield "# No column tells when a row was written last; where one does, every write can set it:"
    yield "# touch: updated_at"


def _audit(name: str, tenant: str | None) -> Iterator[str]:
    event = f"{re.sub(r'[^A-Z0-9]+', '_', name.upper()).strip('_') or 'ROW'}_RECONCILED"
    if tenant is not None:
        yield f"audit: {{event: {word(event)}, tenant: {word(tenant)}}}"
        return
    yield "# Entries of this table belong to nobody, and `without_tenant` in policy.yaml says whose they are. If a"
    yield "# column tells, name it here: tenant: account_id"
    yield f"audit: {{event: {word(event)}}}"


def _secret(secret: Sequence[str]) -> Iterator[str]:
    yield "# Never read, shown or written. Found by their names alone: is one missing?"
    yield f"secret: {flow(secret)}"


def _fields(fields: Sequence[_Field]) -> Iterator[str]:
    if not fields:
        yield "fields: {}"
        return
    yield "fields:"
    for field in fields:
        yield f"  {word(field.name)}:"
        for name, value in field.properties:
            yield f"    {name}: {value}"
        if field.guess:
            yield f"{GUESS}{field.guess}"


def _left_out(left_out: Sequence[tuple[str, str]]) -> Iterator[str]:
    if left_out:
        yield "# Left out:"
        for name, reason in left_out:
            yield f"#   {comment(name)} {comment(reason)}"


def _may_hold_a_secret(column: Column) -> bool:
    """A truth value, a number or a time is none, whatever it is called: `passwordResetEnabled`, `maxTokens`."""
    return not column.is_enum and column.type not in ("bool", *NUMBER_TYPES, *TIMESTAMP_TYPES)


def _label(relation: Relation, key: str) -> str | None:
    """The column by which people know a row."""
    for wanted in _LABELS:
        for column in relation.columns.values():
            is_text = column.type in TEXT_TYPES and not column.is_array
            if column.name.lower() == wanted and is_text and column.name != key:
                return column.name
    return None


def _touch(relation: Relation) -> str | None:
    """The column that says when a row was written last."""
    for column in relation.columns.values():
        words = words_of(column.name)
        if column.type in TIMESTAMP_TYPES and words[:1] and words[0] in _TOUCHED and not column.generated:
            return column.name
    return None


def _not_to_be_managed(column: Column, structure: Structure) -> str | None:
    """Why git should have no say in the column; None where it may."""
    if column.generated:
        return "is generated by the database"
    if column.name in structure.refers:
        return f"refers to {structure.refers[column.name][1]}"
    if column.name in structure.keys:
        return "identifies the row as well"
    if column.name.startswith("$"):
        return "begins with $, as directives do"
    words = words_of(column.name)
    if column.type in TIMESTAMP_TYPES and ("created" in words or "last" in words):
        return "is the application's to set"
    if column.type in NUMBER_TYPES and looks_like_a_counter(column.name):
        return "looks like a counter of the application's"
    return None


def _field(column: Column, checks: Sequence[str]) -> _Field | None:
    """The column as a field, None where no type of field holds it."""
    if column.is_array:
        items = _type_of(column.element_column, [])
        if items is None or items[0] in ("timestamp", "json"):
            return None
        kind, properties, _, _ = items
        inner = ", ".join(f"{name}: {value}" for name, value in (("type", kind), *properties))
        described: tuple[str, list[tuple[str, str]], str, str] | None = ("array", [("items", f"{{{inner}}}")], "", "[]")
    else:
        described = _type_of(column, checks)
    if described is None:
        return None
    kind, properties, guess, example = described
    nullable = [] if column.not_null else [("nullable", "true")]
    return _Field(column.name, (("type", kind), *properties, *nullable), guess, example)


def _type_of(column: Column, checks: Sequence[str]) -> tuple[str, list[tuple[str, str]], str, str] | None:
    """Type, properties, guess and example; None where there is no such type."""
    if column.is_enum:
        return _enum(column.labels)
    if column.type == "bool":
        off = off_value(column.name)
        return "boolean", [], str(off).lower() if off is not None else "", str(bool(off)).lower()
    if column.type in NUMBER_TYPES:
        kind = "integer" if column.type in INTEGER_BITS or column.numeric_scale == 0 else "number"
        bounds = _bounds(column, checks) if kind == "integer" else {}
        guess = "lower" if looks_like_a_limit(column.name) else ""
        return kind, [(name, str(limit)) for name, limit in bounds.items()], guess, str(bounds.get("min", 1))
    if column.type in TEXT_TYPES:
        allowed = _allowed(column, checks)
        if allowed:
            return _enum(allowed)
        length = [("max_length", str(column.max_length))] if column.max_length is not None else []
        return "string", length, "", "x"
    if column.type == "uuid":
        return "string", [("pattern", word(_UUID))], "", "00000000-0000-4000-8000-000000000000"
    if column.type in TIMESTAMP_TYPES:
        return "timestamp", [], "", "2030-01-01T00:00:00Z"
    return ("json", [], "", "[]") if column.type in ("json", "jsonb") else None


def _enum(values: Sequence[str]) -> tuple[str, list[tuple[str, str]], str, str]:
    killed = killed_values(values)
    guess = flow(killed) if 0 < len(killed) < len(values) else ""
    return "enum", [("values", flow(values))], guess, word(killed[0] if guess else values[0])


def _bounds(column: Column, checks: Sequence[str]) -> Mapping[str, int]:
    """What checks of the table say of a whole number: `("limit" >= 1)`. One with OR says nothing certain."""
    quoted = re.escape(column.name)
    pattern = re.compile(rf"[( ]\"?{quoted}\"? (>=|>|<=|<) \(?'?(-?[0-9]+)'?\)?(?![0-9.])")
    bounds: dict[str, int] = {}
    for check in checks:
        if " OR " in check or " NOT " in check or "CASE" in check:
            continue
        for operator, number in pattern.findall(check):
            limit = int(number) + {">": 1, "<": -1}.get(operator, 0)
            bounds["min" if operator.startswith(">") else "max"] = limit
    return dict(sorted(bounds.items(), reverse=True))


def _allowed(column: Column, checks: Sequence[str]) -> list[str]:
    """The values that a check allows: `CHECK (plan = ANY (ARRAY['free'::text, 'paid'::text]))`."""
    quoted = re.escape(column.name)
    subject = rf'\(?"?{quoted}"?\)?(::text)?'
    pattern = re.compile(rf"CHECK \(\({subject} = ANY \(\(?ARRAY\[(.*)\](\)?::text\[\])?\)\)\)")
    for check in checks:
        found = pattern.fullmatch(check)
        if found:
            return [value.replace("''", "'") for value in re.findall(r"'((?:[^']|'')*)'::", found[2])]
    return []


def _state(name: str, key: Column, fields: Sequence[_Field]) -> str:
    """An example that is a comment, and valid once it is none."""
    row = {"uuid": "8a6e0804-2bd0-4672-b79d-d97027f9071a"}.get(key.type, "1" if key.type in INTEGER_BITS else "acme")
    lines = [
        f"# yaml-language-server: $schema=../schemas/json/{name}.state.schema.json",
        f"# Rows of {comment(name)}: a key is a row, below it stand columns. Only what is named is managed. Such as:",
        "#",
    ]
    if fields:
        first, *rest = sorted(fields, key=lambda field: not field.guess)
        lines += [
            f"# {row}:",
            f"#   {word(first.name)}:",
            f"#     value: {first.example}",
            "#     reason: why, for whoever reads the audit log",
        ]
        lines += [f"#   {word(field.name)}: {field.example}" for field in rest[:1]]
    lines += ["#", f"# Take over what is there: reconcile import --only {comment(name)}/KEY"]
    return _text(lines)


def _text(lines: Sequence[str]) -> str:
    return "\n".join(lines) + "\n"
