"""A project in a git repository: the files of a commit, what is not committed, and how two commits stand to each other.

Takes a project directory (the one that holds `state/` and `schemas/`; the top of a repository, a directory in it, a
linked work tree, a submodule); gives the SourceFiles of any revision without checking it out, its Commit, the paths
that differ from HEAD, and the Ancestry of a commit against the one that was applied last. The work tree's own files
come from `sources`, which needs no git; they are offered here too, so that a reader of a project has one door.

Paths are relative to the project directory. Errors: NotARepository; UsageProblem for a revision that names no commit;
Refused where there are no commits; Failed where the repository, or git itself, does not work.
"""

from __future__ import annotations

import enum
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from reconciler.commit import Commit, parse_commit
from reconciler.documents import MAX_FILE_BYTES
from reconciler.errors import Problem, ReconcileError, Refused, UsageProblem, nearest
from reconciler.git import Git, GitObject, NotARepository, explain
from reconciler.sources import (
    SourceFile,
    count_name,
    files_in_work_tree,
    is_misspelt,
    is_source,
    misspelt,
    nested_repository,
    not_a_folder,
    problem_at,
    readable_name,
    too_large,
)

__all__ = [
    "Ancestry", "Commit", "Hunk", "NotARepository", "Repository", "SourceFile", "ask_ahead", "files_in_work_tree",
]  # fmt: skip

_ID = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
"""A whole object id, of either object format."""

_TREE = b"40000"
"""The mode of a folder in a tree."""

_NO_LIMIT = 1 << 62
"""Commits and trees are read whole, however large."""


# The prefix comes last, and is taken whole: a directory's name may hold a line break.
_WHERE = ("rev-parse", "--is-bare-repository", "--is-inside-work-tree", "--is-shallow-repository", "--show-prefix")

_UNCOMMITTED = (
    *("status", "--porcelain", "-z", "--untracked-files=all", "--ignored", "--no-renames", "--ignore-submodules=dirty"),
    "--",
)


_HUNK = re.compile(rb"^@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@", re.MULTILINE)


class Hunk(msgspec.Struct, frozen=True):
    """Lines of one file that another has in their place: from `old` to before `after_old`, and `new`, `after_new`."""

    old: int
    after_old: int
    new: int
    after_new: int


class Ancestry(enum.Enum):
    """How a candidate stands to the commit that was applied last."""

    SAME = "same"  # they are one
    DESCENDS = "descends"  # the candidate has the applied one among its ancestors
    OLDER = "older"  # the candidate is an ancestor of the applied one
    DIVERGED = "diverged"  # it does not descend, and the history that says so is complete; nor is it known to be older
    UNKNOWN = "unknown"  # the applied commit is not here, or the history is too shallow to tell


def ask_ahead(directory: Path, uncommitted: Sequence[str] = ()) -> Git | None:
    """Let git begin with what `Repository.open` and `commit` will ask, and with what of these folders is not committed.

    For a process that has other work to do first. None where git cannot even be started; opening will say why.
    """
    git = Git(directory.absolute())
    try:
        git.begin(*_WHERE)
        git.begin_to_read()
        if uncommitted:
            git.begin(*_UNCOMMITTED, *uncommitted)
    except ReconcileError:
        return None
    return git


class Repository:
    """One project directory and the repository it is in. Its git process ends with `close`, or when it is collected."""

    def __init__(self, directory: Path, git: Git, prefix: bytes, is_shallow: bool) -> None:
        self.directory = directory
        self.is_shallow = is_shallow
        self._git = git
        self._prefix = prefix

    @classmethod
    def open(cls, directory: Path, ahead: Git | None = None) -> Repository:
        """The repository of a directory. `ahead`: git, as `ask_ahead` has started it there.

        Raises NotARepository, UsageProblem (no such directory) or Failed.
        """
        if not directory.is_dir():
            raise UsageProblem(f"{directory} is not a directory. Name the project's directory with --directory.")
        directory = directory.absolute()  # "." says little in a message
        git = ahead or Git(directory)
        bare, inside, shallow, prefix = git.output(*_WHERE).split(b"\n", 3)
        if inside != b"true":
            what = "a bare repository, which has no work tree" if bare == b"true" else "inside a .git directory"
            raise NotARepository(
                f"{directory} is {what}. Run this in the project's directory in a clone, or make a work tree with "
                "`git worktree add`, and name it with --directory."
            )
        return cls(directory, git, prefix.removesuffix(b"\n"), shallow == b"true")

    def close(self) -> None:
        """End the git process that reads objects; a later question starts another."""
        self._git.close()

    def __enter__(self) -> Repository:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def below(self) -> str:
        """The project's directory below the top of the repository; empty where it is the top."""
        return self._prefix.decode("utf-8", "backslashreplace").strip("/")

    # Commits

    def commit(self, revision: str = "HEAD") -> Commit:
        """The commit that a revision (a branch, a tag, an id, ``HEAD~2``) names.

        Raises UsageProblem where it names none, Refused where there are no commits yet, Failed where it is damaged.
        """
        if not revision or revision.startswith("-") or not revision.isprintable():
            raise UsageProblem(f"{revision!r} is not a revision. Name a branch, a tag or a commit, such as HEAD.")
        found = self._object(revision)
        if found.kind == "tag":
            found = self._object(found.id + "^{commit}")
        if found.data is None:
            raise self._no_commit(revision, found.kind)
        if found.kind != "commit":
            raise UsageProblem(f'"{revision}" names a {found.kind}, not a commit. Name a branch, a tag or a commit.')
        return parse_commit(found.id, found.data)

    def ancestry(self, applied: str, candidate: str) -> Ancestry:
        """How `candidate` (any revision) stands to `applied` (a commit's id, or any revision that is known to exist).

        Never DIVERGED on the word of a history that ends too early: `git merge-base --is-ancestor` says "no" there.
        """
        commit = self.commit(candidate)
        new = commit.id
        if applied == new:
            return Ancestry.SAME
        if applied in commit.parents and not self.is_shallow:  # the usual case, and no process is needed to know
            return Ancestry.DESCENDS
        if _ID.fullmatch(applied):
            if self._object(applied).kind != "commit":
                return Ancestry.UNKNOWN
            old = applied
        else:
            old = self.commit(applied).id
        # Commits that only the one or only the other has. Each counts itself, unless it is the other's ancestor, which
        # no missing history can make untrue.
        only_old, only_new = self._git.output("rev-list", "--left-right", "--count", f"{old}...{new}", "--").split()
        if only_old == b"0":
            return Ancestry.SAME if only_new == b"0" else Ancestry.DESCENDS
        if only_new == b"0":
            return Ancestry.OLDER
        return Ancestry.UNKNOWN if self.is_shallow and self._is_cut_off(old, new) else Ancestry.DIVERGED

    def merge_base(self, one: str, other: str) -> Commit:
        """The commit at which two revisions parted. Raises Refused where they have none, or it is not here."""
        first, second = self.commit(one).id, self.commit(other).id
        found = self._git.run("merge-base", first, second)
        if found.returncode == 0:
            return self.commit(found.stdout.split()[0].decode("ascii"))
        why = f"this clone may lack it: `{self.deepen_command}`" if self.is_shallow else "they share no history"
        raise Refused(f"{one} and {other} have no commit in common; {why}. Compare two trees with {one}..{other}")

    def changed_paths(self, base: Commit, head: Commit) -> list[str]:
        """The paths that differ between two commits, those outside of the project too, seen from its directory.

        Sorted; a rename is two. What is outside begins with `../` only where the project is below the repository's top.
        """
        options = ("-r", "-z", "--name-only", "--no-renames")
        listed = self._git.output("diff-tree", *options, base.id, head.id, "--").split(b"\0")
        above = b"../" * self._prefix.count(b"/")
        paths = (
            path.removeprefix(self._prefix) if path.startswith(self._prefix) else above + path
            for path in listed
            if path
        )
        return sorted(path.decode("utf-8", "backslashreplace") for path in paths)

    def hunks(self, old: Commit, new: Commit, path: str) -> list[Hunk]:
        """Where a file of the project differs between two commits, from top to bottom; nothing where one lacks it."""
        options = ("-r", "-p", "--unified=0", "--no-renames", "--no-ext-diff", "--no-textconv", "--no-color", "--text")
        shown = self._git.output("diff-tree", "--diff-filter=M", *options, old.id, new.id, "--", path)
        found = []
        for hunk in _HUNK.finditer(shown):
            first, lines, new_first, new_lines = (1 if part is None else int(part) for part in hunk.groups())
            # A side without lines is named by the line before it.
            start, new_start = first + (lines == 0), new_first + (new_lines == 0)
            found.append(Hunk(start, start + lines, new_start, new_start + new_lines))
        return found

    def _is_cut_off(self, old: str, new: str) -> bool:
        """Whether the history of `new` ends at a commit whose parents are not here, and which `old` does not have.

        Only beyond such a commit can `old` still be an ancestor of `new`: what is cut off below `old` is older than it.
        """
        place = os.fsdecode(self._git.output("rev-parse", "--git-path", "shallow").removesuffix(b"\n"))
        cuts = set((self.directory / place).read_bytes().split())
        reached = cuts.intersection(self._git.output("rev-list", new, f"^{old}", "--").split())
        # A root commit at the clone's depth is listed among the cuts, though nothing is missing below it.
        return any(self.commit(cut.decode("ascii")).parents for cut in reached)

    def trailers_since(self, applied: str | None, commit: Commit, name: str) -> list[str]:
        """The values of a trailer in `commit`, and in what it adds to the commit that was applied last.

        So that a trailer counts which stands in a commit of a merged branch; of the newest 1,000 commits at most.
        """
        commits = [commit]
        if applied and self.has_commit(applied):
            listed = self._git.output("rev-list", "--max-count=1000", commit.id, f"^{applied}", "--")
            commits += [self.commit(identity.decode("ascii")) for identity in listed.split()]
        return [value for one in commits for value in one.trailers.get(name.lower(), [])]

    def merged_since(self, applied: str | None, commit: Commit, most: int) -> list[str]:
        """The commits of the branch itself (first parents) that `commit` adds to the applied one, the newest first.

        At most so many; `commit` alone where the applied one is not known, or not here.
        """
        if not applied or not self.has_commit(applied):
            return [commit.id]
        listed = self._git.output(
            "rev-list", "--first-parent", f"--max-count={most}", commit.id, f"^{applied}", "--"
        )
        return listed.decode("ascii").split()

    def last_changes(self, commit: Commit, paths: Sequence[str], most: int) -> list[str]:
        """The commits of the branch itself (first parents) that changed the paths last, at most so many, each once."""
        found: dict[str, None] = {}
        for path in paths[:most]:
            options = ("--first-parent", "--max-count=1", "--format=%H")
            said = self._git.output("log", *options, commit.id, "--", path).decode("ascii").strip()
            found |= {said: None} if said else {}
        return list(found)

    def changes_of(self, revision: str, folder: str, most: int) -> list[str]:
        """The commits in the history of the revision that changed the folder, the newest first, at most so many."""
        listed = self._git.output("log", f"--max-count={most}", "--format=%H", self.commit(revision).id, "--", folder)
        return listed.decode("ascii").split()

    @property
    def deepen_command(self) -> str:
        """The command that fetches the history which is not here, for the user to run."""
        import shlex

        words = ["git"]
        if Path.cwd() != self.directory:
            words += ["-C", str(self.directory)]
        words += ["fetch", "--unshallow"] if self.is_shallow else ["fetch"]
        return f"{shlex.join(words)} {shlex.quote(self._remote())}"

    def depth(self) -> int:
        """How many commits of the history of HEAD are here."""
        return int(self._git.output("rev-list", "--count", "HEAD", "--"))

    def has_commit(self, identity: str) -> bool:
        """Whether this clone holds the commit of a whole id."""
        return bool(_ID.fullmatch(identity)) and self._object(identity).kind == "commit"

    def branch(self) -> str | None:
        """The branch that is checked out; None where none is."""
        found = self._git.run("symbolic-ref", "--quiet", "--short", "HEAD").stdout
        return found.decode("utf-8", "surrogateescape").strip() or None

    def remote(self) -> str | None:
        """The remote of the current branch, else origin, else the first; None where there is none."""
        return self._remote() if self._git.run("remote").stdout.strip() else None

    def _remote(self) -> str:
        """The remote of the current branch, else origin, else the first there is."""
        branch = self._git.run("symbolic-ref", "--quiet", "--short", "HEAD").stdout.strip()
        listed = self._git.run("config", "-z", "--get-regexp", r"^(branch\..*\.remote|remote\..*\.(url|fetch))$").stdout
        settings = dict(entry.split(b"\n", 1) for entry in listed.split(b"\0") if b"\n" in entry)
        remotes = sorted({key.split(b".", 1)[1].rsplit(b".", 1)[0] for key in settings if key.startswith(b"remote.")})
        upstream = settings.get(b"branch." + branch + b".remote", b"origin")
        if upstream not in remotes:
            upstream = b"origin" if b"origin" in remotes or not remotes else remotes[0]
        return upstream.decode("utf-8", "replace")

    # Files

    def uncommitted(self, folders: Sequence[str]) -> list[str]:
        """Paths below the folders that differ from HEAD: modified, staged, deleted, in conflict, or new.

        What is new and ignored by git counts where a dry run would read it, or complain of it: nobody is to believe it
        applied. Sorted. A repository inside the folders that git does not know ends in a slash.
        """
        listed = (entry for entry in self._git.output(*_UNCOMMITTED, *folders).split(b"\0") if entry)
        paths = ((entry[:2], entry[3:].removeprefix(self._prefix)) for entry in listed)
        return sorted(
            path.decode("utf-8", "backslashreplace") for state, path in paths if state != b"!!" or _is_looked_at(path)
        )

    def files_at(self, commit: Commit | str, folders: Sequence[str], problems: list[Problem]) -> list[SourceFile]:
        """The files of the folders in a commit (or a revision), sorted by path; the work tree is not looked at.

        What cannot be read as a file of the project is appended to `problems`. A folder that the commit does not have
        holds no files. Raises as `commit` does, and Failed where an object is missing or damaged.
        """
        return list(self.contents(self.entries_at(commit, folders, problems), problems))

    def entries_at(
        self, commit: Commit | str, folders: Sequence[str], problems: list[Problem]
    ) -> list[tuple[str, str]]:
        """Path and blob of the same files, sorted by path, none of them read."""
        identity = commit.id if isinstance(commit, Commit) else self.commit(commit).id
        return sorted(self._entries(identity, folders, problems))

    def contents(self, entries: Sequence[tuple[str, str]], problems: list[Problem]) -> Iterator[SourceFile]:
        """The files of these entries, one at a time. Raises Failed where a blob is missing or damaged."""
        blobs = self._git.read([blob for _, blob in entries], MAX_FILE_BYTES)
        for (path, blob), found in zip(entries, blobs, strict=True):
            if found.data is not None:
                yield SourceFile(path, blob, found.data)
            elif found.size:
                problems.append(too_large(path, found.size))
            else:
                raise self._damaged(f"{blob} of {path}")

    def _entries(self, identity: str, folders: Sequence[str], problems: list[Problem]) -> list[tuple[str, str]]:
        """Path and blob of every file of the folders. Trees are read breadth first, a level at a time."""
        files: list[tuple[str, str]] = []
        pending: list[tuple[str, str]] = []
        for folder in folders:
            mode, child = self._entry(identity, self._prefix + os.fsencode(folder))
            if mode == _TREE:
                pending.append((folder, child))
            elif mode:
                problems.append(_PROBLEMS.get(mode, not_a_folder)(folder))
        while pending:
            level, pending = pending, []
            trees = self._git.read([tree for _, tree in level], _NO_LIMIT)
            for (folder, tree), found in zip(level, trees, strict=True):
                for mode, name, child in self._parsed(found, tree):
                    path = readable_name(name, folder, problems) if count_name(name) else None
                    if path is None:
                        continue
                    if mode == _TREE:
                        pending.append((path, child))
                    elif mode in _PROBLEMS:
                        problems.append(_PROBLEMS[mode](path))
                    elif is_source(name):
                        files.append((path, child))
                    elif is_misspelt(name):
                        problems.append(misspelt(path))
        return files

    def _entry(self, identity: str, path: bytes) -> tuple[bytes, str]:
        """Mode and id of what stands at a path, from the top of a commit's tree; two empty texts for nothing."""
        mode, current = _TREE, identity + "^{tree}"
        for part in path.split(b"/"):
            below = self._parsed(self._object(current), current) if mode == _TREE else ()
            mode, current = next(((mode, child) for mode, name, child in below if name == part), (b"", ""))
        return mode, current

    def _parsed(self, found: GitObject, tree: str) -> Iterator[tuple[bytes, bytes, str]]:
        """Mode, name and id of each entry of a tree object: `mode SP name NUL id`, the id as bytes."""
        data = found.data
        if data is None or found.kind != "tree":
            raise self._damaged(tree)
        length, at = len(found.id) // 2, 0
        while at < len(data):
            end = data.find(b"\0", at)
            mode, space, name = data[at:end].partition(b" ")
            at = end + 1 + length
            if end < 0 or not space or at > len(data):
                raise self._damaged(tree)
            yield mode, name, data[at - length : at].hex()

    # What goes wrong

    def _object(self, name: str) -> GitObject:
        [found] = self._git.read([name], _NO_LIMIT)
        return found

    def _damaged(self, what: str) -> ReconcileError:
        """The error for an object that must be there and is not."""
        said = self._git.complaint()
        return explain(f"{said}\nfatal: object {what} is missing or damaged".encode(), self.directory)

    def _no_commit(self, revision: str, answer: str) -> ReconcileError:
        """The error for a revision that names no commit, with the nearest thing to do about it."""
        resolved = self._git.run("rev-parse", "--verify", "--quiet", revision)
        if resolved.returncode == 0 and not _ID.fullmatch(revision.lower()):
            return self._damaged(resolved.stdout.decode().strip())
        if revision in ("HEAD", "@"):
            return Refused(
                f"the repository of {self.directory} has no commits yet. Commit first: `git add state schemas` and "
                "`git commit`; a dry run without --revision reads the work tree."
            )
        if answer == "ambiguous":
            return UsageProblem(f'"{revision}" is the beginning of more than one object id. Write more of it.')
        names = self._git.run("for-each-ref", "--format=%(refname:short)").stdout.decode("utf-8", "replace").split()
        hint = nearest(revision, names)
        if not hint:
            hint = f"If it is newer or older than this clone, get it with `{self.deepen_command}`."
        return UsageProblem(f'"{revision}" names no commit in the repository of {self.directory}. {hint}')


def _is_looked_at(path: bytes) -> bool:
    """Whether a path (a folder's ends in a slash, and it is a repository) is read from a work tree, or is a problem."""
    names = path.split(b"/")
    last = names[-1]
    return all(count_name(name) for name in names) and (not last or is_source(last) or is_misspelt(last))


def _link(path: str) -> Problem:
    return problem_at(path, "this is a symbolic link, and links are not followed", "commit the file itself here")


_PROBLEMS = {b"120000": _link, b"160000": nested_repository}
"""What is made of the modes of tree entries that are neither files nor folders."""
