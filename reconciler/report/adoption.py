"""What an adoption says to people: the text of its pull request.

Takes the Changes that are adopted, and why; gives Markdown.
"""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.model import Change
from reconciler.report import words
from reconciler.report.markdown_text import code, prose

__all__ = ["adoption_body"]

_LISTED = 100


def adoption_body(kept: Sequence[Change], reason: str) -> str:
    """Why, and each value; a merge changes no row."""
    lines = [prose(reason), ""]
    for change in kept[:_LISTED]:
        has, asked = words.literal(change.before), words.literal(change.desired)
        name = words.shorten(words.row_name(change), 120)
        values = f"{code(words.shorten(has, 80))} (git asks for {code(words.shorten(asked, 80))})"
        lines.append(f"- {code(change.field)} of {prose(name)}: {values}")
    if len(kept) > _LISTED:
        lines.append(f"- and {len(kept) - _LISTED:,} more")
    lines += ["", "The database has these values already, and a merge changes no row: git says the same then, and why."]
    return "\n".join(lines) + "\n"
