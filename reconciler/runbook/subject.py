"""Whom is the incident about? A row found by what a person types: its key, the beginning of it, or a name.

Takes a table, a text, and a connection or (with the database down) the state of a commit; gives the one Subject that is
meant. What could mean several rows is refused with a list: nothing is worse than the wrong switch.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import msgspec
from psycopg import sql

from reconciler.catalog import read_catalog
from reconciler.database.connection import DatabaseConnection
from reconciler.database.transaction import begin_read_only
from reconciler.errors import NotAsExpected, UsageProblem
from reconciler.fit import made_by_init, problems_of_reading, relation_of, relations_of
from reconciler.model import Row
from reconciler.schema import Definitions, Table

__all__ = ["Subject", "find_in_database", "find_in_state"]

_LISTED = 10
_SHORTEST = 4
"""Fewer characters are no beginning of a key: they would be somebody else's as well."""

_WHOLE_KEY = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9]+|[a-z0-9]{20,36}", re.IGNORECASE)


class Subject(msgspec.Struct, frozen=True):
    """A row. `label` is None where it has none or nobody knows it; `is_certain` is False where no row was seen."""

    table: str
    key: str
    label: str | None
    is_certain: bool = True

    @property
    def name(self) -> str:
        """What people call it."""
        return self.label or self.key


def find_in_database(connection: DatabaseConnection, definitions: Definitions, table: Table, text: str) -> Subject:
    """The row of the live table that the text means. Raises UsageProblem where that is none, or not one."""
    with begin_read_only(connection, doing=f"looking for {text}"):
        catalog = read_catalog(connection, relations_of(definitions))
        problems = problems_of_reading(definitions, {}, catalog)
        if problems:
            raise NotAsExpected(problems)
        definition = table.definition
        label = sql.SQL("t.{}::text").format(sql.Identifier(definition.label)) if definition.label else sql.NULL
        # One look at the table, and no more rows of it than are listed: the best rank alone counts.
        statement = sql.SQL(
            """
            WITH named AS (SELECT t.{key}::text AS key, {label} AS label FROM {table} AS t),
            ranked AS (
                SELECT key, label,
                       CASE WHEN key = %(text)s THEN 0
                            WHEN lower(label) = lower(%(text)s) THEN 1
                            WHEN %(long)s AND starts_with(lower(key), lower(%(text)s)) THEN 1
                            WHEN starts_with(lower(label), lower(%(text)s)) THEN 2
                            WHEN strpos(lower(label), lower(%(text)s)) > 0 THEN 3
                       END AS rank
                  FROM named
                 WHERE key IS DISTINCT FROM %(left_out)s::text
            )
            SELECT key, label, rank FROM ranked WHERE rank IS NOT NULL ORDER BY rank, label, key LIMIT %(most)s
            """
        ).format(key=sql.Identifier(definition.key), label=label, table=relation_of(catalog, table).identifier)
        wanted = text.strip()
        found = connection.execute(
            statement,
            {
                "text": wanted,
                "long": len(wanted) >= _SHORTEST,
                "left_out": made_by_init(definitions, table),
                "most": _LISTED + 1,
            },
        ).fetchall()
    return _the_one(text, table, [(rank, Subject(table.name, key, label)) for key, label, rank in found])


def find_in_state(rows: Mapping[str, Row], table: Table, text: str) -> Subject:
    """The row that the text means, by the keys of state and the names that `$expect` gives them.

    A text that can only be a whole key is taken for one. Raises UsageProblem as `find_in_database` does.
    """
    wanted = text.strip()
    found: list[tuple[int, Subject]] = []
    for key, row in rows.items():
        value = row.expect.get(table.definition.label or "")
        label = value.data if value is not None and isinstance(value.data, str) else None
        rank = _rank(wanted, key, label)
        if rank is not None:
            found.append((rank, Subject(table.name, key, label)))
    if not found and _WHOLE_KEY.fullmatch(wanted):
        return Subject(table.name, wanted, None, is_certain=False)
    return _the_one(text, table, found, where=" in state/, and the database does not answer: give the whole key")


def _rank(text: str, key: str, label: str | None) -> int | None:
    """How well the text fits, 0 best; the same order as the statement's."""
    folded, name = text.lower(), (label or "").lower()
    if key == text:
        return 0
    if name == folded or (len(text) >= _SHORTEST and key.lower().startswith(folded)):
        return 1
    if name.startswith(folded):
        return 2
    return 3 if folded in name else None


def _the_one(text: str, table: Table, found: Iterable[tuple[int, Subject]], where: str = "") -> Subject:
    ranked = sorted(found, key=lambda one: (one[0], one[1].name, one[1].key))
    if not text.strip() or not ranked:
        raise UsageProblem(f'no row of {table.name} is called "{text}"{where}. Nothing was changed')
    best = [subject for rank, subject in ranked if rank == ranked[0][0]]
    if len(best) == 1:
        return best[0]
    lines = [f"  {subject.key}  {subject.label or ''}".rstrip() for subject in best[:_LISTED]]
    more = ["  and more"] if len(best) > _LISTED else []
    head = f'"{text}" could mean each of these rows of {table.name}. Nothing was changed. Name one by its key:'
    raise UsageProblem("\n".join([head, *lines, *more]))
