"""Opens the database that the environment names, and says on stderr what is worth knowing about it."""

from __future__ import annotations

import os
from contextvars import ContextVar

from reconciler.cli.output import say
from reconciler.database.connection import DatabaseConnection, open_database
from reconciler.database.url import read_environment

_VARIABLES: ContextVar[tuple[str, str | None]] = ContextVar("variables", default=("DATABASE_URL", "DIRECT_URL"))


def use_variables(url: str, direct: str | None) -> None:
    """Take the address from these variables from here on: those of the target that was chosen."""
    _VARIABLES.set((url, direct))


def environment_of_target() -> dict[str, str]:
    """The environment as it would be if the chosen target's database were the only one: for what looks at it whole."""
    url, direct = _VARIABLES.get()
    return os.environ | {
        "DATABASE_URL": os.environ.get(url, ""),
        "DIRECT_URL": os.environ.get(direct, "") if direct else "",
    }


def open_from_environment(
    connect_timeout: float, statement_timeout: float, wait: float, application_name: str = "reconcile"
) -> DatabaseConnection:
    """A connection to DATABASE_URL, or to DIRECT_URL where that does not answer. Times are seconds.

    Raises UsageProblem where no address is given, Unreachable where none answers.
    """
    return open_database(
        read_environment(os.environ, *_VARIABLES.get()),
        timeout_s=connect_timeout,
        wait_s=wait,
        statement_timeout_ms=int(statement_timeout * 1000),
        application_name=application_name,
        on_wait=say,
    )
