"""The line that fails on demand, against a real server: a fault that is not what it says would prove nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import psycopg
import pytest

from tests.support.postgres import Database
from tests.support.proxy import FaultyLine


@pytest.fixture
def line(database: Database) -> Iterator[FaultyLine]:
    database.execute("CREATE TABLE thing (id int)")
    place = urlsplit(database.url)
    with FaultyLine(place.hostname or "127.0.0.1", place.port or 5432) as line:
        yield line


@pytest.fixture
def url(line: FaultyLine, database: Database) -> str:
    return line.url_through(database.url)


def insert(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("INSERT INTO thing VALUES (1)")


def things(database: Database) -> int:
    (row,) = database.execute("SELECT count(*) AS number FROM thing")
    return int(row["number"])


def test_without_a_fault_everything_goes_through(url: str, database: Database) -> None:
    insert(url)
    assert things(database) == 1
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT repeat('x', 1000000)").fetchone()
        assert row == ("x" * 1_000_000,)


def test_a_cut_before_commit_leaves_nothing_committed(line: FaultyLine, url: str, database: Database) -> None:
    line.cut_before(b"COMMIT")
    with pytest.raises(psycopg.OperationalError):
        insert(url)
    assert line.happened.is_set()
    assert things(database) == 0
    insert(url)  # the fault happens once
    assert things(database) == 1


def test_a_lost_answer_to_commit_leaves_the_row_and_an_error(line: FaultyLine, url: str, database: Database) -> None:
    line.lose_answer_to(b"COMMIT")
    with pytest.raises(psycopg.OperationalError):
        insert(url)
    assert line.happened.is_set()
    assert things(database) == 1


def test_a_pattern_that_comes_in_pieces_is_found(line: FaultyLine, url: str, database: Database) -> None:
    line.cut_before(b"x" * 100_000 + b"END")  # larger than what is read at once
    line.cut_before(b"xxEND")
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT %s", ["x" * 200_000 + "END"])
    assert line.happened.is_set()


def test_a_delay_makes_each_round_trip_later(line: FaultyLine, url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        line.delay(0.05)
        began = time.monotonic()
        connection.execute("SELECT 1")
        assert time.monotonic() - began >= 0.1
        line.heal()


def test_a_refusal_resets_what_is_open_and_lets_nobody_in_until_healed(line: FaultyLine, url: str) -> None:
    port = line.port
    with psycopg.connect(url) as connection:
        line.refuse()
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError, match="refused"):
        psycopg.connect(url)
    line.heal()
    assert line.port == port
    psycopg.connect(url).close()


def test_silence_closes_nothing_and_passes_nothing_on(line: FaultyLine, url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        line.fall_silent()
        with pytest.raises(psycopg.errors.ConnectionTimeout):
            psycopg.connect(url, connect_timeout=2)
        with ThreadPoolExecutor() as pool:
            asked = pool.submit(connection.execute, "SELECT 42")
            with pytest.raises(TimeoutError):
                asked.result(0.2)
            line.heal()
            assert asked.result(10).fetchone() == (42,)


def test_a_silent_line_can_be_closed(line: FaultyLine, url: str) -> None:
    line.fall_silent()
    with pytest.raises(psycopg.errors.ConnectionTimeout):
        psycopg.connect(url, connect_timeout=2)
    line.refuse()
    with pytest.raises(psycopg.OperationalError, match="refused"):
        psycopg.connect(url)


def test_a_server_that_is_not_there_is_an_error_at_once(database: Database) -> None:
    with FaultyLine("127.0.0.1", 1) as line, pytest.raises(psycopg.OperationalError):
        psycopg.connect(line.url_through(database.url), connect_timeout=5)
