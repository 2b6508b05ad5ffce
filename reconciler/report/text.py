"""A Plan, an Outcome or a list of Problems for a terminal, to be read at three in the morning.

Takes the object, the time and what the terminal can do; gives text. Rows stand in the plan's order; what stands out
does so by a word, which a colour only underlines. Every place in a file is written so that it can be clicked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import groupby

from reconciler.errors import InvalidInput, NotAsExpected, Problem, ReconcileError
from reconciler.model import Action, Change, Location
from reconciler.outcome import Outcome
from reconciler.plan import Notice, Plan
from reconciler.report import words
from reconciler.report.grouping import LONG, Group, apart, group
from reconciler.report.terminal import NARROWEST, Ink, Piece, pack, padded, shown_width

_FEW = 5
"""Fields already as git asks that are listed one by one; more are one line per table."""

_AGAIN = 20
"""Held and kept fields that are listed again below an outcome."""

_INDENT = 2
_DEEPER = 6
_COLUMN = 26
_WORD = 8
_STYLES = {
    "KILL": "kill",
    "RESTORE": "restore",
    "HELD": "held",
    "KEPT": "kept",
    "NEW": "strong",
    "RECORDED": "faint",
    "RELEASED": "strong",
}


def render_plan(plan: Plan, *, now: datetime, colour: bool, width: int) -> str:
    """The plan: what it is for, the changes row by row, notices, and one line that sums it up.

    More than 200 changes are grouped. `width` is in columns; times are shown relative to `now`.
    """
    ink = Ink(colour)
    if not plan.changes:
        said = [*_notice_lines(plan.notices, ink, width), *_refusal_lines(plan, ink, width)]
        return _text([*said, ink.paint(words.nothing_to_do(plan), "strong")])
    lines = [*_header(plan, now, ink, width), "", *_change_lines(plan.changes, now, ink, width)]
    notices = [*_notice_lines(plan.notices, ink, width), *_refusal_lines(plan, ink, width)]
    lines += [*notices, ""] if notices else []
    follows = words.effects_that_follow(plan)
    lines += pack([Piece(follows, breaks=True)], ink, width, 0) if follows else []
    sentence = f"Plan: {words.counted(plan)}; {words.managed(plan)} managed."
    return _text([*lines, f"{ink.paint(sentence, 'strong')} Fingerprint {words.visible(plan.fingerprint)[:12]}…"])


def render_outcome(outcome: Outcome, *, now: datetime, colour: bool, width: int) -> str:
    """What a run did, change by change and in one sentence, and below it what it did not do: held, kept."""
    ink = Ink(colour)
    lines = _change_lines(outcome.plan.writes, now, ink, width)
    lines += _notice_lines(outcome.notices, ink, width)
    lines.append(ink.paint(words.outcome_sentence(outcome), "strong"))
    effects = words.effects_sentence(outcome)
    lines += [ink.paint(effects, "held" if outcome.effects.waiting or outcome.effects.dead else "")] if effects else []
    lines += _proof_lines(outcome, ink, width) if outcome.verdicts else []
    on_purpose = words.on_purpose(outcome)
    if on_purpose:
        lines += pack([Piece(on_purpose, "held", breaks=True)], ink, width, 0)
    left = [change for change in outcome.plan.changes if change.action in (Action.HOLD, Action.KEEP)]
    matched, named = apart(left)
    if left:
        shown = [*matched, *named[:_AGAIN]]
        lines += ["", f"Not done ({words.left(left)}):", *_change_lines(shown, now, ink, width)[:-1]]
    if len(named) > _AGAIN:
        lines.append(f"and {words.plural(len(named) - _AGAIN, 'more field')}: all with `--output json`")
    return _text(lines)


def _proof_lines(outcome: Outcome, ink: Ink, width: int) -> list[str]:
    """Whether it is in effect, and what is not."""
    from reconciler.report import proof

    style = "strong" if proof.in_effect(outcome.verdicts) else "kill"
    lines = pack([Piece(proof.headline(outcome.verdicts), style, breaks=True)], ink, width, 0)
    for said in proof.unseen_lines(outcome.verdicts):
        lines += pack([Piece(said, "held", breaks=True)], ink, width, _INDENT)
    return lines


def render_problems(problems: Iterable[Problem], *, colour: bool) -> str:
    """One line for each problem, `file:line:column: message (hint)`, and a line that counts them."""
    ink = Ink(colour)
    problems = sorted(problems, key=Problem.sort_key)
    lines = []
    for problem in problems:
        where = f"{ink.paint(_place(problem.location), 'place')}: " if problem.location else ""
        hint = f" ({words.visible(problem.hint)})" if problem.hint else ""
        lines.append(f"{where}{words.visible(problem.message)}{ink.paint(hint, 'faint')}")
    files = {problem.location.file for problem in problems if problem.location}
    where = f" in {words.plural(len(files), 'file')}" if files else ""
    lines.append(ink.paint(f"{words.plural(len(problems), 'problem')}{where}.", "kill" if problems else "strong"))
    return _text(lines)


def render_error(error: ReconcileError, *, colour: bool) -> str:
    """Why a command failed: each of its problems on a line where it carries some, else its message."""
    ink = Ink(colour)
    if isinstance(error, InvalidInput | NotAsExpected) and error.problems:
        summary = [ink.paint(words.visible(error.summary), "strong")] if error.summary else []
        return "".join(f"{line}\n" for line in summary) + render_problems(error.problems, colour=colour)
    first, *rest = str(error).splitlines() or [type(error).__name__]
    return _text([f"{ink.paint('Error:', 'kill')} {words.visible(first)}", *map(words.visible, rest)])


def _text(lines: Iterable[str]) -> str:
    return "\n".join(lines) + "\n"


def _header(plan: Plan, now: datetime, ink: Ink, width: int) -> list[str]:
    """Which commit; and on a second line whose it is, which database this is about, and how old a saved plan is."""
    lines, about = [], []
    if plan.revision:
        subject = Piece(words.shorten(words.visible(plan.revision.subject), 72), breaks=True)
        lines += pack([Piece(words.commit_name(plan.revision), "strong"), subject], ink, width, 0)
        author = words.shorten(words.visible(plan.revision.author_name), 40)
        about.append(", ".join(filter(None, (f"by {author}", words.ago(plan.revision.committed_at, now)))))
    about.append(f"for {words.shorten(words.visible(plan.database), 100)}")
    planned = words.ago(plan.created_at, now)
    old = [] if planned in ("", "just now") else [Piece(f"planned {planned}", "held")]
    return [*lines, *pack([*map(Piece, about), *old], ink, width, 0)]


def _notice_lines(notices: Sequence[Notice], ink: Ink, width: int) -> list[str]:
    lines = []
    for notice in notices:
        pieces = [Piece(f"note: {words.visible(notice.message)}", "held", breaks=True)]
        pieces += [Piece(_place(notice.location), "place")] if notice.location else []
        first, *rest = pack(pieces, ink, width, 0)
        lines += [first, *("      " + line for line in rest)]
    return lines


def _refusal_lines(plan: Plan, ink: Ink, width: int) -> list[str]:
    lines: list[str] = []
    for refusal in plan.refusals:
        text = f"REFUSED: an apply of this would be refused: {words.visible(refusal)}"
        lines += pack([Piece(text, "kill", breaks=True)], ink, width, 0)
    return lines


def _place(location: Location) -> str:
    return f"{words.visible(location.file)}:{location.line}:{location.column}"


def _change_lines(changes: Sequence[Change], now: datetime, ink: Ink, width: int) -> list[str]:
    """The changes, and an empty line after each block of them."""
    recorded = [change for change in changes if change.action is Action.RECORD]
    listed = changes if len(recorded) <= _FEW else [change for change in changes if change.action is not Action.RECORD]
    matched, named = apart(listed)
    lines = list(_matched_lines(matched, now, ink, width))
    if len(named) > LONG:
        lines += _grouped_lines(named, now, ink, width)
    else:
        lines += _listed_lines(named, now, ink, width)
    if len(recorded) > _FEW:
        for line in words.recorded_lines(recorded):
            lines += pack([Piece(line, "faint", breaks=True)], ink, width, 0)
        lines.append("")
    return lines


def _listed_lines(changes: Sequence[Change], now: datetime, ink: Ink, width: int) -> Iterator[str]:
    columns = _Columns(((change.field, change) for change in changes), width)
    for (table, key), of_row in groupby(changes, key=lambda change: (change.table, change.key)):
        row = tuple(of_row)
        pieces = [Piece(words.shorten(words.visible(table), 80), "faint")]
        if row[0].label is not None:
            pieces.append(Piece(words.row_name(row[0]), "strong"))
        pieces.append(Piece(words.shorten(words.visible(key), 100), "faint" if row[0].label is not None else "strong"))
        yield from pack(pieces, ink, width, 0)
        shared = _shared_explanation(row)
        if shared:
            yield from pack([Piece(shared, breaks=True)], ink, width, _INDENT)
        for change in row:
            yield from columns.lines(change, [_reason(change), _where(change)], ink)
            yield from _why(change, "" if shared else words.explanation(change), now, ink, width)
        yield ""


def _grouped_lines(changes: Sequence[Change], now: datetime, ink: Ink, width: int) -> Iterator[str]:
    groups = group(changes)
    columns = _Columns(((each.first.field, each) for each in groups), width)
    for table, of_table in groupby(groups, key=lambda each: each.first.table):
        yield ink.paint(words.shorten(words.visible(table), 80), "strong")
        for each in of_table:
            yield from _group_lines(each, columns, now, ink, width)
        yield ""
    yield from pack([Piece(f"Grouped; all {len(changes):,} one by one: `--output json`", breaks=True)], ink, width, 0)
    yield ""


def _matched_lines(changes: Sequence[Change], now: datetime, ink: Ink, width: int) -> Iterator[str]:
    """What each `$where` asks for: one line for all rows alike."""
    groups = group(changes)
    columns = _Columns(((each.first.field, each) for each in groups), width)
    for _, of_match in groupby(groups, key=lambda each: (each.first.table, each.first.match)):
        alike = list(of_match)
        change = alike[0].first
        table = Piece(words.shorten(words.visible(change.table), 80), "strong")
        yield from pack([table, Piece(words.where(change), "strong", breaks=True)], ink, width, 0)
        for each in alike:
            yield from _group_lines(each, columns, now, ink, width)
        yield ""


def _group_lines(each: Group, columns: _Columns, now: datetime, ink: Ink, width: int) -> Iterator[str]:
    change = each.first
    several = len(each.changes) > 1
    who = words.plural(len(each.changes), "row") if several else _row(change)
    reason = _reason(change) if each.same_reason else Piece("(various reasons)", "faint")
    where = _where(change)
    if several and where.text and not each.same_place:
        where = Piece(f"first at {where.text}", "place")
    yield from columns.lines(each, [Piece(who, "strong"), reason, where], ink)
    yield from _why(change, words.explanation(change), now, ink, width)
    if several:
        yield from pack([Piece(f"such as {_examples(each)}", "faint", breaks=True)], ink, width, _DEEPER)


def _examples(each: Group) -> str:
    names = list(dict.fromkeys(words.row_name(change) for change in each.changes[:50]))[:3]
    return ", ".join(names)


def _row(change: Change) -> str:
    key = words.shorten(words.visible(change.key), 100)
    return key if change.label is None else f"{words.row_name(change)} {key}"


class _Columns:
    """Lines of fields whose values and words stand below each other, as far as the terminal is wide enough."""

    def __init__(self, fields: Iterable[tuple[str, Change | Group]], width: int) -> None:
        self._width = max(width, NARROWEST)
        self._limit = min(max((self._width - 10) // 2, 12), 60)
        listed = [(words.shorten(words.visible(name), 64), self._transition(what)) for name, what in fields]
        self._name = max((wide for name, _ in listed if (wide := shown_width(name)) <= _COLUMN), default=0)
        self._values = max((wide for _, values in listed if (wide := shown_width(values)) <= _COLUMN), default=0)

    def _transition(self, what: Change | Group) -> str:
        if isinstance(what, Group) and not what.same_values:
            return "(various values)"
        return words.transition(what.first if isinstance(what, Group) else what, self._limit)

    def lines(self, what: Change | Group, about: Sequence[Piece], ink: Ink) -> Iterator[str]:
        """The field's line; what it is about follows on it where there is room, else below it."""
        change = what.first if isinstance(what, Group) else what
        name, values, word = words.shorten(words.visible(change.field), 64), self._transition(what), words.word(change)
        cells = ((name, "strong", self._name), (values, "", self._values), (word, _STYLES.get(word, ""), _WORD))
        head = " " * _INDENT + "  ".join(padded(text, wide) for text, _, wide in cells)
        tail = "  ".join(piece.text for piece in about if piece.text)
        if shown_width(head.rstrip()) > self._width:
            yield from pack([Piece(text, style) for text, style, _ in cells], ink, self._width, _INDENT)
            yield from pack(about, ink, self._width, _DEEPER)
            return
        painted = [ink.paint(text, style) + " " * (wide - shown_width(text)) for text, style, wide in cells]
        line = " " * _INDENT + "  ".join(painted)
        if tail and shown_width(head) + 2 + shown_width(tail) <= self._width:
            yield "  ".join([line, *(ink.paint(piece.text, piece.style) for piece in about if piece.text)])
            return
        yield line.rstrip()
        yield from pack(about, ink, self._width, _DEEPER)


def _reason(change: Change) -> Piece:
    return Piece(words.visible((change.reason or "").strip()), breaks=True)


def _where(change: Change) -> Piece:
    return Piece(_place(change.location), "place") if change.location else Piece("")


def _why(change: Change, explanation: str, now: datetime, ink: Ink, width: int) -> Iterator[str]:
    style = _STYLES.get(words.word(change), "")
    for sentence in (explanation, words.hold_sentence(change, now), *words.waivers(change)):
        if sentence:
            yield from pack([Piece(sentence, "" if style == "strong" else style, breaks=True)], ink, width, _DEEPER)


def _shared_explanation(row: Sequence[Change]) -> str:
    """What is to be said of every field of a row alike, to be said once; empty where it differs."""
    said = {words.explanation(change) for change in row}
    return said.pop() if len(row) > 1 and len(said) == 1 else ""
