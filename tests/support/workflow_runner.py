"""Runs workflows as a runner of GitHub does: their own `run:` steps, by the shell, from the YAML files.

Takes a workflow's file, the event and what the repository holds (variables, secrets); gives Jobs, whose steps are
executed one after the other. Composite actions of the repository (`uses: ./...`) are entered; the actions of others are
played here, those that the workflows use. Whatever is not known is an error: nothing is passed over.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.support.expressions import Unsupported, evaluate, filled, truthy

_JOB = {"strategy", "if", "runs-on", "timeout-minutes", "environment", "permissions", "steps"}
_STEP = {"id", "name", "if", "uses", "with", "env", "run", "shell"}
_WORKFLOW = {"name", "on", "permissions", "concurrency", "jobs"}


@dataclass
class Surroundings:
    """What a job finds: contexts for expressions, the environment of its steps, and where artifacts go.

    `actions` says where this runner has put the actions of other repositories, by what stands behind `uses:`. `caches`
    are the folders that earlier jobs have kept, by key; None: what was installed is the environment of these tests.
    `read` are those of files that were read, by key.
    """

    github: dict[str, Any]
    variables: Mapping[str, str]
    secrets: Mapping[str, str]
    environment: dict[str, str]
    temporary: Path
    remote: Path
    token_of: Callable[[Mapping[str, str]], str]
    keep_artifact: Callable[[str, bytes], None]
    caches: dict[str, Path] | None
    read: dict[str, Path] = field(default_factory=dict)
    matrix: Mapping[str, str] = field(default_factory=dict)
    actions: Mapping[str, Path] = field(default_factory=dict)


@dataclass
class Ran:
    """A job that is over. `outputs` are those of its steps, by id, of composite actions too; `scripts` are the names of
    the `run:` steps that were executed.
    """

    name: str
    log: str = ""
    ok: bool = True
    skipped: bool = False
    summary: str = ""
    outputs: dict[str, dict[str, str]] = field(default_factory=dict)
    scripts: list[str] = field(default_factory=list)

    @property
    def commands(self) -> list[str]:
        """The workflow commands in the log, as the runner finds them."""
        return [line for line in self.log.splitlines() if line.lstrip().startswith("::")]


def read(file: Path) -> dict[str, Any]:
    """A workflow or an action. Every scalar is text, as GitHub's YAML has no other use for them."""
    document = yaml.load(file.read_text(encoding="utf-8"), yaml.BaseLoader)
    assert isinstance(document, dict)
    return document


def is_begun_by(workflow: Mapping[str, Any], event: str, branch: str) -> bool:
    """Whether the event, on this branch, begins the workflow."""
    _only(workflow, _WORKFLOW, "a workflow")
    on = workflow["on"]
    if event not in on:
        return False
    _only(on[event] or {}, {"branches"}, "a filter") if isinstance(on[event], dict) else None
    branches = on[event].get("branches") if isinstance(on[event], dict) else None
    return branches is None or branch in branches


def concurrency_of(workflow: Mapping[str, Any], github: Mapping[str, Any]) -> tuple[str, bool]:
    """The group of a run, and whether it cancels the one in progress."""
    wanted = workflow["concurrency"]
    _only(wanted, {"group", "cancel-in-progress"}, "concurrency")
    group = filled(wanted["group"], {"github": github}, {"format": _format})
    return group, wanted["cancel-in-progress"] == "true"


def jobs_of(workflow: Mapping[str, Any]) -> dict[str, tuple[str, Mapping[str, str]]]:
    """The jobs that a run has, by the name that GitHub shows: `plan`, or of a matrix `plan (eu)`; the name of each in
    the file, and its `matrix`.
    """
    jobs: dict[str, tuple[str, Mapping[str, str]]] = {}
    for name, job in workflow["jobs"].items():
        strategy = job.get("strategy")
        if strategy is None:
            jobs[name] = (name, {})
            continue
        _only(strategy, {"fail-fast", "matrix"}, "a strategy")
        [(variable, values)] = strategy["matrix"].items()
        jobs |= {f"{name} ({value})": (name, {variable: value}) for value in values}
    return jobs


def run_job(name: str, job: Mapping[str, Any], around: Surroundings) -> Ran:
    """All steps of a job, in a workspace of its own."""
    _only(job, _JOB, "a job")
    runner = _Runner(name, job, around)
    if "if" in job and not truthy(runner.value(job["if"], {})):
        return Ran(name, skipped=True)
    for step in job["steps"]:
        runner.step(step, {}, around.github["workspace"], {})
    runner.keep_caches()
    ran = runner.ran
    summary = Path(around.environment["GITHUB_STEP_SUMMARY"])
    ran.summary = summary.read_text(encoding="utf-8") if summary.exists() else ""
    return ran


class _Runner:
    def __init__(self, name: str, job: Mapping[str, Any], around: Surroundings) -> None:
        self.ran = Ran(name)
        self.around = around
        self._to_keep: dict[str, Path] = {}
        self._read_to_keep: dict[str, Path] = {}
        permissions = job.get("permissions")
        if not isinstance(permissions, dict):
            raise Unsupported("a job without its own permissions")
        around.github["token"] = around.token_of(permissions)

    def value(self, text: str, inputs: Mapping[str, str]) -> Any:
        expression = re.sub(r"^\$\{\{(.*)\}\}$", r"\1", text.strip(), flags=re.DOTALL)
        return evaluate(expression, self._contexts(inputs), self._functions())

    def text(self, text: str, inputs: Mapping[str, str]) -> str:
        return filled(text, self._contexts(inputs), self._functions())

    def _contexts(self, inputs: Mapping[str, str]) -> dict[str, Any]:
        steps = {name: {"outputs": outputs} for name, outputs in self.ran.outputs.items()}
        around = self.around
        return {
            "github": around.github, "inputs": inputs, "vars": around.variables, "secrets": around.secrets,
            "steps": steps, "matrix": around.matrix,
        }  # fmt: skip

    def _functions(self) -> dict[str, Callable[..., Any]]:
        return {"always": lambda: True, "success": lambda: self.ran.ok, "format": _format}

    def step(
        self, step: Mapping[str, Any], inputs: Mapping[str, str], action: str, outer: Mapping[str, str]
    ) -> None:
        """One step; `outer` is the environment that the step which entered this action has set."""
        _only(step, _STEP, "a step")
        condition = step.get("if", "success()")
        if "always()" not in condition and not self.ran.ok:
            return
        if not truthy(self.value(condition, inputs)):
            return
        set_here = {name: self.text(text, inputs) for name, text in (step.get("env") or {}).items()}
        environment = {**outer, **set_here}
        outputs = self.ran.outputs.setdefault(step["id"], {}) if "id" in step else {}
        if "run" in step:
            self._shell(step, inputs, action, environment, outputs)
            return
        given = {name: self.text(text, inputs) for name, text in (step.get("with") or {}).items()}
        uses = step["uses"]
        if uses.startswith("./") or uses in self.around.actions:
            self._composite(uses, given, environment)
            return
        name, _, reference = uses.partition("@")
        assert re.fullmatch("[0-9a-f]{40}", reference), f"{uses} is not pinned to a commit"
        played = {
            "actions/checkout": self._checkout,
            "actions/setup-python": self._setup_python,
            "actions/cache": self._cache,
            "actions/upload-artifact": self._upload_artifact,
        }.get(name)
        if played is None:
            raise Unsupported(f"the action {uses}")
        played(given, outputs)

    def _composite(self, uses: str, given: Mapping[str, str], environment: Mapping[str, str]) -> None:
        folder = self.around.actions.get(uses) or (Path(self.around.github["workspace"]) / uses).resolve()
        document = read(folder / "action.yml")
        declared = document["inputs"]
        unknown = set(given) - set(declared)
        assert not unknown, f"{uses} has no input {unknown}"
        inputs = {}
        for name, about in declared.items():
            if about.get("required") == "true":
                assert name in given, f"{uses} needs the input {name}"
            inputs[name] = given.get(name, self.text(about.get("default", ""), {}))
        assert document["runs"]["using"] == "composite"
        for step in document["runs"]["steps"]:
            self.step(step, inputs, str(folder), environment)
        values = {name: self.text(about["value"], inputs) for name, about in document["outputs"].items()}
        self.ran.outputs["action"] = values

    def _shell(
        self,
        step: Mapping[str, Any],
        inputs: Mapping[str, str],
        action: str,
        environment: Mapping[str, str],
        outputs: dict[str, str],
    ) -> None:
        assert "${{" not in step["run"], "an expression in a script: what it holds would be run"
        if step.get("shell", "bash") != "bash":
            raise Unsupported(f"the shell {step['shell']}")
        folder = self.around.temporary
        script, written = folder / "script.sh", folder / "outputs"
        script.write_text(step["run"], encoding="utf-8")
        written.write_bytes(b"")
        files = {"GITHUB_OUTPUT": str(written), "GITHUB_ACTION_PATH": action}
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", str(script)],
            cwd=self.around.github["workspace"], env={**self.around.environment, **files, **environment},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8",
            timeout=120, check=False,
        )  # fmt: skip
        self.ran.log += done.stdout
        self.ran.scripts.append(step.get("name", ""))
        self.ran.ok = self.ran.ok and done.returncode == 0
        outputs |= read_outputs(written.read_text(encoding="utf-8"))

    def _checkout(self, given: Mapping[str, str], _: dict[str, str]) -> None:
        _only(given, {"fetch-depth", "persist-credentials"}, "checkout")
        workspace = self.around.github["workspace"]
        ref, depth = self.around.github["sha"], given.get("fetch-depth", "1")
        # Depth 0 is all history of all branches, as they are now; any other is that of the commit alone.
        everything = ["origin", ref, "+refs/heads/*:refs/remotes/origin/*"]
        wanted = everything if depth == "0" else [f"--depth={depth}", "origin", ref]
        for command in (
            ["init", "--quiet", workspace],
            ["-C", workspace, "remote", "add", "origin", f"file://{self.around.remote}"],
            ["-C", workspace, "fetch", "--quiet", "--no-tags", *wanted],
            ["-C", workspace, "checkout", "--quiet", "--detach", ref],
        ):
            subprocess.run(["git", *command], env=self.around.environment, check=True, capture_output=True)

    def _setup_python(self, given: Mapping[str, str], outputs: dict[str, str]) -> None:
        _only(given, {"python-version"}, "setup-python")
        outputs |= {"python-path": sys.executable, "python-version": given["python-version"]}

    def _cache(self, given: Mapping[str, str], outputs: dict[str, str]) -> None:
        """What an earlier job has kept under this very key, or, where only a beginning is asked for, under another."""
        _only(given, {"path", "key", "restore-keys"}, "cache")
        key, path = given["key"], Path(given["path"])
        if "restore-keys" in given:
            self._restore(key, given["restore-keys"], path, outputs)
            return
        assert re.fullmatch(r"reconcile-Linux-X64-[0-9a-f]{64}", key), key
        caches = self.around.caches
        if caches is None:
            path.symlink_to(sys.prefix)
            outputs["cache-hit"] = "true"
        elif key in caches:
            path.symlink_to(caches[key])  # each job has a folder of its own here, and programs know where they are
            outputs["cache-hit"] = "true"
        else:
            self._to_keep[key] = path

    def _restore(self, key: str, beginning: str, path: Path, outputs: dict[str, str]) -> None:
        """Copies, since a job adds to what it finds: nothing that is kept ever changes."""
        assert re.fullmatch(re.escape(beginning) + "[0-9a-f]{40}", key), key
        kept = self.around.read
        found = key if key in kept else next((name for name in reversed(kept) if name.startswith(beginning)), None)
        if found is not None:
            shutil.copytree(kept[found], path, dirs_exist_ok=True)
        outputs["cache-hit"] = "true" if found == key else "false"
        if found != key:
            self._read_to_keep[key] = path

    def keep_caches(self) -> None:
        """What the cache does once a job has succeeded."""
        if self.ran.ok and self.around.caches is not None:
            self.around.caches |= self._to_keep
        if self.ran.ok:
            self.around.read |= self._read_to_keep

    def _upload_artifact(self, given: Mapping[str, str], _: dict[str, str]) -> None:
        _only(given, {"name", "path", "overwrite"}, "upload-artifact")
        assert re.fullmatch(r"[A-Za-z0-9_-]+", given["name"])
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.write(given["path"], Path(given["path"]).name)
        self.around.keep_artifact(given["name"], buffer.getvalue())


def read_outputs(text: str) -> dict[str, str]:
    """What a step has written to GITHUB_OUTPUT: `name=value`, or `name<<END`, lines, `END`."""
    outputs: dict[str, str] = {}
    lines = iter(text.splitlines())
    for line in lines:
        found = re.fullmatch(r"([\w-]+)(=|<<)(.*)", line)
        assert found is not None, f"not an output: {line!r}"
        name, sign, value = found.groups()
        if sign == "<<":
            taken: list[str] = []
            for one in lines:
                if one == value:
                    break
                taken.append(one)
            else:
                raise AssertionError(f"the output {name} has no end")
            value = "\n".join(taken)
        outputs[name] = value
    return outputs


def _only(document: Mapping[str, Any], known: set[str], what: str) -> None:
    unknown = set(document) - known
    if unknown:
        raise Unsupported(f"{what} with {sorted(unknown)}")


def _format(text: str, *values: Any) -> str:
    return re.sub(r"\{(\d+)\}", lambda found: str(values[int(found[1])]), text)


def base_environment(folder: Path) -> dict[str, str]:
    """What every step gets, whatever the event: nothing of the machine but where programs are, and what measures."""
    from tests.support.cli import clean_environment

    kept = clean_environment()
    # What an action installs must not be hidden by this checkout.
    kept.pop("PYTHONPATH", None)
    return kept | {
        "CI": "true", "GITHUB_ACTIONS": "true", "RUNNER_OS": "Linux", "RUNNER_ARCH": "X64",
        "RUNNER_TEMP": str(folder / "temp"), "GITHUB_STEP_SUMMARY": str(folder / "summary.md"),
        "GITHUB_SERVER_URL": "https://github.com", "HOME": os.environ.get("HOME", "/"),
    }  # fmt: skip
