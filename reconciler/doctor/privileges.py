"""What this role may do: what it lacks for a dry run and for an apply, and what it has too much, as exact statements.

Takes a Project and a connection; gives Findings. What is needed is what `reconcile init` prints (`grants`); whether it
is there, the server says itself, however it came about. What is too much is read from the access lists, with whom it
was granted to, because only from that one it can be revoked.

Too much is: to be a superuser, to own what is managed, to read a secret, and every way to write that no apply needs. A
role may read more than it needs (`triage` does), secrets apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec
from psycopg import Connection
from psycopg.rows import TupleRow

from reconciler.database.connection import DatabaseConnection
from reconciler.database.transaction import begin_read_only
from reconciler.doctor.findings import Finding, Purpose, counted, ok, warning, wrong
from reconciler.doctor.live import read_live_catalog
from reconciler.errors import NotAsExpected
from reconciler.grants import ALL_TABLES, LEDGER, Privilege, needed_to_apply, needed_to_plan, quoted, to_grant
from reconciler.project import Project

__all__ = ["look_at_privileges"]

PART = "privileges"
_WRITES = frozenset({"INSERT", "UPDATE", "DELETE", "TRUNCATE", "TRIGGER"})
_BY_OWNER = "as the owner of the tables"

RelationKey = tuple[str, str]
"""Schema and name."""


class Role(msgspec.Struct, frozen=True):
    """Who is asking, and what no access list limits."""

    name: str
    is_superuser: bool
    sees_all_rows: bool
    reads_all: bool
    writes_all: bool


class Entry(msgspec.Struct, frozen=True):
    """One entry of an access list that counts for the role: `column` None for the whole table."""

    relation: RelationKey
    column: str | None
    kind: str
    grantee: str


class Owned(msgspec.Struct, frozen=True):
    """A relation, and how the role stands to it. `hides_rows`: row security applies to the role."""

    relation: RelationKey
    is_owned: bool
    hides_rows: bool


def look_at_privileges(connection: DatabaseConnection, project: Project, purpose: Purpose) -> list[Finding]:
    """What is missing and what is too much, for dry runs and (unless the purpose is to plan) for applies."""
    definitions = project.definitions
    with begin_read_only(connection, doing="looking at privileges"):
        catalog = read_live_catalog(connection, definitions)
        reads = needed_to_plan(definitions, project.desired, catalog)
        needed = needed_to_apply(definitions, project.desired, catalog) if purpose == "apply" else reads
        role = _role(connection)
        ledger = _ledger_tables(connection)
        missing = _missing(connection, reads, ledger)
        missing_more = _missing(connection, [privilege for privilege in needed if privilege not in reads], ledger)
        relations = {(relation.schema, relation.name) for relation in catalog.relations.values()}
        known = sorted(relations | {(LEDGER, table) for table in ledger})
        owned = _owned(connection, known)
        entries = _entries(connection, known)
    secrets = {
        (relation.schema, relation.name): table.secret
        for table in definitions.tables.values()
        if (relation := catalog.relations.get((table.definition.schema, table.definition.table))) is not None
    }
    return [
        *_about_role(role),
        *_about_missing(role.name, missing, missing_more, purpose),
        *_about_owned(role, owned),
        *_about_excess(role, entries, {one.relation for one in owned if one.is_owned}, needed, secrets),
    ]


# What the server says


def _role(connection: Connection[TupleRow]) -> Role:
    row = connection.execute(
        """
        SELECT rolname, rolsuper, rolsuper OR rolbypassrls,
               pg_has_role(oid, 'pg_read_all_data', 'USAGE'), pg_has_role(oid, 'pg_write_all_data', 'USAGE')
          FROM pg_roles WHERE rolname = current_user
        """
    ).fetchone()
    assert row is not None
    return Role(*row)


def _ledger_tables(connection: Connection[TupleRow]) -> list[str]:
    found = connection.execute(
        """
        SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE n.nspname = %s AND c.relkind IN ('r', 'p') ORDER BY c.relname
        """,
        (LEDGER,),
    )
    return [name for (name,) in found]


def _missing(
    connection: Connection[TupleRow], needed: Sequence[Privilege], ledger: Sequence[str]
) -> list[Privilege]:
    """Those of the privileges that the role does not have, of columns only those that it lacks."""
    asked: list[tuple[int, str, str, str | None, str | None]] = []
    for number, privilege in enumerate(needed):
        if privilege.schema == LEDGER and not ledger:
            continue  # nothing can be granted on what is not there
        tables = ledger if privilege.table == ALL_TABLES else [privilege.table]
        for table in tables:
            for column in privilege.columns or (None,):
                asked.append((number, privilege.kind, privilege.schema, table, column))
    found = connection.execute(
        """
        SELECT w.number, w.column_name
          FROM unnest(%s::int[], %s::text[], %s::text[], %s::text[], %s::text[])
               AS w (number, kind, schema, table_name, column_name)
          JOIN pg_namespace n ON n.nspname = w.schema
          LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.table_name
          LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = w.column_name AND a.attnum > 0
         WHERE NOT CASE
               WHEN w.table_name IS NULL THEN has_schema_privilege(n.oid, w.kind)
               WHEN c.relkind = 'S' THEN has_sequence_privilege(c.oid, w.kind)
               WHEN w.column_name IS NULL THEN has_table_privilege(c.oid, w.kind)
               ELSE has_column_privilege(c.oid, a.attnum, w.kind) END
         ORDER BY w.number
        """,
        [list(column) for column in zip(*asked, strict=True)] if asked else [[], [], [], [], []],
    )
    lacking: dict[int, list[str]] = {}
    for number, column in found:
        lacking.setdefault(number, []).extend([column] if column is not None else [])
    return [msgspec.structs.replace(needed[number], columns=tuple(columns)) for number, columns in lacking.items()]


def _owned(connection: Connection[TupleRow], relations: Sequence[RelationKey]) -> list[Owned]:
    found = connection.execute(
        """
        SELECT n.nspname, c.relname, pg_has_role(current_user, c.relowner, 'USAGE'), row_security_active(c.oid)
          FROM unnest(%s::text[], %s::text[]) AS w (schema, name)
          JOIN pg_namespace n ON n.nspname = w.schema
          JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.name
         ORDER BY 1, 2
        """,
        [[schema for schema, _ in relations], [name for _, name in relations]],
    )
    return [Owned((schema, name), is_owned, hides) for schema, name, is_owned, hides in found]


def _entries(connection: Connection[TupleRow], relations: Sequence[RelationKey]) -> list[Entry]:
    """What the access lists of tables and columns grant to the role, to a role it is a member of, and to everybody."""
    found = connection.execute(
        """
        SELECT DISTINCT n.nspname, c.relname, list.column_name, acl.privilege_type, coalesce(g.rolname, 'PUBLIC')
          FROM unnest(%s::text[], %s::text[]) AS w (schema, name)
          JOIN pg_namespace n ON n.nspname = w.schema
          JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.name
         CROSS JOIN LATERAL (
               SELECT NULL::name AS column_name, c.relacl AS acl
                UNION ALL
               SELECT a.attname, a.attacl FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attacl IS NOT NULL) list
         CROSS JOIN LATERAL aclexplode(list.acl) acl
          LEFT JOIN pg_roles g ON g.oid = acl.grantee
         WHERE acl.grantee <> c.relowner AND (acl.grantee = 0 OR pg_has_role(current_user, acl.grantee, 'USAGE'))
         ORDER BY 1, 2, 5, 4, 3
        """,
        [[schema for schema, _ in relations], [name for _, name in relations]],
    )
    return [Entry((schema, name), column, kind, grantee) for schema, name, column, kind, grantee in found]


# What it means


def _about_role(role: Role) -> Iterator[Finding]:
    if role.is_superuser:
        text = f"{role.name} is a superuser: it can read every secret, and rewrite the audit log"
        yield warning(PART, "role", text, "connect as one of the roles whose grants `reconcile init` prints")
        return
    for has, name, may in (
        (role.reads_all, "pg_read_all_data", "read every secret"),
        (role.writes_all, "pg_write_all_data", "rewrite the audit log"),
    ):
        if has:
            command = f"REVOKE {name} FROM {quoted(role.name)};"
            yield warning(PART, "role", f"{role.name} is a member of {name}: it can {may}", "leave that role", command)


def _about_missing(
    role: str, reads: Sequence[Privilege], writes: Sequence[Privilege], purpose: Purpose
) -> Iterator[Finding]:
    for missing, what in ((reads, "to plan"), (writes, "to apply")):
        if missing:
            statements = to_grant(missing, role)
            text = f"role {role} lacks {counted(len(statements), 'grant')}"
            advice = f"run this {_BY_OWNER}"
            yield wrong(PART, what, NotAsExpected.exit_code, text, advice, *statements)
        elif what == "to plan" or purpose == "apply":
            yield ok(PART, what, f"role {role} has every privilege that it needs {what}")


def _about_owned(role: Role, owned: Iterable[Owned]) -> Iterator[Finding]:
    owned = list(owned)
    mine = [one.relation for one in owned if one.is_owned]
    if mine and not role.is_superuser:
        text = f"role {role.name} owns {_listed(mine)}: an owner may do everything, whatever is granted"
        yield warning(PART, "ownership", text, "connect as one of the roles whose grants `reconcile init` prints")
    hidden = [one.relation for one in owned if one.hides_rows]
    if hidden:
        text = f"row security decides what role {role.name} sees of {_listed(hidden)}; other rows are missing to it"
        commands = [f'CREATE POLICY reconcile ON {_named(one)} TO {quoted(role.name)} USING (true);' for one in hidden]
        yield warning(PART, "row security", text, f"unless a policy shows them all, run this {_BY_OWNER}", *commands)


def _about_excess(
    role: Role,
    entries: Sequence[Entry],
    owned: set[RelationKey],
    needed: Sequence[Privilege],
    secrets: dict[RelationKey, frozenset[str]],
) -> Iterator[Finding]:
    if role.is_superuser:
        return
    found = [
        entry
        for entry in entries
        if entry.relation not in owned and _is_excess(entry, needed, secrets.get(entry.relation, frozenset()))
    ]
    if not found:
        yield ok(PART, "too much", f"nothing is granted to role {role.name} that it must not have")
        return
    # What is revoked of a whole table is revoked of its columns as well, those included that are needed.
    revoked = {(entry.kind, *entry.relation) for entry in found if entry.column is None}
    again = [privilege for privilege in needed if (privilege.kind, privilege.schema, privilege.table) in revoked]
    statements = [*dict.fromkeys(map(_revoke, found)), *to_grant(again, role.name)]
    reads = sorted({entry.relation for entry in found if entry.kind == "SELECT"})
    writes = sorted({entry.relation for entry in found if entry.kind != "SELECT"})
    said = [f"read secrets of {_listed(reads)}"] if reads else []
    said += [f"write more than it needs to {_listed(writes)}"] if writes else []
    yield warning(
        PART, "too much", f"role {role.name} can {' and '.join(said)}", f"run this {_BY_OWNER}", *statements
    )


def _is_excess(entry: Entry, needed: Sequence[Privilege], secret: frozenset[str]) -> bool:
    if entry.kind == "SELECT":
        return bool(secret) if entry.column is None else entry.column in secret
    if entry.kind not in _WRITES:
        return False
    asked = [
        privilege.columns
        for privilege in needed
        if (privilege.schema, privilege.table) == entry.relation and privilege.kind == entry.kind
    ]
    if entry.column is None:
        return () not in asked
    return not any(columns == () or entry.column in columns for columns in asked)


def _revoke(entry: Entry) -> str:
    columns = f" ({quoted(entry.column)})" if entry.column is not None else ""
    grantee = entry.grantee if entry.grantee == "PUBLIC" else quoted(entry.grantee)
    return f"REVOKE {entry.kind}{columns} ON {_named(entry.relation)} FROM {grantee};"


def _named(relation: RelationKey) -> str:
    return ".".join(map(quoted, relation))


def _listed(relations: Sequence[RelationKey]) -> str:
    names = [f"{schema}.{name}" for schema, name in relations]
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
