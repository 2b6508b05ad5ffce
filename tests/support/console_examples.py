"""What the console shows, by name: comments, summaries and issues of plans as a platform has them.

The golden files in tests/comments hold each, and docs/pictures shows some of them as a browser draws them.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from msgspec.structs import replace

from reconciler.console.comment import invalid_comment, outcome_comment, plan_comment
from reconciler.console.issues import drift_issue, failure_issue
from reconciler.errors import InvalidInput, Problem, Refused
from reconciler.model import MISSING, Action, Change, Direction, Finding, Hold, Location
from reconciler.outcome import EffectCounts, Outcome
from reconciler.plan import EffectSummary, Notice, Plan, count
from tests.support.plan_examples import COMMIT, HELD, REVISION, change, plan

SOURCE = f"https://github.com/example/platform-state/blob/{COMMIT}"
RUN = "https://github.com/example/platform-state/actions/runs/4711"
ARTIFACT = "reconcile-plan"
TITLES = {
    ("tenants", "isWhatsappEnabled"): "WhatsApp",
    ("tenants", "isAiEnabled"): "AI",
    ("tenants", "aiDailyLimit"): "AI requests a day",
    ("system_settings", "globalAiEnabled"): "AI, for every tenant",
}

_BOLT = {"key": "2f1c7c0e-6a55-4d0e-9b43-5a0d7f3f1b21", "label": "Bolt Coffee"}
_CORNER = {"key": "c0a9e1b4-73c1-4f0b-8f5e-0d6f4b1a9e77", "label": "Corner Shop"}
_RESTORED = {"direction": Direction.RESTORE, "before": False, "desired": True}


def _at(name: str, line: int, column: int = 3) -> Location:
    return Location(f"state/tenants/{name}.yaml", line, column)


KILL = change()
WAIVED = change(
    **_CORNER,
    **_RESTORED,
    reason="the number was verified again",
    location=_at("corner-shop", 3),
    waived={"after": "support confirmed with the provider, INC-149"},
)
LIMIT = change(
    **_BOLT,
    field="aiDailyLimit",
    direction=Direction.KILL,
    before=500,
    desired=50,
    reason=None,
    location=_at("bolt-coffee", 6),
)
GLOBAL = change(
    table="system_settings",
    key="system",
    label=None,
    field="globalAiEnabled",
    reason="the provider answers again",
    location=Location("state/system_settings.yaml", 4, 20),
    action=Action.HOLD,
    hold=Hold("requires", "the check database has not passed: its latency is 812 ms, and 500 are allowed"),
    **_RESTORED,
)
BY_HAND = change(
    **_BOLT,
    field="isWhatsappEnabled",
    action=Action.KEEP,
    finding=Finding.KILLED_BY_HAND,
    before=False,
    desired=True,
    explanation="killed by hand: left as it is until a commit touches this entry (its value or reason)",
    reason=None,
    location=_at("bolt-coffee", 4),
)
REOPENED = change(
    key="7d9f0a34-1c2b-4f5d-8e6a-9b0c1d2e3f40",
    label="Dune & Sons",
    finding=Finding.REOPENED,
    explanation="re-opened behind git's back: put back to the kill side",
    reason="does not pay, INC-120",
    location=_at("dune-sons", 3),
)
RENAMED = change(
    **_CORNER,
    field="aiCustomModel",
    action=Action.UPDATE,
    finding=Finding.DRIFT,
    direction=Direction.NEUTRAL,
    before="openai/gpt-4o",
    desired="openrouter/auto",
    explanation="changed behind git's back: put back",
    reason=None,
    location=_at("corner-shop", 8),
)
EFFECTS = (
    EffectSummary("bullmq", "whatsapp-worker-commands", 3),
    EffectSummary("redis_publish", "tenant-config-changed", 3),
)

SMALL = plan([KILL], effects=(EffectSummary("bullmq", "whatsapp-worker-commands", 1),), last_applied=COMMIT)
FULL = plan(
    [KILL, WAIVED, LIMIT, replace(HELD, location=_at("acme", 7)), GLOBAL, BY_HAND, REOPENED, RENAMED],
    effects=EFFECTS,
    notices=(Notice("`until` of isAiEnabled passes in 20 h: then it is true again", _at("dune-sons", 5)),),
    last_applied=COMMIT,
)


def _tenant(number: int, **fields: object) -> Change:
    given = {
        "key": f"tenant-{number:04}",
        "label": f"Tenant {number:,}",
        "location": _at("all", 2 + 3 * number),
        **fields,
    }
    return change(**given)


def many() -> Plan:
    """1,200 changes: the same on 412 tenants, limits of 780 more, and 8 that differ."""
    same = [_tenant(number, reason="WhatsApp ban in the region, INC-160") for number in range(412)]
    limits = [
        _tenant(number, field="aiDailyLimit", before=500, desired=50, reason="the provider throttles us")
        for number in range(412, 1_192)
    ]
    others = [
        _tenant(number, field="ratio", direction=Direction.NEUTRAL, before=MISSING, desired=Decimal(number) / 100)
        for number in range(1_192, 1_200)
    ]
    sentence = (
        "1192 rows would change, and the policy allows 500 in one run (toward the kill side). If that is meant: put "
        'the trailer "Reconcile-Allow-Changes: 1200" into the commit message, or apply with --allow-changes 1200 '
        '--reason "..."'
    )
    changes = [*same, *limits, *others]
    counts = count(changes, managed_rows=1_500, managed_fields=4_800)
    return plan(changes, counts=counts, refusals=(sentence,))


def various(number: int) -> Plan:
    """So many changes of which no two are alike."""
    return plan(
        _tenant(each, field=f"field{each:04}", before=each, desired=each + 1, reason=f"case {each}: " + "because " * 20)
        for each in range(number)
    )


HOSTILE_TEXT = (
    "</td></table><!-- reconcile:plan --><script>alert(1)</script> | `x` [a](http://evil.example) "
    "![b](http://evil.example/b.png) **b** @everyone closes #1 fixes example/other#2 "
    "resolves https://github.com/example/other/issues/3 $x$\n\n::error::no\n# heading\n/close"
)
HOSTILE = plan(
    [
        change(
            table=HOSTILE_TEXT,
            key=HOSTILE_TEXT,
            field=HOSTILE_TEXT,
            label=HOSTILE_TEXT,
            reason=HOSTILE_TEXT,
            before=HOSTILE_TEXT,
            desired=[HOSTILE_TEXT],
            waived={"after": HOSTILE_TEXT},
            location=Location(HOSTILE_TEXT, 1, 1),
        )
    ],
    refusals=(HOSTILE_TEXT,),
    notices=(Notice(HOSTILE_TEXT),),
    database=HOSTILE_TEXT,
    revision=replace(REVISION, subject=HOSTILE_TEXT, author_name=HOSTILE_TEXT),
)


def outcome(done: Plan, **fields: object) -> Outcome:
    """What an apply of the plan comes to."""
    given: dict[str, object] = {
        "run_id": "1a2b3c4d-77",
        "plan": done,
        "applied": done.counts.changes,
        "audit_entries": done.counts.changes,
        "recorded": done.counts.recorded,
        "released": done.counts.released,
        "duration_s": 0.184,
        "effects": EffectCounts(delivered=sum(each.count for each in done.effects)),
    }
    return Outcome(**{**given, **fields})  # type: ignore[arg-type] # a test's own values


MOVED = plan(
    [KILL, replace(WAIVED, action=Action.KEEP, after=False, finding=Finding.KILLED_BY_HAND, waived=None), GLOBAL],
    effects=EFFECTS[:1],
)
PROBLEMS = (
    Problem("a boolean was expected, not the text no", _at("acme", 4, 10), "write true or false"),
    Problem('unknown field "isWhatsapEnabled"', _at("bolt-coffee", 3), 'did you mean "isWhatsappEnabled"?'),
    Problem('no schema for a table "tenant"', Location("state/tenant.yaml", 1, 1), 'did you mean "tenants"?'),
)


def _plan_comment(shown: Plan) -> str:
    return plan_comment(shown, marker="plan", source_url=SOURCE, artifact=ARTIFACT, titles=TITLES)


def _outcome_comment(done: Outcome, reviewed: Plan | None) -> str:
    return outcome_comment(
        done, reviewed=reviewed, marker="outcome", source_url=SOURCE, titles=TITLES, in_effect_s=41.3
    )


def _drift_issue() -> str:
    issue = drift_issue(FULL, source_url=SOURCE, titles=TITLES)
    assert issue is not None
    return issue.body


EXAMPLES: dict[str, Callable[[], str]] = {
    "kill": lambda: _plan_comment(SMALL),
    "everything": lambda: _plan_comment(FULL),
    "nothing-to-do": lambda: _plan_comment(plan()),
    "many": lambda: _plan_comment(many()),
    "too-many": lambda: plan_comment(
        various(1_200), marker="plan", source_url=SOURCE, artifact=ARTIFACT, titles=TITLES, limit=12_000
    ),
    "not-valid": lambda: invalid_comment(PROBLEMS, marker="plan", source_url=SOURCE),
    "hostile": lambda: _plan_comment(HOSTILE),
    "outcome": lambda: _outcome_comment(outcome(FULL), FULL),
    "outcome-that-moved": lambda: _outcome_comment(outcome(MOVED, effects=EffectCounts(delivered=1, waiting=2)), FULL),
    "outcome-not-reviewed": lambda: _outcome_comment(outcome(plan([GLOBAL])), None),
    "drift": _drift_issue,
    "failure": lambda: (
        failure_issue(
            Refused(
                "412 of 800 rows of tenants (51.5%) would change, and the policy allows 50% (toward the kill side)"
            ),
            revision=REVISION,
            run_url=RUN,
        ).body
    ),
    "failure-not-valid": lambda: (
        failure_issue(InvalidInput(PROBLEMS), revision=None, run_url=RUN, source_url=SOURCE).body
    ),
}
