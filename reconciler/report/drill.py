"""A DrillResult as a table with the time of each step: for a terminal, for a document, and for programs.

Takes a DrillResult; gives text, Markdown or JSON (documented in docs/drill.md and versioned). What came from a database
or a server is made visible.
"""

from __future__ import annotations

import msgspec

from reconciler.drill.result import STEPS, Drilled, DrillResult, Outcome, Step
from reconciler.plan_json import encode_document
from reconciler.report import words
from reconciler.report.markdown_text import prose
from reconciler.report.terminal import Ink, Piece, pack, padded

__all__ = ["FORMAT_VERSION", "line_of_step", "render_drill", "render_drill_json", "render_drill_markdown"]

FORMAT_VERSION = 1

_STYLES: dict[Outcome, str] = {"shown": "restore", "not shown": "held", "failed": "kill"}
_WIDEST = max(map(len, STEPS))


def render_drill(result: DrillResult, *, colour: bool, width: int) -> str:
    """Each playbook with a line or more for each of its steps. `width` is in columns."""
    ink = Ink(colour)
    lines: list[str] = []
    for one in result.playbooks:
        number = f"  incident {one.incident}" if one.incident is not None else ""
        lines.append(f"{ink.paint(one.playbook, 'strong')}  {words.visible(one.title)}{ink.paint(number, 'faint')}")
        for step in one.steps:
            lines += _step_lines(step, ink, width)
        lines += [f"  {padded('', _WIDEST)}  {one.seconds:6.2f} s", ""]
    lines += [_summary(result), *(f"{words.visible(note)}." for note in result.notes)]
    return "\n".join(lines) + "\n"


def _step_lines(step: Step, ink: Ink, width: int) -> list[str]:
    mark = "" if step.outcome == "shown" else f"{step.outcome}: "
    head = f"  {padded(step.name, _WIDEST)}  {step.seconds:6.2f} s  "
    said = pack([Piece(mark + words.visible(step.said), breaks=True)], Ink(False), max(width, 60), len(head))
    first, *rest = said or [""]
    name = ink.paint(padded(step.name, _WIDEST), _STYLES[step.outcome])
    return [f"  {name}  {step.seconds:6.2f} s  {first.strip()}", *rest]


def line_of_step(playbook: str, step: Step) -> str:
    """One step, as it is told while the drill goes on."""
    return f"{playbook}: {step.name}: {step.outcome}, {step.seconds:.2f} s"


def _summary(result: DrillResult) -> str:
    seconds = sum(one.seconds for one in result.playbooks)
    failures = result.failures
    count = words.plural(len(result.playbooks), "playbook")
    about = f"drilled in {seconds:.1f} s on {words.visible(result.where)}"
    if failures:
        failed = ", ".join(f"{one.playbook} at `{step.name}`" for one, step in failures)
        return f"{count} {about}; {len(failures)} failed: {failed}."
    left = sum(step.outcome == "not shown" for one in result.playbooks for step in one.steps)
    not_shown = f", {words.plural(left, 'step')} could not be shown there" if left else ""
    return f"{count} {about}: no step failed{not_shown}."


def render_drill_markdown(result: DrillResult) -> str:
    """A table of seconds, playbooks by steps, and below it what was seen."""
    lines = [
        f"Drilled at {result.at} on {prose(result.where)}.",
        "",
        "| playbook | " + " | ".join(STEPS) + " | all |",
        "|---|" + "---:|" * (len(STEPS) + 1),
    ]
    for one in result.playbooks:
        by_name = {step.name: step for step in one.steps}
        cells = [_cell(by_name.get(name)) for name in STEPS]
        lines.append(f"| {one.playbook} | " + " | ".join(cells) + f" | {one.seconds:.2f} s |")
    for one in result.playbooks:
        lines += ["", f"### {prose(one.title)}", "", "| step | took | what was seen |", "|---|---:|---|"]
        for step in one.steps:
            mark = "" if step.outcome == "shown" else f"**{step.outcome}**: "
            lines.append(f"| {step.name} | {step.seconds:.2f} s | {mark}{prose(step.said)} |")
    lines += ["", prose(_summary(result)), *(f"{prose(note)}." for note in result.notes)]
    return "\n".join(lines) + "\n"


def _cell(step: Step | None) -> str:
    if step is None:
        return "-"
    return f"{step.seconds:.2f} s" if step.outcome == "shown" else f"**{step.outcome}**"


class PlaybookDocument(msgspec.Struct, frozen=True):
    """One playbook of the document."""

    playbook: str
    title: str
    incident: int | None
    passed: bool
    seconds: float
    steps: tuple[Step, ...]


class DrillDocument(msgspec.Struct, frozen=True):
    """The output of `reconcile drill --output json`."""

    format_version: int
    at: str
    where: str
    staging: bool
    passed: bool
    playbooks: tuple[PlaybookDocument, ...]
    notes: tuple[str, ...]


def render_drill_json(result: DrillResult) -> str:
    """The document of docs/drill.md."""
    document = DrillDocument(
        format_version=FORMAT_VERSION,
        at=result.at,
        where=result.where,
        staging=result.is_staging,
        passed=not result.failures,
        playbooks=tuple(map(_document, result.playbooks)),
        notes=result.notes,
    )
    return encode_document(document).decode()


def _document(one: Drilled) -> PlaybookDocument:
    seconds = round(one.seconds, 2)
    return PlaybookDocument(one.playbook, one.title, one.incident, one.failed is None, seconds, one.steps)
