"""Which rows a run of a large project looks at: those that git has changed since the ledger was last brought to a
commit, those that wait, and, when a full pass is due, those that the database has changed by itself.

Takes a connection inside the run's transaction and a Project whose state is listed and not read; gives the Project with
the rows to look at, and `LookedAt`, which says which they are. What is left out cannot differ between git and ledger:

- a file whose blob is the same in both commits names the same rows;
- a row that a run has left in another state than git asks for (held, kept, timed) is in `reconciler.pending`, or has an
  open mark;
- a project with a `$where`, which speaks of rows by what they are, is read whole, and so is what has changed for the
  most part;
- whatever was read by other schemas, by another version of this program, or from a commit that this clone does not
  have, is read again: all of it.

The database may have moved a row that git has not touched. That is what the full pass is for (`full_pass_every` in the
policy, `--full`, `reconcile drift`): the server compares every row with the ledger, and only rows that differ are read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import psycopg
from psycopg import Connection

from reconciler.actual import drifted_keys
from reconciler.catalog import Catalog
from reconciler.desired import read_desired, table_of
from reconciler.documents import PlainDocument
from reconciler.errors import Problem
from reconciler.fields import seconds
from reconciler.fit import refuse_what_does_not_fit, relation_of
from reconciler.ledger_sync import Sync, applied_fields, read_pending, read_sync
from reconciler.listing import STATE, Listing, documents
from reconciler.model import Row, RowKey
from reconciler.nodes import Document
from reconciler.nodes import Mapping as MappingNode
from reconciler.plan import Notice, Scope
from reconciler.project import Project, read_the_rest, with_desired
from reconciler.sources import SourceFile

FEW_ROWS = 2_000
"""A project of fewer rows is always read whole."""

MOST = Decimal("0.25")
"""Where such a share of the files has changed, or of the rows must be looked at, all are read: that is one pass."""

_Documents = list[Document | PlainDocument]
_State = Mapping[str, Mapping[str, Row]]

_LITERAL = re.compile(r"[A-Za-z0-9_.-]+")
_SPELT_OTHERWISE = re.compile(rb"[\\*]")
"""What a file must hold to name a key in other bytes than its own: an escape, or an alias that stands for it."""

_FEW_KEYS = 50
"""So many keys are looked for in a file's bytes before it is read."""


class LookedAt(msgspec.Struct, frozen=True):
    """`keys` are the rows that a run looks at, by table; None: all. `managed`: how many rows and fields git names.

    `is_full`: no row was left out. `sync` is how the ledger stands to git after an apply; None where that is not known,
    or nobody asks, because the project is small.
    """

    keys: Mapping[str, tuple[str, ...]] | None = None
    managed: tuple[int, int] | None = None
    is_full: bool = True
    sync: Sync | None = None
    notices: tuple[Notice, ...] = ()


def look_where_needed(
    connection: Connection[Any], project: Project, catalog: Catalog, scope: Scope, full: bool | None
) -> tuple[Project, LookedAt]:
    """The Project with the rows that this run must look at. `full`: whether these are all; None: if that is due.

    Raises InvalidInput where the state that is read is wrong.
    """
    if project.listing is None:
        return project, LookedAt()
    listing, now = project.listing, catalog.now
    before = read_sync(connection) if catalog.has_ledger else None
    ids = listing.definitions_id()
    if before is not None and (before.definitions != ids or not listing.repository.has_commit(before.commit)):
        before = None
    if before is not None and before.rows >= FEW_ROWS and not before.has_matches:
        every = timedelta(seconds=seconds(project.definitions.policy.full_pass_every))
        is_full = before.is_full_pass_due(every, now) if full is None else full
        found = _Reader(connection, project, listing, before, catalog).read(scope, is_full=is_full)
        if found is not None:
            narrowed, keys, managed = found
            at = now if is_full else before.full_pass_at
            sync = Sync(listing.commit.id, ids, *managed, at) if scope.is_everything else before
            notices = () if is_full else (_left_out(managed[0] - sum(map(len, keys.values())), before.full_pass_at),)
            return narrowed, LookedAt(keys, managed, is_full, sync, notices)
    project = read_the_rest(project)
    rows = [row for of_table in project.desired.values() for row in of_table.values()]
    fields = sum(len(row.values) for row in rows)
    sync = Sync(listing.commit.id, ids, len(rows), fields, now, has_matches=any(project.matches.values()))
    return project, LookedAt(sync=sync if scope.is_everything else before)


def _left_out(rows: int, full_pass_at: datetime) -> Notice:
    at = full_pass_at.strftime("%Y-%m-%d %H:%M")
    text = f"{max(rows, 0):,} rows that git has not changed were not looked at"
    return Notice(f"{text}: the last run that looked at all was at {at} UTC; --full does")


class _Reader:
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

    def read(
        self, scope: Scope, *, is_full: bool
    ) -> tuple[Project, Mapping[str, tuple[str, ...]], tuple[int, int]] | None:
        """The Project with the rows to look at, their keys, and how many rows and fields git names; None where reading
        all is less work.
        """
        from reconciler.where import WHERE  # most runs have no use for what else is there

        old, new = dict(self._listing.repository.entries_at(self._before.commit, (STATE,), [])), self._listing.state
        changed = {path for path in old.keys() | new.keys() if old.get(path) != new.get(path)}
        if len(changed) > len(new) * MOST:
            return None
        drifted = self._drifted() if is_full else set()
        if drifted is None:
            return None
        pending = read_pending(self._connection)
        old_state = self._old_state({path: blob for path, blob in old.items() if path in changed})
        paths = {path for path in (*changed, *(path for files in pending.values() for path in files)) if path in new}
        read = list(self._listing.read(paths, self._problems))
        if any(WHERE in _rows(document) for document in read):
            return None
        wanted = {(table_of(document.path, STATE), key) for document in read if document.path in changed
                  for key in _rows(document)}
        wanted |= {(name, key) for name, rows in old_state.items() for key in rows} | pending.keys() | drifted
        wanted |= {(table, key) for table, _, key in (row.partition("/") for row in scope.rows)}
        if len(wanted) > self._before.rows * MOST:
            return None
        unchanged = [document for document in read if document.path not in changed]
        read += self._find(self._spread(wanted, pending, old_state, unchanged), paths)
        state = read_desired(read, self._project.definitions, STATE, self._problems)
        narrowed = {
            name: {key: row for key, row in rows.items() if (name, key) in wanted} for name, rows in state.items()
        }
        keys: dict[str, list[str]] = {name: [] for name in self._project.definitions.tables}
        for name, key in sorted(wanted):
            keys.setdefault(name, []).append(key)
        managed = _managed(self._before, old_state, narrowed, changed)
        project = with_desired(self._project, narrowed, self._problems)
        return project, {name: tuple(of_table) for name, of_table in keys.items()}, managed

    def _old_state(self, blobs: Mapping[str, str]) -> _State:
        """What the files that have changed named when the ledger was last brought to a commit."""
        files = self._listing.repository.contents(sorted(blobs.items()), [])
        return read_desired(documents(files, len(blobs), []), self._project.definitions, STATE, [])

    def _drifted(self) -> set[RowKey] | None:
        """The rows that do not have in the database what was applied last.

        None where they cannot be compared, because a column is not what it was: all is read then, and that is said.
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
            return None

    def _spread(
        self,
        wanted: Collection[RowKey],
        pending: Mapping[RowKey, list[str]],
        old_state: _State,
        unchanged: _Documents,
    ) -> set[RowKey]:
        """The wanted rows that files name which have not changed, and were not read yet.

        What the ledger holds of a row beyond what the changed files named, stands in others.
        """
        known: dict[RowKey, set[str]] = {}
        for name, rows in old_state.items():
            for key, row in rows.items():
                known.setdefault((name, key), set()).update(row.values)
        for document in unchanged:
            name = table_of(document.path, STATE)
            for key, fields in _rows(document).items():
                known.setdefault((name, key), set()).update(fields)
        applied = applied_fields(self._connection, wanted)
        return {
            row
            for row in wanted
            if applied.get(row, frozenset()) - known.get(row, set()) or (row in pending and not pending[row])
        }

    def _find(self, rows: Collection[RowKey], read: Collection[str]) -> Iterator[Document | PlainDocument]:
        """The documents that name one of these rows, and were not read yet."""
        if not rows:
            return
        keys: dict[str, set[str]] = {}
        for name, key in rows:
            keys.setdefault(name, set()).add(key)
        paths = [path for path in self._listing.state if path not in read and table_of(path, STATE) in keys]
        may_name = {name: _searcher(of_table) for name, of_table in keys.items()}
        files = (
            file
            for file in self._listing.sources(paths, self._problems)
            if may_name[table_of(file.path, STATE)](file)
        )
        for document in documents(files, len(paths), self._problems, self._listing.progress):
            if not keys[table_of(document.path, STATE)].isdisjoint(_rows(document)):
                yield document


def _searcher(keys: Collection[str]) -> Callable[[SourceFile], bool]:
    """Whether a file may name one of the keys, by its bytes: to parse it takes twenty times as long."""
    if len(keys) > _FEW_KEYS or not all(map(_LITERAL.fullmatch, keys)):
        return lambda _file: True
    texts = [key.encode() for key in keys]
    return lambda file: any(text in file.data for text in texts) or _SPELT_OTHERWISE.search(file.data) is not None


def _rows(document: Document | PlainDocument) -> Mapping[str, Collection[str]]:
    """The keys of the rows that a document names, each with its fields."""
    if isinstance(document, PlainDocument):
        return {key: fields for key, (_, fields) in document.rows.items()}
    if not isinstance(document.root, MappingNode):
        return {}
    return {key: row.items if isinstance(row, MappingNode) else () for key, row in document.root.items.items()}


def _managed(before: Sync, old_state: _State, state: _State, changed: Collection[str]) -> tuple[int, int]:
    """How many rows and fields git names by now, from how many it named before."""
    rows, fields = before.rows, before.fields
    for name in old_state.keys() | state.keys():
        old_rows, new_rows = old_state.get(name, {}), state.get(name, {})
        for key in old_rows.keys() | new_rows.keys():
            old = old_rows[key].values if key in old_rows else {}
            new = new_rows[key].values if key in new_rows else {}
            elsewhere = sum(value.file not in changed for value in new.values())
            fields += len(new) - elsewhere - len(old)
            rows += (key in new_rows) - (key in old_rows or elsewhere > 0)
    return rows, fields
