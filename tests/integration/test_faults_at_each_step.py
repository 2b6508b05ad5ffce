"""A fault after each message of an apply with effects and a proof, on the line to Postgres and on the line to Redis.

A good run is counted first, message by message, in each direction. Then the same run is made again and again, each time
in a database of its own, with the line cut, silent or late after the n-th message: connecting, the transaction, COMMIT,
the delivery, its mark, and the proof included. Whatever the step:

- the database holds all of the run or nothing of it, and what is said of it is true;
- silence ends by the run's own timeouts;
- the same run without a fault completes it: one audit entry for each field, every effect at least once and in order,
  and none before its run was committed.

Of the steps in each direction `AT_MOST` are taken, at even distances, and those around COMMIT; with
RECONCILE_ALL_STEPS=1 it is all of them.
"""

from __future__ import annotations

import itertools
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

import msgspec
import pytest

from reconciler.database.connection import DatabaseConnection, open_database
from reconciler.database.url import parse_database_url
from reconciler.drill.redis_server import RedisServer, running_redis
from reconciler.effects.delivery import Pass
from reconciler.errors import DatabaseProblem, Failed, OutcomeUnknown, ReconcileError
from reconciler.outcome import Outcome
from reconciler.pipeline import Ending
from tests.support.postgres import Database, Server
from tests.support.proxy import FaultyLine
from tests.support.shops import Shops, connected, effects_of, make_tables
from tests.support.steps import BACK, CUT, DELAY, POSTGRES, REDIS, STALL, THERE, Framing, Steps
from tests.support.waiting import wait_until

AT_MOST = {CUT: 16, STALL: 12, DELAY: 8}
AT_ONCE = 16
"""Runs that are made at the same time: most of a run with a fault is waiting."""

HURRIED_S, PATIENT_S = 1.0, 8.0
"""How long a run waits for a line that has stalled: each costs all of it. Patient it is where the machine is busy, and
the run gave up before it came to the fault."""

VERIFY = "[{when: false, row: written, within: 1s}]"

NOTHING, ALL = (0, 0, 0, 0, 0), (4, 4, 4, 4, 6)
"""Fields as git asks, audit entries, fields that they are about, changes, effects."""


class Fault(msgspec.Struct, frozen=True):
    """What happens after how many messages of which side."""

    kind: str
    direction: str
    after: int


@pytest.fixture(scope="module")
def redis_server() -> Iterator[RedisServer]:
    with running_redis() as server:
        yield server


@pytest.fixture(scope="module")
def template(postgres_server: Server) -> Iterator[Database]:
    """Tables and a ledger; nobody is connected to it."""
    with postgres_server.empty() as database:
        with connected(database.url) as connection:
            make_tables(connection)
        yield database


class Stage:
    """One run's own database with two shops, and its own line to Postgres and to Redis.

    The shops' keys, by which the one Redis tells them apart, are the stage's own, as is the variable with its address.
    """

    def __init__(self, name: str, database: Database, redis_server: RedisServer, patience_s: float) -> None:
        self.name = name
        self.database = database
        self.redis_server = redis_server
        place = urlsplit(database.url)
        self.postgres_line = FaultyLine(place.hostname or "127.0.0.1", place.port or 5432)
        self.redis_line = FaultyLine("127.0.0.1", redis_server.port)
        self.variable = f"{name}_URL"
        self.keys = [f"{name}-a", f"{name}-b"]
        self.patience_s = patience_s

    def shops(self, connection: DatabaseConnection) -> Shops:
        """What git asks of both shops: closed, and five seats."""
        stream = {"redis_stream": {"stream": "shop:$key", "data": {"field": "$field"}, "url_variable": self.variable}}
        job = {"bullmq": {"queue": self.name, "job": "CLOSE", "url_variable": self.variable}}
        policy = f"delivery: {{timeout: {self.patience_s:.0f}s, backoff: 1s}}\n"
        effects = {"is_open": effects_of(stream, job), "seats": effects_of(stream)}
        shops = Shops(connection, policy=policy, verify=VERIFY, **effects)
        for key in self.keys:
            shops.ask(key, is_open=False, seats=5)
        return shops

    def run(self) -> Outcome | ReconcileError:
        """Connect over the line and apply, as the command does; what came of it."""
        address = parse_database_url(self.postgres_line.url_through(self.database.url), variable="DATABASE_URL")

        def connect() -> DatabaseConnection:
            limit_ms = int(self.patience_s * 1000)
            return open_database([address], timeout_s=self.patience_s, statement_timeout_ms=limit_ms)

        with connected(self.database.url) as directly:
            shops = self.shops(directly)
        try:
            with connect() as shops.connection:
                return shops.apply(Ending(reconnect=connect))
        except ReconcileError as error:
            return error

    def complete(self) -> None:
        """Run again, without a fault and directly, and deliver what is left."""
        with connected(self.database.url) as connection:
            shops = self.shops(connection)
            shops.apply()
            shops.deliver(Pass(eager=True))
            assert set(shops.outbox()) == {"delivered"}

    def counts(self) -> tuple[int, ...]:
        """As in ALL, once nobody is connected any more."""
        wait_until(lambda: not self.database.execute(OTHERS))
        [row] = self.database.execute(COUNTS)
        return tuple(row.values())

    def arrived(self) -> tuple[list[list[str]], set[str]]:
        """What the stream of each shop tells, in order, and of which shops there are jobs."""
        with self.redis_server.client() as client:
            streams = [[fields["field"] for _, fields in client.xrange(f"shop:{key}")] for key in self.keys]
            waiting = client.lrange(f"bull:{self.name}:wait", 0, -1)
            jobs = [client.hget(f"bull:{self.name}:{id}", "data") for id in waiting]
            assert len(jobs) == len(set(jobs))
            return streams, {json.loads(job)["key"] for job in jobs}


OTHERS = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"

COUNTS = """
SELECT (SELECT count(*) FILTER (WHERE NOT is_open) + count(*) FILTER (WHERE seats = 5) FROM shops) AS fields,
       (SELECT count(*) FROM journal) AS entries,
       (SELECT count(DISTINCT (details ->> 'key', details ->> 'field')) FROM journal) AS entries_about,
       (SELECT count(*) FROM reconciler.change) AS changes, (SELECT count(*) FROM reconciler.outbox) AS effects
"""


_NUMBERS = itertools.count()


class Stages:
    """Makes stages, each with a copy of the template."""

    def __init__(
        self, server: Server, template: Database, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self._server = server
        self._template = template
        self._redis_server = redis_server
        self._monkeypatch = monkeypatch

    @contextmanager
    def open(self, kind: str = "", patience_s: float = 20.0) -> Iterator[Stage]:
        """A stage whose lines are in order."""
        name = f"FAULT_{next(_NUMBERS)}_{kind.upper()}"
        with self._server.copy_of(self._template) as database:
            stage = Stage(name, database, self._redis_server, patience_s)
            with stage.postgres_line, stage.redis_line as line:
                self._monkeypatch.setenv(stage.variable, f"redis://127.0.0.1:{line.port}/0")
                with connected(database.url) as connection:
                    Shops(connection).add(*stage.keys)
                yield stage


@pytest.fixture
def stages(
    postgres_server: Server, template: Database, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> Stages:
    return Stages(postgres_server, template, redis_server, monkeypatch)


class TooSlow(Exception):
    """The run gave up, as the machine is busy, before it came to the message that the fault waits for."""


def played(stage: Stage, fault: Fault | None, line: FaultyLine, framing: Framing) -> Outcome | ReconcileError:
    """A run on the stage, with the fault on one of its lines; without one, its steps are counted.

    Raises TooSlow where the fault did not come, and the run was in a hurry.
    """
    line.steps = Steps(framing) if fault is None else Steps(framing, fault.kind, fault.direction, fault.after)
    started = time.monotonic()
    came = stage.run()
    assert time.monotonic() - started < 30.0
    # The last message is a goodbye that nobody waits for.
    if fault is not None and not line.steps.happened.wait(5):
        assert stage.patience_s == HURRIED_S, "the fault did not come"
        raise TooSlow
    return came


def faults_of(steps: Steps, kind: str) -> list[Fault]:
    """The faults to play, of all that are possible: one before each message that was said."""
    faults = []
    if steps.before_commit is not None:
        there, back = steps.before_commit[THERE], steps.before_commit[BACK]
        faults = [Fault(kind, THERE, there), Fault(kind, THERE, there + 1), Fault(kind, BACK, back)]
    for direction in (THERE, BACK):
        number = steps.said[direction]
        assert number > 5, "nothing was counted"
        most = number if os.environ.get("RECONCILE_ALL_STEPS") else min(AT_MOST[kind], number)
        faults += [Fault(kind, direction, step * (number - 1) // (most - 1)) for step in range(most)]
    return faults


def play_all(faults: Sequence[Fault], play: Callable[[Fault, float], None]) -> None:
    """Play some at a time; what has gone wrong is said of all of them.

    A line that stalls costs a run all of its patience, so there is little at first.
    """

    def told(fault: Fault) -> str:
        try:
            with suppress(TooSlow):
                play(fault, HURRIED_S if fault.kind == STALL else 20.0)
                return ""
            play(fault, PATIENT_S)
        except AssertionError as error:
            return f"{fault}: {error}"
        return ""

    with ThreadPoolExecutor(AT_ONCE) as pool:
        wrong = list(filter(None, pool.map(told, faults)))
    assert not wrong, "\n".join(wrong)


def counted(stages: Stages, line: str, framing: Framing) -> Steps:
    """What a good run says over a line."""
    with stages.open() as stage:
        came = played(stage, None, getattr(stage, line), framing)
        assert isinstance(came, Outcome)
        assert came.effects.delivered == 6
        assert [verdict.seen for verdict in came.verdicts] == [2]
        steps = getattr(stage, line).steps
        assert isinstance(steps, Steps)
        return steps


def assert_completed(stage: Stage) -> None:
    """What must be there in the end, whatever came before."""
    assert stage.counts() == ALL
    streams, jobs = stage.arrived()
    for fields in streams:
        assert set(fields) == {"is_open", "seats"}
        assert fields == sorted(fields), "not in the order of the changes"
    assert jobs == set(stage.keys)


def assert_said(stage: Stage, came: Outcome | ReconcileError, counts: tuple[int, ...]) -> None:
    """What the run says of itself is what the database holds."""
    assert counts in (NOTHING, ALL)
    if isinstance(came, Outcome):
        assert counts == ALL
        if came.effects.delivered < 6:
            assert any("deliver" in notice.message for notice in came.notices), came.notices
        if not came.verdicts:
            assert any("in effect" in notice.message for notice in came.notices), came.notices
        return
    said = str(came)
    assert "Traceback" not in said
    assert "password" not in said.lower()
    if isinstance(came, OutcomeUnknown):
        assert came.exit_code == 1
        assert "was applied is not known" in said
        assert "reconcile history --run" in said
        return
    assert counts == NOTHING, said
    if isinstance(came, DatabaseProblem):
        assert came.exit_code == 4
    else:
        assert type(came) is Failed
        assert "nothing was applied" in said


@pytest.mark.parametrize("kind", [CUT, STALL, DELAY])
def test_a_fault_of_the_line_to_postgres_leaves_all_or_nothing_and_a_second_run_completes_it(
    stages: Stages, kind: str
) -> None:
    came_to: Counter[str] = Counter()

    def play(fault: Fault, patience_s: float) -> None:
        with stages.open(kind, patience_s) as stage:
            came = played(stage, fault, stage.postgres_line, POSTGRES)
            if kind == DELAY:
                assert isinstance(came, Outcome), came
                assert came.effects.delivered == 6
                assert came.notices == ()
            stage.postgres_line.cut()  # the server learns what a line that is dead would tell it in minutes
            counts = stage.counts()
            assert_said(stage, came, counts)
            if counts == NOTHING:
                assert stage.arrived() == ([[], []], set())
            came_to[f"{type(came).__name__} {counts == ALL}"] += 1
            stage.complete()
            assert_completed(stage)

    play_all(faults_of(counted(stages, "postgres_line", POSTGRES), kind), play)
    if kind != DELAY:  # the steps have met each part of the story
        assert came_to["Outcome True"]
        assert came_to["Unreachable False"]
        assert came_to["ConnectionLost False"]
    if kind == STALL:
        assert came_to["OutcomeUnknown False"]  # COMMIT was on its way
        assert came_to["OutcomeUnknown True"]  # its answer was


@pytest.mark.parametrize("kind", [CUT, STALL, DELAY])
def test_a_fault_of_the_line_to_redis_fails_no_run_and_loses_no_effect(stages: Stages, kind: str) -> None:
    def play(fault: Fault, patience_s: float) -> None:
        with stages.open(kind, patience_s) as stage:
            came = played(stage, fault, stage.redis_line, REDIS)
            assert isinstance(came, Outcome), came
            assert_said(stage, came, stage.counts())
            if kind == DELAY:
                assert came.effects.delivered == 6
            stage.redis_line.heal()
            stage.complete()
            assert_completed(stage)

    play_all(faults_of(counted(stages, "redis_line", REDIS), kind), play)
