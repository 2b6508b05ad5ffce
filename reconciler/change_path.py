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
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import msgspec
from psycopg import Connection

from reconciler.catalog import Catalog
from reconciler.fields import seconds
from reconciler.ledger_sync import Sync, is_large, read_sync
from reconciler.listing import Listing
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
    listing = project.listing
    before = read_sync(connection) if catalog.has_ledger else None
    ids = listing.definitions_id()
    is_known = _is_known(before, listing, ids)
    if catalog.has_ledger and not (before is not None and before.has_matches) and is_large(connection, FEW_ROWS):
        from reconciler.row_reader import TooMuch  # the small project that is run in an incident has no use for it

        with suppress(TooMuch):
            if before is not None and is_known:
                return _look_at_changes(connection, project, listing, catalog, before, scope, full)
            return _look_at_all(connection, project, listing, catalog, scope)
    project = read_the_rest(project)
    rows = [row for of_table in project.desired.values() for row in of_table.values()]
    fields = sum(len(row.values) for row in rows)
    sync = Sync(listing.commit.id, ids, len(rows), fields, catalog.now, has_matches=any(project.matches.values()))
    return project, LookedAt(sync=sync if scope.is_everything else before if is_known else None)


def look_at_part(connection: Connection[Any], project: Project, catalog: Catalog) -> LookedAt:
    """What a run knows that looks at rows of which another Decision has told: how the ledger stands to git stays as it
    is, as after any run of a part.
    """
    if project.listing is None or not catalog.has_ledger:
        return LookedAt()
    before = read_sync(connection)
    return LookedAt(sync=before if _is_known(before, project.listing, project.listing.definitions_id()) else None)


def _is_known(before: Sync | None, listing: Listing, definitions: str) -> bool:
    return (
        before is not None and before.definitions == definitions and listing.repository.has_commit(before.commit)
    )


def _look_at_changes(
    connection: Connection[Any],
    project: Project,
    listing: Listing,
    catalog: Catalog,
    before: Sync,
    scope: Scope,
    full: bool | None,
) -> tuple[Project, LookedAt]:
    from reconciler.change_reader import ChangeReader

    every = timedelta(seconds=seconds(project.definitions.policy.full_pass_every))
    is_full = before.is_full_pass_due(every, catalog.now) if full is None else full
    found = ChangeReader(connection, project, listing, catalog, before).read(scope, is_full=is_full)
    sync = before
    notices: tuple[Notice, ...] = ()
    if scope.is_everything:
        at = catalog.now if is_full else before.full_pass_at
        sync = Sync(listing.commit.id, before.definitions, *found.managed, at)
    if not is_full:
        left_out = found.managed[0] - sum(map(len, found.keys.values()))
        notices = (_left_out(left_out, before.full_pass_at),)
    return found.project, LookedAt(found.keys, found.managed, is_full, sync, notices)


def _look_at_all(
    connection: Connection[Any], project: Project, listing: Listing, catalog: Catalog, scope: Scope
) -> tuple[Project, LookedAt]:
    from reconciler.sweep import Sweep

    found = Sweep(connection, project, listing, catalog).read(scope)
    sync = None
    if scope.is_everything:
        sync = Sync(listing.commit.id, listing.definitions_id(), *found.managed, catalog.now)
    return found.project, LookedAt(found.keys, found.managed, is_full=True, sync=sync)


def _left_out(rows: int, full_pass_at: datetime) -> Notice:
    at = full_pass_at.strftime("%Y-%m-%d %H:%M")
    text = f"{max(rows, 0):,} rows that git has not changed were not looked at"
    return Notice(f"{text}: the last run that looked at all was at {at} UTC; --full does")
