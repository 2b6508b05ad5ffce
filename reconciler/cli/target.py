"""`--target`: which of several databases a command is about.

Sets, for this process, which files of state count and which variables of the environment hold the address; `all` runs
the command once for each target (`all_targets`). Nothing is read for a command that is not given the option.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import click

from reconciler.cli.options import F
from reconciler.errors import UsageProblem

__all__ = ["at_target", "one_target_option", "target_option"]

_HELP = "Which of the databases that schemas/policy.yaml declares under `targets`"


def target_option(function: F) -> F:
    """For a command that can be run for all of them."""
    return _wrapped(function, f"{_HELP}, or all.", for_all=True)


def one_target_option(function: F) -> F:
    """For a command that is about one."""
    return _wrapped(function, f"{_HELP}.", for_all=False)


def _wrapped(function: F, help_text: str, *, for_all: bool) -> F:
    @functools.wraps(function)
    def with_target(*arguments: Any, target: str | None, **options: Any) -> Any:
        at_target(target, options["directory"], for_all=for_all)
        return function(*arguments, **options)

    wrapped: F = click.option("--target", metavar="NAME", help=help_text)(with_target)  # type: ignore[assignment]
    return wrapped


def at_target(name: str | None, directory: Path, *, for_all: bool = True) -> None:
    """Work for the target from here on; ends the process once it is done for `all`.

    Raises UsageProblem for a target that is not declared, and for `all` where the command is about one.
    """
    if name is None:
        return
    from reconciler.cli.database import use_variables
    from reconciler.policy import ALL
    from reconciler.project import read_schemas
    from reconciler.targets import choose

    targets = read_schemas(directory).policy.targets
    context = click.get_current_context()
    if name == ALL and targets:
        if not for_all:
            raise UsageProblem(f"--target {ALL}: {context.info_name} is about one database; name it")
        from reconciler.cli.all_targets import run_for_all

        context.exit(run_for_all(context.find_root().obj, context.params, list(targets)))
    choose(name, targets)
    use_variables(targets[name].url_env, targets[name].direct_env)
