"""The outcome of an apply: what was done about a Plan, once it is done.

Takes the Plan that was applied and what the transaction counted; the reports draw it. It stands apart from `plan`
because a plan is what would be done, and is the same whether it is done or not.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from reconciler.plan import Notice, Plan


class EffectCounts(msgspec.Struct, frozen=True, kw_only=True):
    """What has become of a run's effects, notifications included, by the end of the run.

    `waiting` ones are tried again; `dead` ones were given up. Those of earlier runs are not counted.
    """

    delivered: int = 0
    waiting: int = 0
    dead: int = 0

    @property
    def any(self) -> bool:
        """Whether the run had effects."""
        return bool(self.delivered or self.waiting or self.dead)


class Proving(msgspec.Struct, frozen=True, kw_only=True):
    """How a run waits for its changes to be in effect.

    `wanted` False: not at all. `at_most_s` shortens the time of every proof, in seconds. `watching` is told how far it
    is, several times a second; an empty text when it is over.
    """

    wanted: bool = True
    at_most_s: float | None = None
    watching: Callable[[str], None] = lambda _: None


class Unseen(msgspec.Struct, frozen=True):
    """One change that was not seen in effect, and what was seen instead."""

    key: str
    label: str | None
    said: str


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What was found of one proof of a run. Times are in seconds, from the commit.

    `changes` called for it, `asked` of them were asked (a sample, where it is less), `seen` were in effect. `after_s`
    is when the last of these was first seen, `waited_s` when there was no more asking; None: the run has not said yet,
    or was ended before it could. `unseen` are the others.
    """

    table: str
    field: str
    kind: str
    target: str
    changes: int
    asked: int
    seen: int
    after_s: float | None
    waited_s: float | None
    unseen: tuple[Unseen, ...] = ()

    @property
    def in_effect(self) -> bool:
        """Whether everything that was asked was seen."""
        return self.seen == self.asked


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What one run did, all of it in one transaction; or two, where `kills_run_id` names the run that made the kills
    before the health checks of the rest (`kills_first`); or many, where `batches` names the runs of a batched apply, of
    which `run_id` was the last.

    `applied`, `recorded` and `released` count fields; `audit_entries` counts rows of the platform's audit table.
    `duration_s` is in seconds, from the start of the run to the commit. `dirty` says that uncommitted files were
    applied, and `reason` why. `verdicts` are what was found of the proofs that its changes called for. `interrupted`:
    somebody asked for an end after the commit. `broken` are the endpoints that did not answer when its effects were to
    be delivered.
    """

    run_id: str
    plan: Plan
    applied: int
    audit_entries: int
    recorded: int
    released: int
    duration_s: float
    dirty: bool = False
    reason: str | None = None
    notices: tuple[Notice, ...] = ()
    effects: EffectCounts = EffectCounts()
    verdicts: tuple[Verdict, ...] = ()
    kills_run_id: str | None = None
    batches: tuple[str, ...] = ()
    interrupted: bool = False
    broken: frozenset[str] = frozenset()

    @property
    def rows(self) -> int:
        """How many rows of managed tables were written."""
        return len({(change.table, change.key) for change in self.plan.writes})
