"""The sheet that a report in Markdown is written on: what its reader has at hand, and how much there is room for.

Takes blocks of lines; gives one text that is never longer than the page's limit. What is most important comes first and
is always whole; tables end early where they must, and say so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

import msgspec

from reconciler.model import Change, Location
from reconciler.report import words
from reconciler.report.grouping import LONG
from reconciler.report.markdown_text import address, code, link, prose

LIMIT = 65_000
"""Characters; GitHub takes 65,536 in a comment."""

Block = tuple[str, Sequence[str]]
"""A head that is written only if a line of it fits (a section's title and its table's head), and the lines."""


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """What surrounds a report.

    `now` is None for a text that is read at any time later: times are then told without how far off they are. `titles`
    say what people call a field, by table and name. `source_url` is where the files of the commit can be read, such as
    `https://github.com/OWNER/REPOSITORY/blob/COMMIT`: places become links. `whole` is Markdown that says where what did
    not fit can be found. Plans with more changes than `long` are told in groups.
    """

    now: datetime | None = None
    titles: Mapping[tuple[str, str], str] = {}
    source_url: str | None = None
    whole: str = "`--output json` has everything"
    limit_chars: int = LIMIT
    long: int = LONG

    def title(self, change: Change) -> str:
        """What people call the field, as Markdown: its title, or its name as code."""
        title = self.titles.get((change.table, change.field))
        return code(words.shorten(change.field, 60)) if title is None else prose(words.shorten(title, 60))

    def subject(self, change: Change) -> str:
        """`WhatsApp for Acme Bakery`, as Markdown: what the change is about, and whom."""
        if change.label is not None:
            return f"{self.title(change)} for {prose(words.row_name(change))}"
        row = prose(words.shorten(f"{change.table}/{change.key}", 60))
        is_told = (change.table, change.field) in self.titles
        return f"{self.title(change)} ({row})" if is_told else f"{self.title(change)} for {row}"

    def place(self, location: Location | None) -> str:
        """A place in a file, as a link where the files can be read somewhere; empty for none."""
        if location is None:
            return ""
        name = words.shorten(words.visible(location.file), 100)
        if self.source_url is None:
            return code(f"{name}:{location.line}:{location.column}")
        return link(code(f"{name}:{location.line}"), address(self.source_url, location))

    def moment(self, text: str) -> str:
        """A time, with how far off it is where that will be read now."""
        return words.moment(text, self.now)


def fit(headline: str, total: Iterable[str], blocks: Iterable[Block], footer: str, page: Page) -> str:
    """Headline, sum (paragraphs, empty ones left out) and footer, and as many lines of the blocks as there is room for.

    The sum is whole wherever the limit is a host's. Below that its last paragraphs are left out, and before these the
    headline and the footer; whatever is left out is counted.
    """
    room = page.limit_chars - len(page.whole) - _ROOM_TO_SAY_SO
    footer = footer if len(footer) <= room // 2 else ""
    top = f"{headline}\n\n" if len(headline) + len(footer) + 2 <= room else "### reconcile\n\n"
    room -= len(top) + len(footer)
    written, cut = [top], 0
    for paragraph in filter(None, total):
        text = f"{paragraph.rstrip()}\n\n"
        if len(text) > room:
            cut += 1
            continue
        room -= len(text)
        written.append(text)
    for head, lines in blocks:
        fitting = 0
        size = len(head) + 1
        while not cut and fitting < len(lines) and size + len(lines[fitting]) <= room:
            size += len(lines[fitting])
            fitting += 1
        cut += len(lines) - fitting
        if fitting:
            room -= size
            written.append(head + "".join(lines[:fitting]) + "\n")
    rest = f"**{words.plural(cut, 'more line')} did not fit here:** {page.whole}.\n\n" if cut else ""
    return "".join(written) + rest + footer


_ROOM_TO_SAY_SO = 60
"""Characters kept for the sentence that says what did not fit."""
