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
from reconciler.desired import read_desired, table_of
from reconciler.documents import PlainDocument
from reconciler.ledger_sync import Sync, applied_beyond, read_pending
from reconciler.listing import STATE, Listing
from reconciler.model import WHERE, RowKey
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

    def read(self, scope: Scope, *, is_full: bool) -> Found:
        """Raises TooMuch where reading all is less work."""
        old, new = dict(self.listing.repository.entries_at(self._before.commit, (STATE,), [])), self.listing.state
        changed = sorted(path for path in old.keys() | new.keys() if old.get(path) != new.get(path))
        pending = read_pending(self.connection)
        wanted = pending.keys() | rows_of(scope)
        if is_full:
            wanted |= self.drifted()
        old_documents, new_documents = self._compare(changed, old, wanted)
        old_state = read_desired(old_documents, self.project.definitions, STATE, [])
        for document in (*new_documents, *old_documents):
            table = table_of(document.path, STATE)
            wanted |= {(table, key) for key in rows_named(document)}
            self.read_already |= {(document.path, key) for key in rows_named(document)}
        if len(wanted) > self._before.rows * row_reader.MOST:
            raise TooMuch
        named = {path for files in pending.values() for path in files if path in new}.difference(changed)
        unchanged = list(self.find(wanted, sorted(named)))
        elsewhere = [path for path in new if path not in named]
        spread = self.find(self._spread(wanted, pending, old_state, unchanged), elsewhere)
        state = self.state_of([*new_documents, *unchanged, *spread], wanted)
        return self.found(state, wanted, self._managed(old_state, state))

    def _compare(
        self, changed: Collection[str], old: Mapping[str, str], wanted: Collection[RowKey]
    ) -> tuple[Documents, Documents]:
        """What is to be looked at of files that have changed, as they were and as they are: rows that are not the same
        in both, and those that are wanted anyway.
        """
        others = keys_by_table(wanted)
        old_documents: Documents = []
        new_documents: Documents = []
        whole = rows = 0
        for done, (path, old_file, new_file) in enumerate(self._versions(changed, old)):
            self.listing.progress("reading", done, len(changed))
            found = self._changed_blocks(path, old_file, new_file, others.get(table_of(path, STATE), ()))
            if found is None:
                whole += 1
                found = read_whole(old_file, []), read_whole(new_file, self.problems)
            old_documents += found[0]
            new_documents += found[1]
            rows += max(sum(len(rows_named(document)) for document in documents) for documents in found)
            if whole > len(self.listing.state) * row_reader.MOST or rows > self._before.rows * row_reader.MOST:
                raise TooMuch
        if any(WHERE in rows_named(document) for document in new_documents):
            raise TooMuch
        return old_documents, new_documents

    def _versions(
        self, changed: Collection[str], old: Mapping[str, str]
    ) -> Iterator[tuple[str, SourceFile | None, SourceFile | None]]:
        """Path, and the file as it was and as it is, None where there is none; two files at a time are held."""
        blobs = self.listing.blobs
        entries = [
            (path, blob) for path in changed for blob in (old.get(path), blobs.get(path)) if blob is not None
        ]
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
    ) -> tuple[Documents, Documents] | None:
        """The rows that are not the same in both, and those of `keep`; None where the files must be read whole."""
        old = RowBlocks.of(path, old_file.data) if old_file is not None else RowBlocks(path, 0, {})
        new = RowBlocks.of(path, new_file.data) if new_file is not None else RowBlocks(path, 0, {})
        if old is None or new is None or not self.bodies.are_plain(new.bodies.values()):
            return None
        gone = {key: body for key, body in old.bodies.items() if new.bodies.get(key) != body}
        if not self.bodies.are_plain(gone.values()):
            return None
        keys = gone.keys() | {key for key, body in new.bodies.items() if old.bodies.get(key) != body}
        keys |= old.named(keep) | new.named(keep)
        return [PlainDocument(path, old.rows(keys, self.bodies))], [PlainDocument(path, new.rows(keys, self.bodies))]

    def _spread(
        self,
        wanted: Collection[RowKey],
        pending: Mapping[RowKey, list[str]],
        old_state: State,
        unchanged: Documents,
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
            for key, fields in rows_named(document).items():
                if (name, key) in known:  # a file that was read whole names others, too
                    known[name, key] += fields
        return applied_beyond(self.connection, known) | {row for row in pending if not pending[row]}

    def _managed(self, old_state: State, state: State) -> tuple[int, int]:
        """How many rows and fields git names by now, from how many it named before."""
        rows, fields = self._before.rows, self._before.fields
        for name in old_state.keys() | state.keys():
            old_rows, new_rows = old_state.get(name, {}), state.get(name, {})
            for key in old_rows.keys() | new_rows.keys():
                old = old_rows[key].values if key in old_rows else {}
                new = new_rows[key].values if key in new_rows else {}
                elsewhere = sum((value.file, key) not in self.read_already for value in new.values())
                fields += len(new) - elsewhere - len(old)
                rows += (key in new_rows) - (key in old_rows or elsewhere > 0)
        return rows, fields
