"""Schemas and state as text, read by the strict reader: what the tests of the decision are made from.

Takes YAML text by file name; gives Definitions, a Table, or a State, and the Problems that were found.
"""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.desired import read_desired
from reconciler.documents import read_document
from reconciler.errors import Problem
from reconciler.model import Row
from reconciler.nodes import Document
from reconciler.schema import Definitions, Table, read_definitions

POLICY = """\
audit:
  table: journal
  columns: {id: $uuid, owner: $tenant, event: $event, details: $metadata}
  without_tenant: {tenant: NOBODY}
"""


def documents(files: Mapping[str, str], problems: list[Problem]) -> list[Document]:
    """The files that can be read at all."""
    read = [read_document(path, text.encode(), problems) for path, text in files.items()]
    return [document for document in read if document is not None]


def definitions_of(policy: str = POLICY, **tables: str) -> tuple[Definitions | None, list[Problem]]:
    """Definitions from the text of each table's file, by table name; with every problem that was found."""
    problems: list[Problem] = []
    files = {f"schemas/{name}.yaml": text for name, text in tables.items()} | {"schemas/policy.yaml": policy}
    found = read_definitions(documents(files, problems), problems)
    return found, problems


def sound_definitions(policy: str = POLICY, **tables: str) -> Definitions:
    """Definitions that must be free of problems."""
    found, problems = definitions_of(policy, **tables)
    assert found is not None, problems
    return found


def table_of_fields(fields: str, *, name: str = "shops", more: str = "") -> Table:
    """A table with a text key whose fields are given as a YAML mapping, in flow style."""
    text = f"table: {name}\nkey: id\naudit: {{event: E}}\n{more}fields: {fields}\n"
    return sound_definitions(**{name: text}).tables[name]


def desired_of(definitions: Definitions, **state: str) -> tuple[dict[str, dict[str, Row]], list[Problem]]:
    """The desired State from the text of each file, by its path below `state/` without the ending (`__` is a slash)."""
    problems: list[Problem] = []
    files = {f"state/{name.replace('__', '/')}.yaml": text for name, text in state.items()}
    return read_desired(documents(files, problems), definitions, "state", problems), problems
