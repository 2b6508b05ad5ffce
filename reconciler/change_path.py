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

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec
from psycopg import Connection

from reconciler.catalog import Catalog
from reconciler.fields import seconds
from reconciler.ledger_sync import Sync, read_sync
from reconciler.plan import Notice, Scope
from reconciler.project import Project, read_the_rest

FEW_ROWS = 2_000
"""A project of fewer rows is always read whole."""


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
        from reconciler.change_reader import Reader  # the small project that is run in an incident has no use for it

        every = timedelta(seconds=seconds(project.definitions.policy.full_pass_every))
        is_full = before.is_full_pass_due(every, now) if full is None else full
        found = Reader(connection, project, listing, before, catalog).read(scope, is_full=is_full)
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
