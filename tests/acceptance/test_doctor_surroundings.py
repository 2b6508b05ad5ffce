"""`reconcile doctor` on what stands around the database: Redis and its queues, poolers, webhooks, GitHub."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from reconciler.doctor import database as database_part
from reconciler.doctor.program import look_at_program
from reconciler.drill.redis_server import RedisServer, free_port, running_redis
from tests.support.doctor import examined
from tests.support.pgbouncer import needs_pgbouncer, running_pooler
from tests.support.postgres import with_database
from tests.support.project import ACME, TOP, Project
from tests.support.waiting import wait_until

QUEUES = ("whatsapp-inbound-events", "whatsapp-outbound", "whatsapp-worker-commands")
JOB = {"GITHUB_ACTIONS": "true", "GITHUB_REPOSITORY": "acme/platform", "GITHUB_JOB": "apply"}


@pytest.fixture
def ready(project: Project) -> Project:
    """A project with a commit that can be applied."""
    project.commit_state(f"{ACME}:\n  isAiEnabled: false\n")
    return project


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    """A Redis in which every queue of the policy was opened once."""
    with running_redis() as server:
        client = server.client()
        for queue in QUEUES:
            client.hset(f"bull:{queue}:meta", "version", "bullmq:5.0.0")
        client.close()
        yield server


def redis_at(url: str) -> dict[str, str]:
    return {"REDIS_URL": url}


# Redis


def test_a_redis_as_bullmq_needs_it_is_right(ready: Project, redis_server: RedisServer) -> None:
    found = examined(ready, environment=redis_at(redis_server.url))
    assert found.code == 0
    assert {row["verdict"] for row in found.rows if row["part"] == "redis"} == {"ok"}
    assert f"127.0.0.1:{redis_server.port} answers in " in found.row("redis", "REDIS_URL")["saw"]
    assert "Valkey 9" in found.row("redis", "REDIS_URL")["saw"]
    assert found.row("redis", "maxmemory-policy")["saw"] == "noeviction"
    for queue in QUEUES:
        assert found.verdict("redis", "queue", f"{queue}: 0 waiting") == "ok"


def test_a_redis_that_may_remove_jobs_is_mended_by_the_command_that_is_printed(ready: Project) -> None:
    with running_redis(maxmemory="100mb", maxmemory_policy="allkeys-lru") as server:
        row = examined(ready, environment=redis_at(server.url)).row("redis", "maxmemory-policy")
        assert row["verdict"] == "warning"
        assert row["saw"].startswith("allkeys-lru: ")
        client = server.client()
        client.execute_command(*row["commands"][0].split()[1:])
        client.close()
        assert examined(ready, environment=redis_at(server.url)).verdict("redis", "maxmemory-policy") == "ok"


def test_a_redis_that_is_nearly_full_is_told(ready: Project) -> None:
    with running_redis(maxmemory="1gb") as server:
        client = server.client()
        for number in range(1000):
            client.set(f"ballast-{number}", "x" * 8_000)
        client.config_set("maxmemory", int(client.info("memory")["used_memory"] * 1.05))
        client.close()
        assert examined(ready, environment=redis_at(server.url)).verdict("redis", "memory") == "warning"


def test_a_prefix_that_scatters_a_queue_over_a_cluster_is_told(ready: Project) -> None:
    with running_redis(cluster_enabled="yes", cluster_port=str(free_port())) as node:
        with node.client() as client:
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            wait_until(lambda: client.execute_command("CLUSTER INFO")["cluster_state"] == "ok")
        environment = redis_at(node.url) | {"REDIS_CLUSTER": "true"}
        scattered = examined(ready, environment=environment)
        assert [name for _, name in scattered.with_verdict("warning")].count("prefix") == len(QUEUES)
        assert "say `prefix: '{bull}'`" in scattered.row("redis", "prefix", "worker-commands")["advice"]
        ready.edit_schema("tenants", "queue: whatsapp-worker-commands", "queue: '{w}'")
        ready.commit_state(f"{ACME}:\n  isAiEnabled: true\n")
        tagged = examined(ready, environment=environment)
        assert [name for _, name in tagged.with_verdict("warning")].count("prefix") == len(QUEUES)  # the policy's


def test_queues_that_are_paused_full_of_old_jobs_or_unknown_are_told(
    ready: Project, redis_server: RedisServer
) -> None:
    client = redis_server.client()
    client.hset("bull:whatsapp-outbound:meta", "paused", "1")
    client.delete("bull:whatsapp-inbound-events:meta")
    an_hour_ago = int((datetime.now(UTC) - timedelta(hours=1)).timestamp() * 1000)
    client.lpush("bull:whatsapp-worker-commands:wait", "7")
    client.hset("bull:whatsapp-worker-commands:7", "timestamp", str(an_hour_ago))
    client.close()
    found = examined(ready, environment=redis_at(redis_server.url))
    assert found.code == 0
    assert found.verdict("redis", "queue", "it is paused") == "warning"
    assert found.verdict("redis", "queue", "Redis has no such queue (prefix bull)") == "warning"
    assert found.verdict("redis", "queue", "1 waiting, 0 active, 0 failed, the oldest for 3") == "warning"


def test_a_redis_that_is_not_set_or_down_stands_in_nobodys_way_and_its_part_is_said(ready: Project) -> None:
    unset = examined(ready)
    assert unset.code == 0
    assert "it is not set: kills are applied, and what follows them waits" in unset.row("redis", "REDIS_URL")["saw"]
    down = examined(ready, environment=redis_at(f"redis://:pass-canary@127.0.0.1:{free_port()}/0"))
    assert down.code == 0
    assert "does not answer: " in down.row("redis", "REDIS_URL")["saw"]
    assert "tenants.isWhatsappEnabled" in down.row("redis", "REDIS_URL")["advice"]
    assert "canary" not in down.text
    nonsense = examined(ready, environment=redis_at("http://:pass-canary@x"))
    assert nonsense.verdict("redis", "REDIS_URL", "is not a Redis URL") == "warning"
    assert "canary" not in nonsense.text


def test_a_redis_that_hangs_costs_its_deadline_once_and_every_other_row_is_there(
    ready: Project, redis_server: RedisServer
) -> None:
    redis_server.pause()
    found = examined(ready, "--deadline", "2s", environment=redis_at(redis_server.url))
    assert found.code == 0
    assert found.verdict("redis", "REDIS_URL") == "warning"
    assert found.verdict("plan", "dry run") == "ok"
    assert found.verdict("ledger", "outbox") == "ok"
    assert found.document["seconds"] < 8  # once for each queue and check would take ten


def test_a_redis_that_wants_another_password_or_hides_its_state_is_told(ready: Project) -> None:
    with running_redis(password="right") as server:
        wrong = examined(ready, environment=redis_at(f"redis://:wrong-canary@127.0.0.1:{server.port}/0"))
        assert wrong.verdict("redis", "REDIS_URL", "does not answer: ") == "warning"
        assert "canary" not in wrong.text
        client = server.client()
        client.execute_command("ACL", "SETUSER", "robot", "on", ">robot", "~*", "&*", "+@all", "-info")
        client.close()
        shy = examined(ready, environment=redis_at(f"redis://robot:robot@127.0.0.1:{server.port}/0"))
        assert shy.verdict("redis", "server", "may not ask INFO") == "note"
        assert shy.verdict("redis", "REDIS_URL") == "ok"


# Poolers


@needs_pgbouncer
def test_a_pooler_is_told_from_the_server_itself(ready: Project) -> None:
    database = ready.database
    with running_pooler(database.url, schema="public", pool_size=3, clients=10) as pooler:
        pooled = f"postgresql://shop.project:Zq%40s%2Fecret@127.0.0.1:{pooler.port}/{database.name}"
        found = examined(ready, url=pooled, environment={"DIRECT_URL": database.url})
        assert found.code == 0, found.text
        assert found.row("database", "way")["saw"].startswith("DATABASE_URL leads through a pooler")
        assert found.verdict("database", "DIRECT_URL", "leads to the server itself, should") == "ok"
        both = examined(ready, url=database.url, environment={"DIRECT_URL": pooled})
        assert both.row("database", "way")["saw"] == "DATABASE_URL leads to the server itself"
        assert both.verdict("database", "DIRECT_URL", "leads through a pooler, too") == "warning"
        other = with_database(database.url, "postgres")
        elsewhere = examined(ready, url=pooled, environment={"DIRECT_URL": other})
        assert elsewhere.verdict("database", "DIRECT_URL", "leads to another database") == "warning"
        assert "Zq" not in found.text + both.text + elsewhere.text
        pooler.process.kill()
        pooler.process.wait()
        down = examined(ready, url=pooled, environment={"DIRECT_URL": database.url})
        assert down.code == 0
        assert "it is the pooler: " in down.row("database", "DATABASE_URL")["saw"]
        assert down.row("database", "way")["saw"] == "DIRECT_URL leads to the server itself"


def test_a_direct_address_that_is_down_is_a_warning(ready: Project) -> None:
    found = examined(ready, environment={"DIRECT_URL": f"postgresql://a@127.0.0.1:{free_port()}/x"})
    assert found.code == 0
    assert found.verdict("database", "DIRECT_URL", "does not answer") == "warning"


# Clocks and versions


@pytest.mark.parametrize(
    ("skew_s", "took_s", "verdict"),
    [
        (0, 0.01, "ok"), (-4, 0.01, "ok"), (60, 0.01, "warning"), (-60, 0.01, "warning"),
        (6, 4, "ok"), (60, 4, "warning"),
    ],
)  # fmt: skip
def test_a_clock_is_wrong_only_where_a_slow_answer_cannot_explain_it(
    skew_s: float, took_s: float, verdict: str
) -> None:
    asked = datetime(2026, 11, 27, 9, tzinfo=UTC)
    answered = asked + timedelta(seconds=took_s)
    clock = asked + timedelta(seconds=took_s / 2 + skew_s)
    finding = database_part.about_clock(clock, asked, answered)
    assert finding.verdict.value == verdict
    if verdict == "warning":
        assert ("60 s behind the database" in finding.saw) == (skew_s > 0)


def test_the_slow_parser_of_yaml_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reconciler.doctor.program.HAS_LIBYAML", False)
    [parser] = [finding for finding in look_at_program(None) if finding.name == "YAML parser"]
    assert parser.verdict.value == "warning"
    assert "without libyaml" in parser.saw


# Webhooks


def test_variables_that_webhooks_need_are_told_and_no_webhook_is_called(ready: Project) -> None:
    ready.edit_schema(
        "policy", "notify: []", "notify:\n  - {on: [kill], webhook: {url: $SLACK_URL, format: slack, secret: HOOK_KEY}}"
    )
    ready.commit("Tell Slack")
    found = examined(ready, environment={"HOOK_KEY": "key-canary"})
    assert found.code == 0
    assert found.verdict("effects", "variable", "SLACK_URL is not set") == "warning"
    assert found.verdict("effects", "variable", "HOOK_KEY is set") == "ok"
    assert "canary" not in found.text


# Proofs of effect


def test_variables_that_proofs_need_are_told_where_they_are_not_set(ready: Project) -> None:
    proof = "{http: {url: $APP_URL, path: /t/$key, headers: {Authorization: Bearer $APP_TOKEN}}}"
    field = "  isAiEnabled:\n    type: boolean\n"
    ready.edit_schema("tenants", field, f"{field}    verify: [{proof}]\n")
    ready.commit("Ask the application")
    found = examined(ready, environment={"APP_TOKEN": "token-canary"})
    assert found.code == 0
    assert found.verdict("effects", "proof") == "warning"
    assert "tenants.isAiEnabled cannot be seen in effect over HTTP: APP_URL is not set" in found.text
    assert "canary" not in found.text
    set_both = examined(ready, environment={"APP_TOKEN": "token-canary", "APP_URL": "https://app.example.org"})
    assert [row for row in set_both.rows if row["name"] == "proof"] == []


# GitHub


@contextmanager
def github(status: int, document: dict[str, Any]) -> Iterator[dict[str, str]]:
    """An API that answers every GET so; the environment of a job that talks to it."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            assert self.path == "/repos/acme/platform"
            assert self.headers["Authorization"] == "Bearer token-canary"
            answer = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield {
            **JOB,
            "GITHUB_API_URL": f"http://127.0.0.1:{server.server_port}",
            "GITHUB_TOKEN": "token-canary",
            "GITHUB_EVENT_NAME": "push",
            "GITHUB_REF": "refs/heads/main",
            "GITHUB_WORKFLOW_REF": "acme/platform/.github/workflows/apply.yml@refs/heads/main",
        }
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_the_workflow_that_comes_with_it_is_right(ready: Project) -> None:
    ready.write(".github/workflows/apply.yml", (TOP / ".github/workflows/apply.yml").read_bytes())
    ready.commit("Workflow")
    with github(200, {"permissions": {"admin": False, "push": True, "pull": True}}) as environment:
        found = examined(ready, environment=environment)
        assert found.code == 0
        assert {row["name"]: row["verdict"] for row in found.rows if row["part"] == "github"} == {
            "event": "ok", "concurrency": "ok", "token": "ok",
        }  # fmt: skip
        assert found.row("github", "token")["saw"] == "it may push, pull acme/platform"
        text = ready.write(".github/workflows/apply.yml", "on: push\njobs: {apply: {steps: []}}\n")
        assert examined(ready, environment=environment).verdict("github", "concurrency", "names no group") == "warning"
        text.write_text("concurrency: {group: a, cancel-in-progress: true}\njobs: {}\n")
        assert examined(ready, environment=environment).verdict("github", "concurrency", "cancels runs") == "warning"
        text.write_text("jobs: {apply: {concurrency: apply}}\n")
        assert examined(ready, environment=environment).verdict("github", "concurrency") == "ok"
        text.write_text("a: [\n")
        assert examined(ready, environment=environment).verdict("github", "concurrency", "not known") == "note"


@pytest.mark.parametrize(
    ("event", "ref", "verdict"),
    [
        ("push", "refs/heads/main", "ok"),
        ("schedule", "refs/heads/main", "ok"),
        ("pull_request", "refs/pull/7/merge", "warning"),
        ("pull_request_target", "refs/heads/main", "warning"),
    ],
)
def test_what_must_not_be_applied_from_is_told(ready: Project, event: str, ref: str, verdict: str) -> None:
    environment = {**JOB, "GITHUB_EVENT_NAME": event, "GITHUB_REF": ref}
    found = examined(ready, environment=environment)
    assert found.verdict("github", "event") == verdict
    assert found.verdict("github", "token", "neither GITHUB_TOKEN nor GH_TOKEN") == "note"


def test_a_token_that_may_nothing_or_everything_is_told_and_never_shown(ready: Project) -> None:
    for status, document, says in (
        (401, {"message": "Bad credentials"}, "it may not read acme/platform: HTTP 401: Bad credentials"),
        (404, {"message": "Not Found"}, "it may not read acme/platform"),
        (200, {"permissions": {"admin": True}}, "it may administer acme/platform"),
    ):
        with github(status, document) as environment:
            found = examined(ready, environment=environment)
        assert found.verdict("github", "token", says) == "warning"
        assert "canary" not in found.text
    away = {**environment, "GITHUB_API_URL": f"http://127.0.0.1:{free_port()}"}
    assert examined(ready, environment=away).verdict("github", "token", "the API does not answer") == "warning"
