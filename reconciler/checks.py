"""Health checks: is it safe to switch something on again? Made only when a restore needs them.

Takes the names needed and their declarations in the policy; gives what each of them saw. All are made at once, each with
its own deadline; a check that cannot be made counts as not passed, and says why. Libraries are imported by the check that
uses them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from string import Template

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
        answers = {name: pool.submit(make_elsewhere, declared[name], environment) for name in elsewhere}
        results = {name: make_on_database(declared[name], connection) for name in on_database}
        results.update({name: answer.result() for name, answer in answers.items()})
    return dict(sorted(results.items()))


def make_elsewhere(check: Check, environment: Mapping[str, str]) -> CheckResult:
    """What a check saw that asks Redis or a URL. Never raises."""
    return _make(_elsewhere(check, environment))


def make_on_database(check: Check, connection: DatabaseConnection) -> CheckResult:
    """What a check saw that asks Postgres. `connection` must be outside of a transaction. Never raises."""
    return _make(_on_database(check, connection))


def unset_variable(check: Check, environment: Mapping[str, str]) -> str | None:
    """The first variable that the check reads from the environment, and that is not set there."""
    if isinstance(check, RedisCheck | BullmqCheck):
        needed = [check.url_variable]
    elif isinstance(check, HttpCheck):
        needed = [name for text in (check.url, *check.headers.values()) for name in Template(text).get_identifiers()]
    else:
        needed = []
    return next((name for name in needed if not environment.get(name)), None)


def _make(check: Callable[[], CheckResult]) -> CheckResult:
    try:
        return check()
    except Exception as error:  # whatever went wrong, the check has not passed, and the run goes on
        first_line = str(error).splitlines()[0] if str(error) else ""
        kind = "" if isinstance(error, LookupError) else type(error).__name__
        return CheckResult(False, ": ".join(filter(None, ("could not be made", kind, first_line))), made=False)


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
