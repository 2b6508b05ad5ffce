"""The report for a terminal: what it says, that it stands out, and that no text can break it."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.errors import InvalidInput, NotAsExpected, Problem, Refused
from reconciler.model import Change, Location
from reconciler.outcome import Outcome
from reconciler.plan import Notice, Plan, Scope
from reconciler.report.text import render_error, render_outcome, render_plan, render_problems
from reconciler.report.words import visible
from tests.support.plan_examples import (
    ACME,
    EVERY_KIND,
    HELD,
    KEPT,
    NEW_ROW,
    NOW,
    PLANS,
    REVISION,
    TEXTS,
    change,
    plan,
    recorded,
)

CODES = re.compile(r"\x1b\[[0-9;]*m")


def drawn(changes: tuple[Change, ...] | list[Change], width: int = 120) -> str:
    return render_plan(plan(changes), now=NOW, colour=False, width=width)


def outcome(original: Plan, applied: int, **fields: Any) -> Outcome:
    given: dict[str, Any] = {
        "run_id": "1a2b3c4d-77",
        "audit_entries": applied,
        "recorded": 0,
        "released": 0,
        "duration_s": 0.184,
    }
    return Outcome(plan=original, applied=applied, **{**given, **fields})


def test_every_kind_of_change_is_told_as_people_read_it() -> None:
    original = plan(EVERY_KIND, notices=(Notice("the history is shallow", Location("state/a.yaml", 1, 1)),))
    assert render_plan(original, now=NOW, colour=False, width=110) == (
        """\
commit 1a2b3c4  Stop WhatsApp for Acme Bakery
by Ada Lovelace, 12 min ago  for platform at 127.0.0.1:5432

system_settings  system
  globalAiEnabled    false -> true          RESTORE   provider is back  state/system_settings.yaml:4:3
      guard `after` waived: support confirmed, ticket 4711
  ratio              (no row) -> 0.25       NEW       WhatsApp ban, INC-142  state/tenants/acme.yaml:4:3
      adopted: the row does not exist and is made

tenants  Acme Bakery  8a6e0804-2bd0-4672-b79d-d97027f9071a
  isAiEnabled        false -> true          HELD      the owner was called  state/tenants/acme.yaml:4:3
      held until 2026-11-27 09:00 UTC (in 23 h 10 min): killed 50 min ago
  isVoiceEnabled     false (git asks true)  KEPT      state/tenants/acme.yaml:4:3
      killed by hand: left as it is
  isWhatsappEnabled  true -> false          KILL      WhatsApp ban, INC-142  state/tenants/acme.yaml:4:3
  status             "SUSPENDED"            RELEASED
      git no longer names it

tenants  Bolt Coffee  b1
  isWhatsappEnabled  true -> false          KILL      state/tenants/acme.yaml:4:3
      re-opened behind git's back: put back to the kill side

tenants: 8 fields of 8 rows have what git asks already: recorded, nothing is written

note: the history is shallow  state/a.yaml:1:1

Plan: 4 to change (2 kills, 1 restore), 1 held, 1 kept, 8 recorded, 1 released; 41 rows with 120 fields managed."""
        f" Fingerprint {original.fingerprint[:12]}…\n"
    )


def test_nothing_to_do_is_one_line() -> None:
    assert drawn([]) == "Nothing to do: 41 rows with 120 fields are as git asks (commit 1a2b3c4).\n"


def test_what_the_run_was_limited_to_is_said() -> None:
    scope = Scope(rows=("tenants/a", "tenants/b", "tenants/c", "tenants/d"))
    said = render_plan(plan(scope=scope), now=NOW, colour=False, width=80)
    assert "120 fields in tenants/a, tenants/b, tenants/c and 1 more are as git asks" in said


def test_uncommitted_files_and_an_old_plan_are_said() -> None:
    revision = type(REVISION)(
        **{**{name: getattr(REVISION, name) for name in REVISION.__struct_fields__}, "dirty": True}
    )
    said = render_plan(plan([change()], revision=revision), now=NOW + timedelta(days=1), colour=False, width=120)
    assert "commit 1a2b3c4 with uncommitted changes" in said
    assert "planned 1 d ago" in said


def test_that_an_apply_would_be_refused_is_said_just_above_the_sum() -> None:
    said = render_plan(plan([change()], refusals=("it changes\n1,000 rows",)), now=NOW, colour=False, width=120)
    assert said.splitlines()[-3] == "REFUSED: an apply of this would be refused: it changes\\n1,000 rows"


def test_few_recorded_fields_are_listed_and_many_are_one_line() -> None:
    few = drawn(list(map(recorded, range(5))))
    assert few.count("RECORDED") == 5
    many = drawn(list(map(recorded, range(6))))
    assert "RECORDED" not in many
    assert "tenants: 6 fields of 6 rows have what git asks already" in many
    assert "Plan: nothing to change, 6 recorded" in many


def test_long_values_are_cut_where_what_differs_is_still_seen() -> None:
    said = drawn([change(before="a" * 500 + "one", desired="a" * 500 + "two")], width=100)
    assert max(map(len, said.splitlines()[:-1])) <= 100
    assert '…aaaaaaaaaaaaaaaone" -> …aaaaaaaaaaaaaaatwo"' in said


def test_the_same_change_on_many_rows_is_told_once() -> None:
    many = [change(key=f"{number:04}", label=f"Tenant {number}") for number in range(1000)]
    said = drawn([*many, change(key="other", label="Odd One", before=None)])
    assert "isWhatsappEnabled  true -> false  KILL      1,000 rows" in said
    assert "such as Tenant 0, Tenant 1, Tenant 2" in said
    assert "isWhatsappEnabled  null -> false  KILL      Odd One other" in said
    assert "all 1,001 one by one: `--output json`" in said
    assert len(said.splitlines()) < 15


def test_many_rows_with_as_many_values_and_reasons_are_told_together() -> None:
    said = drawn([change(key=str(number), before=number, reason=f"reason {number}") for number in range(300)])
    assert "(various values)" in said
    assert "(various reasons)" in said
    assert "300 rows" in said


def test_two_hundred_changes_are_still_listed_one_by_one() -> None:
    said = drawn([change(key=str(number)) for number in range(200)])
    assert said.count("KILL") == 200
    assert "Grouped" not in said


def test_an_explanation_that_all_fields_of_a_row_share_is_said_once() -> None:
    said = drawn([NEW_ROW, change(**{**_fields(NEW_ROW), "field": "another"})])
    assert said.count("the row does not exist and is made") == 1


def _fields(of: Change) -> dict[str, object]:
    return {name: getattr(of, name) for name in of.__struct_fields__}


@given(PLANS, st.integers(-5, 200))
def test_colours_are_all_that_colours_add(original: Plan, width: int) -> None:
    plain = render_plan(original, now=NOW, colour=False, width=width)
    coloured = render_plan(original, now=NOW, colour=True, width=width)
    assert [line.rstrip() for line in CODES.sub("", coloured).split("\n")] == [
        line.rstrip() for line in plain.split("\n")
    ]
    assert all(character.isprintable() or character == "\n" for character in plain)


@pytest.mark.parametrize(
    "hostile",
    [
        "\x1b[2J\x1b[31mgone",
        "\x9b31m",
        "a\nPlan: 0 to change",
        "a\rb",
        "\u202egnp.exe",
        "x\u2066y",
        "a\u2028b",
        "\x00\x07",
    ],
)
def test_no_label_reason_or_value_reaches_the_terminal_as_a_command(hostile: str) -> None:
    hostile_everywhere = change(
        table=hostile, key=hostile, field=hostile, label=hostile, reason=hostile, before=hostile, desired=[hostile]
    )
    tame = change(table="t", key="k", field="f", label="l", reason="r", before="v", desired=["w"])
    said, expected = drawn([hostile_everywhere], 1000), drawn([tame], 1000)
    assert all(character.isprintable() or character == "\n" for character in said)
    assert said.count("\n") == expected.count("\n")


@given(TEXTS)
def test_what_is_made_visible_prints_on_one_line_and_plain_text_stays(text: str) -> None:
    assert visible(text).isprintable()
    assert visible("Acme Bäckerei 株式会社 😀") == "Acme Bäckerei 株式会社 😀"


def test_a_pile_of_combining_marks_is_cut_down() -> None:
    assert visible("e" + "\u0301" * 5) == "e" + "\u0301" * 3 + "\\u0301\\u0301"


def test_wide_characters_are_counted_as_two_columns() -> None:
    said = drawn([change(field="電話", key="1"), change(field="phone", key="1")], 140)
    lines = [line for line in said.splitlines() if "KILL" in line]
    assert lines == [
        "  phone  true -> false  KILL      WhatsApp ban, INC-142  state/tenants/acme.yaml:4:3",
        "  電話   true -> false  KILL      WhatsApp ban, INC-142  state/tenants/acme.yaml:4:3",
    ]


@pytest.mark.parametrize("width", [0, 1, 20, 40, 80])
def test_places_and_keys_stay_whole_however_narrow_the_terminal_is(width: int) -> None:
    said = drawn(EVERY_KIND, width)
    assert "state/tenants/acme.yaml:4:3" in said
    assert ACME in said
    assert len([line for line in said.splitlines() if line.startswith("Plan: ")]) == 1


def test_an_apply_is_summed_up_in_one_sentence() -> None:
    done = outcome(plan([change(), change(field="aiDailyLimit"), change(key="b")]), 3)
    said = render_outcome(done, now=NOW, colour=False, width=100).splitlines()
    assert said[-1] == "Applied 3 changes to 2 rows in one transaction (run 1a2b3c4d, 3 audit entries, 0.18 s)."


def test_an_apply_lists_what_it_wrote_with_places() -> None:
    done = outcome(plan([change(), HELD]), 1)
    said = render_outcome(done, now=NOW, colour=False, width=120).splitlines()
    assert said[0] == f"tenants  Acme Bakery  {ACME}"
    assert said[1].endswith("true -> false  KILL      WhatsApp ban, INC-142  state/tenants/acme.yaml:4:3")


def test_what_an_apply_did_not_do_is_said_again() -> None:
    done = outcome(plan([change(), HELD, KEPT]), 1, dirty=True, reason="only a laptop at hand", released=2)
    said = render_outcome(done, now=NOW, colour=False, width=120).split("\n\n", 1)[1].splitlines()
    assert said[0] == (
        "Applied 1 change to 1 row in one transaction (run 1a2b3c4d, 1 audit entry, 2 released, 0.18 s)."
    )
    assert said[1] == "Applied with uncommitted changes: only a laptop at hand"
    assert said[3] == "Not done (1 held, 1 kept):"
    assert "isAiEnabled" in said[5]
    assert "held until 2026-11-27 09:00 UTC (in 23 h 10 min)" in said[6]
    assert "isVoiceEnabled" in said[7]
    assert said[-1].strip() == "killed by hand: left as it is"


def test_only_the_first_of_many_held_fields_are_said_again() -> None:
    held = [change(**{**_fields(HELD), "key": f"{number:02}"}) for number in range(25)]
    said = render_outcome(outcome(plan(held), 0), now=NOW, colour=False, width=120)
    assert said.startswith("No row was changed (run 1a2b3c4d, 0.18 s).\n")
    assert said.count("HELD") == 20
    assert said.endswith("and 5 more fields: all with `--output json`\n")


def test_an_apply_with_nothing_to_do_is_one_line() -> None:
    said = render_outcome(outcome(plan(), 0), now=NOW, colour=False, width=100)
    assert said == ("Nothing to do: 41 rows with 120 fields are as git asks (commit 1a2b3c4, run 1a2b3c4d, 0.18 s).\n")


def test_problems_stand_in_order_with_their_places_and_are_counted() -> None:
    problems = [
        Problem("unknown field", Location("b.yaml", 10, 1), 'did you mean "isAiEnabled"?'),
        Problem("not\na boolean", Location("b.yaml", 2, 7)),
        Problem("no schemas"),
    ]
    assert render_problems(problems, colour=False) == (
        "no schemas\n"
        "b.yaml:2:7: not\\na boolean\n"
        'b.yaml:10:1: unknown field (did you mean "isAiEnabled"?)\n'
        "3 problems in 1 file.\n"
    )


def test_an_error_is_told_with_its_problems_or_by_its_message() -> None:
    assert render_error(Refused("two\nlines \x1b[0m"), colour=False) == "Error: two\nlines \\u001b[0m\n"
    wrong = NotAsExpected([Problem("no column", Location("schemas/t.yaml", 3, 1))], "the database disagrees")
    assert render_error(wrong, colour=False) == (
        "the database disagrees\nschemas/t.yaml:3:1: no column\n1 problem in 1 file.\n"
    )
    assert render_error(InvalidInput([]), colour=False) == "Error: InvalidInput\n"
