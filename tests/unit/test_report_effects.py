"""Effects in reports: what will follow a plan, what has become of it, and what `reconcile deliver` did."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from reconciler.effects.backlog import Backlog, Undelivered
from reconciler.effects.delivery import Delivered, Failure, Report
from reconciler.outcome import EffectCounts, Outcome
from reconciler.plan import EffectSummary, Plan
from reconciler.report import Format, render_outcome, render_plan
from reconciler.report.deliver import render, render_json
from tests.support.plan_examples import NOW, change, plan

SIX = tuple(EffectSummary(kind, "x", 1) for kind in ("bullmq", "pg_notify", "redis_delete", "redis_publish", "webhook"))


def planned(*effects: EffectSummary) -> Plan:
    return plan([change()], effects=effects)


def done(form: Format, **counts: int) -> str:
    outcome = Outcome(
        run_id="1", plan=planned(), applied=1, audit_entries=1, recorded=0, released=0, duration_s=0.1,
        effects=EffectCounts(**counts),
    )  # fmt: skip
    return render_outcome(form, outcome, now=NOW)


def test_a_plan_says_what_will_follow() -> None:
    jobs = EffectSummary("bullmq", "whatsapp-worker-commands", 2)
    follows = "Effects that follow: 2 jobs for the queue whatsapp-worker-commands, 1 POST to $SLACK_URL."
    text = render_plan("text", planned(jobs, EffectSummary("webhook", "$SLACK_URL", 1)), now=NOW, width=100)
    assert follows in text.splitlines()
    assert "whatsapp-worker-commands" in render_plan("markdown", planned(jobs), now=NOW)
    document = json.loads(render_plan("json", planned(jobs), now=NOW))
    assert document["effects"] == [{"kind": "bullmq", "target": "whatsapp-worker-commands", "count": 2}]
    assert "Effects" not in render_plan("text", planned(), now=NOW)


def test_many_targets_are_counted_rather_than_listed() -> None:
    text = render_plan("text", planned(*SIX, EffectSummary("redis_stream", "y", 7)), now=NOW, width=200)
    assert "1 POST to x and 7 more." in text


def test_an_outcome_says_what_has_become_of_its_effects() -> None:
    assert "Effects: 2 delivered, 1 waiting, 3 dead." in done("text", delivered=2, waiting=1, dead=3).splitlines()
    assert "Effects: 1 delivered." in done("markdown", delivered=1)
    assert "Effects" not in done("text")


REPORT = Report(
    Delivered(3, 1, (Failure("bullmq", "q", "gone", 2),)),
    4,
    Backlog(2, 1, datetime(2026, 11, 26, 9, 0, 30, tzinfo=UTC), datetime(2026, 11, 26, 10, 0, tzinfo=UTC)),
    (
        Undelivered("dead", "webhook", "$HOOK", "status 404\x1b[2J", 1, datetime(2026, 11, 25, 9, 0, tzinfo=UTC)),
        Undelivered("pending", "bullmq", "q", "gone", 2, datetime(2026, 11, 26, 9, 0, 30, tzinfo=UTC)),
    ),
)


def test_deliver_says_what_it_did_and_what_has_not_arrived_and_why() -> None:
    assert render(REPORT, colour=False).splitlines() == [
        "Delivered 3 effects, 1 superseded by later changes (4 that had been given up were tried again).",
        "1 dead since 2026-11-25 09:00 UTC  webhook $HOOK: status 404\\u001b[2J",
        "2 waiting since 2026-11-26 09:00 UTC  bullmq q: gone",
        "The next attempt of a run is due 2026-11-26 10:00 UTC.",
        "The dead are tried again with --retry-dead.",
    ]
    nothing = Report(Delivered(0, 0, ()), 0, Backlog(0, 0, None, None), ())
    assert render(nothing, colour=False) == "Nothing to deliver.\n"


def test_deliver_says_the_same_to_programs() -> None:
    document = json.loads(render_json(REPORT))
    assert (document["format_version"], document["delivered"], document["waiting"], document["dead"]) == (1, 3, 2, 1)
    assert document["failures"] == [{"kind": "bullmq", "target": "q", "error": "gone", "number": 2}]
    assert [each["state"] for each in document["undelivered"]] == ["dead", "waiting"]
    assert document["next_attempt_at"] == "2026-11-26T10:00:00Z"
