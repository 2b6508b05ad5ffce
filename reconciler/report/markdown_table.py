"""The tables of a report in Markdown: a change, or changes that are alike, in a line.

Takes changes and the Page; gives a Block. A line says which way it goes by a word and by a colour that shows on a light
page and on a dark one.
"""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.model import Action, Change, Missing
from reconciler.report import words
from reconciler.report.grouping import Group, group
from reconciler.report.markdown_text import code, prose
from reconciler.report.page import Block, Page

MARKS = {
    "KILL": "🔴 **kill**",
    "RESTORE": "🟢 **restore**",
    "NEW": "🔵 **new row**",
    "": "🔵 change",
    "HELD": "🟡 **held**",
    "KEPT": "🟠 **kept**",
    "RELEASED": "⚪ released",
}

_VALUE = 80


def table(heading: str, changes: Sequence[Change], page: Page) -> Block:
    """The changes one by one, or in groups where there are many."""
    if len(changes) > page.long:
        head = "| | Rows | Field | Before → after | Why | First at |\n|---|---|---|---|---|---|\n"
        return heading + head, tuple(_group_line(each, page) for each in group(changes))
    head = "| | Row | Field | Before → after | Why | Where |\n|---|---|---|---|---|---|\n"
    return heading + head, tuple(_line(change, _row(change), _values(change), page) for change in changes)


def _line(change: Change, rows: str, values: str, page: Page) -> str:
    why = [change.reason or "", words.explanation(change), words.hold_sentence(change, page.now)]
    cells = (
        MARKS[words.word(change)],
        rows,
        _field(change, page),
        values,
        "<br>".join([*(prose(text) for text in why if text), *(f"⚠️ {prose(one)}" for one in words.waivers(change))]),
        page.place(change.location),
    )
    return f"| {' | '.join(cells)} |\n"


def _field(change: Change, page: Page) -> str:
    name = code(words.shorten(change.field, 64))
    return f"{page.title(change)}<br>{name}" if (change.table, change.field) in page.titles else name


def _group_line(each: Group, page: Page) -> str:
    if len(each.changes) == 1:
        return _line(each.first, _row(each.first), _values(each.first), page)
    names = list(dict.fromkeys(words.row_name(change) for change in each.changes[:50]))[:3]
    of_table = prose(words.shorten(each.first.table, 80))
    rows = f"**{words.plural(len(each.changes), 'row')}** of {of_table}<br>such as {prose(', '.join(names))}"
    return _line(each.first, rows, _values(each.first) if each.same_values else "(various values)", page)


def _row(change: Change) -> str:
    key = code(words.shorten(change.key, 100))
    label = f"**{prose(words.row_name(change))}**<br>" if change.label is not None else ""
    return f"{label}{prose(words.shorten(change.table, 80))} {key}"


def _values(change: Change) -> str:
    if change.action is Action.KEEP:
        has, asked = words.literal_pair(change.before, change.desired, _VALUE)
        return f"{code(has)} (git asks {code(asked)})"
    if change.action is Action.RELEASE:
        return code(words.shorten(words.literal(change.before), _VALUE))
    before, after = words.literal_pair(change.before, change.desired, _VALUE)
    return f"{'(no row)' if isinstance(change.before, Missing) else code(before)} → {code(after)}"
