"""What every way of reading a large project's state in part has in common: finding rows in files, and making of them
what a run looks at.

Takes a connection inside the run's transaction, a Project whose state is listed and not read, and the Catalog.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any

import msgspec
import psycopg
from psycopg import Connection

from reconciler.catalog import Catalog
from reconciler.desired import read_desired, table_of
from reconciler.documents import PlainDocument, read_rows
from reconciler.drifted import drifted_keys
from reconciler.errors import Problem
from reconciler.fit import refuse_what_does_not_fit, relation_of
from reconciler.listing import STATE, Listing
from reconciler.model import Row, RowKey
from reconciler.nodes import Document
from reconciler.nodes import Mapping as MappingNode
from reconciler.plan import Scope
from reconciler.project import Project, with_desired
from reconciler.row_blocks import Bodies, RowBlocks
from reconciler.sources import SourceFile

__all__ = [
    "MOST",
    "Documents",
    "Found",
    "RowReader",
    "State",
    "TooMuch",
    "keys_by_table",
    "read_whole",
    "rows_named",
    "rows_of",
]

MOST = Decimal("0.25")
"""Where such a share of the rows must be looked at, or of the files be read in both versions, all are read: that is one
pass."""

Documents = list[Document | PlainDocument]
State = Mapping[str, Mapping[str, Row]]

_LITERAL = re.compile(r"[A-Za-z0-9_.-]+")
_SPELT_OTHERWISE = re.compile(rb"[\\*]")
"""What a file must hold to name a key in other bytes than its own: an escape, or an alias that stands for it."""

_FEW_KEYS = 50
"""So many keys are looked for in a file's bytes before its rows are."""


class TooMuch(Exception):
    """To read everything is less work, or says better what is wrong."""


class Found(msgspec.Struct, frozen=True):
    """The Project with the rows to look at, their keys by table, and how many rows and fields git names in all."""

    project: Project
    keys: Mapping[str, tuple[str, ...]]
    managed: tuple[int, int]


class RowReader:
    """Finds rows in the files of a project. `problems` is what was wrong in what was read."""

    def __init__(self, connection: Connection[Any], project: Project, listing: Listing, catalog: Catalog) -> None:
        self.connection = connection
        self.project = project
        self.listing = listing
        self.catalog = catalog
        self.problems: list[Problem] = []
        self.bodies = Bodies()
        self.read_already: dict[str, Collection[str]] = {}
        """By path, the keys of what was read of it; `find` leaves them out."""

    def drifted(self) -> set[RowKey]:
        """The rows that do not have in the database what was applied last.

        Where they cannot be compared, because a column is not what it was, all is read, and that is said.
        """
        refuse_what_does_not_fit(self.project.definitions, {}, self.catalog, {})
        tables = self.project.definitions.tables
        self.connection.execute("SAVEPOINT comparing")
        try:
            return {
                (name, key)
                for name, table in tables.items()
                for key in drifted_keys(self.connection, table, relation_of(self.catalog, table))
            }
        except psycopg.DataError:
            self.connection.execute("ROLLBACK TO comparing")
            raise TooMuch from None

    def find(self, wanted: Collection[RowKey], paths: Collection[str]) -> Iterator[Document | PlainDocument]:
        """What these files name of the wanted rows, and was not read yet."""
        keys = keys_by_table(wanted)
        paths = [path for path in paths if table_of(path, STATE) in keys]
        may_name = {name: _searcher(of_table) for name, of_table in keys.items()}
        for done, file in enumerate(self.listing.sources(paths, self.problems) if paths else ()):
            self.listing.progress("reading", done, len(paths))
            name = table_of(file.path, STATE)
            if may_name[name](file):
                yield from self._narrowed(file, keys[name])

    def _narrowed(self, file: SourceFile, keys: Collection[str]) -> Iterator[Document | PlainDocument]:
        """What a file names of these rows, and was not read yet."""
        blocks = RowBlocks.of(file.path, file.data)
        named = blocks.named(keys) if blocks is not None else set()
        if blocks is not None and not named:
            return
        if blocks is not None and self.bodies.are_plain(blocks.bodies.values()):
            left = {key for key in named if key.decode() not in self.read_already.get(file.path, ())}
            yield PlainDocument(file.path, blocks.rows(left, self.bodies))
            return
        for document in read_whole(file, self.problems):
            if file.path not in self.read_already:  # else it was read whole
                yield document

    def state_of(self, documents: Iterable[Document | PlainDocument], wanted: Collection[RowKey]) -> State:
        """The wanted rows, as these documents ask for them. Raises TooMuch where anything is wrong."""
        state = read_desired(documents, self.project.definitions, STATE, self.problems)
        if self.problems:
            raise TooMuch  # and all that is wrong is said, in its order
        return {name: {key: row for key, row in rows.items() if (name, key) in wanted} for name, rows in state.items()}

    def found(self, state: State, wanted: Collection[RowKey], managed: tuple[int, int]) -> Found:
        """What a run looks at. Raises InvalidInput where a rule of the policy is broken."""
        keys: dict[str, tuple[str, ...]] = dict.fromkeys(self.project.definitions.tables, ())
        keys |= {name: tuple(sorted(of_table)) for name, of_table in keys_by_table(wanted).items()}
        desired = {name: dict(rows) for name, rows in state.items()}
        return Found(with_desired(self.project, desired, []), keys, managed)


def rows_of(scope: Scope) -> set[RowKey]:
    """The rows that a scope names."""
    return {(table, key) for table, _, key in (row.partition("/") for row in scope.rows)}


def keys_by_table(rows: Iterable[RowKey]) -> dict[str, set[str]]:
    """The same rows, by table."""
    keys: dict[str, set[str]] = {}
    for name, key in rows:
        keys.setdefault(name, set()).add(key)
    return keys


def _searcher(keys: Collection[str]) -> Callable[[SourceFile], bool]:
    """Whether a file may name one of the keys, by its bytes: to look at its rows takes longer."""
    if len(keys) > _FEW_KEYS or not all(map(_LITERAL.fullmatch, keys)):
        return lambda _file: True
    texts = [key.encode() for key in keys]
    return lambda file: any(text in file.data for text in texts) or _SPELT_OTHERWISE.search(file.data) is not None


def read_whole(file: SourceFile | None, problems: list[Problem]) -> Documents:
    """The file's document, if there is a file, and it can be read."""
    document = read_rows(file.path, file.data, problems) if file is not None else None
    return [document] if document is not None else []


def rows_named(document: Document | PlainDocument) -> Mapping[str, Collection[str]]:
    """The keys of the rows that a document names, each with its fields."""
    if isinstance(document, PlainDocument):
        return {key: fields for key, (_, fields) in document.rows.items()}
    if not isinstance(document.root, MappingNode):
        return {}
    return {key: row.items if isinstance(row, MappingNode) else () for key, row in document.root.items.items()}
