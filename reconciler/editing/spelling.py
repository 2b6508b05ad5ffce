"""A value on one line of YAML, in the style that stood there before.

Takes nodes (those of a file, or `state_yaml.node_of` a value) and says how they are written where they are put: in a
block, or between the brackets of a flow collection. Whether a spelling means what it should is never argued: it is read
back, and the next one is tried.
"""

from __future__ import annotations

import re
from typing import Any

from yaml.nodes import ScalarNode
from yaml.resolver import Resolver

from reconciler.documents import read_document
from reconciler.errors import Failed, Problem
from reconciler.nodes import Mapping, Node, Scalar
from reconciler.scalars import NotStorable, resolve
from reconciler.state_yaml import _is_only_text as is_only_text

__all__ = ["is_same_scalar", "spell", "spell_key", "spell_literal"]

_YAML_11 = Resolver()
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def spell(node: Node, *, in_flow: bool, old: Scalar | None = None, old_style: str = "") -> str:
    """The node on one line; collections in flow style. `old` is the scalar that it replaces, if it replaces one."""
    if isinstance(node, Scalar):
        return _scalar(node, in_flow, old, old_style)
    if isinstance(node, Mapping):
        pairs = (f"{spell_key(key, in_flow=True)}: {spell(item, in_flow=True)}" for key, item in node.items.items())
        return "{" + ", ".join(pairs) + "}"
    return "[" + ", ".join(spell(item, in_flow=True) for item in node.items) + "]"


def spell_key(key: str, *, in_flow: bool) -> str:
    """A key: without quotes where nobody could take it for anything but text."""
    if is_only_text(key) and _reads_back(key, f"{{{key}: 1}}" if in_flow else f"{key}: 1", is_key=True):
        return key
    return _double_quoted(key)


def spell_literal(text: str, indent: str, newline: str) -> tuple[str, str] | None:
    """Text of several lines as a block: its header (``|``, ``|-``) and its lines. None where it needs quotes."""
    lines = text.removesuffix("\n").split("\n")
    fits = "\n" in text and lines[0][:1] not in ("", " ") and lines[-1].strip() and not text.endswith("\n\n")
    if not fits or not all(line.isprintable() for line in lines):
        return None
    body = newline.join(indent + line if line else "" for line in lines)
    return "|" if text.endswith("\n") else "|-", body


def is_same_scalar(one: Scalar, other: Scalar) -> bool:
    """Whether two scalars mean the same, however they are written."""
    if (one.text, one.plain, one.tag) == (other.text, other.plain, other.tag):
        return True
    try:
        values = resolve(one), resolve(other)
    except NotStorable:
        return False
    return type(values[0]) is type(values[1]) and values[0] == values[1]


def _scalar(node: Scalar, in_flow: bool, old: Scalar | None, old_style: str) -> str:
    for text in _candidates(node, old, old_style):
        if _reads_back(node, f"{{k: {text}}}" if in_flow else f"k: {text}", is_key=False):
            return text
    raise Failed(f'"{node.text}" cannot be written in YAML')


def _candidates(node: Scalar, old: Scalar | None, old_style: str) -> list[str]:
    """Ways to write a scalar, the best first."""
    text = node.text
    if node.tag is not None:
        return [f"{node.tag} {_double_quoted(text)}"]
    if node.plain:
        same_case = [text.title(), text.upper()] if old is not None and text in ("true", "false", "null") else []
        matching = [word for word in same_case if old is not None and old.plain and _case(old.text) == _case(word)]
        return [*matching, text or "null", _double_quoted(text)]
    single = ["'" + text.replace("'", "''") + "'"] if text.isprintable() else []
    if old_style == "'":
        return [*single, _double_quoted(text)]
    is_plain = is_only_text(text)
    if old is not None and old.plain and not is_plain and text and text.isprintable():
        # Who writes a date without quotes goes on doing so.
        is_plain = _tag_in_yaml11(text) == _tag_in_yaml11(old.text)
    return [*([text] if is_plain and old_style != '"' else []), _double_quoted(text)]


def _tag_in_yaml11(text: str) -> str:
    """What a YAML 1.1 reader (an editor, a linter) takes the text for where it stands without quotes."""
    resolve_as_yaml11: Any = _YAML_11.resolve
    return str(resolve_as_yaml11(ScalarNode, text, (True, False)))


def _case(word: str) -> str:
    if word.lower() not in ("true", "false", "null"):
        return ""
    return "upper" if word.isupper() else "title" if word.istitle() else "lower"


def _double_quoted(text: str) -> str:
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _reads_back(wanted: Scalar | str, line: str, *, is_key: bool) -> bool:
    """Whether a line of YAML with one key and one value has the key, or the value, that is wanted."""
    if re.search(r"[\r\n]", line):
        return False
    problems: list[Problem] = []
    document = read_document("", line.encode(), problems)
    root = document.root if document is not None and not problems else None
    if not isinstance(root, Mapping) or len(root.items) != 1:
        return False
    ((key, value),) = root.items.items()
    if is_key or isinstance(wanted, str):
        return key == wanted
    return isinstance(value, Scalar) and is_same_scalar(value, wanted)
