"""What was killed behind git's back becomes what git asks for: the very values, in their place in `state/`.

Takes a Plan, the files of `state/` and Definitions; gives the edited files, and the words of a commit. Nothing is
written. Only what a plan leaves on the kill side against git is adopted: all else goes back by itself, or belongs to
the application.
"""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.canonical import to_text
from reconciler.editing.committing import message_of
from reconciler.editing.edit import Edit
from reconciler.editing.files import EditedFile, edit_files
from reconciler.model import Action, Change, Direction, Finding, Missing
from reconciler.plan import Plan
from reconciler.schema import Definitions
from reconciler.sources import SourceFile

__all__ = ["WHY", "draft_adoption", "kept_kills", "message_of_adoption", "subject_of_adoption"]

WHY = "Killed by hand, and taken over from the database"
"""The reason beside each value, where nobody gives a better one."""

_IN_MESSAGE = 50


def kept_kills(plan: Plan) -> tuple[Change, ...]:
    """What the plan leaves as the database has it although git asks for more: killed by hand, or by broken glass."""
    return tuple(
        change
        for change in plan.changes
        if change.action is Action.KEEP
        and not isinstance(change.before, Missing)
        and (
            change.finding in (Finding.KILLED_BY_HAND, Finding.BREAK_GLASS)
            or (change.finding is Finding.CONFLICT and change.direction is Direction.KILL)
        )
    )


def draft_adoption(
    kept: Sequence[Change], files: Sequence[SourceFile], definitions: Definitions, reason: str
) -> list[EditedFile]:
    """The files with the values that the database has, each with the reason; comments stay.

    An `until`, its `then` and waivers go: they were about the value that is no more. What a `$where` asks for gets an
    entry of the row's own. Raises as `edit_files` does.
    """
    edits, labels = [], {}
    for change in kept:
        assert not isinstance(change.before, Missing)
        label = definitions.tables[change.table].definition.label
        expect = {label: change.label} if label is not None and change.label is not None else {}
        edits.append(
            Edit(
                change.table,
                change.key,
                change.field,
                change.before,
                reason,
                until=None,
                then=None,
                override=None,
                expect=expect,
            )
        )
        if change.label is not None:
            labels[change.table, change.key] = change.label
    return edit_files(files, edits, definitions, labels) if edits else []


def subject_of_adoption(kept: Sequence[Change]) -> str:
    """What is adopted, in a few words: the row's name, or how many rows there are."""
    rows = {(change.table, change.key): change.label for change in kept}
    if len(rows) > 1:
        return f"{len(rows)} rows"
    return "".join(label if label is not None else f"{table}/{key}" for (table, key), label in rows.items())


def message_of_adoption(kept: Sequence[Change], reason: str) -> str:
    """The commit's message: whose values are adopted, why, and each of them."""
    lines = [
        f"{change.table}/{change.key} {change.field}: {to_text(change.before)}"
        for change in kept[:_IN_MESSAGE]
        if not isinstance(change.before, Missing)
    ]
    if len(kept) > _IN_MESSAGE:
        lines.append(f"and {len(kept) - _IN_MESSAGE:,} more fields")
    subject = f"Adopt what was killed by hand: {subject_of_adoption(kept)}: {reason}"
    return message_of(subject, [reason, "\n".join(lines)], [])
