"""The comment on a pull request or a merge request, and the job's summary: the report in Markdown, with what a host
needs around it.

Takes a Plan, an Outcome or Problems; gives Markdown that begins with a hidden marker, by which the comment is found
again and kept up to date. Times are told without how far off they are: a comment is read at any time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from reconciler.console.comparison import compare_plans
from reconciler.errors import Problem
from reconciler.model import Change
from reconciler.outcome import Outcome
from reconciler.plan import Plan
from reconciler.report import words
from reconciler.report.markdown import outcome_report, plan_report
from reconciler.report.markdown_text import code, link, prose
from reconciler.report.page import LIMIT, Page, fit

__all__ = ["GROUPED", "hidden_marker", "invalid_comment", "outcome_comment", "plan_comment", "run_comment", "summary"]

GROUPED = 30
"""Changes beyond which a comment tells them in groups: it is read between others, and not alone."""

_MOVED = 10
"""Fields that moved since the review, of which each is named."""

Titles = Mapping[tuple[str, str], str]
"""What people call a field, by table and name."""


def hidden_marker(name: str) -> str:
    """The line that a comment begins with, and that nobody sees: `<!-- reconcile:NAME -->`.

    What could end it becomes an underscore, so that any text can be a name.
    """
    return f"<!-- reconcile:{re.sub(r'[^A-Za-z0-9 .:=/_-]|-(?=-)|-$', '_', name)} -->"


def plan_comment(
    plan: Plan,
    *,
    marker: str,
    source_url: str | None,
    artifact: str | None,
    limit: int = LIMIT,
    titles: Titles | None = None,
) -> str:
    """The plan for the pull request that would cause it, in at most `limit` characters.

    `marker` is the name in the hidden marker. `source_url` is where the commit's files can be read
    (`https://github.com/OWNER/REPOSITORY/blob/COMMIT`), None where they cannot. `artifact` is the name, or the address,
    of what holds the whole plan.
    """
    hidden = hidden_marker(marker)
    page = _page(source_url, artifact, limit - len(hidden) - 1, titles)
    return f"{hidden}\n{plan_report(plan, page)}"


def invalid_comment(
    problems: Sequence[Problem],
    *,
    marker: str,
    source_url: str | None,
    artifact: str | None = None,
    limit: int = LIMIT,
) -> str:
    """Why there is no plan: every problem, with its place and what to do about it."""
    hidden = hidden_marker(marker)
    page = _page(source_url, artifact, limit - len(hidden) - 1, None)
    ordered = sorted(problems, key=Problem.sort_key)
    files = len({problem.location.file for problem in ordered if problem.location})
    where = f" in {words.plural(files, 'file')}" if files else ""
    total = (
        f"> [!CAUTION]\n> **{words.plural(len(ordered), 'problem')}{where}.** There is no plan until all are solved."
    )
    lines = tuple(_problem_line(problem, page) for problem in ordered)
    table = ("| Where | What is wrong | What to do |\n|---|---|---|\n", lines)
    return f"{hidden}\n{fit('### reconcile: not valid', [total], [table], '', page)}"


def _problem_line(problem: Problem, page: Page) -> str:
    message, hint = (prose(words.shorten(words.visible(text), 1_000)) for text in (problem.message, problem.hint))
    return f"| {page.place(problem.location)} | {message} | {hint} |\n"


def outcome_comment(
    outcome: Outcome,
    *,
    reviewed: Plan | None,
    marker: str,
    source_url: str | None,
    artifact: str | None = None,
    limit: int = LIMIT,
    titles: Titles | None = None,
    in_effect_s: float | None = None,
    reviewed_fingerprint: str | None = None,
) -> str:
    """What was done after the merge: applied, held until, effects, and what moved since the review.

    `reviewed` is the plan that was last shown in the pull request, None where it is not at hand; then
    `reviewed_fingerprint`, where that is known, still tells whether it was the same. `in_effect_s` is in seconds, from
    the merge to the commit in the database.
    """
    hidden = hidden_marker(marker)
    page = _page(source_url, artifact, limit - len(hidden) - 1, titles)
    more = [_in_effect(outcome, in_effect_s), _since_review(reviewed, reviewed_fingerprint, outcome.plan, page)]
    return f"{hidden}\n{outcome_report(outcome, page, more)}"


def run_comment(
    outcome: Outcome, *, marker: str, source_url: str | None, limit: int = LIMIT, titles: Titles | None = None
) -> str:
    """What a run did that no merge began: the hourly one, which applies what was held."""
    hidden = hidden_marker(marker)
    page = _page(source_url, None, limit - len(hidden) - 1, titles)
    return f"{hidden}\n{outcome_report(outcome, page, [])}"


def summary(comment: str) -> str:
    """The same text for the summary of a job, which needs no marker."""
    return re.sub(r"\A<!-- reconcile:[^\n]*-->\n", "", comment)


def _page(source_url: str | None, artifact: str | None, limit: int, titles: Titles | None) -> Page:
    whole = "`reconcile --dry-run --output json` has everything"
    if artifact is not None:
        is_address = re.fullmatch(r"https?://[^\s<>]+", artifact) is not None
        whole = "everything is in " + (
            link("the whole plan", artifact) if is_address else f"the artifact {code(artifact)}"
        )
    return Page(source_url=source_url, whole=whole, limit_chars=limit, long=GROUPED, titles=titles or {})


def _in_effect(outcome: Outcome, in_effect_s: float | None) -> str:
    if in_effect_s is None or not outcome.applied:
        return ""
    return f"In effect {_seconds(in_effect_s)} after the merge."


def _seconds(number: float) -> str:
    return f"{number:.1f} s" if number < 10 else f"{number:,.0f} s"


# Since the review -----------------------------------------------------------------------------------------------------


def _since_review(reviewed: Plan | None, fingerprint: str | None, applied: Plan, page: Page) -> str:
    fingerprint = reviewed.fingerprint if reviewed is not None else fingerprint
    if fingerprint is None:
        return "⚪ The plan that was reviewed is not known, so nothing can be said of what moved since."
    if fingerprint == applied.fingerprint:
        return f"✅ **As reviewed:** the same plan, fingerprint {code(fingerprint[:12])}."
    if reviewed is None:
        was = f"The plan that was reviewed, fingerprint {code(fingerprint[:12])}, is not kept any more."
        return f"> [!WARNING]\n> **Not as reviewed: something moved between the review and the apply.** {was}"
    moved = compare_plans(reviewed, applied)
    lines = [f"{page.subject(change)}: was to be done when this was reviewed, and no more" for change in moved.gone]
    lines += [f"{page.subject(change)}: came after the review: {_does(change)}" for change in moved.new]
    lines += [f"{page.subject(new)}: reviewed as {_does(old)}, and done as {_does(new)}" for old, new in moved.other]
    more = [f"and {len(lines) - _MOVED:,} more"] if len(lines) > _MOVED else []
    fields = words.plural(moved.moved, "field")
    listed = "".join(f"> - {line}\n" for line in [*lines[:_MOVED], *more])
    return f"> [!WARNING]\n> **{fields} moved between the review and the apply:**\n{listed}"


def _does(change: Change) -> str:
    word = words.word(change).lower()
    return code(words.transition(change, 60)) + (f" ({word})" if word else "")
