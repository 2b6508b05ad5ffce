"""Incidents made to happen: rows, jobs and servers as they look when one of the runbook's is on.

Takes a Database (the platform's tables), or nothing; gives what triage would find. Times are minutes before now.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from reconciler.drill import queues
from reconciler.drill.provider import running_provider
from reconciler.drill.redis_server import RedisServer
from tests.support.postgres import Database


def disconnect(database: Database, tenant: str, reason: str, *, times: int = 1, ago: float = 5) -> None:
    """WhatsApp's client says that the connection was closed."""
    for number in range(times):
        event(database, tenant, "WHATSAPP_CONNECTION_UPDATE", ago + number, connection="close", reason=reason)


def reconnect(database: Database, tenant: str, *, ago: float = 1) -> None:
    """WhatsApp's client says that the connection is open."""
    event(database, tenant, "WHATSAPP_CONNECTION_UPDATE", ago, connection="open")


def event(database: Database, tenant: str, kind: str, ago: float = 5, /, times: int = 1, **metadata: Any) -> None:
    """Entries of the platform's audit log."""
    database.execute(
        """
        INSERT INTO audit_logs (id, "tenantId", "eventType", metadata, timestamp)
        SELECT gen_random_uuid()::text, %s, %s, %s::jsonb,
               (now() AT TIME ZONE 'UTC') - make_interval(secs => %s) - make_interval(secs => number / 1000.0)
        FROM generate_series(1, %s) AS number
        """,
        (tenant, kind, json.dumps(metadata), 60 * ago, times),
    )


def ai_requests(database: Database, tenant: str, count: int, *, ago: float = 5, cost: float = 0.001) -> None:
    """AI requests of a tenant, each of which cost so much."""
    database.execute(
        """
        INSERT INTO ai_usage_logs (id, "tenantId", model, tier, cost, timestamp)
        SELECT gen_random_uuid()::text, %s, 'openrouter/auto', 'LOW', %s,
               (now() AT TIME ZONE 'UTC') - make_interval(secs => %s)
        FROM generate_series(1, %s)
        """,
        (tenant, cost, 60 * ago, count),
    )


QUEUES = ("whatsapp-worker-commands", "whatsapp-outbound", "whatsapp-inbound-events")


class Redis(RedisServer):
    """A server of the drill's with the platform's queues, which are empty again once it was stopped and started."""

    def start(self) -> None:
        """Start it, with queues that are empty."""
        super().start()
        with self.client() as client:
            queues.open_queues(client, QUEUES)

    def wait_in(self, queue: str, jobs: int, *, minutes: float = 0) -> None:
        """Jobs that wait in a queue of BullMQ for so long."""
        with self.client() as client:
            queues.wait(client, queue, jobs, 60 * minutes)

    def fail_in(self, queue: str, jobs: int, *, minutes: float = 1) -> None:
        """Jobs that failed in a queue of BullMQ so long ago."""
        with self.client() as client:
            queues.fail(client, queue, jobs, 60 * minutes)


@contextmanager
def running_redis() -> Iterator[Redis]:
    """A server that is stopped at the end, whatever has happened."""
    server = Redis()
    try:
        server.start()
        yield server
    finally:
        server.close()


@contextmanager
def provider(status: int) -> Iterator[str]:
    """The URL of an AI provider that answers every request with this status."""
    with running_provider() as server:
        server.statuses["models"] = status
        yield server.url("models")
