"""Places as the pull request shows them: where its head has the lines of the merge that the job has checked out.

Takes a Job, and Locations in HEAD's files; gives Locations in the files of the pull request's head. GitHub checks out
the merge of the head with its base, and shows annotations and the diff by the head's lines. Where the base has moved
above a change in the same file, the two differ. What is not known (the head is not in this clone) is left as it is.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from reconciler.ci.job import Job
from reconciler.errors import InvalidInput, NotAsExpected, Problem, ReconcileError
from reconciler.model import Location
from reconciler.plan import Plan
from reconciler.repository import Hunk, Repository

__all__ = ["HeadLines", "head_lines"]


class HeadLines(msgspec.Struct, frozen=True):
    """By file, what the head has in place of lines of HEAD; files that are the same in both, or gone, are not there."""

    hunks: dict[str, list[Hunk]] = {}

    def place(self, location: Location | None) -> Location | None:
        """The place of the same line in the head; of a line that the head lacks, the one that stands where it would."""
        hunks = self.hunks.get(location.file, []) if location is not None else []
        if location is None or not hunks:
            return location
        line = location.line
        for hunk in reversed(hunks):
            if line >= hunk.after_old:
                line += hunk.after_new - hunk.after_old
                break
            if line >= hunk.old:
                line = max(1, min(hunk.new + line - hunk.old, hunk.after_new - 1))
                break
        return msgspec.structs.replace(location, line=line)

    def plan(self, plan: Plan) -> Plan:
        """The same plan, with the head's places."""
        if not self.hunks:
            return plan
        changes = (msgspec.structs.replace(one, location=self.place(one.location)) for one in plan.changes)
        notices = (msgspec.structs.replace(one, location=self.place(one.location)) for one in plan.notices)
        return msgspec.structs.replace(plan, changes=tuple(changes), notices=tuple(notices))

    def error(self, error: ReconcileError) -> ReconcileError:
        """The same error, with the head's places."""
        if not self.hunks or not isinstance(error, InvalidInput | NotAsExpected):
            return error
        problems = [Problem(one.message, self.place(one.location), one.hint) for one in error.problems]
        return type(error)(problems, error.summary)


def head_lines(job: Job, said_of: Sequence[Location | None]) -> HeadLines:
    """What is needed to place these Locations in the head; nothing where that is checked out, or not known."""
    head, files = job.where.head, {location.file for location in said_of if location is not None}
    if head is None or not files:
        return HeadLines()
    try:
        with Repository.open(job.request.directory) as repository:
            here = repository.commit()
            if here.id == head or not repository.has_commit(head):
                return HeadLines()
            there = repository.commit(head)
            moved = sorted(files.intersection(repository.changed_paths(here, there)))
            return HeadLines({file: hunks for file in moved if (hunks := repository.hunks(here, there, file))})
    except ReconcileError:
        return HeadLines()
