"""What must not be applied any more: a commit older than the one applied last, a plan that rows have moved from.

Takes the Project and the Decision made from it, or two Plans; gives the reason in words, or raises Stale.
"""

from __future__ import annotations

from reconciler.database.connection import DatabaseConnection
from reconciler.decide import Decision
from reconciler.errors import NotAsExpected, Problem, Stale
from reconciler.ledger import plan_was_applied
from reconciler.plan import Plan
from reconciler.project import Project
from reconciler.repository import Ancestry


def ancestry_problem(project: Project, decision: Decision) -> str | None:
    """Why this commit must not follow the one that was applied last, None where it may."""
    return descent_problem(project, decision.head.commit)


def descent_problem(project: Project, applied: str | None) -> str | None:
    """Why the project's commit must not follow `applied` (a commit's id, None for none); None where it may."""
    if applied is None or project.repository is None or project.commit is None:
        return None
    candidate = project.commit.id
    ancestry = project.repository.ancestry(applied, candidate)
    if ancestry in (Ancestry.SAME, Ancestry.DESCENDS):
        return None
    known = f"commit {candidate[:12]} does not descend from {applied[:12]}, which was applied last"
    if ancestry is Ancestry.UNKNOWN and not project.repository.is_shallow:
        return (
            f"commit {applied[:12]}, which was applied last, is not in this repository (a force push, or another "
            f'repository?): whether {candidate[:12]} descends from it cannot be known. Fetch it: '
            f'{project.repository.deepen_command}; or --allow-rewind --reason "..."'
        )
    if ancestry is Ancestry.UNKNOWN:
        return (
            f"the history here is too shallow to know whether {candidate[:12]} descends from {applied[:12]}, which was "
            f"applied last. Deepen it: {project.repository.deepen_command}"
        )
    if ancestry is Ancestry.OLDER:
        known = f"commit {candidate[:12]} is older than {applied[:12]}, which was applied last"
    return f'{known}. To go back, `git revert` and apply that; or --allow-rewind --reason "..."'


def is_older(project: Project, applied: str | None) -> bool:
    """Whether the project's commit is part of `applied`, a commit's id."""
    if applied is None or project.repository is None or project.commit is None:
        return False
    return project.repository.ancestry(applied, project.commit.id) is Ancestry.OLDER


def refuse_another_database(plan: Plan, reviewed: Plan) -> None:
    """Raise NotAsExpected where `reviewed` was made for another database than `plan`, which was made just now.

    Two databases may hold the same rows, so that no fingerprint tells them apart: one of production and its copy.
    """
    if reviewed.database == plan.database and None in (reviewed.database_id, plan.database_id):
        return  # a server that does not say which it is: the name is all there is
    if (reviewed.database, reviewed.database_id) == (plan.database, plan.database_id):
        return
    another = "another one of that name" if reviewed.database == plan.database else plan.database
    text = f"this plan was made for database {reviewed.database}, and this is {another}: nothing was applied"
    hint = "is the address right? else make a plan for this one: reconcile --dry-run --plan-out FILE"
    raise NotAsExpected([Problem(text, None, hint)])


def refuse_stale(connection: DatabaseConnection, plan: Plan, reviewed: Plan) -> None:
    """Raise Stale where `reviewed` was applied already, or is another plan than `plan`, which was made just now."""
    run = plan_was_applied(connection, reviewed.id)
    if run is not None:
        raise Stale(f"this plan was applied already, by run {run}. Make a new one: reconcile --dry-run --plan-out FILE")
    if reviewed.fingerprint == plan.fingerprint:
        return
    moved = _moved(reviewed, plan)
    raise Stale(
        f"the plan is stale: since it was made, {moved}. Nothing was applied. Look at a new plan: reconcile --dry-run"
    )


def _moved(reviewed: Plan, now: Plan) -> str:
    """What differs between two plans, in a few words."""
    was = {change.sort_key(): change for change in reviewed.changes}
    different = [
        "/".join(change.sort_key())
        for change in now.changes
        if (old := was.pop(change.sort_key(), None)) is None
        or (old.before, old.after, old.action) != (change.before, change.after, change.action)
    ]
    different += ["/".join(field) for field in was]
    some = ", ".join(sorted(different)[:3]) + (f" and {len(different) - 3} more" if len(different) > 3 else "")
    return f"{some} moved" if different else "something moved"
