"""The group of commands, and the one place where errors become exit codes."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

import click

from reconciler import __version__
from reconciler.cli.output import let_go_of_stdout, say_error
from reconciler.cli.run import run_options, run_reconcile
from reconciler.errors import Failed, ReconcileError, UsageProblem

COMMANDS = {
    "approvals": "reconciler.cli.approvals",
    "ci": "reconciler.cli.ci",
    "deliver": "reconciler.cli.deliver",
    "doctor": "reconciler.cli.doctor",
    "drift": "reconciler.cli.drift",
    "drill": "reconciler.cli.drill",
    "fmt": "reconciler.cli.fmt",
    "freeze": "reconciler.cli.freeze",
    "history": "reconciler.cli.history",
    "import": "reconciler.cli.import_rows",
    "init": "reconciler.cli.init",
    "kill": "reconciler.cli.kill",
    "new": "reconciler.cli.new",
    "release": "reconciler.cli.release",
    "restore": "reconciler.cli.restore",
    "rollback": "reconciler.cli.rollback",
    "runbook": "reconciler.cli.runbook",
    "schema": "reconciler.cli.schema",
    "show": "reconciler.cli.show",
    "status": "reconciler.cli.status",
    "triage": "reconciler.cli.triage",
    "unfreeze": "reconciler.cli.unfreeze",
    "validate": "reconciler.cli.validate",
}
"""Command name to the module whose `command` it is."""

SHORT_HELP = {
    "approvals": "Say whether enough people have approved a pull request, by what it does.",
    "ci": "Do what a CI job does: run, annotate, comment, open and close issues.",
    "deliver": "Deliver effects that have not arrived yet.",
    "doctor": "Say of everything that a run needs whether it is right, and what to do.",
    "drift": "List what differs in the database from what was applied last.",
    "drill": "Make incidents happen, and show that each is seen, stopped, held and restored.",
    "fmt": "Write state files in one order and style, comments kept.",
    "freeze": "From now until a time, apply nothing but kills.",
    "history": "Tell who changed what, when and why.",
    "import": "Write state/ from the rows of the live database.",
    "init": "Make or upgrade the ledger, and print the grants.",
    "kill": "Switch off what a playbook says, on a branch with a pull request; --now at once.",
    "new": "Make a repository of your own, with schemas of your tables.",
    "release": "Let git decide again about what was killed or changed outside of it.",
    "restore": "Propose the way back from a kill, under its guards, with its steps confirmed.",
    "rollback": "Write the YAML that restores what a run changed, and commit it for review.",
    "runbook": "Print the runbook: every playbook as a page for people.",
    "schema": "Write the JSON Schemas for editors to schemas/json/.",
    "show": "Display a saved plan.",
    "status": "Say what is switched off right now, why, and until when.",
    "triage": "Look at the live system, and say which incident this is and how to stop it.",
    "unfreeze": "End the freezes that `reconcile freeze` began.",
    "validate": "Check state/ and schemas/ without a database.",
}


class LazyGroup(click.Group):
    """A group that imports a command only when it is called; the list of commands is drawn without importing any."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All commands, sorted."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now."""
        module = COMMANDS.get(cmd_name)
        if module is None:
            return None
        command: click.Command = importlib.import_module(module).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands in `--help`."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, SHORT_HELP[name]) for name in self.list_commands(ctx)])


@click.group(cls=LazyGroup, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@run_options
@click.version_option(__version__, prog_name="reconcile")
@click.pass_context
def reconcile(context: click.Context, /, **options: object) -> None:
    """Make rows of a Postgres database match the YAML in state/, as schemas/ allows, every change audited.

    Without a command: apply the commit that is checked out, or with --dry-run show what an apply would do.
    """
    if context.invoked_subcommand is None:
        run_reconcile(**options)
        return
    given = [name for name in options if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE]
    if given:
        flags = ", ".join("--" + name.replace("_", "-") for name in given)
        raise UsageProblem(f"{flags}: options of {context.invoked_subcommand} stand after its name")


def run(arguments: Sequence[str]) -> int:
    """Run the command and return the exit code; what went wrong has been said."""
    try:
        code = reconcile.main(args=list(arguments), prog_name="reconcile", standalone_mode=False, obj=tuple(arguments))
        return code if isinstance(code, int) else 0
    except click.exceptions.Abort as aborted:
        interrupt = aborted.__cause__
        raise KeyboardInterrupt(*(interrupt.args if isinstance(interrupt, KeyboardInterrupt) else ())) from None
    except click.ClickException as error:
        error.show(sys.stderr)
        return UsageProblem.exit_code
    except ReconcileError as error:
        say_error(error, arguments)
        return error.exit_code
    except BrokenPipeError:
        # The reader of our output is gone (`| head`); what was to be done is done or rolled back.
        let_go_of_stdout()
        return 1
    except (OSError, UnicodeError, RecursionError, MemoryError) as error:
        say_error(Failed(f"{type(error).__name__}: {error}"), arguments)
        return 1
    except Exception as error:  # the last line of defence: a bug must not print a traceback at three in the morning
        say_error(Failed(_bug(error)), arguments)
        return 1


def _bug(error: Exception) -> str:
    """A bug of ours in one sentence, with the place in our code but no value that could be a secret."""
    where = ""
    trace = error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if f"{os.sep}reconciler{os.sep}" in file:
            where = f"{file.rpartition(os.sep)[2]}:{trace.tb_lineno}"
        trace = trace.tb_next
    kind = type(error).__name__
    return f"internal error ({kind} at {where}). An open transaction was rolled back. Please report this"
