"""What became of a run whose COMMIT was sent and not answered: the ledger knows.

Takes a way to connect and the run's id; gives whether the run is there, and a connection for what follows it. It stands
apart because it is the one place where a run is looked at from outside of its own transaction, which may still be going
on in the server.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from reconciler.apply import take_lock
from reconciler.database.connection import DatabaseConnection
from reconciler.database.transaction import begin_read_write
from reconciler.errors import LockNotTaken, OutcomeUnknown, ReconcileError

Reconnect = Callable[[], DatabaseConnection]
"""A new connection to the same database. Raises ReconcileError."""


def was_committed(reconnect: Reconnect, run_id: str, cause: str, lock_timeout_ms: int) -> bool:
    """Whether the ledger has the run, once it is certain that nothing more can come of it.

    A server that has got a COMMIT finishes it, whoever has gone; so first the lock is taken that the run's transaction
    holds until its end. Raises OutcomeUnknown, with `cause` and the way to look, where the database cannot be asked.
    """
    try:
        # READ COMMITTED, so that the second statement sees what was committed while the first one waited.
        with reconnect() as connection, begin_read_write(
            connection, doing="looking the run up", lock_timeout_ms=lock_timeout_ms
        ):
            take_lock(connection)
            found = connection.execute("SELECT EXISTS (SELECT FROM reconciler.run WHERE id = %s::uuid)", (run_id,))
            return bool(found.fetchall()[0][0])
    except LockNotTaken:
        why = "its transaction, or another run, is still going on in the database"
    except ReconcileError as error:
        why = str(error)
    except KeyboardInterrupt:
        why = "interrupted again"
    unknown = f"whether run {run_id} was applied is not known ({why}). Find out: reconcile history --run {run_id}"
    raise OutcomeUnknown(cause, unknown)


@contextmanager
def answering(connection: DatabaseConnection, reconnect: Reconnect | None) -> Iterator[DatabaseConnection]:
    """The connection or, where it was lost with an answer, a new one for as long as the block lasts.

    Raises nothing: where the database cannot be reached, the block is given the lost one, and fails as with any that
    breaks.
    """
    if not connection.closed or reconnect is None:
        yield connection
        return
    try:
        another = reconnect()
    except (ReconcileError, KeyboardInterrupt):
        yield connection
        return
    with another:
        yield another
