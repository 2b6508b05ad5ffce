"""Where our reading meets the YAML parser: which bytes it is shown, and what its complaints mean.

Takes a file's bytes, or an error of a parser; gives bytes that every parser reads alike, or a Problem in plain words.
It is here so that `documents` can put events into trees and know of no encoding and no parser's phrases.

Characters that are invisible, or a line break to some readers only, are refused before any parser sees them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from reconciler.errors import Problem
from reconciler.model import Location
from reconciler.yaml_events import EventParser, MarkedYAMLError

__all__ = [
    "DEFAULT_EVENTS",
    "MAX_FILE_BYTES",
    "Events",
    "check_text",
    "explain_syntax_error",
]

MAX_FILE_BYTES = 64 * 1024 * 1024
"""Larger files are not looked at. This much is some 400,000 rows of five fields, and 900 MB while they are read."""


class Events(Protocol):
    """A parser, of one file: gives PyYAML's objects one by one and raises MarkedYAMLError."""

    def get_event(self) -> Any:
        """The next event."""


DEFAULT_EVENTS: Callable[[bytes], Events] = EventParser
"""libyaml, or what takes its place. It must be shown only what passed `check_text`."""


# Which bytes a parser is shown -------------------------------------------------------------------------------------

_ORDINARY = bytes([*range(0x20, 0x7F), 0x09, 0x0A, 0x0D])
# Compiled where a file has other than ordinary bytes: most have none.
_REFUSED = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]"
_LINE_BREAK = re.compile(r"\r\n|\r|\n")


def check_text(path: str, data: bytes, problems: list[Problem]) -> bytes | None:
    """The bytes without a byte order mark; None, and a Problem, where they are not text that parsers read alike."""
    if len(data) > MAX_FILE_BYTES:
        message = f"the file has {len(data):,} bytes; at most {MAX_FILE_BYTES:,} are read"
        problems.append(Problem(message, Location(path, 1, 1), "split it: the files of a table add up"))
        return None
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        problems.append(Problem("the file is in UTF-16", Location(path, 1, 1), "save it as UTF-8"))
        return None
    data = data.removeprefix(b"\xef\xbb\xbf")
    unusual = data.translate(None, _ORDINARY)
    if not unusual:
        return data
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        place = _place(path, data[: error.start].decode())
        message = f"the byte 0x{data[error.start]:02x} (at offset {error.start:,}) is not UTF-8"
        problems.append(Problem(message, place, "save the file as UTF-8"))
        return None
    # Without the ordinary bytes there is little left to search, and what is left is UTF-8 still.
    if re.search(_REFUSED, unusual.decode()):
        position = next(re.finditer(_REFUSED, text)).start()
        code = ord(text[position])
        hint = (
            "is this a binary file, or UTF-16?" if code == 0 else f'in double quotes it can be written "\\u{code:04x}"'
        )
        place = _place(path, text[:position])
        problems.append(Problem(f"the invisible character U+{code:04X} cannot stand in a file", place, hint))
        return None
    return data


def _place(path: str, before: str) -> Location:
    """Where the character stands that comes after `before`."""
    breaks = list(_LINE_BREAK.finditer(before))
    column = len(before) - (breaks[-1].end() if breaks else 0)
    return Location(path, len(breaks) + 1, column + 1)


# What an error means ------------------------------------------------------------------------------------------------


class _Meaning(NamedTuple):
    """`pattern` is looked for in "context: problem". `at_start`: the place is where the construct began."""

    pattern: str  # compiled when an error is met: most runs meet none
    message: str
    hint: str
    at_start: bool = False


_TAB_MESSAGE = "a tab stands where only spaces may"
_TAB_HINT = "indent with spaces; inside double quotes a tab can be written \\t"
_QUOTE_TEXT = "put it in quotes if it is text"
_MEANINGS = (
    _Meaning("quoted scalar: found unexpected end", "the quote that opens here is never closed", "close it", True),
    _Meaning(
        "quoted scalar: found unexpected document",
        'the quote that opens here is not closed before a line of "---" or "..."',
        "close it, or indent that line",
        True,
    ),
    _Meaning(
        "quoted scalar: .*(escape|hexdecimal)",
        "a backslash in the text quoted here begins no escape",
        r"in double quotes write \\ for a backslash, or use single quotes",
        True,
    ),
    _Meaning("could not find expected ':'", 'a ":" is missing after this', 'a line is "key: value", or "- item"', True),
    _Meaning(
        "mapping values are not allowed|unexpected ':'",
        'a ":" is not allowed here',
        'quote a value that holds ": ", and begin keys of one level in the same column',
    ),
    _Meaning(
        "block mapping: (did not find expected key|expected <block end>)",
        "a key of the mapping above, or its end, was expected here",
        'keys of one level begin in the same column, and each has its ":"',
    ),
    _Meaning(
        "block (collection|sequence): (did not find expected '-'|expected <block end>)",
        'the next "- " of the list above, or its end, was expected here',
        'the "-" of one list stand in the same column',
    ),
    _Meaning(
        "flow sequence: ",
        'a "," or "]" is missing here',
        "in [ ] items are separated by commas; quote text that holds [ ] { } or ,",
    ),
    _Meaning(
        "flow mapping: ",
        'a "," or "}" is missing here',
        "in { } pairs are separated by commas; quote text that holds [ ] { } or ,",
    ),
    _Meaning("sequence entries are not allowed", 'a "- " is not allowed here', "begin the list on a line of its own"),
    _Meaning("nesting depth", "this is nested far too deep", "no value needs that"),
    _Meaning("mapping keys are not allowed", 'a "? " is not allowed here', _QUOTE_TEXT),
    _Meaning("scanning an (anchor|alias)", 'a name must follow the "&" or "*"', _QUOTE_TEXT),
    _Meaning("node content", "a value was expected here", 'write one, or "null"'),
    _Meaning(
        "<document start>",
        "the document has ended, yet text follows",
        'a file holds one document: begin no line with "..."',
    ),
    _Meaning("directive|incompatible YAML", "this is no directive that can be read", "remove the line", True),
    _Meaning(
        "(scanning|parsing) a tag|tag handle",
        "this is no tag that can be read",
        "remove it, or " + _QUOTE_TEXT,
        True,
    ),
    _Meaning(
        "block scalar",
        'what follows "|" or ">" cannot be read',
        "only a sign, one digit (1 to 9) or a comment may stand on that line",
    ),
)


def explain_syntax_error(path: str, data: bytes, error: MarkedYAMLError) -> Problem:
    """The parser's error as a Problem: a sentence of ours where its phrase is known, else the phrase itself."""
    at = error.problem_mark or error.context_mark
    text = data.decode()
    if at is None or at.index >= len(text):  # which the parsers say of the line after the last
        place = _place(path, text.rstrip(" \t\r\n"))
    else:
        place = Location(path, at.line + 1, at.column + 1)
    phrase = f"{error.context or 'reading'}: {error.problem}"
    character = "" if at is None else text[at.index : at.index + 1]
    if "found a tab" in phrase or ("cannot start any token" in phrase and character == "\t"):
        return Problem(_TAB_MESSAGE, place, _TAB_HINT)
    if "cannot start any token" in phrase:
        return Problem(f'no value can begin with "{character}"', place, _QUOTE_TEXT)
    for meaning in _MEANINGS:
        if re.search(meaning.pattern, phrase):
            start = error.context_mark
            if meaning.at_start and start is not None:
                place = Location(path, start.line + 1, start.column + 1)
            return Problem(meaning.message, place, meaning.hint)
    return Problem(f"this is not YAML ({phrase})", place)
