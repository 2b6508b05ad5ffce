"""Whatever git asks for, was applied and is there: an apply comes to what its plan says, and writes nothing besides."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.actual import compare
from reconciler.canonical import equal, from_text, to_text
from reconciler.catalog import read_catalog
from reconciler.connection import DatabaseConnection, open_database
from reconciler.database_url import parse_database_url
from reconciler.diff import diff_row, entry_digest
from reconciler.fit import relation_of, relations_of
from reconciler.ledger import record_applied, record_marks
from reconciler.ledger_schema import upgrade
from reconciler.model import Action, Change, FieldKey, Json, Mark, Missing, Row, Value
from reconciler.pipeline import Origin, Request, apply, make_plan
from reconciler.plan import Plan, Scope
from reconciler.project import Project
from reconciler.transaction import begin_read_only, begin_read_write
from tests.support.definitions import desired_of, sound_definitions
from tests.support.plan_examples import NOW, REVISION
from tests.support.postgres import Server
from tests.support.random_projects import (
    ENUM,
    FOR_TRIGGERS,
    JOURNAL,
    POLICY,
    Situation,
    get_rows,
    put_rows,
    situations,
)

REQUEST = Request(directory=Path())
ORIGIN = Origin(actor="robot")

fewer = settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])


@pytest.fixture(scope="module")
def connection(postgres_server: Server) -> Iterator[DatabaseConnection]:
    """A database with a ledger and an audit table; the tables come and go with each example."""
    with postgres_server.empty() as database:
        with open_database([parse_database_url(database.url, variable="DATABASE_URL")]) as connection:
            connection.execute(";".join([ENUM, JOURNAL, FOR_TRIGGERS]).encode())
            with begin_read_write(connection, doing="making the ledger"):
                upgrade(connection)
            yield connection


class World:
    """One situation in the database, and what is known of it without asking the code under test."""

    def __init__(self, connection: DatabaseConnection, situation: Situation) -> None:
        self.connection = connection
        self.situation = situation
        definitions = sound_definitions(POLICY, **{table.name: table.schema for table in situation.tables})
        by_table: dict[str, dict[str, Any]] = {}
        for (table, key), fields in situation.desired.items():
            by_table.setdefault(table, {})[key] = {
                name: {"value": data} if isinstance(data, dict) else data for name, data in fields.items()
            }
        desired, problems = desired_of(definitions, **{name: to_text(rows) for name, rows in by_table.items()})
        assert problems == []
        self.project = Project(definitions, desired, REVISION, None, None)
        self.marks = {field: self._mark(field, touched) for field, touched in situation.seen.items()}
        self._make()
        self.before = get_rows(connection, situation)

    def _mark(self, field: FieldKey, touched: bool) -> Mark:
        table, key, name = field
        value = self.project.desired[table][key].values[name]
        has = self.situation.actual[table, key][name]
        entry = "another entry" if touched else entry_digest(value)
        return Mark(killed_at=NOW, killed_by="by hand", seen_at=NOW, seen_value=has, seen_entry=entry)

    def _make(self) -> None:
        connection = self.connection
        connection.execute("DROP TABLE IF EXISTS things, gadgets; TRUNCATE journal, noted")
        connection.execute("TRUNCATE reconciler.run, reconciler.managed_row, reconciler.mark CASCADE")
        connection.execute("".join(table.ddl for table in self.situation.tables).encode())
        put_rows(connection, self.situation)
        with begin_read_write(connection, doing="remembering"):
            record_applied(connection, str(uuid.uuid4()), dict(self.situation.base))
            record_marks(connection, self.marks)

    def plan(self) -> Plan:
        return make_plan(self.connection, REQUEST, self.project)

    def apply(self) -> Plan:
        return apply(self.connection, REQUEST, self.project, ORIGIN).plan

    def changes_by_full_comparison(self) -> list[Change]:
        """What comparing all rows one by one in Python finds, guards left out."""
        found: list[Change] = []
        rows = {*self.situation.desired, *self.situation.base}
        for table, key in sorted(rows):
            definition = self.project.definitions.tables[table]
            base = _side(table, key, self.situation.base.get((table, key)))
            has = self.before.get((table, key))
            actual = _side(table, key, {name: has[name] for name in definition.fields} if has is not None else None)
            of_row = ((name, self.marks.get((table, key, name))) for name in definition.fields)
            marks = {name: mark for name, mark in of_row if mark is not None}
            desired = self.project.desired.get(table, {}).get(key)
            found += diff_row(definition, key, desired, base, actual, marks, None)
        return found

    def rows_of(self, statement: str) -> list[tuple[Any, ...]]:
        return self.connection.execute(statement.encode()).fetchall()

    def state_of_ledger(self) -> dict[str, list[tuple[Any, ...]]]:
        """Every row of the ledger with the transaction that wrote it last."""
        names = self.rows_of("SELECT tablename FROM pg_tables WHERE schemaname = 'reconciler'")
        return {name: self.rows_of(f"SELECT t.xmin, t::text FROM reconciler.{name} t ORDER BY 2") for (name,) in names}


def _side(table: str, key: str, fields: dict[str, Json] | None) -> Row | None:
    return None if fields is None else Row(table, key, {name: Value(data) for name, data in fields.items()})


@fewer
@given(situations())
def test_an_apply_comes_to_what_git_asks_for_wherever_nothing_is_kept_or_held(
    connection: DatabaseConnection, situation: Situation
) -> None:
    world = World(connection, situation)
    plan = world.apply()
    after = get_rows(connection, situation)
    changes = {change.sort_key(): change for change in plan.changes}
    for (table, key), fields in situation.desired.items():
        for name, asked in fields.items():
            change = changes.get((table, key, name))
            has = after[table, key][name] if (table, key) in after else None
            if change is None or change.action is Action.RECORD or (change.action.writes and change.after == asked):
                assert equal(has, asked)
            elif change.action.writes:  # a guard put back what a hand had opened
                assert "held" in change.explanation
                assert equal(has, situation.base[table, key][name])
            else:
                assert change.action in (Action.KEEP, Action.HOLD)
                assert (table, key) not in world.before or equal(has, world.before[table, key][name])


@fewer
@given(situations())
def test_an_apply_writes_only_what_its_plan_says_and_touches_only_the_rows_that_it_writes(
    connection: DatabaseConnection, situation: Situation
) -> None:
    world = World(connection, situation)
    plan = world.apply()
    after = get_rows(connection, situation)
    touching = {table.name for table in situation.tables if table.touch}
    expected = {row: dict(columns) for row, columns in world.before.items()}
    columns = set()
    for change in plan.writes:
        row = (change.table, change.key)
        assert not isinstance(change.after, Missing)
        if change.action is Action.CREATE and row not in expected:
            made = after[row]
            expected[row] = dict.fromkeys(made) | {name: made[name] for name in ("id", "other", "changed at")}
        expected[row][change.field] = change.after
        if change.action is Action.UPDATE:
            columns.add((*row, change.field))
        if change.table in touching:
            expected[row]["changed at"] = after[row]["changed at"]
            assert after[row]["changed at"] != "2026-01-01T00:00:00+00:00"
            if change.action is Action.UPDATE:
                columns.add((*row, "changed at"))
    assert {row: to_text(found) for row, found in after.items()} == {row: to_text(e) for row, e in expected.items()}
    assert sorted(world.rows_of("SELECT * FROM noted")) == sorted(columns)


@fewer
@given(situations())
def test_there_is_one_audit_entry_for_each_written_field_in_the_same_transaction(
    connection: DatabaseConnection, situation: Situation
) -> None:
    world = World(connection, situation)
    plan = world.apply()
    entries = [(from_text(text), owner, event) for text, owner, event in world.rows_of(
        "SELECT details::text, owner, event FROM journal"
    )]  # fmt: skip
    named = ("table", "key", "field", "finding", "direction")
    assert sorted(
        [*(told[name] for name in named), to_text([told["before"], told["after"]]), owner, event]
        for told, owner, event in entries
    ) == sorted(
        [change.table, change.key, change.field, change.finding.value, change.direction.value,
         to_text([_json(change.before), _json(change.after)]), "NOBODY", f"{change.table} changed"]
        for change in plan.writes
    )  # fmt: skip
    [(run_transaction,)] = world.rows_of("SELECT xmin FROM reconciler.run")
    transactions = {*world.rows_of("SELECT xmin FROM journal"), *world.rows_of("SELECT xmin FROM reconciler.change")}
    written = {(change.table, change.key) for change in plan.writes}
    for table in situation.tables:
        found = world.rows_of(f"SELECT id::text, xmin FROM {table.name}")
        transactions |= {(xmin,) for key, xmin in found if (table.name, key) in written}
    assert transactions <= {(run_transaction,)}
    assert world.rows_of("SELECT id FROM journal ORDER BY 1") == world.rows_of(
        "SELECT id FROM reconciler.change ORDER BY 1"
    )


def _json(value: Json | Missing) -> Json:
    """A value as an audit entry tells it: a missing one is null."""
    return None if isinstance(value, Missing) else value


@fewer
@given(situations())
def test_the_ledger_holds_what_was_applied(connection: DatabaseConnection, situation: Situation) -> None:
    world = World(connection, situation)
    plan = world.apply()
    expected = {row: dict(fields) for row, fields in situation.base.items()}
    for change in plan.changes:
        fields = expected.setdefault((change.table, change.key), {})
        if change.action is Action.RELEASE:
            del fields[change.field]
        elif change.action.writes or change.action is Action.RECORD:
            assert not isinstance(change.after, Missing)
            fields[change.field] = change.after
    found = world.rows_of("SELECT table_name, key, applied::text FROM reconciler.managed_row")
    ledger = {(table, key): text for table, key, text in found}
    assert ledger.keys() == {row for row, fields in expected.items() if fields}
    after = get_rows(connection, situation)
    held = {change.sort_key() for change in plan.changes if change.action in (Action.HOLD, Action.KEEP)}
    for (table, key), text in ledger.items():
        row = connection.execute("SELECT %s::jsonb::text", (to_text(expected[table, key]),)).fetchone()
        assert row == (text,)
        for name, applied in expected[table, key].items():
            if (table, key, name) not in held:
                assert equal(after[table, key][name], applied)


@fewer
@given(situations())
def test_a_second_apply_changes_nothing_and_writes_nothing_but_its_run(
    connection: DatabaseConnection, situation: Situation
) -> None:
    world = World(connection, situation)
    first = world.apply()
    rows, journal, ledger = _everything(world)
    second = world.apply()
    assert not second.has_work
    waits = (Action.HOLD, Action.KEEP)
    # A guard puts back what a hand had opened, and makes a row with what was applied last: git's restore is held then.
    still = [c.sort_key() for c in first.changes if c.action in waits or (c.action.writes and c.after != c.desired)]
    assert [change.sort_key() for change in second.changes] == still
    assert {change.action for change in second.changes} <= set(waits)
    again = _everything(world)
    assert again[:2] == (rows, journal)
    assert len(again[2].pop("run")) == len(ledger.pop("run")) + 1
    assert again[2] == ledger


def _everything(world: World) -> tuple[Any, Any, dict[str, list[tuple[Any, ...]]]]:
    names = [table.name for table in world.situation.tables]
    rows = [world.rows_of(f"SELECT t.xmin, t::text FROM {name} t ORDER BY 2") for name in names]
    return rows, world.rows_of("SELECT t.xmin, t::text FROM journal t ORDER BY 2"), world.state_of_ledger()


@fewer
@given(situations())
def test_a_dry_run_writes_nothing_and_foretells_exactly_what_the_apply_does(
    connection: DatabaseConnection, situation: Situation
) -> None:
    world = World(connection, situation)
    nothing_yet = _everything(world)
    foretold = world.plan()
    assert _everything(world) == nothing_yet
    done = world.apply()
    assert done.fingerprint == foretold.fingerprint
    assert done.counts == foretold.counts
    assert [_without_time(change) for change in done.changes] == [_without_time(change) for change in foretold.changes]


def _without_time(change: Change) -> tuple[Any, ...]:
    return (change.sort_key(), change.finding, change.action, change.direction, change.label, change.location)


@fewer
@given(situations())
def test_the_comparison_in_the_server_finds_exactly_the_rows_that_one_in_python_finds(
    connection: DatabaseConnection, situation: Situation
) -> None:
    world = World(connection, situation)
    naive = world.changes_by_full_comparison()
    found = set()
    with begin_read_only(connection, doing="comparing"):
        definitions = world.project.definitions
        catalog = read_catalog(connection, relations_of(definitions))
        for name, table in definitions.tables.items():
            desired = world.project.desired.get(name, {})
            relation = relation_of(catalog, table)
            rows = compare(connection, table, relation, desired, has_ledger=True, only_keys=None)
            found |= {(name, row.key) for row in rows}
    assert found == {(change.table, change.key) for change in naive}
    plan = world.plan()
    assert [change.sort_key() for change in plan.changes] == [change.sort_key() for change in naive]
    for planned, expected in zip(plan.changes, naive, strict=True):
        assert (planned.before, planned.base, planned.desired) == (expected.before, expected.base, expected.desired)


@fewer
@given(situations(), st.booleans())
def test_an_apply_to_one_row_or_one_table_leaves_every_other_alone(
    connection: DatabaseConnection, situation: Situation, whole_table: bool
) -> None:
    world = World(connection, situation)
    whole = world.plan()
    for chosen in list(situation.desired)[:1]:
        scope = Scope(tables=chosen[:1]) if whole_table else Scope(rows=("/".join(chosen),))
        request = Request(directory=REQUEST.directory, scope=scope)
        plan = apply(connection, request, world.project, ORIGIN).plan
        covered = {row for row in {*situation.desired, *situation.base} if row[0] == chosen[0]}
        covered = covered if whole_table else {chosen}
        ours = [change for change in whole.changes if (change.table, change.key) in covered]
        assert [_without_time(change) for change in plan.changes] == [_without_time(change) for change in ours]
        after = get_rows(connection, situation)
        assert {row: after[row] for row in world.before.keys() - covered} == {
            row: columns for row, columns in world.before.items() if row not in covered
        }
