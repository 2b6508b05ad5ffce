"""`reconcile runbook`."""

from __future__ import annotations

from pathlib import Path

import click

from reconciler.cli.options import project_options
from reconciler.cli.output import put
from reconciler.errors import InvalidInput, Problem


@click.command("runbook")
@project_options
@click.option(
    "--check",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Print nothing; end with 3 if the file is missing or is not what would be printed.",
)
def command(directory: Path, check: Path | None) -> None:
    """Print the runbook as Markdown: for each playbook what is seen, what stops it, the way back, whom to call.

    Drawn from schemas/playbooks/. Keep it with `reconcile runbook > docs/runbook.md`, where people find it when nothing
    else works.
    """
    from reconciler.report.runbook import render_runbook
    from reconciler.runbook.playbooks import load_runbook

    page = render_runbook(load_runbook(directory))
    if check is None:
        put(page)
        return
    try:
        found = check.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        found = None
    if found != page:
        raise InvalidInput([Problem(f"{check} is out of date", None, f"run `reconcile runbook > {check}`")])
    put(f"{check} is up to date.")
