"""The health checks that ask Redis: whether it answers and has room, and whether BullMQ's queues pile up.

Takes the declaration and the environment; gives what it saw. A BullMQ queue is read as its keys lie in Redis
(https://docs.bullmq.io, versions 5 and 6): a list of what waits, one of what a paused queue keeps back, sorted sets of
what is prioritized, delayed and failed (scored by when they failed), and a hash for each job, whose `timestamp` is in
milliseconds, like that score.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from reconciler.fields import seconds
from reconciler.guards import CheckResult
from reconciler.policy import BullmqCheck, RedisCheck, share_of


def check_redis(check: RedisCheck, environment: Mapping[str, str]) -> CheckResult:
    """PING is answered, and less than `memory_below` of maxmemory is used."""
    import redis

    try:
        with _client(check.url_variable, environment, seconds(check.timeout)) as client:
            started = time.perf_counter()
            client.ping()
            took = (time.perf_counter() - started) * 1000
            memory = client.info("memory")
    except redis.AuthenticationError:  # a kind of ConnectionError, but Redis is there: the address is wrong
        raise
    except (redis.ConnectionError, redis.TimeoutError) as error:
        return CheckResult(False, f"no answer: {str(error).splitlines()[0]}")
    used, limit = int(memory.get("used_memory", 0)), int(memory.get("maxmemory", 0))
    saw = f"PING in {took:.1f} ms, {used / 1e6:.0f} MB used"
    if check.memory_below is None:
        return CheckResult(True, saw)
    if not limit:
        return CheckResult(True, f"{saw}, no maxmemory set")
    return CheckResult(
        used < share_of(check.memory_below) * limit,
        f"{saw}, {100 * used / limit:.0f}% of maxmemory (limit {check.memory_below})",
    )


def check_bullmq(check: BullmqCheck, environment: Mapping[str, str]) -> CheckResult:
    """Each queue has no more jobs in each state than its limit; one trip to Redis for all, one more for ages."""
    within = check.failed_within
    failed_since = f"{1000 * (time.time() - seconds(within)):.0f}" if within else "-inf"
    with _client(check.url_variable, environment, seconds(check.timeout)) as client:
        with client.pipeline(transaction=False) as pipe:
            for queue in check.queues:
                key = f"{check.prefix}:{queue}"
                pipe.llen(f"{key}:wait").llen(f"{key}:paused").zcard(f"{key}:prioritized").llen(f"{key}:active")
                pipe.zcount(f"{key}:failed", failed_since, "+inf").zcard(f"{key}:delayed").lindex(f"{key}:wait", -1)
                pipe.lindex(f"{key}:paused", -1).hget(f"{key}:meta", "paused")
            answers = pipe.execute()
        states = {queue: answers[index * 9 : index * 9 + 9] for index, queue in enumerate(check.queues)}
        ages = {queue: _oldest_age_s(client, check, queue, state) for queue, state in states.items()}
    passed, saw = True, []
    for queue, (wait, paused, prioritized, active, failed, delayed, *_, is_paused) in states.items():
        counts = {"waiting": wait + paused + prioritized, "active": active, "failed": failed, "delayed": delayed}
        over = [name for name, count in counts.items() if (most := getattr(check, name)) is not None and count > most]
        text = ", ".join(f"{count} {name}" for name, count in counts.items())
        text = text.replace(" failed", f" failed in {within}") if within else text
        age = ages[queue]
        if age is not None:
            text += f", the oldest for {age:.0f} s"
            if check.oldest_waiting is not None and age > seconds(check.oldest_waiting):
                over.append(f"oldest waiting (limit {check.oldest_waiting})")
        limits = [f"{name} (limit {getattr(check, name)})" if name in counts else name for name in over]
        saw.append(f"{queue} has {text}{', is paused' if is_paused else ''}" + (f"; too many: {', '.join(limits)}" if over else ""))
        passed = passed and not over
    return CheckResult(passed, "; ".join(saw))


def _oldest_age_s(client: Any, check: BullmqCheck, queue: str, state: list[Any]) -> float | None:
    """How long the oldest waiting job has waited, in seconds. New jobs are pushed on the left."""
    oldest = state[6] or state[7]
    if oldest is None:
        return None
    stamp = client.hget(f"{check.prefix}:{queue}:{oldest.decode()}", "timestamp")
    return max(0.0, time.time() - int(stamp) / 1000) if stamp else None


def _client(variable: str, environment: Mapping[str, str], timeout_s: int) -> Any:
    import redis

    url = environment.get(variable)
    if not url:
        raise LookupError(f"{variable} is not set")
    return redis.Redis.from_url(
        url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s, retry=None, health_check_interval=0
    )
