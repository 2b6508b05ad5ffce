"""How the files of state would change, as a unified diff. Takes EditedFiles; gives text."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import unified_diff

from reconciler.editing.files import EditedFile
from reconciler.report.terminal import Ink
from reconciler.report.words import visible

__all__ = ["render_files"]


def render_files(files: Iterable[EditedFile], *, colour: bool) -> str:
    """The diff of the files; control characters made visible."""
    ink = Ink(colour)
    lines = [visible(line.rstrip("\r\n")) for each in files for line in _diff_of(each)]
    return "".join(f"{ink.paint(line, _STYLES.get(line[:1], ''))}\n" for line in lines)


_STYLES = {"-": "kill", "+": "restore", "@": "faint"}


def _diff_of(file: EditedFile) -> Iterable[str]:
    names = (f"a/{file.path}", f"b/{file.path}")
    return unified_diff(_lines(file.before or b""), _lines(file.after), *names, n=2)


def _lines(data: bytes) -> list[str]:
    return data.decode("utf-8", "backslashreplace").splitlines(keepends=True)
