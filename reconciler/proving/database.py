"""The proofs that ask Postgres: the row itself, and a query. Over one connection of their own, not the run's.

Takes the address that the run is connected to; gives what was seen. One statement answers for all changes of a proof,
however many they are, in a READ ONLY transaction.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import psycopg
from psycopg import sql

from reconciler.canonical import equal, nullable_text_array, text_array, to_text
from reconciler.catalog import Relation
from reconciler.database.address import DatabaseAddress
from reconciler.database.connection import DatabaseConnection, connect
from reconciler.database.transaction import begin_read_only
from reconciler.effects.rows import read_rows
from reconciler.effects.templates import Template
from reconciler.errors import ConnectionLost, DatabaseProblem, NotAsExpected, ReconcileError
from reconciler.model import Json
from reconciler.proving.sight import SEEN, Sighting, Target
from reconciler.schema import Table
from reconciler.verify.compiled import PROOF_NAMES

_CONNECT_S = 5.0
_STATEMENT_S = 5.0
_OF_A_CHANGE = ("key", "label", "before", "after", "reason")
"""Names that differ from change to change; the others are the same for all of a question."""

_FINAL = ("42", "22", "21", "0A")
"""Classes of SQLSTATE that speak of the query itself: another attempt would end the same."""


class FreshConnection:
    """A connection that is made when it is first needed, and again after it was lost."""

    def __init__(self, address: DatabaseAddress) -> None:
        self._address = address
        self._connection: DatabaseConnection | None = None

    def get(self, until: float) -> DatabaseConnection:
        """The connection. Raises DatabaseProblem where there is none."""
        if self._connection is None or self._connection.closed:
            self._connection = connect(
                self._address,
                connect_timeout_s=min(_CONNECT_S, max(until - time.monotonic(), 0.1)),
                statement_timeout_ms=int(_STATEMENT_S * 1000),
                application_name="reconcile verify",
            )
        return self._connection

    def close(self) -> None:
        """Let go of it."""
        if self._connection is not None:
            with suppress(psycopg.Error):
                self._connection.close()


class RowAsker:
    """Whether rows have the values that were written: a trigger, or another writer, may have changed them since."""

    def __init__(self, fresh: FreshConnection, table: Table, relation: Relation) -> None:
        self._fresh = fresh
        self._table = table
        self._relation = relation

    def ask(self, targets: Sequence[Target], until: float) -> Mapping[int, Sighting]:
        """One statement for all."""
        wanted: dict[str, set[str]] = {}
        for target in targets:
            wanted.setdefault(target.key, set()).add(target.field)
        try:
            connection = self._fresh.get(until)
            with begin_read_only(
                connection, doing="reading rows back", statement_timeout_ms=_timeout_ms(until)
            ):
                rows = read_rows(connection, self._table, self._relation, wanted)
        except ReconcileError as error:
            return _all(targets, error)
        return {target.number: _of_row(target, rows.get((target.table, target.key))) for target in targets}

    def close(self) -> None:
        """Let go of the connection."""
        self._fresh.close()


def _of_row(target: Target, row: Mapping[str, Json] | None) -> Sighting:
    if row is None:
        return Sighting(False, "the row is gone", final=True)
    found = row[target.field]
    return SEEN if equal(found, target.after) else Sighting(False, f"the row has {_shortened(to_text(found))}")


class SqlAsker:
    """Whether a query is true of each change. A name in it is a column of the changes: no value is in its text."""

    def __init__(self, fresh: FreshConnection, query: Template) -> None:
        self._fresh = fresh
        names = {name: f"reconcile_asked.{name}" for name in _OF_A_CHANGE}
        names |= {name: f"(%({name})s)::text" for name in PROOF_NAMES if name not in _OF_A_CHANGE}
        # A line's end behind the query, as that may end with a comment.
        self._statement = sql.SQL(
            """
            SELECT reconcile_asked.number, (({query}
            )) IS TRUE
              FROM unnest(%(numbers)s::int[], {arrays})
                   AS reconcile_asked (number, {columns})
            """
        ).format(
            query=sql.SQL(query.render_text(names)),
            arrays=sql.SQL(", ").join(
                sql.SQL("{}::text[]").format(sql.Placeholder(f"{name}s")) for name in _OF_A_CHANGE
            ),
            columns=sql.SQL(", ").join(map(sql.Identifier, _OF_A_CHANGE)),
        )

    def ask(self, targets: Sequence[Target], until: float) -> Mapping[int, Sighting]:
        """One statement for all."""
        first = targets[0].values
        parameters: dict[str, Any] = {f"{name}s": _texts(targets, name) for name in _OF_A_CHANGE}
        parameters |= {name: _text(first[name]) for name in PROOF_NAMES if name not in _OF_A_CHANGE}
        parameters["numbers"] = [target.number for target in targets]
        try:
            connection = self._fresh.get(until)
            with begin_read_only(connection, doing="asking a proof", statement_timeout_ms=_timeout_ms(until)):
                try:
                    found = connection.execute(self._statement, parameters).fetchall()
                except psycopg.Error as error:
                    if (error.sqlstate or "").startswith(_FINAL):
                        said = (error.diag.message_primary or "an error").splitlines()[0]
                        return dict.fromkeys(
                            (target.number for target in targets), Sighting(False, f"the query failed: {said}", True)
                        )
                    raise
        except ReconcileError as error:
            return _all(targets, error)
        return {number: SEEN if true else Sighting(False, "the query is not true") for number, true in found}

    def close(self) -> None:
        """Let go of the connection."""
        self._fresh.close()


def _texts(targets: Sequence[Target], name: str) -> str:
    texts = [_text(target.values[name]) for target in targets]
    return nullable_text_array(texts) if None in texts else text_array([text or "" for text in texts])


def _text(value: Json) -> str | None:
    return value if value is None or isinstance(value, str) else to_text(value)


def _timeout_ms(until: float) -> int:
    return max(1, int(min(_STATEMENT_S, until - time.monotonic()) * 1000))


def _all(targets: Sequence[Target], error: ReconcileError) -> dict[int, Sighting]:
    """The same of every target: no answer. What is missing stays missing, what is lost may come back."""
    final = isinstance(error, NotAsExpected) and not isinstance(error, ConnectionLost)
    said = (str(error).splitlines() or ["no answer"])[0]
    said = f"no answer: {said}" if isinstance(error, DatabaseProblem) and not final else said
    return dict.fromkeys((target.number for target in targets), Sighting(False, said, final))


def _shortened(text: str) -> str:
    return text if len(text) <= 60 else text[:59] + "…"
