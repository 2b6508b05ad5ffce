"""State files in many styles of YAML (`tests/corpus`), and the schema of the invented table that they speak of.

Takes nothing; gives the files by name and the Definitions. What a file asks for is read by `read_desired`, which knows
nothing of how files are edited.
"""

from __future__ import annotations

from pathlib import Path

from reconciler.desired import read_desired
from reconciler.documents import read_document
from reconciler.errors import Problem
from reconciler.model import Row
from reconciler.schema import Definitions, read_definitions

FOLDER = Path(__file__).parents[1] / "corpus"
CORPUS = {path.stem: path.read_bytes() for path in sorted(FOLDER.glob("*.yaml"))}

TABLE_FILE = b"""
table: shops
key: code
label: title
missing_row: create
audit: {event: SHOP}
fields:
  open: {type: boolean, kill: false, restore: {after: 24h}}
  seats: {type: integer, kill: lower}
  title: {type: string, nullable: true}
  tags: {type: array, items: {type: string}}
  extra: {type: json}
  since: {type: timestamp}
"""
POLICY_FILE = b"""
audit:
  table: entries
  columns: {id: $uuid, shop: $tenant, event: $event, metadata: $metadata}
  without_tenant: {tenant: none}
invariants:
  - {table: shops, rule: not open or seats != 0, message: an open shop has seats}
"""


def definitions() -> Definitions:
    """The schema of `shops`, as if it stood in `schemas/`."""
    problems: list[Problem] = []
    files = {"schemas/shops.yaml": TABLE_FILE, "schemas/policy.yaml": POLICY_FILE}
    documents = [read_document(path, data, problems) for path, data in files.items()]
    found = read_definitions([document for document in documents if document is not None], problems)
    assert found is not None, problems
    return found


DEFINITIONS = definitions()
FIELDS = DEFINITIONS.tables["shops"].fields


def rows_of(data: bytes) -> dict[str, Row]:
    """What a file of the table asks for. Fails where it is not valid."""
    problems: list[Problem] = []
    document = read_document("state/shops.yaml", data, problems)
    assert document is not None, problems
    state = read_desired([document], DEFINITIONS, "state", problems)
    assert not problems, problems
    return state.get("shops", {})
