"""A real git repository in a folder, untouched by the configuration of whoever runs the tests.

Takes a folder; gives commits. `isolated_environment` is also what the command under test runs with.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

AUTHOR = "Ann Author <ann@example.org>"

_SETTINGS = """\
[commit]
	gpgsign = false
[gc]
	auto = 0
[maintenance]
	auto = false
"""
"""Nobody looks after each commit whether there is something to tidy: that is a process of its own."""


def isolated_environment(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """`environment` without anything that steers git, and with git's configuration files switched off."""
    kept = {name: value for name, value in environment.items() if not name.startswith("GIT_")}
    return kept | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0"}


class GitRepo:
    """A repository with the branch `main` at `path`, which is made where it does not exist.

    Commits are made by "Ann Author" unless told otherwise, one minute apart from each other, so that two runs of a test
    make the same commits.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._commits = 0
        path.mkdir(parents=True, exist_ok=True)
        self.git("init", "--quiet", "--initial-branch=main", "--template=")
        with (path / ".git" / "config").open("a", encoding="utf-8") as settings:
            settings.write(_SETTINGS)

    def git(self, *arguments: str, environment: Mapping[str, str] | None = None) -> str:
        """What git prints, without the last line's end. Raises CalledProcessError, with what git said as a note."""
        try:
            done = subprocess.run(
                ["git", *arguments],
                cwd=self.path, env=isolated_environment() | dict(environment or {}), capture_output=True, text=True,
                check=True,
            )  # fmt: skip
        except subprocess.CalledProcessError as error:
            error.add_note(error.stderr)
            raise
        return done.stdout.rstrip("\n")

    def write(self, path: str, text: str | bytes) -> Path:
        """Write a file below the repository, its folders included; nothing is staged."""
        file = self.path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.encode() if isinstance(text, str) else text)
        return file

    def commit(
        self, message: str = "Change", *, author: str = AUTHOR, committer: str = AUTHOR, date: str | None = None
    ) -> str:
        """Commit the whole work tree, even where nothing changed; the commit's full id.

        `author` and `committer` are "Name <email>", `date` is RFC 3339 and counts for both.
        """
        self._commits += 1
        when = date or f"2026-01-01T{self._commits // 60:02}:{self._commits % 60:02}:00Z"
        environment = {"GIT_AUTHOR_DATE": when, "GIT_COMMITTER_DATE": when}
        for role, person in (("AUTHOR", author), ("COMMITTER", committer)):
            name, _, email = person.partition(" <")
            environment |= {f"GIT_{role}_NAME": name, f"GIT_{role}_EMAIL": email.rstrip(">")}
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", f"--message={message}", environment=environment)
        return self.head

    @property
    def head(self) -> str:
        """The id of the commit that is checked out."""
        return self.git("rev-parse", "HEAD")
