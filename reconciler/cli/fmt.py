"""`reconcile fmt`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from reconciler.cli.options import project_options
from reconciler.cli.output import colour_on, put, say


@click.command("fmt")
@project_options
@click.argument("paths", nargs=-1, type=click.Path(exists=True, path_type=Path), metavar="PATHS...")
@click.option("--check", is_flag=True, help="Write nothing; list the files that are not formatted, and end with 2.")
@click.option("--diff", "with_diff", is_flag=True, help="Write nothing; show what would change.")
def command(directory: Path, paths: tuple[Path, ...], check: bool, with_diff: bool) -> None:
    """Write state files in one order and style, comments kept (see docs/state.md). No PATHS: all of state/.

    What a file says never changes: one that cannot be formatted without that is left as it is, and named.
    """
    from reconciler.editing.files import write_edited
    from reconciler.errors import InvalidInput
    from reconciler.formatting.files import format_files

    found = format_files(directory, paths)
    if with_diff and found.changed:
        from reconciler.report.diff import render_files

        put(render_files(found.changed, colour=colour_on(sys.stdout)))
    if check and not with_diff:
        for file in found.changed:
            put(file.path)
    if not check and not with_diff:
        write_edited(directory, found.changed)
        for file in found.changed:
            say(f"{file.path}: formatted")
    for sentence in found.left:
        say(f"note: {sentence}")
    if found.problems:
        raise InvalidInput(found.problems, "Not valid, and left as they are:")
    number = len(found.changed)
    files = f"{found.looked_at} file{'' if found.looked_at == 1 else 's'}"
    if check or with_diff:
        say(f"{number} of {files} would be formatted.")
    else:
        put(f"{number} of {files} formatted.")
    if check and number:
        click.get_current_context().exit(2)
