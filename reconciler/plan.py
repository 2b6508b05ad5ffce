"""The Plan: everything that a run would do and would not do, and why. Text, Markdown, JSON and the exit code all come
from this one object, whether it was made for a dry run or for an apply.

Takes changes (from `diff`, after `guards`) and what is known about the run; gives a frozen Plan with a fingerprint, and
its JSON form (`format_version`, documented in docs/plan-format.md and schemas/json/plan.schema.json).
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from reconciler.canonical import equal, to_text
from reconciler.digests import sha256
from reconciler.model import Action, Change, Direction, Finding, Json, Location, Missing

FORMAT_VERSION = 1


class Revision(msgspec.Struct, frozen=True, kw_only=True):
    """The commit whose state is desired. Times are RFC 3339. `dirty`: files beside it were read from the work tree."""

    commit: str
    author_name: str
    author_email: str
    authored_at: str
    committer_name: str
    committer_email: str
    committed_at: str
    subject: str
    dirty: bool = False


class Notice(msgspec.Struct, frozen=True):
    """Something the reader must know that is no change: what was assumed, ignored or could not be looked at."""

    message: str
    location: Location | None = None


class Scope(msgspec.Struct, frozen=True):
    """What the run was limited to; empty means everything. `rows` are written table/key."""

    tables: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()

    @property
    def is_everything(self) -> bool:
        """Whether nothing was left out."""
        return not self.tables and not self.rows


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """How many rows and fields git manages in this scope, and how many changes there are of each kind."""

    managed_rows: int
    managed_fields: int
    changes: int
    kills: int
    restores: int
    held: int
    kept: int
    recorded: int
    released: int


class EffectSummary(msgspec.Struct, frozen=True):
    """How many effects of a kind would follow for one target (a queue, a channel, a host)."""

    kind: str
    target: str
    count: int


class MatchSummary(msgspec.Struct, frozen=True, kw_only=True):
    """How many rows a `$where` changes alike. `match` says which rows it means, `location` where it asks for this."""

    table: str
    match: str
    field: str
    finding: Finding
    action: Action
    direction: Direction
    before: Json | Missing
    desired: Json | Missing
    rows: int
    location: Location | None


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a run would do. Sorted; the same input gives the same plan, byte for byte (id and time apart).

    `refusals` say why an apply of it would be refused as a whole; an apply never has any. `effects` will follow.
    `is_full`: every row was looked at, not only those that git has changed.
    `database_id` tells the database from all others, its copies included; None where the server does not say.
    """

    id: str
    created_at: str
    revision: Revision | None
    last_applied: str | None
    scope: Scope
    database: str
    changes: tuple[Change, ...]
    notices: tuple[Notice, ...]
    refusals: tuple[str, ...] = ()
    counts: Counts
    fingerprint: str
    effects: tuple[EffectSummary, ...] = ()
    is_full: bool = True
    database_id: str | None = None

    @property
    def writes(self) -> tuple[Change, ...]:
        """The changes that write a field of a managed table."""
        return tuple(change for change in self.changes if change.action.writes)

    @property
    def has_work(self) -> bool:
        """Whether an apply would write anything but its run: a row, or only the ledger."""
        return any(change.action is not Action.HOLD and change.action is not Action.KEEP for change in self.changes)


def count(changes: Iterable[Change], *, managed_rows: int, managed_fields: int) -> Counts:
    """How many changes there are of each kind."""
    changes = tuple(changes)
    writes = [change for change in changes if change.action.writes]
    actions = [change.action for change in changes]
    return Counts(
        managed_rows=managed_rows,
        managed_fields=managed_fields,
        changes=len(writes),
        kills=sum(change.direction is Direction.KILL for change in writes),
        restores=sum(change.direction is Direction.RESTORE for change in writes),
        held=actions.count(Action.HOLD),
        kept=actions.count(Action.KEEP),
        recorded=actions.count(Action.RECORD),
        released=actions.count(Action.RELEASE),
    )


def matches_of(changes: Iterable[Change]) -> tuple[MatchSummary, ...]:
    """What is asked by `$where`, told once for all rows alike: by table, match and field."""
    alike: dict[tuple[str, ...], list[Change]] = {}
    for change in changes:
        if change.match is not None:
            kind = (change.finding.value, change.action.value, change.direction.value)
            values = (to_text(_explicit(change.before)), to_text(_explicit(change.desired)))
            alike.setdefault((change.table, change.match, change.field, *kind, *values), []).append(change)
    return tuple(
        MatchSummary(
            table=first.table,
            match=first.match or "",
            field=first.field,
            finding=first.finding,
            action=first.action,
            direction=first.direction,
            before=first.before,
            desired=first.desired,
            rows=len(rows),
            location=first.location,
        )
        for _, rows in sorted(alike.items(), key=lambda each: each[0])
        for first in rows[:1]
    )


def fingerprint_of(changes: Iterable[Change]) -> str:
    """A hash of what a run would do: every field with its action, and the values before and after.

    The commit, the time, the places in files and every sentence are left out: the same change reviewed in a pull
    request and applied after the merge has the same fingerprint, as long as no row has moved.
    """
    digest = sha256(str(FORMAT_VERSION).encode())
    for change in changes:
        what = [change.table, change.key, change.field, change.action.value, change.direction.value]
        values = [_explicit(change.before), _explicit(change.after), _explicit(change.desired)]
        digest.update(to_text([*what, *values, change.hold.guard if change.hold else None]).encode())
    return digest.hexdigest()


def _explicit(value: Json | Missing) -> list[Json]:
    """A value in a list, and an empty list where there is none: no value can be mistaken for its absence."""
    return [] if isinstance(value, Missing) else [value]


def drift_of(plan: Plan) -> Plan:
    """Only what differs in the database from what was applied last, whatever git asks for by now.

    Of a field that git no longer names it is told only where its value was read: without a schema no table is.
    """
    drifted = tuple(
        change
        for change in plan.changes
        if not isinstance(change.base, Missing)
        and not (change.finding is Finding.RELEASED and isinstance(change.before, Missing))
        and (isinstance(change.before, Missing) or not equal(change.before, change.base))
    )
    counts = count(drifted, managed_rows=plan.counts.managed_rows, managed_fields=plan.counts.managed_fields)
    fingerprint = fingerprint_of(drifted)
    return msgspec.structs.replace(plan, changes=drifted, counts=counts, fingerprint=fingerprint, effects=())
