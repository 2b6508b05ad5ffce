"""What a live table may hold that JSON has no word for, or several spellings: it is compared, shown and replaced all
the same, and nothing is written where nothing differs.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from reconciler.apply import prepare_updates
from reconciler.canonical import to_text
from reconciler.catalog import read_catalog
from reconciler.database.connection import DatabaseConnection, open_database
from reconciler.database.transaction import begin_read_only, begin_read_write
from reconciler.database.url import parse_database_url
from reconciler.drifted import drifted_keys
from reconciler.errors import Failed, InvalidInput
from reconciler.ledger_schema import upgrade
from reconciler.model import MISSING, Action, Json, Missing
from reconciler.pipeline import Origin, Request, apply, make_plan
from reconciler.plan import Plan
from reconciler.project import Project
from tests.support.definitions import desired_of, sound_definitions
from tests.support.plan_examples import REVISION, change
from tests.support.postgres import Database
from tests.support.random_projects import JOURNAL, POLICY

REQUEST = Request(directory=Path())


class Things:
    """A table called `things` of one database, and runs over it."""

    def __init__(self, connection: DatabaseConnection, database: Database) -> None:
        self.connection = connection
        self.database = database

    def make(self, columns: str, *rows: str) -> None:
        """The table, with a text key and these columns, and rows as VALUES has them."""
        self.database.execute(f"CREATE TABLE things (id text PRIMARY KEY, {columns})")
        for row in rows:
            self.database.execute(f"INSERT INTO things VALUES ({row})")

    def project(self, fields: str, state: str, more: str = "", policy: str = POLICY) -> Project:
        text = f"table: things\nkey: id\naudit: {{event: E}}\n{more}fields: {fields}\n"
        definitions = sound_definitions(policy, things=text)
        desired, problems = desired_of(definitions, things=state)
        assert problems == []
        return Project(definitions, desired, REVISION, None, None)

    def plan(self, project: Project) -> Plan:
        return make_plan(self.connection, REQUEST, project)

    def apply(self, project: Project) -> Plan:
        return apply(self.connection, REQUEST, project, Origin(actor="robot")).plan

    def drifted(self, project: Project) -> list[str]:
        """The keys that the full pass of a large project would look at."""
        relation = read_catalog(self.connection, [(None, "things")]).relations[None, "things"]
        with begin_read_only(self.connection, doing="looking"):
            return drifted_keys(self.connection, project.definitions.tables["things"], relation)

    def value(self, expression: str) -> Any:
        [row] = self.database.execute(f"SELECT {expression} AS found FROM things")
        return row["found"]


@pytest.fixture
def things(empty_database: Database) -> Iterator[Things]:
    empty_database.execute(JOURNAL)
    with open_database([parse_database_url(empty_database.url, variable="DATABASE_URL")]) as connection:
        with begin_read_write(connection, doing="making the ledger"):
            upgrade(connection)
        yield Things(connection, empty_database)


def only_change(plan: Plan) -> tuple[Json | Missing, Json | Missing, Action]:
    [change] = plan.changes
    return change.before, change.after, change.action


@pytest.mark.parametrize(
    ("declared", "has", "field", "asked", "before", "becomes"),
    [
        ("jsonb", "'null'", "{type: json}", "{a: 1}", None, "'{\"a\": 1}'::jsonb"),
        ("json", "'null'", "{type: json}", "{a: 1}", None, "'{\"a\": 1}'::jsonb"),
        ("json", '\'{"a": 1, "a": 2}\'', "{type: json}", "{a: 1}", {"a": 2}, "'{\"a\": 1}'::jsonb"),
        ("integer[]", "'[0:1]={1,2}'", "{type: array, items: {type: integer}}", "[3]", [1, 2], "array[3]"),
        ("integer[]", "'{{1,2},{3,4}}'", "{type: array, items: {type: integer}}", "[3]", [[1, 2], [3, 4]], "array[3]"),
        ("text[]", "'{a,NULL}'", "{type: array, items: {type: string}}", "[b]", ["a", None], "array['b']"),
        ("numeric", "'NaN'", "{type: number, kill: lower}", "5", "NaN", "5::numeric"),
        ("float8", "'-Infinity'", "{type: number, kill: lower}", "5", "-Infinity", "5::float8"),
        ("float8", "0.1 + 0.2::float8", "{type: number}", "0.3", None, "0.3::float8"),
        ("timestamptz", "'infinity'", "{type: timestamp}", "2026-01-01T00:00:00Z", "infinity",
         "'2026-01-01T00:00:00Z'::timestamptz"),
        ("timestamp", "'0044-03-15 BC'", "{type: timestamp}", "2026-01-01T00:00:00Z", "0044-03-15 00:00:00 BC",
         "'2026-01-01'::timestamp"),
        ("varchar(5)", "'a%s'", "{type: string}", '"50%"', "a%s", "'50%'"),
    ],
)  # fmt: skip
def test_a_value_that_state_could_not_ask_for_is_replaced_by_what_it_asks(
    things: Things, declared: str, has: str, field: str, asked: str, before: Json, becomes: str
) -> None:
    things.make(f"v {declared}", f"'a', {has}")
    project = things.project(f"{{v: {field}}}", f"a: {{v: {asked}}}\n")
    plan = things.apply(project)
    assert only_change(plan)[2] is Action.UPDATE
    if before is not None:
        assert only_change(plan)[0] == before
    assert things.value(f"{'v::jsonb' if declared == 'json' else 'v'} = {becomes}") is True
    assert not things.plan(project).has_work


@pytest.mark.parametrize(
    ("declared", "has", "field", "asked"),
    [
        ("jsonb", "'null'", "{type: json, nullable: true}", "null"),
        ("json", "'null'", "{type: json, nullable: true}", "null"),
        ("json", '\'{ "b":1.0,  "a":[ ] }\'', "{type: json}", "{a: [], b: 1}"),
        ("integer[]", "'[0:1]={1,2}'", "{type: array, items: {type: integer}}", "[1, 2]"),
        ("numeric(10,4)", "1.5000", "{type: number}", "1.50"),
        ("numeric", "1e45", "{type: number}", "1e45"),
        ("numeric", "'1' || repeat('0', 45)", "{type: integer}", f"1{'0' * 45}"),
        ("float4", "0.1", "{type: number}", "0.1"),
        ("float8", "'-0'", "{type: number}", "0"),
        ("char(5)", "'ab'", "{type: string}", "ab"),
        ("timestamp(6)", "'2026-01-01 00:00:00.120000'", "{type: timestamp}", "2026-01-01T01:00:00.12+01:00"),
    ],
)
def test_a_value_that_is_only_spelt_otherwise_is_recorded_and_not_written(
    things: Things, declared: str, has: str, field: str, asked: str
) -> None:
    if "repeat" in has:
        has = f"({has})::numeric"
    things.make(f"v {declared}", f"'a', {has}")
    project = things.project(f"{{v: {field}}}", f"a: {{v: {asked}}}\n")
    plan = things.apply(project)
    assert only_change(plan)[2] is Action.RECORD
    assert things.plan(project).changes == ()


def test_a_row_is_made_with_what_the_schema_gives_in_the_columns_own_types(things: Things) -> None:
    things.make(
        "v boolean, kind text NOT NULL, doc jsonb NOT NULL, tags text[] NOT NULL, at timestamp NOT NULL,"
        " made timestamptz NOT NULL, price numeric(5,2) NOT NULL, share text NOT NULL"
    )
    project = things.project(
        "{v: {type: boolean}}",
        "a: {v: true}\n",
        "missing_row: create\ncreate:\n  {kind: new, doc: {a: [1, null]}, tags: [x, y], at: 2026-01-01T01:00:00+01:00,"
        ' made: $now, price: 1.50, share: "50%"}\n',
    )
    plan = things.apply(project)
    assert only_change(plan) == (MISSING, True, Action.CREATE)
    row = things.database.row("things", "a")
    assert (row["v"], row["kind"], row["doc"], row["tags"]) == (True, "new", {"a": [1, None]}, ["x", "y"])
    assert (row["at"].isoformat(), str(row["price"]), row["share"]) == ("2026-01-01T00:00:00", "1.50", "50%")
    assert row["made"] == things.database.execute("SELECT at FROM reconciler.run")[0]["at"]


@pytest.mark.parametrize(
    ("declared", "has", "expected", "holds"),
    [
        ("numeric(5,2)", "5", "5", True),
        ("numeric(5,2)", "5", "5.00", True),
        ("numeric(5,2)", "5.5", "5", False),
        ("float8", "0.1", "0.1", True),
        ("text", "'007'", "007", False),
        ("text", "'007'", "'007'", True),
        ("text", "'7'", "7", True),
        ("integer", "7", "'7'", True),
        ("boolean", "true", "true", True),
        ("boolean", "true", "'true'", True),
        ("boolean", "false", "true", False),
        ("text", "NULL", "null", True),
        ("text", "NULL", "''", False),
        ("text", "'null'", "null", False),
        ("timestamptz", "'2026-01-01T00:00:00Z'", "2026-01-01T00:00:00Z", True),
        ("jsonb", "'5'", "5", True),
        ("jsonb", "'[5]'", "5", False),
    ],
)
def test_an_expectation_holds_for_the_same_value_or_the_same_text(
    things: Things, declared: str, has: str, expected: str, holds: bool
) -> None:
    things.make(f"v boolean, other {declared}", f"'a', false, {has}")
    project = things.project("{v: {type: boolean}}", f"a: {{$expect: {{other: {expected}}}, v: true}}\n")
    if holds:
        assert only_change(things.plan(project)) == (False, True, Action.UPDATE)
    else:
        with pytest.raises(InvalidInput, match=r"\$expect: other of things a is "):
            things.plan(project)


def test_a_literal_of_the_policy_may_hold_a_percent_sign(things: Things) -> None:
    things.database.execute("ALTER TABLE journal ADD COLUMN source text")
    things.make("v boolean", "'a', false")
    policy = POLICY.replace("at: $now}", "at: $now, source: 100% reconcile %s}")
    things.apply(things.project("{v: {type: boolean}}", "a: {v: true}\n", policy=policy))
    assert things.database.execute("SELECT source FROM journal") == [{"source": "100% reconcile %s"}]


def test_a_table_of_which_nothing_is_managed_any_more_releases_what_was(things: Things) -> None:
    things.make("v boolean", "'a', false")
    things.apply(things.project("{v: {type: boolean}}", "a: {v: true}\n"))
    plan = things.apply(things.project("{}", ""))
    [change] = plan.changes
    assert change.action is Action.RELEASE
    assert things.value("v") is True


def test_texts_that_a_column_takes_for_equal_are_different_values(things: Things) -> None:
    try:
        things.database.execute("CREATE EXTENSION citext")
    except psycopg.Error:
        pytest.skip("this server has no citext")
    things.make("v citext", "'a', 'Hello'")
    project = things.project("{v: {type: string}}", "a: {v: hello}\n")
    assert only_change(things.apply(project)) == ("Hello", "hello", Action.UPDATE)
    assert things.value("v::text") == "hello"
    assert things.plan(project).changes == ()


def test_a_trigger_that_turns_a_write_away_fails_the_whole_apply(things: Things) -> None:
    things.make("v boolean", "'a', false", "'b', false")
    things.database.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
        "CREATE TRIGGER refuse BEFORE UPDATE ON things FOR EACH ROW WHEN (old.id = 'b') EXECUTE FUNCTION refuse()"
    )
    project = things.project("{v: {type: boolean}}", "a: {v: true}\nb: {v: true}\n")
    with pytest.raises(Failed, match=r"1 of 2 rows of public\.things did not take the change"):
        things.apply(project)
    assert things.database.execute("SELECT v FROM things WHERE v") == []
    assert things.database.execute("SELECT * FROM reconciler.run") == []


def test_a_trigger_that_makes_something_else_of_a_write_fails_the_whole_apply(things: Things) -> None:
    things.make("n integer, v boolean", "'a', 1, true", "'b', 1, true")
    things.database.execute(
        "CREATE FUNCTION keep_open() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN new.v := true; RETURN new; END';"
        "CREATE TRIGGER keep_open BEFORE UPDATE ON things FOR EACH ROW WHEN (old.id = 'b') EXECUTE FUNCTION keep_open()"
    )
    fields = "{n: {type: integer}, v: {type: boolean, kill: false}}"
    project = things.project(fields, "a: {n: 2, v: false}\nb: {n: 2, v: false}\n")
    with pytest.raises(Failed, match=r"row b of public\.things did not keep what was written to n, v: a trigger"):
        things.apply(project)
    assert things.database.execute("SELECT n FROM things WHERE n = 2 OR NOT v") == []
    assert things.database.execute("SELECT * FROM reconciler.run") == []
    things.database.execute("DROP TRIGGER keep_open ON things")
    assert len(things.apply(project).changes) == 4


@pytest.mark.parametrize("moved", ["isOpen", "label"])
def test_a_write_is_refused_where_a_value_is_not_the_one_that_the_plan_saw(things: Things, moved: str) -> None:
    things.make('"isOpen" boolean, label text', "'a', false, 'x'")
    table = things.project("{isOpen: {type: boolean}, label: {type: string}}", "").definitions.tables["things"]
    seen = {"isOpen": False, "label": "x"} | {moved: None}
    changes = [
        change(table="things", key="a", field=field, before=before, desired=after)
        for (field, before), after in zip(seen.items(), [True, "y"], strict=True)
    ]
    relation = read_catalog(things.connection, [(None, "things")]).relations[None, "things"]
    with pytest.raises(Failed, match=r"1 of 1 rows of public\.things did not take the change"):
        with begin_read_write(things.connection, doing="writing"):
            prepare_updates(things.connection, table, relation, changes)()()
    assert things.value("\"isOpen\" OR label <> 'x'") is False


def test_a_value_that_the_column_would_round_is_refused_before_anything_is_read(things: Things) -> None:
    things.make("v real", "'a', 1")
    with pytest.raises(InvalidInput, match=r"public\.things\.v is real: it holds 16777217 only as"):
        things.plan(things.project("{v: {type: number}}", "a: {v: 16777217}\n"))


@pytest.mark.parametrize("count", [45, 120])
def test_a_table_with_more_fields_than_a_call_takes_is_compared_and_written(things: Things, count: int) -> None:
    names = [f"f{number}" for number in range(count)]
    things.make(", ".join(f"{name} integer" for name in names), ", ".join(["'a'", *["0"] * count]))
    project = things.project(
        to_text({name: {"type": "integer"} for name in names}), to_text({"a": dict.fromkeys(names, 1)})
    )
    assert things.apply(project).counts.changes == count
    assert things.plan(project).changes == ()


@pytest.mark.parametrize(
    ("declared", "field", "asked", "other"),
    [
        ("boolean", "{type: boolean}", "true", "false"),
        ("smallint", "{type: integer}", "5", "6"),
        ("numeric(10,4)", "{type: number}", "1.5", "1.5001"),
        ("float8", "{type: number}", "1.5", "1.25"),
        ("text", "{type: string}", "a", "'A'"),
        ("varchar(9)", "{type: string, nullable: true}", "a", "NULL"),
        ("text", "{type: string, nullable: true}", "null", "''"),
        ("uuid", "{type: string}", "6f9619ff-8b86-d011-b42d-00c04fc964ff", "gen_random_uuid()"),
        ("timestamptz", "{type: timestamp}", "2026-01-01T00:00:00Z", "'2026-01-01T00:00:00.000001Z'"),
        ("mood", "{type: enum, values: [sad, glad]}", "glad", "'sad'"),
        ("jsonb", "{type: json}", "{a: [1]}", "'{\"a\": [2]}'"),
        ("json", "{type: json}", "{a: [1]}", "'{\"a\": [2]}'"),
        ("text[]", "{type: array, items: {type: string}}", "[a, b]", "array['a,b']"),
    ],
)
def test_a_row_that_has_moved_is_found_by_its_checksum_and_no_other(
    things: Things, declared: str, field: str, asked: str, other: str
) -> None:
    things.database.execute("CREATE TYPE mood AS ENUM ('sad', 'glad')")
    things.make(f"v {declared}", f"'a', {other}", f"'b', {other}", f"'nobody manages this', {other}")
    project = things.project(f"{{v: {field}}}", f"a: {{v: {asked}}}\nb: {{v: {asked}}}\n")
    assert things.apply(project).counts.changes == 2
    assert things.database.execute("SELECT FROM reconciler.managed_row WHERE row_hash IS NULL") == []
    assert things.drifted(project) == []
    things.database.execute(f"UPDATE things SET v = {other} WHERE id = 'b'")
    assert things.drifted(project) == ["b"]
    things.apply(project)
    assert things.drifted(project) == []
    things.database.execute("DELETE FROM things WHERE id = 'a'")
    assert things.drifted(project) == ["a"]


def test_a_row_that_is_left_at_odds_with_git_is_found_again(things: Things) -> None:
    """Its other field is written: a checksum of the whole row as it stands now would say that all is well."""
    fields = "{on: {type: boolean, kill: false}, limit: {type: integer}}"
    things.make('"on" boolean, "limit" integer', "'a', true, 5")
    things.apply(things.project(fields, "a: {on: true, limit: 5}\n"))
    things.database.execute('UPDATE things SET "on" = false')
    project = things.project(fields, "a: {on: true, limit: 6}\n")
    assert things.apply(project).counts.changes == 1
    assert things.value('"limit"') == 6
    assert things.drifted(project) == ["a"]


def test_most_of_a_table_that_nobody_manages_hides_nothing(things: Things) -> None:
    things.make("v integer", "'a', 1", "'b', 1")
    things.database.execute("INSERT INTO things SELECT 'other ' || n, n FROM generate_series(1, 20000) AS n")
    project = things.project("{v: {type: integer}}", "a: {v: 2}\nb: {v: 2}\n")
    things.apply(project)
    assert things.drifted(project) == []
    things.database.execute("UPDATE things SET v = 3 WHERE id = 'a'")
    assert things.drifted(project) == ["a"]
