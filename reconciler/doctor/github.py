"""GitHub Actions, where this runs there: the event, one run at a time, and what the token may do.

Takes the environment and the project's directory; gives Findings. The workflow is read from its file; of the token the
REST API is asked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml
from yaml.loader import SafeLoader

from reconciler.doctor.findings import Finding, Purpose, note, ok, warning
from reconciler.hosts.github import GitHub, github_api
from reconciler.hosts.http import HostProblem

PART = "github"
_LARGEST = 1 << 20


def runs_there(environment: Mapping[str, str]) -> bool:
    """Whether this is a job of GitHub Actions."""
    return environment.get("GITHUB_ACTIONS") == "true"


def look_at_job(environment: Mapping[str, str], directory: Path, purpose: Purpose) -> list[Finding]:
    """The event, and whether runs of this workflow can get in each other's way."""
    return [*_event(environment, purpose), *_workflow(environment, directory, purpose)]


def _event(environment: Mapping[str, str], purpose: Purpose) -> Iterator[Finding]:
    event, ref = environment.get("GITHUB_EVENT_NAME", "unknown"), environment.get("GITHUB_REF", "")
    text = f"{event} of {ref}" if ref else event
    if event == "pull_request_target":
        advice = "plan with pull_request, whose runs get no secret of yours from a fork"
        yield warning(PART, "event", f"{text}: it runs with your secrets whatever the pull request says", advice)
    elif purpose == "apply" and (event == "pull_request" or ref.startswith("refs/pull/")):
        advice = "apply on push, schedule and workflow_dispatch; plan on pull_request"
        yield warning(PART, "event", f"{text}: what is checked out is not merged", advice)
    else:
        yield ok(PART, "event", text)


def _workflow(environment: Mapping[str, str], directory: Path, purpose: Purpose) -> Iterator[Finding]:
    found = re.match(r"[^/]+/[^/]+/(.+)@", environment.get("GITHUB_WORKFLOW_REF", ""))
    if purpose == "plan" or found is None:
        return
    document = _read_workflow(Path(environment.get("GITHUB_WORKSPACE") or directory) / found[1])
    if document is None:
        yield note(PART, "concurrency", f"not known: {found[1]} cannot be read here")
        return
    jobs = document.get("jobs")
    job = jobs.get(environment.get("GITHUB_JOB", "")) if isinstance(jobs, dict) else None
    said = [each["concurrency"] for each in (document, job) if isinstance(each, dict) and "concurrency" in each]
    advice = "concurrency: {group: apply, cancel-in-progress: false}"
    if not said:
        text = f"{found[1]} names no group: two applies may run at once, and the later one waits for the lock or fails"
        yield warning(PART, "concurrency", text, advice)
    elif any(isinstance(each, dict) and each.get("cancel-in-progress") is True for each in said):
        text = f"{found[1]} cancels runs that are under way: an apply is rolled back, or its effects are left waiting"
        yield warning(PART, "concurrency", text, advice)
    else:
        yield ok(PART, "concurrency", f"{found[1]} runs one at a time")


def _read_workflow(path: Path) -> dict[str, Any] | None:
    try:
        with path.open("rb") as file:
            document = yaml.load(file.read(_LARGEST), SafeLoader)
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def look_at_token(environment: Mapping[str, str]) -> list[Finding]:
    """What the token may do. The API is waited for: the caller keeps the deadline."""
    token = environment.get("GITHUB_TOKEN") or environment.get("GH_TOKEN")
    repository = environment.get("GITHUB_REPOSITORY", "")
    if not token:
        text = "neither GITHUB_TOKEN nor GH_TOKEN is set: nothing can be written to pull requests"
        return [note(PART, "token", text, "an apply needs none")]
    host = urlsplit(environment.get("GITHUB_SERVER_URL", "")).hostname or "github.com"
    try:
        rights = GitHub(github_api(host, environment), repository, token, patience_s=0.0).rights()
    except HostProblem as problem:
        if problem.status in (401, 403, 404):
            advice = "give the job `permissions: {contents: read, pull-requests: write}`"
            return [warning(PART, "token", f"it may not read {repository}: {problem}", advice)]
        return [warning(PART, "token", f"the API does not answer: {problem}", "pull requests cannot be written to now")]
    if "admin" in rights:
        advice = "use the job's own GITHUB_TOKEN, limited by `permissions:`"
        return [warning(PART, "token", f"it may administer {repository}, which no run needs", advice)]
    return [ok(PART, "token", f"it may {', '.join(rights) or 'read'} {repository}")]
