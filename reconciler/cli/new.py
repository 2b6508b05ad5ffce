"""`reconcile new`."""

from __future__ import annotations

from pathlib import Path

import click

from reconciler.cli.options import connection_options
from reconciler.cli.output import put, say
from reconciler.errors import UsageProblem


@click.command("new")
@click.argument("directory", type=click.Path(path_type=Path), metavar="DIR")
@click.option("--from-database", is_flag=True, help="Draw schemas/ from the columns of the live database.")
@click.option(
    "--table",
    "tables",
    multiple=True,
    metavar="TABLE",
    help="With --from-database: a table that git may manage. Can be given several times.",
)
@click.option(
    "--audit-table",
    metavar="TABLE",
    help="With --from-database: the platform's own audit table. Default: the only one that is called so.",
)
@click.option(
    "--install",
    metavar="SPEC",
    help="What the workflows install, as pip takes it: git+https://...@TAG, or a name with its version.",
)
@click.option(
    "--owner",
    "owners",
    multiple=True,
    metavar="WHO",
    help="Who must approve changes, for CODEOWNERS: @organisation/team. Can be given several times.",
)
@click.option("--git", "with_git", is_flag=True, help="Make it a git repository with a first commit.")
@connection_options
def command(
    directory: Path,
    from_database: bool,
    tables: tuple[str, ...],
    audit_table: str | None,
    install: str | None,
    owners: tuple[str, ...],
    with_git: bool,
    connect_timeout: float,
    statement_timeout: float,
    wait: float,
) -> None:
    """Make a repository of your own in DIR: state/, schemas/, workflows, CODEOWNERS, README.

    It is valid at once. Without a database it shows an invented table. A directory that is not empty is left alone.
    """
    from reconciler.scaffold.origin import installed_from
    from reconciler.scaffold.repository import (
        commit_planned,
        plan_files,
        plan_files_from,
        refuse_unless_empty,
        refuse_without_identity,
        write_planned,
    )

    if not from_database and (tables or audit_table):
        raise UsageProblem("--table and --audit-table name tables of a database: add --from-database")
    refuse_unless_empty(directory)
    if with_git:
        refuse_without_identity(directory)
    source = installed_from()
    spec = install or source.spec
    if from_database:
        from reconciler.cli.database import open_from_environment

        with open_from_environment(connect_timeout, statement_timeout, wait) as connection:
            planned = plan_files_from(connection, tables, audit_table, spec, owners)
    else:
        planned = plan_files(spec, owners)
    write_planned(directory, planned)
    for notice in planned.notices:
        say(f"note: {notice}")
    if install is None and not source.certain:
        say(
            f"note: requirements.txt installs {spec} from your package index. Is that this program? Else --install SPEC"
        )
    commit = f", committed as {commit_planned(directory, planned)[:12]}" if with_git else ""
    put(f"{directory}: {len(planned.files)} files{commit}. Next: its README.md says what is left to decide.")
