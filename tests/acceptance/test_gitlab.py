"""Jobs of GitLab CI, and of services that are neither GitLab nor GitHub: the same report, by other ways."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.gitlab_api import TOKEN, GitLabApi, gitlab_api
from tests.support.project import ACME, BOB, TOP, Project

KILL = f"{ACME}:\n  isWhatsappEnabled: {{value: false, reason: 'WhatsApp ban, INC-142'}}\n"


@pytest.fixture
def api() -> Iterator[GitLabApi]:
    """GitLab's API."""
    with gitlab_api() as served:
        yield served


def of_job(api: GitLabApi, source: str, **more: str) -> dict[str, str]:
    """What GitLab sets for a job."""
    return {
        "GITLAB_CI": "true", "CI": "true", "CI_API_V4_URL": api.url, "CI_PROJECT_ID": "1", "CI_PIPELINE_SOURCE": source,
        "CI_PROJECT_URL": "https://gitlab.com/acme/state", "CI_JOB_URL": "https://gitlab.com/acme/state/-/jobs/9",
        "CI_DEFAULT_BRANCH": "main", "GITLAB_TOKEN": TOKEN,
    } | more  # fmt: skip


def of_request(api: GitLabApi) -> dict[str, str]:
    """What GitLab sets for a job of the merge request."""
    return of_job(
        api, "merge_request_event", CI_MERGE_REQUEST_IID="5", CI_COMMIT_SHA=api.head, CI_MERGE_REQUEST_PROJECT_ID="1",
        CI_MERGE_REQUEST_SOURCE_PROJECT_ID="1",
    )  # fmt: skip


def test_a_merge_request_gets_its_note_its_labels_and_findings_in_the_diff(project: Project, api: GitLabApi) -> None:
    api.head = project.commit_state(KILL)
    done = project.run("ci", "plan", "--code-quality", "quality.json", environment=of_request(api))
    assert done.code == 0, str(done)
    assert "::" not in done.out
    [note] = api.notes
    assert note["body"].startswith(f"<!-- reconcile:plan . head={api.head}")
    assert "https://gitlab.com/acme/state/-/blob/" in note["body"]
    assert api.labels == {"kill"}
    [finding] = json.loads((project.directory / "quality.json").read_text())
    assert finding["location"] == {"path": "state/tenants.yaml", "lines": {"begin": 2}}

    api.head = project.commit_state(f"{ACME}:\n  isWhatsappEnabled: true\n")
    assert project.run("ci", "plan", environment=of_request(api)).code == 0
    assert len(api.notes) == 1
    assert f"head={api.head}" in api.notes[0]["body"]
    assert api.labels == set()


def test_what_was_merged_is_told_in_the_merge_request(project: Project, api: GitLabApi) -> None:
    api.merge_commit = api.head = project.commit_state(KILL)
    environment = of_request(api)
    project.run("ci", "plan", environment=environment)
    api.merged_at = "2026-01-02T03:04:05Z"
    done = project.run("ci", "apply", environment=of_job(api, "push", CI_COMMIT_BRANCH="main"))
    assert done.code == 0, str(done)
    assert len(project.entries()) == 1
    assert api.notes[1]["body"].startswith("<!-- reconcile:outcome . run=")
    assert "As reviewed" in api.notes[1]["body"]


def test_the_documented_pipeline_has_the_form_that_gitlab_asks_for(tmp_path: Path) -> None:
    page = (TOP / "docs" / "gitlab.md").read_text(encoding="utf-8")
    [pipeline] = re.findall(r"^```yaml\n(# \.gitlab-ci\.yml\n.*?)^```$", page, re.MULTILINE | re.DOTALL)
    file = tmp_path / ".gitlab-ci.yml"
    file.write_text(pipeline)
    check = [str(Path(sys.prefix) / "bin" / "check-jsonschema"), "--builtin-schema", "vendor.gitlab-ci", str(file)]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_moved_since_the_review_is_told_by_the_plan_that_its_job_has_kept(
    project: Project, api: GitLabApi
) -> None:
    api.merge_commit = api.head = project.commit_state(f"{KILL}  aiDailyLimit: 5\n")
    environment = of_request(api) | {"CI_JOB_ID": "41"}
    done = project.run("ci", "plan", "--plan-out", "plan.json", environment=environment)
    assert done.code == 0, str(done)
    assert api.notes[0]["body"].partition(" -->")[0].endswith(" job=41")
    api.artifacts[41] = archive((project.directory / "plan.json").read_bytes())
    (project.directory / "plan.json").unlink()
    project.database.execute('UPDATE tenants SET "aiDailyLimit" = 5 WHERE id = %s', [ACME])
    api.merged_at = "2026-01-02T03:04:05Z"
    assert project.run("ci", "apply", environment=of_job(api, "push", CI_COMMIT_BRANCH="main")).code == 0
    told = api.notes[1]["body"]
    assert "**1 field moved between the review and the apply:**" in told
    assert "> - AI requests a day for Acme Bakery: reviewed as" in told


@pytest.mark.parametrize("kept", [None, b"no archive", "another"])
def test_without_that_plan_the_fingerprint_has_to_do_and_that_is_said(
    project: Project, api: GitLabApi, kept: bytes | str | None
) -> None:
    api.merge_commit = api.head = project.commit_state(f"{KILL}  aiDailyLimit: 5\n")
    environment = of_request(api) | {"CI_JOB_ID": "41"}
    project.run("ci", "plan", "--plan-out", "plan.json", environment=environment)
    if kept == "another":  # whoever can write the artifact of a job cannot write what the note says
        project.succeed("--dry-run", "--only", f"tenants/{BOB}", "--plan-out", "plan.json")
        kept = archive((project.directory / "plan.json").read_bytes())
    if isinstance(kept, bytes):
        api.artifacts[41] = kept
    (project.directory / "plan.json").unlink()
    project.database.execute('UPDATE tenants SET "aiDailyLimit" = 5 WHERE id = %s', [ACME])
    api.merged_at = "2026-01-02T03:04:05Z"
    assert project.run("ci", "apply", environment=of_job(api, "push", CI_COMMIT_BRANCH="main")).code == 0
    assert "Not as reviewed: something moved" in api.notes[1]["body"]
    assert "is not kept any more" in api.notes[1]["body"]


def archive(plan: bytes) -> bytes:
    """What GitLab makes of the artifacts of a job."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        made.writestr("plan.json", plan)
    return buffer.getvalue()


def test_drift_and_failures_are_issues_here_as_well(project: Project, api: GitLabApi) -> None:
    project.commit_state(f"{ACME}:\n  isWhatsappEnabled: true\n")
    environment = of_job(api, "schedule", CI_COMMIT_BRANCH="main")
    project.run("ci", "apply", environment=environment)
    project.database.execute('UPDATE tenants SET "isWhatsappEnabled" = false WHERE id = %s', [ACME])
    assert project.run("ci", "drift", environment=environment).code == 0
    assert [(issue["state"], issue["labels"]) for issue in api.issues] == [("opened", ["reconcile-drift"])]
    project.database.execute('UPDATE tenants SET "isWhatsappEnabled" = true WHERE id = %s', [ACME])
    assert project.run("ci", "drift", environment=environment).code == 0
    assert [issue["state"] for issue in api.issues] == ["closed"]

    away = project.database.url.rpartition("/")[0] + "/nowhere"
    assert project.run("ci", "apply", environment=environment, url=away).code == 4
    assert api.issues[1]["labels"] == ["reconcile-failure"]
    assert project.run("ci", "apply", environment=environment).code == 0
    assert api.issues[1]["state"] == "closed"


def test_only_the_branch_that_production_follows_is_applied(project: Project, api: GitLabApi) -> None:
    project.commit_state(KILL)
    done = project.run("ci", "apply", environment=of_job(api, "web", CI_COMMIT_BRANCH="try"))
    assert done.code == 1
    assert "only main is applied" in done.out
    done = project.run("ci", "apply", environment=of_request(api))
    assert "not merged" in done.out
    assert project.entries() == []
    arguments = ("ci", "apply", "--branch", "try")
    assert project.run(*arguments, environment=of_job(api, "web", CI_COMMIT_BRANCH="try")).code == 0
    assert len(project.entries()) == 1


def test_without_a_token_the_summary_is_a_file_and_the_reason_is_said(project: Project, api: GitLabApi) -> None:
    project.commit_state(KILL)
    environment = of_request(api)
    del environment["GITLAB_TOKEN"]
    done = project.run("ci", "plan", environment=environment)
    assert done.code == 0, str(done)
    assert "there is no GITLAB_TOKEN" in done.out
    assert "Acme Bakery" in (project.directory / "reconcile.md").read_text()
    assert api.notes == []


def test_a_host_that_is_away_is_said_without_the_token(project: Project, api: GitLabApi) -> None:
    api.failing = 502
    api.head = project.commit_state(KILL)
    done = project.run("ci", "plan", environment=of_request(api))
    assert done.code == 0, str(done)
    assert "HTTP 502" in done.out
    assert TOKEN not in str(done)


def test_another_service_gets_a_markdown_file(project: Project) -> None:
    project.commit_state(KILL)
    done = project.run("ci", "plan", "--markdown-out", "plan.md", "--plan-out", "plan.json")
    assert done.code == 0, str(done)
    text = (project.directory / "plan.md").read_text()
    assert text.startswith("### reconcile")
    assert json.loads((project.directory / "plan.json").read_text())["counts"]["kills"] == 1
    assert not (project.directory / "reconcile.md").exists()


def test_nothing_is_said_where_that_was_asked(project: Project, api: GitLabApi) -> None:
    project.commit_state(KILL)
    done = project.run("ci", "plan", "--no-comment", environment=of_request(api))
    assert done.code == 0, str(done)
    assert "asked not to" in done.out
    assert api.notes == []


def test_a_plan_that_would_be_refused_fails_its_job(project: Project, api: GitLabApi) -> None:
    first = project.commit_state(KILL)
    project.succeed()
    project.commit_state(f"{ACME}:\n  isAiEnabled: false\n")
    project.succeed()
    project.repo.git("checkout", "--quiet", first)
    done = project.run("ci", "plan", environment=of_request(api) | {"CI_COMMIT_SHA": api.head})
    assert done.code == 1, str(done)
    assert "older than" in api.notes[0]["body"]
    assert "blocked" in api.labels


def test_a_kill_opens_its_merge_request_through_the_api(project: Project, api: GitLabApi) -> None:
    """What `reconcile kill` does with a remote on GitLab; see test_kill for the rest."""
    from reconciler.hosts.address import PullRequest, Repository
    from reconciler.hosts.pull_request import open_pull_request

    where = Repository("gitlab.com", "acme/state", is_gitlab=True)
    request = PullRequest("kill/x", "main", "Kill", "Why", ("kill",))
    environment = {"CI_API_V4_URL": api.url, "GITLAB_TOKEN": TOKEN, "PATH": ""}
    opened = open_pull_request(project.directory, where, request, environment)
    assert opened.url == "https://gitlab.com/acme/state/-/merge_requests/6"
    assert api.requests[0]["source_branch"] == "kill/x"
    api.failing = 502
    opened = open_pull_request(project.directory, where, request, environment)
    assert opened.url is None
    assert opened.page == where.page(request)
    assert "502" in opened.notes[0]
