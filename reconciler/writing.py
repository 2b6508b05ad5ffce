"""Every write of a run: the run itself, rows, history, audit entries, what is applied now, marks, and what waits.

Takes a connection inside the apply's transaction, with the rows locked, and the Decision made from them. It decides
nothing; how each is written is told in `apply`, `audit`, `ledger` and `ledger_sync`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext

from psycopg import Pipeline

from reconciler.apply import applied_after, create_row, update_rows
from reconciler.audit import find_actor, tenants_of, write_entries
from reconciler.connection import DatabaseConnection
from reconciler.decide import Decision
from reconciler.errors import Refused
from reconciler.fit import relation_of
from reconciler.ledger import PARTIAL, RunRecord, record_applied, record_changes, record_marks, record_run
from reconciler.ledger_sync import record_pending
from reconciler.marks import Doer, marks_after
from reconciler.model import Action, Change, RowKey
from reconciler.project import Project

__all__ = ["write_run"]


def write_run(connection: DatabaseConnection, project: Project, decision: Decision, run: RunRecord) -> int:
    """Every write of the run, in order. Returns the number of audit entries.

    Raises Failed where a row does not take its change, Refused where there are not as many entries as changes: the
    caller's transaction must then be rolled back.
    """
    tables, plan, writes = project.definitions.tables, decision.plan, decision.plan.writes
    audit = project.definitions.policy.audit
    tenants = {(name, key): row.tenant for name, rows in decision.seen.items() for key, row in rows.items()}
    for row, changes in _by_row(writes, Action.CREATE).items():
        relation = relation_of(decision.catalog, tables[row[0]])
        tenants[row] = create_row(connection, tables[row[0]], relation, changes)
    actor = find_actor(connection, audit, decision.catalog, run.author_email) if writes else None
    # The server writes while this program prepares what comes next; what is read waits for all before it.
    with connection.pipeline() if Pipeline.is_supported() else nullcontext():
        record_run(connection, run)
        entries = None
        if writes:
            record_changes(connection, run.id, writes, tenants_of(writes, tables, tenants, audit))
            events = {name: table.definition.audit.event for name, table in tables.items()}
            entries = write_entries(connection, audit, decision.catalog, run, actor, events)
        updates = [
            update_rows(connection, table, relation_of(decision.catalog, table), changes)
            for name, table in tables.items()
            if (changes := [change for change in writes if change.table == name and change.action is Action.UPDATE])
        ]
        applied = {} if run.dirty or run.ahead else applied_after(plan.changes, decision.seen)
        marks = marks_after(
            plan.changes,
            decision.marks,
            desired=decision.desired,
            tables=tables,
            now=decision.now,
            doer=_doer(run),
        )
        hashes = {(name, key): row.row_hash for name, rows in decision.seen.items() for key, row in rows.items()}
        for written in updates:
            hashes |= written()
        record_applied(connection, run.id, applied, _of_settled_rows(hashes, plan.changes))
        is_part = bool(plan.scope.rows) or run.outcome == PARTIAL
        if (project.matches or decision.head.has_matches) and not (run.dirty or run.ahead or is_part):
            from reconciler.fleets import record_entries  # few projects have any

            record_entries(connection, project, plan.scope.tables or tuple(tables), run.id, decision.now)
        record_marks(connection, marks)
        if project.listing is not None:
            record_pending(connection, *_pending_after(decision, run))
    count = entries.rowcount if entries is not None else 0
    if count != len(writes):
        raise Refused(f"{count} audit entries for {len(writes)} changes: nothing was applied")
    return count


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
    left = {(c.table, c.key) for c in changes if c.action is Action.HOLD or c.action is Action.KEEP}
    return {row: hashed for row, hashed in hashes.items() if row not in left}


def _pending_after(decision: Decision, run: RunRecord) -> tuple[dict[RowKey, set[str]], list[RowKey] | None]:
    """Rows that the next run must look at, with the files that name them, and the rows of which this is all that waits
    (None: all rows).

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
    waiting |= {(name, key) for name, rows in written_down.items() for key, row in rows.items() if row.timed}
    pending: dict[RowKey, set[str]] = {}
    for table, key in waiting:
        row = written_down.get(table, {}).get(key)
        pending[table, key] = {value.file for value in row.values.values()} if row is not None and not holds else set()
    keys = decision.looked_at.keys
    if not settles:
        return pending, []
    return pending, [(name, key) for name, of_table in keys.items() for key in of_table] if keys is not None else None


def _by_row(changes: Sequence[Change], action: Action) -> Mapping[RowKey, list[Change]]:
    """Those of the changes with this action."""
    rows: dict[RowKey, list[Change]] = {}
    for change in changes:
        if change.action is action:
            rows.setdefault((change.table, change.key), []).append(change)
    return rows
