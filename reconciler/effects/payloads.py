"""What the outbox stores of an effect, and the delivery sends: one form for each kind.

Takes what a schema declares, with its compiled templates; gives the endpoint (a variable of the environment, a URL),
the target that people read, and the function that makes the payload from a change's values.

| kind | payload |
|---|---|
| bullmq | queue, prefix, job, options, data |
| redis_publish | channel, message (text) |
| redis_stream | stream, fields (name to text), max_length |
| redis_delete | keys |
| webhook | url, format, secret (a variable's name), body |
| pg_notify | channel, message (text) |
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from reconciler.canonical import to_text
from reconciler.effects import messages
from reconciler.effects.declared import (
    BullmqJob,
    PgNotify,
    RedisDelete,
    RedisPublish,
    RedisStream,
    Webhook,
)
from reconciler.effects.templates import Template, Values, compile_template
from reconciler.model import Json

BULLMQ = "bullmq:"
"""Stands before the variable in the endpoint of jobs: what hinders BullMQ does not hold up plain messages."""

Payload = dict[str, Any]
Built = tuple[str, str, Callable[[Values], Payload]]
"""Endpoint, target, and what makes the payload."""


def builder(kind: str) -> Callable[[Any, Mapping[str, Template]], Built]:
    """The function for a kind of `declared.KINDS`."""
    return _BUILDERS[kind]


_Data = Mapping[str, Template]


def _bullmq(job: BullmqJob, data: _Data) -> Built:
    fixed = {"queue": job.queue, "prefix": job.prefix, "job": job.job, "options": job.options}
    content = data.get("data", messages.STANDARD)
    return BULLMQ + job.url_variable, job.queue, lambda values: {**fixed, "data": content.render(values)}


def _redis_publish(publish: RedisPublish, data: _Data) -> Built:
    channel, content = data["channel"], data.get("data", messages.STANDARD)
    return (
        publish.url_variable,
        publish.channel,
        lambda values: {"channel": channel.render_text(values), "message": _message(content, values)},
    )


def _redis_stream(stream: RedisStream, data: _Data) -> Built:
    name, content = data["stream"], data.get("data", messages.STANDARD)
    return (
        stream.url_variable,
        stream.stream,
        lambda values: {
            "stream": name.render_text(values),
            "fields": {
                field: value if isinstance(value, str) else to_text(value)
                for field, value in messages.with_id(content.render(values), str(values["id"])).items()
            },
            "max_length": stream.max_length,
        },
    )


def _redis_delete(delete: RedisDelete, _data: _Data) -> Built:
    keys = [compile_template(key) for key in delete.keys]
    return (
        delete.url_variable,
        ", ".join(delete.keys),
        lambda values: {"keys": [key.render_text(values) for key in keys]},
    )


def _webhook(webhook: Webhook, data: _Data) -> Built:
    fixed = {"url": webhook.url, "format": webhook.format, "secret": webhook.secret}
    return webhook.url, host_of(webhook.url), lambda values: {**fixed, "body": _body(webhook, data, values)}


def _body(webhook: Webhook, data: _Data, values: Values) -> Json:
    if webhook.format == "json":
        body: Json = messages.with_id(data.get("data", messages.STANDARD).render(values), str(values["id"]))
        return body
    text = data.get("text")
    if webhook.format == "discord":
        return messages.discord(text.render_text(values) if text else messages.sentence(values))
    if text is None:
        return messages.slack(messages.slack_text(messages.sentence(values)))
    safe = {name: _slack_value(values[name]) for name in text.names}
    return messages.slack(text.render_text(safe))


def _slack_value(value: Json) -> Json:
    if value is None:
        return None
    return messages.slack_text(value if isinstance(value, str) else to_text(value))


def _pg_notify(notify: PgNotify, data: _Data) -> Built:
    content = data.get("data", messages.STANDARD)
    return (
        "",
        notify.channel,
        lambda values: {"channel": notify.channel, "message": _message(content, values)},
    )


def _message(content: Template, values: Values) -> str:
    return to_text(messages.with_id(content.render(values), str(values["id"])))


def url_problem(url: str) -> tuple[str, str] | None:
    """What is wrong with an address, and a hint; None for one that can be one."""
    if re.fullmatch(r"https?://[^/\s]+\S*|\$[A-Za-z_][A-Za-z0-9_]*", url):
        return None
    return f"{url} is not a URL", "https://..., or $NAME for a variable that holds it"


def host_of(url: str) -> str:
    """What may be shown of a webhook's address, whose path is a secret with many: its host, or its variable."""
    return url if url.startswith("$") else url.partition("://")[2].partition("/")[0].rpartition("@")[2]


_BUILDERS: dict[str, Callable[[Any, _Data], Built]] = {
    "bullmq": _bullmq,
    "redis_publish": _redis_publish,
    "redis_stream": _redis_stream,
    "redis_delete": _redis_delete,
    "webhook": _webhook,
    "pg_notify": _pg_notify,
}
