"""`reconcile import --adopt`: what was killed behind git's back becomes what git asks for."""

from __future__ import annotations

import pytest

from tests.support.postgres import Database
from tests.support.project import ACME, BOB, Project

STATE = f"""\
# Acme and Bob.
{ACME}:
  $expect: {{name: Acme Bakery}}
  isWhatsappEnabled: true   # since March
  isAiEnabled:
    value: true
    reason: Paid for
    until: 2099-01-01T00:00:00Z
  aiCustomModel: small
{BOB}:
  isAiEnabled: true
"""


@pytest.fixture
def killed(project: Project, database: Database) -> Project:
    """Acme's WhatsApp and AI, and Bob's AI, were killed by hand; a run has seen it."""
    project.commit_state(STATE, "Acme and Bob")
    project.succeed()
    database.execute(
        'UPDATE tenants SET "isWhatsappEnabled" = false, "isAiEnabled" = false, "aiCustomModel" = %s WHERE id = %s',
        ["large", ACME],
    )
    database.execute('UPDATE tenants SET "isAiEnabled" = false WHERE id = %s', [BOB])
    return project


def state(project: Project) -> str:
    return (project.directory / "state" / "tenants.yaml").read_text()


def test_kills_by_hand_are_written_in_their_places_and_everything_else_stays(killed: Project) -> None:
    done = killed.succeed("import", "--adopt", "--only", f"tenants/{ACME}", "--reason", "WhatsApp ban, INC-142")
    assert state(killed) == f"""\
# Acme and Bob.
{ACME}:
  $expect: {{name: Acme Bakery}}
  isWhatsappEnabled:   # since March
    value: false
    reason: WhatsApp ban, INC-142
  isAiEnabled:
    value: false
    reason: WhatsApp ban, INC-142
  aiCustomModel: small
{BOB}:
  isAiEnabled: true
"""
    assert "+    value: false" in done.out
    assert done.err == "Written, and not committed: state/tenants.yaml\n"


def test_after_the_commit_no_run_changes_or_keeps_what_was_adopted_and_its_way_back_is_guarded(
    killed: Project, database: Database
) -> None:
    killed.succeed("import", "--adopt")
    assert state(killed).count("reason: Killed by hand, and taken over from the database") == 3
    killed.commit("Adopt")
    killed.succeed()
    assert [database.row("tenants", key)["isAiEnabled"] for key in (ACME, BOB)] == [False, False]
    assert killed.plan()["changes"] == []
    assert killed.succeed("import", "--adopt").out == (
        "Nothing to adopt: in no row does a plan leave a kill that git does not ask for.\n"
    )
    killed.commit_state(STATE, "Too early")
    assert [(c["field"], c["hold"]["guard"]) for c in killed.plan()["changes"] if c["hold"]] == [
        ("isWhatsappEnabled", "after")
    ]


def test_what_git_puts_back_and_what_a_hand_opened_is_not_adopted(project: Project, database: Database) -> None:
    project.commit_state(f"{ACME}:\n  isWhatsappEnabled: false\n  aiCustomModel: small\n")
    project.succeed()
    database.execute(
        'UPDATE tenants SET "isWhatsappEnabled" = true, "aiCustomModel" = %s WHERE id = %s', ["large", ACME]
    )
    before = state(project)
    assert project.succeed("import", "--adopt").out.startswith("Nothing to adopt")
    assert state(project) == before


def test_what_broken_glass_has_left_is_adopted(project: Project, database: Database) -> None:
    project.commit_state(f"{ACME}:\n  isWhatsappEnabled: true\n")
    project.succeed()
    project.state(f"{ACME}:\n  isWhatsappEnabled: false\n")
    project.succeed("--allow-dirty", "--reason", "Abuse right now, INC-152", "--yes")
    project.repo.git("checkout", "--quiet", "state")
    project.succeed("import", "--adopt", "--reason", "Abuse, INC-152")
    assert state(project) == f"{ACME}:\n  isWhatsappEnabled:\n    value: false\n    reason: Abuse, INC-152\n"


def test_what_a_where_asks_for_becomes_an_entry_of_the_rows_own(project: Project, database: Database) -> None:
    text = "$where:\n  - match: {status: ACTIVE}\n    set: {isAiEnabled: true}\n"
    project.commit_state(text)
    project.succeed()
    database.execute('UPDATE tenants SET "isAiEnabled" = false WHERE id = %s', [ACME])
    project.succeed("import", "--adopt", "--reason", "Too many tokens")
    own = f"{ACME}:\n  $expect: {{name: Acme Bakery}}\n  isAiEnabled:\n    value: false\n    reason: Too many tokens\n"
    assert state(project).removeprefix(text).strip("\n") == own.strip("\n")
    project.commit("Adopt")
    project.succeed()
    assert project.plan()["changes"] == []


def test_a_branch_that_cannot_be_pushed_is_committed_and_the_way_on_is_said(killed: Project) -> None:
    before = state(killed)
    people = {f"GIT_{who}_{what}": "ana@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    done = killed.succeed("import", "--adopt", "--propose", "--reason", "It was me", environment=people)
    [branch] = killed.repo.git("for-each-ref", "--format=%(refname:short)", "refs/heads/adopt").split()
    assert branch.startswith("adopt/2-rows-")
    assert "not pushed: the repository has no remote" in done.err
    assert state(killed) == before
    message = killed.repo.git("log", "-1", "--format=%B", branch)
    assert message.startswith("Adopt what was killed by hand: 2 rows: It was me\n\nIt was me\n")
    assert f"tenants/{ACME} isAiEnabled: false" in message


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--adopt", "--force"), "--force is about files that are written anew, and --adopt edits"),
        (("--adopt", "--stdout"), "--stdout is about files"),
        (("--adopt", "--non-default"), "--non-default is about files"),
        (("--adopt", "--layout", "one-file"), "--layout is about files"),
        (("--adopt", "--no-expect"), "--expect is about files"),
        (("--reason", "x"), "--reason is for --adopt"),
        (("--propose",), "--propose is for --adopt"),
    ],
)
def test_options_that_would_be_ignored_are_refused(project: Project, options: tuple[str, ...], said: str) -> None:
    done = project.run("import", *options)
    assert done.code == 64, str(done)
    assert said in done.err
