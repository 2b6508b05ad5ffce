"""A bare repository as the remote and a clone of it, in a folder that is removed: where a drill commits and pushes.

Takes a folder, and the project's `schemas/` or its last commit; gives a Scratch. The project's own repository is read
and never written: its remotes are not known here.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from reconciler.git import Git
from reconciler.project import SCHEMAS
from reconciler.repository import Repository

__all__ = ["Scratch", "scratch_of_commit", "scratch_of_schemas"]

_BRANCH = "main"
_OWN = {
    "user.name": "Reconcile Drill",
    "user.email": "drill@localhost",
    "commit.gpgsign": "false",
    "core.hooksPath": "/dev/null",
}


class Scratch:
    """`directory` is where state/ and schemas/ are in the clone; `bare` is its remote."""

    def __init__(self, clone: Path, bare: Path, below: str = "") -> None:
        self.clone = clone
        self.bare = bare
        self.directory = clone / below
        self._git = Git(clone)

    def branches(self, verb: str) -> set[str]:
        """The branches of the remote whose names begin with `verb/`."""
        listed = Git(self.bare).output("for-each-ref", "--format=%(refname:short)", f"refs/heads/{verb}/")
        return set(listed.decode().split())

    def merge(self, branch: str) -> None:
        """What the reviewed pull request does: the branch into main, with a merge commit, on the remote."""
        self._git.output("fetch", "--quiet", "origin")
        self._git.output("merge", "--quiet", "--no-ff", f"--message=Merge {branch}", f"refs/remotes/origin/{branch}")
        self._git.output("push", "--quiet", "origin", _BRANCH)


def scratch_of_schemas(parent: Path, project: Path) -> Scratch:
    """A repository of its own with the project's schemas/, as they stand there, and no state."""
    bare, clone = _empty(parent)
    shutil.copytree(project / SCHEMAS, clone / SCHEMAS)
    git = Git(clone)
    git.output("add", "--all")
    git.output("commit", "--quiet", "--message=What the drill begins with")
    git.output("push", "--quiet", "--set-upstream", "origin", _BRANCH)
    return Scratch(clone, bare)


def scratch_of_commit(parent: Path, project: Path) -> Scratch:
    """A clone of the commit that is checked out in the project, with its history."""
    with Repository.open(project) as repository:
        head = repository.commit("HEAD").id
    own = Git(project)
    top = own.output("rev-parse", "--show-toplevel").decode().rstrip("\n")
    below = own.output("rev-parse", "--show-prefix").decode().strip().rstrip("/")
    bare, clone = _empty(parent)
    git = Git(clone)
    git.output("fetch", "--quiet", "--no-tags", top, head)
    git.output("reset", "--quiet", "--hard", head)
    git.output("push", "--quiet", "--set-upstream", "origin", f"HEAD:refs/heads/{_BRANCH}")
    return Scratch(clone, bare, below)


def _empty(parent: Path) -> tuple[Path, Path]:
    """The remote and the clone, without a commit."""
    bare, clone = parent / "remote.git", parent / "clone"
    clone.mkdir(parents=True)
    here = Git(parent)
    here.output("init", "--quiet", "--bare", f"--initial-branch={_BRANCH}", str(bare))
    here.output("init", "--quiet", f"--initial-branch={_BRANCH}", str(clone))
    git = Git(clone)
    for name, value in _OWN.items():
        git.output("config", name, value)
    git.output("remote", "add", "origin", str(bare))
    return bare, clone
