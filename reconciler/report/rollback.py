"""What going back from a run does, in words.

Takes a Rollback; gives text. What comes from YAML, git or the database is made visible.
"""

from __future__ import annotations

from reconciler.report import words
from reconciler.report.terminal import Ink
from reconciler.rollback import Back, Conflict, Rollback

__all__ = ["render_back", "render_conflicts"]

_LISTED = 100


def render_back(rollback: Rollback, *, colour: bool) -> str:
    """One line for each field that goes back."""
    ink = Ink(colour)
    lines = [f"Back from {words.visible(rollback.name)}: {words.plural(len(rollback.back), 'field')}"]
    for one in rollback.back[:_LISTED]:
        after, before = words.literal_pair(one.after, one.before, 60)
        place = ink.paint(words.visible(str(one.location)), "place") if one.location else ""
        lines.append(f"  {_name(one, ink)}  {after} -> {before}  {place}".rstrip())
    return "\n".join(lines + _more(len(rollback.back)))


def render_conflicts(rollback: Rollback, *, colour: bool) -> str:
    """What stays as it is, and why; empty where nothing does."""
    if not rollback.conflicts:
        return ""
    ink = Ink(colour)
    heading = f"NOT ROLLED BACK: {words.plural(len(rollback.conflicts), 'field')} of {words.visible(rollback.name)}"
    lines = [ink.paint(heading, "held")]
    for one in rollback.conflicts[:_LISTED]:
        place = "  " + ink.paint(words.visible(str(one.location)), "place") if one.location else ""
        lines.append(f"  {_name(one, ink)}: {words.visible(one.why)}{place}")
    return "\n".join(lines + _more(len(rollback.conflicts)))


def _name(one: Back | Conflict, ink: Ink) -> str:
    row = words.visible(f"{one.table}/{one.key}")
    label = f" ({words.shorten(words.visible(one.label), 60)})" if one.label else ""
    return f"{row}{label} {ink.paint(words.visible(one.field), 'strong')}"


def _more(number: int) -> list[str]:
    return [f"  and {number - _LISTED:,} more"] if number > _LISTED else []
