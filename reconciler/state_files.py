"""The files that an import writes: what they are called, and how all of them are written or none.

Takes the text of files with their paths below the project's directory (``state/tenants/acme-bakery.yaml``). A file
that exists is replaced only where that was asked for, and nothing is ever merged into one.
"""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import msgspec

from reconciler.errors import Failed, Refused
from reconciler.project import SCHEMAS, STATE

__all__ = ["StateFile", "file_names", "path_of_table", "schema_of", "write_files"]

_LONGEST_NAME = 60
_LISTED = 10
_NEW, _OLD = ".reconcile-new", ".reconcile-old"


class StateFile(msgspec.Struct, frozen=True, gc=False):
    """One file: its path below the project's directory, with slashes, its bytes, and what they hold."""

    path: str
    data: bytes
    table: str
    keys: tuple[str, ...]
    fields: int


def path_of_table(table: str) -> str:
    """The file that holds all rows of a table."""
    return f"{STATE}/{table}.yaml"


def schema_of(table: str, path: str) -> str:
    """The way from a file to the JSON Schema that editors check it with."""
    return "../" * path.count("/") + f"{SCHEMAS}/json/{table}.state.schema.json"


def file_names(table: str, rows: Sequence[tuple[str, str | None]], held: Mapping[str, Collection[str]]) -> list[str]:
    """A file for each row (key, label), called after its label, or its key where it has none.

    `held` says which keys existing files hold. Rows with the same name, and a row whose file would be another row's,
    get a name that ends in a hash of the key: it does not depend on which rows are imported together.
    """
    slugs = [_slug(label or "") or _slug(key) or "row" for key, label in rows]
    often = Counter(slugs)
    paths = []
    for (key, _), slug in zip(rows, slugs, strict=True):
        path = f"{STATE}/{table}/{slug}.yaml"
        if often[slug] > 1 or slug == "row" or any(other != key for other in held.get(path, ())):
            path = f"{STATE}/{table}/{slug}-{hashlib.sha256(key.encode()).hexdigest()[:8]}.yaml"
        paths.append(path)
    if len(set(paths)) < len(paths):
        twice = next(path for path, times in Counter(paths).items() if times > 1)
        raise Failed(f"two rows of {table} would both be written to {twice}: import them one by one, with --only")
    return paths


def _slug(text: str) -> str:
    """Letters, digits and hyphens of ASCII, in lower case, as every file system takes them; may be empty."""
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", ascii_text)[:_LONGEST_NAME].strip("-")


def write_files(directory: Path, files: Sequence[StateFile], *, replace: bool) -> None:
    """Write all files, or none.

    Raises Refused where one exists and `replace` is false, Failed where the system does not let one be written.
    """
    existing = [file.path for file in files if os.path.lexists(directory / file.path)]
    if existing and not replace:
        raise Refused(
            f"{_listed(existing)}: already there, and nothing was written. Overwrite with --force, print with "
            "--stdout, or import less with --only"
        )
    writing = _Writing(directory)
    try:
        for file in files:
            writing.prepare(file)
        for file in files:
            writing.put(file)
    except BaseException as error:
        writing.undo()
        if isinstance(error, OSError):
            raise Failed(f"{error.filename} cannot be written: {error.strerror}. Nothing was changed") from None
        raise
    writing.clean()


class _Writing:
    """Files on their way: written beside their place under a hidden name first, then moved to it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._folders: list[Path] = []
        self._beside: list[Path] = []
        self._moved: list[tuple[Path, Path | None]] = []

    def prepare(self, file: StateFile) -> None:
        target = self._directory / file.path
        for folder in reversed(target.parents):
            if not folder.exists():
                folder.mkdir()
                self._folders.append(folder)
        new = _beside(target, _NEW)
        self._beside.append(new)
        new.write_bytes(file.data)

    def put(self, file: StateFile) -> None:
        target = self._directory / file.path
        old = None
        if target.exists():
            old = _beside(target, _OLD)
            self._beside.append(old)
            old.write_bytes(target.read_bytes())
        _beside(target, _NEW).replace(target)
        self._moved.append((target, old))

    def undo(self) -> None:
        """Put everything back as it was."""
        for target, old in reversed(self._moved):
            if old is None:
                target.unlink(missing_ok=True)
            else:
                old.replace(target)
        self.clean()
        for folder in reversed(self._folders):
            folder.rmdir()

    def clean(self) -> None:
        """Remove what stands beside."""
        for path in self._beside:
            path.unlink(missing_ok=True)


def _beside(target: Path, ending: str) -> Path:
    return target.with_name(f".{target.name}{ending}")


def _listed(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - _LISTED:,} more" if len(paths) > _LISTED else ""
    return ", ".join(paths[:_LISTED]) + more
