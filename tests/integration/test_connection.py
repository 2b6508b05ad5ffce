"""Connecting to a real server, and to listeners that behave as badly as real ones."""

from __future__ import annotations

import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import pytest

from reconciler.database.connection import DatabaseConnection, open_database
from reconciler.database.url import parse_database_url
from reconciler.errors import Unreachable
from tests.support.postgres import Database, with_database, with_user
from tests.support.proxy import FaultyLine

PASSWORD = "Zq%40s%2Fecret"
DECODED = "Zq@s/ecret"


def opened(*urls: str, **options: Any) -> DatabaseConnection:
    names = ("DATABASE_URL", "DIRECT_URL")
    return open_database(
        [parse_database_url(url, variable=name) for url, name in zip(urls, names, strict=False)], **options
    )


class Listener:
    """A TCP server on a free port of 127.0.0.1; `serve` gets each connection in a thread of its own."""

    def __init__(self, serve: Callable[[socket.socket], None], port: int = 0) -> None:
        self.serve = serve
        self.sockets: list[socket.socket] = []
        self.listening = socket.create_server(("127.0.0.1", port))
        self.port: int = self.listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.listening.accept()
            except OSError:
                return
            self.sockets.append(client)
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError):
            self.serve(client)

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *exception: object) -> None:
        shut(self.listening, *self.sockets)


def shut(*sockets: socket.socket) -> None:
    for each in sockets:
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
        each.close()


def silent(client: socket.socket) -> None:
    """Takes everything and never answers."""
    while client.recv(65536):
        pass


def saying(message: str, code: str = "XX000") -> Callable[[socket.socket], None]:
    """A server that refuses TLS, and then the connection, with this message."""

    def serve(client: socket.socket) -> None:
        while client.recv(4, socket.MSG_WAITALL) == b"\0\0\0\x08":
            client.recv(4, socket.MSG_WAITALL)
            client.sendall(b"N")
        fields = b"".join(
            key + text.encode() + b"\0"
            for key, text in ((b"S", "FATAL"), (b"V", "FATAL"), (b"C", code), (b"M", message))
        )
        client.sendall(b"E" + struct.pack("!i", len(fields) + 5) + fields + b"\0")
        shut(client)

    return serve


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


@contextmanager
def within(seconds: float) -> Iterator[None]:
    started = time.monotonic()
    try:
        yield
    finally:
        assert time.monotonic() - started < seconds


def _trusts(url: str) -> bool:
    try:
        opened(url).close()
    except Unreachable:
        return False
    return True


def test_the_connection_commits_by_itself_prepares_nothing_and_bears_a_name(empty_database: Database) -> None:
    with opened(empty_database.url, application_name="reconcile test") as connection:
        assert connection.autocommit
        for _ in range(8):
            connection.execute("SELECT %s::int", [1])
        assert connection.execute("SELECT count(*) FROM pg_prepared_statements").fetchone() == (0,)
        assert connection.execute("SHOW application_name").fetchone() == ("reconcile test",)
        assert not connection.is_replica


def test_a_port_where_nothing_listens_is_said_in_one_sentence_without_the_password() -> None:
    port = free_port()
    with pytest.raises(Unreachable) as caught, within(5):
        opened(f"postgresql://me:{PASSWORD}@127.0.0.1:{port}/shop")
    text = str(caught.value)
    assert text.startswith(
        f"the database cannot be reached: postgresql://me@127.0.0.1:{port}/shop (DATABASE_URL): "
        f"127.0.0.1:{port} refuses the connection"
    )
    assert "--wait 10m" in text
    assert "\n" not in text
    assert "Zq" not in text
    assert caught.value.exit_code == 4


def test_a_host_that_accepts_and_never_answers_takes_no_longer_than_the_timeout() -> None:
    with Listener(silent) as hole, pytest.raises(Unreachable, match=r"did not answer within \d"), within(5):
        opened(f"postgresql://me:{PASSWORD}@127.0.0.1:{hole.port}/shop", timeout_s=0.5)


def test_several_silent_hosts_and_both_variables_share_the_timeout() -> None:
    with Listener(silent) as hole, pytest.raises(Unreachable) as caught, within(2.8):  # in turn: 3.2
        here = f"127.0.0.1:{hole.port}"
        opened(f"postgresql://{here},{here},{here}/shop", f"postgresql://{here}/shop", timeout_s=0.8)
    assert "(DATABASE_URL)" in str(caught.value)
    assert "(DIRECT_URL)" in str(caught.value)


def test_a_silent_host_leaves_time_for_the_next_one(empty_database: Database) -> None:
    user, _, place = urlsplit(empty_database.url).netloc.rpartition("@")
    with Listener(silent) as hole, within(10):
        opened(f"postgresql://{user}@127.0.0.1:{hole.port},{place}/{empty_database.name}", timeout_s=1).close()


def test_connect_timeout_of_the_address_is_honoured() -> None:
    with Listener(silent) as hole, pytest.raises(Unreachable), within(10):
        opened(f"postgresql://127.0.0.1:{hole.port}/shop?connect_timeout=1", timeout_s=20)


def test_a_name_that_leads_nowhere_is_said() -> None:
    with pytest.raises(Unreachable, match=r'the name "db\.invalid" cannot be resolved'), within(15):
        opened(f"postgresql://me:{PASSWORD}@db.invalid/shop", timeout_s=5)


def test_direct_url_is_used_with_a_note_when_the_pooler_is_silent(empty_database: Database) -> None:
    with Listener(silent) as hole:
        with opened(f"postgresql://127.0.0.1:{hole.port}/x", empty_database.url, timeout_s=1) as connection:
            assert connection.address.variable == "DIRECT_URL"
            assert re.search(r"did not answer within [\d.]+ s; DIRECT_URL is used instead", connection.notes[-1])


def test_an_unknown_database_fails_at_once_even_when_asked_to_wait(empty_database: Database) -> None:
    with pytest.raises(Unreachable, match='there is no database "nowhere"'), within(20):
        opened(with_database(empty_database.url, "nowhere"), empty_database.url, wait_s=60)


def test_a_wrong_password_fails_at_once_and_is_not_shown(empty_database: Database) -> None:
    role = empty_database.role("writer", password="right")
    wrong = with_user(empty_database.url, role.name, DECODED)
    if _trusts(wrong):
        pytest.skip("this server asks nobody for a password")
    with pytest.raises(Unreachable, match=f'the password for user "{role.name}" was refused') as caught, within(20):
        opened(wrong, wait_s=60)
    assert DECODED not in str(caught.value)
    assert PASSWORD not in str(caught.value)


def test_a_full_server_is_waited_for(empty_database: Database) -> None:
    role = empty_database.role("crowded")
    empty_database.execute(f'ALTER ROLE "{role.name}" CONNECTION LIMIT 0')
    waits: list[str] = []

    def free_one(sentence: str) -> None:
        waits.append(sentence)
        empty_database.execute(f'ALTER ROLE "{role.name}" CONNECTION LIMIT -1')

    opened(role.url, wait_s=20, on_wait=free_one).close()
    assert len(waits) == 1
    assert empty_database.name in waits[0]
    assert "no connection is free: too many connections for role" in waits[0]
    assert "Trying again in 1 s, for 20 s more" in waits[0]


@pytest.mark.parametrize(
    ("message", "says", "curable"),
    [
        ('password authentication failed for user "me"', 'the password for user "me" was refused', False),
        ("SASL authentication failed", 'the password for user "me" was refused', False),
        ("Tenant or user not found", 'there is no user "me"', False),
        ('role "me" does not exist', 'there is no user "me"', False),
        ('role "me" is not permitted to log in', "not allowed to log in", False),
        ('database "shop" does not exist', 'there is no database "shop"', False),
        ("no such database: shop", 'there is no database "shop"', False),
        ('permission denied for database "shop"', 'database "shop" accepts no connection', False),
        (
            'no pg_hba.conf entry for host "10.0.0.1", user "me", database "shop", no encryption',
            "the server wants TLS. Add sslmode=require",
            False,
        ),
        (
            'no pg_hba.conf entry for host "10.0.0.1", user "me", database "shop", SSL encryption',
            "access rules refuse this user, database or machine",
            False,
        ),
        (
            'no pg_hba.conf entry for host "10.0.0.1", SSL encryption\nno pg_hba.conf entry, no encryption',
            "access rules refuse this user, database or machine",
            False,
        ),
        ("fe_sendauth: no password supplied", "and the address has none", False),
        ("SSL required", "the server wants TLS", False),
        ("unsupported startup parameter: options", "the pooler refuses a parameter", False),
        ("sorry, too many clients already", "no connection is free", True),
        ("no more connections allowed (max_client_conn)", "no connection is free", True),
        ("MaxClientsInSessionMode: max clients reached", "no connection is free", True),
        (
            "remaining connection slots are reserved for roles with the SUPERUSER attribute",
            "no connection is free",
            True,
        ),
        ("the database system is starting up", "the server is starting up", True),
        ("the database system is not yet accepting connections", "the server is starting up", True),
        ("the database system is shutting down", "the server is shutting down", True),
        ("pgbouncer cannot connect to server", "the pooler answers, but does not reach its database", True),
        ("server login has been failing, try again later (server_login_retry)", "does not reach its database", True),
        ("Passwort fuer me ist Zq@s/ecret", "said: Passwort fuer me ist ***", True),
    ],
)
def test_what_a_server_says_is_told_apart(message: str, says: str, curable: bool) -> None:
    class Waited(Exception):
        pass

    def wait(sentence: str) -> None:
        raise Waited(sentence)

    with Listener(saying(message)) as server, pytest.raises(Waited if curable else Unreachable) as caught, within(20):
        opened(f"postgresql://me:{PASSWORD}@127.0.0.1:{server.port}/shop", wait_s=60, on_wait=wait)
    assert says in str(caught.value)
    assert DECODED not in str(caught.value)
    assert PASSWORD not in str(caught.value)


def test_tls_that_the_server_does_not_have_fails_at_once() -> None:
    with Listener(saying("never said")) as server, pytest.raises(Unreachable, match="TLS is asked for"), within(20):
        opened(f"postgresql://127.0.0.1:{server.port}/shop?sslmode=require", wait_s=60)


def test_a_wrong_service_on_the_port_is_said() -> None:
    def web(client: socket.socket) -> None:
        client.recv(1024)
        client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        shut(client)

    with Listener(web) as server, pytest.raises(Unreachable, match="does not speak PostgreSQL's protocol"):
        opened(f"postgresql://127.0.0.1:{server.port}/shop")


def test_waiting_ends_with_a_connection_once_the_server_is_there(empty_database: Database) -> None:
    place = urlsplit(empty_database.url)
    waits: list[str] = []
    with FaultyLine(str(place.hostname), place.port or 5432) as line:
        line.refuse()

        def appear(sentence: str) -> None:
            waits.append(sentence)
            line.heal()

        opened(line.url_through(empty_database.url), wait_s=20, on_wait=appear).close()
    assert len(waits) == 1
    assert "refuses the connection" in waits[0]


def test_a_wait_that_is_shorter_than_the_timeout_is_kept() -> None:
    with Listener(silent) as hole, pytest.raises(Unreachable, match=r"did not answer within \d"), within(10):
        opened(f"postgresql://127.0.0.1:{hole.port}/shop", timeout_s=30, wait_s=0.3)


def test_a_server_that_goes_between_its_welcome_and_its_answer_is_one_that_cannot_be_reached() -> None:
    def welcome_and_go(client: socket.socket) -> None:
        client.recv(1024)
        client.sendall(b"R" + struct.pack("!ii", 8, 0) + b"Z" + struct.pack("!i", 5) + b"I")
        client.recv(1024)  # the question
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset, as after a crash
        client.close()

    with Listener(welcome_and_go) as server, pytest.raises(Unreachable, match="closed the connection before it was"):
        opened(f"postgresql://me:{PASSWORD}@127.0.0.1:{server.port}/shop?sslmode=disable")


def test_waiting_in_vain_ends_in_time_and_says_how_long() -> None:
    with pytest.raises(Unreachable, match=r"cannot be reached after \d+ s of trying"), within(10):
        opened(f"postgresql://127.0.0.1:{free_port()}/shop", timeout_s=0.3, wait_s=1.5)
