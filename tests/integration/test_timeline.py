"""An incident is told as a story: kill, what was held, restore, how long it took, whatever each commit was called."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from reconciler.database.connection import DatabaseConnection, open_database
from reconciler.database.transaction import begin_read_write
from reconciler.database.url import parse_database_url
from reconciler.diff import BY_HAND
from reconciler.errors import UsageProblem
from reconciler.history.query import HistoryQuery
from reconciler.history.read import HistoryEntry, read_history, read_runs
from reconciler.history.timeline import HandKill, HeldRuns, Timeline, read_timeline
from reconciler.ledger import RunRecord, prepare_changes, record_marks, record_run
from reconciler.ledger_schema import upgrade
from reconciler.model import Action, Change, Direction, Finding, Json, Mark
from reconciler.report.timeline import render_timeline, render_timeline_json
from reconciler.titles import read_titles
from tests.support.gitrepo import GitRepo
from tests.support.postgres import Database
from tests.support.project import ACME, Project

START = datetime(2026, 11, 24, 2, 0, tzinfo=UTC)
TITLES = {("shops", "open"): "The shop"}


class Ledger:
    """A ledger in which runs are recorded at whatever hour a story needs."""

    def __init__(self, connection: DatabaseConnection) -> None:
        self.connection = connection

    def run(self, hours: float, *changes: Change, reason: str = "Weekly review", held: int = 0, **more: Any) -> str:
        known: dict[str, Any] = {
            "id": str(uuid.uuid4()), "commit": "abab" * 10, "author_name": "Ann Author",
            "author_email": "ann@example.org", "committer_name": "Cy", "committer_email": "cy@example.org",
            "actor": "robot", "reason": reason, "dirty": False, "ahead": False, "plan_id": str(uuid.uuid4()),
            "fingerprint": "f", "scope": {"tables": [], "rows": []}, "counts": {"changes": len(changes), "held": held},
            "outcome": "applied", "run_url": None, "pull_request": None, "version": "1",
        }  # fmt: skip
        run = RunRecord(**known | more)
        at = START + timedelta(hours=hours)
        with begin_read_write(self.connection, doing="recording"):
            record_run(self.connection, run)
            prepare_changes(self.connection, run.id, changes, [change.key for change in changes])()
            self.connection.execute("UPDATE reconciler.run SET at = %s WHERE id = %s", (at, run.id))
            self.connection.execute("UPDATE reconciler.change SET at = %s WHERE run_id = %s", (at, run.id))
        return run.id

    def killed_by_hand(self, hours: float, key: str, field: str = "open") -> None:
        mark = Mark(killed_at=START + timedelta(hours=hours), killed_by=BY_HAND)
        with begin_read_write(self.connection, doing="recording"):
            record_marks(self.connection, {("shops", key, field): mark})

    def told(self, **query: Any) -> Timeline:
        return read_timeline(self.connection, HistoryQuery(**query))


@pytest.fixture
def ledger(empty_database: Database) -> Iterator[Ledger]:
    with open_database([parse_database_url(empty_database.url, variable="DATABASE_URL")]) as connection:
        with begin_read_write(connection, doing="making the ledger"):
            upgrade(connection)
        yield Ledger(connection)


def change(key: str, before: Json, after: Json, direction: Direction, **more: Any) -> Change:
    known: dict[str, Any] = {
        "table": "shops", "field": "open", "finding": Finding.CHANGE, "action": Action.UPDATE, "explanation": "",
        "label": key.title(),
    }  # fmt: skip
    return Change(**known | {"key": key, "before": before, "after": after, "desired": after, "base": before,
                             "direction": direction} | more)  # fmt: skip


def kill(key: str, **more: Any) -> Change:
    return change(key, True, False, Direction.KILL, **more)


def restore(key: str, **more: Any) -> Change:
    return change(key, False, True, Direction.RESTORE, **more)


def shape(timeline: Timeline) -> list[Any]:
    """What kind of step follows upon what: (key, new value), `hand`, or how many runs held."""
    steps: list[Any] = []
    for step in timeline.steps:
        if isinstance(step, HistoryEntry):
            steps.append((step.key, step.after))
        else:
            steps.append("hand" if isinstance(step, HandKill) else step.runs)
    return steps


def ban(ledger: Ledger) -> None:
    """The kill names the incident, the restore does not; between them the restore was held 24 times."""
    ledger.run(-5, change("acme", 1, 2, Direction.NEUTRAL, field="seats"), reason="Long before")
    ledger.run(0, kill("acme", reason="Rats, INC-142"), kill("other", reason="Their own reasons"), reason="Two kills")
    ledger.run(2, held=1, reason="Open Acme again")
    for hour in range(3, 26):
        ledger.run(hour, held=1, reason="Open Acme again", outcome="unchanged")
    ledger.run(26, restore("acme"), reason="Open Acme again")
    ledger.run(90, kill("acme", reason="INC-200"), reason="Again")


def test_an_incident_brings_its_whole_story_and_nothing_else(ledger: Ledger) -> None:
    ban(ledger)
    timeline = ledger.told(incident="INC-142")
    assert shape(timeline) == [("acme", False), 24, ("acme", True)]
    assert [(off.label, off.seconds // 3600, off.until is None) for off in timeline.off] == [("Acme", 26, False)]


def test_a_story_reads_from_top_to_bottom_with_the_time_between_its_steps(ledger: Ledger) -> None:
    ban(ledger)
    text = render_timeline(ledger.told(incident="inc-142"), TITLES, colour=False, width=200)
    lines = [line for line in text.splitlines() if not line.startswith("    ")]
    assert lines == [
        "2026-11-24T02:00:00Z  Acme  shops/acme  open  true -> false  KILL",
        "  … 2 h later",
        "2026-11-24T04:00:00Z  up to 1 change held back by each of 24 runs, the last at 2026-11-25T03:00:00Z  HELD",
        "  … 1 h later",
        "2026-11-25T04:00:00Z  Acme  shops/acme  open  false -> true  RESTORE",
        "",
        "The shop of Acme was off for 1 d 2 h",
    ]
    assert '"Rats, INC-142"' in text
    assert '"Open Acme again"' in text


def test_what_is_still_off_is_said_with_how_long_by_now(ledger: Ledger) -> None:
    ban(ledger)
    timeline = ledger.told(incident="INC-200")
    assert shape(timeline) == [("acme", False)]
    (off,) = timeline.off
    passed = datetime.fromisoformat(timeline.now) - (START + timedelta(hours=90))
    assert (off.until, off.seconds) == (None, max(int(passed.total_seconds()), 0))
    assert "The shop of Acme is off since 2026-11-27T20:00:00Z" in render_timeline(
        timeline, TITLES, colour=False, width=200
    )


@pytest.mark.parametrize(
    ("word", "found"),
    [("INC-14", 0), ("INC-142", 1), ("inc-142", 1), ("142", 1), ("Rats", 1), ("rat", 0), ("C-142", 0), ("INC.142", 0),
     ("I%", 0), ("Two kills", 2), ("' OR true --", 0), ("(", 0), ("[a", 0), ("Open Acme", 1), ("\\", 0)],
)  # fmt: skip
def test_an_incident_is_a_word_of_a_reason_and_never_a_pattern(ledger: Ledger, word: str, found: int) -> None:
    ban(ledger)
    assert len(read_history(ledger.connection, HistoryQuery(incident=word)).entries) == found


def test_a_trailer_in_the_reason_of_a_run_counts(ledger: Ledger) -> None:
    ledger.run(0, kill("acme"), reason="Stop Acme\n\nIncident: INC-7\nPlaybook: rats")
    assert shape(ledger.told(incident="INC-7")) == [("acme", False)]


def test_runs_of_an_incident_include_those_that_could_change_nothing(ledger: Ledger) -> None:
    first = ledger.run(0, kill("acme", reason="INC-9"), reason="Stop")
    second = ledger.run(1, held=1, reason="Restore Acme, INC-9")
    ledger.run(2, kill("other"), reason="INC-99")
    found = read_runs(ledger.connection, HistoryQuery(incident="INC-9")).runs
    assert [run.id for run in found] == [second, first]
    found = read_runs(ledger.connection, HistoryQuery(incident="INC-9", tables=("shops",))).runs
    assert [run.id for run in found] == [first], "with an option about changes, runs that made such a one"


def test_an_incident_without_a_name_is_a_usage_error(ledger: Ledger) -> None:
    with pytest.raises(UsageProblem, match="INC-142"):
        ledger.told(incident=" ")


def test_a_restore_that_names_the_incident_brings_the_kill_that_did_not(ledger: Ledger) -> None:
    ledger.run(0, kill("acme"), reason="Quick, off")
    ledger.run(3, restore("acme", reason="INC-5 is over"))
    assert shape(ledger.told(incident="INC-5")) == [("acme", False), ("acme", True)]


def test_a_limit_that_is_cut_twice_is_one_story(ledger: Ledger) -> None:
    for hours, before, after in ((0, 100, 50), (1, 50, 5)):
        ledger.run(hours, change("acme", before, after, Direction.KILL, field="seats", reason="INC-6"))
    ledger.run(4, change("acme", 5, 100, Direction.RESTORE, field="seats"))
    timeline = ledger.told(incident="INC-6")
    assert shape(timeline) == [("acme", 50), ("acme", 5), ("acme", 100)]
    assert render_timeline(timeline, {}, colour=False, width=200).endswith("\nseats of Acme was at 5 for 4 h\n")


def test_a_kill_by_hand_begins_the_story_of_the_commit_that_restored_it(ledger: Ledger) -> None:
    ledger.killed_by_hand(1, "acme")
    ledger.run(5, restore("acme", finding=Finding.KILLED_BY_HAND, reason="INC-8"))
    timeline = ledger.told(incident="INC-8")
    assert shape(timeline) == ["hand", ("acme", True)]
    assert timeline.off[0].seconds == 4 * 3600
    text = render_timeline(timeline, TITLES, colour=False, width=200)
    assert "Acme  shops/acme  open  KILL\n    by hand" in text
    assert "The shop of Acme was off for 4 h" in text


def test_a_kill_by_hand_is_told_of_a_row_that_nothing_was_ever_written_to(ledger: Ledger) -> None:
    ledger.killed_by_hand(1, "acme")
    ledger.killed_by_hand(2, "other")
    for query in ({"rows": (("shops", "acme"),)}, {"tenant": "acme"}):
        assert shape(ledger.told(**query)) == ["hand"], query
    assert shape(ledger.told(tables=("shops",))) == ["hand", "hand"]
    for other in ({"fields": ("seats",)}, {"incident": "INC-1"}, {"since": START + timedelta(hours=9)}):
        assert shape(ledger.told(**other)) == [], other


def test_runs_that_did_not_look_at_the_row_tell_nothing_of_what_was_held(ledger: Ledger) -> None:
    ledger.run(0, kill("acme", reason="INC-4"))
    for rows, tables in ((["shops/other"], []), ([], ["cities"]), (["shops/acme"], []), ([], ["shops"])):
        ledger.run(1, held=1, scope={"rows": rows, "tables": tables})
    ledger.run(2, held=0)
    held = [step for step in ledger.told(incident="INC-4").steps if isinstance(step, HeldRuns)]
    assert [step.runs for step in held] == [2]


def test_many_rows_with_one_story_are_summed_up_in_one_sentence(ledger: Ledger) -> None:
    ledger.run(0, *(kill(f"shop {number}") for number in range(40)), reason="INC-3")
    ledger.run(1, *(restore(f"shop {number}") for number in range(40)), reason="INC-3")
    text = render_timeline(ledger.told(incident="INC-3", limit=100), TITLES, colour=False, width=200)
    assert text.splitlines()[-1] == "The shop of 40 rows of shops was off for 1 h"
    assert text.count("RESTORE") == 40


def test_the_limit_counts_what_matches_and_says_what_is_left(ledger: Ledger) -> None:
    for number in range(5):
        ledger.run(number, kill(f"shop {number}"), reason="INC-3")
    timeline = ledger.told(incident="INC-3", limit=2)
    assert (len(timeline.steps), timeline.more) == (2, 3)
    assert "and 3 more changes" in render_timeline(timeline, {}, colour=False, width=200)


def test_json_tells_each_step_by_its_kind(ledger: Ledger) -> None:
    ban(ledger)
    document = json.loads(render_timeline_json(ledger.told(incident="INC-142"), TITLES))
    assert [step["kind"] for step in document["steps"]] == ["change", "held", "change"]
    assert document["steps"][0]["change"]["reason"] == "Rats, INC-142"
    assert document["steps"][1] | {"at": "", "until": ""} == {
        "kind": "held", "at": "", "until": "", "runs": 24, "most": 1, "reason": "Open Acme again",
    }  # fmt: skip
    assert document["off"] == [
        {"table": "shops", "key": "acme", "field": "open", "title": "The shop", "label": "Acme", "value": False,
         "since": "2026-11-24T02:00:00Z", "until": "2026-11-25T04:00:00Z", "seconds": 93600},
    ]  # fmt: skip


def test_nothing_that_is_told_can_move_the_cursor(ledger: Ledger) -> None:
    evil = "\x1b[2J\n\u202e"
    ledger.run(0, kill(evil, label=evil, reason=evil), reason=evil)
    ledger.run(1, held=1, reason=evil)
    ledger.killed_by_hand(-1, evil)
    text = render_timeline(ledger.told(), {("shops", "open"): evil}, colour=False, width=80)
    assert all(line.isprintable() for line in text.split("\n"))
    assert "\\u001b" in text


def test_where_nothing_matches_it_says_so(ledger: Ledger) -> None:
    timeline = ledger.told(incident="INC-404")
    assert render_timeline(timeline, {}, colour=False, width=80).startswith("No such change")


def test_titles_are_an_ornament(tmp_path: Path) -> None:
    assert read_titles(tmp_path) == {}
    (tmp_path / "schemas").mkdir()
    (tmp_path / "schemas" / "policy.yaml").write_text("audit: {")
    assert read_titles(tmp_path) == {}


def test_the_command_tells_the_story_of_a_ban(git_repo: GitRepo, database: Database) -> None:
    database.tenant(ACME, name="Acme Bakery")
    project = Project(git_repo, database)
    project.init()
    project.state(f"{ACME}: {{isWhatsappEnabled: {{value: false, reason: 'WhatsApp ban, INC-142'}}}}\n")
    project.commit("Stop Acme")
    project.succeed("--yes")
    project.state(f"{ACME}: {{isWhatsappEnabled: true}}\n")
    project.commit("Bring Acme back")
    project.succeed("--yes")
    for table, column in (("run", "at"), ("change", "at"), ("mark", "killed_at")):
        database.execute(f"UPDATE reconciler.{table} SET {column} = {column} - interval '26 hours'")
    project.succeed("--yes")
    told = project.succeed("history", "--incident", "INC-142", "--timeline").out
    assert [word for word in ("KILL", "HELD", "RESTORE") if word in told] == ["KILL", "HELD", "RESTORE"]
    assert told.index("KILL") < told.index("HELD") < told.index("RESTORE")
    assert "WhatsApp of Acme Bakery was off for 1 d 2 h" in told, "the schema's own title"
    wrong = project.run("history", "--runs", "--timeline")
    assert wrong.code == 64
