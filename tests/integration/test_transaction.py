"""Transactions on a real server and over lines that break, and what the driver's errors become."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from reconciler.database.connection import DatabaseConnection, open_database
from reconciler.database.transaction import begin_read_only, begin_read_write
from reconciler.database.url import parse_database_url
from reconciler.errors import ConnectionLost, Failed, LockNotTaken, NotAsExpected, OutcomeUnknown, ReconcileError
from tests.support.postgres import Database
from tests.support.proxy import FaultyLine


def opened(url: str, **options: Any) -> DatabaseConnection:
    return open_database([parse_database_url(url, variable="DATABASE_URL")], **options)


@pytest.fixture
def database(empty_database: Database) -> Database:
    empty_database.execute("CREATE TABLE thing (id int PRIMARY KEY, size int CHECK (size < 100), secret text NOT NULL)")
    empty_database.execute("INSERT INTO thing VALUES (1, 10, 'hush')")
    return empty_database


@pytest.fixture
def connection(database: Database) -> Iterator[DatabaseConnection]:
    with opened(database.url) as connection:
        yield connection


@pytest.fixture
def line(database: Database) -> Iterator[FaultyLine]:
    place = urlsplit(database.url)
    with FaultyLine(str(place.hostname), place.port or 5432) as line:
        yield line


def sizes(database: Database) -> list[int]:
    return [row["size"] for row in database.execute("SELECT size FROM thing ORDER BY id")]


@contextmanager
def within(seconds: float) -> Iterator[None]:
    started = time.monotonic()
    try:
        yield
    finally:
        assert time.monotonic() - started < seconds


WATCHED = ("idle", "interval", "count")


def test_a_transaction_begins_in_one_statement_and_sets_its_own_limits(database: Database) -> None:
    with opened(database.url + "?schema=odd%22name") as connection:
        pid = connection.info.backend_pid
        with begin_read_only(connection, doing="testing", lock_timeout_ms=1234, statement_timeout_ms=5678):
            (last,) = database.execute("SELECT query FROM pg_stat_activity WHERE pid = %s", [pid])
            shown = {
                name: connection.execute(f"SHOW {name}".encode()).fetchone()
                for name in ("statement_timeout", "lock_timeout", "TimeZone", "search_path", "transaction_isolation")
            }
            # How long a client that is gone without a word is waited for, and its locks kept: 15 s + 3 * 5 s.
            keepalives = [connection.execute(f"SHOW tcp_keepalives_{name}".encode()).fetchone() for name in WATCHED]
    assert keepalives == [("15",), ("5",), ("3",)]
    assert last["query"].startswith("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL ")
    assert last["query"].endswith('SET LOCAL search_path = "odd""name"')
    assert shown == {
        "statement_timeout": ("5678ms",),
        "lock_timeout": ("1234ms",),
        "TimeZone": ("UTC",),
        "search_path": ('"odd""name"',),
        "transaction_isolation": ("repeatable read",),
    }


def test_nothing_that_a_transaction_set_outlives_it(connection: DatabaseConnection) -> None:
    settings = [b"SHOW lock_timeout", b"SHOW tcp_keepalives_idle"]
    before = [connection.execute(setting).fetchone() for setting in settings]
    with begin_read_write(connection, doing="testing", lock_timeout_ms=1234):
        assert [connection.execute(setting).fetchone() for setting in settings] == [("1234ms",), ("15",)]
    assert [connection.execute(setting).fetchone() for setting in settings] == before


def test_a_write_is_committed_at_the_end_of_the_block(connection: DatabaseConnection, database: Database) -> None:
    with begin_read_write(connection, doing="testing"):
        connection.execute("UPDATE thing SET size = 11")
        assert sizes(database) == [10]
    assert sizes(database) == [11]


@pytest.mark.parametrize("exception", [ValueError, KeyboardInterrupt, SystemExit])
def test_whatever_leaves_the_block_rolls_it_back(
    connection: DatabaseConnection, database: Database, exception: type[BaseException]
) -> None:
    with pytest.raises(exception), begin_read_write(connection, doing="testing"):
        connection.execute("UPDATE thing SET size = 11")
        raise exception
    assert sizes(database) == [10]
    with begin_read_write(connection, doing="testing again"):
        connection.execute("UPDATE thing SET size = 12")
    assert sizes(database) == [12]


def test_a_read_only_transaction_refuses_to_write(connection: DatabaseConnection) -> None:
    with pytest.raises(NotAsExpected, match="read-only"), begin_read_only(connection, doing="reading"):
        connection.execute("UPDATE thing SET size = 11")


def test_an_error_that_the_block_swallowed_is_not_taken_for_a_commit(
    connection: DatabaseConnection, database: Database
) -> None:
    with pytest.raises(Failed, match="rolled everything back"), begin_read_write(connection, doing="testing"):
        connection.execute("UPDATE thing SET size = 11")
        with pytest.raises(psycopg.Error):
            connection.execute("SELECT 1/0")
    assert sizes(database) == [10]


def test_a_connection_killed_in_the_middle_has_committed_nothing(
    connection: DatabaseConnection, database: Database
) -> None:
    with pytest.raises(ConnectionLost, match="nothing was committed"), begin_read_write(connection, doing="testing"):
        connection.execute("UPDATE thing SET size = 11")
        with database.connect() as other:
            other.execute("SELECT pg_terminate_backend(%s)", [connection.info.backend_pid])
        connection.execute("UPDATE thing SET size = 12")
    assert connection.closed
    assert sizes(database) == [10]


def test_a_connection_cut_before_commit_arrives_leaves_the_outcome_unknown(
    line: FaultyLine, database: Database
) -> None:
    with opened(line.url_through(database.url)) as connection:
        line.cut_before(b"COMMIT\0")
        with pytest.raises(OutcomeUnknown, match="whether it was committed is not known"):
            with begin_read_write(connection, doing="applying"):
                connection.execute("UPDATE thing SET size = 11")
        assert connection.closed
    assert sizes(database) == [10]


def test_a_commit_whose_answer_is_lost_leaves_the_outcome_unknown(line: FaultyLine, database: Database) -> None:
    with opened(line.url_through(database.url)) as connection:
        line.lose_answer_to(b"COMMIT\0")
        with pytest.raises(OutcomeUnknown, match="whether it was committed is not known"):
            with begin_read_write(connection, doing="applying"):
                connection.execute("UPDATE thing SET size = 11")
        assert connection.closed
    assert sizes(database) == [11]


def test_a_server_that_falls_silent_is_given_up(line: FaultyLine, database: Database) -> None:
    with opened(line.url_through(database.url), statement_timeout_ms=200) as connection:
        with pytest.raises(ConnectionLost, match="no answer for"), within(15):
            with begin_read_write(connection, doing="testing"):
                line.fall_silent()
                connection.execute("SELECT 1")


def test_a_silent_server_does_not_hold_up_the_rollback(line: FaultyLine, database: Database) -> None:
    with opened(line.url_through(database.url), statement_timeout_ms=200) as connection:
        with pytest.raises(ValueError, match="mine"), within(15), begin_read_write(connection, doing="testing"):
            line.fall_silent()
            raise ValueError("mine")
        assert connection.closed


def test_ctrl_c_interrupts_a_query_that_blocks(connection: DatabaseConnection, database: Database) -> None:
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt), within(15), begin_read_write(connection, doing="testing"):
        connection.execute("UPDATE thing SET size = 11")
        timer.start()
        connection.execute("SELECT pg_sleep(20)")
    assert sizes(database) == [10]


def test_ctrl_c_during_commit_leaves_the_outcome_unknown(connection: DatabaseConnection, database: Database) -> None:
    database.execute("CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(20); END'")
    database.execute(
        "CREATE CONSTRAINT TRIGGER late AFTER UPDATE ON thing DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW EXECUTE FUNCTION dawdle()"
    )
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    with pytest.raises(OutcomeUnknown, match="interrupted while committing"), within(15):
        with begin_read_write(connection, doing="applying"):
            connection.execute("UPDATE thing SET size = 11")
            timer.start()


def doing(connection: DatabaseConnection, sql: str, **options: Any) -> ReconcileError:
    with pytest.raises(ReconcileError) as caught, begin_read_write(connection, doing="testing", **options):
        connection.execute(sql.encode())
    assert caught.value.__cause__ is None
    return caught.value


@pytest.mark.parametrize(
    ("sql", "kind", "says"),
    [
        ("SELECT * FROM nothing", NotAsExpected, 'a table does not exist: relation "nothing" does not exist'),
        ("SELECT nope FROM thing", NotAsExpected, 'a column does not exist: column "nope" does not exist'),
        ("SELECT 'x'::nope", NotAsExpected, 'type "nope" does not exist'),
        ("INSERT INTO thing VALUES (2, 100, 'Zqhush')", Failed, 'constraint "thing_size_check"'),
        ("INSERT INTO thing VALUES (1, 1, 'Zqhush')", Failed, 'constraint "thing_pkey"'),
        ("INSERT INTO thing (id, size) VALUES (2, 1)", Failed, 'column "secret", table "thing"'),
        ("SELECT 1/0", Failed, "division by zero (SQLSTATE 22012)"),
        ("SELECT pg_sleep(5)", Failed, "canceling statement due to statement timeout"),
    ],
)
def test_a_servers_error_says_what_and_where_and_no_row(
    connection: DatabaseConnection, sql: str, kind: type[ReconcileError], says: str
) -> None:
    error = doing(connection, sql, statement_timeout_ms=300)
    assert type(error) is kind
    assert says in str(error)
    assert "testing" in str(error)
    assert "Zqhush" not in str(error)
    assert "Failing row" not in str(error)


def test_a_foreign_key_names_its_constraint_and_no_value(connection: DatabaseConnection) -> None:
    connection.execute(
        "CREATE TABLE part (thing int CONSTRAINT of_a_thing REFERENCES thing DEFERRABLE INITIALLY DEFERRED)"
    )
    error = doing(connection, "INSERT INTO part VALUES (424242)")
    assert 'constraint "of_a_thing"' in str(error)
    assert "424242" not in str(error)
    assert not isinstance(error, OutcomeUnknown)


def test_a_missing_privilege_names_the_table(database: Database) -> None:
    with opened(database.role("reader", grants=["SELECT ON thing"]).url) as connection:
        error = doing(connection, "UPDATE thing SET size = 1")
    assert isinstance(error, NotAsExpected)
    assert "permission denied for table thing" in str(error)


def test_a_locked_row_is_a_lock_not_taken_after_the_lock_timeout(
    connection: DatabaseConnection, database: Database
) -> None:
    with psycopg.connect(database.url) as other:
        other.execute("SELECT * FROM thing FOR UPDATE")
        with within(15):
            error = doing(connection, "UPDATE thing SET size = 11", lock_timeout_ms=200)
        other.rollback()
    assert isinstance(error, LockNotTaken)


def test_a_deadlock_is_a_lock_not_taken(connection: DatabaseConnection, database: Database) -> None:
    connection.execute("INSERT INTO thing VALUES (2, 20, 'hush')")
    blocked = threading.Event()
    with psycopg.connect(database.url) as other:
        other.execute("SET LOCAL deadlock_timeout = '20s'")
        other.execute("UPDATE thing SET size = 21 WHERE id = 2")

        def cross() -> None:
            blocked.set()
            other.execute("UPDATE thing SET size = 12 WHERE id = 1")

        thread = threading.Thread(target=cross)
        with pytest.raises(LockNotTaken, match="deadlock"):
            with begin_read_write(connection, doing="testing", lock_timeout_ms=0):
                connection.execute("SET LOCAL deadlock_timeout = '100ms'")
                connection.execute("UPDATE thing SET size = 11 WHERE id = 1")
                thread.start()
                assert blocked.wait(5)
                connection.execute("UPDATE thing SET size = 22 WHERE id = 2")
        thread.join(5)


def test_a_serialization_failure_asks_to_run_again(connection: DatabaseConnection, database: Database) -> None:
    with pytest.raises(Failed, match="another session changed the same rows"):
        with begin_read_write(connection, doing="testing"):
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            connection.execute("SELECT 1 FROM thing")
            with database.connect() as other:
                other.execute("UPDATE thing SET size = 12")
            connection.execute("UPDATE thing SET size = 13")
    assert sizes(database) == [12]
