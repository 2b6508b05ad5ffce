"""`$where`: what is asked of every row that looks so, on a real database and a real repository."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from reconciler.catalog import read_catalog
from reconciler.database.connection import DatabaseConnection, open_database
from reconciler.database.url import parse_database_url
from reconciler.editing.edit import Edit
from reconciler.editing.files import edit_files, write_edited
from reconciler.errors import InvalidInput, NotAsExpected, Stale
from reconciler.fit import relations_of
from reconciler.fleets import Fleets
from reconciler.model import Action
from reconciler.outcome import Outcome
from reconciler.pipeline import Origin, Request, apply, make_plan, read_for_apply
from reconciler.plan import Plan, Scope
from reconciler.project import read_schemas
from reconciler.sources import files_in_work_tree
from tests.support.gitrepo import GitRepo
from tests.support.postgres import Database
from tests.support.project import ACME, BOB, Project, snapshot
from tests.support.waiting import wait_until

CAROL = "ca201ca2-2bd0-4672-b79d-d97027f9071c"
START = datetime(2030, 1, 7, 9, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
ORIGIN = Origin(actor="ann")

MATCH = """\
match:
  aiPlan: {type: enum, values: [FREE, PAID_BASIC, PAID_PRO, ENTERPRISE]}
fields:
"""


class Fleet:
    """A project whose tenants are matched by their plan: Acme and Bob have the free one, Carol pays."""

    def __init__(self, project: Project, connection: DatabaseConnection) -> None:
        self.project = project
        self.database = project.database
        self.connection = connection
        self.now = START
        self.database.execute("UPDATE reconciler.meta SET movable_clock = true")

    def commit(self, *entries: str, rows: str = "") -> None:
        where = "$where:\n" + "".join(f"  - {entry}\n" for entry in entries) if entries else ""
        self.project.commit_state(where + rows, "Change")

    def run(self, *only: str, **more: Any) -> Outcome:
        asked = Request(directory=self.project.directory, now=self.now, scope=Scope(rows=only))
        return apply(self.connection, asked, read_for_apply(asked), ORIGIN, **more)

    def plan(self, *only: str) -> Plan:
        asked = Request(directory=self.project.directory, now=self.now, scope=Scope(rows=only))
        return make_plan(self.connection, asked, read_for_apply(asked))

    def values(self, field: str) -> tuple[Any, ...]:
        """Of Acme, Bob and Carol."""
        return tuple(self.database.row("tenants", key)[field] for key in (ACME, BOB, CAROL))

    def by_hand(self, field: str, value: Any, key: str = ACME) -> None:
        self.database.execute(f'UPDATE tenants SET "{field}" = %s WHERE id = %s', [value, key])


@pytest.fixture
def fleet(git_repo: GitRepo, database: Database) -> Iterator[Fleet]:
    for key, name, plan in ((ACME, "Acme Bakery", "FREE"), (BOB, "Bob's Bikes", "FREE"), (CAROL, "Carol", "PAID_PRO")):
        database.tenant(key, name=name, aiPlan=plan, aiDailyLimit=50, aiMonthlyLimit=1000)
    project = Project(git_repo, database)
    project.edit_schema("tenants", "fields:\n", MATCH)
    project.init()
    with open_database([parse_database_url(database.url, variable="DATABASE_URL")]) as connection:
        yield Fleet(project, connection)


# Which rows


def test_what_is_asked_of_all_rows_that_look_so_is_applied_to_them_and_to_no_others(fleet: Fleet) -> None:
    fleet.commit("{match: {aiPlan: FREE}, set: {aiDailyLimit: {value: 20, reason: costs}}}")
    assert fleet.run().applied == 2
    assert fleet.values("aiDailyLimit") == (20, 20, 50)
    assert [entry["metadata"]["reason"] for entry in fleet.project.entries()] == ["costs", "costs"]
    settled = snapshot(fleet.database)
    assert fleet.run().applied == 0
    del settled["reconciler.run"]
    assert {name: rows for name, rows in snapshot(fleet.database).items() if name != "reconciler.run"} == settled


def test_a_row_of_its_own_beats_the_match_field_by_field(fleet: Fleet) -> None:
    own = f"{ACME}:\n  aiDailyLimit: 200\n"
    fleet.commit("{match: {aiPlan: FREE}, set: {aiDailyLimit: 20, aiMonthlyLimit: 300}}", rows=own)
    fleet.run()
    assert fleet.values("aiDailyLimit") == (200, 20, 50)
    assert fleet.values("aiMonthlyLimit") == (300, 300, 1000)


def test_a_row_that_matches_no_more_keeps_its_value_and_is_managed_no_more(fleet: Fleet) -> None:
    fleet.commit("{match: {aiPlan: FREE}, set: {aiDailyLimit: 20}}")
    fleet.run()
    fleet.by_hand("aiPlan", "PAID_PRO")
    outcome = fleet.run()
    assert (outcome.applied, outcome.released) == (0, 1)
    assert fleet.values("aiDailyLimit") == (20, 20, 50)
    managed = fleet.database.execute("SELECT key FROM reconciler.managed_row")
    assert [row["key"] for row in managed] == [BOB]


def test_a_where_that_leaves_git_releases_all_of_its_rows(fleet: Fleet) -> None:
    fleet.commit("{match: {aiPlan: FREE}, set: {isAiEnabled: false}}")
    fleet.run()
    fleet.commit(rows="{}\n")
    assert fleet.run().released == 2
    assert fleet.values("isAiEnabled") == (False, False, True)


def test_only_some_rows_are_looked_at_where_only_they_are_asked_for(fleet: Fleet) -> None:
    fleet.commit("{match: {aiPlan: FREE}, set: {aiDailyLimit: 20}}")
    assert fleet.run(f"tenants/{BOB}").applied == 1
    assert fleet.run("tenants/nobody").applied == 0
    assert fleet.values("aiDailyLimit") == (50, 20, 50)


def test_the_row_that_init_makes_is_nobody_who_could_match(fleet: Fleet) -> None:
    fleet.commit("{match: {status: ARCHIVED}, set: {isAiEnabled: true}}")
    plan = fleet.plan()
    assert plan.changes == ()
    assert [notice.message for notice in plan.notices] == [
        "no row of tenants has status = ARCHIVED: this $where asks for nothing"
    ]


def test_entries_that_disagree_on_a_row_stand_in_the_way_of_no_other_row(fleet: Fleet) -> None:
    fleet.by_hand("status", "SUSPENDED")
    fleet.commit(
        "{match: {aiPlan: FREE}, set: {aiDailyLimit: 20}}", "{match: {status: SUSPENDED}, set: {aiDailyLimit: 1}}"
    )
    with pytest.raises(InvalidInput, match=rf"aiDailyLimit of tenants {ACME} is 1 here .* and 20 at state/"):
        fleet.run()
    assert fleet.run(f"tenants/{BOB}").applied == 1


def test_a_rule_counts_for_what_a_match_and_a_row_of_its_own_ask_together(fleet: Fleet) -> None:
    fleet.project.edit_schema(
        "policy", "invariants:\n", "invariants:\n  - {table: tenants, rule: aiDailyLimit < 20, message: too much}\n"
    )
    fleet.commit("{match: {aiPlan: FREE}, set: {aiMonthlyLimit: 300}}", rows=f"{BOB}:\n  aiDailyLimit: 10\n")
    fleet.run()
    fleet.commit("{match: {aiPlan: FREE}, set: {aiMonthlyLimit: 3}}", rows=f"{BOB}:\n  aiDailyLimit: 10\n")
    with pytest.raises(InvalidInput, match=BOB):
        fleet.run()


def test_a_value_that_the_column_cannot_hold_is_said_before_any_row_is_matched(fleet: Fleet) -> None:
    fleet.project.edit_schema("tenants", MATCH, MATCH.replace("fields:\n", "  name: {type: string}\nfields:\n"))
    fleet.database.execute("ALTER TABLE tenants ALTER name TYPE varchar(60)")
    fleet.commit(f"{{match: {{name: {'x' * 61}}}, set: {{aiDailyLimit: 20}}}}")
    with pytest.raises(InvalidInput, match=r"no row matches.*longer than 60 characters"):
        fleet.plan()


def test_a_column_that_may_be_matched_must_be_there_and_of_its_type(fleet: Fleet) -> None:
    fleet.project.edit_schema("tenants", MATCH, MATCH.replace("[FREE,", "[GRATIS, FREE,"))
    fleet.commit(rows="{}\n")
    with pytest.raises(NotAsExpected, match=r'schemas/tenants.yaml:\d+:\d+: .*it lacks the value "GRATIS"'):
        fleet.plan()


# Nobody but a commit switches a killed thing on


def test_what_was_switched_off_before_the_row_matched_stays_off_until_a_commit_asks_anew(fleet: Fleet) -> None:
    fleet.commit("{match: {aiPlan: PAID_PRO}, set: {isAiEnabled: true}}")
    fleet.run()
    fleet.by_hand("isAiEnabled", False)  # Acme, which nobody manages
    fleet.by_hand("aiPlan", "PAID_PRO")
    for _ in range(2):
        outcome = fleet.run()
        assert outcome.applied == 0
        kept = [change for change in outcome.plan.changes if change.action is Action.KEEP]
        assert ["before the row matched" in change.explanation for change in kept] == [True]
        fleet.now += HOUR
    fleet.commit("{match: {aiPlan: PAID_PRO}, set: {isAiEnabled: {value: true, reason: we looked at all of them}}}")
    assert fleet.run().applied == 1
    assert fleet.values("isAiEnabled") == (True, True, True)


def test_an_entry_that_comes_back_asks_anew(fleet: Fleet) -> None:
    fleet.commit("{match: {aiPlan: PAID_PRO}, set: {isAiEnabled: true}}")
    fleet.run()
    fleet.by_hand("isAiEnabled", False)
    fleet.by_hand("aiPlan", "PAID_PRO")
    fleet.run()
    fleet.commit(rows="{}\n")
    fleet.run()
    fleet.commit("{match: {aiPlan: PAID_PRO}, set: {isAiEnabled: true}}")
    assert fleet.run().applied == 1


def test_a_restore_that_a_commit_asks_of_all_who_match_is_applied_once_its_guard_lets_it(fleet: Fleet) -> None:
    fleet.by_hand("isWhatsappEnabled", False)
    fleet.commit("{match: {aiPlan: FREE}, set: {isWhatsappEnabled: true}}")
    assert fleet.run().applied == 0  # restore.after: 24h, since it was first seen
    fleet.now += 23 * HOUR
    assert fleet.run().applied == 0
    fleet.now += HOUR
    assert fleet.run().applied == 1
    assert fleet.values("isWhatsappEnabled") == (True, True, True)


def test_a_kill_by_hand_survives_a_move_from_one_match_to_another(fleet: Fleet) -> None:
    fleet.commit(
        "{match: {aiPlan: FREE}, set: {isAiEnabled: true}}",
        "{match: {aiPlan: PAID_PRO}, set: {isAiEnabled: {value: true, reason: they pay}}}",
    )
    fleet.run()
    fleet.by_hand("isAiEnabled", False)
    fleet.run()
    fleet.now += HOUR
    fleet.by_hand("aiPlan", "PAID_PRO")
    assert fleet.run().applied == 0
    assert fleet.values("isAiEnabled") == (False, True, True)


def test_a_limit_grows_with_the_match_that_a_row_moves_to(fleet: Fleet) -> None:
    fleet.commit(
        "{match: {aiPlan: FREE}, set: {aiDailyLimit: 20}}", "{match: {aiPlan: PAID_PRO}, set: {aiDailyLimit: 500}}"
    )
    fleet.run()
    fleet.by_hand("aiPlan", "PAID_PRO")
    fleet.run()
    assert fleet.values("aiDailyLimit") == (500, 20, 500)


def test_a_limit_that_was_cut_by_hand_is_not_raised_by_leaving_the_match_and_coming_back(fleet: Fleet) -> None:
    fleet.commit("{match: {aiPlan: FREE}, set: {aiDailyLimit: 20}}")
    fleet.run()
    fleet.by_hand("aiDailyLimit", 1)
    fleet.run()
    for plan in ("PAID_PRO", "FREE"):
        fleet.now += HOUR
        fleet.by_hand("aiPlan", plan)
        fleet.run()
    assert fleet.values("aiDailyLimit") == (1, 20, 50)


def test_a_dry_run_and_a_run_of_some_rows_leave_no_memory_of_an_entry(fleet: Fleet) -> None:
    fleet.commit("{match: {aiPlan: FREE}, set: {isAiEnabled: true}}")
    fleet.plan()
    fleet.run(f"tenants/{BOB}")
    assert fleet.database.execute("SELECT * FROM reconciler.match_entry") == []
    fleet.by_hand("isAiEnabled", False)
    assert fleet.run().applied == 1  # the first run of all rows: what the commit asks of Acme, it asks now


# Times


def test_what_comes_after_an_until_comes_for_every_row_that_matches_and_is_said_once(fleet: Fleet) -> None:
    until = (START + HOUR).isoformat()
    fleet.commit(f"{{match: {{aiPlan: FREE}}, set: {{aiDailyLimit: {{value: 20, until: '{until}', then: restore}}}}}}")
    assert fleet.run().applied == 2
    assert len(fleet.plan().notices) == 1
    fleet.now += 2 * HOUR
    assert fleet.run().applied == 2
    assert fleet.values("aiDailyLimit") == (50, 50, 50)


# Between a plan and its apply


def test_a_row_that_begins_to_match_makes_a_saved_plan_stale(fleet: Fleet) -> None:
    fleet.commit("{match: {aiPlan: FREE}, set: {aiDailyLimit: 20}}")
    plan = fleet.plan()
    fleet.by_hand("aiPlan", "FREE", CAROL)
    with pytest.raises(Stale, match=CAROL):
        fleet.run(reviewed=plan)
    assert fleet.values("aiDailyLimit") == (50, 50, 50)


def test_a_row_that_stops_matching_while_the_run_waits_for_it_is_not_written(fleet: Fleet) -> None:
    fleet.commit("{match: {aiPlan: FREE}, set: {aiDailyLimit: 20}}")
    with fleet.database.connect() as application:
        application.execute("BEGIN")
        application.execute("""UPDATE tenants SET "aiPlan" = 'PAID_PRO' WHERE id = %s""", [ACME])
        done: list[Outcome] = []
        running = threading.Thread(target=lambda: done.append(fleet.run()))
        running.start()
        waits = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        wait_until(lambda: fleet.database.execute(waits))
        application.execute("COMMIT")
    running.join(timeout=10)
    assert done[0].applied == 1
    assert fleet.values("aiDailyLimit") == (50, 20, 50)
    assert [row["key"] for row in fleet.database.execute("SELECT key FROM reconciler.managed_row")] == [BOB]


# The commands around it


def test_a_kill_of_one_row_that_matches_gives_it_an_entry_of_its_own(fleet: Fleet) -> None:
    fleet.project.database.settings()
    fleet.commit("{match: {aiPlan: FREE}, set: {isAiEnabled: true}}")
    fleet.run()
    edit = Edit("tenants", ACME, "isAiEnabled", False, "INC-7", expect={"name": "Acme Bakery"})
    files = files_in_work_tree(fleet.project.directory, ("state",), [])
    edited = edit_files(files, [edit], read_schemas(fleet.project.directory))
    assert [file.path for file in edited] == ["state/tenants.yaml"]
    write_edited(fleet.project.directory, edited)
    fleet.project.commit("INC-7")
    assert fleet.run().plan.counts.kills == 1
    assert fleet.values("isAiEnabled") == (False, True, True)


def test_an_import_leaves_out_what_a_match_says_already(fleet: Fleet) -> None:
    fleet.project.write("state/tenants/free.yaml", "$where:\n- {match: {aiPlan: FREE}, set: {aiDailyLimit: 50}}\n")
    fleet.by_hand("aiDailyLimit", 60, BOB)
    fleet.project.succeed("import", "--table", "tenants")
    imported = (fleet.project.directory / "state/tenants.yaml").read_text()
    found = {key: "aiDailyLimit" in imported.partition(f"\n{key}:")[2].partition("\n\n")[0] for key in (BOB, CAROL)}
    assert imported.count("aiDailyLimit") == 2
    assert found == {BOB: True, CAROL: True}
    fleet.project.commit()
    plan = fleet.plan()
    assert {change.action for change in plan.changes} == {Action.RECORD}
    assert plan.counts.managed_fields == 18


def test_an_import_overwrites_no_where(fleet: Fleet) -> None:
    fleet.commit("{match: {aiPlan: FREE}, set: {aiDailyLimit: 50}}")
    done = fleet.project.run("import", "--table", "tenants", "--force")
    assert done.code == 1
    assert "state/tenants.yaml: its $where would be lost" in done.err


def test_the_status_tells_why_a_row_that_matches_is_off(fleet: Fleet) -> None:
    fleet.commit("{match: {aiPlan: FREE}, set: {isAiEnabled: {value: false, reason: INC-9}}}")
    fleet.run()
    off = json.loads(fleet.project.succeed("status", "--output", "json").out)["off"]
    assert [(one["key"], one["reason"], one["file"], one["line"]) for one in off] == [
        (BOB, "INC-9", "state/tenants.yaml", 2),
        (ACME, "INC-9", "state/tenants.yaml", 2),
    ]


def test_a_rollback_leaves_to_people_what_a_match_asks_for(fleet: Fleet) -> None:
    fleet.commit("{match: {aiPlan: FREE}, set: {aiDailyLimit: 50}}")
    fleet.run()
    fleet.commit("{match: {aiPlan: FREE}, set: {aiDailyLimit: 20}}")
    run = fleet.run().run_id
    done = fleet.project.run("rollback", run, "--reason", "too little", "--dry-run")
    assert "a `$where` asks for it, of all rows with aiPlan = FREE" in done.out + done.err


def test_drift_of_rows_that_match_is_seen(fleet: Fleet) -> None:
    fleet.commit("{match: {aiPlan: FREE}, set: {aiCustomModel: small}}")
    fleet.run()
    fleet.by_hand("aiCustomModel", "large")
    done = fleet.project.run("drift", "--exit-code")
    assert done.code == 2
    assert "tenants  where aiPlan = FREE" in done.out


@pytest.mark.parametrize("may_match", [True, False])
def test_the_grants_of_init_let_a_role_match(fleet: Fleet, may_match: bool) -> None:
    fleet.commit("{match: {aiPlan: FREE}, set: {aiDailyLimit: 20}}")
    role = fleet.database.role("planner")
    grants = fleet.project.succeed("init", "--plan-role", role.name, "--apply-role", role.name).out
    fleet.database.execute(grants if may_match else grants.replace(', "aiPlan"', ""))
    with open_database([parse_database_url(role.url, variable="DATABASE_URL")]) as connection:
        fleet.connection = connection
        if may_match:
            assert fleet.run().applied == 2
            return
        with pytest.raises(NotAsExpected, match=r"schemas/tenants.yaml:\d+:\d+: role .* may not read .*aiPlan"):
            fleet.plan()


# Many rows


def test_rows_that_match_share_what_is_asked_of_them(fleet: Fleet) -> None:
    fleet.commit("{match: {aiPlan: FREE}, set: {aiDailyLimit: 20}}")
    asked = Request(directory=fleet.project.directory)
    project = read_for_apply(asked)
    with fleet.connection.transaction():
        catalog = read_catalog(fleet.connection, relations_of(project.definitions))
        fleets = Fleets(fleet.connection, project, catalog, {}, {}, START, has_ledger=True)
        rows = fleets.desired({"tenants": None})["tenants"]
    assert rows.keys() == {ACME, BOB}
    assert rows[ACME].values is rows[BOB].values
