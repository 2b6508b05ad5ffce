"""A commit of a few files on the branch that is checked out, by the user's own git identity.

Takes the project's directory, paths below it and a message; gives the commit's id. Whatever else is staged or changed
stays as it is. The git program makes the commit, so that hooks, signatures and the user's configuration count as they
do in every other commit.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from reconciler.errors import Failed, Refused
from reconciler.git import Git, explain

__all__ = ["commit_files", "message_of", "need_branch", "need_identity"]

_SUBJECT = 100


def need_identity(directory: Path) -> None:
    """Raise Refused where git does not know who commits: it must not guess from the machine's name."""
    git = Git(directory)
    for name in ("GIT_AUTHOR_IDENT", "GIT_COMMITTER_IDENT"):
        if git.run("-c", "user.useConfigOnly=true", "var", name).returncode != 0:
            raise Refused(
                "git does not know who you are, and a commit needs an author: run `git config user.name "
                '"Your Name"` and `git config user.email you@example.org`, or set GIT_AUTHOR_NAME, GIT_AUTHOR_EMAIL, '
                "GIT_COMMITTER_NAME and GIT_COMMITTER_EMAIL. Nothing was changed"
            )


def need_branch(directory: Path) -> str:
    """The branch that is checked out. Raises Refused where there is none: nobody would find a commit on it."""
    found = Git(directory).run("symbolic-ref", "--quiet", "--short", "HEAD")
    if found.returncode != 0:
        raise Refused(
            "no branch is checked out (detached HEAD), so a commit would belong to none. Check one out with "
            "`git switch`, or leave the files uncommitted with --no-commit. Nothing was changed"
        )
    return found.stdout.decode("utf-8", "backslashreplace").strip()


def commit_files(directory: Path, paths: Sequence[str], message: str) -> str:
    """Commit these paths as they stand in the work tree, and nothing else. Returns the commit's id.

    Raises Failed where git refuses (a hook, a merge that is under way); the index is then as it was.
    """
    git = Git(directory)
    known = set(git.output("ls-files", "-z", "--", *paths).decode().split("\0"))
    new = [path for path in paths if path not in known]
    if new:
        git.output("add", "--intent-to-add", "--", *new)
    done = git.run("commit", "--quiet", "--only", f"--message={message}", "--", *paths)
    if done.returncode != 0:
        if new:
            git.run("rm", "--cached", "--quiet", "--force", "--", *new)
        said = (done.stderr + done.stdout).decode("utf-8", "replace").strip()
        if not said:
            raise explain(done.stderr, directory)
        raise Failed(f"git did not make the commit: {said}")
    return git.output("rev-parse", "HEAD").decode("ascii").strip()


def message_of(subject: str, paragraphs: Sequence[str], trailers: Sequence[tuple[str, str]]) -> str:
    """A commit message: a subject of one line, paragraphs, and trailers as its last paragraph."""
    line = " ".join(subject.split())
    short = line if len(line) <= _SUBJECT else line[: _SUBJECT - 1].rstrip() + "…"
    last = "\n".join(f"{name}: {' '.join(value.split())}" for name, value in trailers)
    return "\n\n".join([short, *filter(None, paragraphs), *([last] if last else [])]) + "\n"
