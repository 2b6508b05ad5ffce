"""A pull request from its opening to what came of it, by the project's own workflows, on the tests' own GitHub."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from tests.support.github import GitHub, only
from tests.support.github_api import GitHubApi
from tests.support.project import ACME, BOB, Project

KILL = f"{ACME}:\n  isWhatsappEnabled: {{value: false, reason: 'WhatsApp ban, INC-142'}}\n"
BOTH = f"{KILL}  aiDailyLimit: 5\n"
ANA = {
    "GIT_AUTHOR_NAME": "Ana",
    "GIT_AUTHOR_EMAIL": "ana@example.org",
    "GIT_COMMITTER_NAME": "Ana",
    "GIT_COMMITTER_EMAIL": "ana@example.org",
}
OTHER = f"{BOB}:\n  isAiEnabled: {{value: false, reason: INC-143}}\n"


def test_a_kill_goes_from_a_pull_request_to_its_row_and_back_to_the_pull_request(
    github: GitHub, api: GitHubApi, project: Project
) -> None:
    number, runs = github.open("ban", KILL)
    ran = only(runs, "plan").execute()
    assert ran["validate"].ok, ran["validate"].log
    assert ran["plan"].ok, ran["plan"].log
    assert "::error" not in ran["plan"].log
    assert any("file=state/tenants/acme.yaml,line=2" in line for line in ran["plan"].commands)
    outputs = ran["plan"].outputs["action"]
    assert {name: outputs[name] for name in ("changes", "kills", "restores", "held", "exit-code")} == {
        "changes": "1", "kills": "1", "restores": "0", "held": "0", "exit-code": "0",
    }  # fmt: skip
    [comment] = github.comments(number)
    head = api.pulls[number]["head"]
    facts = f"head={head} fingerprint={outputs['fingerprint']} labels=kill"
    assert comment.startswith(f"<!-- reconcile:plan . {facts} -->")
    assert "kills" in comment
    assert "Acme Bakery" in comment
    assert comment.partition("\n")[2].strip() in ran["plan"].summary
    assert api.pulls[number]["labels"] == ["kill"]
    assert api.colours == {"kill": "d1242f"}
    assert project.entries() == []

    ran = only(github.merge(number), "apply").execute()
    assert ran["apply"].ok, ran["apply"].log
    [entry] = project.entries()
    assert (entry["metadata"]["pullRequest"], entry["metadata"]["actor"]) == (number, "octo")
    plan, outcome = github.comments(number)
    assert plan == comment
    assert outcome.startswith("<!-- reconcile:outcome . run=")
    assert "killed" in outcome
    assert "reviewed" in outcome
    assert api.issues == {}


def test_an_update_is_told_in_the_comment_that_is_there_and_labels_follow(github: GitHub, api: GitHubApi) -> None:
    number, runs = github.open("ban", KILL)
    only(runs, "plan").job("plan")
    # What others write is left alone, however much it looks like ours.
    [first] = github.comments(number)
    quoted = api.comment(number, first, {"login": "mallory", "type": "User", "id": 666})
    quote = api.comment(number, f"> {first}", {"login": "github-actions[bot]", "type": "Bot", "id": 41898282})

    runs = github.update(number, BOTH)
    assert only(runs, "plan").job("plan").ok
    second = api.comments[number][0]["body"]
    assert second != first
    assert f"head={api.pulls[number]['head']}" in second
    assert (quoted["body"], quote["body"]) == (first, f"> {first}")
    assert len(api.comments[number]) == 3
    assert api.pulls[number]["labels"] == ["kill"]

    api.pulls[number]["labels"].append("mine")
    runs = github.update(number, f"{ACME}:\n  isWhatsappEnabled: true\n")
    ran = only(runs, "plan").execute()
    assert ran["plan"].ok, ran["plan"].log
    assert api.pulls[number]["labels"] == ["mine"]


def test_the_comment_is_found_behind_hundreds_of_others(github: GitHub, api: GitHubApi) -> None:
    number, runs = github.open("ban", KILL)
    for index in range(120):
        api.comment(number, f"Comment {index}", {"login": "octo", "type": "User", "id": 1})
    only(runs, "plan").job("plan")
    only(github.update(number, BOTH), "plan").job("plan")
    assert len(github.comments(number)) == 1


def test_a_force_push_takes_the_comment_over_and_the_old_job_run_again_does_not_take_it_back(
    github: GitHub, api: GitHubApi
) -> None:
    number, runs = github.open("ban", BOTH)
    old = only(runs, "plan")
    old.job("plan")
    new = only(github.update(number, KILL, force=True), "plan")
    new.job("plan")
    [comment] = github.comments(number)
    assert f"head={api.pulls[number]['head']}" in comment

    ran = old.job("plan")
    assert ran.ok, ran.log
    assert github.comments(number) == [comment]
    assert "has a newer commit than this job's" in ran.log
    assert "has a newer commit than this job's" in ran.summary


def test_what_is_wrong_stands_on_its_line_and_in_the_comment(github: GitHub) -> None:
    number, runs = github.open("ban", f"{ACME}:\n  isWhatsapEnabled: false\n")
    ran = only(runs, "plan").execute()
    for job in ("validate", "plan"):
        assert not ran[job].ok
        assert ran[job].outputs["action"]["exit-code"] == "3"
        assert [line for line in ran[job].commands if line.startswith("::error file=state/tenants/acme.yaml,line=2")]
    [comment] = github.comments(number)
    assert "isWhatsapEnabled" in comment

    assert only(github.update(number, KILL), "plan").job("plan").ok
    [comment] = github.comments(number)
    assert "isWhatsapEnabled" not in comment


def test_a_fork_is_validated_and_gets_nothing_else(github: GitHub, api: GitHubApi) -> None:
    number, runs = github.open("fork", KILL, fork=True)
    ran = only(runs, "plan").execute()
    assert ran["validate"].ok, ran["validate"].log
    assert ran["plan"].skipped
    assert api.asked == []
    assert github.comments(number) == []


def test_a_fork_that_is_planned_anyway_is_only_told_in_the_summary(github: GitHub, project: Project) -> None:
    """The condition of the job may be lost in somebody's own workflow; the fork's token cannot write anyway."""
    number, runs = github.open("fork", KILL, fork=True)
    run = only(runs, "plan")
    plan = run.document["jobs"]["plan"]
    plan["if"] = "vars.RECONCILE_PLAN == 'true'"
    ran = run.job("plan")
    assert ran.ok, ran.log
    assert "comes from a fork" in ran.log
    assert "gets no secrets" in ran.summary
    assert github.comments(number) == []


def test_text_from_yaml_is_no_command_in_the_log_and_no_script(github: GitHub) -> None:
    reason = "::set-output name=kills::9 ##[error]x\\n::error::boo\\n::add-mask::Acme"
    text = f"{ACME}:\n  isWhatsappEnabled: {{value: false, reason: \"{reason}\"}}\n"
    _, runs = github.open("$(touch${IFS}injected)", text)
    ran = only(runs, "plan").execute()
    assert ran["plan"].ok, ran["plan"].log
    assert {line.split(" ")[0].split("::")[1] for line in ran["plan"].commands} <= {"notice", "warning"}
    assert not list(github.folder.rglob("injected"))


def test_an_old_job_that_is_run_again_changes_nothing_and_says_so(
    github: GitHub, project: Project, api: GitHubApi
) -> None:
    first, runs = github.open("ban", KILL)
    only(runs, "plan").job("plan")
    banned = only(github.merge(first), "apply")
    banned.job("apply")
    second, runs = github.open("more", OTHER, "tenants/bob.yaml")
    only(runs, "plan").job("plan")
    only(github.merge(second), "apply").job("apply")
    before, said = project.entries(), {number: github.comments(number) for number in (first, second)}

    again = banned.job("apply")
    assert not again.ok
    assert again.outputs["action"]["exit-code"] == "6"
    assert "older than" in again.log
    assert project.entries() == before
    assert {number: github.comments(number) for number in (first, second)} == said
    assert api.issues == {}


def test_of_two_merges_close_together_the_later_may_come_first_and_nothing_is_lost(
    github: GitHub, project: Project, api: GitHubApi
) -> None:
    first, runs = github.open("ban", KILL)
    only(runs, "plan").job("plan")
    second, runs = github.open("more", OTHER, "tenants/bob.yaml")
    only(runs, "plan").job("plan")
    slow, quick = only(github.merge(first), "apply"), only(github.merge(second), "apply")
    # Neither waits for the other at GitHub, and neither can push the other out of a queue.
    assert slow.group != quick.group

    ran = quick.job("apply")
    assert ran.ok, ran.log
    assert {entry["metadata"]["field"] for entry in project.entries()} == {"isWhatsappEnabled", "isAiEnabled"}
    for number in (first, second):
        _, outcome = github.comments(number)
        assert outcome.startswith("<!-- reconcile:outcome .")
    ran = slow.job("apply")
    assert ran.ok, ran.log
    assert "holds this one" in ran.log
    assert len(project.entries()) == 2
    assert [len(github.comments(number)) for number in (first, second)] == [2, 2]
    assert api.issues == {}


def test_what_moved_since_the_review_is_told(github: GitHub, project: Project) -> None:
    number, runs = github.open("ban", BOTH)
    only(runs, "plan").job("plan")
    project.database.execute('UPDATE tenants SET "aiDailyLimit" = 17 WHERE id = %s', [ACME])
    ran = only(github.merge(number), "apply").job("apply")
    assert ran.ok, ran.log
    _, outcome = github.comments(number)
    assert "17" in outcome
    assert "aiDailyLimit" in outcome
    assert "review" in outcome


def test_without_the_plan_that_was_kept_its_fingerprint_has_to_do(github: GitHub, api: GitHubApi) -> None:
    number, runs = github.open("ban", KILL)
    only(runs, "plan").job("plan")
    for artifact in api.artifacts:
        artifact["expired"] = True
    only(github.merge(number), "apply").job("apply")
    _, outcome = github.comments(number)
    assert "As reviewed" in outcome


def test_a_fork_cannot_slip_in_a_plan(github: GitHub, api: GitHubApi) -> None:
    number, runs = github.open("ban", KILL)
    only(runs, "plan").job("plan")
    [own] = api.artifacts
    github.keep_artifact(own["name"], b"PK, or not", api.pulls[number]["head"], own=False)
    ran = only(github.merge(number), "apply").job("apply")
    assert ran.ok, ran.log
    assert [asked.path for asked in api.asked if asked.path.endswith("/zip")] == [
        f"/repos/acme/state/actions/artifacts/{own['id']}/zip"
    ]


def test_1200_changes_fit_into_one_comment_and_one_artifact(github: GitHub, project: Project, api: GitHubApi) -> None:
    tenants = [project.database.tenant() for _ in range(1_200)]
    text = "".join(f"{tenant}:\n  isAiEnabled: false\n" for tenant in tenants)
    number, runs = github.open("many", text)
    ran = only(runs, "plan").job("plan")
    assert ran.outputs["action"]["kills"] == "1200", ran.log
    [comment] = github.comments(number)
    assert len(comment) < 65_536
    assert len(ran.commands) <= 30
    for level in ("error", "warning", "notice"):
        assert len([line for line in ran.commands if line.startswith(f"::{level}")]) <= 10
    assert len(api.archives) == 1


def test_a_rate_limit_is_waited_for_where_it_is_short(github: GitHub, api: GitHubApi) -> None:
    api.fail(429, times=1, headers={"Retry-After": "0"}, message="You have exceeded a secondary rate limit")
    api.fail(403, times=1, headers={"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1"}, message="rate limit")
    number, runs = github.open("ban", KILL)
    ran = only(runs, "plan").job("plan")
    assert ran.ok, ran.log
    assert len(github.comments(number)) == 1


def test_a_rate_limit_that_is_long_is_told_and_changes_nothing_about_the_run(
    github: GitHub, api: GitHubApi, project: Project
) -> None:
    number, runs = github.open("ban", KILL)
    api.fail(403, headers={"Retry-After": "3600"}, message="You have exceeded a secondary rate limit")
    ran = only(runs, "plan").job("plan")
    assert ran.ok, ran.log
    assert ran.outputs["action"]["kills"] == "1"
    assert "3,600 s of rest" in ran.log
    assert "Acme Bakery" in ran.summary
    assert len(api.asked) == 1
    assert github.comments(number) == []

    ran = only(github.merge(number), "apply").job("apply")
    assert ran.ok, ran.log
    assert len(project.entries()) == 1


def test_a_host_that_is_down_changes_nothing_about_the_run(github: GitHub, api: GitHubApi, project: Project) -> None:
    api.fail(502, message="Bad gateway")
    number, runs = github.open("ban", KILL)
    ran = only(runs, "plan").job("plan")
    assert ran.ok, ran.log
    assert "HTTP 502" in ran.log
    ran = only(github.merge(number), "apply").job("apply")
    assert ran.ok, ran.log
    assert len(project.entries()) == 1
    assert github.comments(number) == []


def test_a_single_error_of_the_host_is_tried_again(github: GitHub, api: GitHubApi) -> None:
    api.fail(503, times=2, matches=lambda asked: asked.method == "GET")
    number, runs = github.open("ban", KILL)
    assert only(runs, "plan").job("plan").ok
    assert len(github.comments(number)) == 1


def test_a_run_that_fails_opens_one_issue_which_the_next_success_closes(
    github: GitHub, api: GitHubApi, project: Project
) -> None:
    number, runs = github.open("ban", KILL)
    only(runs, "plan").job("plan")
    url = github.secrets["DATABASE_URL"]
    github.secrets["DATABASE_URL"] = url.rpartition("/")[0] + "/nowhere"
    merged = only(github.merge(number), "apply")
    merged.document["jobs"]["apply"]["steps"][1]["with"].pop("arguments")
    ran = merged.job("apply")
    assert not ran.ok
    assert ran.outputs["action"]["exit-code"] == "4"
    [issue] = github.issues("reconcile-failure")
    assert "nowhere" in issue["body"]
    assert "actions/runs/" in issue["body"]
    hourly = only(github.schedule(), "apply")
    hourly.document["jobs"]["apply"]["steps"][1]["with"].pop("arguments")
    assert not hourly.job("apply").ok
    assert len(github.issues("reconcile-failure")) == 1

    github.secrets["DATABASE_URL"] = url
    ran = merged.job("apply")
    assert ran.ok, ran.log
    assert github.issues("reconcile-failure") == []
    assert len(github.issues("reconcile-failure", "closed")) == 1
    _, outcome = github.comments(number)
    assert "killed" in outcome


def test_a_restore_that_is_held_is_told_again_when_it_is_applied(github: GitHub, project: Project) -> None:
    ban, _ = github.open("ban", KILL)
    only(github.merge(ban), "apply").job("apply")
    number, runs = github.open("back", f"{ACME}:\n  isWhatsappEnabled: {{value: true, reason: A new number}}\n")
    ran = only(runs, "plan").job("plan")
    assert ran.outputs["action"]["held"] == "1"
    assert github.api.pulls[number]["labels"] == ["blocked", "restore"]
    ran = only(github.merge(number), "apply").job("apply")
    assert ran.ok, ran.log
    _, outcome = github.comments(number)
    assert "held" in outcome.lower()
    assert len(project.entries()) == 1

    hourly = only(github.schedule(), "apply")
    assert hourly.job("apply").ok
    assert len(github.comments(number)) == 2
    project.database.execute("UPDATE reconciler.mark SET killed_at = killed_at - interval '2 days'")
    ran = hourly.job("apply")
    assert ran.ok, ran.log
    assert len(project.entries()) == 2
    _, same, later = github.comments(number)
    assert same == outcome
    assert later.startswith("<!-- reconcile:later . run=")
    assert "restored" in later
    assert len(github.comments(ban)) == 1


def test_a_kill_beside_a_restore_that_needs_checks_is_one_story_and_as_reviewed(
    github: GitHub, project: Project
) -> None:
    """The kill is a run of its own; the checks cannot be made here, so the restore is held by the other."""
    number, _ = github.open("stop", "system:\n  globalWhatsappEnabled: false\n", "system_settings.yaml")
    only(github.merge(number), "apply").job("apply")
    before = len(project.runs())
    project.state("system:\n  globalWhatsappEnabled: true\n", "system_settings.yaml")
    number, runs = github.open("both", KILL)
    assert only(runs, "plan").job("plan").outputs["action"]["held"] == "1"
    ran = only(github.merge(number), "apply").job("apply")
    assert ran.ok, ran.log
    assert (ran.outputs["action"]["kills"], ran.outputs["action"]["held"]) == ("1", "1")
    kills, rest = project.runs()[before:]
    assert (kills["counts"]["kills"], rest["counts"]["held"]) == (1, 1)
    [_, outcome] = github.comments(number)
    assert "in two transactions, the kills first" in outcome
    assert "As reviewed" in outcome


def test_a_new_repository_does_it_all_with_its_own_files_and_an_empty_cache(
    project: Project, api: GitHubApi, tmp_path: Path
) -> None:
    """What `reconcile new` writes, and the step that installs."""
    github = GitHub(project, api, tmp_path / "github", scaffolded=True, caches={})
    project.succeed()
    number, runs = github.open("ban", KILL)
    ran = only(runs, "plan").execute()
    assert ran["validate"].ok, ran["validate"].log
    assert ran["plan"].ok, ran["plan"].log
    ran = only(github.merge(number), "apply").execute()
    assert ran["apply"].ok, ran["apply"].log
    assert len(project.entries()) == 1
    assert len(github.comments(number)) == 2


def test_drift_is_one_issue_that_is_opened_kept_and_closed(github: GitHub, project: Project) -> None:
    number, _ = github.open("base", f"{ACME}:\n  isWhatsappEnabled: true\n  aiDailyLimit: 50\n")
    only(github.merge(number), "apply").job("apply")

    def drift() -> None:
        ran = only(github.schedule(), "drift").job("drift")
        assert ran.ok, ran.log

    drift()
    assert github.issues("reconcile-drift") == []
    project.database.execute('UPDATE tenants SET "isWhatsappEnabled" = false WHERE id = %s', [ACME])
    drift()
    [issue] = github.issues("reconcile-drift")
    assert "by hand" in issue["title"]
    assert f"`reconcile import --adopt --propose --only tenants/{ACME}`" in issue["body"]
    body = issue["body"]
    drift()
    [issue] = github.issues("reconcile-drift")
    assert issue["body"] == body
    project.database.execute('UPDATE tenants SET "aiDailyLimit" = 7 WHERE id = %s', [ACME])
    drift()
    [issue] = github.issues("reconcile-drift")
    assert "aiDailyLimit" in issue["body"]
    project.database.execute('UPDATE tenants SET "isWhatsappEnabled" = true, "aiDailyLimit" = 50 WHERE id = %s', [ACME])
    drift()
    assert github.issues("reconcile-drift") == []
    assert len(github.issues("reconcile-drift", "closed")) == 1


def test_a_kill_by_hand_is_adopted_by_the_command_of_its_issue_and_the_issue_closes(
    github: GitHub, project: Project, api: GitHubApi, tmp_path: Path
) -> None:
    """From the hand to git: the issue, the command in it, the pull request that it opens, its merge."""
    text = f"# Acme's switches\n{ACME}:\n  isWhatsappEnabled: true   # since March\n  aiDailyLimit: 50\n"
    number, _ = github.open("base", text)
    only(github.merge(number), "apply").job("apply")
    project.database.execute('UPDATE tenants SET "isWhatsappEnabled" = false WHERE id = %s', [ACME])
    assert only(github.schedule(), "drift").job("drift").ok
    [issue] = github.issues("reconcile-drift")
    [command] = re.findall(r"^- `reconcile (import .*)`$", issue["body"], re.MULTILINE)

    api.people["ana"] = {"login": "ana", "type": "User", "id": 7}
    environment = {"GITHUB_API_URL": api.url, "GITHUB_TOKEN": "ana", "PATH": "/usr/bin:/bin", **ANA}
    checked_out = github.repo.head
    words = [*shlex.split(command), "--reason", "WhatsApp ban, INC-142", "--directory", str(project.directory)]
    done = project.run(*words, cwd=tmp_path, environment=environment)
    assert done.code == 0, str(done)
    assert github.repo.head == checked_out
    assert "Pull request: https://" in done.out

    number = max(api.pulls)
    ran = only(github.opened(number), "plan").job("plan")
    assert ran.ok, ran.log
    assert ran.outputs["action"]["changes"] == "0"
    says = github.repo.git("show", f"{api.pulls[number]['branch']}:state/tenants/acme.yaml")
    assert says.splitlines() == [
        "# Acme's switches", f"{ACME}:", "  isWhatsappEnabled:   # since March", "    value: false",
        "    reason: WhatsApp ban, INC-142", "  aiDailyLimit: 50",
    ]  # fmt: skip
    entries = project.entries()
    assert only(github.merge(number), "apply").job("apply").ok
    assert project.entries() == entries, "the database had it already"
    assert only(github.schedule(), "drift").job("drift").ok
    assert github.issues("reconcile-drift") == []
