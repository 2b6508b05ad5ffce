"""Rows as most files hold them, `key:` and below it `field: value` in plain words, read without a YAML parser.

Takes the text of a file; gives its PlainRows, or None where there is anything in it that is not of this simplest form:
then a parser reads it. Nothing is judged here, and no Problem is ever reported.

It is here because a parser's events cost a microsecond each, a row of five fields is thirteen of them, and the nodes of
a tree cost as much again: of files that this reader takes, a hundred thousand rows are read in a third of the time.
That `tree` of what it gives is what the parser makes of the file is a property that the tests look after.

The form: spaces and line feeds only; comments and empty lines anywhere; keys of letters, digits, "_", "." and "-";
values of those and "/", "+" and ":", on the line of their key; no key twice; no row without a field.
"""

from __future__ import annotations

import re

from reconciler.nodes import Mapping, Node, Scalar

__all__ = ["PlainFields", "PlainRows", "read_plain_rows", "tree"]

PlainFields = dict[str, tuple[int, str, int, int]]
"""Name to: column of the name, text of the value, its line, its column."""

PlainRows = dict[str, tuple[int, PlainFields]]
"""Key to: its line, its fields. Keys of rows stand in column 1; both count from 1."""

_LINE = re.compile(
    r"""
    ^(?:
        ([ ]*+) ([A-Za-z0-9_][A-Za-z0-9_.-]{0,255}+) :                    # the indent, and a key
        (?: ([ ]++) (-?[A-Za-z0-9_./+][A-Za-z0-9_./+:-]*+ (?<!:)) )?       # the gap, and a value
        (?: [ ]*+ | [ ]+\#.* )
      | [ ]*+ (?: \#.* )?
    )$
    """,
    re.MULTILINE | re.VERBOSE,
)


def read_plain_rows(text: str) -> PlainRows | None:
    """The rows; None where a parser must read the text, which holds no control characters but LF, CR and tab."""
    lines = _LINE.findall(text)
    if "\r" in text or len(lines) != text.count("\n") + 1:
        return None
    rows: PlainRows = {}
    fields: PlainFields = {}
    shared: dict[str, str] = {}  # names return in every row: one object of each
    width = number = 0
    for indent, key, gap, value in lines:
        number += 1
        if not key:
            continue
        if value:
            column = len(indent) + 1
            if not fields:
                if not rows or column == 1:
                    return None
                width = column
            elif column != width or key in fields:
                return None
            fields[shared.setdefault(key, key)] = (column, value, number, column + len(key) + 1 + len(gap))
        elif indent or key in rows or (rows and not fields):
            return None
        else:
            fields = {}
            rows[key] = (number, fields)
    return rows if fields else None


def tree(rows: PlainRows) -> Mapping:
    """The same as the nodes that a parser's reader would make of it."""
    below: dict[str, Node] = {}
    for key, (_, fields) in rows.items():
        first_column, _, first_line, _ = next(iter(fields.values()))
        values: dict[str, Node] = {
            name: Scalar(text, True, line, column) for name, (_, text, line, column) in fields.items()
        }
        places = {name: (line, column) for name, (column, _, line, _) in fields.items()}
        below[key] = Mapping(values, places, first_line, first_column)
    return Mapping(below, {key: (line, 1) for key, (line, _) in rows.items()}, next(iter(rows.values()))[0], 1)
