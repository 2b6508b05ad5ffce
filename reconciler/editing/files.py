"""Edits over the files of `state/`: each goes to the file where its row stands, and all of it is checked before.

Takes the files of the work tree, edits and Definitions; gives the files that become others. `write_edited` writes them,
all or none. What is checked: that the edited files are a valid state, rules over it (`invariants`) included, and that
no value but those of the edits became another. A rule that is broken without the edits refuses none of them.

Where a row goes that stands nowhere: to the end of `state/<table>.yaml`; where the table is a folder with a file for
each row, to a file of its own there; where it is a folder with several rows in some, to the file with the most of them;
where there is nothing, to a new `state/<table>.yaml`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from reconciler.desired import read_desired, table_of
from reconciler.documents import read_document
from reconciler.editing.edit import AnyEdit, Edit, RemoveField, edit_text
from reconciler.errors import Failed, InvalidInput, Problem
from reconciler.model import Row, RowKey, Value
from reconciler.nodes import Mapping as MappingNode
from reconciler.project import STATE, broken_invariants
from reconciler.schema import Definitions
from reconciler.sources import SourceFile
from reconciler.state_files import StateFile, file_names, path_of_table, schema_of, write_files
from reconciler.targets import files_for, folder_for
from reconciler.where import WHERE

__all__ = ["EditedFile", "edit_files", "undo_edited", "write_edited"]

_Rows = dict[str, dict[str, set[str]]]
"""Path to row key to the fields that it names there."""


class EditedFile(msgspec.Struct, frozen=True):
    """One file before and after. `before` is None for a new one."""

    path: str
    table: str
    before: bytes | None
    after: bytes


def edit_files(
    files: Sequence[SourceFile],
    edits: Sequence[AnyEdit],
    definitions: Definitions,
    labels: Mapping[RowKey, str] | None = None,
) -> list[EditedFile]:
    """The files that the edits change, sorted by path. `labels` are what people call rows that get a file of their own.

    `files` are all those of `state/`. Raises InvalidInput where they are invalid before or after, Failed as `edit_text`
    does. Nothing is written.
    """
    targets = definitions.policy.targets
    files = files_for(files, targets)
    by_table: dict[str, list[AnyEdit]] = {}
    for edit in edits:
        by_table.setdefault(edit.table, []).append(edit)
    edited: list[EditedFile] = []
    for name, of_table in by_table.items():
        if name not in definitions.tables:
            raise Failed(f'no schema for a table "{name}"')
        own = {file.path: file.data for file in files if table_of(file.path, STATE) == name}
        placed = _Placing(name, own, labels or {}, folder_for(name, targets)).place(of_table)
        for path, of_file in placed.items():
            before = own.get(path)
            text = _first_line(name, path) if before is None else before
            after = edit_text(path, text, of_file, definitions.tables[name].fields)
            if after != text:
                edited.append(EditedFile(path, name, before, after))
    edited.sort(key=lambda file: file.path)
    _check(files, edited, edits, definitions)
    return edited


def write_edited(directory: Path, edited: Sequence[EditedFile]) -> None:
    """Write the files below the project's directory, all or none."""
    write_files(directory, [_state_file(file, file.after) for file in edited], replace=True)


def undo_edited(directory: Path, edited: Sequence[EditedFile]) -> None:
    """Make the files what they were before."""
    existing = [_state_file(file, file.before) for file in edited if file.before is not None]
    write_files(directory, existing, replace=True)
    for file in edited:
        if file.before is None:
            (directory / file.path).unlink(missing_ok=True)


class _Placing:
    """Finds the file for each edit of one table."""

    def __init__(
        self, table: str, files: Mapping[str, bytes], labels: Mapping[RowKey, str], folder: str | None
    ) -> None:
        """`folder` is where what is asked of one target alone stands, None where there is one database."""
        self._table = table
        self._folder = folder
        self._labels = labels
        self._rows: _Rows = {path: _rows_of(path, data) for path, data in sorted(files.items())}

    def place(self, edits: Sequence[AnyEdit]) -> dict[str, list[AnyEdit]]:
        """Path to its edits, in their order; an edit of nothing that stands anywhere is left out."""
        placed: dict[str, list[AnyEdit]] = {}
        for edit in edits:
            for path in self._paths_for(edit):
                placed.setdefault(path, []).append(edit)
        return placed

    def _paths_for(self, edit: AnyEdit) -> list[str]:
        holding = [path for path, rows in self._rows.items() if edit.key in rows]
        if isinstance(edit, Edit):
            path = self._path_for(edit, holding)
            self._rows.setdefault(path, {}).setdefault(edit.key, set()).add(edit.field)
            return [path]
        if isinstance(edit, RemoveField):
            holding = [path for path in holding if edit.field in self._rows[path][edit.key]]
            for path in holding:
                self._rows[path][edit.key].discard(edit.field)
            return holding
        for path in holding:
            del self._rows[path][edit.key]
        return holding

    def _path_for(self, edit: Edit, holding: Sequence[str]) -> str:
        with_field = [path for path in holding if edit.field in self._rows[path][edit.key]]
        if with_field:
            return with_field[0]
        if self._folder is not None:  # what another database need not have, and nobody has asked of it
            own = [path for path in self._rows if path.startswith(self._folder)]
            own = [path for path in holding if path in own] or own
            return max(own, key=lambda path: len(self._rows[path])) if own else f"{self._folder}{self._table}.yaml"
        if holding:
            return holding[0]
        alone = [path for path in self._rows if path.count("/") == 1]
        if alone or not self._rows:
            return (alone or [path_of_table(self._table)])[0]
        if all(len(rows) <= 1 for rows in self._rows.values()):
            label = self._labels.get((edit.table, edit.key))
            held = {path: list(rows) for path, rows in self._rows.items()}
            return file_names(self._table, [(edit.key, label)], held)[0]
        return max(self._rows, key=lambda path: len(self._rows[path]))


def _rows_of(path: str, data: bytes) -> dict[str, set[str]]:
    problems: list[Problem] = []
    document = read_document(path, data, problems)
    if problems or document is None:
        raise InvalidInput(problems)
    items = document.root.items if isinstance(document.root, MappingNode) else {}
    rows = {key: node for key, node in items.items() if key != WHERE}
    return {key: set(node.items) if isinstance(node, MappingNode) else set() for key, node in rows.items()}


def _check(
    files: Sequence[SourceFile], edited: Sequence[EditedFile], edits: Sequence[AnyEdit], definitions: Definitions
) -> None:
    """Raise InvalidInput where the state would not be valid, Failed where it would say more than the edits do."""
    if not edited:
        return
    tables = {file.table for file in edited}
    changed = {file.path: file.after for file in edited}
    before = {file.path: file.data for file in files}
    was = _state(before, definitions, tables)
    becomes = _state(before | changed, definitions, tables)
    # A rule that was broken before is somebody else's to mend, and stands in the way of no kill.
    already = {problem.message for problem in broken_invariants(definitions, was)}
    problems = [problem for problem in broken_invariants(definitions, becomes) if problem.message not in already]
    if problems:
        raise InvalidInput(problems, "the edited state would break a rule. Nothing was changed")
    asked = {(edit.table, edit.key, edit.field) for edit in edits if isinstance(edit, Edit | RemoveField)}
    rows = {(edit.table, edit.key) for edit in edits if not isinstance(edit, Edit | RemoveField)}
    for table, key, field in _differences(was, becomes):
        if (table, key, field) not in asked and (table, key) not in rows:
            raise Failed(f"{table}/{key}.{field} would change, which nobody asked for. Edit the file by hand")


def _state(files: Mapping[str, bytes], definitions: Definitions, tables: set[str]) -> dict[str, dict[str, Row]]:
    """What the files of these tables ask for. Raises InvalidInput."""
    problems: list[Problem] = []
    documents = [
        document
        for path, data in sorted(files.items())
        if table_of(path, STATE) in tables and (document := read_document(path, data, problems)) is not None
    ]
    state = read_desired(documents, definitions, STATE, problems)
    if problems:
        raise InvalidInput(problems)
    return state


def _differences(
    one: Mapping[str, Mapping[str, Row]], other: Mapping[str, Mapping[str, Row]]
) -> Iterator[tuple[str, str, str]]:
    """The fields of which the two say something else, places apart."""
    for table in one.keys() | other.keys():
        rows, others = one.get(table, {}), other.get(table, {})
        for key in rows.keys() | others.keys():
            was = rows[key].values if key in rows else {}
            becomes = others[key].values if key in others else {}
            for field in was.keys() | becomes.keys():
                before, after = was.get(field), becomes.get(field)
                if before is None or after is None or _said(before) != _said(after):
                    yield table, key, field


def _said(value: Value) -> Value:
    return msgspec.structs.replace(value, file="", line=0, column=0)


def _first_line(table: str, path: str) -> bytes:
    return f"# yaml-language-server: $schema={schema_of(table, path)}\n".encode()


def _state_file(file: EditedFile, data: bytes) -> StateFile:
    return StateFile(file.path, data, file.table, (), 0)
