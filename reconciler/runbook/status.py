"""What is switched off right now, since when, by whom, why and until when; and what holds, drifts and waits.

Takes a connection, a Request and the Project it names; gives a Status. The plan in it is the one that a dry run makes,
so a status can never say otherwise than `reconcile --dry-run`; what is off comes from the live tables and the ledger
(`status_query`), whether git has an opinion about it or not.

The plan and the values are read in two transactions: a plan may wait for health checks, and no snapshot of the database
should be kept open while a server somewhere takes its time to answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec
from psycopg import Connection

from reconciler.canonical import equal
from reconciler.catalog import read_catalog
from reconciler.database.connection import DatabaseConnection
from reconciler.database.transaction import begin_read_only
from reconciler.effects.backlog import Undelivered, read_undelivered
from reconciler.fields import format_timestamp, seconds
from reconciler.fit import made_by_init, relation_of, relations_of
from reconciler.fleets import with_matching_rows
from reconciler.freezes import frozen_now
from reconciler.history.read import need_ledger
from reconciler.model import Action, Change, FieldKey, Finding, Json, Value
from reconciler.pipeline import Request, make_plan
from reconciler.plan import Plan, drift_of
from reconciler.project import Project
from reconciler.proving.records import NotSeen, read_not_seen
from reconciler.runbook.status_query import Cause, KilledValue, has_kill_side, read_killed
from reconciler.schema import Table

__all__ = ["Freeze", "Glass", "LastRun", "Off", "Status", "read_freezes", "read_last_run", "read_status"]


_GROUPS = 50
"""Kinds, targets and errors of effects that have not arrived."""


class Freeze(msgspec.Struct, frozen=True):
    """A freeze that is on. `called_by` and `since` are None for one of the policy's."""

    reason: str
    until: str | None
    since: str | None = None
    called_by: str | None = None


class LastRun(msgspec.Struct, frozen=True):
    """The last run that was applied from git. `partial` says which batch it was (`batch 3 of 10`), where others were to
    follow; None where it was the last one, or all of it.
    """

    id: str
    at: str
    commit: str
    author: str
    actor: str
    partial: str | None = None


class Glass(msgspec.Struct, frozen=True):
    """A value that a run ahead of git left so, of a dirty work tree or before a merge: by whom, why, since when."""

    change: Change
    broken_by: str
    since: str | None


class Off(msgspec.Struct, frozen=True, kw_only=True):
    """One value on its kill side. Times are RFC 3339 in UTC.

    `everybody`: its table has no tenant, so it counts for all of them. `since` is None where only the live value tells
    (`unseen`, or a field that has just got a kill side). `cause` is the change that did it, None for a hand. `asked`:
    git asks for exactly this, with `reason` and `until`; `file` and `line` are where git names the field, or did last.
    `earliest` is when the cooldown ends, None where none is running; `change` is what the plan says of the field, None
    where it is as git asks.
    """

    table: str
    key: str
    field: str
    title: str
    label: str | None
    value: Json
    everybody: bool
    managed: bool
    unseen: bool
    since: str | None
    by: str
    cause: Cause | None
    asked: bool
    reason: str | None
    until: str | None
    file: str | None
    line: int | None
    earliest: str | None
    change: Change | None


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """Everything on one screen. `off` holds at most as many per table as were asked for, global ones first.

    `known` counts what is off by table and field, listed or not; `unmanaged` what is off and was never put into git.
    `drifted` is the part of the plan that the database did, `waiting` what the next run would do. `undelivered` are
    effects of changes that were applied, and that have not arrived, in groups that are alike.
    `not_seen` are changes that were applied, and were not seen in effect when their run ended.
    """

    plan: Plan
    last: LastRun | None
    freezes: tuple[Freeze, ...]
    off: tuple[Off, ...]
    known: Mapping[tuple[str, str], int]
    unmanaged: Mapping[tuple[str, str], int]
    glass: tuple[Glass, ...]
    held: tuple[Change, ...]
    drifted: tuple[Change, ...]
    waiting: tuple[Change, ...]
    undelivered: tuple[Undelivered, ...] = ()
    not_seen: tuple[NotSeen, ...] = ()

    @property
    def total_off(self) -> int:
        """How many values are off, listed or not."""
        return sum(self.known.values())


def read_status(connection: DatabaseConnection, request: Request, project: Project, limit: int | None) -> Status:
    """The status of the request's scope. `limit`: how many killed values of each table are listed; None for all.

    Raises NotAsExpected where there is no ledger, and what a dry run raises.
    """
    with begin_read_only(connection, doing="looking for the ledger"):
        need_ledger(connection)
    plan = make_plan(connection, request, project)
    now = datetime.fromisoformat(plan.created_at)
    off: list[Off] = []
    known: dict[tuple[str, str], int] = {}
    unmanaged: dict[tuple[str, str], int] = {}
    changes = {change.sort_key(): change for change in plan.changes}
    with begin_read_only(connection, doing="reading what is switched off"):
        catalog = read_catalog(connection, relations_of(project.definitions))
        for table in _global_first(project):
            keys = _keys_in_scope(request, table)
            if keys == [] or not has_kill_side(table):
                continue
            left_out = made_by_init(project.definitions, table)
            relation = relation_of(catalog, table)
            found = read_killed(connection, table, relation, keys=keys, left_out=left_out, limit=limit)
            known |= {(table.name, field): number for field, number in found.known.items()}
            unmanaged |= {(table.name, field): number for field, number in found.unknown.items()}
            asking = with_matching_rows(
                connection, project, catalog, {table.name: [value.key for value in found.listed]}
            )
            off += [_off(table, value, asking, changes, now) for value in found.listed]
        freezes = tuple(read_freezes(connection, project, now))
        last = read_last_run(connection)
        broken = _broken_glass(connection)
        undelivered = tuple(read_undelivered(connection, _GROUPS))
        not_seen = tuple(read_not_seen(connection, _GROUPS))
    glass = {change.sort_key() for change in plan.changes if change.finding is Finding.BREAK_GLASS}
    drifted = tuple(c for c in drift_of(plan).changes if c.sort_key() not in glass and c.hold is None)
    moved = {change.sort_key() for change in drifted}
    return Status(
        plan=plan,
        last=last,
        freezes=freezes,
        off=tuple(off),
        known=known,
        unmanaged=unmanaged,
        glass=tuple(_glass(change, broken) for change in plan.changes if change.sort_key() in glass),
        held=tuple(change for change in plan.changes if change.action is Action.HOLD),
        drifted=drifted,
        waiting=tuple(
            change
            for change in plan.changes
            if change.action not in (Action.HOLD, Action.KEEP) and change.sort_key() not in moved
        ),
        undelivered=undelivered,
        not_seen=not_seen,
    )


def _global_first(project: Project) -> list[Table]:
    """Tables in order of name, those without a tenant before the others."""
    tables = project.definitions.tables.values()
    return sorted(tables, key=lambda table: (table.definition.audit.tenant is not None, table.name))


def _keys_in_scope(request: Request, table: Table) -> list[str] | None:
    """The rows of the table to look at: None for all, an empty list for none."""
    scope = request.scope
    if scope.rows:
        return [key for name, _, key in (row.partition("/") for row in scope.rows) if name == table.name]
    return None if not scope.tables or table.name in scope.tables else []


def _off(table: Table, value: KilledValue, project: Project, changes: Mapping[FieldKey, Change], now: datetime) -> Off:
    field = table.fields[value.field]
    row = project.desired.get(table.name, {}).get(value.key)
    wanted = row.values.get(value.field) if row is not None else None
    asking = wanted if wanted is not None and equal(wanted.data, value.value) else None
    cause = value.cause
    since = value.killed_at or (cause.at if cause is not None else None)
    earliest = None
    if value.killed_at is not None and field.restore is not None and field.restore.after is not None:
        ends = value.killed_at + timedelta(seconds=seconds(field.restore.after))
        # Rounded up to the second, as the guard does it.
        earliest = format_timestamp(ends.replace(microsecond=0) + timedelta(seconds=1)) if ends > now else None
    file, line = _place(wanted, cause)
    return Off(
        table=table.name,
        key=value.key,
        field=value.field,
        title=field.title or value.field,
        label=value.label,
        value=value.value,
        everybody=table.definition.audit.tenant is None,
        managed=value.managed,
        unseen=value.unseen,
        since=format_timestamp(since) if since is not None else None,
        by=value.killed_by or (f"commit {cause.commit[:12]} ({cause.author})" if cause else "nobody knows who"),
        cause=cause,
        asked=asking is not None,
        reason=_reason(asking, cause),
        until=asking.until if asking is not None else None,
        file=file,
        line=line,
        earliest=earliest,
        change=changes.get((table.name, value.key, value.field)),
    )


def _reason(asking: Value | None, cause: Cause | None) -> str | None:
    """Why it is off: what stands beside the value in git, else what its change said, else what the run said."""
    if asking is not None and asking.reason:
        return asking.reason
    return (cause.reason or cause.run_reason) if cause is not None else None


def _place(wanted: Value | None, cause: Cause | None) -> tuple[str | None, int | None]:
    """Where git names the field now or, where it does so no more, where it did."""
    if wanted is not None and wanted.location is not None:
        return wanted.location.file, wanted.location.line
    return (cause.file, cause.line) if cause is not None else (None, None)


def read_freezes(connection: Connection[Any], project: Project, now: datetime) -> Iterator[Freeze]:
    """The freezes that are on at this time: the policy's, then those that were called."""
    for frozen in frozen_now(project.definitions.policy.freezes, now):
        yield Freeze(frozen.name, format_timestamp(frozen.until) if frozen.until else None)
    called = connection.execute(
        """
        SELECT reason, until_at, from_at, actor FROM reconciler.freeze
         WHERE ended_at IS NULL AND from_at <= %(now)s AND until_at > %(now)s ORDER BY id
        """,
        {"now": now},
    )
    for reason, until, since, actor in called:
        yield Freeze(reason, format_timestamp(until), format_timestamp(since), actor)


def read_last_run(connection: Connection[Any]) -> LastRun | None:
    """The last run that was applied from git; None where there was none."""
    row = connection.execute(
        """
        SELECT id::text, at, commit_id, author_name, actor,
               CASE WHEN outcome = 'partial' THEN format('batch %s of %s', batch ->> 'number', batch ->> 'of') END
          FROM reconciler.run
         WHERE NOT holds ORDER BY sequence DESC LIMIT 1
        """
    ).fetchone()
    return LastRun(row[0], format_timestamp(row[1]), *row[2:]) if row is not None else None


def _broken_glass(connection: Connection[Any]) -> dict[FieldKey, tuple[str, str]]:
    """Who broke the glass over a field, and since when; few, and found by the index of what is open."""
    found = connection.execute(
        """
        SELECT table_name, key, field, glass, seen_at FROM reconciler.mark
         WHERE seen_at IS NOT NULL AND glass IS NOT NULL
        """
    )
    return {(table, key, field): (glass, format_timestamp(at)) for table, key, field, glass, at in found}


def _glass(change: Change, broken: Mapping[FieldKey, tuple[str, str]]) -> Glass:
    broken_by, since = broken.get(change.sort_key(), (change.explanation, None))
    return Glass(change, broken_by, since)
