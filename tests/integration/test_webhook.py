"""Webhooks reach a real server, signed; what they must not show is not shown, and what fails changes no run."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator

import pytest

from reconciler.database.connection import DatabaseConnection
from reconciler.effects.delivery import Pass
from reconciler.effects.webhook import NotConfigured, signature
from reconciler.errors import Failed
from tests.support.postgres import Database
from tests.support.shops import Shops, connected, effects_of
from tests.support.webhook_receiver import Receiver, receiving

QUICK = "delivery: {timeout: 1s, backoff: 1s, attempts: 2}\n"
TWICE = "delivery: {timeout: 30s, attempts: 2}\n"


@pytest.fixture
def connection(empty_database: Database) -> Iterator[DatabaseConnection]:
    with connected(empty_database.url) as connection:
        yield connection


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """Somebody to whom $HOOK leads; the path is the secret."""
    with receiving("/secret-canary") as receiver:
        monkeypatch.setenv("HOOK", receiver.url)
        yield receiver


def hook(**more: object) -> str:
    return effects_of({"webhook": {"url": "$HOOK", **more}})


def test_a_webhook_is_signed_so_that_its_receiver_can_check_it(
    connection: DatabaseConnection, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK_SECRET", "whsec_" + base64.b64encode(b"shared").decode())
    shops = Shops(connection, is_open=hook(secret="HOOK_SECRET", data={"shop": "$key", "half": 0.5}))
    shops.add("a")
    assert shops.change("a", is_open=False).effects.delivered == 1
    [post] = receiver.posts
    [id] = [str(id) for id in shops.outbox("id")]
    assert json.loads(post.body) == {"shop": "a", "half": 0.5, "id": id}
    assert (post.path, post.headers["webhook-id"], post.headers["content-type"]) == (
        "/secret-canary", id, "application/json",
    )  # fmt: skip
    stamp = post.headers["webhook-timestamp"]
    assert abs(int(stamp) - time.time()) < 60
    expected = hmac.new(b"shared", f"{id}.{stamp}.".encode() + post.body, hashlib.sha256).digest()
    assert post.headers["webhook-signature"] == "v1," + base64.b64encode(expected).decode()


def test_the_signature_is_the_one_of_the_standards_own_example() -> None:
    body = b'{"test": 2432232314}'
    headers = signature("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    with pytest.raises(NotConfigured, match="no base64"):
        signature("id", 1, b"", "whsec_=canary=")


def test_without_data_it_carries_the_standard_message(connection: DatabaseConnection, receiver: Receiver) -> None:
    shops = Shops(connection, is_open=hook())
    shops.add("a")
    outcome = shops.change("a", is_open={"value": False, "reason": "fire"})
    assert json.loads(receiver.posts[0].body) == {
        "id": str(shops.outbox("id")[0]), "table": "shops", "key": "a", "field": "is_open", "before": True,
        "after": False, "label": "Shop a", "reason": "fire", "run": outcome.run_id,
        "commit": outcome.plan.revision.commit if outcome.plan.revision else "",
    }  # fmt: skip


def test_slack_gets_a_sentence_in_which_nothing_from_the_database_is_mark_up(
    connection: DatabaseConnection, receiver: Receiver
) -> None:
    shops = Shops(connection, is_open=hook(format="slack"), seats=hook(format="slack", text="*$label*: <$key> $after"))
    shops.add("a")
    connection.execute("UPDATE shops SET name = 'A & <!channel>'")
    shops.change("a", is_open={"value": False, "reason": "fire"}, seats=3)
    safe = "A &amp; &lt;!channel&gt;"
    texts = [json.loads(post.body)["text"] for post in receiver.posts]
    assert texts == [f"is_open of {safe}: true -&gt; false (fire)", f"*{safe}*: <a> 3"]


def test_discord_gets_a_sentence_that_mentions_nobody_and_fits(
    connection: DatabaseConnection, receiver: Receiver
) -> None:
    shops = Shops(connection, is_open=hook(format="discord"))
    shops.add("a")
    shops.change("a", is_open={"value": False, "reason": "@everyone " * 300})
    body = json.loads(receiver.posts[0].body)
    assert body["content"].startswith("is_open of Shop a: true -> false (@everyone")
    assert (len(body["content"]), body["allowed_mentions"]) == (2_000, {"parse": []})


@pytest.mark.parametrize(
    ("status", "refusals"), [(400, 1), (404, 1), (410, 1), (302, 1), (408, 0), (429, 0), (500, 0), (503, 0)]
)
def test_a_status_says_whether_the_request_is_refused_or_may_come_again(
    connection: DatabaseConnection, receiver: Receiver, status: int, refusals: int
) -> None:
    shops = Shops(connection, is_open=hook())
    shops.add("a")
    receiver.status = status
    outcome = shops.change("a", is_open=False)
    assert (outcome.applied, outcome.effects.waiting) == (1, 1)
    assert shops.outbox("refusals", "last_error") == [(refusals, f"$HOOK: status {status}")]


def test_a_redirect_is_not_followed(connection: DatabaseConnection, receiver: Receiver) -> None:
    shops = Shops(connection, is_open=hook())
    shops.add("a")
    receiver.status, receiver.location = 307, receiver.url + "/elsewhere"
    shops.change("a", is_open=False)
    assert [post.path for post in receiver.posts] == ["/secret-canary"]


def test_one_that_is_refused_ends_dead_and_the_others_arrive(
    connection: DatabaseConnection, receiver: Receiver
) -> None:
    shops = Shops(connection, policy=TWICE, is_open=hook())
    shops.add("a", "b", "c")
    receiver.judge = lambda post: 400 if b'"key":"b"' in post.body else 200
    for key in ("a", "b", "c"):
        shops.ask(key, is_open=False)
    assert shops.apply().effects.delivered == 2
    shops.make_due()
    shops.deliver()
    assert shops.outbox("key", "state") == [("a", "delivered"), ("b", "dead"), ("c", "delivered")]


def test_a_receiver_that_hangs_costs_one_deadline_whatever_waits(
    connection: DatabaseConnection, receiver: Receiver
) -> None:
    shops = Shops(connection, policy=QUICK, is_open=hook())
    for key in shops.add_many(30):
        shops.ask(key, is_open=False)
    receiver.delay_s = 3.0
    started = time.monotonic()
    outcome = shops.apply()
    assert time.monotonic() - started < 15  # once for each post would take thirty
    assert outcome.effects.waiting == 30
    assert len(receiver.posts) == 1
    receiver.delay_s = 0.0
    assert shops.deliver(Pass(eager=True)).delivered == 30
    keys = [json.loads(post.body)["key"] for post in receiver.posts[1:]]
    assert sorted(keys) == [f"shop-{number:05}" for number in range(30)]


def test_a_receiver_that_hangs_does_not_hold_up_another(
    connection: DatabaseConnection, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    with receiving() as slow:
        slow.delay_s = 2.0
        monkeypatch.setenv("SLOW", slow.url)
        effects = effects_of({"webhook": {"url": "$SLOW"}}, {"webhook": {"url": "$HOOK"}})
        shops = Shops(connection, policy=QUICK, is_open=effects)
        for key in shops.add_many(20):
            shops.ask(key, is_open=False)
        outcome = shops.apply()
    assert (outcome.effects.delivered, outcome.effects.waiting) == (20, 20)


def test_what_is_not_set_and_what_is_no_address_is_said_without_a_secret(
    connection: DatabaseConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_URL", "canary")
    monkeypatch.setenv("ODD", "http://[canary")
    monkeypatch.setenv("GONE", "http://127.0.0.1:9/canary")
    urls = ("$NOT_SET", "$NO_URL", "$ODD", "$GONE", "http://user:canary@127.0.0.1:9/canary")
    shops = Shops(connection, policy=QUICK, is_open=effects_of(*({"webhook": {"url": url}} for url in urls)))
    shops.add("a")
    outcome = shops.change("a", is_open=False)
    assert outcome.effects.waiting == 5
    errors = shops.outbox("last_error")
    assert errors[0] == "$NOT_SET: NOT_SET is not set"
    assert errors[1] == "$NO_URL: it holds no URL"
    assert "refused" in errors[3]
    said = [*errors, *shops.outbox("target"), *(notice.message for notice in outcome.notices)]
    assert not any("canary" in text for text in said), said


# Notifications ------------------------------------------------------------------------------------------------------


def notify(*events: str, form: str = "json") -> str:
    return f"notify: [{{on: [{', '.join(events)}], webhook: {{url: $HOOK, format: {form}}}}}]\n"


def told(receiver: Receiver) -> list[tuple[str, int]]:
    """(event, how many changes) of every message."""
    return [(body["event"], body["count"]) for body in (json.loads(post.body) for post in receiver.posts)]


def test_a_run_tells_of_its_kills_and_restores_in_a_message_each(
    connection: DatabaseConnection, receiver: Receiver
) -> None:
    shops = Shops(connection, policy=notify("kill", "restore"))
    for key in shops.add_many(30):
        shops.ask(key, is_open=False)
    shops.apply()
    shops.ask("shop-00000", is_open=True)
    shops.change("shop-00001", seats=2)
    shops.apply()
    assert told(receiver) == [("kill", 30), ("kill", 1), ("restore", 1)]
    first = json.loads(receiver.posts[0].body)
    assert (len(first["changes"]), first["actor"]) == (20, "robot")
    assert first["changes"][0]["label"] == "Shop shop-00000"


def test_slack_is_told_in_words(connection: DatabaseConnection, receiver: Receiver) -> None:
    shops = Shops(connection, policy=notify("kill", form="slack"))
    for key in shops.add_many(5):
        shops.ask(key, is_open={"value": False, "reason": "fire"})
    shops.apply()
    text = json.loads(receiver.posts[0].body)["text"]
    assert text.startswith("Killed: is_open of Shop shop-00000: true -&gt; false (fire)\nis_open of Shop shop-00001")
    assert "and 2 more\n(commit 1a2b3c4, by robot, " in text


def test_drift_that_stays_is_told_once(connection: DatabaseConnection, receiver: Receiver) -> None:
    shops = Shops(connection, policy=notify("drift"))
    shops.add("a", "b")
    shops.ask("b", is_open=True)
    shops.change("a", is_open=True)
    connection.execute("UPDATE shops SET is_open = false WHERE id = 'a'")
    shops.apply()
    shops.apply()
    connection.execute("UPDATE shops SET is_open = false WHERE id = 'b'")
    shops.apply()
    assert told(receiver) == [("drift", 1), ("drift", 2)]
    connection.execute("UPDATE reconciler.outbox SET at = at - interval '25 hours'")
    shops.apply()
    assert told(receiver)[2:] == [("drift", 2)]


def test_drift_is_told_with_what_was_found_what_git_asks_for_and_what_was_done(
    connection: DatabaseConnection, receiver: Receiver
) -> None:
    shops = Shops(connection, policy=notify("drift", form="slack"))
    shops.add("a", "b")
    shops.ask("a", is_open=True)
    shops.ask("b", is_open=False)
    shops.apply()
    connection.execute("UPDATE shops SET is_open = NOT is_open")
    shops.apply()
    [post] = receiver.posts
    assert json.loads(post.body)["text"].splitlines()[:2] == [
        "Changed behind git's back: is_open of Shop a is false, git asks for true: left as it is",
        "is_open of Shop b is true, git asks for false: put back",
    ]


def test_what_is_held_is_told_with_the_time_when_it_may_go_on(
    connection: DatabaseConnection, receiver: Receiver
) -> None:
    policy = notify("held") + "freezes: [{name: Night, from: 2020-01-01T00:00:00Z, to: 2099-01-01T00:00:00Z}]\n"
    shops = Shops(connection, policy=policy)
    shops.add("a")
    outcome = shops.change("a", note="new")
    assert outcome.plan.counts.held == 1
    assert told(receiver) == [("held", 1)]
    assert json.loads(receiver.posts[0].body)["changes"][0]["held_until"] == "2099-01-01T00:00:00Z"
    shops.apply()
    assert len(receiver.posts) == 1


def test_a_run_that_fails_tells_so_and_fails_as_it_would(connection: DatabaseConnection, receiver: Receiver) -> None:
    shops = Shops(connection, policy=QUICK + notify("failed", form="discord"))
    shops.add("a")
    connection.execute("ALTER TABLE journal ADD CHECK (event <> 'SHOP')")
    with pytest.raises(Failed, match="check constraint"):
        shops.change("a", is_open=False)
    assert json.loads(receiver.posts[0].body)["content"].startswith("A run failed: a check constraint would be broken")
    receiver.delay_s = 5.0
    with pytest.raises(Failed, match="check constraint"):
        shops.apply()
