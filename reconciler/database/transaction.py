"""Transactions that are safe behind a transaction-mode pooler: all settings are SET LOCAL, in one trip with BEGIN.

Takes a DatabaseConnection; gives a context manager that commits when its block ends and rolls back when anything is
raised in it, Ctrl-C included. Driver errors that leave the block leave it translated.

READ COMMITTED writes, because rows are locked and re-read one statement after another and each must see what is newest.
REPEATABLE READ reads, because a plan is one picture of many tables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
from psycopg.pq import TransactionStatus

from reconciler.database.connection import DatabaseConnection
from reconciler.database.driver_errors import ends_connection, translate
from reconciler.errors import Failed, NotAsExpected, OutcomeUnknown, Problem

__all__ = ["begin_read_only", "begin_read_write"]

_IDLE_LIMIT_MS = 300_000
"""A client that is stopped or cut off inside a transaction holds its locks no longer than this."""


_NOTICED = ("tcp_keepalives_idle = 15", "tcp_keepalives_interval = 5", "tcp_keepalives_count = 3")
"""A client whose network is gone is noticed in half a minute: another run, a kill perhaps, waits for its locks. By the
server's default it takes two hours. Over a Unix socket, where there is nothing to notice, they mean nothing."""


@contextmanager
def begin_read_only(
    connection: DatabaseConnection, *, doing: str, lock_timeout_ms: int = 5_000, statement_timeout_ms: int | None = None
) -> Iterator[DatabaseConnection]:
    """One unchanging picture of the database, in which nothing can be written; ends in ROLLBACK.

    `doing` completes "while ..." in errors. `statement_timeout_ms` None means the connection's own; 0 means no limit.
    """
    with _transaction(
        connection, "ISOLATION LEVEL REPEATABLE READ READ ONLY", doing, lock_timeout_ms, statement_timeout_ms
    ):
        yield connection


@contextmanager
def begin_read_write(
    connection: DatabaseConnection,
    *,
    doing: str,
    lock_timeout_ms: int = 5_000,
    statement_timeout_ms: int | None = None,
    committed: Callable[[], None] = lambda: None,
) -> Iterator[DatabaseConnection]:
    """A transaction that commits at the end of the block, or is rolled back whole.

    Raises OutcomeUnknown where COMMIT was sent and no answer came; every other error means that nothing was committed.
    `committed` is called at once when the server has said so, before anything else can go wrong or be interrupted.
    """
    if connection.is_replica:
        # Asked for, the server would refuse BEGIN with "feature not supported" (0A000), which says little.
        text = "the database is a replica, and read-only: it can be planned against, not applied to"
        raise NotAsExpected([Problem(text, hint="give the primary's address")])
    with _transaction(
        connection, "ISOLATION LEVEL READ COMMITTED READ WRITE", doing, lock_timeout_ms, statement_timeout_ms
    ):
        yield connection
        _commit(connection, doing, committed)


@contextmanager
def _transaction(
    connection: DatabaseConnection, mode: str, doing: str, lock_timeout_ms: int, statement_timeout_ms: int | None
) -> Iterator[None]:
    """BEGIN before, ROLLBACK after where the block has not ended the transaction itself."""
    if statement_timeout_ms is None:
        statement_timeout_ms = connection.statement_timeout_ms
    if connection.is_rehearsal:
        from reconciler.database.rehearsal import RehearsalConnection  # here, because no apply has a use for it

        assert isinstance(connection, RehearsalConnection)
        with connection.rehearsed(mode, _settings(connection, lock_timeout_ms, statement_timeout_ms), doing):
            yield
        return
    default, connection.statement_timeout_ms = connection.statement_timeout_ms, statement_timeout_ms
    try:
        connection.execute(_begin(connection, mode, lock_timeout_ms, statement_timeout_ms).encode())
        yield
    except psycopg.Error as error:
        # Not "from error": a driver's error holds the server's DETAIL, and with it rows.
        raise translate(error, doing) from None
    finally:
        _roll_back(connection)
        connection.statement_timeout_ms = default


def _begin(connection: DatabaseConnection, mode: str, lock_timeout_ms: int, statement_timeout_ms: int) -> str:
    settings = _settings(connection, lock_timeout_ms, statement_timeout_ms)
    return "; ".join([f"BEGIN {mode}", *(f"SET LOCAL {setting}" for setting in settings)])


def _settings(connection: DatabaseConnection, lock_timeout_ms: int, statement_timeout_ms: int) -> list[str]:
    settings = [
        f"statement_timeout = {int(statement_timeout_ms)}",
        f"lock_timeout = {int(lock_timeout_ms)}",
        f"idle_in_transaction_session_timeout = {_IDLE_LIMIT_MS}",
        *_NOTICED,
        "TimeZone = 'UTC'",
        "DateStyle = 'ISO, YMD'",
    ]
    if connection.search_path:
        path = ", ".join('"' + name.replace('"', '""') + '"' for name in connection.search_path)
        settings.append(f"search_path = {path}")
    return settings


def _commit(connection: DatabaseConnection, doing: str, committed: Callable[[], None]) -> None:
    if connection.is_rehearsal:
        return
    unknown = OutcomeUnknown(f"the connection to the database was lost while committing ({doing})")
    try:
        status = connection.execute("COMMIT").statusmessage
        if status == "COMMIT":
            committed()
    except psycopg.Error as error:
        if ends_connection(error):
            raise unknown from None
        raise
    except (KeyboardInterrupt, SystemExit):
        raise OutcomeUnknown(f"interrupted while committing ({doing})", interrupted=True) from None
    if status != "COMMIT":
        # The server answers COMMIT of a failed transaction with ROLLBACK, and calls that a success.
        raise Failed(f"an error had been overlooked while {doing}: the database rolled everything back")


def _roll_back(connection: DatabaseConnection) -> None:
    """End the transaction if one is open. A connection that cannot do that is closed, which ends it in the server."""
    status = connection.pgconn.transaction_status
    if status == TransactionStatus.IDLE or connection.closed:
        return
    if status in (TransactionStatus.INTRANS, TransactionStatus.INERROR):
        try:
            connection.execute("ROLLBACK")
            return
        except psycopg.Error:
            pass
        except BaseException:
            connection.close()
            raise
    connection.close()
