"""Triage while parts of the system are away, silent or slow; and what it may not do to them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import msgspec
import pytest

from reconciler.embedded import NOT_DURABLE, EmbeddedPostgres, folder_in_memory
from reconciler.playbook import Symptom
from reconciler.report.triage import render_triage
from reconciler.runbook.playbooks import Runbook
from tests.support.incidents import Redis, disconnect, running_redis
from tests.support.postgres import Database
from tests.support.proxy import FaultyLine
from tests.support.triage import ACME, RUNBOOK, commands, found, ordinary_day, texts


@pytest.fixture(scope="module")
def redis_server() -> Iterator[Redis]:
    with running_redis() as server:
        yield server


@pytest.fixture
def platform(database: Database) -> Database:
    return ordinary_day(database)


def test_redis_down_is_seen_and_hides_nothing_else(platform: Database) -> None:
    disconnect(platform, ACME, "403")
    with running_redis() as server:
        server.stop()
        result = found(platform, REDIS_URL=server.url)
        (ping,) = texts(result, "redis-down")
        assert ping.startswith("Redis: no answer: ")
        assert "Connection refused" in ping
        assert texts(result, "whatsapp-ban")
        unseen = {f"{one.playbook}/{one.symptom}" for one in result.failed}
        assert unseen == {"whatsapp-ban/sends-fail", "redis-down/job-failures", "redis-down/not-processing"}
        server.start()
        result = found(platform, "redis-down", REDIS_URL=server.url)
        assert (result.matches, result.unseen) == ((), ())


def test_a_redis_that_wants_a_password_is_not_down(platform: Database, redis_server: Redis) -> None:
    url = redis_server.url.replace("redis://", "redis://nobody:wrong@")
    result = found(platform, "redis-down", REDIS_URL=url)
    assert result.matches == ()
    assert len(result.failed) == 3
    assert "wrong" not in str(result)


def test_what_nobody_has_set_up_is_said_and_is_no_failure(platform: Database) -> None:
    result = found(platform)
    assert result.failed == ()
    said = render_triage(result, colour=False, width=200)
    assert "Not looked at (REDIS_URL is not set): whatsapp-ban/sends-fail, redis-down/ping" in said
    assert "Not looked at (AI_PROVIDER_STATUS_URL is not set): ai-provider-outage/status" in said


def test_a_database_that_is_stopped_is_an_incident_and_redis_is_looked_at_all_the_same(redis_server: Redis) -> None:
    with EmbeddedPostgres(settings=NOT_DURABLE, parent=folder_in_memory()) as server:
        url = server.url
        assert texts(found(url, "database-down"), "database-down") == []
        server.stop()
        result = found(url, DIRECT_URL=url.replace("/postgres", "/template1"), REDIS_URL=redis_server.url)
        (evidence,) = texts(result, "database-down")
        assert evidence.startswith("it is the database: it answers neither through the pooler (DATABASE_URL: ")
        assert commands(result)[0].startswith("reconcile kill database-down --reason 'it is the database: ")
        assert [one.variable for one in result.doors] == ["DATABASE_URL", "DIRECT_URL"]
        assert {one.reason for one in result.failed} == {"the database does not answer"}
        assert not any(one.playbook == "redis-down" for one in result.unseen)
        assert "reconcile --wait" in render_triage(result, colour=False, width=200)
        server.start()
        assert found(url, "database-down").matches == ()


def test_a_pooler_that_is_down_is_told_from_the_database(platform: Database) -> None:
    disconnect(platform, ACME, "403")
    with line_to(platform) as line:
        pooler = line.url_through(platform.url)
        line.refuse()
        result = found(pooler, DIRECT_URL=platform.url)
        (evidence,) = texts(result, "database-down")
        assert evidence.startswith(f"it is the pooler: DATABASE_URL does not answer (127.0.0.1:{line.port} refuses")
        assert "the database itself does (DIRECT_URL, in " in evidence
        assert texts(result, "whatsapp-ban"), "what can be seen by the direct way is seen"
        alone = found(pooler, "database-down")
        (evidence,) = texts(alone, "database-down")
        assert evidence.endswith("DIRECT_URL is not set, so a pooler and its database cannot be told apart")


def test_a_direct_address_that_is_down_is_a_note_and_no_incident(platform: Database) -> None:
    with line_to(platform) as line:
        line.refuse()
        result = found(platform, DIRECT_URL=line.url_through(platform.url))
        assert result.matches == ()
        assert result.notes[0].startswith("DIRECT_URL does not answer: ")


def test_a_wrong_password_is_no_incident(platform: Database) -> None:
    role = platform.role("reader")
    result = found(role.url.replace(":secret@", ":mistaken@"))
    assert result.matches == ()
    assert any("the password for user" in one.reason for one in result.failed)
    assert "mistaken" not in str(result)


def test_a_pooler_that_is_silent_costs_the_deadline_and_no_more(platform: Database) -> None:
    with line_to(platform) as line:
        line.fall_silent()
        started = time.monotonic()
        result = found(line.url_through(platform.url), DIRECT_URL=platform.url, deadline_s=1.0)
        assert time.monotonic() - started < 5  # once for each symptom would take more
        assert "it is the pooler" in texts(result, "database-down")[0]
        assert result.looked > 5


def test_a_database_that_falls_silent_in_the_middle_is_given_up(platform: Database) -> None:
    # In this order the slow one is begun after the other, over the same connection or a later one.
    slow = with_queries("SELECT 1 AS a", "SELECT pg_sleep(30)::text AS a")
    with line_to(platform) as line, ThreadPoolExecutor(1) as pool:
        url = line.url_through(platform.url)
        result = pool.submit(found, url, runbook=slow, deadline_s=1.0)
        wait_until(lambda: running(platform, "pg_sleep") and not running(platform, "SELECT 1 AS a"))
        line.fall_silent()
        started = time.monotonic()
        failed = result.result(timeout=20).failed
        assert {one.symptom: one.reason for one in failed} == {"query-1": "no answer within 1 s"}
        assert time.monotonic() - started < 15
        line.heal()


def test_a_slow_probe_is_given_up_and_the_others_answer(platform: Database) -> None:
    slow = with_queries("SELECT pg_sleep(30)::text AS a", "SELECT 1 AS a", "SELECT nothing", "SELECT 2 AS a")
    started = time.monotonic()
    result = found(platform, deadline_s=1.0, runbook=slow)
    assert time.monotonic() - started < 15
    assert [one.text for match in result.matches for one in match.evidence] == ["saw 1", "saw 2"]
    assert {one.symptom: one.reason for one in result.failed} == {
        "query-0": "took longer than 1 s",
        "query-2": 'a column does not exist: column "nothing" does not exist (while looking at a symptom)',
    }


@pytest.mark.parametrize(
    "query",
    [
        """WITH gone AS (DELETE FROM tenants RETURNING id) SELECT id AS a FROM gone""",
        """SELECT 1 AS a) AS f; COMMIT; DELETE FROM tenants; SELECT * FROM (SELECT 1 AS a""",
        """SELECT 1 AS a; DELETE FROM tenants""",
        """SELECT set_config('transaction_read_only', 'off', true) AS a""",
    ],
)
def test_no_query_of_a_playbook_can_write(database: Database, query: str) -> None:
    database.tenant(ACME)
    result = found(database, runbook=with_queries(query))
    assert len(result.failed) == 1
    assert database.execute("SELECT id FROM tenants") == [{"id": ACME}]


def test_a_role_that_may_only_select_is_enough(platform: Database) -> None:
    tables = "tenants, audit_logs, ai_usage_logs, system_settings"
    role = platform.role("reader", grants=[f"SELECT ON {tables}"])
    disconnect(platform, ACME, "403")
    result = found(role.url)
    assert result.failed == ()
    assert texts(result, "whatsapp-ban")


def with_queries(*queries: str) -> Runbook:
    """A runbook of one playbook that asks these queries, of which column `a` is told."""
    symptoms = [Symptom(name=f"query-{number}", says="saw {a}", query=query) for number, query in enumerate(queries)]
    model = RUNBOOK.playbooks["redis-down"]
    return Runbook(RUNBOOK.definitions, {"asks": msgspec.structs.replace(model, symptoms=symptoms)})


def running(database: Database, text: str) -> bool:
    """Whether a statement with this text is under way."""
    statement = "SELECT count(*) AS n FROM pg_stat_activity WHERE state = 'active' AND pid <> pg_backend_pid()"
    (row,) = database.execute(f"{statement} AND query LIKE %s", [f"%{text}%"])
    return bool(row["n"])


def wait_until(happened: Callable[[], bool]) -> None:
    until = time.monotonic() + 10
    while not happened():
        assert time.monotonic() < until
        time.sleep(0.02)


def line_to(database: Database) -> FaultyLine:
    place = urlsplit(database.url)
    assert place.hostname is not None
    assert place.port is not None
    return FaultyLine(place.hostname, place.port)
