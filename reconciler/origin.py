"""Who runs this, and where its log is: taken from the environment that CI services provide, else from the system.

Takes the environment; gives an Origin. Names of variables: GitHub's
(https://docs.github.com/actions/reference/variables-reference) and GitLab's
(https://docs.gitlab.com/ci/variables/predefined_variables/).
"""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping

from reconciler.commit import Commit
from reconciler.pipeline import Origin


def origin_of(environment: Mapping[str, str], commit: Commit | None) -> Origin:
    """The person, run and pull request behind this process."""
    if environment.get("GITHUB_ACTIONS") == "true":
        server, repository = environment.get("GITHUB_SERVER_URL", ""), environment.get("GITHUB_REPOSITORY", "")
        run = environment.get("GITHUB_RUN_ID")
        url = f"{server}/{repository}/actions/runs/{run}" if server and repository and run else None
        return Origin(
            actor=environment.get("GITHUB_ACTOR") or "GitHub Actions",
            run_url=url,
            pull_request=_pull_request(environment.get("GITHUB_REF", ""), commit.subject if commit else ""),
        )
    if environment.get("GITLAB_CI") == "true":
        number = environment.get("CI_MERGE_REQUEST_IID", "")
        return Origin(
            actor=environment.get("GITLAB_USER_LOGIN") or "GitLab CI",
            run_url=environment.get("CI_JOB_URL"),
            pull_request=int(number) if number.isdigit() else None,
        )
    return Origin(actor=f"{_user(environment)}@{socket.gethostname()}")


def _pull_request(ref: str, subject: str) -> int | None:
    """Of the ref while the request is open; after the merge GitHub leaves it only in the commit's subject."""
    found = (
        re.fullmatch(r"refs/pull/(\d+)/(?:merge|head)", ref)
        or re.match(r"Merge pull request #(\d+) ", subject)
        or re.search(r"\(#(\d+)\)$", subject)
    )
    return int(found[1]) if found else None


def _user(environment: Mapping[str, str]) -> str:
    for name in ("SUDO_USER", "LOGNAME", "USER", "USERNAME"):
        if environment.get(name):
            return environment[name]
    try:
        import os
        import pwd

        return pwd.getpwuid(os.getuid()).pw_name
    except (ImportError, KeyError):
        return "unknown"
