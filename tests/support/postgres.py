"""A database of its own for every test, cloned from one that was built once.

Takes the URL of a server's superuser (any server from PostgreSQL 14 on); gives `Database` objects. Cloning a template
costs some milliseconds where running `platform.sql` costs a hundred. A finished database is dropped when the next one
is made, not at once: its last connection may still be going, and Postgres would wait 0.1 s for that.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import psycopg
from psycopg import sql
from psycopg.pq import ExecStatus
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

PLATFORM_SQL = Path(__file__).parents[2] / "demo" / "platform.sql"


@dataclass(frozen=True)
class Role:
    """A login role, and the URL with which it connects to the database that it was made for."""

    name: str
    url: str


class Database:
    """One test's database. Everything runs as the superuser and commits by itself, like a colleague with psql."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.name = urlsplit(url).path.removeprefix("/")
        self._roles: list[str] = []

    def connect(self, **options: Any) -> psycopg.Connection[dict[str, Any]]:
        """A new connection that commits each statement; `options` are libpq's. The caller closes it."""
        return psycopg.connect(self.url, autocommit=True, row_factory=dict_row, **options)

    def execute(
        self, statement: str, parameters: Sequence[Any] | Mapping[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """Run a statement on a connection of its own; its rows, if it returns any."""
        with self.connect() as connection:
            cursor = connection.execute(statement.encode(), parameters)
            # Not "if it has columns": SELECT FROM has rows and no column.
            return cursor.fetchall() if cursor.pgresult and cursor.pgresult.status == ExecStatus.TUPLES_OK else []

    def insert(self, table: str, **columns: Any) -> None:
        """Insert a row as it is given; a dictionary goes in as JSON, a list as an array."""
        statement = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
            sql.Identifier(table),
            sql.SQL(", ").join(map(sql.Identifier, columns)),
            sql.SQL(", ").join(sql.Placeholder() * len(columns)),
        )
        values = [Jsonb(value) if isinstance(value, dict) else value for value in columns.values()]
        with self.connect() as connection:
            connection.execute(statement, values)

    def tenant(self, id: str = "", **columns: Any) -> str:
        """Insert a tenant with the columns given and what the table insists on; returns its id."""
        id = id or str(uuid.uuid4())
        self.insert("tenants", **{"id": id, "name": f"Tenant {id[:8]}", "updatedAt": _long_ago()} | columns)
        return id

    def settings(self, **columns: Any) -> None:
        """Insert the platform's one row of settings."""
        self.insert("system_settings", **{"id": "system", "updatedAt": _long_ago()} | columns)

    def user(self, email: str, tenant: str, **columns: Any) -> str:
        """Insert a user of a tenant; returns its id."""
        id = str(uuid.uuid4())
        fixed = {"id": id, "email": email, "tenantId": tenant, "passwordHash": "x", "updatedAt": _long_ago()}
        self.insert("users", **fixed | columns)
        return id

    def row(self, table: str, key: str, column: str = "id") -> dict[str, Any]:
        """The one row whose key column has this value."""
        statement = sql.SQL("SELECT * FROM {} WHERE {} = %s").format(sql.Identifier(table), sql.Identifier(column))
        with self.connect() as connection:
            (found,) = connection.execute(statement, [key]).fetchall()
        return found

    def role(self, name: str, password: str = "secret", grants: Sequence[str] = ()) -> Role:
        """Make a login role that goes with the database, and grant it each of `grants` ("SELECT ON tenants").

        Roles belong to the whole server, so its real name ends with something of its own.
        """
        unique = f"{name}_{uuid.uuid4().hex[:8]}"
        role = sql.Identifier(unique)
        with self.connect() as connection:
            connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(role, sql.Literal(password)))
            self._roles.append(unique)
            for grant in grants:
                connection.execute(f'GRANT {grant} TO "{unique}"'.encode())
        return Role(unique, with_user(self.url, unique, password))

    def drop(self, admin: psycopg.Connection[Any]) -> None:
        """Drop it, whoever is connected, and the roles that were made for it."""
        admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(self.name)))
        for role in self._roles:
            admin.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(role)))


class Server:
    """A server on which test databases are made: empty ones, and ones with the platform's tables."""

    def __init__(self, url: str, *, strategy: str = "") -> None:
        self.url = url
        self._admin = psycopg.connect(url, autocommit=True)
        self._prefix = f"reconcile_test_{uuid.uuid4().hex[:8]}"
        self._strategy = f" STRATEGY {strategy}" if strategy else ""
        self._made = 0
        self._finished: list[Database] = []
        self._template = self._create("template0", "")
        with self._template.connect() as connection:
            connection.execute(PLATFORM_SQL.read_bytes())

    @contextmanager
    def platform(self) -> Iterator[Database]:
        """A database with the platform's tables, without a row."""
        yield from self._lend(self._template.name)

    @contextmanager
    def empty(self) -> Iterator[Database]:
        """A database without a table."""
        yield from self._lend("template0")

    @contextmanager
    def copy_of(self, database: Database) -> Iterator[Database]:
        """A database like another of this server, to which nobody is connected."""
        yield from self._lend(database.name)

    def close(self) -> None:
        """Drop everything that was made here."""
        self._drop_finished()
        self._template.drop(self._admin)
        self._admin.close()

    def _lend(self, template: str) -> Iterator[Database]:
        self._drop_finished()
        database = self._create(template, self._strategy)
        try:
            yield database
        finally:
            self._finished.append(database)

    def _create(self, template: str, strategy: str) -> Database:
        self._made += 1
        name = f"{self._prefix}_{self._made}"
        self._admin.execute(f"CREATE DATABASE {name} TEMPLATE {template}{strategy}".encode())
        return Database(with_database(self.url, name))

    def _drop_finished(self) -> None:
        while self._finished:
            self._finished.pop().drop(self._admin)


def with_database(url: str, name: str) -> str:
    """The same server and user, another database."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


def with_user(url: str, user: str, password: str) -> str:
    """The same server and database, another user."""
    parts = urlsplit(url)
    place = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{quote(user, safe='')}:{quote(password, safe='')}@{place}"))


def with_place(url: str, host: str, port: int) -> str:
    """The same user and database behind another address; in the clear, so that a proxy can read along."""
    parts = urlsplit(url)
    user = parts.netloc.rpartition("@")[0]
    place = f"{user}@{host}:{port}" if user else f"{host}:{port}"
    return urlunsplit(parts._replace(netloc=place, query="sslmode=disable&gssencmode=disable"))


def _long_ago() -> datetime:
    return datetime(2026, 1, 1, tzinfo=UTC).replace(tzinfo=None)  # the platform's timestamps are UTC without a zone
