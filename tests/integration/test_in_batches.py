"""A large change in batches: each is a run of its own, what happens between two of them is respected, and whatever ends
it there leaves a ledger from which the next run goes on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from reconciler.database.connection import open_database
from reconciler.database.url import parse_database_url
from reconciler.errors import InvalidInput, LockNotTaken, Refused, Stale
from reconciler.ledger import settled_commit
from reconciler.model import Action, Direction
from reconciler.outcome import Outcome, Proving
from reconciler.pipeline import Ending, Origin, Request, apply, read_for_apply
from reconciler.plan import Plan
from reconciler.runbook.status import read_last_run
from tests.support.gitrepo import GitRepo
from tests.support.postgres import Database
from tests.support.project import ACME, BOB
from tests.support.runs import HOUR, Runs, runs_of
from tests.support.shops import REQUEST, Shops, connected, effects_of
from tests.support.waiting import wait_until
from tests.support.webhook_receiver import receiving

KEYS = [f"tenant-{number:02}" for number in range(10)]
MANY = "Many\n\nReconcile-Allow-Changes: 20"


def rows_of(**fields: object) -> str:
    """State that asks the same of every tenant of the crowd."""
    lines = "".join(f"  {name}: {str(value).lower()}\n" for name, value in fields.items())
    return "".join(f"{key}:\n{lines}" for key in KEYS)


class Crowd:
    """Runs of a project with ten tenants more, in batches of three rows."""

    def __init__(self, runs: Runs) -> None:
        self.runs = runs
        self.database = runs.database
        self.repo = runs.project.repo
        for key in KEYS:
            self.database.tenant(key, name=key)

    def commit(self, text: str, message: str = MANY) -> None:
        self.runs.commit(text, message)

    def run(
        self, batch: int | None = 3, reviewed: Plan | None = None, between: Callable[[int], object] = lambda _: None
    ) -> Outcome:
        """Apply; `between` is called after each batch but the last, with how many are done."""

        def progress(_what: str, done: int, total: int) -> None:
            if done < total:
                between(done)

        asked = self.runs.request(batch=batch)
        project, origin = read_for_apply(asked), Origin(actor="ann")
        return apply(self.runs.connection, asked, project, origin, reviewed, Ending(progress=progress))

    def another(self, **request: object) -> Outcome:
        """What somebody else applies, on a connection of their own."""
        asked = Request(directory=self.runs.project.directory, now=self.runs.now, **request)  # type: ignore[arg-type]
        with open_database([parse_database_url(self.database.url, variable="DATABASE_URL")]) as connection:
            return apply(connection, asked, read_for_apply(asked), Origin(actor="bob"))

    def values(self, field: str) -> list[object]:
        return [self.database.row("tenants", key)[field] for key in KEYS]

    def outcomes(self) -> list[str]:
        return [run["outcome"] for run in self.runs.project.runs()]


@pytest.fixture
def crowd(git_repo: GitRepo, database: Database) -> Iterator[Crowd]:
    with runs_of(git_repo, database) as runs:
        yield Crowd(runs)


def interrupt(_done: int) -> None:
    raise KeyboardInterrupt


def once(do: Callable[[], object]) -> Callable[[int], None]:
    """For `between`: after the first batch."""

    def after_the_first(done: int) -> None:
        if done == 1:
            do()

    return after_the_first


def test_each_batch_is_a_run_with_its_entries_and_all_but_the_last_are_partial(crowd: Crowd) -> None:
    crowd.commit(rows_of(aiDailyLimit=60))
    outcome = crowd.run()
    assert crowd.values("aiDailyLimit") == [60] * 10
    assert (outcome.applied, outcome.rows, outcome.audit_entries) == (10, 10, 10)
    runs = crowd.runs.project.runs()
    assert [str(run["id"]) for run in runs] == list(outcome.batches)
    assert outcome.run_id == outcome.batches[-1]
    assert [run["outcome"] for run in runs] == ["partial", "partial", "partial", "applied"]
    [series] = {run["batch"]["series"] for run in runs}
    assert [run["batch"] for run in runs] == [{"series": series, "number": n, "of": 4} for n in (1, 2, 3, 4)]
    assert {(run["commit_id"], run["actor"], run["reason"]) for run in runs} == {(crowd.repo.head, "ann", "Many")}
    entries = crowd.runs.project.entries()
    assert sorted(entry["metadata"]["key"] for entry in entries) == KEYS
    assert [sum(e["metadata"]["run"] == run for e in entries) for run in outcome.batches] == [3, 3, 3, 1]


def test_a_change_that_fits_into_one_batch_is_one_run(crowd: Crowd) -> None:
    crowd.commit(rows_of(aiDailyLimit=60))
    outcome = crowd.run(batch=10)
    assert (outcome.applied, outcome.batches, crowd.outcomes()) == (10, (), ["applied"])
    assert crowd.run().applied == 0
    assert len(crowd.outcomes()) == 2


def test_kills_are_committed_by_the_first_batches_whatever_their_rows_are_called(crowd: Crowd) -> None:
    killed = f"{KEYS[8]}:\n  isWhatsappEnabled: false\n{KEYS[9]}:\n  isWhatsappEnabled: false\n  aiDailyLimit: 70\n"
    crowd.commit("".join(f"{key}:\n  aiDailyLimit: 60\n" for key in KEYS[:8]) + killed)
    seen: list[list[object]] = []
    crowd.run(batch=2, between=lambda _: seen.append(crowd.values("isWhatsappEnabled")[8:]))
    assert seen[0] == [False, False]
    assert len(seen) == 4


def test_what_a_hand_kills_between_two_batches_stays_killed(crowd: Crowd) -> None:
    crowd.commit(rows_of(isAiEnabled=True, aiDailyLimit=60))
    crowd.run(batch=None)
    crowd.commit(rows_of(isAiEnabled=True, aiDailyLimit=70))
    outcome = crowd.run(between=once(lambda: crowd.runs.by_hand("isAiEnabled", False, KEYS[9])))
    assert crowd.values("isAiEnabled") == [True] * 9 + [False]
    assert [(c.key, c.action) for c in outcome.plan.changes if c.field == "isAiEnabled"] == [(KEYS[9], Action.KEEP)]
    assert crowd.values("aiDailyLimit") == [70] * 10


def test_what_is_killed_without_a_commit_between_two_batches_stays_killed(crowd: Crowd) -> None:
    crowd.commit(rows_of(isAiEnabled=True, aiDailyLimit=60))
    crowd.run(batch=None)

    def break_the_glass() -> None:
        crowd.runs.project.state(f"{KEYS[9]}:\n  isAiEnabled: false\n", "tenants.yaml")
        crowd.another(allow_dirty=True, reason="INC-1")
        crowd.repo.git("checkout", "--quiet", "--", "state")

    crowd.commit(rows_of(isAiEnabled=True, aiDailyLimit=70))
    crowd.run(between=once(break_the_glass))
    assert crowd.values("isAiEnabled") == [True] * 9 + [False]
    assert crowd.values("aiDailyLimit") == [70] * 10
    assert crowd.outcomes() == ["applied", "partial", "applied", "partial", "partial", "applied"]


def test_a_newer_commit_that_is_applied_between_two_batches_has_the_last_word(crowd: Crowd) -> None:
    crowd.commit(rows_of(aiDailyLimit=60))

    def kill() -> None:
        crowd.commit(f"{rows_of(aiDailyLimit=60)}{ACME}:\n  isAiEnabled: false\n")
        crowd.another(scope=crowd.runs.request(f"tenants/{ACME}").scope)

    with pytest.raises(Stale) as raised:
        crowd.run(between=once(kill))
    said = str(raised.value)
    assert f"has applied commit {crowd.repo.head[:12]} meanwhile" in said
    assert "Before that, 1 batch was applied, of 4 (3 rows, the last by run" in said
    assert said.endswith("and stay. The next run applies what is left, and nothing twice")
    assert crowd.runs.value("isAiEnabled") is False
    assert crowd.run().applied == 7
    assert crowd.values("aiDailyLimit") == [60] * 10


def test_who_goes_back_on_purpose_between_two_batches_has_the_last_word(crowd: Crowd) -> None:
    crowd.commit(rows_of(aiDailyLimit=50))
    crowd.run(batch=None)
    older = crowd.repo.head
    crowd.commit(rows_of(aiDailyLimit=60))
    with pytest.raises(Stale, match="meanwhile"):
        crowd.run(between=once(lambda: crowd.another(revision=older, allow_rewind=True, reason="back")))
    assert crowd.values("aiDailyLimit") == [50] * 10


def test_a_flag_that_goes_back_does_not_go_over_what_somebody_applied_between_two_batches(crowd: Crowd) -> None:
    crowd.commit(rows_of(aiDailyLimit=60))
    older = crowd.repo.head
    crowd.commit(f"{rows_of(aiDailyLimit=50)}{ACME}:\n  isAiEnabled: true\n")
    crowd.run(batch=None)
    newer = crowd.repo.head

    def kill() -> None:
        crowd.commit(f"{rows_of(aiDailyLimit=50)}{ACME}:\n  isAiEnabled: false\n", "A kill in between")
        crowd.another(scope=crowd.runs.request(f"tenants/{ACME}").scope, allow_rewind=True, reason="kill")

    asked = crowd.runs.request(batch=3, revision=older, allow_rewind=True, reason="back")
    with pytest.raises(Stale, match="meanwhile"):
        apply(crowd.runs.connection, asked, read_for_apply(asked), Origin(actor="ann"), None,
              Ending(progress=lambda _, done, total: kill() if done < total else None))  # fmt: skip
    assert newer != crowd.repo.head
    assert crowd.runs.value("isAiEnabled") is False


def test_the_blast_limit_counts_all_batches_before_the_first_is_written(crowd: Crowd) -> None:
    crowd.commit(rows_of(aiDailyLimit=60), "Ten rows, where one is allowed")
    with pytest.raises(Refused, match="10 rows would change, and the policy allows 1 in one run") as raised:
        crowd.run(batch=1)
    assert "Before that" not in str(raised.value)
    assert crowd.outcomes() == []


def test_a_waiver_in_the_message_counts_until_the_last_batch_also_after_an_interruption(crowd: Crowd) -> None:
    crowd.commit(rows_of(aiDailyLimit=50))
    crowd.run(batch=None)
    settled = crowd.repo.head
    crowd.commit(rows_of(aiDailyLimit=60))
    with pytest.raises(KeyboardInterrupt):
        crowd.run(between=interrupt)
    assert settled_commit(crowd.runs.connection) == settled
    assert crowd.run().applied == 7
    assert settled_commit(crowd.runs.connection) == crowd.repo.head


@pytest.mark.parametrize("batch", [None, 3, 100])
def test_what_is_left_after_an_interruption_is_applied_by_the_next_run_and_nothing_twice(
    crowd: Crowd, batch: int | None
) -> None:
    crowd.commit(rows_of(aiDailyLimit=60, aiMonthlyLimit=6000))
    with pytest.raises(KeyboardInterrupt) as raised:
        crowd.run(between=interrupt)
    words, code = raised.value.args
    last = crowd.runs.project.runs()[-1]["id"]
    assert words == (
        f"Before that, 1 batch was applied, of 4 (3 rows, the last by run {last}), and stay. The next run applies what "
        "is left, and nothing twice"
    )
    assert code == 1
    assert crowd.runs.plan().counts.changes == 14
    assert crowd.run(batch=batch).applied == 14
    assert crowd.values("aiDailyLimit") == [60] * 10
    entries = [(entry["metadata"]["key"], entry["metadata"]["field"]) for entry in crowd.runs.project.entries()]
    assert sorted(entries) == [(key, field) for key in KEYS for field in ("aiDailyLimit", "aiMonthlyLimit")]


def test_who_asks_says_that_a_run_was_partial(crowd: Crowd) -> None:
    crowd.commit(rows_of(aiDailyLimit=60))
    with pytest.raises(KeyboardInterrupt):
        crowd.run(between=interrupt)
    last = read_last_run(crowd.runs.connection)
    assert last is not None
    assert last.partial == "batch 1 of 4"
    crowd.run()
    last = read_last_run(crowd.runs.connection)
    assert last is not None
    assert last.partial is None


def test_what_a_guard_holds_is_told_once_and_is_in_no_batch(crowd: Crowd) -> None:
    crowd.commit(rows_of(isWhatsappEnabled=False))
    crowd.run(batch=None)
    crowd.runs.now += HOUR
    crowd.commit(rows_of(isWhatsappEnabled=True, aiDailyLimit=60))
    outcome = crowd.run()
    assert (outcome.applied, outcome.plan.counts.held) == (10, 10)
    assert len(outcome.plan.changes) == 20
    crowd.runs.now += 24 * HOUR
    outcome = crowd.run()
    assert (outcome.applied, outcome.plan.counts.held, len(outcome.batches)) == (10, 0, 4)


@pytest.mark.parametrize("is_reviewed", [True, False])
def test_what_a_hand_opened_and_a_guard_puts_back_is_told_by_one_change(crowd: Crowd, is_reviewed: bool) -> None:
    crowd.commit(rows_of(isWhatsappEnabled=False))
    crowd.run(batch=None)
    crowd.commit(rows_of(isWhatsappEnabled=True))
    crowd.run()  # git's restore is held
    crowd.runs.by_hand("isWhatsappEnabled", True, KEYS[0])
    crowd.commit(rows_of(isWhatsappEnabled=True, aiDailyLimit=60))
    shown = crowd.runs.plan()
    outcome = crowd.run(reviewed=shown if is_reviewed else None)
    assert crowd.values("isWhatsappEnabled") == [False] * 10
    assert outcome.plan.fingerprint == shown.fingerprint
    assert (outcome.applied, outcome.plan.counts.kills, outcome.plan.counts.held) == (11, 1, 9)
    assert crowd.runs.plan().counts.held == 10


def test_a_check_that_fails_between_two_batches_holds_the_rest(crowd: Crowd) -> None:
    crowd.commit(rows_of(isAiEnabled=False))
    crowd.run(batch=None)
    crowd.commit(rows_of(isAiEnabled=True))
    outcome = crowd.run(between=once(lambda: crowd.database.execute("UPDATE health SET ok = false")))
    assert crowd.values("isAiEnabled") == [True] * 3 + [False] * 7
    assert (outcome.applied, outcome.plan.counts.held) == (3, 7)
    crowd.database.execute("UPDATE health SET ok = true")
    assert crowd.run().applied == 7


def test_kills_wait_for_no_check_and_come_in_batches_too(crowd: Crowd) -> None:
    crowd.commit("".join(f"{key}:\n  isAiEnabled: false\n" for key in KEYS[:5]))
    crowd.run(batch=None)
    # The check passes once all kills are committed.
    crowd.database.execute(
        """
        DROP TABLE health;
        CREATE VIEW health AS SELECT count(*) = 5 AS ok FROM tenants
          WHERE NOT "isWhatsappEnabled" AND id LIKE 'tenant-%';
        """
    )
    kills = "".join(f"{key}:\n  isWhatsappEnabled: false\n" for key in KEYS[5:])
    crowd.commit("".join(f"{key}:\n  isAiEnabled: true\n" for key in KEYS[:5]) + kills)
    outcome = crowd.run(batch=2)
    assert crowd.values("isWhatsappEnabled")[5:] == [False] * 5
    assert crowd.values("isAiEnabled") == [True] * 10
    assert (outcome.plan.counts.kills, outcome.plan.counts.restores, outcome.plan.counts.held) == (5, 5, 0)
    assert crowd.outcomes()[1:] == ["partial"] * 5 + ["applied"]


def test_a_reviewed_plan_that_is_stale_is_refused_before_the_first_batch(crowd: Crowd) -> None:
    crowd.commit(rows_of(aiDailyLimit=60))
    reviewed = crowd.runs.plan()
    crowd.runs.by_hand("aiDailyLimit", 55, KEYS[9])
    with pytest.raises(Stale, match=f"tenants/{KEYS[9]}/aiDailyLimit moved"):
        crowd.run(reviewed=reviewed)
    assert crowd.outcomes() == []


def test_a_row_of_a_reviewed_plan_that_moves_between_two_batches_is_not_written(crowd: Crowd) -> None:
    crowd.commit(rows_of(aiDailyLimit=60))
    reviewed = crowd.runs.plan()
    with pytest.raises(Stale, match=f"tenants/{KEYS[5]}/aiDailyLimit moved") as raised:
        crowd.run(reviewed=reviewed, between=once(lambda: crowd.runs.by_hand("aiDailyLimit", 55, KEYS[5])))
    assert "Before that, 1 batch was applied" in str(raised.value)
    assert crowd.values("aiDailyLimit") == [60] * 3 + [50] * 2 + [55] + [50] * 4


@pytest.mark.parametrize("batch", [3, None])
def test_a_reviewed_plan_that_was_interrupted_is_completed_and_then_applied_no_more(
    crowd: Crowd, batch: int | None
) -> None:
    crowd.commit(rows_of(aiDailyLimit=60))
    reviewed = crowd.runs.plan()
    with pytest.raises(KeyboardInterrupt):
        crowd.run(reviewed=reviewed, between=interrupt)
    if batch is None:
        with pytest.raises(Stale, match="moved"):
            crowd.run(batch=None, reviewed=reviewed)
    assert crowd.run(reviewed=reviewed).applied == 7
    assert crowd.values("aiDailyLimit") == [60] * 10
    with pytest.raises(Stale, match="this plan was applied already"):
        crowd.run(reviewed=reviewed)


def test_a_row_that_is_gone_between_two_batches_ends_the_run_and_what_was_applied_is_said(crowd: Crowd) -> None:
    crowd.commit(rows_of(aiDailyLimit=60))
    with pytest.raises(InvalidInput, match=f'no row with key "{KEYS[5]}"') as raised:
        crowd.run(between=once(lambda: crowd.database.execute("DELETE FROM tenants WHERE id = %s", [KEYS[5]])))
    assert "Before that, 1 batch was applied" in str(raised.value)


def test_a_row_that_the_application_holds_ends_the_run_after_the_timeout(crowd: Crowd) -> None:
    crowd.commit(rows_of(aiDailyLimit=60))
    asked = crowd.runs.request(batch=3, lock_timeout_ms=50)
    with crowd.database.connect() as application, pytest.raises(LockNotTaken) as raised:
        application.execute("BEGIN")
        application.execute("UPDATE tenants SET name = name WHERE id = %s", [KEYS[5]])
        apply(crowd.runs.connection, asked, read_for_apply(asked), Origin(actor="ann"))
    assert "applying batch 2 of 4" in str(raised.value)
    assert "Before that, 1 batch was applied, of 4 (3 rows, the last by run" in str(raised.value)
    assert crowd.values("aiDailyLimit") == [60] * 3 + [50] * 7
    assert crowd.run().applied == 7


def test_only_the_rows_of_the_batch_that_is_written_are_locked(crowd: Crowd) -> None:
    crowd.commit(rows_of(aiDailyLimit=60))
    done: list[Outcome] = []
    with crowd.database.connect() as application:
        application.execute("BEGIN")
        application.execute("UPDATE tenants SET name = name WHERE id = %s", [KEYS[5]])
        thread = threading.Thread(target=lambda: done.append(crowd.run()))
        thread.start()
        wait_until(lambda: crowd.database.execute(WAITING))
        free = crowd.database.execute("SELECT id FROM tenants WHERE id LIKE 'tenant-%%' FOR UPDATE SKIP LOCKED")
        application.execute("ROLLBACK")
    thread.join()
    assert sorted(set(KEYS) - {row["id"] for row in free}) == KEYS[3:6]
    assert done[0].applied == 10


WAITING = """
SELECT FROM pg_stat_activity
 WHERE datname = current_database() AND wait_event_type = 'Lock' AND application_name = 'reconcile'
"""


def test_a_kill_that_waits_for_the_lock_is_next_and_not_last(crowd: Crowd) -> None:
    """It comes while a batch holds the lock, and is committed before the following one."""
    crowd.commit(rows_of(isAiEnabled=True))
    crowd.run(batch=None)
    crowd.commit(rows_of(isAiEnabled=True, aiDailyLimit=60))
    crowd.runs.project.state(f"{KEYS[9]}:\n  isAiEnabled: false\n", "tenants.yaml")
    kill = Request(directory=crowd.runs.project.directory, now=crowd.runs.now, allow_dirty=True, reason="INC-1")
    project = read_for_apply(kill)
    crowd.repo.git("checkout", "--quiet", "--", "state")

    def apply_the_kill() -> None:
        with open_database([parse_database_url(crowd.database.url, variable="DATABASE_URL")]) as connection:
            apply(connection, kill, project, Origin(actor="bob"))

    threads = [threading.Thread(target=crowd.run), threading.Thread(target=apply_the_kill)]
    with crowd.database.connect() as application:
        application.execute("BEGIN")
        application.execute("UPDATE tenants SET name = name WHERE id = %s", [KEYS[5]])
        threads[0].start()
        wait_until(lambda: crowd.database.execute(WAITING))
        threads[1].start()
        wait_until(lambda: len(crowd.database.execute(WAITING)) == 2)
        application.execute("ROLLBACK")
    for thread in threads:
        thread.join()
    actors = [run["actor"] for run in crowd.runs.project.runs()[1:]]
    assert actors == ["ann", "ann", "bob", "ann", "ann"]
    assert crowd.values("isAiEnabled") == [True] * 9 + [False]
    assert crowd.values("aiDailyLimit") == [60] * 10


def test_a_where_is_applied_in_batches(crowd: Crowd) -> None:
    crowd.runs.project.edit_schema("tenants", "secret: [stripeCustomerId]", "secret: [stripeCustomerId]\n"
                                   "match: {name: {type: string}}")  # fmt: skip
    names = ", ".join(KEYS)
    crowd.commit(f"$where:\n  - match: {{name: [{names}]}}\n    set: {{aiDailyLimit: 60}}\n")
    with pytest.raises(KeyboardInterrupt):
        crowd.run(between=interrupt)
    outcome = crowd.run()
    assert (outcome.applied, len(outcome.batches)) == (7, 3)
    assert crowd.values("aiDailyLimit") == [60] * 10
    assert crowd.run().plan.changes == ()


def test_effects_are_those_of_one_transaction_and_each_is_written_with_its_batch(crowd: Crowd) -> None:
    crowd.commit(rows_of(isWhatsappEnabled=False))
    outcome = crowd.run()
    found = crowd.database.execute("SELECT key, run_id::text AS run FROM reconciler.outbox ORDER BY sequence")
    assert [row["key"] for row in found] == KEYS
    assert list(dict.fromkeys(row["run"] for row in found)) == list(outcome.batches)
    assert (outcome.effects.waiting, outcome.effects.delivered) == (10, 0)
    [effect] = outcome.plan.effects
    assert effect.count == 10
    # Whoever does not answer is asked by the first batch and by the last, and not by each.
    tried = crowd.database.execute("SELECT max(attempts) AS most FROM reconciler.outbox")
    assert tried[0]["most"] <= 2


def test_effects_are_delivered_after_each_batch_and_an_endpoint_that_is_down_holds_up_no_other(
    empty_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Request(directory=REQUEST.directory, batch=2)
    arrived: list[int] = []
    with receiving() as receiver, connected(empty_database.url) as connection:
        monkeypatch.setenv("UP", receiver.url)
        monkeypatch.setenv("DOWN", "http://127.0.0.1:1/hook")
        hooks = effects_of({"webhook": {"url": "$UP"}}, {"webhook": {"url": "$DOWN"}})
        shops = Shops(connection, is_open=hooks, policy="delivery: {timeout: 30s, backoff: 1h}\n")
        for key in shops.add_many(7):
            shops.ask(key, is_open=False)
        ending = Ending(progress=lambda *_: arrived.append(len(receiver.posts)))
        outcome = apply(connection, asked, shops.project(), Origin(actor="robot"), None, ending)
    assert arrived == [2, 4, 6, 7]
    assert (outcome.effects.delivered, outcome.effects.waiting) == (7, 7)
    [tried] = empty_database.execute("SELECT max(attempts) AS most FROM reconciler.outbox WHERE endpoint = '$DOWN'")
    assert tried["most"] == 1  # by the first batch or by the last, and not by each


def test_kills_are_all_committed_before_anybody_waits_for_one_to_be_in_effect(empty_database: Database) -> None:
    address = parse_database_url(empty_database.url, variable="DATABASE_URL")
    closed: list[int] = []

    def watching(_: str) -> None:
        [row] = empty_database.execute("SELECT count(*) FROM shops WHERE NOT is_open")
        closed.append(row["count"])

    with open_database([address]) as connection:
        shops = Shops(connection, verify="[{row: written}]")
        for key in shops.add_many(7):
            shops.ask(key, is_open=False)
        asked = Request(directory=REQUEST.directory, batch=2)
        ending = Ending(proving=Proving(watching=watching))
        outcome = apply(connection, asked, shops.project(), Origin(actor="robot"), None, ending)
    assert set(closed) == {7}
    [verdict] = outcome.verdicts
    assert (verdict.changes, verdict.asked, verdict.seen) == (7, 7, 7)
    assert len(outcome.batches) == 4
    proofs = empty_database.execute("SELECT run_id::text AS run FROM reconciler.proof")
    assert sorted(row["run"] for row in proofs) == sorted(outcome.batches)


def test_who_asks_for_an_end_while_a_batch_is_seen_in_effect_gets_it_after_that_batch(empty_database: Database) -> None:
    address = parse_database_url(empty_database.url, variable="DATABASE_URL")

    def watching(_: str) -> None:
        raise KeyboardInterrupt

    with open_database([address]) as connection:
        shops = Shops(connection, verify="[{row: written}]")
        keys = shops.add_many(7)
        for key in keys:
            shops.ask(key, is_open=False)
        shops.apply()
        for key in keys:
            shops.ask(key, is_open=True)
        asked = Request(directory=REQUEST.directory, batch=2)
        with pytest.raises(KeyboardInterrupt) as raised:
            apply(connection, asked, shops.project(), Origin(actor="robot"), None,
                  Ending(proving=Proving(watching=watching)))  # fmt: skip
        [row] = empty_database.execute("SELECT count(*) FROM shops WHERE is_open")
        assert row["count"] == 2
        assert raised.value.args[0].startswith("Before that, 1 batch was applied, of 4 (2 rows")
        assert shops.apply().applied == 5


def test_the_whole_story_is_the_plan_that_was_shown(crowd: Crowd) -> None:
    crowd.commit(rows_of(isWhatsappEnabled=False, aiDailyLimit=200))
    shown = crowd.runs.plan()
    outcome = crowd.run()
    assert outcome.plan.fingerprint == shown.fingerprint
    assert outcome.plan.counts == shown.counts
    assert outcome.plan.effects == shown.effects
    assert {change.direction for change in outcome.plan.writes} == {Direction.KILL, Direction.RESTORE}
    assert BOB not in {change.key for change in outcome.plan.changes}
