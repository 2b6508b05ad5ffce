"""What a run looks at where nobody knows which commit the ledger stands at: the whole project, with little memory.

Takes what a RowReader takes; gives the Project with the rows that do not have in the ledger, or in the database, what
git asks for, and those that every run looks at. Files become Summaries, whose digests the server compares with those of
the ledger, some hundred thousand at a time; only files that name a row to look at are read again.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Collection, Iterator
from itertools import chain
from typing import Any, TypeAlias

from psycopg import Connection

from reconciler import row_reader
from reconciler.canonical import text_array, uuid_array
from reconciler.catalog import Catalog
from reconciler.desired import table_of
from reconciler.ledger_sync import read_pending
from reconciler.listing import STATE, Listing
from reconciler.model import RowKey
from reconciler.parse_cache import ParseCache, folder
from reconciler.plan import Scope
from reconciler.project import Project
from reconciler.row_reader import Found, RowReader, TooMuch, rows_of
from reconciler.summaries import Summary, summaries

__all__ = ["Sweep"]

_AT_A_TIME = 200_000
"""Rows that the server compares in one statement, 14 MB of text: with fewer, it scans the ledger more often."""

_PAGE = 50_000

_Hashes: TypeAlias = "array[int]"
"""Of keys, eight bytes for each."""


class Sweep(RowReader):
    """Looks at everything once."""

    def __init__(self, connection: Connection[Any], project: Project, listing: Listing, catalog: Catalog) -> None:
        super().__init__(connection, project, listing, catalog)
        self._cache = ParseCache(folder(), listing.definitions_id())
        self._hashes: dict[str, dict[str, _Hashes]] = {name: {} for name in project.definitions.tables}
        """By table and path."""
        self._new: set[RowKey] = set()
        """Rows of which the ledger has nothing."""

    def read(self, scope: Scope) -> Found:
        """Raises TooMuch where so much differs that reading all at once is less work."""
        wanted, fields = self._compare()
        rows = 0
        for name, hashes in self._hashes.items():
            often = Counter(chain.from_iterable(hashes.values()))
            rows += len(often)
            wanted |= self._named_in_several(name, often) | self._not_named(name, often)
        wanted |= read_pending(self.connection).keys() | rows_of(scope) | self.drifted()
        if len(wanted) > rows * row_reader.MOST:
            raise TooMuch
        state = self.state_of(self.find(wanted, self._paths_of(wanted)), wanted)
        return self.found(state, wanted, (rows, fields))

    def _compare(self) -> tuple[set[RowKey], int]:
        """The rows that are not in the ledger as git asks for them, and those that every run looks at; and how many
        fields git names.
        """
        wanted: set[RowKey] = set()
        waiting: dict[str, tuple[list[str], list[str]]] = {}
        fields = 0
        for path, summary in self._summaries(self.listing.state):
            name = table_of(path, STATE)
            fields += summary.fields
            self._hashes[name][path] = array("q", map(hash, summary.keys))
            wanted |= {(name, summary.keys[at]) for at in summary.standing}
            keys, digests = waiting.setdefault(name, ([], []))
            keys += summary.keys
            digests += summary.hex_digests()
            if len(keys) >= _AT_A_TIME:
                wanted |= self._differing(name, *waiting.pop(name))
        for name, (keys, digests) in waiting.items():
            wanted |= self._differing(name, keys, digests)
        return wanted, fields

    def _summaries(self, paths: Collection[str]) -> Iterator[tuple[str, Summary]]:
        return summaries(self.listing, paths, self.project.definitions, self._cache)

    def _differing(self, table: str, keys: list[str], digests: list[str]) -> set[RowKey]:
        """Those of the rows that are not in the ledger with this digest."""
        found = self.connection.execute(
            """
            SELECT k.key, l.key IS NULL
              FROM unnest(%s::text[], %s::uuid[]) AS k (key, digest)
              LEFT JOIN reconciler.managed_row l ON l.table_name = %s AND l.key = k.key
             WHERE l.digest IS DISTINCT FROM k.digest
            """,
            (text_array(keys), uuid_array(digests), table),
        ).fetchall()
        self._new |= {(table, key) for key, is_new in found if is_new}
        return {(table, key) for key, _ in found}

    def _named_in_several(self, table: str, often: Counter[int]) -> set[RowKey]:
        """The rows of which several files name something: of none of them is the digest the whole row's."""
        hashes = self._hashes[table]
        if len(often) == sum(map(len, hashes.values())):
            return set()
        twice = {one for one, times in often.items() if times > 1}
        paths = [path for path, of_path in hashes.items() if not twice.isdisjoint(of_path)]
        return {(table, key) for _, summary in self._summaries(paths) for key in summary.keys if hash(key) in twice}

    def _not_named(self, table: str, often: Counter[int]) -> set[RowKey]:
        """The rows that the ledger has, and git does not name any more. Only their number is asked for, as a rule."""
        [there] = self.connection.execute(
            "SELECT count(*) FROM reconciler.managed_row WHERE table_name = %s", (table,)
        ).fetchall()
        expected = there[0] - (len(often) - sum(name == table for name, _ in self._new))
        found: set[RowKey] = set()
        after = ""
        while len(found) < expected:
            page = self.connection.execute(
                "SELECT key FROM reconciler.managed_row WHERE table_name = %s AND key > %s ORDER BY key LIMIT %s",
                (table, after, _PAGE),
            ).fetchall()
            if not page:
                raise TooMuch  # two keys with one hash: reading all compares the keys themselves
            found |= {(table, key) for (key,) in page if hash(key) not in often}
            after = page[-1][0]
        return found

    def _paths_of(self, wanted: Collection[RowKey]) -> list[str]:
        """The files that may name one of these rows."""
        hashes: dict[str, set[int]] = {}
        for name, key in wanted:
            hashes.setdefault(name, set()).add(hash(key))
        return [
            path
            for name, of_table in hashes.items()
            for path, of_path in self._hashes.get(name, {}).items()
            if not of_table.isdisjoint(of_path)
        ]
