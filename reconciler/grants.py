"""The exact privileges of two roles: one that plans and may only read, one that applies.

Takes Definitions, the desired State and the Catalog; gives SQL. Column by column, so that neither role can read a
secret, and table by table in the ledger, so that the role that applies cannot rewrite what was done.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from reconciler.catalog import Catalog, Relation
from reconciler.fit import relation_of
from reconciler.model import State
from reconciler.schema import Definitions, Table

_LEDGER = {
    "run": "INSERT",
    "change": "INSERT",
    "managed_row": "INSERT, UPDATE, DELETE",
    "mark": "INSERT, UPDATE",
    "match_entry": "INSERT, DELETE",
    "freeze": "INSERT, UPDATE",
    "outbox": "INSERT, UPDATE",
    "proof": "INSERT, UPDATE",
    "unseen": "INSERT",
}
"""What an apply does to the ledger's tables: runs and changes are only added, and `meta` is for `reconcile init`."""


def grants(definitions: Definitions, desired: State, catalog: Catalog, plan_role: str, apply_role: str) -> str:
    """SQL that grants what is needed and no more; the columns that `desired` names under `$expect` are needed, too."""
    expected = {name: {column for row in rows.values() for column in row.expect} for name, rows in desired.items()}
    lines = [
        "-- A role that plans: it can read what is managed, and write nothing.",
        *_to_plan(definitions, expected, catalog, quoted(plan_role)),
        "",
        "-- A role that applies.",
        *_to_plan(definitions, expected, catalog, quoted(apply_role)),
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


def _read_columns(table: Table, expected: Iterable[str]) -> str:
    definition = table.definition
    needed = [definition.key, definition.label, definition.touch, definition.audit.tenant, *table.fields]
    return _columns([*needed, *table.matched, *sorted(expected)])


def _to_plan(
    definitions: Definitions, expected: Mapping[str, set[str]], catalog: Catalog, role: str
) -> Iterator[str]:
    relations = [relation_of(catalog, table) for table in definitions.tables.values()]
    schemas = sorted({relation.schema for relation in relations} | {"reconciler"})
    yield f"GRANT USAGE ON SCHEMA {', '.join(map(quoted, schemas))} TO {role};"
    yield f"GRANT SELECT ON ALL TABLES IN SCHEMA reconciler TO {role};"
    for table, relation in zip(definitions.tables.values(), relations, strict=True):
        columns = _read_columns(table, expected.get(table.name, set()) & relation.columns.keys())
        yield f"GRANT SELECT ({columns}) ON {_name(relation)} TO {role};"


def _to_apply(definitions: Definitions, catalog: Catalog, role: str) -> Iterator[str]:
    for name, privileges in _LEDGER.items():
        yield f"GRANT {privileges} ON reconciler.{quoted(name)} TO {role};"
    for table in definitions.tables.values():
        relation = relation_of(catalog, table)
        yield f"GRANT UPDATE ({_columns([table.definition.touch, *table.fields])}) ON {_name(relation)} TO {role};"
        if table.definition.missing_row == "create":
            made = [table.definition.key, table.definition.touch, *table.definition.create, *table.fields]
            yield f"GRANT INSERT ({_columns(made)}) ON {_name(relation)} TO {role};"
    policy = definitions.policy.audit
    audit = catalog.relations[policy.schema, policy.table]
    yield f"GRANT USAGE ON SCHEMA {quoted(audit.schema)} TO {role};"
    yield f"GRANT INSERT ({_columns(policy.columns)}) ON {_name(audit)} TO {role};"
    if policy.actor is not None:
        users = catalog.relations[policy.actor.schema, policy.actor.table]
        yield f"GRANT USAGE ON SCHEMA {quoted(users.schema)} TO {role};"
        yield f"GRANT SELECT ({_columns([policy.actor.id, policy.actor.email])}) ON {_name(users)} TO {role};"
    if policy.without_tenant is not None and policy.without_tenant.create is not None:
        row = policy.without_tenant.create
        yield f"GRANT SELECT ({quoted(row.key)}) ON {_name(catalog.relations[row.schema, row.table])} TO {role};"
