"""Where the demo's database is: on a Postgres of its own, or in a database of its own on the server of DATABASE_URL.

Gives a Place for as long as a `with` block lasts. Nothing that is on a given server is read or written: the demo makes
one database there, and drops it at the end.
"""

from __future__ import annotations

import os
import secrets
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import msgspec
import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from reconciler.database.url import parse_database_url
from reconciler.embedded import EmbeddedPostgres
from reconciler.errors import DatabaseProblem

__all__ = ["Place", "demo_database"]


@dataclass(frozen=True)
class Place:
    """A database. `address` is what DATABASE_URL must be, with the password.

    The others are for people: where it is, the command to look at it with, and what to set DATABASE_URL to.
    """

    address: str
    shown: str
    look: str
    to_set: str


@contextmanager
def demo_database() -> Iterator[Place]:
    """An empty database, which is gone after the block. Raises DatabaseProblem or UsageProblem where there is none."""
    given = os.environ.get("DATABASE_URL", "").strip()
    if given:
        with _on_given_server(given) as place:
            yield place
        return
    with EmbeddedPostgres() as server:
        shown = f"A database of our own listens at {server.url}"
        yield Place(server.url, shown, f"{server.psql} '{server.url}'", f"'{server.url}'")


@contextmanager
def _on_given_server(given: str) -> Iterator[Place]:
    address = parse_database_url(given, variable="DATABASE_URL")
    conninfo = address.conninfo(address.hosts[0] if address.hosts else None)
    name = f"reconcile_demo_{secrets.token_hex(4)}"
    identifier = sql.Identifier(name)
    without = "Without DATABASE_URL the demo has a server of its own."
    try:
        admin = psycopg.connect(conninfo, autocommit=True, prepare_threshold=None)
    except psycopg.Error as error:
        raise DatabaseProblem(f"{address.safe}: {address.redact(str(error)).strip()}. {without}") from None
    with admin:
        try:
            admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(identifier))
        except psycopg.Error as error:
            raise DatabaseProblem(f"{address.safe}: {error}, which the demo needs there. {without}") from None
        try:
            place = make_conninfo(conninfo, dbname=name)
            # The password of somebody's own server is theirs, and stands in no output.
            url = shlex.quote(msgspec.structs.replace(address, dbname=name).safe)
            shown = f"On the server of DATABASE_URL, the demo's own database is {name}"
            yield Place(place, shown, f"psql {url}", f"{url} (with your password)")
        finally:
            admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(identifier))
