"""A large change applied in batches: each a transaction of so many rows, and a run of its own, so that no row of the
application is locked for longer than one of them takes.

Takes what an apply takes; gives one Outcome that tells of all of them. The whole plan is made first, without a lock,
and whatever forbids any of it (the blast limit, the ancestry, a stale plan) forbids it before the first write. Each
batch then takes the lock anew, so that another run can be in between, and is decided again under it, for its rows:
whoever has moved one of them meanwhile is respected as by any run. Rows with kills come first. The last batch looks at
everything once more, as a run without batches would, and settles what no other does.

Whatever ends it between two batches leaves the ledger true: it holds what was applied, and the next run, with or
without batches, applies what is left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from msgspec.structs import replace

from reconciler.actual import compare
from reconciler.aftermath import count_effects
from reconciler.checks.run import run_checks
from reconciler.database.connection import DatabaseConnection
from reconciler.database.transaction import begin_read_only
from reconciler.decide import Decision, Inputs, Part, decide
from reconciler.errors import DatabaseProblem, Failed, LockNotTaken, ReconcileError
from reconciler.forbidding import refuse_if_others_applied, refuse_what_must_not_be
from reconciler.guards import CheckResult
from reconciler.kills_first import kills_ahead
from reconciler.ledger import BatchRecord, rows_of_series
from reconciler.lock_holders import who_holds
from reconciler.lost_answer import answering
from reconciler.model import Action, Change, Direction, FieldKey, RowKey
from reconciler.one_run import NEXT, Batch, NotWritten, apply_once, rows_at_work
from reconciler.one_story import one_story, put_back_of
from reconciler.outcome import Outcome
from reconciler.plan import Plan, Scope, fingerprint_of
from reconciler.project import Project
from reconciler.request import Ending, Origin, Request
from reconciler.schema import Table

__all__ = ["apply_in_batches"]

_ROUNDS = 5
"""How often the whole is looked at again because more is left than one batch may write."""


def apply_in_batches(
    connection: DatabaseConnection,
    request: Request,
    project: Project,
    origin: Origin,
    reviewed: Plan | None,
    inputs: Inputs,
    ending: Ending,
) -> Outcome:
    """Apply at most `request.batch` rows in one transaction, until all is applied.

    Raises what an apply raises; once a batch is committed, the message says which were, and that they stay. So does the
    KeyboardInterrupt of Ctrl-C.
    """
    series = _Series(connection, request, project, origin, reviewed, inputs, ending)
    try:
        return series.apply()
    except KeyboardInterrupt:
        if not series.done:
            raise
        raise KeyboardInterrupt(series.so_far(), Failed.exit_code) from None
    except ReconcileError as error:
        raised = error
        if isinstance(error, LockNotTaken):
            raised = LockNotTaken(f"{error}{who_holds(connection)}")
        if series.done:
            raised.also_say(series.so_far())
            series.see_in_effect()
        raise raised from None
    finally:
        ending.progress("applying batches", 1, 1)


class _Series:
    """The batches of one apply. `done` are the Outcomes of those that are committed."""

    def __init__(
        self,
        connection: DatabaseConnection,
        request: Request,
        project: Project,
        origin: Origin,
        reviewed: Plan | None,
        inputs: Inputs,
        ending: Ending,
    ) -> None:
        assert request.batch is not None
        self._connection = connection
        self._request = request
        self._project = project
        self._origin = origin
        self._reviewed = _Reviewed(reviewed) if reviewed is not None else None
        self._inputs = inputs
        self._ending = ending
        self._size = request.batch
        self.done: list[Outcome] = []
        self._series = reviewed.id if reviewed is not None else ""
        self._of = 1
        self._after: frozenset[str | None] = frozenset()
        self._checks: frozenset[str] = frozenset()
        self._unproven: dict[int, Callable[[Outcome], Outcome]] = {}
        self._broken: frozenset[str] = frozenset()

    def apply(self) -> Outcome:
        """All of it."""
        look = self._look()
        if look.checks_needed and not self._inputs.results:
            self._checks = look.checks_needed
            self._kills_before_checks(look)
            self._make_checks()
            look = self._look()
        for _ in range(_ROUNDS):
            last = self._round(look)
            if last is not None:
                return self._told(last)
            look = self._look()
        raise Failed(f"rows change faster than batches of {self._size:,} can be applied: more was left each time")

    def so_far(self) -> str:
        """What is committed, in a sentence."""
        rows = sum(run.rows for run in self.done)
        batches = "1 batch was" if len(self.done) == 1 else f"{len(self.done):,} batches were"
        many = "1 row" if rows == 1 else f"{rows:,} rows"
        return (
            f"Before that, {batches} applied, of {self._of:,} ({many}, the last by run {self.done[-1].run_id}), and "
            f"stay. {NEXT}"
        )

    def see_in_effect(self) -> None:
        """Wait for the changes that nobody has waited for yet, as kills wait for nothing."""
        for place, prove in sorted(self._unproven.items()):
            self.done[place] = prove(self.done[place])
            if self.done[place].interrupted:
                break
        self._unproven.clear()

    def _look(self) -> Decision:
        """The whole plan, made without a lock. Raises whatever forbids to apply it."""
        with self._reading() as there:
            decision = decide(there, self._project, self._inputs, compare)
            if self._after:
                refuse_if_others_applied(self._request, decision, self._after)
            else:
                self._after = frozenset([decision.head.run])
                self._series = self._series or decision.plan.id
                if self._reviewed is not None and decision.head.version:
                    self._reviewed.go_on(rows_of_series(there, self._series), decision.plan)
            if not decision.checks_needed or self._inputs.results:
                refuse_what_must_not_be(there, self._request, self._project, decision, *self._left())
        return decision

    @contextmanager
    def _reading(self) -> Iterator[DatabaseConnection]:
        with answering(self._connection, self._ending.reconnect) as there:
            with begin_read_only(there, doing="making the plan"):
                yield there

    def _kills_before_checks(self, look: Decision) -> None:
        """Commit the kills that no health check has a say in (`kills_first`)."""
        if self._reviewed is not None or look.plan.counts.kills == 0:
            return
        passed = {name: CheckResult(passed=True, saw="") for name in look.checks_needed}
        with self._reading() as there:
            others = decide(there, self._project, replace(self._inputs, results=passed), compare)
            kills = kills_ahead(look.plan, others.plan)
            if not kills:
                return
            refuse_what_must_not_be(there, self._request, self._project, look, None)
        rows = sorted({(table, key) for table, key, _ in kills})
        batches = _cut(rows, self._size)
        rest = {change.sort_key()[:2] for change in others.plan.writes if change.sort_key() not in kills}
        self._of = len(batches) + max(1, len(_cut(sorted(rest), self._size)))
        for batch in batches:
            self._part(batch, look.project, waits=False, fields=kills)
        self.see_in_effect()
        self._heed()

    def _round(self, look: Decision) -> Outcome | None:
        """All batches of a plan; the Outcome of the last one, None where more was left than it may write."""
        plan, tables = look.plan, self._project.definitions.tables
        at_work = rows_at_work(look)
        killed = {change.sort_key()[:2] for change in plan.writes if change.direction is Direction.KILL} & at_work
        batches = _cut([*sorted(killed), *sorted(at_work - killed)], self._size)
        self._of = len(self.done) + max(1, len(batches))
        with_kills = len(_cut(sorted(killed), self._size))
        checked = _rows_checked(plan, tables)
        for number, batch in enumerate(batches[:-1], start=1):
            if number > 1 and not checked.isdisjoint(batch):
                self._make_checks()
            self._part(batch, look.project, waits=number > with_kills)
            if number == with_kills:
                self.see_in_effect()
                self._heed()
        if len(batches) > 1 and self._checks:
            self._make_checks()
        return self._last()

    def _make_checks(self) -> None:
        """Make the health checks, again: what was well an hour ago lets nothing through."""
        with answering(self._connection, self._ending.reconnect) as there:
            results = run_checks(self._checks, self._project.definitions.policy.checks, there)
        self._inputs = replace(self._inputs, results=results)

    def _part(
        self,
        rows: Sequence[RowKey],
        project: Project,
        *,
        waits: bool,
        fields: frozenset[FieldKey] | None = None,
    ) -> None:
        """One batch, of these rows. Unless it `waits`, nobody waits yet for what it changes to be in effect."""
        part = Part(Scope(rows=tuple(f"{table}/{key}" for table, key in rows)), project)
        inputs = replace(self._inputs, part=part, fields=fields if fields is not None else self._inputs.fields)
        reviewed = self._reviewed.of(rows) if self._reviewed is not None else None
        done = self._written(inputs, reviewed, is_last=False, waits=waits)
        if done is None:
            self._of -= 1  # somebody else has done it, or a guard holds it by now
            return
        if self._reviewed is not None:
            self._reviewed.apply(rows)
        self.done.append(done)
        self._after |= {done.run_id}
        self._ending.progress("applying batches", len(self.done), self._of)
        self._heed()

    def _last(self) -> Outcome | None:
        """The batch that looks at everything once more; None where more is left than it may write."""
        return self._written(self._inputs, self._left()[0], is_last=True, waits=not self._unproven)

    def _left(self) -> tuple[Plan | None, frozenset[FieldKey]]:
        """What is left of the reviewed plan, and the fields that were put back."""
        return (None, frozenset()) if self._reviewed is None else (self._reviewed.left, self._reviewed.put_back)

    def _written(self, inputs: Inputs, reviewed: Plan | None, *, is_last: bool, waits: bool) -> Outcome | None:
        number = len(self.done)
        unproven: list[Callable[[Outcome], Outcome]] = []
        batch = Batch(
            record=BatchRecord(series=self._series, number=number + 1, of=max(self._of, number + 1)),
            rows=self._size,
            after=self._after,
            is_last=is_last,
            put_back=self._reviewed.put_back if self._reviewed is not None else frozenset(),
            broken=frozenset() if is_last else self._broken,  # asked once more, at the end, and not by each batch
            later=None if waits else unproven.append,
        )
        with answering(self._connection, self._ending.reconnect) as there:
            common = (there, self._request, self._project, self._origin, reviewed)
            done = apply_once(*common, inputs, self._ending, batch)
            if not isinstance(done, Outcome | NotWritten):
                self._checks |= done.checks
                self._make_checks()
                done = apply_once(*common, replace(inputs, results=self._inputs.results), self._ending, batch)
        if not isinstance(done, Outcome):
            return None
        if unproven:
            self._unproven[number] = unproven[0]
        self._broken |= done.broken
        return done

    def _heed(self) -> None:
        """End here where somebody asked for it after a commit."""
        if any(run.interrupted for run in self.done):
            raise KeyboardInterrupt

    def _told(self, last: Outcome) -> Outcome:
        """All batches as one Outcome."""
        self.done.append(last)
        self.see_in_effect()
        if len(self.done) == 1:
            return last
        self._count_effects()
        story = one_story(self.done[:-1], self.done[-1])
        return replace(story, batches=tuple(run.run_id for run in self.done))

    def _count_effects(self) -> None:
        """What has become of effects that were left to the last batch."""
        waiting = [place for place, run in enumerate(self.done[:-1]) if run.effects.waiting]
        try:
            with answering(self._connection, self._ending.reconnect) as there:
                for place in waiting:
                    run = self.done[place]
                    self.done[place] = replace(run, effects=count_effects(there, run.run_id))
        except DatabaseProblem:
            return  # all is committed; the effects wait in the outbox


def _cut(rows: Sequence[RowKey], size: int) -> list[Sequence[RowKey]]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def _rows_checked(plan: Plan, tables: Mapping[str, Table]) -> frozenset[RowKey]:
    """The rows of which something is restored that asks for health checks."""
    found = set()
    for change in plan.writes:
        field = tables[change.table].fields[change.field]
        if change.direction is Direction.RESTORE and field.restore is not None and field.restore.requires:
            found.add((change.table, change.key))
    return frozenset(found)


class _Reviewed:
    """A reviewed plan, of which more and more is done."""

    def __init__(self, plan: Plan) -> None:
        self.id = plan.id
        self.put_back: frozenset[FieldKey] = frozenset()
        self._plan = plan
        self._rows: dict[RowKey, list[Change]] = {}
        for change in plan.changes:
            self._rows.setdefault((change.table, change.key), []).append(change)

    def of(self, rows: Iterable[RowKey]) -> Plan:
        """What it says of these rows."""
        return self._with(change for row in rows for change in self._rows.get(row, ()))

    @property
    def left(self) -> Plan:
        """What it says of everything, without what is done."""
        return self._with(change for changes in self._rows.values() for change in changes)

    def apply(self, rows: Iterable[RowKey]) -> None:
        """These rows are applied: of them, only what is left as it was is still asked for."""
        for row in rows:
            if put_back := put_back_of(self._rows.get(row, ())):
                self.put_back |= put_back
            self._rows[row] = [c for c in self._rows.get(row, ()) if c.action is Action.HOLD or c.action is Action.KEEP]

    def go_on(self, begun: frozenset[RowKey], now: Plan) -> None:
        """Batches of an earlier apply have written the rows `begun`; what they only recorded is known by not being
        asked for any more.
        """
        if not begun:
            return
        self.apply(begun)
        asked = {change.sort_key() for change in now.changes}
        for row, changes in self._rows.items():
            self._rows[row] = [
                change
                for change in changes
                if change.action not in (Action.RECORD, Action.RELEASE) or change.sort_key() in asked
            ]

    def _with(self, changes: Iterable[Change]) -> Plan:
        kept = tuple(sorted(changes, key=Change.sort_key))
        return replace(self._plan, changes=kept, fingerprint=fingerprint_of(kept))
