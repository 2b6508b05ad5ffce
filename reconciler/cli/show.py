"""`reconcile show FILE`."""

from __future__ import annotations

from pathlib import Path

import click

from reconciler.cli.options import output_option
from reconciler.cli.run import load_plan, show_plan
from reconciler.report import Format


@click.command("show")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@output_option("text", "json", "markdown")
def command(file: Path, output: Format) -> None:
    """Display a plan that `reconcile --dry-run --plan-out FILE` has saved, stale or not."""
    show_plan(load_plan(file), output)
