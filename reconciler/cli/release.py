"""`reconcile release`."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import click

from reconciler.cli.options import connection_options, project_options, reason_option
from reconciler.cli.output import put
from reconciler.cli.run import let_signals_end_the_process
from reconciler.cli.target import one_target_option
from reconciler.errors import UsageProblem
from reconciler.model import FieldKey


@click.command("release")
@click.argument("fields", nargs=-1, required=True, metavar="TABLE/KEY.FIELD...")
@project_options
@reason_option
@one_target_option
@connection_options
def command(
    fields: tuple[str, ...],
    directory: Path,
    reason: str,
    connect_timeout: float,
    statement_timeout: float,
    wait: float,
) -> None:
    """Let git decide again about values that were killed by hand, or left by an apply of a dirty work tree.

    The next run from git treats them as if a commit had touched them; a restore still has to pass the guards.
    """
    from reconciler.break_glass import release
    from reconciler.cli.database import open_from_environment
    from reconciler.origin import origin_of
    from reconciler.project import read_schemas

    wanted = [_field(text) for text in fields]
    definitions = read_schemas(directory)
    actor = origin_of(os.environ, None).actor
    committed = partial(let_signals_end_the_process, "The release was recorded before that.")
    with open_from_environment(connect_timeout, statement_timeout, wait) as connection:
        sentence = release(connection, definitions, wanted, reason, actor, committed)
    put(sentence)


def _field(text: str) -> FieldKey:
    table, slash, rest = text.partition("/")
    key, dot, field = rest.rpartition(".")
    if not (table and slash and key and dot and field):
        raise UsageProblem(f"{text} is not a field: write table/key.field")
    return table, key, field
