"""Where everything in a YAML file begins and ends: what an edit needs to know, and a reader of values does not.

Takes the text of a file that `documents` has read without a problem, and the keys of the rows to look into; gives Spans
in characters of that text. Rows that nobody asked for are passed over, with only their place kept, so that one entry in
a file of a hundred thousand can be edited in the time that reading it takes.

The positions are those of libyaml's events (or of what takes its place), with three corrections: a block collection
ends where the last thing in it ends, not where the next begins; a block scalar ends with its text, not with the blank
lines below it; and nothing at all (`key:`) stands right behind its colon.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from typing import Any, Literal

import msgspec
from yaml.events import (
    AliasEvent,
    DocumentEndEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from reconciler.nodes import Mapping, Node, Sequence
from reconciler.syntax import DEFAULT_EVENTS, Events

__all__ = ["Alias", "Entry", "FileSpans", "Span", "anchored_nodes", "read_spans"]

_PROPERTY = re.compile(r"[&!][^ \t\r\n]*(?:[ \t]+|(?:[ \t]+#[^\r\n]*)?[\r\n]+[ \t]*)*")
_COLON = re.compile(r"[ \t\r\n]*:")
_HEADER = re.compile(r"[|>][-+0-9]*")
_BLANK = " \t\r\n"
_STARTS = (MappingStartEvent, SequenceStartEvent)
_ENDS = (MappingEndEvent, SequenceEndEvent)


class Span(msgspec.Struct, gc=False):
    """One node. `start` is that of its anchor and tag, `body` that of what follows them; `end` is behind its last
    character. What is inserted below it must stand behind `after` (another place only for a scalar that keeps its
    trailing lines, `|+`).

    `style` is a scalar's: empty for a plain one. `anchor` is its name. `is_flow` is for collections.
    """

    kind: Literal["scalar", "mapping", "sequence", "alias"]
    start: int
    body: int
    end: int
    after: int
    style: str = ""
    anchor: str | None = None
    is_flow: bool = False
    entries: list[Entry] = []
    items: list[Span] = []

    @property
    def is_block(self) -> bool:
        """Whether it takes lines of its own: a block collection, or a scalar after ``|`` or ``>``."""
        if self.kind == "scalar":
            return self.style in ("|", ">")
        return self.kind != "alias" and not self.is_flow

    def entry(self, key: str) -> Entry | None:
        """The entry of a mapping."""
        return next((entry for entry in self.entries if entry.key == key), None)


class Entry(msgspec.Struct, gc=False):
    """One key and its value. `colon` is the place behind the colon, None where there is none (`{key}`)."""

    key: str
    key_start: int
    key_end: int
    colon: int | None
    value: Span

    @property
    def end(self) -> int:
        """Behind its last character."""
        return max(self.key_end, self.value.end)

    @property
    def after(self) -> int:
        """Behind all that belongs to it: its end, but for a scalar that keeps its trailing lines."""
        return max(self.key_end, self.value.after)


class Alias(msgspec.Struct, frozen=True, gc=False):
    """One use of an anchor."""

    name: str
    start: int
    end: int


class FileSpans(msgspec.Struct):
    """The whole file. `root` is None where it holds nothing. `finish` is where its last row could end: the beginning of
    the line of ``...``, else the end of the text. `chomping` is set where the text ends in a block (`|`) without a line
    break: the place in its header of the sign that says what becomes of the last one.
    """

    root: Span | None
    aliases: list[Alias]
    finish: int
    chomping: tuple[int, int] | None = None


def read_spans(text: str, keys: Collection[str], events: Callable[[bytes], Events] = DEFAULT_EVENTS) -> FileSpans:
    """The spans of a file without a byte order mark. Rows whose keys are not in `keys` have no entries and no items."""
    return _Reader(text, keys, events).read()


class _Reader:
    def __init__(self, text: str, keys: Collection[str], events: Callable[[bytes], Events]) -> None:
        self._text = text
        self._keys = keys
        self._next: Callable[[], Any] = events(text.encode()).get_event
        self._aliases: list[Alias] = []
        self._is_first_row = True
        self._chomping: tuple[int, int] | None = None

    def read(self) -> FileSpans:
        root: Span | None = None
        finish = len(self._text)
        self._next()
        if self._next().__class__ is DocumentStartEvent:
            root = self._node(self._next(), depth=0)
            if root.kind == "scalar" and root.start == root.end:
                root = None
            end = self._next()
            if end.__class__ is DocumentEndEvent and end.explicit:
                finish = _place(end)[0]
        return FileSpans(root, self._aliases, finish, self._chomping)

    def _node(self, event: Any, depth: int) -> Span:
        start, end = _place(event)
        if event.__class__ is AliasEvent:
            self._aliases.append(Alias(str(event.anchor), start, end))
            return Span("alias", start, start, end, end)
        if event.__class__ is ScalarEvent:
            return self._scalar(event, start, end)
        body = end - 1 if event.flow_style else end
        kind: Literal["mapping", "sequence"] = "mapping" if event.__class__ is MappingStartEvent else "sequence"
        span = Span(kind, start, body, end, end, "", event.anchor, bool(event.flow_style), [], [])
        last = self._entries(span, depth) if kind == "mapping" else self._items(span, depth)
        if span.is_flow:
            span.end = span.after = last
        return span

    def _scalar(self, event: Any, start: int, end: int) -> Span:
        after = end
        style = event.style or ""
        body = start
        while found := _PROPERTY.match(self._text, body, end):  # no scalar begins with & or ! itself
            body = found.end()
        if style in ("|", ">"):
            header = _HEADER.match(self._text, body)
            if header and end == len(self._text) and self._text[-1] not in "\r\n" and "-" not in header[0]:
                keeps = header[0].find("+")
                self._chomping = (body + keeps, body + keeps + 1) if keeps > 0 else (header.end(), header.end())
            end = max(body + 1, len(self._text[:end].rstrip(_BLANK)))
            after = after if header and "+" in header[0] else end
        return Span("scalar", start, body, end, after, style, event.anchor, False)

    def _entries(self, span: Span, depth: int) -> int:
        """Read a mapping to its end, which is given back as the parser has it."""
        while True:
            event = self._next()
            if event.__class__ is MappingEndEvent:
                return _place(event)[1]
            key = self._node(event, depth + 1)
            colon = _COLON.match(self._text, key.end)
            value_event = self._next()
            if depth == 0 and event.value not in self._keys and not self._is_first_row:
                value = self._passed_over(value_event)
            else:
                value = self._node(value_event, depth + 1)
            self._is_first_row = self._is_first_row and depth != 0
            if value.kind == "scalar" and not value.is_block and value.start == value.end:
                value.start = value.body = value.end = value.after = colon.end() if colon else key.end
            span.entries.append(Entry(event.value, key.start, key.end, colon.end() if colon else None, value))
            span.end, span.after = span.entries[-1].end, span.entries[-1].after

    def _items(self, span: Span, depth: int) -> int:
        while True:
            event = self._next()
            if event.__class__ is SequenceEndEvent:
                return _place(event)[1]
            item = self._node(event, depth + 1)
            span.items.append(item)
            span.end, span.after = item.end, item.after

    def _passed_over(self, event: Any) -> Span:
        """A row that nobody asked for: only the last thing in it is kept, for its end."""
        if event.__class__ not in _STARTS:
            return self._node(event, depth=1)
        kind: Literal["mapping", "sequence"] = "mapping" if event.__class__ is MappingStartEvent else "sequence"
        start, body = _place(event)
        span = Span(kind, start, body, body, body, "", event.anchor, bool(event.flow_style))
        open_collections = 1
        while open_collections:
            inner = self._next()
            begin, end = _place(inner)
            if inner.__class__ in _STARTS:
                open_collections += 1
            elif inner.__class__ in _ENDS:
                open_collections -= 1
                if begin == end:
                    continue  # of a block collection, which has ended with what stands in it
                span.end = span.after = end
            elif inner.__class__ is AliasEvent:
                self._aliases.append(Alias(str(inner.anchor), begin, end))
                span.end = span.after = end
            elif inner.__class__ is ScalarEvent and begin < end:
                scalar = self._scalar(inner, begin, end)
                span.end, span.after = scalar.end, scalar.after
        return span


def _place(event: Any) -> tuple[int, int]:
    """Where the parser says that an event begins and ends."""
    return event.start_mark.index, event.end_mark.index


def anchored_nodes(span: Span, node: Node) -> Iterator[tuple[str, int, Node]]:
    """The anchors in a node, its own included: name, place and what each of them names."""
    if span.anchor is not None:
        yield span.anchor, span.start, node
    if isinstance(node, Mapping):
        for entry in span.entries:
            yield from anchored_nodes(entry.value, node.items[entry.key])
    elif isinstance(node, Sequence):
        for item, inner in zip(span.items, node.items, strict=span.kind == "sequence"):
            yield from anchored_nodes(item, inner)
