"""What a run of something that is not merged was to kill and finds off already: it is to stay off all the same.

Takes a Project, or what a run insists on, and the rows that were not in sync; gives the fields with the values that
they have, and Notices. Without this, a kill that comes while a restore waits in git, held or not yet applied, would
find nothing to write, and the next run from git would switch on.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from pathlib import Path

from reconciler.actual import Seen
from reconciler.canonical import equal, to_text
from reconciler.desired import read_desired
from reconciler.documents import read_document
from reconciler.errors import Problem
from reconciler.fields import Field
from reconciler.model import Direction, FieldKey, Json, Row, Value
from reconciler.plan import Notice, Scope
from reconciler.project import STATE, Project, read_the_rest
from reconciler.schema import Table
from reconciler.sources import SourceFile, files_in_work_tree
from reconciler.targets import files_for


def kills_of(project: Project, fields: Iterable[FieldKey]) -> dict[FieldKey, Json]:
    """These fields with the values that the Project asks for."""
    project = read_the_rest(project)
    return {
        (table, key, name): row.data[name]
        for table, key, name in fields
        if (row := project.desired.get(table, {}).get(key)) is not None and name in row.data
    }


def kills_beyond_head(directory: Path, project: Project) -> dict[FieldKey, Json]:
    """What the files of `state/` that are not committed kill, of what HEAD asks for, with their values."""
    assert project.repository is not None
    paths = set(project.repository.uncommitted((STATE,)))
    ignored: list[Problem] = []  # the work tree was read already; what is wrong in HEAD, nobody asks for
    head = _rows(project.repository.files_at("HEAD", (STATE,), ignored), paths, project)
    tree = _rows(files_in_work_tree(directory, (STATE,), ignored), paths, project)
    found: dict[FieldKey, Json] = {}
    for table, rows in tree.items():
        for key, row in rows.items():
            known = head.get(table, {}).get(key)
            for name, value in row.values.items():
                if known is not None and name in known.values:
                    asked = [known.values[name]]
                else:
                    matches = project.matches.get(table, ())
                    asked = [match.values[name] for match in matches if name in match.values]
                field = project.definitions.tables[table].fields[name]
                if any(_is_kill(field, other, value) for other in asked):
                    found[table, key, name] = value.data
    return found


def _is_kill(field: Field, asked: Value, value: Value) -> bool:
    """Whether the value is one, of what git asks for; or of what that is to become after its `until`."""
    if field.direction(asked.data, value.data) is Direction.KILL:
        return True
    if asked.then is None or value.then is not None:
        return False
    return asked.then.restores or field.direction(asked.then.data, value.data) is Direction.KILL


def _rows(files: Sequence[SourceFile], paths: Container[str], project: Project) -> dict[str, dict[str, Row]]:
    ignored: list[Problem] = []
    documents = [
        document
        for file in files_for(files, project.definitions.policy.targets)
        if file.path in paths
        if (document := read_document(file.path, file.data, ignored)) is not None
    ]
    return read_desired(documents, project.definitions, STATE, ignored)


def off_already(
    insists: Mapping[FieldKey, Json],
    scope: Scope,
    fields: Container[FieldKey] | None,
    desired: Mapping[str, Mapping[str, Row]],
    seen: Mapping[str, Mapping[str, Seen]],
    tables: Mapping[str, Table],
) -> dict[FieldKey, Json]:
    """Those of the fields insisted on that have the value asked for, or one further on the kill side, with that value.

    Where `fields` are given, only these count.
    """
    found: dict[FieldKey, Json] = {}
    only = frozenset(scope.rows)
    for (table, key, name), wanted in sorted(insists.items(), key=itemgetter(0)):
        is_meant = f"{table}/{key}" in only if only else not scope.tables or table in scope.tables
        if not is_meant or (fields is not None and (table, key, name) not in fields):
            continue
        row = desired.get(table, {}).get(key)
        if row is not None and (name not in row.data or not equal(row.data[name], wanted)):
            continue  # its `until` has passed
        known, field = seen.get(table, {}).get(key), tables[table].fields[name]
        has = wanted  # as in any row that is in sync
        if known is not None:
            if known.actual is None:
                continue
            has = known.actual[name]
        if equal(has, wanted) or field.direction(has, wanted) is Direction.RESTORE:
            found[table, key, name] = has
    return found


def notices_of_insisting(insisted: Mapping[FieldKey, Json]) -> Iterator[Notice]:
    """One for each of them."""
    for (table, key, name), has in insisted.items():
        yield Notice(
            f"{name} of {table} {key} is {to_text(has)} already, so there is nothing to write. Runs from git leave it "
            "so, whatever they ask for, until git says the same, a commit touches the entry, or it is released"
        )
