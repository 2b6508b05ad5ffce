"""The pull request: by the `gh` command where it is there, else by the host's API, else as an address to click.

Takes the remote's address, the environment and the texts; gives an Opened: the address of the request, or of the page
that makes it, and what could not be done. Nothing here is worth failing for: a kill is committed, and perhaps applied.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from reconciler.hosts.address import PullRequest, Repository, hosted_at
from reconciler.hosts.github import GitHub, github_api
from reconciler.hosts.gitlab import GitLab, gitlab_api
from reconciler.hosts.host import Host
from reconciler.hosts.http import HostProblem

__all__ = ["Opened", "PullRequest", "Repository", "hosted_at", "open_pull_request"]

_LONGEST_BODY = 65_000
_GH_SECONDS = 60
_PATIENCE_S = 5.0
"""A kill does not wait for a limit of the host's: the branch is pushed, and the page's address is as good."""


class Opened(msgspec.Struct, frozen=True):
    """`url` is the request's; `page` is where a person makes it, where that could not be done. `notes` say why."""

    url: str | None
    page: str | None
    notes: tuple[str, ...] = ()


def open_pull_request(
    directory: Path, where: Repository | None, request: PullRequest, environment: Mapping[str, str]
) -> Opened:
    """Open the request in the best way there is. Never raises."""
    body = request.body
    if len(body) > _LONGEST_BODY:
        request = msgspec.structs.replace(request, body=body[: _LONGEST_BODY - 2].rstrip() + "…")
    notes: list[str] = []
    if (where is None or not where.is_gitlab) and shutil.which("gh", path=environment.get("PATH")):
        url, note = _by_command(directory, request, environment)
        if url:
            return Opened(url, None, tuple(filter(None, (note,))))
        notes.append(f"`gh pr create` did not open it: {note}")
    host = _host(where, environment) if where is not None else None
    if where is not None and host is not None:
        try:
            url, note = host.open_request(request)
        except HostProblem as problem:
            notes.append(f"the API of {where.host} did not open it: {problem}")
        else:
            return Opened(url, None, (*notes, *filter(None, (note,))))
    return Opened(None, where.page(request) if where is not None else None, tuple(notes))


def _host(where: Repository, environment: Mapping[str, str]) -> Host | None:
    """The repository on its host, None where there is no token for it."""
    if where.is_gitlab:
        token = environment.get("GITLAB_TOKEN")
        api = gitlab_api(where.host, environment)
        return GitLab(api, where.path, token, patience_s=_PATIENCE_S) if token else None
    token = environment.get("GITHUB_TOKEN") or environment.get("GH_TOKEN")
    api = github_api(where.host, environment)
    return GitHub(api, where.path, token, patience_s=_PATIENCE_S) if token else None


def _by_command(directory: Path, request: PullRequest, environment: Mapping[str, str]) -> tuple[str, str]:
    """By `gh`: the address and a note; without an address, why not. Labels that do not exist are left out."""
    with tempfile.TemporaryDirectory(prefix="reconcile-") as folder:
        body = Path(folder) / "body.md"
        body.write_text(request.body, encoding="utf-8")
        words = ["gh", "pr", "create", "--head", request.head, "--base", request.base]
        words += ["--title", request.title, "--body-file", str(body)]
        labels = [word for label in request.labels for word in ("--label", label)]
        url, said = _gh([*words, *labels], directory, environment)
        if url or "label" not in said.lower():
            return url, said
        url, again = _gh(words, directory, environment)
        return (url, f"without its labels: {said}") if url else ("", again)


def _gh(words: Sequence[str], directory: Path, environment: Mapping[str, str]) -> tuple[str, str]:
    quiet = {**environment, "GH_PROMPT_DISABLED": "1", "NO_COLOR": "1"}
    try:
        done = subprocess.run(
            words,
            cwd=directory,
            env=quiet,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_GH_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return "", type(error).__name__
    out, err = done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace").strip()
    url = re.search(r"https?://\S+", out)
    if done.returncode == 0 and url:
        return url[0], ""
    return "", " ".join(err.split())[:300] or f"it ended with {done.returncode}"
