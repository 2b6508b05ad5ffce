"""Effects ready to be used: what a schema declares, checked, with its templates compiled.

Takes a field with its declared effects, the nodes of their `when`, and the names that a template may say; gives
`CompiledEffect`s, or what is wrong and where. A compiled effect knows when it follows a change, and what is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from reconciler.canonical import equal
from reconciler.effects.declared import KINDS, BullmqJob, Effect
from reconciler.effects.payloads import Payload, builder, url_problem
from reconciler.effects.templates import Names, Values, compile_template, problems_of, texts_in
from reconciler.fields import Field, NotAValue
from reconciler.model import Json
from reconciler.nodes import Node
from reconciler.nodes import Sequence as SequenceNode

IN_TRANSACTION = "pg_notify"
"""The kind that needs no delivery."""

_LONGEST_CHANNEL = 63
"""Bytes that PostgreSQL takes."""

_Path = tuple[str | int, ...]
_Wrong = tuple[_Path, str, str]


class CompiledEffect(msgspec.Struct, frozen=True):
    """What follows a change of one field.

    `endpoint` is what is reached (a variable of the environment, a URL), `target` what people read: a queue, a channel,
    a host. `when` None: every change. `names` are those of its templates.
    """

    kind: str
    endpoint: str
    target: str
    when: tuple[Json, ...] | None
    names: frozenset[str]
    payload: Callable[[Values], Payload]
    """What the outbox stores and the delivery sends, from the values of all names."""

    def follows(self, after: Json) -> bool:
        """Whether a change to this value calls for it."""
        return self.when is None or any(equal(after, value) for value in self.when)


def compile_effects(
    field: Field, when_nodes: Sequence[Node | None], names: Names
) -> tuple[tuple[CompiledEffect, ...], list[_Wrong]]:
    """The effects of a field and (path below `effects`, what is wrong, hint) of everything that is wrong in them."""
    wrong: list[_Wrong] = []
    compiled = []
    for index, (effect, node) in enumerate(zip(field.effects, when_nodes, strict=True)):
        found = [*_contradictions(effect), *_template_problems(effect, names)]
        values, said = values_of_when(field, node)
        found += said
        wrong += [((index, *path), message, hint) for path, message, hint in found]
        if not found:
            compiled.append(_compiled(effect, values))
    return tuple(compiled), wrong


def values_of_when(field: Field, node: Node | None) -> tuple[tuple[Json, ...] | None, list[_Wrong]]:
    """The values that `when` names, None where it is not there, and what is wrong with them."""
    if node is None:
        return None, []
    nodes: list[tuple[_Path, Node]] = [(("when",), node)]
    if isinstance(node, SequenceNode):
        nodes = [(("when", index), item) for index, item in enumerate(node.items)]
        if not nodes:
            return (), [(("when",), "an empty list is led to by no change", "leave `when` out for every change")]
    values, wrong = [], []
    for path, item in nodes:
        try:
            values.append(field.parse(item))
        except NotAValue as error:
            wrong.append((path, f"no value of the field: {error}", error.hint))
    return tuple(values), wrong


def kind_of(effect: Effect) -> str:
    """The name of the effect's one kind."""
    return next(kind for kind in KINDS if getattr(effect, kind) is not None)


def _contradictions(effect: Effect) -> Iterator[_Wrong]:
    kinds = [kind for kind in KINDS if getattr(effect, kind) is not None]
    if len(kinds) != 1:
        said = f"an effect has one kind, not {len(kinds)}" if kinds else "an effect needs a kind"
        yield (), said, f"one of {', '.join(KINDS)}"
        return
    if effect.bullmq is not None:
        if "jobId" in effect.bullmq.options:
            yield ("bullmq", "options", "jobId"), "the job's id is the effect's own, so that a repeat is dropped", ""
        if ":" in effect.bullmq.queue or "$" in effect.bullmq.queue:
            yield ("bullmq", "queue"), "a queue's name holds neither : nor $", ""
        for path, text in _texts_of(effect.bullmq):
            if "$" in text:
                yield ("bullmq", *path), f"{text}: names stand in `data` alone", ""
    notify = effect.pg_notify
    if notify is not None:
        if len(notify.channel.encode()) > _LONGEST_CHANNEL:  # it would fail the whole apply
            yield ("pg_notify", "channel"), f"a channel has at most {_LONGEST_CHANNEL} bytes", ""
        if "$" in notify.channel:
            yield ("pg_notify", "channel"), f"{notify.channel}: names stand in `data` alone", ""
    webhook = effect.webhook
    if webhook is not None:
        wrong = url_problem(webhook.url)
        if wrong is not None:
            yield ("webhook", "url"), *wrong
        if webhook.format == "json" and webhook.text is not None:
            yield ("webhook", "text"), "`text` is for the formats slack and discord", "say `data`"
        if webhook.format != "json" and webhook.data is not None:
            yield ("webhook", "data"), "`data` is for the format json", "say `text`"


def _texts_of(job: BullmqJob) -> Iterator[tuple[_Path, str]]:
    """(path, text) of what BullMQ is told besides the data: as it stands there, so a name in it would stay a name."""
    yield ("job",), job.job
    yield ("prefix",), job.prefix
    for path, text in texts_in(job.options):
        yield ("options", *path), text

def _templates(effect: Effect) -> Iterator[tuple[_Path, Any]]:
    """(path, data) of every part that is a template."""
    parts = {
        "bullmq": ("data",),
        "redis_publish": ("channel", "data"),
        "redis_stream": ("stream", "data"),
        "redis_delete": ("keys",),
        "webhook": ("data", "text"),
        "pg_notify": ("data",),
    }
    for kind, names in parts.items():
        declared = getattr(effect, kind)
        for name in names if declared is not None else ():
            data = getattr(declared, name)
            if data is not None:
                yield (kind, name), data


def _template_problems(effect: Effect, names: Names) -> Iterator[_Wrong]:
    for path, data in _templates(effect):
        for inner, message, hint in problems_of(data, names):
            yield (*path, *inner), message, hint


def _compiled(effect: Effect, when: tuple[Json, ...] | None) -> CompiledEffect:
    kind = kind_of(effect)
    declared: Any = getattr(effect, kind)
    data = {str(path[-1]): compile_template(template) for path, template in _templates(effect)}
    names = frozenset().union(*(template.names for template in data.values()))
    endpoint, target, payload = builder(kind)(declared, data)
    return CompiledEffect(kind, endpoint, target, when, names, payload)
