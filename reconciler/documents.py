"""One YAML file, as bytes, to a tree of nodes in which every key and every value knows its line and column.

Takes a path (a label, nothing is opened) and the file's bytes; gives a Document and appends a Problem for each thing
that is wrong in it. It knows YAML and nothing of tables: what a node means is for `desired` and `schema` to say, and
what a plain scalar is (a number, a truth value, text) is for `scalars`.

It is here, instead of a YAML loader, for three reasons. A loader forgets positions, or takes five times the memory to
keep them. It keeps the last of two equal keys without a word. And it turns keys into numbers and dates, where a row's
key must be the text that stands in the file. So libyaml's events are read directly, by a reader that does little else
than put them into dictionaries: a hundred thousand rows are read in about a second and a half. PyYAML's own parser
takes libyaml's place where that was not built in; both give the same nodes and the same problems. Rows of the
simplest form, which are most of a large fleet, need neither parser nor nodes (`plain_rows`).

What is refused, always with its place: duplicate keys, merge keys, keys that are not text, tags other than the core
ones, directives, more than one document, nesting deeper than MAX_DEPTH (so recursion over a tree is safe), aliases to
nothing or to what holds them, and aliases that would make the file mean more than MAX_ALIASED nodes plus one per byte.
"""

from __future__ import annotations

import gc
import re
from collections.abc import Callable
from typing import Any

import msgspec

from reconciler.errors import Problem
from reconciler.model import Location
from reconciler.nodes import Document, Mapping, Node, Scalar, Sequence
from reconciler.plain_rows import PlainRows, read_plain_rows, tree
from reconciler.syntax import DEFAULT_EVENTS, MAX_FILE_BYTES, Events, check_text, explain_syntax_error
from reconciler.yaml_events import (
    AliasEvent,
    MappingEndEvent,
    MappingStartEvent,
    MarkedYAMLError,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

__all__ = [
    "MAX_ALIASED",
    "MAX_DEPTH",
    "MAX_FILE_BYTES",
    "Document",
    "Mapping",
    "Node",
    "PlainDocument",
    "Scalar",
    "Sequence",
    "read_document",
    "read_rows",
]

MAX_DEPTH = 64
"""Mappings and sequences may stand in each other this deep, aliases followed."""

MAX_ALIASED = 100_000
"""So many nodes may come from aliases in any file, and one more for each byte of it. A file without aliases cannot
hold more nodes than bytes, so this keeps an alias bomb from costing more than a large honest file."""


def read_document(
    path: str, data: bytes, problems: list[Problem], events: Callable[[bytes], Events] = DEFAULT_EVENTS
) -> Document | None:
    """The nodes of the file, and a Problem in `problems` for each thing that is wrong in it.

    None where no tree could be made. A Document is given in spite of problems such as a duplicate key (the first one
    is kept), so that what else is wrong in the file can be reported in the same run; it must not be applied.
    `events` is the parser; the caller has no need to choose one.
    """
    readable = check_text(path, data, problems)
    if readable is None:
        return None
    reader = _Reader(path, problems, limit=MAX_ALIASED + len(readable))
    # The tree has no cycles, and collecting garbage while it grows would visit it again and again for nothing.
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        return reader.read(readable, events)
    finally:
        if was_enabled:
            gc.enable()


def read_rows(path: str, data: bytes, problems: list[Problem]) -> Document | PlainDocument | None:
    """The same for a file of rows, which are given without nodes where they are of the simplest form."""
    readable = check_text(path, data, [])
    rows = read_plain_rows(readable.decode()) if readable is not None else None
    return read_document(path, data, problems) if rows is None else PlainDocument(path, rows)


class PlainDocument(msgspec.Struct, frozen=True):
    """A file in which nothing stands but rows of the simplest form."""

    path: str
    rows: PlainRows

    def with_nodes(self) -> Document:
        """The same file as `read_document` gives it."""
        return Document(self.path, tree(self.rows))


class _Unreadable(Exception):
    """Reading has to stop here; the Problem has been reported."""


class _Anchored(msgspec.Struct):
    """What an anchor names: `node` is None as long as it is being read. `size` in nodes, `height` in levels below."""

    line: int
    node: Node | None = None
    size: int = 1
    height: int = 0


_MERGE_HINT = "name the whole mapping with an alias (key: *name), or repeat the keys"
_NUL_ESCAPE = re.compile(rb"\\(?:0|x00|u0000|U00000000)")
_UNUSUAL_KEYS = frozenset(("<<", ""))
_CORE = "tag:yaml.org,2002:"
_TAGS = {
    ScalarEvent: ("str", "int", "bool", "float", "null"),
    MappingStartEvent: ("map",),
    SequenceStartEvent: ("seq",),
}
_KINDS = {ScalarEvent: "a single value", MappingStartEvent: "a mapping", SequenceStartEvent: "a list"}


class _Reader:
    """Reads the events of one file. Only `mapping` and `sequence` are hot: the rest is for what is rare."""

    def __init__(self, path: str, problems: list[Problem], limit: int) -> None:
        self.path = path
        self.problems = problems
        self.limit = limit
        self.usable = True
        self.parser_event: Callable[[], Any]
        self.get_event: Callable[[], Any]
        self.anchors: dict[str, _Anchored] = {}
        self.read_nodes = 0
        self.aliased_nodes = 0
        self.deepest = 0
        # Column names return in every row: keeping one object of each saves a sixth of the memory.
        self.names: dict[str, str] = {}

    def read(self, data: bytes, events: Callable[[bytes], Events]) -> Document | None:
        """The whole file."""
        try:
            self.parser_event = events(data).get_event
            self.get_event = self.event_without_nul if _NUL_ESCAPE.search(data) else self.parser_event
            return self.document()
        except _Unreadable:
            pass
        except MarkedYAMLError as error:
            self.problems.append(explain_syntax_error(self.path, data, error))
        return None

    def event_without_nul(self) -> Any:
        """The parser's next event, a Problem reported where an escape put a NUL into its text."""
        event = self.parser_event()
        if event.__class__ is ScalarEvent and "\0" in event.value:
            self.report(event, "the text quoted here holds a NUL character, which no database stores", "remove it")
        return event

    def document(self) -> Document | None:
        """The first document; None, and a Problem, where it cannot be used."""
        self.get_event()  # the start of the stream
        start = self.get_event()
        if start.__class__ is StreamEndEvent:
            return Document(self.path, None)
        if start.version or start.tags:
            self.report(start, "directives (%YAML, %TAG) are not supported", "remove the line")
        root = self.node(self.get_event(), 1)
        self.get_event()  # the end of the document
        after = self.get_event()
        if after.__class__ is not StreamEndEvent:
            hint = 'split it into several files, or remove this "---"'
            self.report(after, "a second document begins here; a file holds one", hint)
        is_nothing = isinstance(root, Scalar) and root.plain and not root.text and root.tag is None
        return Document(self.path, None if is_nothing else root) if self.usable else None

    def mapping(self, start: Any, depth: int) -> Mapping:
        """A mapping whose start event was read."""
        get_event, share = self.get_event, self.names.setdefault
        items: dict[str, Node] = {}
        keys: dict[str, tuple[int, int]] = {}
        mark: Any
        key: str | None
        while True:
            event = get_event()
            mark = event.start_mark
            line = mark.line + 1
            if event.__class__ is ScalarEvent and event.anchor is None and event.tag is None:
                key = event.value
                if key in keys or key in _UNUSUAL_KEYS:
                    key = self.unusual_key(event, keys)
            elif event.__class__ is MappingEndEvent:
                break
            else:
                key = self.decorated_key(event, keys, depth)
            if key is not None:
                key = share(key, key)
                keys[key] = (line, mark.column + 1)
            event = get_event()
            if event.__class__ is ScalarEvent and event.anchor is None and event.tag is None:
                text, plain = event.value, not event.style
                if text or not plain:  # else there is nothing, and the place of nothing is its key's
                    mark = event.start_mark
                value_line = mark.line + 1
                if value_line == line:
                    value_line = line  # one object for both
                value: Node = Scalar(text, plain, value_line, mark.column + 1, None)
            else:
                value = self.node(event, depth + 1)
            if key is not None:
                items[key] = value
        self.read_nodes += 1 + 2 * len(items)
        mark = start.start_mark
        return Mapping(items, keys, mark.line + 1, mark.column + 1)

    def sequence(self, start: Any, depth: int) -> Sequence:
        """A sequence whose start event was read."""
        get_event = self.get_event
        items: list[Node] = []
        mark: Any
        while True:
            event = get_event()
            if event.__class__ is ScalarEvent and event.anchor is None and event.tag is None:
                mark = event.start_mark
                items.append(Scalar(event.value, not event.style, mark.line + 1, mark.column + 1, None))
            elif event.__class__ is SequenceEndEvent:
                break
            else:
                items.append(self.node(event, depth + 1))
        self.read_nodes += 1 + len(items)
        mark = start.start_mark
        return Sequence(items, mark.line + 1, mark.column + 1)

    def node(self, event: Any, depth: int) -> Node:
        """Any node, given its first event; `depth` is its own, the root's being 1."""
        if event.__class__ is AliasEvent:
            return self.alias(event, depth)
        if event.anchor is None:
            return self.bare_node(event, depth)
        anchored = self.open_anchor(event)
        size_before, deepest_before = self.read_nodes + self.aliased_nodes, self.deepest
        self.deepest = depth
        node = self.bare_node(event, depth)
        anchored.node = node
        anchored.size = max(1, self.read_nodes + self.aliased_nodes - size_before)
        anchored.height = self.deepest - depth
        self.deepest = max(self.deepest, deepest_before)
        return node

    def bare_node(self, event: Any, depth: int) -> Node:
        """A node that is no alias, its anchor left aside."""
        tag = None if event.tag is None else self.tag(event)
        if event.__class__ is ScalarEvent:
            mark: Any = event.start_mark
            return Scalar(event.value, not event.style, mark.line + 1, mark.column + 1, tag)
        if depth > self.deepest:
            self.deepest = depth
            if depth > MAX_DEPTH:
                self.report(event, f"this is nested deeper than {MAX_DEPTH} levels", "no value needs that")
                raise _Unreadable
        return self.mapping(event, depth) if event.__class__ is MappingStartEvent else self.sequence(event, depth)

    def tag(self, event: Any) -> str | None:
        """The short form of a core tag that fits the node; anything else is reported and left out."""
        name = event.tag.removeprefix(_CORE)
        if name in _TAGS[event.__class__] and name != event.tag:
            return f"!!{name}"
        if name != event.tag and any(name in names for names in _TAGS.values()):
            self.report(event, f"the tag !!{name} does not fit {_KINDS[event.__class__]}", "remove the tag")
        else:
            shown = event.tag if name == event.tag else f"!!{name}"
            self.report(event, f"the tag {shown} is not known", "remove the tag; a text needs only quotes")
        return None

    def open_anchor(self, event: Any) -> _Anchored:
        """Enters an anchor; a name used twice is reported, and means the second from here on."""
        anchored = _Anchored(event.start_mark.line + 1)
        first = self.anchors.get(event.anchor)
        if first is not None:
            message = f"the anchor &{event.anchor} stands here and in line {first.line}"
            self.report(event, message, "give each its own name")
        self.anchors[event.anchor] = anchored
        return anchored

    def alias(self, event: Any, depth: int) -> Node:
        """What the alias names, the object itself."""
        name = event.anchor
        anchored = self.anchors.get(name)
        if anchored is None:
            self.report(event, f"the alias *{name} names nothing above it", f'write &{name} there, or quote "*{name}"')
            self.usable = False
            return Scalar("", True, event.start_mark.line + 1, event.start_mark.column + 1)
        if anchored.node is None:
            self.report(event, f"the alias *{name} stands inside what it names", "a value cannot hold itself")
            raise _Unreadable
        self.aliased_nodes += anchored.size
        if self.aliased_nodes > self.limit:
            message = f"aliases make this file more than {self.limit:,} values long"
            self.report(event, message, "use fewer aliases of aliases, or write the values out")
            raise _Unreadable
        if depth + anchored.height > MAX_DEPTH:
            message = f"followed to its end, the alias *{name} is nested deeper than {MAX_DEPTH} levels"
            self.report(event, message, "no value needs that")
            raise _Unreadable
        self.deepest = max(self.deepest, depth + anchored.height)
        return anchored.node

    def decorated_key(self, event: Any, keys: dict[str, tuple[int, int]], depth: int) -> str | None:
        """The key where it is not a bare scalar; None, and a Problem, where it cannot be a key. Its value goes too."""
        if event.__class__ is not ScalarEvent:
            self.report(event, "a key must be text, not an alias, a list or a mapping", "write the key out")
            self.node(event, depth + 1)
            return None
        node = self.node(event, depth + 1)
        if isinstance(node, Scalar) and node.tag not in (None, "!!str"):
            self.report(event, "a key is always text", f"remove the tag {node.tag}")
        return self.unusual_key(event, keys)

    def unusual_key(self, event: Any, keys: dict[str, tuple[int, int]]) -> str | None:
        """The key where nothing is wrong with it; else None, and a Problem."""
        key: str = event.value
        if key in keys:
            first = Location(self.path, *keys[key])
            self.report(event, f'the key "{key}" stands here and at {first}', "remove one of them")
        elif key == "<<" and not event.style:
            self.report(event, 'merge keys ("<<") are not supported', _MERGE_HINT)
        elif key == "" and not event.style:
            self.report(event, 'there is no key before this ":"', 'write one, or quote a value that begins with ":"')
        else:
            return key
        return None

    def report(self, event: Any, message: str, hint: str) -> None:
        """A Problem at the beginning of the event."""
        mark = event.start_mark
        self.problems.append(Problem(message, Location(self.path, mark.line + 1, mark.column + 1), hint))
