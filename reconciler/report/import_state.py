"""What an import did, in words.

Takes an Import; gives text. What came from the database is made visible, except in the files themselves, where the YAML
does that.
"""

from __future__ import annotations

from reconciler.import_state import Import
from reconciler.report import words
from reconciler.report.terminal import Ink

__all__ = ["render_files", "render_notices", "render_written"]

_LISTED = 20


def render_notices(imported: Import, *, colour: bool) -> list[str]:
    """One line for each notice."""
    ink = Ink(colour)
    return [
        ink.paint(f"note: {words.visible(notice.message)}", "held")
        + (f"  {ink.paint(words.visible(str(notice.location)), 'place')}" if notice.location else "")
        for notice in imported.notices
    ]


def render_files(imported: Import) -> str:
    """The files one after the other; each says its name in a comment where there are several."""
    texts = [file.data.decode() for file in imported.files]
    if len(texts) == 1:
        return texts[0]
    return "\n".join(f"# {file.path}\n{text}" for file, text in zip(imported.files, texts, strict=True))


def render_written(imported: Import) -> str:
    """Which files were written, what they hold, and what comes next."""
    if not imported.files:
        return "Nothing to import: no row has a value to write."
    lines = [
        f"{words.visible(file.path)}: {words.plural(len(file.keys), 'row')}, {words.plural(file.fields, 'field')}"
        for file in imported.files[:_LISTED]
    ]
    if len(imported.files) > _LISTED:
        lines.append(f"and {len(imported.files) - _LISTED:,} more files")
    total = f"{words.plural(imported.rows, 'row')} with {words.plural(imported.fields, 'field')}"
    return "\n".join([*lines, f"Imported {total}. Next: reconcile --dry-run has nothing to change; commit the files."])
