"""A playbook's kill as edits of state: which values become what, which are so already, and the words of the commit.

Takes a Committed, a playbook, an option and a subject; gives a Kill. Nothing is read from a database or written: what
the live rows have is handed in, where somebody could look.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import msgspec

from reconciler.canonical import equal, to_text
from reconciler.editing.committing import message_of
from reconciler.editing.edit import Edit, Keep
from reconciler.editing.files import EditedFile, edit_files
from reconciler.errors import InvalidInput, UsageProblem, nearest
from reconciler.fields import Field
from reconciler.model import Direction, FieldKey, Json, Row, RowKey, Value
from reconciler.playbook import SUBJECT, Assignment, Playbook
from reconciler.runbook.committed import Committed, rows_asked_for
from reconciler.runbook.in_effect import LiveRows
from reconciler.runbook.subject import Subject
from reconciler.schema import Definitions

__all__ = [
    "INCIDENT",
    "OPTION",
    "PLAYBOOK",
    "SUBJECT_TRAILER",
    "Kill",
    "choose_option",
    "choose_playbook",
    "draft_kill",
    "incident_in",
    "message_of_kill",
    "row_of",
    "why",
]

PLAYBOOK, OPTION, INCIDENT, SUBJECT_TRAILER = (
    "Reconcile-Playbook",
    "Reconcile-Option",
    "Incident",
    "Reconcile-Subject",
)
"""Trailers of the commit. Only a kill has an option."""

_INCIDENT = re.compile(r"\bINC-?[0-9]+\b", re.IGNORECASE)


class Kill(msgspec.Struct, frozen=True, kw_only=True):
    """What the kill does to git. `notes` say what is not edited, and why.

    `fields` are those that an apply of it looks at: all that git names for this kill, edited now or before.
    """

    playbook: str
    option: str
    subject: Subject | None
    edits: tuple[Edit, ...]
    files: tuple[EditedFile, ...]
    fields: frozenset[FieldKey]
    notes: tuple[str, ...]


def choose_playbook(name: str, playbooks: Mapping[str, Playbook]) -> Playbook:
    """The playbook of this name. Raises UsageProblem, with the nearest name."""
    if name not in playbooks:
        hint = nearest(name, playbooks) or f"there are {', '.join(playbooks) or 'none'}"
        raise UsageProblem(f'there is no playbook "{name}" ({hint})')
    return playbooks[name]


def choose_option(name: str, playbook: Playbook, flags: Sequence[str]) -> str:
    """The option that the flags name, the default without one. Raises UsageProblem, with a list of what there is."""
    options = playbook.kill.options
    listed = "\n".join(f"  --{option}  {kill.help}" for option, kill in options.items())
    for flag in flags:
        if flag not in options:
            hint = nearest(flag, options)
            about = f" ({hint.replace(chr(34), '').replace('did you mean ', 'did you mean --')})" if hint else ""
            raise UsageProblem(f"--{flag}: {name} has no such option{about}. It has:\n{listed}")
    if len(set(flags)) > 1:
        raise UsageProblem(f"{', '.join('--' + flag for flag in flags)}: give one of them")
    return flags[0] if flags else playbook.kill.default


def incident_in(reason: str, given: str | None) -> str | None:
    """The incident's name: the one given, else one such as INC-142 in the reason."""
    if given is not None:
        return " ".join(given.split()) or None
    found = _INCIDENT.search(reason)
    return found[0].upper() if found else None


def why(reason: str, playbook: str, incident: str | None) -> str:
    """The reason as it stands beside a value: with the playbook and, where the reason lacks it, the incident."""
    named = incident is not None and incident.lower() in reason.lower()
    about = ", ".join([playbook, *([incident] if incident is not None and not named else [])])
    return f"{reason.strip()} ({about})"


def row_of(one: Assignment, subject: Subject | None) -> RowKey:
    """The row that an assignment means."""
    if one.row != SUBJECT:
        return one.table, one.row
    assert subject is not None, "a playbook whose rows are the subject's has one"
    return one.table, subject.key


def draft_kill(
    committed: Committed,
    name: str,
    playbook: Playbook,
    option: str,
    subject: Subject | None,
    *,
    reason: str,
    until: str | None = None,
    live: LiveRows | None = None,
) -> Kill:
    """The edits of an option of a kill. `reason` is what stands beside each value.

    What is off already is left as it is: a limit that was cut deeper, a status that is worse. Raises as `edit_files`.
    """
    definitions = committed.runbook.definitions
    assignments = playbook.kill.options[option].set
    asked = rows_asked_for(committed.files, definitions, {one.table for one in assignments})
    edits: list[Edit] = []
    fields: set[FieldKey] = set()
    notes: list[str] = []
    for one in assignments:
        table, key = row_of(one, subject)
        field = definitions.tables[table].fields[one.field]
        row = asked.get(table, {}).get(key)
        value = row.values.get(one.field) if row is not None else None
        note = _off_already(field, value, one.value, until, f"{table}/{key}.{one.field}")
        if not note and value is None and live is not None:
            note = _off_by_itself(field, live.get((table, key), {}), one, f"{table}/{key}.{one.field}")
            if note:
                notes.append(note)
                continue
        fields.add((table, key, one.field))
        if note:
            notes.append(note)
            continue
        expect = _expectation(definitions, row, table, subject if one.row == SUBJECT else None)
        edits.append(
            Edit(table, key, one.field, one.value, reason, until=until, then=None, override=None, expect=expect)
        )
    labels = {(subject.table, subject.key): subject.label} if subject is not None and subject.label else {}
    files = edit_files(committed.files, edits, definitions, labels) if edits else []
    for file in files:
        if file.path in committed.put_aside:  # it is not empty: nobody could read it
            raise InvalidInput(committed.put_aside[file.path])
    return Kill(
        playbook=name,
        option=option,
        subject=subject,
        edits=tuple(edits),
        files=tuple(files),
        fields=frozenset(fields),
        notes=tuple(notes),
    )


def message_of_kill(kill: Kill, playbook: Playbook, reason: str, incident: str | None) -> str:
    """The commit's message: what is switched, why, and trailers that say whose switch it is."""
    about = f", {kill.subject.name}" if kill.subject is not None else ""
    lines = [f"{one.table}/{one.key} {one.field}: {_value(one)}" for one in kill.edits]
    trailers = [(PLAYBOOK, kill.playbook), (OPTION, kill.option)]
    trailers += [(INCIDENT, incident)] if incident else []
    trailers += [(SUBJECT_TRAILER, f"{kill.subject.table}/{kill.subject.key}")] if kill.subject is not None else []
    option = playbook.kill.options[kill.option]
    subject = f"Kill: {playbook.title}{about}: {reason.strip()}"
    return message_of(subject, [reason.strip(), option.help.strip(), "\n".join(lines)], trailers)


def _off_already(field: Field, value: Value | None, wanted: Json, until: str | None, place: str) -> str:
    """Why git's own value is not edited; empty where it is."""
    if value is None or value.until != until:
        return ""
    if equal(value.data, wanted):
        return f"{place}: git has {to_text(wanted)} already"
    if field.is_killed(value.data) or field.direction(value.data, wanted) is Direction.RESTORE:
        return f"{place}: git has {to_text(value.data)} already, which is no less"
    return ""


def _off_by_itself(field: Field, live: Mapping[str, Json], one: Assignment, place: str) -> str:
    """Why a value that git does not name stays out of it: the live one is off by more than the kill would do."""
    if one.field not in live:
        return ""
    has = live[one.field]
    if equal(has, one.value) or not (field.is_killed(has) or field.direction(has, one.value) is Direction.RESTORE):
        return ""
    return f"{place}: the database has {to_text(has)}, and {to_text(one.value)} would be more: it is left as it is"


def _expectation(definitions: Definitions, row: Row | None, table: str, subject: Subject | None) -> dict[str, Json]:
    """What a new row's `$expect` says, so that a reviewer sees whose row it is."""
    label = definitions.tables[table].definition.label
    if row is not None or subject is None or label is None or subject.label is None or not subject.is_certain:
        return {}
    return {label: subject.label}


def _value(edit: Edit) -> str:
    assert not isinstance(edit.value, Keep)
    return to_text(edit.value) + (f", until {edit.until}" if isinstance(edit.until, str) else "")
