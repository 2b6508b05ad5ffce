"""Going back from a run: the YAML that restores what it changed, a commit of it, and the guards on the way."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support.cli import TOP, Finished, run
from tests.support.gitrepo import GitRepo
from tests.support.postgres import Database

ACME, BISTRO = "acme-0001", "bistro-0002"
BEFORE = f"""\
# The shops that are managed.
{ACME}:
  $expect: {{name: Acme Bakery}}   # the right one
  isAiEnabled: true   # the AI
  isWhatsappEnabled: true
  # Not more, says the owner.
  aiDailyLimit: 50

{BISTRO}: {{isAiEnabled: true, aiDailyLimit: 20}}
"""
IDENTITY = {
    "GIT_AUTHOR_NAME": "Ann Author", "GIT_AUTHOR_EMAIL": "ann@example.org",
    "GIT_COMMITTER_NAME": "Ann Author", "GIT_COMMITTER_EMAIL": "ann@example.org",
}  # fmt: skip


class Place:
    """A project in git with its database; the state BEFORE is applied."""

    def __init__(self, repo: GitRepo, database: Database) -> None:
        self.repo, self.database = repo, database
        shutil.copytree(TOP / "schemas", repo.path / "schemas")
        database.tenant(ACME, name="Acme Bakery")
        database.tenant(BISTRO, name="Bistro")
        self.ok("init")
        self.change(BEFORE, "Begin")

    def __call__(self, *arguments: str, identity: bool = True) -> Finished:
        return run(*arguments, cwd=self.repo.path, database=self.database.url, environment=IDENTITY if identity else {})

    def ok(self, *arguments: str) -> Finished:
        done = self(*arguments)
        assert done.code == 0, done
        return done

    def change(self, text: str, message: str) -> str:
        """Commit the state and apply it; the commit's id."""
        self.repo.write("state/tenants.yaml", text)
        commit = self.repo.commit(message)
        self.ok("--yes")
        return commit

    @property
    def state(self) -> str:
        return (self.repo.path / "state" / "tenants.yaml").read_text()

    def run_of(self, commit: str) -> str:
        """The first run of a commit that changed something."""
        rows = self.database.execute(
            "SELECT id::text FROM reconciler.run WHERE commit_id = %s AND outcome = 'applied' ORDER BY sequence",
            [commit],
        )
        return str(rows[0]["id"])

    def tenant(self, key: str = ACME) -> dict[str, Any]:
        return self.database.row("tenants", key)


@pytest.fixture
def place(git_repo: GitRepo, database: Database) -> Place:
    return Place(git_repo, database)


def killed(text: str = BEFORE) -> str:
    """The state with both switches of Acme off."""
    text = text.replace("isAiEnabled: true   # the AI", "isAiEnabled: false   # the AI")
    return text.replace(
        "  isWhatsappEnabled: true\n", "  isWhatsappEnabled:\n    value: false   # off\n    reason: ban, INC-142\n"
    )


def test_a_rolled_back_restore_is_a_kill_and_is_applied_at_once(place: Place) -> None:
    place.change(BEFORE.replace("aiDailyLimit: 50", "aiDailyLimit: 5"), "Cut")
    commit = place.change(BEFORE.replace("aiDailyLimit: 50", "aiDailyLimit: 500   # more"), "Open up")
    done = place.ok("rollback", place.run_of(commit), "--reason", "too much, INC-7", "--apply")
    assert f"tenants/{ACME} (Acme Bakery) aiDailyLimit  500 -> 5" in done.out
    assert place.tenant()["aiDailyLimit"] == 5
    run_id = place.run_of(commit)
    reason = f"rolls back run {run_id[:8]} (Open up): too much, INC-7"
    long_form = f'  aiDailyLimit:   # more\n    value: 5\n    reason: "{reason}"\n'
    assert place.state == BEFORE.replace("  aiDailyLimit: 50\n", long_form)
    (entry,) = place.database.execute(
        "SELECT metadata FROM audit_logs WHERE metadata ->> 'commit' = %s", [place.repo.head]
    )
    assert entry["metadata"]["reason"] == reason
    assert entry["metadata"]["before"] == 500


def test_the_commit_says_what_it_rolls_back_and_why(place: Place) -> None:
    commit = place.change(killed(), "Ban")
    run_id = place.run_of(commit)
    place.ok("rollback", run_id[:6], "--reason", "false alarm")
    message = place.repo.git("log", "-1", "--format=%B")
    assert message.splitlines()[0] == f"Roll back run {run_id[:8]}: false alarm"
    assert f"tenants/{ACME} isAiEnabled: false -> true" in message
    assert place.repo.git("log", "-1", "--format=%(trailers:key=Reconcile-Rollback,valueonly)").strip() == run_id
    assert place.repo.git("log", "-1", "--format=%an <%ae> on %D").startswith(
        "Ann Author <ann@example.org> on HEAD -> main"
    )
    assert place.repo.git("status", "--porcelain") == ""
    assert place.tenant()["isAiEnabled"] is False, "without --apply the database is as it was"


def test_a_rolled_back_kill_is_a_restore_and_is_held(place: Place) -> None:
    commit = place.change(killed(), "Ban")
    done = place.ok("rollback", commit[:10], "--reason", "false alarm", "--apply")
    assert place.tenant()["isAiEnabled"] is True, "no guard stands on it"
    assert place.tenant()["isWhatsappEnabled"] is False, "not before 24 hours have passed"
    assert "held" in done.out.lower()
    assert 'value: true   # off\n    reason: "rolls back run' in place.state


def test_a_restore_that_the_commit_asked_for_and_a_guard_still_holds_is_told(place: Place) -> None:
    place.change(killed(), "Ban")
    commit = place.change(BEFORE, "Back on")
    place.change(BEFORE.replace("aiDailyLimit: 20", "aiDailyLimit: 21"), "Something else")
    done = place("rollback", commit[:10], "--reason", "it was right")
    assert done.code == 0, done
    assert f"tenants/{ACME} (Acme Bakery) isAiEnabled  true -> false" in done.out
    told = done.err[done.err.index("NOT ROLLED BACK: 1 field") :]
    assert f"isWhatsappEnabled: {commit[:12]} asks for true, which a guard still holds; a later run applies it" in told
    assert "To take that back, too, write false" in told
    other = place.change(place.state.replace("isAiEnabled: true", "isAiEnabled: false"), "Another")
    assert "still holds" not in place("rollback", other[:10], "--reason", "no").err


def test_comments_order_and_style_stay(place: Place) -> None:
    commit = place.change(killed(), "Ban")
    place.ok("rollback", place.run_of(commit), "--reason", "no")
    diff = place.repo.git("diff", "--numstat", "HEAD~1")
    # One entry becomes the long form (three lines for one), the other has a new value and a new reason.
    assert diff.split() == ["5", "3", "state/tenants.yaml"]


def test_a_dry_run_writes_nothing(place: Place) -> None:
    commit = place.change(killed(), "Ban")
    done = place.ok("rollback", commit, "--reason", "no", "--dry-run")
    assert "-  isAiEnabled: false   # the AI\n+  isAiEnabled:   # the AI\n+    value: true\n" in done.out
    assert (place.repo.head, place.state) == (commit, killed())


def test_without_a_commit_the_files_are_left_changed(place: Place) -> None:
    commit = place.change(killed(), "Ban")
    place.ok("rollback", commit, "--reason", "no", "--no-commit")
    assert place.repo.head == commit
    assert place.repo.git("status", "--porcelain") == " M state/tenants.yaml"


def test_a_commit_stands_for_all_of_its_runs(place: Place) -> None:
    commit = place.change(BEFORE.replace("aiDailyLimit: 50", "aiDailyLimit: 5"), "Cut")
    place.ok("--yes")
    done = place.ok("rollback", "HEAD", "--reason", "no")
    assert f"Back from commit {commit[:12]} (2 runs)" in done.out
    assert len(place.repo.git("log", "-1", "--format=%(trailers:key=Reconcile-Rollback,valueonly)").split()) == 2
    assert "value: 50" in place.state


def test_a_rollback_can_be_rolled_back(place: Place) -> None:
    commit = place.change(BEFORE.replace("aiDailyLimit: 50", "aiDailyLimit: 60"), "Up")
    place.ok("rollback", commit, "--reason", "no", "--apply")
    place.ok("rollback", "HEAD", "--reason", "yes", "--apply")
    assert place.tenant()["aiDailyLimit"] == 60


def test_what_has_changed_since_is_a_conflict_and_the_rest_goes_back(place: Place) -> None:
    place.change(killed(), "Ban")
    first = place.run_of(place.repo.head)
    later = killed().replace("isAiEnabled: false   # the AI", "isAiEnabled: true   # the AI")
    place.change(later, "AI is fine")
    done = place.ok("rollback", first, "--reason", "no")
    assert "NOT ROLLED BACK: 1 field" in done.err
    assert "isAiEnabled: git asks for true by now, and not for false any more  state/tenants.yaml:4:16" in done.err
    assert "isWhatsappEnabled  false -> true" in done.out


def test_what_the_database_has_otherwise_by_now_is_a_conflict(place: Place) -> None:
    commit = place.change(BEFORE.replace("aiDailyLimit: 50", "aiDailyLimit: 60"), "Up")
    place.database.execute('UPDATE tenants SET "aiDailyLimit" = 9 WHERE id = %s', [ACME])
    done = place("rollback", commit, "--reason", "no")
    assert done.code == 1
    assert "the database has 9 by now, and not 60 any more" in done.err
    assert (place.repo.head, done.out) == (commit, "")


def test_what_a_later_run_has_applied_is_a_conflict(place: Place) -> None:
    commit = place.change(BEFORE.replace("aiDailyLimit: 50", "aiDailyLimit: 60"), "Up")
    place.change(BEFORE.replace("aiDailyLimit: 50", "aiDailyLimit: 70"), "Further up")
    place.repo.write("state/tenants.yaml", BEFORE.replace("aiDailyLimit: 50", "aiDailyLimit: 60"))
    place.repo.commit("Down, not applied")
    done = place("rollback", commit, "--reason", "no")
    assert done.code == 1
    assert "a later run applied 70" in done.err


def test_what_git_names_no_more_is_a_conflict(place: Place) -> None:
    commit = place.change(BEFORE.replace("aiDailyLimit: 50", "aiDailyLimit: 60"), "Up")
    place.change(BEFORE.replace("  aiDailyLimit: 50\n", ""), "Let go")
    done = place("rollback", commit, "--reason", "no")
    assert (done.code, "git no longer names it" in done.err) == (1, True), done


def test_what_was_not_managed_before_is_a_conflict_that_says_how_to_let_go(place: Place) -> None:
    commit = place.change(BEFORE + "  \n", "Nothing")
    commit = place.change(BEFORE.replace("aiDailyLimit: 20", "aiMonthlyLimit: 200, aiDailyLimit: 20"), "Manage more")
    done = place("rollback", commit, "--reason", "no")
    assert done.code == 1
    assert "was not managed before (the database had 1000). Write that, or remove the entry to let go of it" in done.err


def test_a_row_that_the_run_made_stays(place: Place) -> None:
    place.repo.write("state/system_settings.yaml", "system:\n  maxTenantsAllowed: 7\n")
    commit = place.repo.commit("Make the row")
    place.ok("--yes")
    done = place("rollback", commit, "--reason", "no")
    assert (done.code, "the run made the row" in done.err) == (1, True), done


def test_what_the_run_only_put_back_has_no_other_value_in_git(place: Place) -> None:
    commit = place.change(killed(), "Ban")
    place.database.execute('UPDATE tenants SET "isWhatsappEnabled" = true WHERE id = %s', [ACME])
    place.ok("--yes")
    (reopened,) = place.database.execute("SELECT run_id::text FROM reconciler.change WHERE finding = 'reopened'")
    done = place("rollback", reopened["run_id"], "--reason", "no")
    assert done.code == 1
    assert "the run put git's own value back (true had been set behind git's back)" in done.err
    assert place.repo.head == commit


def test_a_run_of_uncommitted_files_is_undone_by_letting_git_have_its_way(place: Place) -> None:
    place.repo.write("state/tenants.yaml", killed())
    place.ok("--yes", "--allow-dirty", "--reason", "INC-142")
    (dirty,) = place.database.execute("SELECT id::text FROM reconciler.run WHERE dirty")
    place.repo.git("checkout", "--quiet", "state")
    done = place("rollback", dirty["id"], "--reason", "no")
    assert done.code == 1
    assert f"git asks for true. To let git have its way: reconcile release tenants/{ACME}.isAiEnabled" in done.err


def test_a_run_of_uncommitted_files_goes_back_once_they_are_committed(place: Place) -> None:
    place.repo.write("state/tenants.yaml", killed())
    place.ok("--yes", "--allow-dirty", "--reason", "INC-142")
    (dirty,) = place.database.execute("SELECT id::text FROM reconciler.run WHERE dirty")
    place.repo.commit("What was done at night")
    place.ok("rollback", dirty["id"], "--reason", "no")
    assert "isAiEnabled:   # the AI\n    value: true\n" in place.state


def test_a_kill_before_its_merge_is_undone_by_letting_git_have_its_way(place: Place) -> None:
    place("kill", "whatsapp-ban", "--tenant", ACME, "--reason", "INC-142", "--now", "--yes")
    assert place.tenant()["isWhatsappEnabled"] is False
    (ahead,) = place.database.execute("SELECT id::text, commit_id FROM reconciler.run WHERE ahead")
    done = place("rollback", ahead["id"], "--reason", "no")
    assert done.code == 1
    assert "the run was of a commit that is not merged, and git asks for true." in done.err
    assert f"reconcile release tenants/{ACME}.isWhatsappEnabled" in done.err
    place.repo.git("merge", "--quiet", "--ff-only", ahead["commit_id"])
    place.ok("rollback", ahead["id"], "--reason", "false alarm")
    assert "isWhatsappEnabled:\n    value: true\n" in place.state


def test_a_run_that_changed_no_value_cannot_be_rolled_back(place: Place) -> None:
    commit = place.change("# Nothing else.\n" + BEFORE, "A comment")
    done = place("rollback", commit, "--reason", "no")
    assert (done.code, done.err.count("changed no value")) == (1, 1), done


def test_a_name_that_could_mean_several_lists_them(place: Place) -> None:
    prefix = place.run_of(place.change(killed(), "Ban"))[:4]
    place.database.execute("UPDATE reconciler.run SET commit_id = %s || 'beef' || sequence", [prefix])
    done = place("rollback", prefix, "--reason", "no")
    assert done.code == 64
    assert f"{prefix} could mean each of these. Write more of it:" in done.err
    assert done.err.count(f"  run    {prefix}") == 1
    assert done.err.count(f"\n  commit {prefix}beef") == 2


@pytest.mark.parametrize("name", ["ffffffff", "no-such-branch", "ab"])
def test_a_name_of_nothing_is_said(place: Place, name: str) -> None:
    done = place("rollback", name, "--reason", "no")
    assert (done.code, "`reconcile history --runs` lists what was" in done.err) == (64, True), done


def test_a_commit_that_was_never_applied_is_said(place: Place) -> None:
    place.repo.commit("Empty, not applied")
    done = place("rollback", "HEAD", "--reason", "no")
    assert (done.code, "was never applied to this database" in done.err) == (64, True), done


def test_changes_of_ones_own_below_state_are_not_mixed_in(place: Place) -> None:
    commit = place.change(killed(), "Ban")
    place.repo.write("state/tenants.yaml", killed() + "# mine\n")
    done = place("rollback", commit, "--reason", "no")
    assert (done.code, "not committed: state/tenants.yaml" in done.err) == (1, True), done
    assert place.state.endswith("# mine\n")


def test_what_else_is_staged_stays_so(place: Place) -> None:
    commit = place.change(killed(), "Ban")
    place.repo.write("notes.txt", "mine")
    place.repo.git("add", "notes.txt")
    place.ok("rollback", commit, "--reason", "no")
    assert place.repo.git("show", "--name-only", "--format=") == "state/tenants.yaml"
    assert place.repo.git("status", "--porcelain") == "A  notes.txt"


def test_without_an_identity_nothing_is_written(place: Place) -> None:
    commit = place.change(killed(), "Ban")
    done = place("rollback", commit, "--reason", "no", identity=False)
    assert (done.code, "git does not know who you are" in done.err) == (1, True), done
    assert (place.repo.head, place.state) == (commit, killed())


def test_without_a_branch_nothing_is_written(place: Place) -> None:
    commit = place.change(killed(), "Ban")
    place.repo.git("checkout", "--quiet", "--detach")
    done = place("rollback", commit, "--reason", "no")
    assert (done.code, "detached HEAD" in done.err) == (1, True), done
    assert place.state == killed()


def test_where_a_hook_refuses_the_commit_the_files_are_put_back(place: Place) -> None:
    commit = place.change(killed(), "Ban")
    hook = place.repo.write(".git/hooks/pre-commit", "#!/bin/sh\necho not today >&2\nexit 1\n")
    hook.chmod(0o755)
    done = place("rollback", commit, "--reason", "no")
    assert (done.code, "git did not make the commit: not today" in done.err) == (1, True), done
    assert (place.repo.head, place.state) == (commit, killed())
    assert place.repo.git("status", "--porcelain") == ""


def test_a_value_that_would_break_a_rule_is_not_written(place: Place) -> None:
    up = BEFORE.replace("aiDailyLimit: 50", "aiDailyLimit: 40")
    commit = place.change(up, "Down")
    place.change(up.replace("aiDailyLimit: 40", "aiDailyLimit: 40\n  aiMonthlyLimit: 45"), "A limit for the month")
    done = place("rollback", commit, "--reason", "no")
    assert done.code == 3
    assert "the daily limit is more than the monthly one" in done.err
    assert place.repo.git("status", "--porcelain") == ""


def test_the_blast_limit_is_waived_by_a_trailer(place: Place) -> None:
    commit = place.change(killed(), "Ban")
    place.ok("rollback", commit, "--reason", "no", "--allow-changes", "500")
    assert place.repo.git("log", "-1", "--format=%(trailers:key=Reconcile-Allow-Changes,valueonly)").strip() == "500"


@pytest.mark.parametrize(
    "options", [("--dry-run", "--apply"), ("--dry-run", "--no-commit"), ("--apply", "--no-commit"),
                ("--no-commit", "--allow-changes", "5")]
)  # fmt: skip
def test_options_that_contradict_each_other_are_refused(place: Place, options: tuple[str, ...]) -> None:
    assert place("rollback", "HEAD", "--reason", "no", *options).code == 64


def test_a_rollback_needs_a_reason(place: Place) -> None:
    assert place("rollback", "HEAD").code == 64
    assert place("rollback", "HEAD", "--reason", " ").code == 64


def test_a_project_in_a_folder_of_a_larger_repository_is_rolled_back(git_repo: GitRepo, database: Database) -> None:
    inner = GitRepo(git_repo.path)
    inner.path = git_repo.path / "live"
    inner.path.mkdir()
    place = Place(inner, database)
    commit = place.change(killed(), "Ban")
    place.ok("rollback", commit, "--reason", "no")
    assert Path(place.repo.git("show", "--name-only", "--format=")) == Path("live/state/tenants.yaml")
