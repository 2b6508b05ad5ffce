"""A state file printed anew from its spans: the half of `reconcile fmt` that knows the style.

Takes a text with its Spans, its Comments and its table; gives the text in the style of the house. It promises nothing:
whether the text then says what it said is checked by `text`.

- A row, the long form, `$expect` and `override` are mappings of ours: in lines, their entries in the schema's order.
  Where an anchor or an alias stands in one, the order stays: an alias must come after what it names.
- Everything below a value (JSON, lists) is the author's: on one line it gets the usual spaces, in lines it is moved.
- A comment on a line of its own goes with what stands below it; behind a value, with that value.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

import msgspec

from reconciler.desired import LONG_FORM
from reconciler.editing.edit_tree import is_long_form
from reconciler.editing.spans import Entry, FileSpans, Span
from reconciler.editing.spelling import spell, spell_key
from reconciler.errors import Failed
from reconciler.fields import BooleanField, EnumField, Field, IntegerField, JsonField
from reconciler.formatting.comments import Comment, Comments, scalars
from reconciler.nodes import Mapping as MappingNode
from reconciler.nodes import Node, Scalar
from reconciler.nodes import Sequence as SequenceNode
from reconciler.scalars import NotStorable, resolve
from reconciler.schema import Table
from reconciler.state_files import schema_of

__all__ = ["Printer", "header_line"]

_STEP = "  "
_BREAK = re.compile(r"\r\n|\r|\n")
_SCHEMA_LINE = re.compile(r"# ?yaml-language-server: *\$schema=(.*)")
_INTEGER = re.compile(r"0|-?[1-9][0-9]*")
_HEADER = re.compile(r"[|>]([-+0-9]*)")
_ROOT, _ROW, _FIELD, _PART = range(4)


def header_line(table: str, path: str, comments: Comments) -> str:
    """The line by which editors find the schema. One that names another schema than ours is kept."""
    for comment in comments.all:
        found = _SCHEMA_LINE.fullmatch(comment.text)
        if found and not found[1].endswith(".state.schema.json"):
            return comment.text
    return f"# yaml-language-server: $schema={schema_of(table, path)}"


class _Block(msgspec.Struct):
    """An entry with the comments above it, as lines. `is_apart`: an empty line stands above."""

    name: str
    lines: list[str]
    is_apart: bool


class Printer:
    """Prints one file."""

    def __init__(self, text: str, spans: FileSpans, comments: Comments, table: Table, header: str) -> None:
        self._text = text
        self._spans = spans
        self._comments = comments
        self._table = table
        self._header = header
        self._order = {name: at for at, name in enumerate(table.definition.fields)}

    def print(self, root: Node | None) -> str:
        """The whole text, `root` being its tree."""
        comments, span = self._comments, self._spans.root
        for comment in comments.all:
            if _SCHEMA_LINE.fullmatch(comment.text):
                taken = comments.take(comment.start, comment.end)
                comments.replaced += [one.text for one in taken if one.text != self._header]
        lines = [self._header]
        if span is not None and isinstance(root, MappingNode):
            if span.entries:
                blocks, tail = self._mapping(span, root, "", _ROOT, -1, 0, len(self._text))
                _add(lines, blocks, tail)
            else:
                lines += [*self._own_lines(comments.take(0, span.start), ""), "{}"]
        elif span is not None:
            raise Failed("a mapping of row keys is expected there")
        rest = comments.take(0, len(self._text))
        if rest and comments.has_blank_line_above(rest[0].start) and lines[-1]:
            lines.append("")
        lines += self._own_lines(rest, "")
        return "\n".join(lines) + "\n"

    # Mappings of ours

    def _mapping(
        self,
        span: Span,
        node: MappingNode,
        indent: str,
        level: int,
        column: int,
        start: int,
        stop: int,
        field: Field | None = None,
    ) -> tuple[list[_Block], list[str]]:
        """The entries in their order, and the comments below them. `column` is that of the key above, `start` its end,
        `stop` where what follows begins.
        """
        blocks: list[_Block] = []
        for index, entry in enumerate(span.entries):
            above = self._comments.take(start, entry.key_start)
            first = above[0].start if above else entry.key_start
            is_apart = self._comments.has_blank_line_above(first)
            lines = self._own_lines(above, indent)
            if above and self._comments.has_blank_line_above(entry.key_start):
                lines.append("")
            following = span.entries[index + 1].key_start if index + 1 < len(span.entries) else stop
            lines += self._entry(entry, node.items[entry.key], indent, level, following, field)
            blocks.append(_Block(entry.key, lines, is_apart))
            start = entry.key_start
        limit = span.end if span.is_flow else stop
        below = self._comments.take(start, limit) if span.is_flow else self._comments.take_deeper(start, limit, column)
        tail = self._own_lines(below, indent)
        if below and self._comments.has_blank_line_above(below[0].start):
            tail.insert(0, "")
        if level != _ROOT and not self._has_anchors(span):
            blocks = self._sorted(blocks, level)
        return blocks, tail

    def _sorted(self, blocks: list[_Block], level: int) -> list[_Block]:
        """In the schema's order, or the long form's. What stands above an empty line at the top stays at the top."""
        ranks = self._order if level == _ROW else {name: at for at, name in enumerate(LONG_FORM)}
        directives = [block for block in blocks if level == _ROW and block.name.startswith("$")]
        others = [block for block in blocks if block not in directives]
        ordered = [*directives, *sorted(others, key=lambda block: ranks.get(block.name, len(ranks)))]
        first = blocks[0]
        if ordered[0] is not first and "" in first.lines:
            top = len(first.lines) - first.lines[::-1].index("")
            if all(not line or line.lstrip().startswith("#") for line in first.lines[:top]):
                ordered[0].lines[:0] = first.lines[:top]
                first.lines = first.lines[top:]
        return ordered

    def _has_anchors(self, span: Span) -> bool:
        if any(span.start <= alias.start < span.end for alias in self._spans.aliases):
            return True
        return any(_anchored(entry.value) for entry in span.entries)

    def _entry(
        self, entry: Entry, node: Node, indent: str, level: int, stop: int, field: Field | None
    ) -> list[str]:
        key = self._text[entry.key_start : entry.key_end]
        if key != entry.key:
            key = spell_key(entry.key, in_flow=False)
        if level == _ROW:
            field = self._table.fields.get(entry.key)
        value, begin = entry.value, f"{indent}{key}:"
        inner = self._inner_level(entry, node, level, field)
        if inner is not None and value.kind == "mapping" and isinstance(node, MappingNode) and value.entries:
            is_short = value.is_flow and level != _ROOT and self._is_one_line(value.start, value.end)
            if not is_short:
                return self._in_lines(entry, node, begin, indent, inner, stop, field)
        begin += f" &{value.anchor}" if value.anchor else ""
        if value.kind in ("mapping", "sequence") and value.is_block:
            return self._with_comment(self._moved_block(value, begin, indent, entry), value.end)
        above = self._own_lines(self._comments.take(entry.key_end, value.body), indent)
        if value.kind == "scalar" and isinstance(node, Scalar):
            lines = self._scalar(value, node, begin + " ", indent, entry, level, field)
        else:
            lines = self._brackets(value, node, begin + " ", indent, inner, entry)
        return [*above, *self._with_comment(lines, value.end)]

    def _inner_level(self, entry: Entry, node: Node, level: int, field: Field | None) -> int | None:
        """Of which level of ours a mapping below an entry is, None for what is the author's own."""
        if level == _ROOT:
            return None if entry.key.startswith("$") else _ROW
        if level == _ROW and field is not None:
            return _FIELD if is_long_form(node, field) else None
        is_ours = entry.key == ("$expect" if level == _ROW else "override")
        return _PART if is_ours and level != _PART else None

    def _in_lines(
        self, entry: Entry, node: MappingNode, begin: str, indent: str, inner: int, stop: int, field: Field | None
    ) -> list[str]:
        """A mapping of ours in lines below its key."""
        value = entry.value
        above: list[str] = []
        first = value.entries[0].key_start
        found = self._comments.take_on_line(entry.key_end, first)
        if value.is_flow and (behind := self._comments.take_behind(value.end)) is not None:
            above = self._own_lines([behind[1]], indent) if found is not None else []
            found = found or behind
        line = begin + (f" &{value.anchor}" if value.anchor else "")
        if found is not None:
            line += _gap(found[0]) + found[1].text
        lines = [*above, line]
        column = self._comments.column(entry.key_start)
        blocks, tail = self._mapping(value, node, indent + _STEP, inner, column, entry.key_end, stop, field)
        blocks[0].is_apart = False
        below: list[str] = []
        _add(below, blocks, tail)
        return [*lines, *below]

    # Values

    def _scalar(
        self, span: Span, node: Scalar, begin: str, indent: str, entry: Entry, level: int, field: Field | None
    ) -> list[str]:
        if span.is_block:
            return self._literal(span, begin, indent, entry)
        source = self._text[span.body : span.end]
        if _BREAK.search(source):  # over several lines, which are the author's
            first, *more = (line.strip(" \t") for line in _BREAK.split(source))
            return [begin + first, *(indent + _STEP + line if line else "" for line in more)]
        is_value = (level == _ROW or (level == _FIELD and entry.key == "value")) and field is not None
        return [begin + _spelled(source, span, node, field if is_value else None)]

    def _literal(self, span: Span, begin: str, indent: str, entry: Entry) -> list[str]:
        """A text in a block, moved."""
        header = _HEADER.match(self._text, span.body)
        assert header is not None
        text = self._text[span.body : span.after if "+" in header[1] else span.end]
        place = self._spans.chomping
        if place is not None and span.body <= place[0] <= span.end:
            # The last line of a file without a line break: it gets one, which must not become part of the value.
            text = self._text[span.body : place[0]] + "-" + self._text[place[1] : span.end]
        first, *lines = _BREAK.split(text)
        digit = re.search(r"[1-9]", header[1])
        if digit:
            old = self._comments.column(entry.key_start) + int(digit[0])
            new = len(indent) + int(digit[0])
        else:
            old = next((len(line) - len(line.lstrip(" ")) for line in lines if line.strip(" ")), 0)
            new = len(indent) + len(_STEP)
        moved = [" " * new + line[old:] if line[old:] else "" for line in lines]
        if moved and not moved[-1] and "+" in header[1]:
            moved.pop()  # the end of the last line
        return [begin + first.rstrip(), *moved]

    def _brackets(
        self, span: Span, node: Node, begin: str, indent: str, inner: int | None, entry: Entry
    ) -> list[str]:
        """A list or a mapping between brackets, or an alias."""
        source = self._text[span.body : span.end]
        if span.kind == "alias":
            return [begin + source]
        if self._is_one_line(span.start, span.end) and not _decorated(span):
            if inner == _FIELD and isinstance(node, MappingNode):
                ordered = {part: node.items[part] for part in LONG_FORM if part in node.items}
                node = MappingNode(ordered | node.items, {}, 1, 1)
            return [begin + _in_brackets(node, span)]
        self._comments.take(span.start, span.end)
        shift = len(indent) - self._comments.column(entry.key_start)
        first, *more = _BREAK.split(source)
        return [begin + first.rstrip(), *(_shifted(line, shift) for line in more)]

    def _moved_block(self, span: Span, begin: str, indent: str, entry: Entry) -> list[str]:
        """A JSON value or a list in lines of its own, moved as it is."""
        comments, text = self._comments, self._text
        # A list that is not indented begins, for the parser, behind its first dash.
        body = span.body - (span.kind == "sequence" and text[span.body] != "-" and text[span.body - 1] == "-")
        if not comments.is_first_on_its_line(body):
            raise Failed("what stands below a key does not begin on a line of its own")
        top = body - comments.column(body)
        on_line = comments.take_on_line(entry.key_end, body)
        if on_line is not None:
            begin += _gap(on_line[0]) + on_line[1].text
        above = comments.take(entry.key_end, body)
        comments.take(body, span.end)
        old = comments.column(body)
        is_outdented = span.kind == "sequence" and old == comments.column(entry.key_start)
        shift = len(indent) + (0 if is_outdented else len(_STEP)) - old
        kept = {
            line
            for start, end, scalar in scalars(span)
            if scalar is not None and comments.line(start) != comments.line(end)
            for line in range(comments.line(start), comments.line(end))
        }
        lines = _BREAK.split(text[top : span.end])
        number = comments.line(top)
        moved = (_shifted(line, shift, is_kept=number + at in kept) for at, line in enumerate(lines))
        return [begin, *self._own_lines(above, " " * (old + shift)), *moved]

    # Comments

    def _own_lines(self, comments: Sequence[Comment], indent: str) -> list[str]:
        """Comments on lines of their own; an empty line between two stays."""
        lines: list[str] = []
        for comment in comments:
            if lines and self._comments.has_blank_line_above(comment.start):
                lines.append("")
            lines.append(indent + comment.text)
        return lines

    def _with_comment(self, lines: list[str], end: int) -> list[str]:
        """The lines with the comment that stands behind them."""
        found = self._comments.take_behind(end)
        if found is not None:
            lines[-1] += _gap(found[0]) + found[1].text
        return lines

    def _is_one_line(self, start: int, end: int) -> bool:
        return self._comments.line(start) == self._comments.line(end)


def _add(lines: list[str], blocks: Sequence[_Block], tail: Sequence[str]) -> None:
    for at, block in enumerate(blocks):
        is_apart = block.is_apart and (at > 0 or bool(lines))
        if is_apart and lines and lines[-1]:
            lines.append("")
        lines += block.lines
    lines += tail[1:] if tail and not tail[0] and lines and not lines[-1] else tail


def _gap(source: str) -> str:
    """The space before a comment: as it was, if that was of spaces alone."""
    space = source.rpartition(",")[2]
    return space if space and not space.strip(" ") else "  "


def _shifted(line: str, shift: int, *, is_kept: bool = False) -> str:
    """A line moved to the right or, as far as there are spaces, to the left. `is_kept`: its end is part of a value."""
    stripped = line.lstrip(" ")
    if not stripped.strip() and not is_kept:
        return ""
    moved = " " * max(0, len(line) - len(stripped) + shift) + stripped
    return moved if is_kept else moved.rstrip(" \t")


def _anchored(span: Span) -> bool:
    return (
        span.anchor is not None
        or any(_anchored(entry.value) for entry in span.entries)
        or any(map(_anchored, span.items))
    )


def _decorated(span: Span) -> bool:
    """Whether an alias, an anchor or a tag stands inside, which the tree does not show."""
    inside = [*(entry.value for entry in span.entries), *span.items]
    return any(one.kind == "alias" or one.anchor or one.start != one.body or _decorated(one) for one in inside)


def _spelled(source: str, span: Span, node: Scalar, field: Field | None) -> str:
    """A scalar on one line. `field` is that of a value, None for everything else that is written."""
    if node.tag is None and node.plain:
        if field is None or isinstance(field, EnumField) or source in ("true", "false") or _INTEGER.fullmatch(source):
            return source or "null"
        return _canonical(node, field) or source or "null"
    if node.tag is None:
        return _quoted(node.text, span.style)
    try:
        value = resolve(node)
    except NotStorable:
        return _tagged(source, node)
    if isinstance(value, str):
        return _quoted(value, '"')
    return _canonical(node, field) if field is not None and _canonical(node, field) else _tagged(source, node)


def _tagged(source: str, node: Scalar) -> str:
    """A scalar with its tag."""
    return f"{node.tag} {source}"


def _canonical(node: Scalar, field: Field) -> str:
    """`true`, `false`, `null` or a whole number in digits; empty for what may be written in more than one way."""
    try:
        value = resolve(node)
    except NotStorable:
        return ""
    is_free = isinstance(field, JsonField)
    if value is None:
        return "null"
    if isinstance(value, bool) and (is_free or isinstance(field, BooleanField)):
        return "true" if value else "false"
    if isinstance(value, int) and not isinstance(value, bool) and (is_free or isinstance(field, IntegerField)):
        return str(value)
    return ""


@lru_cache(maxsize=4096)
def _quoted(text: str, style: str) -> str:
    """A text as an import or a kill would write it; in single quotes where that saves escapes."""
    keeps_single = style == "'" and ('"' in text or "\\" in text)
    return spell(Scalar(text, False, 1, 1), in_flow=False, old_style="'" if keeps_single else "")


def _in_brackets(node: Node, span: Span) -> str:
    """A collection on one line, with the usual spaces; what stands in it plainly stays so."""
    if isinstance(node, MappingNode):
        places = {entry.key: entry.value for entry in span.entries}
        items = ((spell_key(key, in_flow=True), _in_brackets(item, places[key])) for key, item in node.items.items())
        return "{" + ", ".join(f"{key}: {item}" for key, item in items) + "}"
    if isinstance(node, SequenceNode):
        return "[" + ", ".join(map(_in_brackets, node.items, span.items)) + "]"
    keeps_single = span.style == "'" and ('"' in node.text or "\\" in node.text)
    return spell(node, in_flow=True, old_style="'" if keeps_single else "")
