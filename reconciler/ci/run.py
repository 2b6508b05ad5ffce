"""A job from beginning to end: the run of its mode, then everything that is said about it.

Takes a Job, the mode, and where files go; gives the exit code, which is the run's. What the host did not do, and what
could not be written, is said in the log.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from reconciler.ci.job import Job, Result
from reconciler.ci.modes import drift, failed, plan, refuse_unsafe, validate
from reconciler.ci.saying import log, outputs, write_code_quality, write_outputs, write_page
from reconciler.console.annotations import Annotation, log_text
from reconciler.errors import ReconcileError
from reconciler.plan_json import encode_plan

__all__ = ["Files", "run_job"]


class Files(msgspec.Struct, frozen=True):
    """Where the summary goes beside the service's own place, and GitLab's report."""

    markdown: Path | None = None
    code_quality: Path | None = None


def run_job(job: Job, mode: str, files: Files, put: Callable[[str], None], say: Callable[[str], None]) -> int:
    """Run, say what came of it by `put` (the log) and `say` (what went wrong with that), and give the exit code."""
    result = _run(job, mode)
    plan_file, not_saved = _saved(job, result)
    notes = [*result.notes, *not_saved]
    if job.where.host is None and job.where.service != "other" and mode != "validate":
        notes.append(f"Nothing was said on the host's pages: {job.where.why_silent}.")
    notes += [f"The host: {problem}." for problem in job.talk.problems]
    warnings = [Annotation("warning", "reconcile could not say it", problem) for problem in job.talk.problems]
    result = msgspec.structs.replace(result, notes=tuple(notes), annotations=(*result.annotations, *warnings))
    put(log(result, job.where.service))
    try:
        written = write_page(result, job.environment, files.markdown)
        if written is not None:
            say(f"Summary: {written}")
        write_outputs(outputs(result, plan_file), job.environment)
        if files.code_quality is not None:
            write_code_quality(result, files.code_quality)
    except OSError as error:
        say(f"note: what came of the run could not be written to {error.filename}: {error.strerror}")
    return result.code


def _run(job: Job, mode: str) -> Result:
    try:
        refuse_unsafe(job, mode)
    except ReconcileError as error:
        return failed(job, error)
    if mode == "apply":
        # Imported for an apply alone: what writes is not needed to look.
        from reconciler.ci.merged import apply_merged

        return apply_merged(job)
    return {"validate": validate, "plan": plan, "drift": drift}[mode](job)


def _saved(job: Job, result: Result) -> tuple[Path | None, list[str]]:
    """Where the plan was saved, and what is to be said about that."""
    if job.plan_out is None or result.plan is None:
        return None, []
    try:
        job.plan_out.write_bytes(encode_plan(result.plan))
    except OSError as error:
        return None, [f"The plan could not be saved to {log_text(str(job.plan_out))}: {error.strerror}."]
    return job.plan_out, []
