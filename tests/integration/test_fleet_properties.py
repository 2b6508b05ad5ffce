"""Whatever rows there are, whatever their own entries and `$where` ask: an apply comes to what the rules say of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.canonical import to_text
from reconciler.database.connection import DatabaseConnection, open_database
from reconciler.database.transaction import begin_read_write
from reconciler.database.url import parse_database_url
from reconciler.desired import read_desired
from reconciler.errors import InvalidInput, Problem
from reconciler.ledger_schema import upgrade
from reconciler.model import Match
from reconciler.pipeline import Origin, Request, apply, make_plan
from reconciler.project import Project
from tests.support.definitions import documents, sound_definitions
from tests.support.oracle import Group, asked
from tests.support.plan_examples import REVISION
from tests.support.postgres import Server
from tests.support.random_projects import JOURNAL, POLICY

SHOPS = """\
table: shops
key: id
audit: {event: E}
match:
  size: {type: integer}
  opened: {type: timestamp}
fields:
  mode: {type: string, nullable: true}
  rate: {type: number}
  busy: {type: boolean}
"""
VALUES: dict[str, list[Any]] = {
    "size": [1, 2, None],
    "opened": ["2026-01-01T00:00:00Z", "2026-06-01T12:00:00.5Z"],
    "mode": ["fast", "slow", None],
    "rate": [1, 2, 3],
    "busy": [True, False],
}
FIELDS = ("mode", "rate", "busy")
KEYS = ("a", "b", "c", "d")


def of(*columns: str) -> st.SearchStrategy[dict[str, Any]]:
    """Some of the columns, each with a value."""
    return st.fixed_dictionaries({}, optional={column: st.sampled_from(VALUES[column]) for column in columns})


def lists_of(*columns: str) -> st.SearchStrategy[dict[str, list[Any]]]:
    some = {column: st.lists(st.sampled_from(VALUES[column]), min_size=1, unique=True) for column in columns}
    return st.fixed_dictionaries({}, optional=some).filter(bool)


ROW = st.fixed_dictionaries({column: st.sampled_from(values) for column, values in VALUES.items()})
ROWS = st.fixed_dictionaries(dict.fromkeys(KEYS, ROW))
OWN = st.dictionaries(st.sampled_from(KEYS), of(*FIELDS).filter(bool), max_size=2)
GROUPS = st.lists(
    st.builds(Group, lists_of("size", "opened", "mode"), of("rate", "busy").filter(bool)), min_size=1, max_size=3
)
BY_HAND = st.dictionaries(st.sampled_from(KEYS), of(*VALUES), max_size=2)
STEPS = st.lists(st.tuples(BY_HAND, OWN, GROUPS), min_size=1, max_size=3)


@pytest.fixture(scope="module")
def connection(postgres_server: Server) -> Iterator[DatabaseConnection]:
    with postgres_server.empty() as database:
        with open_database([parse_database_url(database.url, variable="DATABASE_URL")]) as connection:
            connection.execute(
                f"""
                {JOURNAL};
                CREATE TABLE shops (id text PRIMARY KEY, size smallint, opened timestamp(3) NOT NULL, mode varchar(9),
                                    rate numeric(5, 2) NOT NULL, busy boolean NOT NULL)
                """.encode()
            )
            with begin_read_write(connection, doing="making the ledger"):
                upgrade(connection)
            yield connection


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(rows=ROWS, steps=STEPS)
def test_what_rows_and_where_ask_for_is_what_the_rules_say_and_running_again_changes_nothing(
    connection: DatabaseConnection, rows: dict[str, dict[str, Any]], steps: list[tuple[Any, Any, list[Group]]]
) -> None:
    definitions = sound_definitions(POLICY, shops=SHOPS)
    ledger = "reconciler.run, reconciler.managed_row, reconciler.mark, reconciler.match_entry"
    connection.execute(f"TRUNCATE shops, journal; TRUNCATE {ledger} CASCADE".encode())
    for key, row in rows.items():
        columns = {"id": key, **row}
        connection.execute("INSERT INTO shops SELECT * FROM jsonb_populate_record(NULL::shops, %s)", [to_text(columns)])
    for by_hand, own, groups in steps:
        for key, moved in by_hand.items():
            for column, data in moved.items():
                connection.execute(f"UPDATE shops SET {column} = %s WHERE id = %s".encode(), [data, key])
        before = everything(connection)
        project, problems = project_of(definitions, own, groups)
        wanted = asked(before, own, groups)
        if problems:
            continue  # what cannot but disagree is refused whether any row is there or not
        if wanted is None:
            with pytest.raises(InvalidInput):
                make_plan(connection, Request(directory=Path()), project)
            continue
        plan = make_plan(connection, Request(directory=Path()), project)
        outcome = apply(connection, Request(directory=Path()), project, Origin(actor="robot"))
        assert outcome.plan.fingerprint == plan.fingerprint
        after = {key: {**row, **wanted.get(key, {})} for key, row in before.items()}
        assert everything(connection) == after
        managed = connection.execute("SELECT key, applied FROM reconciler.managed_row").fetchall()
        assert dict(managed) == wanted
        changed = sum(before[key][name] != after[key][name] for key in before for name in FIELDS)
        assert outcome.audit_entries == changed
        again = apply(connection, Request(directory=Path()), project, Origin(actor="robot"))
        assert not again.plan.has_work


def project_of(definitions: Any, own: Any, groups: list[Group]) -> tuple[Project, list[Problem]]:
    """State as YAML (JSON is YAML), read by the strict reader."""
    where = [{"match": group.columns, "set": group.sets} for group in groups]
    problems: list[Problem] = []
    matches: dict[str, list[Match]] = {}
    read = documents({"state/shops.yaml": to_text({"$where": where, **own})}, problems)
    desired = read_desired(read, definitions, "state", problems, matches)
    return Project(definitions, desired, REVISION, None, None, matches), problems


def everything(connection: DatabaseConnection) -> dict[str, dict[str, Any]]:
    found = connection.execute(
        """
        SELECT id, size, rtrim(rtrim(to_char(opened, 'YYYY-MM-DD"T"HH24:MI:SS.MS'), '0'), '.') || 'Z', mode, rate, busy
          FROM shops
        """
    )
    return {key: dict(zip(VALUES, values, strict=True)) for key, *values in found}
