"""What `reconcile kill` and `reconcile restore` share: a database that may be away, and a branch that is proposed.

Everything that could not be done is said at the end, each with the command that does it by hand.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click

from reconciler.cli.database import open_from_environment
from reconciler.cli.options import F
from reconciler.cli.output import put, say
from reconciler.database.connection import DatabaseConnection
from reconciler.errors import DatabaseProblem, ReconcileError, UsageProblem
from reconciler.hosts.pull_request import PullRequest, hosted_at, open_pull_request
from reconciler.runbook.side_branch import Base, find_base, push

__all__ = ["Database", "look_around", "proposal_options", "propose", "say_undone"]


class Database:
    """The database, where it answers. `why_not` says why it does not, and `connection` is None then."""

    def __init__(self, connect_timeout: float, statement_timeout: float) -> None:
        self._times = (connect_timeout, statement_timeout)
        self.connection: DatabaseConnection | None = None
        self.why_not: ReconcileError | None = None

    def open(self, wait: float = 0.0) -> DatabaseConnection | None:
        """Try to connect, for so many seconds. Never raises for a database that is away, or has no address."""
        try:
            self.connection, self.why_not = self.connect(wait), None
        except (DatabaseProblem, UsageProblem) as error:
            self.connection, self.why_not = None, error
        return self.connection

    def connect(self, wait: float = 0.0) -> DatabaseConnection:
        """A connection of its own. Raises as `open_from_environment` does."""
        return open_from_environment(*self._times, wait, application_name="reconcile")

    def give_up(self, error: ReconcileError) -> None:
        """The database answers, and is of no use as it is."""
        self.close()
        self.why_not = error

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self.connection is not None:
            self.connection.close()
        self.connection = None


def proposal_options(function: F) -> F:
    """Where the branch goes, and what is left out."""
    options: list[Callable[[F], F]] = [
        click.option("--incident", metavar="NAME", help="The incident, such as INC-142. Default: that of the reason."),
        click.option(
            "--branch",
            metavar="NAME",
            help="The branch of the commit; one that exists is continued. Default: a new one, with the time in it.",
        ),
        click.option("--no-push", is_flag=True, help="Commit only: push nothing, and open no pull request."),
        click.option("--no-pr", is_flag=True, help="Push the branch, and open no pull request."),
        click.option("--dry-run", is_flag=True, help="Show how state/ would change, and do nothing."),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def look_around(database: Database, directory: Path, branch: str | None) -> Base:
    """Connect, and find the base, at the same time: each may have to wait for a server that is away."""
    with ThreadPoolExecutor(1) as pool:
        opened = pool.submit(database.open)
        try:
            base = find_base(directory, branch)
        finally:
            opened.result()
    for note in base.notes:
        say(f"note: {note}")
    if database.why_not is not None:
        say(f"note: without the database: {str(database.why_not).splitlines()[0]}")
    return base


def propose(directory: Path, base: Base, request: PullRequest, *, no_push: bool, no_pr: bool) -> list[str]:
    """Push the branch and open its pull request. Returns what was not done, each with the way to do it by hand."""
    by_hand = shlex.join(["git", *(["-C", str(directory)] if str(directory) != "." else []), "push"])
    if base.remote is None:
        return [f"not pushed: the repository has no remote. Name it: {by_hand} REMOTE {request.head}"]
    by_hand += f" {shlex.quote(base.remote)} {shlex.quote(request.head)}"
    where = hosted_at(directory, base.remote, os.environ)
    page = where.page(request) if where is not None else None
    afterwards = f"open the pull request: {page or f'of {request.head} into {request.base}'}"
    if no_push:
        return [f"not pushed, as asked: {by_hand}", afterwards]
    failed = push(directory, base.remote, request.head)
    if failed is not None:
        return [f"not pushed ({failed}): {by_hand}", afterwards]
    say(f"Pushed {request.head} to {base.remote}.")
    if no_pr:
        return [f"no pull request, as asked: {page or afterwards}"]
    opened = open_pull_request(directory, where, request, os.environ)
    for note in opened.notes:
        say(f"note: {note}")
    if opened.url is not None:
        put(f"Pull request: {opened.url}")
        return []
    return [f"no pull request: {afterwards}"]


def say_undone(undone: list[str]) -> None:
    """What is left to do."""
    if undone:
        say("\n".join(["Not done:", *(f"  - {one}" for one in undone)]))
