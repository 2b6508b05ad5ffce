"""What a run has left behind: the rows, the entries in the platform's audit table, and the effects that arrived.

Takes a Ground and fields; gives sentences, and raises Missed for what is not as it should be. It looks into the tables
themselves, and not at what commands say of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from psycopg import sql

from reconciler.canonical import equal, to_text
from reconciler.drill.ground import Ground
from reconciler.model import FieldKey, Json
from reconciler.runbook.in_effect import read_live
from reconciler.schema import Definitions

__all__ = ["Missed", "check_values", "count_audit_entries", "follow_effects", "values_of"]

_DEADLINE_S = 30.0


class Missed(Exception):
    """A step did not show what it should have; `str()` says what was seen instead."""


def values_of(ground: Ground, definitions: Definitions, fields: Iterable[FieldKey]) -> dict[FieldKey, Json]:
    """What the fields are in the database now; rows that are not there are left out."""
    wanted = [((table, key), field) for table, key, field in fields]
    live = read_live(ground.address, definitions, wanted, _DEADLINE_S)
    if live is None:
        raise Missed("the rows could not be read")
    return {(*row, field): live[row][field] for row, field in wanted if row in live}


def check_values(ground: Ground, definitions: Definitions, expected: Mapping[FieldKey, Json]) -> str:
    """The fields as they are, in words, once they are as expected."""
    found = values_of(ground, definitions, expected)
    for field, value in expected.items():
        if field not in found:
            raise Missed(f"{_name(field)}: there is no such row")
        if not equal(found[field], value):
            raise Missed(f"{_name(field)} is {to_text(found[field])}, and should be {to_text(value)}")
    return ", ".join(f"{field[2]} is {to_text(value)}" for field, value in expected.items())


def last_run(ground: Ground) -> str:
    """The id of the run that was recorded last."""
    rows = ground.query("SELECT id::text FROM reconciler.run ORDER BY sequence DESC LIMIT 1", ())
    if not rows:
        raise Missed("the ledger has no run")
    return str(rows[0][0])


def count_audit_entries(ground: Ground, definitions: Definitions, run: str, expected: Mapping[FieldKey, Json]) -> str:
    """That the run has written one entry for each of the fields, into the platform's own table."""
    audit = definitions.policy.audit
    column = next(name for name, word in audit.columns.items() if word == "$metadata")
    statement = sql.SQL("SELECT {column}::text FROM {table} WHERE {column}::jsonb ->> 'run' = %s").format(
        column=sql.Identifier(column), table=sql.Identifier(*filter(None, (audit.schema, audit.table)))
    )
    entries = [json.loads(text) for (text,) in ground.query(statement.as_string(None), (run,))]
    for field, value in expected.items():
        about = [one for one in entries if (one.get("table"), one.get("key"), one.get("field")) == field]
        if len(about) != 1:
            raise Missed(f"{audit.table} has {len(about)} entries of this run about {_name(field)}, and should have 1")
        if not equal(about[0].get("after"), value):
            raise Missed(f"{audit.table} says that {_name(field)} became {to_text(about[0].get('after'))}")
    return f"{len(expected)} audit {'entry' if len(expected) == 1 else 'entries'}"


def follow_effects(ground: Ground, definitions: Definitions, run: str, expected: Mapping[FieldKey, Json]) -> str:
    """That what the schemas declare for these values is in the outbox, and has arrived where it can; empty for none."""
    arrived = []
    for (table, key, field), value in expected.items():
        declared = sorted(
            (one.kind, one.target) for one in definitions.tables[table].effects.get(field, ()) if one.follows(value)
        )
        rows = ground.query(
            "SELECT id::text, kind, target, payload::text, state, last_error FROM reconciler.outbox "
            "WHERE run_id = %s::uuid AND table_name = %s AND key = %s AND field = %s ORDER BY sequence",
            (run, table, key, field),
        )
        if sorted((row[1], row[2]) for row in rows) != declared:
            name = _name((table, key, field))
            raise Missed(f"{name}: {len(declared)} effects are declared, and the outbox has {len(rows)}")
        arrived += [_arrival(ground, *row) for row in rows]
    return ", ".join(arrived)


def _arrival(ground: Ground, id: str, kind: str, target: str, payload: str, state: str, error: str | None) -> str:
    """One effect, in words. Of a job it is not enough that somebody believes it delivered."""
    document: dict[str, Any] = json.loads(payload)
    name = f"{document['job']} in {target}" if kind == "bullmq" else f"{kind} {target}"
    if ground.is_staging or (ground.redis_is_away and kind not in ("webhook", "pg_notify")):
        return f"{name} waits in the outbox"
    if state != "delivered":
        raise Missed(f"{name} has not arrived ({state}): {error or 'nobody has tried'}")
    if kind != "bullmq":
        return f"{name} was delivered"
    job = ground.job(target, id)
    if job is None or job.get("name") != document["job"] or json.loads(job.get("data", "null")) != document["data"]:
        raise Missed(f"{name} is not in the queue as it was sent")
    return f"{name} arrived"


def _name(field: FieldKey) -> str:
    return f"{field[0]}/{field[1]}.{field[2]}"
