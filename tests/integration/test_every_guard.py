"""Every guard that there is, on a real database: a kill passes it and a restore does not, in one run, and the dry run
says of each held change what the apply says of it, word for word.

What is held is one field with every guard on it; `Guard` lists them, so one that is added later has to be told of here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any, NamedTuple, get_args

import pytest

from reconciler.break_glass import call_freeze, end_freeze
from reconciler.model import AFTER, FREEZE, REQUIRES, UNCOMMITTED, Change, Guard, Hold
from reconciler.outcome import Outcome
from reconciler.pipeline import read_for_apply
from tests.support.gitrepo import GitRepo
from tests.support.postgres import Database
from tests.support.project import ACME, BOB
from tests.support.runs import HOUR, START, Runs, runs_of

DAY = 24 * HOUR
GLASS = {"allow_dirty": True, "reason": "INC-7"}


@pytest.fixture
def runs(git_repo: GitRepo, database: Database) -> Iterator[Runs]:
    """Acme's AI is killed, Bob's is open, and both were applied by git."""
    with runs_of(git_repo, database) as runs:
        both = "restore: {after: 24h, requires: [healthy]}"
        runs.project.edit_schema("tenants", "restore: {requires: [healthy]}", both)
        runs.project.edit_schema("tenants", "aiDailyLimit:\n", f"aiDailyLimit:\n    {both}\n")
        runs.commit(ai("false", "true"))
        runs.run()
        yield runs


def ai(acme: str, bob: str) -> str:
    return f"{ACME}:\n  isAiEnabled: {acme}\n{BOB}:\n  isAiEnabled: {bob}\n"


def limit(acme: str, bob: str) -> str:
    return f"{ACME}:\n  aiDailyLimit: {acme}\n{BOB}:\n  aiDailyLimit: {bob}\n"


def agreed(runs: Runs, **request: Any) -> tuple[Outcome, dict[str, Hold]]:
    """What a run did, and what it held of whom, once it is sure that the dry run before it said exactly the same."""
    plan = runs.plan(**request)
    outcome = runs.run(**request)
    assert outcome.plan.changes == plan.changes
    assert outcome.plan.refusals == plan.refusals == ()
    return outcome, held(outcome.plan.changes)


def held(changes: tuple[Change, ...]) -> dict[str, Hold]:
    return {change.key: change.hold for change in changes if change.hold is not None}


# What makes a guard object, and what makes it let the restore through


def is_ill(runs: Runs) -> None:
    runs.database.execute("UPDATE health SET ok = false")


def is_well(runs: Runs) -> None:
    runs.database.execute("UPDATE health SET ok = true")


def cools_down(runs: Runs) -> None:
    runs.now += DAY


def plans_a_freeze(runs: Runs) -> None:
    end = f"{START + 3 * DAY:%Y-%m-%dT%H:%M:%SZ}"
    window = f"freezes:\n  - {{name: Launch, from: 2030-01-07T00:00:00Z, to: {end}}}"
    runs.project.edit_schema("policy", "freezes: []", window)


def is_over(runs: Runs) -> None:
    runs.now = START + 3 * DAY


def calls_a_freeze(runs: Runs) -> None:
    definitions = read_for_apply(runs.request()).definitions
    call_freeze(runs.connection, definitions, START + 300 * DAY, "Holidays", "ann")


def ends_it(runs: Runs) -> None:
    end_freeze(runs.connection, read_for_apply(runs.request()).definitions, "Back", "ann")


def nothing(_runs: Runs) -> None:
    pass


class Situation(NamedTuple):
    """How long after Acme's kill it is, what makes the guard object, and what makes it relent."""

    guard: Guard
    later: timedelta
    objects: Callable[[Runs], None]
    relents: Callable[[Runs], None]


SITUATIONS = {
    "a cooldown that is running": Situation(AFTER, HOUR, nothing, cools_down),
    "a check that fails": Situation(REQUIRES, 2 * DAY, is_ill, is_well),
    "a freeze of the policy": Situation(FREEZE, 2 * DAY, plans_a_freeze, is_over),
    "a freeze that somebody has called": Situation(FREEZE, 2 * DAY, calls_a_freeze, ends_it),
    "a work tree that is not committed": Situation(UNCOMMITTED, 2 * DAY, nothing, nothing),
}


def test_every_guard_has_a_situation() -> None:
    assert {situation.guard for situation in SITUATIONS.values()} == set(get_args(Guard))


@pytest.mark.parametrize("name", SITUATIONS)
def test_a_kill_passes_and_a_restore_is_held_as_the_dry_run_says_until_the_guard_relents(
    runs: Runs, name: str
) -> None:
    guard, later, objects, relents = SITUATIONS[name]
    runs.now += later
    objects(runs)
    asked = ai("true", "false")
    request: dict[str, Any] = {}
    if guard == UNCOMMITTED:
        runs.project.state(asked)
        request = GLASS
    else:
        runs.commit(asked, "Acme is back, Bob is killed")

    outcome, holds = agreed(runs, **request)
    assert (outcome.applied, list(holds), holds[ACME].guard) == (1, [ACME], guard)
    assert (runs.value("isAiEnabled", ACME), runs.value("isAiEnabled", BOB)) == (False, False)
    outcome, holds = agreed(runs, **request)
    assert (outcome.applied, list(holds)) == (0, [ACME])

    relents(runs)
    if guard == UNCOMMITTED:
        runs.project.commit("Acme is back, Bob is killed")
    outcome, holds = agreed(runs)
    assert (outcome.applied, holds) == (1, {})
    assert (runs.value("isAiEnabled", ACME), runs.value("isAiEnabled", BOB)) == (True, False)


# Everything objects at once


def everything_objects(runs: Runs) -> None:
    """A check fails, and two freezes are on; what was killed within a day waits for that as well."""
    is_ill(runs)
    calls_a_freeze(runs)
    plans_a_freeze(runs)
    runs.project.commit("Freeze")


def timed(value: str, until: datetime, then: str = "") -> str:
    return f"{{value: {value}, until: {until:%Y-%m-%dT%H:%M:%SZ}{then and f', then: {then}'}}}"


def test_a_kill_whose_until_has_passed_before_it_was_applied_is_applied_for_all_that(runs: Runs) -> None:
    """Without a `then` it is what git asks for, whatever the hour."""
    everything_objects(runs)
    runs.commit(ai(timed("true", START - HOUR), timed("false", START - HOUR)))
    outcome, holds = agreed(runs)
    assert (outcome.applied, holds[ACME].guard) == (1, FREEZE)
    assert runs.value("isAiEnabled", BOB) is False


@pytest.mark.parametrize("then", ["false", "restore"])
def test_a_kill_that_an_until_makes_passes_everything_and_a_restore_that_one_makes_does_not(
    runs: Runs, then: str
) -> None:
    """`then: restore` brings a kill back where the override had opened what was killed."""
    runs.commit(ai("false", "false"))
    runs.run()
    runs.now += DAY
    runs.commit(ai(timed("false", runs.now + HOUR, "true"), timed("true", runs.now + HOUR, then)))
    runs.run()
    assert runs.value("isAiEnabled", BOB) is True
    everything_objects(runs)
    runs.now += 2 * HOUR
    outcome, holds = agreed(runs)
    assert (outcome.applied, list(holds), holds[ACME].guard) == (1, [ACME], FREEZE)
    assert (runs.value("isAiEnabled", ACME), runs.value("isAiEnabled", BOB)) == (False, False)


@pytest.mark.parametrize("is_glass", [False, True])
def test_a_kill_passes_everything_and_what_a_hand_or_broken_glass_has_left(runs: Runs, is_glass: bool) -> None:
    runs.commit(limit("50", "50"))
    runs.run()
    if is_glass:
        runs.project.state(limit("20", "20"))
        runs.run(**GLASS)
        runs.project.repo.git("checkout", "--quiet", "--", ".")
    else:
        for key in (ACME, BOB):
            runs.by_hand("aiDailyLimit", 20, key)
    runs.run()
    everything_objects(runs)
    runs.commit(limit("{value: 50, reason: it was a mistake}", "5"))
    outcome, holds = agreed(runs)
    assert (outcome.applied, list(holds), holds[ACME].guard) == (1, [ACME], FREEZE)
    assert (runs.value("aiDailyLimit", ACME), runs.value("aiDailyLimit", BOB)) == (20, 5)


def test_a_kill_passes_everything_where_an_expiry_elsewhere_would_break_a_rule(runs: Runs) -> None:
    daily = timed("20", START + HOUR, "2000")
    rules = f"{ACME}:\n  aiMonthlyLimit: 1000\n  aiDailyLimit: {daily}\n"
    runs.commit(f"{rules}{BOB}:\n  isAiEnabled: true\n")
    runs.run()
    runs.now += 2 * HOUR
    everything_objects(runs)
    runs.commit(f"{rules}{BOB}:\n  isAiEnabled: false\n")
    outcome, holds = agreed(runs)
    assert (outcome.applied, holds) == (1, {})
    assert (runs.value("isAiEnabled", BOB), runs.value("aiDailyLimit", ACME)) == (False, 20)


# As people run it


def test_the_command_says_the_same_of_what_is_held_before_and_after(runs: Runs) -> None:
    text = f"{ACME}:\n  isAiEnabled: %s\n  isWhatsappEnabled: %s\n  aiDailyLimit: 50\n{BOB}:\n  isAiEnabled: %s\n"
    runs.now += 2 * DAY
    runs.commit(text % ("false", "false", "true"))
    runs.run()
    is_ill(runs)
    runs.commit(text % ("true", "true", "false"))
    now = f"{runs.now + HOUR:%Y-%m-%dT%H:%M:%SZ}"
    dry, done = (
        json.loads(runs.project.succeed(*words, "--output", "json", "--now", now).out) for words in (["--dry-run"], [])
    )
    holds = [change["hold"] for change in dry["changes"] if change["hold"]]
    assert [hold["guard"] for hold in holds] == [REQUIRES, AFTER]
    assert holds[0]["explanation"] == "a check has not passed: healthy: the query returned false, not true"
    assert holds[1]["explanation"].startswith("isWhatsappEnabled was killed 1 h 0 min ago by commit ")
    assert [change["hold"] for change in done["plan"]["changes"] if change["hold"]] == holds
    assert done["plan"]["changes"] == dry["changes"]
