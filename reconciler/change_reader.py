"""What a run reads of a large project whose ledger stands at a commit of this clone: the rows that git has changed
since, and others that it must look at.

Takes what a RowReader takes, and the Sync that says which commit that is; gives the Project with the rows to look at,
and which they are.

Two versions of a file are compared row by row where they are of the simplest form (`row_blocks`): what is the same in
both was read and judged when the old one was applied.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from itertools import groupby
from typing import Any

from psycopg import Connection

from reconciler import row_reader
from reconciler.catalog import Catalog
from reconciler.desired import table_of
from reconciler.documents import PlainDocument
from reconciler.ledger_sync import Sync, applied_beyond, read_pending
from reconciler.listing import STATE, Listing
from reconciler.model import WHERE, PlainValues, Row, RowKey
from reconciler.nodes import Document
from reconciler.plan import Scope
from reconciler.project import Project
from reconciler.row_blocks import RowBlocks
from reconciler.row_reader import (
    Documents,
    Found,
    RowReader,
    State,
    TooMuch,
    keys_by_table,
    read_whole,
    rows_named,
    rows_of,
)
from reconciler.sources import SourceFile

__all__ = ["ChangeReader"]


class ChangeReader(RowReader):
    """Reads what one run needs of a project whose ledger stands at `before`."""

    def __init__(
        self, connection: Connection[Any], project: Project, listing: Listing, catalog: Catalog, before: Sync
    ) -> None:
        super().__init__(connection, project, listing, catalog)
        self._before = before
        self._wanted: set[RowKey] = set()
        self._before_change: dict[RowKey, Collection[str]] = {}
        """The fields that the files which have changed named before, of the rows that were read of them."""

    def read(self, scope: Scope, *, is_full: bool) -> Found:
        """Raises TooMuch where reading all is less work."""
        pending = read_pending(self.connection)
        self._wanted = pending.keys() | rows_of(scope)
        if is_full:
            self._wanted |= self.drifted()
        state = self.state_of(self._documents(pending), self._wanted)
        return self.found(state, self._wanted, self._managed(state))

    def _documents(self, pending: Mapping[RowKey, list[str]]) -> Iterator[Document | PlainDocument]:
        """All that is to be read, one document at a time; which rows are wanted is known once this has ended."""
        old, new = dict(self.listing.repository.entries_at(self._before.commit, (STATE,), [])), self.listing.state
        changed = sorted(path for path in old.keys() | new.keys() if old.get(path) != new.get(path))
        yield from self._compare(changed, old)
        if len(self._wanted) > self._before.rows * row_reader.MOST:
            raise TooMuch
        named = {path for files in pending.values() for path in files if path in new}.difference(changed)
        elsewhere: dict[RowKey, list[str]] = {}
        for document in self.find(self._wanted, sorted(named)):
            name = table_of(document.path, STATE)
            for key, fields in rows_named(document).items():
                elsewhere.setdefault((name, key), []).extend(fields)
            yield document
        known = {
            row: [*self._before_change.get(row, ()), *elsewhere[row]]
            if row in elsewhere
            else self._before_change.get(row, ())
            for row in self._wanted
        }
        spread = applied_beyond(self.connection, known)
        spread |= {row for row in pending if not pending[row]}
        yield from self.find(spread, [path for path in new if path not in named])

    def _compare(self, changed: Collection[str], old: Mapping[str, str]) -> Iterator[Document | PlainDocument]:
        """What is to be looked at of files that have changed: rows that are not the same in both versions, and those
        that are wanted anyway. They are wanted from here on.
        """
        others = keys_by_table(self._wanted)
        whole, most = 0, len(self.listing.state) * row_reader.MOST
        for done, (path, old_file, new_file) in enumerate(self._versions(changed, old)):
            self.listing.progress("reading", done, len(changed))
            table = table_of(path, STATE)
            found = self._changed_blocks(path, old_file, new_file, others.get(table, ()))
            if found is None:
                whole += 1
                found = _fields_of(read_whole(old_file, [])), read_whole(new_file, self.problems)
            old_fields, documents = found
            self._note(path, old_fields, documents)
            if whole > most or any(WHERE in rows_named(document) for document in documents):
                raise TooMuch
            yield from documents

    def _note(self, path: str, old_fields: Mapping[str, Collection[str]], documents: Documents) -> None:
        """Remember what was read of a file that has changed."""
        table = table_of(path, STATE)
        keys = old_fields.keys() | {key for document in documents for key in rows_named(document)}
        for key in keys:
            row = (table, key)
            self._wanted.add(row)
            if key in old_fields:
                before = self._before_change.get(row)
                self._before_change[row] = old_fields[key] if before is None else [*before, *old_fields[key]]
        self.read_already[path] = keys

    def _versions(
        self, changed: Collection[str], old: Mapping[str, str]
    ) -> Iterator[tuple[str, SourceFile | None, SourceFile | None]]:
        """Path, and the file as it was and as it is, None where there is none; two files at a time are held."""
        blobs = self.listing.blobs
        entries = [(path, blob) for path in changed for blob in (old.get(path), blobs.get(path)) if blob is not None]
        contents = self.listing.repository.contents(entries, self.problems)
        for path, files in groupby(contents, key=lambda file: file.path):
            by_blob = {file.blob: file for file in files}
            old_file = by_blob.get(old.get(path))
            new_file = self.listing.files.get(path) or by_blob.get(blobs.get(path))
            yield path, old_file, new_file
        for path in changed:
            if path not in old and path in self.listing.files:
                yield path, None, self.listing.files[path]

    def _changed_blocks(
        self, path: str, old_file: SourceFile | None, new_file: SourceFile | None, keep: Collection[str]
    ) -> tuple[Mapping[str, Collection[str]], Documents] | None:
        """The fields that the old file named of rows that are not the same in both, and of those of `keep`, and these
        rows of the new one; None where the files must be read whole.
        """
        old = RowBlocks.of(path, old_file.data) if old_file is not None else RowBlocks(path, 0, {})
        new = RowBlocks.of(path, new_file.data) if new_file is not None else RowBlocks(path, 0, {})
        if old is None or new is None or not self.bodies.are_plain(new.bodies.values()):
            return None
        gone = {key: body for key, body in old.bodies.items() if new.bodies.get(key) != body}
        if not self.bodies.are_plain(gone.values()):
            return None
        keys = gone.keys() | {key for key, body in new.bodies.items() if old.bodies.get(key) != body}
        keys |= old.named(keep) | new.named(keep)
        return old.fields(keys, self.bodies), [PlainDocument(path, new.rows(keys, self.bodies))]

    def _managed(self, state: State) -> tuple[int, int]:
        """How many rows and fields git names by now, from how many it named before."""
        rows, fields = self._before.rows, self._before.fields
        for name, key in self._wanted:
            row = state.get(name, {}).get(key)
            elsewhere = self._named_elsewhere(row) if row is not None else 0
            before = self._before_change.get((name, key))
            fields += (len(row.values) if row is not None else 0) - elsewhere
            fields -= len(before) if before is not None else 0
            rows += (row is not None) - (before is not None or elsewhere > 0)
        return rows, fields

    def _named_elsewhere(self, row: Row) -> int:
        """How many of its fields stand in files of which this row was not read when they were compared."""
        if isinstance(row.values, PlainValues):
            return 0 if row.key in self.read_already.get(row.values.file, ()) else len(row.values)
        return sum(row.key not in self.read_already.get(value.file, ()) for value in row.values.values())


def _fields_of(documents: Documents) -> dict[str, Collection[str]]:
    """The rows that documents name, each with its fields."""
    return {
        key: [name for name in fields if not name.startswith("$")]
        for document in documents
        for key, fields in rows_named(document).items()
    }
