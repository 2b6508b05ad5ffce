"""`python -m benchmarks.effects`: what effects add to an apply with Redis up, down and hanging, and what 10,000 cost.

Takes nothing; prints a table. One switch is flipped by the real command, from process start to exit, on an embedded
Postgres and a Valkey of its own; the same commit is applied with an effect that follows and with one that does not.
An apply that reaches Redis imports redis-py and bullmq, which only such an apply does.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from reconciler.drill.redis_server import RedisServer, running_redis
from reconciler.embedded import EmbeddedPostgres
from tests.support.gitrepo import GitRepo
from tests.support.postgres import Database, Server
from tests.support.project import ACME, Project

MANY = 10_000
JOB = "      - when: false\n        bullmq:\n"
"""How the effect begins in schemas/tenants.yaml."""


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.effects", description=__doc__)
    parser.add_argument("--runs", type=int, default=7, metavar="N", help="runs of each case; the median counts")
    runs = parser.parse_args().runs
    with ExitStack() as stack:
        server = Server(stack.enter_context(EmbeddedPostgres()).url)
        stack.callback(server.close)
        redis = stack.enter_context(running_redis())
        up = {"REDIS_URL": redis.url}
        nobody = {"REDIS_URL": "redis://127.0.0.1:9/0"}
        print("| case | median |\n|---|---:|")
        _row("one switch, after which nothing follows", runs, lambda: _flip(server, 1, {}, effects=False))
        _row("one switch, a BullMQ job, Redis up", runs, lambda: _flip(server, 1, up))
        _row("one switch, a BullMQ job, Redis down", runs, lambda: _flip(server, 1, nobody))
        with _paused(redis):
            _row("one switch, a BullMQ job, Redis hanging (timeout 2 s)", 3, lambda: _flip(server, 1, up))
        _row(f"{MANY:,} switches, after which nothing follows", 3, lambda: _flip(server, MANY, {}, effects=False))
        _row(f"{MANY:,} switches, as many BullMQ jobs, Redis up", 3, lambda: _flip(server, MANY, up))
        with _paused(redis):
            _row(f"{MANY:,} switches, as many BullMQ jobs, Redis hanging", 3, lambda: _flip(server, MANY, up))


def _row(name: str, runs: int, measure: Callable[[], float]) -> None:
    took = statistics.median(measure() for _ in range(runs))
    print(f"| {name} | {took * 1000:.0f} ms |", flush=True)


@contextmanager
def _paused(redis: RedisServer) -> Iterator[None]:
    redis.pause()
    try:
        yield
    finally:
        redis.resume()


def _flip(server: Server, count: int, environment: Mapping[str, str], *, effects: bool = True) -> float:
    """Seconds from the start of `reconcile --yes` to its end, for a commit that switches off so many tenants."""
    with server.platform() as database, tempfile.TemporaryDirectory() as folder:
        keys = _tenants(database, count)
        project = Project(GitRepo(Path(folder) / "repo"), database)
        if not effects:
            file = project.directory / "schemas" / "tenants.yaml"
            text = file.read_text(encoding="utf-8")
            assert JOB in text
            file.write_text(text.replace("      - when: false\n", "      - when: true\n"), encoding="utf-8")
        project.init()
        project.state("".join(f"{key}: {{isWhatsappEnabled: false}}\n" for key in keys))
        project.commit(f"Ban\n\nReconcile-Allow-Changes: {count}")
        started = time.perf_counter()
        done = project.succeed("--yes", environment=environment)
        took = time.perf_counter() - started
        assert ("Effects:" in done.out) == effects
        return took


def _tenants(database: Database, count: int) -> list[str]:
    if count == 1:
        return [database.tenant(ACME, name="Acme Bakery")]
    keys = [f"tenant-{number:05}" for number in range(count)]
    database.execute(
        'INSERT INTO tenants (id, name, "updatedAt") SELECT k, k, now() FROM unnest(%s::text[]) k', [keys]
    )
    return keys


if __name__ == "__main__":
    main()
