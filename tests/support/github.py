"""GitHub on this machine: a remote that is pushed to, pull requests, events as GitHub sends them, and their jobs.

Takes a Project (its repository is the colleague's clone) and the API; gives what a person does there: `push`, `open`,
`update`, `merge`. Each gives the runs that the workflows of the pushed commit begin; a run is executed when a test says
so, in any order, and again.
"""

from __future__ import annotations

import itertools
import json
import re
import shutil
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reconciler.scaffold.repository import plan_files
from tests.support.github_api import BOT, GitHubApi
from tests.support.gitrepo import GitRepo
from tests.support.project import TOP, Project
from tests.support.workflow_runner import (
    Ran,
    Surroundings,
    base_environment,
    concurrency_of,
    is_begun_by,
    jobs_of,
    read,
    run_job,
)

REPOSITORY = "acme/state"
PUBLISHED = "tools/reconcile@v1"
"""The action of this repository, where another repository uses it."""
ACTION = ("action.yml", "constraints.txt", "pyproject.toml", ".github/workflows")
TITLE = "`$(touch injected)` ${{ secrets.DATABASE_URL }}"
"""What a stranger may call a pull request."""

_NUMBERS = itertools.count(1)


@dataclass
class Run:
    """A run of a workflow: what began it, and its jobs. `execute` runs them, each time as another attempt."""

    github: GitHub
    workflow: str
    document: Mapping[str, Any]
    event: str
    payload: Mapping[str, Any]
    ref: str
    sha: str
    id: int
    attempts: int = 0

    @property
    def group(self) -> tuple[str, bool]:
        """Its concurrency group, and whether it cancels the one in progress."""
        context = {"ref": self.ref, "sha": self.sha, "event_name": self.event, "event": self.payload}
        return concurrency_of(self.document, context)

    def execute(self) -> dict[str, Ran]:
        """Run all jobs; by name."""
        self.attempts += 1
        return {name: self._job(name) for name in jobs_of(self.document)}

    def job(self, name: str) -> Ran:
        """Run this job alone, as a colleague does with "Re-run job"."""
        self.attempts += 1
        return self._job(name)

    def _job(self, name: str) -> Ran:
        in_file, matrix = jobs_of(self.document)[name]
        job = self.document["jobs"][in_file]
        github = self.github
        folder = github.folder / f"run{self.id}-{self.attempts}-{re.sub(r'[^a-z]+', '-', name)}"
        workspace = folder / "workspace"
        for each in (workspace, folder / "temp"):
            each.mkdir(parents=True)
        event = folder / "event.json"
        event.write_text(json.dumps(self.payload))
        branch = self.ref.removeprefix("refs/heads/").removeprefix("refs/pull/")
        is_fork = self.is_from_fork
        environment = base_environment(folder) | {
            "GITHUB_REPOSITORY": REPOSITORY, "GITHUB_API_URL": github.api.url, "GITHUB_EVENT_NAME": self.event,
            "GITHUB_EVENT_PATH": str(event), "GITHUB_REF": self.ref, "GITHUB_REF_NAME": branch, "GITHUB_SHA": self.sha,
            "GITHUB_REF_TYPE": "branch", "GITHUB_RUN_ID": str(self.id), "GITHUB_RUN_ATTEMPT": str(self.attempts),
            "GITHUB_ACTOR": "octo", "GITHUB_WORKSPACE": str(workspace),
        }  # fmt: skip

        def token_of(permissions: Mapping[str, str]) -> str:
            # A fork's job may read, whatever its workflow says.
            allowed = dict.fromkeys(permissions, "read") if is_fork else permissions
            return github.api.token(f"token-{self.id}-{self.attempts}-{name}", **allowed)

        def keep(artifact: str, data: bytes) -> None:
            head = self.payload["pull_request"]["head"]["sha"] if "pull_request" in self.payload else self.sha
            github.keep_artifact(artifact, data, head, own=not is_fork)

        around = Surroundings(
            github={
                "event_name": self.event, "ref": self.ref, "sha": self.sha, "event": self.payload,
                "repository": REPOSITORY, "workspace": str(workspace),
            },
            variables=github.variables,
            secrets={} if is_fork else github.secrets,
            environment=environment,
            temporary=folder,
            remote=github.remote,
            token_of=token_of,
            keep_artifact=keep,
            caches=github.caches,
            read=github.read,
            matrix=matrix,
            actions={PUBLISHED: github.published} if github.published is not None else {},
        )  # fmt: skip
        return run_job(name, job, around)

    @property
    def is_from_fork(self) -> bool:
        """Whether a stranger's repository is at the other end."""
        request = self.payload.get("pull_request")
        return request is not None and request["head"]["repo"]["full_name"] != REPOSITORY


@dataclass
class GitHub:
    """The repository acme/state, with its workflows, secrets and variables.

    `published` is where a runner has put this action, for workflows that use it as a stranger does (PUBLISHED).
    """

    project: Project
    api: GitHubApi
    folder: Path
    variables: dict[str, str] = field(default_factory=lambda: {"RECONCILE_PLAN": "true", "RECONCILE_APPLY": "true"})
    secrets: dict[str, str] = field(default_factory=dict)
    scaffolded: bool = False
    caches: dict[str, Path] | None = None
    read: dict[str, Path] = field(default_factory=dict)
    published: Path | None = None

    def __post_init__(self) -> None:
        self.folder.mkdir()
        self.remote = self.folder / "state.git"
        self.secrets |= {"DATABASE_URL_PLAN": self.project.database.url, "DATABASE_URL": self.project.database.url}
        repo = self.repo
        if self.scaffolded:
            self._write_scaffold()
        else:
            for name in ACTION:
                target = repo.path / name
                target.parent.mkdir(parents=True, exist_ok=True)
                (shutil.copytree if (TOP / name).is_dir() else shutil.copy)(TOP / name, target)
            if self.published is not None:
                for file in (repo.path / ".github" / "workflows").glob("*.yml"):
                    file.write_text(re.sub(r"uses: \./.*", f"uses: {PUBLISHED}", file.read_text()))
            # What the action would install, and hashes: any file will do, as these tests have it installed.
            repo.write("reconciler/__init__.py", "")
        repo.commit("Workflows")
        repo.git("clone", "--quiet", "--bare", str(repo.path), str(self.remote))
        repo.git("remote", "add", "origin", f"https://github.com/{REPOSITORY}.git")
        repo.git("config", f"url.{self.remote}.insteadOf", f"https://github.com/{REPOSITORY}.git")
        repo.git("--git-dir", str(self.remote), "config", "uploadpack.allowAnySHA1InWant", "true")

    @property
    def repo(self) -> GitRepo:
        """The colleague's clone."""
        return self.project.repo

    # What people do

    def open(
        self, branch: str, state: str, file: str = "tenants/acme.yaml", *, fork: bool = False
    ) -> tuple[int, list[Run]]:
        """Push a branch with this state, and open a pull request; its number and the runs."""
        self.repo.git("checkout", "--quiet", "-B", branch, "main")
        head = self._commit(file, state, f"For {branch}")
        number = self.api.number()
        repository = "stranger/state" if fork else REPOSITORY
        self.api.pulls[number] = {
            "number": number, "head": head, "base": "main", "merged_at": None, "labels": [], "branch": branch,
            "repository": repository, "file": file,
        }  # fmt: skip
        return number, self._moved(number, "opened")

    def opened(self, number: int) -> list[Run]:
        """The runs of a pull request that a program has opened through the API, by a person's token."""
        pull = self.api.pulls[number]
        self.repo.git("checkout", "--quiet", pull["branch"])
        pull |= {"head": self.repo.head, "repository": REPOSITORY}
        return self._moved(number, "opened")

    def update(self, number: int, state: str, *, force: bool = False) -> list[Run]:
        """Push another commit to the pull request's branch, or with `force` another in place of it."""
        pull = self.api.pulls[number]
        self.repo.git("checkout", "--quiet", pull["branch"])
        if force:
            self.repo.git("reset", "--quiet", "--hard", "HEAD^")
        pull["head"] = self._commit(pull["file"], state, "Another try" if force else "And one more")
        return self._moved(number, "synchronize")

    def merge(self, number: int) -> list[Run]:
        """Merge with a merge commit."""
        pull = self.api.pulls[number]
        self.repo.git("checkout", "--quiet", "main")
        self._merge(pull["branch"], f"Merge pull request #{number} from acme/{pull['branch']}")
        self.repo.git("push", "--quiet", "--force", str(self.remote), "main")
        pull["merged_at"] = "2026-01-02T03:04:05Z"
        self.api.commits[self.repo.head] = [number]
        before = self.repo.git("rev-parse", "HEAD^")
        payload = {
            "ref": "refs/heads/main", "before": before, "after": self.repo.head, "created": False, "deleted": False,
            "forced": False, "compare": "", "commits": [], "repository": _repository(REPOSITORY), "sender": _SENDER,
            "pusher": {"name": "octo", "email": "octo@example.org"},
        }  # fmt: skip
        return self.runs("push", payload, "refs/heads/main", self.repo.head)

    def schedule(self) -> list[Run]:
        """The clock has struck: every workflow that waits for it runs on main."""
        self.repo.git("checkout", "--quiet", "main")
        payload = {"schedule": "17 * * * *", "repository": _repository(REPOSITORY)}
        return self.runs("schedule", payload, "refs/heads/main", self.repo.head)

    def runs(self, event: str, payload: Mapping[str, Any], ref: str, sha: str) -> list[Run]:
        """The runs that an event begins, by the workflows in the commit."""
        folder = self.repo.path / ".github" / "workflows"
        begun = []
        for file in sorted(folder.glob("*.yml")):
            if file.name in ("tests.yml", "approvals.yml"):  # not about this; and tested on its own
                continue
            document = read(file)
            if is_begun_by(document, event, ref.removeprefix("refs/heads/")):
                begun.append(Run(self, file.stem, document, event, payload, ref, sha, next(_NUMBERS)))
        return begun

    def keep_artifact(self, name: str, data: bytes, head: str, *, own: bool) -> None:
        """What upload-artifact does."""
        id = self.api.number()
        run = {"id": 1, "repository_id": 1, "head_repository_id": 1 if own else 2, "head_branch": "x", "head_sha": head}
        self.api.artifacts.append({"id": id, "name": name, "expired": False, "workflow_run": run})
        self.api.archives[id] = data

    # What is seen there

    def comments(self, number: int) -> list[str]:
        """The robot's comments."""
        return [one["body"] for one in self.api.comments.get(number, []) if one["user"] == BOT]

    def issues(self, label: str, state: str = "open") -> list[dict[str, Any]]:
        """Issues with this label."""
        return [one for one in self.api.issues.values() if label in one["labels"] and one["state"] == state]

    def _write_scaffold(self) -> None:
        """The workflows that `reconcile new` writes; what they install is a wheel that calls the command of here."""
        for path, text in plan_files("./reconcile_stub-1-py3-none-any.whl", ["@acme/ops"]).files.items():
            if path.startswith(".github/") or path == "requirements.txt":
                self.repo.write(path, text)
        write_stub(self.repo.path)

    def _commit(self, file: str, state: str, message: str) -> str:
        self.project.state(state, file)
        return self.project.commit(message)

    def _moved(self, number: int, action: str) -> list[Run]:
        """The refs that GitHub keeps for a pull request, and the event."""
        pull = self.api.pulls[number]
        head = self.repo.head
        self.repo.git("push", "--quiet", "--force", str(self.remote), f"HEAD:refs/pull/{number}/head")
        if pull["repository"] == REPOSITORY:
            self.repo.git("push", "--quiet", "--force", str(self.remote), f"HEAD:refs/heads/{pull['branch']}")
        self.repo.git("checkout", "--quiet", "--detach", "main")
        self._merge(head, f"Merge {head} into main")
        merged = self.repo.head
        self.repo.git("push", "--quiet", "--force", str(self.remote), f"HEAD:refs/pull/{number}/merge")
        ours = _repository(REPOSITORY)
        base = {"label": "acme:main", "ref": "main", "sha": self.repo.git("rev-parse", "main"), "repo": ours}
        payload = {
            "action": action,
            "number": number,
            "pull_request": {
                "number": number, "state": "open", "title": TITLE, "body": None,
                "merged": False, "draft": False, "labels": [], "base": base,
                "head": {
                    "label": f"acme:{pull['branch']}", "ref": pull["branch"], "sha": head,
                    "repo": _repository(pull["repository"]),
                },
            },
            "repository": _repository(REPOSITORY),
            "sender": _SENDER,
        }  # fmt: skip
        runs = self.runs("pull_request", payload, f"refs/pull/{number}/merge", merged)
        self.repo.git("checkout", "--quiet", "main")
        return runs

    def _merge(self, what: str, message: str) -> None:
        people = {"GIT_AUTHOR_NAME": "Octo", "GIT_AUTHOR_EMAIL": "octo@example.org"}
        people |= {"GIT_COMMITTER_NAME": "GitHub", "GIT_COMMITTER_EMAIL": "noreply@github.com"}
        self.repo.git("merge", "--quiet", "--no-ff", f"--message={message}", what, environment=people)


def only(runs: list[Run], workflow: str) -> Run:
    """The run of this workflow."""
    [run] = [run for run in runs if run.workflow == workflow]
    return run


def write_stub(folder: Path) -> None:
    """A wheel whose command `reconcile` is that of these tests."""
    command = str(Path(sys.prefix) / "bin" / "reconcile")
    code = f"import os, sys\n\ndef main():\n    os.execv({command!r}, [{command!r}, *sys.argv[1:]])\n"
    about = "reconcile_stub-1.dist-info"
    files = {
        "reconcile_stub.py": code,
        f"{about}/METADATA": "Metadata-Version: 2.1\nName: reconcile-stub\nVersion: 1\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{about}/entry_points.txt": "[console_scripts]\nreconcile = reconcile_stub:main\n",
    }
    record = "".join(f"{name},,\n" for name in [*files, f"{about}/RECORD"])
    with zipfile.ZipFile(folder / "reconcile_stub-1-py3-none-any.whl", "w") as wheel:
        for name, text in (files | {f"{about}/RECORD": record}).items():
            wheel.writestr(name, text)


def _repository(name: str) -> dict[str, Any]:
    owner = name.partition("/")[0]
    return {
        "id": 1 if name == REPOSITORY else 2, "name": "state", "full_name": name, "private": False,
        "default_branch": "main", "fork": name != REPOSITORY, "owner": {"login": owner, "type": "Organization"},
    }  # fmt: skip


_SENDER = {"login": "octo", "type": "User"}
