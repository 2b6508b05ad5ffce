"""A Timeline for a terminal, to be read from top to bottom like a story, and for programs.

Takes a Timeline and what people call the fields; gives text or JSON (documented in docs/history.md). Between two steps
stands how long it took from one to the other, and at the end how long everything was off.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from reconciler.canonical import to_text
from reconciler.history.read import HistoryEntry
from reconciler.history.timeline import HandKill, HeldRuns, OffTime, Step, Timeline
from reconciler.plan_json import encode_document
from reconciler.report import words
from reconciler.report.history import (
    FORMAT_VERSION,
    INDENT,
    ChangeDocument,
    change_document,
    change_lines,
    head_lines,
    more_lines,
    second,
)
from reconciler.report.terminal import Ink, Piece, pack

__all__ = ["render_timeline", "render_timeline_json"]

_ALIKE = 3
"""Rows that were off from one and the same time to another which are named one by one; more are counted."""


def render_timeline(timeline: Timeline, titles: Mapping[tuple[str, str], str], *, colour: bool, width: int) -> str:
    """The steps, oldest first. `width` is in columns."""
    ink = Ink(colour)
    if not timeline.steps:
        return "No such change: the ledger has nothing that matches.\n"
    lines: list[str] = []
    before: datetime | None = None
    for step in timeline.steps:
        at = datetime.fromisoformat(step.at)
        if before is not None and at - before >= timedelta(seconds=1):
            lines.append(ink.paint(f"{' ' * (INDENT // 2)}… {words.duration(at - before)} later", "faint"))
        lines += _step_lines(step, ink, width)
        before = datetime.fromisoformat(step.until) if isinstance(step, HeldRuns) else at
    off = [line for sentence in _off_sentences(timeline.off, titles) for line in pack([sentence], ink, width, 0)]
    lines += ["", *off] if off else []
    return "\n".join([*lines, *more_lines(timeline.more, "change", "changes")]) + "\n"


def _step_lines(step: Step, ink: Ink, width: int) -> list[str]:
    if isinstance(step, HistoryEntry):
        return change_lines(step, ink, width)
    if isinstance(step, HandKill):
        label = [Piece(words.shorten(words.visible(step.label), 60), "strong")] if step.label is not None else []
        row = f"{words.shorten(words.visible(step.table), 80)}/{words.shorten(words.visible(step.key), 100)}"
        field = Piece(words.shorten(words.visible(step.field), 64), "strong")
        head = [Piece(second(step.at)), *label, Piece(row), field, Piece("KILL", "kill")]
        said = Piece("by hand, or by the application; first seen by a run at this time", breaks=True)
        return [*head_lines(head, ink, width), *pack([said], ink, width, INDENT)]
    held = f"{words.plural(step.most, 'change')} held back"
    if step.runs > 1:
        held = f"up to {held} by each of {step.runs:,} runs, the last at {second(step.until)}"
    lines = head_lines([Piece(second(step.at)), Piece(held), Piece("HELD", "held")], ink, width)
    reason = words.visible((step.reason or "").strip())
    return [*lines, *pack([Piece(f'"{reason}"', breaks=True)], ink, width, INDENT)] if reason else lines


def _off_sentences(off: Sequence[OffTime], titles: Mapping[tuple[str, str], str]) -> Iterator[Piece]:
    """`WhatsApp of Acme Bakery was off for 1 d 2 h`; rows that share it are one sentence."""
    alike: dict[tuple[str, str, str, str, str | None], list[OffTime]] = {}
    for each in off:
        alike.setdefault((each.table, each.field, to_text(each.value), each.since, each.until), []).append(each)
    for rows in alike.values():
        groups = [rows] if len(rows) > _ALIKE else [[row] for row in rows]
        for group in groups:
            yield Piece(_off_sentence(group, titles), "kill" if group[0].until is None else "restore", breaks=True)


def _off_sentence(rows: Sequence[OffTime], titles: Mapping[tuple[str, str], str]) -> str:
    first = rows[0]
    what = words.visible(titles.get((first.table, first.field), first.field))
    who = f"({words.shorten(words.visible(f'{first.table}/{first.key}'), 100)})"
    if len(rows) > 1:
        who = f"of {len(rows):,} rows of {words.visible(first.table)}"
    elif first.label is not None:
        who = f"of {words.shorten(words.visible(first.label), 60)}"
    is_switch = first.value is None or isinstance(first.value, bool)
    state = "off" if is_switch else f"at {words.shorten(words.literal(first.value), 60)}"
    length = words.duration(timedelta(seconds=first.seconds))
    if first.until is None:
        return f"{what} {who} is {state} since {second(first.since)}, for {length}"
    return f"{what} {who} was {state} for {length}"


class HandKillDocument(msgspec.Struct, frozen=True, tag="killed_by_hand", tag_field="kind"):
    """A kill that nobody made through git, when a run first saw it."""

    at: str
    table: str
    key: str
    field: str
    label: str | None


class HeldDocument(msgspec.Struct, frozen=True, tag="held", tag_field="kind"):
    """Runs, one after the other, that held something back."""

    at: str
    until: str
    runs: int
    most: int
    reason: str | None


class ChangeStepDocument(msgspec.Struct, frozen=True, tag="change", tag_field="kind"):
    """A change, as `reconcile history --output json` has it."""

    at: str
    change: ChangeDocument


class OffDocument(msgspec.Struct, frozen=True):
    """How long a field was on its kill side; `until` is null while it still is."""

    table: str
    key: str
    field: str
    title: str | None
    label: str | None
    value: Any
    since: str
    until: str | None
    seconds: int


class TimelineDocument(msgspec.Struct, frozen=True):
    """The output of `reconcile history --timeline --output json`."""

    format_version: int
    more: int
    now: str
    steps: tuple[ChangeStepDocument | HandKillDocument | HeldDocument, ...]
    off: tuple[OffDocument, ...]


def render_timeline_json(timeline: Timeline, titles: Mapping[tuple[str, str], str]) -> str:
    """The steps and the times as JSON."""
    off = tuple(
        OffDocument(
            each.table,
            each.key,
            each.field,
            titles.get((each.table, each.field)),
            each.label,
            each.value,
            each.since,
            each.until,
            each.seconds,
        )
        for each in timeline.off
    )
    steps = tuple(map(_step_document, timeline.steps))
    return encode_document(TimelineDocument(FORMAT_VERSION, timeline.more, timeline.now, steps, off)).decode()


def _step_document(step: Step) -> ChangeStepDocument | HandKillDocument | HeldDocument:
    if isinstance(step, HistoryEntry):
        return ChangeStepDocument(step.at, change_document(step))
    if isinstance(step, HandKill):
        return HandKillDocument(step.at, step.table, step.key, step.field, step.label)
    return HeldDocument(step.at, step.until, step.runs, step.most, step.reason)
