"""`reconcile import --adopt`: what was killed behind git's back, taken over into git."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from reconciler.adoption import WHY, draft_adoption, kept_kills, message_of_adoption, subject_of_adoption
from reconciler.cli.output import colour_on, progress_bar, put, say
from reconciler.cli.proposal import propose, say_undone
from reconciler.database.connection import DatabaseConnection
from reconciler.editing.committing import need_identity
from reconciler.editing.files import write_edited
from reconciler.errors import InvalidInput, Problem
from reconciler.hosts.pull_request import PullRequest
from reconciler.model import Change
from reconciler.pipeline import Request, make_plan, read_for_plan
from reconciler.plan import Scope
from reconciler.project import STATE
from reconciler.report.adoption import adoption_body
from reconciler.report.diff import render_files
from reconciler.runbook.committed import read_committed
from reconciler.runbook.side_branch import branch_name, commit_on_branch, find_base
from reconciler.schema import Definitions
from reconciler.sources import files_in_work_tree

__all__ = ["adopt_into_work_tree", "propose_adoption"]

Connect = Callable[[], DatabaseConnection]


def adopt_into_work_tree(directory: Path, scope: Scope, reason: str | None, connect: Connect) -> None:
    """Edit the files that are checked out; they are left uncommitted."""
    kept, definitions = _look(Request(directory=directory, scope=scope), connect)
    if not kept:
        return
    problems: list[Problem] = []
    files = files_in_work_tree(directory, (STATE,), problems)
    if problems:
        raise InvalidInput(problems)
    edited = draft_adoption(kept, files, definitions, reason or WHY)
    put(render_files(edited, colour=colour_on(sys.stdout)))
    write_edited(directory, edited)
    say(f"Written, and not committed: {', '.join(file.path for file in edited)}")


def propose_adoption(directory: Path, scope: Scope, reason: str | None, connect: Connect) -> None:
    """Commit the same on a branch of its own, from the newest commit of the default branch, and propose it."""
    need_identity(directory)
    base = find_base(directory)
    for note in base.notes:
        say(f"note: {note}")
    kept, definitions = _look(Request(directory=directory, scope=scope, revision=base.commit), connect)
    if not kept:
        return
    why = " ".join((reason or WHY).split())
    edited = draft_adoption(kept, read_committed(directory, base.commit).files, definitions, why)
    put(render_files(edited, colour=colour_on(sys.stdout)))
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M")
    branch = branch_name(directory, "adopt", "", subject_of_adoption(kept), stamp)
    message = message_of_adoption(kept, why)
    commit = commit_on_branch(directory, base, branch, edited, message)
    paths = ", ".join(file.path for file in edited)
    say(f"Committed {commit[:12]} on {branch}, from {base.name}: {paths}. What is checked out is as it was.")
    request = PullRequest(branch, base.target, message.partition("\n")[0], adoption_body(kept, why), ("kill",))
    say_undone(propose(directory, base, request, no_push=False, no_pr=False))


def _look(request: Request, connect: Connect) -> tuple[tuple[Change, ...], Definitions]:
    """What can be adopted; where that is nothing, it is said."""
    project = read_for_plan(request, progress_bar())
    with connect() as connection:
        kept = kept_kills(make_plan(connection, request, project))
    if not kept:
        put("Nothing to adopt: in no row does a plan leave a kill that git does not ask for.")
    return kept, project.definitions
