"""Health checks: is it safe to switch something on again? Made only when a restore needs them.

Takes the names needed and their declarations in the policy; gives what each of them saw. All are made at once, each
with its own deadline, which nothing that a server or a resolver does can move; a check that cannot be made counts as
not passed, and says why. Libraries are imported by the check that uses them.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from string import Template

from reconciler.database.connection import DatabaseConnection
from reconciler.errors import ReconcileError
from reconciler.fields import seconds
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
    started = {name: _start(declared[name], environment) for name in wanted if name not in on_database}
    results = {name: make_on_database(declared[name], connection) for name in on_database}
    results |= {name: answer() for name, answer in started.items()}
    return dict(sorted(results.items()))


def make_elsewhere(check: Check, environment: Mapping[str, str]) -> CheckResult:
    """What a check saw that asks Redis or a URL, within its timeout. Never raises."""
    return _start(check, environment)()


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


def _start(check: Check, environment: Mapping[str, str]) -> Callable[[], CheckResult]:
    """Begin a check; what is returned waits for it until its deadline.

    In a thread of its own, and one that the process does not wait for: a socket's timeout is for one operation, begins
    anew with every byte that drips in, and does not cover the look-up of a name.
    """
    answers: list[CheckResult] = []
    deadline = time.monotonic() + seconds(check.timeout)
    thread = threading.Thread(target=lambda: answers.append(_make(_elsewhere(check, environment))), daemon=True)
    thread.start()

    def wait() -> CheckResult:
        thread.join(max(deadline - time.monotonic(), 0.0))
        return answers[0] if answers else CheckResult(False, f"no answer within {check.timeout}")

    return wait


def _make(check: Callable[[], CheckResult]) -> CheckResult:
    try:
        return check()
    except ReconcileError as error:
        return CheckResult(False, f"could not be made: {str(error).splitlines()[0]}", made=False)
    except Exception as error:  # whatever went wrong, the check has not passed, and the run goes on
        # Without the error's text: it may quote a URL or a header, with what is secret in them.
        return CheckResult(False, f"could not be made: {type(error).__name__}", made=False)


def _elsewhere(check: Check, environment: Mapping[str, str]) -> Callable[[], CheckResult]:
    if isinstance(check, HttpCheck):
        from reconciler.checks.http import check_http

        return lambda: check_http(check, environment)
    from reconciler.checks.redis import check_bullmq, check_redis

    if isinstance(check, BullmqCheck):
        return lambda: check_bullmq(check, environment)
    assert isinstance(check, RedisCheck)
    return lambda: check_redis(check, environment)


def _on_database(check: Check, connection: DatabaseConnection) -> Callable[[], CheckResult]:
    from reconciler.checks.database import check_postgres, check_sql

    if isinstance(check, PostgresCheck):
        return lambda: check_postgres(check, connection)
    assert isinstance(check, SqlCheck)
    return lambda: check_sql(check, connection)
