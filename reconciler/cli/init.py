"""`reconcile init`."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from reconciler.cli.options import connection_options, project_options
from reconciler.cli.output import put, say
from reconciler.cli.run import let_signals_end_the_process
from reconciler.cli.target import target_option

_INTERRUPTED = "The ledger was made before that; `reconcile init` again prints the grants."


@click.command("init")
@project_options
@click.option(
    "--plan-role",
    default="reconcile_plan",
    metavar="ROLE",
    help="The role that dry runs use, for the printed grants. Default: reconcile_plan.",
)
@click.option(
    "--apply-role",
    default="reconcile_apply",
    metavar="ROLE",
    help="The role that applies use, for the printed grants. Default: reconcile_apply.",
)
@target_option
@connection_options
def command(
    directory: Path, plan_role: str, apply_role: str, connect_timeout: float, statement_timeout: float, wait: float
) -> None:
    """Make or upgrade the ledger, and the row that audit entries without a tenant need.

    Can be run again at any time. Prints to stdout the SQL that grants two roles what they need and no more; it is not
    executed.
    """
    from reconciler.cli.database import open_from_environment
    from reconciler.grants import grants
    from reconciler.initialize import initialize
    from reconciler.project import read_work_tree

    project = read_work_tree(directory)
    with open_from_environment(connect_timeout, statement_timeout, wait) as connection:
        done = initialize(connection, project.definitions, partial(let_signals_end_the_process, _INTERRUPTED))
    for sentence in done.sentences:
        say(sentence)
    put(grants(project.definitions, project.desired, done.catalog, plan_role, apply_role))
