"""What is decided outside of git, under a lock and with an audit entry: freezes, and the release of what broken glass
left.

Takes a connection, Definitions and who acts; gives a sentence on what was done. Each is one transaction; `committed` is
called at once when it is in the database.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import msgspec

from reconciler.actual import read_tenant
from reconciler.apply import take_lock
from reconciler.audit import row_exists, write_note
from reconciler.catalog import Catalog, read_catalog
from reconciler.database.connection import DatabaseConnection
from reconciler.database.transaction import begin_read_write
from reconciler.diff import ASKED
from reconciler.errors import NotAsExpected, Problem, Refused, UsageProblem
from reconciler.fields import format_timestamp
from reconciler.fit import problems_of_creating, relation_of, relations_of
from reconciler.ledger import end_freezes, read_marks, record_freeze, record_marks
from reconciler.marks import released
from reconciler.model import FieldKey, Json
from reconciler.schema import Definitions


class Note(msgspec.Struct, frozen=True):
    """One audit entry about what is no change of a field; of the platform as a whole where `tenant` is None."""

    event: str
    metadata: dict[str, Json]
    tenant: str | None = None


Work = Callable[[DatabaseConnection, Catalog], tuple[str, list[Note]]]
"""Does its part in the transaction; gives the sentence and the audit entries."""

Committed = Callable[[], None]


def call_freeze(
    connection: DatabaseConnection,
    definitions: Definitions,
    until: datetime,
    reason: str,
    actor: str,
    committed: Committed = lambda: None,
) -> str:
    """From now until then, nothing but kills is applied."""

    def work(connection: DatabaseConnection, catalog: Catalog) -> tuple[str, list[Note]]:
        if until <= catalog.now:
            raise UsageProblem(f"--until {format_timestamp(until)} has passed already")
        record_freeze(connection, until, reason, actor)
        sentence = f"Frozen until {format_timestamp(until)}: only kills are applied. End it: reconcile unfreeze"
        return sentence, [Note("RECONCILE_FREEZE", {"until": format_timestamp(until)})]

    return _in_one_transaction(connection, definitions, reason, actor, committed, work)


def end_freeze(
    connection: DatabaseConnection,
    definitions: Definitions,
    reason: str,
    actor: str,
    committed: Committed = lambda: None,
) -> str:
    """End every freeze that somebody has called; those of the policy are git's to end."""

    def work(connection: DatabaseConnection, _catalog: Catalog) -> tuple[str, list[Note]]:
        ended = end_freezes(connection, reason, actor)
        if not ended:
            raise Refused("no freeze is on that somebody has called. Those of schemas/policy.yaml are changed in git")
        return f"Ended {ended} freeze{'s' if ended > 1 else ''}.", [Note("RECONCILE_UNFREEZE", {"ended": ended})]

    return _in_one_transaction(connection, definitions, reason, actor, committed, work)


def release(
    connection: DatabaseConnection,
    definitions: Definitions,
    fields: list[FieldKey],
    reason: str,
    actor: str,
    committed: Committed = lambda: None,
) -> str:
    """Let git have its way again with values that were killed by hand, or left by broken glass.

    The next run from git treats them as if a commit had touched them: restores still pass the guards. Each field has an
    audit entry, which belongs to the row's tenant.
    """

    def work(connection: DatabaseConnection, catalog: Catalog) -> tuple[str, list[Note]]:
        marks = read_marks(connection, [(table, key) for table, key, _ in fields])
        stands = {field for field, mark in marks.items() if mark.seen_at is not None and mark.seen_entry != ASKED}
        unknown = [field for field in fields if field not in stands]
        if unknown:
            names = ", ".join(f"{table}/{key}.{name}" for table, key, name in unknown)
            raise Refused(f"nothing to release: {names} is not held against git. `reconcile drift` lists what is")
        record_marks(connection, {field: released(marks[field]) for field in fields})
        notes = [
            Note(
                "RECONCILE_RELEASE",
                {"table": table, "key": key, "released": name, "value": marks[table, key, name].seen_value},
                _tenant_of(connection, definitions, catalog, table, key),
            )
            for table, key, name in dict.fromkeys(fields)
        ]
        names = ", ".join(f"{table}/{key}.{name}" for table, key, name in fields)
        return f"Released {names}: the next run from git decides, under the guards.", notes

    return _in_one_transaction(connection, definitions, reason, actor, committed, work)


def _tenant_of(
    connection: DatabaseConnection, definitions: Definitions, catalog: Catalog, table: str, key: str
) -> str | None:
    """Whose row it is; None where its table knows no tenants, or is there no more."""
    described = definitions.tables.get(table)
    if described is None or (described.definition.schema, described.definition.table) not in catalog.relations:
        return None
    return read_tenant(connection, described, relation_of(catalog, described), key)


def _in_one_transaction(
    connection: DatabaseConnection, definitions: Definitions, reason: str, actor: str, committed: Committed, work: Work
) -> str:
    if not reason.strip():
        raise UsageProblem('this needs a reason, which goes into the audit log: --reason "..."')
    with begin_read_write(connection, doing="recording it", committed=committed):
        take_lock(connection)
        catalog = read_catalog(connection, relations_of(definitions))
        problems = problems_of_creating(definitions, catalog)
        if not catalog.has_ledger:
            problems.append(Problem("there is no ledger", None, "run `reconcile init`"))
        if problems:
            raise NotAsExpected(problems)
        sentence, notes = work(connection, catalog)
        for note in notes:
            tenant = note.tenant or _tenantless(connection, definitions, catalog)
            metadata = {**note.metadata, "reason": reason, "actor": actor}
            write_note(connection, definitions.policy.audit, catalog, note.event, tenant, metadata)
    return sentence


def _tenantless(connection: DatabaseConnection, definitions: Definitions, catalog: Catalog) -> str:
    """To which tenant an entry belongs that has none, once the row is there that makes its foreign key hold."""
    without = definitions.policy.audit.without_tenant
    if without is None:
        place = definitions.policy_places.of("audit")
        raise NotAsExpected([Problem("an entry about this belongs to no tenant", place)])
    row = without.create
    if row is not None and not row_exists(connection, row, catalog.relations[row.schema, row.table], without.tenant):
        text = f"{row.table} has no row {without.tenant}"
        raise NotAsExpected([Problem(text, None, "run `reconcile init`: it makes it")])
    return without.tenant
