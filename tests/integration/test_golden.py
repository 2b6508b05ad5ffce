"""Every folder of tests/golden is one idea, told by its files; tests/golden/README.md says what each of them holds.

Each case runs on a real database and a real commit: the plan is compared with the one that is expected, and then
carried out. What the apply leaves must be what the plan said, with an audit entry for each field, and nothing is left
to do.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from psycopg import sql

from reconciler.canonical import from_text, to_text
from reconciler.database.connection import DatabaseConnection, open_database
from reconciler.database.transaction import begin_read_write
from reconciler.database.url import parse_database_url
from reconciler.documents import read_document
from reconciler.errors import InvalidInput, Problem, ReconcileError, Refused
from reconciler.initialize import initialize
from reconciler.ledger import (
    RunRecord,
    prepare_applied,
    prepare_changes,
    record_freeze,
    record_marks,
    record_run,
)
from reconciler.model import MISSING, Action, FieldKey, Finding, Json, Mark, RowKey
from reconciler.pipeline import Origin, Request, apply, make_plan, read_for_apply
from reconciler.plan import Plan
from reconciler.plan_json import encode_plan
from reconciler.project import Project
from reconciler.report import render_plan
from reconciler.scalars import to_json
from tests.support import plan_examples
from tests.support.gitrepo import GitRepo
from tests.support.plan_examples import NOW
from tests.support.postgres import Database

GOLDEN = Path(__file__).parents[1] / "golden"
CASES = sorted(folder.name for folder in GOLDEN.iterdir() if (folder / "state").is_dir())
UPDATE = "RECONCILE_UPDATE_GOLDEN" in os.environ

# What the platform's tables insist on and have no default for.
INSISTED: dict[str, dict[str, Json]] = {
    "tenants": {"name": "?", "updatedAt": "2026-01-01T00:00:00"},
    "system_settings": {"updatedAt": "2026-01-01T00:00:00"},
}

Rows = dict[str, dict[str, dict[str, Any]]]
"""Table to key to column to value, as the YAML files of a case tell them."""


@pytest.mark.parametrize("name", CASES)
def test_each_golden_case_comes_to_its_plan_and_its_apply_to_what_the_plan_said(
    name: str, database: Database, git_repo: GitRepo
) -> None:
    case = GOLDEN / name
    rows = read_rows(case / "actual.yaml")
    database.execute((GOLDEN / "tables.sql").read_text())
    insert(database, rows)
    request = commit(git_repo, case)
    with open_database([parse_database_url(database.url, variable="DATABASE_URL")]) as connection:
        try:
            project = read_for_apply(request)
            remember(connection, project, case, git_repo.head)
            before = everything(database)
            plan = make_plan(connection, request, project)
        except ReconcileError as error:
            told = f"{type(error).__name__}, exit code {error.exit_code}\n{error}\n"
            same_as(case / "error.txt", told)
            assert not (case / "plan.json").exists()
            return
        assert not (case / "error.txt").exists()
        same_as(case / "plan.json", encode_plan(normalized(plan)).decode())
        if (case / "text.txt").exists():
            same_as(case / "text.txt", render_plan("text", normalized(plan), now=NOW, width=100))
        assert everything(database) == before
        if plan.refusals:
            with pytest.raises(Refused):
                apply(connection, request, project, Origin(actor="golden"))
            assert everything(database) == before
            return
        carry_out(connection, database, request, project, plan)
        kept = base_of(case) if request.allow_dirty else applied_by(plan, base_of(case))
        assert ledger_of(database) == kept


def carry_out(
    connection: DatabaseConnection, database: Database, request: Request, project: Project, plan: Plan
) -> None:
    """Apply, and compare everything that it left with what the plan said; then once more, with nothing left to do."""
    before = everything(database)
    outcome = apply(connection, request, project, Origin(actor="golden"))
    assert outcome.plan.fingerprint == plan.fingerprint
    assert outcome.plan.changes == plan.changes

    after = everything(database)
    expected = {row: dict(columns) for row, columns in before.items()}
    for change in plan.writes:
        table = project.definitions.tables[change.table].definition
        key = (f"{table.schema or 'public'}.{table.table}", change.key)
        columns = expected.setdefault(key, dict(after.get(key, {})))
        columns[change.field] = change.after
        if table.touch is not None:
            columns[table.touch] = after[key][table.touch]
            assert columns[table.touch] != before.get(key, {}).get(table.touch)
    assert comparable(after) == comparable(expected)

    entries = database.execute("""SELECT metadata FROM audit_logs WHERE metadata ->> 'source' = 'reconcile'
                                     AND metadata ? 'field'""")
    assert sorted(
        (entry["table"], entry["key"], entry["field"], entry["before"], entry["after"])
        for entry in (row["metadata"] for row in entries)
    ) == sorted(
        (change.table, change.key, change.field, plainly(change.before), plainly(change.after))
        for change in plan.writes
    )

    left = make_plan(connection, request, project)
    # What was not committed is there, and the ledger waits for git to say so: that is all there is to do.
    assert not left.writes if request.allow_dirty else not left.has_work
    apply(connection, request, project, Origin(actor="golden"))
    assert everything(database) == after


def applied_by(plan: Plan, base: dict[RowKey, dict[str, Json]]) -> dict[RowKey, dict[str, Json]]:
    """What the ledger must hold once the plan is carried out: what was written or found, and what was there before."""
    expected = {row: dict(fields) for row, fields in base.items()}
    for change in plan.changes:
        fields = expected.setdefault((change.table, change.key), {})
        if change.action is Action.RELEASE:
            del fields[change.field]
        elif change.finding is Finding.REOPENED and change.after != change.desired:
            continue  # put back, and not what git asks for
        elif change.action.writes or change.action is Action.RECORD:
            fields[change.field] = plainly(change.after)
    return {row: plainly(fields) for row, fields in expected.items() if fields}


def ledger_of(database: Database) -> dict[RowKey, dict[str, Json]]:
    found = database.execute("SELECT table_name, key, applied FROM reconciler.managed_row")
    return {(row["table_name"], row["key"]): row["applied"] for row in found}


# Reading a case -----------------------------------------------------------------------------------------------------


def read_rows(path: Path) -> Rows:
    """A YAML file of rows, by the program's own strict reader; empty where there is no such file."""
    if not path.exists():
        return {}
    problems: list[Problem] = []
    document = read_document(path.name, path.read_bytes(), problems)
    if problems or document is None or document.root is None:
        raise InvalidInput(problems)
    found: Any = to_json(document.root)
    return {table: {key: row or {} for key, row in rows.items()} for table, rows in found.items()}


def commit(repository: GitRepo, case: Path) -> Request:
    """The case's state, with the shared schemas and those that replace them, as one commit; and what is asked of it.

    What stands in `uncommitted/` is left in the work tree, and is what the glass is broken for.
    """
    for folder in (GOLDEN / "schemas", case / "schemas"):
        if folder.exists():
            shutil.copytree(folder, repository.path / "schemas", dirs_exist_ok=True)
    shutil.copytree(case / "state", repository.path / "state")
    repository.commit("Golden case")
    if not (case / "uncommitted").exists():
        return Request(directory=repository.path, revision="HEAD", now=NOW)
    shutil.copytree(case / "uncommitted", repository.path / "state", dirs_exist_ok=True)
    return Request(directory=repository.path, allow_dirty=True, reason="INC-150", now=NOW)


def insert(database: Database, rows: Rows) -> None:
    """Put the rows into the live tables, each column by the server's own conversion from JSON."""
    with database.connect() as connection:
        for table, key, given in ((table, key, row) for table, found in rows.items() for key, row in found.items()):
            columns = {key_column(table): key, **INSISTED.get(table, {}), **given}
            name = sql.Identifier(*table.split("."))
            statement = sql.SQL("INSERT INTO {} ({}) SELECT {} FROM jsonb_populate_record(NULL::{}, %s)").format(
                name, *[sql.SQL(", ").join(map(sql.Identifier, columns))] * 2, name
            )
            connection.execute(statement, [to_text(columns)])


def key_column(table: str) -> str:
    return "number" if table == "feature_rollouts" else "id"


def remember(connection: DatabaseConnection, project: Project, case: Path, head: str) -> None:
    """Make the ledger, with what was applied last, what it remembers of single fields, and the freezes called."""
    initialize(connection, project.definitions)
    marks: dict[FieldKey, Mark] = {
        (table, key, field): mark_of(told)
        for table, rows in read_rows(case / "marks.yaml").items()
        for key, fields in rows.items()
        for field, told in fields.items()
    }
    with begin_read_write(connection, doing="remembering"):
        connection.execute("UPDATE reconciler.meta SET movable_clock = true")
        prepare_applied(connection, str(uuid.UUID(int=0)), base_of(case))({})
        record_marks(connection, marks)
        for reason, until in read_rows(case / "freezes.yaml").get("called", {}).items():
            record_freeze(connection, datetime.fromisoformat(str(until)), reason, "ann")
        connection.execute("UPDATE reconciler.freeze SET from_at = %s", [NOW - timedelta(hours=1)])
        record_history(connection, read_rows(case / "replaced.yaml"), base_of(case), head)


def record_history(
    connection: DatabaseConnection, replaced: Rows, applied: dict[RowKey, dict[str, Json]], head: str
) -> None:
    """The run of this commit that made fields what was applied last, out of what they were before."""
    changes = [
        plan_examples.change(table=table, key=key, field=field, before=before, desired=applied[table, key][field])
        for table, rows in replaced.items()
        for key, fields in rows.items()
        for field, before in fields.items()
    ]
    if not changes:
        return
    run = RunRecord(
        id=str(uuid.UUID(int=1)),
        commit=head,
        author_name="Ann Author",
        author_email="ann@example.org",
        committer_name="Ann Author",
        committer_email="ann@example.org",
        actor="golden",
        reason=None,
        dirty=False,
        ahead=False,
        plan_id=str(uuid.UUID(int=1)),
        fingerprint="",
        scope={"tables": [], "rows": []},
        counts={"held": 0},
        outcome="applied",
        run_url=None,
        pull_request=None,
        version="1",
    )
    record_run(connection, run)
    prepare_changes(connection, run.id, changes, ["acme"] * len(changes))()


def base_of(case: Path) -> dict[RowKey, dict[str, Json]]:
    found = read_rows(case / "base.yaml")
    return {(table, key): fields for table, rows in found.items() for key, fields in rows.items()}


def mark_of(told: dict[str, Any]) -> Mark:
    for name in told.keys() & {"killed_at", "seen_at"}:
        told = told | {name: datetime.fromisoformat(told[name])}
    return Mark(**told)


# Comparing ----------------------------------------------------------------------------------------------------------


def everything(database: Database) -> dict[tuple[str, str], dict[str, Any]]:
    """Every row of every table that could be managed, as the server's own JSON."""
    tables = ("public.tenants", "public.system_settings", "public.feature_rollouts", "billing.plan_limits")
    statements = [f"SELECT '{table}' AS name, to_jsonb(t)::text AS row FROM {table} AS t" for table in tables]
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for one in database.execute(" UNION ALL ".join(statements)):
        row = from_text(one["row"])
        found[one["name"], str(row[key_column(one["name"].partition(".")[2])])] = row
    return found


def comparable(rows: dict[tuple[str, str], dict[str, Any]]) -> dict[tuple[str, str], str]:
    """The same, with moments that are spelt differently made alike."""
    return {
        key: json.dumps({name: moment(value) for name, value in row.items()}, default=str, sort_keys=True)
        for key, row in rows.items()
    }


def moment(value: Any) -> Any:
    """The server's JSON spells `2026-01-01T00:00:00+00:00`, or without an offset, what is canonically `…Z`."""
    try:
        found = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return value
    return found.replace(tzinfo=found.tzinfo or NOW.tzinfo).timestamp()


def plainly(value: Any) -> Any:
    """A value as the driver gives JSON back: a missing one is null, decimals are floats."""
    return None if value is MISSING else json.loads(to_text(value))


def normalized(plan: Plan) -> Plan:
    """The plan without what differs from one run to the next."""
    assert plan.revision is not None
    return msgspec.structs.replace(
        plan,
        id=str(uuid.UUID(int=0)),
        database="golden",
        database_id="0" * 64,
        revision=msgspec.structs.replace(plan.revision, commit="0" * 40),
        last_applied=plan.last_applied and "0" * 40,
    )


def same_as(path: Path, text: str) -> None:
    """The file holds exactly this; with RECONCILE_UPDATE_GOLDEN it is made to."""
    if UPDATE:
        path.write_text(text, encoding="utf-8")
    assert path.exists(), f"{path} is missing; RECONCILE_UPDATE_GOLDEN=1 writes it. It would hold:\n{text}"
    assert text == path.read_text(encoding="utf-8")
