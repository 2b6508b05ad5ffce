"""`reconcile validate`."""

from __future__ import annotations

from pathlib import Path

import click

from reconciler.cli.options import output_option, project_options, revision_option
from reconciler.cli.output import progress_bar, put


@click.command("validate")
@project_options
@revision_option
@output_option("text", "json")
def command(directory: Path, revision: str | None, output: str) -> None:
    """Check state/ and schemas/ without a database: every mistake of every file, with its line.

    Needs no secret. Ends with 3 if anything is wrong.
    """
    from reconciler.project import read_revision, read_work_tree

    progress = progress_bar()
    project = read_revision(directory, revision, progress) if revision else read_work_tree(directory, progress)
    rows = sum(len(of_table) for of_table in project.desired.values())
    fields = sum(len(row.values) for of_table in project.desired.values() for row in of_table.values())
    tables = len(project.definitions.tables)
    if output == "json":
        import json

        put(json.dumps({"format_version": 1, "valid": True, "tables": tables, "rows": rows, "fields": fields}))
        return
    put(f"Valid: {rows} rows with {fields} managed fields; schemas for {tables} tables.")
