"""Many small questions to a system that may be half dead, each with a deadline that is kept.

Takes jobs (callables by name); gives an answer for each, or why there is none. A question that hangs is given up alone:
it runs in a daemon thread, and what it waits for is not waited for when the process ends.

Questions to the database share a few connections (a pooler has few to give). The server's statement_timeout ends a slow
statement at the deadline; where the server itself has fallen silent, its socket is shut a moment later.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

import psycopg

from reconciler.database.address import DatabaseAddress
from reconciler.database.connection import DatabaseConnection, NotConnected, connect
from reconciler.runbook.database_probe import APPLICATION_NAME

__all__ = ["Lanes", "NoAnswer", "Questions"]

T = TypeVar("T")

LANES = 3
"""Connections at most."""

_GRACE_S = 1.0
"""How much longer than the deadline the server is given to say that it has stopped the statement."""


class NoAnswer(Exception):
    """A question that was not answered; `str()` says why."""


class Questions(Generic[T]):
    """Questions that need no database, each in a thread of its own. Begun when made; `answers` waits."""

    def __init__(self, jobs: Mapping[str, Callable[[], T]], deadline_s: float) -> None:
        self._deadline_s = deadline_s
        self._until = time.monotonic() + deadline_s
        self._answers: dict[str, T | NoAnswer] = {}
        self._threads = {name: self._start(name, job) for name, job in jobs.items()}

    def _start(self, name: str, job: Callable[[], T]) -> threading.Thread:
        def ask() -> None:
            self._answers[name] = _answer(job)

        thread = threading.Thread(target=ask, daemon=True, name=f"probe-{name}")
        thread.start()
        return thread

    def answers(self) -> dict[str, T | NoAnswer]:
        """An answer for each job, once all are there or the deadline has passed."""
        for thread in self._threads.values():
            thread.join(max(self._until - time.monotonic(), 0.0))
        late = NoAnswer(f"no answer within {self._deadline_s:g} s")
        return {name: self._answers.get(name, late) for name in self._threads}


class Lanes(Generic[T]):
    """Questions to one database, over LANES connections at most; the first one is given, and is closed here."""

    def __init__(self, connection: DatabaseConnection, address: DatabaseAddress, deadline_s: float) -> None:
        self._first = connection
        self._address = address
        self._deadline_s = deadline_s
        self._changed = threading.Condition()
        self._waiting: deque[tuple[str, Callable[[DatabaseConnection], T]]] = deque()
        self._answers: dict[str, T | NoAnswer] = {}
        self._running: dict[int, tuple[str, float, DatabaseConnection]] = {}
        self._open = 0

    def ask(self, jobs: Mapping[str, Callable[[DatabaseConnection], T]]) -> dict[str, T | NoAnswer]:
        """An answer for each job. One that takes longer than the deadline is given up, and the others go on."""
        self._waiting.extend(jobs.items())
        self._open = max(1, min(LANES, len(jobs)))
        for number in range(self._open):
            threading.Thread(target=self._lane, args=(number,), daemon=True, name=f"probe-lane-{number}").start()
        with self._changed:
            while len(self._answers) < len(jobs) and self._open:
                self._changed.wait(self._give_up_late() or None)
            gone = NoAnswer("the database stopped answering")
            return {name: self._answers.get(name, gone) for name in jobs}

    def _lane(self, number: int) -> None:
        connection = None
        try:
            connection = self._connection(number)
            while connection is not None and self._take(number, connection):
                pass
        finally:
            with self._changed:
                self._running.pop(number, None)
                self._open -= 1
                self._changed.notify()
            if connection is not None:
                connection.close()

    def _connection(self, number: int) -> DatabaseConnection | None:
        """The lane's own; None where the database has no more to give, which the other lanes make up for."""
        if number == 0:
            return self._first
        try:
            return connect(
                self._address,
                connect_timeout_s=self._deadline_s,
                statement_timeout_ms=int(self._deadline_s * 1000),
                application_name=APPLICATION_NAME,
            )
        except NotConnected:
            return None

    def _take(self, number: int, connection: DatabaseConnection) -> bool:
        """Answer one question; whether there may be another."""
        with self._changed:
            if not self._waiting:
                return False
            name, job = self._waiting.popleft()
            self._running[number] = (name, time.monotonic() + self._deadline_s + _GRACE_S, connection)
        answer = _answer(lambda: job(connection))
        with self._changed:
            given_up = number not in self._running
            if not given_up:
                del self._running[number]
                self._answers[name] = answer
                self._changed.notify()
        return not (given_up or connection.closed)

    def _give_up_late(self) -> float:
        """Give up what is late, and return in how many seconds the next one would be (0.0: none runs)."""
        now = time.monotonic()
        for number, (name, until, connection) in list(self._running.items()):
            if until <= now:
                self._answers[name] = NoAnswer(f"no answer within {self._deadline_s:g} s")
                del self._running[number]
                _shut(connection)
        left = [until - now for _, until, _ in self._running.values()]
        return max(min(left), 0.001) if left else 0.0


def _answer(job: Callable[[], T]) -> T | NoAnswer:
    try:
        return job()
    except NoAnswer as none:
        return none
    except Exception as error:  # whatever went wrong with one question, the others are asked
        first_line = (str(error).splitlines() or [""])[0]
        return NoAnswer(first_line or type(error).__name__)


def _shut(connection: DatabaseConnection) -> None:
    """End the wait of whoever reads from the connection. libpq's own close is not safe from another thread."""
    try:
        with socket.socket(fileno=os.dup(connection.pgconn.socket)) as line:
            line.shutdown(socket.SHUT_RDWR)
    except (OSError, ValueError, psycopg.Error):
        pass  # it is closed already
