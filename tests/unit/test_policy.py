"""What schemas/policy.yaml may say of limits, freezes and checks; every mistake with the line where it stands."""

from __future__ import annotations

from decimal import Decimal

import pytest

from reconciler.policy import BlastLimit, Freeze, HttpCheck, share_of
from tests.support.definitions import POLICY, definitions_of, sound_definitions

TABLE = "table: shops\nkey: id\naudit: {event: E}\nfields: {name: {type: string}}\n"


def mistakes(more: str) -> list[str]:
    """What is wrong in a policy that ends with this."""
    _, problems = definitions_of(POLICY + more, shops=TABLE)
    return [str(problem) for problem in problems]


@pytest.mark.parametrize(
    "freeze",
    [
        "{name: F, from: 2026-12-23T17:00:00Z, to: 2027-01-04T07:00:00+01:00}",
        '{name: F, cron: "0 18 * * FRI", for: 60h}',
        '{name: F, cron: "0 18 * * FRI", for: 60h, timezone: Europe/Berlin}',
    ],
)
def test_a_freeze_is_a_window_or_comes_again(freeze: str) -> None:
    assert mistakes(f"freezes:\n  - {freeze}\n") == []


@pytest.mark.parametrize(
    ("freeze", "says"),
    [
        ("{name: F}", "either `from` and `to`, or `cron` and `for`"),
        ("{name: F, from: 2026-12-23T17:00:00Z}", "either `from` and `to`, or `cron` and `for`"),
        ('{name: F, cron: "0 18 * * FRI"}', "either `from` and `to`, or `cron` and `for`"),
        ('{name: F, from: 2026-12-23T17:00:00Z, cron: "0 18 * * FRI", for: 1h}', "either `from` and `to`"),
        ("{name: F, from: 2026-12-23T17:00:00Z, to: 2026-12-24T17:00:00Z, for: 1h}", "either `from` and `to`"),
        ("{name: F, from: 2026-12-23T17:00:00, to: 2027-01-04T07:00:00Z}", "has no time zone"),
        ("{name: F, from: tomorrow, to: 2027-01-04T07:00:00Z}", "is not a timestamp"),
        ("{name: F, from: 2026-12-23T17:00:00Z, to: 2026-12-23T18:00:00+01:00}", "the freeze ends before it begins"),
        ("{name: F, from: 2026-12-23T17:00:00.5Z, to: 2026-12-23T17:00:00Z}", "the freeze ends before it begins"),
        (
            "{name: F, from: 2026-12-23T17:00:00Z, to: 2027-01-04T07:00:00Z, timezone: Europe/Berlin}",
            "`from` and `to` carry their own offsets",
        ),
        ('{name: F, cron: "61 * * * *", for: 1h}', "not a cron expression"),
        ('{name: F, cron: "0 0 30 2 *", for: 1h}', "not a cron expression"),
        ('{name: F, cron: "0 18 * * FRI", for: 1w}', "expected text (a duration: 90s, 30m, 24h, 7d)"),
        ('{name: F, cron: "0 18 * * FRI", for: 1h, timezone: Berlin}', "Berlin is not a time zone"),
        ('{name: F, cron: "0 18 * * FRI", for: 1h, timezone: ../etc/passwd}', "is not a time zone"),
        ("{name: F, until: 2027-01-04T07:00:00Z}", "unknown property until"),
    ],
)
def test_a_freeze_that_says_too_little_or_too_much_is_refused(freeze: str, says: str) -> None:
    [mistake] = mistakes(f"freezes:\n  - {freeze}\n")
    assert mistake.startswith("schemas/policy.yaml:6:")
    assert says in mistake


@pytest.mark.parametrize(
    "check",
    [
        "{type: redis}",
        "{type: redis, memory_below: 90%, timeout: 60s}",
        "{type: bullmq, queues: [mail], waiting: 0}",
        "{type: bullmq, queues: [mail], failed: 20, failed_within: 1h}",
        "{type: http, url: 'https://status.example/$TEAM', headers: {Authorization: Bearer $TOKEN}}",
        "{type: http, url: $STATUS_URL, method: POST, body: '{}', status: 204}",
        "{type: postgres, latency_below: 500}",
        "{type: sql, query: SELECT true}",
    ],
)
def test_each_type_of_check_can_be_declared(check: str) -> None:
    assert mistakes(f"checks:\n  c: {check}\n") == []


@pytest.mark.parametrize(
    ("check", "says"),
    [
        ("{type: bullmq, queues: [mail]}", "a check without a limit always passes"),
        ("{type: bullmq, queues: [], waiting: 5}", "expected a list of at least 1 item"),
        ("{type: bullmq, queues: [mail], waiting: 5, failed_within: 1h}", "`failed` is not limited"),
        ("{type: redis, timeout: 61s}", "longer than 60s"),
        ("{type: sql, query: SELECT true, timeout: 1h}", "longer than 60s"),
        ("{type: redis, timeout: fast}", "expected text (a duration: 90s, 30m, 24h, 7d)"),
        ("{type: http, url: 'file:///etc/passwd'}", "neither http:// nor https://"),
        ("{type: http, url: 'https://x/$'}", "a $ begins no name"),
        ("{type: http, url: 'https://x', headers: {A: $}}", "a $ begins no name"),
        ("{type: http, url: 'https://x', method: DELETE}", "DELETE"),
        ("{type: postgres}", "latency_below is missing"),
        ("{type: redys}", 'did you mean "redis"?'),
    ],
)
def test_a_check_that_would_never_hold_or_never_end_is_refused(check: str, says: str) -> None:
    [mistake] = mistakes(f"checks:\n  c: {check}\n")
    assert mistake.startswith("schemas/policy.yaml:6:")
    assert says in mistake


@pytest.mark.parametrize("limit", ["{rows: 0}", "{share: 20}", "{share: twenty%}", "{floor: -1}", "{row: 5}"])
def test_a_blast_limit_that_is_none_is_refused(limit: str) -> None:
    [mistake] = mistakes(f"blast:\n  kill: {limit}\n")
    assert mistake.startswith("schemas/policy.yaml:6:")


def test_what_a_policy_leaves_out_limits_nothing() -> None:
    policy = sound_definitions(shops=TABLE).policy
    assert (policy.blast.kill, policy.blast.restore, policy.freezes, policy.invariants) == (None, None, [], [])
    assert policy.expiring_soon == "24h"


def test_limits_and_checks_have_defaults_that_say_what_is_common() -> None:
    assert BlastLimit() == BlastLimit(rows=None, share=None, floor=10)
    assert Freeze(name="F").timezone == "UTC"
    assert (HttpCheck(url="https://x").status, HttpCheck(url="https://x").timeout) == (200, "5s")


@pytest.mark.parametrize(("share", "part"), [("20%", "0.2"), ("12.5%", "0.125"), ("100%", "1"), ("0%", "0")])
def test_a_share_is_an_exact_fraction(share: str, part: str) -> None:
    assert share_of(share) == Decimal(part)
