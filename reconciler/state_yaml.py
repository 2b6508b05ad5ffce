"""Canonical values as the YAML of a state file: the way back from `documents` and `scalars`.

Takes canonical values; gives the nodes that reading them would give (`node_of`), so that a field's own `parse` can
say whether they may stand in state, and the text of whole files (`StateText`), through PyYAML's emitter.

What decides whether a text can stand without quotes is that nobody may take it for anything else: not our reader, and
not a YAML 1.1 reader either (an editor's, a linter's), for which `yes`, `12:30:00` and `2026-11-27` are no texts.
Whatever does not print is escaped in double quotes, so that no line of a file hides anything.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Any, Protocol

from yaml.emitter import Emitter
from yaml.events import (
    DocumentEndEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
    StreamStartEvent,
)
from yaml.nodes import ScalarNode
from yaml.resolver import Resolver

from reconciler.documents import MAX_DEPTH
from reconciler.fields import NotAValue
from reconciler.model import Json
from reconciler.nodes import Mapping as MappingNode
from reconciler.nodes import Node, Scalar
from reconciler.nodes import Sequence as SequenceNode
from reconciler.scalars import NotStorable, looks_like_yaml11_boolean, resolve

__all__ = ["StateText", "long_form", "node_of"]

_FIELD_DEPTH = 4
"""The level of a field's value in a file, its long form allowed for."""

_SHORT_LIST = 72
"""Characters up to which a list of single values stands on one line."""

_UNLIMITED = 1 << 30
"""Lines are never folded: a folded line cannot be searched for."""

_PLAIN_DIGITS = 40
"""Digits after the point up to which a number is written out, without an exponent."""


class Emits(Protocol):
    """An emitter of PyYAML's."""

    def emit(self, event: Event) -> None:
        """Write one event."""


class MakesEmitter(Protocol):
    """The class of an emitter."""

    def __call__(self, stream: Any, *, width: int, allow_unicode: bool) -> Emits:
        """An emitter that writes to the stream."""


DEFAULT_EMITTER: MakesEmitter = Emitter
try:
    from yaml._yaml import CEmitter
except ImportError:
    pass
else:
    DEFAULT_EMITTER = CEmitter


def node_of(value: Json, depth: int = _FIELD_DEPTH) -> Node:
    """The node that reading the value back gives. Raises NotAValue where no state file could hold it."""
    if isinstance(value, str):
        return Scalar(value, False, 1, 1)
    if value is None or isinstance(value, bool):
        return Scalar("null" if value is None else str(value).lower(), True, 1, 1)
    if isinstance(value, int | Decimal):
        return Scalar(_number_text(value), True, 1, 1)
    if depth > MAX_DEPTH:
        raise NotAValue("it is nested too deep for a state file")
    if isinstance(value, list):
        return SequenceNode([node_of(item, depth + 1) for item in value], 1, 1)
    return MappingNode({name: node_of(item, depth + 1) for name, item in value.items()}, {}, 1, 1)


def long_form(node: Node) -> Node:
    """The long form of a value, for one that would be taken for a long form itself."""
    return MappingNode({"value": node}, {}, 1, 1)


class StateText:
    """The text of one state file, made row by row."""

    def __init__(self, schema: str, emitter: MakesEmitter = DEFAULT_EMITTER) -> None:
        """`schema` is the path of the table's JSON Schema, as seen from the file."""
        self._stream = io.StringIO()
        self._stream.write(f"# yaml-language-server: $schema={schema}\n")
        self._emitter = emitter(self._stream, width=_UNLIMITED, allow_unicode=True)
        for event in (StreamStartEvent(), DocumentStartEvent(explicit=False), _BLOCK):
            self._emitter.emit(event)

    def add(self, key: str, expect: Mapping[str, Node], values: Mapping[str, Node]) -> None:
        """One row: what is expected of it, and its fields in the order that they come in."""
        emit = self._emitter.emit
        emit(_text(key))
        emit(_BLOCK)
        if expect:
            emit(_text("$expect"))
            emit(_FLOW)
            for name, node in expect.items():
                emit(_text(name))
                for event in _events(node):
                    emit(event)
            emit(_END)
        for name, node in values.items():
            emit(_text(name))
            for event in _events(node):
                emit(event)
        emit(_END)

    def finish(self) -> str:
        """The whole text. Nothing can be added after."""
        for event in (_END, DocumentEndEvent(explicit=False), StreamEndEvent()):
            self._emitter.emit(event)
        return self._stream.getvalue()


_BLOCK = MappingStartEvent(None, None, True, flow_style=False)
_FLOW = MappingStartEvent(None, None, True, flow_style=True)
_END = MappingEndEvent()


def _events(node: Node) -> Iterator[Event]:
    if isinstance(node, Scalar):
        yield _plain(node.text) if node.plain else _text(node.text)
    elif isinstance(node, MappingNode):
        yield _BLOCK
        for name, item in node.items.items():
            yield _text(name)
            yield from _events(item)
        yield _END
    else:
        yield SequenceStartEvent(None, None, True, flow_style=_is_short(node))
        for item in node.items:
            yield from _events(item)
        yield SequenceEndEvent()


def _is_short(node: SequenceNode) -> bool:
    length = 0
    for item in node.items:
        if not isinstance(item, Scalar):
            return False
        length += len(item.text) + 2
    return length <= _SHORT_LIST


@lru_cache(maxsize=4096)
def _plain(text: str) -> Event:
    return ScalarEvent(None, None, (True, False), text)


@lru_cache(maxsize=4096)
def _text(text: str) -> Event:
    """A text: without quotes where that is safe, and where the emitter finds it possible at its place."""
    if _is_only_text(text):
        return ScalarEvent(None, None, (True, True), text)
    return ScalarEvent(None, None, (False, True), text, style='"')


_YAML_11 = Resolver()


def _is_only_text(text: str) -> bool:
    """Whether no reader of YAML takes the text, unquoted, for a number, a truth value, null, a time or a directive."""
    if not text or not text.isprintable() or looks_like_yaml11_boolean(text):
        return False
    try:
        if resolve(Scalar(text, True, 1, 1)) != text:
            return False
    except NotStorable:
        return False
    resolve_as_yaml11: Any = _YAML_11.resolve
    return bool(resolve_as_yaml11(ScalarNode, text, (True, False)) == Resolver.DEFAULT_SCALAR_TAG)


def _number_text(value: int | Decimal) -> str:
    try:
        if isinstance(value, Decimal) and value.is_finite():
            exponent = value.as_tuple().exponent
            return format(value, "f") if -_PLAIN_DIGITS <= int(exponent) <= 0 else str(value)
        return str(value)
    except ValueError:  # Python refuses to write out whole numbers of thousands of digits
        raise NotAValue("the number has too many digits") from None
