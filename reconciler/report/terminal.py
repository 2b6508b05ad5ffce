"""Lines for a terminal: colours, how wide text is when shown, and pieces packed into lines.

Takes text that is visible already (`words.visible`); gives text with ANSI codes, or without. By hand, because what
flips one switch has no time to import a rendering library.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import msgspec

NARROWEST = 20
"""Columns below which nothing is laid out: the terminal wraps what is left."""

_CODES = {
    "kill": "1;31",
    "restore": "1;32",
    "held": "1;33",
    "kept": "1;35",
    "strong": "1",
    "faint": "2",
    "place": "36",
}


class Piece(msgspec.Struct, frozen=True):
    """Text with the style that it is shown in, and whether lines may break at its spaces."""

    text: str
    style: str = ""
    breaks: bool = False


class Ink:
    """Puts colours on text, or none."""

    def __init__(self, colour: bool) -> None:
        self._colour = colour

    def paint(self, text: str, style: str) -> str:
        """The text in a style of this module; as it is where there are no colours."""
        return f"\x1b[{_CODES[style]}m{text}\x1b[0m" if self._colour and style and text else text


def shown_width(text: str) -> int:
    """Columns that visible text takes: two for East Asian wide characters, none for combining marks."""
    if text.isascii():
        return len(text)
    return sum(_column_count(character) for character in text)


def _column_count(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1


def padded(text: str, width: int) -> str:
    """The text with spaces after it up to a width in columns."""
    return text + " " * (width - shown_width(text))


def pack(pieces: Sequence[Piece], ink: Ink, width: int, indent: int) -> list[str]:
    """Pieces, two spaces apart, in as few lines as hold them; a piece that may break starts a line when it must.

    A piece that may not break (a place in a file, to be clicked or copied) is never cut: where it is too wide it has
    a line of its own.
    """
    room = max(width, NARROWEST) - indent
    lines: list[str] = []
    line, taken = "", 0
    for piece in pieces:
        for part in _parts(piece, room):
            wide = shown_width(part)
            if taken and taken + 2 + wide > room:
                lines.append(line)
                line, taken = "", 0
            line += ("  " if taken else "") + ink.paint(part, piece.style)
            taken += (2 if taken else 0) + wide
            if part != piece.text:
                lines.append(line)
                line, taken = "", 0
    if taken:
        lines.append(line)
    return [" " * indent + each for each in lines]


def _parts(piece: Piece, room: int) -> list[str]:
    if not piece.breaks or shown_width(piece.text) <= room:
        return [piece.text] if piece.text else []
    parts = [""]
    for token in piece.text.split(" "):
        if parts[-1] and shown_width(parts[-1]) + 1 + shown_width(token) > room:
            parts.append("")
        parts[-1] += (" " if parts[-1] else "") + token
    return parts
