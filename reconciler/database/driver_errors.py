"""The one place where the driver's errors become ours, by SQLSTATE.

Takes a psycopg.Error and the words for what was being done; gives the ReconcileError that a user reads. A server's
DETAIL, HINT and CONTEXT lines are never shown, because they can hold whole rows; of a message only the first line is.
"""

from __future__ import annotations

import psycopg

from reconciler.errors import (
    ConnectionLost,
    DatabaseProblem,
    Failed,
    LockNotTaken,
    NotAsExpected,
    Problem,
    ReconcileError,
)

__all__ = ["ends_connection", "translate"]

_LONGEST = 300

# Not only class 08: the server, or a pooler, says goodbye with these and then closes the connection.
_GOODBYE = frozenset({"57P01", "57P02", "57P03", "57P05", "25P03", "25P04"})

_LACKS = {
    "42P01": "a table does not exist",
    "42703": "a column does not exist",
    "42704": "a type or another object does not exist",
    "42883": "a function or an operator does not exist",
    "3F000": "a schema does not exist",
}

_CONSTRAINTS = {
    "23502": "a column that must not be empty would be empty",
    "23503": "a foreign key would point to no row",
    "23505": "a value that must be unique is there already",
    "23514": "a check constraint would be broken",
    "23P01": "an exclusion constraint would be broken",
}

_RESOURCES = {
    "53100": "the database's disk is full",
    "53200": "the database is out of memory",
    "53300": "the database has no connection free",
    "53400": "a limit of the database's configuration is reached",
    "58030": "the database could not read or write its files",
}


def ends_connection(error: psycopg.Error) -> bool:
    """Whether nothing more can come over this connection, so that what was sent last may or may not have been done."""
    state = error.sqlstate
    if state is None:
        return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    return state.startswith("08") or state in _GOODBYE


def translate(error: psycopg.Error, doing: str) -> ReconcileError:
    """Our error for the driver's. `doing` completes "while ...", as in "reading tenants"."""
    state = error.sqlstate or ""
    said = _said(error)
    if ends_connection(error):
        return ConnectionLost(f"the connection to the database was lost while {doing} ({said}): nothing was committed")
    if state == "55P03":
        return LockNotTaken(
            f"a lock was not free in time while {doing}: another session holds a row or a table that is needed; "
            "nothing was committed. Run again, or wait longer with --lock-timeout"
        )
    if state == "40P01":
        return LockNotTaken(
            f"a deadlock with another session was broken up while {doing}: nothing was committed. Run again"
        )
    if state == "40001":
        return Failed(f"another session changed the same rows while {doing}: nothing was committed. Run again")
    if state == "57014":
        return Failed(f"a statement was stopped while {doing} ({said}): nothing was committed")
    if state == "25006":
        return NotAsExpected(
            [
                Problem(
                    f"the database is read-only ({said}, while {doing})",
                    hint="this is a replica, or its role or database is set to read only: give the primary's address",
                )
            ]
        )
    if state == "42501":
        return NotAsExpected(
            [Problem(f"{said} (while {doing})", hint='the role lacks a privilege; "reconcile init" prints the grants')]
        )
    if state in _LACKS:
        return NotAsExpected([Problem(f"{_LACKS[state]}: {said} (while {doing})")])
    if state in _CONSTRAINTS:
        return Failed(f"{_CONSTRAINTS[state]} while {doing}{_object(error)}: nothing was committed")
    if state in _RESOURCES:
        return DatabaseProblem(f"{_RESOURCES[state]} ({said}, while {doing}): nothing was committed")
    return Failed(f"the database refused while {doing}: {said}" + (f" (SQLSTATE {state})" if state else ""))


def _said(error: psycopg.Error) -> str:
    """The first line of what the server said, or of the driver's own words; not too long."""
    text = error.diag.message_primary or str(error) or type(error).__name__
    line = (text.strip().splitlines() or [type(error).__name__])[0].strip()
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"


def _object(error: psycopg.Error) -> str:
    """Which constraint, column and table, as far as the server says so; never a value."""
    diag = error.diag
    parts = (("constraint", diag.constraint_name), ("column", diag.column_name), ("table", diag.table_name))
    named = ", ".join(f'{kind} "{name}"' for kind, name in parts if name)
    return f" ({named})" if named else ""
