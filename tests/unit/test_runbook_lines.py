"""Every line of the runbook that the playbooks replace: each incident, what is seen, its kill switch, its recovery.

The lines are quoted as they stood there. What is asserted is data: that triage finds the incidents on real parts is
shown in test_triage.py, and that kill and restore do what is written here in the drill.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from reconciler.playbook import BEFORE, SUBJECT, Assignment, Playbook
from reconciler.policy import BullmqCheck, HttpCheck, PostgresCheck, RedisCheck
from reconciler.report.runbook import render_runbook
from reconciler.runbook.playbooks import Runbook, load_runbook

TOP = Path(__file__).parents[2]
RUNBOOK: Runbook = load_runbook(TOP)
TABLES = RUNBOOK.definitions.tables
CHECKS = RUNBOOK.definitions.policy.checks


def incident(number: int) -> Playbook:
    (found,) = (playbook for playbook in RUNBOOK.playbooks.values() if playbook.incident == number)
    return found


def looks(playbook: Playbook) -> str:
    return " ".join(playbook.look).lower()


def query(playbook: Playbook, name: str) -> str:
    (found,) = (symptom for symptom in playbook.symptoms if symptom.name == name)
    assert found.query is not None
    return found.query


def checks_of(playbook: Playbook) -> set[str]:
    return {symptom.check for symptom in playbook.symptoms if symptom.check is not None}


def sets(assignments: list[Assignment]) -> dict[str, Any]:
    """`field` of the subject, or `row.field`, to its value."""
    return {one.field if one.row == SUBJECT else f"{one.row}.{one.field}": one.value for one in assignments}


def kills(playbook: Playbook) -> dict[str, dict[str, Any]]:
    return {name: sets(option.set) for name, option in playbook.kill.options.items()}


def steps(playbook: Playbook) -> str:
    return " ".join(step.text for step in playbook.restore.steps).lower()


def test_the_six_incidents_are_there() -> None:
    assert {playbook.incident: name for name, playbook in RUNBOOK.playbooks.items()} == {
        1: "whatsapp-ban",
        2: "ai-cost-spike",
        3: "redis-down",
        4: "database-down",
        5: "ai-provider-outage",
        6: "tenant-abuse",
    }
    titles = [incident(number).title for number in range(1, 7)]
    assert titles == [
        "WhatsApp ban",
        "AI cost spike",
        "Redis down",
        "Supabase slow or down",
        "AI provider outage",
        "Tenant abuse (spam, jailbreak)",
    ]


def test_1_whatsapp_ban_seen() -> None:
    """connection drops; `WHATSAPP_CONNECTION_UPDATE` says disconnected; sends fail. Do NOT reconnect at once."""
    ban = incident(1)
    assert "connection drops" in looks(ban)
    assert "whatsapp_connection_update says disconnected" in looks(ban)
    assert "sends fail" in looks(ban)
    assert "'WHATSAPP_CONNECTION_UPDATE'" in query(ban, "disconnected")
    assert "'disconnected'" in query(ban, "disconnected")
    sends = CHECKS["sends"]
    assert "sends" in checks_of(ban)
    assert isinstance(sends, BullmqCheck)
    assert (sends.queues, sends.failed_within) == (["whatsapp-outbound"], "1h")
    assert any("Do NOT reconnect at once" in warning for warning in ban.warnings)


def test_1_whatsapp_ban_kill_switch() -> None:
    """tenant `isWhatsappEnabled = false`."""
    ban = incident(1)
    assert ban.subject == "tenants"
    assert kills(ban) == {"disable": {"isWhatsappEnabled": False}}


def test_1_whatsapp_ban_recovery() -> None:
    """wait at least 24 hours (24-48); new session on another device; scan QR; re-enable; monitor for 1 hour."""
    ban = incident(1)
    guard = TABLES["tenants"].fields["isWhatsappEnabled"].restore
    assert guard is not None
    assert guard.after == "24h"
    assert "at least 24 hours have passed since the ban; 48 are better" in steps(ban)
    assert "new session has been made on another device" in steps(ban)
    assert "qr code has been scanned" in steps(ban)
    assert all(step.confirm for step in ban.restore.steps)
    assert sets(ban.restore.set) == {"isWhatsappEnabled": True}
    assert ban.monitor.for_ == "1h"
    assert {symptom.name for symptom in ban.monitor.queries} == {"connection", "sends-fail"}


def test_2_ai_cost_spike_seen() -> None:
    """billing alert; high usage; one tenant over 80% of requests."""
    spike = incident(2)
    assert "billing alert" in looks(spike)
    assert "high usage" in looks(spike)
    assert "one tenant over 80 % of the requests" in looks(spike)
    share = spike.symptoms[0]
    assert share.thresholds["over"] == 80
    assert "ai_usage_logs" in query(spike, "share")
    assert "100 * u.requests > {over} * u.total" in query(spike, "share")
    assert "sum(cost)" in query(spike, "cost")


def test_2_ai_cost_spike_kill_switch() -> None:
    """tenant `isAiEnabled = false`, or `aiDailyLimit = 5`, `aiMonthlyLimit = 50`."""
    spike = incident(2)
    assert spike.subject == "tenants"
    assert spike.kill.default == "disable"
    assert kills(spike) == {
        "disable": {"isAiEnabled": False},
        "limits": {"aiDailyLimit": 5, "aiMonthlyLimit": 50},
    }


def test_2_ai_cost_spike_recovery() -> None:
    """talk to the tenant; right plan if legitimate; block if abuse."""
    spike = incident(2)
    assert "the tenant has been talked to" in steps(spike)
    assert "legitimate, and the tenant has the right plan" in steps(spike)
    assert "if it is abuse, it stays blocked" in steps(spike)
    assert sets(spike.restore.set) == {"isAiEnabled": True, "aiDailyLimit": BEFORE, "aiMonthlyLimit": BEFORE}


def test_3_redis_down_seen() -> None:
    """`ECONNREFUSED`; BullMQ job failures; messages not processing; `redis-cli ping`."""
    down = incident(3)
    for text in ("econnrefused", "bullmq job failures", "messages are not processed", "redis-cli ping"):
        assert text in looks(down)
    assert checks_of(down) == {"redis", "jobs", "queues"}
    assert isinstance(CHECKS["redis"], RedisCheck)
    jobs, queues = CHECKS["jobs"], CHECKS["queues"]
    assert isinstance(jobs, BullmqCheck)
    assert isinstance(queues, BullmqCheck)
    assert jobs.failed_within == "1h"
    assert queues.oldest_waiting == "10m"


def test_3_redis_down_kill_switch() -> None:
    """system `globalWhatsappEnabled = false`, so that queues do not build up."""
    down = incident(3)
    assert kills(down) == {"disable": {"system.globalWhatsappEnabled": False}}
    assert "so that queues do not build up" in down.kill.options["disable"].help


def test_3_redis_down_recovery() -> None:
    """restore Redis; look for stuck BullMQ jobs; re-enable; monitor the queues."""
    down = incident(3)
    assert "redis has been restored" in steps(down)
    assert "stuck bullmq jobs have been looked for" in steps(down)
    assert sets(down.restore.set) == {"system.globalWhatsappEnabled": True}
    guard = TABLES["system_settings"].fields["globalWhatsappEnabled"].restore
    assert guard is not None
    assert set(guard.requires) == {"redis", "queues"}
    assert {"redis", "queues"} <= set(down.restore.checks)
    assert {"queues", "jobs"} <= {symptom.check for symptom in down.monitor.queries}


def test_4_database_down_seen() -> None:
    """API latency over 2 s; slow-response logs; `P1001: Can't reach database server`; pooler limits."""
    down = incident(4)
    for text in ("api latency over 2 s", "slow-response logs", "p1001: can't reach database server", "pooler's limits"):
        assert text in looks(down)
    assert any(symptom.probe == "database" for symptom in down.symptoms)
    assert "database" in checks_of(down)
    assert isinstance(CHECKS["database"], PostgresCheck)
    assert next(symptom for symptom in down.symptoms if symptom.name == "slow-statements").thresholds["slow"] == "2s"
    assert "max_connections" in query(down, "connections")


def test_4_database_down_kill_switch() -> None:
    """none can run while the database is down; pause from the dashboard."""
    down = incident(4)
    assert any("no switch can be written" in warning for warning in down.warnings)
    assert "Pause from the dashboard" in down.kill.steps[0].text
    assert "reconcile --wait" in down.kill.steps[1].text
    assert kills(down) == {"pause": {"system.globalWhatsappEnabled": False, "system.globalAiEnabled": False}}


def test_4_database_down_recovery() -> None:
    """wait; reconnect; restart the API."""
    down = incident(4)
    assert [step.id for step in down.restore.steps] == ["waited", "reconnected", "restarted"]
    assert "the api has been restarted" in steps(down)
    assert "database" in down.restore.checks
    guard = TABLES["system_settings"].fields["globalAiEnabled"].restore
    assert guard is not None
    assert guard.requires == ["database"]


def test_5_ai_provider_outage_seen() -> None:
    """OpenRouter 500s; `AI_FAILURE_FALLBACK_SENT`; the chain OpenRouter -> OpenAI -> Mock should trigger."""
    outage = incident(5)
    for text in ("openrouter answers with 500s", "ai_failure_fallback_sent", "openrouter -> openai -> mock should"):
        assert text in looks(outage)
    assert "'AI_FAILURE_FALLBACK_SENT'" in query(outage, "fallback")
    provider = CHECKS["ai-provider"]
    assert checks_of(outage) == {"ai-provider"}
    assert isinstance(provider, HttpCheck)
    assert (provider.url, provider.status) == ("$AI_PROVIDER_STATUS_URL", 200)


def test_5_ai_provider_outage_kill_switch() -> None:
    """system `defaultAiProvider = mock`."""
    assert kills(incident(5)) == {"mock": {"system.defaultAiProvider": "mock"}}


def test_5_ai_provider_outage_recovery() -> None:
    """wait; test with a single request; back to `openrouter`."""
    outage = incident(5)
    assert [step.id for step in outage.restore.steps] == ["waited", "single-request"]
    assert "single test request" in steps(outage)
    assert sets(outage.restore.set) == {"system.defaultAiProvider": "openrouter"}
    assert outage.restore.checks == ["ai-provider"]
    guard = TABLES["system_settings"].fields["defaultAiProvider"].restore
    assert guard is not None
    assert guard.after == "10m"


def test_6_tenant_abuse_seen() -> None:
    """rapid messages from one customer; `AI_GUARDRAIL_VIOLATION` spikes."""
    abuse = incident(6)
    assert "rapid messages from one customer" in looks(abuse)
    assert "ai_guardrail_violation spikes" in looks(abuse)
    assert "'MESSAGE_RECEIVED'" in query(abuse, "rapid-messages")
    assert "'AI_GUARDRAIL_VIOLATION'" in query(abuse, "guardrail")


def test_6_tenant_abuse_kill_switch() -> None:
    """tenant `isAiEnabled = false`, or `status = SUSPENDED`."""
    abuse = incident(6)
    assert abuse.subject == "tenants"
    assert abuse.kill.default == "disable"
    assert kills(abuse) == {"disable": {"isAiEnabled": False}, "suspend": {"status": "SUSPENDED"}}


def test_6_tenant_abuse_recovery() -> None:
    """review evidence; contact the owner; warn, restrict or terminate; document it in the audit log."""
    abuse = incident(6)
    assert [step.id for step in abuse.restore.steps] == ["evidence", "owner", "decision", "documented"]
    for text in ("evidence has been reviewed", "owner has been contacted", "to warn or to restrict", "terminated"):
        assert text in steps(abuse)
    assert "audit log" in steps(abuse)
    assert sets(abuse.restore.set) == {"isAiEnabled": True, "status": "ACTIVE"}


def test_contacts() -> None:
    """on-call SRE and product owner (to be filled in), the database host's support, the AI provider's support."""
    for name, playbook in RUNBOOK.playbooks.items():
        who = {contact.who: contact.how for contact in playbook.contacts}
        assert who["On-call SRE"] == who["Product owner"] == "(to be filled in)", name
    assert "Database host's support" in {contact.who for contact in incident(4).contacts}
    assert all("AI provider's support" in {contact.who for contact in incident(number).contacts} for number in (2, 5))


@pytest.mark.parametrize("name", sorted(RUNBOOK.playbooks))
def test_the_page_holds_all_that_a_playbook_says(name: str) -> None:
    """A person who has nothing but the page misses nothing of the playbook."""
    playbook = RUNBOOK.playbooks[name]
    page = render_runbook(RUNBOOK).replace("&#62;", ">").replace("&#60;", "<")
    section = page.partition(f'<a id="{name}"></a>')[2].partition("\n## ")[0]
    texts = [playbook.title, playbook.summary, *playbook.look, *playbook.warnings, *playbook.monitor.steps]
    texts += [step.text for step in (*playbook.kill.steps, *playbook.restore.steps)]
    texts += [option.help for option in playbook.kill.options.values()]
    texts += [f"{contact.who}: {contact.how}" for contact in playbook.contacts]
    missing = [text for text in texts if text not in section]
    assert missing == []
    for option in playbook.kill.options:
        assert f"`--{option}`" in section
    for step in ("kill", "restore"):
        assert f"reconcile {step} {name}" in section
