"""The text of one file, and how pieces of it are cut out, put in and moved without touching a byte beside them.

Takes the text with its Spans; gives Replacements, which `splice` carries out together. It knows lines and brackets, and
nothing of what a row or a reason is: that is `rewrite`'s.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence

import msgspec

from reconciler.editing.spans import Entry, FileSpans, Span
from reconciler.errors import Failed

__all__ = ["Made", "Replacement", "Sheet", "splice"]

_BREAK = re.compile(r"\r\n|\r|\n")
_BREAK_AT_END = re.compile(r"(?:\r\n|\r|\n)\Z")
_REST_OF_LINE = re.compile(r"[ \t]*(,?)[ \t]*(#[^\r\n]*)?(?=[\r\n])")
_COMMA = re.compile(r"[ \t\r\n]*,[ \t]*")
_BLANK_LINE = re.compile(r"[ \t]*(\r\n|\r|\n)")


class Replacement(msgspec.Struct, frozen=True):
    """`text` for what stands from `start` to `end`.

    `moves`: what is cut out here is put in elsewhere. `listed`: it is put in with the commas that its neighbours need,
    and they would not be the same with another beside it. `last`: of what is put in at one place, it comes last.
    """

    start: int
    end: int
    text: str
    moves: bool = False
    listed: bool = False
    last: bool = False


class Made:
    """Replacements that go together, in the order of the text."""

    def __init__(self) -> None:
        self.all: list[Replacement] = []

    def add(self, found: Sequence[Replacement]) -> bool:
        """Add them all, or, where one of them and another speak of the same characters, none; whether they were."""
        for number, one in enumerate(found):
            at = bisect_right(self.all, _order(one), key=_order)
            before, after = self.all[at - 1 : at] if at else [], self.all[at : at + 1]
            if any(_collide(other, one) for other in before) or any(_collide(one, other) for other in after):
                for added in found[:number]:
                    self.all.remove(added)
                return False
            self.all.insert(at, one)
        return True


def _order(one: Replacement) -> tuple[int, int, bool]:
    return one.start, one.end, one.last


def _collide(one: Replacement, other: Replacement) -> bool:
    """Whether `other`, which comes after, begins too early."""
    return other.start < one.end or (other.start == one.end and one.listed and (other.listed or other.last))


def splice(sheet: Sheet, replacements: Sequence[Replacement]) -> str:
    """The text after all of them; what is inserted at one place comes in the order in which it was given.

    A text without a line break at its end gets none, unless its end is cut out: the line break before that may belong
    to a value. A block (`|`) that was its end, and is not any more, keeps its value: it must then say that no line
    break belongs to it.
    """
    text, chomping = sheet.text, sheet.spans.chomping
    made = list(replacements)
    if chomping and any(one.start == one.end == len(text) for one in made) and not _touches(made, chomping[0]):
        made.append(Replacement(*chomping, "-"))
    pieces: list[str] = []
    at = 0
    for one in sorted(made, key=_order):
        pieces += [text[at : one.start], one.text]
        at = one.end
    result = "".join([*pieces, text[at:]])
    is_cut = any(one.start < one.end == len(text) and not one.text for one in made)
    if sheet.ends_in_line_break or not made or is_cut:
        return result
    last = _BREAK_AT_END.search(result)
    return result[: last.start()] if last else result


def _touches(replacements: Iterable[Replacement], position: int) -> bool:
    return any(one.start <= position <= one.end and one.start < one.end for one in replacements)


class Sheet:
    """A file's text, and the entries of its rows. `newline` is what its first line ends with, `step` how much deeper
    than a row its fields stand.
    """

    def __init__(self, text: str, spans: FileSpans) -> None:
        self.text = text
        self.spans = spans
        first = _BREAK.search(text)
        self.newline = first[0] if first else "\n"
        self.ends_in_line_break = self.begins_line(len(text))
        self.step = 2
        root = spans.root
        self.rows = {entry.key: entry for entry in root.entries} if root is not None else {}
        if root is not None and root.is_block and root.entries:
            row = root.entries[0].value
            if row.is_block and row.entries:
                self.step = max(1, self.column(row.body) - self.column(root.body))

    # Lines

    def line_start(self, position: int) -> int:
        """Where the line of a position begins; the place between \\r and \\n is still of the line that they end."""
        text = self.text
        end = position - 1 if text[max(0, position - 1) : position + 1] == "\r\n" else position
        return max(text.rfind("\n", 0, end), text.rfind("\r", 0, end)) + 1

    def next_line(self, position: int) -> int:
        """Where the line after the position's begins; the end of the text where there is none."""
        found = _BREAK.search(self.text, position)
        return found.end() if found else len(self.text)

    def column(self, position: int) -> int:
        """Characters before the position in its line."""
        return position - self.line_start(position)

    def begins_line(self, position: int) -> bool:
        """Whether the text before the position ends in a line break, or is empty."""
        return position == 0 or self.text[position - 1] in "\r\n"

    def lines_at(self, position: int, lines: Sequence[str], *, last: bool = False) -> Replacement:
        """New lines before the line that begins there; at the end of a text without a last line break, after it."""
        body = self.newline.join(lines)
        text = body + self.newline if self.begins_line(position) else self.newline + body
        return Replacement(position, position, text, last=last)

    def lines_below(self, position: int, lines: Sequence[str]) -> Replacement:
        """New lines below the one that the position is in (or has just ended)."""
        return self.lines_at(position if self.begins_line(position) else self.next_line(position), lines)

    def without_lines(self, start: int, last: int) -> Replacement:
        """The lines from that of `start` to that of `last` (or that has just ended there), cut out whole."""
        end = last if self.begins_line(last) else self.next_line(last)
        return Replacement(self.line_start(start), end, "")

    def piece(self, start: int, end: int) -> str:
        """Text that is put in elsewhere, with lines below it: see `splice` on a block at the end of the text."""
        text, chomping = self.text, self.spans.chomping
        if chomping is None or not start <= chomping[0] <= end:
            return text[start:end]
        return text[start : chomping[0]] + "-" + text[chomping[1] : end]

    # Entries of a block mapping

    def out_of_block(self, span: Span, entry: Entry) -> Replacement:
        """The entry's lines cut out, with the comments between and behind them, and none of those above."""
        before = self.text[self.line_start(entry.key_start) : entry.key_start].strip(" ")
        index = span.entries.index(entry)
        if before in ("", "?"):
            return self.without_lines(entry.key_start, entry.after)
        if index + 1 == len(span.entries):
            raise Failed("it does not begin on a line of its own")
        return Replacement(entry.key_start, span.entries[index + 1].key_start, "")

    def row_out_of_block(self, span: Span, entry: Entry) -> Replacement:
        """As `out_of_block`, and one of the blank lines that would otherwise meet."""
        cut = self.out_of_block(span, entry)
        above = self.line_start(cut.start - 1) if cut.start else 0
        if not cut.start or not _BLANK_LINE.fullmatch(self.text, above, cut.start):
            return cut
        if cut.end == len(self.text):
            return Replacement(above, cut.end, "")
        below = _BLANK_LINE.match(self.text, cut.end)
        return Replacement(cut.start, below.end(), "") if below else cut

    # Entries of a flow mapping

    def out_of_flow(self, span: Span, first: int, last: int) -> Replacement:
        """The entries cut out with a comma, and with their lines where they have their own."""
        start = span.entries[first].key_start
        end = span.entries[last].end
        if _REST_OF_LINE.match(self.text, end) and self._is_first_on_its_line(span, span.entries[first]):
            return Replacement(self.line_start(start), self.next_line(end), "")
        comma = _COMMA.match(self.text, end)
        if comma:
            return Replacement(start, comma.end(), "")
        before = span.entries[first - 1].end if first else start
        if before == start or "#" in self.text[before:start]:
            return Replacement(start, end, "", listed=True)
        return Replacement(before, end, "")

    def into_flow(self, span: Span, after: Entry | None, pairs: Sequence[str]) -> list[Replacement]:
        """Pairs behind an entry; None is the opening bracket of an empty mapping."""
        if after is None:
            return [Replacement(span.body + 1, span.body + 1, ", ".join(pairs), listed=True)]
        end = after.end
        rest = _REST_OF_LINE.match(self.text, end)
        if rest is None or not self._is_first_on_its_line(span, after):
            space = " " if self.text[end - 1] == ":" else ""
            return [Replacement(end, end, space + ", " + ", ".join(pairs), listed=True)]
        indent = self.text[self.line_start(after.key_start) : after.key_start]
        lines = [f"{indent}{pair}," for pair in pairs[:-1]] + [f"{indent}{pairs[-1]}{rest[1]}"]
        comma = [] if rest[1] else [Replacement(end, end, ",", listed=True)]
        return [*comma, self.lines_below(end, lines)]

    def _is_first_on_its_line(self, span: Span, entry: Entry) -> bool:
        begin = self.line_start(entry.key_start)
        return begin > span.body and not self.text[begin : entry.key_start].strip(" \t")
