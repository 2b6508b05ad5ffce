"""The command line: click in front of `pipeline`, every error to one sentence and its exit code.

`main` is what the console script calls. Commands are imported when they are called (`app`), because a process that
flips one switch has no time to import the others.
"""

from __future__ import annotations

import gc
import signal
import sys
from collections.abc import Sequence
from types import FrameType


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and end the process with its exit code."""
    signal.signal(signal.SIGTERM, _terminate)
    # The process is short and makes a million objects that all stay: looking for garbage among them is a third of it.
    gc.disable()
    try:
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
    # Nor at the end: the interpreter collects once more before it leaves everything to the system.
    gc.freeze()
    sys.exit(code)


def _ignore_signals() -> None:
    """All is done and said; the interpreter's own end takes no interruption without a traceback."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    """SIGTERM ends a run as Ctrl-C does: the transaction is rolled back."""
    raise KeyboardInterrupt
