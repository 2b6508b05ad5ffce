"""A project directory (`state/` and `schemas/`), read from the work tree or from a commit, and checked whole.

Takes a directory and where to read from; gives a `Project`: Definitions, the desired State, and the Revision it is the
state of. Everything that is wrong in any file is raised at once, as one InvalidInput.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

import msgspec

from reconciler.commit import Commit
from reconciler.desired import read_desired
from reconciler.documents import read_document
from reconciler.errors import InvalidInput, Problem, Refused
from reconciler.git import Git
from reconciler.invariants import broken
from reconciler.listing import (
    FOLDERS,
    SCHEMAS,
    STATE,
    Listing,
    Progress,
    documents,
    list_commit,
    list_work_tree,
    silent,
)
from reconciler.model import Match, Row
from reconciler.nodes import Document
from reconciler.plan import Revision
from reconciler.repository import Repository
from reconciler.schema import Definitions, read_definitions
from reconciler.sources import SourceFile, files_in_work_tree, is_source
from reconciler.targets import views

__all__ = [
    "FEW_FILES",
    "FOLDERS",
    "SCHEMAS",
    "STATE",
    "Also",
    "Progress",
    "Project",
    "broken_invariants",
    "leave_alone",
    "project_of_rows",
    "read_revision",
    "read_schemas",
    "read_the_rest",
    "read_work_tree",
    "refuse_uncommitted",
    "silent",
    "with_desired",
]

FEW_FILES = 8
"""A project of fewer files of state is always read whole: that is done before the ledger could say what has changed."""


Also = Callable[[Sequence[SourceFile], Definitions | None, list[Problem]], None]
"""Reads what else stands below `schemas/`: called with the files of its folders, and appends what is wrong in them."""


class Project(msgspec.Struct, frozen=True):
    """What git asks for. `repository` and `revision` are None where the directory is in no git repository.

    `desired` holds the rows that are named; what `matches` asks of others, by table, only the database can tell
    (`fleets`). `listing` is set where the files of state were listed and not read: `desired` is empty then, and
    `change_path` says which of them a run must read.
    """

    definitions: Definitions
    desired: dict[str, dict[str, Row]]
    revision: Revision | None
    repository: Repository | None
    commit: Commit | None
    matches: Mapping[str, Sequence[Match]] = {}
    listing: Listing | None = None


def leave_alone(_files: Sequence[SourceFile], _definitions: Definitions | None, _problems: list[Problem]) -> None:
    """The Also of a run from state to rows, which needs nothing else."""


def read_work_tree(
    directory: Path,
    progress: Progress = silent,
    also: Also = leave_alone,
    *,
    may_defer: bool = False,
    ahead: Git | None = None,
) -> Project:
    """What stands in the work tree, committed or not. Works outside of git, too.

    With `may_defer`, the state of a project of many files is listed, and not read. `ahead`: see `ask_ahead`.
    """
    problems: list[Problem] = []
    if may_defer and _has_many_files(directory / STATE):
        listing = list_work_tree(directory, problems, progress, ahead)
        project = _deferred(listing, problems) if listing is not None else None
        if project is not None:
            return project
        problems.clear()
    files = files_in_work_tree(directory, FOLDERS, problems)
    try:
        repository = Repository.open(directory, ahead)
        commit = repository.commit("HEAD")
    except Refused:  # no repository, or one without a commit: there is nothing to compare the files with
        return _read(directory, files, problems, None, None, dirty=True, progress=progress, also=also)
    dirty = bool(repository.uncommitted(FOLDERS))
    return _read(directory, files, problems, repository, commit, dirty=dirty, progress=progress, also=also)


def read_schemas(directory: Path) -> Definitions:
    """What stands in the work tree's `schemas/`, for commands that state has no part in: it may be half edited."""
    problems: list[Problem] = []
    files = files_in_work_tree(directory, (SCHEMAS,), problems)
    schemas = [file for file in files if file.path.count("/") == 1]
    definitions = read_definitions(_documents(schemas, problems), problems)
    if definitions is None or problems:
        raise InvalidInput(problems)
    return definitions


def read_revision(
    directory: Path,
    revision: str,
    progress: Progress = silent,
    also: Also = leave_alone,
    *,
    may_defer: bool = False,
    ahead: Git | None = None,
) -> Project:
    """What a commit holds, without checking it out; the work tree is not looked at.

    With `may_defer`, the state of a project of many files is listed, and not read. `ahead`: see `ask_ahead`.
    """
    problems: list[Problem] = []
    repository = Repository.open(directory, ahead)
    commit = repository.commit(revision)
    listing = list_commit(repository, commit, problems, progress)
    project = _deferred(listing, problems) if may_defer else None
    if project is not None:
        return project
    files = list(repository.contents(sorted(listing.blobs.items()), problems))
    return _read(directory, files, problems, repository, commit, dirty=False, progress=progress, also=also)


def _has_many_files(folder: Path) -> bool:
    """Asked before git is: it is the small project that must not pay for the question."""
    names = (name for _, _, names in os.walk(folder) for name in names if is_source(os.fsencode(name)))
    return next(islice(names, FEW_FILES - 1, None), None) is not None


def _deferred(listing: Listing, problems: list[Problem]) -> Project | None:
    """The Project whose state is listed; None where it is small, and where anything is wrong: then all is read, so
    that all that is wrong is said. So it is where there are targets, of which each has a state of its own.
    """
    if problems or len(listing.state) < FEW_FILES:
        return None
    definitions = read_definitions(_documents(list(listing.sources(listing.schemas, problems)), problems), problems)
    if definitions is None or problems:
        return None
    revision = _revision(listing.commit, listing.dirty)
    return Project(definitions, {}, revision, listing.repository, listing.commit, listing=listing)


def read_the_rest(project: Project) -> Project:
    """The same Project with all of its state read, where that was deferred. Raises InvalidInput."""
    if project.listing is None:
        return project
    problems: list[Problem] = []
    paths = project.listing.state
    matches: dict[str, list[Match]] = {}
    desired = read_desired(project.listing.read(paths, problems), project.definitions, STATE, problems, matches)
    return with_desired(project, desired, problems, matches)


def with_desired(
    project: Project,
    desired: dict[str, dict[str, Row]],
    problems: list[Problem],
    matches: Mapping[str, Sequence[Match]] | None = None,
) -> Project:
    """The Project with this state. Raises InvalidInput with `problems`, or with the invariants that are broken."""
    if not problems:
        problems.extend(broken_invariants(project.definitions, desired))
        problems.extend(_broken_by_matches(project.definitions, matches or {}))
    if problems:
        raise InvalidInput(problems)
    return msgspec.structs.replace(project, desired=desired, matches=matches or {})


def project_of_rows(
    directory: Path, revision: str, definitions: Definitions, desired: dict[str, dict[str, Row]]
) -> Project:
    """A commit as if it said nothing but these rows, which are all that a kill looks at: what is wrong elsewhere in it
    stands in the way of whatever else it asks for. The policy's rules are not asked.
    """
    repository = Repository.open(directory)
    commit = repository.commit(revision)
    return Project(definitions, desired, _revision(commit, dirty=False), repository, commit)


def refuse_uncommitted(project: Project) -> None:
    """Raise Refused where `state/` or `schemas/` differ from HEAD, so that nobody believes them applied."""
    assert project.repository is not None
    paths = project.repository.uncommitted(FOLDERS)
    if paths:
        some = ", ".join(paths[:5]) + (f" and {len(paths) - 5} more" if len(paths) > 5 else "")
        raise Refused(
            f"not committed: {some}. Only committed state is applied: commit, or apply a commit with --revision, or "
            'apply the work tree as it is with --allow-dirty --reason "..."'
        )


def _read(
    directory: Path,
    files: Sequence[SourceFile],
    problems: list[Problem],
    repository: Repository | None,
    commit: Commit | None,
    *,
    dirty: bool,
    progress: Progress,
    also: Also,
) -> Project:
    if not files and not problems:
        place = f"{directory} holds no state/*.yaml and no schemas/*.yaml"
        raise InvalidInput([Problem(place, None, "name the project's directory with --directory")])
    schemas = [file for file in files if file.path.startswith(f"{SCHEMAS}/") and file.path.count("/") == 1]
    state = [file for file in files if file.path.startswith(f"{STATE}/")]
    definitions = read_definitions(_documents(schemas, problems), problems)
    also([file for file in files if file.path.startswith(f"{SCHEMAS}/") and file not in schemas], definitions, problems)
    if definitions is None:
        # The state cannot be understood without schemas, but what is no YAML at all is said all the same.
        for _ in documents(state, len(state), problems, progress):
            pass
        raise InvalidInput(problems)
    desired: dict[str, dict[str, Row]] = {}
    matches: dict[str, list[Match]] = {}
    for files_of_view in views(state, definitions.policy.targets):
        _read_view(files_of_view, definitions, desired, matches, problems, progress)
    project = Project(definitions, desired, _revision(commit, dirty), repository, commit, matches)
    if problems:
        wrong = InvalidInput(list({str(problem): problem for problem in problems}.values()))  # once for all targets
        wrong.project = msgspec.structs.replace(project, desired={}, matches={})
        raise wrong
    return project


def _read_view(
    files: Sequence[SourceFile],
    definitions: Definitions,
    desired: dict[str, dict[str, Row]],
    matches: dict[str, list[Match]],
    problems: list[Problem],
    progress: Progress,
) -> None:
    """What these files ask for, added to what others did: of several targets, each has a state of its own, and what
    stands twice in one is a mistake, while the same in two is none.
    """
    found: dict[str, list[Match]] = {}
    before = len(problems)
    rows = read_desired(documents(files, len(files), problems, progress), definitions, STATE, problems, found)
    if len(problems) == before:
        problems.extend(broken_invariants(definitions, rows))
        problems.extend(_broken_by_matches(definitions, found))
    for name, of_table in rows.items():
        desired.setdefault(name, {}).update(of_table)
    for name, asked in found.items():
        known = matches.setdefault(name, [])
        known += [match for match in asked if match not in known]


def _documents(files: Sequence[SourceFile], problems: list[Problem]) -> Iterator[Document]:
    for file in files:
        document = read_document(file.path, file.data, problems)
        if document is not None:
            yield document


def broken_invariants(definitions: Definitions, desired: Mapping[str, Mapping[str, Row]]) -> list[Problem]:
    """A Problem for each rule of the policy that a row of the desired State breaks."""
    return [
        problem
        for invariant in definitions.policy.invariants
        for problem in broken(invariant.rule, invariant.message, desired.get(invariant.table, {}).values())
    ]


def _broken_by_matches(definitions: Definitions, matches: Mapping[str, Sequence[Match]]) -> list[Problem]:
    """A Problem for each rule that an entry of `$where` breaks by itself, in whatever row."""
    if not matches:
        return []
    from reconciler.where import WHERE, rows_meant

    problems = []
    for name, of_table in matches.items():
        for match in of_table:
            row = Row(name, f"{WHERE} {rows_meant(match.columns)}", dict(match.values), match.location)
            problems += broken_invariants(definitions, {name: {row.key: row}})
    return problems


def _revision(commit: Commit | None, dirty: bool) -> Revision | None:
    if commit is None:
        return None
    return Revision(
        commit=commit.id,
        author_name=commit.author_name,
        author_email=commit.author_email,
        authored_at=commit.authored_at,
        committer_name=commit.committer_name,
        committer_email=commit.committer_email,
        committed_at=commit.committed_at,
        subject=commit.subject,
        dirty=dirty,
    )
