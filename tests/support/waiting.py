"""Waiting for something that happens elsewhere: in a server, or in another process."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_until(happened: Callable[[], object], within_s: float = 10.0) -> None:
    """Ask again and again until it has happened. Raises AssertionError where it does not within the time."""
    deadline = time.monotonic() + within_s
    while not happened():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
