"""What the tests of `reconcile doctor` share: the command's JSON, found again by part and name.

Takes a Project; gives an `Examined`: the exit code, everything that was printed, and the rows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.support.project import Project


@dataclass(frozen=True)
class Examined:
    """One run of the command with `--output json`."""

    code: int
    text: str
    document: dict[str, Any]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """All rows, in order."""
        found: list[dict[str, Any]] = self.document["findings"]
        return found

    def row(self, part: str, name: str, saying: str = "") -> dict[str, Any]:
        """The only row of this part and name, or the only one of them that says this."""
        found = [row for row in self.rows if (row["part"], row["name"]) == (part, name) and saying in row["saw"]]
        assert len(found) == 1, f"{part}, {name}, {saying!r}: {found}\n{self.text}"
        return found[0]

    def verdict(self, part: str, name: str, saying: str = "") -> str:
        """The verdict of that row."""
        return str(self.row(part, name, saying)["verdict"])

    def with_verdict(self, *verdicts: str) -> list[tuple[str, str]]:
        """(part, name) of every row with one of these verdicts."""
        return [(row["part"], row["name"]) for row in self.rows if row["verdict"] in verdicts]

    @property
    def commands(self) -> list[str]:
        """Every command that is advised."""
        return [command for row in self.rows for command in row["commands"]]


def examined(
    project: Project, *arguments: str, url: str | None = None, environment: Mapping[str, str] | None = None
) -> Examined:
    """Run `reconcile doctor`, whose exit code must be the one in its document, and which must say no word more."""
    done = project.run("doctor", "--output", "json", *arguments, url=url, environment=environment)
    assert done.err == "", str(done)
    document = json.loads(done.out)
    assert document["exit_code"] == done.code
    assert document["ready"] == (done.code == 0)
    return Examined(done.code, done.out, document)
