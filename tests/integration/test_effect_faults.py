"""A line to Postgres or to Redis that breaks, stalls or is slow, at each step of an apply with effects.

Whatever step it is: the database holds all of the run or nothing of it, and running again completes it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from reconciler.database.connection import DatabaseConnection
from reconciler.drill.redis_server import RedisServer, running_redis
from reconciler.effects.delivery import Pass
from reconciler.errors import ReconcileError
from reconciler.outcome import Outcome
from tests.support.postgres import Database
from tests.support.proxy import FaultyLine
from tests.support.shops import Shops, connected, effects_of
from tests.support.waiting import wait_until

EFFECTS = effects_of(
    {"redis_stream": {"stream": "shops", "data": {"shop": "$key"}}},
    {"bullmq": {"queue": "q", "job": "CLOSE"}},
)
QUICK = "delivery: {timeout: 1s, backoff: 1s}\n"

STEPS = [
    b"ISOLATION LEVEL READ COMMITTED",
    b"pg_advisory_xact_lock",
    b"FOR NO KEY UPDATE",
    b"INSERT INTO reconciler.run",
    b'UPDATE "public"."shops"',
    b"INSERT INTO reconciler.change",
    b'INSERT INTO "public"."journal"',
    b"INSERT INTO reconciler.managed_row",
    b"INSERT INTO reconciler.mark",
    b"INSERT INTO reconciler.outbox",
    b"COMMIT",
    b"FOR UPDATE OF o SKIP LOCKED",
    b"SET attempts = o.attempts + 1",
]
"""What an apply says to Postgres, in order, the delivery after the commit included."""

KEYS = ("a", "b")


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with running_redis() as server:
        yield server


@pytest.fixture
def redis_line(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyLine]:
    """A line to an empty Redis, which REDIS_URL names."""
    with server.client() as client:
        client.flushall()
    with FaultyLine("127.0.0.1", server.port) as line:
        monkeypatch.setenv("REDIS_URL", f"redis://127.0.0.1:{line.port}/0")
        yield line


@pytest.fixture
def connection(empty_database: Database) -> Iterator[DatabaseConnection]:
    with connected(empty_database.url) as connection:
        yield connection


@pytest.fixture
def shops(connection: DatabaseConnection, redis_line: FaultyLine) -> Shops:
    """Two shops that git wants closed; nothing is applied yet."""
    shops = Shops(connection, is_open=EFFECTS)
    shops.add(*KEYS)
    for key in KEYS:
        shops.ask(key, is_open=False)
    return shops


def apply_over(url: str, shops: Shops) -> Outcome | None:
    """An apply on a connection of its own; None where it failed, as it may."""
    own = shops.connection
    try:
        with connected(url) as connection:
            shops.connection = connection
            return shops.apply()
    except ReconcileError:
        return None
    finally:
        shops.connection = own


def counts(shops: Shops) -> tuple[int, int, int, int]:
    """How many shops are closed, and how many audit entries, changes and effects there are."""
    row = shops.connection.execute(
        """
        SELECT (SELECT count(*) FROM shops WHERE NOT is_open), (SELECT count(*) FROM journal),
               (SELECT count(*) FROM reconciler.change), (SELECT count(*) FROM reconciler.outbox)
        """
    ).fetchone()
    assert row is not None
    return row


ALL, NOTHING = (2, 2, 2, 4), (0, 0, 0, 0)
OPEN = """
SELECT FROM pg_stat_activity
 WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL
"""


def arrived(server: RedisServer) -> tuple[set[str], int]:
    """Of which shops the stream tells, and how many jobs wait."""
    with server.client() as client:
        return {fields["shop"] for _, fields in client.xrange("shops")}, client.llen("bull:q:wait")


@pytest.mark.parametrize("fault", ["cut_before", "lose_answer_to"])
@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.decode().replace('"', ""))
def test_a_line_to_postgres_that_breaks_leaves_all_or_nothing(
    shops: Shops, server: RedisServer, empty_database: Database, step: bytes, fault: str
) -> None:
    place = urlsplit(empty_database.url)
    with FaultyLine(str(place.hostname), place.port or 5432) as line:
        getattr(line, fault)(step)
        outcome = apply_over(line.url_through(empty_database.url), shops)
        assert line.happened.is_set()
    wait_until(lambda: not empty_database.execute(OPEN))  # the server may be the last to notice
    found = counts(shops)
    assert found in (ALL, NOTHING)
    assert outcome is None or found == ALL
    if found == NOTHING:
        assert arrived(server) == (set(), 0)
    shops.apply()
    shops.deliver(Pass(eager=True))
    assert counts(shops) == ALL
    assert arrived(server) == (set(KEYS), 2)
    assert set(shops.outbox()) == {"delivered"}


@pytest.mark.parametrize("fault", ["cut_before", "lose_answer_to"])
@pytest.mark.parametrize("step", [b"CLIENT", b"XADD", b"SCRIPT", b"MULTI", b"EVALSHA", b"EXEC"], ids=bytes.decode)
def test_a_line_to_redis_that_breaks_fails_nothing_and_loses_nothing(
    shops: Shops, server: RedisServer, redis_line: FaultyLine, step: bytes, fault: str
) -> None:
    getattr(redis_line, fault)(step)
    outcome = shops.apply()
    assert redis_line.happened.is_set()
    assert counts(shops) == ALL
    assert outcome.applied == 2
    assert outcome.effects.waiting >= 1
    assert any("not delivered" in notice.message for notice in outcome.notices)
    shops.deliver(Pass(eager=True))
    assert arrived(server) == (set(KEYS), 2)


def test_a_line_to_redis_that_falls_silent_costs_one_deadline(
    connection: DatabaseConnection, server: RedisServer, redis_line: FaultyLine
) -> None:
    shops = Shops(connection, policy=QUICK, is_open=EFFECTS)
    for key in shops.add_many(20):
        shops.ask(key, is_open=False)
    redis_line.fall_silent()
    started = time.monotonic()
    outcome = shops.apply()
    assert time.monotonic() - started < 15  # once for each message would take forty
    assert outcome.effects.waiting == 40
    redis_line.heal()
    assert shops.deliver(Pass(eager=True)).delivered == 40
    assert len(arrived(server)[0]) == arrived(server)[1] == 20


def test_a_line_to_redis_that_is_slow_is_only_slow(shops: Shops, server: RedisServer, redis_line: FaultyLine) -> None:
    redis_line.delay(0.05)
    assert shops.apply().effects.delivered == 4
    assert arrived(server) == (set(KEYS), 2)


def test_a_line_to_redis_that_refuses_everybody_is_said(shops: Shops, redis_line: FaultyLine) -> None:
    redis_line.refuse()
    outcome = shops.apply()
    assert outcome.effects.waiting == 4
    assert any(f"127.0.0.1:{redis_line.port}" in notice.message for notice in outcome.notices)
