"""A server in the place of every URL that the policy asks: it answers each with the status that it was told.

Takes statuses by name; gives a URL for each. It is a proxy as well, for HTTP that would leave the machine: with
`http_proxy` set to it, a webhook whose address stands in the policy ends here too, and a drill tells nobody.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

__all__ = ["Provider", "running_provider"]

_UNKNOWN = 204


class Provider:
    """What is answered, by name; names that nobody has set are answered with 204."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.statuses: dict[str, int] = {}

    @property
    def address(self) -> str:
        """The server's own address."""
        return f"http://127.0.0.1:{self._port}"

    def url(self, name: str) -> str:
        """The address that is answered with the status of this name."""
        return f"{self.address}/{name}"


@contextmanager
def running_provider() -> Iterator[Provider]:
    """A server on 127.0.0.1 for the time of the block."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("content-length") or 0))
            self.send_response(provider.statuses.get(self.path.strip("/"), _UNKNOWN))
            self.send_header("content-length", "0")
            self.end_headers()

        do_HEAD = do_POST = do_GET  # noqa: N815, http.server's names

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    server.daemon_threads = True
    provider = Provider(server.server_port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
