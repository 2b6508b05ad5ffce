"""Single words of YAML for files that are written with comments, which no emitter writes.

Takes a text; gives it as it can stand anywhere in YAML, in quotes where it must have them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from reconciler.scalars import looks_like_yaml11_boolean

__all__ = ["comment", "flow", "word"]

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_NOT_TEXT = frozenset({"null", "true", "false"})


def word(text: str) -> str:
    """The text as a scalar that every reader of YAML takes for a text."""
    if _PLAIN.fullmatch(text) and text.lower() not in _NOT_TEXT and not looks_like_yaml11_boolean(text):
        return text
    return '"' + "".join(map(_escaped, text)) + '"'


def flow(texts: Iterable[str]) -> str:
    """The texts as a list on one line."""
    return f"[{', '.join(map(word, texts))}]"


def comment(text: str) -> str:
    """The text as it can stand in a comment: on one line."""
    return "".join(character if character.isprintable() else _escaped(character) for character in text)


def _escaped(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
