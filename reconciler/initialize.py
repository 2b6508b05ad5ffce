"""What `reconcile init` does, in one transaction: the ledger, and the row that tenantless audit entries belong to.

Takes a connection and Definitions; gives sentences on what was done. Idempotent.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from reconciler.apply import take_lock
from reconciler.audit import create_row, write_note
from reconciler.catalog import Catalog, read_catalog
from reconciler.database.connection import DatabaseConnection
from reconciler.database.transaction import begin_read_write
from reconciler.errors import NotAsExpected
from reconciler.fit import problems_of_creating, problems_of_reading, relations_of
from reconciler.ledger_schema import VERSION, upgrade
from reconciler.schema import Definitions

EVENT = "RECONCILE_INIT"
"""The event type of the entry that tells of the row that init made."""


class Initialized(msgspec.Struct, frozen=True):
    """What was done, in sentences, and the database as it is now."""

    sentences: tuple[str, ...]
    catalog: Catalog


def initialize(
    connection: DatabaseConnection, definitions: Definitions, committed: Callable[[], None] = lambda: None
) -> Initialized:
    """Bring the ledger to this program's version and make the tenantless row. Raises NotAsExpected.

    `committed` is called at once when all of it is in the database.
    """
    with begin_read_write(connection, doing="making the ledger", committed=committed):
        take_lock(connection)
        catalog = read_catalog(connection, relations_of(definitions))
        problems = [*problems_of_reading(definitions, {}, catalog), *problems_of_creating(definitions, catalog)]
        if problems:
            raise NotAsExpected(problems)
        before, after = upgrade(connection)
        sentences = [_about_ledger(before, after)]
        audit = definitions.policy.audit
        if audit.without_tenant is not None and audit.without_tenant.create is not None:
            row = audit.without_tenant.create
            tenant = audit.without_tenant.tenant
            if create_row(connection, row, catalog.relations[row.schema, row.table]):
                write_note(connection, audit, catalog, EVENT, tenant, {"table": row.table, "key": tenant})
                sentences.append(f"{row.table}: row {tenant} made, to which audit entries without a tenant belong.")
            else:
                sentences.append(f"{row.table}: row {tenant} is there.")
    return Initialized(tuple(sentences), catalog)


def _about_ledger(before: int, after: int) -> str:
    if before == after:
        newer = f" (newer than this program, which knows {VERSION})" if after > VERSION else ""
        return f"Ledger: version {after} is there{newer}."
    return f"Ledger: made, version {after}." if before == 0 else f"Ledger: upgraded from version {before} to {after}."
