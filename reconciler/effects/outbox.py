"""The outbox: the table in which effects wait for their delivery, and how several deliverers share it.

Takes a connection inside a transaction; writes, hands out and marks entries, set-based. An entry is handed out by a row
lock that the transaction holds while it is being delivered: a deliverer that dies gives it back at once, with no clock
and no lease, and two never have the same one. None waits for the other (SKIP LOCKED), and no apply waits for either.

The order: of the entries for one row and one endpoint only the oldest is handed out, so a later one never overtakes an
earlier one that is on its way or waits for its next attempt. One that its endpoint has refused holds nobody up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from psycopg import Connection

from reconciler.canonical import from_text, int_array, nullable_text_array, text_array, to_text
from reconciler.effects.compiled import IN_TRANSACTION
from reconciler.effects.following import Outgoing

_LONGEST_NOTIFY = 7_999
"""Bytes that NOTIFY takes."""


class Entry(msgspec.Struct, frozen=True):
    """An entry that was handed out. `sequence` is its place in the outbox, `id` what consumers know it by."""

    sequence: int
    id: str
    run_id: str
    kind: str
    endpoint: str
    target: str
    payload: dict[str, Any]


class Result(msgspec.Struct, frozen=True):
    """How an attempt ended. `error` None: delivered. `refused`: the endpoint has answered, and it said no."""

    entry: Entry
    error: str | None = None
    refused: bool = False


class Retries(msgspec.Struct, frozen=True):
    """When the next attempt is, and when there is none any more. Times are in seconds."""

    refusals: int
    backoff_s: int
    longest_backoff_s: int
    give_up_after_s: int


class Which(msgspec.Struct, frozen=True):
    """Which entries a deliverer asks for.

    `run`: those of this run come first. `eager`: also those whose next attempt is not due, if they were not refused.
    `alive` names endpoints that have just answered (nothing waits for them any more), `broken` ones that have not.
    """

    limit: int
    run: str | None = None
    eager: bool = False
    alive: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()


def write(connection: Connection[Any], run_id: str, entries: Sequence[Outgoing]) -> None:
    """Store the effects of a run, once its changes are recorded, and do what NOTIFY they ask for.

    Whatever has not arrived for a field that this run has written is superseded, whether or not something new follows:
    a stale STOP must not come after a restore. What else waits for a row is due again, so that it holds up nothing new.
    A notification about the same state of things is not repeated within a day.
    """
    too_long = [_is_too_long(entry) for entry in entries]
    connection.execute(
        """
        WITH superseded AS (
            UPDATE reconciler.outbox AS o
               SET state = CASE WHEN p.stale THEN 'superseded' ELSE o.state END,
                   finished_at = CASE WHEN p.stale THEN now() ELSE o.finished_at END,
                   next_attempt_at = now()
              FROM (SELECT p.sequence, f.run_id IS NOT NULL AS stale
                      FROM reconciler.outbox p
                      LEFT JOIN reconciler.change f
                        ON f.run_id = %(run)s::uuid AND f.table_name = p.table_name AND f.key = p.key
                       AND f.field = p.field
                     WHERE p.state IN ('pending', 'dead')
                       AND (p.table_name, p.key) IN
                           (SELECT c.table_name, c.key FROM reconciler.change c WHERE c.run_id = %(run)s::uuid)
                       -- One that is on its way now is left to `claim`, which looks again.
                       FOR UPDATE OF p SKIP LOCKED) AS p
             WHERE o.sequence = p.sequence
        )
        INSERT INTO reconciler.outbox (id, run_id, table_name, key, field, kind, endpoint, target, payload, state,
                                       last_error, finished_at)
        SELECT n.id, %(run)s::uuid, n.table_name, n.key, n.field, n.kind, n.endpoint, n.target, n.payload, n.state,
               n.error, CASE WHEN n.state <> 'pending' THEN now() END
          FROM unnest(%(ids)s::uuid[], %(tables)s::text[], %(keys)s::text[], %(fields)s::text[], %(kinds)s::text[],
                      %(endpoints)s::text[], %(targets)s::text[], %(payloads)s::jsonb[], %(states)s::text[],
                      %(errors)s::text[])
               WITH ORDINALITY
               AS n (id, table_name, key, field, kind, endpoint, target, payload, state, error, ordinal)
         WHERE n.table_name <> ''
            OR NOT EXISTS (SELECT FROM reconciler.outbox t
                            WHERE t.table_name = '' AND t.key = n.key AND t.endpoint = n.endpoint
                              AND t.field = n.field AND t.at > now() - interval '1 day')
         ORDER BY n.ordinal
        """,
        {
            "run": run_id,
            "ids": text_array([entry.id for entry in entries]),
            "tables": text_array([entry.table for entry in entries]),
            "keys": text_array([entry.key for entry in entries]),
            "fields": text_array([entry.field for entry in entries]),
            "kinds": text_array([entry.kind for entry in entries]),
            "endpoints": text_array([entry.endpoint for entry in entries]),
            "targets": text_array([entry.target for entry in entries]),
            "payloads": text_array([to_text(entry.payload) for entry in entries]),
            "states": text_array([_state(entry, long) for entry, long in zip(entries, too_long, strict=True)]),
            "errors": nullable_text_array(
                f"longer than the {_LONGEST_NOTIFY} bytes that NOTIFY takes" if long else None for long in too_long
            ),
        },
    )
    _notify(connection, [entry for entry, long in zip(entries, too_long, strict=True) if not long])


def _state(entry: Outgoing, too_long: bool) -> str:
    if too_long:
        return "dead"
    return "delivered" if entry.kind == IN_TRANSACTION else "pending"


def _is_too_long(entry: Outgoing) -> bool:
    """NOTIFY would refuse it, and with it the whole apply: a message must never stop a kill."""
    return entry.kind == IN_TRANSACTION and len(str(entry.payload["message"]).encode()) > _LONGEST_NOTIFY


def _notify(connection: Connection[Any], entries: Sequence[Outgoing]) -> None:
    now = [entry.payload for entry in entries if entry.kind == IN_TRANSACTION]
    if now:
        connection.execute(
            "SELECT pg_notify(n.channel, n.message) FROM unnest(%s::text[], %s::text[]) AS n (channel, message)",
            (text_array([each["channel"] for each in now]), text_array([each["message"] for each in now])),
        )


class Claim(msgspec.Struct, frozen=True):
    """What was handed out, and how many entries were superseded instead."""

    entries: list[Entry]
    superseded: int


def claim(connection: Connection[Any], which: Which) -> Claim:
    """Entries to deliver, locked until the transaction ends; what a later change has made stale is superseded instead.

    An apply supersedes what it can lock; this is for what was on its way at that moment, and came back.
    """
    found = connection.execute(
        """
        SELECT o.sequence, o.id::text, o.run_id::text, o.kind, o.endpoint, o.target, o.payload::text,
               EXISTS (SELECT FROM reconciler.change c
                         JOIN reconciler.run later ON later.id = c.run_id
                         JOIN reconciler.run own ON own.id = o.run_id
                        WHERE c.table_name = o.table_name AND c.key = o.key AND c.field = o.field
                          AND later.sequence > own.sequence)
          FROM reconciler.outbox o
         WHERE o.state = 'pending'
           AND o.endpoint <> ALL (%(broken)s::text[])
           AND (o.next_attempt_at <= now()
                OR o.refusals = 0 AND (%(eager)s OR o.endpoint = ANY (%(alive)s::text[])))
           AND NOT EXISTS (SELECT FROM reconciler.outbox e
                            WHERE e.state = 'pending' AND e.refusals = 0 AND e.table_name = o.table_name
                              AND e.key = o.key AND e.endpoint = o.endpoint AND e.sequence < o.sequence)
         ORDER BY o.run_id IS DISTINCT FROM %(run)s::uuid, o.sequence
         LIMIT %(limit)s
           FOR UPDATE OF o SKIP LOCKED
        """,
        {
            "broken": list(which.broken),
            "alive": list(which.alive),
            "eager": which.eager,
            "run": which.run,
            "limit": which.limit,
        },
    ).fetchall()
    stale = [sequence for sequence, *_, is_stale in found if is_stale]
    if stale:
        connection.execute(
            """
            UPDATE reconciler.outbox SET state = 'superseded', finished_at = now() WHERE sequence = ANY (%s::bigint[])
            """,
            (int_array(stale),),
        )
    entries = [
        Entry(sequence, id, run, kind, endpoint, target, from_text(payload))
        for sequence, id, run, kind, endpoint, target, payload, is_stale in found
        if not is_stale
    ]
    return Claim(entries, len(stale))


def mark(connection: Connection[Any], results: Sequence[Result], retries: Retries) -> None:
    """Store how the attempts ended, in one statement."""
    connection.execute(
        """
        UPDATE reconciler.outbox AS o
           SET attempts = o.attempts + 1,
               refusals = r.refusals,
               last_error = r.error,
               state = r.state,
               finished_at = CASE WHEN r.state <> 'pending' THEN clock_timestamp() END,
               next_attempt_at = clock_timestamp() + make_interval(secs => r.pause)
          FROM (SELECT r.sequence, r.error, p.refusals + r.refused AS refusals,
                       CASE WHEN r.error IS NULL THEN 'delivered'
                            WHEN p.refusals + r.refused >= %(most)s
                              OR clock_timestamp() > p.tried_since + make_interval(secs => %(give_up)s) THEN 'dead'
                            ELSE 'pending' END AS state,
                       least(%(longest)s, %(backoff)s * 2.0 ^ least(p.attempts, 30)) AS pause
                  FROM unnest(%(sequences)s::bigint[], %(errors)s::text[], %(refused)s::int[])
                       AS r (sequence, error, refused)
                  JOIN reconciler.outbox p USING (sequence)) AS r
         WHERE o.sequence = r.sequence
        """,
        {
            "sequences": int_array(result.entry.sequence for result in results),
            "errors": nullable_text_array(result.error for result in results),
            "refused": int_array(int(result.refused) for result in results),
            "most": retries.refusals,
            "backoff": retries.backoff_s,
            "longest": retries.longest_backoff_s,
            "give_up": retries.give_up_after_s,
        },
    )


def revive(connection: Connection[Any]) -> int:
    """Let the dead wait again, as if they were new. Returns how many there were."""
    return connection.execute(
        """
        UPDATE reconciler.outbox
           SET state = 'pending', attempts = 0, refusals = 0, tried_since = now(), next_attempt_at = now(),
               finished_at = NULL
         WHERE state = 'dead' AND kind <> %s
        """,
        (IN_TRANSACTION,),
    ).rowcount
