"""One run: one transaction, from the lock to its commit, and what follows it.

Takes a Request, the Project that was read for it and what its decision depends on; gives an Outcome, or what must be
done before there can be one. `pipeline` tells which runs there are; the order of the writes is told in `writing`.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
from psycopg import Connection

from reconciler import __version__
from reconciler.actual import Seen, Sought, compare, find_and_lock
from reconciler.aftermath import deliver_effects, write_effects
from reconciler.apply import take_lock
from reconciler.database.connection import DatabaseConnection
from reconciler.database.transaction import begin_read_write
from reconciler.decide import Decision, Inputs, decide
from reconciler.errors import Failed, OutcomeUnknown
from reconciler.forbidding import refuse_if_others_applied, refuse_what_must_not_be
from reconciler.guards import CheckResult
from reconciler.ledger import PARTIAL, BatchRecord, RunRecord
from reconciler.lost_answer import answering, was_committed
from reconciler.model import Action, FieldKey, RowKey
from reconciler.outcome import Outcome
from reconciler.plan import Notice, Plan, Revision
from reconciler.project import Project
from reconciler.request import Ending, Origin, Request
from reconciler.writing import write_run

__all__ = ["NEXT", "Awaiting", "Batch", "NotWritten", "apply_once", "rows_at_work"]


Later = Callable[[Callable[[Outcome], Outcome]], None]
"""Takes what would wait for changes to be in effect, to be called later: Outcome to Outcome."""


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """A run that is one batch of several. `rows` is the most that it may write.

    `after` are the runs that may have been the last before it (None: there was none): whoever else has applied another
    commit meanwhile has the last word. `is_last`: it is for all that is left, and settles it. `broken` are endpoints
    that did not answer an earlier one. `put_back` are fields that earlier ones have put back, of which the reviewed
    plan says nothing any more. `later`, where given, is told how to see its changes in effect, instead of that being
    done.
    """

    record: BatchRecord
    rows: int
    after: frozenset[str | None]
    is_last: bool
    broken: frozenset[str] = frozenset()
    put_back: frozenset[FieldKey] = frozenset()
    later: Later | None = None

    def committed(self, ending: Ending) -> None:
        """Say that it is committed."""
        if self.is_last:
            ending.committed()
            return
        ending.committed(f"{self.record.number:,} of {self.record.of:,} batches were applied before that. {NEXT}", 1)


NEXT = "The next run applies what is left, and nothing twice"


class NotWritten(msgspec.Struct, frozen=True):
    """A batch that was not written: it had none, or more than it may."""

    rows: int


class Awaiting(msgspec.Struct, frozen=True):
    """Nothing was written: `checks` must be made first, for all but the `kills`."""

    checks: frozenset[str]
    kills: frozenset[FieldKey]


def apply_once(
    connection: DatabaseConnection,
    request: Request,
    project: Project,
    origin: Origin,
    reviewed: Plan | None,
    inputs: Inputs,
    ending: Ending,
    batch: Batch | None = None,
) -> Outcome | Awaiting | NotWritten:
    """One transaction. It writes nothing, and no Outcome is given, where checks must be made first, or where a batch
    is none.
    """
    if batch is not None:
        ending = msgspec.structs.replace(ending, committed=partial(batch.committed, ending))
    started = time.monotonic()
    outcome, to_deliver = None, False
    try:
        with begin_read_write(connection, doing=_doing(batch), lock_timeout_ms=request.lock_timeout_ms):
            take_lock(connection)
            decision = decide(connection, project, inputs, _locked_where_writable)
            if decision.checks_needed and not inputs.results:
                kills: frozenset[FieldKey] = frozenset()
                if reviewed is None and batch is None:
                    kills = _kills_ahead(connection, request, project, inputs, decision)
                return Awaiting(decision.checks_needed, kills)
            if batch is not None:
                refuse_if_others_applied(request, decision, batch.after)
            put_back = batch.put_back if batch is not None else frozenset()
            refuse_what_must_not_be(connection, request, project, decision, reviewed, put_back)
            if batch is not None and not _is_one(batch, decision):
                return NotWritten(len(rows_at_work(decision)))
            run = _run_record(request, project, origin, decision, reviewed, batch)
            audit_entries = write_run(connection, project, decision, run)
            to_deliver = write_effects(connection, project, decision, run)
            if ending.proving.wanted and _may_be_asked(project, decision):
                from reconciler.proving.run import ask_later

                ask_later(connection, project.definitions, decision, run)
            outcome = _outcome(request, decision, run, audit_entries)
        ending.committed()
    except OutcomeUnknown as error:
        if outcome is None:
            raise Failed(f"{error.cause}: nothing was applied. Run again") from None
        outcome = _looked_up(outcome, error.cause, request, ending, interrupted=error.interrupted)
    except KeyboardInterrupt:
        if outcome is None:
            raise
        outcome = _looked_up(outcome, "interrupted while committing", request, ending, interrupted=True)
    committed = time.monotonic()
    outcome = msgspec.structs.replace(outcome, duration_s=committed - started)
    return _followed(connection, project, decision, run, outcome, ending, to_deliver, committed, batch)


def _doing(batch: Batch | None) -> str:
    return "applying" if batch is None else f"applying batch {batch.record.number} of {batch.record.of}"


def rows_at_work(decision: Decision) -> set[RowKey]:
    """The rows of which anything is written or recorded. What is left of a table that no schema describes any more is
    not among them: it touches no row.
    """
    tables = decision.project.definitions.tables
    return {
        (change.table, change.key)
        for change in decision.plan.changes
        if change.action is not Action.HOLD and change.action is not Action.KEEP and change.table in tables
    }


def _is_one(batch: Batch, decision: Decision) -> bool:
    rows = len(rows_at_work(decision))
    return rows <= batch.rows and (rows > 0 or batch.is_last)


def _kills_ahead(
    connection: DatabaseConnection, request: Request, project: Project, inputs: Inputs, decision: Decision
) -> frozenset[FieldKey]:
    """The kills of a Decision that awaits checks which may be committed before; raises what would forbid all of it."""
    if decision.plan.counts.kills == 0:
        return frozenset()
    from reconciler.kills_first import kills_ahead  # most runs make no checks

    passed = {name: CheckResult(passed=True, saw="") for name in decision.checks_needed}
    inputs = msgspec.structs.replace(inputs, results=passed)
    kills = kills_ahead(decision.plan, decide(connection, project, inputs, _locked_where_writable).plan)
    if kills:
        refuse_what_must_not_be(connection, request, project, decision, None)
    return kills


def _followed(
    connection: DatabaseConnection,
    project: Project,
    decision: Decision,
    run: RunRecord,
    outcome: Outcome,
    ending: Ending,
    to_deliver: bool,
    committed: float,
    batch: Batch | None,
) -> Outcome:
    """The Outcome once its effects are delivered and its proofs are seen; nothing here changes what is committed."""
    definitions = project.definitions
    to_prove = _may_be_asked(project, decision)
    if not (to_deliver or to_prove):
        return outcome
    with answering(connection, ending.reconnect) as there:
        if to_deliver:
            broken = batch.broken if batch is not None else frozenset()
            outcome = deliver_effects(there, definitions.policy, outcome, broken)
        if to_prove:
            from reconciler.proving.run import prove

            def proven(outcome: Outcome, there: DatabaseConnection = there) -> Outcome:
                return prove(there, definitions, decision, run, outcome, ending.proving, committed)

            if batch is None or batch.later is None:
                return proven(outcome)
            batch.later(proven)
    return outcome


def _may_be_asked(project: Project, decision: Decision) -> bool:
    """Whether any field that is written has a proof of effect."""
    tables = project.definitions.tables
    return any(change.field in tables[change.table].proofs for change in decision.plan.writes)


def _locked_where_writable(connection: Connection[Any], sought: Sought) -> list[Seen]:
    """`find_and_lock`, but for a role that may update nothing: it cannot lock, and is told of all that it lacks."""
    may_lock = any(column.may_update for column in sought.relation.columns.values())
    return find_and_lock(connection, sought) if may_lock else compare(connection, sought)


def _outcome(request: Request, decision: Decision, run: RunRecord, audit_entries: int) -> Outcome:
    """What the run did, if it is committed."""
    counts = decision.plan.counts
    return Outcome(
        run_id=run.id,
        plan=decision.plan,
        applied=counts.changes,
        audit_entries=audit_entries,
        recorded=counts.recorded,
        released=counts.released,
        duration_s=0.0,
        dirty=run.dirty,
        reason=request.reason,
        notices=_afterwards(decision),
    )


def _looked_up(outcome: Outcome, cause: str, request: Request, ending: Ending, *, interrupted: bool) -> Outcome:
    """The Outcome of a run whose COMMIT had no answer, once the ledger was asked. Raises Failed if it lacks the run."""
    run = outcome.run_id
    if ending.reconnect is None:
        raise OutcomeUnknown(cause, f"whether run {run} was applied is not known")
    if not was_committed(ending.reconnect, run, cause, request.lock_timeout_ms):
        raise Failed(f"{cause}: nothing was applied, the ledger does not have the run. Run again")
    ending.committed()
    notice = Notice(f"{cause}; the ledger has run {run}, so all of it was applied")
    return msgspec.structs.replace(outcome, notices=(*outcome.notices, notice), interrupted=interrupted)


def _run_record(
    request: Request,
    project: Project,
    origin: Origin,
    decision: Decision,
    reviewed: Plan | None,
    batch: Batch | None,
) -> RunRecord:
    plan = decision.plan
    revision = project.revision
    assert revision is not None
    counts = {name: getattr(plan.counts, name) for name in plan.counts.__struct_fields__}
    return RunRecord(
        id=str(uuid.uuid4()),
        commit=revision.commit,
        author_name=revision.author_name,
        author_email=revision.author_email,
        committer_name=revision.committer_name,
        committer_email=revision.committer_email,
        actor=origin.actor,
        reason=request.reason or revision.subject,
        dirty=revision.dirty,
        ahead=request.ahead,
        plan_id=_plan_id(plan, reviewed, batch),
        fingerprint=plan.fingerprint,
        scope={"tables": list(plan.scope.tables), "rows": list(plan.scope.rows)},
        counts=counts,
        outcome=_outcome_word(plan, batch),
        run_url=origin.run_url,
        pull_request=origin.pull_request,
        version=__version__,
        sync=_sync(request, revision, decision),
        batch=batch.record if batch is not None else None,
    )


def _plan_id(plan: Plan, reviewed: Plan | None, batch: Batch | None) -> str:
    """The plan that is applied once the run is committed: that of a series is with its last batch."""
    if batch is not None:
        return batch.record.series if batch.is_last else plan.id
    return reviewed.id if reviewed is not None else plan.id


def _outcome_word(plan: Plan, batch: Batch | None) -> str:
    if batch is not None:
        return "applied" if batch.is_last else PARTIAL
    return "applied" if plan.has_work else "unchanged"


def _sync(request: Request, revision: Revision, decision: Decision) -> str | None:
    """How the ledger stands to git after the run: a run of something that is not merged leaves that to others."""
    sync = decision.looked_at.sync
    return sync.as_text if sync is not None and not (revision.dirty or request.ahead) else None


def _afterwards(decision: Decision) -> tuple[Notice, ...]:
    revision = decision.plan.revision
    if revision is not None and revision.dirty and decision.plan.writes:
        text = (
            "this was not committed. Runs from git leave it as it is, and say so, until git says the same, touches the "
            "entry, or somebody runs `reconcile release`. Commit it"
        )
        return (*decision.plan.notices, Notice(text))
    return decision.plan.notices
