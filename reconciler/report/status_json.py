"""A Status for programs: JSON, documented in docs/status.md and versioned. Nothing is left out of it.

Takes a Status; gives JSON text that ends with a newline.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from reconciler.model import Missing
from reconciler.plan_json import ChangeDocument, NoticeDocument, change_document, encode_document, notice_document
from reconciler.report.deliver import UndeliveredDocument, undelivered_document
from reconciler.report.proof import NotSeenDocument, not_seen_document
from reconciler.runbook.status import Freeze, LastRun, Off, Status
from reconciler.runbook.status_query import Cause

__all__ = ["FORMAT_VERSION", "render_status"]

FORMAT_VERSION = 1


class CauseDocument(msgspec.Struct, frozen=True, kw_only=True):
    """The change that switched it off; `before` is left out where the row did not exist."""

    before: Any | UnsetType = UNSET
    run: str
    commit: str
    author: str
    author_email: str
    actor: str
    run_url: str | None
    pull_request: int | None
    dirty: bool
    ahead: bool


class OffDocument(msgspec.Struct, frozen=True, kw_only=True):
    """One value on its kill side. `cause` is null where a hand did it."""

    table: str
    key: str
    field: str
    title: str
    label: str | None
    value: Any
    everybody: bool
    managed: bool
    seen: bool
    since: str | None
    by: str
    reason: str | None
    asked: bool
    until: str | None
    file: str | None
    line: int | None
    earliest: str | None
    cause: CauseDocument | None
    change: ChangeDocument | None


class CountDocument(msgspec.Struct, frozen=True):
    """How many values of a field are off."""

    table: str
    field: str
    values: int


class GlassDocument(msgspec.Struct, frozen=True):
    """A value that a run ahead of git left so."""

    broken_by: str
    since: str | None
    change: ChangeDocument


class StatusDocument(msgspec.Struct, frozen=True, kw_only=True):
    """The output of `reconcile status --output json`."""

    format_version: int
    at: str
    database: str
    commit: str | None
    dirty: bool
    last: LastRun | None
    freezes: tuple[Freeze, ...]
    total_off: int
    off: tuple[OffDocument, ...]
    counts: tuple[CountDocument, ...]
    unmanaged: tuple[CountDocument, ...]
    held: tuple[ChangeDocument, ...]
    drifted: tuple[ChangeDocument, ...]
    waiting: tuple[ChangeDocument, ...]
    broken_glass: tuple[GlassDocument, ...]
    undelivered: tuple[UndeliveredDocument, ...]
    not_seen: tuple[NotSeenDocument, ...]
    refusals: tuple[str, ...]
    notices: tuple[NoticeDocument, ...]


def render_status(status: Status) -> str:
    """All of it."""
    plan = status.plan
    document = StatusDocument(
        format_version=FORMAT_VERSION,
        at=plan.created_at,
        database=plan.database,
        commit=plan.revision.commit if plan.revision is not None else None,
        dirty=plan.revision is None or plan.revision.dirty,
        last=status.last,
        freezes=status.freezes,
        total_off=status.total_off,
        off=tuple(map(_off_document, status.off)),
        counts=tuple(CountDocument(*key, number) for key, number in status.known.items()),
        unmanaged=tuple(CountDocument(*key, number) for key, number in status.unmanaged.items()),
        held=tuple(map(change_document, status.held)),
        drifted=tuple(map(change_document, status.drifted)),
        waiting=tuple(map(change_document, status.waiting)),
        broken_glass=tuple(
            GlassDocument(each.broken_by, each.since, change_document(each.change)) for each in status.glass
        ),
        undelivered=tuple(map(undelivered_document, status.undelivered)),
        not_seen=tuple(map(not_seen_document, status.not_seen)),
        refusals=plan.refusals,
        notices=tuple(map(notice_document, plan.notices)),
    )
    return encode_document(document).decode()


def _off_document(off: Off) -> OffDocument:
    return OffDocument(
        table=off.table,
        key=off.key,
        field=off.field,
        title=off.title,
        label=off.label,
        value=off.value,
        everybody=off.everybody,
        managed=off.managed,
        seen=not off.unseen,
        since=off.since,
        by=off.by,
        reason=off.reason,
        asked=off.asked,
        until=off.until,
        file=off.file,
        line=off.line,
        earliest=off.earliest,
        cause=_cause_document(off.cause) if off.cause is not None else None,
        change=change_document(off.change) if off.change is not None else None,
    )


def _cause_document(cause: Cause) -> CauseDocument:
    return CauseDocument(
        before=UNSET if isinstance(cause.before, Missing) else cause.before,
        run=cause.run,
        commit=cause.commit,
        author=cause.author,
        author_email=cause.author_email,
        actor=cause.actor,
        run_url=cause.run_url,
        pull_request=cause.pull_request,
        dirty=cause.dirty,
        ahead=cause.ahead,
    )
