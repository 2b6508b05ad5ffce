"""What goes to which stream: the result alone to stdout, everything else to stderr.

Colours only where the stream is a terminal and NO_COLOR is not set (https://no-color.org).
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TextIO

from reconciler.errors import ReconcileError
from reconciler.project import Progress, silent


def colour_on(stream: TextIO) -> bool:
    """Whether colours may be used on the stream."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def width_of_terminal() -> int:
    """Columns of the terminal; 100 where there is none."""
    return shutil.get_terminal_size((100, 40)).columns


def for_log(text: str) -> str:
    """A text for people, in which a runner of GitHub that reads it finds no command; elsewhere as it is."""
    if os.environ.get("GITHUB_ACTIONS") != "true":
        return text
    from reconciler.console.annotations import log_text

    return log_text(text)


def say(text: str) -> None:
    """A line for people, to stderr."""
    sys.stderr.write(for_log(text.rstrip("\n")) + "\n")
    sys.stderr.flush()


def put(text: str) -> None:
    """The result, to stdout."""
    sys.stdout.write(text if text.endswith("\n") else text + "\n")
    sys.stdout.flush()


def let_go_of_stdout() -> None:
    """Send what is still to be written to nowhere: its reader is gone, or its disk is full."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def say_error(error: ReconcileError, arguments: Sequence[str]) -> None:
    """The error in words on stderr; as JSON on stdout as well, where the output was to be JSON."""
    from reconciler.report.text import render_error

    say(render_error(error, colour=colour_on(sys.stderr)))
    if _wants_json(arguments):
        from reconciler.report.machine import render_error as render_json

        try:
            put(render_json(error))
        except OSError:  # it may be the very error; it has been said on stderr
            let_go_of_stdout()


def _wants_json(arguments: Sequence[str]) -> bool:
    """Asked of the raw arguments, because the error may be that they could not be parsed."""
    return "--output=json" in arguments or ("--output", "json") in pairwise(arguments)


def waiting_line() -> Callable[[str], None]:
    """A line on a terminal that is drawn over and over, and gone at an empty text; silent elsewhere."""
    if not sys.stderr.isatty():
        return lambda _: None

    def draw(text: str) -> None:
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()

    return draw


def progress_bar() -> Progress:
    """A progress bar on a terminal, once work takes long enough to wonder; silent elsewhere."""
    if not sys.stderr.isatty():
        return silent
    import time

    started = time.monotonic()
    shown = False

    def draw(what: str, done: int, total: int) -> None:
        nonlocal shown
        if time.monotonic() - started < 0.5 or not total:
            return
        if done >= total:
            if shown:
                sys.stderr.write("\r\x1b[K")
            shown = False
        elif done % max(1, total // 50) == 0:
            filled = done * 30 // total
            sys.stderr.write(f"\r{what} [{'#' * filled}{'.' * (30 - filled)}] {done}/{total}")
            shown = True
        sys.stderr.flush()

    return draw
