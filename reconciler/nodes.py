"""What a YAML file is made of once it has been read: scalars, mappings and sequences that know their place.

Takes and gives nothing; `documents` makes these, `scalars`, `desired` and `schema` read them. They stand apart so that
those who only look at a tree need no YAML parser.

Nobody changes a node. They are not declared frozen, and are not tracked by the garbage collector (a tree has no
cycles), because a million of them are made in one run. A row of five fields costs about 1,700 bytes.
"""

from __future__ import annotations

import msgspec

__all__ = ["Document", "Mapping", "Node", "Scalar", "Sequence"]


class Scalar(msgspec.Struct, gc=False):
    """A single value as it stands in the file: `plain` is False for quoted and block text, `tag` is short (``!!str``).

    Lines and columns count from 1, columns in characters. What an alias stands for is the same object as what it
    names, and has the place of that.
    """

    text: str
    plain: bool
    line: int
    column: int
    tag: str | None = None


class Mapping(msgspec.Struct, gc=False):
    """Keys in the order of the file, with the node and the (line, column) of each."""

    items: dict[str, Node]
    keys: dict[str, tuple[int, int]]
    line: int
    column: int


class Sequence(msgspec.Struct, gc=False):
    """A list, in the order of the file."""

    items: list[Node]
    line: int
    column: int


Node = Scalar | Mapping | Sequence


class Document(msgspec.Struct):
    """A file that could be read. `root` is None where it holds nothing, or only comments."""

    path: str
    root: Node | None
