"""The ledger: is it there and of this program's version, and what does it say of runs, freezes and effects?

Takes a connection and a Project; gives Findings.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import msgspec
from psycopg import Connection

from reconciler.catalog import read_catalog
from reconciler.database.connection import DatabaseConnection
from reconciler.database.transaction import begin_read_only
from reconciler.doctor.findings import Finding, Purpose, counted, note, ok, warning, wrong
from reconciler.effects.backlog import read_backlog, read_undelivered
from reconciler.errors import NotAsExpected, ReconcileError, Stale
from reconciler.ledger import Head, read_head
from reconciler.ledger_schema import VERSION
from reconciler.project import Project
from reconciler.repository import Repository
from reconciler.runbook.status import read_freezes, read_last_run
from reconciler.stale import descent_problem

PART = "ledger"
_LATE = timedelta(minutes=10)
"""An effect that waits for longer than this waits for somebody."""
_GROUPS = 3


def look_at_ledger(connection: DatabaseConnection, project: Project, purpose: Purpose) -> list[Finding]:
    """The ledger's version, the last run, and what waits. Raises NotAsExpected where the role may not read it."""
    with begin_read_only(connection, doing="looking at the ledger"):
        catalog = read_catalog(connection, ())
        head = read_head(connection) if catalog.has_ledger else Head(0)
        if head.version != VERSION:
            return [_version(head, catalog.database, purpose)]
        found = [_version(head, catalog.database, purpose)]
        if head.movable_clock:
            text = "its clock may be moved (`--now`), as in a demo: cooldowns can be skipped"
            command = "UPDATE reconciler.meta SET movable_clock = false;"
            found.append(warning(PART, "clock", text, "where this is no demo, run this", command))
        found += _last_run(connection, catalog.now)
        found += _freezes(connection, project, catalog.now)
        found += _backlog(connection, catalog.now)
    return [*found, *_descent(project, head.commit, purpose)]


def _version(head: Head, database: str, purpose: Purpose) -> Finding:
    if head.version == VERSION:
        return ok(PART, "version", f"{VERSION}, which is this program's")
    if head.version > VERSION:
        text = f"{head.version}, and this program knows {VERSION}"
        return wrong(PART, "version", NotAsExpected.exit_code, text, "use the newer reconcile that made it")
    if head.version:
        text = f"{head.version}, and this program needs {VERSION}"
        return wrong(PART, "version", NotAsExpected.exit_code, text, "upgrade it", "reconcile init")
    text, advice = f"database {database} has none", "make it once, as a role that may create a schema"
    if purpose == "plan":
        return warning(PART, "version", f"{text}: a dry run takes everything for new", advice, "reconcile init")
    return wrong(PART, "version", NotAsExpected.exit_code, text, advice, "reconcile init")


def _last_run(connection: Connection[Any], now: datetime) -> Iterator[Finding]:
    last = read_last_run(connection)
    if last is None:
        yield note(PART, "last run", "there was none yet")
    else:
        age = _duration(now - datetime.fromisoformat(last.at))
        text = f"{age} ago: commit {last.commit[:12]} of {last.author}, by {last.actor}"
        if last.partial is None:
            yield ok(PART, "last run", text)
        else:
            advice = "unless it is still going on, run `reconcile`: it applies what is left"
            yield note(PART, "last run", f"{text}; it was {last.partial}, and the others did not follow yet", advice)


def _freezes(connection: Connection[Any], project: Project, now: datetime) -> Iterator[Finding]:
    freezes = list(read_freezes(connection, project, now))
    for freeze in freezes:
        until = f" until {freeze.until}" if freeze.until else ""
        by = f" (by {freeze.called_by})" if freeze.called_by else " (schemas/policy.yaml)"
        advice = "kills are applied all the same; `reconcile unfreeze` ends what somebody called"
        yield note(PART, "freeze", f"in force{until}: {freeze.reason}{by}", advice)
    if not freezes:
        yield ok(PART, "freezes", "none is in force")


def _backlog(connection: Connection[Any], now: datetime) -> Iterator[Finding]:
    backlog = read_backlog(connection)
    groups = read_undelivered(connection, _GROUPS) if backlog.dead or backlog.waiting else []
    said = "; ".join(
        f"{group.number:,} {group.kind} to {group.target}: {group.error or 'not tried yet'}" for group in groups
    )
    if backlog.dead:
        text = f"{counted(backlog.dead, 'effect')} given up, {backlog.waiting:,} waiting ({said})"
        yield warning(PART, "outbox", text, "mend the cause, then deliver", "reconcile deliver --retry-dead")
    elif backlog.oldest_at is None:
        yield ok(PART, "outbox", "empty: every effect has arrived")
    else:
        age = now - backlog.oldest_at
        text = f"{counted(backlog.waiting, 'effect')} waiting, the oldest for {_duration(age)} ({said})"
        level = warning if age > _LATE else note
        yield level(PART, "outbox", text, "the next run tries again, or deliver now", "reconcile deliver")


def _descent(project: Project, applied: str | None, purpose: Purpose) -> Iterator[Finding]:
    """Asked over a repository of its own, because a dry run reads from the project's at the same time."""
    if applied is None or project.commit is None or project.repository is None:
        return
    try:
        with Repository.open(project.repository.directory) as repository:
            problem = descent_problem(msgspec.structs.replace(project, repository=repository), applied)
    except ReconcileError as error:
        problem = str(error)
    if problem is None:
        here = project.commit.id
        text = f"commit {here[:12]} " + ("is" if here == applied else f"descends from {applied[:12]},")
        yield ok(PART, "descent", f"{text} {'the one that was' if here == applied else 'which was'} applied last")
    elif purpose == "plan":
        yield warning(PART, "descent", problem)
    else:
        yield wrong(PART, "descent", Stale.exit_code, problem)


def _duration(age: timedelta) -> str:
    """In the largest two units that count."""
    seconds = max(int(age.total_seconds()), 0)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min"
    if seconds < 86_400:
        return f"{seconds // 3600} h {seconds % 3600 // 60} min"
    return f"{seconds // 86_400} d {seconds % 86_400 // 3600} h"
