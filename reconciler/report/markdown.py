"""A Plan or an Outcome as Markdown, for a comment on a pull request and for a job's summary.

Takes the object and the Page; gives GitHub's Markdown, never longer than a limit. The headline says in words what
happens. No text from YAML or the database can leave its table cell, its code or its sentence: see `markdown_text`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from reconciler.model import Action, Change, Direction, Finding
from reconciler.outcome import Outcome
from reconciler.plan import Notice, Plan
from reconciler.report import words
from reconciler.report.markdown_table import table
from reconciler.report.markdown_text import code, prose
from reconciler.report.page import LIMIT, Block, Page, fit

__all__ = ["headline_of", "is_drift", "outcome_report", "plan_report", "render_outcome", "render_plan"]

_CLAUSES = 3
_REFUSALS = 3
_WAIVERS = 5
_TABLES = 5

_PLANNED = ("kills", "restores", "creates", "changes", "holds back", "puts back")
_DONE = ("killed", "restored", "created", "changed", "held back", "put back")


def render_plan(plan: Plan, *, now: datetime, limit_chars: int = LIMIT) -> str:
    """The plan for a reader who reads it now."""
    return plan_report(plan, Page(now=now, limit_chars=limit_chars))


def render_outcome(outcome: Outcome, *, now: datetime, limit_chars: int = LIMIT) -> str:
    """What a run did, for a reader who reads it now."""
    return outcome_report(outcome, Page(now=now, limit_chars=limit_chars))


def plan_report(plan: Plan, page: Page) -> str:
    """The plan: headline, sum, tables, notices, fingerprint. Too long, its tables end early and say so."""
    if plan.changes:
        headline = headline_of(plan, page) or "nothing to change"
        total = [_badges(plan), _blast(plan), *_refused(plan), _waived(plan, page), _follows(plan)]
    else:
        headline = "nothing to do"
        total = [prose(words.nothing_to_do(plan)), *_refused(plan)]
    return fit(f"### reconcile: {headline}", total, _body(plan, plan.notices, page), _footer(plan, page), page)


def outcome_report(outcome: Outcome, page: Page, more: Sequence[str] = ()) -> str:
    """What a run did; held and kept are said again. `more` are paragraphs, in Markdown, that follow the sum."""
    plan = outcome.plan
    headline = headline_of(plan, page, done=True) if outcome.applied else ""
    on_purpose = words.on_purpose(outcome)
    total = [
        f"**{prose(words.outcome_sentence(outcome))}**",
        prose(words.effects_sentence(outcome)),
        _proof(outcome) if outcome.verdicts else "",
        f"⚠️ {prose(on_purpose)}" if on_purpose else "",
        *more,
        _waived(plan, page),
    ]
    body = _body(plan, outcome.notices, page, done=True)
    return fit(f"### reconcile: {headline or 'no row was changed'}", total, body, _footer(plan, page), page)


def _proof(outcome: Outcome) -> str:
    """Whether it is in effect, and what is not."""
    from reconciler.report import proof

    if proof.in_effect(outcome.verdicts):
        return f"✅ {prose(proof.headline(outcome.verdicts))}"
    unseen = "".join(f"\n- {prose(said)}" for said in proof.unseen_lines(outcome.verdicts))
    return f"⚠️ **{prose(proof.headline(outcome.verdicts))}**\n{unseen}"


# The headline ---------------------------------------------------------------------------------------------------------


def is_drift(change: Change) -> bool:
    """Whether it stands in the plan because the database moved, and not because git did."""
    asked = change.action.writes or change.action is Action.HOLD
    return change.action is Action.KEEP or (asked and change.finding in (Finding.REOPENED, Finding.DRIFT))


def headline_of(plan: Plan, page: Page, *, done: bool = False) -> str:
    """What happens, in words: `kills WhatsApp for Acme Bakery and 2 more`, kills first; empty where nothing does.

    What is put back comes last, and what is held only where nothing else happens: neither is this commit's doing.
    """
    verbs = _DONE if done else _PLANNED
    told = plan.writes or tuple(change for change in plan.changes if change.action is Action.HOLD)
    subjects: dict[tuple[int, str, str], list[Change]] = {}
    for change in told:
        subjects.setdefault((_rank(change), change.table, change.field), []).append(change)
    clauses: list[str] = []
    left, last = len(told), -1
    for (rank, _, _), changes in sorted(subjects.items(), key=lambda item: item[0])[:_CLAUSES]:
        verb = "" if rank == last else f"{verbs[rank]} "
        more = f" and {len(changes) - 1:,} more" if len(changes) > 1 else ""
        told_once = len(changes) > 1 and changes[0].match is not None and len({one.match for one in changes}) == 1
        subject = f"{page.subject(changes[0])}{more}"
        if told_once:
            subject = f"{page.title(changes[0])} for {prose(words.rows_alike(changes))}"
        clauses.append(f"{verb}{subject}")
        left, last = left - len(changes), rank
    return ", ".join([*clauses, f"and {words.plural(left, 'more change')}"] if left else clauses)


def _rank(change: Change) -> int:
    if not change.action.writes:
        return 4
    if is_drift(change):
        return 5
    if change.direction is Direction.KILL:
        return 0
    if change.direction is Direction.RESTORE:
        return 1
    return 2 if change.action is Action.CREATE else 3


# The sum --------------------------------------------------------------------------------------------------------------


def _badges(plan: Plan) -> str:
    counts = plan.counts
    others = counts.changes - counts.kills - counts.restores
    listed = [
        ("🔴", counts.kills, "kill", "kills"),
        ("🟢", counts.restores, "restore", "restores"),
        ("🔵", others, "other change", "other changes"),
        ("🟡", counts.held, "held", "held"),
        ("🟠", counts.kept, "kept", "kept"),
        ("⚪", counts.recorded, "recorded", "recorded"),
        ("⚪", counts.released, "released", "released"),
    ]
    return " · ".join(f"{mark} **{words.plural(number, *names)}**" for mark, number, *names in listed if number)


def _blast(plan: Plan) -> str:
    """How many rows of which tables change, which way, and of how many."""
    rows: dict[str, set[str]] = {}
    sides: dict[Direction, set[tuple[str, str]]] = {}
    for change in plan.writes:
        rows.setdefault(change.table, set()).add(change.key)
        sides.setdefault(change.direction, set()).add((change.table, change.key))
    if not rows:
        return f"No row changes; {prose(words.managed(plan))} managed."
    parts = [f"{words.plural(len(keys), 'row')} of {prose(words.shorten(name, 60))}" for name, keys in rows.items()]
    left = sum(map(len, list(rows.values())[_TABLES:]))
    parts = [*parts[:_TABLES], *([f"{words.plural(left, 'row')} of other tables"] if left else [])]
    ways = [
        f"{len(keys):,} toward the {word} side"
        for side, word in ((Direction.KILL, "kill"), (Direction.RESTORE, "open"))
        if (keys := sides.get(side))
    ]
    toward = f" ({', '.join(ways)})" if ways else ""
    return f"Changes {', '.join(parts)}{toward}; {prose(words.managed(plan))} managed."


def _refused(plan: Plan) -> list[str]:
    return [
        f"> [!CAUTION]\n> **An apply of this would be refused:** {prose(words.shorten(refusal, 300))}"
        for refusal in plan.refusals[:_REFUSALS]
    ]


def _follows(plan: Plan) -> str:
    return prose(words.effects_that_follow(plan))


def _waived(plan: Plan, page: Page) -> str:
    """The guards that git waived: whoever approves this approves that."""
    waived = [
        f"{page.subject(change)}: {prose(words.shorten(text, 200))}"
        for change in plan.changes
        for text in words.waivers(change)
    ]
    if not waived:
        return ""
    more = [f"and {len(waived) - _WAIVERS:,} more"] if len(waived) > _WAIVERS else []
    return "> [!WARNING]\n> **Guards are waived in git:**\n" + "".join(
        f"> - {one}\n" for one in [*waived[:_WAIVERS], *more]
    )


# The body -------------------------------------------------------------------------------------------------------------


def _body(plan: Plan, notices: Sequence[Notice], page: Page, *, done: bool = False) -> list[Block]:
    sections = [
        ("Changed" if done else "Changes", [c for c in plan.writes if not is_drift(c)]),
        ("Held back for now", [c for c in plan.changes if c.action is Action.HOLD]),
        (
            "Drift: what moved behind git's back",
            [c for c in plan.changes if is_drift(c) and c.action is not Action.HOLD],
        ),
        ("Released: no longer managed", [c for c in plan.changes if c.action is Action.RELEASE]),
    ]
    there = [(title, changes) for title, changes in sections if changes]
    blocks = []
    for title, changes in there:
        heading = f"#### {title} ({len(changes):,})\n\n" if len(there) > 1 or title != sections[0][0] else ""
        blocks.append(table(heading, changes, page))
    recorded = [change for change in plan.changes if change.action is Action.RECORD]
    if recorded:
        lines = tuple(f"- {prose(line)}\n" for line in words.recorded_lines(recorded))
        blocks.append((f"#### Recorded ({len(recorded):,})\n\n", lines))
    if notices:
        blocks.append(("#### Notes\n\n", tuple(f"- {_notice(notice, page)}\n" for notice in notices)))
    return blocks


def _notice(notice: Notice, page: Page) -> str:
    place = f" {page.place(notice.location)}" if notice.location else ""
    return prose(notice.message) + place


def _footer(plan: Plan, page: Page) -> str:
    about = []
    if plan.revision:
        subject = prose(words.shorten(words.visible(plan.revision.subject), 100))
        author = prose(words.shorten(words.visible(plan.revision.author_name), 60))
        dirty = ", with uncommitted changes" if plan.revision.dirty else ""
        about.append(f"commit {code(words.visible(plan.revision.commit)[:12])} {subject} by {author}{dirty}")
    about.append(f"for {prose(words.shorten(words.visible(plan.database), 100))}")
    about.append(f"planned {prose(page.moment(plan.created_at))}")
    return f"<sub>{' · '.join(about)}<br>fingerprint {code(plan.fingerprint[:80])}</sub>\n"
