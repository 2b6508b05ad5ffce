"""Options that several commands share, each with its help."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import click

from reconciler.cli.output import waiting_line
from reconciler.errors import UsageProblem
from reconciler.outcome import Proving
from reconciler.plan import Scope

F = TypeVar("F", bound=Callable[..., Any])


class Seconds(click.ParamType[float]):
    """A duration such as 90s, 10m or 1.5h, as seconds; a bare number is seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds as a float; fails with a usage error."""
        if isinstance(value, float):
            return value
        text = str(value).strip()
        factor = {"s": 1, "m": 60, "h": 3600, "d": 86400}.get(text[-1:], 0)
        try:
            seconds = float(text[:-1]) * factor if factor else float(text)
        except ValueError:
            self.fail(f"{value} is not a duration: write 90s, 10m or 1h", param, ctx)
        if not 0 <= seconds <= 7 * 86400:
            self.fail(f"{value} is not between 0 and 7d", param, ctx)
        return seconds


class Moment(click.ParamType[datetime]):
    """A moment with its time zone, RFC 3339: 2026-11-27T09:00:00Z."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """An aware datetime; fails with a usage error."""
        if isinstance(value, datetime):
            return value
        try:
            moment = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value} is not a time: write 2026-11-27T09:00:00Z", param, ctx)
        if moment.tzinfo is None:
            from reconciler.fields import in_utc  # only a mistake needs it

            self.fail(f"{value} has no time zone: write {in_utc(str(value))} for UTC", param, ctx)
        return moment


def reason_option(function: F) -> F:
    """Why; not optional."""
    return _apply(
        function,
        click.option("--reason", required=True, metavar="TEXT", help="Why; goes into the audit log."),
    )


def _apply(function: F, *options: Callable[[F], F]) -> F:
    for option in reversed(options):
        function = option(function)
    return function


def proving_options(function: F) -> F:
    """Whether a run waits until its changes are in effect, and how long."""
    return _apply(
        function,
        click.option(
            "--no-verify", is_flag=True, help="Do not look whether the changes are in effect (`verify` in the schemas)."
        ),
        click.option(
            "--verify-within",
            type=Seconds(),
            metavar="DURATION",
            help="Wait at most so long for them to be in effect, whatever the schemas say.",
        ),
    )


def proving_of(no_verify: bool, verify_within: float | None, applies_with: str = "") -> Proving:
    """What those options say. Raises UsageProblem where they contradict each other, or nothing is applied.

    `applies_with` names the option without which the command applies nothing, where that was not given.
    """
    for option, given in (("--no-verify", no_verify), ("--verify-within", verify_within is not None)):
        if given and applies_with:
            raise UsageProblem(f"{option} is for an apply: add {applies_with}")
    if no_verify and verify_within is not None:
        raise UsageProblem("--no-verify does not look, --verify-within says for how long: give one of the two")
    return Proving(wanted=not no_verify, at_most_s=verify_within, watching=waiting_line())


def project_options(function: F) -> F:
    """Where the project is."""
    return _apply(
        function,
        click.option(
            "--directory",
            "-C",
            type=click.Path(exists=True, file_okay=False, path_type=Path),
            default=Path(),
            help="The directory that holds state/ and schemas/. Default: the current one.",
        ),
    )


def revision_option(function: F) -> F:
    """Which commit is read."""
    return _apply(
        function,
        click.option(
            "--revision",
            metavar="REV",
            help="Read state/ and schemas/ from this commit. Default: the work tree; for an apply, HEAD.",
        ),
    )


def scope_options(function: F) -> F:
    """What the command is limited to."""
    return _apply(
        function,
        click.option("--only", multiple=True, metavar="TABLE/KEY", help="Only this row. Can be given several times."),
        click.option("--table", "tables", multiple=True, metavar="TABLE", help="Only this table. Several times, too."),
    )


def output_option(*formats: str) -> Callable[[F], F]:
    """In which form the result is written."""

    def add(function: F) -> F:
        return _apply(
            function,
            click.option(
                "--output",
                type=click.Choice(formats),
                default=formats[0],
                help="The form of the result on stdout. Everything else goes to stderr.",
            ),
        )

    return add


def connection_options(function: F) -> F:
    """How the database is reached; its address comes from the environment."""
    return _apply(
        function,
        click.option(
            "--connect-timeout",
            type=Seconds(),
            default="10s",
            metavar="DURATION",
            help="Give up when the database does not answer for so long. Default: 10s.",
        ),
        click.option(
            "--statement-timeout",
            type=Seconds(),
            default="60s",
            metavar="DURATION",
            help="Give up when one statement takes so long. Default: 60s.",
        ),
        click.option(
            "--wait",
            type=Seconds(),
            default="0s",
            metavar="DURATION",
            help="Keep trying for so long while the database does not answer, for example 10m.",
        ),
    )


def scope_of(only: tuple[str, ...], tables: tuple[str, ...]) -> Scope:
    """The Scope that --only and --table describe."""
    return Scope(tuple(sorted(set(tables))), tuple(sorted(set(only))))
