"""Somebody who receives webhooks, and answers as the test wants.

Takes a status, or a function that decides on one; gives the URL and every request that came, in order.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Posted:
    """One request. Names of headers are in lower case."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """`status` is what the next request is answered with, after `delay_s` seconds; `location` makes it a redirect."""

    url: str = ""
    status: int = 204
    delay_s: float = 0.0
    location: str = ""
    judge: Callable[[Posted], int] | None = None
    posts: list[Posted] = field(default_factory=list)


@contextmanager
def receiving(path: str = "/hook") -> Iterator[Receiver]:
    """A server on 127.0.0.1 for the time of the block."""
    receiver = Receiver()

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            posted = Posted(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
            receiver.posts.append(posted)
            status = receiver.judge(posted) if receiver.judge else receiver.status
            time.sleep(receiver.delay_s)
            try:
                self.send_response(status)
                if receiver.location:
                    self.send_header("location", receiver.location)
                self.send_header("content-length", "0")
                self.end_headers()
            except OSError:  # whoever asked has gone away
                self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    receiver.url = f"http://127.0.0.1:{server.server_port}{path}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
