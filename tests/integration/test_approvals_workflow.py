"""The workflow that counts approvals, run as it stands: its own shell step, a real remote, an API on this machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from tests.support import cli
from tests.support.gitrepo import GitRepo
from tests.support.project import TOP

WORKFLOW = TOP / "reconciler" / "scaffold" / "files" / "approvals.yml"

pytestmark = pytest.mark.skipif(
    shutil.which("curl") is None or shutil.which("jq") is None, reason="the workflow uses curl and jq"
)


class Host:
    """The reviews and commits that the API lists, in pages, and the statuses that were set."""

    def __init__(self) -> None:
        self.reviews: list[dict[str, Any]] = []
        self.commits: list[dict[str, Any]] = []
        self.statuses: list[tuple[str, dict[str, str]]] = []
        self.tokens: set[str] = set()
        self.url = ""


@pytest.fixture
def host() -> Iterator[Host]:
    found = Host()

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            address = urlsplit(self.path)
            asked = parse_qs(address.query)
            size, page = int(asked["per_page"][0]), int(asked["page"][0])
            every = {"/repos/acme/ops/pulls/7/reviews": found.reviews, "/repos/acme/ops/pulls/7/commits": found.commits}
            if address.path in every and size <= 100:
                self._answer(200, every[address.path][(page - 1) * size : page * size])
            else:
                self._answer(404, {"message": "Not Found"})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            if self.path.startswith("/repos/acme/ops/statuses/"):
                found.statuses.append((self.path.rpartition("/")[2], body))
                self._answer(201, body)
            else:
                self._answer(404, {"message": "Not Found"})

        def _answer(self, status: int, body: Any) -> None:
            found.tokens.add(str(self.headers["authorization"]))
            data = json.dumps(body, indent=2).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    server.daemon_threads = True
    found.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield found
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def clone(git_repo: GitRepo, tmp_path: Path) -> GitRepo:
    """The default branch as the workflow checks it out; `origin` is where pull request 7 is proposed."""
    done = cli.run("new", str(tmp_path / "made"), "--install", "reconcile==1", cwd=tmp_path)
    assert done.code == 0, str(done)
    shutil.copytree(tmp_path / "made", git_repo.path, dirs_exist_ok=True)
    git_repo.write("state/accounts.yaml", "acme: {messaging_enabled: false, model: small}\n")
    git_repo.commit("Begin")
    git_repo.git("clone", "--quiet", str(git_repo.path), str(tmp_path / "clone"))
    return GitRepo(tmp_path / "clone")


def propose(origin: GitRepo, state: str) -> str:
    """A commit that only refs/pull/7/head names; its id."""
    origin.git("checkout", "--quiet", "--detach")
    origin.write("state/accounts.yaml", state)
    head = origin.commit("Propose")
    origin.git("update-ref", "refs/pull/7/head", head)
    origin.git("checkout", "--quiet", "main")
    return head


def count(clone: GitRepo, host: Host, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """Run the workflow's step as the runner does."""
    steps = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))["jobs"]["count"]["steps"]
    (step,) = [one for one in steps if one.get("name") == "Count"]
    assert set(step["env"]) == {"TOKEN", "NUMBER", "AUTHOR", "API", "RUN"}
    assert "${{" not in step["run"], "text of the event would be read as shell"
    programs = tmp_path / "programs"
    programs.mkdir(exist_ok=True)
    program = programs / "reconcile"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m reconciler "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    temporary = tmp_path / "runner"
    temporary.mkdir(exist_ok=True)
    environment = cli.clean_environment(environment={
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "GITHUB_WORKSPACE": str(clone.path),
        "RUNNER_TEMP": str(temporary), "GITHUB_STEP_SUMMARY": str(temporary / "summary.md"), "TOKEN": "a-token",
        "NUMBER": "7", "AUTHOR": "author", "API": f"{host.url}/repos/acme/ops", "RUN": "https://host.example/run",
    })  # fmt: skip
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
        cwd=clone.path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


def approval(login: str, head: str) -> dict[str, Any]:
    return {"user": {"login": login, "type": "User"}, "state": "APPROVED", "commit_id": head, "body": "[ok][ok]",
            "author_association": "MEMBER"}  # fmt: skip


def test_a_restore_waits_for_two_people_who_did_not_write_it(
    git_repo: GitRepo, clone: GitRepo, host: Host, tmp_path: Path
) -> None:
    head = propose(git_repo, "acme: {messaging_enabled: true, model: small}\n")
    host.commits = [{"sha": head, "author": {"login": "writer"}}, {"sha": head, "author": None}]
    host.reviews = [approval("ann", head), approval("writer", head), approval("author", head)]
    done = count(clone, host, tmp_path)
    assert done.returncode == 0, done.stderr
    assert host.statuses == [
        (head, {"context": "reviewed", "state": "failure", "target_url": "https://host.example/run",
                "description": "restore: 1 of 2 approvals (ann)"}),
    ]  # fmt: skip
    host.reviews.append(approval("bo", head))
    count(clone, host, tmp_path)
    assert (host.statuses[1][0], host.statuses[1][1]["state"]) == (head, "success")
    assert host.tokens == {"Bearer a-token"}
    summary = (tmp_path / "runner" / "summary.md").read_text(encoding="utf-8")
    assert summary.splitlines()[1] == "success: restore: 2 of 2 approvals (ann, bo)"


def test_every_page_of_reviews_is_looked_at(git_repo: GitRepo, clone: GitRepo, host: Host, tmp_path: Path) -> None:
    head = propose(git_repo, "acme: {messaging_enabled: true, model: small}\n")
    remarks = [{**approval("ann", head), "state": "COMMENTED"} for _ in range(100)]
    host.reviews = [*remarks, approval("ann", head), approval("bo", head)]
    count(clone, host, tmp_path)
    assert host.statuses[0][1]["state"] == "success"


def test_what_a_pull_request_says_of_approvals_does_not_count_for_itself(
    git_repo: GitRepo, clone: GitRepo, host: Host, tmp_path: Path
) -> None:
    git_repo.git("checkout", "--quiet", "--detach")
    policy = git_repo.path / "schemas" / "policy.yaml"
    text = policy.read_text(encoding="utf-8")
    policy.write_text(text.replace("restore: 2, definitions: 2", "restore: 0, definitions: 0"), encoding="utf-8")
    head = propose(git_repo, "acme: {messaging_enabled: true, model: small}\n")
    count(clone, host, tmp_path)
    assert host.statuses[0][0] == head
    assert host.statuses[0][1]["description"] == "restore: 0 of 2 approvals"


def test_a_head_that_is_not_valid_is_not_reviewed(
    git_repo: GitRepo, clone: GitRepo, host: Host, tmp_path: Path
) -> None:
    head = propose(git_repo, "acme: {messaging_enabled: perhaps}\n")
    host.reviews = [approval("ann", head), approval("bo", head)]
    done = count(clone, host, tmp_path)
    assert "is not a boolean" in done.stderr
    assert host.statuses[0][1]["state"] == "failure"


def test_where_the_host_does_not_answer_nothing_is_called_reviewed(
    git_repo: GitRepo, clone: GitRepo, host: Host, tmp_path: Path
) -> None:
    propose(git_repo, "acme: {messaging_enabled: true, model: small}\n")
    host.reviews = None  # type: ignore[assignment]
    host.url += "/elsewhere"
    done = count(clone, host, tmp_path)
    assert done.returncode != 0
    assert host.statuses == []
