"""`reconcile history`."""

from __future__ import annotations

import sys

import click

from reconciler.cli.options import connection_options, output_option
from reconciler.cli.output import colour_on, put, say, width_of_terminal
from reconciler.errors import UsageProblem
from reconciler.model import RowKey


@click.command("history")
@click.option("--row", "rows", multiple=True, metavar="TABLE/KEY", help="Only this row. Can be given several times.")
@click.option("--tenant", metavar="ID-OR-NAME", help="Only this tenant: its id, or the label of its row, in full.")
@click.option("--table", "tables", multiple=True, metavar="TABLE", help="Only this table. Several times, too.")
@click.option("--field", "fields", multiple=True, metavar="FIELD", help="Only this field. Several times, too.")
@click.option("--commit", metavar="COMMIT", help="Only of this commit; its first four characters are enough.")
@click.option("--run", "run_id", metavar="RUN", help="Only of this run; its first four characters are enough.")
@click.option("--since", metavar="WHEN", help="Only since then: a duration (24h, 7d), or a date (2026-11-27), in UTC.")
@click.option(
    "--limit",
    type=click.IntRange(1, 100_000),
    default=50,
    metavar="N",
    help="At most so many, the newest ones. Default: 50.",
)
@click.option("--runs", "of_runs", is_flag=True, help="List runs, those that changed nothing too, instead of changes.")
@output_option("text", "json")
@connection_options
def command(
    rows: tuple[str, ...],
    tenant: str | None,
    tables: tuple[str, ...],
    fields: tuple[str, ...],
    commit: str | None,
    run_id: str | None,
    since: str | None,
    limit: int,
    of_runs: bool,
    output: str,
    connect_timeout: float,
    statement_timeout: float,
    wait: float,
) -> None:
    """Tell who changed what, when and why, newest first.

    All of it comes from the ledger: what reconcile has written. Options limit it together: a change must match each.
    """
    from reconciler.cli.database import open_from_environment
    from reconciler.history import read_history, read_runs
    from reconciler.history_query import HistoryQuery, parse_since
    from reconciler.report import history as report

    query = HistoryQuery(
        rows=tuple(map(_row_key, rows)),
        tables=tables,
        fields=fields,
        tenant=tenant,
        commit=commit,
        run=run_id,
        since=None if since is None else parse_since(since),
        limit=limit,
    )
    with open_from_environment(connect_timeout, statement_timeout, wait) as connection:
        for note in connection.notes:
            say(f"note: {note}")
        if of_runs:
            runs = read_runs(connection, query)
        else:
            changes = read_history(connection, query)
    colour, width = colour_on(sys.stdout), width_of_terminal()
    if of_runs:
        put(report.render_runs_json(runs) if output == "json" else report.render_runs(runs, colour=colour, width=width))
    elif output == "json":
        put(report.render_history_json(changes))
    else:
        put(report.render_history(changes, colour=colour, width=width))


def _row_key(text: str) -> RowKey:
    table, _, key = text.partition("/")
    if not table or not key:
        raise UsageProblem(f"--row {text}: name a row as table/key, or a whole table with --table {text}")
    return table, key
