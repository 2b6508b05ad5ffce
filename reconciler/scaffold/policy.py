"""The text of `schemas/policy.yaml` of a new repository.

Takes the platform's audit table as it is in the database, or nothing; gives text that is valid as it stands. What could
not be found out carries a name that no column has, so that the first run against the database points at its line.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from reconciler.catalog import NUMBER_TYPES, TEXT_TYPES, TIMESTAMP_TYPES, Column, Relation
from reconciler.policy import NOW
from reconciler.scaffold.guesses import killed_values, words_of
from reconciler.scaffold.structure import Structure
from reconciler.scaffold.yaml_words import comment, word

__all__ = ["Lender", "audit_columns", "policy_text", "tenant_column"]

NOBODY = "SYSTEM"
"""The tenant of entries that have none."""

_TENANTS = frozenset(
    {"account", "client", "company", "customer", "merchant", "organisation", "organization", "org", "team", "tenant"}
    | {"workspace"}
)
_ACTORS = frozenset({"actor", "author", "user"})
_EVENTS = frozenset({"action", "activity", "event", "kind", "operation", "type", "what"})
_ABOUT = ("metadata", "details", "detail", "data", "payload", "context", "changes", "about", "meta", "body")
_TIMES = frozenset({"at", "created", "date", "occurred", "time", "timestamp"})


class Lender(msgspec.Struct, frozen=True):
    """The table that the tenant of an entry must be a row of, and the column that is referred to."""

    relation: Relation
    key: str


def policy_text(
    audit: Relation | None,
    structure: Structure,
    users: Mapping[str, str],
    lender: Lender | None,
    *,
    lend_tenant: bool,
) -> str:
    """The whole file. `users` names the table, id and e-mail column of those who are actors; empty where unknown.

    `lend_tenant`: entries of some table belong to nobody; `lender` is where their tenant must be a row, if anywhere.
    """
    columns = audit_columns(audit, structure) if audit is not None else dict(_INVENTED)
    lines = [
        "# yaml-language-server: $schema=json/policy.schema.json",
        "# What is not about one table.",
        *_audit(audit, columns, users),
        *_without_tenant(lender, lend_tenant=lend_tenant),
        *_REST,
    ]
    return "\n".join(lines) + "\n"


_INVENTED = {"id": "$uuid", "account_id": "$tenant", "event": "$event", "details": "$metadata", "created_at": "$now"}


def audit_columns(audit: Relation, structure: Structure) -> dict[str, str]:
    """Which column takes which part of an entry, as far as names, types and foreign keys tell."""
    columns = list(audit.columns.values())
    found: dict[str, str] = {}
    for column in columns:
        is_key = column.name in structure.keys[:1]
        if is_key and not column.has_default and column.type in ("uuid", *TEXT_TYPES):
            found[column.name] = "$uuid"
    tenant = tenant_column(columns, structure)
    if tenant is not None:
        found[tenant] = "$tenant"
    for part, candidates in (
        ("$actor", [column.name for column in columns if _ACTORS.intersection(words_of(column.name))]),
        ("$event", [c.name for c in columns if c.type in TEXT_TYPES and _EVENTS.intersection(words_of(c.name))]),
        ("$metadata", [c.name for c in sorted(columns, key=_most_about) if c.type in ("json", "jsonb")]),
        ("$now", [c.name for c in columns if c.type in TIMESTAMP_TYPES and _TIMES.intersection(words_of(c.name))]),
    ):
        name = next((candidate for candidate in candidates if candidate not in found), None)
        if name is not None:
            found[name] = part
    return {column.name: found[column.name] for column in columns if column.name in found}


def tenant_column(columns: list[Column], structure: Structure) -> str | None:
    """The column that says which customer a row belongs to, one with a foreign key first."""
    likely = [
        column.name
        for column in columns
        if _TENANTS.intersection(words_of(column.name)) and words_of(column.name)[-1] in ("id", "uuid", "key", "code")
    ]
    return next((name for name in likely if name in structure.refers), likely[0] if likely else None)


def _most_about(column: Column) -> tuple[bool, int]:
    """Columns that must be filled first, then those whose name says that an entry's details stand there."""
    name = column.name.lower()
    return not column.not_null, _ABOUT.index(name) if name in _ABOUT else len(_ABOUT)


def _audit(audit: Relation | None, columns: Mapping[str, str], users: Mapping[str, str]) -> Iterator[str]:
    if audit is None:
        yield "# The platform's own audit table, and which of its columns takes which part of an entry. This one is"
        yield "# invented: write down yours. A word without $ is written as it stands."
    else:
        yield f"# The platform's own audit table. Guessed from the columns of {comment(str(audit))}: look at each line."
    yield "audit:"
    yield f"  table: {word(audit.name if audit is not None else 'audit_log')}"
    if audit is not None and audit.schema != "public":
        yield f"  schema: {word(audit.schema)}"
    yield "  columns:"
    for name, part in columns.items():
        yield f"    {word(name)}: {part}"
    for part in ("$tenant", "$event", "$metadata"):
        if part not in columns.values():
            yield f"    name_the_column_of_{part[1:]}: {part} # no column looks like it"
    if audit is not None:
        for column in audit.columns.values():
            if column.not_null and not column.has_default and column.name not in columns:
                yield f"    # {comment(column.name)} must be filled, too: it is NOT NULL and has no default"
    if users:
        yield f"  actor: {{table: {word(users['table'])}, id: {word(users['id'])}, email: {word(users['email'])}}}"
    else:
        yield "  # Whoever wrote the commit can be the entry's actor:"
        yield "  # actor: {table: users, id: id, email: email}"


def _without_tenant(lender: Lender | None, *, lend_tenant: bool) -> Iterator[str]:
    before = "  " if lend_tenant else "  # "
    yield "  # Whose the entries of tables without a tenant are."
    yield f"{before}without_tenant:"
    yield f"{before}  tenant: {NOBODY}"
    if lender is not None:
        yield f"  # It must be a row of {comment(lender.relation.name)}. `reconcile init` can make it:"
        yield "  #   create:"
        yield f"  #     table: {word(lender.relation.name)}"
        yield f"  #     key: {word(lender.key)}"
        yield "  #     row:"
        yield f"  #       {word(lender.key)}: {NOBODY}"
        for column in lender.relation.columns.values():
            if column.not_null and not column.has_default and column.name != lender.key:
                yield f"  #       {word(column.name)}: {_filler(column)}"


def _filler(column: Column) -> str:
    """A value for a column of the row that stands for nobody."""
    if column.is_enum:
        return word((*killed_values(column.labels), *column.labels)[0])
    if column.type in TIMESTAMP_TYPES:
        return NOW
    return {"bool": "false"}.get(column.type, "0" if column.type in NUMBER_TYPES else "Nobody")


_REST = """
# A run that would change more rows than this is refused before its first write. The share counts for each table, once
# more than `floor` rows change. A commit allows more with the trailer "Reconcile-Allow-Changes: N".
blast:
  kill: {rows: 500, share: 50%, floor: 50}
  restore: {rows: 100, share: 20%, floor: 20}

# How many people must approve a pull request, by what it does (.github/workflows/approvals.yml counts). `kill: 0` lets
# whoever opens one that only kills merge it.
approvals: {kill: 1, neutral: 1, restore: 2, definitions: 2}

# While a freeze is on, only kills are applied. For example every weekend, and once over the holidays:
#   - {name: Weekend, cron: 0 18 * * FRI, for: 60h, timezone: Europe/Berlin}
#   - {name: Holidays, from: 2030-12-23T17:00:00Z, to: 2031-01-04T07:00:00Z}
freezes: []

# Rules over the desired state. A row is asked where git names every field of the rule. For example:
#   - {table: accounts, rule: requests_per_day <= 1000, message: ask sales first}
invariants: []

# What a field's `restore: {requires: [...]}` names. Made only when a restore needs them. For example:
#   redis: {type: redis, memory_below: 90%}
checks: {}

# A value with `until` is listed in every plan from so long before.
expiring_soon: 24h""".splitlines()
