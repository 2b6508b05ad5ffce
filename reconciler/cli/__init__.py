"""The command line: click in front of `pipeline`, every error to one sentence and its exit code.

`main` is what the console script calls. Commands are imported when they are called (`app`), because a process that
flips one switch has no time to import the others.
"""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys
import threading
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

_A_MOMENT = 0.001
"""Seconds after which what is being collected is gone."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and end the process with its exit code."""
    _open_what_is_closed()
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, _terminate)
    sys.unraisablehook = _interrupt_once_more
    # The process is short and makes a million objects that all stay: looking for garbage among them is a third of it.
    gc.disable()
    try:
        import reconciler.libraries  # noqa: F401  the first of all
        from reconciler.cli.app import run

        code = run(sys.argv[1:] if arguments is None else list(arguments))
        _ignore_signals()
    except KeyboardInterrupt as interrupt:
        _ignore_signals()
        # Once something is committed, what interrupts says so, with the code (`run.let_signals_end_the_process`).
        words, code = interrupt.args or ("Nothing was applied.", 1)
        sys.stderr.write(f"Interrupted. {words}\n")
        if interrupt.args:
            from reconciler.cli.output import let_go_of_stdout

            let_go_of_stdout()  # or the interpreter would wait for a reader on its way out
    _end(code)


def _open_what_is_closed() -> None:
    """Give a process that was started without one of its streams (`>&-`, some timers) one that leads nowhere.

    Or the connection to the database would be the next file of that number, and what is said would be written there.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115, PTH123, it stays open


def _end(code: int) -> NoReturn:
    """End the process without taking apart, piece by piece, what the system is about to free as a whole.

    As mypy does (`mypy.util.hard_exit`). What was registered to be done at the end is done. The interpreter ends in its
    own way where what was said cannot be written any more, a thread is still at work, or a profiler is looking.
    """
    gc.freeze()  # or that would look for garbage once more
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):
        sys.exit(code)
    at_work = any(not thread.daemon for thread in threading.enumerate() if thread is not threading.main_thread())
    if at_work or sys.getprofile() is not None or sys.gettrace() is not None:
        sys.exit(code)
    atexit._run_exitfuncs()  # what sys.exit would come to; has no public name
    os._exit(code)


def _interrupt_once_more(ignored: sys.UnraisableHookArgs) -> None:
    """Let an interruption that came while an object was being collected come again, a moment later.

    The interpreter ignores what is raised in there, with a traceback, and the user's Ctrl-C would be lost.
    """
    if isinstance(ignored.exc_value, KeyboardInterrupt):
        signal.signal(signal.SIGALRM, _as_terminated)
        signal.setitimer(signal.ITIMER_REAL, _A_MOMENT)
    else:
        sys.__unraisablehook__(ignored)


def _as_terminated(_signal: int, frame: FrameType | None) -> None:
    """Whatever SIGTERM does by now: once something is committed, it says so."""
    handler = signal.getsignal(signal.SIGTERM)
    if callable(handler):
        handler(signal.SIGTERM, frame)


def _ignore_signals() -> None:
    """All is done and said; the interpreter's own end takes no interruption without a traceback."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, signal.SIG_IGN)


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    """SIGTERM ends a run as Ctrl-C does: the transaction is rolled back."""
    raise KeyboardInterrupt
