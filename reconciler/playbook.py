"""`schemas/playbooks/<name>.yaml`: an incident as data. The classes, and nothing that reads them.

Takes nothing; gives frozen structs that `runbook.playbooks` reads files into, and that the JSON Schema for editors is
generated from. They stand below the runbook, beside the policy, because both are words that a user writes.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from reconciler.fields import Duration
from reconciler.policy import Name

SUBJECT = "$subject"
"""As a row: the row that the incident is about."""

BEFORE = "$before"
"""As a value of `restore`: what the field was before the kill."""

Word = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$", description="lower case: new-session")]
Text = Annotated[str, msgspec.Meta(min_length=1)]


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Unknown properties are errors."""


class Symptom(_Strict, frozen=True, kw_only=True):
    """One thing that triage looks at: a `query`, a `check` of the policy, or a `probe` that is built in.

    A query is one READ ONLY statement, each row of which is a match; its column `key` is the subject's key, `label` the
    subject's name. `{name}` in it is a threshold, a whole number or a duration. A check matches where it does not pass.
    The probe `database` matches where DATABASE_URL does not answer, and tells the pooler from the database. `says` is
    the evidence, with columns and thresholds in braces; of a check or a probe it has `{saw}`.
    """

    name: Word
    says: Text
    query: Text | None = None
    check: str | None = None
    probe: Literal["database"] | None = None
    thresholds: dict[str, int | Duration] = {}


class Assignment(_Strict, frozen=True, kw_only=True):
    """One field of one row, and what it becomes. `row` is a key, or `$subject`."""

    table: Name
    row: Text
    field: Name
    value: Any


class Step(_Strict, frozen=True, kw_only=True):
    """What only a person can do. `confirm`: whether it is asked for, and kept in the commit."""

    id: Word
    text: Text
    confirm: bool = True


class KillOption(_Strict, frozen=True, kw_only=True):
    """One way to stop the damage: the flag of `reconcile kill` that its name is, and what it sets."""

    help: Text
    set: Annotated[list[Assignment], msgspec.Meta(min_length=1)]


class Kill(_Strict, frozen=True, kw_only=True):
    """The ways to stop the damage, and the one that is taken where none is named.

    `steps` are for people beside the switch, or where no switch can be thrown; they are printed, never asked for.
    """

    default: Word
    options: Annotated[dict[str, KillOption], msgspec.Meta(min_length=1)]
    steps: list[Step] = []


class Recovery(_Strict, frozen=True, kw_only=True):
    """The way back. Of `set`, only those fields are written that stand where a kill of this playbook put them.

    `checks` are made and shown first, beside the guards that the fields have by themselves.
    """

    set: Annotated[list[Assignment], msgspec.Meta(min_length=1)]
    steps: list[Step] = []
    checks: list[str] = []


class Monitor(_Strict, frozen=True, kw_only=True, rename={"for_": "for"}):
    """What is watched after the restore, and for how long."""

    for_: Duration
    steps: list[Text] = []
    queries: list[Symptom] = []


class Contact(_Strict, frozen=True, kw_only=True):
    """Whom to call."""

    who: Text
    how: Text


class Jobs(_Strict, frozen=True, kw_only=True, rename={"for_": "for"}):
    """So many jobs that have waited in a BullMQ queue `for` so long, or failed in it so long ago."""

    queue: Text
    waiting: Annotated[int, msgspec.Meta(ge=1)] | None = None
    failed: Annotated[int, msgspec.Meta(ge=1)] | None = None
    for_: Duration = "1m"


class Answer(_Strict, frozen=True, kw_only=True):
    """What the server answers that a check of type `http` asks; until something else is said, what passes."""

    check: str
    status: Annotated[int, msgspec.Meta(ge=200, le=599)]


Server = Literal["database", "redis"]


class Happening(_Strict, frozen=True, kw_only=True):
    """One thing that a drill makes happen. Each has one property.

    `sql` is one statement that writes, with `{subject}` for the subject's key; `drain` empties a queue; `stop` and
    `start` do that to a server, for real.
    """

    sql: Text | None = None
    jobs: Jobs | None = None
    drain: Text | None = None
    answer: Answer | None = None
    stop: Server | None = None
    start: Server | None = None


class Drill(_Strict, frozen=True, kw_only=True):
    """How `reconcile drill` makes the incident happen, and end.

    `subject` is the key of the row that it is about, in the drill's own database. `sees` are the symptoms that triage
    must see once `happens` has happened, and no more once `recovers` has. `holds` are the guards that must hold a
    restore that comes before; without one, its steps must, which nobody has confirmed.
    """

    happens: Annotated[list[Happening], msgspec.Meta(min_length=1)]
    sees: Annotated[list[Word], msgspec.Meta(min_length=1)]
    recovers: Annotated[list[Happening], msgspec.Meta(min_length=1)]
    subject: Text | None = None
    holds: list[Literal["after", "requires"]] = []


class Playbook(_Strict, frozen=True, kw_only=True):
    """An incident: how it is seen, what stops it, how things go back, and what is watched afterwards.

    `incident` is its number, for people. `subject` is the table whose row the incident is about; without it, the
    assignments name their rows. `look` is what a person sees who has no triage; `warnings` are what must not be done.
    `drill` rehearses all of it.
    """

    title: Text
    summary: Text
    incident: int | None = None
    subject: Name | None = None
    symptoms: Annotated[list[Symptom], msgspec.Meta(min_length=1)]
    look: list[Text] = []
    warnings: list[Text] = []
    kill: Kill
    restore: Recovery
    monitor: Monitor
    contacts: list[Contact] = []
    drill: Drill | None = None
