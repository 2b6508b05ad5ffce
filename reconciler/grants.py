"""The exact privileges of two roles: one that plans and may only read, one that applies.

Takes Definitions, the desired State and the Catalog; gives Privileges, and SQL that grants them. Column by column, so
that neither role can read a secret, and table by table in the ledger, so that the role that applies cannot rewrite what
was done.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from reconciler.catalog import Catalog, Relation, RelationName
from reconciler.model import State
from reconciler.schema import Definitions, Table

__all__ = ["ALL_TABLES", "LEDGER", "Privilege", "grants", "needed_to_apply", "needed_to_plan", "quoted", "to_grant"]

LEDGER = "reconciler"
"""The ledger's schema."""

ALL_TABLES = "*"
"""In the place of a table: all that its schema has now."""

_LEDGER = {
    "run": ("INSERT",),
    "change": ("INSERT",),
    "managed_row": ("INSERT", "UPDATE", "DELETE"),
    "pending": ("INSERT", "UPDATE", "DELETE"),
    "mark": ("INSERT", "UPDATE"),
    "match_entry": ("INSERT", "DELETE"),
    "freeze": ("INSERT", "UPDATE"),
    "outbox": ("INSERT", "UPDATE"),
    "proof": ("INSERT", "UPDATE"),
    "unseen": ("INSERT",),
}
"""What an apply does to the ledger's tables: runs and changes are only added, and `meta` is for `reconcile init`."""


class Privilege(msgspec.Struct, frozen=True):
    """One kind of access (`SELECT`): to a schema where there is no table, to a table, or to some columns of it.

    With `is_sequence` the name is that of a sequence, and not of a table.
    """

    kind: str
    schema: str
    table: str | None = None
    columns: tuple[str, ...] = ()
    is_sequence: bool = False

    @property
    def object(self) -> str:
        """What it is about, as SQL names it behind ON."""
        if self.table is None:
            return f"SCHEMA {quoted(self.schema)}"
        if self.table == ALL_TABLES:
            return f"ALL TABLES IN SCHEMA {quoted(self.schema)}"
        return f"{'SEQUENCE ' if self.is_sequence else ''}{quoted(self.schema)}.{quoted(self.table)}"


def grants(definitions: Definitions, desired: State, catalog: Catalog, plan_role: str, apply_role: str) -> str:
    """SQL that grants what is needed and no more; the columns that `desired` names under `$expect` are needed, too."""
    lines = [
        "-- A role that plans: it can read what is managed, and write nothing.",
        *to_grant(needed_to_plan(definitions, desired, catalog), plan_role),
        "",
        "-- A role that applies.",
        *to_grant(needed_to_apply(definitions, desired, catalog), apply_role),
    ]
    return "\n".join(lines)


def needed_to_plan(definitions: Definitions, desired: State, catalog: Catalog) -> list[Privilege]:
    """What a dry run needs. Tables that the database lacks are left out."""
    return list(dict.fromkeys(_to_plan(definitions, desired, catalog)))


def needed_to_apply(definitions: Definitions, desired: State, catalog: Catalog) -> list[Privilege]:
    """What an apply needs, what a dry run needs included. Tables that the database lacks are left out."""
    reads = needed_to_plan(definitions, desired, catalog)
    columns = {(privilege.kind, privilege.object): privilege.columns for privilege in reads}
    # A dry run reads nearly all that an apply reads, too.
    more = [
        privilege
        for privilege in _to_apply(definitions, catalog)
        if privilege not in reads and not {*privilege.columns} & {*columns.get((privilege.kind, privilege.object), ())}
    ]
    return list(dict.fromkeys([*reads, *more]))


def to_grant(privileges: Iterable[Privilege], role: str) -> list[str]:
    """GRANT statements: one for all that is granted on an object, and one for each kind that is granted on columns."""
    on_whole: dict[str, list[str]] = {}
    on_columns: dict[tuple[str, str], list[str]] = {}
    for privilege in privileges:
        if privilege.columns:
            on_columns.setdefault((privilege.object, privilege.kind), []).extend(privilege.columns)
        else:
            on_whole.setdefault(privilege.object, []).append(privilege.kind)
    said = [(", ".join(kinds), on) for on, kinds in on_whole.items()]
    said += [(f"{kind} ({_columns(columns)})", on) for (on, kind), columns in on_columns.items()]
    return [f"GRANT {what} ON {on} TO {quoted(role)};" for what, on in said]


def _columns(names: Iterable[str]) -> str:
    return ", ".join(quoted(name) for name in dict.fromkeys(names))


def quoted(name: str) -> str:
    """An identifier as SQL needs it."""
    return '"' + name.replace('"', '""') + '"'


def _on(kind: str, relation: Relation, names: Iterable[str | None]) -> Privilege:
    """Access to columns, each named once; those that are None are left out."""
    return Privilege(kind, relation.schema, relation.name, tuple(dict.fromkeys(name for name in names if name)))


def _described(definitions: Definitions, catalog: Catalog) -> Iterator[tuple[Table, Relation]]:
    for table in definitions.tables.values():
        relation = catalog.relations.get((table.definition.schema, table.definition.table))
        if relation is not None:
            yield table, relation


def _to_plan(definitions: Definitions, desired: State, catalog: Catalog) -> Iterator[Privilege]:
    described = list(_described(definitions, catalog))
    for schema in sorted({relation.schema for _, relation in described} | {LEDGER}):
        yield Privilege("USAGE", schema)
    yield Privilege("SELECT", LEDGER, ALL_TABLES)
    for table, relation in described:
        of = table.definition
        expected = {column for row in desired.get(table.name, {}).values() for column in row.expect}
        named = [of.key, of.label, of.touch, of.audit.tenant, *table.fields, *table.matched]
        yield _on("SELECT", relation, [*named, *sorted(expected & relation.columns.keys())])


def _to_apply(definitions: Definitions, catalog: Catalog) -> Iterator[Privilege]:
    for name, kinds in _LEDGER.items():
        for kind in kinds:
            yield Privilege(kind, LEDGER, name)
    for table, relation in _described(definitions, catalog):
        of = table.definition
        yield _on("UPDATE", relation, [of.touch, *table.fields])
        if of.missing_row == "create":
            yield from _insert(relation, [of.key, of.touch, *of.create, *table.fields])
    policy = definitions.policy.audit
    audit = catalog.relations.get((policy.schema, policy.table))
    if audit is not None:
        yield Privilege("USAGE", audit.schema)
        yield from _insert(audit, policy.columns)
    if policy.actor is not None:
        actor = policy.actor
        yield from _beside(catalog, (actor.schema, actor.table), [actor.id, actor.email])
    if policy.without_tenant is not None and policy.without_tenant.create is not None:
        row = policy.without_tenant.create
        yield from _beside(catalog, (row.schema, row.table), [row.key])


def _insert(relation: Relation, names: Iterable[str | None]) -> Iterator[Privilege]:
    """To add rows with these columns, the others by their defaults, which may ask a sequence for its next number."""
    insert = _on("INSERT", relation, names)
    yield insert
    for name, column in relation.columns.items():
        for schema, sequence in column.sequences if name not in insert.columns else ():
            yield Privilege("USAGE", schema, sequence, is_sequence=True)


def _beside(catalog: Catalog, name: RelationName, columns: Iterable[str]) -> Iterator[Privilege]:
    """To read a table that the policy speaks of, and its schema."""
    relation = catalog.relations.get(name)
    if relation is not None:
        yield Privilege("USAGE", relation.schema)
        yield _on("SELECT", relation, columns)
