"""What the command line can do stands in the documentation, and what the documentation names is there."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click

from reconciler import errors
from reconciler.cli.app import reconcile
from tests.support.project import TOP

PAGES = [TOP / "README.md", *sorted((TOP / "docs").glob("*.md"))]
DOCUMENTATION = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)

EXIT_CODES = {0, 1, 2, 3, 4, 5, 6, 64}


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command with the words that call it; hidden ones aside."""

    def below(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
        if command.hidden:
            return
        yield name, command
        if isinstance(command, click.Group):
            context = click.Context(command, info_name=name)
            for child in command.list_commands(context):
                found = command.get_command(context, child)
                assert found is not None, f"{name} lists {child}, and does not have it"
                yield from below(f"{name} {child}", found)

    return below("reconcile", reconcile)


def options() -> Iterator[tuple[str, str]]:
    """Every spelling of every option that is not hidden, with its command."""
    for name, command in commands():
        for parameter in command.params:
            if isinstance(parameter, click.Option) and not parameter.hidden:
                for spelling in [*parameter.opts, *parameter.secondary_opts]:
                    yield name, spelling


def test_every_command_is_documented() -> None:
    missing = [name for name, _ in commands() if not re.search(rf"`{re.escape(name)}(?=[ `])", DOCUMENTATION)]
    assert missing == []


def test_every_option_is_documented_with_its_command() -> None:
    sections = re.split(r"^## ", (TOP / "docs/commands.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    by_command = {
        found[1]: part for part in sections if (found := re.match(r"`(reconcile[a-z -]*?)(?: [A-Z].*)?`", part))
    }
    missing = [f"{name} {option}" for name, option in options() if f"`{option}`" not in by_command.get(name, "")]
    assert missing == []


def test_every_command_that_is_named_exists() -> None:
    words = {name.removeprefix("reconcile ") for name, _ in commands()}
    known = {word for name in words for word in [name.split()[0]]}
    in_code = re.findall(r"`([^`\n]+)`", DOCUMENTATION)
    in_blocks = [
        line for block in re.findall(r"```\w*\n(.*?)```", DOCUMENTATION, re.DOTALL) for line in block.split("\n")
    ]
    called = [
        found[1] for text in [*in_code, *in_blocks] if (found := re.match(r"(?:\$ )?reconcile ([a-z][a-z-]*)\b", text))
    ]
    assert len(called) > 10
    assert set(called) <= known, sorted(set(called) - known)


def test_every_option_that_is_named_with_a_command_exists() -> None:
    spellings: dict[str, set[str]] = {name: set() for name, _ in commands()}
    for name, option in options():
        spellings[name].add(option)
    named = 0
    for text in re.findall(r"`((?:\$ )?reconcile[^`\n]*)`", DOCUMENTATION):
        words = text.removeprefix("$ ").split()
        name = " ".join(words[:2]) if " ".join(words[:2]) in spellings else "reconcile"
        for option in re.findall(r"(?<= )--[a-z][a-z-]*", text):
            named += 1
            assert option in spellings[name] | {"--help"}, text
    assert named > 5


def test_every_exit_code_is_documented_and_no_other_is_used() -> None:
    table = (TOP / "README.md").read_text(encoding="utf-8").partition("## Exit codes")[2].partition("\n## ")[0]
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)} == EXIT_CODES
    classes = [getattr(errors, name) for name in errors.__all__]
    raised = {one.exit_code for one in classes if isinstance(one, type) and issubclass(one, errors.ReconcileError)}
    assert raised < EXIT_CODES


def test_every_error_stands_in_the_tree_with_its_exit_code() -> None:
    for name in errors.__all__:
        one = getattr(errors, name)
        if isinstance(one, type) and issubclass(one, errors.ReconcileError) and one is not errors.ReconcileError:
            assert re.search(rf"── {name} +{one.exit_code}  ", errors.__doc__ or ""), name


def test_every_kind_of_error_in_json_is_documented() -> None:
    page = (TOP / "docs/plan-format.md").read_text(encoding="utf-8")
    for name in errors.__all__:
        one = getattr(errors, name)
        if isinstance(one, type) and issubclass(one, errors.ReconcileError) and one is not errors.ReconcileError:
            kind = re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
            assert f"`{kind}`" in page
