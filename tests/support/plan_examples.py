"""Plans to draw and to save: one of every kind of change, and a hypothesis strategy for any of them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, get_args

from hypothesis import strategies as st

from reconciler.model import MISSING, Action, Change, Direction, Finding, Guard, Hold, Json, Location, Missing
from reconciler.plan import Notice, Plan, Revision, Scope, count, fingerprint_of

NOW = datetime(2026, 11, 26, 9, 50, tzinfo=UTC)
ACME = "8a6e0804-2bd0-4672-b79d-d97027f9071a"
COMMIT = "1a2b3c4d5e6f7a8b9c0d1a2b3c4d5e6f7a8b9c0d"
REVISION = Revision(
    commit=COMMIT,
    author_name="Ada Lovelace",
    author_email="ada@example.org",
    authored_at="2026-11-26T09:30:00Z",
    committer_name="Ada Lovelace",
    committer_email="ada@example.org",
    committed_at="2026-11-26T09:38:00Z",
    subject="Stop WhatsApp for Acme Bakery",
)


def change(**fields: Any) -> Change:
    """A kill of Acme Bakery's WhatsApp, with whatever else is given."""
    given = {"before": True, "desired": False, "action": Action.UPDATE, **fields}
    after = given["desired"] if given["action"].writes else given["before"]
    defaults = {
        "table": "tenants",
        "key": ACME,
        "field": "isWhatsappEnabled",
        "finding": Finding.CHANGE,
        "direction": Direction.KILL,
        "after": after,
        "base": given["before"],
        "explanation": "changed in git",
        "reason": "WhatsApp ban, INC-142",
        "location": Location("state/tenants/acme.yaml", 4, 3),
        "label": "Acme Bakery",
    }
    return Change(**{**defaults, **given})


HELD = change(
    field="isAiEnabled",
    action=Action.HOLD,
    before=False,
    desired=True,
    direction=Direction.RESTORE,
    reason="the owner was called",
    hold=Hold("after", "killed 50 min ago", "2026-11-27T09:00:00Z"),
)
KEPT = change(
    field="isVoiceEnabled",
    action=Action.KEEP,
    finding=Finding.KILLED_BY_HAND,
    before=False,
    desired=True,
    explanation="killed by hand: left as it is",
    reason=None,
)
RELEASED = change(
    field="status",
    action=Action.RELEASE,
    finding=Finding.RELEASED,
    direction=Direction.NEUTRAL,
    before="SUSPENDED",
    desired=MISSING,
    explanation="git no longer names it",
    reason=None,
    location=None,
)
RESTORE = change(
    table="system_settings",
    key="system",
    field="globalAiEnabled",
    before=False,
    desired=True,
    direction=Direction.RESTORE,
    reason="provider is back",
    location=Location("state/system_settings.yaml", 4, 3),
    label=None,
    waived={"after": "support confirmed, ticket 4711"},
)
REOPENED = change(
    key="b1",
    label="Bolt Coffee",
    finding=Finding.REOPENED,
    explanation="re-opened behind git's back: put back to the kill side",
    reason=None,
)
NEW_ROW = change(
    table="system_settings",
    key="system",
    field="ratio",
    action=Action.CREATE,
    finding=Finding.ADOPTION,
    direction=Direction.NEUTRAL,
    before=MISSING,
    desired=Decimal("0.25"),
    explanation="the row does not exist and is made",
    label=None,
)


def recorded(number: int) -> Change:
    """A field that the database has already, of the row with this number."""
    return change(
        key=f"row-{number:04}",
        label=f"Tenant {number}",
        action=Action.RECORD,
        finding=Finding.ADOPTION,
        direction=Direction.NEUTRAL,
        desired=True,
        explanation="managed from now on; the database has it already",
        reason=None,
    )


EVERY_KIND = (change(), HELD, KEPT, RELEASED, RESTORE, REOPENED, NEW_ROW, *map(recorded, range(8)))


def plan(changes: Iterable[Change] = (), **fields: Any) -> Plan:
    """A plan of these changes, as a run makes it."""
    ordered = tuple(sorted(changes, key=Change.sort_key))
    defaults = {
        "id": "0b6a4f6e",
        "created_at": "2026-11-26T09:50:00Z",
        "revision": REVISION,
        "last_applied": None,
        "scope": Scope(),
        "database": "platform at 127.0.0.1:5432",
        "changes": ordered,
        "notices": (),
        "counts": count(ordered, managed_rows=41, managed_fields=120),
        "fingerprint": fingerprint_of(ordered),
    }
    return Plan(**{**defaults, **fields})


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
"""Any text that PostgreSQL and YAML could hold between them: no lone surrogates."""

_FRACTIONS = st.decimals(allow_nan=False, allow_infinity=False).filter(lambda number: number != number.to_integral())
_SCALARS = st.none() | st.booleans() | st.integers() | _FRACTIONS | TEXTS
VALUES: st.SearchStrategy[Json] = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=6
)
_SIDES: st.SearchStrategy[Json | Missing] = st.just(MISSING) | VALUES
_LOCATIONS = st.none() | st.builds(Location, TEXTS, st.integers(1, 9999), st.integers(1, 99))
_TIMES = st.just("2026-11-27T09:00:00Z") | TEXTS
_HOLDS = st.none() | st.builds(Hold, st.sampled_from(get_args(Guard)), TEXTS, st.none() | _TIMES)

CHANGES = st.builds(
    Change,
    table=st.sampled_from(["tenants", "system_settings"]) | TEXTS,
    key=TEXTS,
    field=TEXTS,
    finding=st.sampled_from(Finding),
    action=st.sampled_from(Action),
    direction=st.sampled_from(Direction),
    before=_SIDES,
    after=_SIDES,
    desired=_SIDES,
    base=_SIDES,
    explanation=TEXTS,
    reason=st.none() | TEXTS,
    location=_LOCATIONS,
    label=st.none() | TEXTS,
    hold=_HOLDS,
    waived=st.none() | st.dictionaries(TEXTS, TEXTS, min_size=1, max_size=2),
    match=st.none() | TEXTS,
)

PLANS = st.builds(
    plan,
    st.lists(CHANGES, max_size=5),
    revision=st.none() | st.just(REVISION),
    last_applied=st.none() | TEXTS,
    scope=st.builds(Scope, st.lists(TEXTS, max_size=2).map(tuple), st.lists(TEXTS, max_size=5).map(tuple)),
    database=TEXTS,
    database_id=st.none() | TEXTS,
    refusals=st.lists(TEXTS, max_size=2).map(tuple),
    notices=st.lists(st.builds(Notice, TEXTS, _LOCATIONS), max_size=3).map(tuple),
)
