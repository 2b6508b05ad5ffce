"""The launcher of the embedded Postgres, against what happens to the process that uses it."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from reconciler import embedded_programs
from reconciler.embedded import NOT_DURABLE, EmbeddedPostgres, folder_in_memory
from reconciler.errors import DatabaseProblem

TOP = Path(__file__).parents[2]
ROOT = os.geteuid() == 0
# Starts a server, says where, and goes on until it is told or killed; the last word decides how the block ends.
OWNER = """
import signal, sys
# As in a terminal, whoever began the tests: below `nohup`, and in the background, these are ignored.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)
from reconciler.embedded import NOT_DURABLE, EmbeddedPostgres, folder_in_memory
with EmbeddedPostgres(settings=NOT_DURABLE, parent=folder_in_memory()) as server:
    print(server.port, server.folder, server.psql, server.url, flush=True)
    if sys.stdin.readline() == "raise\\n":
        raise RuntimeError("the owner went wrong")
"""


def quick_server() -> EmbeddedPostgres:
    return EmbeddedPostgres(settings=NOT_DURABLE, parent=folder_in_memory())


def until(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    """Whether the condition comes true within so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def answers(url: str) -> bool:
    with psycopg.connect(url, connect_timeout=5) as connection:
        return connection.execute("SELECT 1").fetchone() == (1,)


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedPostgres]:
    with quick_server() as server:
        yield server


@pytest.fixture
def owner() -> Iterator[subprocess.Popen[str]]:
    environment = os.environ | {"PYTHONPATH": str(TOP)}
    with subprocess.Popen(
        [sys.executable, "-c", OWNER], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    ) as process:  # fmt: skip
        yield process
        process.kill()


def told(owner: subprocess.Popen[str]) -> tuple[int, Path]:
    """The port and the folder of the server that a process has started."""
    assert owner.stdout is not None
    port, folder, _, _ = owner.stdout.readline().split()
    assert listens(int(port))
    return int(port), Path(folder)


def test_leaving_the_block_leaves_no_server_and_no_folder() -> None:
    with EmbeddedPostgres() as server:
        assert answers(server.url)
        port, folder = server.port, server.folder
        assert folder.is_dir()
    assert not listens(port)
    assert not folder.exists()
    assert not server.is_running


def test_an_exception_in_the_block_leaves_no_server(owner: subprocess.Popen[str]) -> None:
    port, folder = told(owner)
    _, err = owner.communicate("raise\n", timeout=20)
    assert "the owner went wrong" in err
    assert not listens(port)
    assert not folder.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_an_owner_that_is_killed_leaves_no_server(owner: subprocess.Popen[str], number: signal.Signals) -> None:
    port, folder = told(owner)
    owner.send_signal(number)
    owner.wait(20)
    assert until(lambda: not listens(port) and not folder.exists())


def test_a_killed_owner_leaves_no_server_even_when_it_was_paused(tmp_path: Path) -> None:
    script = OWNER.replace("    print(", "    server.pause()\n    print(")
    with subprocess.Popen(
        [sys.executable, "-c", script], env=os.environ | {"PYTHONPATH": str(TOP)}, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, text=True,
    ) as owner:  # fmt: skip
        port, folder = told(owner)
        owner.kill()
    assert until(lambda: not listens(port) and not folder.exists())


def test_two_at_once_have_a_port_and_data_of_their_own(server: EmbeddedPostgres) -> None:
    with quick_server() as other:
        assert other.port != server.port
        assert other.folder != server.folder
        assert answers(other.url)
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            answers(server.url.replace(str(server.port), str(other.port)))


def test_it_listens_on_loopback_alone_and_wants_its_password(server: EmbeddedPostgres) -> None:
    with psycopg.connect(server.url) as connection:
        assert connection.execute("SELECT inet_server_addr()::text").fetchone() == ("127.0.0.1/32",)
        assert connection.execute("SHOW unix_socket_directories").fetchone() == ("",)
        rules = connection.execute("SELECT DISTINCT auth_method FROM pg_hba_file_rules").fetchall()
        assert rules == [("scram-sha-256",)]


def test_a_server_that_was_stopped_starts_again_with_its_data_and_its_port(server: EmbeddedPostgres) -> None:
    with psycopg.connect(server.url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
    url = server.url
    server.stop()
    assert not server.is_running
    assert not listens(server.port)
    server.start()
    server.start()  # does nothing
    assert server.url == url
    with psycopg.connect(server.url) as connection:
        assert connection.execute("SELECT one FROM kept").fetchall() == [(1,)]


def test_an_immediate_stop_breaks_connections_and_loses_nothing_that_was_committed() -> None:
    with quick_server() as server, psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
        server.stop_immediately()
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
        server.start()
        with psycopg.connect(server.url) as again:
            assert again.execute("SELECT one FROM kept").fetchall() == [(1,)]


def test_a_paused_server_answers_nobody_until_it_is_resumed(server: EmbeddedPostgres) -> None:
    with psycopg.connect(server.url, autocommit=True) as connection:
        server.pause()
        assert server.is_running
        with pytest.raises(psycopg.errors.ConnectionTimeout):
            psycopg.connect(server.url, connect_timeout=2)
        with ThreadPoolExecutor() as pool:
            asked = pool.submit(connection.execute, "SELECT 42")
            with pytest.raises(TimeoutError):
                asked.result(0.2)
            server.resume()
            assert asked.result(10).fetchone() == (42,)
    assert answers(server.url)


def test_a_server_that_died_can_be_started_again() -> None:
    with quick_server() as server:
        process = int((server.folder / "data" / "postmaster.pid").read_text().split()[0])
        os.kill(process, signal.SIGQUIT)
        assert until(lambda: not server.is_running)
        server.start()
        assert answers(server.url)


def test_a_port_that_was_taken_while_stopped_is_said() -> None:
    with quick_server() as server:
        server.stop()
        with socket.create_server(("127.0.0.1", server.port)), pytest.raises(DatabaseProblem, match="have its port"):
            server.start()
        server.start()
        assert answers(server.url)


def test_a_setting_that_postgres_refuses_is_said_in_its_words() -> None:
    with (
        pytest.raises(DatabaseProblem, match=r'did not start: .*"no_such_setting"'),
        EmbeddedPostgres(settings={"no_such_setting": "1"}),
    ):
        pass


def test_the_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(DatabaseProblem, match=r"pip install 'reconcile\[embedded\]'"), EmbeddedPostgres():
        pass


def test_psql_of_the_same_version_comes_with_it(server: EmbeddedPostgres) -> None:
    done = subprocess.run([server.psql, server.url, "-Atc", "SELECT 6 * 7"], capture_output=True, text=True, check=True)
    assert done.stdout == "42\n"


def test_a_parent_folder_that_the_server_cannot_use_is_passed_over(tmp_path: Path) -> None:
    parent = tmp_path / "private"
    parent.mkdir(mode=0o700 if ROOT else 0o500)
    with EmbeddedPostgres(parent=parent) as server:
        assert parent not in server.folder.parents
        assert answers(server.url)
    assert list(parent.iterdir()) == []


@pytest.mark.skipif(not ROOT, reason="only root runs the server as somebody else")
def test_root_runs_the_server_as_nobody_with_a_folder_closed_to_others(server: EmbeddedPostgres) -> None:
    status = server.folder.stat()
    assert (status.st_uid, status.st_mode & 0o777) == (embedded_programs.NOBODY, 0o700)
    process = int((server.folder / "data" / "postmaster.pid").read_text().split()[0])
    assert Path("/proc", str(process)).stat().st_uid == embedded_programs.NOBODY


@pytest.mark.skipif(not ROOT, reason="an ordinary user reads what is installed for them")
def test_programs_below_a_closed_folder_are_copied_for_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = tmp_path / "home"
    package = embedded_programs.installed_programs().parent.parent
    for folder in (package, package.with_name(f"{package.name}.libs")):
        if folder.is_dir():
            shutil.copytree(folder, closed / folder.name, symlinks=True)
    closed.chmod(0o700)
    programs = closed / package.name / "pginstall" / "bin"
    monkeypatch.setattr("reconciler.embedded.installed_programs", lambda: programs)
    with quick_server() as server:
        assert (server.folder / "programs").is_dir()
        assert answers(server.url)
    assert closed.stat().st_mode & 0o777 == 0o700
    assert closed.stat().st_uid == 0


@pytest.mark.skipif(not ROOT or shutil.which("setpriv") is None, reason="only root becomes somebody else, by setpriv")
def test_an_ordinary_user_has_a_server_too() -> None:
    user = pwd.getpwnam("daemon")
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(TOP)}
    become = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", sys.executable, "-c"]
    tried = subprocess.run([*become, "import reconciler.embedded"], cwd="/", env=environment, capture_output=True)
    if tried.returncode != 0:
        pytest.skip(f"{user.pw_name} cannot reach this Python, or this checkout")
    with subprocess.Popen(
        [*become, OWNER], cwd="/", env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as owner:  # fmt: skip
        port, folder = told(owner)
        assert folder.stat().st_uid == user.pw_uid
        owner.communicate("\n", timeout=20)
    assert owner.returncode == 0
    assert not listens(port)
    assert not folder.exists()
