"""What a commit says: the runbook in it, the files of its state, and the rows that these ask for.

Takes a directory and a commit; gives a Committed. Only the tables that are asked for are read as state, and of these no
file that is wrong and does not name the rows (`aside`), so that a mistake elsewhere stands in the way of no kill.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from reconciler.desired import read_desired, table_of
from reconciler.documents import read_document
from reconciler.editing.files import EditedFile
from reconciler.errors import InvalidInput, Problem, ReconcileError
from reconciler.model import Row, RowKey
from reconciler.project import FOLDERS, SCHEMAS, STATE, Project, project_of_rows
from reconciler.repository import Repository
from reconciler.runbook.playbooks import Runbook, load_runbook, read_playbook_files
from reconciler.schema import Definitions, read_definitions
from reconciler.sources import SourceFile
from reconciler.targets import files_for

__all__ = [
    "Committed",
    "known_playbooks",
    "read_committed",
    "read_committed_for_kill",
    "rows_alone",
    "rows_asked_for",
]


class Committed(msgspec.Struct, frozen=True):
    """`files` are those of `state/`. `put_aside`: those of them that are not among these any more, and what is wrong in
    each. `schemas_of`: the older commit from which the runbook is, where that of this one is `wrong`.
    """

    runbook: Runbook
    files: tuple[SourceFile, ...]
    put_aside: Mapping[str, Sequence[Problem]] = {}
    schemas_of: str | None = None
    wrong: Sequence[Problem] = ()

    def aside(self, rows: Collection[RowKey]) -> Committed:
        """The same without files that have a mistake, are of the tables of these rows, and say nothing of any of them.

        A file that holds the text of a row's key nowhere does not name it.
        """
        tables = {table for table, _ in rows}
        try:
            rows_asked_for(self.files, self.runbook.definitions, tables)
        except InvalidInput:
            wrong = {
                file.path: problems
                for file in self.files
                if table_of(file.path, STATE) in tables and not any(key.encode() in file.data for _, key in rows)
                if (problems := self._problems_of(file))
            }
            sound = tuple(file for file in self.files if file.path not in wrong)
            return msgspec.structs.replace(self, files=sound, put_aside=wrong)
        return self

    def _problems_of(self, file: SourceFile) -> Sequence[Problem]:
        problems: list[Problem] = []
        document = read_document(file.path, file.data, problems)
        if document is not None:
            read_desired([document], self.runbook.definitions, STATE, problems)
        return problems


def read_committed(directory: Path, revision: str) -> Committed:
    """The runbook and the state's files of a commit. Raises InvalidInput where `schemas/` is invalid in it."""
    problems: list[Problem] = []
    with Repository.open(directory) as repository:
        files = repository.files_at(revision, FOLDERS, problems)
    return Committed(_runbook(files, problems), tuple(file for file in files if file.path.startswith(f"{STATE}/")))


def read_committed_for_kill(directory: Path, revision: str) -> Committed:
    """The same. Where `schemas/` is invalid in the commit, the newest before it that is not takes its place: what kills
    was right then, and whatever has been done to a schema, a rule or another playbook since must not be in its way.

    Raises InvalidInput, of the commit itself, where none of the last commits that changed `schemas/` is valid.
    """
    try:
        return read_committed(directory, revision)
    except InvalidInput as error:
        ignored: list[Problem] = []
        with Repository.open(directory) as repository:
            files = repository.files_at(revision, (STATE,), ignored)
            for commit in repository.changes_of(revision, SCHEMAS, _LOOKED_BACK)[1:]:
                problems: list[Problem] = []
                schemas = repository.files_at(commit, (SCHEMAS,), problems)
                with suppress(InvalidInput):
                    runbook = _runbook(schemas, problems)
                    return Committed(runbook, tuple(files), schemas_of=commit, wrong=tuple(error.problems))
        raise


_LOOKED_BACK = 20
"""Commits."""


def _runbook(files: Sequence[SourceFile], problems: list[Problem]) -> Runbook:
    """The runbook among the files of a commit. `problems` are those of reading them."""
    problems = [one for one in problems if one.location and one.location.file.startswith(f"{SCHEMAS}/")]
    tables = [
        document
        for file in files
        if file.path.startswith(f"{SCHEMAS}/") and file.path.count("/") == 1
        if (document := read_document(file.path, file.data, problems)) is not None
    ]
    definitions = read_definitions(tables, problems)
    playbooks = read_playbook_files(files, definitions, problems)
    if problems or definitions is None:
        raise InvalidInput(problems)
    return Runbook(definitions, playbooks)


def known_playbooks(directory: Path) -> Runbook:
    """What can be named: the playbooks of HEAD and, beside them, those of the work tree, committed or not."""
    try:
        committed = read_committed_for_kill(directory, "HEAD").runbook
    except ReconcileError:
        return load_runbook(directory)
    try:
        written = load_runbook(directory).playbooks
    except ReconcileError:
        written = {}
    return msgspec.structs.replace(committed, playbooks=dict(sorted((written | committed.playbooks).items())))


def rows_asked_for(
    files: Sequence[SourceFile], definitions: Definitions, tables: Collection[str] | None = None
) -> dict[str, dict[str, Row]]:
    """What the files ask for, of these tables or of all. Raises InvalidInput."""
    problems: list[Problem] = []
    documents = [
        document
        for file in files_for(files, definitions.policy.targets)
        if tables is None or table_of(file.path, STATE) in tables
        if (document := read_document(file.path, file.data, problems)) is not None
    ]
    desired = read_desired(documents, definitions, STATE, problems)
    if problems:
        raise InvalidInput(problems)
    return desired


def rows_alone(
    directory: Path, revision: str, committed: Committed, edited: Sequence[EditedFile], rows: Collection[RowKey]
) -> Project:
    """The commit that these edits of a Committed made, read no further than for these rows."""
    definitions = committed.runbook.definitions
    becomes = {file.path: file for file in committed.files} | {
        file.path: SourceFile(file.path, None, file.after) for file in edited
    }
    asked = rows_asked_for(list(becomes.values()), definitions, {table for table, _ in rows})
    desired = {
        table: {key: row for key, row in of_table.items() if (table, key) in rows}
        for table, of_table in asked.items()
    }
    return project_of_rows(directory, revision, definitions, desired)
