"""An apply that is killed, cut off or run twice: the database holds all of it or nothing, and what is said is true."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest

from reconciler.embedded import EmbeddedPostgres
from tests.support.cli import finish
from tests.support.gitrepo import GitRepo
from tests.support.pgbouncer import needs_pgbouncer, running_pooler
from tests.support.postgres import PLATFORM_SQL, Database
from tests.support.project import ACME, Project, snapshot
from tests.support.proxy import FaultyLine
from tests.support.refusals import assert_plainly_refused, nothing_changes

ROWS = 2000
LIMIT = f"{ACME}:\n  aiDailyLimit: {{}}\n"


@pytest.fixture
def crowd(project: Project) -> Project:
    """The project with some thousand tenants more."""
    project.database.execute(
        """
        INSERT INTO tenants (id, name, "updatedAt")
        SELECT 'tenant-' || n, 'Tenant ' || n, now() AT TIME ZONE 'UTC' FROM generate_series(1, %s) n
        """,
        [ROWS],
    )
    return project


def commit_limit(crowd: Project, limit: int) -> None:
    """A commit that gives every tenant of the crowd another limit."""
    rows = "".join(f"tenant-{number}:\n  aiDailyLimit: {limit}\n" for number in range(1, ROWS + 1))
    crowd.commit_state(rows, f"Limit {limit}\n\nReconcile-Allow-Changes: {ROWS}")


def written(crowd: Project, limit: int) -> bool:
    """Whether the run that sets the limit is there. Raises AssertionError where only a part of it is."""
    wait_until(lambda: not sessions(crowd.database))
    (found,) = crowd.database.execute(
        """
        SELECT (SELECT count(*) FROM tenants WHERE "aiDailyLimit" = %(limit)s) AS rows,
               (SELECT count(*) FROM audit_logs WHERE metadata -> 'after' = to_jsonb(%(limit)s::int)) AS entries,
               (SELECT count(*) FROM reconciler.change WHERE after = to_jsonb(%(limit)s::int)) AS changes,
               (SELECT count(*) FROM reconciler.managed_row
                 WHERE applied -> 'aiDailyLimit' = to_jsonb(%(limit)s::int)) AS applied,
               (SELECT count(*) * %(all)s FROM reconciler.run WHERE commit_id = %(commit)s) AS runs
        """,
        {"limit": limit, "all": ROWS, "commit": crowd.repo.head},
    )
    assert set(found.values()) in ({0}, {ROWS}), found
    return bool(found["rows"])


def sessions(database: Database, state: str = "%") -> list[int]:
    """The server's processes for `reconcile`."""
    found = database.execute(
        """
        SELECT pid FROM pg_stat_activity
         WHERE datname = current_database() AND application_name = 'reconcile' AND state LIKE %s
        """,
        [state],
    )
    return [row["pid"] for row in found]


def wait_until(true: Callable[[], object]) -> None:
    """Ask until it is so."""
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_a_signal_at_any_moment_leaves_all_or_nothing_and_a_second_run_completes_it(
    crowd: Project, number: signal.Signals
) -> None:
    commit_limit(crowd, 49)
    started = time.monotonic()
    crowd.succeed()
    whole = time.monotonic() - started
    limit, moments = 48, 10
    commit_limit(crowd, limit)
    for moment in range(1, moments + 1):
        with crowd.start() as process:
            time.sleep(whole * (0.2 + 0.9 * moment / moments))
            process.send_signal(number)
            done = finish(process)
        there = written(crowd, limit)
        assert "Traceback" not in done.err, str(done)
        if done.code == 0:
            assert there
        elif done.code == 1:
            assert not there
            assert "nothing was applied" in done.err.lower()
        else:
            assert done.code == -number, str(done)
        if there:
            limit -= 1
            commit_limit(crowd, limit)
    crowd.succeed()
    assert written(crowd, limit)
    crowd.succeed()
    (entries,) = crowd.database.execute("SELECT count(*) AS n, count(DISTINCT id) AS ids FROM audit_logs")
    assert entries["n"] == entries["ids"] == (50 - limit) * ROWS + 1  # one more is of `init`


def test_a_signal_after_the_commit_does_not_make_the_run_look_undone(crowd: Project) -> None:
    commit_limit(crowd, 10)
    with crowd.start("--output", "json") as process:
        wait_until(crowd.runs)
        time.sleep(0.5)  # by now it writes its report, of which nobody has read anything yet
        process.terminate()
        done = finish(process)
    assert done.code == 0
    assert done.err.strip() == "Interrupted. The run was applied before that: reconcile history --runs"
    assert written(crowd, 10)


def test_of_applies_at_once_exactly_one_writes(crowd: Project) -> None:
    commit_limit(crowd, 10)
    processes = [crowd.start("--output", "json") for _ in range(3)]
    for process in processes:
        with process:
            assert finish(process).code == 0
    assert written_by_one(crowd, 10)


def written_by_one(crowd: Project, limit: int) -> bool:
    """Whether one run has written it, and the others nothing but themselves."""
    (entries,) = crowd.database.execute("SELECT count(*) AS n FROM audit_logs WHERE metadata ? 'field'")
    outcomes = sorted(run["outcome"] for run in crowd.runs())
    (rows,) = crowd.database.execute("""SELECT count(*) AS n FROM tenants WHERE "aiDailyLimit" = %s""", [limit])
    return entries["n"] == rows["n"] == ROWS and outcomes == ["applied", "unchanged", "unchanged"]


# A line that breaks while the run commits


@pytest.fixture
def line(project: Project) -> Iterator[FaultyLine]:
    """A line to the project's database, where a commit waits to be applied."""
    project.commit_state(LIMIT.format(5))
    place = urlsplit(project.database.url)
    with FaultyLine(place.hostname or "127.0.0.1", place.port or 5432) as line:
        yield line


@pytest.fixture
def slow_commit(project: Project) -> None:
    """COMMIT takes a second in this database: a deferred trigger sees to it."""
    project.database.execute(
        """
        CREATE FUNCTION take_a_second() RETURNS trigger LANGUAGE plpgsql AS
            $$BEGIN PERFORM pg_sleep(1); RETURN NULL; END$$;
        CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON audit_logs DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION take_a_second();
        """
    )


def wait_for_commit(database: Database, process: subprocess.Popen[str]) -> None:
    """Wait until the server is in the middle of the process's COMMIT."""
    committing = """
        SELECT pid FROM pg_stat_activity
         WHERE datname = current_database() AND query = 'COMMIT' AND state = 'active'
    """

    def is_committing() -> bool:
        assert process.poll() is None, str(finish(process))
        return bool(database.execute(committing))

    wait_until(is_committing)


def test_a_line_cut_before_commit_leaves_nothing_and_says_so(project: Project, line: FaultyLine) -> None:
    line.cut_before(b"COMMIT\0")
    with nothing_changes(project.database):
        done = project.run(url=line.url_through(project.database.url))
    assert line.happened.is_set()
    assert_plainly_refused(done, 1, "lost while committing", "nothing was applied, the ledger does not have the run")
    project.succeed(url=line.url_through(project.database.url))


@pytest.mark.parametrize("statement", [b"BEGIN ", b"pg_advisory_xact_lock", b"UPDATE ", b'INSERT INTO "public"."audit'])
def test_a_line_cut_in_the_middle_of_the_transaction_leaves_nothing(
    project: Project, line: FaultyLine, statement: bytes
) -> None:
    line.cut_before(statement)
    with nothing_changes(project.database):
        done = project.run(url=line.url_through(project.database.url))
        assert line.happened.is_set()
        assert_plainly_refused(done, 4, "was lost while applying", "nothing was committed")
        wait_until(lambda: not sessions(project.database))


def test_a_lost_answer_to_commit_is_looked_up_and_the_run_reported(project: Project, line: FaultyLine) -> None:
    line.lose_answer_to(b"COMMIT\0")
    done = project.succeed(url=line.url_through(project.database.url))
    assert line.happened.is_set()
    assert f"the ledger has run {project.runs()[0]['id']}, so all of it was applied" in " ".join(done.out.split())
    assert project.database.row("tenants", ACME)["aiDailyLimit"] == 5
    assert len(project.entries()) == 1
    project.succeed()
    assert len(project.entries()) == 1


@pytest.mark.usefixtures("slow_commit")
def test_a_commit_that_is_still_going_on_is_waited_for_before_anything_is_said(
    project: Project, line: FaultyLine
) -> None:
    with project.start(url=line.url_through(project.database.url)) as process:
        wait_for_commit(project.database, process)
        line.cut()
        assert project.runs() == []
        done = finish(process)
    assert done.code == 0, str(done)
    assert "so all of it was applied" in " ".join(done.out.split())
    assert len(project.entries()) == 1


@pytest.mark.usefixtures("slow_commit")
def test_where_the_database_is_gone_after_commit_the_outcome_is_unknown_and_how_to_look_is_said(
    project: Project, line: FaultyLine
) -> None:
    with project.start(url=line.url_through(project.database.url)) as process:
        wait_for_commit(project.database, process)
        line.refuse()
        done = finish(process)
    assert_plainly_refused(done, 1, "was applied is not known", "reconcile history --run ")
    assert "nothing was applied" not in done.err
    run = done.err.split("reconcile history --run ")[1].split()[0]
    wait_until(project.runs)
    assert [str(run["id"]) for run in project.runs()] == [run]
    assert "aiDailyLimit" in project.succeed("history", "--run", run).out


@pytest.mark.usefixtures("slow_commit")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_signal_while_it_commits_is_answered_with_the_truth(project: Project, number: signal.Signals) -> None:
    project.commit_state(LIMIT.format(5))
    with project.start() as process:
        wait_for_commit(project.database, process)
        process.send_signal(number)
        done = finish(process)
    if project.runs():
        assert done.code == 0, str(done)
        assert len(project.entries()) == 1
    else:
        assert_plainly_refused(done, 1, "interrupted while committing", "nothing was applied")
        assert project.entries() == []
        assert project.database.row("tenants", ACME)["aiDailyLimit"] == 50


def test_a_server_that_is_told_to_close_the_session_leaves_nothing(project: Project) -> None:
    project.commit_state(LIMIT.format(5))
    with project.database.connect() as other, other.transaction():
        other.execute("SELECT FROM tenants FOR UPDATE")
        before = snapshot(project.database)
        with project.start() as process:
            wait_until(lambda: sessions(project.database, "active"))
            (pid,) = sessions(project.database)
            other.execute("SELECT pg_terminate_backend(%s)", [pid])
            done = finish(process)
    assert_plainly_refused(done, 4, "lost while applying", "nothing was committed")
    assert snapshot(project.database) == before


def test_a_statement_that_takes_too_long_is_stopped_and_leaves_nothing(project: Project) -> None:
    project.database.execute(
        """
        CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN PERFORM pg_sleep(30); RETURN NEW; END$$;
        CREATE TRIGGER dawdle BEFORE UPDATE ON tenants FOR EACH ROW EXECUTE FUNCTION dawdle();
        """
    )
    project.commit_state(LIMIT.format(5))
    with nothing_changes(project.database):
        started = time.monotonic()
        done = project.run("--statement-timeout", "0.3s")
        assert time.monotonic() - started < 20
        assert_plainly_refused(done, 1, "a statement was stopped while applying", "nothing was committed")


def test_a_replica_is_planned_against_and_not_applied_to(git_repo: GitRepo) -> None:
    with EmbeddedPostgres(settings={"fsync": "off"}) as server:
        database = Database(server.url)
        database.execute(PLATFORM_SQL.read_text())
        database.tenant(ACME)
        project = Project(git_repo, database)
        project.init()
        project.commit_state(LIMIT.format(5))
        server.stop()
        mark = server.folder / "data" / "standby.signal"
        mark.touch()
        owner = mark.parent.stat()
        os.chown(mark, owner.st_uid, owner.st_gid)
        server.start()
        assert "aiDailyLimit" in project.succeed("--dry-run").out
        with nothing_changes(database):
            assert_plainly_refused(project.run(), 4, "read-only", "replica", "primary")


# Through a transaction pooler


@needs_pgbouncer
def test_the_main_job_goes_through_a_transaction_pooler(project: Project) -> None:
    with running_pooler(project.database.url, schema="public", pool_size=2, clients=10) as pooler:
        for limit in (9, 8, 7):
            project.commit_state(LIMIT.format(limit))
            project.succeed("--dry-run", url=pooler.url)
            project.succeed(url=pooler.url)
            project.succeed(url=pooler.url)
        project.commit_state(LIMIT.format(6))
        processes = [project.start(url=pooler.url) for _ in range(3)]
        for process in processes:
            with process:
                assert finish(process).code == 0
        project.succeed("history", url=pooler.url)
    assert [entry["metadata"]["after"] for entry in project.entries()] == [9, 8, 7, 6]


@needs_pgbouncer
@pytest.mark.usefixtures("slow_commit")
def test_a_pooler_that_dies_while_it_commits_is_gone_around_and_the_run_looked_up(project: Project) -> None:
    project.commit_state(LIMIT.format(5))
    with running_pooler(project.database.url, schema="public") as pooler:
        with project.start(url=pooler.url, environment={"DIRECT_URL": project.database.url}) as process:
            wait_for_commit(project.database, process)
            pooler.process.kill()
            done = finish(process)
    assert done.code == (0 if project.runs() else 1), str(done)
    assert ("so all of it was applied" if project.runs() else "nothing was applied") in " ".join(
        (done.out + done.err).split()
    )
    assert len(project.entries()) == len(project.runs())


# A line that falls silent: nobody says that it is gone


SILENCE = ("--connect-timeout", "2s", "--statement-timeout", "1s", "--lock-timeout", "1s")


@pytest.mark.parametrize(
    ("moment", "code", "said"),
    [
        (b"user\0", 4, ["did not answer within 2 s"]),
        (b"BEGIN ", 4, ["was lost while applying (no answer for 2 s)", "nothing was committed"]),
        (b"UPDATE ", 4, ["was lost while applying (no answer for 2 s)", "nothing was committed"]),
        (b"COMMIT\0", 1, ["was lost while committing", "nothing was applied, the ledger does not have the run"]),
    ],
    ids=["connecting", "begin", "update", "commit"],
)
def test_a_line_that_falls_silent_ends_the_run_in_time_and_leaves_nothing(
    project: Project, line: FaultyLine, moment: bytes, code: int, said: list[str]
) -> None:
    with nothing_changes(project.database):
        line.hold_before(moment)
        started = time.monotonic()
        done = project.run(*SILENCE, url=line.url_through(project.database.url))
        assert time.monotonic() - started < 10
        assert line.happened.is_set()
        assert_plainly_refused(done, code, *said)
        line.cut()
        wait_until(lambda: not sessions(project.database))
    project.succeed(*SILENCE, url=line.url_through(project.database.url))
    assert len(project.entries()) == 1
