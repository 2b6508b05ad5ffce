"""The way back from a run: the YAML that restores what the run changed, and a commit of it.

Takes a connection, the Project of HEAD and a name (a run, or a commit: all of its runs); gives a Rollback: the fields
that can go back, with the value that each had before, and the Conflicts that cannot. `write_rollback` edits the files
in the work tree, `commit_rollback` commits them. The database is only read: what the commit asks for is applied as any
other, under the same guards. Rolling back a restore is a kill, and passes; rolling back a kill is a restore, and is
held where a restore is.

A field goes back only where it is still as the run left it: in git, in the ledger, and in the database. Whatever
anybody has done since is somebody's decision, and is not undone by the way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from reconciler.actual import Seen, Sought, compare
from reconciler.blast import TRAILER as ALLOW_CHANGES
from reconciler.canonical import equal, to_text
from reconciler.catalog import read_catalog
from reconciler.database.connection import DatabaseConnection
from reconciler.database.transaction import begin_read_only
from reconciler.decide import Inputs, decide
from reconciler.editing.committing import commit_files, message_of
from reconciler.editing.edit import Edit
from reconciler.editing.files import EditedFile, edit_files, undo_edited, write_edited
from reconciler.errors import Failed, InvalidInput, Problem, ReconcileError, Refused, UsageProblem
from reconciler.fit import refuse_what_does_not_fit, relation_of, relations_of
from reconciler.fleets import with_matching_rows
from reconciler.history.query import HistoryQuery
from reconciler.history.read import HistoryEntry, RunEntry, read_history, read_runs
from reconciler.model import MISSING, FieldKey, Finding, Json, Location, Matched, Missing, Row, RowKey, Value
from reconciler.project import STATE, Project, read_revision
from reconciler.sources import files_in_work_tree

__all__ = [
    "TRAILER",
    "Back",
    "Conflict",
    "Rollback",
    "commit_rollback",
    "find_runs",
    "plan_rollback",
    "refuse_changed_state",
    "write_rollback",
]

TRAILER = "Reconcile-Rollback"
"""The trailer of the commit: the id of each run that it rolls back."""

_MOST = 1_000_000
"""More changes than this are not rolled back in one commit."""

_LISTED = 10
_IN_MESSAGE = 50
_ID = frozenset("0123456789abcdef-")


class Back(msgspec.Struct, frozen=True, kw_only=True):
    """One field that goes back: from `after`, which the run left, to `before`. `reason` is what the entry will say."""

    table: str
    key: str
    field: str
    label: str | None
    after: Json
    before: Json
    location: Location | None
    reason: str


class Conflict(msgspec.Struct, frozen=True, kw_only=True):
    """One field that the run changed, and that stays as it is; `why` is a sentence with what to do instead."""

    table: str
    key: str
    field: str
    label: str | None
    why: str
    location: Location | None = None


class Rollback(msgspec.Struct, frozen=True, kw_only=True):
    """What going back from these runs (oldest first) would do. `files` are the edited ones."""

    runs: tuple[RunEntry, ...]
    by_commit: bool
    back: tuple[Back, ...]
    conflicts: tuple[Conflict, ...]
    files: tuple[EditedFile, ...] = ()

    @property
    def name(self) -> str:
        """What is rolled back, as people call it."""
        if self.by_commit:
            runs = "1 run" if len(self.runs) == 1 else f"{len(self.runs)} runs"
            return f"commit {self.runs[0].commit[:12]} ({runs})"
        return f"run {self.runs[0].id[:8]}"


class _Found(msgspec.Struct, frozen=True):
    """A field over all of the runs: as it was before the first, and after the last."""

    first: HistoryEntry
    last: HistoryEntry


def find_runs(connection: DatabaseConnection, project: Project, name: str) -> tuple[tuple[RunEntry, ...], bool]:
    """The runs that a name means, oldest first, and whether it is a commit's name: all of its runs then.

    The beginning of an id is enough (four characters); what is no id is taken for a revision, such as HEAD~1. Raises
    UsageProblem, with a list, where it could mean several, and where it means none.
    """
    text = name.strip().lower()
    runs: tuple[RunEntry, ...] = ()
    commits: dict[str, list[RunEntry]] = {}
    if len(text) >= 4 and _ID.issuperset(text):
        runs = read_runs(connection, HistoryQuery(run=text, limit=_LISTED + 1)).runs
        if "-" not in text:
            commits = _by_commit(read_runs(connection, HistoryQuery(commit=text, limit=1000)).runs)
    if not runs and not commits and project.repository is not None:
        try:
            commit = project.repository.commit(name).id
        except UsageProblem:
            raise UsageProblem(f"no run, and no commit that was applied, is called {name}. {_LOOK}") from None
        commits = _by_commit(read_runs(connection, HistoryQuery(commit=commit, limit=1000)).runs)
        if not commits:
            raise UsageProblem(f"commit {commit[:12]} was never applied to this database. {_LOOK}")
    if len(runs) + len(commits) > 1:
        raise UsageProblem(_ambiguous(name, runs, commits))
    if runs:
        return runs, False
    if not commits:
        raise UsageProblem(f"no run, and no commit that was applied, is called {name}. {_LOOK}")
    return tuple(reversed(next(iter(commits.values())))), True


_LOOK = "`reconcile history --runs` lists what was"


def plan_rollback(
    connection: DatabaseConnection, project: Project, name: str, reason: str, directory: Path
) -> Rollback:
    """What going back would do, with the files edited in memory. Nothing is written.

    `project` is that of HEAD, `reason` why somebody goes back. Raises UsageProblem as `find_runs` does.
    """
    if not reason.strip():
        raise UsageProblem('this needs a reason, which goes into the commit and the audit log: --reason "..."')
    runs, by_commit = find_runs(connection, project, name)
    found = _changes(connection, runs, by_commit)
    seen, project = _look(connection, project, {(table, key) for table, key, _ in found})
    back: list[Back] = []
    conflicts: list[Conflict] = []
    for field in sorted(found):
        one = _judge(project, field, found[field], seen.get(field[:2]), reason)
        if isinstance(one, Back):
            back.append(one)
        else:
            conflicts.append(one)
    conflicts += _still_asked_for(connection, project, runs[0].commit, directory, found)
    rollback = Rollback(runs=runs, by_commit=by_commit, back=tuple(back), conflicts=tuple(conflicts))
    return msgspec.structs.replace(rollback, files=tuple(_edited(project, rollback, directory)))


def refuse_changed_state(project: Project) -> None:
    """Raise Refused where `state/` differs from HEAD: the edits would mix with somebody's own."""
    paths = project.repository.uncommitted((STATE,)) if project.repository is not None else []
    if paths:
        more = f" and {len(paths) - _LISTED} more" if len(paths) > _LISTED else ""
        raise Refused(
            f"not committed: {', '.join(paths[:_LISTED])}{more}. A rollback starts from what is committed: commit "
            "these first, or put them aside with `git stash`. Nothing was changed"
        )


def write_rollback(directory: Path, rollback: Rollback) -> None:
    """Write the edited files into the work tree, all or none."""
    write_edited(directory, rollback.files)


def commit_rollback(directory: Path, rollback: Rollback, reason: str, allow_changes: int = 0) -> str:
    """Commit what `write_rollback` has written; returns the commit's id. Where git refuses, the files are put back.

    `allow_changes` goes into a trailer: so many rows may change whatever the blast limit says.
    """
    lines = [
        f"{one.table}/{one.key} {one.field}: {to_text(one.after)} -> {to_text(one.before)}"
        for one in rollback.back[:_IN_MESSAGE]
    ]
    if len(rollback.back) > _IN_MESSAGE:
        lines.append(f"and {len(rollback.back) - _IN_MESSAGE:,} more fields")
    left = [f"Not rolled back: {one.table}/{one.key} {one.field}" for one in rollback.conflicts[:_IN_MESSAGE]]
    if len(rollback.conflicts) > _IN_MESSAGE:
        left.append(f"and {len(rollback.conflicts) - _IN_MESSAGE:,} more fields")
    trailers = [(TRAILER, run.id) for run in rollback.runs]
    trailers += [(ALLOW_CHANGES, str(allow_changes))] if allow_changes else []
    why = reason.strip()
    message = message_of(f"Roll back {rollback.name}: {why}", [why, "\n".join(lines), "\n".join(left)], trailers)
    try:
        return commit_files(directory, [file.path for file in rollback.files], message)
    except BaseException:
        undo_edited(directory, rollback.files)
        raise


def _by_commit(runs: Sequence[RunEntry]) -> dict[str, list[RunEntry]]:
    commits: dict[str, list[RunEntry]] = {}
    for run in runs:
        commits.setdefault(run.commit, []).append(run)
    return commits


def _ambiguous(name: str, runs: Sequence[RunEntry], commits: Mapping[str, Sequence[RunEntry]]) -> str:
    lines = [f"  run    {run.id}  {run.at}  commit {run.commit[:12]}  {run.reason or ''}" for run in runs]
    lines += [f"  commit {commit}  {of_it[0].at}  {of_it[0].reason or ''}" for commit, of_it in commits.items()]
    more = "" if len(lines) <= _LISTED else "\n  and more"
    return "\n".join([f"{name} could mean each of these. Write more of it:", *lines[:_LISTED]]) + more


def _changes(connection: DatabaseConnection, runs: Sequence[RunEntry], by_commit: bool) -> dict[FieldKey, _Found]:
    """What the runs changed, each field once."""
    wanted = (
        HistoryQuery(commit=runs[0].commit, limit=_MOST) if by_commit else HistoryQuery(run=runs[0].id, limit=_MOST)
    )
    history = read_history(connection, wanted)
    if history.more:
        raise Failed(f"this changed more than {_MOST:,} fields: use `git revert`, and apply that")
    found: dict[FieldKey, _Found] = {}
    for entry in history.entries:  # the newest first
        field = (entry.table, entry.key, entry.field)
        found[field] = _Found(entry, found[field].last if field in found else entry)
    return found


def _look(connection: DatabaseConnection, project: Project, rows: set[RowKey]) -> tuple[dict[RowKey, Seen], Project]:
    """What the ledger and the database have of these rows, one statement for each table; and the project with what
    `$where` asks of them.
    """
    seen: dict[RowKey, Seen] = {}
    definitions = project.definitions
    with begin_read_only(connection, doing="looking at the rows"):
        catalog = read_catalog(connection, relations_of(definitions))
        refuse_what_does_not_fit(definitions, {}, catalog, project.matches)
        for name, table in definitions.tables.items():
            keys = sorted(key for of_table, key in rows if of_table == name)
            # Rows of which nothing is desired differ from whatever the ledger has, so all of them come back.
            asked = {key: Row(name, key, {}) for key in keys}
            if keys:
                sought = Sought(table, relation_of(catalog, table), asked, has_ledger=True, only_keys=keys)
                seen |= {(name, row.key): row for row in compare(connection, sought)}
        wanted = {name: [key for of_table, key in rows if of_table == name] for name in definitions.tables}
        project = with_matching_rows(connection, project, catalog, wanted)
    return seen, project


def _judge(project: Project, field: FieldKey, found: _Found, seen: Seen | None, reason: str) -> Back | Conflict:
    """Whether a field goes back, or why not."""
    table, key, name = field
    row = project.desired.get(table, {}).get(key)
    value = row.values.get(name) if row is not None else None
    definition = project.definitions.tables.get(table)
    if definition is None or name not in definition.fields:
        why = "no schema describes it any more"
    else:
        why = _why_not(found, value, seen, f"{table}/{key}.{name}")
    place = value.location if value is not None else None
    label = found.last.label
    if why:
        return Conflict(table=table, key=key, field=name, label=label, why=why, location=place)
    before = found.first.before
    assert not isinstance(before, Missing)
    run = found.last.run
    said = f"rolls back run {run.id[:8]}" + (f" ({found.last.why})" if found.last.why else "")
    return Back(
        table=table,
        key=key,
        field=name,
        label=label,
        after=found.last.after,
        before=before,
        location=place,
        reason=f"{said}: {reason.strip()}",
    )


def _why_not(found: _Found, value: Value | None, seen: Seen | None, field: str) -> str:
    """Why the field cannot go back; empty where it can."""
    first, last = found.first, found.last
    remove = "remove the entry to let go of it"
    if isinstance(first.before, Missing):
        return f"the run made the row: there is no value before. To manage it no more, {remove}; the row stays"
    if first.finding is Finding.ADOPTION:
        return f"it was not managed before (the database had {to_text(first.before)}). Write that, or {remove}"
    if first.finding in (Finding.DRIFT, Finding.REOPENED):
        return f"the run put git's own value back ({to_text(first.before)} had been set behind git's back)"
    if equal(first.before, last.after):
        return "it is what it was before"
    if value is None:
        return "git no longer names it"
    if isinstance(value, Matched):
        what = f"a `$where` asks for it, of all rows with {value.match}"
        return f"{what}: change that entry, `git revert` the commit, or name the row itself"
    if not equal(value.data, last.after):
        if _is_ahead(last.run):
            what = "files that were not committed" if last.run.dirty else "a commit that is not merged"
            return (
                f"the run was of {what}, and git asks for {to_text(value.data)}. "
                f"To let git have its way: reconcile release {field}"
            )
        if value.until is not None:
            return f"the entry has an `until` ({value.until}): edit it by hand"
        return f"git asks for {to_text(value.data)} by now, and not for {to_text(last.after)} any more"
    return _why_not_in_database(last, seen)


def _why_not_in_database(last: HistoryEntry, seen: Seen | None) -> str:
    actual = seen.actual.get(last.field, MISSING) if seen is not None and seen.actual is not None else MISSING
    base = seen.base.get(last.field, MISSING) if seen is not None and seen.base is not None else MISSING
    if isinstance(actual, Missing):
        return "the row is gone from the database"
    if not isinstance(base, Missing) and not equal(base, last.after) and not _is_ahead(last.run):
        return f"a later run applied {to_text(base)}"
    if not equal(actual, last.after):
        return f"the database has {to_text(actual)} by now, and not {to_text(last.after)} any more"
    return ""


def _is_ahead(run: RunEntry) -> bool:
    """Whether the run left what git asked for in the ledger as it was: git had another opinion then."""
    return run.dirty or run.ahead


def _still_asked_for(
    connection: DatabaseConnection, project: Project, commit: str, directory: Path, found: Mapping[FieldKey, _Found]
) -> list[Conflict]:
    """What the commit asks for and a guard holds: no run has changed it yet, and a later one will."""
    if project.commit is None:
        return []
    with suppress(ReconcileError):  # what no plan can be made of is held by that
        with begin_read_only(connection, doing="looking for what is held"):
            changes = decide(connection, project, Inputs(), compare).plan.changes
        held = {change.sort_key(): change for change in changes if change.hold is not None and change.location}
        asked = {field: change for field, change in held.items() if field not in found}
        if not asked:
            return []
        there = read_revision(directory, commit)
        parents = there.commit.parents if there.commit is not None else ()
        before = read_revision(directory, parents[0]).desired if parents else {}
        return [
            Conflict(
                table=change.table,
                key=change.key,
                field=change.field,
                label=change.label,
                why=f"{commit[:12]} asks for {to_text(_plain(change.desired))}, which a guard still holds; a later run "
                f"applies it. To take that back, too, write {to_text(_plain(change.before))}",
                location=change.location,
            )
            for field, change in sorted(asked.items())
            if (value := _value_in(there.desired, field)) is not None
            and equal(value.data, _plain(change.desired))
            and value.data != getattr(_value_in(before, field), "data", MISSING)
        ]
    return []


def _value_in(desired: Mapping[str, Mapping[str, Row]], field: FieldKey) -> Value | None:
    row = desired.get(field[0], {}).get(field[1])
    return row.values.get(field[2]) if row is not None else None


def _plain(value: Json | Missing) -> Json:
    return None if isinstance(value, Missing) else value


def _edited(project: Project, rollback: Rollback, directory: Path) -> list[EditedFile]:
    """The files of the work tree with the values before, and nothing else changed."""
    if not rollback.back:
        return []
    problems: list[Problem] = []
    files = files_in_work_tree(directory, (STATE,), problems)
    if problems:
        raise InvalidInput(problems)
    edits = [
        Edit(one.table, one.key, one.field, one.before, one.reason, until=None, then=None, override=None)
        for one in rollback.back
    ]
    return edit_files(files, edits, project.definitions)
