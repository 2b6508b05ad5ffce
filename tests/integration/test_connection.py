"""Connecting and transactions against a real server, and against listeners that behave as badly as real ones."""

from __future__ import annotations

import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from reconciler.connection import DatabaseConnection, open_database
from reconciler.database_url import parse_database_url
from reconciler.driver_errors import ConnectionLost, OutcomeUnknown
from reconciler.errors import Failed, LockNotTaken, NotAsExpected, ReconcileError, Unreachable
from reconciler.transaction import begin_read_only, begin_read_write

PASSWORD = "Zq%40s%2Fecret"
DECODED = "Zq@s/ecret"


def opened(*urls: str, **options: Any) -> DatabaseConnection:
    names = ("DATABASE_URL", "DIRECT_URL")
    return open_database(
        [parse_database_url(url, variable=name) for url, name in zip(urls, names, strict=False)], **options
    )


@pytest.fixture
def connection(database: str) -> Iterator[DatabaseConnection]:
    with opened(database) as connection:
        connection.execute("CREATE TABLE thing (id int PRIMARY KEY, size int CHECK (size < 100), secret text NOT NULL)")
        connection.execute("INSERT INTO thing VALUES (1, 10, 'hush')")
        yield connection


def sizes(database: str) -> list[int]:
    with psycopg.connect(database) as other:
        return [row[0] for row in other.execute("SELECT size FROM thing ORDER BY id")]


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
        try:
            self.serve(client)
        except OSError:
            pass

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *exception: object) -> None:
        shut(self.listening, *self.sockets)


def shut(*sockets: socket.socket) -> None:
    for each in sockets:
        try:
            each.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
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
            key + text.encode() + b"\0" for key, text in ((b"S", "FATAL"), (b"V", "FATAL"), (b"C", code), (b"M", message))
        )
        client.sendall(b"E" + struct.pack("!i", len(fields) + 5) + fields + b"\0")
        shut(client)

    return serve


class Proxy(Listener):
    """Stands before the real server; `on_client` sees what the client sends and says whether to pass it on."""

    def __init__(self, database: str, on_client: Callable[[Proxy, bytes], bool] | None = None, port: int = 0) -> None:
        place = psycopg.conninfo.conninfo_to_dict(database)
        self.target = (str(place["host"]), int(place["port"] or 5432))
        self.on_client = on_client
        self.sent: list[bytes] = []
        self.mute = False
        self.url = ""
        super().__init__(self.pump, port)
        self.url = psycopg_url(database, self.port)

    def pump(self, client: socket.socket) -> None:
        server = socket.create_connection(self.target)
        self.sockets.append(server)
        threading.Thread(target=self._answers, args=(server, client), daemon=True).start()
        while data := client.recv(65536):
            self.sent.append(data)
            if self.on_client is None or self.on_client(self, data):
                server.sendall(data)
        shut(server)

    def _answers(self, server: socket.socket, client: socket.socket) -> None:
        try:
            while data := server.recv(65536):
                if not self.mute:
                    client.sendall(data)
        except OSError:
            pass
        shut(client)


def psycopg_url(database: str, port: int) -> str:
    place = psycopg.conninfo.conninfo_to_dict(database)
    secret = f":{place['password']}" if place.get("password") else ""
    return (
        f"postgresql://{place['user']}{secret}@127.0.0.1:{port}/{place['dbname']}?sslmode=disable&gssencmode=disable"
    )


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


# Connecting


def test_the_connection_commits_by_itself_prepares_nothing_and_bears_a_name(database: str) -> None:
    with opened(database, application_name="reconcile test") as connection:
        assert connection.autocommit
        for _ in range(8):
            connection.execute("SELECT %s::int", [1])
        assert connection.execute("SELECT count(*) FROM pg_prepared_statements").fetchone() == (0,)
        assert connection.execute("SHOW application_name").fetchone() == ("reconcile test",)
        assert not connection.is_replica


def test_a_port_where_nothing_listens_is_said_in_one_sentence_without_the_password() -> None:
    port = free_port()
    with pytest.raises(Unreachable) as caught, within(1):
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
    with Listener(silent) as hole, pytest.raises(Unreachable, match=r"did not answer within 0\.5 s"), within(1):
        opened(f"postgresql://me:{PASSWORD}@127.0.0.1:{hole.port}/shop", timeout_s=0.5)


def test_several_silent_hosts_and_both_variables_share_the_timeout() -> None:
    with Listener(silent) as hole, pytest.raises(Unreachable) as caught, within(1.4):
        here = f"127.0.0.1:{hole.port}"
        opened(f"postgresql://{here},{here},{here}/shop", f"postgresql://{here}/shop", timeout_s=0.8)
    assert "(DATABASE_URL)" in str(caught.value)
    assert "(DIRECT_URL)" in str(caught.value)


def test_a_silent_host_leaves_time_for_the_next_one(database: str) -> None:
    place = psycopg.conninfo.conninfo_to_dict(database)
    secret = f":{place['password']}@" if place.get("password") else "@"
    with Listener(silent) as hole, within(2):
        hosts = f"127.0.0.1:{hole.port},{place['host']}:{place['port']}"
        opened(f"postgresql://{place['user']}{secret}{hosts}/{place['dbname']}", timeout_s=1).close()


def test_connect_timeout_of_the_address_is_honoured() -> None:
    with Listener(silent) as hole, pytest.raises(Unreachable), within(1.5):
        opened(f"postgresql://127.0.0.1:{hole.port}/shop?connect_timeout=1", timeout_s=20)


def test_a_name_that_leads_nowhere_is_said() -> None:
    with pytest.raises(Unreachable, match=r'the name "db\.invalid" cannot be resolved'), within(6):
        opened(f"postgresql://me:{PASSWORD}@db.invalid/shop", timeout_s=5)


def test_direct_url_is_used_with_a_note_when_the_pooler_is_silent(database: str) -> None:
    with Listener(silent) as hole, opened(f"postgresql://127.0.0.1:{hole.port}/x", database, timeout_s=1) as connection:
        assert connection.address.variable == "DIRECT_URL"
        assert connection.notes[-1].endswith("; DIRECT_URL is used instead")


def test_a_pooler_that_lets_in_and_answers_no_query_is_passed_over(database: str) -> None:
    def drop_queries(proxy: Proxy, data: bytes) -> bool:
        return not data.startswith(b"Q")

    with Proxy(database, drop_queries) as proxy, opened(proxy.url, database, timeout_s=1) as connection:
        assert connection.address.variable == "DIRECT_URL"


def test_an_unknown_database_fails_at_once_even_when_asked_to_wait(database: str) -> None:
    with pytest.raises(Unreachable, match='there is no database "nowhere"'), within(2):
        opened(database.rpartition("/")[0] + "/nowhere", database, wait_s=60)


def test_a_full_server_is_waited_for(database: str) -> None:
    name = database.rpartition("/")[2]
    waits: list[str] = []
    with psycopg.connect(database, autocommit=True) as admin:
        admin.execute("CREATE ROLE conn_test_crowded LOGIN CONNECTION LIMIT 0 PASSWORD 'Zq1'")
        try:
            crowded = psycopg_url(database, admin.info.port).replace(
                psycopg_url(database, admin.info.port).partition("@")[0], "postgresql://conn_test_crowded:Zq1"
            )

            def free_one(sentence: str) -> None:
                waits.append(sentence)
                admin.execute("ALTER ROLE conn_test_crowded CONNECTION LIMIT -1")

            opened(crowded, wait_s=20, on_wait=free_one).close()
        finally:
            admin.execute("DROP ROLE conn_test_crowded")
    assert len(waits) == 1
    assert name in waits[0]
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
        ("SSL required", "the server wants TLS", False),
        ("unsupported startup parameter: options", "the pooler refuses a parameter", False),
        ("sorry, too many clients already", "no connection is free", True),
        ("no more connections allowed (max_client_conn)", "no connection is free", True),
        ("MaxClientsInSessionMode: max clients reached", "no connection is free", True),
        ("remaining connection slots are reserved for roles with the SUPERUSER attribute", "no connection is free", True),
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

    with Listener(saying(message)) as server, pytest.raises(Waited if curable else Unreachable) as caught, within(1):
        opened(f"postgresql://me:{PASSWORD}@127.0.0.1:{server.port}/shop", wait_s=60, on_wait=wait)
    assert says in str(caught.value)
    assert DECODED not in str(caught.value)
    assert PASSWORD not in str(caught.value)


def test_tls_that_the_server_does_not_have_fails_at_once(database: str) -> None:
    with Listener(saying("never said")) as server, pytest.raises(Unreachable, match="TLS is asked for"), within(2):
        opened(f"postgresql://127.0.0.1:{server.port}/shop?sslmode=require", wait_s=60)


def test_a_wrong_service_on_the_port_is_said() -> None:
    def web(client: socket.socket) -> None:
        client.recv(1024)
        client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        shut(client)

    with Listener(web) as server, pytest.raises(Unreachable, match="does not speak PostgreSQL's protocol"):
        opened(f"postgresql://127.0.0.1:{server.port}/shop")


def test_waiting_ends_with_a_connection_once_the_server_is_there(database: str) -> None:
    port = free_port()
    waits: list[str] = []
    started: list[Proxy] = []

    def appear(sentence: str) -> None:
        waits.append(sentence)
        if not started:
            started.append(Proxy(database, port=port))

    try:
        opened(psycopg_url(database, port), wait_s=20, on_wait=appear).close()
    finally:
        for proxy in started:
            proxy.__exit__()
    assert len(waits) == 1
    assert "refuses the connection" in waits[0]


def test_waiting_in_vain_ends_in_time_and_says_how_long() -> None:
    with pytest.raises(Unreachable, match="cannot be reached after 1 s of trying"), within(3):
        opened(f"postgresql://127.0.0.1:{free_port()}/shop", timeout_s=0.3, wait_s=1.5)


# Transactions


def test_a_transaction_begins_in_one_round_trip_and_sets_its_own_limits(database: str) -> None:
    with Proxy(database) as proxy, opened(proxy.url + "&schema=odd%22name") as connection:
        before = len(proxy.sent)
        with begin_read_only(connection, doing="testing", lock_timeout_ms=1234, statement_timeout_ms=5678):
            assert len(proxy.sent) == before + 1
            shown = {
                name: connection.execute(f"SHOW {name}").fetchone()
                for name in ("statement_timeout", "lock_timeout", "TimeZone", "search_path", "transaction_isolation")
            }
    assert shown == {
        "statement_timeout": ("5678ms",),
        "lock_timeout": ("1234ms",),
        "TimeZone": ("UTC",),
        "search_path": ('"odd""name"',),
        "transaction_isolation": ("repeatable read",),
    }


def test_nothing_that_a_transaction_set_outlives_it(connection: DatabaseConnection) -> None:
    before = connection.execute("SHOW lock_timeout").fetchone()
    with begin_read_write(connection, doing="testing", lock_timeout_ms=1234):
        assert connection.execute("SHOW lock_timeout").fetchone() == ("1234ms",)
    assert connection.execute("SHOW lock_timeout").fetchone() == before


def test_a_write_is_committed_at_the_end_of_the_block(connection: DatabaseConnection, database: str) -> None:
    with begin_read_write(connection, doing="testing"):
        connection.execute("UPDATE thing SET size = 11")
        assert sizes(database) == [10]
    assert sizes(database) == [11]


@pytest.mark.parametrize("exception", [ValueError, KeyboardInterrupt, SystemExit])
def test_whatever_leaves_the_block_rolls_it_back(
    connection: DatabaseConnection, database: str, exception: type[BaseException]
) -> None:
    with pytest.raises(exception), begin_read_write(connection, doing="testing"):
        connection.execute("UPDATE thing SET size = 11")
        raise exception
    assert sizes(database) == [10]
    with begin_read_write(connection, doing="testing again"):
        connection.execute("UPDATE thing SET size = 12")
    assert sizes(database) == [12]


def test_a_read_only_transaction_refuses_to_write(connection: DatabaseConnection) -> None:
    with pytest.raises(NotAsExpected, match="read-only"), begin_read_only(connection, doing="reading"):
        connection.execute("UPDATE thing SET size = 11")


def test_an_error_that_the_block_swallowed_is_not_taken_for_a_commit(
    connection: DatabaseConnection, database: str
) -> None:
    with pytest.raises(Failed, match="rolled everything back"), begin_read_write(connection, doing="testing"):
        connection.execute("UPDATE thing SET size = 11")
        with pytest.raises(psycopg.Error):
            connection.execute("SELECT 1/0")
    assert sizes(database) == [10]


def test_a_connection_killed_in_the_middle_has_committed_nothing(
    connection: DatabaseConnection, database: str
) -> None:
    with pytest.raises(ConnectionLost, match="nothing was committed"), begin_read_write(connection, doing="testing"):
        connection.execute("UPDATE thing SET size = 11")
        with psycopg.connect(database, autocommit=True) as other:
            other.execute("SELECT pg_terminate_backend(%s)", [connection.info.backend_pid])
        connection.execute("UPDATE thing SET size = 12")
    assert connection.closed
    assert sizes(database) == [10]


@pytest.mark.parametrize(("passed_on", "size"), [(False, 10), (True, 11)])
def test_a_connection_cut_during_commit_leaves_the_outcome_unknown(
    connection: DatabaseConnection, database: str, passed_on: bool, size: int
) -> None:
    def cut_at_commit(proxy: Proxy, data: bytes) -> bool:
        if b"COMMIT\0" not in data:
            return True
        if passed_on:
            proxy.mute = True
            proxy.sockets[1].sendall(data)
            time.sleep(0.3)
        shut(*proxy.sockets)
        return False

    with Proxy(database, cut_at_commit) as proxy, opened(proxy.url) as cut:
        with pytest.raises(OutcomeUnknown, match="whether it was committed is not known"):
            with begin_read_write(cut, doing="applying"):
                cut.execute("UPDATE thing SET size = 11")
        assert cut.closed
    assert sizes(database) == [size]


def test_a_server_that_falls_silent_is_given_up(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reconciler.connection._GRACE_S", 0.3)
    with Proxy(database) as proxy, opened(proxy.url, statement_timeout_ms=200) as connection:
        with pytest.raises(ConnectionLost, match="no answer for"), within(2):
            with begin_read_write(connection, doing="testing"):
                proxy.mute = True
                connection.execute("SELECT 1")


def test_a_silent_server_does_not_hold_up_the_rollback(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reconciler.connection._GRACE_S", 0.3)
    with Proxy(database) as proxy, opened(proxy.url, statement_timeout_ms=200) as connection:
        with pytest.raises(ValueError, match="mine"), within(2), begin_read_write(connection, doing="testing"):
            proxy.mute = True
            raise ValueError("mine")
        assert connection.closed


def test_ctrl_c_interrupts_a_query_that_blocks(connection: DatabaseConnection, database: str) -> None:
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt), within(3), begin_read_write(connection, doing="testing"):
        connection.execute("UPDATE thing SET size = 11")
        timer.start()
        connection.execute("SELECT pg_sleep(20)")
    assert sizes(database) == [10]


# Translation


def doing(connection: DatabaseConnection, sql: str, **options: Any) -> ReconcileError:
    with pytest.raises(ReconcileError) as caught, begin_read_write(connection, doing="testing", **options):
        connection.execute(sql.encode())
    assert caught.value.__cause__ is None
    return caught.value


@pytest.mark.parametrize(
    ("sql", "kind", "says"),
    [
        ("SELECT * FROM nothing", NotAsExpected, 'a table does not exist: relation "nothing" does not exist'),
        ("SELECT nope FROM thing", NotAsExpected, 'a column does not exist: column "nope" does not exist'),
        ("SELECT 'x'::nope", NotAsExpected, 'type "nope" does not exist'),
        ("INSERT INTO thing VALUES (2, 100, 'Zqhush')", Failed, 'constraint "thing_size_check"'),
        ("INSERT INTO thing VALUES (1, 1, 'Zqhush')", Failed, 'constraint "thing_pkey"'),
        ("INSERT INTO thing (id, size) VALUES (2, 1)", Failed, 'column "secret", table "thing"'),
        ("SELECT 1/0", Failed, "division by zero (SQLSTATE 22012)"),
        ("SELECT pg_sleep(5)", Failed, "canceling statement due to statement timeout"),
    ],
)
def test_a_servers_error_says_what_and_where_and_no_row(
    connection: DatabaseConnection, sql: str, kind: type[ReconcileError], says: str
) -> None:
    error = doing(connection, sql, statement_timeout_ms=300)
    assert type(error) is kind
    assert says in str(error)
    assert "testing" in str(error)
    assert "Zqhush" not in str(error)
    assert "Failing row" not in str(error)


def test_a_foreign_key_names_its_constraint_and_no_value(connection: DatabaseConnection) -> None:
    connection.execute("CREATE TABLE part (thing int CONSTRAINT of_a_thing REFERENCES thing DEFERRABLE INITIALLY DEFERRED)")
    error = doing(connection, "INSERT INTO part VALUES (424242)")
    assert 'constraint "of_a_thing"' in str(error)
    assert "424242" not in str(error)
    assert not isinstance(error, OutcomeUnknown)


def test_a_missing_privilege_names_the_table(connection: DatabaseConnection) -> None:
    connection.execute("CREATE ROLE conn_test_reader")
    try:
        error = doing(connection, "SET LOCAL ROLE conn_test_reader; UPDATE thing SET size = 1")
    finally:
        connection.execute("DROP ROLE conn_test_reader")
    assert isinstance(error, NotAsExpected)
    assert "permission denied for table thing" in str(error)


def test_a_locked_row_is_a_lock_not_taken_after_the_lock_timeout(
    connection: DatabaseConnection, database: str
) -> None:
    with psycopg.connect(database) as other:
        other.execute("SELECT * FROM thing FOR UPDATE")
        with within(2):
            error = doing(connection, "UPDATE thing SET size = 11", lock_timeout_ms=200)
        other.rollback()
    assert isinstance(error, LockNotTaken)


def test_a_deadlock_is_a_lock_not_taken(connection: DatabaseConnection, database: str) -> None:
    connection.execute("INSERT INTO thing VALUES (2, 20, 'hush')")
    blocked = threading.Event()
    with psycopg.connect(database) as other:
        other.execute("SET LOCAL deadlock_timeout = '20s'")
        other.execute("UPDATE thing SET size = 21 WHERE id = 2")

        def cross() -> None:
            blocked.set()
            other.execute("UPDATE thing SET size = 12 WHERE id = 1")

        thread = threading.Thread(target=cross)
        with pytest.raises(LockNotTaken, match="deadlock"):
            with begin_read_write(connection, doing="testing", lock_timeout_ms=0):
                connection.execute("SET LOCAL deadlock_timeout = '100ms'")
                connection.execute("UPDATE thing SET size = 11 WHERE id = 1")
                thread.start()
                assert blocked.wait(5)
                connection.execute("UPDATE thing SET size = 22 WHERE id = 2")
        thread.join(5)


def test_a_serialization_failure_asks_to_run_again(connection: DatabaseConnection, database: str) -> None:
    with pytest.raises(Failed, match="another session changed the same rows"):
        with begin_read_write(connection, doing="testing"):
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            connection.execute("SELECT 1 FROM thing")
            with psycopg.connect(database, autocommit=True) as other:
                other.execute("UPDATE thing SET size = 12")
            connection.execute("UPDATE thing SET size = 13")
    assert sizes(database) == [12]
