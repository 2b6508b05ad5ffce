"""Whatever git asks for, was applied and is there: an apply comes to what its plan says, and writes nothing besides.

Here a few rows are already so many that they are read and written in several pieces; in other tests, they are one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from reconciler import actual, writing
from reconciler.actual import Sought, compare
from reconciler.canonical import equal, from_text, to_text
from reconciler.catalog import read_catalog
from reconciler.database.connection import DatabaseConnection
from reconciler.database.transaction import begin_read_only
from reconciler.fit import relation_of, relations_of
from reconciler.model import Action, Change, Json, Missing
from reconciler.pipeline import Request, apply, make_plan
from reconciler.plan import Scope
from tests.support.plan_examples import NOW
from tests.support.postgres import Server
from tests.support.random_projects import (
    Situation,
    get_rows,
    situations,
)
from tests.support.world import ORIGIN, REQUEST, World, world_database

fewer = settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])


@pytest.fixture(scope="module")
def connection(postgres_server: Server) -> Iterator[DatabaseConnection]:
    with pytest.MonkeyPatch.context() as patch, world_database(postgres_server) as connection:
        patch.setattr(actual, "_MANY", 1)
        patch.setattr(writing, "_PIECE", 2)
        yield connection


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
            rows = compare(connection, Sought(table, relation, desired, has_ledger=True, only_keys=None))
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


@fewer
@given(situations(), st.integers(min_value=1, max_value=4), st.booleans())
def test_batches_come_to_what_one_transaction_comes_to(
    connection: DatabaseConnection, situation: Situation, size: int, is_reviewed: bool
) -> None:
    connection.execute("UPDATE reconciler.meta SET movable_clock = true")
    at_once = Request(directory=REQUEST.directory, now=NOW)
    whole = World(connection, situation)
    expected = whole.run(at_once)
    told = _told(whole)
    world = World(connection, situation)
    reviewed = make_plan(connection, at_once, world.project) if is_reviewed else None
    outcome = world.run(replace(at_once, batch=size), reviewed)
    assert _told(world) == told
    assert (outcome.plan.fingerprint, outcome.plan.counts) == (expected.plan.fingerprint, expected.plan.counts)
    assert (outcome.applied, outcome.audit_entries, outcome.recorded, outcome.released) == (
        (expected.applied, expected.audit_entries, expected.recorded, expected.released)
    )
    rows = {(c.table, c.key) for c in expected.plan.changes if c.action not in (Action.HOLD, Action.KEEP)}
    runs = world.rows_of("SELECT id::text, outcome FROM reconciler.run ORDER BY sequence")
    assert len(runs) == max(1, -(-len(rows) // size))
    assert [word for _, word in runs] == ["partial"] * (len(runs) - 1) + ["applied"]
    assert outcome.batches == (tuple(run for run, _ in runs) if len(runs) > 1 else ())
    for (number,) in world.rows_of("SELECT count(DISTINCT (table_name, key)) FROM reconciler.change GROUP BY run_id"):
        assert number <= size


def _told(world: World) -> dict[str, list[tuple[Any, ...]]]:
    """What a run has left: rows, entries and memory, but for what names a run, or a time of the server's."""
    names = [table.name for table in world.situation.tables]
    found = {name: world.rows_of(f"SELECT to_jsonb(t) - 'changed at' FROM {name} t ORDER BY 1") for name in names}
    found["journal"] = world.rows_of("SELECT owner, event, details - 'run' FROM journal ORDER BY 1, 2, 3")
    found["changes"] = world.rows_of(
        "SELECT table_name, key, field, before::text, after::text, finding, direction, tenant FROM reconciler.change "
        "ORDER BY 1, 2, 3"
    )
    found["applied"] = world.rows_of(
        "SELECT table_name, key, applied::text, digest, row_hash FROM reconciler.managed_row ORDER BY 1, 2"
    )
    found["marks"] = world.rows_of("SELECT t::text FROM reconciler.mark t ORDER BY 1")
    return found
