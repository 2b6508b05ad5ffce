"""One statement of a playbook's drill, with the subject put in.

Takes a connection, the statement and a key; it is sent by the protocol that takes one statement only, so that none can
end the transaction around it.
"""

from __future__ import annotations

import psycopg
from psycopg import sql

from reconciler.database.connection import DatabaseConnection
from reconciler.errors import Failed
from reconciler.runbook.drill_part import SUBJECT_IN_SQL

__all__ = ["execute", "statement_of"]


def statement_of(text: str, subject: str | None) -> str:
    """The statement with the subject's key in it, as a literal."""
    return text.replace(SUBJECT_IN_SQL, sql.Literal(subject).as_string(None)) if subject is not None else text


def execute(connection: DatabaseConnection, text: str, subject: str | None) -> None:
    """Run it. Raises Failed with what the server said."""
    try:
        # In binary it is sent by the protocol that takes one statement only.
        connection.execute(statement_of(text, subject).encode(), binary=True)
    except psycopg.Error as error:
        raise Failed(f"a statement of the drill failed: {(str(error).splitlines() or [''])[0]}") from None
