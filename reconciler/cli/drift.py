"""`reconcile drift`."""

from __future__ import annotations

from pathlib import Path

import click

from reconciler.cli.options import (
    connection_options,
    output_option,
    project_options,
    revision_option,
    scope_of,
    scope_options,
)
from reconciler.cli.output import progress_bar, put
from reconciler.cli.run import show_plan
from reconciler.cli.target import target_option
from reconciler.report import Format


@click.command("drift")
@project_options
@revision_option
@scope_options
@output_option("text", "json", "markdown")
@click.option("--exit-code", is_flag=True, help="End with 2 if anything has drifted.")
@target_option
@connection_options
def command(
    directory: Path,
    revision: str | None,
    only: tuple[str, ...],
    tables: tuple[str, ...],
    output: Format,
    exit_code: bool,
    connect_timeout: float,
    statement_timeout: float,
    wait: float,
) -> None:
    """List what differs in the database from what was applied last, and what the next run would do about it."""
    from reconciler.cli.database import open_from_environment
    from reconciler.pipeline import Request, make_plan, read_for_plan
    from reconciler.plan import drift_of

    request = Request(directory=directory, revision=revision, scope=scope_of(only, tables), full=True)
    project = read_for_plan(request, progress_bar())
    with open_from_environment(connect_timeout, statement_timeout, wait) as connection:
        plan = drift_of(make_plan(connection, request, project))
    if plan.changes or output == "json":
        show_plan(plan, output)
    else:
        from reconciler.report.words import no_drift

        put(f"### reconcile: no drift\n\n{no_drift(plan)}" if output == "markdown" else no_drift(plan))
    if exit_code and plan.changes:
        click.get_current_context().exit(2)
