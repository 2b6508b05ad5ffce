"""What a schema may say about the effects of a field: the words, and nothing of what they do.

Takes and gives nothing of ours; `fields` holds these structs, so that the JSON Schemas for editors are drawn from them.
Where the text says *template*, `$key` and its like may stand in it (see `templates`).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from reconciler.verify.declared import Proof, Url

Positive = Annotated[int, msgspec.Meta(ge=1)]
_Length = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]  # what XADD takes
Text = Annotated[str, msgspec.Meta(min_length=1)]
Variable = Annotated[
    str, msgspec.Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", description="the name of a variable of the environment")
]
_QUEUE = msgspec.Meta(min_length=1, extra_json_schema={"pattern": "^[^:$]+$"})
Channel = Annotated[str, msgspec.Meta(min_length=1, max_length=63)]

REDIS_URL = "REDIS_URL"


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Unknown properties are errors."""


class BullmqJob(_Strict, frozen=True, kw_only=True):
    """A job for a BullMQ queue. Its id is the effect's, so that BullMQ itself drops a repeat.

    `data` is a template; without it the job carries the standard message. `options` are BullMQ's own.
    """

    queue: Annotated[str, _QUEUE]
    job: Text
    data: Any = None
    options: dict[str, Any] = {}
    prefix: Text = "bull"
    url_variable: Variable = REDIS_URL


class RedisPublish(_Strict, frozen=True, kw_only=True):
    """A message on a channel, as JSON. `channel` and `data` are templates."""

    channel: Text
    data: Any = None
    url_variable: Variable = REDIS_URL


class RedisStream(_Strict, frozen=True, kw_only=True):
    """An entry of a stream, which keeps about the newest `max_length`. `stream` and `data` are templates.

    `data` is a mapping: its values that are no text become JSON.
    """

    stream: Text
    data: dict[str, Any] | None = None
    max_length: _Length = 10_000
    url_variable: Variable = REDIS_URL


class RedisDelete(_Strict, frozen=True, kw_only=True):
    """Keys that are removed, as those of a cache. Each is a template; none is a pattern."""

    keys: Annotated[list[Text], msgspec.Meta(min_length=1)]
    url_variable: Variable = REDIS_URL


Format = Literal["json", "slack", "discord"]


class WebhookTarget(_Strict, frozen=True, kw_only=True):
    """Where a POST goes, in which form, and which variable of the environment holds the secret that signs it."""

    url: Url
    format: Format = "json"
    secret: Variable | None = None


class Webhook(WebhookTarget, frozen=True, kw_only=True):
    """A POST. `data` (for `json`) and `text` (for `slack` and `discord`) are templates."""

    data: Any = None
    text: Text | None = None


class PgNotify(_Strict, frozen=True, kw_only=True):
    """A NOTIFY in the transaction itself: whoever listens hears of it at the commit. `data` is a template."""

    channel: Channel
    data: Any = None


class Effect(_Strict, frozen=True, kw_only=True):
    """What follows a change of the field: exactly one of the kinds.

    `when` is the value that the change must lead to, or a list of them; without it every change counts. `verify` is
    what must be seen once it has arrived.
    """

    when: Any = msgspec.UNSET
    verify: list[Proof] = []
    bullmq: BullmqJob | None = None
    redis_publish: RedisPublish | None = None
    redis_stream: RedisStream | None = None
    redis_delete: RedisDelete | None = None
    webhook: Webhook | None = None
    pg_notify: PgNotify | None = None


KINDS = ("bullmq", "redis_publish", "redis_stream", "redis_delete", "webhook", "pg_notify")
