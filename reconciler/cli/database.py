"""Opens the database that the environment names, and says on stderr what is worth knowing about it."""

from __future__ import annotations

import os

from reconciler.cli.output import say
from reconciler.connection import DatabaseConnection, open_database
from reconciler.database_url import read_environment


def open_from_environment(
    connect_timeout: float, statement_timeout: float, wait: float, application_name: str = "reconcile"
) -> DatabaseConnection:
    """A connection to DATABASE_URL, or to DIRECT_URL where that does not answer. Times are seconds.

    Raises UsageProblem where no address is given, Unreachable where none answers.
    """
    return open_database(
        read_environment(os.environ),
        timeout_s=connect_timeout,
        wait_s=wait,
        statement_timeout_ms=int(statement_timeout * 1000),
        application_name=application_name,
        on_wait=say,
    )
