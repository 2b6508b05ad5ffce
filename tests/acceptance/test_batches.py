"""`reconcile --batch N`: the command that is killed or interrupted between two batches, and what other commands say."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.cli import Finished, finish
from tests.support.project import Project
from tests.support.proxy import FaultyLine
from tests.support.refusals import assert_clean, assert_plainly_refused
from tests.support.waiting import wait_until

KEYS = [f"tenant-{number:02}" for number in range(10)]
BATCH = ("--batch", "3", "--lock-timeout", "60s")


@pytest.fixture
def crowd(project: Project) -> Project:
    """The project with ten tenants more, and a commit that gives each another limit."""
    for key in KEYS:
        project.database.tenant(key, name=key)
    project.commit_state("".join(f"{key}:\n  aiDailyLimit: 60\n" for key in KEYS), "Limit 60")
    return project


@contextmanager
def held(project: Project, key: str) -> Iterator[None]:
    """As long as the block lasts, the application holds a row."""
    with project.database.connect() as application:
        application.execute("BEGIN")
        application.execute("UPDATE tenants SET name = name WHERE id = %s", [key])
        yield
        application.execute("ROLLBACK")


def sessions(project: Project, waits_for: str = "%") -> list[dict[str, Any]]:
    return project.database.execute(
        """
        SELECT pid FROM pg_stat_activity
         WHERE datname = current_database() AND application_name = 'reconcile' AND coalesce(wait_event_type, '') LIKE %s
        """,
        [waits_for],
    )


def ended(project: Project, number: signal.Signals) -> Finished:
    """A run that gets the signal while its third batch waits for a row of the application."""
    with held(project, KEYS[6]):
        with project.start(*BATCH) as process:
            wait_until(lambda: sessions(project, "Lock"))
            process.send_signal(number)
            done = finish(process)
    wait_until(lambda: not sessions(project))  # the server notices last that nobody is there
    return done


def limits(project: Project) -> list[int]:
    return [project.database.row("tenants", key)["aiDailyLimit"] for key in KEYS]


def assert_completed_by(project: Project, *arguments: str) -> None:
    """What is left is applied, and nothing twice."""
    assert limits(project) == [60] * 6 + [50] * 4
    assert [run["outcome"] for run in project.runs()] == ["partial", "partial"]
    project.succeed(*arguments)
    assert limits(project) == [60] * 10
    assert sorted(entry["metadata"]["key"] for entry in project.entries()) == KEYS


@pytest.mark.parametrize("arguments", [BATCH, ()], ids=["with batches", "without"])
def test_a_run_that_is_killed_between_two_batches_is_completed_by_the_next(
    crowd: Project, arguments: tuple[str, ...]
) -> None:
    assert ended(crowd, signal.SIGKILL).code == -signal.SIGKILL
    assert_completed_by(crowd, *arguments)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_run_that_is_interrupted_between_two_batches_says_what_was_applied_and_ends_with_1(
    crowd: Project, number: signal.Signals
) -> None:
    done = ended(crowd, number)
    assert done.code == 1, str(done)
    last = crowd.runs()[-1]["id"]
    assert done.err.lstrip() == (
        f"Interrupted. Before that, 2 batches were applied, of 4 (6 rows, the last by run {last}), and stay. The next "
        "run applies what is left, and nothing twice\n"
    )
    assert_clean(done)
    assert_completed_by(crowd)


def test_a_lost_answer_to_the_commit_of_a_batch_is_looked_up_and_the_others_follow(crowd: Project) -> None:
    place = urlsplit(crowd.database.url)
    with FaultyLine(place.hostname or "127.0.0.1", place.port or 5432) as line:
        line.lose_answer_to(b"COMMIT\0")
        done = crowd.succeed("--batch", "3", url=line.url_through(crowd.database.url))
        assert line.happened.is_set()
    assert "the ledger has run" in " ".join(done.out.split())
    assert "in 4 batches" in done.out
    assert limits(crowd) == [60] * 10
    assert sorted(entry["metadata"]["key"] for entry in crowd.entries()) == KEYS


def test_a_batch_that_waits_too_long_for_a_row_says_what_was_applied_before_it(crowd: Project) -> None:
    with held(crowd, KEYS[6]):
        done = crowd.run("--batch", "3", "--lock-timeout", "1s")
    assert_plainly_refused(
        done, 1, "applying batch 3 of 4", "Before that, 2 batches were applied, of 4 (6 rows, the last by run"
    )
    assert_completed_by(crowd)


def test_the_command_tells_of_all_batches_as_one(crowd: Project) -> None:
    said = crowd.succeed("--batch", "3").out
    runs = [str(run["id"])[:8] for run in crowd.runs()]
    assert f"Applied 10 changes to 10 rows in 4 batches (runs {runs[0]} to {runs[-1]}, 10 audit entries," in said
    assert said.count("aiDailyLimit") == 10


def test_json_names_the_run_of_each_batch(crowd: Project) -> None:
    run = json.loads(crowd.succeed("--batch", "5", "--output", "json").out)["run"]
    assert run["batches"] == [str(one["id"]) for one in crowd.runs()]
    assert run["id"] == run["batches"][-1]
    assert json.loads(crowd.succeed("--output", "json").out)["run"]["batches"] == []


def test_history_status_and_doctor_say_that_a_run_was_partial(crowd: Project) -> None:
    ended(crowd, signal.SIGKILL)
    history = crowd.succeed("history", "--runs").out
    assert "partial, 3 changes  batch 2 of 4" in " ".join(history.split("\n"))
    runs = json.loads(crowd.succeed("history", "--runs", "--output", "json").out)["runs"]
    assert [(run["outcome"], run["batch"]["number"], run["batch"]["of"]) for run in runs] == [
        ("partial", 2, 4),
        ("partial", 1, 4),
    ]
    assert "batch 2 of 4: the others are still to come" in crowd.succeed("status").out
    assert json.loads(crowd.succeed("status", "--output", "json").out)["last"]["partial"] == "batch 2 of 4"
    assert "(batch 2 of 4: the others are still to come)" in crowd.succeed("status", "--output", "markdown").out
    assert "it was batch 2 of 4, and the others did not follow yet" in " ".join(crowd.run("doctor").out.split())
    crowd.succeed()
    assert "still to come" not in crowd.succeed("status").out


def test_one_batch_goes_back_by_its_run_and_all_by_their_commit(crowd: Project) -> None:
    crowd.commit_state("".join(f"{key}:\n  aiDailyLimit: 60\n" for key in KEYS), "Nothing")
    crowd.succeed()
    crowd.commit_state("".join(f"{key}:\n  aiDailyLimit: 70\n" for key in KEYS), "Limit 70")
    commit = crowd.repo.head
    crowd.succeed("--batch", "3")
    first = str(crowd.runs()[-4]["id"])
    done = crowd.succeed("rollback", first, "--reason", "too much", "--dry-run")
    assert done.out.count("70 -> 60") == 3
    assert f"This run was batch 1 of 4; the others stay. All that the commit did: reconcile rollback {commit[:12]}" in (
        done.err
    )
    done = crowd.succeed("rollback", commit[:12], "--reason", "too much", "--dry-run")
    assert done.out.count("70 -> 60") == 10
    assert "batch" not in done.err


def test_a_saved_plan_is_applied_in_batches_and_completed_after_an_interruption(crowd: Project, tmp_path: Path) -> None:
    saved = str(tmp_path / "plan.json")
    crowd.succeed("--dry-run", "--plan-out", saved)
    with held(crowd, KEYS[6]):
        done = crowd.run("--plan", saved, "--batch", "3", "--lock-timeout", "1s")
    assert_plainly_refused(done, 1, "Before that, 2 batches were applied, of 4")
    crowd.succeed("--plan", saved, "--batch", "3")
    assert limits(crowd) == [60] * 10
    assert_plainly_refused(crowd.run("--plan", saved, "--batch", "3"), 6, "this plan was applied already")


def test_options_that_do_not_go_together_are_named(crowd: Project) -> None:
    assert_plainly_refused(crowd.run("--dry-run", "--batch", "3"), 64, "--batch is for an apply")
    done = crowd.run("--batch", "3", "--allow-dirty", "--reason", "INC-1")
    assert_plainly_refused(done, 64, "--batch applies a commit")
    assert crowd.run("--batch", "0").code == 64


# In a job of CI


def test_a_job_of_ci_applies_in_batches(crowd: Project) -> None:
    done = crowd.succeed("ci", "apply", *BATCH)
    assert "in 4 batches" in done.out
    assert [run["outcome"] for run in crowd.runs()] == ["partial"] * 3 + ["applied"]
    assert limits(crowd) == [60] * 10


def test_a_job_of_ci_that_fails_between_two_batches_says_what_was_applied(crowd: Project) -> None:
    with held(crowd, KEYS[6]):
        done = crowd.run("ci", "apply", "--batch", "3", "--lock-timeout", "0.2s")
    assert done.code == 1, str(done)
    assert "2 batches were applied, of 4 (6 rows" in " ".join(done.out.split())
    assert "2 batches were applied" in (crowd.directory / "reconcile.md").read_text()
    assert_completed_by(crowd, "ci", "apply")
