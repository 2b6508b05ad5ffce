"""A new repository: which files it has, that they are valid before one is written, and how they get there.

Takes names of tables and what the workflows install; gives a Planned. `plan_files` is for a machine without a database,
`plan_files_from` reads the live columns of some tables first. Nothing is written that `reconcile validate` would
refuse, and either all files are written or none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files as package_files
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from reconciler.catalog import Catalog, Relation, RelationName, read_catalog
from reconciler.database.connection import DatabaseConnection
from reconciler.database.transaction import begin_read_only
from reconciler.documents import read_document
from reconciler.editing.committing import commit_files, need_identity
from reconciler.editor_schema import editor_schemas, editor_settings
from reconciler.errors import (
    InvalidInput,
    NotAsExpected,
    Problem,
    Refused,
    UsageProblem,
    nearest,
)
from reconciler.git import Git
from reconciler.scaffold import example
from reconciler.scaffold.columns import GUESS, TableText, describe_table
from reconciler.scaffold.policy import Lender, audit_columns, policy_text, tenant_column
from reconciler.scaffold.structure import Structure, read_structures, visible_tables
from reconciler.schema import read_definitions
from reconciler.state_files import StateFile, write_files

__all__ = [
    "Planned",
    "commit_planned",
    "plan_files",
    "plan_files_from",
    "refuse_unless_empty",
    "refuse_without_identity",
    "write_planned",
]

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_LISTED = 40


class Planned(msgspec.Struct, frozen=True):
    """What is to be written: the files by path, and sentences that somebody should read."""

    files: Mapping[str, str]
    notices: tuple[str, ...]


def plan_files(install: str, owners: Sequence[str]) -> Planned:
    """The files for an invented table."""
    text = describe_table(
        example.TABLE,
        example.RELATION,
        example.STRUCTURE,
        schema=None,
        key="id",
        tenant="id",
        origin="An invented table: one row for each customer. Draw yours: reconcile new --from-database --table NAME",
    )
    # Of this table it is known which side is the kill side.
    text = msgspec.structs.replace(text, schema_text=text.schema_text.replace(GUESS, GUESS.replace("# ", "")))
    policy = policy_text(None, Structure(), {}, None, lend_tenant=False)
    notice = f"the table {example.TABLE} is invented. --from-database --table NAME draws schemas from yours"
    return _planned([text], policy, install, owners, [notice])


def plan_files_from(
    connection: DatabaseConnection, tables: Sequence[str], audit_table: str | None, install: str, owners: Sequence[str]
) -> Planned:
    """The files for live tables (`name` or `schema.name`), read in one READ ONLY transaction.

    Raises UsageProblem where no table is named, NotAsExpected where one does not exist or has no key of one column.
    """
    with begin_read_only(connection, doing="reading the columns"):
        visible = visible_tables(connection)
        if not tables:
            more = f" and {len(visible) - _LISTED} more" if len(visible) > _LISTED else ""
            here = f"Here are: {', '.join(visible[:_LISTED])}{more}"
            raise UsageProblem(f"name the tables that git may manage with --table, one or several. {here}")
        found_audit = audit_table or _only_audit_table(visible)
        wanted = {name: _relation_name(name) for name in dict.fromkeys(tables)}
        audit_name = _relation_name(found_audit) if found_audit is not None else None
        catalog = read_catalog(connection, [*wanted.values(), *([audit_name] if audit_name else [])])
        structures = read_structures(connection, catalog.relations.values())
        named = [*wanted, *([audit_table] if audit_table else [])]
        problems = list(_problems(catalog, named, wanted, structures, visible))
        if problems:
            raise NotAsExpected(problems)
        relations = {
            name: _in_order(relation, structures[relation.schema, relation.name])
            for name, relation in catalog.relations.items()
        }
        audit = relations.get(audit_name) if audit_name is not None else None
        of_audit = structures[audit.schema, audit.name] if audit is not None else Structure()
        users = _users(connection, audit, of_audit)
        lender = _lender(connection, audit, of_audit)
    texts = []
    for schema, name in wanted.values():
        relation = relations[schema, name]
        structure = structures[relation.schema, relation.name]
        tenant = _tenant_of(relation, structure, audit, of_audit)
        key = structure.keys[0]
        origin = f"Drawn from the columns of {relation} in database {catalog.database}."
        texts.append(describe_table(name, relation, structure, schema=schema, key=key, tenant=tenant, origin=origin))
    lend_tenant = not all(text.has_tenant for text in texts)
    policy = policy_text(audit, of_audit, users, lender, lend_tenant=lend_tenant)
    return _planned(texts, policy, install, owners, list(_notices(texts, audit)))


def write_planned(directory: Path, planned: Planned) -> None:
    """Write all files below the directory, which is made where it does not exist; all or none."""
    refuse_unless_empty(directory)
    made = [StateFile(path, text.encode(), "", (), 0) for path, text in planned.files.items()]
    write_files(directory, made, replace=False)


def refuse_unless_empty(directory: Path) -> None:
    """Raise Refused where anything is in the directory but a `.git`: a clone of an empty repository may be filled."""
    if not directory.exists():
        return
    if not directory.is_dir():
        raise Refused(f"{directory} is a file. Name a directory that does not exist yet")
    inside = sorted(entry.name for entry in directory.iterdir() if entry.name != ".git")
    if inside:
        some = ", ".join(inside[:3]) + (", …" if len(inside) > 3 else "")
        advice = "Name a directory that is empty, or does not exist yet"
        raise Refused(f"{directory} is not empty ({some}), and nothing was written. {advice}")


def refuse_without_identity(directory: Path) -> None:
    """Raise Refused where git does not know who would commit there."""
    there = next(folder for folder in (directory, *directory.absolute().parents) if folder.is_dir())
    need_identity(there)


def commit_planned(directory: Path, planned: Planned) -> str:
    """Make a git repository of the directory, if it is none, and a commit of the files; its id."""
    if not (directory / ".git").exists():
        Git(directory).output("init", "--quiet", "--initial-branch=main")
    return commit_files(directory, list(planned.files), "Schemas and workflows, made by reconcile new")


def _planned(
    texts: Sequence[TableText], policy: str, install: str, owners: Sequence[str], notices: list[str]
) -> Planned:
    files = {f"schemas/{text.name}.yaml": text.schema_text for text in texts} | {"schemas/policy.yaml": policy}
    states = {f"state/{text.name}.yaml": text.state_text for text in texts}
    problems: list[Problem] = []
    documents = [read_document(path, text.encode(), problems) for path, text in files.items()]
    definitions = read_definitions([document for document in documents if document is not None], problems)
    if definitions is None:
        raise InvalidInput(problems, "These tables cannot be described as they are; nothing was written:")
    editors = {f"schemas/json/{name}": text for name, text in editor_schemas(definitions).items()}
    names = ", ".join(f"[`{text.name}`](schemas/{text.name}.yaml)" for text in texts)
    rest = {
        "README.md": _data("README.md").replace("@@TABLES@@", names),
        ".gitignore": _data("gitignore"),
        ".pre-commit-config.yaml": _data("pre-commit-config.yaml"),
        ".vscode/settings.json": editor_settings(definitions),
        "requirements.txt": _requirements(install),
        ".github/CODEOWNERS": _code_owners(owners),
        ".github/actions/reconcile/action.yml": _data("action.yml"),
        ".github/workflows/drift.yml": _data("drift.yml"),
        ".github/workflows/plan.yml": _data("plan.yml"),
        ".github/workflows/apply.yml": _data("apply.yml"),
        ".github/workflows/approvals.yml": _data("approvals.yml"),
    }
    return Planned(dict(sorted((files | states | editors | rest).items())), tuple(notices))


def _data(name: str) -> str:
    return (package_files("reconciler.scaffold") / "files" / name).read_text(encoding="utf-8")


def _requirements(install: str) -> str:
    """requirements.txt. Raises UsageProblem for what would be no line of it, or would put a password into git."""
    spec = install.strip()
    if not spec or not spec.isprintable() or spec.startswith(("-", "#")):
        raise UsageProblem(
            f"--install {install}: write what pip takes: a name with its version, or git+https://...@TAG"
        )
    if "://" in spec and urlsplit(spec.rpartition(" @ ")[2].strip()).password is not None:
        raise UsageProblem("--install: the address holds a password, which would be committed. Leave it out")
    return f"# What the workflows install. Pin it: a version, or a commit of a git repository.\n{spec}\n"


def _code_owners(owners: Sequence[str]) -> str:
    for owner in owners:
        if not re.fullmatch(r"@[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)?|[^@\s#]+@[^@\s#]+", owner):
            raise UsageProblem(f"--owner {owner}: write @somebody, @organisation/team or an e-mail address")
    nobody = "# Nobody was named, so nobody must yet. For example:\n# * @acme/platform"
    everyone = f"* {' '.join(owners)}" if owners else nobody
    return _data("CODEOWNERS").replace("@@OWNERS@@", everyone)


def _relation_name(name: str) -> RelationName:
    schema, dot, table = name.rpartition(".")
    if not _NAME.fullmatch(table) or (dot and not schema) or table == "policy":
        raise UsageProblem(f"--table {name}: a file schemas/{table}.yaml cannot be made for a table of this name")
    return (schema or None, table)


def _only_audit_table(visible: Sequence[str]) -> str | None:
    found = [name for name in visible if re.fullmatch(r"audit_?(logs?|events?|entries|trail)?", name, re.IGNORECASE)]
    return found[0] if len(found) == 1 else None


def _problems(
    catalog: Catalog,
    names: Sequence[str],
    wanted: Mapping[str, RelationName],
    structures: Mapping[tuple[str, str], Structure],
    visible: Sequence[str],
) -> Iterator[Problem]:
    for name in names:
        relation = catalog.relations.get(_relation_name(name))
        if relation is None:
            message = f'database {catalog.database} has no table "{name}" that role {catalog.role} can see'
            yield Problem(message, None, nearest(name, visible) or "name it schema.table where it is in another schema")
        elif name in wanted and not structures[relation.schema, relation.name].keys:
            message = f"{relation} has no primary key, and no unique constraint, of one column"
            yield Problem(message, None, "no row of it can be named in state: manage another table")
    tables = [table for _, table in wanted.values()]
    for table in sorted({table for table in tables if tables.count(table) > 1}):
        yield Problem(f"two tables are called {table}, and schemas/{table}.yaml can be one's alone", None, "name one")


def _tenant_of(relation: Relation, structure: Structure, audit: Relation | None, of_audit: Structure) -> str | None:
    """The column of the table that holds what an audit entry calls its tenant.

    Where the audit table's tenant refers to a table, that table's rows are the tenants, and others refer to it too.
    """
    columns = list(relation.columns.values())
    target = _target(audit, of_audit, "$tenant")
    if target is None:
        return tenant_column(columns, structure)
    if (relation.schema, relation.name) == target[:2]:
        return target[2]
    return next((name for name, refers in structure.refers.items() if refers == target), None)


def _users(connection: DatabaseConnection, audit: Relation | None, of_audit: Structure) -> dict[str, str]:
    """Where the actor of an audit entry is found by e-mail: the table that the actor's column refers to."""
    target = _target(audit, of_audit, "$actor")
    if target is None:
        return {}
    schema, name, column = target
    users = read_catalog(connection, [(schema, name)]).relations.get((schema, name))
    email = next((c for c in users.columns if c.lower() in ("email", "e_mail", "mail")), None) if users else None
    return {"table": name, "id": column, "email": email} if email is not None else {}


def _lender(connection: DatabaseConnection, audit: Relation | None, of_audit: Structure) -> Lender | None:
    """The table that an entry's tenant must be a row of, None where no foreign key says so."""
    target = _target(audit, of_audit, "$tenant")
    if target is None:
        return None
    schema, name, column = target
    relation = read_catalog(connection, [(schema, name)]).relations[schema, name]
    structure = read_structures(connection, [relation])[schema, name]
    return Lender(_in_order(relation, structure), column)


def _target(audit: Relation | None, of_audit: Structure, part: str) -> tuple[str, str, str] | None:
    """What the column of the audit table that takes this part of an entry refers to."""
    if audit is None:
        return None
    column = next((name for name, taken in audit_columns(audit, of_audit).items() if taken == part), None)
    return of_audit.refers.get(column) if column is not None else None


def _in_order(relation: Relation, structure: Structure) -> Relation:
    """The relation with its columns as the table has them."""
    return msgspec.structs.replace(relation, columns={name: relation.columns[name] for name in structure.order})


def _notices(texts: Sequence[TableText], audit: Relation | None) -> Iterator[str]:
    for text in texts:
        if text.secret:
            yield f"{text.name}: taken for secrets by their names: {', '.join(text.secret)}"
    if audit is None:
        yield "no audit table was named or found: schemas/policy.yaml holds an invented one (--audit-table NAME)"
    yield "kill sides are comments in schemas/*.yaml: nothing is guarded before you have taken the # away"
