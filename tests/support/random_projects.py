"""Random schemas, and random desired, base and actual states over them: what a property of the apply is shown on.

Takes hypothesis strategies; gives a `Situation` that can be put into a real database. Values are drawn from few, so
that sides often agree. Nothing here is the code under test: rows go into the tables, and come back, by the server's own
conversion from and to JSON.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import psycopg
from hypothesis import strategies as st
from psycopg import sql

from reconciler.canonical import from_text, to_text
from reconciler.model import Json, RowKey

ENUM = "CREATE TYPE level AS ENUM ('low', 'mid', 'high', 'off')"
JOURNAL = (
    "CREATE TABLE journal (id uuid PRIMARY KEY, owner text NOT NULL, event text NOT NULL, details jsonb NOT NULL,"
    " at timestamptz NOT NULL)"
)
POLICY = """\
audit:
  table: journal
  columns: {id: $uuid, owner: $tenant, event: $event, details: $metadata, at: $now}
  without_tenant: {tenant: NOBODY}
"""

_TEXTS = ["", "a", "b", 'it\'s "quoted" \\ {x}', "NULL", "50%", "ü\n\t😀"]


@dataclass(frozen=True)
class Kind:
    """A kind of column: its type, what a schema may say of it, what state may ask for, and what else may be there."""

    declared: str
    definition: dict[str, Json]
    options: dict[str, list[Json]]
    asked: list[Json]
    found: list[Json]


_NUMERIC_KILL: dict[str, list[Json]] = {"kill": ["lower", "higher", None]}

KINDS = [
    Kind("boolean", {"type": "boolean"}, {"kill": [True, False, None], "restore": [{"after": "24h"}, None]},
         [True, False], []),
    Kind("integer", {"type": "integer", "min": 1}, _NUMERIC_KILL, [1, 2, 2**31 - 1], [0, -5]),
    Kind("smallint", {"type": "number"}, _NUMERIC_KILL, [1, 2, 3], []),
    Kind("numeric(12, 4)", {"type": "number"}, _NUMERIC_KILL, [0, Decimal("0.5"), Decimal("-1.0625")], ["NaN"]),
    Kind("double precision", {"type": "number"}, _NUMERIC_KILL, [Decimal("0.1"), 10**20, 7], ["NaN", "Infinity"]),
    Kind("real", {"type": "number"}, _NUMERIC_KILL, [Decimal("0.1"), Decimal("1.5"), -3], ["-Infinity"]),
    Kind("text", {"type": "string"}, {"kill": [["a", ""], []]}, [*_TEXTS], ["other"]),
    Kind("varchar(3)", {"type": "string", "max_length": 3}, {}, ["", "abc", "x "], ["zzz"]),
    Kind("char(3)", {"type": "string"}, {}, ["", "abc", "x"], ["zz"]),
    Kind("uuid", {"type": "string"}, {}, [f"0d9f7a52-5c1b-4f0e-9a51-2f3f0f6a7c0{digit}" for digit in range(3)], []),
    Kind("level", {"type": "enum", "values": ["low", "mid", "high", "off"]}, {"kill": [["off", "low"], []]},
         ["low", "mid", "off"], ["high"]),
    Kind("text", {"type": "enum", "values": ["low", "mid"]}, {"kill": [["low"], []]}, ["low", "mid"], ["legacy"]),
    Kind("timestamptz", {"type": "timestamp"}, {}, ["2026-11-27T09:00:00Z", "2026-11-27T09:00:00.25Z"], ["infinity"]),
    Kind("timestamp(3)", {"type": "timestamp"}, {}, ["1999-12-31T23:59:59.999Z", "2026-11-27T09:00:00Z"],
         ["-infinity"]),
    Kind("jsonb", {"type": "json"}, {}, [{}, [], {"a": [1, None, Decimal("0.5")]}, "text", True, 1], [{"b": {"c": 0}}]),
    Kind("json", {"type": "json"}, {}, [{}, {"b": 1, "a": [True]}, 0], [[[]]]),
    Kind("text[]", {"type": "array", "items": {"type": "string"}}, {}, [[], ["a", ""], _TEXTS], [["x", None]]),
    Kind("integer[]", {"type": "array", "items": {"type": "integer"}}, {}, [[], [1, 2], [2, 1]], [[[1, 2], [3, 4]]]),
]  # fmt: skip


@dataclass(frozen=True)
class RandomTable:
    """A table of random columns, as its schema file and its DDL have it."""

    name: str
    key_type: str
    touch: bool
    creates: bool
    columns: dict[str, tuple[Kind, dict[str, Json]]]

    @property
    def schema(self) -> str:
        """The schema file's text: JSON, which is YAML too."""
        more: dict[str, Json] = {"touch": "changed at"} if self.touch else {}
        return to_text(
            {
                "table": self.name, "key": "id", "label": "label", "audit": {"event": f"{self.name} changed"}, **more,
                "missing_row": "create" if self.creates else "error",
                "fields": {name: definition for name, (_, definition) in self.columns.items()},
            }
        )  # fmt: skip

    @property
    def ddl(self) -> str:
        """The statements that make it, and note which columns of which rows an UPDATE names."""
        columns = ", ".join(f'"{name}" {kind.declared}' for name, (kind, _) in self.columns.items())
        triggers = "".join(
            f'CREATE TRIGGER "{name}" BEFORE UPDATE OF "{name}" ON {self.name} FOR EACH ROW '
            f"EXECUTE FUNCTION note_column('{name}');"
            for name in [*self.columns, "changed at", "label", "other"]
        )
        return (
            f'CREATE TABLE {self.name} (id {self.key_type} PRIMARY KEY, label text, "changed at" timestamptz,'
            f" other text DEFAULT 'untouched', {columns}); {triggers}"
        )

    @property
    def keys(self) -> list[str]:
        """The keys that rows are drawn from."""
        known = {"text": ["a", "b", "it's", "NULL"], "bigint": ["-1", "0", "7", "9000000000"]}
        return known.get(self.key_type) or [f"0d9f7a52-5c1b-4f0e-9a51-2f3f0f6a7c0{digit}" for digit in range(4)]


FOR_TRIGGERS = """
CREATE TABLE noted (table_name text, key text, column_name text);
CREATE FUNCTION note_column() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO noted VALUES (TG_TABLE_NAME, new.id::text, TG_ARGV[0]);
    RETURN new;
END $$;
"""

Fields = dict[RowKey, dict[str, Json]]
"""(table, key) to field to value."""


@dataclass(frozen=True)
class Situation:
    """Three sides over random tables. `seen`: fields whose actual value was seen before, and whether git's entry was
    touched since.
    """

    tables: list[RandomTable]
    desired: Fields
    base: Fields
    actual: Fields
    seen: dict[tuple[str, str, str], bool]


@st.composite
def tables(draw: st.DrawFn, name: str) -> RandomTable:
    """A table with one to five random columns."""
    columns: dict[str, tuple[Kind, dict[str, Json]]] = {}
    for number, kind in enumerate(draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=5))):
        drift = draw(st.sampled_from(["revert", "keep"]))
        definition = {**kind.definition, "nullable": draw(st.booleans()), "drift": drift}
        for option, choices in kind.options.items():
            if (choice := draw(st.sampled_from(choices))) is not None:
                definition[option] = choice
        if "kill" not in definition:
            definition.pop("restore", None)  # there is no way back to guard
        columns[f"{draw(st.sampled_from(['c', 'Camel', 'two words']))}{number}"] = (kind, definition)
    key_type = draw(st.sampled_from(["text", "bigint", "uuid"]))
    return RandomTable(name, key_type, draw(st.booleans()), draw(st.booleans()), columns)


@st.composite
def situations(draw: st.DrawFn) -> Situation:
    """One or two tables with up to four rows each."""
    found = [draw(tables(name)) for name in draw(st.sampled_from([["things"], ["things", "gadgets"]]))]
    desired: Fields = {}
    base: Fields = {}
    actual: Fields = {}
    for table in found:
        for key in draw(st.lists(st.sampled_from(table.keys), unique=True, max_size=4)):
            row = (table.name, key)
            asked, applied, has = draw(_row(table))
            if asked:
                desired[row] = asked
            if applied:
                base[row] = applied
            if draw(st.integers(0, 4)) or (asked and not table.creates):
                actual[row] = has
    candidates = [(*row, field) for row in desired.keys() & actual.keys() for field in sorted(desired[row])]
    seen = draw(st.dictionaries(st.sampled_from(sorted(candidates)), st.booleans(), max_size=3)) if candidates else {}
    return Situation(found, desired, base, actual, seen)


@st.composite
def _row(draw: st.DrawFn, table: RandomTable) -> tuple[dict[str, Json], dict[str, Json], dict[str, Json]]:
    """What git asks for, what was applied, and what the database has of one row; every column of it is there."""
    asked: dict[str, Json] = {}
    applied: dict[str, Json] = {}
    has: dict[str, Json] = {}
    for name, (kind, definition) in table.columns.items():
        wanted = [*kind.asked, *([None] if definition["nullable"] else [])]
        sides = draw(st.lists(st.sampled_from(wanted), min_size=2, max_size=2))
        if draw(st.integers(0, 3)):
            asked[name] = sides[0]
        if draw(st.integers(0, 3)):
            applied[name] = draw(st.sampled_from(sides))
        has[name] = draw(st.sampled_from([*sides, *sides, *kind.asked, *kind.found, None]))
    return asked, applied, has


def put_rows(connection: psycopg.Connection[Any], situation: Situation) -> None:
    """Insert the actual rows."""
    for (table, key), row in situation.actual.items():
        columns = {"id": key, "label": f"{table} {key}", "changed at": "2026-01-01T00:00:00Z", **row}
        statement = sql.SQL("INSERT INTO {} ({}) SELECT {} FROM jsonb_populate_record(NULL::{}, %s)").format(
            sql.Identifier(table), *[sql.SQL(", ").join(map(sql.Identifier, columns))] * 2, sql.Identifier(table)
        )
        connection.execute(statement, [to_text(columns)])


def get_rows(connection: psycopg.Connection[Any], situation: Situation) -> Fields:
    """Every row with all of its columns, moments in the one spelling that state has."""
    found: Fields = {}
    for table in situation.tables:
        moments = [name for name, (kind, _) in table.columns.items() if kind.declared.startswith("timestamp")]
        blank_padded = [name for name, (kind, _) in table.columns.items() if kind.declared == "char(3)"]
        for (text,) in connection.execute(f"SELECT to_jsonb(t)::text FROM {table.name} AS t".encode()):
            row = from_text(text)
            for name in moments:
                row[name] = _moment(row[name])
            for name in blank_padded:
                row[name] = row[name].rstrip(" ") if row[name] is not None else None
            found[table.name, str(row["id"])] = row
    return found


def _moment(text: str | None) -> str | None:
    """The server's JSON spells a moment with its own offset, or with none for UTC."""
    if text is None or text.endswith("infinity"):
        return text
    moment = datetime.fromisoformat(text)
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f").rstrip("0").rstrip(".") + "Z"
