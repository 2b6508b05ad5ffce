"""The way back from a kill: which values go back, to what, and the words of the commit.

Takes a Committed, a playbook and a subject, or an incident; gives a Restore. Only what stands where a kill of this
playbook put it goes back: the value is the kill's, and the reason beside it names no other playbook.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from reconciler.canonical import equal, to_text
from reconciler.editing.committing import message_of
from reconciler.editing.edit import Edit, Keep
from reconciler.editing.files import EditedFile, edit_files
from reconciler.errors import Refused, UsageProblem
from reconciler.git import Git
from reconciler.guards import CheckResult
from reconciler.model import WAIVABLE, FieldKey, Json, Row, RowKey, Value
from reconciler.playbook import BEFORE, SUBJECT, Assignment, Playbook, Step
from reconciler.repository import Repository
from reconciler.runbook.committed import Committed, rows_asked_for
from reconciler.runbook.kill import INCIDENT, OPTION, PLAYBOOK, SUBJECT_TRAILER, row_of
from reconciler.runbook.subject import Subject

__all__ = [
    "Before",
    "Found",
    "Restore",
    "draft_restore",
    "find_incident",
    "message_of_restore",
    "parse_waivers",
    "unconfirmed",
    "value_before_in_git",
]

CONFIRMED = "Confirmed"
_NAMED = re.compile(r"\(([a-z][a-z0-9-]*)(?:, ([^()]+))?\)\s*$")
_MOST_COMMITS = 50

Before = Callable[[Mapping[FieldKey, Json]], Mapping[FieldKey, Json]]
"""What each field was before it was made what is handed in; absent where nobody knows."""


class Found(msgspec.Struct, frozen=True, order=True):
    """What an incident is about: the playbook, and the subject's key (empty where it has none)."""

    playbook: str
    key: str


class Restore(msgspec.Struct, frozen=True, kw_only=True):
    """What the restore does to git. `left` says what does not go back, and why."""

    playbook: str
    subject: Subject | None
    edits: tuple[Edit, ...]
    files: tuple[EditedFile, ...]
    left: tuple[str, ...]

    @property
    def fields(self) -> frozenset[FieldKey]:
        """The fields that go back."""
        return frozenset((edit.table, edit.key, edit.field) for edit in self.edits)


def draft_restore(
    committed: Committed,
    name: str,
    playbook: Playbook,
    subject: Subject | None,
    before: Before,
    *,
    reason: str,
    waivers: Mapping[str, str],
) -> Restore:
    """The edits of the way back. Raises Refused where nothing goes back, with what is known of each field."""
    definitions, known = committed.runbook.definitions, committed.runbook.playbooks
    asked = rows_asked_for(committed.files, definitions, {one.table for one in playbook.restore.set})
    going: list[tuple[Assignment, RowKey, Value]] = []
    left: list[str] = []
    for one in playbook.restore.set:
        row = row_of(one, subject)
        value = asked.get(row[0], {}).get(row[1], _NOBODY).values.get(one.field)
        why_not = _why_not(one, playbook, name, value, known)
        if why_not or value is None:
            left.append(f"{row[0]}/{row[1]}.{one.field}: {why_not}")
        else:
            going.append((one, row, value))
    unknown = {(*row, one.field): value.data for one, row, value in going if one.value == BEFORE}
    values = before(unknown) if unknown else {}
    edits = []
    for one, row, _ in going:
        field = (*row, one.field)
        if one.value == BEFORE and field not in values:
            left.append(f"{row[0]}/{row[1]}.{one.field}: nobody knows what it was before: edit it by hand")
            continue
        data = values[field] if one.value == BEFORE else one.value
        edits.append(Edit(*field, data, reason, until=None, then=None, override=dict(waivers) or None))
    if not edits:
        raise Refused("\n".join([f"nothing of {name} goes back:", *(f"  {text}" for text in left)]))
    files = edit_files(committed.files, edits, definitions)
    return Restore(playbook=name, subject=subject, edits=tuple(edits), files=tuple(files), left=tuple(left))


def message_of_restore(
    restore: Restore,
    playbook: Playbook,
    reason: str,
    incident: str | None,
    *,
    confirmed: Sequence[Step],
    by: str,
    checks: Mapping[str, CheckResult],
) -> str:
    """The commit's message. Who confirmed which step is kept in trailers."""
    about = f", {restore.subject.name}" if restore.subject is not None else ""
    lines = []
    for one in restore.edits:
        assert not isinstance(one.value, Keep)
        lines.append(f"{one.table}/{one.key} {one.field}: {to_text(one.value)}")
    saw = [
        f"Check {name} {'passes' if one.passed else 'does not pass'}: {' '.join(one.saw.split())}"
        for name, one in checks.items()
    ]
    steps = [f"{step.id}: {step.text.strip()}" for step in confirmed]
    trailers = [(PLAYBOOK, restore.playbook)]
    trailers += [(INCIDENT, incident)] if incident else []
    subject = restore.subject
    trailers += [(SUBJECT_TRAILER, f"{subject.table}/{subject.key}")] if subject is not None else []
    trailers += [(CONFIRMED, f"{step.id} by {by}") for step in confirmed]
    paragraphs = [reason.strip(), "\n".join(lines), "\n".join(saw), "\n".join(steps)]
    return message_of(f"Restore: {playbook.title}{about}: {reason.strip()}", paragraphs, trailers)


def unconfirmed(playbook: Playbook, confirmed: Iterable[str]) -> list[Step]:
    """The steps that nobody has confirmed yet. Raises UsageProblem for a confirmation of what is no step."""
    steps = {step.id: step for step in playbook.restore.steps if step.confirm}
    for name in confirmed:
        if name not in steps:
            raise UsageProblem(f"--confirm {name}: there is no such step. There are: {', '.join(steps) or 'none'}")
    return [step for step in steps.values() if step.id not in set(confirmed)]


def parse_waivers(texts: Iterable[str]) -> dict[str, str]:
    """GUARD=REASON, as they stand beside a value in git. Raises UsageProblem."""
    waivers: dict[str, str] = {}
    for text in texts:
        guard, equals, reason = text.partition("=")
        if guard.strip() not in WAIVABLE or not equals or not reason.strip():
            raise UsageProblem(f"--override {text}: write GUARD=REASON, with a guard of {', '.join(WAIVABLE)}")
        waivers[guard.strip()] = reason.strip()
    return waivers


def find_incident(committed: Committed, directory: Path, name: str) -> Found:
    """Playbook and subject of an incident that is on: by the reasons in state, else by the trailers of git's kills.

    Raises UsageProblem where it means none, or several.
    """
    playbooks = committed.runbook.playbooks
    found: set[Found] = set()
    word = re.compile(rf"(?<![\w]){re.escape(name.strip())}(?![\w])", re.IGNORECASE)
    for table, rows in rows_asked_for(committed.files, committed.runbook.definitions).items():
        for key, row in rows.items():
            for field, value in row.values.items():
                by = _killed_by(value, playbooks)
                if by is None or not word.search(value.reason or "") or not _sets(playbooks[by], table, key, field):
                    continue
                found.add(Found(by, key if _is_about(playbooks[by], table, field) else ""))
    if not found:
        found = _kills_in_git(directory, name, playbooks)
    if len(found) > 1:
        about = [(one.playbook, f" --tenant {one.key}" if one.key else "") for one in sorted(found)]
        lines = [f"  reconcile restore {playbook}{subject}" for playbook, subject in about]
        raise UsageProblem("\n".join([f"{name} could mean each of these:", *lines]))
    if not found:
        listed = ", ".join(playbooks) or "none"
        raise UsageProblem(f"{name} is no playbook ({listed}), and no kill that git has names such an incident")
    return found.pop()


def value_before_in_git(committed_before: Callable[[str], Committed], directory: Path, name: str) -> Before:
    """Reads what fields were in the parents of the playbook's kills, the newest first, where no ledger can tell."""

    def before(fields: Mapping[FieldKey, Json]) -> Mapping[FieldKey, Json]:
        values: dict[FieldKey, Json] = {}
        with Repository.open(directory) as repository:
            listed = _grep(directory, f"{PLAYBOOK}: {name}")
            parents = [repository.commit(one).parents for one in listed if _is_kill(repository, one, name)]
        for parent, *_ in filter(None, parents):
            committed = committed_before(parent)
            rows = rows_asked_for(committed.files, committed.runbook.definitions, {table for table, _, _ in fields})
            for field, killed in fields.items():
                table, key, column = field
                value = rows.get(table, {}).get(key, _NOBODY).values.get(column)
                if value is not None and field not in values and not equal(value.data, killed):
                    values[field] = value.data
        return values

    return before


_NOBODY = Row("", "", {})


def _why_not(one: Assignment, playbook: Playbook, name: str, value: Value | None, known: Mapping[str, Playbook]) -> str:
    """Why a field does not go back; empty where it does."""
    if value is None:
        return "git does not name it. Is the kill merged? If it was applied with --now, merge or close its pull request"
    killed = [
        each.value
        for option in playbook.kill.options.values()
        for each in option.set
        if (each.table, each.row, each.field) == (one.table, one.row, one.field)
    ]
    if not any(equal(value.data, each) for each in killed):
        return f"git has {to_text(value.data)}, which no kill of {name} has put there"
    by = _killed_by(value, known)
    if by is not None and by != name:
        return f"it was killed by {by} ({value.reason}): reconcile restore {by}"
    return ""


def _killed_by(value: Value, known: Mapping[str, Playbook]) -> str | None:
    """The playbook that the reason beside a value ends with; None where it names none."""
    named = _NAMED.search(value.reason or "")
    return named[1] if named and named[1] in known else None


def _sets(playbook: Playbook, table: str, key: str, field: str) -> bool:
    return any(one.table == table and one.field == field and one.row in (SUBJECT, key) for one in playbook.restore.set)


def _is_about(playbook: Playbook, table: str, field: str) -> bool:
    """Whether the field's row is the playbook's subject."""
    return any(one.row == SUBJECT and (one.table, one.field) == (table, field) for one in playbook.restore.set)


def _grep(directory: Path, text: str) -> list[str]:
    """The newest commits of any branch whose message holds the text."""
    asked = ("log", "--all", "-i", "-F", f"--grep={text}", f"--max-count={_MOST_COMMITS}", "--format=%H")
    return Git(directory).output(*asked).decode("ascii").split()


def _is_kill(repository: Repository, commit: str, name: str) -> bool:
    trailers = repository.commit(commit).trailers
    return OPTION.lower() in trailers and name in trailers.get(PLAYBOOK.lower(), [])


def _kills_in_git(directory: Path, name: str, playbooks: Mapping[str, Playbook]) -> set[Found]:
    """What the kills with this trailer were about."""
    found = set()
    with Repository.open(directory) as repository:
        for identity in _grep(directory, f"{INCIDENT}: {name.strip()}"):
            trailers = repository.commit(identity).trailers
            incidents = [one.lower() for one in trailers.get(INCIDENT.lower(), [])]
            if name.strip().lower() not in incidents or OPTION.lower() not in trailers:
                continue
            subject = (trailers.get(SUBJECT_TRAILER.lower()) or [""])[0].partition("/")[2]
            found |= {Found(one, subject) for one in trailers.get(PLAYBOOK.lower(), []) if one in playbooks}
    return found
