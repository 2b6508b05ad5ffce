"""The end of a run's story: is what was committed in effect? Asked once everything is delivered.

Takes the Decision of an apply and its Outcome; gives the Outcome with the verdicts, which are also in the ledger. That
there are questions is written down in the run's own transaction (`ask_later`), so that whatever happens afterwards to
the process, or to its connection, what nobody has seen is known as such. Nothing else here changes what the run has
done, and nothing else is raised: what was not seen is said.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace
from psycopg import Connection

from reconciler.database.connection import DatabaseConnection
from reconciler.database.transaction import begin_read_only, begin_read_write
from reconciler.decide import Decision
from reconciler.effects.following import RunFacts, values_of
from reconciler.errors import ReconcileError
from reconciler.fit import relation_of
from reconciler.ledger import RunRecord
from reconciler.model import Change, Missing
from reconciler.outcome import Outcome, Proving
from reconciler.plan import Notice
from reconciler.proving.records import Asked, jobs_of_run, record_asked, record_verdicts
from reconciler.proving.sight import Asker, Job, Target
from reconciler.proving.watching import Question, watch
from reconciler.schema import Definitions, Table
from reconciler.verify.compiled import CompiledProof, HttpQuestion, JobQuestion

_Lane = tuple[str, ...]
"""What shares a connection: Postgres, one Redis, an HTTP proof alone."""

_NOT_KNOWN = (
    "the run is committed; until the field is written again, `reconcile status` lists that it is not known to be in "
    "effect. It is not asked again: look for yourself"
)


class _Asking(Struct, frozen=True):
    """One proof of one field, and the changes that call for it."""

    table: Table
    field: str
    proof: CompiledProof
    changes: list[Change]

    @property
    def targets(self) -> Sequence[Change]:
        """The changes that are asked."""
        question = self.proof.question
        return _spread(self.changes, question.sample) if isinstance(question, HttpQuestion) else self.changes


def ask_later(connection: Connection[Any], definitions: Definitions, decision: Decision, run: RunRecord) -> None:
    """Write down, with the changes of an apply, what will be asked of them once they are committed."""
    asked = [
        Asked(each.table.name, each.field, each.proof.kind, each.proof.target, len(each.changes), len(each.targets))
        for lane in _askings(decision, definitions).values()
        for each in lane
    ]
    if asked:
        record_asked(connection, run.id, asked)


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
    askings = _askings(decision, definitions)
    if not askings:
        return outcome
    if not proving.wanted:
        return _with_notice(outcome, "whether it is in effect was not looked at, as you said")
    try:
        lanes = _lanes(connection, decision, run, askings)
        watched = watch(lanes, committed, proving.at_most_s, proving.watching)
        outcome = replace(outcome, verdicts=watched.verdicts)
        if watched.interrupted:
            outcome = replace(outcome, interrupted=True)
            outcome = _with_notice(outcome, "interrupted while waiting for it to be in effect: the run is committed")
        trouble = _recorded(connection, lambda: record_verdicts(connection, run.id, watched.verdicts))
    except KeyboardInterrupt:
        outcome = replace(outcome, interrupted=True)
        return _with_notice(outcome, f"interrupted: {_NOT_KNOWN}")
    except Exception as error:  # a bug must not make a committed run look as if it had failed
        why = str(error).splitlines()[0] if isinstance(error, ReconcileError) else type(error).__name__
        return _with_notice(outcome, f"whether it is in effect could not be looked at ({why}): {_NOT_KNOWN}")
    return _with_notice(outcome, f"what was seen is not recorded ({trouble}): {_NOT_KNOWN}") if trouble else outcome


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


def _askings(decision: Decision, definitions: Definitions) -> dict[_Lane, list[_Asking]]:
    """What is asked, by lane; always in the same order, by which the ledger knows the questions again."""
    of_proof: dict[tuple[str, str, int], _Asking] = {}
    lanes: dict[_Lane, list[_Asking]] = {}
    for change in decision.plan.writes:
        table = definitions.tables[change.table]
        for place, proof in enumerate(table.proofs.get(change.field, ())):
            if isinstance(change.after, Missing) or not proof.asked_for(change.after):
                continue
            name = (change.table, change.field, place)
            if name not in of_proof:
                of_proof[name] = _Asking(table, change.field, proof, [])
                lanes.setdefault(_lane_of(proof, len(of_proof)), []).append(of_proof[name])
            of_proof[name].changes.append(change)
    return lanes


def _lane_of(proof: CompiledProof, number: int) -> _Lane:
    match proof.question:
        case HttpQuestion():
            return "http", str(number)
        case JobQuestion(variable=variable):
            return "redis", variable
        case _:
            return ("database",)


def _lanes(
    connection: DatabaseConnection, decision: Decision, run: RunRecord, askings: Mapping[_Lane, Sequence[_Asking]]
) -> list[list[Question]]:
    """The questions, those that share a connection together."""
    jobs: Mapping[tuple[str, str, str, str, str], Job] = {}
    if any(each.proof.kind == "job" for lane in askings.values() for each in lane):
        with begin_read_only(connection, doing="looking for the jobs"):
            jobs = jobs_of_run(connection, run.id)
    facts = RunFacts(run.id, run.commit, run.reason)
    askers = _Askers(connection, decision)
    return [
        [
            Question(
                each.table.name,
                each.field,
                each.proof,
                len(each.changes),
                tuple(_targets(each, facts, jobs)),
                askers.of(each.proof, each.table),
            )
            for each in lane
        ]
        for lane in askings.values()
    ]


class _Askers:
    """Who asks what; the proofs of Postgres share a connection."""

    def __init__(self, connection: DatabaseConnection, decision: Decision) -> None:
        self._address = connection.address
        self._decision = decision
        self._fresh: Any = None

    def of(self, proof: CompiledProof, table: Table) -> Asker:
        """The asker of a proof."""
        question = proof.question
        if isinstance(question, HttpQuestion):
            from reconciler.proving.http import HttpAsker

            return HttpAsker(question, os.environ)
        if isinstance(question, JobQuestion):
            from reconciler.proving.jobs import JobAsker

            return JobAsker(question, os.environ)
        from reconciler.proving.database import FreshConnection, RowAsker, SqlAsker

        self._fresh = self._fresh or FreshConnection(self._address)
        if question is None:
            return RowAsker(self._fresh, table, relation_of(self._decision.catalog, table))
        return SqlAsker(self._fresh, question)


def _targets(
    asking: _Asking, facts: RunFacts, jobs: Mapping[tuple[str, str, str, str, str], Job]
) -> Iterator[Target]:
    question = asking.proof.question
    for number, change in enumerate(asking.targets):
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
