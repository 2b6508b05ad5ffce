"""`reconcile deliver`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from reconciler.cli.options import connection_options, output_option, project_options
from reconciler.cli.output import colour_on, put, say
from reconciler.cli.target import target_option
from reconciler.errors import Failed


@click.command("deliver")
@project_options
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Make at most N attempts. Default: no limit.")
@click.option("--retry-dead", is_flag=True, help="Try those again, too, that were given up.")
@output_option("text", "json")
@target_option
@connection_options
def command(
    directory: Path,
    limit: int | None,
    retry_dead: bool,
    output: str,
    connect_timeout: float,
    statement_timeout: float,
    wait: float,
) -> None:
    """Deliver effects that have not arrived yet: messages to Redis, BullMQ jobs, webhooks.

    What an apply could not deliver waits in the outbox. It is tried now, whenever its next attempt is due, unless its
    target has refused it. Several of these can run at once. Ends with 1 if an attempt fails.
    """
    from reconciler.cli.database import open_from_environment
    from reconciler.effects.delivery import deliver_all
    from reconciler.project import read_work_tree
    from reconciler.report import deliver as report

    policy = read_work_tree(directory).definitions.policy
    with open_from_environment(connect_timeout, statement_timeout, wait) as connection:
        for note in connection.notes:
            say(f"note: {note}")
        try:
            done = deliver_all(connection, policy.delivery, limit=limit, retry_dead=retry_dead)
        except KeyboardInterrupt:
            raise Failed("interrupted: what has not arrived waits. Run `reconcile deliver` again") from None
    put(report.render_json(done) if output == "json" else report.render(done, colour=colour_on(sys.stdout)))
    if done.delivered.failures:
        click.get_current_context().exit(Failed.exit_code)
