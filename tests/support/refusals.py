"""How the acceptance tests look at a refusal: a sentence with its place, the exit code, no secret, and no row changed.

Takes what a command gave back, and a Database; raises AssertionError.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.cli import Finished
from tests.support.postgres import Database
from tests.support.project import SECRETS, snapshot


@contextmanager
def nothing_changes(database: Database) -> Iterator[None]:
    """Compare every table before and after."""
    before = snapshot(database)
    yield
    assert snapshot(database) == before


def assert_plainly_refused(done: Finished, code: int, *said: str) -> None:
    """The exit code, the words, and nothing that should not be shown."""
    assert done.code == code, str(done)
    assert done.out == "", str(done)
    for text in said:
        assert text in done.err, f"{text!r} is not said:\n{done}"
    assert_clean(done)


def assert_clean(done: Finished) -> None:
    """No traceback, no internal error, no secret."""
    shown = done.out + done.err
    for text in ("Traceback", "internal error", *SECRETS.values(), "cus-canary"):
        assert text not in shown, str(done)
