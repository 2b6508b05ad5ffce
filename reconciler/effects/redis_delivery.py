"""Sends entries to one Redis: BullMQ jobs, messages, entries of streams, keys to remove.

Takes the address, the time that a batch may take, and entries; gives a Result for each. Everything of a batch travels
together, and an event loop bounds all of it: connecting, sentinels, and every answer share one deadline.

In a cluster each command goes to the node that has its key's slot (BullMQ needs a prefix with a hash tag there:
`{bull}`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

import redis
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.crc import key_slot

from reconciler.effects.bullmq_jobs import add_jobs, load_package
from reconciler.effects.outbox import Entry, Result
from reconciler.effects.redis_client import HostPort, RedisAddress, keyword_arguments, sentinel_arguments
from reconciler.effects.redis_errors import NOT_NOW_KINDS, first_line, is_about_the_server

Node = HostPort | None
"""A node of a cluster, None where there is only one server."""

Command = tuple[Any, ...]


class RedisDelivery:
    """One Redis, for the time of a delivery. Used from one event loop."""

    def __init__(self, address: RedisAddress, timeout_s: float) -> None:
        self._address = address
        self._timeout_s = timeout_s
        self._clients: dict[Node, Any] = {}
        self._sentinels: list[Any] = []
        self._slots: list[tuple[int, int, HostPort]] = []

    async def send(self, entries: Sequence[Entry]) -> list[Result]:
        """Deliver the entries, those that the server takes before the deadline. Never raises for what Redis does."""
        batch = _Batch(self._address.place, entries)
        if any(entry.kind == "bullmq" for entry in entries):
            # Before the clock runs: on a disk that nobody has read from yet, this alone can take the whole time.
            with contextlib.suppress(Exception):  # said of the entries that need it
                load_package()
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._send(entries, batch)
        except TimeoutError:
            batch.fail_the_rest(f"no answer within {self._timeout_s:g} s")
        except (redis.RedisError, OSError) as error:
            batch.fail_the_rest(first_line(error))
        except Exception as error:  # what a library raises besides holds up nothing for another endpoint
            batch.fail_the_rest(type(error).__name__)
        return batch.results()

    async def close(self) -> None:
        """Let go of every connection."""
        for client in (*self._clients.values(), *self._sentinels):
            await client.aclose()

    async def _send(self, entries: Sequence[Entry], batch: _Batch) -> None:
        jobs: dict[tuple[str, str], list[Entry]] = {}
        plain: dict[Node, list[tuple[Entry, Command]]] = {}
        for entry in entries:
            if entry.kind == "bullmq":
                jobs.setdefault((entry.payload["prefix"], entry.payload["queue"]), []).append(entry)
                continue
            for key, command in commands_of(entry):
                plain.setdefault(await self._node_of(key), []).append((entry, command))
        for (prefix, queue), of_queue in jobs.items():
            client = self._client(await self._node_of(f"{prefix}:{queue}:id"))
            for entry, error in zip(of_queue, await add_jobs(client, prefix, queue, of_queue), strict=True):
                batch.note(entry, error)
        for node, commands in plain.items():
            async with self._client(node).pipeline(transaction=False) as pipe:
                for _, command in commands:
                    pipe.execute_command(*command)
                answers = await pipe.execute(raise_on_error=False)
            for (entry, _), answer in zip(commands, answers, strict=True):
                batch.note(entry, answer if isinstance(answer, Exception) else None)

    async def _node_of(self, key: str) -> Node:
        if not self._address.cluster:
            return None
        if not self._slots:
            self._slots = await self._read_slots()
        slot = key_slot(key.encode())
        for first, last, node in self._slots:
            if first <= slot <= last:
                return node
        raise redis.exceptions.ClusterDownError(f"no node of the cluster has slot {slot}")

    async def _read_slots(self) -> list[tuple[int, int, HostPort]]:
        """The slots' ranges and their nodes, from the first host that answers."""
        failed: Exception = redis.ConnectionError("no node of the cluster is known")
        for host in self._address.hosts:
            try:
                found = await self._client(host).execute_command("CLUSTER SLOTS")
            except NOT_NOW_KINDS as error:
                failed = error
            else:
                return [(int(low), int(high), (node[0] or host[0], int(node[1]))) for low, high, node, *_ in found]
        raise failed

    def _client(self, node: Node) -> Any:
        if node not in self._clients:
            self._clients[node] = self._open(node)
        return self._clients[node]

    def _open(self, node: Node) -> Any:
        """redis-py's asynchronous client, which connects when it is used."""
        address = self._address
        once: dict[str, Any] = {"retry": Retry(NoBackoff(), 0), "decode_responses": True}
        given = {**keyword_arguments(address, self._timeout_s), **once}
        if address.service:
            ask: Any = Sentinel
            asked = ask(list(address.hosts), sentinel_kwargs={**sentinel_arguments(address, self._timeout_s), **once})
            self._sentinels += asked.sentinels
            return asked.master_for(address.service, **given)
        if address.path:
            return redis.asyncio.Redis(**given)
        if address.cluster:
            del given["db"]
        host, port = node or address.hosts[0]
        return redis.asyncio.Redis(host=host, port=port, **given)


class _Batch:
    """What has become of the entries so far. An entry is delivered once all of its commands are."""

    def __init__(self, place: str, entries: Sequence[Entry]) -> None:
        self._place = place
        self._entries = entries
        self._open = {entry.sequence: len(commands_of(entry)) for entry in entries}
        self._failed: dict[int, Result] = {}

    def note(self, entry: Entry, error: Exception | None) -> None:
        """One command's answer; of an entry with several, the first error counts."""
        self._open[entry.sequence] -= 1
        if error is not None and entry.sequence not in self._failed:
            refused = not is_about_the_server(error)
            self._failed[entry.sequence] = Result(entry, f"{self._place}: {first_line(error)}", refused)

    def fail_the_rest(self, why: str) -> None:
        """Whatever has had no answer is not delivered, as far as anybody knows."""
        for entry in self._entries:
            if self._open[entry.sequence]:
                self._failed.setdefault(entry.sequence, Result(entry, f"{self._place}: {why}"))

    def results(self) -> list[Result]:
        """One for each entry."""
        return [self._failed.get(entry.sequence, Result(entry)) for entry in self._entries]


def commands_of(entry: Entry) -> list[tuple[str, Command]]:
    """(key, command) of what an entry asks for; of a job, which BullMQ's own script adds, only its queue's key."""
    payload = entry.payload
    match entry.kind:
        case "bullmq":
            return [(f"{payload['prefix']}:{payload['queue']}", ())]
        case "redis_publish":
            return [(payload["channel"], ("PUBLISH", payload["channel"], payload["message"]))]
        case "redis_stream":
            fields = [part for pair in payload["fields"].items() for part in pair]
            limit = ("MAXLEN", "~", payload["max_length"])
            return [(payload["stream"], ("XADD", payload["stream"], *limit, "*", *fields))]
        case _:
            return [(key, ("UNLINK", key)) for key in payload["keys"]]
