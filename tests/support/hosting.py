"""A git host for tests: a bare repository that is pushed to, under an address of GitHub's, and a server as its API.

Takes a repository; gives what was pushed, and every request that was made to the API.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.support.gitrepo import GitRepo

ADDRESS = "https://github.com/acme/platform.git"


def add_remote(repo: GitRepo, bare: Path, address: str = ADDRESS) -> Path:
    """Push main to a new bare repository, which the remote `origin` is; git is told to find it at `address`."""
    repo.git("init", "--quiet", "--bare", "--initial-branch=main", str(bare))
    repo.git("remote", "add", "origin", address)
    repo.git("config", f"url.{bare}.insteadOf", address)
    repo.git("push", "--quiet", "--set-upstream", "origin", "main")
    return bare


def pushed(repo: GitRepo, bare: Path) -> dict[str, str]:
    """The branches of the bare repository, and the commit of each."""
    listed = repo.git("--git-dir", str(bare), "for-each-ref", "--format=%(refname:short) %(objectname)", "refs/heads")
    return dict(line.split(" ") for line in listed.splitlines())


@dataclass
class Api:
    """The requests that were made, as (path, document, the Authorization header)."""

    url: str = ""
    requests: list[tuple[str, dict[str, Any], str]] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """What makes `reconcile` talk to it."""
        return {"GITHUB_API_URL": self.url, "GITHUB_TOKEN": "token-canary"}


@contextmanager
def api(*, pulls: int = 201, labels: int = 200) -> Iterator[Api]:
    """The part of GitHub's REST API that opens pull requests, answering with these codes."""
    made = Api()

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            document = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            made.requests.append((self.path, document, self.headers["Authorization"]))
            code = labels if self.path.endswith("/labels") else pulls
            created = {"html_url": "https://github.com/acme/platform/pull/17", "number": 17}
            answer = json.dumps(created if code < 300 else {"message": "Validation Failed"}).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    made.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
