"""Effects reach a real Redis: every kind, in order, whatever happens to it, and however it is reached."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.checks.redis import check_bullmq, check_redis
from reconciler.database.connection import DatabaseConnection
from reconciler.drill.redis_server import RedisServer, free_port, running_redis
from reconciler.effects.delivery import Pass, deliver_all
from reconciler.effects.delivery_policy import DeliveryPolicy
from reconciler.effects.redis_client import read_address
from reconciler.errors import UsageProblem
from reconciler.policy import BullmqCheck, RedisCheck
from tests.support.pgbouncer import needs_pgbouncer, running_pooler
from tests.support.postgres import Database
from tests.support.shops import Shops, connected, effects_of
from tests.support.tls import listening_with_tls
from tests.support.waiting import wait_until

STREAM = {"redis_stream": {"stream": "shops", "data": {"shop": "$key", "value": "$after"}}}
QUICK = "delivery: {timeout: 1s, backoff: 1s}\n"


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with running_redis() as server:
        yield server


@pytest.fixture
def redis_server(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> RedisServer:
    """An empty server that REDIS_URL names, for tests that leave it running."""
    monkeypatch.setenv("REDIS_URL", server.url)
    with server.client() as client:
        client.flushall()
    return server


@pytest.fixture
def connection(empty_database: Database) -> Iterator[DatabaseConnection]:
    with connected(empty_database.url) as connection:
        yield connection


def arrived(server: RedisServer, stream: str = "shops") -> list[dict[str, str]]:
    with server.client() as client:
        return [fields for _, fields in client.xrange(stream)]


def shops_in(server: RedisServer) -> list[str]:
    return [fields["shop"] for fields in arrived(server)]


# Kinds --------------------------------------------------------------------------------------------------------------


def test_every_kind_arrives(connection: DatabaseConnection, redis_server: RedisServer) -> None:
    shops = Shops(
        connection,
        is_open=effects_of(
            {"redis_publish": {"channel": "shops:$key"}},
            {"redis_stream": {"stream": "shops", "data": {"shop": "$key", "before": "$before"}}},
            {"redis_delete": {"keys": ["cache:$key", "cache:$key:$row.owner"]}},
            {"bullmq": {"queue": "commands", "job": "CLOSE", "data": {"shop": "$key"}, "options": {"priority": 2}}},
        ),
    )
    shops.add("a")
    with redis_server.client() as client, client.pubsub() as heard:
        client.mset({"cache:a": "1", "cache:a:ann": "1", "cache:b": "1"})
        heard.subscribe("shops:a")
        assert heard.get_message(timeout=2)
        outcome = shops.change("a", is_open=False)
        assert (outcome.effects.delivered, outcome.effects.waiting) == (4, 0)
        ids = [str(id) for id in shops.outbox("id")]
        message = heard.get_message(timeout=2)
        assert message is not None
        told = json.loads(message["data"])
        assert (told["key"], told["before"], told["after"], told["id"]) == ("a", True, False, ids[0])
        assert arrived(redis_server) == [{"shop": "a", "before": "true", "id": ids[1]}]
        assert client.keys("cache:*") == ["cache:b"]
        assert client.zrange("bull:commands:prioritized", 0, -1) == [ids[3]]
        job = client.hgetall(f"bull:commands:{ids[3]}")
        assert (job["name"], json.loads(job["data"])) == ("CLOSE", {"shop": "a"})


def test_a_stream_keeps_about_its_newest_entries(connection: DatabaseConnection, redis_server: RedisServer) -> None:
    shops = Shops(connection, is_open=effects_of({"redis_stream": {"stream": "s", "max_length": 100}}))
    for key in shops.add_many(1_500):
        shops.ask(key, is_open=False)
    assert shops.apply().effects.delivered == 1_500
    with redis_server.client() as client:
        assert 100 <= client.xlen("s") <= 400


def test_a_fraction_in_a_job_is_a_number(connection: DatabaseConnection, redis_server: RedisServer) -> None:
    shops = Shops(connection, seats=effects_of({"bullmq": {"queue": "q", "job": "J", "data": [0.25, "$after"]}}))
    shops.add("a")
    assert shops.change("a", seats=3).effects.delivered == 1
    with redis_server.client() as client:
        [id] = client.lrange("bull:q:wait", 0, -1)
        assert client.hget(f"bull:q:{id}", "data") == "[0.25,3]"


def test_a_repeat_of_a_job_is_dropped_by_bullmq(connection: DatabaseConnection, redis_server: RedisServer) -> None:
    shops = Shops(connection, is_open=effects_of({"bullmq": {"queue": "q", "job": "J"}}))
    shops.add("a")
    shops.change("a", is_open=False)
    connection.execute("UPDATE reconciler.outbox SET state = 'pending'")  # as if the mark had been lost
    assert shops.deliver(Pass(eager=True)).delivered == 1
    with redis_server.client() as client:
        assert client.llen("bull:q:wait") == 1


def test_ten_thousand_effects_are_a_few_trips(connection: DatabaseConnection, redis_server: RedisServer) -> None:
    shops = Shops(connection, is_open=effects_of(STREAM))
    keys = shops.add_many(10_000)
    for key in keys:
        shops.ask(key, is_open=False)
    with redis_server.client() as client:
        before = client.info("stats")["total_writes_processed"]
        assert shops.apply().effects.delivered == 10_000
        answers = client.info("stats")["total_writes_processed"] - before
    assert answers < 200  # each trip that is waited for ends with an answer that is written
    assert shops_in(redis_server) == keys


# Order and company --------------------------------------------------------------------------------------------------


def test_the_effects_of_a_row_arrive_in_the_order_of_its_changes(
    connection: DatabaseConnection, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    shops = Shops(connection, is_open=effects_of(STREAM), seats=effects_of(STREAM), note=effects_of(STREAM))
    shops.add("a", "b")
    monkeypatch.delenv("REDIS_URL")
    shops.change("a", is_open=False)
    shops.change("b", note="one")
    shops.change("a", seats=3)
    shops.change("a", note="last")
    monkeypatch.setenv("REDIS_URL", redis_server.url)
    assert shops.deliver(Pass(eager=True)).delivered == 4
    assert [each["value"] for each in arrived(redis_server) if each["shop"] == "a"] == ["false", "3", "last"]


def test_the_next_run_delivers_what_earlier_ones_could_not(
    connection: DatabaseConnection, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    shops = Shops(connection, is_open=effects_of(STREAM))
    shops.add("a", "b")
    monkeypatch.delenv("REDIS_URL")
    shops.change("a", is_open=False)
    monkeypatch.setenv("REDIS_URL", redis_server.url)
    outcome = shops.change("b", is_open=False)  # its own arrives, so the other need not wait until it is due
    assert outcome.effects.delivered == 1
    assert shops_in(redis_server) == ["b", "a"]


def test_several_deliverers_share_the_work_and_send_nothing_twice(
    connection: DatabaseConnection, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch, empty_database: Database
) -> None:
    shops = Shops(connection, is_open=effects_of(STREAM))
    keys = shops.add_many(3_000)
    for key in keys:
        shops.ask(key, is_open=False)
    monkeypatch.delenv("REDIS_URL")
    shops.apply()
    monkeypatch.setenv("REDIS_URL", redis_server.url)
    counts: list[int] = []

    def work() -> None:
        with connected(empty_database.url) as own:
            counts.append(shops.deliver(Pass(eager=True), own).delivered)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(counts) == 3_000
    assert sorted(shops_in(redis_server)) == keys


@needs_pgbouncer
def test_deliverers_behind_a_transaction_pooler_share_the_work_as_well(
    connection: DatabaseConnection, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch, empty_database: Database
) -> None:
    shops = Shops(connection, is_open=effects_of(STREAM))
    keys = shops.add_many(2_500)
    for key in keys:
        shops.ask(key, is_open=False)
    monkeypatch.delenv("REDIS_URL")
    shops.apply()
    monkeypatch.setenv("REDIS_URL", redis_server.url)
    with running_pooler(empty_database.url, schema="public", pool_size=1) as pooler:
        with connected(pooler.url) as one, connected(pooler.url) as two:
            counts: list[int] = []
            threads = [
                threading.Thread(target=lambda own=own: counts.append(shops.deliver(Pass(eager=True), own).delivered))
                for own in (one, two)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    assert sum(counts) == 2_500
    assert sorted(shops_in(redis_server)) == keys


def test_a_limit_is_kept(connection: DatabaseConnection, redis_server: RedisServer) -> None:
    shops = Shops(connection, is_open=effects_of(STREAM))
    for key in shops.add_many(5):
        shops.ask(key, is_open=False)
    shops.apply()
    connection.execute("UPDATE reconciler.outbox SET state = 'pending'")
    report = deliver_all(connection, DeliveryPolicy(), limit=3, retry_dead=False)
    assert (report.delivered.delivered, report.backlog.waiting) == (3, 2)


def test_a_bug_in_a_library_holds_up_one_endpoint_alone(
    connection: DatabaseConnection, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise RuntimeError("as the test wants")

    shops = Shops(connection, is_open=effects_of({"bullmq": {"queue": "q", "job": "J"}}, STREAM))
    shops.add("a")
    monkeypatch.setattr("reconciler.effects.bullmq_jobs.load_package", broken)
    assert shops.change("a", is_open=False).effects.delivered == 1
    assert shops.outbox("state", "last_error") == [
        ("pending", f"127.0.0.1:{redis_server.port}: RuntimeError"), ("delivered", None),
    ]  # fmt: skip


def test_the_dead_are_delivered_when_somebody_asks_for_it(
    connection: DatabaseConnection, redis_server: RedisServer
) -> None:
    shops = Shops(connection, is_open=effects_of(STREAM))
    shops.add("a")
    shops.change("a", is_open=False)
    connection.execute("UPDATE reconciler.outbox SET state = 'dead'")
    assert deliver_all(connection, DeliveryPolicy(), limit=None, retry_dead=False).delivered.delivered == 0
    report = deliver_all(connection, DeliveryPolicy(timeout="30s"), limit=None, retry_dead=True)
    assert (report.revived, report.delivered.delivered, report.backlog.dead) == (1, 1, 0)


# Faults -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def own_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[RedisServer]:
    """A server of this test's own, to be treated badly."""
    with running_redis(maxmemory_policy="noeviction") as server:
        monkeypatch.setenv("REDIS_URL", server.url)
        yield server


def test_a_redis_that_never_answers_costs_one_deadline_whatever_waits(
    connection: DatabaseConnection, own_server: RedisServer
) -> None:
    effects = effects_of(STREAM, {"bullmq": {"queue": "q", "job": "J"}})
    shops = Shops(connection, policy=QUICK, is_open=effects)
    for key in shops.add_many(2_500):
        shops.ask(key, is_open=False)
    own_server.pause()
    started = time.monotonic()
    outcome = shops.apply()
    took = time.monotonic() - started
    assert (outcome.applied, outcome.effects.waiting) == (2_500, 5_000)
    # Once for each message would be 5,000 s. The bound is wide, for a machine that has other things to do.
    assert 1.0 < took < 15, took
    own_server.resume()
    assert shops.deliver(Pass(eager=True)).delivered == 5_000
    assert set(shops_in(own_server)) == {f"shop-{number:05}" for number in range(2_500)}


def test_a_redis_that_is_gone_is_said_and_gets_everything_when_it_is_back(
    connection: DatabaseConnection, own_server: RedisServer
) -> None:
    shops = Shops(connection, is_open=effects_of(STREAM))
    shops.add("a")
    own_server.kill()
    outcome = shops.change("a", is_open=False)
    assert outcome.effects.waiting == 1
    assert f"127.0.0.1:{own_server.port}" in outcome.notices[-1].message
    own_server.start()
    report = deliver_all(connection, DeliveryPolicy(timeout="30s"), limit=None, retry_dead=False)
    assert report.delivered.delivered == 1
    assert shops_in(own_server) == ["a"]


def test_a_redis_without_memory_refuses_nobody_for_good(
    connection: DatabaseConnection, own_server: RedisServer
) -> None:
    effects = effects_of(STREAM, {"bullmq": {"queue": "q", "job": "J"}})
    shops = Shops(connection, is_open=effects)
    for key in shops.add_many(3):
        shops.ask(key, is_open=False)
    with own_server.client() as client:
        client.config_set("maxmemory", "1")
        outcome = shops.apply()
        assert (outcome.effects.waiting, outcome.effects.dead) == (6, 0)
        assert shops.outbox("refusals") == [0] * 6
        for error in shops.outbox("last_error")[:2]:  # the stream's and the job's, which travels in a script
            assert error.startswith(f"127.0.0.1:{own_server.port}: command not allowed when used memory"), error
        client.config_set("maxmemory", "0")
        assert shops.deliver(Pass(eager=True)).delivered == 6
        assert client.llen("bull:q:wait") == 3


def test_a_redis_that_takes_no_writes_refuses_nobody_for_good(
    connection: DatabaseConnection, own_server: RedisServer
) -> None:
    shops = Shops(connection, is_open=effects_of(STREAM, {"bullmq": {"queue": "q", "job": "J"}}))
    shops.add("a")
    with own_server.client() as client:
        client.config_set("min-replicas-to-write", "1")
        outcome = shops.change("a", is_open=False)
        assert (outcome.effects.waiting, outcome.effects.dead) == (2, 0)
        assert shops.outbox("refusals") == [0, 0]
        assert all("NOREPLICAS" in error for error in shops.outbox("last_error"))
        client.config_set("min-replicas-to-write", "0")
        assert shops.deliver(Pass(eager=True)).delivered == 2


def test_one_that_redis_refuses_ends_dead_and_the_others_arrive(
    connection: DatabaseConnection, redis_server: RedisServer
) -> None:
    stream = {"redis_stream": {"stream": "s:$row.note", "data": {"shop": "$key"}}}
    shops = Shops(connection, policy="delivery: {attempts: 2}\n", is_open=effects_of(stream))
    shops.add("a", "b")
    with redis_server.client() as client:
        client.set("s:bad", "no stream")
    connection.execute("UPDATE shops SET note = CASE id WHEN 'a' THEN 'bad' ELSE 'good' END")
    shops.ask("a", is_open=False)
    outcome = shops.change("b", is_open=False)
    assert (outcome.effects.delivered, outcome.effects.waiting) == (1, 1)
    shops.make_due()
    shops.deliver()
    assert shops.outbox("state") == ["dead", "delivered"]
    assert "wrong kind of value" in shops.outbox("last_error")[0]


def test_a_job_that_bullmq_refuses_does_not_take_the_others_with_it(
    connection: DatabaseConnection, redis_server: RedisServer
) -> None:
    bad = {"when": 1, "bullmq": {"queue": "q", "job": "J", "options": {"parent": {"id": "1", "queue": "bull:gone"}}}}
    good = {"when": 2, "bullmq": {"queue": "q", "job": "J"}}
    shops = Shops(connection, seats=effects_of(bad, good))
    shops.add("a", "b", "c")
    shops.ask("a", seats=2)
    shops.ask("b", seats=1)
    shops.change("c", seats=2)
    with redis_server.client() as client:
        assert client.llen("bull:q:wait") == 2
    assert sorted(shops.outbox("key", "state")) == [("a", "delivered"), ("b", "pending"), ("c", "delivered")]


def test_where_bullmq_is_not_installed_jobs_wait_and_all_else_arrives(
    connection: DatabaseConnection, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    shops = Shops(connection, is_open=effects_of({"bullmq": {"queue": "q", "job": "J"}}, STREAM))
    shops.add("a")
    monkeypatch.setitem(sys.modules, "bullmq", None)  # as the interpreter itself notes a module that is not there
    outcome = shops.change("a", is_open=False)
    assert (outcome.effects.delivered, outcome.effects.waiting) == (1, 1)
    assert "pip install 'reconcile[bullmq]'" in outcome.notices[-1].message


# Ways to Redis ------------------------------------------------------------------------------------------------------


def deliver_through(connection: DatabaseConnection, server: RedisServer) -> list[str]:
    """Who arrives, of two, with a job each besides; the health checks must find the same Redis."""
    shops = Shops(connection, is_open=effects_of(STREAM, {"bullmq": {"queue": "q", "job": "J"}}))
    shops.add("a", "b")
    shops.ask("a", is_open=False)
    outcome = shops.change("b", is_open=False)
    assert outcome.effects.delivered == 4, outcome.notices
    assert_checks_pass("bull")
    return shops_in(server)


def assert_checks_pass(prefix: str) -> None:
    redis = check_redis(RedisCheck(), os.environ)
    queue = check_bullmq(BullmqCheck(queues=["q"], prefix=prefix, waiting=100), os.environ)
    assert (redis.passed, queue.passed) == (True, True), (redis, queue)


def test_a_password_and_a_database(connection: DatabaseConnection, monkeypatch: pytest.MonkeyPatch) -> None:
    with running_redis(password="p@ss/w:rd") as server:
        monkeypatch.setenv("REDIS_URL", f"redis://:p%40ss%2Fw%3Ard@127.0.0.1:{server.port}/3")
        shops = Shops(connection, is_open=effects_of(STREAM))
        shops.add("a", "b")
        assert shops.change("a", is_open=False).effects.delivered == 1
        with server.client(db=3) as client:
            client.select(3)
            assert client.xlen("shops") == 1
        monkeypatch.setenv("REDIS_URL", f"redis://:canary-password@127.0.0.1:{server.port}/3")
        outcome = shops.change("b", is_open=False)
        assert outcome.effects.waiting == 1
        said = [*shops.outbox("last_error"), *(notice.message for notice in outcome.notices)]
        assert not any("canary" in str(text) for text in said)


def test_a_database_that_redis_does_not_have_is_mended_in_the_address(
    connection: DatabaseConnection, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    shops = Shops(connection, is_open=effects_of({"bullmq": {"queue": "q", "job": "J"}}, STREAM))
    shops.add("a")
    monkeypatch.setenv("REDIS_URL", f"redis://127.0.0.1:{redis_server.port}/99")
    assert shops.change("a", is_open=False).effects.waiting == 2
    assert shops.outbox("refusals") == [0, 0]  # it is no fault of theirs
    monkeypatch.setenv("REDIS_URL", redis_server.url)
    assert shops.deliver(Pass(eager=True)).delivered == 2


def test_a_unix_socket(connection: DatabaseConnection, server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with server.client() as client:
        client.flushall()
    monkeypatch.setenv("REDIS_URL", f"unix://{server.socket}?db=0")
    assert deliver_through(connection, server) == ["a", "b"]


def test_tls(
    connection: DatabaseConnection, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with listening_with_tls(redis_server.port, tmp_path) as (port, certificate):
        monkeypatch.setenv("REDIS_URL", f"rediss://localhost:{port}/0?ssl_ca_certs={certificate}")
        assert deliver_through(connection, redis_server) == ["a", "b"]


@pytest.fixture
def sentinel(redis_server: RedisServer) -> Iterator[int]:
    """The port of a sentinel that watches the server as `mymaster`."""
    lines = [f"sentinel monitor mymaster 127.0.0.1 {redis_server.port} 1"]
    with running_redis(arguments=["--sentinel"], lines=lines) as watcher:
        yield watcher.port


def test_sentinel_in_the_url(
    connection: DatabaseConnection, redis_server: RedisServer, sentinel: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = free_port()
    monkeypatch.setenv("REDIS_URL", f"redis+sentinel://127.0.0.1:{nobody},127.0.0.1:{sentinel}/mymaster/0")
    assert deliver_through(connection, redis_server) == ["a", "b"]


def test_sentinel_in_variables(
    connection: DatabaseConnection, redis_server: RedisServer, sentinel: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REDIS_URL")
    monkeypatch.setenv("REDIS_SENTINELS", f"127.0.0.1:{sentinel}")
    monkeypatch.setenv("REDIS_SERVICE", "mymaster")
    assert deliver_through(connection, redis_server) == ["a", "b"]


def test_a_cluster_of_two(connection: DatabaseConnection, monkeypatch: pytest.MonkeyPatch) -> None:
    buses = [str(free_port()), str(free_port())]
    settings = [{"cluster_enabled": "yes", "cluster_port": bus} for bus in buses]
    with running_redis(**settings[0]) as one, running_redis(**settings[1]) as two:
        with one.client() as client, two.client() as other:
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 8191)
            other.execute_command("CLUSTER", "ADDSLOTSRANGE", 8192, 16383)
            other.execute_command("CLUSTER", "SET-CONFIG-EPOCH", 2)
            client.execute_command("CLUSTER", "MEET", "127.0.0.1", two.port, buses[1])
            wait_until(lambda: [_state(each) for each in (client, other)] == ["ok", "ok"])
        monkeypatch.setenv("REDIS_URL", one.url)
        monkeypatch.setenv("REDIS_CLUSTER", "true")
        stream = {"redis_stream": {"stream": "s:$key", "data": {"shop": "$key"}}}
        job = {"bullmq": {"queue": "q", "job": "J", "prefix": "{bull}"}}
        delete = {"redis_delete": {"keys": ["cache:1:$key", "cache:2:$key"]}}
        shops = Shops(connection, is_open=effects_of(stream, job, delete))
        for key in shops.add_many(20):
            shops.ask(key, is_open=False)
        outcome = shops.apply()
        assert outcome.effects.delivered == 60, outcome.notices
        with one.client() as client, two.client() as other:
            found = [len(each.keys("s:*")) for each in (client, other)]
            assert sum(found) == 20
            assert all(found)
            assert sum(_jobs(each) for each in (client, other)) == 20
        assert_checks_pass("{bull}")


def _state(client: Any) -> str:
    return str(client.execute_command("CLUSTER INFO")["cluster_state"])


def _jobs(client: Any) -> int:
    return len(client.keys("{bull}:q:????????-*"))


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://:canary/x@127.0.0.1:1", "a port that is no number"),
        ("http://canary", "not a Redis URL"),
        ("redis+sentinel://:canary@127.0.0.1:1", "names no service"),
        ("redis://:canary@127.0.0.1:1/?db=x", "not a Redis URL that can be read"),
        ("redis://:canary@127.0.0.1:65536/0", "has a port that is none"),
        ("rediss://:canary@127.0.0.1:1/0?ssl_foo=1", "says ssl_foo; known of TLS are ssl_ca_certs"),
        ("rediss://:canary@127.0.0.1:1/0?ssl_cert_reqs=CERT_NONE", "none of none, optional, required"),
    ],
)
def test_an_address_that_is_none_is_said_without_its_password(url: str, said: str) -> None:
    with pytest.raises(UsageProblem) as refused:
        read_address("REDIS_URL", {"REDIS_URL": url})
    assert said in str(refused.value)
    assert "canary" not in str(refused.value)


def test_an_address_shows_hosts_and_ports_alone() -> None:
    address = read_address("CACHE_URL", {"CACHE_URL": "rediss://u:canary@h:1/2", "CACHE_CLUSTER": "true"})
    assert (address.cluster, address.tls, address.password) == (True, True, "canary")
    assert repr(address) == "RedisAddress(h:1)"


def test_a_run_without_effects_imports_nothing_that_would_deliver_them(empty_database: Database) -> None:
    program = """
import sys
from tests.support.shops import Shops, connected
with connected(sys.argv[1]) as connection:
    shops = Shops(connection)
    shops.add("a")
    assert shops.change("a", is_open=False).applied == 1
print([name for name in ("redis", "bullmq", "urllib.request", "http.client") if name in sys.modules])
"""
    command = [sys.executable, "-c", program, empty_database.url]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert done.stdout == "[]\n", done.stderr
