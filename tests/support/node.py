"""BullMQ in Node: the npm package, installed once into a folder that stays, and workers that take jobs from a queue.

Takes the URL of a Redis and a queue's name; gives the jobs that a worker was given. Tests that need it are skipped,
with the reason, where there is no Node or where npm cannot install the package.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

VERSION = "5.81.5"
"""What the platform runs is 5; the rest is so that every run of the tests has the same."""

_WORKER = Path(__file__).with_name("bullmq_worker.mjs")


def bullmq_folder() -> Path:
    """The folder with node_modules/bullmq, made where it is not there yet. Skips the test where it cannot be."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed, so there is no BullMQ to take the jobs")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "reconcile-tests"
    folder = cache / f"bullmq-{VERSION}"
    if (folder / "node_modules" / "bullmq").is_dir():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as made:
        done = subprocess.run(
            ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", made, f"bullmq@{VERSION}"],
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            pytest.skip(f"npm could not install bullmq@{VERSION}: {(done.stderr.splitlines() or ['?'])[0]}")
        try:
            Path(made).rename(folder)
        except OSError:  # another process was faster
            assert (folder / "node_modules" / "bullmq").is_dir()
        else:
            Path(made).mkdir()  # for TemporaryDirectory to remove
    return folder


class Worker:
    """A worker that was started. `jobs` are read one by one, as it takes them."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def jobs(self, count: int) -> list[dict[str, Any]]:
        """The next so many jobs."""
        return [self._line() for _ in range(count)]

    def _line(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the worker has ended with {self._process.wait()}"
        found: dict[str, Any] = json.loads(line)
        return found

    def wait_until_ready(self) -> None:
        """Until it takes jobs."""
        assert self._line() == {"ready": True}


@contextmanager
def worker(folder: Path, url: str, queue: str, what: str = "work") -> Iterator[Worker]:
    """A worker for the time of the block; `what` is `work`, or `fail` for one that fails every job."""
    command, environment = _command(url, queue, what), _environment(folder)
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as node:
        started = Worker(node)
        try:
            started.wait_until_ready()
            yield started
        finally:
            node.kill()


def tell_queue(folder: Path, url: str, queue: str, what: str) -> None:
    """`pause` or `resume` the queue, as an operator does with BullMQ."""
    subprocess.run(_command(url, queue, what), env=_environment(folder), check=True, timeout=30)


def _command(url: str, queue: str, what: str) -> list[str]:
    return ["node", str(_WORKER), url, queue, what]


def _environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "NODE_FOLDER": str(folder)}
