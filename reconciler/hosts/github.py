"""GitHub's REST API (https://docs.github.com/rest), as far as a run speaks to it.

A pull request is an issue with a branch: its comments and labels are the issue's. Whoever may write to a pull request
may write a comment that looks like ours, so a comment counts as ours only if its author is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from functools import cached_property
from typing import Any
from urllib.parse import quote

from reconciler.hosts.address import PullRequest
from reconciler.hosts.host import Issue, Note, Request
from reconciler.hosts.http import Client, HostProblem

__all__ = ["GitHub", "github_api"]

_VERSION = "2022-11-28"
"""The API's version that is asked for; without it the host decides (https://docs.github.com/rest/about-the-rest-api)."""


def github_api(host: str, environment: Mapping[str, str]) -> str:
    """The address of the API of a host."""
    default = "https://api.github.com" if host == "github.com" else f"https://{host}/api/v3"
    return environment.get("GITHUB_API_URL") or default


class GitHub:
    """One repository, `owner/name`."""

    def __init__(self, api: str, repository: str, token: str, *, patience_s: float = 60.0) -> None:
        headers = {
            "Authorization": f"Bearer {token}",
            "Accept": "application/vnd.github+json",
            "X-GitHub-Api-Version": _VERSION,
        }
        self._client = Client(api, headers, patience_s=patience_s)
        self._base = f"/repos/{quote(repository)}"

    def rights(self) -> tuple[str, ...]:
        """What the token may do (`pull`, `push`, `admin`), where the host says so. Raises HostProblem.

        https://docs.github.com/rest/repos/repos#get-a-repository
        """
        found = self._ask("GET", "").get("permissions")
        return tuple(name for name, has in found.items() if has is True) if isinstance(found, dict) else ()

    def open_request(self, request: PullRequest) -> tuple[str, str]:
        """See Host."""
        wanted = {"title": request.title, "head": request.head, "base": request.base, "body": request.body}
        found = self._ask("POST", "/pulls", wanted)
        url, number = found.get("html_url"), found.get("number")
        if not isinstance(url, str) or not isinstance(number, int):
            raise HostProblem("its answer was not understood")
        try:
            self._ask("POST", f"/issues/{number}/labels", {"labels": list(request.labels)})
        except HostProblem as problem:
            return url, f"its labels could not be set: {problem}"
        return url, ""

    def request(self, number: int) -> Request:
        """See Host."""
        return _request(self._ask("GET", f"/pulls/{number}"))

    def requests_of(self, commit: str) -> list[Request]:
        """See Host."""
        return [_request(found) for found in self._client.pages(f"{self._base}/commits/{commit}/pulls", {})]

    def notes(self, number: int) -> Iterator[Note]:
        """See Host."""
        for found in self._client.pages(f"{self._base}/issues/{number}/comments", {}):
            yield Note(found["id"], found.get("body") or "", self._is_mine(found.get("user")))

    def add_note(self, number: int, body: str) -> None:
        """See Host."""
        self._ask("POST", f"/issues/{number}/comments", {"body": body})

    def edit_note(self, number: int, note: int, body: str) -> None:
        """See Host."""
        self._ask("PATCH", f"/issues/comments/{note}", {"body": body})

    def set_labels(self, number: int, wanted: Collection[str], ours: Mapping[str, tuple[str, str]]) -> None:
        """See Host."""
        listed = self._client.pages(f"{self._base}/issues/{number}/labels", {})
        there = {found["name"].lower() for found in listed}  # names of labels differ by more than case
        missing = sorted(label for label in wanted if label.lower() not in there)
        if missing:
            for label in missing:
                self._make_label(label, *ours.get(label, ("", "")))
            self._ask("POST", f"/issues/{number}/labels", {"labels": missing})
        for label in sorted(set(ours) - set(wanted)):
            if label.lower() in there:
                self._client.ask("DELETE", f"{self._base}/issues/{number}/labels/{quote(label, safe='')}")

    def _make_label(self, name: str, colour: str, description: str) -> None:
        """Make it in our colour. One that exists is refused, and keeps its own; GitHub would make a grey one."""
        try:
            self._ask("POST", "/labels", {"name": name, "color": colour, "description": description})
        except HostProblem as problem:
            if problem.status not in (403, 404, 422):
                raise

    def issues(self, label: str) -> Iterator[Issue]:
        """See Host."""
        for found in self._client.pages(f"{self._base}/issues", {"labels": label, "state": "open"}):
            if "pull_request" not in found:
                mine = self._is_mine(found.get("user"))
                yield Issue(found["number"], found.get("title") or "", found.get("body") or "", mine)

    def open_issue(self, title: str, body: str, label: str) -> int:
        """See Host."""
        number = self._ask("POST", "/issues", {"title": title, "body": body, "labels": [label]}).get("number")
        if not isinstance(number, int):
            raise HostProblem("its answer was not understood")
        return number

    def edit_issue(self, number: int, title: str, body: str) -> None:
        """See Host."""
        self._ask("PATCH", f"/issues/{number}", {"title": title, "body": body})

    def close_issue(self, number: int, why: str) -> None:
        """See Host."""
        self._ask("POST", f"/issues/{number}/comments", {"body": why})
        self._ask("PATCH", f"/issues/{number}", {"state": "closed", "state_reason": "completed"})

    def artifact(self, name: str, commit: str) -> bytes | None:
        """See Host. A fork's run may keep one under any name, so it must be of this repository's own run."""
        found = self._client.pages(f"{self._base}/actions/artifacts", {"name": name})
        ours = [one for one in found if _is_own_artifact(one, name, commit)]
        if not ours:
            return None
        newest = max(ours, key=lambda one: one["id"])
        return self._client.ask("GET", f"{self._base}/actions/artifacts/{newest['id']}/zip").body

    def _ask(self, method: str, path: str, document: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
        found = self._client.ask(method, f"{self._base}{path}", document).document
        return found if isinstance(found, dict) else {}

    def _is_mine(self, user: Mapping[str, Any] | None) -> bool:
        if user is None:
            return False
        return user.get("login") == self._login if self._login else user.get("type") == "Bot"

    @cached_property
    def _login(self) -> str:
        """Who the token is; empty for a robot's, which may not ask. Nobody can take a robot's name, or be one."""
        try:
            found = self._client.ask("GET", "/user").document
        except HostProblem as problem:
            if problem.status in (401, 403, 404):
                return ""
            raise
        login = found.get("login") if isinstance(found, dict) else None
        return login if isinstance(login, str) else ""


def _request(found: Mapping[str, Any]) -> Request:
    return Request(
        number=found["number"],
        head=found["head"]["sha"],
        base=found["base"]["ref"],
        merged_at=found.get("merged_at"),
    )


def _is_own_artifact(found: Mapping[str, Any], name: str, commit: str) -> bool:
    run = found.get("workflow_run") or {}
    own = run.get("repository_id") == run.get("head_repository_id") and run.get("repository_id") is not None
    return own and found.get("name") == name and run.get("head_sha") == commit and not found.get("expired")
