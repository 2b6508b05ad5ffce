"""What follows a run: its effects, written with it and delivered after it, and whom to tell of it, or that it failed.

Takes the Decision of an apply and its RunRecord, inside the transaction; afterwards the Outcome. Nothing that happens
after the commit changes what the run has done: what could not be delivered waits in the outbox, and is said.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from msgspec.structs import replace

from reconciler.commit import Commit
from reconciler.database.connection import DatabaseConnection, is_rehearsing
from reconciler.database.transaction import begin_read_only
from reconciler.decide import Decision
from reconciler.effects.backlog import count_of_run
from reconciler.effects.delivery import Delivered, Pass, deliver
from reconciler.effects.following import RunFacts, columns_named, following, outgoing
from reconciler.effects.notifications import RunStory, failure_notifications, notifications
from reconciler.effects.outbox import Entry, write
from reconciler.effects.rows import read_rows
from reconciler.errors import DatabaseProblem, InvalidInput, ReconcileError, Stale, UsageProblem
from reconciler.fields import seconds
from reconciler.fit import relation_of
from reconciler.ledger import PARTIAL, RunRecord
from reconciler.model import Action, Json, RowKey
from reconciler.outcome import EffectCounts, Outcome
from reconciler.plan import Notice
from reconciler.policy import Policy
from reconciler.project import Project

_AT_MOST_S = 60.0
"""How long an apply goes on delivering, its own effects first; the next run, or `reconcile deliver`, does the rest."""

LATER = "tried again by the next run, and by `reconcile deliver`"


def write_effects(connection: DatabaseConnection, project: Project, decision: Decision, run: RunRecord) -> bool:
    """Write to the outbox what the run's changes call for. Returns whether anything is to be delivered."""
    tables = project.definitions.tables
    writes = decision.plan.writes
    pairs = list(following(writes, tables))
    rows: dict[RowKey, dict[str, Json]] = {}
    for name, wanted in columns_named(pairs).items():
        rows |= read_rows(connection, tables[name], relation_of(decision.catalog, tables[name]), wanted)
    entries = outgoing(pairs, RunFacts(run.id, run.commit, run.reason), rows)
    told = project.definitions.policy.notify
    if told:
        changes = decision.plan.changes
        if run.outcome == PARTIAL:  # what is left as it is, is told by the last batch, which looks at everything
            changes = tuple(change for change in changes if change.action not in (Action.HOLD, Action.KEEP))
        entries += notifications(changes, told, _story(run, decision.plan.database))
    if entries or (writes and decision.head.undelivered):
        write(connection, run.id, entries)
    return bool(entries) or decision.head.undelivered


def _story(run: RunRecord, database: str) -> RunStory:
    return RunStory(
        run=run.id,
        commit=run.commit,
        author=f"{run.author_name} <{run.author_email}>",
        actor=run.actor,
        reason=run.reason,
        run_url=run.run_url,
        database=database,
    )


def deliver_effects(
    connection: DatabaseConnection, policy: Policy, outcome: Outcome, broken: frozenset[str] = frozenset()
) -> Outcome:
    """The Outcome with what was delivered, and with a notice of what was not. Raises nothing: the run is committed.

    `broken`: endpoints that have just not answered, and are left alone.
    """
    if connection.is_rehearsal:
        return _with_notice(outcome, "this is a rehearsal: no effect is delivered")
    delivered = None
    try:
        what = Pass(run=outcome.run_id, at_most_s=_AT_MOST_S, broken=broken)
        delivered = deliver(connection, policy.delivery, what)
        counts = count_effects(connection, outcome.run_id)
    except KeyboardInterrupt:
        interrupted = replace(outcome, interrupted=True)
        return _with_notice(interrupted, f"the delivery of effects was interrupted: what is left is {LATER}")
    except DatabaseProblem:
        return _with_notice(outcome, f"the database did not answer after the commit: effects wait, and are {LATER}")
    except ReconcileError as error:
        return _with_notice(outcome, f"effects wait to be delivered ({error}): they are {LATER}")
    except Exception as error:  # a bug in a library must not make a committed run look as if it had failed
        return _with_notice(outcome, f"effects wait to be delivered ({type(error).__name__}): they are {LATER}")
    notices = (*outcome.notices, *_notices(delivered))
    return replace(outcome, effects=counts, notices=notices, broken=delivered.broken)


def count_effects(connection: DatabaseConnection, run_id: str) -> EffectCounts:
    """What has become of a run's effects by now."""
    with begin_read_only(connection, doing="counting effects"):
        states = count_of_run(connection, run_id)
    return EffectCounts(
        delivered=states.get("delivered", 0), waiting=states.get("pending", 0), dead=states.get("dead", 0)
    )


def _with_notice(outcome: Outcome, text: str) -> Outcome:
    return replace(outcome, notices=(*outcome.notices, Notice(text)))


def _notices(delivered: Delivered) -> list[Notice]:
    notices = []
    for failure in delivered.failures:
        number = failure.number
        what, they = ("1 effect was", "It is") if number == 1 else (f"{number:,} effects were", "They are")
        where = f"{failure.kind} {failure.target}"
        notices.append(Notice(f"{what} not delivered: {where}: {failure.error}. {they} {LATER}"))
    return notices


@contextmanager
def telling_of_failure(project: Project, actor: str, run_url: str | None) -> Iterator[None]:
    """Tell whom the policy names when the block fails. What is raised is raised in any case, and unchanged.

    That another run was quicker, with a later commit, is no failure: what this one asks for was applied with that.
    """
    try:
        yield
    except UsageProblem:
        raise
    except ReconcileError as error:
        if not (isinstance(error, Stale) and error.overtaken):
            _tell_of_failure(project, actor, run_url, error)
        raise


class _Origin(Protocol):
    @property
    def actor(self) -> str: ...

    @property
    def run_url(self) -> str | None: ...


@contextmanager
def telling_of_wrong_state(origin_of: Callable[[Commit | None], _Origin]) -> Iterator[None]:
    """Tell whom the policy names when the state that the block reads is wrong; a policy that is wrong names nobody."""
    try:
        yield
    except InvalidInput as error:
        if error.project is not None:
            origin = origin_of(error.project.commit)
            _tell_of_failure(error.project, origin.actor, origin.run_url, error)
        raise


def _tell_of_failure(project: Project, actor: str, run_url: str | None, error: ReconcileError) -> None:
    """At once, as a run that failed can write nothing to the outbox. One attempt; its outcome is nobody's concern."""
    if is_rehearsing():
        return
    policy, revision = project.definitions.policy, project.revision
    story = RunStory(
        run=None,
        commit=revision.commit if revision else "",
        author=f"{revision.author_name} <{revision.author_email}>" if revision else "",
        actor=actor,
        reason=None,
        run_url=run_url,
        database="",
    )
    entries = failure_notifications(policy.notify, story, (str(error).splitlines() or [""])[0])
    if not entries:
        return
    from reconciler.effects.webhook import WebhookDelivery

    senders = []
    for entry in entries:
        sender = WebhookDelivery(entry.endpoint, os.environ, seconds(policy.delivery.timeout))
        sender.start([Entry(0, entry.id, "", entry.kind, entry.endpoint, entry.target, entry.payload)])
        senders.append(sender)
    for sender in senders:
        sender.results()
