"""What a pull request says when things come late: after its merge, after a failure, after an update without a plan."""

from __future__ import annotations

from pathlib import Path

from tests.support.github import GitHub, Run, only
from tests.support.github_api import GitHubApi
from tests.support.project import ACME, BOB

KILL = f"{ACME}:\n  isWhatsappEnabled: {{value: false, reason: 'WhatsApp ban, INC-142'}}\n"


def failing(github: GitHub, run: Run) -> None:
    """Execute an apply whose database is not there."""
    url = github.secrets["DATABASE_URL"]
    github.secrets["DATABASE_URL"] = url.rpartition("/")[0] + "/nowhere"
    run.document["jobs"]["apply"]["steps"][1]["with"].pop("arguments")
    assert not run.job("apply").ok
    github.secrets["DATABASE_URL"] = url


def test_a_plan_that_comes_after_the_merge_leaves_what_was_reviewed_as_it_was_read(
    github: GitHub, api: GitHubApi
) -> None:
    number, runs = github.open("ban", KILL)
    plan = only(runs, "plan")
    plan.job("plan")
    [reviewed], artifacts = github.comments(number), list(api.artifacts)
    assert only(github.merge(number), "apply").job("apply").ok
    ran = plan.job("plan")
    assert f"#{number} is merged: its comment is left as it is" in ran.log
    assert github.comments(number)[0] == reviewed
    assert api.pulls[number]["labels"] == ["kill"]
    assert api.artifacts == artifacts


def test_a_head_without_a_plan_does_not_keep_the_labels_of_the_one_before(github: GitHub, api: GitHubApi) -> None:
    number, runs = github.open("ban", KILL)
    only(runs, "plan").job("plan")
    assert api.pulls[number]["labels"] == ["kill"]
    runs = github.update(number, f"{ACME}:\n  isWhatsapEnabled: true\n", force=True)
    assert not only(runs, "plan").job("plan").ok
    assert api.pulls[number]["labels"] == ["blocked"]
    assert "labels=blocked -->" in github.comments(number)[0]
    assert only(github.update(number, KILL, force=True), "plan").job("plan").ok
    assert api.pulls[number]["labels"] == ["kill"]


def test_a_run_that_failed_is_not_the_last_word_where_the_next_one_finds_nothing_to_do(github: GitHub) -> None:
    managed, _ = github.open("managed", f"{ACME}:\n  isWhatsappEnabled: true\n")
    assert only(github.merge(managed), "apply").job("apply").ok
    number, runs = github.open("words", f"# A word\n{ACME}:\n  isWhatsappEnabled: true\n")
    only(runs, "plan").job("plan")
    merged = only(github.merge(number), "apply")
    failing(github, merged)
    assert "a run failed" in github.comments(number)[1]
    ran = only(github.schedule(), "apply").job("apply")
    assert ran.ok, ran.log
    [_, outcome] = github.comments(number)
    assert outcome.startswith("<!-- reconcile:outcome . run=")
    assert "a run failed" not in outcome


def test_a_failure_after_the_commit_was_applied_is_taken_back_by_the_hourly_run(github: GitHub, tmp_path: Path) -> None:
    """As when the answer to COMMIT is lost: the commit is applied, and nothing is left for any later run to do."""
    number, runs = github.open("ban", KILL)
    only(runs, "plan").job("plan")
    merged = only(github.merge(number), "apply")
    failing(github, merged)
    github.project.succeed("--directory", str(github.project.directory), cwd=tmp_path)
    assert "a run failed" in github.comments(number)[1]
    hourly = only(github.schedule(), "apply")
    ran = hourly.job("apply")
    assert ran.ok, ran.log
    [_, outcome] = github.comments(number)
    assert "a run failed" not in outcome
    assert hourly.job("apply").ok
    assert github.comments(number)[1] == outcome


def test_lines_are_those_of_the_head_where_the_base_has_moved_above_them(github: GitHub) -> None:
    """What is checked out is the merge of the two; what GitHub shows beside an annotation is the head's file."""
    file = "tenants/all.yaml"
    text = f"{BOB}:\n  isAiEnabled: true\n\n{ACME}:\n  isWhatsappEnabled: true\n"
    number, _ = github.open("base", text, file)
    assert only(github.merge(number), "apply").job("apply").ok
    mine, _ = github.open("mine", text.replace("WhatsappEnabled: true", "WhatsappEnabled: false"), file)
    other, _ = github.open("other", f"# One\n# Two\n# Three\n{text}", file)
    assert only(github.merge(other), "apply").job("apply").ok

    ban = "WhatsappEnabled: {value: false, reason: INC-142}"
    ran = only(github.update(mine, text.replace("WhatsappEnabled: true", ban)), "plan").job("plan")
    assert ran.ok, ran.log
    [command] = ran.commands
    assert "file=state/tenants/all.yaml,line=5,col=30" in command
    head = github.api.pulls[mine]["head"]
    assert f"/blob/{head}/state/tenants/all.yaml#L5>" in github.comments(mine)[0]

    typo = text.replace("isWhatsappEnabled: true", "isWhatsapEnabled: false")
    ran_both = only(github.update(mine, typo), "plan").execute()
    for job in ("validate", "plan"):
        [command] = ran_both[job].commands
        assert command.startswith("::error file=state/tenants/all.yaml,line=5,col=3"), command
    assert "#L5>" in github.comments(mine)[0]
