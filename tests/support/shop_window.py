"""An application as its users see it: it answers for each shop, from what it has cached until it is told to look again.

Takes nothing; gives a `Window`. GET /shops/KEY answers 200 for a shop that is open, and 404 for one that is not;
/api/KEY says it in JSON, and /pages/KEY in words. Each path goes on with its old answer for as long as the test wants.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

OPEN_PAGE = b"<p>Welcome!</p>"
CLOSED_PAGE = b"<p>This shop is closed.</p>"


class Window:
    """`answers_left` is how many old answers each key still gives; None: for ever. Requests are noted."""

    def __init__(self) -> None:
        self.url = ""
        self.paths: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.answers_left: int | None = None
        self.hanging: set[str] = set()
        self.most_at_once = 0
        self.over = threading.Event()
        self._at_once = 0
        self._asked: dict[str, int] = {}
        self._lock = threading.Lock()

    def enter(self, path: str, headers: dict[str, str]) -> bool:
        """Note a request; whether the shop still looks open to it."""
        with self._lock:
            self.paths.append(path)
            self.headers.append(headers)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            asked = self._asked[path] = self._asked.get(path, 0) + 1
            return self.answers_left is None or asked <= self.answers_left

    def leave(self) -> None:
        """It was answered."""
        with self._lock:
            self._at_once -= 1


@contextmanager
def shop_window() -> Iterator[Window]:
    """The application on 127.0.0.1 for the time of the block."""
    window = Window()

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            looks_open = window.enter(self.path, {name.lower(): value for name, value in self.headers.items()})
            try:
                if unquote(self.path.partition("?")[0].rpartition("/")[2]) in window.hanging:
                    window.over.wait()
                    self.close_connection = True
                    return
                body = json.dumps({"shop": {"open": looks_open}, "visitors": 1}).encode()
                if self.path.startswith("/pages/"):
                    body = OPEN_PAGE if looks_open else CLOSED_PAGE
                self.send_response(200 if looks_open or not self.path.startswith("/shops/") else 404)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
            except OSError:  # whoever asked has gone away
                self.close_connection = True
            finally:
                window.leave()

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    server.daemon_threads = True
    window.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield window
    finally:
        window.over.set()
        server.shutdown()
        server.server_close()
        thread.join()
