"""Verdicts in reports: is what was committed in effect, since when, and what exactly has not arrived?

Takes Verdicts; gives sentences, and the same for programs (documented in docs/effects.md). Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

import msgspec

from reconciler.fields import format_timestamp
from reconciler.outcome import Unseen, Verdict
from reconciler.proving.records import NotSeen
from reconciler.report import words

__all__ = [
    "NotSeenDocument",
    "UnseenDocument",
    "VerdictDocument",
    "headline",
    "in_effect",
    "not_seen_document",
    "not_seen_sentence",
    "seconds",
    "seen_how",
    "unseen_lines",
    "unseen_sentence",
    "verdict_documents",
]

_LISTED = 10
_SAID = 300
_TARGET = 80
_KINDS = {"row": "the row", "sql": "a query", "job": "the job"}


class UnseenDocument(msgspec.Struct, frozen=True):
    """One change that was not seen in effect, and what was seen instead."""

    key: str
    label: str | None
    said: str


class VerdictDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What was found of one proof. Times are in seconds from the commit; `after_s` is null where nothing was seen,
    `waited_s` where the run has not said, or was ended before it could.
    """

    table: str
    field: str
    kind: str
    target: str
    changes: int
    asked: int
    seen: int
    in_effect: bool
    after_s: float | None
    waited_s: float | None
    unseen: tuple[UnseenDocument, ...]


def verdict_documents(verdicts: Sequence[Verdict]) -> tuple[VerdictDocument, ...]:
    """The verdicts as they stand in JSON."""
    return tuple(
        VerdictDocument(
            table=verdict.table,
            field=verdict.field,
            kind=verdict.kind,
            target=verdict.target,
            changes=verdict.changes,
            asked=verdict.asked,
            seen=verdict.seen,
            in_effect=verdict.in_effect,
            after_s=None if verdict.after_s is None else round(verdict.after_s, 3),
            waited_s=None if verdict.waited_s is None else round(verdict.waited_s, 3),
            unseen=tuple(UnseenDocument(each.key, each.label, each.said) for each in verdict.unseen),
        )
        for verdict in verdicts
    )


def in_effect(verdicts: Sequence[Verdict]) -> bool | None:
    """Whether all that was asked was seen; None where nothing was asked, or the run has not said."""
    if not verdicts or any(verdict.waited_s is None for verdict in verdicts):
        return None
    return all(verdict.in_effect for verdict in verdicts)


def headline(verdicts: Sequence[Verdict]) -> str:
    """`In effect after 1.8 s: seen in the row.`, or `NOT IN EFFECT after 10 s: 1 of 3 not seen.`"""
    if in_effect(verdicts):
        after_s = max(verdict.after_s or 0.0 for verdict in verdicts)
        return f"In effect after {seconds(after_s)}: seen by {seen_how(verdicts)}."
    unseen = [verdict for verdict in verdicts if not verdict.in_effect]
    waited_s = max(verdict.waited_s or 0.0 for verdict in unseen)
    number, asked = sum(v.asked - v.seen for v in verdicts), sum(v.asked for v in verdicts)
    return f"NOT IN EFFECT after {seconds(waited_s)}: {number:,} of {asked:,} not seen (by {seen_how(unseen)})."


def seen_how(verdicts: Sequence[Verdict]) -> str:
    """`the row and GET https://...`; a sample is called one."""
    said: dict[str, None] = {}
    for verdict in verdicts:
        how = _KINDS.get(verdict.kind) or _target(verdict.target)
        if verdict.kind == "job":
            how = f"the job {_target(verdict.target)}"
        if verdict.asked < verdict.changes:
            how += f" (asked for {verdict.asked:,} of {verdict.changes:,} rows)"
        said[how] = None
    *most, last = said
    return f"{', '.join(most)} and {last}" if most else last


def unseen_lines(verdicts: Sequence[Verdict], most: int = _LISTED) -> Iterator[str]:
    """Exactly what has not arrived, at most so many lines, and how many more there are."""
    unseen = [(verdict, each) for verdict in verdicts for each in verdict.unseen]
    for verdict, each in unseen[:most]:
        yield unseen_sentence(verdict, each)
    if len(unseen) > most:
        yield f"and {len(unseen) - most:,} more: all with `--output json`, or `reconcile history --output json`"


def unseen_sentence(verdict: Verdict, each: Unseen) -> str:
    """`tenants/t-acme isWhatsappEnabled (Acme): https://... still answers 200, not 404`."""
    row = f"{words.shorten(words.visible(verdict.table), 80)}/{words.shorten(words.visible(each.key), 100)}"
    label = f" ({words.shorten(words.visible(each.label), 60)})" if each.label is not None else ""
    about = f" ({_target(verdict.target)})" if verdict.kind in ("sql", "job") else ""
    said = words.shorten(words.visible(each.said), _SAID)
    return f"{row}{label} {words.shorten(words.visible(verdict.field), 64)}: {said}{about}"


class NotSeenDocument(msgspec.Struct, frozen=True):
    """Changes of one run that are alike: committed, and not seen in effect when it ended. `key` is one of them."""

    table: str
    field: str
    kind: str
    target: str
    number: int
    key: str
    label: str | None
    said: str
    run: str
    at: str
    waited_s: float | None


def not_seen_document(each: NotSeen) -> NotSeenDocument:
    """The same for programs."""
    return NotSeenDocument(
        each.table,
        each.field,
        each.kind,
        each.target,
        each.number,
        each.key,
        each.label,
        each.said,
        each.run,
        format_timestamp(each.at),
        None if each.waited_ms is None else each.waited_ms / 1000,
    )


def not_seen_sentence(each: NotSeen, now: datetime) -> str:
    """`tenants/t-acme isWhatsappEnabled: ... (and 2 more), 10 s after run 1a2b3c4d, 5 min ago`."""
    verdict = Verdict(
        table=each.table, field=each.field, kind=each.kind, target=each.target, changes=0, asked=0, seen=0,
        after_s=None, waited_s=0,
    )  # fmt: skip
    said = unseen_sentence(verdict, Unseen(each.key, each.label, each.said))
    more = f" and {words.plural(each.number - 1, 'more row')}" if each.number > 1 else ""
    ago = words.ago(format_timestamp(each.at), now)
    waited = "of" if each.waited_ms is None else f"{seconds(each.waited_ms / 1000)} after"
    return f"{said}{more}; {waited} run {each.run[:8]}, {ago}"


def seconds(time_s: float) -> str:
    """`0.18 s`, `1.8 s`, `10 s`."""
    if time_s < 1:
        return f"{time_s:.2f} s"
    return f"{time_s:.1f} s" if time_s < 9.95 else f"{time_s:.0f} s"


def _target(target: str) -> str:
    return words.shorten(words.visible(target), _TARGET)
