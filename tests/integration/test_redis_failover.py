"""Sentinel and Cluster when a part of them is paused, killed or replaced: nothing is lost; each costs one deadline."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
import redis

from reconciler.database.connection import DatabaseConnection
from reconciler.drill.redis_server import RedisServer, free_port, running_redis
from reconciler.effects.delivery import Pass
from tests.support.postgres import Database
from tests.support.shops import Shops, connected, effects_of
from tests.support.waiting import wait_until

QUICK = "delivery: {timeout: 1s, backoff: 1s}\n"
STREAM = {"redis_stream": {"stream": "s:$key", "data": {"shop": "$key"}}}
JOB = {"bullmq": {"queue": "q", "job": "CLOSE", "prefix": "{bull}"}}


@pytest.fixture
def connection(empty_database: Database) -> Iterator[DatabaseConnection]:
    with connected(empty_database.url) as connection:
        yield connection


@pytest.fixture
def shops(connection: DatabaseConnection) -> Shops:
    """Twenty shops that git wants closed; nothing is applied yet."""
    shops = Shops(connection, policy=QUICK, is_open=effects_of(STREAM, JOB))
    for key in shops.add_many(20):
        shops.ask(key, is_open=False)
    return shops


def streams(*servers: RedisServer) -> int:
    """How many shops are told of, on these servers together."""
    return sum(len(_asked(server, "KEYS", "s:*")) for server in servers)


def jobs(*servers: RedisServer) -> int:
    """How many jobs there are, on these servers together."""
    return sum(len(_asked(server, "KEYS", "{bull}:q:????????-*")) for server in servers)


def _asked(server: RedisServer, *command: Any) -> Any:
    with server.client() as client:
        return client.execute_command(*command)


def all_are_delivered(shops: Shops) -> bool:
    """Deliver what waits, and say whether nothing is left. Half of the time goes to a sentinel that is silent."""
    shops.deliver(Pass(eager=True), timeout="2s")
    return set(shops.outbox()) == {"delivered"}


# Sentinel


def is_primary(server: RedisServer) -> bool:
    """Whether it has been promoted; while it is, it closes the connections that it has."""
    try:
        return bool(_asked(server, "ROLE")[0] == "master")
    except redis.ConnectionError:
        return False


@contextmanager
def watched_pair() -> Iterator[tuple[RedisServer, RedisServer, RedisServer]]:
    """A primary, its replica, and a sentinel that replaces the one by the other once it is told to `hurry`."""
    with running_redis() as primary, running_redis(replicaof=f"127.0.0.1 {primary.port}") as replica:
        lines = [
            f"sentinel monitor shops 127.0.0.1 {primary.port} 1",
            "sentinel down-after-milliseconds shops 600000",
            "sentinel failover-timeout shops 2000",
        ]
        wait_until(lambda: _asked(replica, "INFO")["master_link_status"] == "up", 20)
        with running_redis(arguments=["--sentinel"], lines=lines) as sentinel:
            wait_until(lambda: len(_asked(sentinel, "SENTINEL", "REPLICAS", "shops")) == 1, 20)
            yield primary, replica, sentinel


def hurry(sentinel: RedisServer) -> None:
    """From now on a primary that is silent for 0.3 s is replaced."""
    _asked(sentinel, "SENTINEL", "SET", "shops", "down-after-milliseconds", "300")


@pytest.mark.parametrize("fault", ["kill", "pause"])
def test_what_the_old_primary_did_not_take_is_sent_to_the_new_one(
    shops: Shops, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with watched_pair() as (primary, replica, sentinel):
        nobody = free_port()
        monkeypatch.setenv("REDIS_URL", f"redis+sentinel://127.0.0.1:{nobody},127.0.0.1:{sentinel.port}/shops/0")
        getattr(primary, fault)()
        outcome = shops.apply()
        assert (outcome.applied, outcome.effects.waiting) == (20, 40)
        assert any("not delivered" in notice.message for notice in outcome.notices)
        hurry(sentinel)
        wait_until(lambda: is_primary(replica), 30)
        wait_until(lambda: all_are_delivered(shops), 20)  # a pass has two seconds, and may send a part
        assert (streams(replica), jobs(replica)) == (20, 20)


def test_sentinels_that_are_silent_cost_one_deadline_and_what_waits_arrives(
    shops: Shops, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_redis() as primary, ExitStack() as closing:
        watching = [f"sentinel monitor shops 127.0.0.1 {primary.port} 2"]
        both = [closing.enter_context(running_redis(arguments=["--sentinel"], lines=watching)) for _ in range(2)]
        places = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in both)
        monkeypatch.setenv("REDIS_URL", f"redis+sentinel://{places}/shops/0")
        for sentinel in both:
            sentinel.pause()
        started = time.monotonic()
        outcome = shops.apply()
        assert time.monotonic() - started < 10
        assert outcome.effects.waiting == 40
        both[1].resume()  # the first is still silent, and leaves the second its share of the time
        wait_until(lambda: all_are_delivered(shops), 20)
        assert (streams(primary), jobs(primary)) == (20, 20)


# Cluster


@contextmanager
def cluster_of_two() -> Iterator[tuple[RedisServer, RedisServer]]:
    """Two nodes with half of the slots each; a node that is gone leaves the other's half in service."""
    buses = [str(free_port()), str(free_port())]
    settings = [{"cluster_enabled": "yes", "cluster_port": bus, "cluster_node_timeout": "1000"} for bus in buses]
    with running_redis(**settings[0]) as one, running_redis(**settings[1]) as two:
        _asked(one, "CLUSTER", "ADDSLOTSRANGE", 0, 8191)
        _asked(two, "CLUSTER", "ADDSLOTSRANGE", 8192, 16383)
        _asked(two, "CLUSTER", "SET-CONFIG-EPOCH", 2)
        _asked(one, "CLUSTER", "MEET", "127.0.0.1", two.port, buses[1])
        wait_until(lambda: in_service(one) and in_service(two), 20)
        yield one, two


def in_service(node: RedisServer) -> bool:
    return bool(_asked(node, "CLUSTER INFO")["cluster_state"] == "ok")


@pytest.mark.parametrize(("fault", "mended"), [("kill", "start"), ("pause", "resume")])
def test_a_node_of_a_cluster_that_is_gone_costs_one_deadline_and_loses_nothing(
    shops: Shops, fault: str, mended: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with cluster_of_two() as (one, two):
        monkeypatch.setenv("REDIS_URL", one.url)
        monkeypatch.setenv("REDIS_CLUSTER", "true")
        getattr(two, fault)()
        started = time.monotonic()
        outcome = shops.apply()
        assert time.monotonic() - started < 10
        assert outcome.applied == 20
        assert outcome.effects.waiting > 0
        assert outcome.effects.dead == 0
        assert any("not delivered" in notice.message for notice in outcome.notices)
        getattr(two, mended)()
        wait_until(lambda: in_service(one) and in_service(two), 20)
        wait_until(lambda: all_are_delivered(shops), 20)
        assert (streams(one, two), jobs(one, two)) == (20, 20)
