"""The mode `apply`: what is merged is applied, and the merged pull requests are told.

Takes a Job; gives a Result. Jobs of several merges may run at once, and in any order: the lock in the database lets one
after the other in, and a commit that the one applied last holds already is not applied again. So a kill waits for
nobody's slow job, and nothing is lost when GitHub drops a job, or starts it late: the next one brings its commit along.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import Any

from reconciler.aftermath import telling_of_failure, telling_of_wrong_state
from reconciler.ci.job import Job, Result, titles_of
from reconciler.ci.modes import WIDTH, failed, placed
from reconciler.ci.reviewed import Reviewed, reviewed_in
from reconciler.console.annotations import annotations_of
from reconciler.console.comment import outcome_comment, run_comment
from reconciler.console.issues import failure_issue
from reconciler.database.connection import DatabaseConnection
from reconciler.errors import ReconcileError, Stale
from reconciler.hosts.host import Request as PullRequest
from reconciler.origin import origin_of
from reconciler.outcome import Outcome
from reconciler.pipeline import Ending, apply, make_plan, read_for_apply
from reconciler.project import Project
from reconciler.report.text import render_outcome
from reconciler.repository import Ancestry
from reconciler.titles import Titles

__all__ = ["apply_merged"]

_FAILURE_LABEL = "reconcile-failure"
_MOST_MERGES = 20
"""So many merges of one run are told; more come only from a branch that was not applied for long."""


def apply_merged(job: Job) -> Result:
    """Apply the commit that is checked out, and say on the host's pages what came of it."""
    project: Project | None = None
    moments: list[datetime] = []

    def committed(*said: Any) -> None:
        moments.append(datetime.now(UTC))
        job.committed(*said)

    try:
        with telling_of_wrong_state(partial(origin_of, job.environment)):
            project = read_for_apply(job.request)
        origin = origin_of(job.environment, project.commit)
        ending = Ending(job.connect, committed, job.proving)
        with telling_of_failure(project, origin.actor, origin.run_url):
            connection = job.connect()
        with connection:
            try:
                outcome = apply(connection, job.request, project, origin, None, ending)
            except Stale as error:
                overtaken = _overtaken(job, connection, project)
                if overtaken is None:
                    raise
                return _stale(job, error, overtaken)
    except ReconcileError as error:
        return _failed(job, error, project)
    return _applied(job, project, outcome, moments[-1] if moments else datetime.now(UTC))


def _applied(job: Job, project: Project, outcome: Outcome, at: datetime) -> Result:
    titles = titles_of(project)
    job.talk.close_issues(job.marker("failure"), _FAILURE_LABEL, "A later run has succeeded.")
    requests = _merged(job, project, outcome.plan.last_applied) if job.where.host is not None else []
    if not requests and outcome.plan.writes:
        _tell_of_later(job, project, outcome, titles)
    told = requests or _told_of_failure(job, project)
    known = {request.number: reviewed_in(job, request) for request in told}
    for request in told:
        marker = job.marker("outcome")
        if outcome.plan.has_work or not _has_outcome(job, request):
            in_effect_s = _seconds_since(request.merged_at, at) if outcome.applied else None
            body = _body(job, outcome, known[request.number], titles, in_effect_s)
            job.talk.comment(request.number, marker, body)
    if len(requests) == 1:
        markdown = _body(job, outcome, known[requests[0].number], titles, None)
    else:
        marker = job.marker("outcome", run=outcome.run_id)
        markdown = run_comment(outcome, marker=marker.text, source_url=job.files_url, titles=titles)
    return Result(
        code=0,
        text=render_outcome(outcome, now=datetime.now(UTC), colour=False, width=WIDTH),
        markdown=markdown,
        annotations=placed(job, annotations_of(outcome.plan, titles=titles)),
        plan=outcome.plan,
    )


def _has_outcome(job: Job, request: PullRequest) -> bool:
    """Whether a run that succeeded has told the pull request; one that failed leaves no run in its marker."""
    return "run" in (job.talk.facts(request.number, job.marker("outcome")) or {})


def _told_of_failure(job: Job, project: Project) -> list[PullRequest]:
    """The pull requests of a commit that is applied already, where the last word still is that a run failed.

    The run may have been cut off when its work was done: then the next one finds nothing to do, and says so.
    """
    if job.where.host is None or project.commit is None:
        return []
    found = [one for one in job.talk.requests_of(project.commit.id) if job.where.branch in (None, one.base)]
    said = [(one, job.talk.facts(one.number, job.marker("outcome"))) for one in found]
    return [one for one, facts in said if facts is not None and "run" not in facts]


def _tell_of_later(job: Job, project: Project, outcome: Outcome, titles: Titles) -> None:
    """What was held is applied now, or was put back: those are told whose merge touched the file last."""
    if project.repository is None or project.commit is None or job.where.host is None:
        return
    files = sorted({change.location.file for change in outcome.plan.writes if change.location is not None})
    marker = job.marker("later", run=outcome.run_id)
    body = run_comment(outcome, marker=marker.text, source_url=job.files_url, titles=titles)
    for commit in project.repository.last_changes(project.commit, files, _MOST_MERGES):
        for request in job.talk.requests_of(commit):
            job.talk.comment(request.number, marker, body)


def _body(job: Job, outcome: Outcome, reviewed: Reviewed, titles: Titles, in_effect_s: float | None) -> str:
    return outcome_comment(
        outcome,
        reviewed=reviewed.plan,
        reviewed_fingerprint=reviewed.fingerprint,
        marker=job.marker("outcome", run=outcome.run_id).text,
        source_url=job.files_url,
        titles=titles,
        in_effect_s=in_effect_s,
    )


def _merged(job: Job, project: Project, last_applied: str | None) -> list[PullRequest]:
    """The pull requests that came in with this run, the newest first.

    Of a run that brings no new commit, the one of its commit, where the job was begun by the merge: an earlier attempt
    may have been cut off before it could say anything.
    """
    if project.repository is None or project.commit is None:
        return []
    commits = project.repository.merged_since(last_applied, project.commit, _MOST_MERGES)
    if not commits and job.where.event == "push":
        commits = [project.commit.id]
    found = {request.number: request for commit in commits for request in job.talk.requests_of(commit)}
    # A commit may have gone into another branch as well, by a pull request that is none of ours.
    return [request for request in found.values() if job.where.branch in (None, request.base)]


def _overtaken(job: Job, connection: DatabaseConnection, project: Project) -> str | None:
    """The commit that was applied last, where it holds this job's commit; None where it does not."""
    last = make_plan(connection, job.request, project).last_applied
    if last is None or project.repository is None or project.commit is None:
        return None
    return last if project.repository.ancestry(last, project.commit.id) is Ancestry.OLDER else None


def _stale(job: Job, error: Stale, applied: str) -> Result:
    """A job whose commit is part of what was applied last. The first time that is as it should be; again, it is not.

    A later merge was quicker, and has applied this one with it. Whoever runs an old job again, though, wants to go
    back, and must not be shown that it worked.
    """
    again = job.where.attempt > 1
    result = failed(job, error, marker=job.marker("outcome").text)
    if again:
        return result
    text = f"Nothing to do: commit {applied[:12]}, which was applied last, holds this one. It was applied with that."
    return Result(code=0, text=text, markdown=f"### reconcile: applied already\n\n{text}\n")


def _failed(job: Job, error: ReconcileError, project: Project | None) -> Result:
    revision = project.revision if project is not None else None
    result = failed(job, error, marker=job.marker("outcome").text)
    if isinstance(error, Stale) and job.where.attempt > 1:
        return result
    marker = job.marker("failure")
    issue = failure_issue(
        error, revision=revision, run_url=job.where.run_url, marker=marker.text, source_url=job.files_url
    )
    job.talk.issue(marker, _FAILURE_LABEL, issue.title, issue.body)
    if project is not None and project.commit is not None and job.where.event == "push":
        for request in job.talk.requests_of(project.commit.id):
            if not _has_outcome(job, request):
                job.talk.comment(request.number, job.marker("outcome"), result.markdown)
    return result


def _seconds_since(moment: str | None, at: datetime) -> float | None:
    try:
        return max((at - datetime.fromisoformat(moment)).total_seconds(), 0.0) if moment else None
    except (ValueError, TypeError):
        return None
