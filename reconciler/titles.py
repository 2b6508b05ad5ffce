"""What people call the fields: the titles that stand in `schemas/`, for reports that read nothing else of it.

Takes a project's directory; gives titles by table and field. It is an ornament: where the schemas cannot be read, or
the directory is no project, there are none, and nobody is told.
"""

from __future__ import annotations

from pathlib import Path

from reconciler.documents import read_document
from reconciler.errors import Problem
from reconciler.project import SCHEMAS
from reconciler.schema import read_definitions
from reconciler.sources import files_in_work_tree

__all__ = ["Titles", "read_titles"]

Titles = dict[tuple[str, str], str]
"""Table and field to what people call it."""


def read_titles(directory: Path) -> Titles:
    """The titles in the work tree; `state/` is not read."""
    problems: list[Problem] = []
    files = [file for file in files_in_work_tree(directory, [SCHEMAS], problems) if file.path.count("/") == 1]
    documents = [document for file in files if (document := read_document(file.path, file.data, problems)) is not None]
    definitions = read_definitions(documents, problems)
    if definitions is None:
        return {}
    return {
        (table.name, name): field.title
        for table in definitions.tables.values()
        for name, field in table.fields.items()
        if field.title is not None
    }
