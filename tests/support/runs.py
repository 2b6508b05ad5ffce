"""Runs of a project in this process, with a clock that can be moved: for guards, whose story takes runs and days.

Takes a repository and a Database; gives `Runs`, in a project of two tenants whose AI asks for a health check on its way
back and in which one run opens no more than one row.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from reconciler.database.connection import DatabaseConnection, open_database
from reconciler.database.url import parse_database_url
from reconciler.outcome import Outcome
from reconciler.pipeline import Origin, Request, apply, make_plan, read_for_apply
from reconciler.plan import Plan, Scope
from tests.support.gitrepo import GitRepo
from tests.support.postgres import Database
from tests.support.project import ACME, BOB, Project

START = datetime(2030, 1, 7, 9, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


class Runs:
    """A project in which the clock can be moved, and the runs that are made in it."""

    def __init__(self, project: Project, connection: DatabaseConnection) -> None:
        self.project = project
        self.database = project.database
        self.now = START
        self.connection = connection
        self.database.execute("UPDATE reconciler.meta SET movable_clock = true")

    def commit(self, text: str, message: str = "Change") -> None:
        self.project.commit_state(text, message)

    def request(self, *only: str, **more: Any) -> Request:
        return Request(directory=self.project.directory, now=self.now, scope=Scope(rows=only), **more)

    def run(self, *only: str, **request: Any) -> Outcome:
        asked = self.request(*only, **request)
        return apply(self.connection, asked, read_for_apply(asked), Origin(actor="ann"))

    def plan(self, **request: Any) -> Plan:
        asked = self.request(**request)
        return make_plan(self.connection, asked, read_for_apply(asked))

    def value(self, field: str, key: str = ACME) -> Any:
        return self.database.row("tenants", key)[field]

    def by_hand(self, field: str, value: Any, key: str = ACME) -> None:
        self.database.execute(f'UPDATE tenants SET "{field}" = %s WHERE id = %s', [value, key])

    def held(self) -> dict[str, str]:
        return {change.field: change.hold.guard for change in self.plan().changes if change.hold is not None}


@contextlib.contextmanager
def runs_of(git_repo: GitRepo, database: Database) -> Iterator[Runs]:
    """The project, its ledger made, and a connection."""
    database.tenant(ACME, name="Acme Bakery")
    database.tenant(BOB, name="Bob's Bikes")
    project = Project(git_repo, database)
    project.edit_schema(
        "policy", "kill: {rows: 500, share: 50%, floor: 50}\n  restore: {rows: 100, share: 20%, floor: 20}",
        "restore: {rows: 1}",
    )  # fmt: skip
    project.edit_schema("policy", "checks:\n", "checks:\n  healthy: {type: sql, query: SELECT ok FROM health}\n")
    project.edit_schema("tenants", "isAiEnabled:\n    type: boolean\n", "isAiEnabled:\n    type: boolean\n"
                        "    restore: {requires: [healthy]}\n")  # fmt: skip
    database.execute("CREATE TABLE health (ok boolean NOT NULL)")
    database.execute("INSERT INTO health VALUES (true)")
    project.init()
    with open_database([parse_database_url(database.url, variable="DATABASE_URL")]) as connection:
        yield Runs(project, connection)
