"""`reconcile validate`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from reconciler.cli.options import output_option, project_options, revision_option
from reconciler.cli.output import progress_bar, put, say
from reconciler.project import Also


@click.command("validate")
@project_options
@revision_option
@click.option(
    "--changes",
    metavar="BASE..HEAD",
    help="Say as well which class the change between two commits is: none, neutral, kill, restore, mixed. BASE...HEAD "
    "is what a branch has changed since it parted.",
)
@output_option("text", "json")
def command(directory: Path, revision: str | None, changes: str | None, output: str) -> None:
    """Check state/ and schemas/ without a database: every mistake of every file, with its line.

    Needs no secret. Ends with 3 if anything is wrong. With --changes, HEAD is what is checked.
    """
    from reconciler.errors import Problem, UsageProblem
    from reconciler.playbook import Playbook
    from reconciler.project import read_revision, read_work_tree
    from reconciler.report.words import plural
    from reconciler.runbook.playbooks import read_playbook_files
    from reconciler.schema import Definitions
    from reconciler.sources import SourceFile

    playbooks: dict[str, Playbook] = {}

    def also(files: Sequence[SourceFile], definitions: Definitions | None, problems: list[Problem]) -> None:
        playbooks.update(read_playbook_files(files, definitions, problems))

    if changes is not None:
        if revision:
            raise UsageProblem("--changes names its commits itself: leave --revision out")
        _validate_changes(directory, changes, also, output)
        return
    progress = progress_bar()
    if revision:
        project = read_revision(directory, revision, progress, also)
    else:
        project = read_work_tree(directory, progress, also)
    rows = sum(len(of_table) for of_table in project.desired.values())
    fields = sum(len(row.values) for of_table in project.desired.values() for row in of_table.values())
    tables = len(project.definitions.tables)
    matches = sum(map(len, project.matches.values()))
    if output == "json":
        import json

        counts = {"tables": tables, "rows": rows, "fields": fields, "matches": matches, "playbooks": len(playbooks)}
        put(json.dumps({"format_version": 1, "valid": True, **counts}))
        return
    runbook = f"; {plural(len(playbooks), 'playbook')}" if playbooks else ""
    asked = f", {plural(matches, 'entry', 'entries')} of $where" if matches else ""
    managed = f"{plural(rows, 'row')} with {plural(fields, 'managed field')}"
    put(f"Valid: {managed}{asked}; schemas for {plural(tables, 'table')}{runbook}.")


def _validate_changes(directory: Path, changes: str, also: Also, output: str) -> None:
    from reconciler.pull_request import parse_range, review_changes
    from reconciler.report.review import render_json, render_text

    review = review_changes(directory, parse_range(changes), also)
    put(render_json(review) if output == "json" else render_text(review))
    for note in review.notes:
        say(f"note: {note}")
