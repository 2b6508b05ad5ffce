"""Health checks: is it safe to switch something on again? Made only when a restore needs them.

Takes the names needed and their declarations in the policy; gives what each of them saw. All are made at once, each with
its own deadline; a check that cannot be made counts as not passed, and says why. Libraries are imported by the check that
uses them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor

from reconciler.connection import DatabaseConnection
from reconciler.guards import CheckResult
from reconciler.policy import BullmqCheck, Check, HttpCheck, PostgresCheck, RedisCheck, SqlCheck


def run_checks(
    names: Iterable[str],
    declared: Mapping[str, Check],
    connection: DatabaseConnection,
    environment: Mapping[str, str] = os.environ,
) -> dict[str, CheckResult]:
    """What each of the named checks saw. `connection` must be outside of a transaction. Never raises for a check."""
    wanted = sorted(names)
    on_database = [name for name in wanted if isinstance(declared[name], PostgresCheck | SqlCheck)]
    elsewhere = [name for name in wanted if name not in on_database]
    with ThreadPoolExecutor(max_workers=8) as pool:
        answers = {name: pool.submit(_make, _elsewhere(declared[name], environment)) for name in elsewhere}
        results = {name: _make(_on_database(declared[name], connection)) for name in on_database}
        results.update({name: answer.result() for name, answer in answers.items()})
    return dict(sorted(results.items()))


def _make(check: Callable[[], CheckResult]) -> CheckResult:
    try:
        return check()
    except Exception as error:  # whatever went wrong, the check has not passed, and the run goes on
        first_line = str(error).splitlines()[0] if str(error) else ""
        return CheckResult(False, f"could not be made: {type(error).__name__}" + (f": {first_line}" if first_line else ""))


def _elsewhere(check: Check, environment: Mapping[str, str]) -> Callable[[], CheckResult]:
    if isinstance(check, HttpCheck):
        from reconciler.check_http import check_http

        return lambda: check_http(check, environment)
    from reconciler.check_redis import check_bullmq, check_redis

    if isinstance(check, BullmqCheck):
        return lambda: check_bullmq(check, environment)
    assert isinstance(check, RedisCheck)
    return lambda: check_redis(check, environment)


def _on_database(check: Check, connection: DatabaseConnection) -> Callable[[], CheckResult]:
    from reconciler.check_database import check_postgres, check_sql

    if isinstance(check, PostgresCheck):
        return lambda: check_postgres(check, connection)
    assert isinstance(check, SqlCheck)
    return lambda: check_sql(check, connection)
