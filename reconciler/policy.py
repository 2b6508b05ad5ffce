"""`schemas/policy.yaml`: what is not about one table. The classes, and what no type can say of them.

Takes nothing but the data of the file (see `schema`, which reads it); gives frozen structs that the JSON Schema for
editors is generated from as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

import msgspec

from reconciler.effects.delivery_policy import DeliveryPolicy, Notification
from reconciler.effects.payloads import url_problem
from reconciler.fields import Duration, NotAValue, canonical_timestamp, seconds

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=63, description="a column, as Postgres spells it")]
Share = Annotated[str, msgspec.Meta(pattern=r"^[0-9]+(\.[0-9]+)?%$", description="a share of a table: 20%")]
Positive = Annotated[int, msgspec.Meta(ge=1)]

NOW = "$now"
"""The moment of the transaction, in the column's own type."""


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Unknown properties are errors."""


class ActorLookup(_Strict, frozen=True, kw_only=True):
    """Where the author's e-mail address is matched to the id of a user of the platform."""

    table: Name
    id: Name
    email: Name
    schema: Name | None = None


class RowToCreate(_Strict, frozen=True, kw_only=True):
    """A row that `reconcile init` makes where it does not exist; `$now` is the moment of the transaction."""

    table: Name
    key: Name
    row: dict[str, Any]
    schema: Name | None = None


class WithoutTenant(_Strict, frozen=True, kw_only=True):
    """Whose tenant id an entry carries when its table has no tenant, and the row that makes the foreign key hold."""

    tenant: str
    create: RowToCreate | None = None


AUDIT_WORDS = ("$uuid", "$tenant", "$actor", "$event", "$metadata", NOW)


class AuditPolicy(_Strict, frozen=True, kw_only=True):
    """The platform's audit table: which of its columns takes which part of an entry.

    A column takes `$uuid`, `$tenant`, `$actor`, `$event`, `$metadata` or `$now`, or the literal text that stands there.
    """

    table: Name
    columns: dict[str, str]
    schema: Name | None = None
    actor: ActorLookup | None = None
    without_tenant: WithoutTenant | None = None


class BlastLimit(_Strict, frozen=True, kw_only=True):
    """How much one run may change: `rows` in all, and `share` of any one table once more than `floor` rows change."""

    rows: Positive | None = None
    share: Share | None = None
    floor: Annotated[int, msgspec.Meta(ge=0)] = 10


class Blast(_Strict, frozen=True, kw_only=True):
    """The limits in the two directions; `restore` counts everything that is not toward the kill side."""

    kill: BlastLimit | None = None
    restore: BlastLimit | None = None


class Freeze(_Strict, frozen=True, kw_only=True, rename={"from_": "from", "for_": "for"}):
    """A time in which nothing but kills is applied.

    Either `from` and `to` (timestamps), or `cron` (when it begins, minute hour day month weekday, in `timezone`) and
    `for` (how long it lasts).
    """

    name: str
    from_: str | None = None
    to: str | None = None
    cron: str | None = None
    for_: Duration | None = None
    timezone: str = "UTC"


class Invariant(_Strict, frozen=True, kw_only=True):
    """A rule over the desired state of each row of a table: `rule` must be true, or nothing is applied.

    It is asked only of rows in which git names every field that the rule names.
    """

    table: str
    rule: str
    message: str


Reviewers = Annotated[int, msgspec.Meta(ge=0, le=10)]


class Approvals(_Strict, frozen=True, kw_only=True):
    """How many people must approve a pull request, by what it does: see docs/approvals.md.

    `neutral` is for what has no direction, files beside `state/` included; `definitions` for schemas, this policy and
    playbooks. What counts for a pull request is what stands in the branch that it goes to.
    """

    kill: Reviewers = 1
    neutral: Reviewers = 1
    restore: Reviewers = 2
    definitions: Reviewers = 2


class RedisCheck(_Strict, frozen=True, kw_only=True, tag_field="type", tag="redis"):
    """Redis (REDIS_URL) answers PING, and uses less than `memory_below` of its maxmemory, where it has one."""

    timeout: Duration = "2s"
    memory_below: Share | None = None
    url_variable: str = "REDIS_URL"


class BullmqCheck(_Strict, frozen=True, kw_only=True, tag_field="type", tag="bullmq"):
    """The BullMQ queues named are not piling up. Each limit is the most that passes; ages are of the oldest job.

    Failed jobs stay in their queue for long; `failed_within` counts only those that failed in so long until now.
    """

    queues: Annotated[list[str], msgspec.Meta(min_length=1)]
    waiting: int | None = None
    active: int | None = None
    failed: int | None = None
    failed_within: Duration | None = None
    delayed: int | None = None
    oldest_waiting: Duration | None = None
    prefix: str = "bull"
    timeout: Duration = "2s"
    url_variable: str = "REDIS_URL"


class HttpCheck(_Strict, frozen=True, kw_only=True, tag_field="type", tag="http"):
    """A URL answers with the status.

    `$NAME` in it, and in a header's value, is the environment's, and is never shown.
    """

    url: str
    status: int = 200
    method: Literal["GET", "HEAD", "POST"] = "GET"
    headers: dict[str, str] = {}
    body: str | None = None
    timeout: Duration = "5s"


class PostgresCheck(_Strict, frozen=True, kw_only=True, tag_field="type", tag="postgres"):
    """The database answers a trivial query in less than `latency_below` milliseconds."""

    latency_below: Positive
    timeout: Duration = "5s"


class SqlCheck(_Strict, frozen=True, kw_only=True, tag_field="type", tag="sql"):
    """A query, run READ ONLY, whose first column of its first row must be true."""

    query: str
    timeout: Duration = "5s"


Check = RedisCheck | BullmqCheck | HttpCheck | PostgresCheck | SqlCheck


ALL = "all"
"""Stands for every target."""

_Variable = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", description="an environment variable")]


class Target(_Strict, frozen=True, kw_only=True):
    """One of several databases: the environment variables that hold its address, and the one to try where it does not
    answer.
    """

    url_env: _Variable
    direct_env: _Variable | None = None


class Policy(_Strict, frozen=True, kw_only=True):
    """What is not about one table.

    `full_pass_every`: how often a run of a large project looks at every row, not only at those that git has changed.
    """

    audit: AuditPolicy
    blast: Blast = Blast()
    freezes: list[Freeze] = []
    invariants: list[Invariant] = []
    checks: dict[str, Check] = {}
    approvals: Approvals = Approvals()
    expiring_soon: Duration = "24h"
    full_pass_every: Duration = "24h"
    delivery: DeliveryPolicy = DeliveryPolicy()
    notify: list[Notification] = []
    targets: dict[str, Target] = {}


_Path = tuple[str | int, ...]


def policy_problems(policy: Policy) -> Iterator[tuple[_Path, str, str]]:
    """(path in the file, what is wrong, hint) of a policy that contradicts itself."""
    from reconciler.errors import nearest

    for column, word in policy.audit.columns.items():
        if word.startswith("$") and word not in AUDIT_WORDS:
            hint = nearest(word, AUDIT_WORDS) or f"one of {', '.join(AUDIT_WORDS)}"
            yield ("audit", "columns", column), f"{word} is nothing that an audit entry has", hint
    for needed in ("$tenant", "$event", "$metadata"):
        if needed not in policy.audit.columns.values():
            yield ("audit", "columns"), f"no column of the audit table takes {needed}", ""
    without = policy.audit.without_tenant
    create = without.create if without is not None else None
    if without is not None and create is not None and create.row.get(create.key) != without.tenant:
        path = ("audit", "without_tenant", "create", "row", create.key)
        yield path, f"the row to create must have the key {without.tenant}", ""
    yield from _target_problems(policy.targets)
    for index, freeze in enumerate(policy.freezes):
        for part, message, hint in _freeze_problems(freeze):
            yield ("freezes", index, part), message, hint
    for name, check in policy.checks.items():
        for part, message, hint in _check_problems(check):
            yield ("checks", name, part), message, hint
    for index, notification in enumerate(policy.notify):
        wrong = url_problem(notification.webhook.url)
        if wrong is not None:
            yield ("notify", index, "webhook", "url"), *wrong


def _target_problems(targets: Mapping[str, Target]) -> Iterator[tuple[_Path, str, str]]:
    taken: dict[str, str] = {}
    for name, target in targets.items():
        if name == ALL or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,30}", name):
            yield ("targets", name), f'"{name}" cannot be the name of a target', "letters, digits, - and _; not `all`"
        other = taken.setdefault(target.url_env, name)
        if other != name:
            text = f"{target.url_env} is the address of target {other} as well"
            yield ("targets", name, "url_env"), text, "each target is a database of its own"


LONGEST_TIMEOUT = "60s"
"""Of a check: the restores of a run wait for it, and in a saved plan the kills too."""


def _check_problems(check: Check) -> Iterator[tuple[str, str, str]]:
    """(property, what is wrong, hint) of a check that would always pass, or never."""
    if seconds(check.timeout) > seconds(LONGEST_TIMEOUT):
        yield "timeout", f"longer than {LONGEST_TIMEOUT}, for which the whole of a saved plan would have to wait", ""
    if isinstance(check, BullmqCheck):
        limits = (check.waiting, check.active, check.failed, check.delayed, check.oldest_waiting)
        if limits == (None,) * len(limits):
            yield "type", "a check without a limit always passes", "waiting: 1000, or oldest_waiting: 10m"
        if check.failed_within is not None and check.failed is None:
            yield "failed_within", "says which failed jobs count, and `failed` is not limited", "failed: 20"
    if isinstance(check, HttpCheck):
        if not check.url.startswith(("http://", "https://", "$")):
            yield "url", "neither http:// nor https://", "or $NAME, which the environment has"
        from string import Template  # few policies have such a check

        for part, texts in (("url", [check.url]), ("headers", list(check.headers.values()))):
            if not all(Template(text).is_valid() for text in texts):
                yield part, "a $ begins no name", "write $NAME or ${NAME}, and $$ for a $"


def _freeze_problems(freeze: Freeze) -> Iterator[tuple[str, str, str]]:
    window, recurring = (freeze.from_, freeze.to), (freeze.cron, freeze.for_)
    if None not in window and recurring == (None, None):
        yield from _window_problems(freeze)
    elif None not in recurring and window == (None, None):
        yield from _recurring_problems(freeze)
    else:
        yield "name", "a freeze has either `from` and `to`, or `cron` and `for`", ""


def _window_problems(freeze: Freeze) -> Iterator[tuple[str, str, str]]:
    moments = []
    for part, text in (("from", freeze.from_), ("to", freeze.to)):
        try:
            moments.append(datetime.fromisoformat(canonical_timestamp(str(text))))
        except NotAValue as wrong:
            yield part, str(wrong), wrong.hint
    if len(moments) == 2 and moments[0] >= moments[1]:
        yield "to", "the freeze ends before it begins", ""
    if freeze.timezone != "UTC":
        yield "timezone", "`from` and `to` carry their own offsets", "2026-12-23T18:00:00+01:00"


def _recurring_problems(freeze: Freeze) -> Iterator[tuple[str, str, str]]:
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    from cronsim import CronSim, CronSimError

    try:
        CronSim(str(freeze.cron), datetime.now(UTC))
    except CronSimError as error:
        yield "cron", f"not a cron expression: {error}", "minute hour day month weekday: 0 18 * * FRI"
    try:
        ZoneInfo(freeze.timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        yield "timezone", f"{freeze.timezone} is not a time zone", "a name such as Europe/Berlin"


def share_of(share: str) -> Decimal:
    """A `Share` as a fraction: 0.2 for 20%."""
    return Decimal(share.removesuffix("%")) / 100
