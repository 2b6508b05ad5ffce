"""`reconcile rollback`."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import click

from reconciler.cli.database import open_from_environment
from reconciler.cli.options import connection_options, project_options, proving_of, proving_options
from reconciler.cli.output import colour_on, progress_bar, put, say, width_of_terminal
from reconciler.cli.run import let_signals_end_the_process
from reconciler.cli.target import one_target_option
from reconciler.database.connection import DatabaseConnection
from reconciler.editing.committing import need_branch, need_identity
from reconciler.errors import Failed, UsageProblem
from reconciler.origin import origin_of
from reconciler.pipeline import Ending, Request, apply, read_for_apply
from reconciler.project import read_revision, refuse_uncommitted
from reconciler.report import render_outcome
from reconciler.report.diff import render_files
from reconciler.report.rollback import render_back, render_conflicts
from reconciler.rollback import Rollback, commit_rollback, plan_rollback, refuse_changed_state, write_rollback


@click.command("rollback")
@click.argument("name", metavar="RUN|COMMIT")
@project_options
@click.option(
    "--reason", required=True, metavar="TEXT", help="Why; goes into the commit, the entries and the audit log."
)
@click.option("--dry-run", is_flag=True, help="Show what would be written, and write nothing.")
@click.option("--no-commit", is_flag=True, help="Write the files, and leave them uncommitted.")
@click.option("--apply", "at_once", is_flag=True, help="Apply the commit at once, under the same guards as any other.")
@click.option(
    "--allow-changes",
    type=click.IntRange(min=1),
    metavar="N",
    help="Let the commit change up to N rows, whatever the policy's blast limit says: a trailer of its message.",
)
@proving_options
@one_target_option
@connection_options
def command(
    name: str,
    directory: Path,
    reason: str,
    dry_run: bool,
    no_commit: bool,
    at_once: bool,
    allow_changes: int | None,
    no_verify: bool,
    verify_within: float | None,
    connect_timeout: float,
    statement_timeout: float,
    wait: float,
) -> None:
    """Write the YAML that restores what a run changed, or all runs of a commit, and commit it for review.

    Only values that are still as the run left them go back; the rest is listed, with the reason. Ends with 1 where
    nothing can go back.
    """
    proving = proving_of(no_verify, verify_within, "" if at_once else "--apply")
    _refuse_contradictions(dry_run=dry_run, no_commit=no_commit, at_once=at_once, allow_changes=allow_changes)
    project = read_revision(directory, "HEAD", progress_bar())
    refuse_changed_state(project)
    if at_once:
        refuse_uncommitted(project)
    branch = ""
    if not (dry_run or no_commit):
        need_identity(directory)
        branch = need_branch(directory)

    def connect() -> DatabaseConnection:
        return open_from_environment(connect_timeout, statement_timeout, wait)

    with connect() as connection:
        rollback = plan_rollback(connection, project, name, reason, directory)
        _show(rollback)
        if not rollback.back:
            say("Nothing was rolled back.")
            click.get_current_context().exit(Failed.exit_code)
        if dry_run:
            say("Nothing was written: this is a dry run.")
            return
        commit = _write(directory, rollback, reason, allow_changes or 0, branch)
        if at_once:
            _apply(connection, directory, commit, Ending(connect, let_signals_end_the_process, proving))


def _refuse_contradictions(*, dry_run: bool, no_commit: bool, at_once: bool, allow_changes: int | None) -> None:
    given = {"--no-commit": no_commit, "--apply": at_once}
    for option in (option for option, is_given in given.items() if is_given and dry_run):
        raise UsageProblem(f"{option}: a dry run writes nothing: give one of the two")
    if no_commit and at_once:
        raise UsageProblem("--apply applies a commit, --no-commit makes none: give one of the two")
    if no_commit and allow_changes:
        raise UsageProblem("--allow-changes is a trailer of the commit, --no-commit makes none: give one of the two")


def _show(rollback: Rollback) -> None:
    """The result to stdout, what does not go back to stderr."""
    if rollback.back:
        put(render_back(rollback, colour=colour_on(sys.stdout)))
        put("\n" + render_files(rollback.files, colour=colour_on(sys.stdout)))
    conflicts = render_conflicts(rollback, colour=colour_on(sys.stderr))
    if conflicts:
        say(conflicts)
    elif not rollback.back:
        say(f"{rollback.name} changed no value.")
    first = rollback.runs[0]
    if first.batch is not None and first.batch.of > 1 and not rollback.by_commit:
        which = f"batch {first.batch.number:,} of {first.batch.of:,}"
        say(f"This run was {which}; the others stay. All that the commit did: reconcile rollback {first.commit[:12]}")


def _write(directory: Path, rollback: Rollback, reason: str, allow_changes: int, branch: str) -> str:
    """Write the files and, where a branch is given, commit them. Returns the commit's id."""
    write_rollback(directory, rollback)
    paths = ", ".join(file.path for file in rollback.files)
    if not branch:
        say(f"Written, and not committed: {paths}")
        return ""
    commit = commit_rollback(directory, rollback, reason, allow_changes)
    say(f"Committed {commit[:12]} on {branch}: {paths}. See it: git show {commit[:12]}")
    return commit


def _apply(
    connection: DatabaseConnection, directory: Path, commit: str, ending: Ending
) -> None:
    """Apply the commit, as `reconcile --yes` does."""
    request = Request(directory=directory, revision=commit)
    project = read_for_apply(request, progress_bar())
    outcome = apply(connection, request, project, origin_of(os.environ, project.commit), None, ending)
    text = render_outcome(
        "text", outcome, now=datetime.now(UTC), colour=colour_on(sys.stdout), width=width_of_terminal()
    )
    put("\n" + text)
