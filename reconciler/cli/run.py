"""`reconcile` and `reconcile --dry-run`."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import click

from reconciler.cli.options import (
    F,
    Moment,
    Seconds,
    connection_options,
    output_option,
    project_options,
    proving_of,
    proving_options,
    revision_option,
    scope_of,
    scope_options,
)
from reconciler.cli.output import colour_on, for_log, let_go_of_stdout, progress_bar, put, say, width_of_terminal
from reconciler.errors import Failed, InvalidInput, Problem, UsageProblem
from reconciler.plan import Plan
from reconciler.report import Format


def run_options(function: F) -> F:
    """The options of a plan and of an apply."""
    options: list[Callable[[F], F]] = [
        click.option("--dry-run", is_flag=True, help="Show what an apply would do, and do nothing."),
        project_options,
        revision_option,
        scope_options,
        click.option(
            "--full",
            is_flag=True,
            help="Look at every row. Without it, a run of a large project looks at what git has changed, and at all "
            "once the policy's `full_pass_every` is over.",
        ),
        output_option("text", "json", "markdown"),
        click.option(
            "--plan-out",
            type=click.Path(dir_okay=False, path_type=Path),
            metavar="FILE",
            help="With --dry-run: save the plan, for `reconcile show` and `reconcile --plan`.",
        ),
        click.option(
            "--plan",
            "plan_file",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            metavar="FILE",
            help="Apply exactly this saved plan, once; refused as stale if a row or the state has moved.",
        ),
        click.option(
            "--exit-code",
            is_flag=True,
            help="End with 2 if a dry run finds changes, and with 5 if a guard holds something back.",
        ),
        click.option("--yes", "-y", is_flag=True, help="Do not ask before applying. CI=true does not ask either."),
        click.option("--reason", metavar="TEXT", help="Why; goes into the audit log. Default: the commit's subject."),
        click.option(
            "--allow-dirty", is_flag=True, help="Apply the work tree as it is, committed or not. Needs --reason."
        ),
        click.option(
            "--allow-rewind",
            is_flag=True,
            help="Apply a commit that does not descend from the one applied last. Needs --reason.",
        ),
        click.option(
            "--allow-changes",
            type=click.IntRange(min=1),
            metavar="N",
            help="Let up to N rows change, whatever the policy's blast limit says. Needs --reason.",
        ),
        click.option(
            "--batch",
            type=click.IntRange(min=1),
            metavar="N",
            help="Apply in transactions of at most N rows each, kills first, so that no lock is held for long. What is "
            "interrupted between two of them is completed by the next run.",
        ),
        proving_options,
        click.option("--now", type=Moment(), hidden=True, help="Another time than the database's; a demo's only."),
        click.option(
            "--lock-timeout",
            type=Seconds(),
            default="10s",
            metavar="DURATION",
            help="Give up when another run, or a row's lock, is in the way for so long. Default: 10s.",
        ),
        click.option(
            "--target",
            metavar="NAME",
            help="Which of the databases that schemas/policy.yaml declares under `targets`, or all: each in a run of "
            "its own, at the same time.",
        ),
        connection_options,
    ]
    for option in reversed(options):
        function = option(function)
    return function


def run_reconcile(**options: Any) -> None:
    """What `reconcile` does without a command."""
    refuse_contradictions(options)
    if options["target"] is not None:
        from reconciler.cli.target import at_target

        at_target(options["target"], options["directory"])
    code = _dry_run(options) if options["dry_run"] else _apply(options)
    click.get_current_context().exit(code)


def refuse_contradictions(options: dict[str, Any]) -> None:
    """Raise UsageProblem for options that do not go together, so that none is ignored."""
    if options["dry_run"]:
        of_apply = ("plan_file", "yes", "allow_dirty", "allow_rewind", "reason", "batch", "no_verify", "verify_within")
        for name in of_apply:
            if options[name] or (name == "verify_within" and options[name] is not None):
                flag = "--plan" if name == "plan_file" else "--" + name.replace("_", "-")
                raise UsageProblem(f"{flag} is for an apply, --dry-run applies nothing: give one of the two")
    elif options["plan_out"]:
        raise UsageProblem("--plan-out saves the plan of a dry run: add --dry-run")
    if options["batch"] and options["allow_dirty"]:
        raise UsageProblem("--batch applies a commit, so that another run can complete it; --allow-dirty applies none")
    if options["plan_file"]:
        for name in ("revision", "only", "tables", "full", "allow_dirty"):
            if options[name]:
                flag = "--table" if name == "tables" else "--" + name.replace("_", "-")
                raise UsageProblem(f"{flag}: a saved plan says by itself what is applied")


def _request(options: dict[str, Any], plan: Plan | None) -> Any:
    from reconciler.pipeline import Request

    return Request(
        directory=options["directory"],
        revision=plan.revision.commit if plan and plan.revision else options["revision"],
        scope=plan.scope if plan else scope_of(options["only"], options["tables"]),
        allow_dirty=options["allow_dirty"],
        allow_rewind=options["allow_rewind"],
        reason=options["reason"],
        allow_changes=options["allow_changes"] or 0,
        lock_timeout_ms=int(options["lock_timeout"] * 1000),
        now=options["now"],
        full=True if options["full"] else None,
        batch=options["batch"],
    )


def _connect(options: dict[str, Any]) -> Any:
    from reconciler.cli.database import open_from_environment

    return open_from_environment(options["connect_timeout"], options["statement_timeout"], options["wait"])


def _connect_for(project: Any, options: dict[str, Any]) -> Any:
    """A connection. Where there is none, what is wrong in the state comes first: that can be mended meanwhile."""
    from reconciler.errors import DatabaseProblem
    from reconciler.project import read_the_rest

    try:
        return _connect(options)
    except DatabaseProblem:
        read_the_rest(project)
        raise


def _ask_ahead(options: dict[str, Any]) -> Any:
    """Git at work while this process imports what talks to the database, which takes three times as long."""
    from reconciler.project import FOLDERS
    from reconciler.repository import ask_ahead

    needs_status = options["revision"] is None and options["plan_file"] is None
    return ask_ahead(options["directory"], FOLDERS if needs_status else ())


def _dry_run(options: dict[str, Any]) -> int:
    ahead = _ask_ahead(options)
    from reconciler.pipeline import make_plan, read_for_plan

    request = _request(options, None)
    project = read_for_plan(request, progress_bar(), ahead)
    with _connect_for(project, options) as connection:
        plan = make_plan(connection, request, project)
    if options["plan_out"]:
        save_plan(plan, options["plan_out"])
    show_plan(plan, options["output"], now=options["now"])
    return exit_code_of(plan, dry_run=True) if options["exit_code"] else 0


def _apply(options: dict[str, Any]) -> int:
    ahead = _ask_ahead(options)
    from reconciler.aftermath import telling_of_failure, telling_of_wrong_state
    from reconciler.origin import origin_of
    from reconciler.pipeline import Ending, apply, make_plan, read_for_apply
    from reconciler.report import render_outcome

    proving = proving_of(options["no_verify"], options["verify_within"])
    saved = load_plan(options["plan_file"]) if options["plan_file"] else None
    if saved is not None and (saved.revision is None or saved.revision.dirty):
        raise UsageProblem("this plan was made from files that are not committed: commit, and plan again")
    request = _request(options, saved)
    with telling_of_wrong_state(partial(origin_of, os.environ)):
        project = read_for_apply(request, progress_bar(), ahead)
    origin = origin_of(os.environ, project.commit)
    with telling_of_failure(project, origin.actor, origin.run_url):
        connection = _connect_for(project, options)
    with connection:
        reviewed = saved
        if must_ask(options["yes"]):
            shown = saved or make_plan(connection, request, project)
            show_plan(shown, "text", sys.stderr, options["now"])
            if shown.has_work and not click.confirm("Apply this?", err=True):
                say("Nothing was applied.")
                return Failed.exit_code
            reviewed = shown
        ending = Ending(lambda: _connect(options), let_signals_end_the_process, proving, progress_bar())
        outcome = apply(connection, request, project, origin, reviewed, ending)
    text = render_outcome(
        options["output"],
        outcome,
        now=options["now"] or datetime.now(UTC),
        colour=colour_on(sys.stdout),
        width=width_of_terminal(),
    )
    try:
        put(for_log(text) if options["output"] == "text" else text)
    except OSError as error:  # a full disk, a reader that is gone: what is done is done, and must not look undone
        let_go_of_stdout()
        say(f"Run {outcome.run_id} was applied, but its report could not be written: {error.strerror}")
    return exit_code_of(outcome.plan, dry_run=False) if options["exit_code"] else 0


def let_signals_end_the_process(
    words: str = "The run was applied before that: reconcile history --runs", code: int = 0
) -> None:
    """For when something is committed: Ctrl-C and SIGTERM then end the process with words that are true of that, and
    with `code`.
    """

    def interrupted_after_commit(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt(words, code)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupted_after_commit)


def must_ask(yes: bool) -> bool:
    """Whether a person is there to be asked, and wants to be."""
    return not yes and os.environ.get("CI", "").lower() not in ("true", "1") and sys.stdin.isatty()


def exit_code_of(plan: Plan, *, dry_run: bool) -> int:
    """What `--exit-code` ends with: 1 where an apply would be refused, 2 for pending changes, 5 where all that is left
    is held, else 0.
    """
    if plan.refusals:
        return Failed.exit_code
    if dry_run and plan.has_work:
        return 2
    return 5 if plan.counts.held else 0


def show_plan(plan: Plan, output: Format, stream: Any = None, now: datetime | None = None) -> None:
    """The plan in the form that was asked for, to stdout unless another stream is named."""
    from reconciler.report import render_plan

    stream = stream or sys.stdout
    text = render_plan(
        output, plan, now=now or datetime.now(UTC), colour=colour_on(stream), width=width_of_terminal()
    )
    text = for_log(text) if output == "text" else text
    stream.write(text if text.endswith("\n") else text + "\n")
    stream.flush()


def save_plan(plan: Plan, path: Path) -> None:
    """Write the plan's JSON, whole or not at all."""
    from reconciler.plan_json import encode_plan

    temporary = path.with_name(path.name + ".part")
    try:
        temporary.write_bytes(encode_plan(plan))
        temporary.replace(path)
    except OSError as error:
        raise Failed(f"the plan could not be saved to {path}: {error.strerror}") from None
    say(f"Plan saved to {path}. Show it: reconcile show {path}. Apply exactly that: reconcile --plan {path}")


def load_plan(path: Path) -> Plan:
    """A saved plan. Raises InvalidInput where the file is none."""
    from reconciler.plan_json import decode_plan

    try:
        return decode_plan(path.read_bytes(), str(path))
    except OSError as error:
        raise InvalidInput([Problem(f"{path} cannot be read: {error.strerror}")]) from None
