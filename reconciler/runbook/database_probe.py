"""Does the database answer, and if not, is it the pooler or the database?

Takes the environment and a deadline; gives what each of DATABASE_URL and DIRECT_URL said, a connection to the one that
answered, and one sentence. The two are tried at the same time, because at three in the morning nobody waits twice.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping

import msgspec

from reconciler.database.address import DatabaseAddress
from reconciler.database.connection import DatabaseConnection, NotConnected, connect
from reconciler.database.url import parse_database_url
from reconciler.errors import UsageProblem

__all__ = ["Door", "Doors", "try_doors"]

DATABASE_URL, DIRECT_URL = "DATABASE_URL", "DIRECT_URL"
APPLICATION_NAME = "reconcile-triage"
_NOT_SET = "it is not set"


class Door(msgspec.Struct, frozen=True):
    """One address that was tried: how long it took to answer, or why it did not.

    `is_outage` tells a server that is away, or full, from an address that is wrong: a password that was refused is no
    incident. `address` is what can be printed; None where the variable is not set or cannot be understood.
    """

    variable: str
    address: str | None = None
    milliseconds: float | None = None
    reason: str | None = None
    is_outage: bool = False

    @property
    def answered(self) -> bool:
        """Whether a query was answered through it."""
        return self.milliseconds is not None


class Doors(msgspec.Struct, frozen=True):
    """Both addresses. `connection` and `way_in` belong to the first that answered; None where none did."""

    pooled: Door
    direct: Door | None
    connection: DatabaseConnection | None = None
    way_in: DatabaseAddress | None = None

    @property
    def is_outage(self) -> bool:
        """Whether the platform, which uses DATABASE_URL, cannot reach its database."""
        return self.pooled.is_outage

    @property
    def sentence(self) -> str:
        """What was seen, and what it means."""
        pooled, direct = self.pooled, self.direct
        if pooled.answered:
            return f"the database answers in {pooled.milliseconds:.0f} ms ({pooled.variable})"
        if not pooled.is_outage:
            why = "is not set" if pooled.reason == _NOT_SET else f"cannot be used: {pooled.reason}"
            return f"{pooled.variable} {why}"
        if direct is None:
            return (
                f"the database does not answer ({pooled.variable}): {pooled.reason}. {DIRECT_URL} is not set, so a "
                "pooler and its database cannot be told apart"
            )
        if direct.answered:
            return (
                f"it is the pooler: {pooled.variable} does not answer ({pooled.reason}), while the database itself "
                f"does ({direct.variable}, in {direct.milliseconds:.0f} ms)"
            )
        if direct.is_outage:
            return (
                f"it is the database: it answers neither through the pooler ({pooled.variable}: {pooled.reason}) nor "
                f"directly ({direct.variable}: {direct.reason})"
            )
        return (
            f"the pooler does not answer ({pooled.variable}: {pooled.reason}); whether the database does is not known, "
            f"because {direct.variable} cannot be used: {direct.reason}"
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """What is no incident, and worth knowing."""
        direct = self.direct
        if self.pooled.answered and direct is not None and not direct.answered:
            return (f"{direct.variable} does not answer: {direct.reason}. Nothing but migrations needs it",)
        return ()


def try_doors(
    environment: Mapping[str, str], deadline_s: float, application_name: str = APPLICATION_NAME
) -> Doors:
    """Try both addresses at once. The caller closes the connection. Takes `deadline_s` at most; never raises."""
    texts = {variable: environment.get(variable, "").strip() for variable in _variables(environment)}
    attempts = [_Attempt(variable, text, deadline_s, application_name) for variable, text in texts.items()]
    for attempt in attempts:
        attempt.start()
    for attempt in attempts:
        attempt.join(deadline_s + 1)  # the deadline is kept inside; this is for a name server that hangs
    doors = [attempt.door for attempt in attempts]
    winner = next((attempt for attempt in attempts if attempt.connection is not None), None)
    for attempt in attempts:
        if attempt is not winner and attempt.connection is not None:
            attempt.connection.close()
    direct = doors[1] if len(doors) > 1 else None
    if winner is None:
        return Doors(doors[0], direct)
    return Doors(doors[0], direct, winner.connection, winner.address)


def _variables(environment: Mapping[str, str]) -> list[str]:
    """DATABASE_URL, and DIRECT_URL where it is set and another address. DIRECT_URL alone takes the other's place."""
    pooled, direct = environment.get(DATABASE_URL, "").strip(), environment.get(DIRECT_URL, "").strip()
    if not pooled and direct:
        return [DIRECT_URL]
    return [DATABASE_URL, DIRECT_URL] if direct and direct != pooled else [DATABASE_URL]


class _Attempt(threading.Thread):
    """One address being tried."""

    def __init__(self, variable: str, text: str, deadline_s: float, application_name: str) -> None:
        super().__init__(daemon=True, name=f"probe-{variable}")
        self._text = text
        self._deadline_s = deadline_s
        self._application_name = application_name
        self.door = Door(variable, reason=f"no answer within {deadline_s:g} s", is_outage=True)
        self.connection: DatabaseConnection | None = None
        self.address: DatabaseAddress | None = None

    def run(self) -> None:
        """Set `door`, and `connection` where it answers."""
        variable = self.door.variable
        try:
            self.address = address = parse_database_url(self._text, variable=variable)
        except UsageProblem as wrong:
            reason = str(wrong).removeprefix(f"{variable}: ") if self._text else _NOT_SET
            self.door = Door(variable, reason=reason)
            return
        started = time.monotonic()
        try:
            self.connection = connect(
                address,
                connect_timeout_s=self._deadline_s,
                statement_timeout_ms=int(self._deadline_s * 1000),
                application_name=self._application_name,
            )
        except NotConnected as failed:
            self.door = Door(variable, address.safe, None, failed.failure.reason, failed.failure.curable)
            return
        self.door = Door(variable, address.safe, round((time.monotonic() - started) * 1000, 1))
