"""The story of one incident, as a person lives it: symptom, triage, kill, effect, early restore, recovery, restore.

Takes a Ground and a playbook; gives a Drilled. Each step is made of commands that a person would type, triage's own
words included, and of a look at what they have left. The first step that fails ends the story.
"""

from __future__ import annotations

import json
import re
import shlex
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from reconciler.drill.evidence import (
    Missed,
    check_values,
    count_audit_entries,
    follow_effects,
    last_run,
    values_of,
)
from reconciler.drill.ground import Ground, Ran
from reconciler.drill.result import STEPS, Drilled, Outcome, Step
from reconciler.errors import DatabaseProblem, Failed, ReconcileError
from reconciler.fields import format_timestamp
from reconciler.model import FieldKey, Json
from reconciler.playbook import BEFORE, SUBJECT, Assignment, Drill, Happening, Playbook
from reconciler.runbook.playbooks import Runbook
from reconciler.runbook.triage import kill_command

__all__ = ["tell"]

Told = Callable[[str, Step], None]
"""Called with the playbook's name and each step that is done."""

_REASON = "a drill"


class _NotShown(Exception):
    """A step cannot be shown on this ground; `str()` says why."""


def tell(ground: Ground, runbook: Runbook, name: str, subject: str | None, told: Told) -> Drilled:
    """Drill one playbook that has a `drill`. `subject` is the key of the row that it is about."""
    playbook = runbook.playbooks[name]
    story = _Story(ground, runbook, name, subject)
    acts = (
        story.symptom, story.triage, story.kill, story.effect, story.early_restore, story.recovery, story.restore,
    )  # fmt: skip
    steps: list[Step] = []
    for title, act in zip(STEPS, acts, strict=True):
        step = _timed(title, act)
        steps.append(step)
        told(name, step)
        if step.outcome == "failed":
            break
    return Drilled(name, playbook.title, playbook.incident, tuple(steps))


def _timed(title: str, act: Callable[[], str]) -> Step:
    started = time.monotonic()
    outcome: Outcome = "shown"
    try:
        said = act()
    except _NotShown as why:
        outcome, said = "not shown", str(why)
    except (Missed, ReconcileError) as why:
        outcome, said = "failed", " ".join(str(why).split())
    return Step(title, outcome, round(time.monotonic() - started, 2), said)


class _Story:
    """What one step has learnt, and the next needs."""

    def __init__(self, ground: Ground, runbook: Runbook, name: str, subject: str | None) -> None:
        playbook = runbook.playbooks[name]
        assert playbook.drill is not None
        self.ground = ground
        self.definitions = runbook.definitions
        self.name = name
        self.playbook: Playbook = playbook
        self.drill: Drill = playbook.drill
        self.subject = subject
        self.killed: dict[FieldKey, Json] = {
            self._field(one): one.value for one in playbook.kill.options[playbook.kill.default].set
        }
        self.before: dict[FieldKey, Json] = {}
        self.command: list[str] = []
        self.is_seen = True
        self.later: datetime | None = None
        self.is_proposed = False
        self.branch = ""
        self.recovered = 0
        self.opened_early: set[FieldKey] = set()

    # the steps -------------------------------------------------------------------------------------------------------

    def symptom(self) -> str:
        """Quiet before; then what the playbook's drill makes happen."""
        self.before = values_of(self.ground, self.definitions, self.killed)
        missing = [field for field in self.killed if field not in self.before]
        if missing:
            raise Missed(f"there is no row {missing[0][0]}/{missing[0][1]} to begin with")
        possible = [one for one in self.drill.happens if self.ground.can_make(one)]
        self.is_seen = bool(possible and self._sees())
        if not self.is_seen:
            raise _NotShown("no server is stopped here, and no row would show it")
        already = self._evidence(self._triage("--only", self.name)).keys() & self._sees()
        if already:
            raise Missed(f"triage sees {', '.join(sorted(already))} before anything has happened")
        for one in possible:
            self.ground.make(one, self.subject)
        left = [describe(one) for one in self.drill.happens if one not in possible]
        return "; ".join(describe(one) for one in possible) + (f" (not here: {'; '.join(left)})" if left else "")

    def triage(self) -> str:
        """The playbook matches, with every symptom that it should see, and prints the command."""
        if not self.is_seen:
            raise _NotShown("what would be seen could not be made to happen here")
        document = self._triage()
        evidence = self._evidence(document)
        missing = [name for name in self.drill.sees if name in self._sees() and name not in evidence]
        if missing:
            seen = ", ".join(evidence) or "nothing"
            raise Missed(f"triage does not see {', '.join(missing)} of {self.name} (it sees {seen})")
        match = self._match(document)
        assert match is not None
        remedy = next((one for one in match["remedies"] if one["key"] == self.subject), None)
        if remedy is None:
            raise Missed(f"triage prints no command for {self.subject or 'it'}")
        self.command = shlex.split(remedy["command"])[1:]
        return "; ".join(evidence[name] for name in self.drill.sees if name in evidence)

    def kill(self) -> str:
        """The command that triage has printed, with --now: committed, pushed, applied."""
        if not self.command:
            line = kill_command(self.name, self.playbook, self.subject, _REASON, str(self.ground.scratch.directory))
            self.command = shlex.split(line)[1:]
        away = self.ground.database_is_away
        branches = self.ground.scratch.branches("kill")
        ran = self.ground.run([*self.command, "--now", "--yes", "--no-pr"])
        _need(ran, DatabaseProblem.exit_code if away else 0)
        made = sorted(self.ground.scratch.branches("kill") - branches)
        if len(made) != 1:
            raise Missed(f"no branch was pushed: {ran.last_words}")
        self.branch = made[0]
        if not away:
            return f"{self.branch} is pushed and applied"
        self.ground.scratch.merge(self.branch)
        self.ground.begin_waiting(["--wait", "10m", "--yes"])
        return f"{self.branch} is pushed and merged; a run waits for the database"

    def effect(self) -> str:
        """The row, the audit entry, and what arrived; and the same once git has caught up."""
        if self.ground.database_is_away:
            self._recover(until="database")
            _need(self.ground.end_waiting(), 0)
        run = last_run(self.ground)
        rows = check_values(self.ground, self.definitions, self.killed)
        entries = count_audit_entries(self.ground, self.definitions, run, self.killed)
        effects = follow_effects(self.ground, self.definitions, run, self.killed)
        if not self.recovered:
            self.ground.scratch.merge(self.branch)
        self._apply()
        check_values(self.ground, self.definitions, self.killed)
        return "; ".join(filter(None, (rows, entries, effects)))

    def early_restore(self) -> str:
        """Refused while its steps are not confirmed; then, where the drill names guards, held by them."""
        said = self._refused_unconfirmed()
        if not self.drill.holds:
            if not said:
                raise Missed("nothing holds it: the drill names no guard, and the restore has no step to confirm")
            return said
        self._propose_restore()
        held = self._held(self._apply())
        opened = {field: value for field, value in self._restored().items() if field not in held}
        self.opened_early = set(opened)
        check_values(self.ground, self.definitions, opened)
        count_audit_entries(self.ground, self.definitions, last_run(self.ground), opened)
        missing = sorted(set(self.drill.holds) - {hold["guard"] for hold in held.values()})
        if self.ground.is_staging and missing == ["requires"]:
            raise _NotShown("the checks that would hold it pass here")
        if missing:
            raise Missed(f"it is not held by {', '.join(missing)}")
        check_values(self.ground, self.definitions, {field: self.killed[field] for field in held})
        untils = [datetime.fromisoformat(hold["until"]) for hold in held.values() if hold["until"]]
        self.later = max(untils, default=None)
        reasons = [f"{field[2]} held: {one['explanation']}" for field, one in held.items()]
        return "; ".join(filter(None, [said, *reasons]))

    def recovery(self) -> str:
        """What ends the incident; triage does not see it any more."""
        if not self.is_seen:
            raise _NotShown("nothing was made to happen here that could end")
        made = [describe(one) for one in self._recover()]
        still = self._evidence(self._triage("--only", self.name)).keys() & self._sees()
        if still:
            raise Missed(f"triage still sees {', '.join(sorted(still))}")
        return f"{'; '.join(made)}; triage is quiet"

    def restore(self) -> str:
        """The values are back: by the commit that was held, once its time has come, or by one made now."""
        if not self.is_proposed:
            self._propose_restore()
        moved = self.later + timedelta(seconds=1) if self.later is not None else None
        held = self._held(self._apply(*(["--now", format_timestamp(moved)] if moved else [])))
        if held:
            reasons = "; ".join(one["explanation"] for one in held.values())
            if self.ground.is_staging:
                raise _NotShown(f"held by what is so here: {reasons}")
            raise Missed(f"still held: {reasons}")
        expected = self._restored()
        rows = check_values(self.ground, self.definitions, expected)
        late = {field: value for field, value in expected.items() if field not in self.opened_early}
        run = last_run(self.ground)
        entries = count_audit_entries(self.ground, self.definitions, run, late) if late else ""
        effects = follow_effects(self.ground, self.definitions, run, late)
        after = f"at {format_timestamp(moved)} (the clock was moved)" if moved else ""
        return "; ".join(filter(None, (rows, entries, effects, after)))

    # their parts -----------------------------------------------------------------------------------------------------

    def _triage(self, *only: str) -> dict[str, Any]:
        words = ["triage", "--output", "json", "--deadline", "10s", *self._directory(), *only]
        if self.ground.is_staging and not only:
            words += ["--only", self.name]
        ran = self.ground.run(words)
        _need(ran, 0)
        document: dict[str, Any] = json.loads(ran.out)
        return document

    def _match(self, document: dict[str, Any]) -> dict[str, Any] | None:
        return next((one for one in document["matches"] if one["playbook"] == self.name), None)

    def _evidence(self, document: dict[str, Any]) -> dict[str, str]:
        """What is seen of the subject, or of everybody: each symptom with its first sentence."""
        match = self._match(document)
        found: dict[str, str] = {}
        for one in match["evidence"] if match else ():
            if one["key"] in (None, self.subject):
                found.setdefault(one["symptom"], one["text"])
        return found

    def _sees(self) -> set[str]:
        """The symptoms that must be seen here: in a transaction, those that a query finds."""
        queries = {one.name for one in self.playbook.symptoms if one.query is not None}
        return {name for name in self.drill.sees if name in queries or not self.ground.is_staging}

    def _recover(self, until: str | None = None) -> list[Happening]:
        """Make the next things happen that end the incident: all of them, or up to the start of a server."""
        left = self.drill.recovers[self.recovered :]
        if until is not None:
            index = next(index for index, one in enumerate(left) if one.start == until)
            left = left[: index + 1]
        self.recovered += len(left)
        possible = [one for one in left if self.ground.can_make(one)]
        for one in possible:
            self.ground.make(one, self.subject)
        return possible

    def _refused_unconfirmed(self) -> str:
        """That `restore` makes no commit while nobody has confirmed its steps; empty where it has none."""
        steps = [step for step in self.playbook.restore.steps if step.confirm]
        if not steps:
            return ""
        branches = self.ground.scratch.branches("restore")
        ran = self.ground.run(self._restore_words())
        if ran.code != Failed.exit_code or f"--confirm {steps[0].id}" not in ran.err:
            raise Missed(f"a restore without confirmed steps was not refused: {ran.last_words}")
        if self.ground.scratch.branches("restore") != branches:
            raise Missed("a restore was committed although its steps were not confirmed")
        check_values(self.ground, self.definitions, self.killed)
        return f"refused until {len(steps)} step{'' if len(steps) == 1 else 's'} are confirmed"

    def _propose_restore(self) -> None:
        """The restore with all steps confirmed, pushed and merged."""
        branches = self.ground.scratch.branches("restore")
        confirmed = [word for step in self.playbook.restore.steps if step.confirm for word in ("--confirm", step.id)]
        ran = self.ground.run([*self._restore_words(), *confirmed])
        _need(ran, 0)
        made = sorted(self.ground.scratch.branches("restore") - branches)
        if len(made) != 1:
            raise Missed(f"no branch was pushed: {ran.last_words}")
        self.ground.scratch.merge(made[0])
        self.is_proposed = True

    def _restore_words(self) -> list[str]:
        tenant = ["--tenant", self.subject] if self.subject is not None else []
        return ["restore", self.name, *self._directory(), *tenant, "--reason", _REASON, "--no-pr"]

    def _apply(self, *options: str) -> dict[str, Any]:
        """What is merged, applied from git; the JSON of its outcome."""
        rows = sorted({f"{table}/{key}" for table, key, _ in self.killed})
        only = [word for row in rows for word in ("--only", row)] if self.ground.is_staging else []
        ran = self.ground.run([*self._directory(), "--yes", "--output", "json", *only, *options])
        _need(ran, 0)
        document: dict[str, Any] = json.loads(ran.out)
        return document

    def _held(self, outcome: dict[str, Any]) -> dict[FieldKey, dict[str, Any]]:
        """Of the fields that were killed, those that a guard holds, each with its hold."""
        changes = {(one["table"], one["key"], one["field"]): one for one in outcome["plan"]["changes"]}
        held = {field: changes[field]["hold"] for field in self.killed if field in changes}
        return {field: hold for field, hold in held.items() if hold is not None}

    def _restored(self) -> dict[FieldKey, Json]:
        """What the killed fields are once they are restored."""
        back = {self._field(one): one.value for one in self.playbook.restore.set}
        return {field: self.before[field] if back[field] == BEFORE else back[field] for field in self.killed}

    def _field(self, one: Assignment) -> FieldKey:
        return one.table, (self.subject or "") if one.row == SUBJECT else one.row, one.field

    def _directory(self) -> list[str]:
        return ["--directory", str(self.ground.scratch.directory)]


def describe(one: Happening) -> str:
    """One happening, in words."""
    if one.jobs is not None:
        many, state = (one.jobs.waiting, "waiting") if one.jobs.waiting else (one.jobs.failed, "failed")
        return f"{many:,} {state} jobs in {one.jobs.queue}"
    if one.answer is not None:
        return f"{one.answer.check} answers {one.answer.status}"
    if one.sql is not None:
        found = _TARGET.search(one.sql)
        return f"{found[1].lower()} {found[2]}" if found else "a statement"
    if one.drain is not None:
        return f"{one.drain} is drained"
    return f"{one.stop} is stopped" if one.stop is not None else f"{one.start} is started"


_TARGET = re.compile(r"\b(insert into|update|delete from)\s+([\w.\"]+)", re.IGNORECASE)


def _need(ran: Ran, code: int) -> None:
    if ran.code != code:
        raise Missed(f"exit code {code} was expected, and not {ran.last_words}")
