"""One job of a mode: what is run, and what is made of it for people.

Takes a Job; gives a Result, which `saying` writes where the service looks for it. The run is made by the code of the
other commands; what is said on the host's pages is said after it, and changes neither the run nor the exit code.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import quote

import msgspec

from reconciler.ci.surroundings import Surroundings
from reconciler.ci.talk import Marker, Talk
from reconciler.console.annotations import Annotation
from reconciler.database.connection import DatabaseConnection
from reconciler.errors import ReconcileError
from reconciler.outcome import Proving
from reconciler.pipeline import Request
from reconciler.plan import Plan
from reconciler.project import Project
from reconciler.repository import Repository
from reconciler.titles import Titles

__all__ = ["Job", "Result", "artifact_name", "project_name", "titles_of"]


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done. `project` is the project's directory below the top of the repository, `.` for the top.

    `connect` opens the database, `committed` is called once an apply is in it, `proving` says how one waits for its
    changes to be in effect. `plan_out` is where the plan is saved.
    """

    request: Request
    where: Surroundings
    talk: Talk
    project: str
    environment: Mapping[str, str]
    connect: Callable[[], DatabaseConnection]
    committed: Callable[..., None]
    proving: Proving
    plan_out: Path | None
    branch: str | None
    target: str | None = None

    @property
    def name(self) -> str:
        """The project and, of several databases, the one that this is about: what comments and plans are told by.

        In letters that a hidden marker keeps as they are.
        """
        below = _kept(self.project)
        return below if self.target is None else f"{below}:{_kept(self.target)}"

    def marker(self, kind: str, **facts: str) -> Marker:
        """The marker of a comment or an issue of this project."""
        return Marker(kind, self.name, facts)

    @property
    def files_url(self) -> str | None:
        """Where the project's files can be read on the web."""
        if self.where.files_url is None or self.project == ".":
            return self.where.files_url
        return f"{self.where.files_url}/{quote(self.project)}"


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """`code` is the exit code. `text` is for the log, `markdown` for the summary, with its hidden marker.

    `notes` are sentences about the job itself, said in the log and at the end of the summary.
    """

    code: int
    text: str
    markdown: str
    annotations: tuple[Annotation, ...] = ()
    plan: Plan | None = None
    artifact: str | None = None
    notes: tuple[str, ...] = ()


def artifact_name(project: str, head: str) -> str:
    """Under which name the plan of a pull request's head is kept: letters, digits, `_` and `-` alone."""
    below = "" if project == "." else "-" + re.sub(r"[^A-Za-z0-9_-]", "_", project)
    return f"reconcile-plan-{head}{below}"


def titles_of(project: Project) -> Titles:
    """What people call the fields."""
    return {
        (table.name, name): field.title
        for table in project.definitions.tables.values()
        for name, field in table.fields.items()
        if field.title is not None
    }


def project_name(directory: Path) -> str | None:
    """Where the project is below the top of its repository: `.` for the top; None where there is no repository."""
    try:
        with Repository.open(directory) as repository:
            below = repository.below
    except ReconcileError:
        return None
    return below or "."


def _kept(text: str) -> str:
    """The text with all but letters, digits, `.`, `/` and `_` written as `=2d=`: no two texts become one."""
    return re.sub(r"[^A-Za-z0-9./_]", lambda found: f"={ord(found[0]):x}=", text)
