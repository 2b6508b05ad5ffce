"""Comments on pull requests: what they say, that they fit, and that nothing from YAML is anything but text there."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reconciler.console.comment import hidden_marker, invalid_comment, outcome_comment, plan_comment, summary
from reconciler.errors import Problem
from reconciler.model import Location
from reconciler.plan import EffectSummary, Notice, Plan
from tests.support import console_examples as examples
from tests.support.console_examples import HOSTILE_TEXT, SOURCE
from tests.support.hosts_eyes import Seen, acted_on
from tests.support.plan_examples import PLANS, change, plan

GOLDEN = Path(__file__).parents[1] / "comments"
UPDATE = bool(os.environ.get("RECONCILE_UPDATE_GOLDEN"))

TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20),
    st.text("\\`|*_~<>&[]()!#$@:/a1. -", min_size=1, max_size=20),
    st.lists(
        st.sampled_from(
            [
                *("@ana", "#1", "o/r#2", "GH-3", "closes", "fixes:", " ", "https://github.com/o/r/issues/4", "/close"),
                *(
                    "https://a.b/c#5",
                    "<!--",
                    "-->",
                    "<script>",
                    "</td>",
                    "|",
                    "`",
                    "``",
                    "**",
                    "\n",
                    "\n\n",
                    "# ",
                    "> ",
                ),
                *(
                    "# ",
                    "[x](y)",
                    "&#35;6",
                    "$",
                    "::error::x",
                    "##[e]x",
                    "<b onclick=x>",
                    "![i](http://e.example/i.png)",
                ),
            ]
        ),
        min_size=1,
        max_size=6,
    ).map("".join),
).filter(lambda text: text.strip())


def told(text: str) -> Plan:
    """A plan in which the text stands wherever a text can stand."""
    whole = change(
        table=text,
        key=text,
        field=text,
        label=text,
        reason=text,
        before=text,
        desired=[text],
        explanation=text,
        waived={"after": text},
        location=Location(text, 1, 1),
    )
    revision = examples.HOSTILE.revision
    return plan(
        [whole],
        refusals=(text,),
        notices=(Notice(text, Location(text, 1, 1)),),
        effects=(EffectSummary("redis_publish", text, 1),),
        database=text,
        revision=revision,
    )


def comment(shown: Plan, **more: object) -> str:
    given = {"marker": "plan", "source_url": SOURCE, "artifact": "reconcile-plan", **more}
    return plan_comment(shown, **given)  # type: ignore[arg-type] # a test's own values


# What is said --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", examples.EXAMPLES)
def test_each_example_is_drawn_as_its_file_says(name: str) -> None:
    path = GOLDEN / f"{name}.md"
    drawn = examples.EXAMPLES[name]()
    if UPDATE:
        path.write_text(drawn, encoding="utf-8")
    assert drawn == path.read_text(encoding="utf-8")


def test_every_file_belongs_to_an_example() -> None:
    assert {path.stem for path in GOLDEN.glob("*.md")} == set(examples.EXAMPLES)


def test_the_headline_says_the_direction_in_words_with_the_titles_of_fields() -> None:
    said = comment(examples.SMALL, titles=examples.TITLES)
    assert said.splitlines()[1] == "### reconcile: kills WhatsApp for Acme Bakery"


def test_a_field_without_a_title_is_called_by_its_name() -> None:
    assert comment(examples.SMALL).splitlines()[1] == "### reconcile: kills `isWhatsappEnabled` for Acme Bakery"


def test_a_place_is_a_link_to_the_very_line_of_the_commit() -> None:
    assert Seen(comment(examples.SMALL)).hrefs == [f"{SOURCE}/state/tenants/acme.yaml#L4"]


def test_the_fingerprint_stands_in_every_comment_of_a_plan() -> None:
    for shown in (examples.SMALL, examples.FULL, examples.many(), plan()):
        assert shown.fingerprint in comment(shown)


def test_the_same_change_on_412_tenants_is_one_line_and_1200_changes_fit() -> None:
    said = comment(examples.many())
    assert len(said) < 5_000
    assert said.count("**412 rows** of tenants") == 1
    assert "🔴 **1,192 kills** · 🔵 **8 other changes**" in said


def test_1200_changes_that_are_all_different_are_cut_with_the_summary_whole() -> None:
    shown = examples.various(1_200)
    said = comment(shown)
    assert 60_000 < len(said) <= 65_000
    rows = said.count("| 🔴&nbsp;**kill** |")
    assert "🔴 **1,200 kills**" in said
    assert shown.fingerprint in said
    assert f"**{1_200 - rows:,} more lines did not fit here:** everything is in the artifact `reconcile-plan`." in said


@given(PLANS, st.integers(2_000, 10_000))
def test_no_comment_is_longer_than_its_limit(original: Plan, limit: int) -> None:
    assert len(comment(original, limit=limit)) <= limit
    done = examples.outcome(original)
    shown = outcome_comment(done, reviewed=plan(), marker="x", source_url=None, limit=limit)
    assert len(shown) <= limit


def test_an_address_of_the_artifact_becomes_a_link() -> None:
    said = comment(examples.various(40), limit=3_000, artifact="https://ci.example/artifacts/1")
    assert "everything is in [the whole plan](<https://ci.example/artifacts/1>)." in said


def test_an_outcome_says_that_it_was_as_reviewed() -> None:
    done = examples.outcome(examples.SMALL)
    said = outcome_comment(done, reviewed=examples.SMALL, marker="outcome", source_url=None, in_effect_s=4.21)
    assert f"✅ **As reviewed:** the same plan, fingerprint `{examples.SMALL.fingerprint[:12]}`." in said
    assert "In effect 4.2 s after the merge." in said


def test_a_fingerprint_alone_tells_whether_it_was_as_reviewed() -> None:
    def said(fingerprint: str) -> str:
        done = examples.outcome(examples.SMALL)
        return outcome_comment(done, reviewed=None, reviewed_fingerprint=fingerprint, marker="outcome", source_url=None)

    assert "✅ **As reviewed:**" in said(examples.SMALL.fingerprint)
    other = said("0" * 64)
    assert "**Not as reviewed: something moved between the review and the apply.**" in other
    assert "fingerprint `000000000000`" in other


def test_nothing_is_in_effect_where_nothing_was_applied() -> None:
    done = examples.outcome(plan([examples.GLOBAL]))
    said = outcome_comment(done, reviewed=None, marker="outcome", source_url=None, in_effect_s=4.21)
    assert "In effect" not in said
    assert "### reconcile: no row was changed" in said


# The marker ----------------------------------------------------------------------------------------------------------


def test_a_comment_begins_with_its_marker_and_a_summary_is_the_same_without_it() -> None:
    said = comment(examples.FULL)
    assert said.startswith("<!-- reconcile:plan -->\n###")
    assert "<!-- reconcile:plan -->\n" + summary(said) == said
    assert summary(summary(said)) == summary(said)


@given(st.text(max_size=20) | st.text("-> !", max_size=8))
@example("--> <b>")
@example("a-")
def test_no_name_ends_its_marker(name: str) -> None:
    seen = Seen(hidden_marker(name) + "\n\ntext\n")
    assert len(seen.comments) == 1
    assert seen.tags == ["p", "/p"]


# Text stays text -----------------------------------------------------------------------------------------------------


@given(TEXTS)
@example(HOSTILE_TEXT)
@example("https://e.example/i.png)$#1 https://e.example/a@ana#2 https://e.example/a|#3")
@example("closes https://github.com/o/r/issues/1")
def test_no_element_and_no_reference_comes_from_a_text_wherever_it_stands(text: str) -> None:
    for draw in (
        comment,
        lambda shown: comment(shown, titles={(shown.changes[0].table, shown.changes[0].field): text}),
        lambda shown: outcome_comment(examples.outcome(shown), reviewed=plan(), marker="plan", source_url=SOURCE),
    ):
        said = draw(told(text))
        seen = Seen(said)
        harmless = draw(told("x"))
        assert seen.skeleton == Seen(harmless).skeleton
        assert seen.comments == ["reconcile:plan"]
        assert acted_on(seen) == []
        assert all(href.startswith(f"{SOURCE}/") for href in seen.hrefs)
        assert not re.search(r"^\s*(?:/|::|##\[)", said, re.MULTILINE)


@given(TEXTS, TEXTS)
def test_no_problem_leaves_its_cell(message: str, hint: str) -> None:
    problems = [Problem(message, Location(message, 2, 3), hint), Problem(hint, None, message)]
    seen = Seen(invalid_comment(problems, marker="plan", source_url=SOURCE))
    assert seen.tags.count("tr") == 3
    assert seen.tags.count("td") == 6
    assert set(seen.tags) - {"code", "/code", "span", "/span"} == {
        *("h3", "blockquote", "p", "strong", "table", "thead", "tbody", "tr", "th", "td", "a"),
        *("/h3", "/blockquote", "/p", "/strong", "/table", "/thead", "/tbody", "/tr", "/th", "/td", "/a"),
    }
    assert acted_on(seen) == []


def test_the_eyes_see_what_the_tests_say_is_not_there() -> None:
    seen = Seen("A <!-- a --> <b>x</b> @ana #1 GH-2\n\ncloses https://github.com/o/r/issues/1 `@code #3`\n")
    assert seen.comments == ["a"]
    assert seen.skeleton == ["p", "b", "/b", "/p", "p", "/p"]
    assert acted_on(seen) == ["@a", "#1", "GH-2", "closes https://"]
