"""`--target all`: the command once for each target, all at the same time, and one report of what came of it.

Each is a process of its own, so that each has a transaction, a lock and a ledger of its own, one that is down stops no
other, and all the machine's cores read state. What they say to people comes line by line, with the target's name; the
results stand below one another in the order of the policy. The exit code is the worst.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from threading import Thread
from typing import IO, Any

import msgspec

from reconciler.cli.output import put, say, width_of_terminal
from reconciler.errors import UsageProblem
from reconciler.policy import ALL

__all__ = ["WORST_LAST", "run_for_all"]

WORST_LAST = (0, 5, 2, 6, 64, 3, 4, 1)
"""Exit codes, the worst last."""

_MEANING = {
    0: "done",
    1: "failed",
    2: "changes pending",
    3: "invalid state or schema",
    4: "database not reachable, or not as expected",
    5: "something is held",
    6: "stale",
    64: "usage",
}


class _Done(msgspec.Struct):
    """What came of one target."""

    target: str
    code: int
    out: str
    said: list[str]


def run_for_all(arguments: Sequence[str], options: Mapping[str, Any], targets: Sequence[str]) -> int:
    """Run the command line once for each target; the exit code. `options` are those that it was parsed to.

    Raises UsageProblem for what only one database can be asked.
    """
    for name in ("plan_file", "plan_out"):
        if options.get(name):
            raise UsageProblem(f"--{'plan' if name == 'plan_file' else 'plan-out'}: a plan is of one database; name it")
    applies = "yes" in options and not options["dry_run"]
    if applies and not options["yes"] and sys.stdin.isatty() and os.environ.get("CI", "").lower() not in ("true", "1"):
        raise UsageProblem(f"--target {ALL} asks nothing: look with --dry-run first, and add --yes")
    done = _run(arguments, targets)
    worst = max((one.code for one in done), key=_badness)
    output = options.get("output", "text")
    if output == "json":
        put(json.dumps({"format_version": 1, "exit_code": worst, "targets": list(map(_document, done))}, indent=2))
    else:
        put("\n".join(_told(one, output) for one in done))
    say(f"{len(done)} targets: " + "; ".join(f"{one.target} {_meaning(one.code)}" for one in done))
    return worst


def _badness(code: int) -> int:
    return WORST_LAST.index(code) if code in WORST_LAST else len(WORST_LAST)


def _meaning(code: int) -> str:
    return _MEANING.get(code, f"ended with {code}")


def _run(arguments: Sequence[str], targets: Sequence[str]) -> list[_Done]:
    environment = os.environ | {"COLUMNS": str(width_of_terminal())}
    running: list[subprocess.Popen[str]] = []
    try:
        for target in targets:
            running.append(_start(_for(arguments, target), environment))
    except BaseException:
        for process in running:
            process.terminate()
        raise
    done = [_Done(target, 0, "", []) for target in targets]
    readers = [
        Thread(target=read, args=(one, pipe))
        for one, process in zip(done, running, strict=True)
        for read, pipe in ((_read_result, process.stdout), (_read_said, process.stderr))
    ]
    for reader in readers:
        reader.start()
    waiting = list(running)
    while waiting:
        try:
            waiting[0].wait()
            del waiting[0]
        except KeyboardInterrupt:  # each of them says by itself what was applied
            for process in waiting:
                process.terminate()
    for reader in readers:
        reader.join()
    for one, process in zip(done, running, strict=True):
        one.code = process.returncode
    return done


def _start(arguments: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "reconciler", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="replace",
        env=environment,
        start_new_session=True,  # Ctrl-C reaches them from here alone, and once
    )


def _for(arguments: Sequence[str], target: str) -> list[str]:
    """The same command line, for one target."""
    own: list[str] = []
    for argument in arguments:
        is_value = argument == ALL and bool(own) and own[-1] == "--target"
        own.append(target if is_value else f"--target={target}" if argument == f"--target={ALL}" else argument)
    return own


def _read_result(one: _Done, pipe: IO[str]) -> None:
    one.out = pipe.read()


def _read_said(one: _Done, pipe: IO[str]) -> None:
    for line in pipe:
        one.said.append(line.rstrip("\n"))
        say(f"{one.target}: {line}")


def _document(one: _Done) -> dict[str, Any]:
    """A target's result; null where it printed none that can be read."""
    try:
        result = json.loads(one.out)
    except ValueError:
        result = None
    return {"target": one.target, "exit_code": one.code, "result": result, "messages": one.said}


def _told(one: _Done, output: str) -> str:
    heading = f"## {one.target}\n\n" if output == "markdown" else f"== {one.target} ==\n"
    nothing = one.out or f"{_meaning(one.code).capitalize()}.\n"
    if not one.out and one.said:
        nothing += f"{one.said[0]}\n"
    return heading + nothing
