"""What is wrong with the type of a property, in the words of whoever writes YAML.

Takes what msgspec says ("Expected `bool | null`, got `str`") and the class that was read; gives a sentence and a hint.
msgspec speaks of Python's types and of regular expressions. Here a type is called what it is in the file, what a text
must look like is told by its description, and of a closed set of words the nearest is named.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from reconciler.errors import nearest

__all__ = ["in_plain_words", "properties_at"]

_WORDS = {
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "decimal": "a number",
    "str": "text",
    "object": "a mapping",
    "array": "a list",
    "null": "nothing",
}
_MEMBERS = {"array": "item", "object": "entry", "str": "character"}
_EXPECTED = re.compile(r"Expected `([^`]+)`(?:, got `([^`]+)`)?(.*)", re.DOTALL)
_LENGTH = re.compile(r" of length (>=|<=|==) ([0-9]+)")
_BOUND = re.compile(r" (>=|<=|>|<) (-?[0-9.]+)")
_ENUM = re.compile(r"Invalid (?:enum )?value (.+)", re.DOTALL)
_SIZES = {">=": "at least", "<=": "at most", "==": "exactly", ">": "more than", "<": "less than"}


def in_plain_words(message: str, kind: Any, path: Sequence[str | int]) -> tuple[str, str]:
    """(what is wrong, hint). `kind` is the class that was read, `path` leads from it to the value; both may be of no
    use, and then there is no hint. The message comes without its place.
    """
    of_value = list(_types_at(kind, path))
    found = _EXPECTED.match(message)
    if found is not None:
        types = [one.strip() for one in found[1].split("|")]
        wanted = list(dict.fromkeys(_WORDS.get(one, one) for one in types if one != "null")) or ["nothing"]
        sentence = f"expected {' or '.join(wanted)}{_size(types[0], found[3])}"
        if found[2]:
            sentence += f", and this is {_WORDS.get(found[2], found[2])}"
        return sentence, "" if _LENGTH.match(found[3]) else _description(of_value)
    enum = _ENUM.match(message)
    if enum is not None:
        given = enum[1].strip("'\"`")
        allowed = [str(word) for one in of_value for word in _allowed(one)]
        hint = nearest(given, allowed) or (f"one of {', '.join(allowed)}" if allowed else "")
        return f'"{given}" cannot stand here', hint
    return message[:1].lower() + message[1:].replace("`", ""), _description(of_value)


def properties_at(kind: Any, path: Sequence[str | int]) -> list[str]:
    """The properties that may stand in a mapping at the end of the path."""
    structs = [one for one in _types_at(kind, path) if isinstance(one, type) and issubclass(one, msgspec.Struct)]
    return [field.encode_name for one in structs for field in msgspec.structs.fields(one)]


def _size(kind: str, bound: str) -> str:
    length = _LENGTH.match(bound)
    if length is not None:
        member = _MEMBERS.get(kind, "item")
        plural = "" if length[2] == "1" else "s" if member != "entry" else ""
        member = "entries" if member == "entry" and length[2] != "1" else member + plural
        return f" of {_SIZES[length[1]]} {length[2]} {member}"
    size = _BOUND.match(bound)
    return f" of {_SIZES[size[1]]} {size[2]}" if size is not None else ""


def _types_at(kind: Any, path: Sequence[str | int]) -> Iterator[Any]:
    """The types that a value at the end of the path may have, taken apart down to those of single values."""
    origin = get_origin(kind)
    if origin in (Union, UnionType):
        for one in get_args(kind):
            yield from _types_at(one, path)
    elif origin is Annotated:
        yield from [kind] if not path else []
        yield from _types_at(get_args(kind)[0], path)
    elif not path:
        yield kind
        if origin in (list, dict):  # msgspec does not name the key of a mapping in which something is wrong
            yield from _types_at(get_args(kind)[-1], path)
    elif origin in (list, dict):
        yield from _types_at(get_args(kind)[-1], path[1:])
    elif isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        names = {field.encode_name: field.name for field in msgspec.structs.fields(kind)}
        if path[0] in names:
            yield from _types_at(get_type_hints(kind, include_extras=True)[names[str(path[0])]], path[1:])


def _description(types: Sequence[Any]) -> str:
    """What one of the types says of itself."""
    for one in types:
        for meta in getattr(one, "__metadata__", ()):
            if isinstance(meta, msgspec.Meta) and meta.description:
                return meta.description
    return ""


def _allowed(kind: Any) -> Sequence[Any]:
    if get_origin(kind) is Annotated:
        return _allowed(get_args(kind)[0])
    return get_args(kind) if get_origin(kind) is Literal else ()
