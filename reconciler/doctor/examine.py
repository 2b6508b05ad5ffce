"""The examination: all parts at the same time, each with its deadline, so that what is down holds up nothing else.

Takes a directory, the environment and a deadline; gives an Examination. Never raises for a part: one that cannot be
looked at is a row that says why. Reads only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from reconciler.database.connection import DatabaseConnection
from reconciler.database.url import parse_database_url
from reconciler.doctor import (
    clone,
    database,
    github,
    memory,
    privileges,
    program,
    redis_server,
    rehearsal,
    tables,
    targets,
)
from reconciler.doctor.findings import PARTS, Examination, Finding, Purpose, not_seen, note, of_error
from reconciler.doctor.redis_server import RedisUse
from reconciler.errors import DatabaseProblem, ReconcileError, Refused
from reconciler.fields import format_timestamp
from reconciler.project import Project, read_revision, read_work_tree
from reconciler.runbook.database_probe import Doors, try_doors
from reconciler.runbook.probes import Lanes, NoAnswer, Questions

__all__ = ["examine"]

_OnDatabase = Callable[[DatabaseConnection], list[Finding]]


def examine(
    directory: Path, *, purpose: Purpose, environment: Mapping[str, str], deadline_s: float
) -> Examination:
    """Look at everything. `purpose` "plan": for a role and a machine that make dry runs only."""
    started, at = time.monotonic(), datetime.now(UTC)
    elsewhere: dict[str, Callable[[], list[Finding]]] = {
        "git": partial(clone.look_at_clone, directory, purpose),
        "git remote": partial(clone.look_at_remote, directory, deadline_s),
    }
    if github.runs_there(environment):
        elsewhere["github job"] = partial(github.look_at_job, environment, directory, purpose)
        elsewhere["github token"] = partial(github.look_at_token, environment)
    first = Questions(elsewhere, deadline_s)
    project, findings = _read(directory, purpose, deadline_s)
    uses = redis_server.redis_uses(project.definitions) if project is not None else []
    redis = Questions(
        {use.variable: partial(redis_server.look_at_redis, use, environment, deadline_s) for use in uses}, deadline_s
    )
    findings += program.look_at_program(project.definitions if project is not None else None)
    if project is not None:
        findings += tables.look_at_files(project)
        findings += targets.look_at_targets(project.definitions, environment)
    findings += _database(directory, project, purpose, environment, deadline_s)
    findings += _redis(uses, redis.answers(), deadline_s)
    for name, answer in first.answers().items():
        part, _, what = name.partition(" ")
        unseen = isinstance(answer, NoAnswer)
        findings += [not_seen(part, what or "repository", str(answer))] if unseen else _found(answer)
    order = {part: number for number, part in enumerate(PARTS)}
    findings.sort(key=lambda finding: order[finding.part])
    took = time.monotonic() - started
    return Examination(purpose, format_timestamp(at.replace(microsecond=0)), took, tuple(findings))


def _found(answer: list[Finding] | NoAnswer) -> list[Finding]:
    assert not isinstance(answer, NoAnswer)
    return answer


def _read(directory: Path, purpose: Purpose, deadline_s: float) -> tuple[Project | None, list[Finding]]:
    """What an apply (a dry run) would be made from: HEAD (the work tree). Where there is no HEAD, the work tree."""
    answer = Questions({"files": partial(_project, directory, purpose)}, deadline_s).answers()["files"]
    if isinstance(answer, NoAnswer):
        return None, [not_seen("files", "files", str(answer), Refused.exit_code)]
    if isinstance(answer, ReconcileError):
        return None, of_error("files", "files", answer)
    return answer, []


def _project(directory: Path, purpose: Purpose) -> Project | ReconcileError:
    try:
        if purpose == "apply":
            try:
                return read_revision(directory, "HEAD")
            except Refused:  # which is said of the repository
                pass
        return read_work_tree(directory)
    except ReconcileError as error:
        return error


def _database(
    directory: Path, project: Project | None, purpose: Purpose, environment: Mapping[str, str], deadline_s: float
) -> list[Finding]:
    doors = try_doors(environment, deadline_s, database.APPLICATION_NAME)
    found = database.about_doors(doors)
    if doors.connection is None or doors.way_in is None:
        return [*found, *_unseen_parts("the database does not answer" if doors.is_outage else doors.sentence)]
    jobs = _jobs(doors, directory, project, purpose, environment, deadline_s)
    lanes: Lanes[list[Finding]] = Lanes(doors.connection, doors.way_in, deadline_s)
    for name, answer in lanes.ask(jobs).items():
        if isinstance(answer, NoAnswer):
            part, _, what = name.partition(" ")
            found.append(not_seen(part, what, str(answer), DatabaseProblem.exit_code))
        else:
            found += answer
    found += [note(database.PART, "address", text) for text in doors.way_in.notes]
    if project is None:
        found += _unseen_parts("state and schemas cannot be read")
    return found


def _unseen_parts(why: str) -> list[Finding]:
    parts = (("privileges", "role"), ("ledger", "version"), ("plan", "dry run"))
    return [not_seen(part, name, why) for part, name in parts]


def _jobs(
    doors: Doors,
    directory: Path,
    project: Project | None,
    purpose: Purpose,
    environment: Mapping[str, str],
    deadline_s: float,
) -> dict[str, _OnDatabase]:
    """What is asked of the database, by part and name."""
    door = doors.pooled if doors.pooled.answered or doors.direct is None else doors.direct
    jobs: dict[str, _OnDatabase] = {"database server": database.look_at_server(door, purpose)}
    if doors.direct is not None and doors.direct.answered and doors.pooled.answered:
        address = parse_database_url(environment["DIRECT_URL"], variable="DIRECT_URL")
        jobs["database DIRECT_URL"] = database.look_at_direct(address, deadline_s)
    if project is not None:
        jobs["database tables"] = lambda connection: tables.look_at_tables(connection, project, purpose)
        jobs["privileges role"] = lambda connection: privileges.look_at_privileges(connection, project, purpose)
        jobs["ledger ledger"] = lambda connection: memory.look_at_ledger(connection, project, purpose)
        jobs["plan dry run"] = lambda connection: rehearsal.rehearse(connection, directory, project, purpose)
    return jobs


def _redis(
    uses: list[RedisUse], answers: Mapping[str, list[Finding] | NoAnswer], deadline_s: float
) -> list[Finding]:
    found: list[Finding] = []
    for use in uses:
        answer = answers[use.variable]
        found += [redis_server.unanswered(use, str(answer))] if isinstance(answer, NoAnswer) else answer
    return found
