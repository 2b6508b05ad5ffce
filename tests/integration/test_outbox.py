"""What an apply writes to the outbox, and how deliverers are handed what stands in it. Nothing is delivered here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from reconciler.database.connection import DatabaseConnection
from reconciler.database.transaction import begin_read_write
from reconciler.effects.backlog import count_of_run, read_backlog, read_undelivered
from reconciler.effects.outbox import Claim, Result, Retries, Which, claim, mark, revive
from reconciler.errors import Failed
from reconciler.plan import EffectSummary, fingerprint_of
from tests.support.postgres import Database
from tests.support.shops import Shops, connected, effects_of

NOWHERE = {"url_variable": "REDIS_THAT_IS_NOT_SET"}
STOP = {"when": False, "redis_publish": {"channel": "stop", "data": {"shop": "$key"}, **NOWHERE}}
SEATS = {"redis_publish": {"channel": "seats", **NOWHERE}}
RETRIES = Retries(refusals=3, backoff_s=10, longest_backoff_s=60, give_up_after_s=3600)


@pytest.fixture
def connection(empty_database: Database) -> Iterator[DatabaseConnection]:
    with connected(empty_database.url) as connection:
        yield connection


@pytest.fixture
def other(empty_database: Database) -> Iterator[DatabaseConnection]:
    with connected(empty_database.url) as connection:
        yield connection


def claimed(connection: DatabaseConnection, which: Which | None = None) -> Claim:
    return claim(connection, which or Which(limit=100, eager=True))


def fail_all(connection: DatabaseConnection, error: str = "no answer", *, refused: bool = False) -> int:
    """One attempt at all that is handed out, which fails; how many there were."""
    with begin_read_write(connection, doing="test"):
        entries = claimed(connection).entries
        mark(connection, [Result(entry, error, refused) for entry in entries], RETRIES)
    return len(entries)


def claimed_keys(connection: DatabaseConnection) -> list[str]:
    with begin_read_write(connection, doing="test"):
        entries = claimed(connection).entries
        return [_message_key(entry.payload) for entry in entries]


def _message_key(payload: dict[str, Any]) -> str:
    """Which shop a message is about."""
    message = json.loads(payload["message"])
    return str(message.get("shop", message.get("key")))


# What is written ----------------------------------------------------------------------------------------------------


def test_an_effect_carries_the_values_that_its_template_names(connection: DatabaseConnection) -> None:
    data = {
        "whole": "$after", "text": "$label: $before -> ${after}$$", "who": "$row.owner", "seats": "$row.seats",
        "list": ["$table", {"k": "$key"}, 5, None], "about": "$field $reason $commit", "ids": ["$run", "$id"],
    }  # fmt: skip
    shops = Shops(connection, is_open=effects_of({"redis_publish": {"channel": "c:$key", "data": data, **NOWHERE}}))
    shops.add("a")
    shops.ask("a", is_open={"value": False, "reason": "fire"}, seats=4)
    outcome = shops.apply()
    [entry] = shops.entries()
    assert entry["payload"]["channel"] == "c:a"
    commit = outcome.plan.revision.commit if outcome.plan.revision else ""
    assert json.loads(entry["payload"]["message"]) == {
        "whole": False, "text": "Shop a: true -> false$", "who": "ann", "seats": 4,
        "list": ["shops", {"k": "a"}, 5, None], "about": f"is_open fire {commit}",
        "ids": [outcome.run_id, str(entry["id"])], "id": str(entry["id"]),
    }  # fmt: skip
    assert (entry["table_name"], entry["key"], entry["field"], entry["state"]) == ("shops", "a", "is_open", "pending")


def test_only_a_change_to_one_of_its_values_calls_for_an_effect(connection: DatabaseConnection) -> None:
    shops = Shops(connection, seats=effects_of({"when": [3, 5], **SEATS}), is_open=effects_of(STOP))
    shops.add("a")
    for seats in (3, 4, 5):
        shops.change("a", seats=seats)
    shops.change("a", is_open=True)  # as it is
    assert [entry["payload"]["message"].count('"after":5') for entry in shops.entries()] == [0, 1]


def test_the_run_says_what_waits_and_why_and_has_succeeded(connection: DatabaseConnection) -> None:
    shops = Shops(connection, is_open=effects_of(STOP))
    shops.add("a")
    outcome = shops.change("a", is_open=False)
    assert (outcome.applied, outcome.effects.waiting, outcome.effects.delivered) == (1, 1, 0)
    [notice] = [notice.message for notice in outcome.notices if "effect" in notice.message]
    assert "redis_publish stop: REDIS_THAT_IS_NOT_SET is not set" in notice
    assert count_of_run(connection, outcome.run_id) == {"pending": 1}
    what = shops.outbox("state", "table_name", "key", "field", "kind")
    assert what == [("pending", "shops", "a", "is_open", "redis_publish")]


def test_nothing_is_left_of_a_transaction_that_is_rolled_back(
    connection: DatabaseConnection, other: DatabaseConnection
) -> None:
    shops = Shops(connection, is_open=effects_of(STOP, {"pg_notify": {"channel": "shops"}}))
    shops.add("a")
    shops.ask("a", is_open=False)
    connection.execute(
        """
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'no'; END$$;
        CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON reconciler.outbox DEFERRABLE INITIALLY DEFERRED
           FOR EACH ROW EXECUTE FUNCTION refuse();
        """
    )
    other.execute("LISTEN shops")
    with pytest.raises(Failed):
        shops.apply()
    assert shops.outbox() == []
    assert list(other.notifies(timeout=0.1)) == []


def test_a_plan_tells_which_effects_will_follow_and_keeps_its_fingerprint(connection: DatabaseConnection) -> None:
    shops = Shops(connection, is_open=effects_of(STOP, {"webhook": {"url": "https://u:p@hooks.example/secret"}}))
    shops.add("a", "b")
    shops.ask("a", is_open=False, seats=2)
    shops.ask("b", is_open=False)
    plan = shops.plan()
    assert plan.effects == (EffectSummary("redis_publish", "stop", 2), EffectSummary("webhook", "hooks.example", 2))
    assert plan.fingerprint == fingerprint_of(plan.changes)
    assert shops.apply().plan.effects == plan.effects


def test_notify_is_heard_at_the_commit_and_counts_as_delivered(
    connection: DatabaseConnection, other: DatabaseConnection
) -> None:
    shops = Shops(connection, is_open=effects_of({"pg_notify": {"channel": "shops", "data": {"shop": "$key"}}}))
    shops.add("a")
    other.execute("LISTEN shops")
    outcome = shops.change("a", is_open=False)
    [heard] = list(other.notifies(timeout=2, stop_after=1))
    [entry] = shops.entries()
    assert heard.payload == f'{{"id":"{entry["id"]}","shop":"a"}}'
    assert (entry["state"], outcome.effects.delivered) == ("delivered", 1)


def test_a_message_too_long_for_notify_is_given_up_and_stops_no_kill(connection: DatabaseConnection) -> None:
    shops = Shops(connection, is_open=effects_of({"pg_notify": {"channel": "shops", "data": "$reason"}}))
    shops.add("a")
    outcome = shops.change("a", is_open={"value": False, "reason": "x" * 8_000})
    assert (outcome.applied, outcome.effects.dead) == (1, 1)
    assert shops.outbox("state", "last_error") == [("dead", "longer than the 7999 bytes that NOTIFY takes")]


# What later changes make of it --------------------------------------------------------------------------------------


def test_a_restore_supersedes_a_stop_that_never_arrived(connection: DatabaseConnection) -> None:
    shops = Shops(connection, is_open=effects_of(STOP))
    shops.add("a", "b")
    shops.ask("b", is_open=False)
    shops.change("a", is_open=False)
    shops.change("a", is_open=True)
    assert shops.outbox("key", "state") == [("a", "superseded"), ("b", "pending")]
    assert claimed_keys(connection) == ["b"]


def test_a_newer_effect_replaces_the_older_one_of_the_same_field_alone(connection: DatabaseConnection) -> None:
    shops = Shops(connection, is_open=effects_of(STOP), seats=effects_of(SEATS))
    shops.add("a")
    shops.change("a", is_open=False, seats=5)
    shops.change("a", seats=4)
    assert shops.outbox("field", "state") == [("is_open", "pending"), ("seats", "superseded"), ("seats", "pending")]


def test_what_was_given_up_is_superseded_too(connection: DatabaseConnection) -> None:
    shops = Shops(connection, is_open=effects_of(STOP))
    shops.add("a")
    shops.change("a", is_open=False)
    connection.execute("UPDATE reconciler.outbox SET state = 'dead'")
    shops.change("a", is_open=True)
    assert shops.outbox() == ["superseded"]
    assert read_backlog(connection).dead == 0


def test_a_stop_that_was_on_its_way_when_the_restore_came_is_not_sent_again(
    connection: DatabaseConnection, other: DatabaseConnection
) -> None:
    shops = Shops(connection, is_open=effects_of(STOP))
    shops.add("a")
    shops.change("a", is_open=False)
    with begin_read_write(other, doing="test"):
        [on_its_way] = claimed(other).entries
        shops.change("a", is_open=True)  # does not wait for the lock
        assert shops.outbox() == ["pending"]
        mark(other, [Result(on_its_way, "no answer")], RETRIES)
    with begin_read_write(other, doing="test"):
        assert claimed(other) == Claim([], 1)
    assert shops.outbox() == ["superseded"]


# Who gets what ------------------------------------------------------------------------------------------------------


def test_two_deliverers_share_the_work_and_neither_waits(
    connection: DatabaseConnection, other: DatabaseConnection
) -> None:
    shops = Shops(connection, is_open=effects_of(STOP))
    for key in shops.add_many(10):
        shops.ask(key, is_open=False)
    shops.apply()
    with begin_read_write(connection, doing="test"), begin_read_write(other, doing="test"):
        one = claimed(connection, Which(limit=6, eager=True)).entries
        two = claimed(other, Which(limit=6, eager=True)).entries
    assert (len(one), len(two)) == (6, 4)
    assert {entry.id for entry in one}.isdisjoint({entry.id for entry in two})


def test_a_later_effect_of_a_row_waits_for_the_earlier_one(
    connection: DatabaseConnection, other: DatabaseConnection
) -> None:
    shops = Shops(connection, is_open=effects_of(STOP), seats=effects_of(SEATS))
    shops.add("a", "b")
    shops.change("a", is_open=False)
    shops.ask("b", seats=1)
    shops.change("a", seats=5)
    with begin_read_write(connection, doing="test"):
        entries = claimed(connection).entries
        assert [(entry.target, _message_key(entry.payload)) for entry in entries] == [("stop", "a"), ("seats", "b")]
        with begin_read_write(other, doing="test"):
            assert claimed(other).entries == []  # the first is on its way, and the second must not overtake it
        mark(connection, [Result(entries[0])], RETRIES)
    assert claimed_keys(connection) == ["a", "b"]


def test_an_effect_for_another_endpoint_does_not_wait(connection: DatabaseConnection) -> None:
    shops = Shops(connection, is_open=effects_of(STOP, {"webhook": {"url": "$NO_SUCH_HOOK"}}))
    shops.add("a")
    shops.change("a", is_open=False)
    with begin_read_write(connection, doing="test"):
        assert [entry.endpoint for entry in claimed(connection).entries] == ["REDIS_THAT_IS_NOT_SET", "$NO_SUCH_HOOK"]


def test_one_that_was_refused_holds_up_nothing_behind_it(connection: DatabaseConnection) -> None:
    shops = Shops(connection, is_open=effects_of(STOP), seats=effects_of(SEATS))
    shops.add("a")
    shops.change("a", is_open=False)
    fail_all(connection, "no such thing", refused=True)
    shops.change("a", seats=5)
    connection.execute("UPDATE reconciler.outbox SET next_attempt_at = 'infinity' WHERE target = 'stop'")
    with begin_read_write(connection, doing="test"):
        assert [entry.target for entry in claimed(connection).entries] == ["seats"]


def test_a_change_of_the_row_makes_what_waits_for_it_due_again(connection: DatabaseConnection) -> None:
    shops = Shops(connection, is_open=effects_of(STOP), seats=effects_of(SEATS))
    shops.add("a", "b")
    shops.ask("b", is_open=False)
    shops.change("a", is_open=False)
    connection.execute("UPDATE reconciler.outbox SET next_attempt_at = 'infinity'")
    shops.change("a", seats=5)
    due = connection.execute("SELECT key, target FROM reconciler.outbox WHERE next_attempt_at < 'infinity'")
    assert sorted(due) == [("a", "seats"), ("a", "stop")]


def test_those_of_the_run_come_first(connection: DatabaseConnection) -> None:
    shops = Shops(connection, is_open=effects_of(STOP))
    shops.add("a", "b")
    shops.change("a", is_open=False)
    run = shops.change("b", is_open=False).run_id
    with begin_read_write(connection, doing="test"):
        which = Which(limit=100, run=run, eager=True)
        assert [_message_key(entry.payload) for entry in claimed(connection, which).entries] == ["b", "a"]


# Attempts -----------------------------------------------------------------------------------------------------------


def test_the_pause_between_attempts_doubles_up_to_a_limit(connection: DatabaseConnection) -> None:
    shops = Shops(connection, is_open=effects_of(STOP))
    shops.add("a")
    shops.change("a", is_open=False)
    connection.execute("UPDATE reconciler.outbox SET attempts = 0")
    pauses = []
    for _ in range(5):
        assert fail_all(connection) == 1
        row = connection.execute(
            "SELECT round(extract(epoch FROM next_attempt_at - now())) FROM reconciler.outbox"
        ).fetchone()
        assert row is not None
        pauses.append(int(row[0]))
    assert pauses == [10, 20, 40, 60, 60]


def test_an_attempt_is_not_due_before_its_time_unless_somebody_asks(connection: DatabaseConnection) -> None:
    shops = Shops(connection, is_open=effects_of(STOP))
    shops.add("a")
    shops.change("a", is_open=False)
    for which, number in (
        (Which(limit=9), 0),
        (Which(limit=9, eager=True), 1),
        (Which(limit=9, alive=("REDIS_THAT_IS_NOT_SET",)), 1),
        (Which(limit=9, eager=True, broken=("REDIS_THAT_IS_NOT_SET",)), 0),
    ):
        with begin_read_write(connection, doing="test"):
            assert len(claimed(connection, which).entries) == number, which


def test_one_that_is_refused_too_often_is_dead_and_says_why(connection: DatabaseConnection) -> None:
    shops = Shops(connection, is_open=effects_of(STOP))
    shops.add("a")
    shops.change("a", is_open=False)
    for expected in ("pending", "pending", "dead"):
        shops.make_due()
        assert fail_all(connection, "WRONGTYPE", refused=True) == 1
        assert shops.outbox() == [expected]
    assert [(each.state, each.error, each.number) for each in read_undelivered(connection, 9)] == [
        ("dead", "WRONGTYPE", 1)
    ]
    assert fail_all(connection) == 0


def test_one_that_cannot_be_reached_is_tried_until_its_time_is_over(connection: DatabaseConnection) -> None:
    shops = Shops(connection, is_open=effects_of(STOP))
    shops.add("a")
    shops.change("a", is_open=False)
    for _ in range(20):
        fail_all(connection)
    assert shops.outbox() == ["pending"]
    connection.execute("UPDATE reconciler.outbox SET tried_since = now() - interval '2 hours'")
    fail_all(connection)
    assert shops.outbox() == ["dead"]


def test_the_dead_can_be_given_another_chance(connection: DatabaseConnection) -> None:
    shops = Shops(connection, is_open=effects_of(STOP))
    shops.add("a")
    shops.change("a", is_open=False)
    connection.execute("UPDATE reconciler.outbox SET state = 'dead', refusals = 3, tried_since = 'epoch'")
    assert revive(connection) == 1
    assert fail_all(connection, "again", refused=True) == 1
    assert shops.outbox("state", "refusals") == [("pending", 1)]
