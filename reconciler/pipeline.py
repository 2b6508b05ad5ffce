"""The story of a run: read git, look at the database, decide, and (for an apply) write it all in one transaction. Only
where a restore waits for health checks are the kills of its commit a run of their own, before it.

Takes a Request; gives a Plan (`make_plan`) or an Outcome (`apply`). The transaction, the lock and what is in them are
told in `one_run`.
"""

from __future__ import annotations

import msgspec

from reconciler.actual import compare
from reconciler.aftermath import telling_of_failure
from reconciler.blast import TRAILER
from reconciler.checks.run import run_checks
from reconciler.database.connection import DatabaseConnection
from reconciler.database.transaction import begin_read_only
from reconciler.decide import Decision, Inputs, decide
from reconciler.errors import (
    LockNotTaken,
    ReconcileError,
    Refused,
    UsageProblem,
)
from reconciler.git import Git
from reconciler.lock_holders import who_holds
from reconciler.masks import mask_notices
from reconciler.model import FieldKey, Json
from reconciler.one_run import Awaiting, apply_once
from reconciler.outcome import Outcome
from reconciler.plan import Notice, Plan
from reconciler.project import Progress, Project, read_revision, read_work_tree, refuse_uncommitted, silent
from reconciler.request import Ending, Origin, Request
from reconciler.stale import ancestry_problem
from reconciler.targets import need_target

__all__ = ["Ending", "Origin", "Request", "apply", "make_plan", "read_for_apply", "read_for_plan"]


def read_for_plan(request: Request, progress: Progress = silent, ahead: Git | None = None) -> Project:
    """What a plan is made from: the commit that was asked for, else the work tree. `ahead`: see `ask_ahead`."""
    if request.revision is not None:
        project = read_revision(request.directory, request.revision, progress, may_defer=True, ahead=ahead)
    else:
        project = read_work_tree(request.directory, progress, may_defer=True, ahead=ahead)
    need_target(project.definitions.policy.targets)
    return project


def read_for_apply(request: Request, progress: Progress = silent, ahead: Git | None = None) -> Project:
    """What an apply is made from: a commit, unless the request allows a dirty work tree and says why. `ahead`: see
    `ask_ahead`.
    """
    if (request.allow_dirty or request.allow_rewind or request.allow_changes) and not (request.reason or "").strip():
        raise UsageProblem('this needs a reason, which goes into the audit log: --reason "..."')
    if request.allow_dirty and request.revision is not None:
        raise UsageProblem("--allow-dirty applies the work tree, --revision a commit: give one of the two")
    if request.allow_dirty:
        project = read_work_tree(request.directory, progress, may_defer=True, ahead=ahead)
        if project.revision is None:
            raise Refused("not a git repository with a commit: without one no audit entry could say what was applied")
        need_target(project.definitions.policy.targets)
        return project
    project = read_revision(request.directory, request.revision or "HEAD", progress, may_defer=True, ahead=ahead)
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
        decision = decide(connection, project, inputs, compare)
        return decision, mask_notices(connection, project.definitions, decision.catalog, decision.plan.changes)


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
    says that they were applied. A `reviewed` plan is one run in any case; unless the request asks for batches
    (`in_batches`), each of which is a run of its own.
    """
    inputs = _inputs(connection, request, project, reviewed)
    with telling_of_failure(project, origin.actor, origin.run_url):
        if request.batch is not None:
            from reconciler.in_batches import apply_in_batches  # most runs are one transaction

            return apply_in_batches(connection, request, project, origin, reviewed, inputs, ending)
        try:
            done = apply_once(connection, request, project, origin, reviewed, inputs, ending)
            if isinstance(done, Outcome):
                return done
            assert isinstance(done, Awaiting), "this is no batch"
            return _apply_with_checks(connection, request, project, origin, reviewed, inputs, ending, done)
        except LockNotTaken as error:
            raise LockNotTaken(f"{error}{who_holds(connection)}") from None


def _apply_with_checks(
    connection: DatabaseConnection,
    request: Request,
    project: Project,
    origin: Origin,
    reviewed: Plan | None,
    inputs: Inputs,
    ending: Ending,
    awaiting: Awaiting,
) -> Outcome:
    """The kills at once, where they may go first; then the checks; then the rest."""
    from reconciler.kills_first import kills_and_rest, scope_of  # most runs make no checks

    first = None
    if awaiting.kills:
        scope = scope_of(awaiting.kills)
        of_kills = msgspec.structs.replace(inputs, scope=scope, fields=awaiting.kills)
        narrowed = msgspec.structs.replace(request, scope=scope)
        done = apply_once(connection, narrowed, project, origin, None, of_kills, ending)
        first = done if isinstance(done, Outcome) else None  # a row has moved: it goes with the rest
    try:
        results = run_checks(awaiting.checks, project.definitions.policy.checks, connection)
        inputs = msgspec.structs.replace(inputs, results=results)
        rest = apply_once(connection, request, project, origin, reviewed, inputs, ending)
    except ReconcileError as error:
        if first is not None:
            error.also_say(f"The kills of this commit were applied before that, by run {first.run_id}, and stay")
        raise
    assert isinstance(rest, Outcome), "checks were made"
    return rest if first is None else kills_and_rest(first, rest)


def _insists(request: Request, project: Project) -> dict[FieldKey, Json]:
    """What is to be off until git says so: what a kill is about that is not merged, or not committed."""
    is_dirty = request.allow_dirty and project.revision is not None and project.revision.dirty
    if not (request.insists or is_dirty):
        return {}
    from reconciler.insisting import kills_beyond_head, kills_of  # most runs are of what is merged

    return kills_of(project, request.fields or ()) if request.insists else kills_beyond_head(request.directory, project)


def _inputs(connection: DatabaseConnection, request: Request, project: Project, reviewed: Plan | None = None) -> Inputs:
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
        insists=_insists(request, project),
    )
