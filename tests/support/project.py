"""A project as its users have one: the platform's schemas in a git repository, a database with a ledger, the command.

Takes a folder and a Database; gives `Project`, with which a test edits state, commits, and runs the real command.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reconciler.database.connection import open_database
from reconciler.database.url import parse_database_url
from reconciler.initialize import initialize
from reconciler.project import read_work_tree
from tests.support import cli
from tests.support.gitrepo import GitRepo
from tests.support.postgres import Database

TOP = Path(__file__).parents[2]

ACME = "8a6e0804-2bd0-4672-b79d-d97027f9071a"
BOB = "0b0b0b0b-2bd0-4672-b79d-d97027f9071b"

KILL = f"""\
{ACME}:
  isWhatsappEnabled:
    value: false
    reason: WhatsApp ban, INC-142
  aiDailyLimit: 5
"""
"""A state that kills two fields of one tenant."""

SECRETS = {"openaiApiKey": "sk-canary-openai", "smtpPass": "canary-smtp", "resendApiKey": "re-canary"}
"""What stands in the settings row's secret columns: none of it may ever be shown."""


class Project:
    """A repository with `schemas/`, and a database; `directory` is where state/ and schemas/ are."""

    def __init__(self, repo: GitRepo, database: Database, below: str = "") -> None:
        self.repo = repo
        self.database = database
        self.below = below
        self.directory = repo.path / below
        shutil.copytree(TOP / "schemas", self.directory / "schemas")

    def write(self, path: str, text: str | bytes) -> Path:
        """Write a file below the project's directory; nothing is committed."""
        return self.repo.write(f"{self.below}/{path}" if self.below else path, text)

    def state(self, text: str, file: str = "tenants.yaml") -> None:
        """Write a file below state/."""
        self.write(f"state/{file}", text)

    def commit(self, message: str = "Change", **people: str) -> str:
        """Commit everything; the commit's id."""
        return self.repo.commit(message, **people)

    def commit_state(self, text: str = KILL, message: str = "Acme is banned", **people: str) -> str:
        """Write state/tenants.yaml and commit it; the commit's id."""
        self.state(text)
        return self.commit(message, **people)

    def edit_schema(self, name: str, old: str, new: str) -> None:
        """Replace the only occurrence of `old` in schemas/NAME.yaml."""
        file = self.directory / "schemas" / f"{name}.yaml"
        text = file.read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {file.name}"
        file.write_text(text.replace(old, new), encoding="utf-8")

    def place(self, path: str, text: str, inside: str = "") -> str:
        """Where `text` first stands in a file, after `inside`, as errors name the place."""
        content = (self.directory / path).read_text(encoding="utf-8")
        found = content.index(text, content.index(inside))
        line = content.count("\n", 0, found) + 1
        return f"{path}:{line}:{found - content.rfind(chr(10), 0, found)}: "

    def init(self) -> None:
        """What `reconcile init` does, in this process, because most tests are not about it."""
        address = parse_database_url(self.database.url, variable="DATABASE_URL")
        with open_database([address]) as connection:
            initialize(connection, read_work_tree(self.directory).definitions)

    def run(
        self,
        *arguments: str,
        url: str | None = None,
        cwd: Path | None = None,
        stdin: str = "",
        environment: Mapping[str, str] | None = None,
    ) -> cli.Finished:
        """Run `reconcile` here, against `url` where it is given."""
        return cli.run(
            *arguments,
            cwd=cwd or self.directory,
            database=url or self.database.url,
            stdin=stdin,
            environment=environment,
        )

    def start(
        self, *arguments: str, url: str | None = None, environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[str]:
        """Start `reconcile` here, and leave it running."""
        return cli.start(*arguments, cwd=self.directory, database=url or self.database.url, environment=environment)

    def succeed(self, *arguments: str, **options: Any) -> cli.Finished:
        """Run `reconcile` and insist on exit code 0."""
        done = self.run(*arguments, **options)
        assert done.code == 0, str(done)
        return done

    def plan(self, *arguments: str) -> dict[str, Any]:
        """The plan of a dry run, from its JSON."""
        plan: dict[str, Any] = json.loads(self.succeed("--dry-run", "--output", "json", *arguments).out)
        return plan

    def entries(self) -> list[dict[str, Any]]:
        """The audit entries about managed fields, in the order in which they were written."""
        return self.database.execute(
            """
            SELECT * FROM audit_logs WHERE metadata ? 'field'
             ORDER BY timestamp, metadata ->> 'table', metadata ->> 'key', metadata ->> 'field'
            """
        )

    def runs(self) -> list[dict[str, Any]]:
        """The ledger's runs, oldest first."""
        return self.database.execute("SELECT * FROM reconciler.run ORDER BY sequence")


def snapshot(database: Database) -> dict[str, list[str]]:
    """Every row of every table, as text: what a run that changed nothing has left as it was."""
    with database.connect() as connection:
        tables = connection.execute(
            """
            SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables
             WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1
            """
        ).fetchall()
        return {
            table["name"]: [
                row["text"]
                for row in connection.execute(f"SELECT t::text AS text FROM {table['name']} t ORDER BY 1".encode())
            ]
            for table in tables
        }
