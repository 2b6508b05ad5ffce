"""The desired State as it counts now: `until` and `then`, with what the ledger knows of the time before overrides.

Takes a connection inside a transaction, the Project, the rows as they are written down, and the time; gives the State
and what is to be said about it. What is decided is told in `expiry`; here the ledger is asked, and the policy's rules.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from psycopg import Connection

from reconciler.expiry import expiry_notices, in_effect, restoring, what_was_before
from reconciler.fields import seconds
from reconciler.ledger import applied_values, values_before
from reconciler.model import FieldKey, Json, Missing, Row
from reconciler.plan import Notice
from reconciler.project import Project, broken_invariants


def state_in_effect(
    connection: Connection[Any],
    project: Project,
    written_down: dict[str, dict[str, Row]],
    now: datetime,
    *,
    has_ledger: bool,
) -> tuple[dict[str, dict[str, Row]], list[Notice]]:
    """The desired State at `now`, and Notices on what has expired or soon will."""
    if not any(row.timed for rows in written_down.values() for row in rows.values()):
        return written_down, []
    soon = timedelta(seconds=seconds(project.definitions.policy.expiring_soon))
    before = _before(connection, restoring(written_down, now + soon), has_ledger=has_ledger)
    notes = list(expiry_notices(written_down, now, soon, before))
    return _unless_broken(project, written_down, in_effect(written_down, now, before), notes)


def _before(
    connection: Connection[Any], overrides: dict[FieldKey, Json], *, has_ledger: bool
) -> dict[FieldKey, Json | Missing]:
    if not has_ledger:
        return what_was_before(overrides, {}, {})
    known = values_before(connection, overrides)
    return what_was_before(overrides, known, applied_values(connection, overrides.keys() - known.keys()))


def _unless_broken(
    project: Project,
    written_down: dict[str, dict[str, Row]],
    desired: dict[str, dict[str, Row]],
    notes: list[Notice],
) -> tuple[dict[str, dict[str, Row]], list[Notice]]:
    """A row that would break an invariant once its `until` has passed stays as it is written down.

    Nobody has touched it, and nobody may be there to repair it: it must not stand in the way of a kill elsewhere.
    """
    for name, rows in desired.items():
        for key, row in rows.items():
            if row is written_down[name][key]:
                continue
            for problem in broken_invariants(project.definitions, {name: {key: row}}):
                rows[key] = written_down[name][key]
                text = f"{problem.message}, once `until` has passed: so the row stays as it was. Change it in git"
                notes.append(Notice(f"{text} ({problem.hint})", problem.location))
    return desired, notes
