"""The pull request: by the `gh` command where it is there, else by GitHub's REST API, else as an address to click.

Takes the remote's address, the environment and the texts; gives an Opened: the address of the request, or of the page
that makes it, and what could not be done. Nothing here is worth failing for: a kill is committed, and perhaps applied.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec

from reconciler.git import Git

__all__ = ["Opened", "PullRequest", "Repository", "hosted_at", "open_pull_request"]

_LONGEST_BODY = 65_000
_GH_SECONDS = 60
_API_SECONDS = 20
_GITHUB = "github.com"


class PullRequest(msgspec.Struct, frozen=True):
    """What is asked for: `head` is to be merged into `base`."""

    head: str
    base: str
    title: str
    body: str
    labels: tuple[str, ...]


class Repository(msgspec.Struct, frozen=True):
    """Where the repository is on the web: https://HOST/PATH, and whether that is GitLab."""

    host: str
    path: str
    is_gitlab: bool = False

    def page(self, request: PullRequest) -> str:
        """The address of the page that makes the request."""
        head, base = quote(request.head, safe=""), quote(request.base, safe="")
        if self.is_gitlab:
            asked = f"merge_request%5Bsource_branch%5D={head}&merge_request%5Btarget_branch%5D={base}"
            return f"https://{self.host}/{self.path}/-/merge_requests/new?{asked}"
        return f"https://{self.host}/{self.path}/compare/{quote(request.base)}...{quote(request.head)}?expand=1"


class Opened(msgspec.Struct, frozen=True):
    """`url` is the request's; `page` is where a person makes it, where that could not be done. `notes` say why."""

    url: str | None
    page: str | None
    notes: tuple[str, ...] = ()


def hosted_at(directory: Path, remote: str, environment: Mapping[str, str]) -> Repository | None:
    """The web side of a remote, None for one that has none (a path).

    As it is configured, else as git rewrites it (`insteadOf`): a host without a dot is an abbreviation of somebody's.
    """
    git = Git(directory)
    asked = [("config", "--get", f"remote.{remote}.url"), ("remote", "get-url", remote)]
    texts = [git.run(*arguments).stdout.decode("utf-8", "replace").strip() for arguments in asked]
    found = [one for text in texts if (one := _parsed(text, environment)) is not None]
    return next((one for one in found if "." in one.host), found[0] if found else None)


def open_pull_request(
    directory: Path, where: Repository | None, request: PullRequest, environment: Mapping[str, str]
) -> Opened:
    """Open the request in the best way there is. Never raises."""
    body = request.body
    if len(body) > _LONGEST_BODY:
        request = msgspec.structs.replace(request, body=body[: _LONGEST_BODY - 2].rstrip() + "…")
    notes: list[str] = []
    if where is None or not where.is_gitlab:
        if shutil.which("gh", path=environment.get("PATH")):
            url, note = _by_command(directory, request, environment)
            if url:
                return Opened(url, None, tuple(filter(None, (note,))))
            notes.append(f"`gh pr create` did not open it: {note}")
        token = environment.get("GITHUB_TOKEN") or environment.get("GH_TOKEN")
        if token and where is not None:
            url, note = _by_api(where, request, token, environment)
            if url:
                return Opened(url, None, (*notes, *filter(None, (note,))))
            notes.append(f"the API of {where.host} did not open it: {note}")
    return Opened(None, where.page(request) if where is not None else None, tuple(notes))


def _parsed(url: str, environment: Mapping[str, str]) -> Repository | None:
    """https://host/owner/name.git, ssh://git@host:22/owner/name.git, git@host:owner/name.git."""
    if "://" in url:
        parts = urlsplit(url)
        host, path = parts.hostname or "", parts.path
        if parts.scheme not in ("http", "https", "ssh", "git"):
            return None
    else:
        short = re.fullmatch(r"(?:[^@/:]+@)?([^/:]{2,}):(?!//)(.+)", url)
        if short is None:
            return None
        host, path = short[1], short[2]
    path = path.strip("/").removesuffix(".git")
    if not host or path.count("/") < 1:
        return None
    is_gitlab = "gitlab" in host or host == urlsplit(environment.get("CI_SERVER_URL", "")).hostname
    return Repository(host, path, is_gitlab)


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


def _by_api(where: Repository, request: PullRequest, token: str, environment: Mapping[str, str]) -> tuple[str, str]:
    """By the REST API: the address and a note; without an address, why not."""
    api = environment.get("GITHUB_API_URL") or (
        "https://api.github.com" if where.host == _GITHUB else f"https://{where.host}/api/v3"
    )
    base = f"{api.rstrip('/')}/repos/{quote(where.path)}"
    wanted = {"title": request.title, "head": request.head, "base": request.base, "body": request.body}
    answer, said = _post(f"{base}/pulls", wanted, token)
    url, number = answer.get("html_url"), answer.get("number")
    if not isinstance(url, str) or not isinstance(number, int):
        return "", said or "its answer was not understood"
    # A pull request is an issue with a branch: its labels are the issue's.
    _, wrong = _post(f"{base}/issues/{number}/labels", {"labels": list(request.labels)}, token)
    return url, f"its labels could not be set: {wrong}" if wrong else ""


def _post(url: str, document: Mapping[str, Any], token: str) -> tuple[dict[str, Any], str]:
    """The answer as a mapping, and what went wrong: empty where nothing did."""
    headers = {
        "Authorization": f"Bearer {token}",
        "Accept": "application/vnd.github+json",
        "Content-Type": "application/json",
        "User-Agent": "reconcile",
    }
    try:
        asked = urllib.request.Request(url, json.dumps(document).encode(), headers, method="POST")
        with urllib.request.urlopen(asked, timeout=_API_SECONDS) as answer:
            found = json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return {}, f"HTTP {error.code}{_message(error)}"
    except (OSError, ValueError) as error:
        # Without the error's own text: it may quote what was sent.
        return {}, f"no answer ({type(getattr(error, 'reason', error)).__name__})"
    return (found, "") if isinstance(found, dict) else ({}, "")


def _message(error: urllib.error.HTTPError) -> str:
    try:
        found = json.loads(error.read())
        errors = [str(one.get("message", "")) for one in found.get("errors", []) if isinstance(one, dict)]
        text = ", ".join(filter(None, [str(found.get("message", "")), *errors]))
    except (OSError, ValueError, AttributeError, TypeError):
        return ""
    return f": {' '.join(text.split())[:200]}" if text else ""
