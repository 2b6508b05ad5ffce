"""What an import writes asks for exactly what the database has, and it never overwrites or reads what it must not."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.database.connection import DatabaseConnection, open_database
from reconciler.database.url import parse_database_url
from reconciler.errors import NotAsExpected, Refused, UsageProblem
from reconciler.import_state import Import, ImportRequest, read_state, write_import
from reconciler.initialize import initialize
from reconciler.model import Action
from reconciler.pipeline import Request, make_plan
from reconciler.plan import Plan, Scope
from reconciler.project import Project, read_work_tree
from tests.support.cli import run
from tests.support.postgres import Database

POLICY = """
audit:
  table: journal
  columns: {id: $uuid, owner: $tenant, what: $event, about: $metadata}
  without_tenant: {tenant: "0", create: {table: shops, key: code, row: {code: "0", title: nobody}}}
"""
SHOPS = """
table: shops
key: code
label: title
audit: {event: SHOP, tenant: code}
secret: [password]
fields:
  motto: {type: string, nullable: true, max_length: 4000}
  seats: {type: integer, nullable: true, min: 1}
  price: {type: number}
  open: {type: boolean, kill: false}
  mood: {type: enum, values: ["yes", "no"]}
  renewed: {type: timestamp, nullable: true}
  extras: {type: json, nullable: true}
  tags: {type: array, items: {type: string}}
"""
CITIES = """
table: cities
key: number
audit: {event: CITY}
fields:
  lit: {type: boolean}
"""
TABLES = """
CREATE TABLE shops (
    code     text PRIMARY KEY,
    title    text,
    motto    text DEFAULT 'none' || ' yet',
    seats    int DEFAULT 5,
    price    numeric(12, 3) NOT NULL DEFAULT 0,
    open     boolean NOT NULL DEFAULT true,
    mood     text NOT NULL DEFAULT 'yes',
    renewed  timestamp DEFAULT now(),
    extras   jsonb DEFAULT '{"a": [1]}',
    tags     text[] NOT NULL DEFAULT ARRAY[]::text[],
    password text NOT NULL DEFAULT 'hush-hush'
);
CREATE TABLE cities (number int PRIMARY KEY, lit boolean NOT NULL DEFAULT false);
CREATE TABLE journal (id text, owner text, what text, about jsonb);
"""
ODD = ["", "~", "null", "yes", "123", "0x1F", "2026-11-27", "12:30:00", "a: b", "#x", "$x", "<<", "- a", " a ", "a\nb",
       "\t", "\x07", "\x85", "\u2028", "\ufeff", "caf\u00e9", "\U0001f600", "'", '"', "\\n", "---"]  # fmt: skip


@pytest.fixture
def shops(empty_database: Database) -> Database:
    empty_database.execute(TABLES)
    return empty_database


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    schemas = tmp_path / "project" / "schemas"
    schemas.mkdir(parents=True)
    for name, text in (("policy", POLICY), ("shops", SHOPS), ("cities", CITIES)):
        (schemas / f"{name}.yaml").write_text(text)
    return tmp_path / "project"


@pytest.fixture
def connection(shops: Database) -> Iterator[DatabaseConnection]:
    with open_database([parse_database_url(shops.url, variable="DATABASE_URL")]) as connection:
        yield connection


@pytest.fixture
def importing(connection: DatabaseConnection, directory: Path) -> Importing:
    return Importing(connection, directory)


class Importing:
    """One project and one database, to import from as often as a test likes."""

    def __init__(self, connection: DatabaseConnection, directory: Path) -> None:
        self.connection = connection
        self.directory = directory

    def project(self) -> Project:
        return read_work_tree(self.directory)

    def read(self, *only: str, tables: tuple[str, ...] = (), **options: Any) -> Import:
        request = ImportRequest(scope=Scope(tables, tuple(sorted(only))), **options)
        return read_state(self.connection, self.project(), request)

    def write(self, *only: str, replace: bool = False, **options: Any) -> Import:
        imported = self.read(*only, **options)
        write_import(self.directory, imported, replace=replace)
        return imported

    def plan(self) -> Plan:
        return make_plan(self.connection, Request(directory=self.directory), self.project())

    def state(self) -> dict[str, str]:
        """The files of state/, by path."""
        folder = self.directory / "state"
        return {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()}

    def values(self, table: str, key: str) -> dict[str, Any]:
        return {name: value.data for name, value in self.project().desired[table][key].values.items()}


def texts(imported: Import) -> dict[str, str]:
    return {file.path: file.data.decode() for file in imported.files}


def test_a_dry_run_after_an_import_has_nothing_to_change(shops: Database, importing: Importing) -> None:
    for number, odd in enumerate(ODD):
        key = odd or f"key {number}"
        shops.insert("shops", code=key, title=odd, motto=odd, tags=[odd, "x"], extras={odd: [odd, None, 1.5]})
    shops.insert("shops", code="1", title=None, motto=None, seats=None, renewed="2026-11-27 09:00:00.120")
    shops.insert("shops", code="2", extras={"value": 1}, price="12.500", mood="no", open=False, renewed=None)
    shops.insert("cities", number=-7, lit=True)
    assert importing.write().rows == len(ODD) + 3
    plan = importing.plan()
    assert {change.action for change in plan.changes} == {Action.RECORD}
    assert plan.counts.managed_fields == (len(ODD) + 2) * 8 + 1
    assert sorted(importing.state()) == ["cities.yaml", "shops.yaml"]


def test_a_file_per_row_with_its_expectations_leaves_nothing_to_change_either(
    shops: Database, importing: Importing
) -> None:
    for number, odd in enumerate(ODD):
        shops.insert("shops", code=f"key {number}", title=odd)
    shops.insert("cities", number=3)
    importing.write(layout="file-per-row", expect=True)
    plan = importing.plan()
    assert {change.action for change in plan.changes} == {Action.RECORD}
    assert not plan.notices or "ledger" in plan.notices[0].message
    rows = importing.project().desired["shops"]
    assert [row.expect["title"].data for _, row in sorted(rows.items())] == [
        odd for _, odd in sorted((f"key {number}", odd) for number, odd in enumerate(ODD))
    ]
    assert len(importing.state()) == len(ODD) + 1


MOMENTS = st.datetimes(min_value=datetime(1000, 1, 1, tzinfo=UTC).replace(tzinfo=None))
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    key=TEXTS.filter(bool),
    row=st.fixed_dictionaries(
        {
            "title": TEXTS | st.none(),
            "motto": TEXTS | st.none(),
            "seats": st.integers(1, 2**31 - 1) | st.none(),
            "price": st.decimals(min_value=-(10**8), max_value=10**8, places=3),
            "open": st.booleans(),
            "mood": st.sampled_from(["yes", "no"]),
            "renewed": MOMENTS | st.none(),
            "extras": st.dictionaries(TEXTS, st.none() | TEXTS | st.integers() | st.booleans(), max_size=4),
            "tags": st.lists(TEXTS, max_size=4),
        }
    ),
)
def test_any_row_is_described_so_that_nothing_is_to_be_changed(
    shops: Database, importing: Importing, key: str, row: dict[str, Any]
) -> None:
    shops.execute("TRUNCATE shops")
    (importing.directory / "state" / "shops.yaml").unlink(missing_ok=True)
    shops.insert("shops", code=key, **row)
    imported = importing.write(expect=True, tables=("shops",))
    if key == "0":
        assert not imported.files
        return
    assert not imported.notices
    assert imported.fields == 8
    assert {change.action for change in importing.plan().changes} == {Action.RECORD}


def test_only_what_differs_from_the_defaults_is_written(shops: Database, importing: Importing) -> None:
    shops.insert("shops", code="plain")
    shops.insert("shops", code="same", motto="none yet", seats=5, price=0, extras={"a": [1]}, tags=[], renewed=None)
    shops.insert("shops", code="other", motto=None, seats=6, price="0.001", extras={"a": [2]}, tags=["x"], mood="no")
    shops.insert("cities", number=1)
    shops.insert("cities", number=2, lit=True)
    imported = importing.write(non_default=True)
    renewed = importing.values("shops", "plain")["renewed"]
    assert importing.values("shops", "plain") == {"renewed": renewed}, "no constant default: counts as different"
    assert importing.values("shops", "same") == {"renewed": None}
    other = ["extras", "mood", "motto", "price", "renewed", "seats", "tags"]
    assert sorted(importing.values("shops", "other")) == other
    assert list(importing.project().desired["cities"]) == ["2"]
    assert imported.rows == 4
    assert {change.action for change in importing.plan().changes} == {Action.RECORD}


@pytest.mark.parametrize(
    ("default", "is_written"),
    [
        ("'a' || 'b'", False),
        ("upper('ab')", True),
        ("'AB'::varchar(2)", True),
        ("clock_timestamp()::text", True),
        ("current_user", True),
        ("('ab'::text)::name::text", False),
        ("mine()", True),
        ("NULL", True),
    ],
)
def test_a_default_counts_where_the_database_knows_it_to_be_constant(
    shops: Database, importing: Importing, default: str, is_written: bool
) -> None:
    shops.execute("CREATE FUNCTION mine() RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT 'ab' $$")
    shops.execute(f"ALTER TABLE shops ALTER motto SET DEFAULT {default}")
    shops.insert("shops", code="1", motto="ab")
    importing.write(non_default=True)
    assert ("motto" in importing.values("shops", "1")) is is_written


def test_secrets_are_never_selected(shops: Database, importing: Importing) -> None:
    shops.insert("shops", code="1", title="One")
    columns = "code, title, motto, seats, price, open, mood, renewed, extras, tags"
    role = shops.role("reader", grants=[f"SELECT ({columns}) ON shops", "SELECT ON cities"])
    with open_database([parse_database_url(role.url, variable="DATABASE_URL")]) as narrow:
        imported = read_state(narrow, importing.project(), ImportRequest())
    assert imported.rows == 1
    assert "hush-hush" not in "".join(texts(imported).values())


def test_what_the_schema_does_not_allow_is_left_out_and_said(shops: Database, importing: Importing) -> None:
    shops.insert("shops", code="low", seats=0)
    shops.insert("shops", code="moody", mood="perhaps")
    shops.insert("shops", code="long", motto="x" * 4001)
    shops.insert("shops", code="ever", renewed="infinity")
    shops.insert("shops", code="ancient", renewed="0044-03-15 BC")
    shops.execute("INSERT INTO shops (code, tags) VALUES ('gaps', ARRAY['a', NULL])")
    imported = importing.write()
    said = [notice.message for notice in imported.notices]
    assert [message.partition(" is left out")[0] for message in said] == [
        "shops.mood", "shops.motto", "shops.renewed", "shops.renewed", "shops.seats", "shops.tags",
    ]  # fmt: skip
    assert 'row "low": 0 is less than the minimum 1' in said[4]
    assert imported.notices[0].location is not None
    assert imported.notices[0].location.file == "schemas/shops.yaml"
    assert imported.fields == 6 * 8 - 6
    assert {change.action for change in importing.plan().changes} == {Action.RECORD}


def test_many_rows_that_cannot_be_described_are_counted(shops: Database, importing: Importing) -> None:
    shops.execute("INSERT INTO shops (code, seats) SELECT n, 0 FROM generate_series(1, 500) AS n")
    said = [notice.message for notice in importing.read().notices]
    assert len(said) == 4
    assert "497 more rows" in said[-1]


def test_the_row_that_init_makes_is_left_out_unless_it_is_named(shops: Database, importing: Importing) -> None:
    shops.insert("shops", code="1")
    initialize(importing.connection, importing.project().definitions)
    assert [file.keys for file in importing.read().files] == [("1",)]
    assert [file.keys for file in importing.read("shops/0").files] == [("0",)]


def test_the_scope_limits_what_is_written(shops: Database, importing: Importing) -> None:
    for code in ("a", "b/c", "d"):
        shops.insert("shops", code=code)
    shops.insert("cities", number=1)
    assert list(texts(importing.read(tables=("cities",)))) == ["state/cities.yaml"]
    imported = importing.read("shops/a", "shops/b/c", "cities/1", layout="file-per-row")
    assert sorted(texts(imported)) == ["state/cities/1.yaml", "state/shops/a.yaml", "state/shops/b-c.yaml"]
    for wrong in ("shops/nope", "cities/x", "nope/1", "shops"):
        with pytest.raises(UsageProblem):
            importing.read(wrong)


def test_files_that_exist_are_never_merged_and_only_replaced_on_demand(shops: Database, importing: Importing) -> None:
    shops.insert("shops", code="1")
    shops.insert("cities", number=1)
    importing.write(tables=("shops",))
    before = importing.state()
    with pytest.raises(Refused, match=r"state/shops\.yaml: already there"):
        importing.write()
    assert importing.state() == before, "cities.yaml, which was not in the way, was not written either"
    shops.execute("UPDATE shops SET motto = 'new'")
    importing.write(replace=True)
    assert importing.values("shops", "1")["motto"] == "new"
    assert sorted(importing.state()) == ["cities.yaml", "shops.yaml"]


def test_a_row_that_stands_in_another_file_is_refused_by_its_place(shops: Database, importing: Importing) -> None:
    shops.insert("shops", code="1")
    shops.insert("shops", code="2")
    (importing.directory / "state").mkdir()
    (importing.directory / "state" / "shops.yaml").write_text("'1': {open: true}\n")
    with pytest.raises(Refused, match=r"state/shops\.yaml:1:13: row 1 of shops"):
        importing.write(layout="file-per-row", replace=True)
    assert list(importing.state()) == ["shops.yaml"]
    importing.write("shops/2", layout="file-per-row")
    assert sorted(importing.state()) == ["shops.yaml", "shops/2.yaml"]


def test_rows_that_are_overwritten_with_their_file_are_named(shops: Database, importing: Importing) -> None:
    shops.insert("shops", code="1")
    shops.insert("shops", code="2")
    importing.write()
    imported = importing.write("shops/1", replace=True, layout="one-file")
    assert [notice.message for notice in imported.notices] == [
        "state/shops.yaml names rows that are not part of this import, and loses them where it is overwritten: 2"
    ]


def test_nothing_is_written_where_one_file_cannot_be(shops: Database, importing: Importing) -> None:
    shops.insert("shops", code="1")
    shops.insert("cities", number=1)
    importing.write(tables=("cities",))
    before = importing.state()
    shops.execute("UPDATE cities SET lit = true")
    # A folder in the place of a file: the last of the files to be moved cannot be.
    (importing.directory / "state" / "shops.yaml" / "kept").mkdir(parents=True)
    imported = importing.read()
    with pytest.raises(Exception, match="Nothing was changed"):
        write_import(importing.directory, imported, replace=True)
    assert importing.state() == before
    assert not list((importing.directory / "state").glob(".*"))


def test_a_key_that_is_not_unique_is_no_key(shops: Database, importing: Importing) -> None:
    shops.execute("ALTER TABLE shops DROP CONSTRAINT shops_pkey")
    with pytest.raises(NotAsExpected, match=r"no unique constraint of public\.shops is on code alone"):
        importing.read()


def test_a_key_of_a_view_that_is_there_twice_is_no_key(shops: Database, importing: Importing) -> None:
    """No constraint can say so of a view."""
    shops.execute("ALTER TABLE shops RENAME TO all_shops")
    shops.execute("ALTER TABLE all_shops DROP CONSTRAINT shops_pkey")
    shops.execute("CREATE VIEW shops AS SELECT * FROM all_shops")
    shops.insert("shops", code="1")
    shops.insert("shops", code="1")
    with pytest.raises(NotAsExpected, match='has the key "1" twice'):
        importing.read()


def test_a_row_with_an_empty_key_is_left_out_and_said(shops: Database, importing: Importing) -> None:
    shops.insert("shops", code="")
    shops.insert("shops", code="1")
    imported = importing.write()
    assert [file.keys for file in imported.files] == [("1",)]
    assert "empty key" in imported.notices[0].message


def test_a_table_with_more_fields_than_one_call_takes_is_read(shops: Database, importing: Importing) -> None:
    names = [f"flag_{number}" for number in range(120)]
    shops.execute(f"CREATE TABLE wide (id int PRIMARY KEY, {', '.join(f'{name} int DEFAULT 1' for name in names)})")
    shops.execute("INSERT INTO wide (id, flag_7) VALUES (1, 2)")
    fields = "\n".join(f"  {name}: {{type: integer}}" for name in names)
    (importing.directory / "schemas" / "wide.yaml").write_text(
        f"table: wide\nkey: id\naudit: {{event: WIDE}}\nfields:\n{fields}\n"
    )
    assert importing.read(tables=("wide",)).fields == 120
    assert importing.read(tables=("wide",), non_default=True).fields == 1


def test_the_command_writes_files_and_says_what_they_hold(shops: Database, directory: Path) -> None:
    shops.insert("shops", code="1", title="Acme Bakery", seats=0)
    done = run("import", "--only", "shops/1", cwd=directory, database=shops.url)
    assert done.code == 0, done
    assert "state/shops/acme-bakery.yaml: 1 row, 7 fields" in done.out
    assert "shops.seats is left out" in done.err
    text = (directory / "state" / "shops" / "acme-bakery.yaml").read_text()
    assert text.startswith("# yaml-language-server: $schema=../../schemas/json/shops.state.schema.json\n")
    assert "  $expect: {title: Acme Bakery}\n" in text
    again = run("import", "--only", "shops/1", cwd=directory, database=shops.url)
    assert (again.code, again.out) == (1, "")
    assert "--force" in again.err


def test_the_command_prints_instead_of_writing(shops: Database, directory: Path) -> None:
    shops.insert("shops", code="1", title="Acme\x1b[2J")
    done = run("import", "--stdout", "--table", "shops", "--expect", cwd=directory, database=shops.url)
    assert done.code == 0, done
    assert '"1":\n  $expect: {title: "Acme\\e[2J"}\n' in done.out
    assert not (directory / "state").exists()
    both = run("import", "--stdout", "--force", cwd=directory, database=shops.url)
    assert both.code == 64
