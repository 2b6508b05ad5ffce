"""What forbids an apply, before its first write.

Takes the Request, the Project and the Decision made from it, inside the transaction; raises why it must not be.
"""

from __future__ import annotations

import msgspec

from reconciler.audit import row_exists
from reconciler.database.connection import DatabaseConnection
from reconciler.decide import Decision
from reconciler.errors import NotAsExpected, Problem, Refused, Stale
from reconciler.fit import problems_of_writing
from reconciler.model import FieldKey
from reconciler.plan import Plan, fingerprint_of
from reconciler.project import Project
from reconciler.request import Request
from reconciler.stale import ancestry_problem, is_older, refuse_another_database, refuse_stale

__all__ = ["refuse_if_others_applied", "refuse_what_must_not_be"]


def refuse_what_must_not_be(
    connection: DatabaseConnection,
    request: Request,
    project: Project,
    decision: Decision,
    reviewed: Plan | None,
    put_back: frozenset[FieldKey] = frozenset(),
) -> None:
    """Everything that forbids an apply, before its first write."""
    if reviewed is not None:
        refuse_another_database(decision.plan, reviewed)
    if decision.head.version == 0:
        text = f"database {decision.catalog.database} has no ledger"
        raise NotAsExpected([Problem(text, None, "run `reconcile init` once, as a role that may create a schema")])
    problems = problems_of_writing(project.definitions, decision.desired, decision.catalog)
    if problems:
        raise NotAsExpected(problems)
    ancestry = ancestry_problem(project, decision)
    if ancestry is not None and not (request.allow_rewind or request.ahead):
        stale = Stale(ancestry)
        stale.overtaken = is_older(project, decision.head.commit)
        raise stale
    if decision.plan.refusals:
        raise Refused("\n".join([*decision.plan.refusals, "Nothing was applied."]))
    if reviewed is not None:
        plan = decision.plan
        if put_back:
            from reconciler.one_story import without_holds  # most runs are one transaction

            changes = tuple(without_holds(plan.changes, put_back))
            plan = msgspec.structs.replace(plan, changes=changes, fingerprint=fingerprint_of(changes))
        refuse_stale(connection, plan, reviewed)
    _need_tenantless_row(connection, project, decision)


def _need_tenantless_row(connection: DatabaseConnection, project: Project, decision: Decision) -> None:
    """Where an entry belongs to no tenant, the row that makes its foreign key hold must be there."""
    audit = project.definitions.policy.audit
    if audit.without_tenant is None or audit.without_tenant.create is None:
        return
    tables = project.definitions.tables
    if not any(tables[change.table].definition.audit.tenant is None for change in decision.plan.writes):
        return
    row = audit.without_tenant.create
    relation = decision.catalog.relations.get((row.schema, row.table))
    place = project.definitions.policy_places.of("audit", "without_tenant")
    if relation is None or not row_exists(connection, row, relation, audit.without_tenant.tenant):
        text = f"{row.table} has no row {audit.without_tenant.tenant}, to which entries without a tenant belong"
        raise NotAsExpected([Problem(text, place, "run `reconcile init`: it makes the row")])


def refuse_if_others_applied(request: Request, decision: Decision, after: frozenset[str | None]) -> None:
    """Raise Stale where somebody has applied another commit since the first batch, be it a newer or an older one."""
    head, revision = decision.head, decision.plan.revision
    if head.run in after or (revision is not None and head.commit == revision.commit):
        return
    raise Stale(
        f"run {head.run} has applied commit {(head.commit or '')[:12]} meanwhile, so what is left is not applied. Run "
        "again, with the newest commit"
    )
