"""The real command, in a process of its own, with an environment that holds nothing the test did not put there.

Takes arguments and a folder; gives what a shell would see: exit code, stdout, stderr.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.support.gitrepo import isolated_environment

TOP = Path(__file__).parents[2]
# What a process needs to start at all, and what measures coverage in it.
_KEPT = ("PATH", "HOME", "TMPDIR", "SYSTEMROOT", "LANG", "PYTHONPATH")
_KEPT_PREFIXES = ("COVERAGE_", "COV_CORE_")


@dataclass(frozen=True)
class Finished:
    """How a command ended."""

    code: int
    out: str
    err: str

    def __str__(self) -> str:
        return f"exit code {self.code}\n--- stdout\n{self.out}--- stderr\n{self.err}"


def run(
    *arguments: str,
    cwd: Path,
    database: str | None = None,
    environment: Mapping[str, str] | None = None,
    stdin: str = "",
    timeout: float = 60.0,
) -> Finished:
    """Run `reconcile` with these arguments and wait for it; `database` becomes DATABASE_URL."""
    done = subprocess.run(
        command(*arguments), cwd=cwd, env=clean_environment(database, environment), input=stdin, capture_output=True,
        text=True, encoding="utf-8", timeout=timeout, check=False,
    )  # fmt: skip
    return Finished(done.returncode, done.stdout, done.stderr)


def start(
    *arguments: str, cwd: Path, database: str | None = None, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    """Start `reconcile` and leave it running, for a test that signals it; use it as a context manager.

    Its coverage is not measured: what measures it takes a lock on the way, and a signal at that moment would leave the
    lock taken, and the process waiting for it for ever.
    """
    variables = clean_environment(database, environment)
    unmeasured = {name: text for name, text in variables.items() if not name.startswith(_KEPT_PREFIXES)}
    return subprocess.Popen(
        command(*arguments), cwd=cwd, env=unmeasured, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8",
    )  # fmt: skip


def finish(process: subprocess.Popen[str]) -> Finished:
    """Wait for a command that was started."""
    try:
        out, err = process.communicate(timeout=30)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return Finished(process.returncode, out, err)


def command(*arguments: str) -> list[str]:
    """The command line that runs this checkout's `reconcile` with this Python."""
    return [sys.executable, "-m", "reconciler", *arguments]


def clean_environment(database: str | None = None, environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """No CI, no database, no git settings and no colours from outside; `environment` is added last."""
    kept = {name: value for name, value in os.environ.items() if name in _KEPT or name.startswith(_KEPT_PREFIXES)}
    path = os.pathsep.join([str(TOP), *filter(None, [kept.get("PYTHONPATH")])])
    clean = isolated_environment(kept) | {"PYTHONPATH": path}
    if database is not None:
        clean["DATABASE_URL"] = database
    return clean | dict(environment or {})
