"""Whom to tell of a run, and in which words: one message for each event and each webhook of the policy's `notify`.

Takes the Changes of a run, the policy and what is known of the run; gives entries for the outbox, or for a run that
failed, and so can write nothing, entries to be sent at once. Pure, but for the ids.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from reconciler.canonical import to_text
from reconciler.digests import sha256
from reconciler.effects import messages
from reconciler.effects.delivery_policy import Event, Notification
from reconciler.effects.following import Outgoing
from reconciler.effects.payloads import host_of
from reconciler.model import Action, Change, Direction, Finding, Json, Missing

_LISTED = 20
"""Changes that a message lists; the others are counted."""

_NAMED = 3
"""Changes that a sentence names."""

_DRIFT = (Finding.DRIFT, Finding.REOPENED, Finding.KILLED_BY_HAND, Finding.CONFLICT)

_VERBS: dict[Event, str] = {
    "kill": "Killed",
    "restore": "Restored",
    "held": "Held back for now",
    "drift": "Changed behind git's back",
    "failed": "A run failed",
}


class RunStory(msgspec.Struct, frozen=True, kw_only=True):
    """What a notification says of the run. `run` is None for one that failed."""

    run: str | None
    commit: str
    author: str
    actor: str
    reason: str | None
    run_url: str | None
    database: str


def notifications(changes: Sequence[Change], policy: Sequence[Notification], story: RunStory) -> list[Outgoing]:
    """The messages about a run that is being applied. What is held, or has drifted, is told once a day at most."""
    entries = []
    for notification in policy:
        for event in dict.fromkeys(notification.on):
            about = [change for change in changes if _belongs(change, event)]
            if about:
                digest = _digest(about) if event in ("held", "drift") else str(story.run)
                entries.append(_entry(notification, event, digest, story, about, None))
    return entries


def failure_notifications(policy: Sequence[Notification], story: RunStory, error: str) -> list[Outgoing]:
    """The messages about a run that failed."""
    wanted = [notification for notification in policy if "failed" in notification.on]
    return [_entry(notification, "failed", "", story, (), error) for notification in wanted]


def _belongs(change: Change, event: Event) -> bool:
    match event:
        case "kill":
            return change.action.writes and change.direction is Direction.KILL
        case "restore":
            return change.action.writes and change.direction is Direction.RESTORE
        case "held":
            return change.action is Action.HOLD
        case "drift":
            return change.finding in _DRIFT
        case _:
            return False


def _digest(changes: Iterable[Change]) -> str:
    """The same for the same state of things, so that it is not told again by every run."""
    told = [
        [
            *(change.table, change.key, change.field, change.finding.value),
            *(_json(change.before), _json(change.desired), change.hold.until if change.hold else None),
        ]
        for change in changes
    ]
    return sha256(to_text(told).encode()).hexdigest()


def _entry(
    notification: Notification,
    event: Event,
    digest: str,
    story: RunStory,
    changes: Sequence[Change],
    error: str | None,
) -> Outgoing:
    id = str(uuid.uuid4())
    target = notification.webhook
    match target.format:
        case "json":
            body: Json = _document(id, event, story, changes, error)
        case "slack":
            body = messages.slack(messages.slack_text(_sentence(event, story, changes, error)))
        case "discord":
            body = messages.discord(_sentence(event, story, changes, error))
    payload: dict[str, Any] = {"url": target.url, "format": target.format, "secret": target.secret, "body": body}
    return Outgoing(id, "", event, digest, "webhook", target.url, host_of(target.url), payload)


def _document(id: str, event: Event, story: RunStory, changes: Sequence[Change], error: str | None) -> Json:
    return {
        "id": id,
        "event": event,
        **msgspec.structs.asdict(story),
        "error": error,
        "count": len(changes),
        "changes": [_change(change) for change in changes[:_LISTED]],
    }


def _change(change: Change) -> Json:
    return {
        "table": change.table,
        "key": change.key,
        "field": change.field,
        "label": change.label,
        "before": _json(change.before),
        "after": _json(change.after),
        "desired": _json(change.desired),
        "finding": change.finding.value,
        "reason": change.reason,
        "held_until": change.hold.until if change.hold else None,
    }


def _sentence(event: Event, story: RunStory, changes: Sequence[Change], error: str | None) -> str:
    """For people: what, of whom, why, and where to look."""
    words = _words_of_drift if event == "drift" else _words
    named = [words(change) for change in changes[:_NAMED]]
    more = f"\nand {len(changes) - _NAMED:,} more" if len(changes) > _NAMED else ""
    what = error if error is not None else "\n".join(named) + more
    about = [f"commit {story.commit[:7]}" if story.commit else "", f"by {story.actor}", story.database, story.run_url]
    return f"{_VERBS[event]}: {what}\n({', '.join(filter(None, about))})"


def _words(change: Change) -> str:
    return messages.sentence(
        {
            "field": change.field,
            "label": change.label,
            "table": change.table,
            "key": change.key,
            "before": _json(change.before),
            "after": _json(change.desired if change.action is Action.HOLD else change.after),
            "reason": change.hold.explanation if change.hold else change.reason,
        }
    )


def _words_of_drift(change: Change) -> str:
    """`isWhatsappEnabled of Acme Bakery is false, git asks for true: left as it is (WhatsApp ban)`."""
    done = "put back" if change.action.writes else "held as it is" if change.hold else "left as it is"
    return messages.sentence_of_drift(
        change.field,
        change.label if change.label is not None else f"{change.table}/{change.key}",
        _json(change.before),
        _json(change.desired),
        done + (f" ({change.reason})" if change.reason else ""),
    )


def _json(value: Json | Missing) -> Json:
    return None if isinstance(value, Missing) else value
