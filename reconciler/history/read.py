"""Who changed what, when and why: the ledger's runs and changes, newest first.

Takes a connection and a HistoryQuery; gives a History (changes, each with the run that made it) or a RunHistory. Only
the ledger is read: not git, which may have been rewritten, nor the platform's audit log, which is pruned.

"Newest" is what was committed last, by the run's sequence; clocks can be moved. Runs are few and changes are many, so
a filter on runs is looked up there first; of the filters on changes the row has an index (docs/history.md says what the
others cost).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
from psycopg import Connection, sql

from reconciler.canonical import from_text
from reconciler.database.connection import DatabaseConnection
from reconciler.database.transaction import begin_read_only
from reconciler.errors import NotAsExpected, Problem
from reconciler.fields import format_timestamp
from reconciler.history.query import (
    NAMED_BY_CHANGE,
    NAMED_BY_RUN,
    HistoryQuery,
    of_changes,
    of_incident,
    of_runs,
    where,
)
from reconciler.ledger import BatchRecord
from reconciler.ledger_schema import VERSION, installed_version
from reconciler.model import MISSING, Direction, Finding, Json, Missing
from reconciler.outcome import Verdict

__all__ = [
    "COUNTED",
    "ENTRY",
    "History",
    "HistoryEntry",
    "RunEntry",
    "RunHistory",
    "entry_of",
    "need_ledger",
    "read_history",
    "read_runs",
    "source_of_changes",
]

T = TypeVar("T")

COUNTED = 10_000
"""How far what was found beyond the limit is counted."""


class RunEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One run. Times are RFC 3339 in UTC.

    `dirty`: uncommitted files were applied beside the commit; `ahead`: the commit was not merged yet. `proofs` are the
    verdicts on what was to be seen in effect, without the single changes that were not. `batch`: which batch it was of
    a plan that was applied in several.
    """

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
    ahead: bool
    outcome: str
    run_url: str | None
    pull_request: int | None
    version: str
    scope: dict[str, Any] = {}
    counts: dict[str, int] = {}
    proofs: tuple[Verdict, ...] = ()
    batch: BatchRecord | None = None


class HistoryEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One field that was written. `before` is MISSING where the row did not exist. `id` is its audit entry's.

    `unseen` is what was seen instead of its effect, of each proof that has failed.
    """

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
    unseen: tuple[str, ...] = ()

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


def read_history(connection: DatabaseConnection, query: HistoryQuery) -> History:
    """The changes that the query asks for. Raises NotAsExpected where there is no ledger."""
    return History(*_read(connection, query, entry_of, *statements_of_changes(query)))


def statements_of_changes(query: HistoryQuery) -> tuple[sql.Composed, sql.Composed, dict[str, Any]]:
    """SQL for the changes and for their number, and the parameters of both."""
    source, parameters = source_of_changes(query)
    statement = sql.SQL("SELECT {entry} {source} ORDER BY r.sequence DESC, c.ordinal LIMIT %(limit)s").format(
        entry=ENTRY, source=source
    )
    return statement, _number_of(source), parameters


def source_of_changes(query: HistoryQuery) -> tuple[sql.Composed, dict[str, Any]]:
    """SQL from FROM to WHERE for the changes `c` and their runs `r` that the query asks for, and its parameters."""
    conditions, parameters = of_changes(query)
    on_runs, of_run = of_runs(query)
    on_incident, of_word = of_incident(query)
    source = sql.SQL("FROM reconciler.change c JOIN reconciler.run r ON r.id = c.run_id {}").format(
        where([*conditions, *on_runs, *on_incident])
    )
    return source, parameters | of_run | of_word


def read_runs(connection: DatabaseConnection, query: HistoryQuery) -> RunHistory:
    """The runs that the query asks for; filters on changes mean runs that made such a change.

    Raises NotAsExpected where there is no ledger.
    """
    conditions, parameters = of_runs(query)
    on_changes, of_change = of_changes(query)
    on_incident, of_word = of_incident(query)
    exists = sql.SQL("EXISTS (SELECT FROM reconciler.change c {})")
    of_this_run = sql.SQL("c.run_id = r.id")
    if on_changes:
        conditions.append(exists.format(where([of_this_run, *on_changes, *on_incident])))
    elif on_incident:
        # A run that names the incident counts though it changed nothing: everything may have been held.
        by_change = exists.format(where([of_this_run, NAMED_BY_CHANGE]))
        conditions.append(sql.SQL("({} OR {})").format(NAMED_BY_RUN, by_change))
    source = sql.SQL("FROM reconciler.run r {}").format(where(conditions))
    statement = sql.SQL("SELECT {run} {source} ORDER BY r.sequence DESC LIMIT %(limit)s").format(
        run=_RUN, source=source
    )
    parameters = parameters | of_change | of_word
    return RunHistory(*_read(connection, query, _run, statement, _number_of(source), parameters))


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
        need_ledger(connection)
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
               r.reason, r.dirty, r.ahead, r.outcome, r.run_url, r.pull_request, r.version, r.scope, r.counts,
               r.batch,
               -- A run that has no proof, as most have none, costs a look into the index.
               (SELECT jsonb_agg(to_jsonb(p) ORDER BY p.ordinal) FROM reconciler.proof p WHERE p.run_id = r.id)"""
)

ENTRY = sql.SQL(
    """c.id::text, c.at, c.table_name, c.key, c.label, c.tenant, c.field, c.before::text, c.after::text, c.finding,
       c.direction, c.reason, c.waived, c.file, c.line,
       ARRAY(SELECT u.said FROM reconciler.unseen u
              WHERE u.run_id = c.run_id AND u.table_name = c.table_name AND u.key = c.key AND u.field = c.field
              ORDER BY u.ordinal), {}"""
).format(_RUN)
"""The columns of a HistoryEntry, of a change `c` and its run `r`."""


def need_ledger(connection: Connection[Any]) -> None:
    """Raise NotAsExpected where there is no ledger that this program can read."""
    found = installed_version(connection)
    if found == VERSION:
        return
    if found == 0:
        row = connection.execute("SELECT current_database()").fetchone()
        text = f"database {row[0] if row else ''} has no ledger, so nothing was ever applied to it"
        raise NotAsExpected([Problem(text, None, "is it the right database? `reconcile init` makes the ledger")])
    text = f"the ledger has version {found}, and this program needs {VERSION}"
    is_newer = found > VERSION
    advice = "use the newer reconcile that made it" if is_newer else "run `reconcile init`: it upgrades the ledger"
    raise NotAsExpected([Problem(text, None, advice)])


def entry_of(row: Sequence[Any]) -> HistoryEntry:
    """The entry of a row of the columns ENTRY."""
    identity, at, table, key, label, tenant, field, before, after = row[:9]
    finding, direction, reason, waived, file, line, unseen = row[9:16]
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
        run=_run(row[16:]),
        unseen=tuple(unseen),
    )


def _run(row: Sequence[Any]) -> RunEntry:
    identity, at, commit, author_name, author_email, committer_name, committer_email, actor, reason = row[:9]
    dirty, ahead, outcome, run_url, pull_request, version, scope, counts, batch, proofs = row[9:]
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
        ahead=ahead,
        outcome=outcome,
        run_url=run_url,
        pull_request=pull_request,
        version=version,
        scope=scope,
        counts=counts,
        proofs=tuple(map(_verdict, proofs or ())),
        batch=msgspec.convert(batch, BatchRecord) if batch is not None else None,
    )


def _verdict(row: Mapping[str, Any]) -> Verdict:
    return Verdict(
        table=row["table_name"],
        field=row["field"],
        kind=row["kind"],
        target=row["target"],
        changes=row["changes"],
        asked=row["asked"],
        seen=row["seen"] or 0,
        after_s=None if row["after_ms"] is None else row["after_ms"] / 1000,
        waited_s=None if row["waited_ms"] is None else row["waited_ms"] / 1000,
    )
