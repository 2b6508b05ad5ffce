"""A History for a terminal, to answer "who turned this off, when and why", and for programs.

Takes a History or a RunHistory; gives text or JSON (documented in docs/history.md and versioned). Each change is two
lines: what happened to which row, and whose doing it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from reconciler.history.read import COUNTED, History, HistoryEntry, RunEntry, RunHistory
from reconciler.model import Direction, Finding, Missing
from reconciler.outcome import Verdict
from reconciler.plan_json import encode_document
from reconciler.report import words
from reconciler.report.proof import VerdictDocument, in_effect, seconds, verdict_documents
from reconciler.report.terminal import Ink, Piece, pack

__all__ = [
    "FORMAT_VERSION",
    "INDENT",
    "ChangeDocument",
    "change_document",
    "change_lines",
    "head_lines",
    "more_lines",
    "render_history",
    "render_history_json",
    "render_runs",
    "render_runs_json",
    "second",
]

FORMAT_VERSION = 1

_VALUE = 60
INDENT = 4
_WORDS = {Direction.KILL: "KILL", Direction.RESTORE: "RESTORE", Direction.NEUTRAL: ""}
_STYLES = {Direction.KILL: "kill", Direction.RESTORE: "restore", Direction.NEUTRAL: ""}


def render_history(history: History, *, colour: bool, width: int) -> str:
    """The changes, newest first, and how many more there are. `width` is in columns."""
    ink = Ink(colour)
    if not history.entries:
        return "No such change: the ledger has nothing that matches.\n"
    lines: list[str] = []
    for entry in history.entries:
        lines += change_lines(entry, ink, width)
    return "\n".join([*lines, *more_lines(history.more, "change", "changes")]) + "\n"


def render_runs(history: RunHistory, *, colour: bool, width: int) -> str:
    """The runs, newest first, and how many more there are."""
    ink = Ink(colour)
    if not history.runs:
        return "No such run: the ledger has nothing that matches.\n"
    lines: list[str] = []
    for run in history.runs:
        did = words.plural(run.counts.get("changes", 0), "change")
        head = [Piece(second(run.at)), Piece(f"run {run.id}", "strong"), Piece(f"{words.visible(run.outcome)}, {did}")]
        lines += head_lines([*head, *_batch(run), *_counted(run)], ink, width)
        lines += pack([*_reason(run.reason), *_who(run), *_in_effect(run.proofs)], ink, width, INDENT)
    return "\n".join([*lines, *more_lines(history.more, "run", "runs")]) + "\n"


def change_lines(entry: HistoryEntry, ink: Ink, width: int) -> list[str]:
    """What happened to which row, and whose doing it was."""
    key = words.shorten(words.visible(entry.key), 100)
    label = [Piece(words.shorten(words.visible(entry.label), 60), "strong")] if entry.label is not None else []
    before, after = words.literal_pair(entry.before, entry.after, _VALUE)
    was = "(no row)" if isinstance(entry.before, Missing) else before
    head = [
        Piece(second(entry.at)),
        *label,
        Piece(f"{words.shorten(words.visible(entry.table), 80)}/{key}"),
        Piece(words.shorten(words.visible(entry.field), 64), "strong"),
        Piece(f"{was} -> {after}"),
        Piece(_WORDS[entry.direction], _STYLES[entry.direction]),
    ]
    proofs = [each for each in entry.run.proofs if (each.table, each.field) == (entry.table, entry.field)]
    about = [*_reason(entry.why), *_finding(entry), *_who(entry.run), Piece(f"run {entry.run.id[:8]}", "faint")]
    about += [Piece(f"NOT IN EFFECT: {words.visible(said)}", "kill", breaks=True) for said in entry.unseen]
    about += [] if entry.unseen else _in_effect(proofs)
    if entry.file is not None:
        line = f":{entry.line}" if entry.line is not None else ""
        about.append(Piece(f"{words.visible(entry.file)}{line}", "place"))
    return [*head_lines(head, ink, width), *pack(about, ink, width, INDENT)]


def head_lines(pieces: Sequence[Piece], ink: Ink, width: int) -> list[str]:
    """The line that begins an entry; where it must go on, it does so further in."""
    first, *rest = pack(pieces, ink, width, INDENT // 2)
    return [first.lstrip(" "), *rest]


def second(at: str) -> str:
    """An RFC 3339 time without the fraction of its second."""
    return at.partition(".")[0].removesuffix("Z") + "Z"


def _reason(reason: str | None) -> Iterator[Piece]:
    text = words.visible((reason or "").strip())
    if text:
        yield Piece(f'"{text}"', breaks=True)


def _finding(entry: HistoryEntry) -> Iterator[Piece]:
    if entry.finding is not Finding.CHANGE:
        yield Piece(f"({entry.finding.value.replace('_', ' ')})")
    for guard, reason in sorted(entry.waived.items()):
        yield Piece(f"{words.visible(guard)} waived: {words.visible(reason)}", "held", breaks=True)


def _who(run: RunEntry) -> Iterator[Piece]:
    author = words.visible(f"{run.author_name} <{run.author_email}>")
    state = " with uncommitted changes" if run.dirty else " before its merge" if run.ahead else ""
    yield Piece(f"by {words.shorten(author, 100)} in commit {words.visible(run.commit)[:12]}{state}")
    request = f" for pull request #{run.pull_request}" if run.pull_request is not None else ""
    yield Piece(f"applied by {words.shorten(words.visible(run.actor), 100)}{request}")


def _batch(run: RunEntry) -> Iterator[Piece]:
    if run.batch is not None and run.batch.of > 1:
        yield Piece(f"batch {run.batch.number:,} of {run.batch.of:,}")


def _counted(run: RunEntry) -> Iterator[Piece]:
    for name in ("kills", "restores", "held", "kept", "recorded", "released"):
        if run.counts.get(name):
            yield Piece(f"{run.counts[name]:,} {name}", "faint")


def _in_effect(proofs: Sequence[Verdict]) -> Iterator[Piece]:
    """When it was seen in effect, or that it was not."""
    if not proofs:
        return
    if in_effect(proofs):
        yield Piece(f"in effect after {seconds(max(proof.after_s or 0.0 for proof in proofs))}")
        return
    if any(proof.waited_s is None for proof in proofs):
        yield Piece("whether it is in effect is not known: the run has not said, or was ended before it could", "held")
        return
    unseen, asked = sum(proof.asked - proof.seen for proof in proofs), sum(proof.asked for proof in proofs)
    yield Piece(f"NOT IN EFFECT: {unseen:,} of {asked:,} not seen", "kill")


def more_lines(more: int, noun: str, several: str) -> list[str]:
    """How many match beyond those listed; nothing where there are none."""
    if not more:
        return []
    least = "at least " if more >= COUNTED else ""
    number = words.plural(more, f"more {noun}", f"more {several}")
    return ["", f"and {least}{number}: narrow it down, or show more with --limit"]


class BatchDocument(msgspec.Struct, frozen=True):
    """Which batch a run was. `series` is the id of the plan that these runs have applied together."""

    series: str
    number: int
    of: int


class RunDocument(msgspec.Struct, frozen=True):
    """One run. `reason` is null where none was given; `counts` are those of its plan. `batch` is null where all of the
    plan was applied in one transaction.
    """

    id: str
    at: str
    commit: str
    author: str
    author_email: str
    committer: str
    committer_email: str
    actor: str
    reason: str | None
    dirty: bool
    ahead: bool
    outcome: str
    run_url: str | None
    pull_request: int | None
    version: str
    scope: dict[str, Any]
    counts: dict[str, int]
    batch: BatchDocument | None
    in_effect: bool | None
    proofs: tuple[VerdictDocument, ...]


class ChangeDocument(msgspec.Struct, frozen=True, kw_only=True):
    """One field that was written; `before` is left out where the row did not exist."""

    id: str
    at: str
    table: str
    key: str
    label: str | None
    tenant: str
    field: str
    before: Any | UnsetType = UNSET
    after: Any
    finding: Finding
    direction: Direction
    reason: str | None
    waived: dict[str, str]
    file: str | None
    line: int | None
    unseen: tuple[str, ...]
    run: RunDocument


class HistoryDocument(msgspec.Struct, frozen=True):
    """The output of `reconcile history --output json`."""

    format_version: int
    more: int
    changes: tuple[ChangeDocument, ...]


class RunsDocument(msgspec.Struct, frozen=True):
    """The output of `reconcile history --runs --output json`."""

    format_version: int
    more: int
    runs: tuple[RunDocument, ...]


def render_history_json(history: History) -> str:
    """The changes as JSON."""
    changes = tuple(map(change_document, history.entries))
    return encode_document(HistoryDocument(FORMAT_VERSION, history.more, changes)).decode()


def render_runs_json(history: RunHistory) -> str:
    """The runs as JSON."""
    return encode_document(RunsDocument(FORMAT_VERSION, history.more, tuple(map(_run_document, history.runs)))).decode()


def change_document(entry: HistoryEntry) -> ChangeDocument:
    """The change as it stands in JSON."""
    return ChangeDocument(
        id=entry.id,
        at=entry.at,
        table=entry.table,
        key=entry.key,
        label=entry.label,
        tenant=entry.tenant,
        field=entry.field,
        before=UNSET if isinstance(entry.before, Missing) else entry.before,
        after=entry.after,
        finding=entry.finding,
        direction=entry.direction,
        reason=entry.reason,
        waived=entry.waived,
        file=entry.file,
        line=entry.line,
        unseen=entry.unseen,
        run=_run_document(entry.run),
    )


def _run_document(run: RunEntry) -> RunDocument:
    return RunDocument(
        id=run.id,
        at=run.at,
        commit=run.commit,
        author=run.author_name,
        author_email=run.author_email,
        committer=run.committer_name,
        committer_email=run.committer_email,
        actor=run.actor,
        reason=run.reason,
        dirty=run.dirty,
        ahead=run.ahead,
        outcome=run.outcome,
        run_url=run.run_url,
        pull_request=run.pull_request,
        version=run.version,
        scope=run.scope,
        counts=run.counts,
        batch=BatchDocument(run.batch.series, run.batch.number, run.batch.of) if run.batch is not None else None,
        in_effect=in_effect(run.proofs),
        proofs=verdict_documents(run.proofs),
    )
