"""A Status for a terminal: one screen that says what is off and why, and what stands in the way of its return.

Takes a Status; gives text. What is off comes first, global switches before single rows; then what is held, what
somebody changed behind git's back, and what the next run would do. Long lists end early, and say so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime

from reconciler.effects.backlog import Undelivered
from reconciler.model import Action, Change
from reconciler.proving.records import NotSeen
from reconciler.report import words
from reconciler.report.deliver import undelivered_sentence
from reconciler.report.proof import not_seen_sentence
from reconciler.report.terminal import Ink, Piece, pack
from reconciler.runbook.status import Freeze, Glass, Off, Status

__all__ = [
    "ahead_of",
    "freeze_sentence",
    "off_head",
    "off_word",
    "place_of",
    "render_status",
    "rest_of",
    "shown_off",
    "since_sentence",
    "who_did",
]

_INDENT = 2
_DEEPER = 6
_VALUE = 60
_FEW = 5
_FIELDS = 4

_Draw = Callable[[Change, datetime, Ink, int], list[str]]


def render_status(status: Status, *, limit: int, colour: bool, width: int) -> str:
    """The status in text. `limit`: how many values that are off are listed, and half as many of the rest."""
    ink = Ink(colour)
    now = datetime.fromisoformat(status.plan.created_at)
    half = max(limit // 2, 1)
    lines = pack(list(_header(status, now)), ink, width, 0)
    for freeze in status.freezes:
        lines += pack([Piece(f"FROZEN: {freeze_sentence(freeze, now)}", "held", breaks=True)], ink, width, 0)
    lines += ["", *pack([Piece(off_head(status), "strong", breaks=True)], ink, width, 0)]
    listed = shown_off(status, limit)
    for off in listed:
        lines += _off_lines(off, now, ink, width)
    lines += _more(status.total_off - len(listed), ink)
    lines += [line for sentence in rest_of(status) for line in pack([Piece(sentence, "faint", True)], ink, width, 0)]
    shown = {(off.table, off.key, off.field) for off in listed}
    for title, changes, draw in (
        ("Held by a guard", status.held, _held_lines),
        ("Changed behind git's back", status.drifted, _drift_lines),
        ("Waiting for the next run", status.waiting, _change_lines),
    ):
        others = [change for change in changes if change.sort_key() not in shown]
        lines += _section(title, others, half, draw, now, ink, width)
    glass = [each for each in status.glass if each.change.sort_key() not in shown]
    lines += _glass_section(glass, half, now, ink, width)
    lines += _undelivered_section(status.undelivered, half, ink, width)
    lines += _not_seen_section(status.not_seen, half, now, ink, width)
    lines += _warnings(status, half, ink, width)
    return "\n".join(lines) + "\n"


def _header(status: Status, now: datetime) -> Iterator[Piece]:
    plan = status.plan
    yield Piece(f"{words.visible(plan.database)}, {now:%Y-%m-%d %H:%M} UTC", "strong")
    if not plan.scope.is_everything:
        yield Piece(f"only {words.scope_name(plan.scope)}")
    yield Piece(f"git: {words.commit_name(plan.revision)}" if plan.revision else "git: no commit")
    if status.last is None:
        yield Piece("nothing was applied yet")
        return
    by = words.shorten(words.visible(status.last.actor), 60)
    ago = words.ago(status.last.at, now)
    yield Piece(f"last applied: {words.visible(status.last.commit)[:7]}, {ago} by {by}")
    if status.last.partial is not None:
        yield Piece(f"{words.visible(status.last.partial)}: the others are still to come", "held")


def off_head(status: Status) -> str:
    """`Switched off: 12 values`, with the fields they are of where there are many."""
    if not status.total_off:
        return "Nothing that git manages is switched off."
    fields = f" ({counted(status.known)})" if status.total_off > _FEW else ""
    return f"Switched off: {words.plural(status.total_off, 'value')}{fields}"


def counted(numbers: Mapping[tuple[str, str], int]) -> str:
    """`tenants.isAiEnabled 8, tenants.status 4`, the most frequent first."""
    by_number = sorted(numbers.items(), key=lambda item: (-item[1], item[0]))
    first = by_number[:_FIELDS]
    named = [f"{words.visible(table)}.{words.visible(field)} {number:,}" for (table, field), number in first]
    more = [f"and {words.plural(len(by_number) - _FIELDS, 'more field')}"] if len(by_number) > _FIELDS else []
    return ", ".join([*named, *more])


def shown_off(status: Status, limit: int) -> tuple[Off, ...]:
    """What is listed: at most `limit`, and of these at most half from tables without a tenant."""
    everybody = [off for off in status.off if off.everybody]
    single = [off for off in status.off if not off.everybody]
    room = max(limit - len(single), (limit + 1) // 2)
    first = everybody[:room]
    return (*first, *single[: limit - len(first)])


def rest_of(status: Status) -> Iterator[str]:
    """What is off and was never put into git."""
    number = sum(status.unmanaged.values())
    if number:
        verb = "is" if number == 1 else "are"
        yield f"{words.plural(number, 'value')} that git never named {verb} off as well: {counted(status.unmanaged)}"


def _off_lines(off: Off, now: datetime, ink: Ink, width: int) -> list[str]:
    row = f"{words.shorten(words.visible(off.table), 80)}/{words.shorten(words.visible(off.key), 100)}"
    if off.everybody:
        who = [Piece("EVERYBODY", "kill"), Piece(row)]
    elif off.label is not None:
        who = [Piece(words.shorten(words.visible(off.label), 60), "strong"), Piece(row)]
    else:
        who = [Piece(row, "strong")]
    field = Piece(words.shorten(words.visible(off.field), 64), "strong")
    head = [*who, field, Piece(off_word(off), "kill"), Piece(since_sentence(off, now))]
    reason = (off.reason or "").strip()
    about = [Piece(f'"{words.visible(reason)}"', breaks=True)] if reason else []
    about.append(Piece(who_did(off), breaks=True))
    if off.until is not None:
        about.append(Piece(f"meant until {words.moment(off.until, now)}"))
    if off.file is not None:
        about.append(Piece(place_of(off), "place"))
    lines = [*pack(head, ink, width, _INDENT), *pack(about, ink, width, _DEEPER)]
    ahead = ahead_of(off, now)
    return [*lines, *pack([Piece(ahead, "held", breaks=True)], ink, width, _DEEPER)] if ahead else lines


def off_word(off: Off) -> str:
    """The value, and what it was before where that is known and not plain: `false`, `5 (was 100)`."""
    value = words.shorten(words.literal(off.value), _VALUE)
    if off.cause is None or isinstance(off.value, bool):
        return value
    return f"{value} (was {words.shorten(words.literal(off.cause.before), _VALUE)})"


def since_sentence(off: Off, now: datetime) -> str:
    """Since when it is off."""
    if off.unseen:
        return "since the last run"
    return f"since {words.moment(off.since, now)}" if off.since is not None else "since nobody knows when"


def who_did(off: Off) -> str:
    """Whose doing it was: the author, the commit and who applied it, or a hand."""
    cause = off.cause
    if cause is None:
        did = "by hand, or by the application, after the last run" if off.unseen else words.visible(off.by)
    else:
        author = words.shorten(words.visible(f"{cause.author} <{cause.author_email}>"), 100)
        state = " with uncommitted changes" if cause.dirty else " before its merge" if cause.ahead else ""
        request = f" for pull request #{cause.pull_request}" if cause.pull_request is not None else ""
        by = words.shorten(words.visible(cause.actor), 100)
        did = f"by {author} in commit {words.visible(cause.commit)[:12]}{state}, applied by {by}{request}"
    return did if off.managed or off.change is not None else f"{did}; git manages it no more"


def place_of(off: Off) -> str:
    """Where it stands in git."""
    line = f":{off.line}" if off.line is not None else ""
    return f"{words.visible(off.file or '')}{line}"


def ahead_of(off: Off, now: datetime) -> str:
    """What stands between it and its return: a hold, git, a cooldown. Empty where nothing does."""
    change = off.change
    if change is not None and change.hold is not None:
        return f"restore {words.hold_sentence(change, now)}"
    waits = f"a restore would wait until {words.moment(off.earliest, now)}" if off.earliest is not None else ""
    if change is None:
        return waits
    if change.action is Action.KEEP:
        asked = f"git asks {words.shorten(words.literal(change.desired), _VALUE)}"
        return "; ".join(filter(None, [asked, words.explanation(change), waits]))
    if change.action.writes:
        return f"the next run makes it {words.shorten(words.literal(change.after), _VALUE)}"
    return "; ".join(filter(None, [words.explanation(change), waits]))


def freeze_sentence(freeze: Freeze, now: datetime) -> str:
    """What is frozen, until when, and who called it."""
    until = f" until {words.moment(freeze.until, now)}" if freeze.until is not None else ""
    who = f", called by {words.visible(freeze.called_by)}" if freeze.called_by is not None else ""
    ago = f" {words.ago(freeze.since, now)}" if freeze.since is not None else ""
    return f'"{words.visible(freeze.reason)}"{until}{who}{ago}: only kills are applied'


def _section(
    title: str,
    changes: Sequence[Change],
    limit: int,
    draw: _Draw,
    now: datetime,
    ink: Ink,
    width: int,
) -> list[str]:
    if not changes:
        return []
    lines = ["", ink.paint(f"{title}: {len(changes):,}", "strong")]
    for change in changes[:limit]:
        lines += draw(change, now, ink, width)
    return [*lines, *_more(len(changes) - limit, ink)]


def _row(change: Change) -> list[Piece]:
    row = f"{words.shorten(words.visible(change.table), 80)}/{words.shorten(words.visible(change.key), 100)}"
    field = Piece(words.shorten(words.visible(change.field), 64), "strong")
    return [Piece(words.row_name(change), "strong"), Piece(row), field] if change.label else [Piece(row), field]


def _change_lines(change: Change, _now: datetime, ink: Ink, width: int) -> list[str]:
    word = words.word(change)
    style = {"KILL": "kill", "RESTORE": "restore"}.get(word, "")
    head = [*_row(change), Piece(words.transition(change, _VALUE)), Piece(word, style)]
    return pack([*head, Piece(words.visible(change.reason or ""), breaks=True)], ink, width, _INDENT)


def _held_lines(change: Change, now: datetime, ink: Ink, width: int) -> list[str]:
    held = Piece(words.hold_sentence(change, now), "held", breaks=True)
    return [*_change_lines(change, now, ink, width), *pack([held], ink, width, _DEEPER)]


def _drift_lines(change: Change, now: datetime, ink: Ink, width: int) -> list[str]:
    why = Piece(words.explanation(change), breaks=True)
    return [*_change_lines(change, now, ink, width), *pack([why], ink, width, _DEEPER)]


def _glass_section(glass: Sequence[Glass], limit: int, now: datetime, ink: Ink, width: int) -> list[str]:
    if not glass:
        return []
    lines = ["", ink.paint(f"Ahead of git, which has not answered: {len(glass):,}", "strong")]
    for each in glass[:limit]:
        since = f" since {words.moment(each.since, now)}" if each.since else ""
        lines += _change_lines(each.change, now, ink, width)
        lines += pack([Piece(f"{words.visible(each.broken_by)}{since}", breaks=True)], ink, width, _DEEPER)
    return [*lines, *_more(len(glass) - limit, ink)]


def _undelivered_section(groups: Sequence[Undelivered], limit: int, ink: Ink, width: int) -> list[str]:
    if not groups:
        return []
    lines = ["", ink.paint("Effects that have not arrived (`reconcile deliver`)", "strong")]
    for each in groups[:limit]:
        lines += pack([Piece(undelivered_sentence(each), "held", True)], ink, width, _INDENT)
    return [*lines, *_more(len(groups) - limit, ink)]


def _not_seen_section(groups: Sequence[NotSeen], limit: int, now: datetime, ink: Ink, width: int) -> list[str]:
    if not groups:
        return []
    lines = ["", ink.paint("Committed, and not seen in effect", "strong")]
    for each in groups[:limit]:
        lines += pack([Piece(not_seen_sentence(each, now), "kill", True)], ink, width, _INDENT)
    return [*lines, *_more(len(groups) - limit, ink)]


def _warnings(status: Status, limit: int, ink: Ink, width: int) -> list[str]:
    notices = status.plan.notices
    said = [Piece(f"an apply would be refused: {words.visible(text)}", "kill", True) for text in status.plan.refusals]
    said += [Piece(f"note: {words.visible(notice.message)}", "held", True) for notice in notices[:limit]]
    lines = [line for piece in said for line in pack([piece], ink, width, 0)]
    lines += _more(len(notices) - limit, ink)
    return ["", *lines] if lines else []


def _more(number: int, ink: Ink) -> list[str]:
    return [ink.paint(f"  and {number:,} more: --output json", "faint")] if number > 0 else []
