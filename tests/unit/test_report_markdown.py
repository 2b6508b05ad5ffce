"""The report for a pull request: headline, tables, and that no text gets out of its cell."""

from __future__ import annotations

import re
from html import unescape

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from reconciler.model import Change, Direction
from reconciler.outcome import Outcome
from reconciler.plan import Notice, Plan
from reconciler.report.markdown import render_outcome, render_plan
from reconciler.report.markdown_text import code, prose
from reconciler.report.words import visible
from tests.support.plan_examples import EVERY_KIND, HELD, NOW, PLANS, change, plan

HTML = MarkdownIt("commonmark").enable(["table", "strikethrough"])
HOSTILE = [
    "a | b",
    "a \\| b",
    "`tick",
    "``two`` `one",
    "</code><script>alert(1)</script>",
    "<!-- gone",
    "**bold** _em_ ~~no~~",
    "[click](http://evil.example) ![x](http://evil.example/p.png)",
    "&lt;b&gt; &#124;",
    "line\n\n# heading\n- item",
    "trailing \\",
    "$x$ and $5",
    "www.evil.example",
    "<http://evil.example>",
    "- item",
    "+ item",
    "12. item",
    "---",
    "# heading",
]


def cells_of(markdown: str) -> list[str]:
    """The content of each cell of the first table's only body row, as HTML."""
    html = HTML.render(markdown)
    assert html.count("<table>") == 1
    assert html.count("<tr>") == 2
    return re.findall(r"<td>(.*?)</td>", html, re.DOTALL)


def text_of(html: str) -> str:
    """What a reader sees: without the tags that `code` and `prose` write, and the mark that stops a mention."""
    return unescape(re.sub(r"</?(?:code|span)>", "", html)).replace("@\u200b", "@")


def drawn(*changes: Change) -> str:
    return render_plan(plan(changes), now=NOW)


@given(st.text(max_size=30) | st.text("\\`|*_~<>&[]()!#$@:a. -", max_size=20))
@example(" ")
def test_any_text_stays_itself_in_one_cell(text: str) -> None:
    cells = cells_of(f"| a | b | c |\n|---|---|---|\n| {code(text)} | x{prose(text)}x | end |\n")
    assert len(cells) == 3
    shown = visible(text)
    squeezed = " ".join(text_of(cells[0]).split())
    assert squeezed == " ".join(shown.split())
    sentence = f"x{visible(text.strip())}x".replace("`", "")
    assert text_of(cells[1]).replace("`", "").split() == sentence.split()
    assert cells[2] == "end"


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_makes_no_elements_and_no_new_rows(text: str) -> None:
    said = drawn(change(table=text, key=text, field=text, label=text, reason=text, before=text, desired=[text]))
    html = HTML.render(said)
    assert html.count("<tr>") == 2
    assert set(re.findall(r"<([a-z0-9]+)", html)) <= {
        *("h3", "p", "strong", "table", "thead", "tbody", "tr", "th", "td", "code", "br", "sub", "span")
    }


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_in_a_note_stays_one_item_of_the_list(text: str) -> None:
    html = HTML.render(f"- {prose(text)}\n")
    assert html.count("<li>") == 1
    assert text_of(html.removeprefix("<ul>\n<li>").removesuffix("</li>\n</ul>\n")) == visible(text)


def test_an_address_is_left_as_it_is_so_that_it_becomes_a_link() -> None:
    address = "https://example.org/a_b/c?x=1&y=2#part-3"
    assert prose(f"see {address}") == f"see {address}"


def test_text_between_backticks_is_code_and_a_lone_backtick_is_itself() -> None:
    assert prose("run `git fetch --unshallow` now") == "run `git fetch --unshallow` now"
    assert prose("a ` b") == "a &#96; b"
    assert prose("a `` b") == "a &#96;&#96; b"


def test_nobody_is_mentioned() -> None:
    assert "@everyone" not in prose("ask @everyone")
    assert "@" not in code("@everyone")


def test_no_issue_is_referred_to_or_closed_and_nothing_at_the_start_is_a_command_of_gitlab() -> None:
    assert prose("/close") == "&#47;close"
    assert prose("a/b #x") == "a/b &#35;x"
    assert prose("closes #12, GH-3") == "closes <span>&#35;</span>12, GH<span>&#45;</span>3"
    assert prose("fixes https://example.org/issues/4") == "f&#8203;ixes https://example.org/issues/4"
    assert prose("fixes what https://example.org/a#5 says") == "fixes what https://example.org/a#5 says"


def test_the_headline_says_what_happens_in_words_kills_first() -> None:
    restore = change(
        key="b", field="isAiEnabled", label="Bolt", direction=Direction.RESTORE, before=False, desired=True
    )
    headline = drawn(restore, change(), change(key="c", label="Corner Shop")).splitlines()[0]
    assert headline == (
        "### reconcile: kills `isWhatsappEnabled` for Acme Bakery and 1 more, restores `isAiEnabled` for Bolt"
    )


def test_the_headline_names_three_fields_and_counts_the_rest() -> None:
    headline = drawn(*(change(field=f"f{number}") for number in range(5))).splitlines()[0]
    assert headline == (
        "### reconcile: kills `f0` for Acme Bakery, `f1` for Acme Bakery, `f2` for Acme Bakery, and 2 more changes"
    )


def test_every_kind_of_change_has_its_section() -> None:
    said = render_plan(plan(EVERY_KIND, notices=(Notice("a note"),)), now=NOW)
    assert re.findall(r"^#### (.*)$", said, re.MULTILINE) == [
        "Changes (3)",
        "Held back for now (1)",
        "Drift: what moved behind git's back (2)",
        "Released: no longer managed (1)",
        "Recorded (8)",
        "Notes",
    ]
    assert "| 🔴&nbsp;**kill** | **Acme Bakery**<br><sub>tenants `8a6e0804-2bd0-4672-b79d-d97027f9071a`</sub> |" in said
    assert "held until 2026-11-27 09:00 UTC (in 23 h 10 min): killed 50 min ago" in said
    assert "`false`<br>(git asks `true`)" in said
    assert (
        "🔴 **2 kills** · 🟢 **1 restore** · 🔵 **1 other change** · 🟡 **1 held** · 🟠 **1 kept** "
        "· ⚪ **8 recorded** · ⚪ **1 released**"
    ) in said
    assert plan(EVERY_KIND).fingerprint in said


def test_nothing_to_do_and_nothing_but_held_changes_are_said_in_the_headline() -> None:
    assert drawn().startswith("### reconcile: nothing to do\n\nNothing to do: 41 rows with 120 fields are as git asks")
    assert drawn(HELD).startswith("### reconcile: holds back `isAiEnabled` for Acme Bakery\n\n🟡 **1 held**\n\nNo row")


def test_that_an_apply_would_be_refused_is_said_below_the_sum() -> None:
    said = render_plan(plan([change()], refusals=("it kills <1,000> rows",)), now=NOW)
    assert "\n\n> [!CAUTION]\n> **An apply of this would be refused:** it kills &#60;1,000&#62; rows\n\n" in said


def test_a_long_plan_is_cut_below_the_limit_with_its_sum_and_fingerprint_whole() -> None:
    many = plan([change(key=f"{number:03}", reason="because " * 20) for number in range(200)])
    said = render_plan(many, now=NOW, limit_chars=20_000)
    assert 15_000 < len(said) <= 20_000
    assert "🔴 **200 kills**\n\nChanges 200 rows of tenants (200 toward the kill side); 41 rows with" in said
    assert many.fingerprint in said
    shown = said.count("| 🔴&nbsp;**kill** |")
    assert f"**{200 - shown} more lines did not fit here:** `--output json` has everything." in said


def test_the_same_change_on_many_rows_is_one_line() -> None:
    said = drawn(*(change(key=str(number), label=f"Tenant {number:04}") for number in range(500)))
    assert said.count("| 🔴&nbsp;**kill** |") == 1
    assert "**500 rows** of tenants<br><sub>such as Tenant 0000, Tenant 0001, Tenant 0010</sub>" in said


@given(PLANS, st.integers(2_000, 10_000))
def test_no_plan_is_longer_than_the_limit(original: Plan, limit: int) -> None:
    assert len(render_plan(original, now=NOW, limit_chars=limit)) <= limit


def test_an_outcome_says_what_was_done_and_why_it_was_allowed() -> None:
    done = Outcome(
        run_id="1a2b3c4d-77",
        plan=plan([change(), HELD]),
        applied=1,
        audit_entries=1,
        recorded=0,
        released=0,
        duration_s=0.184,
        dirty=True,
        reason="only a | at hand",
    )
    said = render_outcome(done, now=NOW)
    assert said.startswith(
        "### reconcile: killed `isWhatsappEnabled` for Acme Bakery\n\n"
        "**Applied 1 change to 1 row in one transaction (run 1a2b3c4d, 1 audit entry, 0.18 s).**\n\n"
        "⚠️ Applied with uncommitted changes: only a &#124; at hand\n"
    )
    assert "#### Held back for now (1)" in said
