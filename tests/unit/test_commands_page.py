"""docs/commands.md says what the command line says."""

from __future__ import annotations

from tests.support.commands_page import PAGE, page


def test_the_page_of_commands_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python -m tests.support.commands_page"
