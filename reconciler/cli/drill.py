"""`reconcile drill`."""

from __future__ import annotations

import io
import signal
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from datetime import UTC, datetime
from pathlib import Path

import click

from reconciler.cli.options import output_option, project_options
from reconciler.cli.output import colour_on, put, say, width_of_terminal
from reconciler.drill.ground import Ran
from reconciler.drill.result import STEPS, Drilled, DrillResult, Step
from reconciler.drill.story import tell
from reconciler.errors import Failed, ReconcileError, Refused, UsageProblem
from reconciler.fields import format_timestamp
from reconciler.report.drill import line_of_step, render_drill, render_drill_json, render_drill_markdown
from reconciler.runbook.kill import choose_playbook
from reconciler.runbook.playbooks import Runbook, load_runbook


@click.command("drill")
@click.argument("playbooks", nargs=-1, metavar="PLAYBOOK...")
@project_options
@click.option(
    "--staging",
    is_flag=True,
    help="On DATABASE_URL, inside a transaction that is rolled back, instead of on servers of the drill's own.",
)
@click.option(
    "--tenant", "--row", "tenant", metavar="NAME|ID", help="With --staging: whose incident it is; the row must exist."
)
@click.option("--yes", "-y", is_flag=True, help="With --staging: do not ask for the database's name.")
@output_option("text", "json", "markdown")
def command(
    playbooks: tuple[str, ...], directory: Path, staging: bool, tenant: str | None, yes: bool, output: str
) -> None:
    """Make incidents happen, and show that each is seen, stopped, held and restored. All playbooks, or those named.

    On an embedded Postgres, a Redis-compatible server, a git remote and an HTTP server of its own, which are really
    stopped; drill/*.sql makes the database. Prints a table with the time of each step. Ends with 1 where a step fails.
    """
    runbook = load_runbook(directory)
    names, left = _chosen(runbook, playbooks)
    if not staging and (tenant or yes):
        raise UsageProblem(f"{'--tenant' if tenant else '--yes'} is for --staging: a drill of its own has its own rows")
    drill = _on_staging if staging else _on_own_servers
    result = drill(directory, runbook, names, left, tenant, yes)
    if output == "json":
        put(render_drill_json(result))
    elif output == "markdown":
        put(render_drill_markdown(result))
    else:
        put(render_drill(result, colour=colour_on(sys.stdout), width=width_of_terminal()))
    for one, step in result.failures:
        say(f"Error: the drill of {one.playbook} failed at `{step.name}`: {step.said}")
    click.get_current_context().exit(Failed.exit_code if result.failures else 0)


def _chosen(runbook: Runbook, names: Sequence[str]) -> tuple[list[str], list[str]]:
    """The playbooks to drill, in the order of their numbers, and those that cannot be, because they have no drill."""
    for name in names:
        if choose_playbook(name, runbook.playbooks).drill is None:
            raise UsageProblem(f"{name} has no `drill`: say in schemas/playbooks/{name}.yaml how it happens and ends")
    wanted = {name: runbook.playbooks[name] for name in (names or runbook.playbooks)}
    in_order = sorted(wanted, key=lambda name: (wanted[name].incident is None, wanted[name].incident or 0, name))
    left = [name for name in in_order if wanted[name].drill is None]
    chosen = [name for name in in_order if name not in left]
    if not chosen:
        raise UsageProblem("no playbook has a `drill`: see docs/playbooks.md")
    return chosen, left


def _told(playbook: str, step: Step) -> None:
    say(line_of_step(playbook, step))


def _notes(left: Sequence[str]) -> tuple[str, ...]:
    return (f"Not drilled, as they have no `drill`: {', '.join(left)}",) if left else ()


def _on_own_servers(
    directory: Path, runbook: Runbook, names: Sequence[str], left: Sequence[str], _tenant: str | None, _yes: bool
) -> DrillResult:
    from reconciler.drill.local import running_servers

    at = format_timestamp(datetime.now(UTC).replace(microsecond=0))
    done: list[Drilled] = []
    with running_servers(directory.resolve(), runbook) as servers:
        for number, name in enumerate(names):
            drill = runbook.playbooks[name].drill
            assert drill is not None
            with servers.ground(number) as ground:
                done.append(tell(ground, runbook, name, drill.subject, _told))
        return DrillResult(at, servers.where, False, tuple(done), _notes(left))


def _on_staging(
    directory: Path, runbook: Runbook, names: Sequence[str], left: Sequence[str], tenant: str | None, yes: bool
) -> DrillResult:
    from reconciler.cli.database import open_from_environment
    from reconciler.drill.staging import LEFT_OUT, staging_ground
    from reconciler.runbook.subject import find_in_database

    about = [name for name in names if runbook.playbooks[name].subject is not None]
    if about and not tenant:
        raise UsageProblem(f"{', '.join(about)}: whose incident is it? Name a row that exists with --tenant NAME|ID")

    at = format_timestamp(datetime.now(UTC).replace(microsecond=0))
    with open_from_environment(10.0, 60.0, 0.0, "reconcile-drill") as connection:
        where = connection.address.safe
        row = connection.execute("SELECT current_database()").fetchone()
        _need_consent(where, str(row[0]) if row else "", yes)
        subjects = {}
        for name in about:
            table = runbook.definitions.tables[str(runbook.playbooks[name].subject)]
            subjects[name] = find_in_database(connection, runbook.definitions, table, str(tenant)).key
    done: list[Drilled] = []
    for name in names:
        subject = subjects.get(name)
        connection = open_from_environment(10.0, 60.0, 0.0, "reconcile-drill")
        playbook = runbook.playbooks[name]
        try:
            with staging_ground(connection, directory.resolve(), runbook, playbook, subject, _run_here) as ground:
                done.append(tell(ground, runbook, name, subject, _told))
        except ReconcileError as error:  # refused before its first step
            step = Step(STEPS[0], "failed", 0.0, " ".join(str(error).split()))
            done.append(Drilled(name, playbook.title, playbook.incident, (step,)))
    return DrillResult(at, where, True, tuple(done), (*LEFT_OUT, *_notes(left)))


def _need_consent(where: str, database: str, yes: bool) -> None:
    """A person types the database's name, or --yes was given: nobody drills on a database by accident."""
    say(
        f"This drills on {where}. For each playbook, for some seconds: rows are locked, and every other run of "
        "reconcile waits, kills included. Never drill on production."
    )
    if yes:
        return
    if not sys.stdin.isatty():
        raise Refused("nobody is there to be asked whether this is a staging database: give --yes if it is")
    question = f"Type the database's name ({database}) to go on"
    if click.prompt(question, err=True, default="", show_default=False) != database:
        raise Refused("nothing was done: that is not its name")


def _run_here(words: Sequence[str]) -> Ran:
    """A command in this process, with what it prints, and with signals as they were before."""
    from reconciler.cli.app import run

    out, err = io.StringIO(), io.StringIO()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with redirect_stdout(out), redirect_stderr(err):
            code = run(words)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    return Ran(code, out.getvalue(), err.getvalue())
