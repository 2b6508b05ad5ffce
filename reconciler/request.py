"""What is asked of a run: by whom, of which commit, with what allowed; and how it ends well.

Values for `pipeline` and what it calls; nothing is decided here.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import msgspec

from reconciler.lost_answer import Reconnect
from reconciler.model import FieldKey
from reconciler.outcome import Proving
from reconciler.plan import Scope
from reconciler.project import Progress, silent

__all__ = ["Ending", "Origin", "Request"]


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What a user asked for. `revision` None: the work tree for a plan, HEAD for an apply.

    `allow_changes`: how many rows may change whatever the blast limit says. `now`: another time, for a demo.
    `ahead`: the commit is not merged yet (`kill --now`); what it says is applied as a hold that runs from git respect,
    whatever was applied last; with `insists`, also where that is so already. `fields`: nothing but these is looked at.
    `full`: whether every row of a large project is looked at, and not only what git has changed; None: if that is due
    (`change_path`). `batch`: at most so many rows are written in one transaction; None: all are (`in_batches`).
    """

    directory: Path
    revision: str | None = None
    scope: Scope = Scope()
    allow_dirty: bool = False
    allow_rewind: bool = False
    reason: str | None = None
    allow_changes: int = 0
    lock_timeout_ms: int = 10_000
    now: datetime | None = None
    ahead: bool = False
    insists: bool = False
    fields: frozenset[FieldKey] | None = None
    full: bool | None = None
    batch: int | None = None


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Who runs the tool, and where a log of it can be read."""

    actor: str
    run_url: str | None = None
    pull_request: int | None = None


class Ending(msgspec.Struct, frozen=True):
    """What an apply needs to end well, whatever happens to it while it commits.

    `reconnect` makes another connection to the same database; without it, a lost answer to COMMIT stays unknown.
    `committed` is called at once when the run is known to be in the database, before anything can interrupt: from
    there on, nobody may say any more that nothing was applied. Where more is to come it is given what is true then, and
    the exit code. `proving` says how to wait for the changes to be in effect, where the schemas declare how that is
    seen. `progress` is told of batches.
    """

    reconnect: Reconnect | None = None
    committed: Callable[..., None] = lambda *_: None
    proving: Proving = Proving()
    progress: Progress = silent
