"""git: the program, the commit that would be applied, how much of the history is here, and whether the remote answers.

Takes the project's directory and a deadline; gives Findings. Nothing is fetched, and no index is written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from reconciler.doctor.findings import Finding, Purpose, counted, note, of_error, ok, warning, wrong
from reconciler.errors import Failed, ReconcileError, Refused
from reconciler.git import Git, NotARepository, without_credentials
from reconciler.project import FOLDERS
from reconciler.repository import Repository

PART = "git"
_OLDEST = (2, 18)
_NAMED = 3


def look_at_clone(directory: Path, purpose: Purpose) -> list[Finding]:
    """All that can be known of the repository without its remote."""
    try:
        return list(_look(directory, purpose))
    except ReconcileError as error:
        return of_error(PART, "repository", error)


def _look(directory: Path, purpose: Purpose) -> Iterator[Finding]:
    try:
        yield _program(directory)
    except Failed as missing:
        yield wrong(PART, "program", Failed.exit_code, str(missing))
        return
    try:
        repository = Repository.open(directory)
    except NotARepository as none:
        yield _without_commit("repository", none, purpose)
        return
    with repository:
        try:
            commit = repository.commit("HEAD")
        except Refused as none:
            yield _without_commit("revision", none, purpose)
            return
        yield ok(PART, "revision", f'commit {commit.id[:12]} "{commit.subject}" of {commit.author_name}')
        yield _uncommitted(repository, purpose)
        yield _history(repository)


def _program(directory: Path) -> Finding:
    said = Git(directory).run("version").stdout.decode("utf-8", "replace").strip()
    found = re.search(r"(\d+)\.(\d+)", said)
    if found is not None and (int(found[1]), int(found[2])) < _OLDEST:
        return wrong(PART, "program", Failed.exit_code, f"{said} is too old", "install git 2.18 or newer")
    return ok(PART, "program", said or "git answers, and does not say its version")


def _without_commit(name: str, error: Refused, purpose: Purpose) -> Finding:
    if purpose == "plan":
        return note(PART, name, f"{error} (a dry run reads the files as they are)")
    return wrong(PART, name, error.exit_code, str(error))


def _uncommitted(repository: Repository, purpose: Purpose) -> Finding:
    paths = repository.uncommitted(FOLDERS)
    if not paths:
        return ok(PART, "work tree", "state/ and schemas/ are as in the commit")
    more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
    saw = f"not committed: {', '.join(paths[:_NAMED])}{more}"
    if purpose == "plan":
        return note(PART, "work tree", f"{saw} (a dry run counts it in)")
    advice = "commit, or apply a commit with `reconcile --revision HEAD`"
    return wrong(PART, "work tree", Refused.exit_code, saw, advice)


def _history(repository: Repository) -> Finding:
    if not repository.is_shallow:
        return ok(PART, "history", "complete")
    saw = f"shallow, {counted(repository.depth(), 'commit')} deep: whether a commit descends from the one applied "
    advice = "fetch the rest; in GitHub Actions give actions/checkout `fetch-depth: 0`"
    return warning(PART, "history", saw + "last may not be known", advice, repository.deepen_command)


def look_at_remote(directory: Path, deadline_s: float) -> list[Finding]:
    """Whether the remote answers, and whether what is checked out is what it has. Takes `deadline_s` at most."""
    try:
        repository = Repository.open(directory)
    except ReconcileError:
        return []  # which is said of the repository itself
    with repository:
        remote = repository.remote()
        if remote is None:
            return [note(PART, "remote", "there is none: what is applied from here is reviewed nowhere else")]
        branch = repository.branch()
        asked = f"refs/heads/{branch}" if branch else "HEAD"
        git = Git(directory.absolute())
        done = git.run_over_network("ls-remote", "--", remote, asked, timeout_s=deadline_s)
        if done.returncode != 0:
            return [_unreachable(remote, done.stderr)]
        return [_compared(repository, remote, branch, done.stdout.decode("ascii", "replace").split("\t")[0].strip())]


def _unreachable(remote: str, stderr: bytes) -> Finding:
    lines = [line for line in stderr.decode("utf-8", "replace").splitlines() if line.strip()]
    said = next((line for line in lines if line.startswith("fatal:")), lines[0] if lines else "it says nothing")
    text = f"{remote} does not answer: {without_credentials(said).removeprefix('fatal: ')}"
    advice = "a commit that is here can be applied all the same; nothing can be fetched or pushed"
    return warning(PART, "remote", text, advice)


def _compared(repository: Repository, remote: str, branch: str | None, there: str) -> Finding:
    if branch is None:
        return ok(PART, "remote", f"{remote} answers (no branch is checked out)")
    if not there:
        return note(PART, "remote", f"{remote} answers, and has no branch {branch}", "push it, or it is only here")
    here = repository.commit("HEAD").id
    if there == here:
        return ok(PART, "remote", f"{remote} answers, and its {branch} is what is checked out")
    if not repository.has_commit(there):
        text = f"{remote} answers, and its {branch} is at {there[:12]}, which is not here"
        return warning(PART, "remote", text, "pull, so that the newest commit is applied", f"git pull {remote}")
    return note(PART, "remote", f"{remote} answers; its {branch} is at {there[:12]}, and here is {here[:12]}")


