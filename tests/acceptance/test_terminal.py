"""The command at a terminal, as a person sits at one: it shows, asks, and takes no for an answer."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import time

import pytest

from tests.support.cli import clean_environment, command
from tests.support.postgres import Database
from tests.support.project import ACME, Project, snapshot
from tests.support.shop_window import shop_window
from tests.support.waiting import wait_until


@pytest.fixture
def banned(project: Project) -> Project:
    """The project with a commit that kills, not applied yet."""
    project.state(f"{ACME}:\n  isWhatsappEnabled: false\n  aiDailyLimit: 5\n")
    project.commit("Acme is banned")
    return project


class Terminal:
    """`reconcile` at a terminal of its own; everything that it shows is collected."""

    def __init__(self, project: Project, *arguments: str, **environment: str) -> None:
        self.shown = ""
        ours, theirs = pty.openpty()
        self._fd = ours
        self._process = subprocess.Popen(
            command(*arguments), cwd=project.directory, stdin=theirs, stdout=theirs, stderr=theirs,
            env=clean_environment(project.database.url, {"TERM": "xterm", **environment}), start_new_session=True,
        )  # fmt: skip
        os.close(theirs)

    def wait_for(self, text: str) -> None:
        """Read until the text was shown."""
        deadline = time.monotonic() + 20
        while text not in self.shown:
            assert time.monotonic() < deadline, self.shown
            assert self._read(), self.shown

    def type(self, text: str) -> None:
        """What a person types."""
        os.write(self._fd, text.encode())

    def end(self) -> int:
        """Read to the end; the exit code."""
        while self._read():
            pass
        code = self._process.wait(20)
        os.close(self._fd)
        return code

    def _read(self) -> bool:
        if not select.select([self._fd], [], [], 20)[0]:
            return False
        try:
            data = os.read(self._fd, 65536)
        except OSError:  # Linux says EIO where the other side is closed
            return False
        self.shown += data.decode(errors="replace")
        return bool(data)


def test_at_a_terminal_it_shows_the_plan_and_asks_and_no_changes_nothing(banned: Project, database: Database) -> None:
    before = snapshot(database)
    terminal = Terminal(banned)
    terminal.wait_for("Apply this?")
    assert "isWhatsappEnabled" in terminal.shown
    assert "\x1b[" in terminal.shown
    terminal.type("n\n")
    assert terminal.end() == 1
    assert "Nothing was applied." in terminal.shown
    assert snapshot(database) == before

    terminal = Terminal(banned)
    terminal.wait_for("Apply this?")
    terminal.type("y\n")
    assert terminal.end() == 0
    assert database.row("tenants", ACME)["aiDailyLimit"] == 5


def test_what_moves_while_the_question_stands_is_not_applied(banned: Project, database: Database) -> None:
    terminal = Terminal(banned)
    terminal.wait_for("Apply this?")
    database.execute("""UPDATE tenants SET "aiDailyLimit" = 49 WHERE id = %s""", [ACME])
    before = snapshot(database)
    terminal.type("y\n")
    assert terminal.end() == 6
    assert "moved" in terminal.shown
    assert snapshot(database) == before


def test_ctrl_c_at_the_question_changes_nothing(banned: Project, database: Database) -> None:
    before = snapshot(database)
    terminal = Terminal(banned)
    terminal.wait_for("Apply this?")
    terminal.type("\x04")
    assert terminal.end() == 1
    assert "Nothing was applied" in terminal.shown
    assert "Traceback" not in terminal.shown
    assert snapshot(database) == before


@pytest.mark.parametrize(("arguments", "environment"), [([], {"CI": "true"}), (["--yes"], {}), (["-y"], {})])
def test_with_yes_or_in_ci_it_does_not_ask(
    banned: Project, database: Database, arguments: list[str], environment: dict[str, str]
) -> None:
    terminal = Terminal(banned, *arguments, **environment)
    assert terminal.end() == 0
    assert "Apply this?" not in terminal.shown
    assert database.row("tenants", ACME)["aiDailyLimit"] == 5


def test_no_color_is_honoured_at_a_terminal(banned: Project) -> None:
    terminal = Terminal(banned, "--dry-run", NO_COLOR="1")
    assert terminal.end() == 0
    assert "isWhatsappEnabled" in terminal.shown
    assert "\x1b[" not in terminal.shown


def test_who_waits_for_it_to_be_in_effect_sees_how_far_it_is(banned: Project) -> None:
    proof = "{http: {url: $APP_URL, path: /shops/$key, status: 404}, within: 1h}"
    banned.edit_schema("tenants", "    title: WhatsApp\n", f"    title: WhatsApp\n    verify: [{proof}]\n")
    banned.commit("See that it is off")
    with shop_window() as window:
        terminal = Terminal(banned, "--yes", APP_URL=window.url)
        terminal.wait_for("Committed. In effect: 0 of 1 seen, ")
        window.answers_left = 0
        terminal.wait_for("In effect after ")
        assert terminal.end() == 0
    assert "seen by $APP_URL/shops/$key." in terminal.shown


def test_who_applies_in_batches_sees_how_far_it_is(project: Project, database: Database) -> None:
    keys = [f"tenant-{number}" for number in range(8)]
    for key in keys:
        database.tenant(key, name=key)
    project.commit_state("".join(f"{key}:\n  aiDailyLimit: 60\n" for key in keys), "Limit 60")
    waits_long = """
        SELECT FROM pg_stat_activity
         WHERE datname = current_database() AND application_name = 'reconcile' AND wait_event_type = 'Lock'
           AND clock_timestamp() - query_start > '0.5 s'
    """
    with database.connect() as application:
        application.execute("BEGIN")
        application.execute("UPDATE tenants SET name = name WHERE id = %s", [keys[3]])
        terminal = Terminal(project, "--batch", "2")
        terminal.wait_for("Apply this? [y/N]:")
        terminal.type("y\n")
        wait_until(lambda: database.execute(waits_long))
        application.execute("ROLLBACK")
    assert terminal.end() == 0
    assert "applying batches [###############...............] 2/4" in terminal.shown
    assert terminal.shown.index("2/4") < terminal.shown.index("3/4") < terminal.shown.index("in 4 batches")
