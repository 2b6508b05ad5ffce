"""A signal at a moment that the interpreter itself answers with a traceback: while an object is being collected, where
what is raised is ignored, and before the program's own beginning.
"""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from tests.support.cli import TOP, clean_environment

PROGRAM = """
import os
import signal
import time
from reconciler.cli import app, main
from reconciler.cli.run import let_signals_end_the_process

class Collected:
    def __del__(self):
        os.kill(os.getpid(), {number})
        time.sleep(0)

def run(arguments):
    let_what_ends_end = Collected()
    {before}
    del let_what_ends_end
    {after}
    signal.pause()

app.run = run
main([])
"""


EARLY = """
import os
import runpy
import signal
import sys

class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == "reconciler.cli":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupting())
runpy.run_module("reconciler", run_name="__main__")
"""

COMMITTED = "let_signals_end_the_process('All of it was applied.')"


def ended(before: str = "", after: str = "", number: int = signal.SIGTERM) -> tuple[int, str]:
    """The exit code and the words of a process that gets the signal between the two."""
    return ended_as(PROGRAM.format(number=int(number), before=before, after=after))


def ended_as(program: str) -> tuple[int, str]:
    """The exit code and the words of a Python program."""
    done = subprocess.run(
        [sys.executable, "-c", program], env=clean_environment(), cwd=TOP, capture_output=True, text=True, timeout=30,
        check=False,
    )  # fmt: skip
    return done.returncode, done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_it_is_not_lost_and_no_traceback_is_shown(number: signal.Signals) -> None:
    assert ended(number=number) == (1, "Interrupted. Nothing was applied.\n")
    assert ended(before=COMMITTED, number=number) == (0, "Interrupted. All of it was applied.\n")


def test_what_is_committed_before_it_comes_again_is_said() -> None:
    hold, let_go = (f"signal.pthread_sigmask(signal.SIG_{how}, [signal.SIGALRM])" for how in ("BLOCK", "UNBLOCK"))
    assert ended(before=hold, after=f"{COMMITTED}; {let_go}") == (0, "Interrupted. All of it was applied.\n")


def test_what_else_is_ignored_is_still_said() -> None:
    code, words = ended(after="return 1 - 1", number=0)
    assert (code, words) == (0, "")
    code, words = ended(before="Collected.__del__ = lambda self: 1 / 0", after="return 0")
    assert code == 0
    assert "ZeroDivisionError" in words


def test_what_comes_before_the_program_begins_ends_it_as_it_would_any() -> None:
    assert ended_as(EARLY) == (-signal.SIGINT, "")
