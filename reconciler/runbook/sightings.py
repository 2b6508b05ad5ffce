"""What symptoms look like now: each distinct question asked once, all at the same time, each with its deadline.

Takes symptoms, the policy's checks, the environment; gives a Sighting for each symptom: it matches (with the rows that
say so), it does not, or it could not be looked at. Reads only: queries run in READ ONLY transactions, as one statement
that a second one cannot follow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import psycopg

from reconciler.checks.run import make_elsewhere, make_on_database, unset_variable
from reconciler.database.address import DatabaseAddress
from reconciler.database.connection import DatabaseConnection
from reconciler.database.transaction import begin_read_only
from reconciler.fields import seconds
from reconciler.guards import CheckResult
from reconciler.model import Json
from reconciler.playbook import Symptom
from reconciler.policy import Check, PostgresCheck, SqlCheck
from reconciler.runbook.database_probe import Door, try_doors
from reconciler.runbook.playbooks import query_of
from reconciler.runbook.probes import Lanes, NoAnswer, Questions

__all__ = ["MOST_ROWS", "Sighting", "Sightings", "look", "question_of"]

MOST_ROWS = 20
"""Rows of one query that are told; that there are more is said."""

_Answer = CheckResult | list[dict[str, Json]]


class Sighting(msgspec.Struct, frozen=True):
    """What one question brought to light. It matches where there are `rows`.

    `unseen` says why it could not be asked; `is_set_up` is False where nobody has said where to ask (a variable that is
    not set), which is no failure. `more`: there were more than MOST_ROWS.
    """

    rows: tuple[Mapping[str, Json], ...] = ()
    more: bool = False
    unseen: str | None = None
    is_set_up: bool = True


class Sightings(msgspec.Struct, frozen=True):
    """All sightings by question, what the database's addresses said, and notes for the user.

    `way_in` is the address that answered; None where none did.
    """

    by_question: dict[str, Sighting]
    doors: tuple[Door, ...]
    notes: tuple[str, ...]
    way_in: DatabaseAddress | None

    def of(self, symptom: Symptom) -> Sighting:
        """What a symptom looks like now."""
        return self.by_question[question_of(symptom)]


def question_of(symptom: Symptom) -> str:
    """What is asked for the symptom; two symptoms that ask the same thing are asked once."""
    if symptom.check is not None:
        return f"check {symptom.check}"
    return f"probe {symptom.probe}" if symptom.probe is not None else f"query {query_of(symptom)}"


def look(
    symptoms: Iterable[Symptom], checks: Mapping[str, Check], environment: Mapping[str, str], deadline_s: float
) -> Sightings:
    """Look at each symptom now. Never raises for one: what cannot be looked at says why."""
    asked = {question_of(symptom): symptom for symptom in symptoms}
    seen: dict[str, Sighting] = {}
    elsewhere: dict[str, Callable[[], _Answer]] = {}
    on_database: dict[str, Callable[[DatabaseConnection], _Answer]] = {}
    for question, symptom in asked.items():
        if symptom.query is not None:
            on_database[question] = _query(query_of(symptom), deadline_s)
        elif symptom.check is not None:
            check = _hurried(checks[symptom.check], deadline_s)
            unset = unset_variable(check, environment)
            if unset is not None:
                seen[question] = Sighting(unseen=f"{unset} is not set", is_set_up=False)
            elif isinstance(check, PostgresCheck | SqlCheck):
                on_database[question] = _check_on_database(check)
            else:
                elsewhere[question] = _check_elsewhere(check, environment)
    questions = Questions(elsewhere, deadline_s)
    doors = try_doors(environment, deadline_s)
    if doors.connection is not None and doors.way_in is not None:
        lanes: Lanes[_Answer] = Lanes(doors.connection, doors.way_in, deadline_s)
        answers = lanes.ask(on_database)
    else:
        nowhere = "the database does not answer" if doors.is_outage else doors.sentence
        answers = dict.fromkeys(on_database, NoAnswer(nowhere))
    seen |= {question: _sighting(answer) for question, answer in {**questions.answers(), **answers}.items()}
    for question, symptom in asked.items():
        if symptom.probe is not None:
            is_known = doors.is_outage or doors.pooled.answered
            found = ({"saw": doors.sentence},) if doors.is_outage else ()
            seen[question] = Sighting(found, unseen=None if is_known else doors.sentence)
    said = tuple(door for door in (doors.pooled, doors.direct) if door)
    return Sightings(seen, said, doors.notes, doors.way_in)


def _sighting(answer: _Answer | NoAnswer) -> Sighting:
    if isinstance(answer, NoAnswer):
        return Sighting(unseen=str(answer))
    if isinstance(answer, CheckResult):
        if not answer.made:
            return Sighting(unseen=answer.saw.removeprefix("could not be made: "))
        return Sighting() if answer.passed else Sighting(({"saw": answer.saw},))
    return Sighting(tuple(answer[:MOST_ROWS]), more=len(answer) > MOST_ROWS)


def _hurried(check: Check, deadline_s: float) -> Check:
    """The check with the deadline, where its own timeout is longer."""
    return msgspec.structs.replace(check, timeout=f"{max(1, math.ceil(min(deadline_s, seconds(check.timeout))))}s")


def _check_elsewhere(check: Check, environment: Mapping[str, str]) -> Callable[[], _Answer]:
    return lambda: make_elsewhere(check, environment)


def _check_on_database(check: Check) -> Callable[[DatabaseConnection], _Answer]:
    return lambda connection: make_on_database(check, connection)


def _query(query: str, deadline_s: float) -> Callable[[DatabaseConnection], _Answer]:
    # With a parameter the statement is sent by the protocol that takes only one, so no text can end the transaction.
    statement = f"SELECT * FROM (\n{query.replace('%', '%%')}\n) AS found LIMIT %s"
    limit_ms = max(1, int(deadline_s * 1000))

    def ask(connection: DatabaseConnection) -> list[dict[str, Json]]:
        with begin_read_only(
            connection, doing="looking at a symptom", lock_timeout_ms=limit_ms, statement_timeout_ms=limit_ms
        ):
            try:
                cursor = connection.execute(statement.encode(), (MOST_ROWS + 1,))
            except psycopg.errors.QueryCanceled:
                raise NoAnswer(f"took longer than {deadline_s:g} s") from None
            names = [column.name for column in cursor.description or ()]
            return [dict(zip(names, map(_plain, row), strict=True)) for row in cursor.fetchall()]

    return ask


def _plain(value: Any) -> Json:
    """A value of the driver as JSON knows it."""
    if isinstance(value, float):
        return Decimal(repr(value)) if math.isfinite(value) else str(value)
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return Decimal(str(value.total_seconds()))
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in value.items()}
    return value if value is None or isinstance(value, bool | int | Decimal | str) else str(value)
