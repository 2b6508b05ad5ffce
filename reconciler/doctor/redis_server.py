"""A Redis that effects or checks need: does it answer, which is it, will it keep what it is given, and its queues.

Takes what the schemas and the policy want of it, and the environment; gives Findings. Nothing is written: PING, INFO,
and what `bullmq_queues` reads. No Redis ever stands in the way of an apply, so nothing here is more than a warning.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from reconciler.checks.bullmq_queues import Queue, read_queues
from reconciler.doctor.database import is_this_machine
from reconciler.doctor.findings import Finding, not_seen, note, ok, warning
from reconciler.effects.redis_client import RedisAddress, connected, read_address
from reconciler.errors import UsageProblem
from reconciler.policy import BullmqCheck, RedisCheck
from reconciler.schema import Definitions

__all__ = ["RedisUse", "look_at_redis", "redis_uses"]

PART = "redis"
_FULL = 0.9
_OLD_JOB_S = 600.0
_OLDEST_FOR_BULLMQ = (5, 0)


class RedisUse(msgspec.Struct, frozen=True):
    """One variable that holds an address, who needs it, and the queues (prefix, name) that are looked at."""

    variable: str
    effects: tuple[str, ...]
    checks: tuple[str, ...]
    queues: tuple[tuple[str, str], ...]

    @property
    def without_it(self) -> str:
        """What happens while it does not answer."""
        said = []
        if self.effects:
            said.append(f"kills are applied, and what follows them waits in the outbox ({_some(self.effects)})")
        if self.checks:
            said.append(f"restores that require a check of it are held ({_some(self.checks)})")
        return "; ".join(said)


def redis_uses(definitions: Definitions) -> list[RedisUse]:
    """Every Redis that is named, sorted by variable."""
    effects: dict[str, list[str]] = {}
    checks: dict[str, list[str]] = {}
    queues: dict[str, set[tuple[str, str]]] = {}
    for table in definitions.tables.values():
        for name, field in table.fields.items():
            for effect in field.effects:
                for one in (effect.bullmq, effect.redis_publish, effect.redis_stream, effect.redis_delete):
                    if one is not None:
                        effects.setdefault(one.url_variable, []).append(f"{table.name}.{name}")
                if effect.bullmq is not None:
                    job = effect.bullmq
                    queues.setdefault(job.url_variable, set()).add((job.prefix, job.queue))
    for name, check in definitions.policy.checks.items():
        if isinstance(check, RedisCheck | BullmqCheck):
            checks.setdefault(check.url_variable, []).append(name)
        if isinstance(check, BullmqCheck):
            queues.setdefault(check.url_variable, set()).update((check.prefix, queue) for queue in check.queues)
    return [
        RedisUse(
            variable,
            tuple(dict.fromkeys(effects.get(variable, ()))),
            tuple(checks.get(variable, ())),
            tuple(sorted(queues.get(variable, ()))),
        )
        for variable in sorted({*effects, *checks})
    ]


def look_at_redis(use: RedisUse, environment: Mapping[str, str], deadline_s: float) -> list[Finding]:
    """All about one Redis. No answer is waited for longer than `deadline_s`."""
    try:
        address = read_address(use.variable, environment)
    except LookupError:
        return [warning(PART, use.variable, f"it is not set: {use.without_it}", "set it to the address of Redis")]
    except UsageProblem as unreadable:
        return [warning(PART, use.variable, str(unreadable), f"without it: {use.without_it}")]
    import redis

    from reconciler.effects.redis_errors import first_line

    found: list[Finding] = []
    try:
        with connected(address, deadline_s) as client:
            found.extend(_look(use, address, client))
    except (redis.RedisError, redis.exceptions.RedisClusterException, OSError) as error:
        said = _without_secrets(first_line(error), address)
        if found:
            return [*found, not_seen(PART, use.variable, f"{address.place} stopped answering: {said}")]
        return [unanswered(use, f"{address.place} does not answer: {said}")]
    return found


def unanswered(use: RedisUse, saw: str) -> Finding:
    """It could not be reached."""
    return warning(PART, use.variable, saw, f"while it is so: {use.without_it}. `reconcile deliver` sends what waits")


def _look(use: RedisUse, address: RedisAddress, client: Any) -> Iterator[Finding]:
    started = time.monotonic()
    client.ping()
    took = (time.monotonic() - started) * 1000
    servers = _info(client)
    if servers is None:
        yield ok(PART, use.variable, f"{address.place} answers in {took:.1f} ms")
        yield note(PART, "server", "this user may not ask INFO: version and memory are not known")
    else:
        yield ok(PART, use.variable, f"{address.place} answers in {took:.1f} ms: {_kind(servers[0])}")
        for server in servers:
            yield from _server(use, server)
    yield from _line(use, address)
    if address.cluster:
        yield from _scattered(use)
    for prefix in dict.fromkeys(prefix for prefix, _ in use.queues):
        names = [name for of, name in use.queues if of == prefix]
        for queue in read_queues(client, names, prefix, None):
            yield _queue(queue, prefix)


def _info(client: Any) -> list[dict[str, Any]] | None:
    """INFO of the server, or of each node of a cluster; None where the user may not ask."""
    import redis

    try:
        found = client.info()
    except redis.exceptions.NoPermissionError:
        return None
    return [found] if "redis_version" in found else list(found.values())


def _kind(server: Mapping[str, Any]) -> str:
    name, version = ("Valkey", server["valkey_version"]) if "valkey_version" in server else ("Redis", _version(server))
    mode = server.get("redis_mode") or server.get("server_mode") or "standalone"
    return f"{name} {version}, {mode}"


def _version(server: Mapping[str, Any]) -> str:
    return str(server.get("redis_version", "of an unknown version"))


def _server(use: RedisUse, server: Mapping[str, Any]) -> Iterator[Finding]:
    numbers = [int(part) for part in _version(server).split(".")[:2] if part.isdigit()]
    if use.queues and len(numbers) == 2 and tuple(numbers) < _OLDEST_FOR_BULLMQ:
        text = f"{_version(server)}: BullMQ needs Redis 5 or newer"
        yield warning(PART, "version", text, "upgrade it")
    if server.get("loading"):
        yield warning(PART, "state", "it is still loading its data", "wait")
    if server.get("role") == "slave":
        text = "it is a replica, which takes no messages"
        yield warning(PART, "role", text, "give the primary's address, or Sentinel's")
    yield _policy(use, server)
    yield _memory(server)


def _policy(use: RedisUse, server: Mapping[str, Any]) -> Finding:
    name = "maxmemory-policy"
    policy = server.get("maxmemory_policy")
    if policy is None:
        return note(PART, name, "not known")
    if policy == "noeviction":
        return ok(PART, name, "noeviction")
    if not use.queues:
        return note(PART, name, f"{policy}: what a full Redis removes is its own choice")
    text = f"{policy}: when its memory is full, Redis removes jobs, which are then lost without a word"
    advice = "BullMQ needs noeviction; set it in redis.conf too, or at your provider"
    return warning(PART, name, text, advice, "redis-cli CONFIG SET maxmemory-policy noeviction")


def _memory(server: Mapping[str, Any]) -> Finding:
    name = "memory"
    used, limit = int(server.get("used_memory", 0)), int(server.get("maxmemory", 0))
    if not limit:
        return ok(PART, name, f"{used / 1e6:.0f} MB used, no limit set")
    text = f"{used / 1e6:.0f} MB of {limit / 1e6:.0f} MB used ({100 * used / limit:.0f}%)"
    if used > _FULL * limit:
        return warning(PART, name, text, "free memory, or raise maxmemory: a full Redis takes no jobs")
    return ok(PART, name, text)


def _line(use: RedisUse, address: RedisAddress) -> Iterator[Finding]:
    if not (address.tls or address.path or all(is_this_machine(host) for host, _ in address.hosts)):
        text = "no TLS: the password and all messages can be read on the way"
        yield note(PART, "TLS", text, "rediss://, unless the network is your own")


def _scattered(use: RedisUse) -> Iterator[Finding]:
    """In a Cluster the keys of a queue must be on one node, or every job is refused; a hash tag keeps them together."""
    for prefix, name in use.queues:
        if not re.search(r"\{[^}]+\}", f"{prefix}:{name}"):
            text = f"{name}: the prefix {prefix} scatters its keys over a Cluster, which then refuses its jobs"
            yield warning(PART, "prefix", text, f"say `prefix: '{{{prefix}}}'` in the schema, and in its worker")


def _queue(queue: Queue, prefix: str) -> Finding:
    name = "queue"
    if not queue.exists:
        text = f"{queue.name}: Redis has no such queue (prefix {prefix}), no worker has ever opened it"
        return warning(PART, name, text, "is its name right, and has its worker run against this Redis?")
    text = f"{queue.name}: {queue.waiting:,} waiting, {queue.active:,} active, {queue.failed:,} failed"
    if queue.oldest_s is not None:
        text += f", the oldest for {queue.oldest_s:.0f} s"
    if queue.is_paused:
        return warning(PART, name, f"{text}; it is paused", "resume it: until then none of its jobs is done")
    if queue.oldest_s is not None and queue.oldest_s > _OLD_JOB_S:
        return warning(PART, name, text, "does its worker run?")
    return ok(PART, name, text)


def _without_secrets(text: str, address: RedisAddress) -> str:
    for secret in filter(None, (address.password, address.sentinel_password)):
        text = text.replace(secret, "***")
    return text


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:3]) + (f" and {len(listed) - 3} more" if len(listed) > 3 else "")
