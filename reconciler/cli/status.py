"""`reconcile status`."""

from __future__ import annotations

import shutil
import sys
from datetime import datetime
from pathlib import Path

import click

from reconciler.cli.options import (
    Moment,
    connection_options,
    output_option,
    project_options,
    revision_option,
    scope_of,
    scope_options,
)
from reconciler.cli.output import colour_on, progress_bar, put, width_of_terminal
from reconciler.cli.target import target_option
from reconciler.report import Format


@click.command("status")
@project_options
@revision_option
@scope_options
@click.option(
    "--limit",
    type=click.IntRange(1, 10_000),
    metavar="N",
    help="List at most so many values that are off, and half as many of the rest; JSON lists all. Default: one screen.",
)
@output_option("text", "json", "markdown")
@click.option("--now", type=Moment(), hidden=True, help="Another time than the database's; a demo's only.")
@target_option
@connection_options
def command(
    directory: Path,
    revision: str | None,
    only: tuple[str, ...],
    tables: tuple[str, ...],
    limit: int | None,
    output: Format,
    now: datetime | None,
    connect_timeout: float,
    statement_timeout: float,
    wait: float,
) -> None:
    """Say what is switched off right now, since when, by whom, why, until when, and what holds it.

    Beside that: what is held, what somebody changed behind git's back, what the next run would do, and freezes. What
    is off comes from the live database, global switches first; a limit is off while it is lower than before its cut.
    """
    from reconciler.cli.database import open_from_environment
    from reconciler.pipeline import Request, read_for_plan
    from reconciler.runbook.status import read_status

    limit = limit or fits_on_screen()
    request = Request(directory=directory, revision=revision, scope=scope_of(only, tables), now=now)
    project = read_for_plan(request, progress_bar())
    with open_from_environment(connect_timeout, statement_timeout, wait) as connection:
        status = read_status(connection, request, project, None if output == "json" else limit)
    match output:
        case "json":
            from reconciler.report import status_json

            put(status_json.render_status(status))
        case "markdown":
            from reconciler.report import status_markdown

            put(status_markdown.render_status(status, limit=limit))
        case "text":
            from reconciler.report import status as text

            put(text.render_status(status, limit=limit, colour=colour_on(sys.stdout), width=width_of_terminal()))


def fits_on_screen() -> int:
    """How many values that are off a screen has room for, at four lines each, beside what else is to be said."""
    return max((shutil.get_terminal_size((100, 40)).lines - 8) // 4, 3)
