"""Do the schemas fit the live database, and does the policy's audit table?

Takes a connection and a Project; gives Findings. What fits is judged as if the role could do everything (`fit`): what
it may not do is told by `privileges`, with the statements that grant it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from reconciler.audit import row_exists
from reconciler.catalog import Catalog
from reconciler.database.connection import DatabaseConnection
from reconciler.database.transaction import begin_read_only
from reconciler.doctor.findings import Finding, Purpose, counted, not_seen, note, ok, wrong
from reconciler.doctor.live import as_if_allowed, read_live_catalog
from reconciler.errors import NotAsExpected, Problem
from reconciler.fit import problems_of_reading, problems_of_writing
from reconciler.project import Project

PART = "database"
_MOST = 10


def look_at_tables(connection: DatabaseConnection, project: Project, purpose: Purpose) -> list[Finding]:
    """The managed tables, the audit table, and the row to which entries without a tenant belong."""
    with begin_read_only(connection, doing="looking at the tables"):
        catalog = msgspec.structs.replace(
            as_if_allowed(read_live_catalog(connection, project.definitions)), in_recovery=False
        )
    problems = problems_of_reading(project.definitions, project.desired, catalog)
    found = list(_about(problems, "tables"))
    if not found:
        tables = len(project.definitions.tables)
        fields = sum(len(table.fields) for table in project.definitions.tables.values())
        text = f"{counted(tables, 'table')} with {counted(fields, 'field')}, as the schemas say"
        found.append(ok(PART, "tables", text))
    if purpose == "apply" and not problems:
        found += _about(problems_of_writing(project.definitions, project.desired, catalog), "audit table")
        if len(found) == 1:
            text = f"{project.definitions.policy.audit.table} takes every part of an entry"
            found.append(ok(PART, "audit table", text))
    return [*found, *_tenantless_row(connection, project, catalog, purpose)]


def _about(problems: Sequence[Problem], name: str) -> Iterator[Finding]:
    """Of many, the first few."""
    for problem in sorted(problems, key=Problem.sort_key)[:_MOST]:
        place = f"{problem.location}: " if problem.location else ""
        yield wrong(PART, name, NotAsExpected.exit_code, f"{place}{problem.message}", problem.hint)
    if len(problems) > _MOST:
        yield wrong(PART, name, NotAsExpected.exit_code, f"and {len(problems) - _MOST:,} more, which `reconcile` lists")


def _tenantless_row(
    connection: DatabaseConnection, project: Project, catalog: Catalog, purpose: Purpose
) -> Iterator[Finding]:
    """It is needed once a table has no tenant: a foreign key refuses the entry otherwise."""
    without = project.definitions.policy.audit.without_tenant
    tenantless = [table.name for table in project.definitions.tables.values() if table.definition.audit.tenant is None]
    if without is None or without.create is None or not tenantless or purpose == "plan":
        return
    name = f"row {without.tenant}"
    row = without.create
    relation = catalog.relations.get((row.schema, row.table))
    if relation is None or row.key not in relation.columns:
        yield not_seen(PART, name, f"there is no table {row.table}", NotAsExpected.exit_code)
        return
    try:
        with begin_read_only(connection, doing=f"looking for the row {without.tenant}"):
            exists = row_exists(connection, row, relation, without.tenant)
    except NotAsExpected as refused:
        yield not_seen(PART, name, str(refused.problems[0].message), NotAsExpected.exit_code)
        return
    about = f"to which entries about {', '.join(tenantless)} belong"
    if exists:
        yield ok(PART, name, f"{row.table} has the row {without.tenant}, {about}")
    else:
        text = f"{row.table} has no row {without.tenant}, {about}: a change of theirs would be refused"
        yield wrong(PART, name, NotAsExpected.exit_code, text, "`reconcile init` makes it", "reconcile init")


def look_at_files(project: Project) -> list[Finding]:
    """What stands in the files, once they could be read."""
    rows = sum(len(of_table) for of_table in project.desired.values())
    found = [ok("files", "schemas", f"{counted(len(project.definitions.tables), 'table')} and the policy")]
    if rows:
        return [*found, ok("files", "state", counted(rows, "row"))]
    advice = "`reconcile import` takes rows over from the database"
    return [*found, note("files", "state", "no row is managed yet", advice)]
