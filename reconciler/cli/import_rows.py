"""`reconcile import`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import click

from reconciler.cli.options import connection_options, project_options, scope_of, scope_options
from reconciler.cli.output import colour_on, progress_bar, put, say
from reconciler.cli.target import one_target_option
from reconciler.errors import UsageProblem


@click.command("import")
@project_options
@scope_options
@click.option(
    "--non-default", is_flag=True, help="Only values that differ from their column's default in the database."
)
@click.option(
    "--layout",
    type=click.Choice(["one-file", "file-per-row"]),
    help="state/TABLE.yaml, or state/TABLE/NAME.yaml for each row. Default: one-file; with --only, file-per-row.",
)
@click.option(
    "--expect/--no-expect",
    default=None,
    help="Write $expect with the row's label, so that a wrong key is caught later. Default: for file-per-row.",
)
@click.option("--stdout", "to_stdout", is_flag=True, help="Print the files instead of writing them.")
@click.option("--force", is_flag=True, help="Overwrite files that exist.")
@click.option(
    "--adopt",
    is_flag=True,
    help="Take over what was killed by hand, or by broken glass, into the entries that stand in state/; comments stay.",
)
@click.option("--reason", metavar="TEXT", help="With --adopt: why; stands beside each value.")
@click.option(
    "--propose",
    is_flag=True,
    help="With --adopt: commit it on a branch of its own, push that, and open the pull request. What is checked out is "
    "not touched.",
)
@one_target_option
@connection_options
def command(
    directory: Path,
    only: tuple[str, ...],
    tables: tuple[str, ...],
    non_default: bool,
    layout: str | None,
    expect: bool | None,
    to_stdout: bool,
    force: bool,
    adopt: bool,
    reason: str | None,
    propose: bool,
    connect_timeout: float,
    statement_timeout: float,
    wait: float,
) -> None:
    """Write state/ from the rows of the live database.

    Only managed fields are read, secrets never. A dry run after it finds nothing to change. Files that exist are never
    merged: without --force the import is refused and changes nothing. --adopt edits them instead, value by value.
    """
    from reconciler.cli.database import open_from_environment

    given = {
        "--non-default": non_default, "--layout": layout, "--stdout": to_stdout, "--force": force,
        "--expect": expect is not None,
    }  # fmt: skip
    _refuse_contradictions(given, {"--reason": reason, "--propose": propose}, adopt=adopt)
    if adopt:
        from reconciler.cli.adopt import adopt_into_work_tree, propose_adoption

        act = propose_adoption if propose else adopt_into_work_tree
        act(
            directory,
            scope_of(only, tables),
            reason,
            lambda: open_from_environment(connect_timeout, statement_timeout, wait),
        )
        return
    from reconciler.import_state import ImportRequest, read_state, write_import
    from reconciler.project import read_work_tree
    from reconciler.report.import_state import render_files, render_notices, render_written

    if to_stdout and force:
        raise UsageProblem("--force overwrites files, --stdout writes none: give one of the two")
    chosen = layout or ("file-per-row" if only else "one-file")
    request = ImportRequest(
        scope=scope_of(only, tables),
        non_default=non_default,
        layout="file-per-row" if chosen == "file-per-row" else "one-file",
        expect=chosen == "file-per-row" if expect is None else expect,
    )
    progress = progress_bar()
    project = read_work_tree(directory, progress)
    with open_from_environment(connect_timeout, statement_timeout, wait) as connection:
        imported = read_state(connection, project, request, progress)
    for line in render_notices(imported, colour=colour_on(sys.stderr)):
        say(line)
    if to_stdout:
        put(render_files(imported))
        return
    write_import(directory, imported, replace=force)
    put(render_written(imported))


def _refuse_contradictions(of_import: Mapping[str, object], of_adoption: Mapping[str, object], *, adopt: bool) -> None:
    """Raise UsageProblem for options that would be ignored."""
    if adopt:
        for option in (option for option, value in of_import.items() if value):
            raise UsageProblem(f"{option} is about files that are written anew, and --adopt edits: give one of the two")
        return
    for option in (option for option, value in of_adoption.items() if value):
        raise UsageProblem(f"{option} is for --adopt")
