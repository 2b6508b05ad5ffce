"""Health checks against real servers: what they see, how long they wait, and what they never show."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from reconciler.checks.run import make_elsewhere, make_on_database, run_checks
from reconciler.database.connection import DatabaseConnection, open_database
from reconciler.database.url import parse_database_url
from reconciler.drill.redis_server import RedisServer, free_port, running_redis
from reconciler.guards import CheckResult
from reconciler.policy import BullmqCheck, Check, HttpCheck, PostgresCheck, RedisCheck, SqlCheck
from tests.support.http_server import WebServer, serving
from tests.support.postgres import Database
from tests.support.proxy import FaultyLine

PASSWORD = "s3cret/#@word"
SECRETS = (PASSWORD, "s3cret", "%2F%23%40word", "word@")


@pytest.fixture(scope="module")
def redis_server() -> Iterator[RedisServer]:
    with running_redis(password=PASSWORD) as server:
        yield server


@pytest.fixture
def redis(redis_server: RedisServer) -> Iterator[Any]:
    """A client of an empty server."""
    with redis_server.client() as client:
        client.flushall()
        yield client


@pytest.fixture(scope="module")
def web() -> Iterator[WebServer]:
    with serving() as server:
        yield server


@pytest.fixture
def connection(database: Database) -> Iterator[DatabaseConnection]:
    with open_database([parse_database_url(database.url, variable="DATABASE_URL")]) as connection:
        yield connection


def seen(check: Check, **environment: str) -> CheckResult:
    """What the check saw; nothing of what is secret is in it, however it went."""
    result = make_elsewhere(check, environment)
    assert not any(secret in result.saw for secret in SECRETS), result.saw
    assert "\n" not in result.saw
    return result


@contextmanager
def within(seconds: float) -> Iterator[None]:
    started = time.monotonic()
    yield
    assert time.monotonic() - started < seconds


# Redis


def test_a_redis_that_answers_passes_and_says_how_fast(redis_server: RedisServer, redis: Any) -> None:
    result = seen(RedisCheck(), REDIS_URL=redis_server.url)
    assert result.passed
    assert result.saw.startswith("PING in ")
    assert "MB used" in result.saw


@pytest.mark.parametrize(("share", "passes"), [("99%", True), ("1%", False)])
def test_a_redis_passes_while_less_of_its_memory_is_used_than_the_limit(
    redis_server: RedisServer, redis: Any, share: str, passes: bool
) -> None:
    redis.config_set("maxmemory", "20mb")
    result = seen(RedisCheck(memory_below=share), REDIS_URL=redis_server.url)
    redis.config_set("maxmemory", "0")
    assert result.passed is passes
    assert f"% of maxmemory (limit {share})" in result.saw


def test_a_redis_without_a_limit_of_its_own_is_below_any_share(redis_server: RedisServer, redis: Any) -> None:
    result = seen(RedisCheck(memory_below="1%"), REDIS_URL=redis_server.url)
    assert result.passed
    assert result.saw.endswith("no maxmemory set")


def test_a_redis_that_is_down_does_not_pass() -> None:
    result = seen(RedisCheck(), REDIS_URL=f"redis://:{PASSWORD.replace('/', '%2F').replace('#', '%23')}@127.0.0.1:1")
    assert (result.passed, result.made) == (False, True)
    assert "refused" in result.saw


def test_a_redis_that_hangs_is_given_up_after_the_timeout_and_not_after_several(redis_server: RedisServer) -> None:
    redis_server.pause()
    try:
        with within(3.5):  # redis-py's own three retries would make it four
            result = seen(RedisCheck(timeout="1s"), REDIS_URL=redis_server.url)
    finally:
        redis_server.resume()
    assert not result.passed
    assert "no answer" in result.saw


def test_a_wrong_password_is_no_health_and_is_not_shown(redis_server: RedisServer) -> None:
    url = f"redis://:wrong-s3cret@127.0.0.1:{redis_server.port}"
    result = seen(RedisCheck(), REDIS_URL=url)
    assert (result.passed, result.made) == (False, False)
    assert result.saw.startswith("could not be made: ")


def test_no_password_where_one_is_needed_is_no_health(redis_server: RedisServer) -> None:
    result = seen(RedisCheck(), REDIS_URL=f"redis://127.0.0.1:{redis_server.port}")
    assert (result.passed, result.made) == (False, False)


@pytest.mark.parametrize(
    "url",
    [
        f"redis://:{PASSWORD}@127.0.0.1:6379",  # a slash that should be %2F makes the rest of the password a port
        f"redis://:s3cret:{PASSWORD}@127.0.0.1:x",
        f"http://:{PASSWORD}@127.0.0.1",
        f"127.0.0.1:6379?password={PASSWORD}",
        f"redis://[::1:{PASSWORD}",
    ],
)
def test_an_address_that_cannot_be_read_is_not_quoted(url: str) -> None:
    result = seen(RedisCheck(), REDIS_URL=url)
    assert (result.passed, result.made) == (False, False)


def test_a_variable_that_is_not_set_is_named(redis_server: RedisServer) -> None:
    assert seen(RedisCheck()).saw == "could not be made: REDIS_URL is not set"
    assert seen(RedisCheck(), REDIS_URL=" ").saw == "could not be made: REDIS_URL is not set"
    assert seen(RedisCheck(url_variable="CACHE_URL"), REDIS_URL="redis://127.0.0.1:1").made is False
    assert seen(RedisCheck(url_variable="CACHE_URL"), CACHE_URL=redis_server.url).passed


def test_what_listens_and_is_no_redis_does_not_pass(web: WebServer) -> None:
    port = web.url.rpartition(":")[2]
    assert not seen(RedisCheck(timeout="1s"), REDIS_URL=f"redis://127.0.0.1:{port}").passed


# BullMQ


def queue_up(redis: Any, queue: str, state: str, *ages_s: float, prefix: str = "bull") -> None:
    """Jobs as BullMQ 5 lays them down, each so many seconds old; the first of a list is the oldest."""
    key = f"{prefix}:{queue}"
    redis.hset(f"{key}:meta", "opts.maxLenEvents", "10000")
    for age in ages_s:
        job = str(redis.incr(f"{key}:id"))
        stamp = int((time.time() - age) * 1000)
        redis.hset(f"{key}:{job}", mapping={"name": "send", "data": "{}", "timestamp": stamp})
        if state in ("wait", "paused", "active"):
            redis.lpush(f"{key}:{state}", job)
        elif state == "prioritized":
            redis.zadd(f"{key}:{state}", {job: int(age) * 2**32 + int(job)})  # older ones with lower priority
        else:
            redis.zadd(f"{key}:{state}", {job: stamp})


LIMITS = [
    ("waiting", "wait", BullmqCheck(queues=["mail"], waiting=2)),
    ("waiting", "paused", BullmqCheck(queues=["mail"], waiting=2)),
    ("waiting", "prioritized", BullmqCheck(queues=["mail"], waiting=2)),
    ("active", "active", BullmqCheck(queues=["mail"], active=2)),
    ("failed", "failed", BullmqCheck(queues=["mail"], failed=2)),
    ("delayed", "delayed", BullmqCheck(queues=["mail"], delayed=2)),
]


@pytest.mark.parametrize(("counted", "state", "check"), LIMITS)
def test_as_many_jobs_as_the_limit_pass_and_one_more_does_not(
    redis_server: RedisServer, redis: Any, counted: str, state: str, check: BullmqCheck
) -> None:
    queue_up(redis, "mail", state, 1, 1)
    result = seen(check, REDIS_URL=redis_server.url)
    assert result.passed, result.saw
    assert f"2 {counted}" in result.saw
    queue_up(redis, "mail", state, 1)
    result = seen(check, REDIS_URL=redis_server.url)
    assert not result.passed
    assert result.saw.endswith(f"too much: {counted} (limit 2)")


def test_waiting_jobs_are_counted_wherever_they_wait(redis_server: RedisServer, redis: Any) -> None:
    for state in ("wait", "paused", "prioritized"):
        queue_up(redis, "mail", state, 1)
    result = seen(BullmqCheck(queues=["mail"], waiting=2), REDIS_URL=redis_server.url)
    assert (result.passed, "3 waiting" in result.saw) == (False, True)


@pytest.mark.parametrize("state", ["wait", "paused", "prioritized"])
def test_the_oldest_job_counts_wherever_it_waits(redis_server: RedisServer, redis: Any, state: str) -> None:
    check = BullmqCheck(queues=["mail"], oldest_waiting="10m")
    queue_up(redis, "mail", state, 590, 5, 1)
    assert seen(check, REDIS_URL=redis_server.url).passed
    queue_up(redis, "chat", state, 610, 5, 1)
    result = seen(BullmqCheck(queues=["mail", "chat"], oldest_waiting="10m"), REDIS_URL=redis_server.url)
    assert not result.passed
    assert result.saw.startswith("mail has 3 waiting, 0 active, 0 failed, 0 delayed, the oldest for 59")
    assert "chat has 3 waiting" in result.saw
    assert result.saw.endswith("the oldest for 610 s; too much: oldest waiting (limit 10m)")


def test_only_jobs_that_failed_lately_count_where_the_check_says_so(redis_server: RedisServer, redis: Any) -> None:
    queue_up(redis, "mail", "failed", 7200, 7100, 60)
    check = BullmqCheck(queues=["mail"], failed=1, failed_within="1h")
    result = seen(check, REDIS_URL=redis_server.url)
    assert result.passed
    assert "1 failed in 1h" in result.saw
    queue_up(redis, "mail", "failed", 30)
    assert not seen(check, REDIS_URL=redis_server.url).passed


def test_a_paused_queue_is_said_to_be_paused(redis_server: RedisServer, redis: Any) -> None:
    queue_up(redis, "mail", "paused", 1)
    redis.hset("bull:mail:meta", "paused", 1)
    assert ", is paused" in seen(BullmqCheck(queues=["mail"], waiting=5), REDIS_URL=redis_server.url).saw


def test_a_queue_that_nobody_ever_made_does_not_pass_for_one_in_which_nothing_waits(
    redis_server: RedisServer, redis: Any
) -> None:
    queue_up(redis, "mail", "wait", 1)
    result = seen(BullmqCheck(queues=["mail", "mial"], waiting=5), REDIS_URL=redis_server.url)
    assert not result.passed
    assert "mial: Redis has no such queue (prefix bull)" in result.saw


def test_an_empty_queue_passes(redis_server: RedisServer, redis: Any) -> None:
    queue_up(redis, "mail", "wait")
    check = BullmqCheck(queues=["mail"], waiting=0, oldest_waiting="1s")
    assert seen(check, REDIS_URL=redis_server.url).passed


def test_another_prefix_is_another_queue(redis_server: RedisServer, redis: Any) -> None:
    queue_up(redis, "mail", "wait", 1, 1, prefix="{q}")
    assert not seen(BullmqCheck(queues=["mail"], waiting=5), REDIS_URL=redis_server.url).passed
    assert seen(BullmqCheck(queues=["mail"], waiting=5, prefix="{q}"), REDIS_URL=redis_server.url).passed


def test_a_job_that_is_gone_by_now_and_a_marker_have_no_age(redis_server: RedisServer, redis: Any) -> None:
    queue_up(redis, "mail", "wait", 5)
    redis.rpush("bull:mail:wait", "0:0", "12345")
    result = seen(BullmqCheck(queues=["mail"], oldest_waiting="10m"), REDIS_URL=redis_server.url)
    assert result.passed


def test_a_key_of_another_type_is_said_and_does_not_pass(redis_server: RedisServer, redis: Any) -> None:
    redis.set("bull:mail:wait", "?")
    result = seen(BullmqCheck(queues=["mail"], waiting=5), REDIS_URL=redis_server.url)
    assert (result.passed, result.made) == (False, False)
    assert "WRONGTYPE" in result.saw


def test_queues_of_a_redis_that_is_down_were_not_seen() -> None:
    result = seen(BullmqCheck(queues=["mail"], waiting=5), REDIS_URL=f"redis://127.0.0.1:{free_port()}")
    assert (result.passed, result.made) == (False, False)


# HTTP


@pytest.mark.parametrize(
    ("status", "wanted", "passes"),
    [(200, 200, True), (204, 204, True), (204, 200, False), (500, 200, False), (401, 401, True), (404, 200, False)],
)
def test_a_url_must_answer_with_exactly_the_status(web: WebServer, status: int, wanted: int, passes: bool) -> None:
    result = seen(HttpCheck(url=f"{web.url}/status/{status}", status=wanted))
    assert result.passed is passes
    assert result.saw.startswith(f"status {status} in ")
    assert result.saw.endswith(f" ms (wanted {wanted})")


def test_a_redirect_is_an_answer_of_its_own_and_is_not_followed(web: WebServer) -> None:
    web.paths.clear()
    assert not seen(HttpCheck(url=f"{web.url}/redirect")).passed
    assert seen(HttpCheck(url=f"{web.url}/redirect", status=302)).passed
    assert web.paths == ["/redirect", "/redirect"]


@pytest.mark.parametrize("path", ["hang", "drip"])
def test_a_server_that_never_finishes_is_given_up_after_the_timeout(web: WebServer, path: str) -> None:
    with within(10):
        result = seen(HttpCheck(url=f"{web.url}/{path}", timeout="1s"))
    assert not result.passed
    assert result.saw in ("no answer within 1s", "no answer: timed out")


@pytest.mark.parametrize("path", ["junk", "bye"])
def test_an_answer_that_is_no_http_does_not_pass(web: WebServer, path: str) -> None:
    result = seen(HttpCheck(url=f"{web.url}/{path}"))
    assert not result.passed
    assert result.saw.startswith("no answer")


def test_a_server_that_is_down_does_not_pass() -> None:
    result = seen(HttpCheck(url=f"http://127.0.0.1:{free_port()}/"))
    assert not result.passed
    assert "refused" in result.saw


def test_a_name_that_nobody_has_does_not_pass() -> None:
    assert not seen(HttpCheck(url="http://nobody.invalid/", timeout="5s")).passed


def test_a_test_request_is_sent_with_its_body_and_the_secrets_of_the_environment(web: WebServer) -> None:
    check = HttpCheck(
        url=f"{web.url}/status/200?team=$TEAM",
        method="POST",
        headers={"Authorization": "Bearer $AI_KEY", "Content-Type": "application/json"},
        body='{"max_tokens": 1}',
    )
    result = seen(check, AI_KEY=PASSWORD, TEAM="s3cret")
    assert result.passed
    assert web.paths[-1] == "/status/200?team=s3cret"
    assert web.bodies[-1] == b'{"max_tokens": 1}'
    assert web.headers[-1]["authorization"] == f"Bearer {PASSWORD}"
    assert web.headers[-1]["user-agent"].startswith("reconcile/")


@pytest.mark.parametrize(
    ("key", "says"),
    [
        (None, "could not be made: AI_KEY is not set"),
        ("s3cret\n", "could not be made: the URL or a header holds what HTTP cannot send, perhaps a line's end"),
        ("s3cret\u2028ü€", "could not be made: the URL or a header holds what HTTP cannot send, perhaps a line's end"),
    ],
)
def test_a_secret_that_cannot_be_sent_is_not_shown(web: WebServer, key: str | None, says: str) -> None:
    check = HttpCheck(url=f"{web.url}/status/200", headers={"Authorization": "Bearer $AI_KEY"})
    result = seen(check, **({} if key is None else {"AI_KEY": key}))
    assert (result.passed, result.made, result.saw) == (False, False, says)


@pytest.mark.parametrize("url", ["ftp://s3cret@x/", "file:///etc/passwd", "http://x/s3cret word", "http://x:s3cret/"])
def test_a_url_from_the_environment_that_is_none_is_not_shown(url: str) -> None:
    result = seen(HttpCheck(url="$STATUS_URL"), STATUS_URL=url)
    assert (result.passed, result.made) == (False, False)
    assert "passwd" not in result.saw


# Postgres


def test_a_database_that_answers_fast_passes(connection: DatabaseConnection) -> None:
    result = make_on_database(PostgresCheck(latency_below=5000), connection)
    assert result.passed
    assert result.saw.startswith("answers in ")
    assert result.saw.endswith(" ms (limit 5000 ms)")


def test_a_database_that_is_the_slow_thing_does_not_pass(database: Database) -> None:
    address = parse_database_url(database.url, variable="DATABASE_URL")
    host = address.hosts[0]
    with FaultyLine(host.address or host.name, host.port) as line:
        slow = parse_database_url(line.url_through(database.url), variable="DATABASE_URL")
        with open_database([slow]) as connection:
            line.delay(0.06)
            result = make_on_database(PostgresCheck(latency_below=100), connection)
            assert not result.passed
            assert float(result.saw.split()[2]) > 100
            line.heal()
            assert make_on_database(PostgresCheck(latency_below=100), connection).passed


def test_a_database_that_falls_silent_is_given_up_and_does_not_pass(database: Database) -> None:
    host = parse_database_url(database.url, variable="DATABASE_URL").hosts[0]
    with FaultyLine(host.address or host.name, host.port) as line:
        silent = parse_database_url(line.url_through(database.url), variable="DATABASE_URL")
        with open_database([silent]) as connection:
            line.fall_silent()
            with within(15):
                result = make_on_database(PostgresCheck(latency_below=5000, timeout="1s"), connection)
            assert not result.passed
            assert result.saw.startswith("no answer: ")


def test_a_database_that_is_gone_does_not_pass_and_raises_nothing(database: Database) -> None:
    with open_database([parse_database_url(database.url, variable="DATABASE_URL")]) as connection:
        database.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'reconcile'")
        result = make_on_database(PostgresCheck(latency_below=5000), connection)
        assert not result.passed
        assert result.saw.startswith("no answer: the connection to the database was lost")
        assert not make_on_database(SqlCheck(query="SELECT true"), connection).passed


@pytest.mark.parametrize(
    ("query", "passes", "says"),
    [
        ("SELECT true", True, "true"),
        ("SELECT count(*) = 0 FROM tenants WHERE name LIKE '%x%'", True, "true"),
        ("SELECT false", False, "the query returned false, not true"),
        ("SELECT NULL::boolean", False, "the query returned null, not true"),
        ("SELECT 't'", False, "the query returned t, not true"),
        ("SELECT 1", False, "the query returned 1, not true"),
        ("SELECT true WHERE false", False, "the query returned no row"),
        ("SELECT true UNION ALL SELECT false ORDER BY 1", False, "the query returned false, not true"),
    ],
)
def test_a_query_must_return_true(connection: DatabaseConnection, query: str, passes: bool, says: str) -> None:
    result = make_on_database(SqlCheck(query=query), connection)
    assert (result.passed, result.saw) == (passes, says)


@pytest.mark.parametrize(
    "query",
    [
        "DELETE FROM tenants RETURNING true",
        "SELECT true; COMMIT; DELETE FROM tenants",
        "COMMIT",
        "CREATE TABLE t (a int)",
        "SELECT pg_sleep(30), true",
        "SELEC true",
        "",
    ],
)
def test_a_query_that_would_write_or_last_or_is_none_does_not_pass_and_changes_nothing(
    database: Database, connection: DatabaseConnection, query: str
) -> None:
    database.tenant("t-1")
    with within(15):
        result = make_on_database(SqlCheck(query=query, timeout="1s"), connection)
    assert not result.passed
    assert len(database.execute("SELECT * FROM tenants")) == 1
    assert database.execute("SELECT to_regclass('t') AS t") == [{"t": None}]
    # The connection is as good as new.
    assert make_on_database(SqlCheck(query="SELECT true"), connection).passed


# All of them


def test_all_checks_are_made_at_once_and_only_those_that_are_asked_for(
    connection: DatabaseConnection, web: WebServer, redis_server: RedisServer
) -> None:
    web.paths.clear()
    declared: dict[str, Check] = {
        "database": SqlCheck(query="SELECT true"),
        **{f"slow-{number}": HttpCheck(url=f"{web.url}/hang", timeout="1s") for number in range(12)},
        "redis": RedisCheck(),
        "unasked": HttpCheck(url=f"{web.url}/status/200"),
    }
    with within(8):  # one after the other would take twelve
        results = run_checks(declared.keys() - {"unasked"}, declared, connection, {"REDIS_URL": redis_server.url})
    assert list(results) == sorted(declared.keys() - {"unasked"})
    assert [name for name, result in results.items() if result.passed] == ["database", "redis"]
    assert "/status/200" not in web.paths


def test_a_listener_that_accepts_and_says_nothing_holds_no_check_beyond_its_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        for check in (RedisCheck(timeout="1s"), HttpCheck(url=f"http://127.0.0.1:{port}/", timeout="1s")):
            with within(3.5):
                assert not seen(check, REDIS_URL=f"redis://127.0.0.1:{port}").passed
