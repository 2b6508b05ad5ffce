"""The health checks that ask Postgres: its latency, and a query of the policy.

Takes a check's declaration and a connection outside of a transaction; gives what it saw. READ ONLY. Driver errors leave
translated (see `transaction`).
"""

from __future__ import annotations

import time

from reconciler.database.connection import DatabaseConnection
from reconciler.database.transaction import begin_read_only
from reconciler.errors import ReconcileError
from reconciler.fields import seconds
from reconciler.guards import CheckResult
from reconciler.policy import PostgresCheck, SqlCheck


def check_postgres(check: PostgresCheck, connection: DatabaseConnection) -> CheckResult:
    """The best of three trivial queries must answer in less than `latency_below` milliseconds."""
    try:
        with begin_read_only(
            connection, doing="checking the latency", statement_timeout_ms=seconds(check.timeout) * 1000
        ):
            took = min(_one_round_trip_ms(connection) for _ in range(3))
    except ReconcileError as error:
        return CheckResult(False, f"no answer: {str(error).splitlines()[0]}")
    return CheckResult(took < check.latency_below, f"answers in {took:.1f} ms (limit {check.latency_below} ms)")


def _one_round_trip_ms(connection: DatabaseConnection) -> float:
    started = time.perf_counter()
    connection.execute("SELECT 1")
    return (time.perf_counter() - started) * 1000


def check_sql(check: SqlCheck, connection: DatabaseConnection) -> CheckResult:
    """The first column of the query's first row must be true."""
    with begin_read_only(
        connection, doing="making a check of the policy", statement_timeout_ms=seconds(check.timeout) * 1000
    ):
        # In binary it is sent by the protocol that takes one statement only, so none can end the transaction.
        row = connection.execute(check.query.encode(), binary=True).fetchone()
    if row is None:
        return CheckResult(False, "the query returned no row")
    [found, *_] = row
    if found is True:
        return CheckResult(True, "true")
    said = {"False": "false", "None": "null"}.get(repr(found), str(found)[:60])  # as SQL says it
    return CheckResult(False, f"the query returned {said}, not true")
