"""The part of GitLab's REST API that a job and a kill speak to, for one project, in memory.

Takes nothing; gives the server. The token must be that of the project, and paths that GitLab does not have are refused.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

TOKEN = "glpat-canary"
ME = {"id": 7, "username": "project_1_bot", "name": "reconcile"}


@dataclass
class GitLabApi:
    """The project acme/state, number 1, with one open merge request, number 5."""

    url: str = ""
    head: str = "a" * 40
    merged_at: str | None = None
    merge_commit: str = ""
    notes: list[dict[str, Any]] = field(default_factory=list)
    labels: set[str] = field(default_factory=set)
    issues: list[dict[str, Any]] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)
    artifacts: dict[int, bytes] = field(default_factory=dict)
    failing: int = 0

    def answer(self, method: str, path: str, document: dict[str, Any], query: dict[str, str]) -> tuple[int, Any]:
        """Status and document."""
        if self.failing:
            return self.failing, {"message": "502 Bad Gateway"}
        found = re.fullmatch(r"/api/v4/(user|projects/(?:1|acme%2Fstate)(?P<rest>/.*))", path)
        if found is None:
            return 404, {"error": "404 Not Found"}
        key = (method, re.sub(r"\d+(?=/|$)", "N", unquote(found["rest"] or "/user")))
        number = int((re.findall(r"/(\d+)", found["rest"] or "") or ["0"])[-1])
        page = int(query.get("page", "1"))
        match key:
            case ("GET", "/user"):
                return 200, ME
            case ("GET", "/merge_requests/N"):
                return 200, self._request()
            case ("PUT", "/merge_requests/N"):
                self.labels |= set(filter(None, document.get("add_labels", "").split(",")))
                self.labels -= set(document.get("remove_labels", "").split(","))
                return 200, self._request()
            case ("POST", "/merge_requests"):
                self.requests.append(document)
                return 201, {"iid": 6, "web_url": "https://gitlab.com/acme/state/-/merge_requests/6"}
            case ("GET", "/merge_requests/N/notes"):
                return 200, self.notes[(page - 1) * 100 : page * 100]
            case ("POST", "/merge_requests/N/notes"):
                self.notes.append({"id": len(self.notes) + 1, "body": document["body"], "author": ME})
                return 201, self.notes[-1]
            case ("PUT", "/merge_requests/N/notes/N"):
                self.notes[number - 1]["body"] = document["body"]
                return 200, self.notes[number - 1]
            case ("GET", "/issues"):
                opened = [one for one in self.issues if one["state"] == "opened"]
                return 200, [one for one in opened if query["labels"] in one["labels"]]
            case ("POST", "/issues"):
                made = document | {"iid": len(self.issues) + 1, "state": "opened", "author": ME}
                self.issues.append(made | {"labels": document["labels"].split(",")})
                return 201, self.issues[-1]
            case ("PUT", "/issues/N"):
                self.issues[number - 1] |= document
                if document.get("state_event") == "close":
                    self.issues[number - 1]["state"] = "closed"
                return 200, self.issues[number - 1]
            case ("GET", "/jobs/N/artifacts"):
                kept = self.artifacts.get(number)
                return (200, kept) if kept is not None else (404, {"message": "404 Not found"})
            case ("POST", "/issues/N/notes"):
                return 201, {"id": 1}
        if re.fullmatch("/repository/commits/[0-9a-f]{40}/merge_requests", found["rest"] or ""):
            return 200, [self._request()] if self.merge_commit and self.merge_commit in path else []
        return 404, {"error": f"404 Not Found: {key}"}

    def _request(self) -> dict[str, Any]:
        state = "merged" if self.merged_at else "opened"
        return {
            "iid": 5, "sha": self.head, "target_branch": "main", "state": state, "merged_at": self.merged_at,
            "labels": sorted(self.labels),
        }  # fmt: skip


@contextmanager
def gitlab_api() -> Iterator[GitLabApi]:
    """The API on 127.0.0.1 for the time of the block."""
    api = GitLabApi()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            parts = urlsplit(self.path)
            length = int(self.headers.get("Content-Length") or 0)
            document = json.loads(self.rfile.read(length)) if length else {}
            made: Any
            if self.headers.get("PRIVATE-TOKEN") != TOKEN:
                status, made = 401, {"message": "401 Unauthorized"}
            else:
                status, made = api.answer(self.command, parts.path, document, dict(parse_qsl(parts.query)))
            data = made if isinstance(made, bytes) else json.dumps(made).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = _answer  # noqa: N815, http.server's names

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    api.url = f"http://127.0.0.1:{server.server_port}/api/v4"
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
