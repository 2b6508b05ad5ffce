"""GitLab's REST API (https://docs.gitlab.com/api/rest/), as far as a run speaks to it.

A pull request is a merge request here, and a comment is a note. The token is a project access token with the scope
`api`, or a person's; a job's own token (CI_JOB_TOKEN) may not write notes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from functools import cached_property
from typing import Any
from urllib.parse import quote

from reconciler.hosts.address import PullRequest
from reconciler.hosts.host import Issue, Note, Request
from reconciler.hosts.http import Client, HostProblem

__all__ = ["GitLab", "gitlab_api"]


def gitlab_api(host: str, environment: Mapping[str, str]) -> str:
    """The address of the API of a host."""
    return environment.get("CI_API_V4_URL") or f"https://{host}/api/v4"


class GitLab:
    """One project, by its path or its number."""

    def __init__(self, api: str, project: str, token: str, *, patience_s: float = 60.0) -> None:
        self._client = Client(api, {"PRIVATE-TOKEN": token}, patience_s=patience_s)
        self._base = f"/projects/{quote(project, safe='')}"

    def open_request(self, request: PullRequest) -> tuple[str, str]:
        """See Host."""
        wanted = {
            "source_branch": request.head,
            "target_branch": request.base,
            "title": request.title,
            "description": request.body,
            "labels": ",".join(request.labels),
            "remove_source_branch": True,
        }
        url = self._ask("POST", "/merge_requests", wanted).get("web_url")
        if not isinstance(url, str):
            raise HostProblem("its answer was not understood")
        return url, ""

    def request(self, number: int) -> Request:
        """See Host."""
        return _request(self._ask("GET", f"/merge_requests/{number}"))

    def requests_of(self, commit: str) -> list[Request]:
        """See Host."""
        path = f"{self._base}/repository/commits/{commit}/merge_requests"
        return [_request(found) for found in self._client.pages(path, {})]

    def notes(self, number: int) -> Iterator[Note]:
        """See Host."""
        path = f"{self._base}/merge_requests/{number}/notes"
        for found in self._client.pages(path, {"sort": "asc", "order_by": "created_at"}):
            yield Note(found["id"], found.get("body") or "", self._is_mine(found.get("author")))

    def add_note(self, number: int, body: str) -> None:
        """See Host."""
        self._ask("POST", f"/merge_requests/{number}/notes", {"body": body})

    def edit_note(self, number: int, note: int, body: str) -> None:
        """See Host."""
        self._ask("PUT", f"/merge_requests/{number}/notes/{note}", {"body": body})

    def set_labels(self, number: int, wanted: Collection[str], ours: Mapping[str, tuple[str, str]]) -> None:
        """See Host. GitLab chooses the colour of a label that it does not know."""
        change = {"add_labels": ",".join(sorted(wanted)), "remove_labels": ",".join(sorted(set(ours) - set(wanted)))}
        self._ask("PUT", f"/merge_requests/{number}", {name: text for name, text in change.items() if text})

    def issues(self, label: str) -> Iterator[Issue]:
        """See Host."""
        for found in self._client.pages(f"{self._base}/issues", {"labels": label, "state": "opened"}):
            mine = self._is_mine(found.get("author"))
            yield Issue(found["iid"], found.get("title") or "", found.get("description") or "", mine)

    def open_issue(self, title: str, body: str, label: str) -> int:
        """See Host."""
        number = self._ask("POST", "/issues", {"title": title, "description": body, "labels": label}).get("iid")
        if not isinstance(number, int):
            raise HostProblem("its answer was not understood")
        return number

    def edit_issue(self, number: int, title: str, body: str) -> None:
        """See Host."""
        self._ask("PUT", f"/issues/{number}", {"title": title, "description": body})

    def close_issue(self, number: int, why: str) -> None:
        """See Host."""
        self._ask("POST", f"/issues/{number}/notes", {"body": why})
        self._ask("PUT", f"/issues/{number}", {"state_event": "close"})

    def artifact(self, name: str, commit: str) -> bytes | None:
        """See Host. `name` is the number of the job."""
        try:
            return self._client.ask("GET", f"{self._base}/jobs/{int(name)}/artifacts").body
        except ValueError:
            return None
        except HostProblem as problem:
            if problem.status == 404:  # it is not kept any more
                return None
            raise

    def _ask(self, method: str, path: str, document: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
        found = self._client.ask(method, f"{self._base}{path}", document).document
        return found if isinstance(found, dict) else {}

    def _is_mine(self, user: Mapping[str, Any] | None) -> bool:
        return user is not None and bool(self._username) and user.get("username") == self._username

    @cached_property
    def _username(self) -> str:
        found = self._client.ask("GET", "/user").document
        username = found.get("username") if isinstance(found, dict) else None
        return username if isinstance(username, str) else ""


def _request(found: Mapping[str, Any]) -> Request:
    merged_at = found.get("merged_at") if found.get("state") == "merged" else None
    return Request(number=found["iid"], head=found["sha"], base=found["target_branch"], merged_at=merged_at)
