"""The YAML files of a project, as bytes: which ones count, and how they are read from the work tree.

Takes a directory and the names of folders below it; gives SourceFiles, and appends a Problem for each thing that
cannot be read as a file of the project. The rules are the same for the work tree (here) and for a commit
(`repository`), so that what a dry run shows is what an apply finds:

- `*.yaml` and `*.yml` count, at any depth; other endings, and names that begin with a dot, are left out.
- The same endings in capitals (`tenants.YAML`) are problems: left out in silence, all of the file would be released.
- Symbolic links are problems wherever they lead. In a commit a link is only a name, and what it leads to may be
  another thing on each machine; left out in silence, a link to a folder would release every value in it.
- Repositories inside the project (submodules) are problems, for the same reason.
- What could block (a FIFO, a device), or is too large (`documents.MAX_FILE_BYTES`), is a problem, and is not read.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Sequence
from pathlib import Path

import msgspec

from reconciler.documents import MAX_FILE_BYTES
from reconciler.errors import Problem, UsageProblem
from reconciler.model import Location

__all__ = [
    "SourceFile",
    "count_name",
    "files_in_work_tree",
    "is_misspelt",
    "is_source",
    "misspelt",
    "nested_repository",
    "not_a_folder",
    "problem_at",
    "readable_name",
    "too_large",
]

# O_NOFOLLOW and O_NONBLOCK are for what takes a file's place after it was listed: a link, or a FIFO that would block.
_OPEN_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class SourceFile(msgspec.Struct, frozen=True, gc=False):
    """One file. `path` is relative to the project's directory, with slashes (``state/tenants/acme.yaml``).

    `blob` is the id of the object that it was read from, None in the work tree.
    """

    path: str
    blob: str | None
    data: bytes


def count_name(name: bytes) -> bool:
    """Whether an entry of this name is looked at: hidden files and folders are not."""
    return not name.startswith(b".")


def is_source(name: bytes) -> bool:
    """Whether a file of this name is one of the project's."""
    return name.endswith((b".yaml", b".yml"))


def is_misspelt(name: bytes) -> bool:
    """Whether somebody who gave a file this name, which is no source's, must believe that it is one."""
    return not is_source(name) and is_source(name.lower())


def readable_name(name: bytes, folder: str, problems: list[Problem]) -> str | None:
    """The path of an entry of a folder. None, and a Problem, where the name is not UTF-8, as every path must be."""
    try:
        return f"{folder}/{name.decode('utf-8')}" if folder else name.decode("utf-8")
    except UnicodeDecodeError:
        shown = name.decode("utf-8", "backslashreplace")
        problems.append(
            problem_at(f"{folder}/{shown}" if folder else shown, "the name is not UTF-8", "rename it, in UTF-8")
        )
        return None


def problem_at(path: str, message: str, hint: str) -> Problem:
    """A Problem of a whole file or folder."""
    return Problem(message, Location(path, 1, 1), hint)


def not_a_folder(path: str) -> Problem:
    """The Problem of a file that stands where one of the project's folders should."""
    return problem_at(path, "this is not a folder", f"make {path}/ a folder of YAML files")


def misspelt(path: str) -> Problem:
    """The Problem of a file that `is_misspelt`."""
    return problem_at(path, "the file's ending has capitals, and such files are not read", "rename it: .yaml")


def nested_repository(path: str) -> Problem:
    """The Problem of a repository inside the project's folders, which git records as a submodule, without its files."""
    return problem_at(
        path,
        "this is a git repository of its own (a submodule), whose files are not part of this one's commits",
        "move its YAML files here as ordinary files",
    )


def too_large(path: str, size: int) -> Problem:
    """The Problem of a file of `size` bytes, which is more than MAX_FILE_BYTES."""
    return problem_at(
        path,
        f"the file is too large to be read: {size:,} bytes, and {MAX_FILE_BYTES:,} are the limit",
        "split it: the files and folders of a table add up",
    )


def files_in_work_tree(
    directory: Path, folders: Sequence[str], problems: list[Problem], known: Collection[str] = ()
) -> list[SourceFile]:
    """The files of `folders` below `directory` as they stand now, sorted by path; git is not needed.

    A folder that does not exist holds no files; what the caller knows already (`known`, paths) is left out. Raises
    UsageProblem where `directory` itself is not a folder.
    """
    if not directory.is_dir():
        raise UsageProblem(f"{directory} is not a directory. Name the project's directory with --directory.")
    root = os.path.realpath(os.fsencode(directory))
    files: list[SourceFile] = []
    for folder in folders:
        path = os.path.join(root, os.fsencode(folder))  # noqa: PTH118, bytes: names need not be UTF-8
        try:
            mode = os.lstat(path).st_mode
        except FileNotFoundError:
            continue
        except OSError as error:
            problems.append(_unreadable(folder, error))
            continue
        if stat.S_ISLNK(mode):
            problems.append(_link(root, path, folder))
        elif not stat.S_ISDIR(mode):
            problems.append(not_a_folder(folder))
        else:
            _walk(root, path, folder, files, problems, known)
    return sorted(files, key=lambda file: file.path)


def _walk(
    root: bytes, path: bytes, folder: str, files: list[SourceFile], problems: list[Problem], known: Collection[str]
) -> None:
    pending = [(path, folder)]
    while pending:
        path, folder = pending.pop()
        try:
            with os.scandir(path) as listing:
                entries = list(listing)
        except OSError as error:
            problems.append(_unreadable(folder, error))
            continue
        if any(entry.name == b".git" for entry in entries):
            problems.append(nested_repository(folder))
            continue
        for entry in entries:
            if not count_name(entry.name):
                continue
            shown = readable_name(entry.name, folder, problems)
            if shown is None or shown in known:
                continue
            try:
                if entry.is_symlink():
                    problems.append(_link(root, entry.path, shown))
                elif entry.is_dir(follow_symlinks=False):
                    pending.append((entry.path, shown))
                elif is_source(entry.name):
                    if entry.is_file(follow_symlinks=False):  # asked first: opening a device can already do something
                        _read(entry.path, shown, files, problems)
                    else:
                        problems.append(_not_a_file(shown))
                elif is_misspelt(entry.name):
                    problems.append(misspelt(shown))
            except OSError as error:
                problems.append(_unreadable(shown, error))


def _read(path: bytes, shown: str, files: list[SourceFile], problems: list[Problem]) -> None:
    """Append the file of a path, or a Problem. Raises OSError where the system does not let it be read."""
    descriptor = os.open(path, _OPEN_FLAGS)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            problems.append(_not_a_file(shown))
            return
        size = 0
        pieces: list[bytes] = []
        while max(size, status.st_size) <= MAX_FILE_BYTES:
            piece = os.read(descriptor, max(status.st_size - size, 0) + 1)
            if not piece:
                files.append(SourceFile(shown, None, b"".join(pieces)))
                return
            pieces.append(piece)
            size += len(piece)
        problems.append(too_large(shown, max(size, status.st_size)))
    finally:
        os.close(descriptor)


def _not_a_file(path: str) -> Problem:
    return problem_at(path, "this is a FIFO, a device or a socket, not a file", "remove it")


def _unreadable(path: str, error: OSError) -> Problem:
    if isinstance(error, FileNotFoundError):
        return problem_at(path, "this disappeared while it was being read", "run again once nothing changes the files")
    if isinstance(error, PermissionError):
        return problem_at(path, "this may not be read", "give yourself the right to read it, with chmod or chown")
    return problem_at(path, f"this cannot be read: {error.strerror}", "see to the file system, then run again")


def _link(root: bytes, path: bytes, shown: str) -> Problem:
    """The Problem of a link in the work tree, which names its target."""
    target = os.path.realpath(path)
    readable = target.decode("utf-8", "backslashreplace")
    if not os.path.lexists(target) or os.path.islink(target):  # noqa: PTH114, bytes
        return problem_at(shown, f"this is a symbolic link to {readable}, which leads nowhere", "remove it")
    if target != root and not target.startswith(os.path.join(root, b"")):  # noqa: PTH118, bytes
        where = f"this is a symbolic link to {readable}, outside the project's directory"
        return problem_at(shown, where, "put the file itself here")
    return problem_at(shown, f"this is a symbolic link to {readable}, and links are not followed", "move the file here")
