"""What triage sees of each incident, on a real database, a real Redis and a real server in the provider's place."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from reconciler.fields import Duration
from reconciler.report.triage import render_triage
from reconciler.runbook.sightings import look
from reconciler.runbook.triage import say
from tests.support.incidents import Redis, ai_requests, disconnect, event, provider, reconnect, running_redis
from tests.support.postgres import Database
from tests.support.triage import ACME, BOB, RUNBOOK, commands, found, ordinary_day, texts


@pytest.fixture(scope="module")
def redis_server() -> Iterator[Redis]:
    with running_redis() as server:
        yield server


@pytest.fixture
def platform(database: Database) -> Database:
    return ordinary_day(database)


def test_a_quiet_system_is_said_in_one_line(platform: Database, redis_server: Redis) -> None:
    with provider(200) as url:
        result = found(platform, REDIS_URL=redis_server.url, AI_PROVIDER_STATUS_URL=url)
    assert result.matches == ()
    assert result.unseen == ()
    said = render_triage(result, colour=False, width=100)
    assert said.startswith("Quiet: none of 6 playbooks matches (15 probes in ")
    assert said.count("\n") == 1


def test_an_incident_is_told_with_its_numbers_and_the_command(platform: Database) -> None:
    ai_requests(platform, ACME, 12_410 - 280 - 1_607, ago=1)
    ai_requests(platform, BOB, 1_607, ago=1)
    result = found(platform)
    assert texts(result, "ai-cost-spike") == ["tenant Acme Bakery made 86 % of 12,410 AI requests in the last hour"]
    assert commands(result) == [
        f"reconcile kill ai-cost-spike --tenant {ACME} "
        "--reason 'tenant Acme Bakery made 86 % of 12,410 AI requests in the last hour'"
    ]
    (match,) = result.matches
    assert [other.flag for other in match.alternatives] == ["--limits"]
    (evidence,) = match.evidence
    assert evidence.values == {"requests": 10_673, "total": 12_410, "share": 86}


def test_a_tenant_that_is_banned_is_seen(platform: Database) -> None:
    disconnect(platform, ACME, "403")
    result = found(platform, "whatsapp-ban")
    assert texts(result, "whatsapp-ban") == [
        "WhatsApp of Acme Bakery is disconnected, last reason 403; drops in the last hour: 1"
    ]
    assert "Do NOT reconnect at once" in render_triage(result, colour=False, width=200)


def test_a_connection_that_drops_again_and_again_is_seen(platform: Database) -> None:
    disconnect(platform, ACME, "428", times=3)
    disconnect(platform, BOB, "428", times=2)
    assert texts(found(platform), "whatsapp-ban") == [
        "WhatsApp of Acme Bakery is disconnected, last reason 428; drops in the last hour: 3"
    ]


def test_a_tenant_that_came_back_or_dropped_long_ago_is_no_incident(platform: Database) -> None:
    disconnect(platform, ACME, "401", times=5)
    reconnect(platform, ACME)
    disconnect(platform, BOB, "403", ago=70)
    assert found(platform).matches == ()


def test_a_cost_far_above_the_week_before_is_seen(platform: Database) -> None:
    for day in range(2, 8):
        ai_requests(platform, ACME, 10, ago=day * 1440, cost=1)
    ai_requests(platform, ACME, 20, ago=120, cost=3)
    assert texts(found(platform), "ai-cost-spike") == [
        "AI of Acme Bakery cost 60.15 in the last 24 hours; before that 8.57 a day"
    ]


def test_few_requests_are_no_spike_whoever_makes_them(database: Database) -> None:
    ai_requests(database, database.tenant(ACME), 99)
    assert found(database).matches == ()


def test_abuse_is_seen_by_violations_and_by_the_messages_of_one_customer(platform: Database) -> None:
    event(platform, BOB, "AI_GUARDRAIL_VIOLATION", 5, 12)
    event(platform, ACME, "MESSAGE_RECEIVED", 5, 120, customerPhone="+4915112345678")
    event(platform, BOB, "MESSAGE_RECEIVED", 5, 500)  # nobody says which customer, so it may be hundreds
    result = found(platform)
    assert texts(result, "tenant-abuse") == [
        "Bob's Books: 12 AI guardrail violations in the last hour",
        "one customer of Acme Bakery (…5678) sent 120 messages in the last 10 minutes",
    ]
    assert "4915112345678" not in str(result)
    assert [command.split()[4] for command in commands(result)] == [BOB, ACME]


def test_an_outage_of_the_provider_is_seen_by_its_status_and_by_fallbacks(platform: Database) -> None:
    event(platform, ACME, "AI_FAILURE_FALLBACK_SENT", 5, 15)
    event(platform, BOB, "AI_FAILURE_FALLBACK_SENT", 5, 10)
    with provider(500) as url:
        result = found(platform, "ai-provider-outage", AI_PROVIDER_STATUS_URL=url)
        assert url not in str(result)
    fallback, status = texts(result, "ai-provider-outage")
    assert fallback == "AI failed and the fallback message was sent 25 times, by 2 tenants, in the last 15 minutes"
    assert status.startswith("the AI provider: status 500 in ")
    assert commands(result) == [f"reconcile kill ai-provider-outage --reason '{fallback}'"]


def test_fallbacks_of_one_tenant_alone_are_not_the_providers(platform: Database) -> None:
    event(platform, ACME, "AI_FAILURE_FALLBACK_SENT", 5, 100)
    assert found(platform).matches == ()


def test_queues_that_do_not_move_and_jobs_that_fail_are_seen(platform: Database) -> None:
    with running_redis() as server:
        server.fail_in("whatsapp-inbound-events", 400, minutes=120)
        server.wait_in("whatsapp-outbound", 3, minutes=1)
        assert found(platform, REDIS_URL=server.url).matches == ()
        server.wait_in("whatsapp-inbound-events", 2, minutes=30)
        server.fail_in("whatsapp-inbound-events", 21)
        server.fail_in("whatsapp-outbound", 22)
        result = found(platform, REDIS_URL=server.url)
    failures, waiting = texts(result, "redis-down")
    assert "whatsapp-inbound-events has 2 waiting, 0 active, 21 failed in 1h" in failures
    assert "oldest waiting (limit 10m)" in waiting
    (sends,) = texts(result, "whatsapp-ban")
    assert "whatsapp-outbound has 3 waiting, 0 active, 22 failed in 1h" in sends
    ban = next(match for match in result.matches if match.playbook == "whatsapp-ban")
    assert "--tenant NAME-OR-ID " in ban.remedies[0].command


def test_what_has_been_switched_off_already_is_said(platform: Database) -> None:
    disconnect(platform, ACME, "403")
    disconnect(platform, BOB, "401")
    platform.execute('UPDATE tenants SET "isWhatsappEnabled" = false WHERE id = %s', [BOB])
    result = found(platform, "whatsapp-ban")
    assert {one.label: one.in_effect for one in result.matches[0].remedies} == {
        "Acme Bakery": (),
        "Bob's Books": ("disable",),
    }
    assert "done already for Bob's Books: disable" in render_triage(result, colour=False, width=100)


def test_the_other_option_counts_as_done_as_well(platform: Database) -> None:
    ai_requests(platform, ACME, 1_000)
    platform.execute('UPDATE tenants SET "aiDailyLimit" = 5, "aiMonthlyLimit" = 50')
    assert found(platform).matches[0].remedies[0].in_effect == ("limits",)


def test_more_rows_than_fit_on_a_screen_are_cut_and_said(database: Database) -> None:
    for number in range(22):
        disconnect(database, database.tenant(name=f"Tenant {number:02}"), "403")
    result = found(database, "whatsapp-ban")
    assert len(texts(result, "whatsapp-ban")) == 20
    assert "… and more of the same" in render_triage(result, colour=False, width=100)


def test_every_query_of_every_playbook_returns_what_its_sentence_names(platform: Database) -> None:
    """With thresholds that everything exceeds, each query of the six has rows to be told."""
    platform.execute('UPDATE tenants SET "updatedAt" = now()')
    for kind in ("AI_GUARDRAIL_VIOLATION", "AI_FAILURE_FALLBACK_SENT"):
        event(platform, ACME, kind, 1)
    disconnect(platform, ACME, "403")
    told = 0
    for playbook in RUNBOOK.playbooks.values():
        for symptom in (*playbook.symptoms, *playbook.monitor.queries):
            if symptom.query is None or symptom.name == "slow-statements":
                continue
            loose: dict[str, int | Duration] = {
                name: limit if isinstance(limit, str) else limit if name in ("most", "days") else 0
                for name, limit in symptom.thresholds.items()
            }
            one = msgspec.structs.replace(symptom, thresholds=loose)
            sighting = look([one], {}, {"DATABASE_URL": platform.url}, 5).of(one)
            assert sighting.unseen is None, (symptom.name, sighting.unseen)
            assert sighting.rows, f"{symptom.name} found nothing"
            assert "{" not in say(one, sighting.rows[0])
            told += 1
    assert told >= 10
