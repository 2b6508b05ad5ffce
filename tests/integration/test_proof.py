"""After a run: is what it wrote in effect where users see it? Asked of Postgres, an application, and the ledger's word.

BullMQ's part is in test_bullmq_node.py, as it takes a worker in Node.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest

from reconciler.database.connection import DatabaseConnection, open_database
from reconciler.database.transaction import begin_read_only
from reconciler.database.url import parse_database_url
from reconciler.history.query import HistoryQuery
from reconciler.history.read import read_history, read_runs
from reconciler.outcome import Outcome, Proving, Verdict
from reconciler.pipeline import Ending
from reconciler.proving.http import AT_ONCE
from reconciler.proving.records import NotSeen, read_not_seen
from tests.support.postgres import Database
from tests.support.proxy import FaultyLine
from tests.support.shop_window import Window, shop_window
from tests.support.shops import Shops, connected


@pytest.fixture
def connection(empty_database: Database) -> Iterator[DatabaseConnection]:
    with connected(empty_database.url) as connection:
        yield connection


@pytest.fixture
def window() -> Iterator[Window]:
    with shop_window() as window:
        yield window


def verify(*proofs: dict[str, Any]) -> str:
    return json.dumps(list(proofs))


def closed_at(window: Window, within: str = "1h", **more: Any) -> dict[str, Any]:
    """A proof that ends when the shop is seen to be closed; `within` is for those that are to be given up."""
    return {"http": {"url": window.url, "path": "/shops/$key", "status": 404, **more}, "within": within}


def the_only(outcome: Outcome) -> Verdict:
    assert outcome.notices == ()
    [verdict] = outcome.verdicts
    return verdict


def said(outcome: Outcome) -> list[str]:
    return [each.said for verdict in outcome.verdicts for each in verdict.unseen]


def not_seen(connection: DatabaseConnection) -> list[NotSeen]:
    with begin_read_only(connection, doing="testing"):
        return read_not_seen(connection, 10)


@contextmanager
def trigger(connection: DatabaseConnection, body: str) -> Iterator[None]:
    """What the database itself does after the run's transaction: a deferred trigger fires when that commits."""
    connection.execute(
        f"""
        CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body}; RETURN NULL; END $$;
        CREATE CONSTRAINT TRIGGER meddling AFTER UPDATE OF is_open ON shops DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW WHEN (OLD.is_open IS DISTINCT FROM NEW.is_open) EXECUTE FUNCTION meddle();
        """.encode()
    )
    yield
    connection.execute("DROP TRIGGER meddling ON shops; DROP FUNCTION meddle")


def test_the_row_itself_is_read_back(connection: DatabaseConnection) -> None:
    shops = Shops(connection, verify=verify({"row": "written"}))
    shops.add("a", "b")
    shops.ask("b", is_open=False)
    verdict = the_only(shops.change("a", is_open=False))
    assert (verdict.kind, verdict.changes, verdict.asked, verdict.seen, verdict.unseen) == ("row", 2, 2, 2, ())
    assert verdict.after_s is not None
    assert 0 < verdict.after_s <= (verdict.waited_s or 0)


def test_a_row_that_the_database_changes_back_is_not_in_effect(connection: DatabaseConnection) -> None:
    shops = Shops(connection, verify=verify({"row": "written", "within": "1s"}))
    shops.add("a", "b")
    shops.ask("b", is_open=False)
    with trigger(connection, "IF NEW.id = 'a' THEN UPDATE shops SET is_open = true WHERE id = 'a'; END IF"):
        verdict = the_only(shops.change("a", is_open=False))
    assert (verdict.asked, verdict.seen, verdict.in_effect) == (2, 1, False)
    assert [(each.key, each.label, each.said) for each in verdict.unseen] == [("a", "Shop a", "the row has true")]
    assert (verdict.waited_s or 0) >= 1


def test_a_row_that_is_gone_is_not_waited_for(connection: DatabaseConnection) -> None:
    shops = Shops(connection, verify=verify({"row": "written", "within": "1h"}))
    shops.add("a")
    with trigger(connection, "DELETE FROM shops WHERE id = NEW.id"):
        assert said(shops.change("a", is_open=False)) == ["the row is gone"]


QUERY = """
SELECT count(*) = 0 FROM sessions s WHERE s.shop = $key AND $after = 'false' -- a comment at its end, with a % in it
"""


def test_a_query_must_be_true_of_every_change_and_is_asked_once_for_all(connection: DatabaseConnection) -> None:
    shops = Shops(connection, verify=verify({"when": False, "sql": {"query": QUERY}, "within": "1s"}))
    connection.execute("CREATE TABLE sessions (shop text)")
    keys = shops.add_many(3_000)
    connection.execute("INSERT INTO sessions SELECT unnest(%s::text[])", ([keys[7], keys[2_000]],))
    for key in keys:
        shops.ask(key, is_open=False)
    verdict = the_only(shops.apply())
    assert (verdict.changes, verdict.asked, verdict.seen) == (3_000, 3_000, 2_998)
    assert [each.key for each in verdict.unseen] == [keys[7], keys[2_000]]
    assert {each.said for each in verdict.unseen} == {"the query is not true"}


def test_a_query_sees_what_becomes_true_later(connection: DatabaseConnection, empty_database: Database) -> None:
    """What it waits for happens when the run says, on its terminal, that it is waiting."""
    query = "SELECT NOT EXISTS (SELECT FROM sessions WHERE shop = $key)"
    shops = Shops(connection, verify=verify({"sql": {"query": query}, "within": "1h"}))
    connection.execute("CREATE TABLE sessions (shop text); INSERT INTO sessions VALUES ('a')")
    shops.add("a")
    shops.ask("a", is_open=False)
    told: list[str] = []

    def watching(text: str) -> None:
        told.append(text)
        if text.startswith("Committed"):
            empty_database.execute("DELETE FROM sessions")

    verdict = the_only(shops.apply(Ending(proving=Proving(watching=watching))))
    assert verdict.in_effect
    assert told[0].startswith("Committed. In effect: 0 of 1 seen, 0 s of at most 360")
    assert told[-1] == ""


@pytest.mark.parametrize(
    ("query", "said_of_it"),
    [
        ("SELECT nothing FROM shops WHERE id = $key", 'the query failed: column "nothing" does not exist'),
        ("SELECT 1 WHERE $key = 'a'", "the query failed: argument of IS TRUE must be type boolean, not type integer"),
        ("SELECT true FROM shops", "the query failed: more than one row returned by a subquery used as an expression"),
        ("SELECT true WHERE $key = '{}%s'", "the query is not true"),
        ("SELECT NULL::boolean;", "the query is not true"),
        ("SELECT 1/0 = 1", "the query failed: division by zero"),
        ("WITH gone AS (DELETE FROM shops RETURNING id) SELECT true", "the query failed: "),
        ("SELECT nextval('shop_numbers') > 0", "read-only transaction"),
    ],
)
def test_a_query_that_cannot_be_true_says_why(connection: DatabaseConnection, query: str, said_of_it: str) -> None:
    shops = Shops(connection, verify=verify({"sql": {"query": query}, "within": "1s"}))
    connection.execute("CREATE SEQUENCE shop_numbers")
    shops.add("a", "b")
    [found] = said(shops.change("a", is_open=False))
    assert said_of_it in found
    assert connection.execute("SELECT count(*) FROM shops").fetchone() == (2,)


def test_the_application_is_asked_until_it_gives_the_new_answer(connection: DatabaseConnection, window: Window) -> None:
    shops = Shops(connection, verify=verify(closed_at(window)))
    shops.add("a/b ?")
    window.answers_left = 3
    verdict = the_only(shops.change("a/b ?", is_open=False))
    assert verdict.in_effect
    assert verdict.target == f"{window.url}/shops/$key"
    assert window.paths == ["/shops/a%2Fb%20%3F"] * 4


def test_an_application_that_never_changes_is_not_in_effect_and_said_so(
    connection: DatabaseConnection, window: Window
) -> None:
    shops = Shops(connection, verify=verify(closed_at(window, "1s")))
    shops.add("a")
    verdict = the_only(shops.change("a", is_open=False))
    [unseen] = verdict.unseen
    assert unseen.said == f"{window.url}/shops/a still answers 200, not 404"
    assert len(window.paths) > 2
    assert verdict.after_s is None
    assert 1 <= (verdict.waited_s or 0) < 15


def test_an_application_that_hangs_ends_with_the_deadline_and_hides_nobody_else(
    connection: DatabaseConnection, window: Window
) -> None:
    shops = Shops(connection, verify=verify(closed_at(window, "2s"), {"row": "written"}))
    shops.add("a", "b")
    shops.ask("b", is_open=False)
    window.hanging = {"a"}
    window.answers_left = 0
    application, row = shops.change("a", is_open=False).verdicts
    assert (row.in_effect, application.seen) == (True, 1)
    [unseen] = application.unseen
    assert unseen.key == "a"
    assert unseen.said.startswith(f"{window.url}/shops/a gives no answer")
    assert (application.waited_s or 99) < 15


def test_nobody_who_listens_is_said_without_what_the_environment_holds(
    connection: DatabaseConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    proof = {"http": {"url": "$SHOP_URL", "path": "/shops/$key", "headers": {"authorization": "Bearer $TOKEN"}}}
    shops = Shops(connection, verify=verify(proof | {"within": "1s"}))
    shops.add("a", "b", "c", "d")
    monkeypatch.delenv("SHOP_URL", raising=False)
    assert said(shops.change("a", is_open=False)) == ["SHOP_URL is not set"]
    monkeypatch.setenv("SHOP_URL", "http://ann:canary-secret@127.0.0.1:1/canary")
    assert said(shops.change("b", is_open=False)) == ["TOKEN is not set"]
    monkeypatch.setenv("TOKEN", "canary\nsecret")
    assert said(shops.change("c", is_open=False)) == ["$SHOP_URL/shops/c cannot be asked: ValueError"]
    monkeypatch.setenv("TOKEN", "canary")
    [found] = said(shops.change("d", is_open=False))
    assert found.startswith("$SHOP_URL/shops/d cannot be asked: ")
    assert "canary" not in found


def test_headers_of_the_environment_are_sent(
    connection: DatabaseConnection, window: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", "t0ken")
    shops = Shops(connection, verify=verify(closed_at(window, headers={"authorization": "Bearer $TOKEN"})))
    shops.add("a")
    window.answers_left = 0
    assert the_only(shops.change("a", is_open=False)).in_effect
    assert window.headers[0]["authorization"] == "Bearer t0ken"


@pytest.mark.parametrize(
    ("asked", "said_of_it"),
    [
        ({"path": "/api/$key", "json": {"shop": {"open": "$after"}}}, "still answers with shop.open = true"),
        ({"path": "/api/$key", "json": {"shop": {"shut": True}}}, "still answers with no shop.shut"),
        ({"path": "/pages/$key", "text": "closed"}, "still answers 200 without the text that is to be in it"),
    ],
)
def test_an_answer_is_looked_into(
    connection: DatabaseConnection, window: Window, asked: dict[str, Any], said_of_it: str
) -> None:
    shops = Shops(connection, verify=verify({"http": {"url": window.url, **asked}, "within": "1s"}))
    shops.add("a", "b")
    [found] = said(shops.change("a", is_open=False))
    assert found.endswith(said_of_it)
    window.answers_left = 0
    assert the_only(shops.change("b", is_open=False)).in_effect == ("shut" not in str(asked))


def test_of_many_rows_a_sample_is_asked_a_few_at_a_time(connection: DatabaseConnection, window: Window) -> None:
    shops = Shops(connection, verify=verify(closed_at(window, sample=30), {"row": "written"}))
    keys = shops.add_many(2_000)
    for key in keys:
        shops.ask(key, is_open=False)
    window.answers_left = 0
    application, row = shops.apply().verdicts
    assert (application.changes, application.asked, application.seen) == (2_000, 30, 30)
    assert (row.asked, row.seen) == (2_000, 2_000)
    asked = sorted(path.rpartition("/")[2] for path in window.paths)
    assert (len(set(asked)), asked[0], asked[-1]) == (30, keys[0], keys[-1])
    assert window.most_at_once <= AT_ONCE


def test_only_the_values_of_when_are_asked_for(connection: DatabaseConnection, window: Window) -> None:
    shops = Shops(connection, verify=verify({"when": True, "row": "written"}))
    shops.add("a")
    assert shops.change("a", is_open=False).verdicts == ()
    assert connection.execute("SELECT count(*) FROM reconciler.proof").fetchone() == (0,)
    assert the_only(shops.change("a", is_open=True)).in_effect


def test_what_was_found_is_in_the_ledger_and_its_history(connection: DatabaseConnection, window: Window) -> None:
    shops = Shops(connection, verify=verify({"row": "written"}, closed_at(window, "1s")))
    shops.add("a")
    outcome = shops.change("a", is_open=False)
    [entry] = read_history(connection, HistoryQuery()).entries
    assert entry.unseen == (f"{window.url}/shops/a still answers 200, not 404",)
    [run] = read_runs(connection, HistoryQuery()).runs
    assert entry.run == run
    assert [(each.kind, each.asked, each.seen) for each in run.proofs] == [("row", 1, 1), ("http", 1, 0)]
    assert outcome.run_id == run.id


def test_what_is_not_in_effect_is_known_until_the_field_is_written_again(
    connection: DatabaseConnection, window: Window
) -> None:
    shops = Shops(connection, verify=verify({"when": False, **closed_at(window, "1s")}))
    shops.add("a", "b")
    shops.ask("b", is_open=False)
    shops.change("a", is_open=False)
    with begin_read_only(connection, doing="testing"):
        [group] = read_not_seen(connection, 10)
    assert (group.key, group.number, group.kind) == ("a", 2, "http")
    shops.change("a", is_open=True)
    with begin_read_only(connection, doing="testing"):
        [group] = read_not_seen(connection, 10)
    assert (group.key, group.number) == ("b", 1)


def test_a_run_that_is_told_not_to_look_does_not_and_says_so(connection: DatabaseConnection, window: Window) -> None:
    shops = Shops(connection, verify=verify(closed_at(window)))
    shops.add("a")
    shops.ask("a", is_open=False)
    outcome = shops.apply(Ending(proving=Proving(wanted=False)))
    assert [notice.message for notice in outcome.notices] == ["whether it is in effect was not looked at, as you said"]
    assert (outcome.verdicts, window.paths) == ((), [])


def test_the_time_can_be_shortened(connection: DatabaseConnection, window: Window) -> None:
    shops = Shops(connection, verify=verify(closed_at(window)))
    shops.add("a")
    shops.ask("a", is_open=False)
    assert not the_only(shops.apply(Ending(proving=Proving(at_most_s=0.0)))).in_effect
    assert window.paths == ["/shops/a"]


def test_who_does_not_want_to_wait_any_longer_has_what_is_known(connection: DatabaseConnection, window: Window) -> None:
    shops = Shops(connection, verify=verify({"row": "written"}, closed_at(window)))
    shops.add("a")
    shops.ask("a", is_open=False)

    def watching(text: str) -> None:
        if text.startswith("Committed. In effect: 1 of 2"):
            raise KeyboardInterrupt

    outcome = shops.apply(Ending(proving=Proving(watching=watching)))
    assert [verdict.in_effect for verdict in outcome.verdicts] == [True, False]
    [notice] = outcome.notices
    assert notice.message == "interrupted while waiting for it to be in effect: the run is committed"
    assert connection.execute("SELECT count(*) FROM reconciler.proof").fetchone() == (2,)


def test_a_ledger_that_does_not_take_the_verdicts_is_no_failure_of_the_run(connection: DatabaseConnection) -> None:
    shops = Shops(connection, verify=verify({"row": "written"}))
    shops.add("a")
    connection.execute("ALTER TABLE reconciler.proof ADD CHECK (waited_ms IS NULL)")
    outcome = shops.change("a", is_open=False)
    assert outcome.applied == 1
    [verdict] = outcome.verdicts
    assert verdict.in_effect
    [notice] = outcome.notices
    assert notice.message.startswith("what was seen is not recorded (a check constraint would be broken")
    assert "`reconcile status` lists that it is not known to be in effect" in notice.message
    assert [(each.key, each.waited_ms) for each in not_seen(connection)] == [("a", None)]


@pytest.mark.parametrize("moment", [b"COMMIT\0", b"FOR UPDATE OF o SKIP LOCKED"], ids=["commit", "delivery"])
def test_what_nobody_could_look_at_is_known_not_to_have_been_seen(
    connection: DatabaseConnection, empty_database: Database, moment: bytes
) -> None:
    effects = json.dumps([{"redis_publish": {"channel": "c", "url_variable": "NO_SUCH_URL"}}])
    proofs: list[dict[str, Any]] = [{"row": "written", "within": "1s"}, {"sql": {"query": "true"}, "within": "1s"}]
    shops = Shops(connection, verify=verify(*proofs), is_open=effects)
    shops.add("a")
    shops.ask("a", is_open=False)
    place = urlsplit(empty_database.url)
    with FaultyLine(str(place.hostname), place.port or 5432) as line:
        url = line.url_through(empty_database.url)
        with connected(url) as shops.connection:
            (line.lose_answer_to if moment.startswith(b"COMMIT") else line.cut_before)(moment)

            def gone() -> DatabaseConnection:
                if moment.startswith(b"COMMIT") and not looked_up:
                    looked_up.append(True)
                    return open_database([parse_database_url(empty_database.url, variable="DATABASE_URL")])
                line.refuse()  # from here on nobody is let in, the proofs' own connection included
                return open_database([parse_database_url(url, variable="DATABASE_URL")], timeout_s=0.2)

            looked_up: list[bool] = []
            outcome = shops.apply(Ending(reconnect=gone))
    assert outcome.applied == 1
    assert any("It is not asked again: look for yourself" in notice.message for notice in outcome.notices)
    assert [(each.kind, each.key, each.waited_ms) for each in not_seen(connection)] == [
        ("row", "a", None), ("sql", "a", None),
    ]  # fmt: skip


def test_who_does_not_look_leaves_no_question(connection: DatabaseConnection) -> None:
    shops = Shops(connection, verify=verify({"row": "written"}))
    shops.add("a")
    shops.ask("a", is_open=False)
    shops.apply(Ending(proving=Proving(wanted=False)))
    assert not_seen(connection) == []


_IMPORTS = """
import sys
from reconciler.database.connection import open_database
from reconciler.database.url import parse_database_url
from tests.support.shops import Shops, connected
with connected(sys.argv[1]) as connection:
    shops = Shops(connection, verify='[{when: true, row: written}]')
    shops.add("a")
    shops.change("a", seats=3)
    print([name for name in sys.modules if name.startswith("reconciler.proving")])
"""


def test_a_run_that_has_nothing_to_prove_imports_nothing_for_it(empty_database: Database) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _IMPORTS, empty_database.url], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
