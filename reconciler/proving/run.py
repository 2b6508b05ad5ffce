"""The end of a run's story: is what was committed in effect? Asked once everything is delivered.

Takes the Decision of an apply and its Outcome; gives the Outcome with the verdicts, which are also in the ledger.
Nothing here changes what the run has done, and nothing is raised: what was not seen is said.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from reconciler.connection import DatabaseConnection
from reconciler.decide import Decision
from reconciler.effects.following import RunFacts, values_of
from reconciler.errors import ReconcileError
from reconciler.fit import relation_of
from reconciler.ledger import RunRecord
from reconciler.model import Change, Missing
from reconciler.outcome import Outcome, Proving
from reconciler.plan import Notice
from reconciler.proving.records import jobs_of_run, record_asked, record_verdicts
from reconciler.proving.sight import Asker, Job, Target
from reconciler.proving.watching import Question, watch
from reconciler.schema import Definitions, Table
from reconciler.transaction import begin_read_only, begin_read_write
from reconciler.verify.compiled import CompiledProof, HttpQuestion, JobQuestion

_Asked = dict[tuple[str, str, int], list[Change]]
"""Table, field and the proof's place among the field's, to the changes that call for it."""


def prove(
    connection: DatabaseConnection,
    definitions: Definitions,
    decision: Decision,
    run: RunRecord,
    outcome: Outcome,
    proving: Proving,
    committed: float,
) -> Outcome:
    """The Outcome with what was seen. `committed` is the time of `time.monotonic` at which the run was."""
    asked = _asked(decision, definitions)
    if not asked:
        return outcome
    if not proving.wanted:
        return _with_notice(outcome, "whether it is in effect was not looked at, as you said")
    try:
        lanes = _lanes(connection, definitions, decision, run, asked)
        questions = [question for lane in lanes for question in lane]
        trouble = _recorded(connection, lambda: record_asked(connection, run.id, questions))
        watched = watch(lanes, committed, proving.at_most_s, proving.watching)
        outcome = replace(outcome, verdicts=watched.verdicts)
        if watched.interrupted:
            outcome = replace(outcome, interrupted=True)
            outcome = _with_notice(outcome, "interrupted while waiting for it to be in effect: the run is committed")
        trouble = trouble or _recorded(connection, lambda: record_verdicts(connection, run.id, watched.verdicts))
    except KeyboardInterrupt:
        outcome = replace(outcome, interrupted=True)
        return _with_notice(outcome, "interrupted: whether it is in effect is not recorded; the run is committed")
    except Exception as error:  # a bug must not make a committed run look as if it had failed
        why = str(error).splitlines()[0] if isinstance(error, ReconcileError) else type(error).__name__
        return _with_notice(outcome, f"whether it is in effect could not be looked at ({why})")
    return _with_notice(outcome, f"whether it is in effect is not recorded ({trouble})") if trouble else outcome


def _recorded(connection: DatabaseConnection, record: Callable[[], None]) -> str | None:
    """Record it in a short transaction; why it could not be. It is looked at all the same."""
    try:
        with begin_read_write(connection, doing="recording what is in effect"):
            record()
    except ReconcileError as error:
        return str(error).splitlines()[0]
    return None


def _with_notice(outcome: Outcome, text: str) -> Outcome:
    return replace(outcome, notices=(*outcome.notices, Notice(text)))


def _asked(decision: Decision, definitions: Definitions) -> _Asked:
    asked: _Asked = {}
    for change in decision.plan.writes:
        for place, proof in enumerate(definitions.tables[change.table].proofs.get(change.field, ())):
            if not isinstance(change.after, Missing) and proof.asked_for(change.after):
                asked.setdefault((change.table, change.field, place), []).append(change)
    return asked


def _lanes(
    connection: DatabaseConnection, definitions: Definitions, decision: Decision, run: RunRecord, asked: _Asked
) -> list[list[Question]]:
    """The questions, those that share a connection together: Postgres', those of one Redis, each of HTTP alone."""
    jobs: Mapping[tuple[str, str, str, str, str], Job] = {}
    if any(definitions.tables[table].proofs[field][place].kind == "job" for table, field, place in asked):
        with begin_read_only(connection, doing="looking for the jobs"):
            jobs = jobs_of_run(connection, run.id)
    facts = RunFacts(run.id, run.commit, run.reason)
    askers = _Askers(connection, decision)
    lanes: dict[tuple[str, ...], list[Question]] = {}
    for number, ((table, field, place), changes) in enumerate(asked.items()):
        proof: CompiledProof = definitions.tables[table].proofs[field][place]
        lane, asker = askers.of(proof, definitions.tables[table], number)
        targets = tuple(_targets(proof, changes, facts, jobs))
        lanes.setdefault(lane, []).append(Question(table, field, proof, len(changes), targets, asker))
    return list(lanes.values())


class _Askers:
    """Who asks what; the proofs of Postgres share a connection."""

    def __init__(self, connection: DatabaseConnection, decision: Decision) -> None:
        self._address = connection.address
        self._decision = decision
        self._fresh: Any = None

    def of(self, proof: CompiledProof, table: Table, number: int) -> tuple[tuple[str, ...], Asker]:
        """The lane of a proof, and its asker."""
        question = proof.question
        if isinstance(question, HttpQuestion):
            from reconciler.proving.http import HttpAsker

            return ("http", str(number)), HttpAsker(question, os.environ)
        if isinstance(question, JobQuestion):
            from reconciler.proving.jobs import JobAsker

            return ("redis", question.variable), JobAsker(question, os.environ)
        from reconciler.proving.database import FreshConnection, RowAsker, SqlAsker

        self._fresh = self._fresh or FreshConnection(self._address)
        if question is None:
            return ("database",), RowAsker(self._fresh, table, relation_of(self._decision.catalog, table))
        return ("database",), SqlAsker(self._fresh, question)


def _targets(
    proof: CompiledProof,
    changes: Sequence[Change],
    facts: RunFacts,
    jobs: Mapping[tuple[str, str, str, str, str], Job],
) -> Iterator[Target]:
    question = proof.question
    sample = question.sample if isinstance(question, HttpQuestion) else len(changes)
    for number, change in enumerate(_spread(changes, sample)):
        assert not isinstance(change.after, Missing)
        where = (change.table, change.key, change.field)
        job = jobs.get((*where, question.queue, question.job)) if isinstance(question, JobQuestion) else None
        yield Target(number, *where, change.label, change.after, values_of(change, facts), job)


def _spread(changes: Sequence[Change], most: int) -> Sequence[Change]:
    """At most so many of them, the first and the last included, at even distances."""
    if len(changes) <= most:
        return changes
    if most == 1:
        return changes[:1]
    return [changes[index * (len(changes) - 1) // (most - 1)] for index in range(most)]
