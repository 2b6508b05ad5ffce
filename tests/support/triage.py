"""What the tests of triage share: the shipped runbook, an ordinary day, and short ways to ask.

Takes a Database with the platform's tables; gives a Triage of it and its parts.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from reconciler.runbook.playbooks import Runbook, load_runbook
from reconciler.runbook.triage import Triage, triage
from tests.support.incidents import ai_requests, event, reconnect
from tests.support.postgres import Database

TOP = Path(__file__).parents[2]
ACME = "8a6e0804-2bd0-4672-b79d-d97027f9071a"
BOB = "0b0b0b0b-2bd0-4672-b79d-d97027f9071b"
RUNBOOK = load_runbook(TOP)


def ordinary_day(database: Database) -> Database:
    """Two tenants and the settings row, and what happens when nothing happens."""
    database.tenant(ACME, name="Acme Bakery")
    database.tenant(BOB, name="Bob's Books")
    database.settings(defaultAiProvider="openrouter")
    reconnect(database, ACME, ago=50)
    event(database, ACME, "MESSAGE_RECEIVED", 5, 30, customerId="c-1")
    ai_requests(database, ACME, 150)
    ai_requests(database, BOB, 130)
    return database


def found(
    database: Database | str, *only: str, runbook: Runbook = RUNBOOK, deadline_s: float = 5, **environment: str
) -> Triage:
    """What triage finds with these variables; `database` (or its URL) is DATABASE_URL."""
    url = database if isinstance(database, str) else database.url
    return triage(runbook, only=only, deadline_s=deadline_s, environment={"DATABASE_URL": url} | environment)


def texts(result: Triage, playbook: str) -> list[str]:
    """The evidence for a playbook; empty where it does not match."""
    return [one.text for match in result.matches if match.playbook == playbook for one in match.evidence]


def commands(result: Triage) -> list[str]:
    """Every command that is printed."""
    return [remedy.command for match in result.matches for remedy in match.remedies]


def shell_words(line: str) -> list[str]:
    """What a shell makes of a command as it is printed."""
    return shlex.split(line.strip().removeprefix("$ "))
