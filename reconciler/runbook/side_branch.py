"""A commit on a branch of its own, made without touching what is checked out.

Takes the project's directory and edited files; gives the Base that the files are read from, and the commit's id. At
three in the morning the work tree may be dirty, on another branch or on none: nobody should have to tidy it first. So
the tree is made in an index of its own, with git's plumbing; hooks of `git commit` are not run.
"""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from reconciler.editing.files import EditedFile
from reconciler.errors import Failed, Refused, UsageProblem
from reconciler.git import Git
from reconciler.repository import Ancestry, Repository

__all__ = ["Base", "branch_name", "commit_on_branch", "find_base", "last_words", "push", "slug"]

_LONGEST_SLUG = 40
_TRIES = 50


class Base(msgspec.Struct, frozen=True, kw_only=True):
    """The commit that the branch begins at. `name` is what people call it.

    `remote` is None where the repository has none; `target` is the branch that a pull request goes to; `branch` is set
    where an existing branch is continued. `notes` say what could not be done.
    """

    commit: str
    name: str
    remote: str | None
    target: str
    branch: str | None = None
    notes: tuple[str, ...] = ()


def find_base(directory: Path, branch: str | None = None, *, fetch: bool = True, timeout_s: float = 10.0) -> Base:
    """Where a kill begins: at `branch` where that exists, else at the newest that is known of the default branch.

    That is the remote's, fetched just now; where it is an ancestor of the default branch that is checked out, HEAD. The
    commits of any other branch are no part of a kill. Raises as `Repository.commit` does.
    """
    git = Git(directory)
    with Repository.open(directory) as repository:
        head = repository.commit("HEAD").id
        current = _text(git.run("symbolic-ref", "--quiet", "--short", "HEAD").stdout)
        remote = _remote(git, current)
        if remote is None:
            base = Base(commit=head, name=f"HEAD ({current or 'detached'})", remote=None, target=current or "main")
            return _continued(git, base, branch)
        deadline = time.monotonic() + timeout_s
        target = _default_branch(git, remote, timeout_s if fetch else None) or current or "main"
        notes: list[str] = []
        if fetch:
            refs = f"+refs/heads/{target}:refs/remotes/{remote}/{target}"
            left_s = max(deadline - time.monotonic(), min(timeout_s, 1.0))
            done = git.run_over_network("fetch", "--quiet", "--no-tags", remote, refs, timeout_s=left_s)
            if done.returncode != 0:
                notes.append(f"{remote} could not be fetched ({last_words(done.stderr)}): what is known of it is used")
        found = git.run("rev-parse", "--verify", "--quiet", f"refs/remotes/{remote}/{target}^{{commit}}")
        theirs = _text(found.stdout)
        own = current == target and theirs and repository.ancestry(theirs, head) is Ancestry.DESCENDS
        if theirs and not own:
            base = Base(commit=theirs, name=f"{remote}/{target}", remote=remote, target=target, notes=tuple(notes))
        else:
            name = f"HEAD ({current or 'detached'})"
            base = Base(commit=head, name=name, remote=remote, target=target, notes=tuple(notes))
        return _continued(git, base, branch)


def branch_name(directory: Path, verb: str, playbook: str, subject: str, stamp: str) -> str:
    """A branch that does not exist yet: kill/whatsapp-ban-acme-bakery-20261127-0312, with a number where it does."""
    git = Git(directory)
    name = f"{verb}/{'-'.join(filter(None, (playbook, slug(subject), stamp)))}"
    for number in range(1, _TRIES):
        candidate = name if number == 1 else f"{name}-{number}"
        if not _tip(git, candidate):
            return candidate
    raise Refused(f"there are {_TRIES} branches {name} already: name another one with --branch")


def slug(text: str) -> str:
    """Lower-case letters, digits and hyphens; may be empty."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower())[:_LONGEST_SLUG].strip("-")


def commit_on_branch(directory: Path, base: Base, branch: str, edited: Sequence[EditedFile], message: str) -> str:
    """Commit the files on `branch`, which is made at the base, or moved from it. Returns the commit's id.

    Signs where `commit.gpgsign` says so. Raises Failed where git cannot, Refused where the branch is checked out.
    """
    git = Git(directory)
    if base.branch is not None and f"branch refs/heads/{branch}\n" in _text_of_worktrees(git):
        raise Refused(f"{branch} is checked out, and a commit on it would not be in its files: take another --branch")
    prefix = git.output("rev-parse", "--show-prefix").removesuffix(b"\n")
    entries = []
    for file in edited:
        path = prefix + file.path.encode()
        listed = git.output("ls-tree", "-z", "--full-tree", base.commit, "--", path.decode())
        mode = listed.split(b" ", 1)[0] if listed else b"100644"
        blob = git.feed(file.after, "hash-object", "-w", "--stdin").strip()
        entries.append(mode + b" " + blob + b"\t" + path + b"\0")
    with tempfile.TemporaryDirectory(prefix="reconcile-") as folder:
        index = Path(folder) / "index"
        git.feed(b"", "read-tree", base.commit, index=index)
        git.feed(b"".join(entries), "update-index", "-z", "--index-info", index=index)
        tree = git.feed(b"", "write-tree", index=index).decode().strip()
    sign = _text(git.run("config", "--type=bool", "--get", "commit.gpgsign").stdout) == "true"
    options = ["-S"] if sign else []
    try:
        commit = git.feed(message.encode(), "commit-tree", tree, "-p", base.commit, *options).decode().strip()
    except Failed as error:
        advice = ". It was to be signed (commit.gpgsign): see that the key can be used" if sign else ""
        raise Failed(f"git did not make the commit: {error}{advice}") from None
    before = base.commit if base.branch is not None else "0" * len(base.commit)
    done = git.run("update-ref", "-m", "reconcile", f"refs/heads/{branch}", commit, before)
    if done.returncode != 0:
        raise Failed(f"git did not make the branch {branch}: {last_words(done.stderr)}. The commit is {commit}")
    return commit


def push(directory: Path, remote: str, branch: str, timeout_s: float = 60.0) -> str | None:
    """Push the branch. None where it is there, else why not, in a few words."""
    refs = f"refs/heads/{branch}:refs/heads/{branch}"
    done = Git(directory).run_over_network("push", "--quiet", remote, refs, timeout_s=timeout_s)
    return None if done.returncode == 0 else last_words(done.stderr)


def last_words(stderr: bytes) -> str:
    """Why git gave up, in one line and without credentials."""
    text = re.sub(r"(?<=://)[^/@\s']+@", "", stderr.decode("utf-8", "replace"))
    said = [line.partition(": ")[2] or line for line in text.splitlines() if line.startswith(("fatal:", "error:"))]
    lines = said or [line for line in text.splitlines() if line.strip()]
    return lines[0].strip() if lines else "git ended without a word"


def _continued(git: Git, base: Base, branch: str | None) -> Base:
    """The base where a branch is named: its tip, where it exists."""
    if branch is None:
        return base
    if git.run("check-ref-format", "--branch", branch).returncode != 0:
        raise UsageProblem(f"--branch {branch}: this is no name for a branch")
    tip = _tip(git, branch)
    return msgspec.structs.replace(base, commit=tip, name=branch, branch=branch) if tip else base


def _tip(git: Git, branch: str) -> str:
    return _text(git.run("rev-parse", "--verify", "--quiet", f"refs/heads/{branch}^{{commit}}").stdout)


def _remote(git: Git, current: str) -> str | None:
    """The remote of the branch that is checked out, else origin, else the first there is."""
    remotes = _text(git.run("remote").stdout).split()
    upstream = _text(git.run("config", "--get", f"branch.{current}.remote").stdout) if current else ""
    return next((name for name in (upstream, "origin", *remotes) if name in remotes), None)


def _default_branch(git: Git, remote: str, timeout_s: float | None) -> str:
    """The branch that the remote's pull requests go to; empty where nothing tells. None: it is not asked itself."""
    known = _text(git.run("symbolic-ref", "--quiet", "--short", f"refs/remotes/{remote}/HEAD").stdout)
    if known:
        return known.removeprefix(f"{remote}/")
    if timeout_s is not None:
        asked = git.run_over_network("ls-remote", "--symref", remote, "HEAD", timeout_s=timeout_s)
        told = re.match(r"ref: refs/heads/(\S+)\s+HEAD", _text(asked.stdout))
        if told:
            return told[1]
    for name in ("main", "master"):
        if git.run("rev-parse", "--verify", "--quiet", f"refs/remotes/{remote}/{name}").returncode == 0:
            return name
    return ""


def _text_of_worktrees(git: Git) -> str:
    return git.run("worktree", "list", "--porcelain").stdout.decode("utf-8", "replace")


def _text(output: bytes) -> str:
    return output.decode("utf-8", "replace").strip()
