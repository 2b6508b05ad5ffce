"""The way back: from the rows of the live database to files of `state/` that ask for exactly these rows.

Takes a connection, a Project and an ImportRequest; gives an Import: the bytes of each file, what could not be
described, and what stands in the way of writing. `write_import` writes it, whole or not at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal

import msgspec

from reconciler.catalog import read_catalog
from reconciler.database.connection import DatabaseConnection
from reconciler.database.transaction import begin_read_only
from reconciler.documents import MAX_FILE_BYTES
from reconciler.errors import Failed, Refused, UsageProblem, nearest
from reconciler.fit import made_by_init, refuse_what_does_not_fit, relation_of, relations_of
from reconciler.fleets import matching_rows
from reconciler.live_rows import LiveRow, LiveRows
from reconciler.model import Location, Row
from reconciler.nodes import Node
from reconciler.plan import Notice, Scope
from reconciler.project import Progress, Project, silent
from reconciler.schema import Definitions, Table
from reconciler.state_files import StateFile, file_names, path_of_table, schema_of, write_files
from reconciler.state_yaml import StateText
from reconciler.where import WHERE

__all__ = ["Import", "ImportRequest", "Layout", "read_state", "write_import"]

Layout = Literal["one-file", "file-per-row"]

_LISTED = 5


class ImportRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a user asked for.

    `non_default`: only values that differ from their column's default. `expect`: each row's label goes into `$expect`.
    """

    scope: Scope = Scope()
    non_default: bool = False
    layout: Layout = "one-file"
    expect: bool = False


class Import(msgspec.Struct, frozen=True):
    """What is to be written. `conflicts` tell of rows that other files of state name already; they forbid writing."""

    files: tuple[StateFile, ...]
    notices: tuple[Notice, ...]
    conflicts: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        """Rows in all files."""
        return sum(len(file.keys) for file in self.files)

    @property
    def fields(self) -> int:
        """Fields in all files."""
        return sum(file.fields for file in self.files)


def read_state(
    connection: DatabaseConnection, project: Project, request: ImportRequest, progress: Progress = silent
) -> Import:
    """Read the rows, in one READ ONLY transaction.

    Raises UsageProblem where the scope names what is not there, NotAsExpected where the database does not fit the
    schemas.
    """
    definitions = project.definitions
    asked = _keys_by_table(definitions, request.scope)
    files: list[StateFile] = []
    notices = [Notice(note) for note in connection.notes]
    held = _keys_by_file(project.desired)
    with begin_read_only(connection, doing="reading the rows"):
        catalog = read_catalog(connection, relations_of(definitions))
        refuse_what_does_not_fit(definitions, {}, catalog, project.matches)
        for name, keys in asked.items():
            table = definitions.tables[name]
            relation = relation_of(catalog, table)
            matching = matching_rows(connection, project, catalog, name)
            live = LiveRows(
                connection, table, relation, non_default=request.non_default, expect=request.expect, asked=matching
            )
            left_out = made_by_init(definitions, table) if keys is None else None
            rows = live.read(keys, left_out, progress)
            files += _one_file(table, rows) if request.layout == "one-file" else _file_per_row(table, rows, held)
            notices += live.notices()
            for key in keys or ():
                if key not in live.found:
                    raise UsageProblem(f'--only {name}/{key}: table {name} has no row with key "{key}"')
    return Import(tuple(files), (*notices, *_dropped(files, held)), tuple(_conflicts(files, project)))


def write_import(directory: Path, imported: Import, *, replace: bool) -> None:
    """Write the files below `directory`, all or none.

    Raises Refused where state would contradict itself, and where files exist and `replace` is false.
    """
    if imported.conflicts:
        more = len(imported.conflicts) - _LISTED
        lines = [*imported.conflicts[:_LISTED], *([f"and {more:,} more"] if more > 0 else [])]
        raise Refused(
            "these rows stand in state already, and each may stand in one place only. Nothing was written: import "
            "others with --only, or remove these first\n" + "\n".join(lines)
        )
    write_files(directory, imported.files, replace=replace)


def _keys_by_table(definitions: Definitions, scope: Scope) -> dict[str, list[str] | None]:
    """The tables to import, each with the keys that were asked for, or None for all rows."""
    tables = definitions.tables
    rows: dict[str, list[str]] = {}
    for row in scope.rows:
        name, _, key = row.partition("/")
        if not key:
            raise UsageProblem(f"--only {row}: name a row as table/key, or a whole table with --table {row}")
        rows.setdefault(name, []).append(key)
    asked: dict[str, list[str] | None] = dict(rows) if rows else dict.fromkeys(scope.tables or tables)
    for name in (*asked, *scope.tables):
        if name not in tables:
            hint = nearest(name, tables) or f"the tables are {', '.join(tables)}"
            raise UsageProblem(f'no schema for a table "{name}" ({hint})')
    return asked


def _one_file(table: Table, rows: Iterator[LiveRow]) -> list[StateFile]:
    path = path_of_table(table.name)
    text = StateText(schema_of(table.name, path))
    keys, fields = [], 0
    for row in rows:
        text.add(row.key, row.expect, _in_order(table, row))
        keys.append(row.key)
        fields += len(row.values)
    return [_file(table, path, text.finish(), keys, fields)] if keys else []


def _file_per_row(table: Table, rows: Iterator[LiveRow], held: Mapping[str, set[str]]) -> list[StateFile]:
    schema = schema_of(table.name, f"{path_of_table(table.name)}/any")
    written: list[tuple[LiveRow, str]] = []
    for row in rows:
        text = StateText(schema)
        text.add(row.key, row.expect, _in_order(table, row))
        written.append((row, text.finish()))
    paths = file_names(table.name, [(row.key, row.label) for row, _ in written], held)
    return [
        _file(table, path, finished, [row.key], len(row.values))
        for path, (row, finished) in zip(paths, written, strict=True)
    ]


def _in_order(table: Table, row: LiveRow) -> dict[str, Node]:
    """The row's values in the order of the schema's file, which is that of `reconcile fmt`."""
    return {name: row.values[name] for name in table.definition.fields if name in row.values}


def _file(table: Table, path: str, text: str, keys: list[str], fields: int) -> StateFile:
    data = text.encode()
    if len(data) > MAX_FILE_BYTES:
        raise Failed(
            f"{path} would have {len(data):,} bytes, and files of more than {MAX_FILE_BYTES:,} are not read. Write a "
            "file per row (--layout file-per-row), or less (--non-default, --only)"
        )
    return StateFile(path, data, table.name, tuple(keys), fields)


def _places_of(row: Row) -> Iterator[Location]:
    """Where state says something of the row."""
    for value in (*row.values.values(), *row.expect.values()):
        if value.location is not None:
            yield value.location


def _keys_by_file(desired: Mapping[str, Mapping[str, Row]]) -> dict[str, set[str]]:
    """Which rows the files of state name now."""
    held: dict[str, set[str]] = {}
    for rows in desired.values():
        for key, row in rows.items():
            for place in _places_of(row):
                held.setdefault(place.file, set()).add(key)
    return held


def _dropped(files: Iterable[StateFile], held: Mapping[str, set[str]]) -> Iterator[Notice]:
    """What files that are overwritten held beside what they will hold."""
    for file in files:
        gone = sorted(held.get(file.path, set()).difference(file.keys))
        if gone:
            more = f" and {len(gone) - _LISTED:,} more" if len(gone) > _LISTED else ""
            some = ", ".join(gone[:_LISTED]) + more
            lost = f"names rows that are not part of this import, and loses them where it is overwritten: {some}"
            yield Notice(f"{file.path} {lost}")


def _conflicts(files: Iterable[StateFile], project: Project) -> Iterator[str]:
    """The rows to be written that stand in files which stay, and a `$where` in one that does not: what it asks for is
    not written a second time.
    """
    files = tuple(files)
    replaced = {file.path for file in files}
    for matches in project.matches.values():
        for path in sorted({match.location.file for match in matches} & replaced):
            yield f"{path}: its {WHERE} would be lost; move it to another file of its table"
    for file in files:
        rows = project.desired.get(file.table, {})
        for key in file.keys:
            row = rows.get(key)
            staying = [place for place in _places_of(row) if place.file not in replaced] if row is not None else []
            if staying:
                yield f"{min(staying)}: row {key} of {file.table}"
