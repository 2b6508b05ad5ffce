"""What a scalar is: null, a truth value, a number or text, by the core rules of YAML 1.2.

Takes nodes, gives canonical values (`model.Json`). It is here, apart from reading and from the
schemas, because both state files and schema files follow the same rules, and because they differ from what PyYAML does
(YAML 1.1): ``no``, ``off``, ``on`` and ``yes`` are text, ``0123`` is the number 123 and dates are text.

Numbers are exact: integers are `int`, others `decimal.Decimal`, never `float`. What no JSON value and no column can
hold (infinity, not-a-number, numbers of absurd size) raises `NotStorable`, a ValueError that knows its place.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated

import msgspec

from reconciler.model import Json
from reconciler.nodes import Mapping, Node, Scalar

__all__ = ["MAX_DIGITS", "Duration", "NotStorable", "looks_like_yaml11_boolean", "resolve", "seconds", "to_json"]

Duration = Annotated[str, msgspec.Meta(pattern=r"^[1-9][0-9]*(s|m|h|d)$", description="a duration: 90s, 30m, 24h, 7d")]
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds(duration: str) -> int:
    """The length of a `Duration` in seconds."""
    return int(duration[:-1]) * _SECONDS[duration[-1]]


MAX_DIGITS = 1_000
"""Numbers with more digits than this, before or after the point, are refused: they are a slip or an attack."""

_BOOLEANS = {word: value for value in (True, False) for word in (str(value), str(value).lower(), str(value).upper())}
_NULLS = dict.fromkeys(("", "~", "null", "Null", "NULL"))
_WORDS: dict[str, bool | None] = {**_BOOLEANS, **_NULLS}
_NUMBER_STARTS = frozenset("+-.0123456789")
_INTEGER = re.compile(r"[-+]?[0-9]+")
_BASED_INTEGER = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_DECIMAL = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE]([-+]?[0-9]+))?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_YAML_11_BOOLEANS = frozenset(("y", "n", "yes", "no", "on", "off"))


class NotStorable(ValueError):
    """The scalar `node` stands for nothing that can be stored. `str()` is a sentence without the place."""

    def __init__(self, node: Scalar, message: str) -> None:
        super().__init__(message)
        self.node = node


def resolve(node: Scalar) -> Json:
    """The value of a scalar: None, bool, int, Decimal or str. Raises NotStorable."""
    if node.tag is not None:
        return _resolve_tagged(node, node.tag)
    text = node.text
    if not node.plain:
        return text
    if text in _WORDS:
        return _WORDS[text]
    if text[0] in _NUMBER_STARTS:
        number = _number(node)
        return text if number is None else number
    return text


def to_json(node: Node) -> Json:
    """The value of a whole tree, as json and array fields hold it. Raises NotStorable for a scalar that has none.

    Recursion is safe: `read_document` bounds the depth, and the size after aliases.
    """
    if isinstance(node, Scalar):
        return resolve(node)
    if isinstance(node, Mapping):
        return {key: to_json(item) for key, item in node.items.items()}
    return [to_json(item) for item in node.items]


def looks_like_yaml11_boolean(text: str) -> bool:
    """Whether older YAML took this text for a truth value, in any case: then a hint to write true or false helps."""
    return text.lower() in _YAML_11_BOOLEANS


def _resolve_tagged(node: Scalar, tag: str) -> Json:
    """The value of a scalar whose tag says what it must be, quoted or not."""
    text = node.text
    if tag == "!!str":
        return text
    if tag == "!!bool" and text in _BOOLEANS:
        return _BOOLEANS[text]
    if tag == "!!null" and text in _NULLS:
        return None
    if tag in ("!!int", "!!float"):
        number = _number(node)
        if tag == "!!float" and number is not None:
            return Decimal(number)
        if isinstance(number, int):
            return number
    raise NotStorable(node, f'"{text}" has the tag {tag} and is none; correct it, or remove the tag')


def _number(node: Scalar) -> int | Decimal | None:
    """The number that the text spells, None where it spells none."""
    text = node.text
    if len(text) > MAX_DIGITS and (_DECIMAL.fullmatch(text) or _BASED_INTEGER.fullmatch(text)):
        raise NotStorable(node, f"a number of {len(text):,} characters is too long; put it in quotes if text is meant")
    if _INTEGER.fullmatch(text):
        return int(text)
    if _BASED_INTEGER.fullmatch(text):
        return int(text, 0)
    match = _DECIMAL.fullmatch(text)
    if match:
        exponent = match[1]
        if exponent and (len(exponent) > len(str(MAX_DIGITS)) + 1 or abs(int(exponent)) > MAX_DIGITS):
            raise NotStorable(node, f'the exponent of "{text}" is too large; put it in quotes if text is meant')
        return Decimal(text)
    if _NOT_FINITE.fullmatch(text):
        raise NotStorable(node, f'"{text}" is not a number that can be stored; put it in quotes if text is meant')
    return None
