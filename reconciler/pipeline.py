"""The story of a run: read git, look at the database, decide, and (for an apply) write it all in one transaction. Only
where a restore waits for health checks are the kills of its commit a run of their own, before it.

Takes a Request; gives a Plan (`make_plan`) or an Outcome (`apply`). It owns the transaction, the lock and the order of
the writes; each of them is told in a module of its own.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
from psycopg import Connection

from reconciler import __version__
from reconciler.actual import Seen
from reconciler.aftermath import deliver_effects, telling_of_failure, write_effects
from reconciler.apply import take_lock
from reconciler.audit import row_exists
from reconciler.blast import TRAILER
from reconciler.catalog import Relation
from reconciler.checks import run_checks
from reconciler.connection import DatabaseConnection
from reconciler.decide import Decision, Inputs, as_seen, decide, locked
from reconciler.errors import (
    Failed,
    LockNotTaken,
    NotAsExpected,
    OutcomeUnknown,
    Problem,
    ReconcileError,
    Refused,
    Stale,
    UsageProblem,
)
from reconciler.fit import problems_of_writing
from reconciler.guards import CheckResult
from reconciler.ledger import RunRecord
from reconciler.lock_holders import who_holds
from reconciler.lost_answer import Reconnect, answering, was_committed
from reconciler.masks import mask_notices
from reconciler.model import FieldKey
from reconciler.outcome import Outcome, Proving
from reconciler.plan import Notice, Plan, Revision, Scope
from reconciler.project import Progress, Project, read_revision, read_work_tree, refuse_uncommitted, silent
from reconciler.schema import Table
from reconciler.stale import ancestry_problem, refuse_another_database, refuse_stale
from reconciler.targets import need_target
from reconciler.transaction import begin_read_only, begin_read_write
from reconciler.writing import write_run


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What a user asked for. `revision` None: the work tree for a plan, HEAD for an apply.

    `allow_changes`: how many rows may change whatever the blast limit says. `now`: another time, for a demo.
    `ahead`: the commit is not merged yet (`kill --now`); what it says is applied as a hold that runs from git respect,
    whatever was applied last. `fields`: nothing but these is looked at. `full`: whether every row of a large project is
    looked at, and not only what git has changed; None: if that is due (`change_path`).
    """

    directory: Path
    revision: str | None = None
    scope: Scope = Scope()
    allow_dirty: bool = False
    allow_rewind: bool = False
    reason: str | None = None
    allow_changes: int = 0
    lock_timeout_ms: int = 10_000
    now: datetime | None = None
    ahead: bool = False
    fields: frozenset[FieldKey] | None = None
    full: bool | None = None


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Who runs the tool, and where a log of it can be read."""

    actor: str
    run_url: str | None = None
    pull_request: int | None = None


def read_for_plan(request: Request, progress: Progress = silent) -> Project:
    """What a plan is made from: the commit that was asked for, else the work tree."""
    if request.revision is not None:
        project = read_revision(request.directory, request.revision, progress, may_defer=True)
    else:
        project = read_work_tree(request.directory, progress, may_defer=True)
    need_target(project.definitions.policy.targets)
    return project


def read_for_apply(request: Request, progress: Progress = silent) -> Project:
    """What an apply is made from: a commit, unless the request allows a dirty work tree and says why."""
    if (request.allow_dirty or request.allow_rewind or request.allow_changes) and not (request.reason or "").strip():
        raise UsageProblem('this needs a reason, which goes into the audit log: --reason "..."')
    if request.allow_dirty and request.revision is not None:
        raise UsageProblem("--allow-dirty applies the work tree, --revision a commit: give one of the two")
    if request.allow_dirty:
        project = read_work_tree(request.directory, progress, may_defer=True)
        if project.revision is None:
            raise Refused("not a git repository with a commit: without one no audit entry could say what was applied")
        need_target(project.definitions.policy.targets)
        return project
    project = read_revision(request.directory, request.revision or "HEAD", progress, may_defer=True)
    need_target(project.definitions.policy.targets)
    if request.revision is None:
        refuse_uncommitted(project)
    return project


def make_plan(connection: DatabaseConnection, request: Request, project: Project) -> Plan:
    """The Plan, made in a READ ONLY transaction by a role that need only SELECT."""
    inputs = _inputs(connection, request, project)
    decision, masks = _look(connection, project, inputs)
    if decision.checks_needed:
        results = run_checks(decision.checks_needed, project.definitions.policy.checks, connection)
        decision, masks = _look(connection, project, msgspec.structs.replace(inputs, results=results))
    plan = msgspec.structs.replace(decision.plan, notices=(*decision.plan.notices, *masks))
    ancestry = None if request.allow_rewind or request.ahead else ancestry_problem(project, decision)
    return msgspec.structs.replace(plan, refusals=(*plan.refusals, ancestry)) if ancestry else plan


def _look(connection: DatabaseConnection, project: Project, inputs: Inputs) -> tuple[Decision, list[Notice]]:
    with begin_read_only(connection, doing="making the plan"):
        decision = decide(connection, project, inputs, as_seen)
        return decision, mask_notices(connection, project.definitions, decision.catalog, decision.plan.changes)


class Ending(msgspec.Struct, frozen=True):
    """What an apply needs to end well, whatever happens to it while it commits.

    `reconnect` makes another connection to the same database; without it, a lost answer to COMMIT stays unknown.
    `committed` is called at once when the run is known to be in the database, before anything can interrupt: from
    there on, nobody may say any more that nothing was applied. `proving` says how to wait for the changes to be in
    effect, where the schemas declare how that is seen.
    """

    reconnect: Reconnect | None = None
    committed: Callable[[], None] = lambda: None
    proving: Proving = Proving()


def apply(
    connection: DatabaseConnection,
    request: Request,
    project: Project,
    origin: Origin,
    reviewed: Plan | None = None,
    ending: Ending = Ending(),  # noqa: B008, a frozen value
) -> Outcome:
    """Carry the plan out: all of it in one transaction, or nothing.

    `reviewed` is the plan that a person, or a pull request, has seen; if the database asks for another one by now,
    Stale is raised and nothing is written. Where the answer to COMMIT is lost, the run is looked up in the ledger; any
    error but OutcomeUnknown means that nothing was applied, and so does Ctrl-C.

    A run of kills makes no health checks. Where a restore needs some, they are made between two transactions, so that
    no row is locked while a server somewhere takes its time to answer. The kills do not wait for them: they are
    committed first, as a run of their own (`kills_first`), and the Outcome tells of both; what is raised after that
    says that they were applied. A `reviewed` plan is one run in any case.
    """
    inputs = _inputs(connection, request, project, reviewed)
    with telling_of_failure(project, origin.actor, origin.run_url):
        try:
            done = _apply_once(connection, request, project, origin, reviewed, inputs, ending)
            if isinstance(done, Outcome):
                return done
            return _apply_with_checks(connection, request, project, origin, reviewed, inputs, ending, done)
        except LockNotTaken as error:
            raise LockNotTaken(f"{error}{who_holds(connection)}") from None


class _Awaiting(msgspec.Struct, frozen=True):
    """Nothing was written: `checks` must be made first, for all but the `kills`."""

    checks: frozenset[str]
    kills: frozenset[FieldKey]


def _apply_with_checks(
    connection: DatabaseConnection,
    request: Request,
    project: Project,
    origin: Origin,
    reviewed: Plan | None,
    inputs: Inputs,
    ending: Ending,
    awaiting: _Awaiting,
) -> Outcome:
    """The kills at once, where they may go first; then the checks; then the rest."""
    from reconciler.kills_first import one_story, scope_of  # most runs make no checks

    first = None
    if awaiting.kills:
        scope = scope_of(awaiting.kills)
        of_kills = msgspec.structs.replace(inputs, scope=scope, fields=awaiting.kills)
        narrowed = msgspec.structs.replace(request, scope=scope)
        done = _apply_once(connection, narrowed, project, origin, None, of_kills, ending)
        first = done if isinstance(done, Outcome) else None  # a row has moved: it goes with the rest
    try:
        results = run_checks(awaiting.checks, project.definitions.policy.checks, connection)
        inputs = msgspec.structs.replace(inputs, results=results)
        rest = _apply_once(connection, request, project, origin, reviewed, inputs, ending)
    except ReconcileError as error:
        if first is not None:
            error.also_say(f"The kills of this commit were applied before that, by run {first.run_id}, and stay")
        raise
    assert isinstance(rest, Outcome), "checks were made"
    return rest if first is None else one_story(first, rest)


def _apply_once(
    connection: DatabaseConnection,
    request: Request,
    project: Project,
    origin: Origin,
    reviewed: Plan | None,
    inputs: Inputs,
    ending: Ending,
) -> Outcome | _Awaiting:
    """One transaction. It writes nothing, and no Outcome is given, where checks must be made first."""
    started = time.monotonic()
    outcome, to_deliver = None, False
    try:
        with begin_read_write(connection, doing="applying", lock_timeout_ms=request.lock_timeout_ms):
            take_lock(connection)
            decision = decide(connection, project, inputs, _locked_where_writable)
            if decision.checks_needed and not inputs.results:
                kills: frozenset[FieldKey] = frozenset()
                if reviewed is None:
                    kills = _kills_ahead(connection, request, project, inputs, decision)
                return _Awaiting(decision.checks_needed, kills)
            _refuse_what_must_not_be(connection, request, project, decision, reviewed)
            run = _run_record(request, project, origin, decision, reviewed)
            audit_entries = write_run(connection, project, decision, run)
            to_deliver = write_effects(connection, project, decision, run)
            outcome = _outcome(request, decision, run, audit_entries)
        ending.committed()
    except OutcomeUnknown as error:
        if outcome is None:
            raise Failed(f"{error.cause}: nothing was applied. Run again") from None
        outcome = _looked_up(outcome, error.cause, request, ending)
    except KeyboardInterrupt:
        if outcome is None:
            raise
        outcome = _looked_up(outcome, "interrupted while committing", request, ending)
    committed = time.monotonic()
    outcome = msgspec.structs.replace(outcome, duration_s=committed - started)
    return _followed(connection, project, decision, run, outcome, ending, to_deliver, committed)


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
        _refuse_what_must_not_be(connection, request, project, decision, None)
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
) -> Outcome:
    """The Outcome once its effects are delivered and its proofs are seen; nothing here changes what is committed."""
    definitions = project.definitions
    to_prove = any(change.field in definitions.tables[change.table].proofs for change in decision.plan.writes)
    if not (to_deliver or to_prove):
        return outcome
    with answering(connection, ending.reconnect) as there:
        if to_deliver:
            outcome = deliver_effects(there, definitions.policy, outcome)
        if to_prove:
            from reconciler.proving.run import prove

            outcome = prove(there, definitions, decision, run, outcome, ending.proving, committed)
    return outcome


def _locked_where_writable(
    connection: Connection[Any], table: Table, relation: Relation, seen: Sequence[Seen]
) -> list[Seen]:
    """`locked`, but for a role that may update nothing: it cannot lock, and is told of all that it lacks instead."""
    may_lock = any(column.may_update for column in relation.columns.values())
    return (locked if may_lock else as_seen)(connection, table, relation, seen)


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


def _looked_up(outcome: Outcome, cause: str, request: Request, ending: Ending) -> Outcome:
    """The Outcome of a run whose COMMIT had no answer, once the ledger was asked. Raises Failed if it lacks the run."""
    run = outcome.run_id
    if ending.reconnect is None:
        raise OutcomeUnknown(cause, f"whether run {run} was applied is not known")
    if not was_committed(ending.reconnect, run, cause, request.lock_timeout_ms):
        raise Failed(f"{cause}: nothing was applied, the ledger does not have the run. Run again")
    ending.committed()
    notice = Notice(f"{cause}; the ledger has run {run}, so all of it was applied")
    return msgspec.structs.replace(outcome, notices=(*outcome.notices, notice))


def _inputs(
    connection: DatabaseConnection, request: Request, project: Project, reviewed: Plan | None = None
) -> Inputs:
    def allowance(applied: str | None) -> int:
        if project.repository is None or project.commit is None:
            return 0
        found = project.repository.trailers_since(applied, project.commit, TRAILER)
        return max((int(number) for number in found if number.isascii() and number.isdigit()), default=0)

    return Inputs(
        scope=request.scope,
        notices=tuple(Notice(note) for note in connection.notes),
        committed=project.revision is None or not project.revision.dirty or not request.allow_dirty,
        allowed_changes=request.allow_changes,
        fields=request.fields,
        full=reviewed.is_full if reviewed is not None else request.full,
        allowance=allowance,
        now=request.now,
    )


def _refuse_what_must_not_be(
    connection: DatabaseConnection, request: Request, project: Project, decision: Decision, reviewed: Plan | None
) -> None:
    """Everything that forbids an apply, before its first write."""
    if reviewed is not None:
        refuse_another_database(decision.plan, reviewed)
    if decision.head.version == 0:
        text = f"database {decision.catalog.database} has no ledger"
        raise NotAsExpected([Problem(text, None, "run `reconcile init` once, as a role that may create a schema")])
    problems = problems_of_writing(project.definitions, decision.desired, decision.catalog)
    if problems:
        raise NotAsExpected(problems)
    ancestry = ancestry_problem(project, decision)
    if ancestry is not None and not (request.allow_rewind or request.ahead):
        raise Stale(ancestry)
    if decision.plan.refusals:
        raise Refused("\n".join([*decision.plan.refusals, "Nothing was applied."]))
    if reviewed is not None:
        refuse_stale(connection, decision.plan, reviewed)
    _need_tenantless_row(connection, project, decision)


def _need_tenantless_row(connection: DatabaseConnection, project: Project, decision: Decision) -> None:
    """Where an entry belongs to no tenant, the row that makes its foreign key hold must be there."""
    audit = project.definitions.policy.audit
    if audit.without_tenant is None or audit.without_tenant.create is None:
        return
    tables = project.definitions.tables
    if not any(tables[change.table].definition.audit.tenant is None for change in decision.plan.writes):
        return
    row = audit.without_tenant.create
    relation = decision.catalog.relations.get((row.schema, row.table))
    place = project.definitions.policy_places.of("audit", "without_tenant")
    if relation is None or not row_exists(connection, row, relation, audit.without_tenant.tenant):
        text = f"{row.table} has no row {audit.without_tenant.tenant}, to which entries without a tenant belong"
        raise NotAsExpected([Problem(text, place, "run `reconcile init`: it makes the row")])


def _run_record(
    request: Request, project: Project, origin: Origin, decision: Decision, reviewed: Plan | None
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
        plan_id=reviewed.id if reviewed is not None else plan.id,
        fingerprint=plan.fingerprint,
        scope={"tables": list(plan.scope.tables), "rows": list(plan.scope.rows)},
        counts=counts,
        outcome="applied" if plan.has_work else "unchanged",
        run_url=origin.run_url,
        pull_request=origin.pull_request,
        version=__version__,
        sync=_sync(request, revision, decision),
    )


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
