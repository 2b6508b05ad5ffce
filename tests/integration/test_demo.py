"""The demo's surroundings: the database that it makes on a server of yours, what it takes from a shell, how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from demo.__main__ import Story
from demo.server import demo_database
from reconciler.errors import DatabaseProblem
from tests.support.postgres import Database

TOP = Path(__file__).parents[2]


def demo_databases(database: Database) -> list[str]:
    rows = database.execute("SELECT datname FROM pg_database WHERE datname LIKE 'reconcile\\_demo\\_%'")
    return [row["datname"] for row in rows]


def test_on_a_given_server_the_demo_has_a_database_of_its_own_that_is_gone_afterwards(
    empty_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"{empty_database.url}?pgbouncer=true&connection_limit=1")
    with pytest.raises(ZeroDivisionError), demo_database() as place:
        with psycopg.connect(place.address) as connection:
            [(name,)] = connection.execute("SELECT current_database()").fetchall()
        assert all(name in text for text in (place.shown, place.look, place.to_set))
        assert name in demo_databases(empty_database)
        password = urlsplit(empty_database.url).password
        assert not password or password not in place.shown + place.look + place.to_set
        raise ZeroDivisionError
    assert name not in demo_databases(empty_database)


def test_a_role_that_may_make_no_database_is_told_so(
    empty_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", empty_database.role("reader").url)
    with pytest.raises(DatabaseProblem, match="permission denied to create database, which the demo needs there"):
        with demo_database():
            raise AssertionError("there is a database")


def test_what_a_shell_has_for_its_own_platform_does_not_reach_the_demos_commands(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    theirs = ("REDIS_URL", "REDIS_SENTINELS", "DIRECT_URL", "GIT_DIR", "GIT_INDEX_FILE", "RECONCILE_TARGET")
    for name in theirs:
        monkeypatch.setenv(name, "theirs")
    environment = Story("postgresql://demo", tmp_path).environment
    assert environment["DATABASE_URL"] == "postgresql://demo"
    assert not set(theirs) & environment.keys()


def test_a_demo_that_is_kept_stays_where_nothing_can_be_typed_until_a_signal() -> None:
    code = (
        "from pathlib import Path; from demo.__main__ import end_by_signal, wait; from demo.server import Place\n"
        "end_by_signal()\n"
        "try: wait(Place('a', 'b', 'c', 'd'), Path('.'))\n"
        "finally: print('removed')"
    )
    command = [sys.executable, "-c", code]
    environment = {**os.environ, "PYTHONPATH": str(TOP)}
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, env=environment
    ) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if f"kill {demo.pid}" in line:
                demo.send_signal(signal.SIGTERM)
                break
        assert demo.stdout.read() == "removed\n"
    assert demo.returncode == 128 + signal.SIGTERM
