"""A signal once something is committed: nobody is told that nothing was done.

The commands are stopped where they write their report, into a pipe that is full: by then their connection is closed,
so what they have done is committed.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest

from reconciler.drill.redis_server import RedisServer, running_redis
from tests.support import cli
from tests.support.project import ACME, BOB, Project
from tests.support.proxy import FaultyLine
from tests.support.refusals import assert_clean, assert_plainly_refused
from tests.support.waiting import wait_until

FREEZE = ("freeze", "--until", "2999-01-01T00:00:00Z", "--reason", "Holidays")
KILLED = f"tenants/{ACME}.isWhatsappEnabled"


@contextmanager
def full_pipe() -> Iterator[int]:
    """The writing end of a pipe that takes no more, and that nobody reads."""
    reading, writing = os.pipe()
    try:
        os.set_blocking(writing, False)
        try:
            while True:
                os.write(writing, bytes(4096))
        except BlockingIOError:
            os.set_blocking(writing, True)
        yield writing
    finally:
        os.close(reading)
        os.close(writing)


def interrupted(project: Project, committed: str, *arguments: str) -> cli.Finished:
    """What the command says that is interrupted while it writes its report. `committed` is SQL that finds its work."""
    with (
        full_pipe() as stdout,
        subprocess.Popen(
            cli.command(*arguments),
            cwd=project.directory,
            env=cli.clean_environment(project.database.url),
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        try:
            wait_until(lambda: project.database.execute(committed), 30)
            wait_until(lambda: not sessions(project), 30)
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=30)
        finally:
            process.kill()
    return cli.Finished(process.returncode, "", said)


def sessions(project: Project) -> list[int]:
    found = project.database.execute(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'reconcile'"
    )
    return [row["pid"] for row in found]


def assert_said(done: cli.Finished, words: str) -> None:
    assert done.code == 0, str(done)
    assert f"Interrupted. {words}\n" in done.err
    assert "othing was applied" not in done.err
    assert_clean(done)


def test_init_says_that_the_ledger_is_made(project: Project) -> None:
    project.database.execute("DROP SCHEMA reconciler CASCADE")
    done = interrupted(project, "SELECT FROM pg_namespace WHERE nspname = 'reconciler'", "init")
    assert_said(done, "The ledger was made before that; `reconcile init` again prints the grants.")
    assert project.runs() == []
    assert "GRANT" in project.succeed("init").out


def test_freeze_and_unfreeze_say_that_it_is_recorded(project: Project) -> None:
    done = interrupted(project, "SELECT FROM reconciler.freeze", *FREEZE)
    assert_said(done, "The freeze was recorded before that.")
    ended = "SELECT FROM reconciler.freeze WHERE ended_at IS NOT NULL"
    assert_said(interrupted(project, ended, "unfreeze", "--reason", "Back"), "The freeze was ended before that.")
    [freeze] = project.database.execute("SELECT reason, ended_reason FROM reconciler.freeze")
    assert freeze == {"reason": "Holidays", "ended_reason": "Back"}


def test_release_says_that_it_is_recorded(project: Project) -> None:
    project.commit_state(f"{ACME}: {{isWhatsappEnabled: true}}\n")
    project.succeed()
    project.database.execute("""UPDATE tenants SET "isWhatsappEnabled" = false WHERE id = %s""", [ACME])
    project.succeed()
    released = "SELECT metadata FROM audit_logs WHERE metadata ? 'released'"
    done = interrupted(project, released, "release", KILLED, "--reason", "It was me")
    assert_said(done, "The release was recorded before that.")
    [entry] = project.database.execute(released)
    assert entry["metadata"]["reason"] == "It was me"


# A line that breaks at COMMIT


@pytest.fixture
def line(project: Project) -> Iterator[FaultyLine]:
    place = urlsplit(project.database.url)
    with FaultyLine(place.hostname or "127.0.0.1", place.port or 5432) as line:
        yield line


@pytest.mark.parametrize("fault", ["cut_before", "lose_answer_to"])
def test_where_nobody_knows_whether_it_was_committed_it_is_said_and_can_be_run_again(
    project: Project, line: FaultyLine, fault: str
) -> None:
    url = line.url_through(project.database.url)
    for arguments in (FREEZE, ("unfreeze", "--reason", "Back"), ("init",)):
        getattr(line, fault)(b"COMMIT\0")
        done = project.run(*arguments, url=url)
        assert line.happened.is_set()
        assert_plainly_refused(done, 1, "whether it was committed is not known. Run it again: that does no harm")
        again = project.run(*arguments, url=url)
        assert again.code == 0 or "no freeze is on" in again.err, str(again)
    assert project.database.execute("SELECT FROM reconciler.freeze WHERE ended_at IS NULL") == []


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    with running_redis() as server:
        yield server


def test_effects_are_delivered_by_the_very_run_whose_answer_to_commit_was_lost(
    project: Project, line: FaultyLine, redis_server: RedisServer
) -> None:
    project.commit_state(f"{ACME}: {{isWhatsappEnabled: false}}\n{BOB}: {{isWhatsappEnabled: false}}\n")
    line.lose_answer_to(b"COMMIT\0")
    url, environment = line.url_through(project.database.url), {"REDIS_URL": redis_server.url}
    done = project.succeed("--yes", url=url, environment=environment)
    assert line.happened.is_set()
    assert "so all of it was applied" in " ".join(done.out.split())
    assert "Effects: 2 delivered." in done.out
    with redis_server.client() as client:
        assert client.llen("bull:whatsapp-worker-commands:wait") == 2
    assert "Nothing to deliver." in project.succeed("deliver", environment=environment).out
