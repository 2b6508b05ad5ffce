"""Plans and outcomes as text for people and for programs.

Takes the object and one of the formats of `--output`; gives text. Everything here is pure, and all formats are drawn
from the same Plan, so they cannot disagree. Only the renderer that is asked for is imported: the text for a terminal
has no use for the structs of the JSON form.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from reconciler.outcome import Outcome
from reconciler.plan import Plan

Format = Literal["text", "markdown", "json"]

__all__ = ["Format", "render_outcome", "render_plan"]


def render_plan(form: Format, plan: Plan, *, now: datetime, colour: bool = False, width: int = 80) -> str:
    """The plan in a format. `colour` and `width` (columns) are for text alone."""
    match form:
        case "text":
            from reconciler.report import text

            return text.render_plan(plan, now=now, colour=colour, width=width)
        case "markdown":
            from reconciler.report import markdown

            return markdown.render_plan(plan, now=now)
        case "json":
            from reconciler.report import machine

            return machine.render_plan(plan)


def render_outcome(form: Format, outcome: Outcome, *, now: datetime, colour: bool = False, width: int = 80) -> str:
    """The outcome of an apply in a format. `colour` and `width` (columns) are for text alone."""
    match form:
        case "text":
            from reconciler.report import text

            return text.render_outcome(outcome, now=now, colour=colour, width=width)
        case "markdown":
            from reconciler.report import markdown

            return markdown.render_outcome(outcome, now=now)
        case "json":
            from reconciler.report import machine

            return machine.render_outcome(outcome)
