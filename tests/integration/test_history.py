"""The history answers who changed a value, when and why, whatever was asked for and whatever stands in the ledger."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from psycopg import sql

from reconciler.database.connection import DatabaseConnection, open_database
from reconciler.database.transaction import begin_read_write
from reconciler.database.url import parse_database_url
from reconciler.errors import NotAsExpected, UsageProblem
from reconciler.history.query import HistoryQuery, parse_since
from reconciler.history.read import COUNTED, History, read_history, read_runs, statements_of_changes
from reconciler.ledger import RunRecord, prepare_changes, record_run
from reconciler.ledger_schema import upgrade
from reconciler.model import MISSING, Action, Change, Direction, Finding, Json, Location, Missing
from reconciler.report.history import render_history, render_history_json, render_runs, render_runs_json
from tests.support.cli import TOP
from tests.support.cli import run as run_command
from tests.support.gitrepo import GitRepo
from tests.support.postgres import Database

COMMITS = ("aaaa" * 10, "abab" * 10, "bbbb" * 10)


@pytest.fixture
def connection(empty_database: Database) -> Iterator[DatabaseConnection]:
    with open_database([parse_database_url(empty_database.url, variable="DATABASE_URL")]) as connection:
        with begin_read_write(connection, doing="making the ledger"):
            upgrade(connection)
        yield connection


def change(key: str, field: str, before: Json | Missing, after: Json, **more: Any) -> Change:
    known: dict[str, Any] = {
        "table": "shops", "finding": Finding.CHANGE, "action": Action.UPDATE, "direction": Direction.NEUTRAL,
        "explanation": "",
    }  # fmt: skip
    return Change(**known | {"key": key, "field": field, "before": before, "after": after, "desired": after,
                             "base": before} | more)  # fmt: skip


def record(
    connection: DatabaseConnection, commit: str, changes: list[Change], tenants: list[str] | None = None, **more: Any
) -> str:
    known: dict[str, Any] = {
        "id": str(uuid.uuid4()), "commit": commit, "author_name": "Ann Author", "author_email": "ann@example.org",
        "committer_name": "Cy", "committer_email": "cy@example.org", "actor": "robot", "reason": "Weekly review",
        "dirty": False, "ahead": False, "plan_id": str(uuid.uuid4()), "fingerprint": "f",
        "scope": {"tables": [], "rows": []},
        "counts": {"changes": len(changes), "kills": 0}, "outcome": "applied", "run_url": None, "pull_request": None,
        "version": "1",
    }  # fmt: skip
    run = RunRecord(**known | more)
    with begin_read_write(connection, doing="recording"):
        record_run(connection, run)
        prepare_changes(connection, run.id, changes, tenants or [one.key for one in changes])()
    return run.id


@pytest.fixture
def runs(connection: DatabaseConnection) -> list[str]:
    """Three runs: a row is made; switches are killed, one of them with a label; one is switched on again."""
    return [
        record(connection, COMMITS[0], [change("a", "limit", MISSING, 5), change("a", "open", MISSING, True)]),
        record(
            connection,
            COMMITS[1],
            [
                change("a", "open", True, False, label="Acme Bakery", direction=Direction.KILL, reason="INC-7: rats",
                       location=Location("state/shops/acme.yaml", 4, 9)),
                change("b/c", "open", True, False, direction=Direction.KILL, finding=Finding.REOPENED),
                change("x", "lit", None, {"by": [1.50, None]}, table="cities"),
            ],
            ["tenant-a", "tenant-b", "SYSTEM"],
            pull_request=12,
        ),
        record(connection, COMMITS[2], [change("a", "open", False, True, direction=Direction.RESTORE)], dirty=True,
               reason="The inspector\x1b[2J said yes"),
    ]  # fmt: skip


def told(history: History) -> list[tuple[str, str, str]]:
    return [(entry.table, entry.key, entry.field) for entry in history.entries]


def test_the_newest_run_comes_first_and_its_changes_in_their_order(
    connection: DatabaseConnection, runs: list[str]
) -> None:
    history = read_history(connection, HistoryQuery())
    assert [entry.run.id for entry in history.entries] == [runs[2], *[runs[1]] * 3, *[runs[0]] * 2]
    assert told(history)[1:4] == [("shops", "a", "open"), ("shops", "b/c", "open"), ("cities", "x", "lit")]
    assert history.more == 0


def test_newest_means_committed_last_even_where_the_clock_was_moved(
    connection: DatabaseConnection, runs: list[str]
) -> None:
    with begin_read_write(connection, doing="moving the clock"):
        connection.execute("UPDATE reconciler.run SET at = at + interval '1 day' WHERE id = %s", (runs[0],))
    assert read_history(connection, HistoryQuery(limit=1)).entries[0].run.id == runs[2]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        (HistoryQuery(rows=(("shops", "a"),)), 4),
        (HistoryQuery(rows=(("shops", "b/c"), ("cities", "x"))), 2),
        (HistoryQuery(rows=(("cities", "a"),)), 0),
        (HistoryQuery(tables=("cities",)), 1),
        (HistoryQuery(fields=("open", "lit")), 5),
        (HistoryQuery(tenant="tenant-a"), 1),
        (HistoryQuery(tenant="Acme Bakery"), 1),
        (HistoryQuery(tenant="Acme"), 0),
        (HistoryQuery(tenant="SYSTEM"), 1),
        (HistoryQuery(commit="aaaa"), 2),
        (HistoryQuery(commit="ABAB"), 3),
        (HistoryQuery(commit=COMMITS[2]), 1),
        (HistoryQuery(since=timedelta(hours=1)), 6),
        (HistoryQuery(since=datetime(2020, 1, 1, tzinfo=UTC)), 6),
        (HistoryQuery(since=datetime(2200, 1, 1, tzinfo=UTC)), 0),
        (HistoryQuery(fields=("open",), rows=(("shops", "a"),), commit="abab", since=timedelta(days=7)), 1),
    ],
)
def test_every_filter_narrows_and_all_of_them_count(
    connection: DatabaseConnection, runs: list[str], query: HistoryQuery, found: int
) -> None:
    assert len(runs) == 3
    history = read_history(connection, query)
    assert (len(history.entries), history.more) == (found, 0)


def test_a_run_is_found_by_the_beginning_of_its_id(connection: DatabaseConnection, runs: list[str]) -> None:
    assert len(read_history(connection, HistoryQuery(run=runs[1][:8])).entries) == 3
    assert [run.id for run in read_runs(connection, HistoryQuery(run=runs[1])).runs] == [runs[1]]


@pytest.mark.parametrize("text", ["", "abc", "aaaa%", "_aaaa", "'; --", "g" * 8, "a" * 65])
def test_what_is_no_beginning_of_an_id_is_refused(connection: DatabaseConnection, text: str) -> None:
    for query in (HistoryQuery(commit=text), HistoryQuery(run=text)):
        with pytest.raises(UsageProblem):
            read_history(connection, query)


def test_the_limit_is_kept_and_the_rest_is_counted(connection: DatabaseConnection, runs: list[str]) -> None:
    history = read_history(connection, HistoryQuery(limit=2))
    assert (len(history.entries), history.more) == (2, 4)
    assert "and 4 more changes" in render_history(history, colour=False, width=100)
    assert read_history(connection, HistoryQuery(limit=6)).more == 0
    listed = read_runs(connection, HistoryQuery(limit=1))
    assert (listed.runs[0].id, listed.more) == (runs[2], 2)


def test_very_many_more_are_not_counted_to_the_end(connection: DatabaseConnection) -> None:
    record(connection, COMMITS[0], [change(str(number), "open", True, False) for number in range(COUNTED + 50)])
    history = read_history(connection, HistoryQuery(limit=1))
    assert history.more == COUNTED
    assert "at least 10,000 more" in render_history(history, colour=False, width=100)


def test_a_change_is_told_in_two_lines_with_who_when_and_why(connection: DatabaseConnection, runs: list[str]) -> None:
    history = read_history(connection, HistoryQuery(tenant="Acme Bakery"))
    at = history.entries[0].at[:19] + "Z"
    assert render_history(history, colour=False, width=200).splitlines() == [
        f"{at}  Acme Bakery  shops/a  open  true -> false  KILL",
        '    "INC-7: rats"  by Ann Author <ann@example.org> in commit abababababab  applied by robot '
        f"for pull request #12  run {runs[1][:8]}  state/shops/acme.yaml:4",
    ]
    assert f"run {runs[1][:8]}" in render_history(history, colour=False, width=40)
    assert "\x1b[1;31mKILL\x1b[0m" in render_history(history, colour=True, width=200)


def test_what_is_odd_about_a_change_is_said(connection: DatabaseConnection, runs: list[str]) -> None:
    assert runs
    text = render_history(read_history(connection, HistoryQuery()), colour=False, width=200)
    assert "(no row) -> 5" in text
    assert "(reopened)" in text
    assert "with uncommitted changes" in text
    assert "Weekly review" in text, "the run's reason stands in where the value has none"


def test_nothing_in_the_ledger_can_move_the_cursor(connection: DatabaseConnection) -> None:
    evil = "\x1b]0;x\x07\r\n\u202e"
    record(
        connection, COMMITS[0],
        [change(evil, evil, evil, {evil: evil}, table=evil, label=evil, reason=evil, location=Location(evil, 1, 1),
                waived={evil: evil})],
        author_name=evil, author_email=evil, actor=evil, reason=evil, outcome=evil,
    )  # fmt: skip
    texts = [
        render_history(read_history(connection, HistoryQuery()), colour=False, width=80),
        render_runs(read_runs(connection, HistoryQuery()), colour=False, width=80),
    ]
    for text in texts:
        assert all(line.isprintable() for line in text.split("\n"))
        assert "\\u001b" in text


def test_runs_are_listed_with_what_they_did(connection: DatabaseConnection, runs: list[str]) -> None:
    idle = record(connection, COMMITS[2], [], outcome="unchanged", counts={"changes": 0, "held": 2})
    listed = read_runs(connection, HistoryQuery())
    assert [run.id for run in listed.runs] == [idle, *reversed(runs)]
    first, second = render_runs(listed, colour=False, width=200).splitlines()[:2]
    assert first.endswith(f"run {idle}  unchanged, 0 changes  2 held")
    assert second.strip().startswith('"Weekly review"  by Ann Author')
    assert [run.id for run in read_runs(connection, HistoryQuery(tables=("cities",))).runs] == [runs[1]]
    assert read_runs(connection, HistoryQuery(fields=("nope",))).runs == ()


def test_json_holds_everything_and_keeps_no_value_apart_from_null(
    connection: DatabaseConnection, runs: list[str]
) -> None:
    document = json.loads(render_history_json(read_history(connection, HistoryQuery())))
    assert (document["format_version"], document["more"]) == (1, 0)
    restored, killed, _, lit, made, _ = document["changes"]
    assert "before" not in made
    assert (lit["before"], lit["after"]) == (None, {"by": [1.5, None]})
    assert (killed["reason"], killed["file"], killed["line"]) == ("INC-7: rats", "state/shops/acme.yaml", 4)
    assert killed["tenant"] == "tenant-a"
    assert killed["run"]["pull_request"] == 12
    assert restored["run"]["dirty"] is True
    listed = json.loads(render_runs_json(read_runs(connection, HistoryQuery())))
    assert [run["id"] for run in listed["runs"]] == list(reversed(runs))
    assert listed["runs"][0]["committer"] == "Cy"


@pytest.mark.parametrize(
    ("query", "index"),
    [(HistoryQuery(rows=(("shops", "777"),)), "change_row"), (HistoryQuery(commit="bbbb"), "change_pkey")],
)
def test_a_row_and_a_run_are_looked_up_by_an_index(
    connection: DatabaseConnection, query: HistoryQuery, index: str
) -> None:
    for commit in COMMITS:
        record(connection, commit, [change(str(number), "open", True, False) for number in range(5_000)])
    statement, _, parameters = statements_of_changes(query)
    with begin_read_write(connection, doing="explaining"):
        connection.execute("ANALYZE reconciler.change")
        connection.execute("SET LOCAL enable_seqscan = off")
        explained = connection.execute(sql.SQL("EXPLAIN {}").format(statement), {**parameters, "limit": 50}).fetchall()
    assert any(index in line for (line,) in explained), explained


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("7d", timedelta(days=7)),
        ("90s", timedelta(seconds=90)),
        ("2026-11-27", datetime(2026, 11, 27, tzinfo=UTC)),
        ("2026-11-27T09:00:00+02:00", datetime(2026, 11, 27, 7, tzinfo=UTC)),
        ("2026-11-27 09:00", datetime(2026, 11, 27, 9, tzinfo=UTC)),
    ],
)
def test_since_is_a_duration_or_a_moment_in_utc(text: str, meant: datetime | timedelta) -> None:
    assert parse_since(text) == meant


@pytest.mark.parametrize(
    "text", ["", "yesterday", "7", "-7d", "0d", "2026-13-01", "9" * 30 + "d", "0001-01-01T00:00+14:00"]
)
def test_since_refuses_what_is_neither(text: str) -> None:
    with pytest.raises(UsageProblem):
        parse_since(text)


def test_without_a_ledger_one_sentence_says_so(empty_database: Database, tmp_path: Any) -> None:
    done = run_command("history", cwd=tmp_path, database=empty_database.url)
    assert (done.code, done.out) == (4, "")
    assert f"database {empty_database.name} has no ledger" in done.err
    assert "reconcile init" in done.err


def test_another_version_of_the_ledger_is_not_read(connection: DatabaseConnection) -> None:
    for version, advice in ((0, "reconcile init"), (99, "newer reconcile")):
        with begin_read_write(connection, doing="pretending"):
            connection.execute("UPDATE reconciler.meta SET version = %s", (version,))
        with pytest.raises(NotAsExpected, match=advice):
            read_history(connection, HistoryQuery())


def test_the_command_tells_of_a_change_that_was_applied(database: Database, git_repo: GitRepo) -> None:
    for name in ("policy", "tenants", "system_settings"):
        git_repo.write(f"schemas/{name}.yaml", (TOP / "schemas" / f"{name}.yaml").read_bytes())
    tenant = database.tenant(name="Acme Bakery")
    reason = "WhatsApp ban, INC-142"
    git_repo.write("state/tenants.yaml", f"{tenant}:\n  isWhatsappEnabled: {{value: false, reason: '{reason}'}}\n")
    commit = git_repo.commit("Stop Acme")
    for arguments in (["init"], ["--yes"]):
        done = run_command(*arguments, cwd=git_repo.path, database=database.url)
        assert done.code == 0, done
    done = run_command("history", "--tenant", "Acme Bakery", "--since", "1h", cwd=git_repo.path, database=database.url)
    assert done.code == 0, done
    for part in ("Acme Bakery", tenant, "isWhatsappEnabled", "true -> false", "KILL", reason, "Ann Author", commit[:12],
                 "state/tenants.yaml:2"):  # fmt: skip
        assert part in done.out
    as_json = run_command("history", "--runs", "--output", "json", "--commit", commit[:7], cwd=git_repo.path,
                          database=database.url)  # fmt: skip
    assert [one["commit"] for one in json.loads(as_json.out)["runs"]] == [commit]
    wrong = run_command("history", "--row", "tenants", cwd=git_repo.path, database=database.url)
    assert wrong.code == 64
