"""The databases of the benchmark: one per size of the fleet as a template, and a fresh copy of it for each run.

Takes the URL of a superuser (or of a role that may make databases); gives copies that are warm: their pages are in the
server's memory, and somebody has connected before, which the first connection to any database pays for.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

from benchmarks.fleet import AUTHOR_EMAIL, COLUMNS, TOP, Tenant, copy_rows


class Databases:
    """Makes and drops databases whose names begin with a prefix of their own; others are left alone."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._admin = psycopg.connect(url, autocommit=True)
        self._prefix = f"reconcile_bench_{uuid.uuid4().hex[:8]}"
        self._names: set[str] = set()

    def close(self) -> None:
        """Drop all that was made."""
        for name in sorted(self._names):
            self._drop(name)
        self._admin.close()

    def server_version(self) -> str:
        """As the server says it: 18.1."""
        return str(self._ask("SHOW server_version"))

    def is_durable(self) -> bool:
        """Whether a commit waits for the disk."""
        return self._ask("SHOW fsync") == "on" and self._ask("SHOW synchronous_commit") != "off"

    def make(self, count: int, rows: Iterable[Tenant]) -> str:
        """A database with the platform's tables and these tenants. Returns its URL."""
        url = self._create(f"fleet_{count}", "template0")
        columns = sql.SQL(", ").join(map(sql.Identifier, COLUMNS))
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute((TOP / "demo" / "platform.sql").read_bytes())
            connection.execute("""ALTER TABLE tenants ALTER "updatedAt" SET DEFAULT now(), ALTER name SET DEFAULT ''""")
            with connection.cursor().copy(sql.SQL("COPY tenants ({}) FROM STDIN").format(columns)) as copy:
                for line in copy_rows(rows):
                    copy.write(line)
            connection.execute(
                """
                ALTER TABLE tenants ALTER "updatedAt" DROP DEFAULT, ALTER name DROP DEFAULT;
                UPDATE tenants SET name = 'Tenant ' || left(id, 8);
                """
            )
            connection.execute(
                """
                INSERT INTO users (id, email, "passwordHash", "tenantId", "updatedAt")
                SELECT 'operator', %s, '', id, now() FROM tenants LIMIT 1
                """,
                (AUTHOR_EMAIL,),
            )
        return url

    def settle(self, url: str) -> None:
        """Leave a database as a quiet night would: nothing new, vacuumed, with statistics, written to disk."""
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("TRUNCATE audit_logs")
            connection.execute("""UPDATE tenants SET "updatedAt" = '2026-01-01'""")
            connection.execute("VACUUM (FULL)")
            connection.execute("VACUUM (FREEZE, ANALYZE)")
            connection.execute("CHECKPOINT")

    def forget(self, url: str) -> None:
        """Let the ledger not know which commit it stands at."""
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("UPDATE reconciler.run SET sync = NULL")

    @contextmanager
    def copy_of(self, url: str) -> Iterator[str]:
        """A warm copy of a database to which nobody is connected, for one run."""
        template = urlsplit(url).path.removeprefix("/")
        name = f"{template.removeprefix(self._prefix + '_')}_copy"
        copy = self._create(name, template)
        with psycopg.connect(copy, autocommit=True) as connection:
            connection.execute("SELECT count(*) FROM tenants JOIN reconciler.managed_row ON key = id")
        try:
            yield copy
        finally:
            self._drop(f"{self._prefix}_{name}")

    def _ask(self, statement: str) -> object:
        row = self._admin.execute(statement.encode()).fetchone()
        return row[0] if row else None

    def _create(self, name: str, template: str) -> str:
        whole = f"{self._prefix}_{name}"
        self._names.add(whole)
        self._admin.execute(f"CREATE DATABASE {whole} TEMPLATE {template}".encode())
        return urlunsplit(urlsplit(self._url)._replace(path=f"/{whole}"))

    def _drop(self, name: str) -> None:
        self._admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)".encode())
        self._names.discard(name)
