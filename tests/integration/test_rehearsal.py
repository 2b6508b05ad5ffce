"""A rehearsal: transactions that are savepoints, in one transaction of which nothing is left."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from reconciler.database.connection import connect, is_rehearsing, open_database
from reconciler.database.rehearsal import RehearsalConnection, rehearse
from reconciler.database.transaction import begin_read_only, begin_read_write
from reconciler.database.url import parse_database_url
from reconciler.errors import Failed, ReconcileError
from tests.support.postgres import Database


@pytest.fixture
def rehearsal(empty_database: Database) -> Iterator[RehearsalConnection]:
    empty_database.execute("CREATE TABLE ovens (serial int PRIMARY KEY DEFERRABLE INITIALLY IMMEDIATE)")
    with rehearse(open_database([parse_database_url(empty_database.url, variable="DATABASE_URL")])) as connection:
        yield connection


def ovens(connection: RehearsalConnection) -> list[int]:
    with begin_read_only(connection, doing="counting ovens"):
        return [row[0] for row in connection.execute("SELECT serial FROM ovens ORDER BY 1").fetchall()]


def add(connection: RehearsalConnection, serial: int) -> None:
    with begin_read_write(connection, doing="adding an oven"):
        connection.execute("INSERT INTO ovens VALUES (%s)", (serial,))


def test_what_was_committed_is_seen_by_what_follows_and_by_nobody_else_and_is_gone_at_the_end(
    empty_database: Database,
) -> None:
    empty_database.execute("CREATE TABLE ovens (serial int PRIMARY KEY)")
    address = parse_database_url(empty_database.url, variable="DATABASE_URL")
    with rehearse(open_database([address])) as connection:
        add(connection, 1)
        add(connection, 2)
        assert ovens(connection) == [1, 2]
        assert empty_database.execute("SELECT * FROM ovens") == []
    assert connection.pgconn.status != 0
    assert empty_database.execute("SELECT * FROM ovens") == []
    assert not is_rehearsing()


def test_what_fails_is_rolled_back_alone(rehearsal: RehearsalConnection) -> None:
    add(rehearsal, 1)
    with pytest.raises(ReconcileError, match="adding an oven"):
        add(rehearsal, 1)
    with pytest.raises(ZeroDivisionError), begin_read_write(rehearsal, doing="adding an oven"):
        rehearsal.execute("INSERT INTO ovens VALUES (3)")
        raise ZeroDivisionError
    add(rehearsal, 2)
    assert ovens(rehearsal) == [1, 2]


def test_read_only_is_kept_and_ends_with_its_block(rehearsal: RehearsalConnection) -> None:
    with (
        pytest.raises(ReconcileError, match=r"read-only transaction|may only read|READ ONLY"),
        begin_read_only(rehearsal, doing="looking"),
    ):
        rehearsal.execute("INSERT INTO ovens VALUES (1)")
    add(rehearsal, 2)
    assert ovens(rehearsal) == [2]


def test_whoever_asks_for_a_connection_is_given_this_one_in_whichever_thread_and_cannot_close_it(
    rehearsal: RehearsalConnection,
) -> None:
    nowhere = parse_database_url("postgresql://nobody@127.0.0.1:1/nothing", variable="DIRECT_URL")
    given: list[object] = []

    def ask() -> None:
        with connect(nowhere, connect_timeout_s=1, statement_timeout_ms=0, application_name="x") as connection:
            given.append(connection)

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    assert given == [rehearsal]
    rehearsal.close()
    add(rehearsal, 1)
    assert ovens(rehearsal) == [1]


def test_threads_take_turns(rehearsal: RehearsalConnection) -> None:
    """Without, the savepoint of one would be released by another, and its rows with it."""

    def add_many(first: int) -> None:
        for number in range(first, first + 20):
            try:
                with begin_read_write(rehearsal, doing="adding an oven"):
                    rehearsal.execute("INSERT INTO ovens VALUES (%s)", (number,))
                    if number % 2:
                        raise LookupError
            except LookupError:
                pass

    threads = [threading.Thread(target=add_many, args=(first,)) for first in (0, 100, 200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ovens(rehearsal) == [first + number for first in (0, 100, 200) for number in range(0, 20, 2)]


def test_once_its_transaction_is_over_nothing_is_done_any_more(
    rehearsal: RehearsalConnection, empty_database: Database
) -> None:
    """Whatever ended it: outside of it, a statement would be kept."""
    rehearsal.execute("ROLLBACK")
    with pytest.raises(Failed, match="the rehearsal's transaction is over"):
        add(rehearsal, 1)
    assert empty_database.execute("SELECT * FROM ovens") == []
