"""The invented fleet: so many tenants with five managed fields each, as a git repository and as rows to load.

Takes a number of rows; gives a repository whose branch `main` is in sync with what `copy_rows` writes, and has a branch
for each Change. Ids and values follow from a tenant's number, so every run of the benchmark measures the same.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from reconciler.blast import TRAILER

TOP = Path(__file__).resolve().parent.parent
ROWS_PER_FILE = 1_000
COLUMNS = ("id", "isWhatsappEnabled", "isAiEnabled", "aiDailyLimit", "aiMonthlyLimit", "status")
"""The key and the five managed fields."""

AUTHOR_EMAIL = "operator@platform.example"
"""The author of every commit; a user of the platform, too."""

_ENVIRONMENT = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "Olu Operator",
    "GIT_AUTHOR_EMAIL": AUTHOR_EMAIL,
    "GIT_COMMITTER_NAME": "Olu Operator",
    "GIT_COMMITTER_EMAIL": AUTHOR_EMAIL,
}


class Tenant(NamedTuple):
    """What git asks for of one tenant, in the order of COLUMNS."""

    id: str
    whatsapp: bool
    ai: bool
    daily: int
    monthly: int
    status: str


class Change(NamedTuple):
    """What a branch changes: both limits of `percent` % of the tenants raised, or only the daily one (`fields`); for 0,
    one tenant's AI switched off.
    """

    percent: int
    fields: int = 2

    @property
    def branch(self) -> str:
        """The branch's name."""
        return f"raise-{self.percent}-{self.fields}" if self.percent else "flip"

    def fits(self, count: int) -> bool:
        """Whether such a share of so many rows is a row at least."""
        return not self.percent or self.percent * count >= 100

    def of(self, numbers: range) -> range:
        """The numbers of the tenants that are changed, spread over all files."""
        return numbers[:: 100 // self.percent] if self.percent else numbers[:1]

    def made(self, tenant: Tenant) -> Tenant:
        """The tenant with the change."""
        if self.percent:
            raised = tenant._replace(daily=tenant.daily + 100)
            return raised._replace(monthly=tenant.monthly + 1_000) if self.fields > 1 else raised
        return tenant._replace(ai=False)


FLIP = Change(0, fields=1)


def tenants(count: int, change: Change | None = None) -> Iterator[Tenant]:
    """The whole fleet, as on `main` or on the branch of a change."""
    touched = change.of(range(count)) if change else range(0)
    for number in range(count):
        tenant = Tenant(
            str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{number}.tenants.example")),
            number % 7 != 3, number % 5 != 2, 50 + number % 40, 1_000 + number % 400, "ACTIVE",
        )  # fmt: skip
        yield change.made(tenant) if change and number in touched else tenant


def copy_rows(rows: Iterable[Tenant]) -> Iterator[str]:
    """Lines for COPY, of COLUMNS."""
    for row in rows:
        yield f"{row.id}\t{_word(row.whatsapp)}\t{_word(row.ai)}\t{row.daily}\t{row.monthly}\t{row.status}\n"


def make_repository(folder: Path, count: int, changes: Iterable[Change]) -> None:
    """A git repository with the project's own schemas, packed as a clone is; `main` is checked out."""
    shutil.copytree(TOP / "schemas", folder / "schemas")
    git(folder, "init", "--quiet", "--initial-branch=main")
    _write_state(folder, tenants(count))
    _commit(folder, "The fleet as it is")
    for change in changes:
        git(folder, "checkout", "--quiet", "-b", change.branch, "main")
        _write_state(folder, tenants(count, change))
        rows = len(change.of(range(count)))
        what = f"Raise the limits of {rows} tenants" if change.percent else "AI off: abuse, INC-142"
        _commit(folder, f"{what}\n\n{TRAILER}: {rows}")
    git(folder, "checkout", "--quiet", "main")
    git(folder, "gc", "--quiet")


def check_out(folder: Path, branch: str) -> None:
    """Make the work tree that of a branch, its index up to date."""
    git(folder, "checkout", "--quiet", branch)
    git(folder, "status", "--short")


def git(folder: Path, *arguments: str) -> None:
    """A git command in the repository."""
    subprocess.run(["git", *arguments], cwd=folder, env=environment(os.environ), check=True, stdout=subprocess.DEVNULL)


def environment(outer: Mapping[str, str]) -> dict[str, str]:
    """The environment for git and for the tool: nobody's configuration, no address of a database.

    PYTHONDONTWRITEBYTECODE goes, too: with it the tool would be compiled anew in each run.
    """
    steering = ("DATABASE_URL", "DIRECT_URL", "GITHUB_ACTIONS", "GITLAB_CI")
    kept = {
        name: value for name, value in outer.items() if name not in steering and not name.startswith(("PG", "PYTHON"))
    }
    return kept | _ENVIRONMENT


def _commit(folder: Path, message: str) -> None:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", f"--message={message}")


def _write_state(folder: Path, rows: Iterable[Tenant]) -> None:
    files: dict[int, list[str]] = {}
    for number, row in enumerate(rows):
        files.setdefault(number // ROWS_PER_FILE, []).append(
            f"{row.id}:\n"
            f"  isWhatsappEnabled: {_word(row.whatsapp)}\n"
            f"  isAiEnabled: {_word(row.ai)}\n"
            f"  aiDailyLimit: {row.daily}\n"
            f"  aiMonthlyLimit: {row.monthly}\n"
            f"  status: {row.status}\n"
        )
    below = folder / "state" / "tenants"
    below.mkdir(parents=True, exist_ok=True)
    for number, texts in files.items():
        (below / f"{number:04}.yaml").write_text("".join(texts), encoding="utf-8")


def _word(value: bool) -> str:
    return "true" if value else "false"
