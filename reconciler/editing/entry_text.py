"""One field in a file's text: another value, a reason beside it, the short form made long; and new fields in lines.

Takes a Sheet, an Entry with its node, and the parts that are to change (`edit_tree.changed_parts`); gives Replacements,
or new lines. See `rewrite` for what it keeps to.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from reconciler.desired import LONG_FORM
from reconciler.editing.edit_tree import edited_entry, is_long_form
from reconciler.editing.sheet import Replacement, Sheet
from reconciler.editing.spans import Entry, Span
from reconciler.editing.spelling import spell, spell_key, spell_literal
from reconciler.fields import Field
from reconciler.nodes import Mapping as MappingNode
from reconciler.nodes import Node, Scalar

__all__ = ["EntryText"]

Changes = Mapping[str, Node | None]

_PROPERTIES = re.compile(r"(?:[&!][^ \t\r\n]*[ \t]*)*")
_HEADER = re.compile(r"([|>][-+0-9]*)([ \t]+#[^\r\n]*)?")
_MOMENT = Scalar("2026-11-27T09:00:00Z", True, 1, 1)
"""What a moment looks like that nobody has quoted."""


class EntryText:
    """Entries of one row (or of none yet), whose fields stand `step` columns deeper than its key."""

    def __init__(self, sheet: Sheet, step: int) -> None:
        self._sheet = sheet
        self._text = sheet.text
        self._step = step

    # What is new

    def field_lines(self, name: str, node: Node, field: Field | None, column: int) -> list[str]:
        """A whole field in lines; the long form in lines of its own."""
        if field is None or not isinstance(node, MappingNode) or not is_long_form(node, field):
            return self._pair_lines(name, node, column)
        parts = [
            line for part, item in node.items.items() for line in self._pair_lines(part, item, column + self._step)
        ]
        return [" " * column + spell_key(name, in_flow=False) + ":", *parts]

    def field_pair(self, name: str, node: Node) -> str:
        """A whole field between brackets."""
        return f"{spell_key(name, in_flow=True)}: {spell(node, in_flow=True)}"

    def _pair_lines(self, name: str, node: Node, column: int) -> list[str]:
        """A key and its value: on one line, but for a text of several."""
        before = " " * column + spell_key(name, in_flow=False) + ": "
        literal = self._literal(node, " " * (column + self._step))
        if literal is not None:
            return [before + literal[0], literal[1]]
        return [before + self._spelled(name, node, in_flow=False)]

    def _literal(self, node: Node, indent: str) -> tuple[str, str] | None:
        """A text of several lines as a block; None for anything else, and where its last line break could be lost."""
        if not isinstance(node, Scalar) or node.plain or not (self._sheet.ends_in_line_break or node.text[-1:] != "\n"):
            return None
        return spell_literal(node.text, indent, self._sheet.newline)

    def _all_lines(self, parts: Mapping[str, Node], column: int) -> list[str]:
        return [line for part, node in parts.items() for line in self._pair_lines(part, node, column)]

    def _pairs(self, parts: Mapping[str, Node]) -> list[str]:
        return [f"{part}: {self._spelled(part, node, in_flow=True)}" for part, node in parts.items()]

    def _spelled(
        self, part: str, node: Node, *, in_flow: bool, old: Node | None = None, span: Span | None = None
    ) -> str:
        """A value on one line, in the style of the scalar that it replaces, if it replaces one."""
        if isinstance(old, Scalar) and span is not None and span.kind == "scalar":
            return spell(node, in_flow=in_flow, old=old, old_style=span.style)
        return spell(node, in_flow=in_flow, old=_MOMENT if part == "until" else None)

    # What is there

    def change(self, entry: Entry, old: Node, changes: Changes, field: Field, *, in_flow: bool) -> list[Replacement]:
        """The parts that change, of which there is one at least. `in_flow`: the entry stands between brackets."""
        new = edited_entry(old, changes, field)
        if isinstance(old, MappingNode) and is_long_form(old, field):
            if entry.value.kind == "alias":
                return [Replacement(entry.value.start, entry.value.end, spell(new, in_flow=True))]
            return self._change_long_form(entry.value, old, changes)
        if not isinstance(new, MappingNode) or not is_long_form(new, field):
            return self._value(entry, old, new, in_flow, "value")
        others = {part: node for part, node in new.items.items() if part != "value"}
        value = new.items["value"] if "value" in changes else None
        if in_flow or entry.colon is None:
            return self._to_long_form_in_flow(entry, old, value, others, in_flow)
        if entry.value.is_block:
            return self._block_to_long_form(entry, value, others)
        return self._to_long_form(entry, old, value, others)

    def _change_long_form(self, span: Span, old: MappingNode, changes: Changes) -> list[Replacement]:
        in_flow = not span.is_block
        found: list[Replacement] = []
        removed: list[int] = []
        added: dict[int, dict[str, Node]] = {}
        above = 0
        for part in LONG_FORM:
            index = next((at for at, entry in enumerate(span.entries) if entry.key == part), None)
            node = changes.get(part)
            if index is None and node is not None:
                added.setdefault(above, {})[part] = node
            elif index is not None and node is not None:
                found += self._value(span.entries[index], old.items[part], node, in_flow, part)
            elif index is not None and part in changes:
                removed.append(index)
                continue  # what is added does not stand below what goes
            above = above if index is None else index
        for first, last in _runs(sorted(removed)):
            if in_flow:
                found.append(self._sheet.out_of_flow(span, first, last))
            else:
                found += [self._sheet.out_of_block(span, entry) for entry in span.entries[first : last + 1]]
        for index, parts in added.items():
            if in_flow:
                found += self._sheet.into_flow(span, span.entries[index], self._pairs(parts))
            else:
                lines = self._all_lines(parts, self._sheet.column(span.body))
                found.append(self._sheet.lines_below(span.entries[index].after, lines))
        return found

    def _value(self, entry: Entry, old: Node, new: Node, in_flow: bool, part: str) -> list[Replacement]:
        """Another value behind a key."""
        span = entry.value
        anchor = self.kept_anchor(span)
        if span.is_block and not in_flow:
            return self._value_of_lines(entry, new, anchor)
        spelled = anchor + self._spelled(part, new, in_flow=in_flow, old=old, span=span)
        return [Replacement(entry.end if entry.colon is None else span.start, span.end, _behind(entry) + spelled)]

    def _value_of_lines(self, entry: Entry, new: Node, anchor: str) -> list[Replacement]:
        """Another value in place of one that takes lines of its own."""
        span, sheet = entry.value, self._sheet
        head, first = self._head(entry)
        if span.kind == "scalar":
            header = _HEADER.match(self._text, span.body)
            comment = (header[2] or "") if header else ""
            indent = re.compile(" *").match(self._text, first)
            literal = self._literal(new, indent[0] if indent else "") if span.style == "|" else None
            if literal is not None:
                text = anchor + literal[0] + comment + sheet.newline + literal[1]
                return [Replacement(span.start, span.end, text)]
            return [Replacement(span.start, span.end, anchor + spell(new, in_flow=False) + comment)]
        spelled = anchor + spell(new, in_flow=False)
        if entry.colon is None or first <= entry.colon:
            return [Replacement(span.start, span.end, spelled)]
        return [Replacement(entry.colon, head, " " + spelled), sheet.without_lines(first, span.after)]

    def _head(self, entry: Entry) -> tuple[int, int]:
        """Of a value that takes lines: where what stands of it on its key's line ends, and where its lines begin."""
        span = entry.value
        if span.kind == "scalar":
            header = _HEADER.match(self._text, span.body)
            end = header.end(1) if header else span.body
            return end, self._sheet.next_line(end)
        first = self._sheet.line_start(span.body)
        properties = _PROPERTIES.match(self._text, span.start, span.body)
        if span.start >= first or properties is None or not properties[0]:
            return entry.colon or entry.key_end, first
        return len(self._text[: properties.end()].rstrip(" \t")), first

    # The short form becomes the long one. `value` None: it stays as it is written.

    def _to_long_form_in_flow(
        self, entry: Entry, old: Node, value: Node | None, others: Mapping[str, Node], in_flow: bool
    ) -> list[Replacement]:
        pairs = [f"value: {self._on_one_line(entry, old, value, in_flow)}".rstrip(), *self._pairs(others)]
        text = _behind(entry) + "{" + ", ".join(pairs) + "}"
        start = entry.end if entry.colon is None else entry.value.start
        return [Replacement(start, entry.value.end, text, moves=value is None)]

    def _to_long_form(
        self, entry: Entry, old: Node, value: Node | None, others: Mapping[str, Node]
    ) -> list[Replacement]:
        span, sheet = entry.value, self._sheet
        assert entry.colon is not None
        pair = f"value: {self._on_one_line(entry, old, value, in_flow=False)}".rstrip()
        if sheet.line_start(span.start) > entry.colon:  # the value has a line of its own, and keeps it
            below = self._all_lines(others, sheet.column(span.start))
            replaced = Replacement(span.start, span.end, pair, moves=value is None)
            return [replaced, *([sheet.lines_below(span.end, below)] if below else [])]
        column = sheet.column(entry.key_start) + self._step
        lines = [" " * column + pair, *self._all_lines(others, column)]
        return [Replacement(entry.colon, span.end, "", moves=value is None), sheet.lines_below(span.end, lines)]

    def _block_to_long_form(self, entry: Entry, value: Node | None, others: Mapping[str, Node]) -> list[Replacement]:
        """Of a value with lines of its own: they are moved to the right, or go where there is a new one."""
        span, sheet = entry.value, self._sheet
        assert entry.colon is not None
        column = sheet.column(entry.key_start) + self._step
        head, first = self._head(entry)
        lines = self._all_lines(others, column)
        cut = Replacement(entry.colon, head, "", moves=value is None)
        if value is not None:
            new = [*self._pair_lines("value", value, column), *lines]
            return [cut, sheet.lines_below(entry.colon, new), sheet.without_lines(first, span.after)]
        found = [cut, sheet.lines_at(first, [" " * column + "value:" + sheet.piece(entry.colon, head)])]
        at = first
        while at < span.end:
            if self._text[at] not in "\r\n":
                found.append(Replacement(at, at, " " * self._step))
            at = sheet.next_line(at)
        return [*found, *([sheet.lines_below(span.after, lines)] if lines else [])]

    def _on_one_line(self, entry: Entry, old: Node, value: Node | None, in_flow: bool) -> str:
        """The value as the long form has it: its own text, where it stays and that is one line."""
        span = entry.value
        text = self._text[span.start : span.end]
        if value is None and not re.search(r"[\r\n]", text):
            return text
        anchor = f"&{span.anchor} " if value is None and span.anchor else self.kept_anchor(span)
        new = old if value is None else value
        return anchor + self._spelled("value", new, in_flow=in_flow, old=old, span=span)

    def kept_anchor(self, span: Span) -> str:
        """The anchor of a value that changes, for the new one; empty where others would change with it."""
        is_used = any(alias.name == span.anchor for alias in self._sheet.spans.aliases)
        return f"&{span.anchor} " if span.anchor and not is_used else ""


def _behind(entry: Entry) -> str:
    """What has to stand between a key and its new value that does not stand there yet."""
    if entry.colon is None:
        return ": "
    return " " if entry.value.start == entry.value.end == entry.colon else ""


def _runs(indices: list[int]) -> list[tuple[int, int]]:
    """Neighbours among sorted numbers, as (first, last)."""
    runs: list[tuple[int, int]] = []
    for index in indices:
        if runs and runs[-1][1] == index - 1:
            runs[-1] = (runs[-1][0], index)
        else:
            runs.append((index, index))
    return runs
