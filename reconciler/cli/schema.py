"""`reconcile schema`: the JSON Schemas for editors."""

from __future__ import annotations

from pathlib import Path

import click

from reconciler.cli.options import project_options
from reconciler.cli.output import put, say
from reconciler.errors import InvalidInput


@click.command("schema")
@project_options
@click.option("--check", is_flag=True, help="Write nothing; end with 3 if a file is missing or out of date.")
def command(directory: Path, check: bool) -> None:
    """Write the JSON Schemas for editors to schemas/json/.

    State, schema and policy files that begin with a yaml-language-server line then complete and complain while they
    are typed. Commit the files; a test of yours can run this with --check.
    """
    from reconciler.editor_schema import editor_schemas, stale_files, stale_problems
    from reconciler.project import read_work_tree

    folder = directory / "schemas" / "json"
    definitions = read_work_tree(directory).definitions
    wanted = editor_schemas(definitions)
    stale, extra = stale_files(folder, definitions)
    if check:
        if problems := stale_problems(folder, definitions):
            raise InvalidInput(problems)
        put(f"{len(wanted)} files in schemas/json are up to date.")
        return
    folder.mkdir(parents=True, exist_ok=True)
    for name in stale:
        (folder / name).write_text(wanted[name], encoding="utf-8")
        say(f"schemas/json/{name}: written")
    for name in extra:
        (folder / name).unlink()
        say(f"schemas/json/{name}: removed, it belongs to no table")
    put(f"{len(wanted)} files in schemas/json are up to date.")

