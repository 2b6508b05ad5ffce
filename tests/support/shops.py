"""Shops whose fields have effects: an invented table, its schema as the test declares it, and applies in this process.

Takes a DatabaseConnection to an empty database; gives `Shops`, which holds the desired state, applies it, and looks
into the outbox. No git is needed: the state is what the test says.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from msgspec.structs import replace
from psycopg.rows import dict_row

from reconciler.database.connection import DatabaseConnection, open_database
from reconciler.database.transaction import begin_read_write
from reconciler.database.url import parse_database_url
from reconciler.effects.delivery import Delivered, Pass, deliver
from reconciler.ledger_schema import upgrade
from reconciler.outcome import Outcome
from reconciler.pipeline import Ending, Origin, Request, apply, make_plan
from reconciler.plan import Plan
from reconciler.project import Project
from tests.support.definitions import desired_of, sound_definitions
from tests.support.plan_examples import REVISION

TABLES = """
CREATE TABLE shops (id text PRIMARY KEY, name text NOT NULL, owner text NOT NULL, pin text, is_open boolean NOT NULL,
                    seats integer NOT NULL, note text);
CREATE TABLE journal (id uuid PRIMARY KEY, owner text NOT NULL, event text NOT NULL, details jsonb NOT NULL);
"""

SCHEMA = """\
table: shops
key: id
label: name
secret: [pin]
audit: {{event: SHOP, tenant: owner}}
fields:
  is_open: {{type: boolean, kill: false, effects: {is_open}, verify: {verify}}}
  seats: {{type: integer, kill: lower, effects: {seats}}}
  note: {{type: string, nullable: true, effects: {note}}}
"""

POLICY = """\
audit:
  table: journal
  columns: {id: $uuid, owner: $tenant, event: $event, details: $metadata}
  without_tenant: {tenant: NOBODY}
"""


PATIENT = "delivery: {timeout: 30s}\n"
"""Where everything is to arrive, however busy the machine is: only what never answers should cost a timeout."""

REQUEST = Request(directory=Path())


class Shops:
    """The table `shops`, what git asks of it, and what follows a change.

    Effects, and the proofs of `is_open` (`verify`), are given as YAML in flow style. Tables that are there are taken
    as they are, those of a copy.
    """

    def __init__(
        self, connection: DatabaseConnection, *, policy: str = PATIENT, verify: str = "[]", **effects: str
    ) -> None:
        self.connection = connection
        declared = {"is_open": "[]", "seats": "[]", "note": "[]", "verify": verify} | effects
        self._definitions = sound_definitions(POLICY + policy, shops=SCHEMA.format(**declared))
        self._desired: dict[str, dict[str, Any]] = {}
        if connection.execute("SELECT to_regclass('shops') IS NULL").fetchone() == (True,):
            make_tables(connection)

    def add(self, *keys: str) -> None:
        """Rows as the application makes them: open, ten seats."""
        for key in keys:
            self.connection.execute(
                "INSERT INTO shops VALUES (%s, %s, 'ann', '1234', true, 10, NULL)", (key, f"Shop {key}")
            )

    def add_many(self, count: int) -> list[str]:
        """So many rows, and their keys."""
        keys = [f"shop-{number:05}" for number in range(count)]
        self.connection.execute(
            "INSERT INTO shops SELECT k, 'Shop ' || k, 'ann', '1234', true, 10, NULL FROM unnest(%s::text[]) k", (keys,)
        )
        return keys

    def ask(self, key: str, **fields: Any) -> None:
        """What git asks for from now on."""
        self._desired.setdefault(key, {}).update(fields)

    def change(self, key: str, **fields: Any) -> Outcome:
        """Ask for it, and apply."""
        self.ask(key, **fields)
        return self.apply()

    def apply(self, ending: Ending = Ending()) -> Outcome:  # noqa: B008
        """What `reconcile` does, delivery and proof included."""
        return apply(self.connection, REQUEST, self.project(), Origin(actor="robot"), None, ending)

    def plan(self) -> Plan:
        """What `reconcile --dry-run` shows."""
        return make_plan(self.connection, REQUEST, self.project())

    def project(self) -> Project:
        """The schema, and the state that git asks for."""
        desired, problems = desired_of(self._definitions, shops=json.dumps(self._desired))
        assert problems == []
        return Project(self._definitions, desired, REVISION, None, None)

    def deliver(
        self, what: Pass = Pass(), connection: DatabaseConnection | None = None, *, timeout: str = "30s"  # noqa: B008
    ) -> Delivered:
        """A pass over the outbox, with all the time that it takes."""
        policy = replace(self._definitions.policy.delivery, timeout=timeout)
        return deliver(connection or self.connection, policy, what)

    def outbox(self, *columns: str) -> list[Any]:
        """One column, or several as tuples, of every entry in order."""
        names = ", ".join(columns or ("state",))
        rows = self.connection.execute(f"SELECT {names} FROM reconciler.outbox ORDER BY sequence".encode()).fetchall()
        return [row[0] for row in rows] if len(columns) < 2 else rows

    def entries(self) -> list[dict[str, Any]]:
        """Every entry of the outbox, by column."""
        with self.connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute("SELECT * FROM reconciler.outbox ORDER BY sequence").fetchall()

    def make_due(self) -> None:
        """Let the time pass until the next attempt."""
        self.connection.execute("UPDATE reconciler.outbox SET next_attempt_at = now()")


def make_tables(connection: DatabaseConnection) -> None:
    """The two tables, and a ledger."""
    connection.execute(TABLES.encode())
    with begin_read_write(connection, doing="making the ledger"):
        upgrade(connection)


@contextmanager
def connected(url: str, **options: Any) -> Iterator[DatabaseConnection]:
    """A connection as a run makes one; `options` are those of `open_database`."""
    with open_database([parse_database_url(url, variable="DATABASE_URL")], **options) as connection:
        yield connection


def effects_of(*effects: dict[str, Any]) -> str:
    """Effects as YAML in flow style (JSON is YAML)."""
    return json.dumps(list(effects))
