"""What is said at the very line of a YAML file: problems, what a plan refuses or holds, and what it changes.

Takes a Plan and Problems; gives Annotations, the worst first, and from these the forms of two hosts: the workflow
commands that GitHub reads from a step's log, and GitLab's code quality report.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from reconciler.errors import Problem
from reconciler.model import Action, Change
from reconciler.plan import Plan
from reconciler.report import words

__all__ = ["Annotation", "Level", "annotations_of", "code_quality", "log_text", "workflow_commands"]

Level = Literal["error", "warning", "notice"]

PER_LEVEL = 10
"""Annotations of one level that GitHub shows of a step; it drops the others without a word."""

_MESSAGE = 1_000
_TITLE = 120


class Annotation(msgspec.Struct, frozen=True):
    """One thing to say, at a place or at none. Lines and columns count from 1. Texts are single lines, made visible."""

    level: Level
    title: str
    message: str
    file: str | None = None
    line: int | None = None
    column: int | None = None


def annotations_of(
    plan: Plan | None, problems: Sequence[Problem] = (), *, titles: Mapping[tuple[str, str], str] | None = None
) -> list[Annotation]:
    """Everything that is to be said, the worst first: errors, refusals, restores and what is held, kills, the rest.

    `titles` say what people call a field, by table and name.
    """
    found = [_of_problem(problem) for problem in sorted(problems, key=Problem.sort_key)]
    if plan is None:
        return found
    found += [Annotation("error", "An apply would be refused", _short(refusal)) for refusal in plan.refusals]
    told = [change for change in plan.changes if change.action is not Action.RECORD]
    found += [_of_change(change, titles or {}) for change in sorted(told, key=_rank)]
    for notice in plan.notices:
        place = notice.location
        at = (place.file, place.line, place.column) if place else (None, None, None)
        found.append(Annotation("notice", "Note", _short(notice.message), *at))
    recorded = [change for change in plan.changes if change.action is Action.RECORD]
    found += [Annotation("notice", "Recorded", _short(line)) for line in words.recorded_lines(recorded)]
    return found


def _of_problem(problem: Problem) -> Annotation:
    place = problem.location
    at = (place.file, place.line, place.column) if place else (None, None, None)
    hint = f" ({problem.hint})" if problem.hint else ""
    return Annotation("error", "Not valid", _short(problem.message + hint), *at)


_TOLD: Mapping[str, tuple[int, Level, str]] = {
    "RESTORE": (0, "warning", "Restores"),
    "HELD": (1, "warning", "Holds back"),
    "KEPT": (2, "warning", "Leaves as the database has it"),
    "KILL": (3, "warning", "Kills"),
    "NEW": (4, "notice", "Creates"),
    "": (4, "notice", "Changes"),
    "RELEASED": (5, "notice", "Releases"),
}
"""For each word of a change: how bad, the level, and how the title begins."""


def _rank(change: Change) -> int:
    return _TOLD[words.word(change)][0]


def _of_change(change: Change, titles: Mapping[tuple[str, str], str]) -> Annotation:
    _, level, verb = _TOLD[words.word(change)]
    name = words.visible(titles.get((change.table, change.field), change.field))
    who = words.row_name(change) if change.label is not None else words.visible(f"{change.table}/{change.key}")
    reason = words.visible((change.reason or "").strip())
    said = [words.explanation(change), words.hold_sentence(change, None), reason, *words.waivers(change)]
    message = ". ".join([words.transition(change, 100), *(text for text in said if text)])
    place = change.location
    at = (place.file, place.line, place.column) if place else (None, None, None)
    return Annotation(level, words.shorten(f"{verb} {name} for {who}", _TITLE), _short(message), *at)


def _short(text: str) -> str:
    return words.shorten(words.visible(text), _MESSAGE)


# GitHub ---------------------------------------------------------------------------------------------------------------


def workflow_commands(annotations: Iterable[Annotation], *, per_level: int = PER_LEVEL) -> str:
    """Lines for a step's log, at most `per_level` (1 or more) of each level; the last of them counts the rest."""
    lines = []
    by_level: dict[Level, list[Annotation]] = {}
    for annotation in annotations:
        by_level.setdefault(annotation.level, []).append(annotation)
    for level, of_level in by_level.items():
        rest = len(of_level) - per_level
        for index, annotation in enumerate(of_level[:per_level]):
            last = rest > 0 and index == per_level - 1
            more = f" … and {words.plural(rest, f'more {level}')}: the summary has all of them" if last else ""
            lines.append(_command(annotation, annotation.message + more))
    return "".join(lines)


def _command(annotation: Annotation, message: str) -> str:
    """`::error file=state/a.yaml,line=3,col=5,title=Not valid::what is wrong`, which is one line whatever is in it."""
    properties = {
        "file": annotation.file,
        "line": annotation.line,
        "col": annotation.column,
        "title": annotation.title,
    }
    told = ",".join(f"{name}={_property(str(value))}" for name, value in properties.items() if value is not None)
    return f"::{annotation.level} {told}::{_data(message)}\n"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def log_text(text: str) -> str:
    """A text for a step's log in which the runner finds no command: neither `::name::` at a line's start nor `##[`.

    A space of no width comes between, as the runner knows no escape.
    """
    lines = text.split("\n")
    return "\n".join(_without_commands(line) for line in lines)


def _without_commands(line: str) -> str:
    if line.lstrip().startswith("::"):
        start = line.index("::")
        line = f"{line[:start]}:\u200b{line[start + 1 :]}"
    return line.replace("##[", "#\u200b#[")


# GitLab ---------------------------------------------------------------------------------------------------------------

_SEVERITIES: Mapping[Level, str] = {"error": "blocker", "warning": "major", "notice": "info"}


def code_quality(annotations: Iterable[Annotation], *, elsewhere: str = "state") -> bytes:
    """GitLab's code quality report. What has no place in a file is said of the path `elsewhere`.

    A finding's fingerprint leaves its line out, so that it stays the same one when lines above it come and go.
    """
    findings = []
    seen: dict[str, int] = {}
    for each in annotations:
        path = elsewhere if each.file is None else each.file
        what = "\0".join([each.level, each.title, each.message, path])
        number = seen[what] = seen.get(what, 0) + 1
        findings.append(
            {
                "description": f"{each.title}: {each.message}",
                "check_name": f"reconcile/{each.level}",
                "fingerprint": hashlib.sha256(f"{what}\0{number}".encode("utf-8", "surrogatepass")).hexdigest(),
                "severity": _SEVERITIES[each.level],
                "location": {"path": path, "lines": {"begin": each.line or 1}},
            }
        )
    return msgspec.json.format(msgspec.json.encode(findings), indent=2) + b"\n"
