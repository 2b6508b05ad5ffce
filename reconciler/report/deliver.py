"""What `reconcile deliver` did and what has not arrived, as text or JSON (documented in docs/effects.md).

Takes the delivery's Report; gives text that ends with a newline.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import msgspec

from reconciler.effects.backlog import Undelivered
from reconciler.effects.delivery import Report
from reconciler.fields import format_timestamp
from reconciler.plan_json import encode_document
from reconciler.report import words
from reconciler.report.terminal import Ink

_FORMAT_VERSION = 1


class UndeliveredDocument(msgspec.Struct, frozen=True):
    """Effects that have not arrived and are alike. `state` is `waiting` or `dead`."""

    state: str
    kind: str
    target: str
    error: str | None
    number: int
    oldest_at: str


class ReportDocument(msgspec.Struct, frozen=True):
    """The whole output. `undelivered` lists what has not arrived in groups that are alike, the dead first."""

    format_version: int
    delivered: int
    superseded: int
    revived: int
    failures: list[dict[str, Any]]
    waiting: int
    dead: int
    next_attempt_at: str | None
    undelivered: list[UndeliveredDocument]


def render(report: Report, *, colour: bool) -> str:
    """A line on what was done, and one for each group of what has not arrived."""
    ink = Ink(colour)
    return "\n".join(_lines(report, ink)) + "\n"


def _lines(report: Report, ink: Ink) -> Iterator[str]:
    done = report.delivered
    more = f", {done.superseded:,} superseded by later changes" if done.superseded else ""
    revived = f" ({report.revived:,} that had been given up were tried again)" if report.revived else ""
    if not (done.delivered or done.superseded or report.undelivered or revived):
        yield ink.paint("Nothing to deliver.", "strong")
        return
    yield ink.paint(f"Delivered {words.plural(done.delivered, 'effect')}{more}{revived}.", "strong")
    for each in report.undelivered:
        yield ink.paint(undelivered_sentence(each), "held" if each.state == "pending" else "kill")
    if report.backlog.next_attempt_at is not None:
        yield f"The next attempt of a run is due {_minute(report.backlog.next_attempt_at)}."
    if report.backlog.dead:
        yield "The dead are tried again with --retry-dead."


def undelivered_sentence(each: Undelivered) -> str:
    """`2 waiting since 2026-11-26 09:00 UTC  bullmq mail: connection refused`."""
    why = f": {words.visible(each.error)}" if each.error else ""
    about = f"{each.kind} {words.visible(each.target)}{why}"
    return f"{each.number:,} {_state(each)} since {_minute(each.oldest_at)}  {about}"


def undelivered_document(each: Undelivered) -> UndeliveredDocument:
    """The same for programs."""
    oldest = format_timestamp(each.oldest_at)
    return UndeliveredDocument(_state(each), each.kind, each.target, each.error, each.number, oldest)


def _state(each: Undelivered) -> str:
    return "waiting" if each.state == "pending" else "dead"


def _minute(time: datetime) -> str:
    return f"{format_timestamp(time)[:16].replace('T', ' ')} UTC"


def render_json(report: Report) -> str:
    """The same for programs."""
    next_attempt = report.backlog.next_attempt_at
    document = ReportDocument(
        format_version=_FORMAT_VERSION,
        delivered=report.delivered.delivered,
        superseded=report.delivered.superseded,
        revived=report.revived,
        failures=[msgspec.structs.asdict(failure) for failure in report.delivered.failures],
        waiting=report.backlog.waiting,
        dead=report.backlog.dead,
        next_attempt_at=None if next_attempt is None else format_timestamp(next_attempt),
        undelivered=list(map(undelivered_document, report.undelivered)),
    )
    return encode_document(document).decode()
