"""The web side of a git remote: which host, which repository there, and the page that makes a pull request."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote, urlsplit

import msgspec

from reconciler.git import Git

__all__ = ["PullRequest", "Repository", "hosted_at"]


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


def hosted_at(directory: Path, remote: str, environment: Mapping[str, str]) -> Repository | None:
    """The web side of a remote, None for one that has none (a path).

    As it is configured, else as git rewrites it (`insteadOf`): a host without a dot is an abbreviation of somebody's.
    """
    git = Git(directory)
    asked = [("config", "--get", f"remote.{remote}.url"), ("remote", "get-url", remote)]
    texts = [git.run(*arguments).stdout.decode("utf-8", "replace").strip() for arguments in asked]
    found = [one for text in texts if (one := _parsed(text, environment)) is not None]
    return next((one for one in found if "." in one.host), found[0] if found else None)


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
