"""The rows of one table of the live database, field by field as state could ask for them.

Takes a connection inside a READ ONLY transaction, a Table and its Relation; gives LiveRows whose values are nodes ready
to be written, and notices about what could not be described. Secret columns are never selected: only the key, the
label and the managed fields are.

Every value goes through the `parse` of its field, so that what the strict reader would refuse, or read as another
value, is left out and said. Rows come through a cursor in the server, some thousands at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from psycopg import Connection, sql

from reconciler.canonical import equal, from_text, text_array
from reconciler.catalog import INTEGER_BITS, NUMBER_TYPES, TIMESTAMP_TYPES, Relation, document_of
from reconciler.column_defaults import read_defaults
from reconciler.errors import NotAsExpected, Problem
from reconciler.fields import JsonField, NotAValue
from reconciler.model import Json, Row
from reconciler.nodes import Node
from reconciler.plan import Notice
from reconciler.project import Progress
from reconciler.schema import Table
from reconciler.state_yaml import long_form, node_of
from reconciler.where import WHERE

__all__ = ["LiveRow", "LiveRows"]

_FETCH = 2_000
"""Rows that come from the server at a time."""

_SHOWN = 3
"""Rows of which it is said that a field was left out; the others are counted."""

_REMEMBERED = 10_000
"""Different values of which it is remembered that they can be written, and how."""


class LiveRow(msgspec.Struct, frozen=True):
    """One row: its key, its human name, what `$expect` can say of it, and its fields in order of name."""

    key: str
    label: str | None
    expect: Mapping[str, Node]
    values: Mapping[str, Node]


class LiveRows:
    """Reads the rows of one table, and remembers which keys it found and what could not be described."""

    def __init__(
        self,
        connection: Connection[Any],
        table: Table,
        relation: Relation,
        *,
        non_default: bool,
        expect: bool,
        asked: Mapping[str, Row] = {},
    ) -> None:
        """`non_default`: without values that are their column's default. `expect`: with `$expect` from the label.
        `asked`: what a `$where` asks of rows already, which need not be said again.
        """
        self._asked = asked
        self._connection = connection
        self._table = table
        self._relation = relation
        self._columns = {name: relation.columns[name] for name in table.fields}
        self._defaults = read_defaults(connection, relation, table.fields) if non_default else {}
        self._expect = expect and _can_be_expected(table, relation)
        self._known: dict[tuple[str, type, Json], Node] = {}
        self._refused: dict[str, tuple[list[str], int]] = {}
        self.found: set[str] = set()

    def read(self, keys: Sequence[str] | None, left_out: str | None, progress: Progress) -> Iterator[LiveRow]:
        """The rows in order of key, those without a field to write left out; `keys` None: all but `left_out`."""
        label = self._table.definition.label
        key = sql.SQL("t.{}::text").format(sql.Identifier(self._table.definition.key))
        condition = "{key} IS NOT NULL" if keys is None else "{key} = ANY (%s::text[])"
        where = sql.SQL(condition).format(key=key)
        source = sql.SQL("FROM {} AS t WHERE {}").format(self._relation.identifier, where)
        parameters = () if keys is None else (text_array(keys),)
        counted = self._connection.execute(sql.SQL("SELECT count(*) {}").format(source), parameters).fetchone()
        total = counted[0] if counted else 0
        # The order of characters, not of a language: the same rows make the same file on every server.
        statement = sql.SQL('SELECT {key}, {label}, ({document})::text {source} ORDER BY {key} COLLATE "C"').format(
            key=key,
            label=sql.SQL("t.{}::text").format(sql.Identifier(label)) if label else sql.SQL("NULL"),
            document=document_of(self._columns),
            source=source,
        )
        with self._connection.cursor(name="reconcile_import") as cursor:
            cursor.itersize = _FETCH
            cursor.execute(statement, parameters)
            for done, (found, label_text, document) in enumerate(cursor):
                progress(f"reading {self._table.name}", done, total)
                if found != left_out and self._is_usable(found):
                    values = self._values(found, from_text(document))
                    if values:
                        yield LiveRow(found, label_text, self._expectation(label_text), values)
        progress(f"reading {self._table.name}", total, total)

    def notices(self) -> list[Notice]:
        """What was left out, by field."""
        notices = []
        for field, (sentences, count) in sorted(self._refused.items()):
            part = ("key",) if field == self._table.definition.key else ("fields", field)
            place = self._table.places.of(*part)
            notices += [Notice(sentence, place) for sentence in sentences]
            if count > len(sentences):
                more = f"{count - len(sentences):,} more rows, for reasons like these"
                notices.append(Notice(f"{self._table.name}.{field} is left out of {more}", place))
        return notices

    def _is_usable(self, key: str) -> bool:
        if key in self.found:
            where = self._table.places.of("key")
            text = f'{self._relation} has the key "{key}" twice, so it is no key'
            raise NotAsExpected([Problem(text, where, "name a column that is unique")])
        self.found.add(key)
        if not key:
            self._refuse(self._table.definition.key, "the row with the empty key is left out: state has no name for it")
        elif key == WHERE:
            text = f'the row "{WHERE}" is left out: to state the name means something else'
            self._refuse(self._table.definition.key, text)
        return bool(key) and key != WHERE

    def _expectation(self, label: str | None) -> dict[str, Node]:
        name = self._table.definition.label
        return {name: node_of(label)} if self._expect and name is not None else {}

    def _values(self, key: str, document: Mapping[str, Json]) -> dict[str, Node]:
        values = {}
        asked = self._asked[key].values if key in self._asked else {}
        for name in self._table.fields:
            value = document[name]
            if name in asked and equal(value, asked[name].data):
                continue
            if name in self._defaults and equal(value, self._defaults[name]):
                continue
            try:
                values[name] = self._describe(name, value)
            except NotAValue as wrong:
                self._refuse(name, f'{self._table.name}.{name} is left out of row "{key}": {wrong}')
        return values

    def _describe(self, name: str, value: Json) -> Node:
        """What stands in state for the value. Raises NotAValue where the field's definition does not allow it."""
        is_single = not isinstance(value, list | dict)
        known = self._known.get((name, type(value), value)) if is_single else None
        if known is not None:
            return known
        node = node_of(value)
        field = self._table.fields[name]
        if not equal(field.parse(node), value):
            raise NotAValue("it would be read back as another value")
        if isinstance(field, JsonField) and isinstance(value, dict) and "value" in value:
            return long_form(node)
        if is_single and len(self._known) < 10_000:
            self._known[name, type(value), value] = node
        return node

    def _refuse(self, field: str, sentence: str) -> None:
        sentences, count = self._refused.get(field, ([], 0))
        self._refused[field] = ([*sentences, sentence] if count < _SHOWN else sentences, count + 1)


_SPELT_IN_SEVERAL_WAYS = (NUMBER_TYPES - INTEGER_BITS.keys()) | TIMESTAMP_TYPES | {"json", "jsonb"}


def _can_be_expected(table: Table, relation: Relation) -> bool:
    """Whether there is a label, of a type that `$expect` can compare by its text."""
    if table.definition.label is None:
        return False
    column = relation.columns[table.definition.label]
    return column.type not in _SPELT_IN_SEVERAL_WAYS and not column.is_array
