"""A Plan, an Outcome or an error for programs: JSON, documented in docs/plan-format.md and versioned.

Takes the object; gives JSON text that ends with a newline.
"""

from __future__ import annotations

import re

import msgspec

from reconciler.errors import InvalidInput, NotAsExpected, Problem, ReconcileError
from reconciler.outcome import Outcome
from reconciler.plan import FORMAT_VERSION, Plan
from reconciler.plan_json import (
    NoticeDocument,
    PlanDocument,
    encode_document,
    encode_plan,
    notice_document,
    plan_document,
)
from reconciler.report.proof import VerdictDocument, in_effect, verdict_documents


class EffectCountsDocument(msgspec.Struct, frozen=True):
    """What has become of the run's effects. Those that wait are tried again; the dead were given up."""

    delivered: int
    waiting: int
    dead: int


class RunDocument(msgspec.Struct, frozen=True):
    """What a run did. Counts are of fields, `rows` of rows; `duration_s` is in seconds. `in_effect` is null where the
    schemas declare no proof for what was changed, or it was not asked. `kills_id` is the run that made the kills before
    the health checks of the rest, null where all of it was one run. `batches` are the ids of the runs of a batched
    apply, in order; empty where it was one transaction.
    """

    id: str
    kills_id: str | None
    batches: tuple[str, ...]
    applied: int
    rows: int
    audit_entries: int
    recorded: int
    released: int
    held: int
    kept: int
    duration_s: float
    dirty: bool
    reason: str | None
    effects: EffectCountsDocument
    in_effect: bool | None
    proofs: tuple[VerdictDocument, ...]
    notices: tuple[NoticeDocument, ...]


class OutcomeDocument(msgspec.Struct, frozen=True):
    """The result of an apply, with the plan that was applied."""

    format_version: int
    run: RunDocument
    plan: PlanDocument


class ProblemDocument(msgspec.Struct, frozen=True):
    """One thing that is wrong; the place is null where the problem has none."""

    file: str | None
    line: int | None
    column: int | None
    message: str
    hint: str | None


class ErrorDocument(msgspec.Struct, frozen=True):
    """Why a command failed. `kind` names the class of the error, `exit_code` is what the process ends with."""

    kind: str
    exit_code: int
    message: str
    problems: tuple[ProblemDocument, ...]


class FailureDocument(msgspec.Struct, frozen=True):
    """The whole output of a command that failed."""

    format_version: int
    error: ErrorDocument


def render_plan(plan: Plan) -> str:
    """The plan as `plan_json.encode_plan` writes it."""
    return encode_plan(plan).decode()


def render_outcome(outcome: Outcome) -> str:
    """The run and its plan."""
    run = RunDocument(
        id=outcome.run_id,
        kills_id=outcome.kills_run_id,
        batches=outcome.batches,
        applied=outcome.applied,
        rows=outcome.rows,
        audit_entries=outcome.audit_entries,
        recorded=outcome.recorded,
        released=outcome.released,
        held=outcome.plan.counts.held,
        kept=outcome.plan.counts.kept,
        duration_s=round(outcome.duration_s, 6),
        dirty=outcome.dirty,
        reason=outcome.reason,
        effects=EffectCountsDocument(outcome.effects.delivered, outcome.effects.waiting, outcome.effects.dead),
        in_effect=in_effect(outcome.verdicts),
        proofs=verdict_documents(outcome.verdicts),
        notices=tuple(map(notice_document, outcome.notices)),
    )
    return encode_document(OutcomeDocument(FORMAT_VERSION, run, plan_document(outcome.plan))).decode()


def render_error(error: ReconcileError) -> str:
    """The error, with every problem that it carries."""
    problems: tuple[Problem, ...] = ()
    message = str(error)
    if isinstance(error, InvalidInput | NotAsExpected):
        problems = tuple(error.problems)
        message = error.summary or f"{len(problems)} problem{'' if len(problems) == 1 else 's'}"
    kind = re.sub(r"(?<!^)(?=[A-Z])", "_", type(error).__name__).lower()
    document = ErrorDocument(kind, error.exit_code, message, tuple(map(_problem_document, problems)))
    return encode_document(FailureDocument(FORMAT_VERSION, document)).decode()


def _problem_document(problem: Problem) -> ProblemDocument:
    place = problem.location
    return ProblemDocument(
        file=place.file if place else None,
        line=place.line if place else None,
        column=place.column if place else None,
        message=problem.message,
        hint=problem.hint or None,
    )
