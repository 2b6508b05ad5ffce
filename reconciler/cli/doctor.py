"""`reconcile doctor`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from reconciler.cli.options import Seconds, output_option, project_options
from reconciler.cli.output import colour_on, put, width_of_terminal


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
@output_option("text", "json", "markdown")
def command(directory: Path, purpose: str, deadline: float, output: str) -> None:
    """Look at everything that an apply needs, and say what is right and what to do about what is not.

    git, the schemas against the live database, this role's privileges (with the GRANTs that are missing), the ledger, a
    dry run, Redis and its queues, GitHub. Reads only. Ends with 0 where nothing is in the way, else with the code that
    an apply would end with.
    """
    from reconciler.doctor.examine import examine
    from reconciler.report import doctor as report

    found = examine(
        directory,
        purpose="plan" if purpose == "plan" else "apply",
        environment=os.environ,
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
