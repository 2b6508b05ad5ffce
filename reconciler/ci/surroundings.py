"""Where a job runs, what began it, and whom it can speak to: read from the environment of the CI service.

Takes the environment; gives Surroundings. Names of variables: GitHub's
(https://docs.github.com/actions/reference/variables-reference), with the event's payload
(https://docs.github.com/webhooks/webhook-events-and-payloads), and GitLab's
(https://docs.gitlab.com/ci/variables/predefined_variables/). What a payload holds beside ids and names, such as a
title, is a stranger's text, and is not read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from reconciler.hosts.github import GitHub
from reconciler.hosts.gitlab import GitLab
from reconciler.hosts.host import Host

__all__ = ["Service", "Surroundings", "surroundings_of"]

Service = Literal["github", "gitlab", "other"]

_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """One job. What does not exist is None.

    `host` is whom to speak to; where there is nobody, `why_silent` says why. `number` and `head` are those of the pull
    request that is open, `event` is the service's word for what began the job, `attempt` counts from 1, `files_url` is
    where the commit's files can be read. `job` is the number by which GitLab finds the job's artifacts.
    """

    service: Service
    event: str = ""
    host: Host | None = None
    why_silent: str = ""
    number: int | None = None
    head: str | None = None
    from_fork: bool = False
    by_dependabot: bool = False
    branch: str | None = None
    default_branch: str | None = None
    attempt: int = 1
    run_url: str | None = None
    files_url: str | None = None
    job: int | None = None

    @property
    def in_pull_request(self) -> bool:
        """Whether the job is about a pull request that is not merged."""
        return self.number is not None

    @property
    def gets_no_secrets(self) -> bool:
        """Whether the service keeps its secrets from the job, whatever the workflow says."""
        return self.from_fork or self.by_dependabot


def surroundings_of(environment: Mapping[str, str], *, silent: bool = False) -> Surroundings:
    """The Surroundings of this process. Never raises: what is not understood is left out. `silent`: speak to nobody."""
    if environment.get("GITHUB_ACTIONS") == "true":
        found = _on_github(environment)
    elif environment.get("GITLAB_CI") == "true":
        found = _on_gitlab(environment)
    else:
        found = Surroundings(service="other", why_silent="this is neither GitHub Actions nor GitLab CI")
    return msgspec.structs.replace(found, host=None, why_silent="it was asked not to") if silent else found


def _on_github(environment: Mapping[str, str]) -> Surroundings:
    server = environment.get("GITHUB_SERVER_URL", "https://github.com")
    repository = environment.get("GITHUB_REPOSITORY", "")
    payload = _payload(environment.get("GITHUB_EVENT_PATH"))
    request = _mapping(payload, "pull_request")
    number = request.get("number")
    head = _mapping(request, "head").get("sha")
    head = head if isinstance(head, str) and _COMMIT.fullmatch(head) else None
    # A repository that was deleted is null here: whatever it was, it was not ours.
    is_fork = bool(request) and _mapping(request, "head", "repo").get("full_name") != repository
    default = _mapping(payload, "repository").get("default_branch")
    branch = environment.get("GITHUB_REF_NAME") if environment.get("GITHUB_REF_TYPE", "branch") == "branch" else None
    token = environment.get("GITHUB_TOKEN") or environment.get("GH_TOKEN")
    host: Host | None = None
    why = ""
    if is_fork and environment.get("GITHUB_EVENT_NAME") == "pull_request":
        why = "the pull request comes from a fork, whose jobs may only read"
    elif not token:
        why = "there is no GITHUB_TOKEN"
    elif not re.fullmatch(r"[A-Za-z0-9._-]+/[A-Za-z0-9._-]+", repository):
        why = "GITHUB_REPOSITORY names no repository"
    else:
        host = GitHub(environment.get("GITHUB_API_URL") or "https://api.github.com", repository, token)
    commit = head or environment.get("GITHUB_SHA", "")
    run = environment.get("GITHUB_RUN_ID", "")
    return Surroundings(
        service="github",
        event=environment.get("GITHUB_EVENT_NAME", ""),
        host=host,
        why_silent=why,
        number=number if isinstance(number, int) else None,
        head=head,
        from_fork=is_fork,
        # GitHub treats what this robot begins as if it came from a fork; its branches are in the repository.
        by_dependabot=bool(request) and environment.get("GITHUB_ACTOR") == "dependabot[bot]",
        branch=branch,
        default_branch=default if isinstance(default, str) else None,
        attempt=_number(environment.get("GITHUB_RUN_ATTEMPT")) or 1,
        run_url=f"{server}/{repository}/actions/runs/{run}" if repository and run else None,
        files_url=f"{server}/{repository}/blob/{commit}" if repository and _COMMIT.fullmatch(commit) else None,
    )


def _on_gitlab(environment: Mapping[str, str]) -> Surroundings:
    project, token = environment.get("CI_PROJECT_ID"), environment.get("GITLAB_TOKEN")
    source = environment.get("CI_MERGE_REQUEST_SOURCE_PROJECT_ID")
    is_fork = source is not None and source != environment.get("CI_MERGE_REQUEST_PROJECT_ID", project)
    number = _number(environment.get("CI_MERGE_REQUEST_IID"))
    # In a pipeline for the merged result CI_COMMIT_SHA is the result's, and the head has a variable of its own.
    head = environment.get("CI_MERGE_REQUEST_SOURCE_BRANCH_SHA") or environment.get("CI_COMMIT_SHA", "")
    host: Host | None = None
    why = ""
    api = environment.get("CI_API_V4_URL")
    if is_fork:
        why = "the merge request comes from a fork, whose jobs have no token of this project"
    elif not token:
        why = "there is no GITLAB_TOKEN (CI_JOB_TOKEN may not write notes)"
    elif not project or not api:
        why = "CI_PROJECT_ID or CI_API_V4_URL is not set"
    else:
        host = GitLab(api, project, token)
    page = environment.get("CI_PROJECT_URL")
    return Surroundings(
        service="gitlab",
        event=environment.get("CI_PIPELINE_SOURCE", ""),
        host=host,
        why_silent=why,
        number=number,
        head=head if number is not None and _COMMIT.fullmatch(head) else None,
        from_fork=is_fork,
        branch=environment.get("CI_COMMIT_BRANCH"),
        default_branch=environment.get("CI_DEFAULT_BRANCH"),
        run_url=environment.get("CI_JOB_URL"),
        files_url=f"{page}/-/blob/{head}" if page and _COMMIT.fullmatch(head) else None,
        job=_number(environment.get("CI_JOB_ID")),
    )


def _payload(path: str | None) -> Mapping[str, Any]:
    try:
        found = json.loads(Path(path).read_bytes()) if path else {}
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _mapping(document: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    for name in names:
        found = document.get(name)
        document = found if isinstance(found, dict) else {}
    return document


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() else None
