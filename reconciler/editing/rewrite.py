"""One edit as Replacements in a file's text: the half that knows how state files are written.

Takes a Sheet, the nodes that its text was read as, and an edit; gives what to replace. It promises nothing: whether the
text then says what it should is checked by `edit`, against trees that `edit_tree` made from nodes alone.

What it keeps to:

- Comments on lines of their own are never touched, unless they stand inside of what goes. One behind a value stays
  behind it or, where the value moves into a long form, behind its key.
- A value keeps its quotes, its case (`True`) and its block (`|`) where the new one can be written so.
- What is new stands where its siblings do, with their indentation: in lines, or between brackets where they are.
- An alias whose value changes is written out in its place, on one line. Where an anchor's value changes, those that
  refer to it keep what they had: the first of them becomes the anchor.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from reconciler.editing.edit_tree import AnyEdit, Edit, RemoveRow, changed_parts, edited_row, field_of
from reconciler.editing.entry_text import EntryText
from reconciler.editing.sheet import Made, Replacement, Sheet
from reconciler.editing.spans import Entry, Span, anchored_nodes
from reconciler.editing.spelling import spell, spell_key
from reconciler.errors import Failed
from reconciler.fields import Field
from reconciler.nodes import Mapping as MappingNode
from reconciler.nodes import Node

__all__ = ["rewrite"]

_ANCHOR = re.compile(r"&[^ \t\r\n]+[ \t]*")
_BREAK = r"(?:\r\n|\r(?!\n)|\n)"
_BLANK_LINE = re.compile(rf"{_BREAK}[ \t]*{_BREAK}")
_ENDS_IN_BLANK_LINE = re.compile(rf"{_BREAK}[ \t]*{_BREAK}\Z")


def rewrite(sheet: Sheet, root: Node | None, edit: AnyEdit, fields: Mapping[str, Field]) -> list[Replacement]:
    """What the edit replaces. Raises Failed where the text is written in a way that cannot be edited in place."""
    nodes = root.items if isinstance(root, MappingNode) else {}
    row_after = edited_row(nodes.get(edit.key), edit, fields)
    top, row = sheet.spans.root, sheet.rows.get(edit.key)
    if top is None or row is None:
        found = _new_row(sheet, edit, row_after, fields) if row_after is not None else []
    else:
        row_node = nodes[edit.key]
        assert isinstance(row_node, MappingNode)
        found = _in_row(sheet, top, row, row_node, row_after, edit, fields)
    if not Made().add(found):
        raise Failed("the edit would replace one part of the text twice")
    return found


def _new_row(sheet: Sheet, edit: AnyEdit, row: MappingNode, fields: Mapping[str, Field]) -> list[Replacement]:
    """A row at the end of the file."""
    root = sheet.spans.root
    entries = EntryText(sheet, sheet.step)
    if root is not None and not root.is_block:
        pair = entries.field_pair(edit.key, row)
        return sheet.into_flow(root, root.entries[-1] if root.entries else None, [pair])
    column = sheet.column(root.body) if root is not None else 0
    lines = [" " * column + spell_key(edit.key, in_flow=False) + ":"]
    for name, node in row.items.items():
        lines += entries.field_lines(name, node, fields.get(name), column + sheet.step)
    lines = ["", *lines] if _wants_blank_line(sheet, root) else lines
    return [sheet.lines_at(sheet.spans.finish, lines, last=True)]


def _wants_blank_line(sheet: Sheet, root: Span | None) -> bool:
    """Whether rows have a blank line between them, as far as the file says; yes where it does not."""
    if root is None or not root.entries or root.after > root.end:  # a blank line would belong to the last value
        return False
    if _ENDS_IN_BLANK_LINE.search(sheet.text[root.after : sheet.spans.finish]):
        return False
    pairs = zip(root.entries, root.entries[1:], strict=False)
    gaps = [sheet.text[one.after : other.key_start] for one, other in pairs]
    return not gaps or any(map(_BLANK_LINE.search, gaps))


def _in_row(
    sheet: Sheet,
    root: Span,
    row: Entry,
    node: MappingNode,
    after: MappingNode | None,
    edit: AnyEdit,
    fields: Mapping[str, Field],
) -> list[Replacement]:
    """What changes in a row that the file has. `after` is what becomes of its node, None where it goes."""
    span = row.value
    if after is None:
        return _with_anchors(sheet, [_without_row(sheet, root, row)], row, node, ())
    assert not isinstance(edit, RemoveRow)
    entry = span.entry(edit.field)
    if span.kind == "alias":
        old = node.items.get(edit.field)
        unchanged = not changed_parts(old, edit, field_of(edit, fields)) if isinstance(edit, Edit) else old is None
        return [] if unchanged else [Replacement(span.start, span.end, spell(after, in_flow=True))]
    if not isinstance(edit, Edit):
        if entry is None:
            return []
        index = span.entries.index(entry)
        cut = sheet.out_of_block(span, entry) if span.is_block else sheet.out_of_flow(span, index, index)
        return _with_anchors(sheet, [cut], row, node, ())
    field = field_of(edit, fields)
    step = sheet.column(span.body) - sheet.column(root.body) if span.is_block else sheet.step
    entries = EntryText(sheet, max(1, step))
    if entry is None:
        new = after.items[edit.field]
        if span.is_block:
            lines = entries.field_lines(edit.field, new, field, sheet.column(span.body))
            added = [sheet.lines_below(span.after, lines)]
        else:
            last = span.entries[-1] if span.entries else None
            added = sheet.into_flow(span, last, [entries.field_pair(edit.field, new)])
        return _with_anchors(sheet, added, row, node, ())
    old = node.items[edit.field]
    changes = changed_parts(old, edit, field)
    if not changes:
        return []
    changed = entries.change(entry, old, changes, field, in_flow=not span.is_block)
    return _with_anchors(sheet, changed, row, node, (entry.value.start,))


def _without_row(sheet: Sheet, root: Span, row: Entry) -> Replacement:
    """The row cut out. Before a ``...`` something must stand: where that was the only row, nothing in braces."""
    if not root.is_block:
        index = root.entries.index(row)
        return sheet.out_of_flow(root, index, index)
    finish = sheet.spans.finish
    if len(root.entries) == 1 and finish < len(sheet.text):
        return Replacement(root.body, finish, "{}" + sheet.text[row.end : finish], listed=True)
    return sheet.row_out_of_block(root, row)


def _with_anchors(
    sheet: Sheet, found: list[Replacement], row: Entry, node: Node, changed: tuple[int, ...]
) -> list[Replacement]:
    """The same, and for each anchor whose value goes or changes: its first alias becomes the anchor.

    `changed` are the places where nodes begin that the edit changes, besides the row's own.
    """
    gone = [one for one in found if one.start < one.end and not one.moves]
    moved = [one for one in found if one.moves]
    extra: list[Replacement] = []
    for name, start, anchored in anchored_nodes(row.value, node):
        users = [alias for alias in sheet.spans.aliases if alias.name == name and not _covers(gone, alias.start)]
        is_gone = _covers(gone, start)
        is_changed = start in (row.value.start, *changed) and not _covers(moved, start)
        if not users or not (is_gone or is_changed):
            continue
        extra.append(Replacement(users[0].start, users[0].end, f"&{name} {spell(anchored, in_flow=True)}"))
        if not is_gone:
            extra.append(_without_anchor(sheet, start))
    return [*found, *extra]


def _without_anchor(sheet: Sheet, start: int) -> Replacement:
    """The anchor that stands from there on, cut out with the spaces on one side of it."""
    text = sheet.text
    anchor = _ANCHOR.search(text, start)
    assert anchor is not None
    is_last = text[anchor.end() : anchor.end() + 1] in ("", "\r", "\n")
    return Replacement(len(text[:start].rstrip(" ")) if is_last else start, anchor.end(), "")


def _covers(replacements: list[Replacement], position: int) -> bool:
    return any(one.start <= position < one.end for one in replacements)
