"""What a pull request does, told from two commits and nothing else: the story of `reconcile validate --changes`.

Takes a project's directory and two revisions; gives a `review.Review`. No work tree is read and no code of the commits
is run, so it is safe on what a stranger proposes. The head must be valid. The base need not be: where it is not, the
class is unknown, which asks for the most review, so that a repair can still be merged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from reconciler.commit import Commit
from reconciler.documents import read_document
from reconciler.errors import InvalidInput, Problem, UsageProblem
from reconciler.model import Json
from reconciler.policy import Approvals
from reconciler.project import FOLDERS, SCHEMAS, STATE, Also, Project, leave_alone, read_revision
from reconciler.repository import Ancestry, Repository
from reconciler.review import ChangedFile, Kind, Review, changed_entries, weakened
from reconciler.scalars import NotStorable, to_json
from reconciler.schema import Definitions, read_definitions

__all__ = ["Range", "parse_range", "review_changes"]


class Range(msgspec.Struct, frozen=True):
    """`base..head`: the two as they are. `from_parting` (`base...head`): from the commit at which they parted."""

    base: str
    head: str
    from_parting: bool


def parse_range(text: str) -> Range:
    """The Range that a text such as `main...HEAD` names. Raises UsageProblem."""
    for dots in ("...", ".."):
        base, found, head = text.partition(dots)
        if found and base and not head.startswith("."):
            return Range(base, head or "HEAD", from_parting=dots == "...")
    raise UsageProblem(f"{text} names no two commits: write BASE..HEAD, or BASE...HEAD for a branch")


def review_changes(directory: Path, wanted: Range, also: Also = leave_alone) -> Review:
    """The Review of what lies between. Raises InvalidInput where the head is not valid, UsageProblem for a revision
    that names no commit, Refused where the two share no history.
    """
    with Repository.open(directory) as repository:
        head = repository.commit(wanted.head)
        base = repository.merge_base(wanted.base, head.id) if wanted.from_parting else repository.commit(wanted.base)
        after = read_revision(directory, head.id, also=also)
        paths = repository.changed_paths(base, head)
        notes = list(_notes(repository, base, head, wanted))
        if not repository.files_at(base, FOLDERS, []):  # a repository's first state
            before: Project | None = msgspec.structs.replace(after, desired={}, matches={})
            unknown = None
        else:
            before, unknown = _read_base(directory, base, wanted.base)
        approvals = _approvals(repository, repository.commit(wanted.base))
        files = _changed_files(repository, base, head, before.definitions if before else None, after.definitions)
    entries = []
    if before is not None:
        entries = changed_entries(
            before.desired, after.desired, before.definitions, after.definitions, before.matches, after.matches
        )
    named = {file.path for file in files} | {entry.location.file for entry in entries if entry.location is not None}
    gone = {entry.table for entry in entries if entry.location is None}
    others = [path for path in paths if path not in named and not _speaks_of(path, gone)]
    return Review(base.id, head.id, tuple(entries), tuple(files), tuple(others), approvals, unknown, tuple(notes))


def _read_base(directory: Path, base: Commit, name: str) -> tuple[Project | None, str | None]:
    """The base, or why there is none that can be compared with."""
    try:
        return read_revision(directory, base.id), None
    except InvalidInput as error:
        first = error.problems[0] if error.problems else error
        more = f", and {len(error.problems) - 1} more problems" if len(error.problems) > 1 else ""
        return None, f"{name} ({base.id[:12]}) is not valid itself, so what changes cannot be told: {first}{more}"


def _approvals(repository: Repository, base: Commit) -> Approvals:
    """What the policy of the branch says that is merged into: not that of the change, nor an older one of where it
    began. What is built in, where there is none that can be read.
    """
    problems: list[Problem] = []
    files = repository.files_at(base, (SCHEMAS,), problems)
    documents = [read_document(file.path, file.data, problems) for file in files if file.path.count("/") == 1]
    definitions = read_definitions([document for document in documents if document is not None], problems)
    return definitions.policy.approvals if definitions is not None else Approvals()


def _notes(repository: Repository, base: Commit, head: Commit, wanted: Range) -> list[str]:
    if wanted.from_parting or repository.ancestry(base.id, head.id) in (Ancestry.SAME, Ancestry.DESCENDS):
        return []
    text = f"{wanted.base} has commits that {wanted.head} lacks, and their changes are shown the other way round"
    return [f"{text}. For what a merge would do, compare {wanted.base}...{wanted.head}"]


def _changed_files(
    repository: Repository, base: Commit, head: Commit, old: Definitions | None, new: Definitions
) -> list[ChangedFile]:
    """The files of `schemas/` that mean something else; comments and the order of keys aside."""
    was, becomes = (_meanings(repository, commit) for commit in (base, head))
    found = []
    for path in sorted({*was, *becomes}):
        if path in was and path in becomes and was[path] == becomes[path]:
            continue
        kind = _kind_of(path)
        details: Sequence[str] = ()
        if kind == "schema" and old is not None:
            details = tuple(weakened(old, new, path.rpartition("/")[2].rpartition(".")[0]))
        found.append(ChangedFile(path, kind, tuple(details)))
    return found


def _meanings(repository: Repository, commit: Commit) -> Mapping[str, Json | bytes]:
    """Path to what the file says; its bytes, where it cannot be read."""
    found: dict[str, Json | bytes] = {}
    for file in repository.files_at(commit, (SCHEMAS,), []):
        problems: list[Problem] = []
        document = read_document(file.path, file.data, problems)
        found[file.path] = file.data
        if document is not None and document.root is not None and not problems:
            try:
                found[file.path] = to_json(document.root)
            except NotStorable:
                continue
    return found


def _kind_of(path: str) -> Kind:
    if path.count("/") > 1:
        return "playbook"
    return "policy" if path.rpartition("/")[2].rpartition(".")[0] == "policy" else "schema"


def _speaks_of(path: str, tables: set[str]) -> bool:
    """Whether a path is a state file of one of the tables."""
    return any(path.startswith((f"{STATE}/{table}/", f"{STATE}/{table}.")) for table in tables)
