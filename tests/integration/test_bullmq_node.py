"""A worker of BullMQ in Node takes the jobs that follow a change, as the platform's own takes them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.database.connection import DatabaseConnection
from reconciler.drill.redis_server import RedisServer, running_redis
from reconciler.effects.delivery import Pass
from reconciler.outcome import Proving
from reconciler.pipeline import Ending
from tests.support.gitrepo import GitRepo
from tests.support.node import bullmq_folder, tell_queue, worker
from tests.support.postgres import Database
from tests.support.project import ACME, BOB, Project
from tests.support.shops import Shops, connected, effects_of
from tests.support.waiting import wait_until

JOB = effects_of({"bullmq": {"queue": "commands", "job": "CLOSE", "data": {"shop": "$key"}}})


@pytest.fixture(scope="module")
def node() -> Path:
    return bullmq_folder()


@pytest.fixture
def redis_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[RedisServer]:
    with running_redis() as server:
        monkeypatch.setenv("REDIS_URL", server.url)
        yield server


@pytest.fixture
def connection(empty_database: Database) -> Iterator[DatabaseConnection]:
    with connected(empty_database.url) as connection:
        yield connection


def test_a_whatsapp_kill_stops_the_session_that_is_open(
    node: Path, redis_server: RedisServer, git_repo: GitRepo, database: Database
) -> None:
    database.tenant(ACME, name="Acme Bakery")
    database.tenant(BOB, name="Bob's Bikes")
    project = Project(git_repo, database)
    project.init()
    project.state(f"{ACME}: {{isWhatsappEnabled: false}}\n{BOB}: {{isWhatsappEnabled: true}}\n")
    project.commit("WhatsApp ban, INC-142")
    with worker(node, redis_server.url, "whatsapp-worker-commands") as whatsapp:
        dry = project.succeed("--dry-run", environment={"REDIS_URL": redis_server.url})
        assert "Effects that follow: 1 job for the queue whatsapp-worker-commands." in dry.out
        done = project.succeed("--yes", environment={"REDIS_URL": redis_server.url})
        assert "Effects: 1 delivered." in done.out
        [job] = whatsapp.jobs(1)
    assert (job["name"], job["data"]) == ("STOP_SESSION", {"type": "STOP_SESSION", "tenantId": ACME})
    [entry] = database.execute("SELECT id::text, state FROM reconciler.outbox")
    assert entry == {"id": job["id"], "state": "delivered"}


def test_jobs_are_taken_in_the_order_of_the_changes(
    node: Path, redis_server: RedisServer, connection: DatabaseConnection
) -> None:
    shops = Shops(connection, is_open=JOB)
    keys = shops.add_many(2_500)
    for key in keys:
        shops.ask(key, is_open=False)
    with worker(node, redis_server.url, "commands") as commands:
        assert shops.apply().effects.delivered == 2_500
        assert [job["data"]["shop"] for job in commands.jobs(2_500)] == keys


def test_a_job_that_was_done_is_not_done_again_when_it_is_delivered_again(
    node: Path, redis_server: RedisServer, connection: DatabaseConnection
) -> None:
    shops = Shops(connection, is_open=JOB)
    shops.add("a", "b")
    with worker(node, redis_server.url, "commands") as commands:
        shops.change("a", is_open=False)
        [first] = commands.jobs(1)
        with redis_server.client() as client:
            wait_until(lambda: client.zcard("bull:commands:completed"))
        connection.execute("UPDATE reconciler.outbox SET state = 'pending'")  # as if the mark had been lost
        assert shops.deliver(Pass(eager=True)).delivered == 1
        shops.change("b", is_open=False)
        [second] = commands.jobs(1)
    assert (first["data"], second["data"]) == ({"shop": "a"}, {"shop": "b"})


def test_jobs_for_a_queue_that_is_paused_are_taken_once_it_is_resumed(
    node: Path, redis_server: RedisServer, connection: DatabaseConnection
) -> None:
    shops = Shops(connection, is_open=JOB)
    shops.add("a", "b")
    shops.change("a", is_open=False)
    tell_queue(node, redis_server.url, "commands", "pause")
    assert shops.change("b", is_open=False).effects.delivered == 1
    with worker(node, redis_server.url, "commands") as commands:
        tell_queue(node, redis_server.url, "commands", "resume")
        assert [job["data"]["shop"] for job in commands.jobs(2)] == ["a", "b"]


def test_a_job_that_fails_is_tried_again_and_stays_where_it_can_be_seen(
    node: Path, redis_server: RedisServer, connection: DatabaseConnection
) -> None:
    options = {"attempts": 2, "backoff": 10}
    job = {"queue": "commands", "job": "CLOSE", "data": {"shop": "$key"}, "options": options}
    shops = Shops(connection, is_open=effects_of({"bullmq": job}))
    shops.add("a")
    with worker(node, redis_server.url, "commands", "fail") as commands:
        shops.change("a", is_open=False)
        assert [job["attempt"] for job in commands.jobs(2)] == [0, 1]
        with redis_server.client() as client:
            wait_until(lambda: client.zcard("bull:commands:failed"))
            [id] = client.zrange("bull:commands:failed", 0, -1)
            assert client.hget(f"bull:commands:{id}", "failedReason") == "as the test wants"


def proven(within: str, **options: object) -> str:
    job = {"queue": "commands", "job": "CLOSE", "data": {"shop": "$key"}, "options": options}
    return effects_of({"bullmq": job, "verify": [{"job": "completed", "within": within}]})


def test_a_job_that_is_done_is_the_proof_of_its_effect(
    node: Path, redis_server: RedisServer, connection: DatabaseConnection
) -> None:
    shops = Shops(connection, is_open=proven("1h"))
    shops.add("a")
    with worker(node, redis_server.url, "commands"):
        [verdict] = shops.change("a", is_open=False).verdicts
    assert (verdict.kind, verdict.target, verdict.in_effect) == ("job", "commands CLOSE", True)


def test_a_job_that_failed_for_good_is_said_with_its_reason_and_not_waited_for(
    node: Path, redis_server: RedisServer, connection: DatabaseConnection
) -> None:
    shops = Shops(connection, is_open=proven("1h", attempts=2, backoff=10))
    shops.add("a")
    with worker(node, redis_server.url, "commands", "fail"):
        [verdict] = shops.change("a", is_open=False).verdicts
    assert [each.said for each in verdict.unseen] == ["the job has failed: as the test wants"]


def test_a_job_that_is_tried_again_says_why_it_is(
    node: Path, redis_server: RedisServer, connection: DatabaseConnection
) -> None:
    shops = Shops(connection, is_open=proven("3s", attempts=2, backoff=3_600_000))
    shops.add("a")
    with worker(node, redis_server.url, "commands", "fail"):
        [verdict] = shops.change("a", is_open=False).verdicts
    assert [each.said for each in verdict.unseen] == ["the job failed, and is tried again: as the test wants"]


def test_a_job_that_nobody_takes_is_not_in_effect(
    node: Path, redis_server: RedisServer, connection: DatabaseConnection
) -> None:
    shops = Shops(connection, is_open=proven("1s"))
    shops.add("a", "b")
    [verdict] = shops.change("a", is_open=False).verdicts
    assert [each.said for each in verdict.unseen] == ["the job waits: no worker has taken it"]
    tell_queue(node, redis_server.url, "commands", "pause")
    [verdict] = shops.change("b", is_open=False).verdicts
    assert [each.said for each in verdict.unseen] == ["the job waits: its queue is paused"]


def test_jobs_of_which_only_the_newest_are_kept_are_seen_to_be_done_all_the_same(
    node: Path, redis_server: RedisServer, connection: DatabaseConnection
) -> None:
    shops = Shops(connection, is_open=proven("1h", removeOnComplete={"count": 5}))
    for key in shops.add_many(1_500):
        shops.ask(key, is_open=False)
    with worker(node, redis_server.url, "commands"):
        [verdict] = shops.apply().verdicts
    assert (verdict.asked, verdict.seen) == (1_500, 1_500)


def test_a_job_that_is_gone_is_no_proof_where_a_failed_one_would_be_gone_too(
    node: Path, redis_server: RedisServer, connection: DatabaseConnection
) -> None:
    options = {"attempts": 1, "removeOnFail": {"count": 1}}
    shops = Shops(connection, is_open=proven("1h", **options))
    shops.add("a", "b")
    shops.ask("a", is_open=False)
    with worker(node, redis_server.url, "commands", "fail"):
        [verdict] = shops.change("b", is_open=False).verdicts
    assert verdict.seen == 0
    assert "the job has failed: as the test wants" in {each.said for each in verdict.unseen}
    assert {each.said for each in verdict.unseen} <= {
        "the job has failed: as the test wants",
        "the job is gone from its queue, and whether it failed cannot be told",
    }


def test_a_job_that_was_not_delivered_is_not_waited_for(
    redis_server: RedisServer, connection: DatabaseConnection
) -> None:
    shops = Shops(connection, is_open=proven("1h"))
    shops.add("a")
    redis_server.kill()
    outcome = shops.change("a", is_open=False)
    [verdict] = outcome.verdicts
    [unseen] = verdict.unseen
    assert unseen.said.startswith("the job was not delivered: ")
    assert (outcome.applied, outcome.effects.waiting) == (1, 1)


def test_a_redis_that_hangs_after_the_delivery_ends_with_the_deadline(
    redis_server: RedisServer, connection: DatabaseConnection
) -> None:
    """It is paused when the run begins to wait."""
    shops = Shops(connection, is_open=proven("2s"))
    shops.add("a")
    shops.ask("a", is_open=False)
    told: list[str] = []

    def watching(text: str) -> None:
        if not told:
            redis_server.pause()
        told.append(text)

    [verdict] = shops.apply(Ending(proving=Proving(watching=watching))).verdicts
    [unseen] = verdict.unseen
    assert unseen.said.startswith(f"127.0.0.1:{redis_server.port}: ")
    assert (verdict.waited_s or 99) < 10
