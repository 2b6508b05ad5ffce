"""One transaction around everything, rolled back at the end: what commands do is done for real, and then undone.

Takes a DatabaseConnection; gives a RehearsalConnection, which `connection.only_connection` hands to whoever asks. What
are transactions elsewhere are savepoints in it: they are kept or rolled back as transactions would be, and see what
those before them have left. READ COMMITTED throughout, as the one around them has begun so; READ ONLY is kept.

What a transaction cannot take back: numbers that a sequence has given out, and what functions do outside of Postgres.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from reconciler.database.connection import DatabaseConnection, only_connection
from reconciler.database.driver_errors import translate
from reconciler.errors import Failed

__all__ = ["RehearsalConnection", "rehearse"]

_SAVEPOINT = "reconcile_rehearsal"


class RehearsalConnection(DatabaseConnection):
    """A connection inside the transaction of a rehearsal. Closing it does nothing: it is everybody's.

    Threads take turns: each has its savepoint to itself.
    """

    is_rehearsal = True

    def __init__(self, connection: DatabaseConnection) -> None:
        super().__init__(connection.pgconn, tuple_row)
        self.address = connection.address
        self.statement_timeout_ms = connection.statement_timeout_ms
        self.prepare_threshold = None
        self.autocommit = True
        self._turn = threading.RLock()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing: whoever began the rehearsal ends it."""

    def close(self) -> None:
        """Nothing: whoever began the rehearsal ends it."""

    @contextmanager
    def rehearsed(self, mode: str, settings: Sequence[str], doing: str) -> Iterator[None]:
        """What is a transaction elsewhere. Released at the end of the block, rolled back where anything is raised."""
        read_only = "READ ONLY" in mode
        with self._turn:
            if self.pgconn.transaction_status != TransactionStatus.INTRANS:
                raise Failed(f"the rehearsal's transaction is over, so nothing is done any more ({doing})")
            try:
                begin = [f"SAVEPOINT {_SAVEPOINT}", *(f"SET LOCAL {one}" for one in settings)]
                begin += ["SET TRANSACTION READ ONLY"] if read_only else []
                self.execute("; ".join(begin).encode())
                kept = False
                try:
                    yield
                    kept = not read_only and self.pgconn.transaction_status == TransactionStatus.INTRANS
                finally:
                    if not self.closed:
                        back = "" if kept else f"ROLLBACK TO SAVEPOINT {_SAVEPOINT}; "
                        self.execute(f"{back}RELEASE SAVEPOINT {_SAVEPOINT}".encode())
            except psycopg.Error as error:
                # Not "from error": a driver's error holds the server's DETAIL, and with it rows.
                raise translate(error, doing) from None


@contextmanager
def rehearse(connection: DatabaseConnection) -> Iterator[RehearsalConnection]:
    """Begin, hand the connection to whoever asks for one, and roll everything back, whatever has happened.

    The connection is closed at the end, which would roll back as well.
    """
    rehearsal = RehearsalConnection(connection)
    try:
        rehearsal.execute("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE")
        with only_connection(rehearsal):
            yield rehearsal
    finally:
        try:
            if not connection.closed:
                connection.execute("ROLLBACK")
        finally:
            connection.close()
