"""A drill on a database that belongs to somebody: inside one transaction for each playbook, which is rolled back.

Takes a connection to it, the project's directory and its Runbook; gives a StagingGround. The commands run in this
process, because a transaction cannot be shared with another: whoever of them asks for a connection is given this one
(`rehearsal`). Servers are not stopped, and nothing is put into queues; commits are made in a clone, and pushed to a
folder that is removed; no effect is delivered, and nobody is told of a run that fails.

What it must not do is checked before: see `refuse_what_could_harm`.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from psycopg import sql

from reconciler.apply import take_lock
from reconciler.catalog import Catalog, read_catalog
from reconciler.database.connection import DatabaseConnection
from reconciler.database.rehearsal import RehearsalConnection, rehearse
from reconciler.database.transaction import begin_read_only, begin_read_write
from reconciler.drill.ground import Ground, Ran
from reconciler.drill.happening import execute, statement_of
from reconciler.drill.scratch import Scratch, scratch_of_commit
from reconciler.errors import Failed, NotAsExpected, Problem, Refused
from reconciler.fit import relations_of
from reconciler.initialize import initialize
from reconciler.playbook import Happening, Playbook
from reconciler.runbook.playbooks import Runbook
from reconciler.schema import Definitions

__all__ = ["LEFT_OUT", "RunHere", "staging_ground"]

RunHere = Callable[[Sequence[str]], Ran]
"""Runs a command in this process."""

LEFT_OUT = (
    "Everything was rolled back. Servers were not stopped, and no jobs were put into queues: what only they show is "
    "marked. Commits and pushes went to a clone in a temporary folder; no effect was delivered, and nobody was told",
)

_LOCK_MS = 2_000


@contextmanager
def staging_ground(
    connection: DatabaseConnection,
    project: Path,
    runbook: Runbook,
    playbook: Playbook,
    subject: str | None,
    run_here: RunHere,
) -> Iterator[Ground]:
    """What one playbook is drilled on. The connection is closed at the end. Raises Refused where it could harm."""
    with tempfile.TemporaryDirectory(prefix="reconcile-drill-") as folder:
        scratch = scratch_of_commit(Path(folder), project)
        with rehearse(connection) as rehearsal:
            catalog = refuse_what_could_harm(rehearsal, runbook.definitions, playbook, subject)
            if not catalog.has_ledger:
                initialize(rehearsal, runbook.definitions)
            yield StagingGround(rehearsal, scratch, run_here)


def refuse_what_could_harm(
    connection: RehearsalConnection, definitions: Definitions, playbook: Playbook, subject: str | None
) -> Catalog:
    """Raise where a rollback would not undo everything, or somebody would have to wait.

    A trigger may reach outside of Postgres (a request, a message by dblink), and so may a foreign table: no table that
    is written may have one, or be one. Which those are is asked of the planner. A run that is being applied has the
    lock; a drill does not wait for it.
    """
    if connection.is_replica:
        raise NotAsExpected([Problem("the database is a replica, and read-only: nothing can be rehearsed on it")])
    with begin_read_write(connection, doing="seeing whether another run is on", lock_timeout_ms=_LOCK_MS):
        take_lock(connection)
    with begin_read_only(connection, doing="looking for triggers"):
        catalog = read_catalog(connection, relations_of(definitions))
        written = {f"{schema}.{table}" for schema, table in _written_by_runs(definitions, catalog.relations)}
        assert playbook.drill is not None
        for one in (*playbook.drill.happens, *playbook.drill.recovers):
            if one.sql is not None:
                written |= _written_by(connection, statement_of(one.sql, subject))
        found = connection.execute(
            """
            SELECT c.oid::regclass::text,
                   CASE WHEN c.relkind NOT IN ('r', 'p') THEN 'is no ordinary table'
                        ELSE 'has the trigger ' || (SELECT string_agg(t.tgname, ', ') FROM pg_trigger t
                                                     WHERE t.tgrelid = c.oid AND NOT t.tgisinternal
                                                       AND t.tgenabled <> 'D') END
              FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE n.nspname || '.' || c.relname = ANY (%s)
             ORDER BY 1
            """,
            (sorted(written),),
        ).fetchall()
    wrong = [f"{table} {what}" for table, what in found if what is not None]
    if wrong:
        raise Refused(
            f"a rollback might not undo everything: {'; '.join(wrong)}, which may reach outside of the database. "
            "Drill on a copy without it"
        )
    return catalog


def _written_by_runs(definitions: Definitions, relations: Any) -> set[tuple[str, str]]:
    """The managed tables and the audit table, with the schemas in which they were found."""
    audit = definitions.policy.audit
    named = {(table.definition.schema, table.name) for table in definitions.tables.values()}
    named.add((audit.schema, audit.table))
    return {(relations[one].schema, relations[one].name) for one in named if one in relations}


def _written_by(connection: DatabaseConnection, statement: str) -> set[str]:
    """The tables that the planner says a statement writes. It is not run."""
    (plan,) = connection.execute(
        sql.SQL("EXPLAIN (VERBOSE, FORMAT JSON) {}").format(sql.SQL(statement)), binary=True
    ).fetchone() or ("[]",)
    tables: set[str] = set()

    def look(node: Any) -> None:
        if isinstance(node, dict):
            if node.get("Node Type") == "ModifyTable":
                tables.add(f"{node['Schema']}.{node['Relation Name']}")
            for value in node.values():
                look(value)
        elif isinstance(node, list):
            for value in node:
                look(value)

    look(json.loads(plan) if isinstance(plan, str | bytes) else plan)
    return tables


class StagingGround(Ground):
    """One playbook inside the transaction."""

    is_staging = True
    database_is_away = False
    redis_is_away = False

    def __init__(self, connection: RehearsalConnection, scratch: Scratch, run_here: RunHere) -> None:
        self._connection = connection
        self._run_here = run_here
        self.scratch = scratch
        self.address = connection.address

    def run(self, words: Sequence[str]) -> Ran:
        """In this process."""
        return self._run_here(words)

    def begin_waiting(self, words: Sequence[str]) -> None:
        """Never: the database is not stopped here."""
        raise Failed("the database of a rehearsal is not stopped")

    def end_waiting(self) -> Ran:
        """Never: the database is not stopped here."""
        raise Failed("the database of a rehearsal is not stopped")

    def can_make(self, happening: Happening) -> bool:
        """Rows alone."""
        return happening.sql is not None

    def make(self, happening: Happening, subject: str | None) -> None:
        """The statement, in a savepoint."""
        assert happening.sql is not None
        with begin_read_write(self._connection, doing="making the incident happen"):
            execute(self._connection, happening.sql, subject)

    def query(self, statement: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        """As the transaction sees it."""
        with begin_read_only(self._connection, doing="looking at what was done"):
            return self._connection.execute(statement.encode(), parameters).fetchall()

    def job(self, queue: str, id: str) -> dict[str, str] | None:
        """No effect is delivered here."""
        return None
