"""A real PgBouncer in transaction mode in front of a test's database, where the program is installed.

Takes the URL of a database; gives a `Pooler`, whose URL is written as Prisma's users write it. The program comes from
the distribution (`apt-get install pgbouncer`); tests that need it carry the mark `needs_pgbouncer`.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import psycopg
import pytest

PROGRAM = shutil.which("pgbouncer", path=os.environ.get("PATH", "") + os.pathsep + "/usr/sbin")

needs_pgbouncer = pytest.mark.skipif(
    PROGRAM is None, reason="pgbouncer is not installed (Debian: apt-get install pgbouncer)"
)


class Pooler(msgspec.Struct):
    """A running PgBouncer, and the URL of the database behind it."""

    url: str
    port: int
    process: subprocess.Popen[bytes]


@contextmanager
def running_pooler(database_url: str, *, schema: str, pool_size: int = 1, clients: int = 3) -> Iterator[Pooler]:
    """Start one with so many server connections, and stop it at the end.

    With a pool of one, every transaction runs where the one before it ran. The database `unplugged` leads nowhere.
    """
    place = psycopg.conninfo.conninfo_to_dict(database_url)
    port = free_port()
    # Not pytest's own folder: that one is closed to the user that PgBouncer runs as.
    folder = Path(tempfile.mkdtemp(prefix="pgbouncer-"))
    folder.chmod(0o755)
    secret = f" password={place['password']}" if place.get("password") else ""
    (folder / "pgbouncer.ini").write_text(
        f"""
        [databases]
        unplugged = host=127.0.0.1 port={free_port()}
        * = host={place["host"]} port={place["port"]} user={place["user"]}{secret}
        [pgbouncer]
        listen_addr = 127.0.0.1
        listen_port = {port}
        unix_socket_dir =
        auth_type = plain
        auth_file = {folder}/users.txt
        pool_mode = transaction
        default_pool_size = {pool_size}
        max_client_conn = {clients}
        server_round_robin = 0
        server_reset_query =
        query_wait_timeout = 1
        """.replace("\n        ", "\n")
    )
    (folder / "users.txt").write_text('"shop.project" "Zq@s/ecret"\n')
    command = [str(PROGRAM), "-q", *(["-u", "nobody"] if os.getuid() == 0 else []), str(folder / "pgbouncer.ini")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(port, process)
        url = (
            f"postgresql://shop.project:Zq%40s%2Fecret@127.0.0.1:{port}/{place['dbname']}"
            f"?pgbouncer=true&connection_limit=1&pool_timeout=0&schema={schema}&sslmode=disable"
        )
        yield Pooler(url, port, process)
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(folder)


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            assert process.poll() is None, "pgbouncer did not start"
            time.sleep(0.05)
    raise AssertionError("pgbouncer does not listen")
