"""The live database's own description of itself, and how its column types and canonical values meet.

Takes a connection and the names of the relations that the definitions speak of; gives a `Catalog`: relations with
their columns, types, limits and this role's privileges, read in one round trip. Each `Column` knows the SQL that turns
it into a canonical JSON value and the SQL that turns one back into its own type.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec
from psycopg import Connection, sql

from reconciler.canonical import EXACT
from reconciler.database.connection import DatabaseConnection
from reconciler.model import Json

INTEGER_BITS = {"int2": 16, "int4": 32, "int8": 64}
TEXT_TYPES = frozenset({"text", "varchar", "bpchar", "citext", "name"})
TIMESTAMP_TYPES = frozenset({"timestamp", "timestamptz"})
NUMBER_TYPES = frozenset({"numeric", "float4", "float8", *INTEGER_BITS})

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_INTEGER_KEY = re.compile(r"0|-?[1-9][0-9]{0,18}")

RelationName = tuple[str | None, str]
"""Schema (None: by the search path) and name."""


class Column(msgspec.Struct, frozen=True):
    """One column of the live database. `type` is Postgres' internal name, `declared` the type as DDL spells it."""

    name: str
    type: str
    declared: str
    typmod: int
    is_enum: bool
    is_array: bool
    element: str | None
    labels: tuple[str, ...]
    not_null: bool
    has_default: bool
    generated: bool
    may_select: bool
    may_insert: bool
    may_update: bool
    sequences: tuple[tuple[str, str], ...] = ()
    """Schema and name of those that its default asks for the next number (`serial`; an identity needs no privilege)."""

    @property
    def max_length(self) -> int | None:
        """Characters that fit; None where there is no limit."""
        return self.typmod - 4 if self.type in ("varchar", "bpchar") and self.typmod > 4 else None

    @property
    def numeric_scale(self) -> int | None:
        """Digits after the point that are kept, negative where even tens are rounded; None where all are."""
        if self.type != "numeric" or self.typmod < 4:
            return None
        return (((self.typmod - 4) & 0x7FF) ^ 0x400) - 0x400

    @property
    def numeric_precision(self) -> int | None:
        """Digits that are kept in all; None where all are."""
        return (self.typmod - 4) >> 16 & 0xFFFF if self.type == "numeric" and self.typmod >= 4 else None

    @property
    def fraction_digits(self) -> int:
        """Digits of a second that a timestamp keeps."""
        return self.typmod if self.type in TIMESTAMP_TYPES and self.typmod >= 0 else 6

    @property
    def element_column(self) -> Column:
        """The column as if it held one element of its array."""
        return msgspec.structs.replace(
            self,
            type=self.element or "",
            declared=self.declared.removesuffix("[]"),
            is_enum=bool(self.labels),
            is_array=False,
            element=None,
            not_null=False,
        )

    @property
    def is_limited(self) -> bool:
        """Whether there is a value of the right type that it would change or refuse."""
        if self.is_array:
            return self.element_column.is_limited
        is_number = self.type in NUMBER_TYPES and (self.type != "numeric" or self.numeric_scale is not None)
        return is_number or self.type in TIMESTAMP_TYPES or self.type in ("uuid", "bpchar") or bool(self.max_length)

    def misfit(self, data: Json) -> str | None:
        """Why it would change or refuse the value; None where it holds it exactly."""
        if isinstance(data, list) and self.is_array:
            element = self.element_column
            return next((text for item in data if (text := element.misfit(item)) is not None), None)
        if isinstance(data, int | Decimal) and not isinstance(data, bool):
            return self._misfit_of_number(data)
        return self._misfit_of_text(data) if isinstance(data, str) else None

    def _misfit_of_number(self, data: int | Decimal) -> str | None:
        if self.type in INTEGER_BITS:
            limit = 1 << (INTEGER_BITS[self.type] - 1)
            if isinstance(data, Decimal):
                return f"{data} is not a whole number"
            return None if -limit <= data < limit else f"{data} is out of its range"
        if self.type in ("float4", "float8"):
            held = _nearest_float(data, self.type)
            return None if held == data else f"it holds {data} only as {held}"
        if self.numeric_scale is None or self.numeric_precision is None:
            return None
        digits = Decimal(data).normalize(EXACT)
        if -int(digits.as_tuple().exponent) > self.numeric_scale:
            return f"{data} has more than {self.numeric_scale} digits after the point"
        whole = self.numeric_precision - self.numeric_scale
        return f"{data} is out of its range" if digits and digits.adjusted() >= whole else None

    def _misfit_of_text(self, data: str) -> str | None:
        if self.max_length is not None and len(data) > self.max_length:
            return f"longer than {self.max_length} characters"
        if self.type == "bpchar" and data.endswith(" "):
            return "it does not keep blanks at the end"
        if self.type == "uuid" and not _UUID.fullmatch(data):
            return f'"{data}" is not a uuid in lower case, with hyphens'
        if self.type in TIMESTAMP_TYPES and len(data.partition(".")[2].rstrip("Z")) > self.fraction_digits:
            return f"{data} has more than {self.fraction_digits} digits of a second"
        return None

    def misspelt_key(self, key: str) -> str | None:
        """How a key of this column is spelt, where this one is spelt otherwise than the database would."""
        if self.type == "uuid":
            return None if _UUID.fullmatch(key) else "lower case, with hyphens"
        if self.type in INTEGER_BITS:
            if not _INTEGER_KEY.fullmatch(key):
                return "a whole number without leading zeros"
            return self._misfit_of_number(int(key))
        return None

    def canonical(self, alias: str) -> sql.Composable:
        """SQL for this column of `alias` as a value that `to_jsonb` turns into its canonical form."""
        column = sql.Identifier(alias, self.name)
        if self.type in TIMESTAMP_TYPES:
            utc = sql.SQL("{} AT TIME ZONE 'UTC'").format(column) if self.type == "timestamptz" else column
            # rtrim: the canonical text has only the digits that count. Infinity, and times before Christ, have none,
            # and stand as the text that says so.
            return sql.SQL(
                """CASE WHEN isfinite({column}) AND {column} >= '0001-01-01'
                THEN rtrim(rtrim(to_char({utc}, 'YYYY-MM-DD"T"HH24:MI:SS.US'), '0'), '.') || 'Z'
                ELSE {column}::text END"""
            ).format(column=column, utc=utc)
        if self.is_array or self.type in NUMBER_TYPES or self.type in ("bool", "json", "jsonb"):
            return column
        return sql.SQL("{}::text").format(column)

    def comparable(self, alias: str) -> sql.Composable:
        """SQL for this column of `alias` in a type whose equality is that of canonical values.

        `json` has no equality; JSON's null is the canonical null; arrays may have bounds and dimensions that JSON has
        not, and `citext` takes different texts for equal.
        """
        column = sql.Identifier(alias, self.name)
        if self.type in ("json", "jsonb"):
            return sql.SQL("NULLIF({}::jsonb, 'null'::jsonb)").format(column)
        if self.is_array:
            return sql.SQL("to_jsonb({})").format(column)
        return sql.SQL("{}::text").format(column) if self.type == "citext" else column

    def from_document(self, document: sql.Composable, field: str, *, comparable: bool = False) -> sql.Composable:
        """SQL for the canonical value of `field` in a jsonb `document`, in this column's own type.

        With `comparable`, in the type that `comparable()` has.
        """
        name = sql.Literal(field)
        text = sql.SQL("({} ->> {})").format(document, name)
        if self.type in ("json", "jsonb"):
            value = sql.SQL("NULLIF({} -> {}, 'null'::jsonb)").format(document, name)
            return value if comparable or self.type == "jsonb" else sql.SQL("({})::json").format(value)
        if self.is_array and comparable:
            return sql.SQL("NULLIF({} -> {}, 'null'::jsonb)").format(document, name)
        if self.type == "citext" and comparable:
            return text
        if self.is_array:
            return sql.SQL(
                "CASE WHEN jsonb_typeof({document} -> {name}) = 'array' "
                "THEN ARRAY(SELECT jsonb_array_elements_text({document} -> {name}))::{type} END"
            ).format(document=document, name=name, type=sql.SQL(self.declared))
        if self.type == "timestamp":
            # Columns without a time zone hold UTC, whatever the session's TimeZone is.
            return sql.SQL("({}::timestamptz AT TIME ZONE 'UTC')::{}").format(text, sql.SQL(self.declared))
        return sql.SQL("{}::{}").format(text, sql.SQL(self.declared))

    @property
    def now(self) -> sql.SQL:
        """SQL for the moment of the transaction in this column's type."""
        moment = "now() AT TIME ZONE 'UTC'" if self.type == "timestamp" else "now()"
        return sql.SQL(f"({moment})::{self.declared}")


def _nearest_float(data: int | Decimal, type_name: str) -> Decimal:
    """What a binary column gives back for a number: the shortest decimal that stands for the float it stores."""
    stored = float(str(data))
    if type_name == "float8" or stored in (float("inf"), float("-inf")):
        return Decimal(repr(stored))
    try:
        packed = struct.pack("f", stored)
    except OverflowError:
        return Decimal("Infinity").copy_sign(Decimal(data))
    (exact,) = struct.unpack("f", packed)
    shortest = (f"{exact:.{digits}e}" for digits in range(9))
    return Decimal(next(text for text in shortest if struct.pack("f", float(text)) == packed))


class Relation(msgspec.Struct, frozen=True):
    """A table (or view) of the live database. `unique` are the columns of which each value is there only once."""

    schema: str
    name: str
    kind: str
    columns: dict[str, Column]
    unique: tuple[str, ...] = ()

    @property
    def identifier(self) -> sql.Identifier:
        """The qualified name, quoted."""
        return sql.Identifier(self.schema, self.name)

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


class Catalog(msgspec.Struct, frozen=True):
    """What one round trip tells of the database. `relations` lacks those that do not exist.

    `identity` is a digest that no other database has, be it one of the same name, or a copy from a dump. A replica has
    its primary's. None where the role may not ask for what it is made of.
    """

    database: str
    role: str
    server_version: int
    in_recovery: bool
    now: datetime
    has_ledger: bool
    relations: dict[RelationName, Relation]
    identity: str | None = None


class _Row(msgspec.Struct):
    ordinal: int
    schema: str
    name: str
    kind: str
    columns: list[Column]
    unique: tuple[str, ...]


# Made while the module is imported, which one thread does: msgspec learns a type when it is first needed, and two
# threads that need it at that moment (`doctor` has several that look into the catalog) crash the process.
_DECODER = msgspec.json.Decoder(list[_Row])


_CATALOG = """
SELECT current_database(), current_user, current_setting('server_version_num')::int, pg_is_in_recovery(), now(),
       -- Not to_regclass, which fails for a role without USAGE: that there is something can be seen by everybody.
       EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                WHERE n.nspname = 'reconciler' AND c.relname = 'meta'), {identity},
       (SELECT coalesce(jsonb_agg(relation), '[]') FROM (
            SELECT wanted.ordinal, n.nspname AS schema, c.relname AS name, c.relkind AS kind,
                   (SELECT coalesce(jsonb_agg(u.attname), '[]') FROM pg_index i
                      JOIN pg_attribute u ON u.attrelid = i.indrelid AND u.attnum = i.indkey[0]
                     WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indnkeyatts = 1
                       AND i.indpred IS NULL) AS unique,
                   (SELECT jsonb_agg(jsonb_build_object(
                        'name', a.attname,
                        'type', base.typname,
                        'declared', format_type(a.atttypid, a.atttypmod),
                        'typmod', CASE WHEN t.typtype = 'd' THEN t.typtypmod ELSE a.atttypmod END,
                        'is_enum', base.typtype = 'e',
                        'is_array', base.typcategory = 'A',
                        'element', element.typname,
                        'labels', (SELECT coalesce(jsonb_agg(e.enumlabel ORDER BY e.enumsortorder), '[]')
                                     FROM pg_enum e WHERE e.enumtypid = coalesce(element.oid, base.oid)),
                        'not_null', a.attnotnull OR t.typnotnull,
                        'has_default', a.atthasdef OR a.attidentity <> '' OR t.typdefault IS NOT NULL,
                        'generated', a.attgenerated <> '' OR a.attidentity = 'a',
                        'sequences', CASE WHEN a.atthasdef THEN (
                            SELECT coalesce(jsonb_agg(jsonb_build_array(home.nspname, s.relname)), '[]')
                              FROM pg_attrdef d
                              JOIN pg_depend p ON p.classid = 'pg_attrdef'::regclass AND p.objid = d.oid
                               AND p.refclassid = 'pg_class'::regclass
                              JOIN pg_class s ON s.oid = p.refobjid AND s.relkind = 'S'
                              JOIN pg_namespace home ON home.oid = s.relnamespace
                             WHERE d.adrelid = c.oid AND d.adnum = a.attnum) ELSE '[]' END,
                        'may_select', has_column_privilege(c.oid, a.attnum, 'SELECT'),
                        'may_insert', has_column_privilege(c.oid, a.attnum, 'INSERT'),
                        'may_update', has_column_privilege(c.oid, a.attnum, 'UPDATE')))
                      FROM pg_attribute a
                      JOIN pg_type t ON t.oid = a.atttypid
                      JOIN pg_type base ON base.oid = CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END
                      LEFT JOIN pg_type element ON element.oid = base.typelem AND base.typcategory = 'A'
                     WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns
              FROM unnest(%s::text[], %s::text[]) WITH ORDINALITY AS wanted (schema, name, ordinal)
              JOIN pg_class c
                ON c.oid = CASE WHEN wanted.schema IS NULL THEN to_regclass(quote_ident(wanted.name))::oid ELSE (
                       SELECT named.oid FROM pg_class named JOIN pg_namespace home ON home.oid = named.relnamespace
                        WHERE home.nspname = wanted.schema AND named.relname = wanted.name) END
              JOIN pg_namespace n ON n.oid = c.relnamespace) AS relation)::text
"""

# Not the name alone: a copy has the same. The server's own identifier is made by initdb; replicas share it.
_IDENTITY = """(SELECT encode(sha256(convert_to(concat_ws('/', s.system_identifier, d.oid, d.datname), 'UTF8')), 'hex')
          FROM pg_control_system() s, pg_database d WHERE d.datname = current_database())"""


_MOST_PAIRS = 40
"""Columns in one call of jsonb_build_object; PostgreSQL takes a hundred arguments."""


def document_of(columns: Mapping[str, Column]) -> sql.Composable:
    """SQL for a jsonb object of these columns of `t`, each in its canonical form."""
    pairs = [
        sql.SQL("{}, {}").format(sql.Literal(name), column.canonical("t")) for name, column in columns.items()
    ]
    calls = [
        sql.SQL("jsonb_build_object({})").format(sql.SQL(", ").join(pairs[start : start + _MOST_PAIRS]))
        for start in range(0, len(pairs), _MOST_PAIRS)
    ]
    return sql.SQL("({})").format(sql.SQL(" || ").join(calls)) if calls else sql.SQL("'{}'::jsonb")


def read_catalog(connection: Connection[Any], wanted: Iterable[RelationName]) -> Catalog:
    """The catalog entries of the wanted relations. Needs no privilege beyond connecting."""
    names = list(dict.fromkeys(wanted))
    may_identify = isinstance(connection, DatabaseConnection) and connection.may_identify
    statement = _CATALOG.replace("{identity}", _IDENTITY if may_identify else "NULL::text")
    parameters = ([schema for schema, _ in names], [name for _, name in names])
    row = connection.execute(statement.encode(), parameters).fetchone()
    assert row is not None
    database, role, version, in_recovery, now, has_ledger, identity, described = row
    found = _DECODER.decode(described)
    relations = {
        names[item.ordinal - 1]: Relation(
            item.schema, item.name, item.kind, {column.name: column for column in item.columns}, item.unique
        )
        for item in found
    }
    return Catalog(database, role, version, in_recovery, now, has_ledger, relations, identity)


def may_hide_rows(connection: Connection[Any], relation: Relation) -> bool:
    """Whether row-level security decides which rows of the relation this role sees."""
    name = relation.identifier.as_string(connection)
    [(is_active,)] = connection.execute("SELECT row_security_active(%s::regclass::oid)", [name]).fetchall()
    return bool(is_active)
