"""A server that answers as its paths say: with a status, elsewhere, never, a byte at a time, or with what is no HTTP.

Takes nothing; gives the URL, and the headers of every request that came. `/status/503`, `/redirect`, `/hang`, `/drip`,
`/junk`, `/bye`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class WebServer:
    """`headers` and `bodies` are those of the requests, in order; names of headers are in lower case."""

    url: str = ""
    headers: list[dict[str, str]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)


@contextmanager
def serving() -> Iterator[WebServer]:
    """A server on 127.0.0.1 for the time of the block."""
    web = WebServer()
    over = threading.Event()

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            web.paths.append(self.path)
            web.headers.append({name.lower(): value for name, value in self.headers.items()})
            web.bodies.append(self.rfile.read(int(self.headers.get("content-length", "0"))))
            kind, _, number = self.path.partition("?")[0].removeprefix("/").partition("/")
            try:
                getattr(self, f"answer_{kind}")(number)
            except OSError:  # whoever asked has gone away
                self.close_connection = True

        do_HEAD = do_POST = do_GET  # noqa: N815, http.server's names

        def answer_status(self, number: str) -> None:
            self.send_response(int(number))
            self.send_header("content-length", "0")
            self.end_headers()

        def answer_redirect(self, _: str) -> None:
            self.send_response(302)
            self.send_header("location", f"{web.url}/status/200")
            self.send_header("content-length", "0")
            self.end_headers()

        def answer_hang(self, _: str) -> None:
            over.wait()
            self.close_connection = True

        def answer_drip(self, _: str) -> None:
            self.wfile.write(b"HTTP/1.1 200 OK\r\nx-slow: ")
            while not over.wait(0.05):
                self.wfile.write(b".")
                self.wfile.flush()
            self.close_connection = True

        def answer_junk(self, _: str) -> None:
            self.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n")
            self.close_connection = True

        def answer_bye(self, _: str) -> None:
            self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    server.daemon_threads = True
    web.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield web
    finally:
        over.set()
        server.shutdown()
        server.server_close()
        thread.join()
