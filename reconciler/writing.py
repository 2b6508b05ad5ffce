"""Every write of a run: the run itself, rows, history, audit entries, what is applied now, marks, and what waits.

Takes a connection inside the apply's transaction, with the rows locked, and the Decision made from them. It decides
nothing; how each is written is told in `apply`, `audit`, `ledger` and `ledger_sync`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext

from psycopg import Pipeline

from reconciler.actual import Seen
from reconciler.apply import applied_after, create_row, prepare_updates
from reconciler.audit import find_actor, tenants_of, write_entries
from reconciler.database.connection import DatabaseConnection
from reconciler.decide import Decision
from reconciler.diff import is_put_back_past_git
from reconciler.errors import Refused
from reconciler.fit import relation_of
from reconciler.ledger import PARTIAL, RunRecord, prepare_applied, prepare_changes, prepare_marks, record_run
from reconciler.ledger_sync import record_pending
from reconciler.marks import Doer, marks_after
from reconciler.model import Action, Change, FieldKey, Json, Mark, RowKey
from reconciler.project import Project

__all__ = ["write_run"]

_PIECE = 5_000
"""So many changes are written at a time."""


def write_run(connection: DatabaseConnection, project: Project, decision: Decision, run: RunRecord) -> int:
    """Every write of the run, in order. Returns the number of audit entries.

    Raises Failed where a row does not take its change, Refused where there are not as many entries as changes: the
    caller's transaction must then be rolled back.
    """
    tables, plan, writes = project.definitions.tables, decision.plan, decision.plan.writes
    audit = project.definitions.policy.audit
    made: dict[RowKey, str | None] = {}
    for row, changes in _by_row(writes, Action.CREATE).items():
        relation = relation_of(decision.catalog, tables[row[0]])
        made[row] = create_row(connection, tables[row[0]], relation, changes)
    actor = find_actor(connection, audit, decision.catalog, run.author_email) if writes else None
    # The server writes while this program prepares what comes next; what is read waits for all before it.
    with connection.pipeline() if Pipeline.is_supported() else nullcontext() as pipeline:
        record_run(connection, run)
        writer = _Writer(connection, pipeline, project, decision, run, made, actor)
        count = writer.write()
        is_part = bool(plan.scope.rows) or run.outcome == PARTIAL
        if (project.matches or decision.head.has_matches) and not (run.dirty or run.ahead or is_part):
            from reconciler.fleets import record_entries  # few projects have any

            record_entries(connection, project, plan.scope.tables or tuple(tables), run.id, decision.now)
        if project.listing is not None:
            record_pending(connection, *_pending_after(decision, run))
    if count != len(writes):
        raise Refused(f"{count} audit entries for {len(writes)} changes: nothing was applied")
    return count


class _Writer:
    """Writes what the changes of a run come to, thousands at a time: neither this program nor the connection ever holds
    all of a large run's entries. A piece is prepared while the server writes the one before.
    """

    def __init__(
        self,
        connection: DatabaseConnection,
        pipeline: Pipeline | None,
        project: Project,
        decision: Decision,
        run: RunRecord,
        made: dict[RowKey, str | None],
        actor: str | None,
    ) -> None:
        """`made` are the rows that this run has made, with their tenants; `actor` is the user that entries name."""
        self._connection = connection
        self._pipeline = pipeline
        self._decision = decision
        self._run = run
        self._made = made
        self._actor = actor
        self._tables = project.definitions.tables
        self._audit = project.definitions.policy.audit
        self._events = {name: table.definition.audit.event for name, table in self._tables.items()}
        self._changes = 0
        self._entries = 0
        self._marks: dict[RowKey, dict[FieldKey, Mark]] = {}
        for field, mark in decision.marks.items():
            self._marks.setdefault(field[:2], {})[field] = mark
        self._insisted: dict[RowKey, dict[FieldKey, Json]] = {}
        for field, has in decision.insisted.items():
            self._insisted.setdefault(field[:2], {})[field] = has

    def write(self) -> int:
        """Write all of it. Returns the number of audit entries."""
        before: Iterator[None] = iter(())
        for changes in _pieces(self._decision.plan.changes):
            piece = self._piece(changes)
            next(piece)
            next(before, None)
            next(piece)
            before = piece
        record_marks_of_others = self._prepare_marks((), {*self._marks, *self._insisted})
        next(before, None)
        record_marks_of_others()
        return self._entries

    def _piece(self, changes: Sequence[Change]) -> Iterator[None]:
        """Three steps: prepare all of it; send what waits for nothing; wait, and send what the ledger holds then."""
        connection, run = self._connection, self._run
        writes = [change for change in changes if change.action.writes]
        ordinals = range(self._changes, self._changes + len(writes))
        self._changes += len(writes)
        rows = {(change.table, change.key) for change in changes}
        seen = {row: known for row in rows if (known := self._seen(row)) is not None}
        tenants = {row: known.tenant for row, known in seen.items()} | self._made
        tenants_of_writes = tenants_of(writes, self._tables, tenants, self._audit)
        record_changes = prepare_changes(connection, run.id, writes, tenants_of_writes, ordinals.start)
        updates = [
            prepare_updates(connection, table, relation_of(self._decision.catalog, table), of_table)
            for name, table in self._tables.items()
            if (of_table := [change for change in writes if change.table == name and change.action is Action.UPDATE])
        ]
        settles = not (run.dirty or run.ahead)
        record_what_applies = prepare_applied(
            connection, run.id, applied_after(changes, self._decision.seen) if settles else {}
        )
        record_marks = self._prepare_marks(changes, rows)
        yield
        entries = None
        if writes:
            record_changes()
            catalog = self._decision.catalog
            entries = write_entries(connection, self._audit, catalog, run, self._actor, self._events, ordinals)
        written = [send() for send in updates]
        yield
        if self._pipeline is not None:
            self._pipeline.sync()
        hashes = {row: known.row_hash for row, known in seen.items()}
        for hashes_of_rows in written:
            hashes |= hashes_of_rows()
        record_what_applies(_of_settled_rows(hashes, changes))
        record_marks()
        self._entries += entries.rowcount if entries is not None else 0
        yield

    def _prepare_marks(self, changes: Sequence[Change], rows: Iterable[RowKey]) -> Callable[[], None]:
        """What stores the marks of these rows; `changes` are all that the plan says of them."""
        known: dict[FieldKey, Mark] = {}
        insisted: dict[FieldKey, Json] = {}
        for row in rows:
            known |= self._marks.pop(row, {})
            insisted |= self._insisted.pop(row, {})
        decision = self._decision
        marks = marks_after(
            changes,
            known,
            desired=decision.desired,
            tables=self._tables,
            now=decision.now,
            doer=_doer(self._run),
            insisted=insisted,
        )
        return prepare_marks(self._connection, marks)

    def _seen(self, row: RowKey) -> Seen | None:
        table, key = row
        return self._decision.seen.get(table, {}).get(key)


def _pieces(changes: Sequence[Change]) -> Iterator[Sequence[Change]]:
    """The changes, some thousands at a time; those of one row together."""
    start = 0
    while start < len(changes):
        end = min(start + _PIECE, len(changes))
        while end < len(changes) and changes[end].sort_key()[:2] == changes[end - 1].sort_key()[:2]:
            end += 1
        yield changes[start:end]
        start = end


def _doer(run: RunRecord) -> Doer:
    """Who the run acts for."""
    if run.dirty:
        return Doer(f"{run.actor}, not committed", f"{run.actor} broke the glass ({run.reason})")
    killer = f"commit {run.commit[:12]} ({run.author_name})"
    if run.ahead:
        return Doer(killer, f"{run.actor} applied commit {run.commit[:12]} before its merge ({run.reason})")
    return Doer(killer)


def _of_settled_rows(hashes: Mapping[RowKey, int | None], changes: Sequence[Change]) -> dict[RowKey, int | None]:
    """The same without the rows of which a field is left at odds with what is applied: the hash would hide that."""
    left = {
        (c.table, c.key)
        for c in changes
        if c.action is Action.HOLD or c.action is Action.KEEP or is_put_back_past_git(c)
    }
    return {row: hashed for row, hashed in hashes.items() if row not in left}


def _pending_after(
    decision: Decision, run: RunRecord
) -> tuple[dict[RowKey, set[str]], Mapping[str, Sequence[str]] | None]:
    """Rows that the next run must look at, with the files that name them, and the rows of which this is all that waits,
    by table (None: all rows).

    A run of a part, one batch of several, and one of something that is not merged, settle nothing: what they wrote is
    at odds with what git asked for, or will ask for.
    """
    plan, written_down = decision.plan, decision.written_down
    holds = run.dirty or run.ahead
    settles = plan.scope.is_everything and not holds and run.outcome != PARTIAL
    waiting = {
        (change.table, change.key)
        for change in plan.changes
        if change.action in (Action.HOLD, Action.KEEP) or not settles
    }
    waiting |= {field[:2] for field in decision.insisted}
    waiting |= {(name, key) for name, rows in written_down.items() for key, row in rows.items() if row.timed}
    pending: dict[RowKey, set[str]] = {}
    for table, key in waiting:
        row = written_down.get(table, {}).get(key)
        pending[table, key] = {value.file for value in row.values.values()} if row is not None and not holds else set()
    return pending, decision.looked_at.keys if settles else {}


def _by_row(changes: Sequence[Change], action: Action) -> Mapping[RowKey, list[Change]]:
    """Those of the changes with this action."""
    rows: dict[RowKey, list[Change]] = {}
    for change in changes:
        if change.action is action:
            rows.setdefault((change.table, change.key), []).append(change)
    return rows
