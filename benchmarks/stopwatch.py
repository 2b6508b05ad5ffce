"""Runs one command from start to exit; says how long it took and how much memory it had at its peak.

Takes a command (`run`); gives a Measurement. The clock runs in a small process of its own, which is this file run as a
program: Linux counts the memory of the process that started a command as the command's own, up to the moment of its
exec, so a starter of 60 MB would hide every psql. The starter is 9 MB; what needs less is shown with that.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple


class Measurement(NamedTuple):
    """One run: seconds from start to exit, and the peak of the resident memory in bytes, children included."""

    seconds: float
    peak: int


def run(command: Sequence[str], *, directory: Path, environment: Mapping[str, str], output: Path) -> Measurement:
    """Run a command, stdout and stderr into the file `output`. Raises SystemExit where it does not end with 0."""
    starter = [sys.executable, "-I", "-S", __file__, str(output), *command]
    done = subprocess.run(starter, cwd=directory, env=dict(environment), stdout=subprocess.PIPE, check=True)
    code, seconds, peak = json.loads(done.stdout)
    if code != 0:
        said = output.read_text(encoding="utf-8", errors="replace")
        raise SystemExit(f"{Path(command[0]).name} ended with {code}:\n{said[-2000:]}")
    return Measurement(seconds, peak)


def _start(output: str, command: list[str]) -> None:
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    files = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_DUP2, descriptor, 1),
        (os.POSIX_SPAWN_DUP2, descriptor, 2),
    ]
    started = time.perf_counter()
    process = os.posix_spawn(command[0], command, os.environ, file_actions=files)
    _, status, usage = os.wait4(process, 0)
    seconds = time.perf_counter() - started
    unit = 1 if sys.platform == "darwin" else 1024
    print(json.dumps([os.waitstatus_to_exitcode(status), seconds, usage.ru_maxrss * unit]))


if __name__ == "__main__":
    _start(sys.argv[1], sys.argv[2:])
