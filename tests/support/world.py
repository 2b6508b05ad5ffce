"""One random situation in a database: what git asks for, what was applied and what is there, in tables of its own.

Takes a connection to a database that `world_database` has made, and a Situation; gives a World, with what is known of
it without asking the code under test.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from reconciler.canonical import to_text
from reconciler.database.connection import DatabaseConnection, open_database
from reconciler.database.transaction import begin_read_write
from reconciler.database.url import parse_database_url
from reconciler.diff import diff_row, entry_digest
from reconciler.ledger import prepare_applied, record_marks
from reconciler.ledger_schema import upgrade
from reconciler.model import Change, FieldKey, Mark
from reconciler.outcome import Outcome
from reconciler.pipeline import Origin, Request, apply, make_plan
from reconciler.plan import Plan
from reconciler.project import Project
from tests.support.definitions import desired_of, sound_definitions
from tests.support.plan_examples import NOW, REVISION
from tests.support.postgres import Server
from tests.support.random_projects import ENUM, FOR_TRIGGERS, JOURNAL, POLICY, Situation, get_rows, put_rows

REQUEST = Request(directory=Path())
ORIGIN = Origin(actor="robot")


@contextmanager
def world_database(server: Server) -> Iterator[DatabaseConnection]:
    """A database with a ledger and an audit table; the tables come and go with each World."""
    with server.empty() as database:
        with open_database([parse_database_url(database.url, variable="DATABASE_URL")]) as connection:
            connection.execute(";".join([ENUM, JOURNAL, FOR_TRIGGERS]).encode())
            with begin_read_write(connection, doing="making the ledger"):
                upgrade(connection)
            yield connection


class World:
    """One situation in the database, and what is known of it without asking the code under test."""

    def __init__(self, connection: DatabaseConnection, situation: Situation) -> None:
        self.connection = connection
        self.situation = situation
        definitions = sound_definitions(POLICY, **{table.name: table.schema for table in situation.tables})
        by_table: dict[str, dict[str, Any]] = {}
        for (table, key), fields in situation.desired.items():
            by_table.setdefault(table, {})[key] = {
                name: {"value": data} if isinstance(data, dict) else data for name, data in fields.items()
            }
        desired, problems = desired_of(definitions, **{name: to_text(rows) for name, rows in by_table.items()})
        assert problems == []
        self.project = Project(definitions, desired, REVISION, None, None)
        self.marks = {field: self._mark(field, touched) for field, touched in situation.seen.items()}
        self._make()
        self.before = get_rows(connection, situation)

    def _mark(self, field: FieldKey, touched: bool) -> Mark:
        table, key, name = field
        value = self.project.desired[table][key].values[name]
        has = self.situation.actual[table, key][name]
        entry = "another entry" if touched else entry_digest(value)
        return Mark(killed_at=NOW, killed_by="by hand", seen_at=NOW, seen_value=has, seen_entry=entry)

    def _make(self) -> None:
        connection = self.connection
        connection.execute("DROP TABLE IF EXISTS things, gadgets; TRUNCATE journal, noted")
        connection.execute("TRUNCATE reconciler.run, reconciler.managed_row, reconciler.mark CASCADE")
        connection.execute("".join(table.ddl for table in self.situation.tables).encode())
        put_rows(connection, self.situation)
        with begin_read_write(connection, doing="remembering"):
            prepare_applied(connection, str(uuid.uuid4()), dict(self.situation.base))({})
            record_marks(connection, self.marks)

    def plan(self) -> Plan:
        return make_plan(self.connection, REQUEST, self.project)

    def apply(self) -> Plan:
        return self.run().plan

    def run(self, request: Request = REQUEST, reviewed: Plan | None = None) -> Outcome:
        return apply(self.connection, request, self.project, ORIGIN, reviewed)

    def changes_by_full_comparison(self) -> list[Change]:
        """What comparing all rows one by one in Python finds, guards left out."""
        found: list[Change] = []
        rows = {*self.situation.desired, *self.situation.base}
        for table, key in sorted(rows):
            definition = self.project.definitions.tables[table]
            base = self.situation.base.get((table, key))
            has = self.before.get((table, key))
            actual = {name: has[name] for name in definition.fields} if has is not None else None
            of_row = ((name, self.marks.get((table, key, name))) for name in definition.fields)
            marks = {name: mark for name, mark in of_row if mark is not None}
            desired = self.project.desired.get(table, {}).get(key)
            found += diff_row(definition, key, desired, base, actual, marks, None)
        return found

    def rows_of(self, statement: str) -> list[tuple[Any, ...]]:
        return self.connection.execute(statement.encode()).fetchall()

    def state_of_ledger(self) -> dict[str, list[tuple[Any, ...]]]:
        """Every row of the ledger with the transaction that wrote it last."""
        names = self.rows_of("SELECT tablename FROM pg_tables WHERE schemaname = 'reconciler'")
        return {name: self.rows_of(f"SELECT t.xmin, t::text FROM reconciler.{name} t ORDER BY 2") for (name,) in names}
