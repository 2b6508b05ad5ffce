"""What `reconcile deliver` did and what has not arrived, as text or JSON (documented in docs/effects.md).

Takes the delivery's Report; gives text that ends with a newline.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import msgspec

from reconciler.effects.delivery import Report
from reconciler.fields import format_timestamp
from reconciler.plan_json import encode_document
from reconciler.report import words
from reconciler.report.terminal import Ink

_FORMAT_VERSION = 1


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
    undelivered: list[dict[str, Any]]


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
        state = "waiting" if each.state == "pending" else "dead"
        why = f": {words.visible(each.error)}" if each.error else ""
        since = f"since {_minute(each.oldest_at)}"
        what = f"{each.number:,} {state} {since}  {each.kind} {words.visible(each.target)}{why}"
        yield ink.paint(what, "held" if state == "waiting" else "kill")
    if report.backlog.next_attempt_at is not None:
        yield f"The next attempt of a run is due {_minute(report.backlog.next_attempt_at)}."
    if report.backlog.dead:
        yield "The dead are tried again with --retry-dead."


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
        undelivered=[
            {
                "state": "waiting" if each.state == "pending" else "dead",
                "kind": each.kind,
                "target": each.target,
                "error": each.error,
                "number": each.number,
                "oldest_at": format_timestamp(each.oldest_at),
            }
            for each in report.undelivered
        ],
    )
    return encode_document(document).decode()
