"""The rows of a file as blocks of bytes, so that those which are the same in two versions are never read.

Takes a file of state; gives its RowBlocks, or None where it is not of the simplest form (`plain_rows`): then all of it
is read by other means. A block is a line that holds nothing but the key, and all lines up to the next such line. What
stands below a key is read once, however many rows have the same: most rows of a fleet look like many others.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from itertools import accumulate
from operator import methodcaller

from reconciler.plain_rows import PlainFields, PlainRows, read_plain_rows
from reconciler.syntax import check_text

__all__ = ["Bodies", "RowBlocks"]

_HEADER = re.compile(rb"(?:[ ]*\n|[ ]*#[^\n]*\n)*")
_BETWEEN = re.compile(rb"\n(?=[A-Za-z0-9_])")
_KEYS = re.compile(rb"(?:[A-Za-z0-9_][A-Za-z0-9_.-]{0,255}+\n)+")
_KEY = "key:\n"

_MOST_BODIES = 20_000
"""So many different bodies are remembered, some 20 MB; a fleet whose rows are all different gains nothing by more."""


class Bodies:
    """What stands below the keys of rows, read once for all rows that have the same there."""

    def __init__(self) -> None:
        self._read: dict[bytes, PlainFields] = {}

    def fields(self, body: bytes) -> PlainFields | None:
        """The fields, their lines counted from the key's, which is 1; None where a parser must read them."""
        fields = self._read.get(body)
        if fields is None:
            rows = read_plain_rows(_KEY + body.decode())
            if rows is None:
                return None
            if len(self._read) >= _MOST_BODIES:
                self._read.clear()
            fields = self._read[body] = rows["key"][1]
        return fields

    def are_plain(self, bodies: Iterable[bytes]) -> bool:
        """Whether all of them can be read here."""
        return all(self.fields(body) is not None for body in set(bodies).difference(self._read))


class RowBlocks:
    """The blocks of one file: `bodies` by key, without their last line feed, in the file's order. No two have the same
    key.
    """

    def __init__(self, path: str, lines: int, bodies: dict[bytes, bytes]) -> None:
        self.path = path
        self.bodies = bodies
        self._lines = lines

    @classmethod
    def of(cls, path: str, data: bytes) -> RowBlocks | None:
        """The file's blocks; None where it has other things above them, or two of one key.

        Whether they are rows is only known once `Bodies.are_plain` has been asked of each: in a text in quotes, a line
        may look like a key and be none, and what begins with other characters than a key belongs to the block above it.
        """
        readable = check_text(path, data, [])
        if readable is None or len(readable) != len(data) or data[-1:] != b"\n":  # a byte order mark counts as a change
            return None
        header = _HEADER.match(data)
        assert header is not None  # it matches nothing, too
        if header[0] and read_plain_rows(header[0].decode() + _KEY + "  field: value") is None:
            return None
        if header.end() == len(data):
            return cls(path, header[0].count(b"\n"), {})
        blocks = [block.partition(b":\n") for block in _BETWEEN.split(data[header.end() : -1])]
        bodies = {key: body for key, _, body in blocks}
        if len(bodies) != len(blocks) or not all(bodies.values()) or not _KEYS.fullmatch(b"\n".join([*bodies, b""])):
            return None
        return cls(path, header[0].count(b"\n"), bodies)

    def named(self, keys: Iterable[str]) -> set[bytes]:
        """Those of the keys that are here, as they stand in the file."""
        return self.bodies.keys() & {key.encode() for key in keys}

    def fields(self, keys: Collection[bytes], bodies: Bodies) -> dict[str, Collection[str]]:
        """The names of the fields of those of the rows that are here; rows with the same body share them."""
        return {key.decode(): bodies.fields(self.bodies[key]) or () for key in keys if key in self.bodies}

    def rows(self, keys: Collection[bytes], bodies: Bodies) -> PlainRows:
        """Those of the rows that are here, as `read_plain_rows` gives them of the whole file."""
        rows: PlainRows = {}
        feeds = accumulate(map(methodcaller("count", b"\n"), self.bodies.values()), initial=self._lines + 1)
        for above, ((key, body), feeds_above) in enumerate(zip(self.bodies.items(), feeds, strict=False)):
            if key not in keys:
                continue
            line = feeds_above + 2 * above  # each block has two lines more than its body has line feeds
            fields = bodies.fields(body)
            assert fields is not None, "are_plain was not asked"
            rows[key.decode()] = (
                line,
                {name: (column, text, line + below - 1, at) for name, (column, text, below, at) in fields.items()},
            )
        return rows
