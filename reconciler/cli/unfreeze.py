"""`reconcile unfreeze`."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import click

from reconciler.cli.options import connection_options, project_options, reason_option
from reconciler.cli.output import put
from reconciler.cli.run import let_signals_end_the_process
from reconciler.cli.target import target_option


@click.command("unfreeze")
@project_options
@reason_option
@target_option
@connection_options
def command(directory: Path, reason: str, connect_timeout: float, statement_timeout: float, wait: float) -> None:
    """End the freezes that `reconcile freeze` began. What they held is applied by the next run, under the guards."""
    from reconciler.break_glass import end_freeze
    from reconciler.cli.database import open_from_environment
    from reconciler.origin import origin_of
    from reconciler.project import read_schemas

    definitions = read_schemas(directory)
    actor = origin_of(os.environ, None).actor
    committed = partial(let_signals_end_the_process, "The freeze was ended before that.")
    with open_from_environment(connect_timeout, statement_timeout, wait) as connection:
        sentence = end_freeze(connection, definitions, reason, actor, committed)
    put(sentence)
