"""A Status as Markdown: for a chat, a wiki page, or a job's summary every morning.

Takes a Status; gives GitHub's Markdown. No text from YAML or the database can leave its cell (`markdown_text`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from reconciler.model import Change
from reconciler.report import words
from reconciler.report.deliver import undelivered_sentence
from reconciler.report.markdown_text import code, prose
from reconciler.report.proof import not_seen_sentence
from reconciler.report.status import (
    ahead_of,
    freeze_sentence,
    off_head,
    off_word,
    place_of,
    rest_of,
    shown_off,
    since_sentence,
    who_did,
)
from reconciler.runbook.status import Off, Status

__all__ = ["render_status"]

_VALUE = 60


def render_status(status: Status, *, limit: int) -> str:
    """The status as tables, at most `limit` lines each."""
    return "\n".join(_lines(status, datetime.fromisoformat(status.plan.created_at), limit)) + "\n"


def _lines(status: Status, now: datetime, limit: int) -> Iterator[str]:
    yield f"### {prose(off_head(status))}"
    yield ""
    yield f"<sub>{prose(words.visible(status.plan.database))}, {now:%Y-%m-%d %H:%M} UTC{_applied(status, now)}</sub>"
    yield ""
    for freeze in status.freezes:
        yield f"🧊 **Frozen** {prose(freeze_sentence(freeze, now))}"
        yield ""
    listed = shown_off(status, limit)
    if listed:
        yield "| What | Value | Since | Why | Back |"
        yield "|---|---|---|---|---|"
        for off in listed:
            yield _off_line(off, now)
        yield from _more(status.total_off - len(listed))
        yield ""
    for sentence in rest_of(status):
        yield prose(sentence)
        yield ""
    shown = {(off.table, off.key, off.field) for off in listed}
    for title, changes in (
        ("Held by a guard", status.held),
        ("Ahead of git, which has not answered", tuple(each.change for each in status.glass)),
        ("Changed behind git's back", status.drifted),
        ("Waiting for the next run", status.waiting),
    ):
        yield from _section(title, [c for c in changes if c.sort_key() not in shown], now, limit)
    for each in status.undelivered[:limit]:
        yield f"- ⏳ {prose(undelivered_sentence(each))}"
    yield from _more(len(status.undelivered) - limit)
    for not_seen in status.not_seen[:limit]:
        yield f"- ⚠️ Not in effect: {prose(not_seen_sentence(not_seen, now))}"
    yield from _more(len(status.not_seen) - limit)
    if status.undelivered or status.not_seen:
        yield ""
    for refusal in status.plan.refusals:
        yield f"⛔ An apply would be refused: {prose(words.shorten(refusal, 300))}"
        yield ""
    for notice in status.plan.notices[:limit]:
        yield f"- {prose(notice.message)}"
    yield from _more(len(status.plan.notices) - limit)


def _applied(status: Status, now: datetime) -> str:
    if status.last is None:
        return " · nothing was applied yet"
    by = prose(words.shorten(words.visible(status.last.actor), 60))
    partial = f" ({prose(status.last.partial)}: the others are still to come)" if status.last.partial else ""
    return f" · last applied: {code(status.last.commit[:7])}, {words.ago(status.last.at, now)} by {by}{partial}"


def _off_line(off: Off, now: datetime) -> str:
    row = code(f"{words.shorten(off.table, 80)}/{words.shorten(off.key, 100)}")
    who = "**everybody**" if off.everybody else f"**{prose(words.shorten(off.label, 60))}**" if off.label else ""
    why = [prose(off.reason or ""), prose(who_did(off)), code(place_of(off)) if off.file else ""]
    back = [prose(f"meant until {words.moment(off.until, now)}") if off.until else "", prose(ahead_of(off, now))]
    cells = (
        _cell(f"{who} {prose(words.shorten(off.title, 64))}".strip(), f"{row} {code(words.shorten(off.field, 64))}"),
        code(off_word(off)),
        prose(since_sentence(off, now)),
        _cell(*why),
        _cell(*back),
    )
    return f"| {' | '.join(cells)} |"


def _section(title: str, changes: Sequence[Change], now: datetime, limit: int) -> Iterator[str]:
    if not changes:
        return
    yield f"#### {title} ({len(changes):,})"
    yield ""
    yield "| Row | Field | Value | Why |"
    yield "|---|---|---|---|"
    for change in changes[:limit]:
        row = code(f"{words.shorten(change.table, 80)}/{words.shorten(change.key, 100)}")
        label = f"**{prose(words.row_name(change))}**" if change.label is not None else ""
        why = (change.reason or "", words.explanation(change), words.hold_sentence(change, now))
        cells = (
            _cell(label, row),
            code(words.shorten(change.field, 64)),
            code(words.transition(change, _VALUE)),
            _cell(*map(prose, why)),
        )
        yield f"| {' | '.join(cells)} |"
    yield from _more(len(changes) - limit)
    yield ""


def _cell(*parts: str) -> str:
    return "<br>".join(filter(None, parts))


def _more(number: int) -> Iterator[str]:
    if number > 0:
        yield ""
        yield f"and {number:,} more: `--output json`"
