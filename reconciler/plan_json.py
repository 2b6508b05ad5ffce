"""The Plan as a JSON file, and back.

Takes a Plan, gives bytes, and the other way round; gives the JSON Schema of the file too. The form is documented in
docs/plan-format.md and numbered: a change that a reader could stumble over raises `plan.FORMAT_VERSION`.

The structs here are the file's form, apart from the Plan's, for three reasons: a value that does not exist (MISSING) is
a key that is left out, which no JSON value is; unknown keys are refused; and the Plan can be reshaped without the
file following it by accident.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from reconciler.errors import InvalidInput, Problem
from reconciler.model import MISSING, Action, Change, Direction, Finding, Guard, Hold, Json, Location, Missing
from reconciler.plan import (
    FORMAT_VERSION,
    Counts,
    EffectSummary,
    MatchSummary,
    Notice,
    Plan,
    Revision,
    Scope,
    count,
    fingerprint_of,
    matches_of,
)

_Time = Annotated[str, Meta(description="RFC 3339.", extra_json_schema={"format": "date-time"})]
_Value = Annotated[Any, Meta(description="Any JSON value. The key is left out where there is no value, as in no row.")]
_Waived = Annotated[dict[str, str], Meta(description="Guards that git waived, with the reasons; left out for none.")]
_Count = Annotated[int, Meta(ge=0)]


class LocationDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A place in a file of the repository; lines and columns count from 1."""

    file: str
    line: int
    column: int


class RevisionDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The commit whose state is desired. `dirty`: uncommitted files of the work tree were read beside it."""

    commit: str
    author_name: str
    author_email: str
    authored_at: _Time
    committer_name: str
    committer_email: str
    committed_at: _Time
    subject: str
    dirty: bool


class ScopeDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the run was limited to; two empty lists mean everything. Rows are written table/key."""

    tables: tuple[str, ...]
    rows: tuple[str, ...]


class CountsDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much is managed in this scope, and how many changes there are of each kind.

    `changes` counts the fields that are written; `kills` and `restores` are among them.
    """

    managed_rows: _Count
    managed_fields: _Count
    changes: _Count
    kills: _Count
    restores: _Count
    held: _Count
    kept: _Count
    recorded: _Count
    released: _Count


class HoldDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why a change waits. `until` is null where no clock can tell."""

    guard: Guard
    explanation: str
    until: _Time | None


class NoticeDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Something the reader must know that is no change."""

    message: str
    location: LocationDocument | None


class ChangeDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One field for which something is to be done or said.

    `before` is what the database has, `after` what it has once the run is done, `desired` what git asks for, `base`
    what was applied last. `match` is only there where a `$where` asks for it: which rows that means.
    """

    table: str
    key: str
    field: str
    label: str | None
    finding: Finding
    action: Action
    direction: Direction
    explanation: str
    reason: str | None
    location: LocationDocument | None
    hold: HoldDocument | None
    before: _Value | UnsetType = UNSET
    after: _Value | UnsetType = UNSET
    desired: _Value | UnsetType = UNSET
    base: _Value | UnsetType = UNSET
    waived: _Waived | UnsetType = UNSET
    match: str | UnsetType = UNSET


class MatchDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Rows of which a `$where` asks the same, and in which the same is there: all alike, told once."""

    table: str
    match: Annotated[str, Meta(description="Which rows it means, in words.")]
    field: str
    finding: Finding
    action: Action
    direction: Direction
    rows: _Count
    location: LocationDocument | None
    before: _Value | UnsetType = UNSET
    desired: _Value | UnsetType = UNSET


class EffectDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many effects of a kind would follow for one target: a queue, a channel, a host."""

    kind: str
    target: str
    count: _Count


class PlanDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that a run would do and would not do, and why. Changes are sorted by table, key and field."""

    format_version: int
    id: str
    created_at: _Time
    database: str
    database_id: Annotated[str | None, Meta(description="A digest that tells it from all others, or null.")]
    revision: RevisionDocument | None
    last_applied: Annotated[str | None, Meta(description="The commit that was applied last.")]
    scope: ScopeDocument
    counts: CountsDocument
    fingerprint: Annotated[str, Meta(description="A hash of what the changes do; see docs/plan-format.md.")]
    changes: tuple[ChangeDocument, ...]
    notices: tuple[NoticeDocument, ...]
    refusals: Annotated[tuple[str, ...], Meta(description="Why an apply of this plan would be refused as a whole.")]
    effects: Annotated[tuple[EffectDocument, ...], Meta(description="What would follow the changes.")]
    full: Annotated[bool, Meta(description="Every row was looked at, not only those that git has changed.")]
    matches: Annotated[
        tuple[MatchDocument, ...] | UnsetType,
        Meta(description="The changes that `$where` asks for, told once for rows alike; left out where none is."),
    ] = UNSET


class _Version(msgspec.Struct, frozen=True):
    format_version: int


_ENCODER = msgspec.json.Encoder(order="deterministic", decimal_format="number")
_DECODER = msgspec.json.Decoder(PlanDocument, float_hook=Decimal)
_VERSION_DECODER = msgspec.json.Decoder(_Version)


def plan_document(plan: Plan) -> PlanDocument:
    """The Plan in the form that is written, for a document that holds one."""
    return PlanDocument(
        format_version=FORMAT_VERSION,
        id=plan.id,
        created_at=plan.created_at,
        database=plan.database,
        database_id=plan.database_id,
        revision=None if plan.revision is None else RevisionDocument(**msgspec.structs.asdict(plan.revision)),
        last_applied=plan.last_applied,
        scope=ScopeDocument(plan.scope.tables, plan.scope.rows),
        counts=CountsDocument(**msgspec.structs.asdict(plan.counts)),
        fingerprint=plan.fingerprint,
        changes=tuple(map(change_document, plan.changes)),
        notices=tuple(map(notice_document, plan.notices)),
        refusals=plan.refusals,
        effects=tuple(EffectDocument(each.kind, each.target, each.count) for each in plan.effects),
        full=plan.is_full,
        matches=tuple(map(_match_document, matches_of(plan.changes))) or UNSET,
    )


def _match_document(each: MatchSummary) -> MatchDocument:
    return MatchDocument(
        table=each.table,
        match=each.match,
        field=each.field,
        finding=each.finding,
        action=each.action,
        direction=each.direction,
        rows=each.rows,
        location=_place(each.location),
        before=_optional(each.before),
        desired=_optional(each.desired),
    )


def notice_document(notice: Notice) -> NoticeDocument:
    """A Notice in the form that is written."""
    return NoticeDocument(notice.message, _place(notice.location))


def encode_document(document: msgspec.Struct) -> bytes:
    """Any document as JSON: indented, the keys of values sorted, decimals as numbers; one newline at the end."""
    return msgspec.json.format(_ENCODER.encode(document), indent=2) + b"\n"


def encode_plan(plan: Plan) -> bytes:
    """The Plan as the bytes of a file. The same Plan gives the same bytes."""
    return encode_document(plan_document(plan))


def decode_plan(data: bytes, where: str) -> Plan:
    """The Plan that `encode_plan` wrote. `where` names the file in messages.

    Raises InvalidInput, with one Problem, for anything else: no JSON, cut short, another format, unknown keys, wrong
    types, counts or a fingerprint that do not belong to the changes.
    """
    try:
        version = _VERSION_DECODER.decode(data).format_version
        if version != FORMAT_VERSION:
            hint = f"this version of reconcile reads format {FORMAT_VERSION}: make the plan again"
            raise _wrong(where, f"this plan has format_version {version}", hint)
        document = _DECODER.decode(data)
    except msgspec.ValidationError as error:
        raise _wrong(where, f"this is not a plan: {error}", _AGAIN) from error
    except msgspec.DecodeError as error:
        raise _wrong(where, f"this is not a whole plan: {error}", _AGAIN) from error
    except UnicodeDecodeError as error:
        raise _wrong(where, f"this is not a plan: byte {error.start} is not UTF-8", _AGAIN) from error
    except (ArithmeticError, RecursionError) as error:
        raise _wrong(where, "this is not a plan: a number or the nesting in it is beyond all use", _AGAIN) from error
    plan = _plan_of(document)
    managed = {"managed_rows": plan.counts.managed_rows, "managed_fields": plan.counts.managed_fields}
    if fingerprint_of(plan.changes) != plan.fingerprint:
        raise _wrong(where, "the changes do not match the fingerprint: the plan was edited after it was made", _AGAIN)
    if count(plan.changes, **managed) != plan.counts:
        raise _wrong(where, "the counts do not match the changes: the plan was edited after it was made", _AGAIN)
    if (tuple(map(_match_document, matches_of(plan.changes))) or UNSET) != document.matches:
        raise _wrong(where, "`matches` does not match the changes: the plan was edited after it was made", _AGAIN)
    return plan


_AGAIN = "make the plan again with `reconcile --dry-run --plan-out FILE`"


def plan_json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a plan's file."""
    schema = msgspec.json.schema(PlanDocument)
    definitions = schema["$defs"]
    plan = definitions.pop("PlanDocument")
    plan["properties"]["format_version"] = {"const": FORMAT_VERSION}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **plan,
        "title": "reconcile plan",
        "$defs": definitions,
    }


def _wrong(where: str, message: str, hint: str) -> InvalidInput:
    return InvalidInput([Problem(message, Location(where, 1, 1), hint)])


def _place(location: Location | None) -> LocationDocument | None:
    return None if location is None else LocationDocument(location.file, location.line, location.column)


def _location(place: LocationDocument | None) -> Location | None:
    return None if place is None else Location(place.file, place.line, place.column)


def _optional(value: Json | Missing) -> Any:
    return UNSET if value is MISSING else value


def _explicit(value: Any) -> Json | Missing:
    return MISSING if value is UNSET else value


def change_document(change: Change) -> ChangeDocument:
    """The change as it stands in a plan's JSON."""
    hold = change.hold
    return ChangeDocument(
        table=change.table,
        key=change.key,
        field=change.field,
        label=change.label,
        finding=change.finding,
        action=change.action,
        direction=change.direction,
        explanation=change.explanation,
        reason=change.reason,
        location=_place(change.location),
        hold=None if hold is None else HoldDocument(hold.guard, hold.explanation, hold.until),
        before=_optional(change.before),
        after=_optional(change.after),
        desired=_optional(change.desired),
        base=_optional(change.base),
        waived=dict(change.waived) if change.waived else UNSET,
        match=UNSET if change.match is None else change.match,
    )


def _change_of(document: ChangeDocument) -> Change:
    hold = document.hold
    return Change(
        table=document.table,
        key=document.key,
        field=document.field,
        finding=document.finding,
        action=document.action,
        direction=document.direction,
        before=_explicit(document.before),
        after=_explicit(document.after),
        desired=_explicit(document.desired),
        base=_explicit(document.base),
        explanation=document.explanation,
        reason=document.reason,
        location=_location(document.location),
        label=document.label,
        hold=None if hold is None else Hold(hold.guard, hold.explanation, hold.until),
        waived=document.waived or None,
        match=None if document.match is UNSET else document.match,
    )


def _plan_of(document: PlanDocument) -> Plan:
    return Plan(
        id=document.id,
        created_at=document.created_at,
        revision=None if document.revision is None else Revision(**msgspec.structs.asdict(document.revision)),
        last_applied=document.last_applied,
        scope=Scope(document.scope.tables, document.scope.rows),
        database=document.database,
        database_id=document.database_id,
        changes=tuple(map(_change_of, document.changes)),
        notices=tuple(Notice(notice.message, _location(notice.location)) for notice in document.notices),
        refusals=document.refusals,
        counts=Counts(**msgspec.structs.asdict(document.counts)),
        fingerprint=document.fingerprint,
        effects=tuple(EffectSummary(each.kind, each.target, each.count) for each in document.effects),
        is_full=document.full,
    )
