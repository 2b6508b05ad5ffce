"""docs/commands.md, drawn from the command line itself: `python -m tests.support.commands_page` writes it anew.

Takes the click commands; gives Markdown. A test compares it with the file: nothing stays undocumented.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from reconciler.cli.app import reconcile

PAGE = Path(__file__).parents[2] / "docs" / "commands.md"

_HEAD = """\
# Commands and options

Drawn from the program's own help. The database is named by the environment: `DATABASE_URL`, and `DIRECT_URL` for when
that does not answer; effects and health checks read `REDIS_URL`. `RECONCILE_CACHE_DIR` is where what was
read of a large project is kept. `NO_COLOR` switches colours off, `CI=true` the question before an apply. Results go to
stdout, everything else to stderr.
"""


def page() -> str:
    """The whole page."""
    context = click.Context(reconcile, info_name="reconcile")
    parts = [_HEAD, *_of_command("reconcile", reconcile)]
    for name in reconcile.list_commands(context):
        command = reconcile.get_command(context, name)
        assert command is not None
        parts += _of_command(f"reconcile {name}", command)
    return "\n".join(parts)


def _of_command(name: str, command: click.Command) -> Iterator[str]:
    arguments = [
        parameter.make_metavar(click.Context(command))
        for parameter in command.params
        if isinstance(parameter, click.Argument)
    ]
    yield f"## `{' '.join([name, *arguments])}`\n"
    yield f"{_joined(command.help or '')}\n"
    yield "| option | meaning |\n|---|---|"
    for parameter in command.params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            yield f"| {_spelling(parameter)} | {_escaped(parameter.help or '')} |"
    yield ""


def _joined(text: str) -> str:
    """click keeps the docstring's line breaks; paragraphs are what counts."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


def _spelling(option: click.Option) -> str:
    names = ", ".join(f"`{name}`" for name in [*option.opts, *option.secondary_opts])
    if option.is_flag:
        return names
    if isinstance(option.type, click.Choice):
        return f"{names} {' or '.join(f'`{choice}`' for choice in option.type.choices)}"
    return f"{names} {option.metavar or option.type.name.upper()}"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
