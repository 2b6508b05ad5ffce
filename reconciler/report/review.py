"""A Review for people, and for the rules of a workflow: text and JSON.

Takes the Review; gives text that ends with a newline. The JSON is documented in docs/approvals.md.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from reconciler.model import Direction
from reconciler.plan_json import encode_document
from reconciler.report.words import visible
from reconciler.review import ChangedEntry, Review

__all__ = ["render_json", "render_text"]

FORMAT_VERSION = 1

_CLASSES = {
    "none": "nothing that is managed changes",
    "neutral": "changes without a direction",
    "kill": "kills, and nothing else",
    "restore": "restores",
    "mixed": "kills together with something else",
    "unknown": "cannot be told",
}
_LISTED = 50


class EntryDocument(msgspec.Struct, frozen=True):
    """One entry. `field` is null where it is about the whole row; the place is null for what is gone."""

    table: str
    key: str
    field: str | None
    directions: tuple[str, ...]
    what: str
    file: str | None
    line: int | None
    column: int | None


class FileDocument(msgspec.Struct, frozen=True):
    """A changed file of `schemas/`."""

    path: str
    kind: str
    details: tuple[str, ...]


class ReviewDocument(msgspec.Struct, frozen=True, rename={"review_class": "class"}):
    """The whole."""

    format_version: int
    valid: bool
    review_class: str
    approvals: int
    kills: int
    restores: int
    neutral: int
    base: str
    head: str
    unknown: str | None
    entries: tuple[EntryDocument, ...]
    files: tuple[FileDocument, ...]
    others: tuple[str, ...]
    notes: tuple[str, ...]


def render_json(review: Review) -> str:
    """The Review for programs."""
    document = ReviewDocument(
        format_version=FORMAT_VERSION,
        valid=True,
        review_class=review.review_class,
        approvals=review.needed,
        kills=review.count(Direction.KILL),
        restores=review.count(Direction.RESTORE),
        neutral=review.count(Direction.NEUTRAL),
        base=review.base,
        head=review.head,
        unknown=review.unknown,
        entries=tuple(map(_entry_document, review.entries)),
        files=tuple(FileDocument(file.path, file.kind, file.details) for file in review.files),
        others=review.others,
        notes=review.notes,
    )
    return encode_document(document).decode()


def _entry_document(entry: ChangedEntry) -> EntryDocument:
    place = entry.location
    return EntryDocument(
        entry.table,
        entry.key,
        entry.field or None,
        tuple(direction.value for direction in entry.directions),
        entry.what,
        place.file if place else None,
        place.line if place else None,
        place.column if place else None,
    )


def render_text(review: Review) -> str:
    """The Review for people: the class first, then what it comes from."""
    return "\n".join(_lines(review)) + "\n"


def _lines(review: Review) -> Iterator[str]:
    yield f"Class: {review.review_class} ({_CLASSES[review.review_class]}). Approvals needed: {review.needed}."
    if review.unknown is not None:
        yield f"  {visible(review.unknown)}"
    for direction, word in (
        (Direction.RESTORE, "RESTORE"),
        (Direction.KILL, "KILL"),
        (Direction.NEUTRAL, "neutral"),
    ):
        found = [entry for entry in review.entries if direction in entry.directions]
        for entry in found[:_LISTED]:
            name = f"{entry.table}/{entry.key}" + (f".{entry.field}" if entry.field else "")
            place = f"  {entry.location}" if entry.location is not None else ""
            yield visible(f"  {word:<7}  {name}  {entry.what}{place}")
        if len(found) > _LISTED:
            yield f"  {word:<7}  and {len(found) - _LISTED:,} more"
    for file in review.files:
        yield visible(f"  {file.kind:<8} {file.path}")
        for detail in file.details:
            yield visible(f"           {detail}")
    if review.others:
        count = len(review.others)
        yield f"  and {count:,} other {'path' if count == 1 else 'paths'}, which no value depends on"
