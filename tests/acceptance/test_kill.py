"""`reconcile kill`: from an alert to an effective, reviewed, audited switch in one command."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from reconciler.repository import Repository
from reconciler.runbook.playbooks import RESERVED, load_runbook
from reconciler.runbook.triage import kill_command
from tests.acceptance.test_terminal import Terminal
from tests.support.hosting import add_remote, api, pushed
from tests.support.postgres import Database
from tests.support.project import ACME, BOB, TOP, Project, snapshot

NOWHERE = "postgresql://nobody:secret-canary@127.0.0.1:1/nothing"
STATE = f"""\
# Whatever stands here stays.
{BOB}:
  $expect: {{name: Bob's Bikes}}
  isAiEnabled: true   # asked for by Bob
"""
KILLED = f"""
{ACME}:
  $expect: {{name: Acme Bakery}}
  isWhatsappEnabled:
    value: false
    reason: banned by WhatsApp, INC-142 (whatsapp-ban)
"""
PEOPLE = {
    "GIT_AUTHOR_NAME": "Ana",
    "GIT_AUTHOR_EMAIL": "ana@example.org",
    "GIT_COMMITTER_NAME": "Ana",
    "GIT_COMMITTER_EMAIL": "ana@example.org",
    "PATH": "/usr/bin:/bin",
}
BAN = ("kill", "whatsapp-ban", "--tenant", "acme", "--reason", "banned by WhatsApp, INC-142")


@pytest.fixture
def hosted(project: Project, tmp_path: Path) -> tuple[Project, Path]:
    """A project whose main is applied and pushed to a bare repository."""
    project.commit_state(STATE, "Bob wants AI")
    project.succeed()
    return project, add_remote(project.repo, tmp_path / "bare.git")


def branches(project: Project) -> list[str]:
    return project.repo.git("for-each-ref", "--format=%(refname:short)", "refs/heads/kill").split()


def test_a_kill_is_committed_on_a_branch_of_its_own_and_pushed_and_proposed(
    hosted: tuple[Project, Path], database: Database
) -> None:
    project, bare = hosted
    before, head = snapshot(database), project.repo.head
    with api() as host:
        done = project.run(*BAN, environment=PEOPLE | host.environment)
    assert done.code == 0, str(done)
    (branch,) = branches(project)
    assert re.fullmatch(r"kill/whatsapp-ban-acme-bakery-\d{8}-\d{4}", branch)
    assert pushed(project.repo, bare)[branch] == project.repo.git("rev-parse", branch)
    assert project.repo.git("show", f"{branch}:state/tenants.yaml") + "\n" == STATE + KILLED
    with Repository.open(project.directory) as repository:
        commit = repository.commit(branch)
    assert (commit.parents, commit.author_email) == ((head,), "ana@example.org")
    assert commit.subject == "Kill: WhatsApp ban, Acme Bakery: banned by WhatsApp, INC-142"
    assert commit.trailers == {
        "reconcile-playbook": ["whatsapp-ban"],
        "reconcile-option": ["disable"],
        "incident": ["INC-142"],
        "reconcile-subject": [f"tenants/{ACME}"],
    }
    (path, asked, authorization), (labels_path, labels, _) = host.requests
    assert (path, labels_path) == ("/repos/acme/platform/pulls", "/repos/acme/platform/issues/17/labels")
    assert (asked["head"], asked["base"], asked["title"]) == (branch, "main", commit.subject)
    assert authorization == "Bearer token-canary"
    assert labels == {"labels": ["kill", "whatsapp-ban"]}
    assert "kills `isWhatsappEnabled` for Acme Bakery" in asked["body"]
    assert "Do NOT reconnect at once" in asked["body"]
    assert asked["body"].endswith(f"Incident: INC-142\nReconcile-Subject: tenants/{ACME}\n")
    assert "Pull request: https://github.com/acme/platform/pull/17" in done.out
    assert "isWhatsappEnabled" in done.out
    assert "KILL" in done.out
    assert snapshot(database) == before
    assert "canary" not in done.out + done.err


def test_now_applies_before_the_merge_and_git_catches_up(hosted: tuple[Project, Path], database: Database) -> None:
    project, _ = hosted
    with api() as host:
        done = project.run(*BAN, "--now", "--yes", environment=PEOPLE | host.environment)
    assert done.code == 0, str(done)
    assert database.row("tenants", ACME)["isWhatsappEnabled"] is False
    assert project.runs()[-1]["ahead"] is True
    (entry,) = project.entries()[-1:]
    assert entry["metadata"]["reason"] == "banned by WhatsApp, INC-142 (whatsapp-ban)"
    assert "Applied already, before its merge" in host.requests[0][1]["body"]
    project.succeed()
    assert database.row("tenants", ACME)["isWhatsappEnabled"] is False
    (branch,) = branches(project)
    project.repo.git("merge", "--quiet", "--no-ff", "-m", "Merge", branch, environment=PEOPLE)
    project.succeed()
    assert project.plan()["changes"] == []
    assert len(project.entries()) == len({one["id"] for one in project.entries()})


def test_now_holds_off_what_is_off_already_while_git_asks_for_it(
    hosted: tuple[Project, Path], database: Database
) -> None:
    project, _ = hosted
    text = STATE + f"{ACME}:\n  isAiEnabled: %s\n  aiDailyLimit: %s\n"
    project.commit_state(text % ("false", 2), "Acme costs")
    project.succeed()
    project.commit_state(text % ("true", 90), "Acme pays: not applied yet")
    project.repo.git("push", "--quiet")
    done = project.run("kill", "ai-cost-spike", "--limits", "--tenant", "acme", "--reason", "costs", "--now", "--yes",
                       "--no-push", environment=PEOPLE)  # fmt: skip
    assert done.code == 0, str(done)
    assert f"aiDailyLimit of tenants {ACME} is 2 already" in " ".join(done.out.split())
    assert database.row("tenants", ACME)["aiDailyLimit"] == 2, "a kill has raised a limit"
    assert "KEPT" in project.succeed().out
    row = database.row("tenants", ACME)
    assert (row["aiDailyLimit"], row["isAiEnabled"]) == (2, True)


def test_neither_a_dirty_work_tree_nor_a_detached_head_nor_the_index_is_in_the_way_or_touched(
    hosted: tuple[Project, Path],
) -> None:
    project, _ = hosted
    project.repo.git("checkout", "--quiet", "--detach")
    project.state("half: written [", "tenants.yaml")
    project.write("state/new.yaml", "staged: true\n")
    project.repo.git("add", "state/new.yaml")
    status = project.repo.git("status", "--porcelain")
    done = project.run(*BAN, "--no-push", environment=PEOPLE)
    assert done.code == 0, str(done)
    assert project.repo.git("status", "--porcelain") == status
    (branch,) = branches(project)
    assert project.repo.git("diff", "--name-only", "main", branch) == "state/tenants.yaml"
    assert f"git push origin {branch}" in done.err


def test_without_network_database_and_redis_the_kill_is_committed_and_what_is_left_is_said(
    hosted: tuple[Project, Path], tmp_path: Path, database: Database
) -> None:
    project, bare = hosted
    bare.rename(tmp_path / "away")
    words = ("kill", "whatsapp-ban", "--tenant", ACME, "--reason", "it's a ban, INC-142")
    done = project.run(*words, "--now", "--yes", url=NOWHERE, environment=PEOPLE)
    assert done.code == 4, str(done)
    (branch,) = branches(project)
    assert "could not be fetched" in done.err
    assert "not pushed (" in done.err
    assert f"git push origin {branch}" in done.err
    assert f"https://github.com/acme/platform/compare/main...{branch}?expand=1" in done.err
    (again,) = re.findall(r"the database does not answer: (reconcile kill .*)", done.err)
    assert "secret-canary" not in done.out + done.err
    (tmp_path / "away").rename(bare)
    assert project.run(*shlex.split(again)[1:], environment=PEOPLE).code == 0
    assert database.row("tenants", ACME)["isWhatsappEnabled"] is False
    assert branches(project) == [branch]
    assert branch in pushed(project.repo, bare)


def test_the_commands_that_triage_prints_are_accepted_word_for_word(hosted: tuple[Project, Path]) -> None:
    project, _ = hosted
    for name, playbook in load_runbook(TOP).playbooks.items():
        key = ACME if playbook.subject else None
        line = kill_command(name, playbook, key, '86 % of 12,410 requests; it\'s "much"', str(project.directory))
        done = project.run(*shlex.split(line)[1:], "--no-push", environment=PEOPLE, cwd=project.repo.path.parent)
        assert done.code == 0, f"{line}\n{done}"
    assert len(branches(project)) == len(load_runbook(TOP).playbooks)


def test_an_ambiguous_or_unknown_name_changes_nothing(hosted: tuple[Project, Path], database: Database) -> None:
    project, _ = hosted
    database.tenant("acme-2", name="Acme Brewery")
    refs = project.repo.git("for-each-ref")
    done = project.run("kill", "whatsapp-ban", "--tenant", "Acme B", "--reason", "x", environment=PEOPLE)
    assert done.code == 64
    assert ACME in done.err
    assert "acme-2  Acme Brewery" in done.err
    assert project.run("kill", "whatsapp-ban", "--tenant", "nobody", "--reason", "x", environment=PEOPLE).code == 64
    assert project.run("kill", "whatsapp-ban", "--tenant", "SYSTEM", "--reason", "x", environment=PEOPLE).code == 64
    assert project.repo.git("for-each-ref") == refs


def test_an_option_is_a_flag_and_an_unknown_one_lists_what_there_is(hosted: tuple[Project, Path]) -> None:
    project, _ = hosted
    words = ("kill", "ai-cost-spike", "--tenant", "acme", "--reason", "costs", "--no-push")
    assert project.run(*words, "--limits", environment=PEOPLE).code == 0
    (branch,) = branches(project)
    text = project.repo.git("show", f"{branch}:state/tenants.yaml")
    assert "aiDailyLimit" in text
    assert "value: 50" in text
    wrong = project.run(*words, "--limit", environment=PEOPLE)
    assert wrong.code == 64
    assert "did you mean --limits?" in wrong.err
    assert "--disable  Switch AI of the tenant off." in wrong.err
    assert 'did you mean "whatsapp-ban"?' in project.run("kill", "whatsap-ban", "--reason", "x").err
    listed = project.succeed("kill").out
    assert "redis-down  Redis down" in listed
    assert "--limits" in listed


def test_what_git_has_already_is_said_and_not_edited_and_now_applies_what_the_database_lacks(
    hosted: tuple[Project, Path], database: Database
) -> None:
    project, _ = hosted
    project.commit_state(STATE + f"{ACME}:\n  isWhatsappEnabled: false\n", "By hand")
    project.repo.git("push", "--quiet")
    done = project.run(*BAN, "--now", "--yes", environment=PEOPLE)
    assert done.code == 0, str(done)
    assert "git has false already" in done.err
    assert branches(project) == []
    assert database.row("tenants", ACME)["isWhatsappEnabled"] is False


def test_a_limit_that_is_cut_deeper_is_not_raised_by_a_kill(hosted: tuple[Project, Path], database: Database) -> None:
    project, _ = hosted
    database.execute('UPDATE tenants SET "aiDailyLimit" = 2 WHERE id = %s', (ACME,))
    words = ("kill", "ai-cost-spike", "--limits", "--tenant", "acme", "--reason", "costs", "--now", "--yes")
    assert project.run(*words, "--no-push", environment=PEOPLE).code == 0
    row = database.row("tenants", ACME)
    assert (row["aiDailyLimit"], row["aiMonthlyLimit"]) == (2, 50)


def test_the_kill_begins_at_the_remotes_newest_commit_and_never_at_another_branch(
    hosted: tuple[Project, Path], tmp_path: Path
) -> None:
    project, bare = hosted
    project.repo.git("clone", "--quiet", str(bare), str(tmp_path / "colleague"))
    colleague = tmp_path / "colleague"
    (colleague / "state" / "tenants.yaml").write_text(STATE + "# newer\n")
    project.repo.git("-C", str(colleague), "commit", "--quiet", "-am", "Newer", environment=PEOPLE)
    project.repo.git("-C", str(colleague), "push", "--quiet")
    project.repo.git("checkout", "--quiet", "-b", "feature")
    project.commit("Half a feature")
    done = project.run(*BAN, "--no-push", environment=PEOPLE)
    assert "from origin/main" in done.err
    (branch,) = branches(project)
    assert project.repo.git("log", "-1", "--format=%s", f"{branch}^") == "Newer"


def test_gh_is_used_where_it_is_there_and_a_missing_label_does_not_matter(
    hosted: tuple[Project, Path], tmp_path: Path
) -> None:
    """A tiny script that writes down its words; with a label, it says what `gh` says of one that does not exist."""
    project, _ = hosted
    gh = tmp_path / "bin" / "gh"
    gh.parent.mkdir()
    gh.write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/said\n'
        'case "$*" in *--label*) echo "could not add label: \'kill\' not found" >&2; exit 1;; esac\n'
        "echo https://github.com/acme/platform/pull/3\n"
    )
    gh.chmod(0o755)
    done = project.run(*BAN, environment=PEOPLE | {"PATH": f"{gh.parent}:/usr/bin:/bin"})
    assert done.code == 0
    assert "Pull request: https://github.com/acme/platform/pull/3" in done.out
    assert "without its labels" in done.err
    first, second = (tmp_path / "said").read_text().splitlines()
    assert "--label kill --label whatsapp-ban" in first
    assert "--label" not in second
    assert f"--head {branches(project)[0]} --base main" in second


@pytest.mark.parametrize("codes", [{"pulls": 422}, {"labels": 403}])
def test_what_the_host_refuses_is_said_and_the_kill_stands(hosted: tuple[Project, Path], codes: dict[str, int]) -> None:
    project, bare = hosted
    with api(**codes) as host:
        done = project.run(*BAN, environment=PEOPLE | host.environment)
    assert done.code == 0
    assert f"HTTP {next(iter(codes.values()))}" in done.err
    assert branches(project)[0] in pushed(project.repo, bare)
    assert ("compare/main..." in done.err) is ("pulls" in codes)


def test_a_refused_apply_is_said_and_the_branch_is_proposed_all_the_same(
    hosted: tuple[Project, Path], database: Database
) -> None:
    project, bare = hosted
    database.execute("DROP SCHEMA reconciler CASCADE")
    with api() as host:
        done = project.run(*BAN, "--now", "--yes", environment=PEOPLE | host.environment)
    assert done.code in (1, 4)
    assert "reconcile init" in done.err
    assert "not applied" in done.err
    assert branches(project)[0] in pushed(project.repo, bare)
    assert database.row("tenants", ACME)["isWhatsappEnabled"] is True


def test_database_down_commits_says_the_steps_and_is_applied_when_the_database_is_back(
    hosted: tuple[Project, Path], database: Database
) -> None:
    project, _ = hosted
    done = project.run("kill", "database-down", "--reason", "P1001, INC-7", url=NOWHERE, environment=PEOPLE)
    assert done.code == 0, str(done)
    assert "Pause from the dashboard" in done.err
    assert "reconcile --wait 1h --yes" in done.err
    (branch,) = branches(project)
    project.repo.git("merge", "--quiet", "--ff-only", branch)
    project.succeed("--wait", "1h", "--yes")
    row = database.row("system_settings", "system")
    assert (row["globalWhatsappEnabled"], row["globalAiEnabled"]) == (False, False)


def test_a_dry_run_shows_the_edit_and_writes_nothing(hosted: tuple[Project, Path]) -> None:
    project, _ = hosted
    refs = project.repo.git("for-each-ref")
    done = project.succeed(*BAN, "--dry-run")
    assert "+    reason: banned by WhatsApp, INC-142 (whatsapp-ban)" in done.out
    assert project.repo.git("for-each-ref") == refs


def test_without_an_identity_nothing_is_committed(hosted: tuple[Project, Path]) -> None:
    project, _ = hosted
    done = project.run(*BAN, environment={"HOME": "/nonexistent", "EMAIL": ""})
    assert done.code == 1
    assert "git does not know who you are" in done.err
    assert branches(project) == []


def test_every_flag_of_kill_and_restore_is_one_that_no_option_can_be_called() -> None:
    from reconciler.cli.kill import command as kill
    from reconciler.cli.restore import command as restore

    flags = {flag for one in (kill, restore) for each in one.params for flag in each.opts if flag.startswith("--")}
    assert {flag.removeprefix("--") for flag in flags} <= RESERVED


def test_at_a_terminal_now_shows_the_plan_and_takes_no_for_an_answer(
    hosted: tuple[Project, Path], database: Database
) -> None:
    project, bare = hosted
    terminal = Terminal(project, *BAN, "--now", **PEOPLE)
    terminal.wait_for("Apply this now?")
    assert "isWhatsappEnabled" in terminal.shown
    terminal.type("n\n")
    assert terminal.end() == 1
    assert "not applied, as you said: reconcile kill whatsapp-ban" in terminal.shown
    assert branches(project)[0] in pushed(project.repo, bare)
    assert database.row("tenants", ACME)["isWhatsappEnabled"] is True


@pytest.mark.parametrize(
    ("file", "mistake"),
    [
        ("system_settings.yaml", "system: {globalAiEnabled: maybe}\n"),
        ("tenants/bob.yaml", f"{BOB}: {{aiDailyLimit: 500, aiMonthlyLimit: 5}}\n"),
        ("tenants/acme.yaml", f"{ACME}: {{aiDailyLimit: 500, aiMonthlyLimit: 5}}\n"),
        ("tenants/bob.yaml", f"{BOB}: {{aiDailyLimit: many}}\n"),
        ("tenants/bob.yaml", f"{BOB}: {{aiDailyLimit: 50\n"),
    ],
    ids=[
        "a mistake in another table",
        "a rule that another row breaks",
        "a rule that the row breaks already",
        "a mistake in another file of the table",
        "another file that is no YAML",
    ],
)
def test_what_is_wrong_in_git_besides_the_kill_stops_every_run_but_no_kill(
    hosted: tuple[Project, Path], database: Database, file: str, mistake: str
) -> None:
    project, _ = hosted
    project.state(mistake, file)
    project.commit("Broken by somebody")
    project.repo.git("push", "--quiet")
    assert project.run().code == 3
    done = project.run(*BAN, "--now", "--yes", "--no-pr", environment=PEOPLE)
    assert done.code == 0, str(done)
    assert len(branches(project)) == 1
    assert database.row("tenants", ACME)["isWhatsappEnabled"] is False
    assert (database.row("tenants", ACME)["aiDailyLimit"], database.row("tenants", BOB)["aiDailyLimit"]) == (50, 50)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("system_settings", "type: boolean\n    title: WhatsApp", "type: bolean\n    title: WhatsApp"),
        ("policy", "rule: status !=", "rule: statuss !="),
        ("playbooks/redis-down", "title: Redis down", "titel: Redis down"),
    ],
)
def test_a_mistake_in_schemas_stands_in_the_way_of_no_kill_which_goes_by_those_that_were_right(
    hosted: tuple[Project, Path], database: Database, name: str, old: str, new: str
) -> None:
    project, _ = hosted
    right = project.repo.head
    for was, becomes in ((old, new), (new, f"{new} # touched again")):
        project.edit_schema(name, was, becomes)
        project.commit("Broken by somebody")
    project.repo.git("push", "--quiet")
    done = project.run(*BAN, "--now", "--yes", "--no-pr", environment=PEOPLE)
    assert done.code == 0, str(done)
    assert f"note: schemas/{name}.yaml:" in done.err
    assert f"A kill does not wait for that: it goes by schemas/ of commit {right[:12]}" in done.err
    assert database.row("tenants", ACME)["isWhatsappEnabled"] is False
    (branch,) = branches(project)
    assert project.repo.git("diff", "--name-only", "main", branch) == "state/tenants.yaml"
    assert project.run("restore", "whatsapp-ban", "--tenant", "acme", "--reason", "over", environment=PEOPLE).code == 3


def test_schemas_that_were_never_right_are_told_as_they_are_now(project: Project) -> None:
    project.edit_schema("policy", "rule: status !=", "rule: statuss !=")
    project.commit_state(STATE)
    done = project.run(*BAN, environment=PEOPLE)
    assert done.code == 3
    assert 'no managed field "statuss"' in done.err


def test_a_file_that_is_wrong_is_named_and_never_written_over(
    hosted: tuple[Project, Path], database: Database
) -> None:
    project, _ = hosted
    broken = f"{BOB}: {{aiDailyLimit: many}}\n"
    project.state(broken, "tenants.yaml")  # where a row goes that stands nowhere
    project.commit("Broken by somebody")
    project.repo.git("push", "--quiet")
    done = project.run(*BAN, "--now", "--yes", "--no-pr", environment=PEOPLE)
    assert done.code == 3
    assert "state/tenants.yaml:1:" in done.err
    project.state("", "tenants.yaml")
    project.state(broken, "tenants/bob.yaml")
    project.state(f"{ACME}: {{aiDailyLimit: 50}}\n", "tenants/acme.yaml")
    project.commit("Broken by somebody else")
    project.repo.git("push", "--quiet")
    done = project.run(*BAN, "--now", "--yes", "--no-pr", environment=PEOPLE)
    assert done.code == 0, str(done)
    assert "note: state/tenants/bob.yaml:1:" in done.err
    assert "does not name what is switched off, and is left as it is" in done.err
    assert project.repo.git("show", f"{branches(project)[0]}:state/tenants/bob.yaml").strip() == broken.strip()
    assert database.row("tenants", ACME)["isWhatsappEnabled"] is False


def test_a_kill_that_would_itself_break_a_rule_is_refused_before_anything_is_done(
    hosted: tuple[Project, Path], database: Database
) -> None:
    project, _ = hosted
    project.edit_schema("policy", "status != 'ARCHIVED' or not isWhatsappEnabled", "isWhatsappEnabled or isAiEnabled")
    project.edit_schema("policy", "an archived tenant must have WhatsApp off", "one of the two must be on")
    project.state(f"{ACME}: {{isAiEnabled: false}}\n", "tenants/acme.yaml")
    project.commit("A rule that forbids kills")
    project.repo.git("push", "--quiet")
    done = project.run(*BAN, "--now", "--yes", environment=PEOPLE)
    assert done.code == 3
    assert "the edited state would break a rule. Nothing was changed" in done.err
    assert "one of the two must be on" in done.err
    assert branches(project) == []


def test_a_kill_until_a_time_says_so_in_git(hosted: tuple[Project, Path]) -> None:
    project, _ = hosted
    done = project.run(*BAN, "--until", "2099-01-01T00:00:00Z", "--no-push", environment=PEOPLE)
    assert done.code == 0, str(done)
    assert "until: 2099-01-01T00:00:00Z" in project.repo.git("show", f"{branches(project)[0]}:state/tenants.yaml")


def test_what_is_off_by_more_in_git_stays_as_it_is(hosted: tuple[Project, Path]) -> None:
    project, _ = hosted
    project.commit_state(STATE + f"{ACME}: {{status: ARCHIVED, isAiEnabled: false, aiDailyLimit: 1}}\n", "By hand")
    project.repo.git("push", "--quiet")
    for words in (("tenant-abuse", "--suspend"), ("tenant-abuse",)):
        done = project.run("kill", *words, "--tenant", ACME, "--reason", "spam", "--no-push", environment=PEOPLE)
        assert done.code == 0, str(done)
        assert branches(project) == []
    limits = ("ai-cost-spike", "--limits", "--tenant", ACME, "--reason", "costs", "--no-push")
    assert project.run("kill", *limits, environment=PEOPLE).code == 0
    text = project.repo.git("show", f"{branches(project)[0]}:state/tenants.yaml")
    assert "aiDailyLimit: 1" in text
    assert "status: ARCHIVED" in text
