"""What a run of a large project reads: the rows that git has changed since a commit, and others that it must look at.

Takes a connection inside the run's transaction, a Project whose state is listed and not read, and the Sync that says
which commit the ledger stands at; gives the Project with the rows to look at, and which they are.

Two versions of a file are compared row by row where they are of the simplest form (`row_blocks`): what is the same in
both was read and judged when the old one was applied.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from decimal import Decimal
from itertools import groupby
from typing import Any

import psycopg
from psycopg import Connection

from reconciler.actual import drifted_keys
from reconciler.catalog import Catalog
from reconciler.desired import read_desired, table_of
from reconciler.documents import PlainDocument, read_rows
from reconciler.errors import Problem
from reconciler.fit import refuse_what_does_not_fit, relation_of
from reconciler.ledger_sync import Sync, applied_beyond, read_pending
from reconciler.listing import STATE, Listing
from reconciler.model import WHERE, Row, RowKey
from reconciler.nodes import Document
from reconciler.nodes import Mapping as MappingNode
from reconciler.plan import Scope
from reconciler.project import Project, with_desired
from reconciler.row_blocks import Bodies, RowBlocks
from reconciler.sources import SourceFile

__all__ = ["MOST", "Reader"]

MOST = Decimal("0.25")
"""Where such a share of the rows must be looked at, or of the files be read in both versions, all are read: that is one
pass."""

_LITERAL = re.compile(r"[A-Za-z0-9_.-]+")
_SPELT_OTHERWISE = re.compile(rb"[\\*]")
"""What a file must hold to name a key in other bytes than its own: an escape, or an alias that stands for it."""

_FEW_KEYS = 50
"""So many keys are looked for in a file's bytes before its rows are."""

_Documents = list[Document | PlainDocument]
_State = Mapping[str, Mapping[str, Row]]
_Keys = Mapping[str, Collection[str]]
"""Keys of rows by table."""


class _TooMuch(Exception):
    """To read everything is less work."""


class Reader:
    """Reads what one run needs of a large project whose ledger stands at `before`."""

    def __init__(
        self, connection: Connection[Any], project: Project, listing: Listing, before: Sync, catalog: Catalog
    ) -> None:
        self._connection = connection
        self._project = project
        self._listing = listing
        self._before = before
        self._catalog = catalog
        self._problems: list[Problem] = []
        self._bodies = Bodies()
        self._changed_rows: set[tuple[str, str]] = set()
        """Path and key of what was read of files that have changed."""

    def read(
        self, scope: Scope, *, is_full: bool
    ) -> tuple[Project, Mapping[str, tuple[str, ...]], tuple[int, int]] | None:
        """The Project with the rows to look at, their keys, and how many rows and fields git names; None where reading
        all is less work.
        """
        try:
            return self._read(scope, is_full=is_full)
        except _TooMuch:
            return None

    def _read(
        self, scope: Scope, *, is_full: bool
    ) -> tuple[Project, Mapping[str, tuple[str, ...]], tuple[int, int]]:
        old, new = dict(self._listing.repository.entries_at(self._before.commit, (STATE,), [])), self._listing.state
        changed = sorted(path for path in old.keys() | new.keys() if old.get(path) != new.get(path))
        pending = read_pending(self._connection)
        wanted = set(pending)
        wanted |= {(table, key) for table, _, key in (row.partition("/") for row in scope.rows)}
        if is_full:
            wanted |= self._drifted()
        old_documents, new_documents = self._compare(changed, old, wanted)
        old_state = read_desired(old_documents, self._project.definitions, STATE, [])
        for document in (*new_documents, *old_documents):
            table = table_of(document.path, STATE)
            wanted |= {(table, key) for key in _rows(document)}
            self._changed_rows |= {(document.path, key) for key in _rows(document)}
        if len(wanted) > self._before.rows * MOST:
            raise _TooMuch
        named = {path for files in pending.values() for path in files if path in new}.difference(changed)
        unchanged = list(self._find(wanted, sorted(named)))
        elsewhere = [path for path in new if path not in named]
        read = [*new_documents, *unchanged, *self._find(self._spread(wanted, pending, old_state, unchanged), elsewhere)]
        state = read_desired(read, self._project.definitions, STATE, self._problems)
        narrowed = {
            name: {key: row for key, row in rows.items() if (name, key) in wanted} for name, rows in state.items()
        }
        keys: dict[str, tuple[str, ...]] = dict.fromkeys(self._project.definitions.tables, ())
        keys |= {name: tuple(sorted(of_table)) for name, of_table in _by_table(wanted).items()}
        if self._problems:
            raise _TooMuch  # and all that is wrong is said, in its order
        project = with_desired(self._project, narrowed, [])
        return project, keys, self._managed(old_state, narrowed)

    def _compare(
        self, changed: Collection[str], old: Mapping[str, str], wanted: Collection[RowKey]
    ) -> tuple[_Documents, _Documents]:
        """What is to be looked at of files that have changed, as they were and as they are: rows that are not the same
        in both, and those that are wanted anyway.
        """
        others = _by_table(wanted)
        old_documents: _Documents = []
        new_documents: _Documents = []
        whole = rows = 0
        for done, (path, old_file, new_file) in enumerate(self._versions(changed, old)):
            self._listing.progress("reading", done, len(changed))
            found = self._changed_blocks(path, old_file, new_file, others.get(table_of(path, STATE), ()))
            if found is None:
                whole += 1
                found = _whole(old_file, []), _whole(new_file, self._problems)
            old_documents += found[0]
            new_documents += found[1]
            rows += max(sum(len(_rows(document)) for document in documents) for documents in found)
            if whole > len(self._listing.state) * MOST or rows > self._before.rows * MOST:
                raise _TooMuch
        if any(WHERE in _rows(document) for document in new_documents):
            raise _TooMuch
        return old_documents, new_documents

    def _versions(
        self, changed: Collection[str], old: Mapping[str, str]
    ) -> Iterator[tuple[str, SourceFile | None, SourceFile | None]]:
        """Path, and the file as it was and as it is, None where there is none; two files at a time are held."""
        blobs = self._listing.blobs
        entries = [
            (path, blob) for path in changed for blob in (old.get(path), blobs.get(path)) if blob is not None
        ]
        contents = self._listing.repository.contents(entries, self._problems)
        for path, files in groupby(contents, key=lambda file: file.path):
            by_blob = {file.blob: file for file in files}
            old_file = by_blob.get(old.get(path))
            new_file = self._listing.files.get(path) or by_blob.get(blobs.get(path))
            yield path, old_file, new_file
        for path in changed:
            if path not in old and path in self._listing.files:
                yield path, None, self._listing.files[path]

    def _changed_blocks(
        self, path: str, old_file: SourceFile | None, new_file: SourceFile | None, keep: Collection[str]
    ) -> tuple[_Documents, _Documents] | None:
        """The rows that are not the same in both, and those of `keep`; None where the files must be read whole."""
        old = RowBlocks.of(path, old_file.data) if old_file is not None else RowBlocks(path, 0, {})
        new = RowBlocks.of(path, new_file.data) if new_file is not None else RowBlocks(path, 0, {})
        if old is None or new is None or not self._bodies.are_plain(new.bodies.values()):
            return None
        gone = {key: body for key, body in old.bodies.items() if new.bodies.get(key) != body}
        if not self._bodies.are_plain(gone.values()):
            return None
        keys = gone.keys() | {key for key, body in new.bodies.items() if old.bodies.get(key) != body}
        keys |= old.named(keep) | new.named(keep)
        return [PlainDocument(path, old.rows(keys, self._bodies))], [PlainDocument(path, new.rows(keys, self._bodies))]

    def _drifted(self) -> set[RowKey]:
        """The rows that do not have in the database what was applied last.

        Where they cannot be compared, because a column is not what it was, all is read, and that is said.
        """
        refuse_what_does_not_fit(self._project.definitions, {}, self._catalog, {})
        tables = self._project.definitions.tables
        self._connection.execute("SAVEPOINT comparing")
        try:
            return {
                (name, key)
                for name, table in tables.items()
                for key in drifted_keys(self._connection, table, relation_of(self._catalog, table))
            }
        except psycopg.DataError:
            self._connection.execute("ROLLBACK TO comparing")
            raise _TooMuch from None

    def _spread(
        self,
        wanted: Collection[RowKey],
        pending: Mapping[RowKey, list[str]],
        old_state: _State,
        unchanged: _Documents,
    ) -> set[RowKey]:
        """The wanted rows of which something stands where it has not changed, and was not read yet.

        That is what the ledger holds of a row beyond what was read of it.
        """
        known: dict[RowKey, list[str]] = {row: [] for row in wanted}
        for name, rows in old_state.items():
            for key, row in rows.items():
                known[name, key] += row.values
        for document in unchanged:
            name = table_of(document.path, STATE)
            for key, fields in _rows(document).items():
                if (name, key) in known:  # a file that was read whole names others, too
                    known[name, key] += fields
        return applied_beyond(self._connection, known) | {row for row in pending if not pending[row]}

    def _find(self, wanted: Collection[RowKey], paths: Collection[str]) -> Iterator[Document | PlainDocument]:
        """What these files name of the wanted rows, and was not read yet."""
        keys = _by_table(wanted)
        paths = [path for path in paths if table_of(path, STATE) in keys]
        may_name = {name: _searcher(of_table) for name, of_table in keys.items()}
        for done, file in enumerate(self._listing.sources(paths, self._problems) if paths else ()):
            self._listing.progress("reading", done, len(paths))
            name = table_of(file.path, STATE)
            if may_name[name](file):
                yield from self._narrowed(file, keys[name])

    def _narrowed(self, file: SourceFile, keys: Collection[str]) -> Iterator[Document | PlainDocument]:
        """What a file names of these rows, and was not read yet."""
        blocks = RowBlocks.of(file.path, file.data)
        named = blocks.named(keys) if blocks is not None else set()
        if blocks is not None and not named:
            return
        if blocks is not None and self._bodies.are_plain(blocks.bodies.values()):
            left = {key for key in named if (file.path, key.decode()) not in self._changed_rows}
            yield PlainDocument(file.path, blocks.rows(left, self._bodies))
            return
        for document in _whole(file, self._problems):
            if not any((file.path, key) in self._changed_rows for key in _rows(document)):  # else all of it was read
                yield document

    def _managed(self, old_state: _State, state: _State) -> tuple[int, int]:
        """How many rows and fields git names by now, from how many it named before."""
        rows, fields = self._before.rows, self._before.fields
        for name in old_state.keys() | state.keys():
            old_rows, new_rows = old_state.get(name, {}), state.get(name, {})
            for key in old_rows.keys() | new_rows.keys():
                old = old_rows[key].values if key in old_rows else {}
                new = new_rows[key].values if key in new_rows else {}
                elsewhere = sum((value.file, key) not in self._changed_rows for value in new.values())
                fields += len(new) - elsewhere - len(old)
                rows += (key in new_rows) - (key in old_rows or elsewhere > 0)
        return rows, fields


def _by_table(rows: Iterable[RowKey]) -> dict[str, set[str]]:
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


def _whole(file: SourceFile | None, problems: list[Problem]) -> _Documents:
    document = read_rows(file.path, file.data, problems) if file is not None else None
    return [document] if document is not None else []


def _rows(document: Document | PlainDocument) -> Mapping[str, Collection[str]]:
    """The keys of the rows that a document names, each with its fields."""
    if isinstance(document, PlainDocument):
        return {key: fields for key, (_, fields) in document.rows.items()}
    if not isinstance(document.root, MappingNode):
        return {}
    return {key: row.items if isinstance(row, MappingNode) else () for key, row in document.root.items.items()}
