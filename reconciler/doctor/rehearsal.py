"""The dry run itself: the plan that the next run would make, as the proof that everything which it needs is there.

Takes a connection, the project's directory and a Project; gives Findings.
"""

from __future__ import annotations

from pathlib import Path

from reconciler.database.connection import DatabaseConnection
from reconciler.doctor.findings import Finding, Purpose, counted, note, of_error, ok, warning, wrong
from reconciler.errors import DatabaseProblem, Failed, ReconcileError
from reconciler.model import Action
from reconciler.pipeline import Request, make_plan
from reconciler.plan import Plan
from reconciler.project import Project

PART = "plan"


def rehearse(connection: DatabaseConnection, directory: Path, project: Project, purpose: Purpose) -> list[Finding]:
    """Make the plan, and say what it comes to. Whether the commit may be applied at all is not asked here."""
    try:
        plan = make_plan(connection, Request(directory=directory, allow_rewind=True), project)
    except DatabaseProblem as error:
        # The parts before this one say why, each with what to do.
        return [wrong(PART, "dry run", error.exit_code, "cannot be made: see what is wrong above")]
    except ReconcileError as error:
        return of_error(PART, "dry run", error)
    level = warning if purpose == "plan" else _refused
    found = [level(PART, "dry run", refusal) for refusal in plan.refusals]
    return [*found, *([] if found else [ok(PART, "dry run", _sentence(plan))]), *_held(plan)]


def _refused(part: str, name: str, text: str) -> Finding:
    return wrong(part, name, Failed.exit_code, text)


def _sentence(plan: Plan) -> str:
    counts = plan.counts
    if not plan.has_work:
        return f"nothing to do: {counted(counts.managed_fields, 'managed field')} as git asks"
    some = [counted(counts.kills, 'kill')] if counts.kills else []
    some += [f"{counted(counts.restores, 'restore')} due"] if counts.restores else []
    among = f" ({', '.join(some)})" if some else ""
    return f"of {counted(counts.managed_fields, 'managed field')} {counts.changes:,} would change{among}"


def _held(plan: Plan) -> list[Finding]:
    """What a guard holds, and when the first of it is due."""
    held = [change for change in plan.changes if change.action is Action.HOLD]
    if not held:
        return []
    times = sorted(change.hold.until for change in held if change.hold is not None and change.hold.until is not None)
    first = f", the first until {times[0]}" if times else ""
    advice = "a later run applies them; `reconcile status` lists them"
    return [note(PART, "held", f"{counted(len(held), 'change')} held by a guard{first}", advice)]
