"""The same promises behind a real PgBouncer in transaction mode, which is how the platform's database is reached.

Transactions here commit and repeat: that is when a pooler shows what a client left behind. The program comes from the
distribution (`apt-get install pgbouncer`); where it is absent these tests are skipped.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import psycopg
import pytest

from reconciler.database.connection import DatabaseConnection, open_database
from reconciler.database.transaction import begin_read_only, begin_read_write
from reconciler.database.url import parse_database_url, read_environment
from reconciler.errors import ConnectionLost, Unreachable
from tests.support.pgbouncer import Pooler, needs_pgbouncer, running_pooler
from tests.support.postgres import Database, with_database

pytestmark = needs_pgbouncer


@pytest.fixture
def pooler(empty_database: Database) -> Iterator[Pooler]:
    """PgBouncer with one server connection, so that every transaction runs where the one before it ran."""
    with psycopg.connect(empty_database.url, autocommit=True) as admin:
        admin.execute("CREATE SCHEMA shop")
        admin.execute("CREATE TABLE shop.thing (id int PRIMARY KEY, size int)")
        admin.execute("INSERT INTO shop.thing VALUES (1, 0)")
    with running_pooler(empty_database.url, schema="shop") as pooler:
        yield pooler


def opened(pooler: Pooler, **options: float) -> DatabaseConnection:
    address = parse_database_url(pooler.url, variable="DATABASE_URL")
    return open_database([address], timeout_s=options.get("timeout_s", 5.0))


def backend(connection: DatabaseConnection) -> tuple[int]:
    (pid,) = connection.execute("SELECT pg_backend_pid()").fetchall()[0]
    return (int(pid),)


def test_prismas_url_works_as_it_stands(pooler: Pooler) -> None:
    with opened(pooler) as connection:
        assert connection.address.pooled
        with begin_read_only(connection, doing="reading"):
            # Found by its bare name, because the URL says schema=shop.
            assert connection.execute("SELECT size FROM thing").fetchone() == (0,)


def test_transactions_that_commit_and_repeat_meet_no_prepared_statement(
    pooler: Pooler, empty_database: Database
) -> None:
    with opened(pooler) as one, opened(pooler) as two:
        for number in range(1, 13):
            for connection in (one, two):
                with begin_read_write(connection, doing="counting"):
                    connection.execute("UPDATE thing SET size = size + %s WHERE id = %s", [number, 1])
                with begin_read_only(connection, doing="reading"):
                    connection.execute("SELECT size FROM thing WHERE id = %s", [1])
        assert backend(one) == backend(two)
    with psycopg.connect(empty_database.url) as direct:
        assert direct.execute("SELECT size FROM shop.thing").fetchone() == (2 * sum(range(1, 13)),)
        assert direct.execute("SELECT count(*) FROM pg_prepared_statements").fetchone() == (0,)


def test_what_a_transaction_sets_does_not_reach_the_next_client(pooler: Pooler) -> None:
    names = (
        *("statement_timeout", "lock_timeout", "search_path", "TimeZone", "idle_in_transaction_session_timeout"),
        *("tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_keepalives_count"),
    )
    with opened(pooler) as one, opened(pooler) as two:
        before = [two.execute(f"SHOW {name}".encode()).fetchone() for name in names]
        with begin_read_write(one, doing="testing", lock_timeout_ms=1111, statement_timeout_ms=2222):
            inside = [one.execute(f"SHOW {name}".encode()).fetchone() for name in names]
            pid = backend(one)
        assert inside[:3] == [("2222ms",), ("1111ms",), ("shop",)]
        assert backend(two) == pid
        assert [two.execute(f"SHOW {name}".encode()).fetchone() for name in names] == before


def test_a_transaction_level_advisory_lock_ends_with_its_transaction(pooler: Pooler, empty_database: Database) -> None:
    with opened(pooler) as one, psycopg.connect(empty_database.url, autocommit=True) as direct:
        free = "SELECT pg_try_advisory_xact_lock(4711)"
        with begin_read_write(one, doing="locking"):
            one.execute("SELECT pg_advisory_xact_lock(4711)")
            assert direct.execute(free).fetchone() == (False,)
        assert direct.execute(free).fetchone() == (True,)


def test_a_wrong_password_at_the_pooler_is_said_at_once_and_not_shown(pooler: Pooler) -> None:
    pooler.url = pooler.url.replace("Zq%40s%2Fecret", "Zq%40wrong")
    with pytest.raises(Unreachable, match=r'the password for user "shop\.project" was refused') as caught:
        opened(pooler)
    assert "wrong" not in str(caught.value)


def test_a_pooler_without_a_free_place_is_said(pooler: Pooler) -> None:
    with opened(pooler), opened(pooler), opened(pooler):
        with pytest.raises(Unreachable, match="no connection is free: no more connections allowed"):
            opened(pooler)


def test_a_pooler_whose_only_server_connection_is_busy_is_given_up_in_time(pooler: Pooler) -> None:
    with opened(pooler) as busy, begin_read_write(busy, doing="holding the connection"):
        started = time.monotonic()
        with pytest.raises(Unreachable, match="did not answer within"):
            opened(pooler, timeout_s=0.7)
        assert time.monotonic() - started < 8


def test_a_pooler_that_lets_in_and_answers_no_query_is_passed_over(pooler: Pooler, empty_database: Database) -> None:
    urls = {"DATABASE_URL": pooler.url, "DIRECT_URL": empty_database.url}
    with opened(pooler) as busy, begin_read_write(busy, doing="holding the connection"):
        with open_database(read_environment(urls), timeout_s=1) as connection:
            assert connection.address.variable == "DIRECT_URL"
            assert connection.notes[-1].endswith("; DIRECT_URL is used instead")


def test_a_pooler_whose_database_is_down_is_passed_over(pooler: Pooler, empty_database: Database) -> None:
    unplugged = with_database(pooler.url, "unplugged")
    with pytest.raises(Unreachable, match="the pooler answers, but does not reach its database"):
        open_database(read_environment({"DATABASE_URL": unplugged}), timeout_s=5)
    urls = {"DATABASE_URL": unplugged, "DIRECT_URL": empty_database.url}
    with open_database(read_environment(urls), timeout_s=5) as connection:
        assert connection.address.variable == "DIRECT_URL"


def test_a_database_that_the_pooler_does_not_find_is_named(pooler: Pooler) -> None:
    pooler.url = with_database(pooler.url, "nowhere")
    with pytest.raises(Unreachable, match='there is no database "nowhere"'):
        opened(pooler)


def test_a_pooler_that_dies_in_the_middle_leaves_nothing_committed(pooler: Pooler, empty_database: Database) -> None:
    with opened(pooler) as connection, pytest.raises(ConnectionLost, match="nothing was committed"):
        with begin_read_write(connection, doing="applying"):
            connection.execute("UPDATE thing SET size = 99")
            pooler.process.kill()
            pooler.process.wait(10)
            connection.execute("UPDATE thing SET size = 100")
    with psycopg.connect(empty_database.url) as direct:
        assert direct.execute("SELECT size FROM shop.thing").fetchone() == (0,)


def test_a_server_that_dies_behind_the_pooler_leaves_nothing_committed(
    pooler: Pooler, empty_database: Database
) -> None:
    with opened(pooler) as connection, psycopg.connect(empty_database.url, autocommit=True) as direct:
        with pytest.raises(ConnectionLost, match="nothing was committed"):
            with begin_read_write(connection, doing="applying"):
                connection.execute("UPDATE thing SET size = 99")
                direct.execute("SELECT pg_terminate_backend(%s)", backend(connection))
                connection.execute("UPDATE thing SET size = 100")
        assert direct.execute("SELECT size FROM shop.thing").fetchone() == (0,)
