"""What a file of state asks for, in few bytes: the key and the digest of each row.

Takes files; gives Summaries, which are compared with the ledger inside the server. A file of a thousand rows is 50 kB,
and a thousand of them are read from the cache (`parse_cache`) in less time than it takes to start this program.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator, Sequence

import msgspec

from reconciler.canonical import DIGEST_BYTES, digest, row_digest
from reconciler.desired import read_desired, table_of
from reconciler.documents import PlainDocument
from reconciler.errors import Problem
from reconciler.listing import STATE, Listing
from reconciler.model import WHERE, Row
from reconciler.nodes import Document
from reconciler.parse_cache import ParseCache
from reconciler.project import broken_invariants
from reconciler.row_blocks import Bodies, RowBlocks
from reconciler.row_reader import TooMuch, read_whole, rows_named
from reconciler.schema import Definitions
from reconciler.sources import SourceFile

__all__ = ["BUCKETS", "Summary", "summaries"]

BUCKETS = 1_024
"""A power of two. The last bits of the first half of a row's digest are its bucket."""

_MOST_BODIES = 20_000
_HALVES = struct.Struct(">q8x")
"""The first half of a digest, as a number with a sign, as the ledger has it (`managed_row.summand`)."""


class Summary(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The rows of one file, as far as this file names them.

    `joined` holds the keys, with NUL between them, and `digests` those of `canonical.row_digest`, one row's after
    another's. `sums` holds, for each bucket, the exclusive or of the first halves of its digests, eight bytes each.
    `standing` are the places of rows that every run looks at: some of their values are limited in time, or they have an
    `$expect`. `fields`: how many values in all.
    """

    joined: str
    digests: bytes
    sums: bytes
    standing: list[int]
    fields: int

    @property
    def keys(self) -> list[str]:
        """The key of each row."""
        return self.joined.split("\0") if self.joined else []

    def in_buckets(self, buckets: Collection[int]) -> Iterator[tuple[str, bytes]]:
        """Key and digest of the rows of these buckets."""
        at = 0
        for key, half in zip(self.keys, _halves(self.digests), strict=True):
            if half & (BUCKETS - 1) in buckets:
                yield key, self.digests[at : at + DIGEST_BYTES]
            at += DIGEST_BYTES


def _summary_of(rows: Sequence[tuple[str, bytes]], standing: list[int], fields: int) -> Summary:
    """The Summary of rows, each with the digest of its fields."""
    digests = b"".join([row_digest(key, of_fields) for key, of_fields in rows])
    sums = [0] * BUCKETS
    for half in _halves(digests):
        sums[half & (BUCKETS - 1)] ^= half
    joined = "\0".join([key for key, _ in rows])
    return Summary(joined, digests, struct.pack(f">{BUCKETS}q", *sums), standing, fields)


def _halves(digests: bytes) -> Iterator[int]:
    return (half for (half,) in _HALVES.iter_unpack(digests))


def summaries(listing: Listing, definitions: Definitions, cache: ParseCache) -> Iterator[tuple[str, Summary]]:
    """Path and Summary of every file of state, those from the cache first.

    Raises TooMuch where a file has a `$where`, or anything that is wrong: that is said by reading all.
    """
    paths = list(listing.state)
    missing: list[str] = []
    done = 0
    decoder = msgspec.msgpack.Decoder(Summary)
    for path in paths:
        blob = listing.blobs.get(path)
        kept = cache.get(_name(path, blob)) if blob is not None else None
        if kept is None:
            missing.append(path)
            continue
        listing.progress("reading", done, len(paths))
        done += 1
        yield path, decoder.decode(kept)
    maker = _Maker(definitions)
    for file in listing.sources(missing, maker.problems) if missing else ():
        listing.progress("reading", done, len(paths))
        done += 1
        summary = maker.summary(file)
        if file.blob is not None:
            cache.put(_name(file.path, file.blob), msgspec.msgpack.encode(summary))
        yield file.path, summary
    if maker.problems:
        raise TooMuch
    listing.progress("reading", len(paths), len(paths))


def _name(path: str, blob: str) -> str:
    """What a blob means depends on the table that it stands in."""
    return f"{blob}-{digest(table_of(path, STATE)).hex()}"


class _Maker:
    """Makes Summaries; what stands below a key is read and judged once for all rows that have the same there."""

    def __init__(self, definitions: Definitions) -> None:
        self.problems: list[Problem] = []
        self._definitions = definitions
        self._bodies = Bodies()
        self._known: dict[str, dict[bytes, tuple[bytes, int]]] = {}
        """By table and body: the digest, and how many fields."""

    def summary(self, file: SourceFile) -> Summary:
        """Raises TooMuch as `summaries` does."""
        blocks = RowBlocks.of(file.path, file.data)
        return (self._of_blocks(blocks) if blocks is not None else None) or self._of_rows(file)

    def _of_blocks(self, blocks: RowBlocks) -> Summary | None:
        known = self._known.setdefault(table_of(blocks.path, STATE), {})
        new = set(blocks.bodies.values()).difference(known)
        if len(known) + len(new) > _MOST_BODIES:
            known.clear()
            new = set(blocks.bodies.values())
        if not self._bodies.are_plain(new):
            return None
        rows = {str(at): (1, self._bodies.fields(body) or {}) for at, body in enumerate(new)}
        read = self._judged(PlainDocument(blocks.path, rows))
        for body, row in zip(new, read, strict=True):
            known[body] = _digest_of(row), len(row.values)
        found = [(key.decode(), known[body][0]) for key, body in blocks.bodies.items()]
        return _summary_of(found, [], sum([known[body][1] for body in blocks.bodies.values()]))

    def _of_rows(self, file: SourceFile) -> Summary:
        rows = [row for document in read_whole(file, self.problems) for row in self._judged(document)]
        standing = [at for at, row in enumerate(rows) if row.timed or row.expect]
        return _summary_of([(row.key, _digest_of(row)) for row in rows], standing, sum(len(row.values) for row in rows))

    def _judged(self, document: Document | PlainDocument) -> Sequence[Row]:
        """The rows of a document, if nothing is wrong with any."""
        if WHERE in rows_named(document):
            raise TooMuch
        state = read_desired([document], self._definitions, STATE, self.problems)
        if self.problems or broken_invariants(self._definitions, state):
            raise TooMuch
        return list(state.get(table_of(document.path, STATE), {}).values())


def _digest_of(row: Row) -> bytes:
    return digest(row.data)
