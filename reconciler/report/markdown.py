"""A Plan or an Outcome as Markdown, for a comment on a pull request and for a job's summary.

Takes the object and the time; gives GitHub's Markdown, never longer than a limit. The headline says in words what
happens. No text from YAML or the database can leave its table cell, its code or its sentence: see `markdown_text`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from reconciler.model import Action, Change, Direction, Location
from reconciler.outcome import Outcome
from reconciler.plan import Notice, Plan
from reconciler.report import words
from reconciler.report.grouping import LONG, Group, group
from reconciler.report.markdown_text import code, prose

LIMIT = 65_000
"""Characters; GitHub takes 65,536 in a comment."""

_VALUE = 80
_CLAUSES = 3
_REFUSALS = 3

_MARKS = {"KILL": "🔴 **kill**", "RESTORE": "🟢 **restore**", "NEW": "🆕 new row", "": "change"}

_SECTIONS = (
    ("Changes", (Action.UPDATE, Action.CREATE)),
    ("Held back for now", (Action.HOLD,)),
    ("Kept as the database has it", (Action.KEEP,)),
    ("Released: no longer managed", (Action.RELEASE,)),
)


def render_plan(plan: Plan, *, now: datetime, limit_chars: int = LIMIT) -> str:
    """The plan: headline, sum, tables, notices, fingerprint. Too long, its tables end early and say so."""
    headline = _headline(plan, ("kills", "restores", "creates", "changes")) or "nothing to change"
    if not plan.changes:
        headline, total = "nothing to do", prose(words.nothing_to_do(plan))
    else:
        total = f"**{words.counted(plan)}**; {prose(words.managed(plan))} managed."
        follows = words.effects_that_follow(plan)
        total += f"\n\n{prose(follows)}" if follows else ""
    for refusal in plan.refusals[:_REFUSALS]:
        total += f"\n\n⛔ **An apply of this would be refused:** {prose(words.shorten(refusal, 300))}"
    return _fit(f"### reconcile: {headline}", total, _body(plan, plan.notices, now), _footer(plan, now), limit_chars)


def render_outcome(outcome: Outcome, *, now: datetime, limit_chars: int = LIMIT) -> str:
    """What a run did; held and kept are said again. Where it would be too long, tables end early and say so."""
    did = _headline(outcome.plan, ("killed", "restored", "created", "changed"))
    headline = did if did and outcome.applied else "no row was changed"
    total = f"**{prose(words.outcome_sentence(outcome))}**"
    effects = words.effects_sentence(outcome)
    total += f"\n\n{effects}" if effects else ""
    on_purpose = words.on_purpose(outcome)
    total += f"\n\n⚠️ {prose(on_purpose)}" if on_purpose else ""
    body = _body(outcome.plan, outcome.notices, now)
    return _fit(f"### reconcile: {headline}", total, body, _footer(outcome.plan, now), limit_chars)


def _headline(plan: Plan, verbs: tuple[str, str, str, str]) -> str:
    """What is written, in words: `kills isWhatsappEnabled for Acme Bakery and 2 more`, kills first."""
    subjects: dict[tuple[int, str, str], list[Change]] = {}
    for change in plan.writes:
        subjects.setdefault((_rank(change), change.table, change.field), []).append(change)
    clauses: list[str] = []
    left, last = len(plan.writes), -1
    for (rank, _, field), changes in sorted(subjects.items(), key=lambda item: item[0])[:_CLAUSES]:
        verb = "" if rank == last else f"{verbs[rank]} "
        more = f" and {len(changes) - 1:,} more" if len(changes) > 1 else ""
        clauses.append(f"{verb}{code(words.shorten(field, 60))} for {prose(_who(changes[0]))}{more}")
        left, last = left - len(changes), rank
    return ", ".join([*clauses, f"and {words.plural(left, 'more change')}"] if left else clauses)


def _rank(change: Change) -> int:
    if change.direction is Direction.KILL:
        return 0
    if change.direction is Direction.RESTORE:
        return 1
    return 2 if change.action is Action.CREATE else 3


def _who(change: Change) -> str:
    """The row as a headline calls it: by its label, or as table/key."""
    return words.row_name(change) if change.label is not None else words.shorten(f"{change.table}/{change.key}", 60)


Block = tuple[str, Sequence[str]]
"""A head that is written only if a line of it fits (a section's title and its table's head), and the lines."""


def _body(plan: Plan, notices: Sequence[Notice], now: datetime) -> list[Block]:
    blocks: list[Block] = []
    several = sum(any(change.action in actions for change in plan.changes) for _, actions in _SECTIONS) > 1
    for title, actions in _SECTIONS:
        changes = [change for change in plan.changes if change.action in actions]
        if changes:
            heading = f"#### {title} ({len(changes):,})\n\n" if several or actions != _SECTIONS[0][1] else ""
            blocks.append(_table(heading, changes, now))
    recorded = [change for change in plan.changes if change.action is Action.RECORD]
    if recorded:
        lines = tuple(f"- {prose(line)}\n" for line in words.recorded_lines(recorded))
        blocks.append((f"#### Recorded ({len(recorded):,})\n\n", lines))
    if notices:
        blocks.append(("#### Notes\n\n", tuple(f"- {_notice(notice)}\n" for notice in notices)))
    return blocks


def _table(heading: str, changes: Sequence[Change], now: datetime) -> Block:
    if len(changes) > LONG:
        head = "| | Rows | Field | Before → after | Why | First at |\n|---|---|---|---|---|---|\n"
        return heading + head, tuple(_group_line(each, now) for each in group(changes))
    head = "| | Row | Field | Before → after | Why | Where |\n|---|---|---|---|---|---|\n"
    return heading + head, tuple(_line(change, _row(change), _values(change), now) for change in changes)


def _line(change: Change, rows: str, values: str, now: datetime) -> str:
    word = words.word(change)
    why = [prose(change.reason or ""), prose(words.explanation(change)), prose(words.hold_sentence(change, now))]
    cells = (
        _MARKS.get(word, f"**{word.lower()}**"),
        rows,
        code(words.shorten(change.field, 64)),
        values,
        "<br>".join(filter(None, why)),
        _place(change.location),
    )
    return f"| {' | '.join(cells)} |\n"


def _group_line(each: Group, now: datetime) -> str:
    if len(each.changes) == 1:
        return _line(each.first, _row(each.first), _values(each.first), now)
    names = list(dict.fromkeys(words.row_name(change) for change in each.changes[:50]))[:3]
    table = prose(words.shorten(each.first.table, 80))
    rows = f"**{words.plural(len(each.changes), 'row')}** of {table}<br>such as {prose(', '.join(names))}"
    return _line(each.first, rows, _values(each.first) if each.same_values else "(various values)", now)


def _row(change: Change) -> str:
    key = code(words.shorten(change.key, 100))
    label = f"**{prose(words.row_name(change))}**<br>" if change.label is not None else ""
    return f"{label}{prose(words.shorten(change.table, 80))} {key}"


def _values(change: Change) -> str:
    if change.action is Action.KEEP:
        has, asked = words.literal_pair(change.before, change.desired, _VALUE)
        return f"{code(has)} (git asks {code(asked)})"
    if change.action is Action.RELEASE:
        return code(words.shorten(words.literal(change.before), _VALUE))
    before, after = words.literal_pair(change.before, change.desired, _VALUE)
    return f"{code(before)} → {code(after)}"


def _notice(notice: Notice) -> str:
    place = f" {_place(notice.location)}" if notice.location else ""
    return prose(notice.message) + place


def _place(location: Location | None) -> str:
    return code(f"{location.file}:{location.line}:{location.column}") if location else ""


def _footer(plan: Plan, now: datetime) -> str:
    about = []
    if plan.revision:
        subject = prose(words.shorten(words.visible(plan.revision.subject), 100))
        author = prose(words.shorten(words.visible(plan.revision.author_name), 60))
        dirty = ", with uncommitted changes" if plan.revision.dirty else ""
        about.append(f"commit {code(words.visible(plan.revision.commit)[:12])} {subject} by {author}{dirty}")
    about.append(f"for {prose(words.shorten(words.visible(plan.database), 100))}")
    about.append(f"planned {prose(words.moment(plan.created_at, now))}")
    return f"<sub>{' · '.join(about)}<br>fingerprint {code(plan.fingerprint[:80])}</sub>\n"


def _fit(headline: str, total: str, blocks: Iterable[Block], footer: str, limit: int) -> str:
    """Headline, sum and footer whole, and as many lines of the blocks as there is room for."""
    top = f"{headline}\n\n{total}\n\n"
    if len(top) + len(footer) + _CUT_ROOM > limit:
        top = f"### reconcile\n\n{total}\n\n"
        footer = footer if len(top) + len(footer) + _CUT_ROOM <= limit else ""
    room = limit - len(top) - len(footer) - _CUT_ROOM
    written, cut = [], 0
    for head, lines in blocks:
        fitting = 0
        size = len(head) + 1
        while not cut and fitting < len(lines) and size + len(lines[fitting]) <= room:
            size += len(lines[fitting])
            fitting += 1
        cut += len(lines) - fitting
        if fitting:
            room -= size
            written.append(head + "".join(lines[:fitting]) + "\n")
    rest = f"**{words.plural(cut, 'more line')} did not fit here:** `--output json` has everything.\n\n" if cut else ""
    return top + "".join(written) + rest + footer


_CUT_ROOM = 120
"""Characters kept for the sentence that says what did not fit."""
