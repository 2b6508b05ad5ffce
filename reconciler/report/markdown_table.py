"""The tables of a report in Markdown: a change, or changes that are alike, in a line.

Takes changes and the Page; gives a Block. A line says which way it goes by a word and by a colour that shows on a light
page and on a dark one.
"""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.model import Action, Change, Missing
from reconciler.report import words
from reconciler.report.grouping import Group, apart, group
from reconciler.report.markdown_text import code, prose
from reconciler.report.page import Block, Page

MARKS = {
    "KILL": "🔴&nbsp;**kill**",
    "RESTORE": "🟢&nbsp;**restore**",
    "NEW": "🔵&nbsp;**new row**",
    "": "🔵&nbsp;change",
    "HELD": "🟡&nbsp;**held**",
    "KEPT": "🟠&nbsp;**kept**",
    "RELEASED": "⚪&nbsp;released",
}
"""For each word of a change. The colour and the word stay on one line, however narrow their column is."""

_VALUE = 80
_SHORT = 24
"""Characters of a change's two values that stay on one line together."""


def table(heading: str, changes: Sequence[Change], page: Page) -> Block:
    """The changes one by one, or in groups where there are many.

    A comment is some 100 characters wide, which is why places and keys have no columns of their own.
    """
    matched, named = apart(changes)
    asked = tuple(_group_line(each, page) for each in group(matched))
    if len(named) > page.long:
        head = "| | Rows | Field | Before&nbsp;→&nbsp;after | Why |\n|---|---|---|---|---|\n"
        return heading + head, (*asked, *(_group_line(each, page) for each in group(named)))
    head = "| | Row | Field | Before&nbsp;→&nbsp;after | Why |\n|---|---|---|---|---|\n"
    return heading + head, (*asked, *(_single_line(change, page) for change in named))


def _single_line(change: Change, page: Page) -> str:
    return _line(change, _row(change), _values(change), page.place(change.location), page)


def _line(change: Change, rows: str, values: str, place: str, page: Page) -> str:
    why = [change.reason or "", words.explanation(change), words.hold_sentence(change, page.now)]
    told = [prose(text) for text in why if text]
    told += [f"⚠️ {prose(one)}" for one in words.waivers(change)]
    told += [f"<sub>{place}</sub>"] if place else []
    return f"| {MARKS[words.word(change)]} | {rows} | {_field(change, page)} | {values} | {'<br>'.join(told)} |\n"


def _field(change: Change, page: Page) -> str:
    name = code(words.shorten(change.field, 64))
    is_told = (change.table, change.field) in page.titles
    return f"**{page.title(change)}**<br><sub>{name}</sub>" if is_told else name


def _group_line(each: Group, page: Page) -> str:
    where = f"<br>{prose(words.where(each.first))}" if each.first.match is not None else ""
    place = page.place(each.first.location)
    if len(each.changes) == 1:
        return _line(each.first, _row(each.first) + where, _values(each.first), place, page)
    names = list(dict.fromkeys(words.row_name(change) for change in each.changes[:50]))[:3]
    of_table = prose(words.shorten(each.first.table, 80))
    several = f"**{words.plural(len(each.changes), 'row')}** of {of_table}{where}"
    rows = f"{several}<br><sub>such as {prose(', '.join(names))}</sub>"
    values = _values(each.first) if each.same_values else "(various values)"
    return _line(each.first, rows, values, place if each.same_place or not place else f"first at {place}", page)


def _row(change: Change) -> str:
    where = f"{prose(words.shorten(change.table, 80))} {code(words.shorten(change.key, 100))}"
    return where if change.label is None else f"**{prose(words.row_name(change))}**<br><sub>{where}</sub>"


def _values(change: Change) -> str:
    if change.action is Action.KEEP:
        has, asked = words.literal_pair(change.before, change.desired, _VALUE)
        return f"{code(has)}<br>(git asks {code(asked)})"
    if change.action is Action.RELEASE:
        return code(words.shorten(words.literal(change.before), _VALUE))
    before, after = words.literal_pair(change.before, change.desired, _VALUE)
    arrow = "&nbsp;→&nbsp;" if len(before) + len(after) <= _SHORT else "&nbsp;→ "
    return f"{'(no&nbsp;row)' if isinstance(change.before, Missing) else code(before)}{arrow}{code(after)}"
