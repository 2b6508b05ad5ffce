"""Who changed what, when and why: the ledger's runs and changes, newest first.

Takes a connection and a HistoryQuery; gives a History (changes, each with the run that made it) or a RunHistory. Only
the ledger is read: not git, which may have been rewritten, nor the platform's audit log, which is pruned.

"Newest" is what was committed last, by the run's sequence; clocks can be moved. Runs are few and changes are many, so
a filter on runs is looked up there first; of the filters on changes the row has an index (docs/history.md says what the
others cost).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import msgspec
from psycopg import Connection, sql

from reconciler.canonical import from_text
from reconciler.connection import DatabaseConnection
from reconciler.errors import NotAsExpected, Problem, UsageProblem
from reconciler.fields import format_timestamp, seconds
from reconciler.ledger_schema import VERSION, installed_version
from reconciler.model import MISSING, Direction, Finding, Json, Missing, RowKey
from reconciler.transaction import begin_read_only

__all__ = [
    "History",
    "HistoryEntry",
    "HistoryQuery",
    "RunEntry",
    "RunHistory",
    "parse_since",
    "read_history",
    "read_runs",
]

T = TypeVar("T")

COUNTED = 10_000
"""How far what was found beyond the limit is counted."""


class HistoryQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for; everything given must hold. `limit` is the most that is given back.

    `tenant` is the id that audit entries carry, or a row's label. `commit` and `run` are the beginnings of ids. `since`
    is a moment, or how long ago.
    """

    rows: tuple[RowKey, ...] = ()
    tables: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    tenant: str | None = None
    commit: str | None = None
    run: str | None = None
    since: datetime | timedelta | None = None
    limit: int = 50


class RunEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One run. Times are RFC 3339 in UTC. `dirty`: uncommitted files were applied beside the commit."""

    id: str
    at: str
    commit: str
    author_name: str
    author_email: str
    committer_name: str
    committer_email: str
    actor: str
    reason: str | None
    dirty: bool
    outcome: str
    run_url: str | None
    pull_request: int | None
    version: str
    scope: dict[str, Any] = {}
    counts: dict[str, int] = {}


class HistoryEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One field that was written. `before` is MISSING where the row did not exist. `id` is its audit entry's."""

    id: str
    at: str
    table: str
    key: str
    label: str | None
    tenant: str
    field: str
    before: Json | Missing
    after: Json
    finding: Finding
    direction: Direction
    reason: str | None
    waived: dict[str, str]
    file: str | None
    line: int | None
    run: RunEntry

    @property
    def why(self) -> str | None:
        """The reason that stands beside the value or, where there is none, the run's."""
        return self.reason or self.run.reason


class History(msgspec.Struct, frozen=True):
    """Changes, newest first; `more` match beyond them, COUNTED meaning that many or more."""

    entries: tuple[HistoryEntry, ...]
    more: int


class RunHistory(msgspec.Struct, frozen=True):
    """Runs, newest first; `more` match beyond them, COUNTED meaning that many or more."""

    runs: tuple[RunEntry, ...]
    more: int


def parse_since(text: str) -> datetime | timedelta:
    """A duration (90s, 30m, 24h, 7d), a date or a moment; without a time zone it is UTC. Raises UsageProblem."""
    text = text.strip()
    try:
        if re.fullmatch(r"[1-9][0-9]*[smhd]", text):
            return timedelta(seconds=seconds(text))
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise UsageProblem(f"--since {text}: write a duration (24h, 7d), or a date (2026-11-27)") from None


def read_history(connection: DatabaseConnection, query: HistoryQuery) -> History:
    """The changes that the query asks for. Raises NotAsExpected where there is no ledger."""
    return History(*_read(connection, query, _entry, *statements_of_changes(query)))


def statements_of_changes(query: HistoryQuery) -> tuple[sql.Composed, sql.Composed, dict[str, Any]]:
    """SQL for the changes and for their number, and the parameters of both."""
    of_changes, parameters = _of_changes(query)
    of_runs, more_parameters = _of_runs(query)
    source = sql.SQL("FROM reconciler.change c JOIN reconciler.run r ON r.id = c.run_id {}").format(
        _where([*of_changes, *of_runs])
    )
    statement = sql.SQL(
        """
        SELECT c.id::text, c.at, c.table_name, c.key, c.label, c.tenant, c.field, c.before::text, c.after::text,
               c.finding, c.direction, c.reason, c.waived, c.file, c.line, {run}
          {source}
         ORDER BY r.sequence DESC, c.ordinal
         LIMIT %(limit)s
        """
    ).format(run=_RUN, source=source)
    return statement, _number_of(source), parameters | more_parameters


def read_runs(connection: DatabaseConnection, query: HistoryQuery) -> RunHistory:
    """The runs that the query asks for; filters on changes mean runs that made such a change.

    Raises NotAsExpected where there is no ledger.
    """
    of_runs, parameters = _of_runs(query)
    of_changes, more_parameters = _of_changes(query)
    if of_changes:
        exists = sql.SQL("EXISTS (SELECT FROM reconciler.change c {})")
        of_runs.append(exists.format(_where([sql.SQL("c.run_id = r.id"), *of_changes])))
    source = sql.SQL("FROM reconciler.run r {}").format(_where(of_runs))
    statement = sql.SQL("SELECT {run} {source} ORDER BY r.sequence DESC LIMIT %(limit)s").format(
        run=_RUN, source=source
    )
    return RunHistory(*_read(connection, query, _run, statement, _number_of(source), parameters | more_parameters))


def _read(
    connection: DatabaseConnection,
    query: HistoryQuery,
    make: Callable[[Sequence[Any]], T],
    statement: sql.Composed,
    number: sql.Composed,
    parameters: dict[str, Any],
) -> tuple[tuple[T, ...], int]:
    """What was found, and how many match beyond the limit; these are not counted where all were found."""
    with begin_read_only(connection, doing="reading the history"):
        _need_ledger(connection)
        rows = connection.execute(statement, {**parameters, "limit": query.limit}).fetchall()
        more = 0
        if len(rows) == query.limit:
            counted = connection.execute(number, {**parameters, "most": query.limit + COUNTED}).fetchone()
            more = counted[0] - query.limit if counted else 0
    return tuple(map(make, rows)), more


def _number_of(source: sql.Composable) -> sql.Composed:
    return sql.SQL("SELECT count(*) FROM (SELECT {} LIMIT %(most)s) AS matching").format(source)


_RUN = sql.SQL(
    """r.id::text, r.at, r.commit_id, r.author_name, r.author_email, r.committer_name, r.committer_email, r.actor,
               r.reason, r.dirty, r.outcome, r.run_url, r.pull_request, r.version, r.scope, r.counts"""
)

Conditions = list[sql.Composable]


def _of_changes(query: HistoryQuery) -> tuple[Conditions, dict[str, Any]]:
    conditions: Conditions = []
    parameters: dict[str, Any] = {}
    if query.rows:
        conditions.append(
            sql.SQL("(c.table_name, c.key) IN (SELECT * FROM unnest(%(row_tables)s::text[], %(row_keys)s::text[]))")
        )
        parameters |= {"row_tables": [table for table, _ in query.rows], "row_keys": [key for _, key in query.rows]}
    if query.tables:
        conditions.append(sql.SQL("c.table_name = ANY (%(tables)s)"))
        parameters["tables"] = list(query.tables)
    if query.fields:
        conditions.append(sql.SQL("c.field = ANY (%(fields)s)"))
        parameters["fields"] = list(query.fields)
    if query.tenant is not None:
        conditions.append(sql.SQL("(c.tenant = %(tenant)s OR c.label = %(tenant)s)"))
        parameters["tenant"] = query.tenant
    return conditions, parameters


def _of_runs(query: HistoryQuery) -> tuple[Conditions, dict[str, Any]]:
    conditions: Conditions = []
    parameters: dict[str, Any] = {}
    if query.commit is not None:
        conditions.append(sql.SQL("starts_with(r.commit_id, %(commit)s)"))
        parameters["commit"] = _id_prefix("--commit", query.commit)
    if query.run is not None:
        conditions.append(sql.SQL("starts_with(r.id::text, %(run)s)"))
        parameters["run"] = _id_prefix("--run", query.run)
    if query.since is not None:
        since = "now() - %(since)s" if isinstance(query.since, timedelta) else "%(since)s"
        conditions.append(sql.SQL("r.at >= {}").format(sql.SQL(since)))
        parameters["since"] = query.since
    return conditions, parameters


def _id_prefix(option: str, text: str) -> str:
    """The beginning of an id as it is stored. A few characters would be somebody else's id as well."""
    found = text.strip().lower()
    if not re.fullmatch(r"[0-9a-f-]{4,64}", found):
        raise UsageProblem(f"{option} {text}: write at least the first four characters of the id, from 0-9 and a-f")
    return found


def _where(conditions: Sequence[sql.Composable]) -> sql.Composable:
    return sql.SQL("WHERE {}").format(sql.SQL(" AND ").join(conditions)) if conditions else sql.SQL("")


def _need_ledger(connection: Connection[Any]) -> None:
    """Raise NotAsExpected where there is no ledger that this program can read."""
    found = installed_version(connection)
    if found == VERSION:
        return
    if found == 0:
        row = connection.execute("SELECT current_database()").fetchone()
        text = f"database {row[0] if row else ''} has no ledger, so nothing was ever applied to it"
        raise NotAsExpected([Problem(text, None, "is it the right database? `reconcile init` makes the ledger")])
    text = f"the ledger has version {found}, and this program needs {VERSION}"
    newer = "use the newer reconcile that made it"
    raise NotAsExpected([Problem(text, None, newer if found > VERSION else "run `reconcile init`: it upgrades the ledger")])


def _entry(row: Sequence[Any]) -> HistoryEntry:
    identity, at, table, key, label, tenant, field, before, after = row[:9]
    finding, direction, reason, waived, file, line = row[9:15]
    return HistoryEntry(
        id=identity,
        at=format_timestamp(at),
        table=table,
        key=key,
        label=label,
        tenant=tenant,
        field=field,
        before=MISSING if before is None else from_text(before),
        after=from_text(after),
        finding=Finding(finding),
        direction=Direction(direction),
        reason=reason,
        waived=waived or {},
        file=file,
        line=line,
        run=_run(row[15:]),
    )


def _run(row: Sequence[Any]) -> RunEntry:
    identity, at, commit, author_name, author_email, committer_name, committer_email, actor, reason, dirty = row[:10]
    outcome, run_url, pull_request, version, scope, counts = row[10:]
    return RunEntry(
        id=identity,
        at=format_timestamp(at),
        commit=commit,
        author_name=author_name,
        author_email=author_email,
        committer_name=committer_name,
        committer_email=committer_email,
        actor=actor,
        reason=reason,
        dirty=dirty,
        outcome=outcome,
        run_url=run_url,
        pull_request=pull_request,
        version=version,
        scope=scope,
        counts=counts,
    )
