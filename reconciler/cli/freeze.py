"""`reconcile freeze`."""

from __future__ import annotations

import os
from datetime import datetime
from functools import partial
from pathlib import Path

import click

from reconciler.cli.options import Moment, connection_options, project_options, reason_option
from reconciler.cli.output import put
from reconciler.cli.run import let_signals_end_the_process
from reconciler.cli.target import target_option


@click.command("freeze")
@project_options
@click.option("--until", type=Moment(), required=True, help="When it ends, at the latest: 2026-11-27T09:00:00Z.")
@reason_option
@target_option
@connection_options
def command(
    directory: Path, until: datetime, reason: str, connect_timeout: float, statement_timeout: float, wait: float
) -> None:
    """From now until a time, apply nothing but kills: restores and neutral changes are held.

    For what nobody planned; planned ones stand in schemas/policy.yaml. Recorded in the ledger and the audit log.
    """
    from reconciler.break_glass import call_freeze
    from reconciler.cli.database import open_from_environment
    from reconciler.origin import origin_of
    from reconciler.project import read_schemas

    definitions = read_schemas(directory)
    actor = origin_of(os.environ, None).actor
    committed = partial(let_signals_end_the_process, "The freeze was recorded before that.")
    with open_from_environment(connect_timeout, statement_timeout, wait) as connection:
        sentence = call_freeze(connection, definitions, until, reason, actor, committed)
    put(sentence)
