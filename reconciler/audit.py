"""The platform's audit log: one entry for each field that was written, in the same transaction.

Takes a connection inside the apply's transaction, the policy's mapping and the run; the entries are made from the
ledger's own `change` rows of the run, by the server, so that there is one for each and none besides. An entry that
cannot be written fails the statement, and with it the whole apply.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from psycopg import Connection, Cursor, sql

from reconciler.canonical import to_text
from reconciler.catalog import Catalog, Relation
from reconciler.ledger import RunRecord
from reconciler.model import Change, Json, RowKey
from reconciler.policy import NOW, AuditPolicy, RowToCreate
from reconciler.schema import Table


def find_actor(connection: Connection[Any], policy: AuditPolicy, catalog: Catalog, email: str) -> str | None:
    """The id of the one user with this e-mail address, case aside; None where there is none, or more than one."""
    lookup = policy.actor
    if lookup is None or not email:
        return None
    users = catalog.relations[lookup.schema, lookup.table]
    statement = sql.SQL("SELECT {id}::text FROM {users} WHERE lower({email}) = lower(%s) LIMIT 2").format(
        id=sql.Identifier(lookup.id), users=users.identifier, email=sql.Identifier(lookup.email)
    )
    found = connection.execute(statement, (email,)).fetchall()
    return str(found[0][0]) if len(found) == 1 else None


def write_entries(
    connection: Connection[Any],
    policy: AuditPolicy,
    catalog: Catalog,
    run: RunRecord,
    actor_user_id: str | None,
    events: Mapping[str, str],
    ordinals: range,
) -> Cursor[Any]:
    """Write the audit entries of some of the run's changes. Returns the cursor, whose `rowcount` is how many there are.

    `events` gives the event type of each table; `ordinals` are the changes' places in the run.
    """
    audit = catalog.relations[policy.schema, policy.table]
    parts = {
        "$uuid": sql.SQL("c.id::text"),
        "$tenant": sql.SQL("c.tenant"),
        "$actor": sql.SQL("%(actor)s"),
        "$event": sql.SQL("%(events)s::jsonb ->> c.table_name"),
        "$metadata": sql.SQL("{}").format(_METADATA),
    }
    columns = list(policy.columns)
    values: list[sql.Composable] = []
    for name, word in policy.columns.items():
        column = audit.columns[name]
        if word == NOW:
            values.append(column.now)
            continue
        # In a statement with parameters the driver takes a single percent sign for one.
        part = parts.get(word, sql.Literal(word.replace("%", "%%")))
        values.append(sql.SQL("({})::{}").format(part, sql.SQL(column.declared)))
    statement = sql.SQL(
        """
        INSERT INTO {audit} ({columns}) SELECT {values} FROM reconciler.change c
         WHERE c.run_id = %(run)s::uuid AND c.ordinal >= %(first)s::int AND c.ordinal < %(end)s::int
        """
    ).format(
        audit=audit.identifier,
        columns=sql.SQL(", ").join(map(sql.Identifier, columns)),
        values=sql.SQL(", ").join(values),
    )
    return connection.execute(
        statement,
        {
            "run": run.id,
            "actor": actor_user_id,
            "events": to_text(dict(events)),
            "common": to_text(_common(run)),
            "first": ordinals.start,
            "end": ordinals.stop,
        },
    )


_METADATA = sql.SQL(
    """
    %(common)s::jsonb || jsonb_strip_nulls(jsonb_build_object(
        'table', c.table_name, 'key', c.key, 'field', c.field, 'finding', c.finding, 'direction', c.direction,
        'file', c.file, 'line', c.line, 'waived', c.waived))
    || jsonb_build_object(
        'before', c.before, 'after', c.after, 'reason', coalesce(c.reason, %(common)s::jsonb ->> 'runReason'))
    """
)


def _common(run: RunRecord) -> dict[str, Any]:
    """What every entry of the run says, whatever field it is about."""
    common = {
        "source": "reconcile",
        "run": run.id,
        "commit": run.commit,
        "uncommitted": run.dirty or None,
        "author": f"{run.author_name} <{run.author_email}>",
        "committer": f"{run.committer_name} <{run.committer_email}>",
        "actor": run.actor,
        "runReason": run.reason,
        "runUrl": run.run_url,
        "pullRequest": run.pull_request,
    }
    return {name: value for name, value in common.items() if value is not None}


def write_note(
    connection: Connection[Any],
    policy: AuditPolicy,
    catalog: Catalog,
    event: str,
    tenant: str,
    metadata: Mapping[str, Json],
) -> None:
    """Write one entry about something that is no change of a managed field."""
    audit = catalog.relations[policy.schema, policy.table]
    given = {
        "$uuid": str(uuid.uuid4()),
        "$tenant": tenant,
        "$event": event,
        "$metadata": to_text({"source": "reconcile", **metadata}),
        "$actor": None,
    }
    values = [
        audit.columns[name].now
        if word == NOW
        else sql.SQL("{}::{}").format(sql.Literal(given.get(word, word)), sql.SQL(audit.columns[name].declared))
        for name, word in policy.columns.items()
    ]
    statement = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
        audit.identifier, sql.SQL(", ").join(map(sql.Identifier, policy.columns)), sql.SQL(", ").join(values)
    )
    connection.execute(statement)


def tenants_of(
    changes: Sequence[Change],
    tables: Mapping[str, Table],
    found: Mapping[RowKey, str | None],
    policy: AuditPolicy,
) -> list[str]:
    """To which tenant the entry of each change belongs: the row's own, or the policy's `without_tenant`."""
    fallback = policy.without_tenant.tenant if policy.without_tenant else ""
    return [
        found.get((change.table, change.key)) or fallback if tables[change.table].definition.audit.tenant else fallback
        for change in changes
    ]


def row_exists(connection: Connection[Any], row: RowToCreate, relation: Relation, key: str) -> bool:
    """Whether the row that tenantless entries need is there."""
    statement = sql.SQL("SELECT EXISTS (SELECT FROM {} WHERE {} = %s)").format(
        relation.identifier, sql.Identifier(row.key)
    )
    found = connection.execute(statement, (key,)).fetchone()
    return bool(found and found[0])


def create_row(connection: Connection[Any], row: RowToCreate, relation: Relation) -> bool:
    """Make the row that tenantless entries need, where it is not there. Returns whether it was made."""
    names = list(row.row)
    values = [
        relation.columns[name].now if row.row[name] == NOW else sql.SQL("{}").format(sql.Literal(row.row[name]))
        for name in names
    ]
    statement = sql.SQL("INSERT INTO {} ({}) VALUES ({}) ON CONFLICT ({}) DO NOTHING").format(
        relation.identifier,
        sql.SQL(", ").join(map(sql.Identifier, names)),
        sql.SQL(", ").join(values),
        sql.Identifier(row.key),
    )
    return connection.execute(statement).rowcount == 1
