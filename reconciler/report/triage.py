"""A Triage for a terminal, where somebody has just been woken up, and for programs.

Takes a Triage; gives text or JSON (documented in docs/triage.md and versioned). Each playbook that matches is its
evidence, what must not be done, and the line to type. What came from the database is made visible.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from reconciler.plan_json import encode_document
from reconciler.report import words
from reconciler.report.terminal import Ink, Piece, pack
from reconciler.runbook.database_probe import Door
from reconciler.runbook.triage import Match, Remedy, Triage, Unseen

__all__ = ["FORMAT_VERSION", "render_triage", "render_triage_json", "render_triage_line"]

FORMAT_VERSION = 1


def render_triage(triage: Triage, *, colour: bool, width: int) -> str:
    """All of it; one line for a quiet system. `width` is in columns; commands are never broken."""
    ink = Ink(colour)
    lines: list[str] = []
    for match in triage.matches:
        lines += [*_match_lines(match, ink, width), ""]
    lines.append(_summary(triage, ink))
    for note in triage.notes:
        lines += pack([Piece(words.visible(note), "faint", breaks=True)], ink, width, 0)
    lines += _unseen_lines(triage.unseen, ink, width)
    return "\n".join(lines) + "\n"


def _match_lines(match: Match, ink: Ink, width: int) -> Iterator[str]:
    number = [Piece(f"incident {match.incident}", "faint")] if match.incident is not None else []
    name = [Piece(match.playbook, "kill"), Piece(words.visible(match.title), "strong"), *number]
    yield from (line.removeprefix("  ") for line in pack(name, ink, width, 2))
    for one in match.evidence:
        yield from pack([Piece(words.visible(one.text), breaks=True)], ink, width, 2)
    if match.more:
        yield "  … and more of the same"
    for text in (*match.warnings, *match.steps):
        yield from pack([Piece(words.visible(text), "held", breaks=True)], ink, width, 2)
    for remedy in match.remedies:
        yield from _remedy_lines(remedy, ink)
    for other in match.alternatives:
        text = f"or with {other.flag}: {words.visible(other.help)}"
        yield from pack([Piece(text, "faint", breaks=True)], ink, width, 4)


def _remedy_lines(remedy: Remedy, ink: Ink) -> Iterator[str]:
    if remedy.in_effect:
        whose = f" for {words.visible(remedy.label)}" if remedy.label is not None else ""
        taken = ", ".join(remedy.in_effect)
        yield "  " + ink.paint(f"done already{whose}: {taken}", "restore")
    yield "  " + ink.paint(f"$ {words.visible(remedy.command)}", "faint" if remedy.in_effect else "strong")


def _summary(triage: Triage, ink: Ink) -> str:
    about = f"{words.plural(triage.looked, 'probe')} in {triage.seconds:.2f} s"
    failed = f", {len(triage.failed):,} could not be made" if triage.failed else ""
    if triage.matches:
        matching = len(triage.matches)
        verb = "matches" if matching == 1 else "match"
        return ink.paint(f"{words.plural(matching, 'playbook')} {verb}", "kill") + f" ({about}{failed})."
    if triage.failed:
        unknown = ink.paint("Nothing is known to be wrong", "held")
        return f"{unknown}, and not everything could be seen ({about}{failed})."
    which = "the playbook does not match" if triage.playbooks == 1 else f"none of {triage.playbooks} playbooks matches"
    return ink.paint("Quiet", "restore") + f": {which} ({about})."


def _unseen_lines(unseen: Sequence[Unseen], ink: Ink, width: int) -> Iterator[str]:
    """One line per reason: a database that is away takes a dozen symptoms with it."""
    by_reason: dict[tuple[bool, str], list[str]] = {}
    for one in unseen:
        by_reason.setdefault((one.is_set_up, one.reason), []).append(f"{one.playbook}/{one.symptom}")
    for (is_set_up, reason), names in sorted(by_reason.items(), reverse=True):
        head = "Could not be seen" if is_set_up else "Not looked at"
        text = f"{head} ({words.visible(reason)}): {words.visible(', '.join(names))}"
        yield from pack([Piece(text, "held" if is_set_up else "faint", breaks=True)], ink, width, 0)


class TriageDocument(msgspec.Struct, frozen=True):
    """The output of `reconcile triage --output json`."""

    format_version: int
    at: str
    seconds: float
    quiet: bool
    playbooks: int
    probes: int
    matches: tuple[Match, ...]
    unseen: tuple[Unseen, ...]
    database: tuple[Door, ...]
    notes: tuple[str, ...]


def render_triage_json(triage: Triage) -> str:
    """The document of docs/triage.md, on many lines."""
    return encode_document(_document(triage)).decode()


def render_triage_line(triage: Triage) -> str:
    """The same document on one line, for a stream of them."""
    return msgspec.json.format(encode_document(_document(triage)), indent=-1).decode() + "\n"


def _document(triage: Triage) -> TriageDocument:
    return TriageDocument(
        format_version=FORMAT_VERSION,
        at=triage.at,
        seconds=triage.seconds,
        quiet=not triage.matches and not triage.failed,
        playbooks=triage.playbooks,
        probes=triage.looked,
        matches=triage.matches,
        unseen=triage.unseen,
        database=triage.doors,
        notes=triage.notes,
    )
