"""What a history is asked for, and the SQL that says it.

Takes options as they were typed; gives a HistoryQuery, and the conditions of a statement over `reconciler.change c`
and `reconciler.run r`, with their parameters.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from psycopg import sql

from reconciler.errors import UsageProblem
from reconciler.fields import seconds
from reconciler.model import RowKey

__all__ = ["Conditions", "HistoryQuery", "of_changes", "of_incident", "of_runs", "parse_since", "where"]


class HistoryQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for; everything given must hold. `limit` is the most that is given back.

    `tenant` is the id that audit entries carry, or a row's label. `commit` and `run` are the beginnings of ids. `since`
    is a moment, or how long ago. `incident` is a word that stands in the reason of a change or of its run.
    """

    rows: tuple[RowKey, ...] = ()
    tables: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    tenant: str | None = None
    commit: str | None = None
    run: str | None = None
    since: datetime | timedelta | None = None
    incident: str | None = None
    limit: int = 50


def parse_since(text: str) -> datetime | timedelta:
    """A duration (90s, 30m, 24h, 7d), a date or a moment; without a time zone it is UTC. Raises UsageProblem."""
    text = text.strip()
    try:
        if re.fullmatch(r"[1-9][0-9]*[smhd]", text):
            return timedelta(seconds=seconds(text))
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise UsageProblem(f"--since {text}: write a duration (24h, 7d), or a date (2026-11-27)") from None


Conditions = list[sql.Composable]
"""All of them must hold."""


def of_changes(query: HistoryQuery) -> tuple[Conditions, dict[str, Any]]:
    """The conditions on changes, and their parameters."""
    conditions: Conditions = []
    parameters: dict[str, Any] = {}
    if query.rows:
        conditions.append(
            sql.SQL("(c.table_name, c.key) IN (SELECT * FROM unnest(%(row_tables)s::text[], %(row_keys)s::text[]))")
        )
        parameters |= {"row_tables": [table for table, _ in query.rows], "row_keys": [key for _, key in query.rows]}
    if query.tables:
        conditions.append(sql.SQL("c.table_name = ANY (%(tables)s)"))
        parameters["tables"] = list(query.tables)
    if query.fields:
        conditions.append(sql.SQL("c.field = ANY (%(fields)s)"))
        parameters["fields"] = list(query.fields)
    if query.tenant is not None:
        conditions.append(sql.SQL("(c.tenant = %(tenant)s OR c.label = %(tenant)s)"))
        parameters["tenant"] = query.tenant
    return conditions, parameters


def of_runs(query: HistoryQuery) -> tuple[Conditions, dict[str, Any]]:
    """The conditions on runs, and their parameters. Raises UsageProblem."""
    conditions: Conditions = []
    parameters: dict[str, Any] = {}
    if query.commit is not None:
        conditions.append(sql.SQL("starts_with(r.commit_id, %(commit)s)"))
        parameters["commit"] = _id_prefix("--commit", query.commit)
    if query.run is not None:
        conditions.append(sql.SQL("starts_with(r.id::text, %(run)s)"))
        parameters["run"] = _id_prefix("--run", query.run)
    if query.since is not None:
        since = "now() - %(since)s" if isinstance(query.since, timedelta) else "%(since)s"
        conditions.append(sql.SQL("r.at >= {}").format(sql.SQL(since)))
        parameters["since"] = query.since
    return conditions, parameters


def of_incident(query: HistoryQuery) -> tuple[Conditions, dict[str, Any]]:
    """The condition that a change, or its run, names the incident, and its parameter. Raises UsageProblem.

    A trailer of the commit (`Incident: INC-142`) that became part of a run's reason is found like any other word of it.
    """
    if query.incident is None:
        return [], {}
    return [sql.SQL("({} OR {})").format(NAMED_BY_CHANGE, NAMED_BY_RUN)], {"incident": _as_a_word(query.incident)}


NAMED_BY_CHANGE = sql.SQL("c.reason ~* %(incident)s")
NAMED_BY_RUN = sql.SQL("r.reason ~* %(incident)s")


def _as_a_word(text: str) -> str:
    """A regular expression of PostgreSQL's for the text as a word of its own: INC-14 does not stand in INC-142."""
    word = text.strip()
    if not word:
        raise UsageProblem("--incident needs a name, such as INC-142")
    escaped = "".join(c if c.isalnum() or not c.isascii() else f"\\{c}" for c in word)
    return f"(^|[^[:alnum:]_]){escaped}($|[^[:alnum:]_])"


def _id_prefix(option: str, text: str) -> str:
    """The beginning of an id as it is stored. A few characters would be somebody else's id as well."""
    found = text.strip().lower()
    if not re.fullmatch(r"[0-9a-f-]{4,64}", found):
        raise UsageProblem(f"{option} {text}: write at least the first four characters of the id, from 0-9 and a-f")
    return found


def where(conditions: Sequence[sql.Composable]) -> sql.Composable:
    """The WHERE clause; empty where there is no condition."""
    return sql.SQL("WHERE {}").format(sql.SQL(" AND ").join(conditions)) if conditions else sql.SQL("")
