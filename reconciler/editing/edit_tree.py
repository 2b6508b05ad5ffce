"""What an edit asks for, and the tree of nodes that the edited file must have: the half that knows no text.

Takes nodes and edits; gives nodes. `rewrite` makes the same edits to the text, knowing nothing of this, and `edit`
compares the two: an edit that changed anything else than it should is then found before a byte is written.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence

import msgspec

from reconciler.canonical import equal
from reconciler.desired import LONG_FORM
from reconciler.editing.spelling import is_same_scalar
from reconciler.errors import Failed, nearest
from reconciler.fields import Field, JsonField, NotAValue, canonical_timestamp
from reconciler.model import Json, Then
from reconciler.nodes import Mapping as MappingNode
from reconciler.nodes import Node, Scalar
from reconciler.nodes import Sequence as SequenceNode
from reconciler.state_yaml import node_of

__all__ = [
    "KEEP",
    "AnyEdit",
    "Edit",
    "Keep",
    "RemoveField",
    "RemoveRow",
    "changed_parts",
    "edited_entry",
    "edited_root",
    "edited_row",
    "field_of",
    "is_long_form",
    "same_tree",
]


class Keep(enum.Enum):
    """Stands for "as it is": no value is mistaken for it."""

    KEEP = "keep"


KEEP = Keep.KEEP


class Edit(msgspec.Struct, frozen=True):
    """One field of one row, and what it is to say. What is KEEP stays as it is; None removes (of `value`: is null).

    Without `until` there is no `then`, and it goes with it. `until` is RFC 3339. `expect` is written only where the row
    is not in the file yet.
    """

    table: str
    key: str
    field: str
    value: Json | Keep = KEEP
    reason: str | Keep | None = KEEP
    until: str | Keep | None = KEEP
    then: Then | Keep | None = KEEP
    override: Mapping[str, str] | Keep | None = KEEP
    expect: Mapping[str, Json] = {}


class RemoveField(msgspec.Struct, frozen=True):
    """A field that git no longer manages. A row of which nothing is left goes, too."""

    table: str
    key: str
    field: str


class RemoveRow(msgspec.Struct, frozen=True):
    """A row that git no longer manages, with all that the file says of it."""

    table: str
    key: str


AnyEdit = Edit | RemoveField | RemoveRow


def field_of(edit: Edit, fields: Mapping[str, Field]) -> Field:
    """The field's definition. Raises Failed where the schema has none."""
    if edit.field in fields:
        return fields[edit.field]
    hint = nearest(edit.field, fields)
    raise Failed(f'table {edit.table} has no managed field "{edit.field}"' + (f" ({hint})" if hint else ""))


def is_long_form(node: Node | None, field: Field) -> bool:
    """Whether a field's node has its value beside a reason, and not instead of it."""
    if not isinstance(node, MappingNode):
        return False
    return not isinstance(field, JsonField) or ("value" in node.items and all(part in LONG_FORM for part in node.items))


def changed_parts(old: Node | None, edit: Edit, field: Field) -> dict[str, Node | None]:
    """The parts of the long form that are to be another than they are, None for what is removed; in its order.

    Raises Failed for a value that the field does not take.
    """
    parts: dict[str, Node] = {}
    if isinstance(old, MappingNode) and is_long_form(old, field):
        parts = old.items
    elif old is not None:
        parts = {"value": old}
    if "value" not in parts and isinstance(edit.value, Keep):
        raise Failed(f"{edit.table}/{edit.key}.{edit.field} is not in the file: its value cannot be kept")
    wanted = {
        "value": edit.value if isinstance(edit.value, Keep) else _value(edit, field, edit.value),
        "reason": edit.reason if edit.reason is None or isinstance(edit.reason, Keep) else _text(edit.reason),
        "until": edit.until if edit.until is None or isinstance(edit.until, Keep) else _text(edit.until),
        "then": edit.then if edit.then is None or isinstance(edit.then, Keep) else _then(edit.then),
        "override": edit.override if not edit.override or isinstance(edit.override, Keep) else _waivers(edit.override),
    }
    if edit.until is None:
        wanted["then"] = None
    changes: dict[str, Node | None] = {}
    for part, node in wanted.items():
        if isinstance(node, Keep):
            continue
        if not isinstance(node, Scalar | MappingNode | SequenceNode):
            if part in parts:
                changes[part] = None
        elif part not in parts or not _same_part(part, parts[part], node, field):
            changes[part] = node
    return changes


def edited_entry(old: Node | None, changes: Mapping[str, Node | None], field: Field) -> Node:
    """The field's node after the changes. The short form stays where nothing but the value is said."""
    parts: dict[str, Node | None] = {"value": old}
    if isinstance(old, MappingNode) and is_long_form(old, field):
        parts = dict(old.items)
    parts |= changes
    kept = {part: node for part in LONG_FORM if (node := parts.get(part)) is not None}
    if list(kept) == ["value"] and not is_long_form(old, field) and not is_long_form(kept["value"], field):
        return kept["value"]
    return MappingNode(kept, {}, 1, 1)


def edited_row(row: Node | None, edit: AnyEdit, fields: Mapping[str, Field]) -> MappingNode | None:
    """The node of the edit's row after it; None where nothing is left. The given one stays as it is."""
    if row is not None and not isinstance(row, MappingNode):
        raise Failed(f"row {edit.key} is no mapping of fields")
    items = dict(row.items) if row is not None else {}
    if isinstance(edit, Edit):
        field = field_of(edit, fields)
        if row is None and edit.expect:
            items["$expect"] = node_of(dict(edit.expect))
        old = items.get(edit.field)
        items[edit.field] = edited_entry(old, changed_parts(old, edit, field), field)
    elif isinstance(edit, RemoveField):
        items.pop(edit.field, None)
    else:
        items = {}
    return MappingNode(items, {}, 1, 1) if items else None


def edited_root(root: Node | None, edits: Sequence[AnyEdit], fields: Mapping[str, Field]) -> Node | None:
    """The whole tree after the edits; None where nothing is left. The given tree stays as it is."""
    if root is not None and not isinstance(root, MappingNode):
        raise Failed("a mapping of row keys is expected there")
    rows = dict(root.items) if root is not None else {}
    for edit in edits:
        row = edited_row(rows.get(edit.key), edit, fields)
        if row is not None:
            rows[edit.key] = row
        else:
            rows.pop(edit.key, None)
    return MappingNode(rows, {}, 1, 1) if rows else None


def same_tree(one: Node | None, other: Node | None) -> bool:
    """Whether two trees mean the same: the same keys, and scalars of equal values. None is an empty mapping."""
    if isinstance(one, Scalar) and isinstance(other, Scalar):
        return is_same_scalar(one, other)
    if isinstance(one, SequenceNode) and isinstance(other, SequenceNode):
        return len(one.items) == len(other.items) and all(map(same_tree, one.items, other.items))
    if isinstance(one, MappingNode) and isinstance(other, MappingNode):
        return one.items.keys() == other.items.keys() and all(
            node is other.items[key] or same_tree(node, other.items[key]) for key, node in one.items.items()
        )
    present = one if one is not None else other
    return one is other or (None in (one, other) and isinstance(present, MappingNode) and not present.items)


def _value(edit: Edit, field: Field, value: Json) -> Node:
    try:
        node = node_of(value)
        field.parse(node)
    except NotAValue as wrong:
        hint = f" ({wrong.hint})" if wrong.hint else ""
        raise Failed(f"{edit.table}/{edit.key}.{edit.field}: {wrong}{hint}") from None
    return node


def _same_part(part: str, one: Node, other: Node, field: Field) -> bool:
    """Whether a part of the long form says what it is to say already, however it is written."""
    try:
        if part == "value":
            return equal(field.parse(one), field.parse(other))
        if part == "then" and isinstance(one, Scalar) and isinstance(other, Scalar) and one.text != "restore":
            return other.text != "restore" and equal(field.parse(one), field.parse(other))
        if part == "until" and isinstance(one, Scalar) and isinstance(other, Scalar):
            return canonical_timestamp(one.text.strip()) == canonical_timestamp(other.text)
    except NotAValue:
        return False
    if isinstance(one, Scalar) and isinstance(other, Scalar):
        return one.text.strip() == other.text
    return same_tree(one, other)


def _text(text: str) -> Node:
    if not text.strip():
        raise Failed("a reason, an `until` or a waiver cannot be empty")
    return Scalar(text.strip(), False, 1, 1)


def _then(then: Then) -> Node:
    """`restore`, a value, or `{value: …}` for a value that would be taken for one of these."""
    if then.restores:
        return _text("restore")
    is_ambiguous = then.data == "restore" or (isinstance(then.data, dict) and list(then.data) == ["value"])
    return node_of({"value": then.data} if is_ambiguous else then.data)


def _waivers(override: Mapping[str, str]) -> Node:
    return MappingNode({guard: _text(reason) for guard, reason in override.items()}, {}, 1, 1)
