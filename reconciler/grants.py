"""The exact privileges of two roles: one that plans and may only read, one that applies.

Takes Definitions and the Catalog; gives SQL. Column by column, so that neither role can read a secret.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from reconciler.catalog import Catalog, Relation
from reconciler.fit import relation_of
from reconciler.schema import Definitions, Table


def grants(definitions: Definitions, catalog: Catalog, plan_role: str, apply_role: str) -> str:
    """SQL that grants what is needed and no more."""
    lines = [
        "-- A role that plans: it can read what is managed, and write nothing.",
        *_to_plan(definitions, catalog, quoted(plan_role)),
        "",
        "-- A role that applies.",
        *_to_plan(definitions, catalog, quoted(apply_role)),
        *_to_apply(definitions, catalog, quoted(apply_role)),
    ]
    return "\n".join(lines)


def quoted(name: str) -> str:
    """An identifier as SQL needs it."""
    return '"' + name.replace('"', '""') + '"'


def _name(relation: Relation) -> str:
    return f"{quoted(relation.schema)}.{quoted(relation.name)}"


def _columns(names: Iterable[str | None]) -> str:
    return ", ".join(quoted(name) for name in dict.fromkeys(names) if name)


def _read_columns(table: Table) -> str:
    definition = table.definition
    return _columns([definition.key, definition.label, definition.touch, definition.audit.tenant, *table.fields])


def _to_plan(definitions: Definitions, catalog: Catalog, role: str) -> Iterator[str]:
    relations = [relation_of(catalog, table) for table in definitions.tables.values()]
    schemas = sorted({relation.schema for relation in relations} | {"reconciler"})
    yield f"GRANT USAGE ON SCHEMA {', '.join(map(quoted, schemas))} TO {role};"
    yield f"GRANT SELECT ON ALL TABLES IN SCHEMA reconciler TO {role};"
    for table, relation in zip(definitions.tables.values(), relations, strict=True):
        yield f"GRANT SELECT ({_read_columns(table)}) ON {_name(relation)} TO {role};"


def _to_apply(definitions: Definitions, catalog: Catalog, role: str) -> Iterator[str]:
    yield f"GRANT INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA reconciler TO {role};"
    for table in definitions.tables.values():
        relation = relation_of(catalog, table)
        yield f"GRANT UPDATE ({_columns([table.definition.touch, *table.fields])}) ON {_name(relation)} TO {role};"
        if table.definition.missing_row == "create":
            made = [table.definition.key, table.definition.touch, *table.definition.create, *table.fields]
            yield f"GRANT INSERT ({_columns(made)}) ON {_name(relation)} TO {role};"
    policy = definitions.policy.audit
    audit = catalog.relations[policy.schema, policy.table]
    yield f"GRANT INSERT ({_columns(policy.columns)}) ON {_name(audit)} TO {role};"
    if policy.actor is not None:
        users = catalog.relations[policy.actor.schema, policy.actor.table]
        yield f"GRANT SELECT ({_columns([policy.actor.id, policy.actor.email])}) ON {_name(users)} TO {role};"
    if policy.without_tenant is not None and policy.without_tenant.create is not None:
        row = policy.without_tenant.create
        yield f"GRANT SELECT ({quoted(row.key)}) ON {_name(catalog.relations[row.schema, row.table])} TO {role};"
