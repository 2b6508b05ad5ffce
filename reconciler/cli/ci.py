"""`reconcile ci`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from reconciler.cli.options import (
    Seconds,
    connection_options,
    project_options,
    proving_of,
    proving_options,
    scope_of,
    scope_options,
)
from reconciler.cli.output import put, say
from reconciler.cli.target import one_target_option
from reconciler.database.connection import DatabaseConnection
from reconciler.errors import UsageProblem


@click.command("ci")
@click.argument("mode", type=click.Choice(["validate", "plan", "apply", "drift"]), metavar="MODE")
@project_options
@scope_options
@click.option("--no-comment", is_flag=True, help="Say nothing on the host's pages: no comment, no label, no issue.")
@click.option(
    "--branch",
    metavar="NAME",
    help="For apply: the branch that production follows; jobs of others are refused. Default: the repository's own.",
)
@click.option(
    "--plan-out", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Save the plan, as JSON."
)
@click.option(
    "--markdown-out",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the summary to this file. Default: where the service shows it; a service without one: reconcile.md.",
)
@click.option(
    "--code-quality",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the annotations as GitLab's code quality report.",
)
@click.option("--reason", metavar="TEXT", help="For apply: why. Default: the commit's subject.")
@click.option(
    "--allow-changes",
    type=click.IntRange(min=1),
    metavar="N",
    help="For apply: let up to N rows change, whatever the policy's blast limit says. Needs --reason.",
)
@click.option(
    "--batch",
    type=click.IntRange(min=1),
    metavar="N",
    help="For apply: in transactions of at most N rows each, kills first, so that no lock is held for long.",
)
@click.option(
    "--lock-timeout",
    type=Seconds(),
    default="5m",
    metavar="DURATION",
    help="For apply: wait so long for another run, or a row's lock, to get out of the way. Default: 5m.",
)
@proving_options
@one_target_option
@connection_options
def command(
    mode: str,
    directory: Path,
    only: tuple[str, ...],
    tables: tuple[str, ...],
    no_comment: bool,
    branch: str | None,
    plan_out: Path | None,
    markdown_out: Path | None,
    code_quality: Path | None,
    reason: str | None,
    allow_changes: int | None,
    batch: int | None,
    lock_timeout: float,
    no_verify: bool,
    verify_within: float | None,
    connect_timeout: float,
    statement_timeout: float,
    wait: float,
) -> None:
    """Do what a CI job does: MODE is validate, plan, apply or drift.

    The run is the one of the command of that name. What comes of it is said as annotations, in the job's summary and
    outputs, in one comment on the pull request that is kept up to date, as labels, and as issues that close by
    themselves. GitHub Actions and GitLab CI are known; elsewhere the summary is a Markdown file. GITHUB_TOKEN or
    GITLAB_TOKEN is who speaks; without one, or with the host away, the exit code is still that of the run.
    """
    from reconciler.ci.job import Job, project_name
    from reconciler.ci.run import Files, run_job
    from reconciler.ci.surroundings import surroundings_of
    from reconciler.ci.talk import Talk
    from reconciler.cli.database import open_from_environment
    from reconciler.cli.run import let_signals_end_the_process
    from reconciler.pipeline import Request
    from reconciler.targets import chosen

    def connect() -> DatabaseConnection:
        return open_from_environment(connect_timeout, statement_timeout, wait)

    proving = proving_of(no_verify, verify_within, "" if mode == "apply" else "the mode apply")
    if batch is not None and mode != "apply":
        raise UsageProblem("--batch is for an apply: add the mode apply")
    name = project_name(directory)
    where = surroundings_of(os.environ, silent=no_comment)
    request = Request(
        directory=directory,
        revision="HEAD" if mode in ("plan", "drift") and name is not None else None,
        scope=scope_of(only, tables),
        reason=reason,
        allow_changes=allow_changes or 0,
        lock_timeout_ms=int(lock_timeout * 1000),
        batch=batch,
    )
    job = Job(
        request=request,
        where=where,
        talk=Talk(where),
        project=name or ".",
        environment=os.environ,
        connect=connect,
        committed=let_signals_end_the_process,
        proving=proving,
        plan_out=plan_out,
        branch=branch,
        target=chosen(),
    )
    click.get_current_context().exit(run_job(job, mode, Files(markdown_out, code_quality), put, say))
