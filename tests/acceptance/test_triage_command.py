"""`reconcile triage` as a person or a program calls it."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import pytest

from reconciler.errors import UsageProblem
from reconciler.runbook.triage import triage
from tests.support import cli
from tests.support.incidents import disconnect
from tests.support.postgres import Database
from tests.support.triage import ACME, RUNBOOK, TOP, ordinary_day, shell_words


@pytest.fixture
def platform(database: Database) -> Database:
    return ordinary_day(database)


def test_a_seventh_playbook_is_a_file(tmp_path: Path, empty_database: Database) -> None:
    """Of tables that no line of the program knows."""
    (tmp_path / "schemas" / "playbooks").mkdir(parents=True)
    (tmp_path / "schemas" / "policy.yaml").write_text(
        "audit: {table: journal, columns: {id: $uuid, owner: $tenant, event: $event, details: $metadata}}\n"
    )
    (tmp_path / "schemas" / "ovens.yaml").write_text(
        "table: ovens\nkey: serial\nlabel: name\naudit: {event: OVEN}\n"
        "fields: {lit: {type: boolean, kill: false}, heat: {type: integer, kill: lower}}\n"
    )
    (tmp_path / "schemas" / "playbooks" / "fire.yaml").write_text(
        """\
title: Fire
summary: An oven is too hot.
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
"""
    )
    empty_database.execute("CREATE TABLE ovens (serial int PRIMARY KEY, name text, lit bool, heat int)")
    empty_database.execute("INSERT INTO ovens VALUES (7, 'The big one', true, 1250), (8, 'Small', true, 180)")
    done = cli.run("triage", cwd=tmp_path, database=empty_database.url)
    assert "The big one has 1,250 degrees\n" in done.out
    assert "$ reconcile kill fire --tenant 7 --reason 'The big one has 1,250 degrees'\n" in done.out
    empty_database.execute("UPDATE ovens SET lit = false")
    assert "done already for The big one: out" in cli.run("triage", cwd=tmp_path, database=empty_database.url).out


def test_names_from_the_database_cannot_move_the_cursor_or_leave_their_quotes(database: Database) -> None:
    database.tenant(ACME, name="A\x1b[2J\n'; rm -rf / #")
    disconnect(database, ACME, "403")
    done = cli.run("triage", cwd=TOP, database=database.url)
    assert "\x1b" not in done.out
    assert "A\\x1b[2J" in done.out or "A\\u001b[2J" in done.out
    command = next(line for line in done.out.splitlines() if "$ reconcile kill" in line)
    assert shell_words(command)[3:5] == ["--tenant", ACME]


def test_json_goes_alone_to_stdout(platform: Database) -> None:
    disconnect(platform, ACME, "403")
    done = cli.run("triage", "--output", "json", "--exit-code", cwd=TOP, database=platform.url)
    assert done.code == 2
    document = json.loads(done.out)
    assert document["format_version"] == 1
    assert document["quiet"] is False
    (match,) = document["matches"]
    assert match["playbook"] == "whatsapp-ban"
    assert match["evidence"][0]["values"] == {"drops": 1, "reason": "403"}
    assert match["remedies"][0]["key"] == ACME
    assert document["database"][0]["variable"] == "DATABASE_URL"
    assert document["database"][0]["milliseconds"] > 0


def test_exit_codes_tell_a_match_from_quiet_and_from_blindness(platform: Database) -> None:
    assert cli.run("triage", "--exit-code", cwd=TOP, database=platform.url).code == 0
    assert cli.run("triage", "--exit-code", cwd=TOP).code == 1
    disconnect(platform, ACME, "403")
    assert cli.run("triage", "--exit-code", cwd=TOP, database=platform.url).code == 2
    assert cli.run("triage", cwd=TOP, database=platform.url).code == 0
    assert cli.run("triage", "--only", "redis-down", "--exit-code", cwd=TOP, database=platform.url).code == 0


def test_a_playbook_that_does_not_exist_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UsageProblem, match=r'there is no playbook "redis_down" .did you mean "redis-down"'):
        triage(RUNBOOK, only=["redis_down"], environment={})


def test_the_command_names_the_directory_that_was_named(platform: Database) -> None:
    disconnect(platform, ACME, "403")
    done = cli.run("triage", "-C", str(TOP), cwd=TOP.parent, database=platform.url)
    assert f"$ reconcile kill whatsapp-ban --directory {TOP} --tenant {ACME} --reason " in done.out


def test_a_state_that_is_broken_does_not_keep_triage_from_working(tmp_path: Path, platform: Database) -> None:
    shutil.copytree(TOP / "schemas", tmp_path / "schemas")
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "tenants.yaml").write_text("a: [\n")
    done = cli.run("triage", cwd=tmp_path, database=platform.url)
    assert done.code == 0
    assert done.out.startswith("Quiet")


def test_watch_looks_again_until_it_is_interrupted(platform: Database) -> None:
    with cli.start("triage", "--watch", "0.2s", "--output", "json", cwd=TOP, database=platform.url) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert json.loads(process.stdout.readline())["matches"] == []
        disconnect(platform, ACME, "403")
        for _ in range(20):
            document = json.loads(process.stdout.readline())
            if document["matches"]:
                break
        assert document["matches"][0]["playbook"] == "whatsapp-ban"
        process.send_signal(signal.SIGINT)
        rest = process.communicate(timeout=20)
    assert process.returncode == 0
    assert rest[1] == ""


def test_watch_has_an_interval_of_its_own(platform: Database) -> None:
    with cli.start("triage", "--watch", cwd=TOP, database=platform.url) as process:
        assert process.stdout is not None
        assert process.stdout.readline().endswith("Z, Ctrl-C ends\n")
        process.stdout.readline()
        assert process.stdout.readline().startswith("Quiet")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
    assert process.returncode == 0
