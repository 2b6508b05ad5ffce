"""One state file in the style of the house: what `reconcile fmt` makes of its text.

Takes the file's bytes and its table; gives the bytes as they should be, or raises and changes nothing. The style is
told in docs/state.md. The text is printed anew from its Spans, piece by piece, so that comments go with what they
belong to, and whatever has no style (text in a block, the inside of a JSON value) is moved and not rewritten.

**Proven, not trusted**: what comes out is read again, and must say the same, row by row and value by value, with the
rows in the same order and every comment there. Where it does not, the file is left as it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from reconciler.desired import read_desired
from reconciler.documents import read_document
from reconciler.editing.edit_tree import same_tree
from reconciler.editing.spans import read_spans
from reconciler.errors import Failed, InvalidInput, Problem
from reconciler.formatting.comments import Comments
from reconciler.formatting.printing import Printer, header_line
from reconciler.model import Json, Row
from reconciler.nodes import Document
from reconciler.nodes import Mapping as MappingNode
from reconciler.project import STATE
from reconciler.schema import Definitions, Table

__all__ = ["format_text"]

_BOM = b"\xef\xbb\xbf"


def format_text(path: str, data: bytes, table: Table, definitions: Definitions) -> bytes:
    """The bytes of the file in the style of the house; the same bytes where they are so.

    `path` is below the project's directory (`state/tenants.yaml`). Raises InvalidInput where the file is no valid YAML,
    Failed where it cannot be formatted without changing what it says.
    """
    before = _read(path, data)
    root = before.root
    text = data.removeprefix(_BOM).decode()
    keys = root.items.keys() if isinstance(root, MappingNode) else ()
    spans = read_spans(text, keys)
    comments = Comments(text, spans)
    if root is None and not comments.all:
        return data
    header = header_line(table.name, path, comments)
    try:
        result = Printer(text, spans, comments, table, header).print(root).encode()
    except Failed as error:
        raise Failed(f"{path} is left as it is: {error}") from None
    if result == data:
        return data
    try:
        after = _read(path, result)
    except InvalidInput:
        raise _left(path, "it would not be valid YAML") from None
    if not same_tree(root, after.root) or _order(root) != _order(after.root):
        raise _left(path, "it would say something else")
    if _said(before, definitions) != _said(after, definitions):
        raise _left(path, "its values would be others")
    said = Counter(comment.text for comment in comments.all)
    said[header] = 1  # which may have been another, or none
    found = result.decode()
    again = Comments(found, read_spans(found, keys))
    now = Counter(comment.text for comment in again.all)
    now[header] = 1
    if now != said - Counter(comments.replaced):
        raise _left(path, "a comment would be lost")
    return result


def _read(path: str, data: bytes) -> Document:
    problems: list[Problem] = []
    document = read_document(path, data, problems)
    if problems or document is None:
        raise InvalidInput(problems)
    return document


def _left(path: str, why: str) -> Failed:
    return Failed(f"{path} is left as it is: formatted, {why}")


def _order(root: object) -> list[str]:
    return list(root.items) if isinstance(root, MappingNode) else []


def _said(document: Document, definitions: Definitions) -> Mapping[str, object]:
    """All that the file asks for, places apart; and how much is wrong with it, which may be something."""
    problems: list[Problem] = []
    state = read_desired([document], definitions, STATE, problems)
    rows = {key: _of_row(row) for of_table in state.values() for key, row in of_table.items()}
    return {"rows": rows, "problems": sorted(problem.message for problem in problems)}


def _of_row(row: Row) -> object:
    values: dict[str, Json | object] = {
        name: (value.data, value.reason, value.until, value.then, dict(value.override))
        for name, value in row.values.items()
    }
    return values, {name: value.data for name, value in row.expect.items()}
