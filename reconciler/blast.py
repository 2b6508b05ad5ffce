"""The blast limit: a run that would change too much is refused before its first write, in both directions.

Takes the Changes of a plan, the policy's limits, how many rows the tables have, and how many changes were allowed on
purpose; gives one sentence for each limit that is passed, with the numbers and the exact waiver. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from reconciler.model import Change, Direction, RowKey
from reconciler.policy import Blast, BlastLimit, share_of

TRAILER = "Reconcile-Allow-Changes"
"""The trailer of a commit message that allows so many changed rows."""


def tables_to_count(changes: Iterable[Change], blast: Blast) -> set[str]:
    """Tables whose size must be known: those with a limit by share of which more than the floor changes."""
    return {
        table
        for limit, rows in _by_direction(list(changes), blast)
        for table, count in _per_table(rows).items()
        if limit.share is not None and count > limit.floor
    }


def refusals(changes: Iterable[Change], blast: Blast, sizes: Mapping[str, int], allowed: int) -> list[str]:
    """Why this is too much, in sentences; none where it is not, or where so many rows are `allowed`."""
    written = [change for change in changes if change.action.writes]
    total = len(_rows(written))
    if total <= allowed:
        return []
    found = []
    for limit, rows in _by_direction(written, blast):
        word = "kill side" if limit is blast.kill else "open side"
        found += [f"{sentence} (toward the {word})" for sentence in _passed(limit, rows, sizes)]
    waiver = (
        f'If that is meant: put the trailer "{TRAILER}: {total}" into the commit message, or apply with '
        f'--allow-changes {total} --reason "...". A kill in the meantime: --only table/key'
    )
    return [f"{sentence}. {waiver}" for sentence in found]


def _by_direction(changes: list[Change], blast: Blast) -> Iterator[tuple[BlastLimit, set[RowKey]]]:
    written = [change for change in changes if change.action.writes]
    if blast.kill is not None:
        yield blast.kill, _rows(change for change in written if change.direction is Direction.KILL)
    if blast.restore is not None:
        yield blast.restore, _rows(change for change in written if change.direction is not Direction.KILL)


def _rows(changes: Iterable[Change]) -> set[RowKey]:
    return {(change.table, change.key) for change in changes}


def _per_table(rows: set[RowKey]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for table, _ in rows:
        counts[table] = counts.get(table, 0) + 1
    return dict(sorted(counts.items()))


def _passed(limit: BlastLimit, rows: set[RowKey], sizes: Mapping[str, int]) -> Iterator[str]:
    if limit.rows is not None and len(rows) > limit.rows:
        yield f"{len(rows)} rows would change, and the policy allows {limit.rows} in one run"
    for table, count in _per_table(rows).items():
        size = sizes.get(table)
        if limit.share is None or size is None or count <= limit.floor:
            continue
        if count > share_of(limit.share) * size:
            percent = 100 * count / size if size else 100
            part = f"{count} of {size} rows of {table} ({percent:.1f}%)"
            yield f"{part} would change, and the policy allows {limit.share}"
