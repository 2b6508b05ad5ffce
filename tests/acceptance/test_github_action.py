"""The action as another repository uses it: from where a runner puts it, by its own steps, on a bare Python."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from reconciler import __version__
from tests.support.github import GitHub
from tests.support.github_api import github_api
from tests.support.project import ACME, TOP, Project


def publish(folder: Path) -> Path:
    """What is committed here, where GitHub's runner puts the action `tools/reconcile@v1`."""
    action = folder / "_actions" / "tools" / "reconcile" / "v1"
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=TOP, check=True, capture_output=True).stdout.decode()
    for name in filter(None, listed.split("\0")):
        if (TOP / name).is_file():
            (action / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(TOP / name, action / name)
    return action


def pinned() -> Mapping[str, str]:
    """Name to version, of constraints.txt."""
    lines = (TOP / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in pins.items()}


def installed(venv: Path) -> Mapping[str, str]:
    """Name to version, of what is in a virtual environment."""
    listed = subprocess.run(
        [venv / "bin" / "python", "-c", "from importlib.metadata import distributions as d\n"
         "for one in d(): print(one.metadata['Name'], one.version)"], check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    found = dict(line.split(" ") for line in listed.splitlines())
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in found.items()}


def test_the_published_action_installs_itself_once_and_is_found_in_the_cache_by_every_later_job(
    project: Project, tmp_path: Path
) -> None:
    action = publish(tmp_path)
    with github_api() as api:
        github = GitHub(project, api, tmp_path / "github", caches={}, published=action)
        project.succeed("--directory", str(project.directory), cwd=tmp_path)
        number, [run] = github.open("ban", f"{ACME}:\n  isWhatsappEnabled: {{value: false, reason: INC-142}}\n")
        ran = run.execute()
        assert ran["validate"].ok, ran["validate"].log
        assert ran["validate"].scripts == ["What is to be installed", "Install", "Run"]
        assert ran["plan"].ok, ran["plan"].log
        assert ran["plan"].scripts == ["What is to be installed", "What was read before", "Run"]
        assert len(github.comments(number)) == 1
    assert github.caches is not None
    [venv] = github.caches.values()
    found = installed(venv)
    ours = found.keys() - {"pip", "setuptools"}
    assert "reconcile" in ours
    assert {name: found[name] for name in ours} == {name: pinned()[name] for name in ours - {"reconcile"}} | {
        "reconcile": __version__
    }
    shown = subprocess.run(
        [venv / "bin" / "python", "-c", "import reconciler; print(reconciler.__file__)"],
        cwd=tmp_path, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    assert Path(shown).is_relative_to(venv)
