"""An Examination for a terminal, as Markdown and as JSON: one table of what is right, and what to do about the rest.

Takes an Examination; gives text. What came from a database, from git or from a server is made visible. Commands and SQL
are never broken into lines, so that they can be copied.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

import msgspec

from reconciler.doctor.findings import Examination, Finding, Verdict
from reconciler.plan_json import encode_document
from reconciler.report import words
from reconciler.report.markdown_text import prose
from reconciler.report.terminal import Ink, Piece, pack, padded, shown_width

__all__ = ["FORMAT_VERSION", "render_doctor", "render_doctor_json", "render_doctor_markdown"]

FORMAT_VERSION = 1

_WORDS = {
    Verdict.OK: ("ok", "restore"),
    Verdict.NOTE: ("note", "faint"),
    Verdict.WARNING: ("warning", "held"),
    Verdict.WRONG: ("WRONG", "kill"),
    Verdict.UNKNOWN: ("unknown", "kept"),
}
_MARKS = {
    Verdict.OK: "✅",
    Verdict.NOTE: "·",
    Verdict.WARNING: "⚠️",
    Verdict.WRONG: "❌",
    Verdict.UNKNOWN: "❔",
}
_WIDEST_NAME = 20
_INDENT_OF_LONG = 4
_VERDICT = max(len(word) for word, _ in _WORDS.values())


def render_doctor(found: Examination, *, colour: bool, width: int) -> str:
    """The table, and what it comes to in the last line. `width` is in columns."""
    ink = Ink(colour)
    room = min(max((shown_width(words.visible(one.name)) for one in found.findings), default=0), _WIDEST_NAME)
    lines: list[str] = []
    for part, findings in groupby(found.findings, key=lambda finding: finding.part):
        lines.append(ink.paint(part, "strong"))
        for finding in findings:
            lines += _row(finding, ink, width, room)
    lines += ["", ink.paint(summary(found), _style(found))]
    return "\n".join(lines) + "\n"


def _row(finding: Finding, ink: Ink, width: int, room: int) -> Iterator[str]:
    word, style = _WORDS[finding.verdict]
    indent = 2 + _VERDICT + 2 + room + 2
    head = f"  {ink.paint(padded(word, _VERDICT), style)}  {padded(words.visible(finding.name), room)}  "
    if shown_width(words.visible(finding.name)) > room:
        yield head.rstrip()
        head = " " * indent
    first, *rest = pack([Piece(words.visible(finding.saw), breaks=True)], ink, width, indent) or [""]
    yield head + first.lstrip()
    yield from rest
    if finding.advice:
        yield from pack([Piece(f"-> {words.visible(finding.advice)}", "place", breaks=True)], ink, width, indent)
    commands = [words.visible(command) for command in finding.commands]
    fits = indent + max(map(shown_width, commands), default=0) <= width
    yield from (" " * (indent if fits else _INDENT_OF_LONG) + command for command in commands)


def summary(found: Examination) -> str:
    """What it comes to, in one sentence."""
    what = "an apply" if found.purpose == "apply" else "a dry run"
    bad, unseen, warned = map(found.count, (Verdict.WRONG, Verdict.UNKNOWN, Verdict.WARNING))
    some = [f"{bad:,} wrong"] if bad else []
    some += [f"{unseen:,} not seen"] if unseen else []
    some += [words.plural(warned, "warning")] if warned else []
    counts = ", ".join(some)
    if found.exit_code:
        head = "Not ready" if bad else "Not known to be ready"
        return f"{head} for {what}: {counts} (exit code {found.exit_code}; {found.seconds:.1f} s)."
    return f"Ready for {what}{': ' if some else ''}{counts} ({found.seconds:.1f} s)."


def _style(found: Examination) -> str:
    return "kill" if found.exit_code else "held" if found.count(Verdict.WARNING) else "restore"


def render_doctor_markdown(found: Examination) -> str:
    """GitHub's Markdown: a table, and below it what can be copied."""
    return "\n".join(_markdown(found)) + "\n"


def _markdown(found: Examination) -> Iterator[str]:
    yield f"### {prose(summary(found))}"
    yield ""
    yield "| | What | Seen | What to do |"
    yield "|---|---|---|---|"
    for one in found.findings:
        name = f"{prose(one.part)}: {prose(one.name)}"
        yield f"| {_MARKS[one.verdict]} | {name} | {prose(one.saw)} | {prose(one.advice)} |"
    for one in found.findings:
        if one.commands:
            yield ""
            yield f"{prose(one.part)}, {prose(one.name)}:"
            yield ""
            yield "```"
            yield from map(words.visible, one.commands)
            yield "```"


class FindingDocument(msgspec.Struct, frozen=True):
    """One row."""

    part: str
    name: str
    verdict: str
    saw: str
    advice: str
    commands: tuple[str, ...]
    exit_code: int


class DoctorDocument(msgspec.Struct, frozen=True):
    """The output of `reconcile doctor --output json`."""

    format_version: int
    at: str
    seconds: float
    purpose: str
    ready: bool
    exit_code: int
    findings: tuple[FindingDocument, ...]


def render_doctor_json(found: Examination) -> str:
    """The document of docs/doctor.md."""
    rows = tuple(
        FindingDocument(one.part, one.name, one.verdict.value, one.saw, one.advice, one.commands, one.exit_code)
        for one in found.findings
    )
    document = DoctorDocument(
        FORMAT_VERSION, found.at, round(found.seconds, 3), found.purpose, not found.exit_code, found.exit_code, rows
    )
    return encode_document(document).decode()
