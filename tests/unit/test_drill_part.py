"""The `drill:` part of a playbook: read as strictly as the rest, because the drill proves the rest."""

from __future__ import annotations

import pytest

from reconciler.documents import read_document
from reconciler.drill.happening import statement_of
from reconciler.drill.story import describe
from reconciler.errors import Problem
from reconciler.playbook import Answer, Happening, Jobs
from reconciler.policy import HttpCheck
from reconciler.runbook.drill_part import variable_of
from reconciler.runbook.playbooks import read_playbooks
from tests.support.definitions import POLICY, sound_definitions
from tests.unit.test_playbooks import FIRE, OVENS

CHECKS = """\
checks:
  alarm: {type: http, url: $ALARM_URL}
  fixed: {type: http, url: "https://alarm.example/status"}
  redis: {type: redis}
"""

DRILL = """\
drill:
  subject: "7"
  happens:
    - sql: "UPDATE ovens SET heat = 400 WHERE serial::text = {subject}"
    - jobs: {queue: orders, waiting: 5, for: 20m}
    - answer: {check: alarm, status: 500}
    - stop: redis
  sees: [hot, alarm]
  holds: [after]
  recovers:
    - start: redis
    - drain: orders
    - answer: {check: alarm, status: 200}
    - sql: |
        -- Cold again.
        UPDATE ovens SET heat = 20 WHERE heat > 300
"""


def problems_of(*changes: tuple[str, str]) -> list[str]:
    text = FIRE + DRILL
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    problems: list[Problem] = []
    document = read_document("schemas/playbooks/fire.yaml", text.encode(), problems)
    assert document is not None
    read_playbooks([document], sound_definitions(POLICY + CHECKS, ovens=OVENS), problems)
    return [str(one).removeprefix("schemas/playbooks/fire.yaml:") for one in problems]


def test_a_sound_drill_has_no_problems() -> None:
    assert problems_of() == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('  subject: "7"\n', "", "subject is missing (the key of a row of ovens in the drill's own database)"),
        ("subject: ovens\n", "subject: oven\n", 'no schema for a table "oven"'),
        ("sees: [hot, alarm]", "sees: [hott]", 'there is no symptom "hott" (did you mean "hot"?)'),
        ("sees: [hot, alarm]", "sees: []", "expected a list of at least 1 item"),
        ("holds: [after]", "holds: [before]", '"before" cannot stand here (one of after, requires)'),
        ("    - stop: redis\n", "    - stop: redis\n      drain: orders\n", "one of sql, jobs, drain, answer, stop"),
        ("    - stop: redis\n", "    - {}\n", "one of sql, jobs, drain, answer, stop, start is needed, and only one"),
        ("    - stop: redis\n", "    - halt: redis\n", "unknown property halt"),
        ("    - stop: redis\n", "", "redis is started, and was never stopped (stop: redis)"),
        ("    - start: redis\n", "", "redis is stopped, and never started again (start: redis)"),
        ("    - stop: redis\n", "    - start: redis\n", "redis cannot be started here (`happens` stops servers"),
        ("    - start: redis\n", "    - stop: redis\n", "redis cannot be stopped here"),
        ("    - stop: redis\n", "    - stop: postgres\n", '"postgres" cannot stand here (one of database, redis)'),
        ('"UPDATE ovens SET', '"COMMIT; UPDATE ovens SET', "begins with INSERT, UPDATE, DELETE or WITH"),
        ('"UPDATE ovens SET', '"DO ', "begins with INSERT, UPDATE, DELETE or WITH"),
        ("waiting: 5, for", "waiting: 5, failed: 5, for", "one of waiting and failed is needed, and only one"),
        ("waiting: 5, for", "for", "one of waiting and failed is needed, and only one"),
        ("waiting: 5", "waiting: 0", "expected a whole number of at least 1"),
        ("check: alarm, status: 500", "check: alram, status: 500", 'there is no check "alram" (did you mean "alarm"?)'),
        ("check: alarm, status: 500", "check: redis, status: 500", "redis asks no URL"),
        ("check: alarm, status: 500", "check: fixed, status: 500", "nobody but its owner answers it (url: $NAME"),
        ("status: 500", "status: 42", "expected a whole number of at least 200"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_drill_is_said_with_its_line(old: str, new: str, said: str) -> None:
    found = problems_of((old, new))
    assert any(said in one for one in found), found
    assert all(one[0].isdigit() for one in found), found


def test_a_playbook_about_everybody_has_a_drill_without_a_subject() -> None:
    everybody = (("subject: ovens\n", ""), *(((("row: $subject", 'row: "7"'),)) * 4))
    found = problems_of(*everybody)
    assert [one.partition(" ")[2] for one in found] == [
        "this playbook is about everybody, so its drill has no subject",
        "{subject}: this playbook has no subject",
    ]


def test_a_key_is_a_literal_in_the_statement_whatever_it_holds() -> None:
    assert statement_of("UPDATE ovens SET lit = false WHERE id = {subject}", "7'; --").endswith("id = '7''; --'")
    assert statement_of("""INSERT INTO log VALUES ('{"a": 1}')""", None) == """INSERT INTO log VALUES ('{"a": 1}')"""


@pytest.mark.parametrize(
    ("url", "variable"), [("$ALARM_URL", "ALARM_URL"), ("${ALARM_URL}", "ALARM_URL"), ("$HOST/status", None)]
)
def test_only_a_variable_that_is_the_whole_address_can_be_set_to_another_server(url: str, variable: str | None) -> None:
    assert variable_of(HttpCheck(url=url)) == variable


@pytest.mark.parametrize(
    ("happening", "said"),
    [
        (Happening(sql='-- Why.\nINSERT INTO "Ovens" VALUES (1)'), 'insert into "Ovens"'),
        (Happening(jobs=Jobs(queue="orders", waiting=1500)), "1,500 waiting jobs in orders"),
        (Happening(jobs=Jobs(queue="orders", failed=3)), "3 failed jobs in orders"),
        (Happening(answer=Answer(check="alarm", status=500)), "alarm answers 500"),
        (Happening(drain="orders"), "orders is drained"),
        (Happening(stop="redis"), "redis is stopped"),
        (Happening(start="database"), "database is started"),
    ],
)
def test_a_happening_is_told_in_words(happening: Happening, said: str) -> None:
    assert describe(happening) == said
