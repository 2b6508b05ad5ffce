"""The history told as stories: each field from the kill, over what held it back, to the restore, oldest first.

Takes a connection and a HistoryQuery; gives a Timeline. A change that matches brings its whole story with it: who asks
for INC-142 wants to see how it ended, whatever the commit that ended it was called.

The ledger remembers of a held restore only that a run held so and so many; runs between two steps that looked at these
rows and held something are told as one step. A kill by hand is no change of ours: its mark tells when a run first saw
it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from psycopg import Connection, sql

from reconciler.canonical import text_array
from reconciler.database.connection import DatabaseConnection
from reconciler.database.transaction import begin_read_only
from reconciler.diff import BY_HAND
from reconciler.fields import format_timestamp
from reconciler.history.query import Conditions, HistoryQuery, of_changes, where
from reconciler.history.read import COUNTED, ENTRY, HistoryEntry, entry_of, need_ledger, source_of_changes
from reconciler.model import Direction, FieldKey, Json, Missing

__all__ = ["HandKill", "HeldRuns", "OffTime", "Step", "Timeline", "read_timeline"]


class HandKill(msgspec.Struct, frozen=True):
    """A kill that nobody made through git, when a run first saw it."""

    at: str
    table: str
    key: str
    field: str
    label: str | None


class HeldRuns(msgspec.Struct, frozen=True):
    """Runs, one after the other, that held something back; `most` is the most that one of them held."""

    at: str
    until: str
    runs: int
    most: int
    reason: str | None


Step = HistoryEntry | HandKill | HeldRuns


class OffTime(msgspec.Struct, frozen=True):
    """How long a field was on its kill side, at which value (None for a hand's). `until` None: it still is."""

    table: str
    key: str
    field: str
    label: str | None
    value: Json
    since: str
    until: str | None
    seconds: int


class Timeline(msgspec.Struct, frozen=True):
    """Steps, oldest first, and how long what was off. `more` changes match beyond the newest that were looked at."""

    steps: tuple[Step, ...]
    off: tuple[OffTime, ...]
    more: int
    now: str


_Told = HistoryEntry | HandKill


class _Found(msgspec.Struct, frozen=True):
    """A change with the place of its run among all runs, and whether it matches or only belongs to the story."""

    entry: HistoryEntry
    sequence: int
    matches: bool


class _Hand(msgspec.Struct, frozen=True):
    """A kill by hand, and whether the query asks for it by itself."""

    kill: HandKill
    matches: bool


def read_timeline(connection: DatabaseConnection, query: HistoryQuery) -> Timeline:
    """The stories of what matches: of the newest `limit` changes. Raises NotAsExpected where there is no ledger."""
    source, parameters = source_of_changes(query)
    with begin_read_only(connection, doing="reading the history"):
        need_ledger(connection)
        found, more = _read_changes(connection, source, {**parameters, "limit": query.limit})
        hands = _read_hand_kills(connection, query, {_field_of(one.entry): one.entry.label for one in found})
        (now,) = connection.execute("SELECT now()").fetchall()[0]
        episodes = [episode for episode in _episodes(found, hands) if episode.matches]
        told = {id(step) for episode in episodes for step in episode.steps}
        kept = [one for one in found if id(one.entry) in told]
        held = _read_held(connection, kept, is_open=any(episode.is_open for episode in episodes))
    steps = _in_order(kept, [hand.kill for hand in hands if id(hand.kill) in told], held)
    return Timeline(tuple(steps), tuple(_off_times(episodes, now)), more, format_timestamp(now))


def _read_changes(
    connection: Connection[Any], source: sql.Composed, parameters: Mapping[str, Any]
) -> tuple[list[_Found], int]:
    """Every change of each field that a matching change is of, in the order of runs, and how many match beyond."""
    statement = sql.SQL(
        """
        WITH matched AS MATERIALIZED (
            SELECT c.run_id, c.ordinal, c.table_name, c.key, c.field {source}
             ORDER BY r.sequence DESC, c.ordinal LIMIT %(limit)s
        ),
        story AS (SELECT DISTINCT table_name, key, field FROM matched)
        SELECT r.sequence, m.run_id IS NOT NULL, {entry}
          FROM story s
          JOIN reconciler.change c ON c.table_name = s.table_name AND c.key = s.key AND c.field = s.field
          JOIN reconciler.run r ON r.id = c.run_id
          LEFT JOIN matched m ON m.run_id = c.run_id AND m.ordinal = c.ordinal
         ORDER BY r.sequence DESC, c.ordinal DESC
         LIMIT %(most)s
        """
    ).format(source=source, entry=ENTRY)
    rows = connection.execute(statement, {**parameters, "most": COUNTED}).fetchall()
    found = [_Found(entry_of(entry), sequence, matches) for sequence, matches, *entry in reversed(rows)]
    if sum(one.matches for one in found) < parameters["limit"]:
        return found, 0
    number = sql.SQL("SELECT count(*) FROM (SELECT {} LIMIT %(most)s) AS matching").format(source)
    row = connection.execute(number, {**parameters, "most": parameters["limit"] + COUNTED}).fetchone()
    return found, row[0] - parameters["limit"] if row is not None else 0


def _read_hand_kills(
    connection: Connection[Any], query: HistoryQuery, labels: Mapping[FieldKey, str | None]
) -> list[_Hand]:
    """The last kill of each field where that was by hand, oldest first: of the fields that were found and, where the
    query asks for fields and not for commits, of fields that nothing was ever written to.
    """
    conditions, parameters = _of_marks(query)
    fields = list(labels)
    statement = sql.SQL(
        """
        WITH hand AS (
            SELECT c.table_name, c.key, c.field, c.killed_at, true AS asked FROM reconciler.mark c {matching}
             ORDER BY c.killed_at DESC LIMIT %(limit)s
        )
        SELECT * FROM hand
        UNION ALL
        SELECT m.table_name, m.key, m.field, m.killed_at, false
          FROM unnest(%(tables_found)s::text[], %(keys_found)s::text[], %(fields_found)s::text[])
               AS f (table_name, key, field)
          JOIN reconciler.mark m USING (table_name, key, field)
         WHERE m.killed_at IS NOT NULL AND m.killed_by = %(by_hand)s
           AND (m.table_name, m.key, m.field) NOT IN (SELECT table_name, key, field FROM hand)
         ORDER BY killed_at, table_name, key, field
        """
    ).format(matching=where(conditions))
    found = connection.execute(
        statement,
        parameters
        | {"limit": query.limit, "by_hand": BY_HAND}
        | {
            f"{part}_found": text_array([field[index] for field in fields])
            for index, part in enumerate(("tables", "keys", "fields"))
        },
    )
    return [
        _Hand(HandKill(format_timestamp(at), table, key, field, labels.get((table, key, field))), matches)
        for table, key, field, at, matches in found
    ]


def _of_marks(query: HistoryQuery) -> tuple[Conditions, dict[str, Any]]:
    """The conditions on marks `c` of kills by hand that the query asks for by itself."""
    conditions, parameters = of_changes(msgspec.structs.replace(query, tenant=None))
    if query.incident is not None or query.commit is not None or query.run is not None:
        return [sql.SQL("false")], {}
    conditions += [sql.SQL("c.killed_at IS NOT NULL"), sql.SQL("c.killed_by = %(by_hand)s")]
    if query.tenant is not None:
        of_tenant = (
            "SELECT x.table_name, x.key FROM reconciler.change x WHERE x.tenant = %(tenant)s OR x.label = %(tenant)s"
        )
        conditions.append(sql.SQL("(c.key = %(tenant)s OR (c.table_name, c.key) IN ({}))").format(sql.SQL(of_tenant)))
        parameters["tenant"] = query.tenant
    if query.since is not None:
        since = "now() - %(since)s" if isinstance(query.since, timedelta) else "%(since)s"
        conditions.append(sql.SQL("c.killed_at >= {}").format(sql.SQL(since)))
        parameters["since"] = query.since
    return conditions, parameters


class _Episode:
    """What one field went through from a kill to the restore, or one change that belongs to no kill."""

    def __init__(self, first: _Told) -> None:
        self.steps = [first]
        self.matches = False
        self.kill: _Told | None = None
        self.restore: HistoryEntry | None = None

    @property
    def is_open(self) -> bool:
        """Whether it began with a kill and no restore has come yet."""
        return self.kill is not None and self.restore is None


def _episodes(found: Sequence[_Found], hands: Iterable[_Hand]) -> Iterator[_Episode]:
    """Each field's changes, cut into its kills."""
    stories: dict[FieldKey, list[tuple[_Told, bool]]] = {}
    for one in found:
        stories.setdefault(_field_of(one.entry), []).append((one.entry, one.matches))
    for hand in hands:
        kill = hand.kill
        story = stories.setdefault((kill.table, kill.key, kill.field), [])
        place = bisect_right([_moment(step.at) for step, _ in story], _moment(kill.at))
        story.insert(place, (kill, hand.matches))
    for story in stories.values():
        yield from _cut(story)


def _cut(story: Iterable[tuple[_Told, bool]]) -> Iterator[_Episode]:
    episode: _Episode | None = None
    for step, matches in story:
        if episode is None:
            episode = _Episode(step)
        else:
            episode.steps.append(step)
        episode.matches = episode.matches or matches
        is_kill = isinstance(step, HandKill) or step.direction is Direction.KILL
        if is_kill and episode.kill is None:
            episode.kill = step
        if isinstance(step, HistoryEntry) and step.direction is Direction.RESTORE:
            episode.restore = step
        if episode.kill is None or episode.restore is not None:
            yield episode
            episode = None
    if episode is not None:
        yield episode


def _read_held(connection: Connection[Any], kept: Sequence[_Found], *, is_open: bool) -> list[tuple[int, HeldRuns]]:
    """What runs held between the steps, each with the sequence of the step that it comes after.

    A run counts that looked at one of the rows; a run that is a step itself tells by its changes.
    """
    if not kept:
        return []
    sequences = sorted({one.sequence for one in kept})
    rows = {(one.entry.table, one.entry.key) for one in kept}
    found = connection.execute(
        """
        SELECT width_bucket(r.sequence, %(sequences)s::bigint[]), min(r.at), max(r.at), count(*),
               max((r.counts ->> 'held')::int), (array_agg(r.reason ORDER BY r.sequence))[1]
          FROM reconciler.run r
         WHERE r.sequence > %(first)s AND (%(is_open)s OR r.sequence < %(last)s)
           AND r.sequence <> ALL (%(sequences)s::bigint[]) AND (r.counts ->> 'held')::int > 0
           AND (r.scope -> 'tables' = '[]' AND r.scope -> 'rows' = '[]'
                OR r.scope -> 'tables' ?| %(tables)s::text[] OR r.scope -> 'rows' ?| %(rows)s::text[])
         GROUP BY 1 ORDER BY 1
        """,
        {
            "sequences": sequences,
            "first": sequences[0],
            "last": sequences[-1],
            "is_open": is_open,
            "tables": text_array(sorted({table for table, _ in rows})),
            "rows": text_array(sorted(f"{table}/{key}" for table, key in rows)),
        },
    )
    return [
        (sequences[bucket - 1], HeldRuns(format_timestamp(first), format_timestamp(last), runs, most, reason))
        for bucket, first, last, runs, most, reason in found
    ]


def _in_order(kept: Iterable[_Found], hands: Iterable[HandKill], held: Iterable[tuple[int, HeldRuns]]) -> list[Step]:
    """Changes and held runs in the order in which runs were committed; kills by hand where their time puts them."""
    placed: list[tuple[tuple[int, int], Step]] = [((one.sequence, 0), one.entry) for one in kept]
    placed += [((sequence, 1), step) for sequence, step in held]
    steps: list[Step] = [step for _, step in sorted(placed, key=lambda each: each[0])]
    for hand in hands:
        steps.insert(bisect_right([_moment(step.at) for step in steps], _moment(hand.at)), hand)
    return steps


def _off_times(episodes: Iterable[_Episode], now: datetime) -> Iterator[OffTime]:
    for episode in sorted(episodes, key=lambda each: _moment(each.steps[0].at)):
        if episode.kill is None:
            continue
        kill, restore = episode.kill, episode.restore
        end = _moment(restore.at) if restore is not None else now
        kills = [step for step in episode.steps if isinstance(step, HistoryEntry) and step.direction is Direction.KILL]
        length = max(end - _moment(kill.at), timedelta())
        value = kills[-1].after if kills else (restore.before if restore is not None else None)
        yield OffTime(
            table=kill.table,
            key=kill.key,
            field=kill.field,
            label=kill.label,
            value=None if isinstance(value, Missing) else value,
            since=kill.at,
            until=restore.at if restore is not None else None,
            seconds=int(length.total_seconds()),
        )


def _field_of(entry: HistoryEntry) -> FieldKey:
    return entry.table, entry.key, entry.field


def _moment(at: str) -> datetime:
    return datetime.fromisoformat(at)
