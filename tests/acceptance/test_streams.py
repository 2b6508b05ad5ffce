"""What goes to stdout, what to stderr, and what the exit code says."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import jsonschema
import pytest

from tests.support.cli import clean_environment, command
from tests.support.postgres import Database
from tests.support.project import ACME, KILL, TOP, Project


def test_json_alone_goes_to_stdout_and_fits_its_schema(project: Project, tmp_path: Path) -> None:
    schema = json.loads((TOP / "schemas/json/plan.schema.json").read_text())
    project.commit_state()
    file = str(tmp_path / "plan.json")
    noisy = project.database.url + "?connection_limit=1&pgbouncer=true"
    done = project.succeed("--dry-run", "--output", "json", "--plan-out", file, url=noisy)
    plan = json.loads(done.out)
    jsonschema.validate(plan, schema)
    assert json.loads(Path(file).read_text()) == plan
    assert "Plan saved to" in done.err
    assert json.loads(project.succeed("show", file, "--output", "json").out) == plan

    outcome = json.loads(project.succeed("--output", "json", url=noisy).out)
    assert outcome["run"]["applied"] == 2
    assert outcome["run"]["audit_entries"] == 2
    jsonschema.validate(outcome["plan"], schema)

    empty = json.loads(project.succeed("--dry-run", "--output", "json").out)
    jsonschema.validate(empty, schema)
    assert empty["changes"] == []


def test_an_error_is_json_on_stdout_too_where_json_was_asked_for(project: Project) -> None:
    project.state(f"{ACME}:\n  isWhatsapEnabled: false\n")
    done = project.run("--dry-run", "--output", "json")
    assert done.code == 3
    error = json.loads(done.out)["error"]
    assert (error["kind"], error["exit_code"]) == ("invalid_input", 3)
    assert error["problems"][0]["line"] == 2
    assert "isWhatsappEnabled" in error["problems"][0]["hint"]
    assert "isWhatsapEnabled" in done.err


def test_markdown_is_a_form_of_the_plan(project: Project) -> None:
    project.state(KILL)
    assert "isWhatsappEnabled" in project.succeed("--dry-run", "--output", "markdown").out


def test_exit_code_tells_pending_changes_and_what_is_held(project: Project) -> None:
    project.commit_state()
    assert project.run("--dry-run").code == 0
    assert project.run("--dry-run", "--exit-code").code == 2
    assert project.run("--exit-code").code == 0
    assert project.run("--dry-run", "--exit-code").code == 0
    done = project.run("drift", "--exit-code")
    assert (done.code, done.out) == (0, "No drift: 1 row with 2 fields is in the database as applied last.\n")
    assert project.run("drift", "--output", "markdown").out.startswith("### reconcile: no drift\n\nNo drift: 1 row")
    project.commit_state(KILL.replace("value: false", "value: true").replace("5", "4"), "The ban is over, they say")
    assert project.run("--dry-run", "--exit-code").code == 2  # the limit is pending, the flag is held
    held = project.run("--exit-code")
    assert held.code == 5
    assert "held until" in held.out.lower()
    assert project.run("--dry-run", "--exit-code").code == 5
    assert project.run("--dry-run").code == 0
    project.database.execute("""UPDATE tenants SET "aiDailyLimit" = 3 WHERE id = %s""", [ACME])
    assert project.run("drift", "--exit-code").code == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["--dry-run", "--yes"],
        ["--dry-run", "--reason", "x"],
        ["--plan-out", "x.json"],
        ["--no-such-option"],
        ["no-such-command"],
        ["--lock-timeout", "soon"],
        ["--dry-run", "validate"],
        ["--allow-changes", "5"],
        ["--allow-dirty", "--revision", "HEAD", "--reason", "x"],
    ],
    ids=" ".join,
)
def test_options_that_make_no_sense_end_with_64(project: Project, arguments: list[str]) -> None:
    project.commit_state()
    done = project.run(*arguments)
    assert (done.code, done.out) == (64, "")
    assert done.err.strip()


def test_without_an_address_the_variable_to_set_is_named(project: Project) -> None:
    project.commit_state()
    done = project.run("--dry-run", environment={"DATABASE_URL": ""})
    assert done.code == 64
    assert "DATABASE_URL" in done.err


def test_a_report_that_cannot_be_written_does_not_make_a_run_look_undone(project: Project, database: Database) -> None:
    project.commit_state()
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            command(), cwd=project.directory, env=clean_environment(database.url), stdin=subprocess.DEVNULL,
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "was applied, but its report could not be written" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(project.entries()) == 2


@pytest.mark.parametrize("closed", [1, 2])
def test_a_process_without_one_of_its_streams_applies_as_any_other(
    project: Project, database: Database, closed: int
) -> None:
    project.commit_state()
    shell = ["sh", "-c", f'exec "$@" {closed}>&-', "sh", *command()]
    done = subprocess.run(
        shell, cwd=project.directory, env=clean_environment(database.url), stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert ("Applied 2 changes" in done.stdout) is (closed == 2)
    assert "rror" not in done.stderr
    assert len(project.entries()) == 2


def test_json_that_cannot_be_written_is_an_error_in_one_line(project: Project, database: Database) -> None:
    project.commit_state()
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            command("--dry-run", "--output", "json"), cwd=project.directory, env=clean_environment(database.url),
            stdin=subprocess.DEVNULL, stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.splitlines() == ["Error: OSError: [Errno 28] No space left on device"]
