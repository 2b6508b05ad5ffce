"""The four modes of a job: validate, plan, drift, and (in `merged`) apply.

Takes a Job; gives a Result. Raises UsageProblem and Refused for a job that must not run at all; every other error of a
run becomes a Result with its exit code.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from reconciler.ci.job import Job, Result, artifact_name, titles_of
from reconciler.ci.lines import head_lines
from reconciler.console.annotations import Annotation, annotations_of
from reconciler.console.comment import invalid_comment, plan_comment
from reconciler.console.issues import drift_issue, failure_comment
from reconciler.console.labels import BLOCKED, LABELS, labels_of
from reconciler.editor_schema import stale_problems
from reconciler.errors import Failed, InvalidInput, NotAsExpected, Problem, ReconcileError, Refused
from reconciler.pipeline import make_plan, read_for_plan
from reconciler.playbook import Playbook
from reconciler.project import Project, read_work_tree
from reconciler.report.text import render_error, render_plan
from reconciler.report.words import plural
from reconciler.runbook.playbooks import read_playbook_files
from reconciler.schema import Definitions
from reconciler.sources import SourceFile

__all__ = ["WIDTH", "drift", "failed", "placed", "plan", "refuse_unsafe", "validate"]

WIDTH = 120
"""Columns of a job's log, which has no width of its own."""

_DRIFT_LABEL = "reconcile-drift"


def refuse_unsafe(job: Job, mode: str) -> None:
    """Raise Refused for a job that would give a stranger's branch our secrets, or apply what is not merged."""
    if mode == "validate":
        return
    if job.where.event == "pull_request_target" and job.where.from_fork:
        raise Refused(
            "pull_request_target runs a fork's branch with this repository's secrets: its schemas/ would say where the "
            "health checks of a plan go. Use pull_request, and `reconcile ci validate` for forks (docs/github.md)"
        )
    if mode != "apply":
        return
    if job.where.in_pull_request:
        raise Refused("this job is about a pull request that is not merged: apply on push to the branch it goes into")
    wanted = job.branch or job.where.default_branch
    if wanted is not None and job.where.branch is not None and job.where.branch != wanted:
        raise Refused(
            f"this job runs on {job.where.branch}, and only {wanted} is applied: merge first, or name the branch that "
            "production follows with --branch"
        )


def validate(job: Job) -> Result:
    """Check state/, schemas/, the playbooks and the schemas for editors. Needs no secret, and speaks to nobody."""
    try:
        project, playbooks = _checked(job)
    except ReconcileError as error:
        return failed(job, error)
    rows = sum(len(of_table) for of_table in project.desired.values())
    tables = plural(len(project.definitions.tables), "table")
    text = f"Valid: {plural(rows, 'row')}, schemas for {tables}, {plural(playbooks, 'playbook')}."
    return Result(code=0, text=text, markdown=f"### reconcile: valid\n\n{text}\n")


def plan(job: Job) -> Result:
    """What a merge would do: the comment, the labels, the plan as a file."""
    has_database = job.environment.get("DATABASE_URL") or job.environment.get("DIRECT_URL")
    if job.where.gets_no_secrets and not has_database:
        whose = "from a fork" if job.where.from_fork else "of Dependabot's"
        note = f"There is no plan: a pull request {whose} gets no secrets, and so no database to compare with."
        return msgspec.structs.replace(validate(job), notes=(note,))
    try:
        project = read_for_plan(job.request)
        with job.connect() as connection:
            made = make_plan(connection, job.request, project)
    except ReconcileError as error:
        # Nothing is known of where it leads: labels that an older head has left would be wrong.
        labels = [BLOCKED]
        result = failed(job, error, marker=job.marker("plan", **_facts(job.where.head, None, labels)).text)
        _speak_of_plan(job, result, labels, job.talk.passed_by())
        return result
    head = job.where.head
    passed_by = job.talk.passed_by()
    titles = titles_of(project)
    saved = job.plan_out is not None
    # A job that was passed by leaves the plan that is kept under this name as it is.
    named = saved and head is not None and job.where.service == "github" and not passed_by
    artifact = artifact_name(job.name, head) if named and head is not None else None
    labels = sorted(labels_of(made))
    kept_by = job.where.job if saved else None
    places = [*(change.location for change in made.changes), *(notice.location for notice in made.notices)]
    lines = head_lines(job, places)
    shown = lines.plan(made)
    body = plan_comment(
        shown,
        marker=job.marker("plan", **_facts(head, made.fingerprint, labels, kept_by)).text,
        source_url=job.files_url,
        artifact=artifact or (str(job.plan_out) if saved else None),
        titles=titles,
    )
    result = Result(
        code=Failed.exit_code if made.refusals else 0,
        text=render_plan(made, now=datetime.now(UTC), colour=False, width=WIDTH),
        markdown=body,
        annotations=placed(job, annotations_of(shown, titles=titles)),
        plan=made,
        artifact=artifact,
    )
    _speak_of_plan(job, result, labels, passed_by)
    return result


def drift(job: Job) -> Result:
    """What moved behind git's back: one issue, for as long as anything has."""
    try:
        project = read_for_plan(job.request)
        with job.connect() as connection:
            made = make_plan(connection, job.request, project)
    except ReconcileError as error:
        return failed(job, error)
    titles = titles_of(project)
    named = {"--directory": None if job.project == "." else job.project, "--target": job.target}
    options = [word for option, value in named.items() if value is not None for word in (option, value)]
    found = drift_issue(made, source_url=job.files_url, titles=titles, options=options)
    if found is None:
        job.talk.close_issues(job.marker("drift"), _DRIFT_LABEL, "Nothing differs any more.")
        text = "Nothing has drifted."
        return Result(code=0, text=text, markdown=f"### reconcile: no drift\n\n{text}\n", plan=made)
    marker = job.marker("drift", key=found.key)
    again = drift_issue(made, marker=marker.text, source_url=job.files_url, titles=titles, options=options)
    found = again or found
    job.talk.issue(marker, _DRIFT_LABEL, found.title, found.body)
    return Result(code=0, text=found.title, markdown=found.body, plan=made)


def failed(job: Job, error: ReconcileError, *, marker: str | None = None) -> Result:
    """The Result of a run that ended with an error."""
    text = render_error(error, colour=False)
    problems: Sequence[Problem] = error.problems if isinstance(error, InvalidInput | NotAsExpected) else ()
    if problems:
        error = head_lines(job, [problem.location for problem in problems]).error(error)
        problems = error.problems if isinstance(error, InvalidInput | NotAsExpected) else ()
    name = marker or job.marker("plan", **_facts(job.where.head, None)).text
    if isinstance(error, InvalidInput):
        body = invalid_comment(error.problems, marker=name, source_url=job.files_url)
    else:
        body = failure_comment(error, run_url=job.where.run_url, marker=name, source_url=job.files_url)
    said = annotations_of(None, problems) if problems else [_annotation(error)]
    return Result(
        code=error.exit_code,
        text=text,
        markdown=body,
        annotations=placed(job, said),
    )


def _annotation(error: ReconcileError) -> Annotation:
    first = (str(error).splitlines() or ["no message"])[0]
    return Annotation("error", "reconcile", "".join(one for one in first if one.isprintable()))


def _facts(
    head: str | None, fingerprint: str | None, labels: Sequence[str] = (), kept_by: int | None = None
) -> dict[str, str]:
    """What the marker of the plan's comment says. `kept_by`: the job that keeps the plan, where a host asks for it."""
    by = str(kept_by) if kept_by is not None else None
    facts = {"head": head, "fingerprint": fingerprint, "labels": ":".join(labels), "job": by}
    return {name: fact for name, fact in facts.items() if fact}


def placed(job: Job, annotations: Sequence[Annotation]) -> tuple[Annotation, ...]:
    """The annotations with their files as the repository has them, and not the project's directory below its top."""
    if job.project == ".":
        return tuple(annotations)
    return tuple(
        msgspec.structs.replace(each, file=f"{job.project}/{each.file}") if each.file is not None else each
        for each in annotations
    )


def _speak_of_plan(job: Job, result: Result, labels: Sequence[str], passed_by: str) -> None:
    """The comment and the labels, unless the pull request has moved on since the job began."""
    number = job.where.number
    if number is None:
        return
    if passed_by:
        job.talk.problems.append(f"#{number} {passed_by}: its comment is left as it is")
        return
    job.talk.comment(number, job.marker("plan"), result.markdown)
    job.talk.labels(number, sorted({*labels, *_labels_of_others(job, number)}), LABELS)


def _labels_of_others(job: Job, number: int) -> set[str]:
    """What the plans of other projects and databases say of the same head: a pull request's labels are those of all.

    Each job writes its comment before it asks, so that the one which comes last sees all.
    """
    own, head = job.marker("plan"), job.where.head
    others = [one for one in job.talk.markers(number, own.kind) if not one.is_same(own)]
    said = [one.facts.get("labels", "") for one in others if one.facts.get("head") == head]
    return {label for labels in said for label in labels.split(":")} & LABELS.keys()


def _checked(job: Job) -> tuple[Project, int]:
    """The whole project and the number of its playbooks. Raises InvalidInput with every Problem."""
    playbooks: dict[str, Playbook] = {}

    def also(files: Sequence[SourceFile], definitions: Definitions | None, problems: list[Problem]) -> None:
        playbooks.update(read_playbook_files(files, definitions, problems))

    project = read_work_tree(job.request.directory, also=also)
    folder = job.request.directory / "schemas" / "json"
    if folder.is_dir() and (stale := stale_problems(folder, project.definitions)):
        raise InvalidInput(stale)
    return project, len(playbooks)
