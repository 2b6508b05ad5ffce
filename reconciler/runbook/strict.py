"""A document into a struct, with every problem at once, each with its line and the nearest name.

Takes a Document and a msgspec struct class that holds other structs, in lists and by name; gives the struct, or None
and a Problem for each thing that is wrong. msgspec alone stops at the first mistake; a playbook is long, and whoever
writes one wants to see them all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from reconciler.errors import Problem, nearest
from reconciler.nodes import Document, Mapping, Node, Sequence
from reconciler.scalars import NotStorable, to_json
from reconciler.schema import Places
from reconciler.type_words import in_plain_words

T = TypeVar("T", bound=msgspec.Struct)

Path = tuple[str | int, ...]
"""Where something stands in a document: the keys and indexes that lead to it."""


def read_strictly(document: Document, kind: type[T], problems: list[Problem]) -> T | None:
    """The struct that the document spells, or None once each of its problems has been appended."""
    places = Places(document)
    if not isinstance(document.root, Mapping):
        problems.append(Problem("a mapping is expected here", places.of(), "see docs/playbooks.md"))
        return None
    try:
        data = to_json(document.root)
    except NotStorable as wrong:
        problems.append(Problem(str(wrong), places.of()))
        return None
    found = [Problem(message, places.of(*path), hint) for path, message, hint in _struct_problems(data, kind, ())]
    problems.extend(found)
    return None if found else msgspec.convert(data, kind)


def node_at(document: Document, path: Path) -> Node | None:
    """The node at the end of a path, None where the path leads nowhere."""
    node: Node | None = document.root
    for step in path:
        if isinstance(node, Mapping) and isinstance(step, str):
            node = node.items.get(step)
        elif isinstance(node, Sequence) and isinstance(step, int) and step < len(node.items):
            node = node.items[step]
        else:
            return None
    return node


_Found = Iterator[tuple[Path, str, str]]
"""(path, what is wrong, hint) for each problem."""


def _struct_problems(data: Any, kind: type[msgspec.Struct], path: Path) -> _Found:
    if not isinstance(data, dict):
        yield path, "a mapping is expected here", ""
        return
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    types = get_type_hints(kind, include_extras=True)
    for name, value in data.items():
        if name in fields:
            yield from _problems(value, types[fields[name].name], (*path, name))
        else:
            hint = nearest(name, fields) or f"known are {', '.join(fields)}"
            yield (*path, name), f"unknown property {name}", hint
    for name, field in fields.items():
        if field.required and name not in data:
            yield path, f"{name} is missing", ""


def _problems(data: Any, kind: Any, path: Path) -> _Found:
    meta: tuple[Any, ...] = ()
    if get_origin(kind) is Annotated:
        kind, *rest = get_args(kind)
        meta = tuple(rest)
    kind = _without_none(kind, data)
    inner = _struct_in(kind)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        yield from _struct_problems(data, kind, path)
    elif inner is None:
        yield from _plain_problems(data, Annotated[kind, *meta] if meta else kind, path)
    else:
        container: Any = list[Any] if get_origin(kind) is list else dict[str, Any]
        yield from _plain_problems(data, Annotated[container, *meta] if meta else container, path)
        if isinstance(data, list) and container == list[Any]:
            for index, item in enumerate(data):
                yield from _struct_problems(item, inner, (*path, index))
        elif isinstance(data, dict) and container != list[Any]:
            for name, item in data.items():
                yield from _struct_problems(item, inner, (*path, name))


def _without_none(kind: Any, data: Any) -> Any:
    """The struct class of `Struct | None`, where something stands; any other type as it is."""
    left = [one for one in get_args(kind) if one is not type(None)] if isinstance(kind, UnionType) else []
    is_struct = len(left) == 1 and isinstance(left[0], type) and issubclass(left[0], msgspec.Struct)
    return left[0] if is_struct and data is not None else kind


def _struct_in(kind: Any) -> type[msgspec.Struct] | None:
    """The struct class of which `kind` is a list or a dictionary."""
    last = get_args(kind)[-1:] if get_origin(kind) in (list, dict) else ()
    return next((one for one in last if isinstance(one, type) and issubclass(one, msgspec.Struct)), None)


def _plain_problems(data: Any, kind: Any, path: Path) -> _Found:
    try:
        msgspec.convert(data, kind)
    except msgspec.ValidationError as error:
        message, _, where = str(error).partition(" - at `$")
        steps = tuple(int(index) if index else name for name, index in re.findall(r"\.([^.\[\]`]+)|\[(\d+)\]", where))
        yield (*path, *steps), *in_plain_words(message, kind, steps)
