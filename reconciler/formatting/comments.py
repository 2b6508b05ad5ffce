"""The comments of a YAML file: where they stand, and which of them nobody has printed yet.

Takes a text with its Spans; gives Comments, which a printer asks for those before a place, or behind one on its line.
What begins with `#` inside of a scalar is none. Each is given once, so that none is lost and none is doubled.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator

import msgspec

from reconciler.editing.spans import FileSpans, Span

__all__ = ["Comment", "Comments", "scalars"]

_COMMENT = re.compile(r"(?:(?<=[ \t\r\n,\[\]{}])|\A)#[^\r\n]*")
_BREAK = re.compile(r"\r\n|\r|\n")
_BEHIND = re.compile(r"[ \t,]*")


class Comment(msgspec.Struct, frozen=True):
    """One comment: its place, and its text from the `#` on, without spaces at its end."""

    start: int
    end: int
    text: str


class Comments:
    """All comments of a text that spans were read of with every row, in their order."""

    def __init__(self, text: str, spans: FileSpans) -> None:
        self._text = text
        self._lines = [0, *(found.end() for found in _BREAK.finditer(text))]
        self.all = list(_found(text, spans))
        self._starts = [comment.start for comment in self.all]
        self._given = [False] * len(self.all)
        self.replaced: list[str] = []

    def line(self, position: int) -> int:
        """The number of the line, from 0."""
        return bisect_right(self._lines, position) - 1

    def column(self, position: int) -> int:
        """Characters before the position in its line."""
        return position - self._lines[self.line(position)]

    def is_first_on_its_line(self, position: int) -> bool:
        """Whether only spaces stand before it."""
        return not self._text[self._lines[self.line(position)] : position].strip(" \t")

    def has_blank_line_above(self, position: int) -> bool:
        """Whether the line above is empty; the first line has none above."""
        line = self.line(position)
        return (
            line > 0
            and self.is_first_on_its_line(position)
            and not self._text[self._lines[line - 1] : self._lines[line]].strip()
        )

    def take(self, start: int, stop: int) -> list[Comment]:
        """Those between two places that have not been given."""
        return [self._give(at) for at in self._between(start, stop)]

    def take_deeper(self, start: int, stop: int, column: int) -> list[Comment]:
        """The first ones between two places as long as each has a line of its own and stands right of the column."""
        found: list[Comment] = []
        for at in self._between(start, stop):
            place = self._starts[at]
            if not self.is_first_on_its_line(place) or self.column(place) <= column:
                break
            found.append(self._give(at))
        return found

    def take_behind(self, position: int) -> tuple[str, Comment] | None:
        """The one behind a place on its line, where nothing but spaces and commas stands between; with that gap."""
        at = bisect_left(self._starts, position)
        if at == len(self.all) or self._given[at] or self.line(self._starts[at]) != self.line(position):
            return None
        gap = self._text[position : self._starts[at]]
        return (gap, self._give(at)) if _BEHIND.fullmatch(gap) else None

    def take_on_line(self, position: int, stop: int) -> tuple[str, Comment] | None:
        """The one on the line of a place, before another place, whatever stands between; with the gap before it."""
        at = next(self._between(position, stop), None)
        if at is None or self.line(self._starts[at]) != self.line(position):
            return None
        before = self._text[position : self._starts[at]]
        return before[len(before.rstrip(" \t")) :], self._give(at)

    def _between(self, start: int, stop: int) -> Iterator[int]:
        for at in range(bisect_left(self._starts, start), bisect_left(self._starts, stop)):
            if not self._given[at]:
                yield at

    def _give(self, at: int) -> Comment:
        self._given[at] = True
        return self.all[at]


def scalars(span: Span) -> Iterator[tuple[int, int, Span | None]]:
    """Where text stands that is read as a value, in its order: scalars with their Span, keys and aliases without."""
    if span.kind in ("scalar", "alias"):
        yield span.body, span.end, span if span.kind == "scalar" else None
    for entry in span.entries:
        yield entry.key_start, entry.key_end, None
        yield from scalars(entry.value)
    for item in span.items:
        yield from scalars(item)


def _found(text: str, spans: FileSpans) -> Iterator[Comment]:
    at = 0
    places = [(start, end) for start, end, _ in scalars(spans.root) if end > start] if spans.root is not None else []
    for start, end in [*places, (len(text), len(text))]:
        for found in _COMMENT.finditer(text, at, start):
            yield Comment(found.start(), found.end(), found[0].rstrip())
        at = end
