"""What every report for people says in the same words: values, counts, times, and why a change is what it is.

Takes parts of a Plan; gives text without colours or markup. Text that came from YAML or from the database is made
*visible*: what could move a cursor, break a line or turn the reading direction is written as an escape.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from reconciler.canonical import to_text
from reconciler.model import Action, Change, Direction, Finding, Json, Missing
from reconciler.outcome import Outcome
from reconciler.plan import Plan, Revision, Scope

_NAMED_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_MOST_MARKS = 3
"""Combining marks that a character may carry; a pile of them would run into the lines above and below."""


def visible(text: str) -> str:
    """The text on one line, with everything that does not print (controls, bidi, zero width) as an escape."""
    if text.isascii() and text.isprintable():
        return text
    characters = []
    marks = 0
    for character in text:
        marks = marks + 1 if unicodedata.category(character).startswith("M") else 0
        characters.append(character if character.isprintable() and marks <= _MOST_MARKS else _escape(character))
    return "".join(characters)


def _escape(character: str) -> str:
    code = ord(character)
    return _NAMED_ESCAPES.get(character) or (f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}")


def shorten(text: str, limit: int) -> str:
    """At most `limit` characters, the last of them an ellipsis where something was cut."""
    return text if len(text) <= limit else text[: max(limit - 1, 0)] + "…"


def literal(value: Json | Missing) -> str:
    """A value as it could stand in YAML or JSON, on one line; `-` where there is none."""
    return "-" if isinstance(value, Missing) else visible(to_text(value))


def literal_pair(before: Json | Missing, after: Json | Missing, limit: int) -> tuple[str, str]:
    """Two values, each in at most `limit` characters, cut so that what differs between them is still seen."""
    one, other = literal(before), literal(after)
    if len(one) <= limit and len(other) <= limit:
        return one, other
    same = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    lead = max(limit // 3, 1)
    if same <= limit - lead:
        return shorten(one, limit), shorten(other, limit)
    start = same - lead
    return shorten("…" + one[start:], limit), shorten("…" + other[start:], limit)


def transition(change: Change, limit: int) -> str:
    """What happens to the field's value: `true -> false`, or for what is not written, what is and what git asks."""
    match change.action:
        case Action.RECORD | Action.RELEASE:
            return shorten(literal(change.before), limit)
        case Action.KEEP:
            has, asked = literal_pair(change.before, change.desired, limit)
            return f"{has} (git asks {asked})"
        case Action.HOLD:
            before, after = literal_pair(change.before, change.desired, limit)
        case Action.UPDATE | Action.CREATE:
            before, after = literal_pair(change.before, change.after, limit)
    return f"{'(no row)' if isinstance(change.before, Missing) else before} -> {after}"


_WORDS = {
    Action.UPDATE: "",
    Action.CREATE: "NEW",
    Action.HOLD: "HELD",
    Action.KEEP: "KEPT",
    Action.RECORD: "RECORDED",
    Action.RELEASE: "RELEASED",
}


def word(change: Change) -> str:
    """The one word that makes a change stand out; empty for a plain write that goes neither way."""
    if change.action.writes and change.direction is not Direction.NEUTRAL:
        return "KILL" if change.direction is Direction.KILL else "RESTORE"
    return _WORDS[change.action]


_FINDINGS = {Finding.CHANGE: "", Finding.ADOPTION: "adopted", Finding.REOPENED: "re-opened"}
"""Findings that are not called by their own names."""


def explanation(change: Change) -> str:
    """Why a change is no plain one; empty for a value that was changed in git and is written."""
    name = _FINDINGS.get(change.finding, change.finding.value.replace("_", " "))
    if not name:
        return "" if change.action.writes or change.hold else visible(change.explanation)
    text = visible(change.explanation)
    if change.action is Action.RELEASE or text.startswith(name) or not text:
        return text or name
    return f"{name}: {text}"


def hold_sentence(change: Change, now: datetime | None) -> str:
    """What holds a change, until when; empty where nothing does. `now` is as for `moment`."""
    if change.hold is None:
        return ""
    until = f" until {moment(change.hold.until, now)}" if change.hold.until else ""
    return f"held{until}: {visible(change.hold.explanation)}"


def waivers(change: Change) -> list[str]:
    """``guard `after` waived: support confirmed``, for each guard that git waived for the change."""
    waived = sorted((change.waived or {}).items())
    return [f"guard `{visible(guard)}` waived: {visible(reason)}" for guard, reason in waived]


def row_name(change: Change) -> str:
    """How people call the row: its label, or its key where it has none."""
    return shorten(visible(change.label) or '""', 60) if change.label is not None else shorten(visible(change.key), 60)


def rows_alike(changes: Sequence[Change]) -> str:
    """`41,207 tenants where aiPlan = FREE`: rows that one `$where` means; `3 rows` where none does."""
    first = changes[0]
    if first.match is None:
        return plural(len(changes), "row")
    return f"{len(changes):,} {shorten(visible(first.table), 80)} {where(first)}"


def where(change: Change) -> str:
    """`where aiPlan = FREE`, for a change that a `$where` asks for; else empty."""
    return f"where {shorten(visible(change.match), 200)}" if change.match is not None else ""


def plural(number: int, noun: str, several: str = "") -> str:
    """`1 row`, `1,200 rows`."""
    return f"{number:,} {noun if number == 1 else several or noun + 's'}"


def duration(span: timedelta) -> str:
    """A length of time in its two largest units: `3 d 4 h`, `23 h 10 min`, `12 min`, `40 s`."""
    seconds = max(int(span.total_seconds()), 0)
    if seconds < 60:
        return f"{seconds} s"
    units = (("d", seconds // 86400), ("h", seconds // 3600 % 24), ("min", seconds // 60 % 60))
    first = next(index for index, (_, number) in enumerate(units) if number)
    return " ".join(f"{number} {unit}" for unit, number in units[first : first + 2] if number)


def moment(text: str, now: datetime | None) -> str:
    """A time with how far it is from now: `2026-11-27 09:00 UTC (in 23 h 10 min)`. What is no time stays as it is.

    Without `now` it is the time alone, for a text that is read at any time later.
    """
    time = _time(text)
    if time is None:
        return visible(text)
    clock = f"{time.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    if now is None:
        return clock
    span = time - _aware(now)
    if abs(span) < timedelta(seconds=1):
        return f"{clock} (now)"
    return f"{clock} ({'in ' + duration(span) if span > timedelta() else duration(-span) + ' ago'})"


def ago(text: str, now: datetime) -> str:
    """How long ago a time was: `12 min ago`; empty for what is no time, `just now` for less than a minute."""
    time = _time(text)
    if time is None:
        return ""
    span = _aware(now) - time
    return "just now" if span < timedelta(minutes=1) else f"{duration(span)} ago"


def _time(text: str) -> datetime | None:
    try:
        return _aware(datetime.fromisoformat(text))
    except ValueError:
        return None


def _aware(time: datetime) -> datetime:
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def commit_name(revision: Revision) -> str:
    """`commit 1a2b3c4`, and that there were uncommitted changes where there were."""
    return f"commit {visible(revision.commit)[:7]}" + (" with uncommitted changes" if revision.dirty else "")


def scope_name(scope: Scope) -> str:
    """What the run was limited to, at most three names of it; empty for everything."""
    names = [visible(name) for name in (*scope.tables, *scope.rows)]
    more = f" and {len(names) - 3:,} more" if len(names) > 3 else ""
    return ", ".join(shorten(name, 80) for name in names[:3]) + more


def managed(plan: Plan) -> str:
    """`41 rows with 120 fields`, with what the run was limited to."""
    limited = "" if plan.scope.is_everything else f" in {scope_name(plan.scope)}"
    return f"{plural(plan.counts.managed_rows, 'row')} with {plural(plan.counts.managed_fields, 'field')}{limited}"


def counted(plan: Plan) -> str:
    """`3 to change (1 kill, 1 restore), 1 held, 1 kept, 2 released`; kinds that do not occur are left out."""
    counts = plan.counts
    sides = [plural(counts.kills, "kill")] if counts.kills else []
    sides += [plural(counts.restores, "restore")] if counts.restores else []
    first = f"{counts.changes:,} to change" if counts.changes else "nothing to change"
    rest = {"held": counts.held, "kept": counts.kept, "recorded": counts.recorded, "released": counts.released}
    return ", ".join(
        [first + (f" ({', '.join(sides)})" if sides else ""), *(f"{n:,} {kind}" for kind, n in rest.items() if n)]
    )


def nothing_to_do(plan: Plan, *more: str) -> str:
    """The one sentence of a plan without a change; `more` stands beside the commit."""
    verb = "is" if plan.counts.managed_rows == 1 else "are"
    about = ", ".join([commit_name(plan.revision), *more] if plan.revision else more)
    return f"Nothing to do: {managed(plan)} {verb} as git asks{f' ({about})' if about else ''}."


def no_drift(plan: Plan) -> str:
    """The one sentence of a drift report without a change. What git asks for by now is another matter."""
    verb = "is" if plan.counts.managed_rows == 1 else "are"
    return f"No drift: {managed(plan)} {verb} in the database as applied last."


def outcome_sentence(outcome: Outcome) -> str:
    """`Applied 3 changes to 2 rows in one transaction (run 1a2b3c4d, 3 audit entries, 0.18 s).`

    `… in two transactions, the kills first (runs 1a2b3c4d and 5e6f7a8b, …)` where they did not wait for health checks;
    `… in 10 batches (runs 1a2b3c4d to 5e6f7a8b, …)` where each batch was a transaction.
    """
    first = outcome.kills_run_id
    about = [f"run {visible(outcome.run_id)[:8]}"]
    if first is not None:
        about = [f"runs {visible(first)[:8]} and {visible(outcome.run_id)[:8]}"]
    if outcome.batches:
        about = [f"runs {visible(outcome.batches[0])[:8]} to {visible(outcome.run_id)[:8]}"]
    if outcome.applied:
        about.append(plural(outcome.audit_entries, "audit entry", "audit entries"))
    about += [f"{outcome.recorded:,} recorded"] if outcome.recorded else []
    about += [f"{outcome.released:,} released"] if outcome.released else []
    about.append(f"{outcome.duration_s:.2f} s")
    if not outcome.plan.changes:
        return nothing_to_do(outcome.plan, *about)
    did = "No row was changed"
    if outcome.applied:
        how = "in one transaction" if first is None else "in two transactions, the kills first"
        how = f"in {len(outcome.batches):,} batches" if outcome.batches else how
        did = f"Applied {plural(outcome.applied, 'change')} to {plural(outcome.rows, 'row')} {how}"
    return f"{did} ({', '.join(about)})."


_EFFECTS = {
    "bullmq": ("job for the queue", "jobs for the queue"),
    "redis_publish": ("message on", "messages on"),
    "redis_stream": ("entry of the stream", "entries of the stream"),
    "redis_delete": ("removal of", "removals of"),
    "webhook": ("POST to", "POSTs to"),
    "pg_notify": ("NOTIFY on", "NOTIFYs on"),
}


def effects_that_follow(plan: Plan) -> str:
    """`Effects that follow: 2 jobs for the queue mail, 1 POST to $SLACK_URL.`; empty where none do."""
    if not plan.effects:
        return ""
    parts = [
        f"{plural(each.count, *_EFFECTS.get(each.kind, (visible(each.kind),) * 2))} {shorten(visible(each.target), 60)}"
        for each in plan.effects[:_EFFECTS_LISTED]
    ]
    left = sum(each.count for each in plan.effects[_EFFECTS_LISTED:])
    return f"Effects that follow: {', '.join(parts)}{f' and {left:,} more' if left else ''}."


_EFFECTS_LISTED = 5


def effects_sentence(outcome: Outcome) -> str:
    """`Effects: 2 delivered, 1 waiting.`; empty where the run had none."""
    effects = outcome.effects
    counts = {"delivered": effects.delivered, "waiting": effects.waiting, "dead": effects.dead}
    parts = [f"{number:,} {word}" for word, number in counts.items() if number]
    return f"Effects: {', '.join(parts)}." if parts else ""


def on_purpose(outcome: Outcome) -> str:
    """What was done that only a reason allows; empty for a plain run."""
    reason = visible((outcome.reason or "").strip())
    if outcome.dirty:
        return f"Applied with uncommitted changes: {reason or 'no reason given'}"
    return f"Reason: {reason}" if reason else ""


def recorded_lines(changes: Sequence[Change]) -> list[str]:
    """One line per table for fields of which only the ledger learns."""
    fields: dict[str, int] = {}
    rows: dict[str, set[str]] = {}
    for change in changes:
        fields[change.table] = fields.get(change.table, 0) + 1
        rows.setdefault(change.table, set()).add(change.key)
    return [
        f"{visible(table)}: {plural(number, 'field')} of {plural(len(rows[table]), 'row')} "
        f"{'has' if number == 1 else 'have'} what git asks already: recorded, nothing is written"
        for table, number in fields.items()
    ]


def left(changes: Sequence[Change]) -> str:
    """`1 held, 2 kept`, of changes that are not done."""
    held = sum(change.action is Action.HOLD for change in changes)
    kept = len(changes) - held
    return ", ".join([f"{held:,} held"] * bool(held) + [f"{kept:,} kept"] * bool(kept))
