"""The files of a large project's state by name and blob, so that a run reads only those that it needs.

Takes a Repository and a commit, or the work tree; gives a Listing, whose `read` gives the documents of some of its
files. What is not read is not judged: that the rest holds nothing new is for `change_path` to know.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path

import msgspec

from reconciler import __version__
from reconciler.commit import Commit
from reconciler.digests import sha256
from reconciler.documents import PlainDocument, read_rows
from reconciler.errors import Problem, Refused
from reconciler.git import Git
from reconciler.nodes import Document
from reconciler.repository import Repository
from reconciler.sources import SourceFile, files_in_work_tree

STATE = "state"
SCHEMAS = "schemas"
FOLDERS = (STATE, SCHEMAS)

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""


def silent(_what: str, _done: int, _total: int) -> None:
    """The Progress that nobody looks at."""


class Listing(msgspec.Struct, frozen=True):
    """Files by path. `blobs` holds those whose content is a blob of the repository, `files` those of the work tree that
    are not committed as they stand there.
    """

    repository: Repository
    commit: Commit
    blobs: Mapping[str, str]
    files: Mapping[str, SourceFile]
    dirty: bool
    progress: Progress

    @property
    def state(self) -> dict[str, str | None]:
        """Path of each file of state to its blob, None where it has none."""
        blobs: dict[str, str | None] = {path: blob for path, blob in self.blobs.items() if _is_state(path)}
        blobs.update((path, None) for path in self.files if _is_state(path))
        return blobs

    @property
    def schemas(self) -> list[str]:
        """The paths of the files directly in `schemas/`, sorted."""
        return sorted(path for path in (*self.blobs, *self.files) if _is_schema(path))

    def definitions_id(self) -> str:
        """What the schemas and the policy are, and which program has read them: another id means to read all again."""
        named = [(path, self.blobs.get(path) or _blob_of(self.files[path].data)) for path in self.schemas]
        return sha256(repr((__version__, named)).encode()).hexdigest()

    def sources(self, paths: Collection[str], problems: list[Problem]) -> Iterator[SourceFile]:
        """The files of these paths, sorted, one at a time."""
        committed = [(path, self.blobs[path]) for path in sorted(paths) if path in self.blobs]
        yield from self.repository.contents(committed, problems)
        yield from (self.files[path] for path in sorted(paths) if path in self.files)

    def read(self, paths: Collection[str], problems: list[Problem]) -> Iterator[Document | PlainDocument]:
        """The documents of these paths; what is wrong in them is appended to `problems`."""
        return documents(self.sources(paths, problems), len(paths), problems, self.progress)


def documents(
    files: Iterable[SourceFile], count: int, problems: list[Problem], progress: Progress = silent
) -> Iterator[Document | PlainDocument]:
    """The files' documents, one at a time: a tree of nodes takes ten times what its rows take."""
    for done, file in enumerate(files):
        progress("reading", done, count)
        document = read_rows(file.path, file.data, problems)
        if document is not None:
            yield document
    progress("reading", count, count)


def list_commit(
    repository: Repository, commit: Commit, problems: list[Problem], progress: Progress = silent
) -> Listing:
    """What a commit holds."""
    blobs = dict(repository.entries_at(commit, FOLDERS, problems))
    return Listing(repository, commit, blobs, {}, dirty=False, progress=progress)


def list_work_tree(
    directory: Path, problems: list[Problem], progress: Progress = silent, ahead: Git | None = None
) -> Listing | None:
    """What stands in the work tree; None outside of git, and where there is no commit to compare it with.

    A file that git says is as committed is not read from the disk: its blob is what it holds.
    """
    try:
        repository = Repository.open(directory, ahead)
        commit = repository.commit("HEAD")
    except Refused:
        return None
    uncommitted = set(repository.uncommitted(FOLDERS))
    at_head = repository.entries_at(commit, FOLDERS, [])
    blobs = {path: blob for path, blob in at_head if path not in uncommitted}
    files = files_in_work_tree(directory, FOLDERS, problems, known=blobs.keys())
    by_path = {file.path: file for file in files}
    return Listing(repository, commit, blobs, by_path, dirty=bool(uncommitted), progress=progress)


def _is_state(path: str) -> bool:
    return path.startswith(f"{STATE}/")


def _is_schema(path: str) -> bool:
    return path.startswith(f"{SCHEMAS}/") and path.count("/") == 1


def _blob_of(data: bytes) -> str:
    return sha256(data).hexdigest()
