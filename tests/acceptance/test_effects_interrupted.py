"""A run that is killed around the delivery of its effects: each arrives at least once, in order, and none of a run that
was rolled back.

The moments are those at which a line to Postgres or to Redis holds back what the run is about to say.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from reconciler.drill.redis_server import RedisServer, free_port, running_redis
from tests.support import cli
from tests.support.postgres import with_place
from tests.support.project import ACME, BOB, TOP, Project
from tests.support.proxy import FaultyLine
from tests.support.refusals import assert_clean
from tests.support.waiting import wait_until
from tests.support.webhook_receiver import receiving

CLAIM = b"FOR UPDATE OF o SKIP LOCKED"
MARK = b"SET attempts = o.attempts + 1"

STREAM = "{redis_stream: {stream: effects, data: {tenant: $key, field: $field, value: $after}}}"
OLD = "  isAiEnabled:\n    type: boolean\n"
LIMIT = "    title: AI requests a day\n"


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    with running_redis() as server:
        yield server


@pytest.fixture
def project(project: Project) -> Project:
    """The project, whose AI switch and daily limit are told to a stream; WhatsApp has its own job."""
    project.edit_schema("tenants", OLD, f"{OLD}    effects: [{STREAM}]\n")
    project.edit_schema("tenants", LIMIT, f"{LIMIT}    effects: [{STREAM}]\n")
    project.edit_schema("policy", "expiring_soon: 24h", "expiring_soon: 24h\ndelivery: {timeout: 30s}")
    return project


@pytest.fixture
def postgres_line(project: Project) -> Iterator[FaultyLine]:
    place = urlsplit(project.database.url)
    with FaultyLine(place.hostname or "127.0.0.1", place.port or 5432) as line:
        yield line


@pytest.fixture
def redis_line(redis_server: RedisServer) -> Iterator[FaultyLine]:
    with FaultyLine("127.0.0.1", redis_server.port) as line:
        yield line


def kill_at(process: subprocess.Popen[str], line: FaultyLine) -> None:
    """SIGKILL, at the moment at which the line holds something back."""
    assert line.happened.wait(20)
    process.kill()
    process.communicate()


def ask_for(project: Project, limit: int) -> None:
    """A commit that switches off Acme's AI and WhatsApp, and gives both tenants a limit."""
    project.state(
        f"{ACME}: {{isAiEnabled: false, isWhatsappEnabled: false, aiDailyLimit: {limit}}}\n"
        f"{BOB}: {{aiDailyLimit: {limit}}}\n"
    )
    project.commit(f"Limit {limit}")


EXPECTED = {(ACME, "isAiEnabled", "false"), (ACME, "aiDailyLimit", "9"), (BOB, "aiDailyLimit", "9")}


def arrived(server: RedisServer) -> list[tuple[str, str, str]]:
    """(tenant, field, value) of every entry of the stream, in order."""
    with server.client() as client:
        return [(each["tenant"], each["field"], each["value"]) for _, each in client.xrange("effects")]


def jobs(server: RedisServer) -> int:
    with server.client() as client:
        return int(client.llen("bull:whatsapp-worker-commands:wait"))


def states(project: Project) -> list[str]:
    return [row["state"] for row in project.database.execute("SELECT state FROM reconciler.outbox ORDER BY sequence")]


def deliver(project: Project, server: RedisServer) -> cli.Finished:
    """What somebody, or a loop, does afterwards. The killed run's locks go when the server sees that it is gone."""
    idle = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    wait_until(lambda: not project.database.execute(idle))
    return project.succeed("deliver", environment={"REDIS_URL": server.url})


def test_a_run_killed_between_commit_and_delivery_loses_nothing(
    project: Project, redis_server: RedisServer, postgres_line: FaultyLine
) -> None:
    ask_for(project, 9)
    postgres_line.hold_before(CLAIM)
    environment = {"REDIS_URL": redis_server.url}
    url = postgres_line.url_through(project.database.url)
    kill_at(project.start("--yes", url=url, environment=environment), postgres_line)
    assert project.database.row("tenants", ACME)["isAiEnabled"] is False
    assert (arrived(redis_server), states(project)) == ([], ["pending"] * 4)
    done = deliver(project, redis_server)
    assert "Delivered 4 effects." in done.out
    assert set(arrived(redis_server)) == EXPECTED
    assert (len(arrived(redis_server)), jobs(redis_server)) == (3, 1)


def test_a_run_killed_during_delivery_delivers_the_rest_later(
    project: Project, redis_server: RedisServer, redis_line: FaultyLine
) -> None:
    ask_for(project, 9)
    redis_line.hold_before(BOB.encode())
    environment = {"REDIS_URL": f"redis://127.0.0.1:{redis_line.port}/0"}
    kill_at(project.start("--yes", environment=environment), redis_line)
    assert states(project) == ["pending"] * 4
    deliver(project, redis_server)
    assert set(arrived(redis_server)) == EXPECTED
    assert (states(project), jobs(redis_server)) == (["delivered"] * 4, 1)


def test_a_run_killed_between_delivery_and_mark_delivers_again_and_in_order(
    project: Project, redis_server: RedisServer, postgres_line: FaultyLine
) -> None:
    ask_for(project, 9)
    postgres_line.hold_before(MARK)
    environment = {"REDIS_URL": redis_server.url}
    url = postgres_line.url_through(project.database.url)
    kill_at(project.start("--yes", url=url, environment=environment), postgres_line)
    first = arrived(redis_server)
    assert first
    deliver(project, redis_server)
    assert set(arrived(redis_server)) == EXPECTED
    of_acme = [field for tenant, field, _ in arrived(redis_server) if tenant == ACME]
    assert of_acme == sorted(of_acme)  # the limit before the switch, as in the run, each perhaps twice
    assert jobs(redis_server) == 1  # BullMQ knows the job by the effect's id


def test_changes_of_three_runs_arrive_in_their_order_whoever_is_killed(
    project: Project, redis_server: RedisServer, postgres_line: FaultyLine
) -> None:
    environment = {"REDIS_URL": redis_server.url}
    for limit, moment in ((9, CLAIM), (8, MARK), (7, CLAIM)):
        ask_for(project, limit)
        postgres_line.hold_before(moment)
        url = postgres_line.url_through(project.database.url)
        kill_at(project.start("--yes", url=url, environment=environment), postgres_line)
    deliver(project, redis_server)
    limits = [int(value) for tenant, field, value in arrived(redis_server) if (tenant, field) == (BOB, "aiDailyLimit")]
    assert limits == sorted(limits, reverse=True)
    assert limits[-1] == 7
    assert [value for tenant, field, value in arrived(redis_server) if field == "isAiEnabled"].count("false") >= 1
    assert set(states(project)) == {"delivered", "superseded"}


def test_a_run_killed_before_its_commit_has_no_effect(
    project: Project, redis_server: RedisServer, postgres_line: FaultyLine
) -> None:
    ask_for(project, 9)
    postgres_line.hold_before(b"COMMIT")
    environment = {"REDIS_URL": redis_server.url}
    url = postgres_line.url_through(project.database.url)
    kill_at(project.start("--yes", url=url, environment=environment), postgres_line)
    assert "Nothing to deliver." in deliver(project, redis_server).out
    assert (arrived(redis_server), jobs(redis_server), states(project)) == ([], 0, [])
    assert project.database.row("tenants", ACME)["isAiEnabled"] is True


def test_an_answer_of_redis_that_is_lost_is_said_and_the_job_is_there_once(
    project: Project, redis_server: RedisServer, redis_line: FaultyLine
) -> None:
    project.state(f"{ACME}: {{isWhatsappEnabled: false}}\n")
    project.commit("Ban")
    redis_line.lose_answer_to(b"EXEC\r\n")
    environment = {"REDIS_URL": f"redis://127.0.0.1:{redis_line.port}/0"}
    done = project.succeed("--yes", environment=environment)
    assert redis_line.happened.is_set()
    assert "1 effect was not delivered: bullmq whatsapp-worker-commands" in done.out
    assert "Effects: 1 waiting." in done.out
    assert jobs(redis_server) == 1
    assert "Delivered 1 effect." in deliver(project, redis_server).out
    assert jobs(redis_server) == 1


def test_what_a_redis_has_lost_with_its_data_is_sent_again_as_the_operations_page_says(
    project: Project, redis_server: RedisServer
) -> None:
    environment = {"REDIS_URL": redis_server.url}
    ask_for(project, 9)
    project.succeed("--yes", environment=environment)
    ask_for(project, 8)
    project.succeed("--yes", environment=environment)
    redis_server.kill()
    redis_server.start()
    assert (arrived(redis_server), jobs(redis_server)) == ([], 0)
    page = (TOP / "docs" / "operations.md").read_text(encoding="utf-8")
    statement = page.partition("```sql\n")[2].partition("```")[0]
    project.database.execute(statement.replace("2026-11-27 09:00+00", "2026-01-01 00:00+00"))
    done = deliver(project, redis_server)
    assert "Delivered 4 effects, 2 superseded by later changes." in done.out
    assert (set(arrived(redis_server)), jobs(redis_server)) == (
        {(ACME, "isAiEnabled", "false"), (ACME, "aiDailyLimit", "8"), (BOB, "aiDailyLimit", "8")}, 1,
    )  # fmt: skip
    assert states(project).count("superseded") == 2  # the limits of the first run


@pytest.mark.parametrize("command", [("--yes",), ("ci", "apply")])
def test_a_run_that_fails_before_it_has_a_database_tells_whom_the_policy_names(
    project: Project, command: tuple[str, ...]
) -> None:
    with receiving() as receiver:
        project.edit_schema("policy", "notify: []", "notify: [{on: [failed], webhook: {url: $HOOK, format: slack}}]")
        environment = {"HOOK": receiver.url}
        project.commit_state(f"{ACME}: {{isAiEnabled: false}}\n")
        nobody = with_place(project.database.url, "127.0.0.1", free_port())
        unreachable = project.run(*command, url=nobody, environment=environment)
        project.commit_state(f"{ACME}: {{isAiEnabled: perhaps}}\n")
        wrong = project.run(*command, environment=environment)
    assert (unreachable.code, wrong.code) == (4, 3)
    assert_clean(unreachable)
    assert_clean(wrong)
    told = [json.loads(post.body)["text"] for post in receiver.posts]
    assert len(told) == 2
    assert told[0].startswith("A run failed: the database cannot be reached")
    assert told[1].startswith("A run failed: state/tenants.yaml:1:")
    assert project.repo.head[:7] in told[1]


def test_a_run_that_a_later_one_has_overtaken_is_no_failure(project: Project) -> None:
    with receiving() as receiver:
        project.edit_schema("policy", "notify: []", "notify: [{on: [failed], webhook: {url: $HOOK, format: slack}}]")
        project.commit_state(f"{ACME}: {{isAiEnabled: false}}\n")
        project.commit_state(f"{ACME}: {{isAiEnabled: false, aiDailyLimit: 5}}\n")
        project.succeed("--yes", environment={"HOOK": receiver.url})
        overtaken = project.run("--yes", "--revision", "HEAD~1", environment={"HOOK": receiver.url})
    assert overtaken.code == 6
    assert receiver.posts == []


def test_redis_that_is_down_is_said_and_fails_nothing(
    project: Project, redis_server: RedisServer
) -> None:
    ask_for(project, 9)
    redis_server.kill()
    environment = {"REDIS_URL": f"redis://:canary-password@127.0.0.1:{redis_server.port}/0"}
    done = project.succeed("--yes", environment=environment)
    assert "Effects: 4 waiting." in done.out
    assert "canary-password" not in done.out + done.err
    failed = project.run("deliver", "--output", "json", environment=environment)
    assert failed.code == 1
    assert '"waiting": 4' in failed.out
    assert "canary-password" not in failed.out + failed.err
    assert_clean(failed)
    redis_server.start()
    with redis_server.client() as client:
        client.config_set("requirepass", "canary-password")
    assert "Delivered 4 effects." in project.succeed("deliver", environment=environment).out
