"""Which state files `reconcile fmt` looks at, and what becomes of each.

Takes a project's directory, and paths of files or folders of its `state/` (none: all of it); gives the files that would
be others, and those that are left as they are with the reason. Nothing is written here. Rows that are not valid by
their schema are formatted all the same: fmt is for the time of editing, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from reconciler.desired import table_of
from reconciler.editing.files import EditedFile
from reconciler.errors import Failed, InvalidInput, Problem, UsageProblem, nearest
from reconciler.formatting.text import format_text
from reconciler.model import Location
from reconciler.project import STATE, read_schemas
from reconciler.sources import SourceFile, files_in_work_tree

__all__ = ["Formatted", "format_files"]


class Formatted(msgspec.Struct, frozen=True):
    """`changed` are the files that become others, `left` says which cannot be formatted, `problems` what is no state.

    `looked_at` counts all of them.
    """

    looked_at: int
    changed: tuple[EditedFile, ...]
    left: tuple[str, ...]
    problems: tuple[Problem, ...]


def format_files(directory: Path, paths: Sequence[Path]) -> Formatted:
    """The files in the style of the house. Raises InvalidInput for schemas that are not valid, UsageProblem for a path
    that is none of `state/`.
    """
    problems: list[Problem] = []
    files = files_in_work_tree(directory, (STATE,), problems)
    wanted = _wanted(directory, files, paths) if paths else files
    if paths:
        named = {file.path for file in wanted}
        problems = [one for one in problems if one.location is not None and one.location.file in named]
    definitions = read_schemas(directory)
    changed: list[EditedFile] = []
    left: list[str] = []
    for file in wanted:
        name = table_of(file.path, STATE)
        table = definitions.tables.get(name)
        if table is None:
            hint = nearest(name, definitions.tables) or f"add schemas/{name}.yaml, or move the file"
            problems.append(Problem(f'no schema for a table "{name}"', Location(file.path, 1, 1), hint))
            continue
        try:
            after = format_text(file.path, file.data, table, definitions)
        except InvalidInput as error:
            problems += error.problems
        except Failed as error:
            left.append(str(error))
        else:
            if after != file.data:
                changed.append(EditedFile(file.path, name, file.data, after))
    return Formatted(len(wanted), tuple(changed), tuple(left), tuple(problems))


def _wanted(directory: Path, files: Sequence[SourceFile], paths: Sequence[Path]) -> list[SourceFile]:
    """The files that the paths name, which are seen from where the command runs."""
    top = directory.resolve()
    named: set[str] = set()
    for path in paths:
        try:
            inside = path.resolve().relative_to(top).as_posix()
        except ValueError:
            raise UsageProblem(f"{path} is not in {directory}. Name the project's directory with --directory") from None
        found = {
            file.path for file in files if inside in (".", file.path) or file.path.startswith(f"{inside.rstrip('/')}/")
        }
        if not found:
            raise UsageProblem(f"{path} is no YAML file, and no folder, of state/")
        named |= found
    return [file for file in files if file.path in named]
