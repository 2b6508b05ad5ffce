"""`reconcile triage`."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

from reconciler.cli.options import Seconds, output_option, project_options
from reconciler.cli.output import colour_on, put, width_of_terminal
from reconciler.cli.target import one_target_option
from reconciler.errors import Failed

_CLEAR = "\x1b[H\x1b[2J"


@click.command("triage")
@project_options
@click.option("--only", multiple=True, metavar="PLAYBOOK", help="Only this playbook. Can be given several times.")
@click.option(
    "--deadline",
    type=Seconds(),
    default="3s",
    metavar="DURATION",
    help="Give a probe up that takes so long; the others go on. Default: 3s.",
)
@click.option(
    "--watch",
    type=Seconds(),
    is_flag=False,
    flag_value="10s",
    metavar="[DURATION]",
    help="Look again and again, with so long between (10s where none is given), until Ctrl-C.",
)
@one_target_option
@output_option("text", "json")
@click.option(
    "--exit-code",
    is_flag=True,
    help="End with 2 if a playbook matches, and with 1 if none does and a probe could not be made.",
)
def command(
    directory: Path, only: tuple[str, ...], deadline: float, watch: float | None, output: str, exit_code: bool
) -> None:
    """Look at the live system, say which playbooks match, and print the command that throws the switch.

    Reads only. Postgres (DATABASE_URL, DIRECT_URL), Redis (REDIS_URL) and URLs are asked at the same time; what does
    not answer is a symptom, or is said.
    """
    from reconciler.cli.database import environment_of_target
    from reconciler.report import triage as report
    from reconciler.runbook.playbooks import load_runbook
    from reconciler.runbook.triage import triage

    runbook = load_runbook(directory)
    code = 0
    try:
        while True:
            found = triage(
                runbook,
                environment=environment_of_target(),
                only=only,
                deadline_s=max(deadline, 0.1),
                directory=str(directory),
            )
            code = 2 if found.matches else Failed.exit_code if found.failed else 0
            if output == "json":
                put(report.render_triage_json(found) if watch is None else report.render_triage_line(found))
            else:
                text = report.render_triage(found, colour=colour_on(sys.stdout), width=width_of_terminal())
                put(text if watch is None else _heading(found.at) + text)
            if watch is None:
                break
            time.sleep(max(watch, 0.1))
    except KeyboardInterrupt:
        if watch is None:
            raise
    if exit_code:
        click.get_current_context().exit(code)


def _heading(at: str) -> str:
    """What stands above each look: on a terminal, in the place of the last one."""
    return f"{_CLEAR if sys.stdout.isatty() else ''}{at}, Ctrl-C ends\n\n"
