"""The health checks that ask Redis: whether it answers and has room, and whether BullMQ's queues pile up.

Takes the declaration and the environment; gives what it saw, and never anything of the URL's password. How a queue lies
in Redis is known to `bullmq_queues`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from reconciler.checks.bullmq_queues import Queue, read_queues
from reconciler.effects.redis_client import RedisAddress, connected, read_address
from reconciler.errors import UsageProblem
from reconciler.fields import seconds
from reconciler.guards import CheckResult
from reconciler.policy import BullmqCheck, RedisCheck, share_of


def check_redis(check: RedisCheck, environment: Mapping[str, str]) -> CheckResult:
    """PING is answered, and less than `memory_below` of maxmemory is used."""
    return _with_client(check, environment, lambda client: _room(check, client))


def check_bullmq(check: BullmqCheck, environment: Mapping[str, str]) -> CheckResult:
    """Each queue exists, and has no more jobs in each state than its limit."""
    return _with_client(check, environment, lambda client: _backlog(check, client))


def _room(check: RedisCheck, client: Any) -> CheckResult:
    started = time.perf_counter()
    client.ping()
    took = (time.perf_counter() - started) * 1000
    memory = client.info("memory")
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


def _backlog(check: BullmqCheck, client: Any) -> CheckResult:
    within = seconds(check.failed_within) if check.failed_within else None
    queues = read_queues(client, check.queues, check.prefix, within)
    found = [_judged(check, queue) for queue in queues]
    saw = "; ".join(saw for _, saw in found)
    # A queue that does not exist has not passed; but that alone is not knowing, rather than knowing that jobs pile up.
    made = any(queue.exists and not passed for queue, (passed, _) in zip(queues, found, strict=True))
    return CheckResult(all(passed for passed, _ in found), saw, made or all(queue.exists for queue in queues))


def _judged(check: BullmqCheck, queue: Queue) -> tuple[bool, str]:
    """Whether the queue is within the limits, and what it has, in words."""
    if not queue.exists:
        # A misspelt name would pass for ever, for nothing waits there.
        return False, f"{queue.name}: Redis has no such queue (prefix {check.prefix})"
    counts = {
        "waiting": queue.waiting, "active": queue.active, "failed": queue.failed, "delayed": queue.delayed,
    }  # fmt: skip
    over = [
        f"{state} (limit {most})"
        for state, number in counts.items()
        if (most := getattr(check, state)) is not None and number > most
    ]
    said = {state: f"{number} {state}" for state, number in counts.items()}
    said["failed"] += f" in {check.failed_within}" if check.failed_within else ""
    text = f"{queue.name} has {', '.join(said.values())}"
    if queue.oldest_s is not None:
        text += f", the oldest for {queue.oldest_s:.0f} s"
        if check.oldest_waiting is not None and queue.oldest_s > seconds(check.oldest_waiting):
            over.append(f"oldest waiting (limit {check.oldest_waiting})")
    text += ", is paused" if queue.is_paused else ""
    return not over, text + (f"; too much: {', '.join(over)}" if over else "")


def _with_client(
    check: RedisCheck | BullmqCheck, environment: Mapping[str, str], ask: Callable[[Any], CheckResult]
) -> CheckResult:
    import redis

    try:
        address = read_address(check.url_variable, environment)
    except (LookupError, UsageProblem) as error:
        return _not_made(str(error.args[0]))
    try:
        with connected(address, seconds(check.timeout)) as client:
            return ask(client)
    except redis.AuthenticationError as error:  # a ConnectionError, but Redis is there: the address is wrong
        return _not_made(_without_secrets(str(error), address))
    except (redis.ConnectionError, redis.TimeoutError) as error:
        # For `redis` this is what it looks for; of a queue, nothing was seen.
        saw_it = isinstance(check, RedisCheck)
        return CheckResult(False, f"no answer: {_without_secrets(str(error), address)}", made=saw_it)
    except (redis.RedisError, redis.exceptions.RedisClusterException) as error:
        return _not_made(_without_secrets(str(error), address))


def _not_made(why: str) -> CheckResult:
    return CheckResult(False, f"could not be made: {why}", made=False)


def _without_secrets(text: str, address: RedisAddress) -> str:
    """The first line of an error, without a password, should a library ever quote one."""
    for secret in filter(None, (address.password, address.sentinel_password)):
        text = text.replace(secret, "***").replace(quote(secret, safe=""), "***")
    return (text.splitlines() or [""])[0]
