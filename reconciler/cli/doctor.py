"""`reconcile doctor`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from reconciler.cli.options import Seconds, output_option, project_options
from reconciler.cli.output import colour_on, put, width_of_terminal
from reconciler.cli.target import target_option
from reconciler.errors import ReconcileError


@click.command("doctor")
@project_options
@click.option(
    "--for",
    "purpose",
    type=click.Choice(["apply", "plan"]),
    default="apply",
    help="What this machine and its role are to be good for; `plan`: dry runs only. Default: apply.",
)
@click.option(
    "--deadline",
    type=Seconds(),
    default="5s",
    metavar="DURATION",
    help="Give a part up that does not answer for so long; the others go on. Default: 5s.",
)
@target_option
@output_option("text", "json", "markdown")
def command(directory: Path, purpose: str, deadline: float, output: str) -> None:
    """Look at everything that an apply needs, and say what is right and what to do about what is not.

    git, the schemas against the live database, this role's privileges (with the GRANTs that are missing), the ledger, a
    dry run, Redis and its queues, GitHub. Reads only. Ends with 0 where nothing is in the way, else with the code that
    an apply would end with.
    """
    from reconciler.cli.database import environment_of_target
    from reconciler.doctor.examine import examine
    from reconciler.report import doctor as report

    _need_target(directory)
    found = examine(
        directory,
        purpose="plan" if purpose == "plan" else "apply",
        environment=environment_of_target(),
        deadline_s=max(deadline, 0.1),
    )
    match output:
        case "json":
            put(report.render_doctor_json(found))
        case "markdown":
            put(report.render_doctor_markdown(found))
        case _:
            put(report.render_doctor(found, colour=colour_on(sys.stdout), width=width_of_terminal()))
    click.get_current_context().exit(found.exit_code)


def _need_target(directory: Path) -> None:
    """Raise UsageProblem where several databases are declared and none was named; broken schemas are for the table."""
    from reconciler.project import read_schemas
    from reconciler.targets import need_target

    try:
        targets = read_schemas(directory).policy.targets
    except ReconcileError:
        return
    need_target(targets)
