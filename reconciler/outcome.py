"""The outcome of an apply: what was done about a Plan, once it is done.

Takes the Plan that was applied and what the transaction counted; the reports draw it. It stands apart from `plan`
because a plan is what would be done, and is the same whether it is done or not.
"""

from __future__ import annotations

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


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What one run did, all of it in one transaction.

    `applied`, `recorded` and `released` count fields; `audit_entries` counts rows of the platform's audit table.
    `duration_s` is in seconds, from the start of the run to the commit. `dirty` says that uncommitted files were
    applied, and `reason` why.
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

    @property
    def rows(self) -> int:
        """How many rows of managed tables were written."""
        return len({(change.table, change.key) for change in self.plan.writes})
