"""Whose switch it is, for `reconcile kill` and `reconcile restore`.

Takes what a person typed; asks the database or, where that is away, git.
"""

from __future__ import annotations

from reconciler.cli.output import say
from reconciler.cli.proposal import Database
from reconciler.errors import DatabaseProblem, UsageProblem
from reconciler.playbook import Playbook
from reconciler.runbook.committed import Committed, rows_asked_for
from reconciler.runbook.subject import Subject, find_in_database, find_in_state

__all__ = ["refuse_wrong_subject", "subject_of"]


def refuse_wrong_subject(name: str, playbook: Playbook, text: str | None) -> None:
    """Raise UsageProblem where a subject is needed and missing, or given and without meaning."""
    if playbook.subject is not None and not text:
        raise UsageProblem(f"{name} is about one row of {playbook.subject}: --tenant NAME|ID")
    if playbook.subject is None and text:
        raise UsageProblem(f"--tenant: {name} is about everybody")


def subject_of(
    database: Database, committed: Committed, name: str, playbook: Playbook, text: str | None
) -> Subject | None:
    """Whose switch it is, asked of the database or, where it is away, of git; None where it is everybody's."""
    refuse_wrong_subject(name, playbook, text)
    if playbook.subject is None or text is None:
        return None
    definitions = committed.runbook.definitions
    table = definitions.tables[playbook.subject]
    if database.connection is not None:
        try:
            return find_in_database(database.connection, definitions, table, text)
        except DatabaseProblem as error:
            say(f"note: {error}")
            database.give_up(error)
    rows = rows_asked_for(committed.files, definitions, {table.name}).get(table.name, {})
    subject = find_in_state(rows, table, text)
    if not subject.is_certain:
        say(f"note: nobody could look whether {table.name} has a row {subject.key}")
    return subject
