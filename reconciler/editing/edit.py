"""Edits of a state file that keep every byte that need not change.

Takes a file's bytes and edits; gives the new bytes, or raises and changes nothing. YAML libraries that keep comments
write the whole file anew and lose something of it (line endings, indentation, quotes, blank lines). Here the text is
cut at the places that the parser names (`spans`), and what is cut is as small as can be (`rewrite`).

**Proven, not trusted**: the result is read by the strict reader, and must be the tree that the edits ask for, made
from nodes alone (`edit_tree`). Where it is not (there are ways to write YAML that nobody has thought of), the edit is
refused with the advice to make it by hand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from reconciler.documents import read_document
from reconciler.editing.edit_tree import KEEP, AnyEdit, Edit, Keep, RemoveField, RemoveRow, edited_root, same_tree
from reconciler.editing.rewrite import rewrite
from reconciler.editing.sheet import Made, Sheet, splice
from reconciler.editing.spans import read_spans
from reconciler.errors import Failed, InvalidInput, Problem
from reconciler.fields import Field
from reconciler.nodes import Node

__all__ = ["KEEP", "AnyEdit", "Edit", "Keep", "RemoveField", "RemoveRow", "edit_text"]

_BOM = b"\xef\xbb\xbf"


def edit_text(path: str, data: bytes, edits: Sequence[AnyEdit], fields: Mapping[str, Field]) -> bytes:
    """The bytes of the file after the edits, made one after the other; the same bytes where they change nothing.

    `path` stands in errors only, `fields` are the table's. Raises InvalidInput where the file is not valid YAML, Failed
    for a value that its field does not take, and where the file cannot be edited without changing anything else.
    """
    root = _read(path, data)
    wanted = edited_root(root, edits, fields)
    text = data.removeprefix(_BOM).decode()
    bom = data[: len(data) - len(data.removeprefix(_BOM))]
    try:
        pending = list(edits)
        while pending:
            text, pending = _one_pass(text, root, pending, fields)
            root = _read(path, text.encode()) if pending else root
        result = bom + text.encode()
        if result != data and not same_tree(wanted, _read(path, result)):
            raise Failed("the edited file would not say what it should")
    except InvalidInput:
        raise _by_hand(path, "the edited file would not be valid YAML") from None
    except Failed as error:
        raise _by_hand(path, str(error)) from None
    return result


def _one_pass(
    text: str, root: Node | None, edits: Sequence[AnyEdit], fields: Mapping[str, Field]
) -> tuple[str, list[AnyEdit]]:
    """The text after as many of the edits as can be made at once: one in each row, and none where another is made.

    The first is always among them. The others are given back.
    """
    sheet = Sheet(text, read_spans(text, {edit.key for edit in edits}))
    made = Made()
    rows: set[str] = set()
    left: list[AnyEdit] = []
    for edit in edits:
        found = rewrite(sheet, root, edit, fields) if edit.key not in rows else None
        rows.add(edit.key)
        if found is None or not made.add(found):
            left.append(edit)
    return splice(sheet, made.all), left


def _read(path: str, data: bytes) -> Node | None:
    problems: list[Problem] = []
    document = read_document(path, data, problems)
    if problems or document is None:
        raise InvalidInput(problems)
    return document.root


def _by_hand(path: str, why: str) -> Failed:
    return Failed(f"{path} is left as it is: {why}. Edit it by hand")
