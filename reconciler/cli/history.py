"""`reconcile history`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from reconciler.cli.options import connection_options, output_option, project_options
from reconciler.cli.output import colour_on, put, say, width_of_terminal
from reconciler.cli.target import one_target_option
from reconciler.database.connection import DatabaseConnection
from reconciler.errors import UsageProblem
from reconciler.history.query import HistoryQuery, parse_since
from reconciler.model import RowKey


@click.command("history")
@click.option("--row", "rows", multiple=True, metavar="TABLE/KEY", help="Only this row. Can be given several times.")
@click.option("--tenant", metavar="ID-OR-NAME", help="Only this tenant: its id, or the label of its row, in full.")
@click.option("--table", "tables", multiple=True, metavar="TABLE", help="Only this table. Several times, too.")
@click.option("--field", "fields", multiple=True, metavar="FIELD", help="Only this field. Several times, too.")
@click.option("--commit", metavar="COMMIT", help="Only of this commit; its first four characters are enough.")
@click.option("--run", "run_id", metavar="RUN", help="Only of this run; its first four characters are enough.")
@click.option("--since", metavar="WHEN", help="Only since then: a duration (24h, 7d), or a date (2026-11-27), in UTC.")
@click.option("--incident", metavar="NAME", help="Only what names this incident, in its reason or its run's: INC-142.")
@click.option(
    "--limit",
    type=click.IntRange(1, 100_000),
    default=50,
    metavar="N",
    help="At most so many, the newest ones. Default: 50.",
)
@click.option("--runs", "of_runs", is_flag=True, help="List runs, those that changed nothing too, instead of changes.")
@click.option(
    "--timeline",
    is_flag=True,
    help="Oldest first, each story whole: kill, what was held, restore, and how long everything was off.",
)
@project_options
@output_option("text", "json")
@one_target_option
@connection_options
def command(
    rows: tuple[str, ...],
    tenant: str | None,
    tables: tuple[str, ...],
    fields: tuple[str, ...],
    commit: str | None,
    run_id: str | None,
    since: str | None,
    incident: str | None,
    limit: int,
    of_runs: bool,
    timeline: bool,
    directory: Path,
    output: str,
    connect_timeout: float,
    statement_timeout: float,
    wait: float,
) -> None:
    """Tell who changed what, when and why, newest first.

    All of it comes from the ledger: what reconcile has written. Options limit it together: a change must match each.
    The directory serves --timeline alone, which calls fields by their titles where it finds schemas/.
    """
    from reconciler.cli.database import open_from_environment

    if of_runs and timeline:
        raise UsageProblem("--runs lists runs, --timeline tells what happened to fields: give one of the two")
    query = HistoryQuery(
        rows=tuple(map(_row_key, rows)),
        tables=tables,
        fields=fields,
        tenant=tenant,
        commit=commit,
        run=run_id,
        since=None if since is None else parse_since(since),
        incident=incident,
        limit=limit,
    )
    with open_from_environment(connect_timeout, statement_timeout, wait) as connection:
        for note in connection.notes:
            say(f"note: {note}")
        if timeline:
            text = _timeline(connection, query, directory, as_json=output == "json")
        elif of_runs:
            text = _runs(connection, query, as_json=output == "json")
        else:
            text = _changes(connection, query, as_json=output == "json")
    put(text)


def _changes(connection: DatabaseConnection, query: HistoryQuery, *, as_json: bool) -> str:
    from reconciler.history.read import read_history
    from reconciler.report.history import render_history, render_history_json

    changes = read_history(connection, query)
    if as_json:
        return render_history_json(changes)
    return render_history(changes, colour=colour_on(sys.stdout), width=width_of_terminal())


def _runs(connection: DatabaseConnection, query: HistoryQuery, *, as_json: bool) -> str:
    from reconciler.history.read import read_runs
    from reconciler.report.history import render_runs, render_runs_json

    runs = read_runs(connection, query)
    if as_json:
        return render_runs_json(runs)
    return render_runs(runs, colour=colour_on(sys.stdout), width=width_of_terminal())


def _timeline(connection: DatabaseConnection, query: HistoryQuery, directory: Path, *, as_json: bool) -> str:
    from reconciler.history.timeline import read_timeline
    from reconciler.report.timeline import render_timeline, render_timeline_json
    from reconciler.titles import read_titles

    timeline, titles = read_timeline(connection, query), read_titles(directory)
    if as_json:
        return render_timeline_json(timeline, titles)
    return render_timeline(timeline, titles, colour=colour_on(sys.stdout), width=width_of_terminal())


def _row_key(text: str) -> RowKey:
    table, _, key = text.partition("/")
    if not table or not key:
        raise UsageProblem(f"--row {text}: name a row as table/key, or a whole table with --table {text}")
    return table, key
