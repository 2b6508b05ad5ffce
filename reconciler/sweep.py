"""What a run looks at where nobody knows which commit the ledger stands at: the whole project, with little memory.

Takes what a RowReader takes; gives the Project with the rows that do not have in the ledger, or in the database, what
git asks for, and those that every run looks at. Files become Summaries, 60 bytes for a row. Sums over their digests are
compared with sums over the ledger's, and rows one by one only in the buckets where these differ; only files that name a
row to look at are read again.
"""

from __future__ import annotations

import struct
from array import array
from collections import Counter
from collections.abc import Collection
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
from reconciler.summaries import BUCKETS, Summary, summaries

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
        self._summaries: dict[str, dict[str, Summary]] = {name: {} for name in project.definitions.tables}
        self._hashes: dict[str, dict[str, _Hashes]] = {name: {} for name in project.definitions.tables}
        """Both by table and path."""

    def read(self, scope: Scope) -> Found:
        """Raises TooMuch where so much differs that reading all at once is less work."""
        cache = ParseCache(folder(), self.listing.definitions_id())
        for path, summary in summaries(self.listing, self.project.definitions, cache):
            name = table_of(path, STATE)
            self._summaries[name][path] = summary
            self._hashes[name][path] = array("q", map(hash, summary.keys))
        wanted: set[RowKey] = set()
        rows = fields = 0
        for name, of_table in self._summaries.items():
            often = Counter(chain.from_iterable(self._hashes[name].values()))
            rows += len(often)
            fields += sum(summary.fields for summary in of_table.values())
            wanted |= self._differing(name, often) | self._named_in_several(name, often)
            wanted |= {(name, summary.keys[at]) for summary in of_table.values() for at in summary.standing}
        wanted |= read_pending(self.connection).keys() | rows_of(scope) | self.drifted()
        if len(wanted) > rows * row_reader.MOST:
            raise TooMuch
        state = self.state_of(self.find(wanted, self._paths_of(wanted)), wanted)
        return self.found(state, wanted, (rows, fields))

    def _differing(self, table: str, often: Counter[int]) -> set[RowKey]:
        """The rows that are not in the ledger as git asks for them, or are there and not named any more."""
        buckets, in_ledger = self._differing_buckets(table)
        if not buckets:
            return set()
        rows: set[RowKey] = set()
        new: set[str] = set()
        waiting: list[tuple[str, bytes]] = []
        for summary in self._summaries[table].values():
            waiting += summary.in_buckets(buckets)
            if len(waiting) >= _AT_A_TIME:
                self._compare(table, waiting, rows, new)
                waiting = []
        self._compare(table, waiting, rows, new)
        return rows | self._not_named(table, often, in_ledger - (len(often) - len(new)))

    def _differing_buckets(self, table: str) -> tuple[set[int], int]:
        """The buckets whose sums are not the same here and in the ledger, and how many rows the ledger has."""
        # The server takes every row for a bucket of its own, and would rather sort a million than hash them.
        self.connection.execute("SET LOCAL enable_sort = off")
        found = self.connection.execute(
            """
            SELECT (summand & %s)::int, bit_xor(summand), count(*)
              FROM reconciler.managed_row WHERE table_name = %s GROUP BY 1
            """,
            (BUCKETS - 1, table),
        ).fetchall()
        self.connection.execute("SET LOCAL enable_sort = DEFAULT")
        in_ledger = {bucket: summand for bucket, summand, _ in found}
        here = 0
        for summary in self._summaries[table].values():
            here ^= int.from_bytes(summary.sums, "big")
        sums = struct.iter_unpack(">q", here.to_bytes(8 * BUCKETS, "big"))
        differing = {bucket for bucket, (summand,) in enumerate(sums) if summand != in_ledger.get(bucket, 0)}
        return differing, sum(rows for _, _, rows in found)

    def _compare(self, table: str, rows: list[tuple[str, bytes]], differing: set[RowKey], new: set[str]) -> None:
        """Add those of the rows that the ledger has with another digest, or not at all."""
        if not rows:
            return
        found = self.connection.execute(
            """
            SELECT k.key, l.key IS NULL
              FROM unnest(%s::text[], %s::uuid[]) AS k (key, digest)
              LEFT JOIN reconciler.managed_row l ON l.table_name = %s AND l.key = k.key
             WHERE l.digest IS DISTINCT FROM k.digest
            """,
            (text_array([key for key, _ in rows]), uuid_array(digest for _, digest in rows), table),
        ).fetchall()
        differing |= {(table, key) for key, _ in found}
        new |= {key for key, is_new in found if is_new}

    def _named_in_several(self, table: str, often: Counter[int]) -> set[RowKey]:
        """The rows of which several files name something: of none of them is the digest the whole row's."""
        hashes = self._hashes[table]
        if len(often) == sum(map(len, hashes.values())):
            return set()
        twice = {one for one, times in often.items() if times > 1}
        return {
            (table, key)
            for path, summary in self._summaries[table].items()
            if not twice.isdisjoint(hashes[path])
            for key in summary.keys
            if hash(key) in twice
        }

    def _not_named(self, table: str, often: Counter[int], count: int) -> set[RowKey]:
        """The rows that the ledger has, and git does not name any more: so many."""
        found: set[RowKey] = set()
        after = ""
        while len(found) < count:
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
