"""Which rows a `$where` means, and what is asked of them: resolved in the database, in the run's own transaction.

Takes a connection, the Project and the rows that are named; gives the desired State with the rows that match added to
it, sharing their Values. One SELECT for each entry gives the keys; from there on a row that matches is a row like any
other, and every guard looks at it by itself.

**A field that git names for a row is matched as git says, all others as the database has them.** So what a run writes
moves no row into a match or out of it, and running again changes nothing.

**What a commit asks for anew, and what a row has begun to match, are two things.** The ledger remembers since when each
entry has been applied: only a change in git switches a killed thing on, and a row that the application has changed is
none.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from psycopg import Connection, sql

from reconciler.canonical import text_array, to_text
from reconciler.catalog import Catalog, Relation
from reconciler.diff import entry_digest
from reconciler.digests import sha256
from reconciler.errors import InvalidInput, Problem
from reconciler.fit import made_by_init, relation_of
from reconciler.in_effect import state_in_effect
from reconciler.model import FieldKey, Json, Location, Match, Matched, Row, Value
from reconciler.plan import Notice
from reconciler.project import Project, broken_invariants
from reconciler.schema import Table
from reconciler.where import WHERE, disagree, rows_meant

__all__ = ["Fleets", "matching_rows", "record_entries", "with_matching_rows"]

Rows = dict[str, dict[str, Row]]
Keys = Mapping[str, Sequence[str] | None]
"""Tables to be looked at: with these keys, or with all (None)."""


class _Asked(msgspec.Struct):
    """What several entries ask together of the rows that all of them mean. `split` are fields that they disagree on."""

    values: dict[str, Value]
    timed: tuple[str, ...]
    location: Location
    split: dict[str, tuple[Match, Match]]


class Fleets:
    """Adds the rows that match to the rows that are named, as often as it is asked."""

    def __init__(
        self,
        connection: Connection[Any],
        project: Project,
        catalog: Catalog,
        written_down: Mapping[str, Mapping[str, Row]],
        named: Mapping[str, Mapping[str, Row]],
        now: datetime,
        *,
        has_ledger: bool,
        fields: Collection[FieldKey] | None = None,
    ) -> None:
        """`written_down` are the rows that are named as they stand in git, `named` as they count now.

        `fields`: what is asked of others is not looked at, so that it stands in nobody's way.
        """
        self._connection = connection
        self._project = project
        self._catalog = catalog
        self._written_down = written_down
        self._named = named
        self._now = now
        self._has_ledger = has_ledger
        since = _first_applied(connection, project.matches) if has_ledger else {}
        wanted = None if fields is None else {(table, field) for table, _, field in fields}
        self._matches = {
            name: [_since(match, since, wanted) for match in of_table] for name, of_table in project.matches.items()
        }
        self.notes: list[Notice] = []

    def desired(self, keys: Keys) -> Rows:
        """The desired State: `named`, and of these tables the rows that match.

        Raises InvalidInput where entries disagree on a row, or a row breaks a rule with what is asked of it.
        """
        self.notes = []
        problems: list[Problem] = []
        fleet: Rows = {}
        for name, only in keys.items():
            if name in self._matches:
                fleet[name] = self._matching(self._project.definitions.tables[name], only, problems)
        counted, self.notes = self._in_effect(fleet)
        desired = {name: dict(rows) for name, rows in self._named.items()}
        for name, rows in counted.items():
            self._add(desired.setdefault(name, {}), name, rows, fleet[name], problems)
        if problems:
            raise InvalidInput(problems)
        return desired

    def desired_again(self, desired: Mapping[str, Mapping[str, Row]], locked: Mapping[str, Sequence[str]]) -> Rows:
        """The same, with these rows matched again: they are locked by now, and match what they match to the end."""
        again = self.desired({name: keys for name, keys in locked.items() if name in self._matches})
        found = {name: dict(rows) for name, rows in desired.items()}
        for name, keys in locked.items():
            if name not in self._matches:
                continue
            rows = found.setdefault(name, {})
            for key in keys:
                rows.pop(key, None)
                if key in again[name]:
                    rows[key] = again[name][key]
        return found

    def _matching(self, table: Table, only: Sequence[str] | None, problems: list[Problem]) -> dict[str, Row]:
        """The rows that match, with the fields that are not named for them."""
        relation, named = relation_of(self._catalog, table), self._named.get(table.name, {})
        meant: dict[str, tuple[int, ...]] = {}
        matches = self._matches[table.name]
        for index, match in enumerate(matches):
            keys = self._keys(table, relation, match, only)
            if not keys and only is None:
                self._say_nothing_matches(match)
            for key in keys:
                meant[key] = (*meant.get(key, ()), index)
        asked: dict[tuple[int, ...], _Asked] = {}
        split: dict[tuple[int, ...], list[str]] = {}
        rows: dict[str, Row] = {}
        for key, indexes in meant.items():
            together = asked.get(indexes)
            if together is None:
                together = asked[indexes] = _together([matches[index] for index in indexes])
            row = named.get(key)
            if row is None:
                values, timed = together.values, together.timed
            else:
                values = {name: value for name, value in together.values.items() if name not in row.values}
                timed = tuple(name for name in together.timed if name in values)
            if together.split and not together.split.keys().isdisjoint(values):
                split.setdefault(indexes, []).append(key)
            if values:
                rows[key] = Row(table.name, key, values, together.location, {}, timed)
        for indexes, keys in split.items():
            problems.extend(_disagreements(table, asked[indexes], keys, named))
        return rows

    def _keys(self, table: Table, relation: Relation, match: Match, only: Sequence[str] | None) -> list[str]:
        """The keys of the rows that an entry means, in order."""
        key = table.definition.key
        key_type = sql.SQL(relation.columns[key].declared)
        conditions: list[sql.Composable] = []
        joins: list[sql.Composable] = []
        parameters: dict[str, Any] = {"left_out": made_by_init(self._project.definitions, table)}
        for number, (name, values) in enumerate(match.columns.items()):
            column = relation.columns[name]
            asked = [to_text({"v": value}) for value in values if value is not None]
            parameters[f"values_{number}"] = text_array(asked)
            # ARRAY(…), because each value has to become one of the column's own type.
            condition = sql.SQL(
                "({actual} = ANY (ARRAY(SELECT {value} FROM unnest(%({values})s::jsonb[]) AS v (document))){null})"
            ).format(
                actual=column.comparable("t"),
                value=column.from_document(sql.SQL("v.document"), "v", comparable=True),
                values=sql.SQL(f"values_{number}"),
                null=sql.SQL(" OR {} IS NULL").format(column.comparable("t")) if None in values else sql.SQL(""),
            )
            says = self._as_git_says(table, name, values)
            if says:
                parameters[f"named_{number}"] = text_array(list(says))
                parameters[f"says_{number}"] = "{" + ",".join("t" if yes else "f" for yes in says.values()) + "}"
                joins.append(
                    sql.SQL(
                        "LEFT JOIN unnest(%({named})s::text[], %({says})s::boolean[]) AS {git} (key, says)"
                        " ON {git}.key::{key_type} = t.{key}"
                    ).format(
                        named=sql.SQL(f"named_{number}"),
                        says=sql.SQL(f"says_{number}"),
                        git=sql.SQL(f"git_{number}"),
                        key_type=key_type,
                        key=sql.Identifier(key),
                    )
                )
                condition = sql.SQL("CASE WHEN {git}.key IS NULL THEN {condition} ELSE {git}.says END").format(
                    git=sql.SQL(f"git_{number}"), condition=condition
                )
            conditions.append(condition)
        if only is not None:
            misspelt = relation.columns[key].misspelt_key
            parameters["only"] = text_array([one for one in only if misspelt(one) is None])
            joins.append(
                sql.SQL("JOIN unnest(%(only)s::text[]) AS o (key) ON o.key::{} = t.{}").format(
                    key_type, sql.Identifier(key)
                )
            )
        statement = sql.SQL(
            """
            SELECT t.{key}::text FROM {table} AS t {joins}
             WHERE {conditions} AND t.{key}::text IS DISTINCT FROM %(left_out)s::text
             ORDER BY 1
            """
        ).format(
            key=sql.Identifier(key),
            table=relation.identifier,
            joins=sql.SQL(" ").join(joins),
            conditions=sql.SQL(" AND ").join(conditions),
        )
        return [key for (key,) in self._connection.execute(statement, parameters)]

    def _as_git_says(self, table: Table, name: str, values: tuple[Json, ...]) -> dict[str, bool]:
        """Of the rows for which git names a field: whether its value is one of these."""
        if name not in table.fields:
            return {}
        rows = self._named.get(table.name, {})
        return {key: row.values[name].data in values for key, row in rows.items() if name in row.values}

    def _say_nothing_matches(self, match: Match) -> None:
        text = f"no row of {match.table} has {rows_meant(match.columns)}: this {WHERE} asks for nothing"
        self.notes.append(Notice(text, match.location))

    def _in_effect(self, fleet: Rows) -> tuple[Rows, list[Notice]]:
        """What is asked of the rows that match as it counts now; what is said of each alike is said once."""
        counted, notes = state_in_effect(
            self._connection, self._project, fleet, self._now, has_ledger=self._has_ledger
        )
        by_place: dict[Location | None, list[Notice]] = {}
        for note in notes:
            by_place.setdefault(note.location, []).append(note)
        return counted, [*self.notes, *map(_said_once, by_place.values())]

    def _add(
        self,
        rows: dict[str, Row],
        name: str,
        counted: Mapping[str, Row],
        written: Mapping[str, Row],
        problems: list[Problem],
    ) -> None:
        """The rows of one table that match, joined with what is named for them."""
        joined = {key: _joined(rows.get(key), row) for key, row in counted.items()}
        rows.update(joined)
        if broken_invariants(self._project.definitions, {name: joined}):
            problems += self._broken(rows, name, joined, written)

    def _broken(
        self, rows: dict[str, Row], name: str, joined: Mapping[str, Row], written: Mapping[str, Row]
    ) -> Iterator[Problem]:
        """The Problems of rows that break a rule. One that does so only once an `until` has passed stays as it is
        written down, as it would without a match (`in_effect`).
        """
        for key, row in joined.items():
            found = broken_invariants(self._project.definitions, {name: {key: row}})
            if not found:
                continue
            before = _joined(self._written_down.get(name, {}).get(key), written[key])
            if before.values == row.values or broken_invariants(self._project.definitions, {name: {key: before}}):
                yield from found
                continue
            rows[key] = before
            for problem in found:
                text = f"{problem.message}, once `until` has passed: so the row stays as it was. Change it in git"
                self.notes.append(Notice(f"{text} ({problem.hint})", problem.location))


def with_matching_rows(connection: Connection[Any], project: Project, catalog: Catalog, keys: Keys) -> Project:
    """The project as if what `$where` asks of these rows stood beside their own entries."""
    if not project.matches:
        return project
    fleets = Fleets(
        connection, project, catalog, project.desired, project.desired, catalog.now, has_ledger=catalog.has_ledger
    )
    return msgspec.structs.replace(project, desired=fleets.desired(keys))


def matching_rows(connection: Connection[Any], project: Project, catalog: Catalog, table: str) -> Mapping[str, Row]:
    """The rows of a table that match as the database has them, with what is asked of them."""
    if table not in project.matches:
        return {}
    fleets = Fleets(connection, project, catalog, {}, {}, catalog.now, has_ledger=catalog.has_ledger)
    return fleets.desired({table: None})[table]


def _since(match: Match, since: Mapping[str, datetime], wanted: Collection[tuple[str, str]] | None) -> Match:
    """The entry with the time since when it has been applied, and of its fields those that are wanted."""
    values = {
        name: msgspec.structs.replace(value, since=since.get(_entry(match, name)))
        for name, value in match.values.items()
        if isinstance(value, Matched) and (wanted is None or (match.table, name) in wanted)
    }
    return msgspec.structs.replace(match, values=values)


def _together(matches: Sequence[Match]) -> _Asked:
    """What these entries ask of a row that all of them mean; of those that agree, the first counts."""
    values: dict[str, Value] = {}
    whose: dict[str, Match] = {}
    split: dict[str, tuple[Match, Match]] = {}
    timed: list[str] = []
    for match in matches:
        for name, value in match.values.items():
            if name not in values:
                values[name], whose[name] = value, match
                timed += [name] if name in match.timed else []
            elif disagree(values[name], value):
                split.setdefault(name, (whose[name], match))
    return _Asked(values, tuple(timed), matches[0].location, split)


def _disagreements(
    table: Table, asked: _Asked, keys: Sequence[str], named: Mapping[str, Row]
) -> Iterator[Problem]:
    for name, (one, other) in asked.split.items():
        split = [key for key in keys if key not in named or name not in named[key].values]
        if not split:
            continue
        first, second = one.values[name], other.values[name]
        more = f" and {len(split) - 1:,} more" if len(split) > 1 else ""
        text = (
            f"{name} of {table.name} {split[0]}{more} is {to_text(second.data)} here ({rows_meant(other.columns)}) and "
            f"{to_text(first.data)} at {first.location} ({rows_meant(one.columns)})"
        )
        hint = "make the two agree, or exclusive, or name the field for the row itself"
        yield Problem(text, second.location, hint)


def _joined(own: Row | None, matching: Row) -> Row:
    """What is named for a row, and below it what its match asks of the fields that are not."""
    if own is None:
        return matching
    values = {**matching.values, **own.values}
    return Row(own.table, own.key, values, own.location, own.expect, (*matching.timed, *own.timed))


def _said_once(notes: Sequence[Notice]) -> Notice:
    if len(notes) == 1:
        return notes[0]
    text = f"{notes[0].message} (the same goes for {len(notes) - 1:,} more of the rows that match)"
    return Notice(text, notes[0].location)


# What the ledger knows of entries -----------------------------------------------------------------------------------


def _entry(match: Match, name: str) -> str:
    """A digest of one field of an entry: which rows, and what is asked of them."""
    columns = {column: [to_text(value) for value in values] for column, values in match.columns.items()}
    told = to_text([columns, name, entry_digest(match.values[name])])
    return sha256(told.encode()).hexdigest()[:32]


def _first_applied(connection: Connection[Any], tables: Iterable[str]) -> dict[str, datetime]:
    """Since when each entry of these tables has been applied."""
    found = connection.execute(
        "SELECT entry, first_at FROM reconciler.match_entry WHERE table_name = ANY (%s)", (list(tables),)
    )
    return dict(found.fetchall())


def record_entries(
    connection: Connection[Any], project: Project, tables: Sequence[str], run_id: str, now: datetime
) -> None:
    """Remember what is asked of rows that match, now that a run has looked at all rows of these tables.

    What git asks for no longer is forgotten: should it come back, a commit asks for it anew.
    """
    entries = [
        (name, _entry(match, field))
        for name in tables
        for match in project.matches.get(name, ())
        for field in match.values
    ]
    connection.execute(
        """
        WITH asked AS (
            SELECT DISTINCT a.table_name, a.entry
              FROM unnest(%(names)s::text[], %(entries)s::text[]) AS a (table_name, entry)
        ), forgotten AS (
            DELETE FROM reconciler.match_entry m
             WHERE m.table_name = ANY (%(tables)s)
               AND NOT EXISTS (SELECT FROM asked a WHERE a.table_name = m.table_name AND a.entry = m.entry)
        )
        INSERT INTO reconciler.match_entry (table_name, entry, first_at, run_id)
        SELECT table_name, entry, %(now)s, %(run)s::uuid FROM asked
            ON CONFLICT DO NOTHING
        """,
        {
            "names": [name for name, _ in entries],
            "entries": [entry for _, entry in entries],
            "tables": list(tables),
            "now": now,
            "run": run_id,
        },
    )
