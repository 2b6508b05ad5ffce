"""`reconcile doctor`: what is right, what is not, and that doing what it says makes it right."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from psycopg import sql

from tests.support import cli
from tests.support.doctor import Examined, examined
from tests.support.gitrepo import GitRepo
from tests.support.postgres import Database, with_database, with_user
from tests.support.project import ACME, BOB, KILL, SECRETS, Project
from tests.support.proxy import FaultyLine
from tests.support.refusals import nothing_changes

GOOD = f"{ACME}:\n  $expect: {{aiPlan: FREE}}\n  isAiEnabled: false\n"


@pytest.fixture
def ready(project: Project) -> Project:
    """A project with a commit that can be applied."""
    project.commit_state(GOOD)
    return project


def run_all(database: Database, statements: list[str]) -> None:
    """As the owner, in one session, as they are pasted into psql."""
    with database.connect() as connection:
        for statement in statements:
            connection.execute(statement.encode())


# What is there


def test_what_is_as_it_should_be_is_said_and_nothing_is_written(ready: Project) -> None:
    with nothing_changes(ready.database):
        found = examined(ready)
    assert found.code == 0
    assert found.with_verdict("wrong", "unknown") == []
    parts = list(dict.fromkeys(row["part"] for row in found.rows))
    assert parts == ["program", "git", "files", "database", "privileges", "ledger", "plan", "redis", "effects"]
    assert found.row("git", "revision")["saw"].startswith(f"commit {ready.repo.head[:12]} ")
    assert "READ ONLY" in found.row("database", "this examination")["saw"]
    assert found.row("plan", "dry run")["saw"] == "of 1 managed field 1 would change (1 kill)"
    assert found.row("database", "server")["saw"].endswith(f"database {ready.database.name}")


def test_the_table_for_people_says_the_same(ready: Project) -> None:
    done = ready.run("doctor")
    lines = done.out.splitlines()
    assert "  ok       descent" not in done.out
    assert "  ok       version           1, which is this program's" in lines
    assert lines[-1].startswith("Ready for an apply: 2 warnings (")


def test_a_database_without_a_ledger_needs_init_and_then_is_ready(git_repo: GitRepo, database: Database) -> None:
    database.tenant(ACME)
    database.settings(defaultAiProvider="openai")
    project = Project(git_repo, database)
    project.commit_state(GOOD)
    found = examined(project)
    assert found.code == 4
    assert found.row("ledger", "version")["saw"] == f"database {database.name} has none"
    assert found.with_verdict("wrong") == [("database", "row SYSTEM"), ("ledger", "version")]
    assert found.commands == ["reconcile init", "reconcile init"]
    planning = examined(project, "--for", "plan")
    assert planning.code == 0
    assert planning.verdict("ledger", "version") == "warning"
    project.succeed(*found.commands[0].split()[1:])
    assert examined(project).code == 0


def test_a_ledger_of_a_newer_program_is_said(ready: Project) -> None:
    ready.database.execute("UPDATE reconciler.meta SET version = 99")
    found = examined(ready)
    assert found.code == 4
    assert "99, and this program knows 1" in found.row("ledger", "version")["saw"]


def test_what_waits_in_the_ledger_is_told(ready: Project) -> None:
    ready.commit_state(KILL)
    ready.succeed()
    until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
    ready.succeed("freeze", "--until", until, "--reason", "a try")
    found = examined(ready)
    assert found.code == 0
    assert ready.repo.head[:12] in found.row("ledger", "last run")["saw"]
    assert f"until {until}: a try" in found.row("ledger", "freeze")["saw"]
    assert found.verdict("ledger", "outbox", "1 effect waiting, ") == "note"
    assert found.row("ledger", "descent")["saw"].endswith("is the one that was applied last")
    ready.database.execute("UPDATE reconciler.outbox SET at = at - interval '2 days'")
    late = examined(ready)
    assert late.verdict("ledger", "outbox", "the oldest for 2 d 0 h") == "warning"
    ready.database.execute("UPDATE reconciler.outbox SET state = 'dead', last_error = 'refused'")
    dead = examined(ready)
    assert dead.verdict("ledger", "outbox", "bullmq to whatsapp-worker-commands: refused") == "warning"
    assert dead.row("ledger", "outbox")["commands"] == ["reconcile deliver --retry-dead"]


def test_what_a_guard_holds_is_told(ready: Project) -> None:
    ready.commit_state(KILL)
    ready.succeed()
    ready.commit_state(KILL.replace("value: false", "value: true"), "Restored")
    found = examined(ready)
    assert found.verdict("plan", "held", "1 change held by a guard, the first until ") == "note"


# What does not fit


def test_a_table_that_does_not_fit_is_told_with_the_line_of_the_schema(ready: Project) -> None:
    ready.database.execute('ALTER TABLE tenants RENAME "aiDailyLimit" TO "aiDailyLimits"')
    found = examined(ready)
    assert found.code == 4
    row = found.row("database", "tables")
    assert row["saw"].startswith(ready.place("schemas/tenants.yaml", "aiDailyLimit:"))
    assert row["advice"] == 'did you mean "aiDailyLimits"?'
    assert "see what is wrong above" in found.row("plan", "dry run")["saw"]


def test_an_audit_table_that_does_not_fit_is_told_for_an_apply_alone(ready: Project) -> None:
    ready.database.execute("ALTER TABLE audit_logs ADD more text NOT NULL DEFAULT ''")
    ready.database.execute("ALTER TABLE audit_logs ALTER more DROP DEFAULT")
    found = examined(ready)
    assert found.code == 4
    assert "public.audit_logs.more is NOT NULL" in found.row("database", "audit table")["saw"]
    assert examined(ready, "--for", "plan").code == 0


def test_state_that_is_wrong_is_told_and_the_rest_is_looked_at(ready: Project) -> None:
    ready.commit_state(f"{ACME}:\n  isAiEnabled: off\n")
    found = examined(ready)
    assert found.code == 3
    assert found.row("files", "files")["saw"].startswith("state/tenants.yaml:2:16: ")
    assert found.verdict("database", "server") == "ok"
    assert found.verdict("plan", "dry run") == "unknown"


def test_a_row_that_does_not_exist_is_told_by_the_dry_run(ready: Project) -> None:
    ready.commit_state("nobody:\n  isAiEnabled: false\n")
    found = examined(ready)
    assert found.code == 3
    assert found.row("plan", "dry run")["saw"].startswith("state/tenants.yaml:1:1: ")


# git


def test_without_a_repository_it_can_be_planned_and_not_applied(ready: Project, tmp_path: Path) -> None:
    (ready.directory / ".git").rename(tmp_path / "elsewhere")
    found = examined(ready)
    assert found.code == 1
    assert found.with_verdict("wrong") == [("git", "repository")]
    assert "is not in a git repository" in found.row("git", "repository")["saw"]
    assert examined(ready, "--for", "plan").code == 0


def test_without_a_commit_it_can_be_planned_and_not_applied(project: Project) -> None:
    project.state(GOOD)
    found = examined(project)
    assert (found.code, found.with_verdict("wrong")) == (1, [("git", "revision")])
    assert examined(project, "--for", "plan").code == 0


def test_what_is_not_committed_is_not_applied(ready: Project) -> None:
    ready.state(GOOD + "  aiDailyLimit: 4\n")
    found = examined(ready)
    assert found.code == 1
    assert found.row("git", "work tree")["saw"] == "not committed: state/tenants.yaml"
    assert found.row("plan", "dry run")["saw"].startswith("of 1 managed field 1 ")  # of HEAD, which an apply reads
    planning = examined(ready, "--for", "plan")
    assert planning.code == 0
    assert planning.row("plan", "dry run")["saw"].startswith("of 2 managed fields 2 ")


def test_a_commit_older_than_the_one_applied_last_is_stale(ready: Project) -> None:
    older = ready.repo.head
    ready.commit_state(GOOD + "  aiDailyLimit: 4\n")
    ready.succeed()
    ready.repo.git("checkout", "--quiet", older)
    found = examined(ready)
    assert found.code == 6
    assert "is older than" in found.row("ledger", "descent")["saw"]
    assert examined(ready, "--for", "plan").code == 0


def test_a_shallow_clone_is_told_with_the_command_that_deepens_it(ready: Project, tmp_path: Path) -> None:
    ready.commit_state(GOOD + "  aiDailyLimit: 4\n")
    clone = tmp_path / "clone"
    ready.repo.git("clone", "--quiet", "--depth", "1", f"file://{ready.repo.path}", str(clone))
    shallow = examined_at(clone, ready)
    row = shallow.row("git", "history")
    assert row["verdict"] == "warning"
    assert row["saw"].startswith("shallow, 1 commit deep")
    assert shallow.verdict("git", "remote", "its main is what is checked out") == "ok"
    GitRepo(clone).git(*row["commands"][0].split()[1:])
    assert examined_at(clone, ready).verdict("git", "history") == "ok"


def examined_at(clone: Path, project: Project) -> Examined:
    """The examination of another directory, with the same database."""
    moved = Project.__new__(Project)
    moved.repo, moved.database, moved.below, moved.directory = project.repo, project.database, "", clone
    return examined(moved)


def test_a_remote_that_is_ahead_away_or_silent_is_told(ready: Project, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    ready.repo.git("clone", "--quiet", f"file://{ready.repo.path}", str(clone))
    ready.commit_state(GOOD + "  aiDailyLimit: 4\n")
    ahead = examined_at(clone, ready).row("git", "remote")
    assert ahead["verdict"] == "warning"
    assert f"its main is at {ready.repo.head[:12]}, which is not here" in ahead["saw"]
    assert ahead["commands"] == ["git pull origin"]
    other = GitRepo(clone)
    other.git("remote", "set-url", "origin", "https://robot:ghp-canary@127.0.0.1:1/x.git")
    away = examined_at(clone, ready)
    assert away.code == 0
    assert away.row("git", "remote")["saw"].startswith("origin does not answer: ")
    assert "canary" not in away.text


def test_a_remote_that_never_answers_costs_its_deadline(ready: Project) -> None:
    database = ready.database
    with line_to(database) as line:
        line.fall_silent()
        ready.repo.git("remote", "add", "origin", f"git://127.0.0.1:{line.port}/x.git")
        found = examined(ready, "--deadline", "2s")
    assert found.code == 0
    assert found.row("git", "remote")["saw"].endswith("no answer within 2 s")
    assert found.document["seconds"] < 15


def line_to(database: Database) -> FaultyLine:
    """A line to the database's server, to be broken."""
    host, _, port = database.url.rpartition("@")[2].partition("/")[0].partition(":")
    return FaultyLine(host, int(port))


# Privileges


def granted(project: Project) -> tuple[str, str]:
    """URLs of a planning and an applying role with the grants that `reconcile init` prints."""
    plan, apply = project.database.role("plan"), project.database.role("apply")
    printed = project.succeed("init", "--plan-role", plan.name, "--apply-role", apply.name).out
    project.database.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
    project.database.execute(printed)
    return plan.url, apply.url


def test_the_roles_that_init_grants_are_right_for_what_they_are_for(ready: Project) -> None:
    plan, apply = granted(ready)
    for found in (examined(ready, "--for", "plan", url=plan), examined(ready, url=apply)):
        assert found.code == 0
        assert {row["verdict"] for row in found.rows if row["part"] == "privileges"} == {"ok"}
        assert found.with_verdict("wrong", "unknown") == []
    lacking = examined(ready, url=plan)
    assert lacking.code == 4
    assert lacking.with_verdict("wrong") == [("privileges", "to apply")]
    too_much = examined(ready, "--for", "plan", url=apply)
    assert too_much.code == 0
    assert "write more than it needs to public.audit_logs" in too_much.row("privileges", "too much")["saw"]


@pytest.mark.parametrize("is_public_open", [True, False])
def test_the_grants_that_are_missing_are_printed_and_are_what_was_missing(ready: Project, is_public_open: bool) -> None:
    database = ready.database
    role = database.role("reader", grants=["SELECT (id, name) ON tenants"])
    if not is_public_open:
        database.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
    found = examined(ready, url=role.url)
    assert found.code == 4
    reads, writes = (found.row("privileges", name)["commands"] for name in ("to plan", "to apply"))
    assert (f'GRANT USAGE ON SCHEMA "public" TO "{role.name}";' in reads) is not is_public_open
    [tenants] = [statement for statement in reads if '"tenants"' in statement]
    assert '"aiPlan"' in tenants  # which state expects
    assert '"name"' not in tenants
    assert f'GRANT INSERT, UPDATE, DELETE ON "reconciler"."managed_row" TO "{role.name}";' in writes

    run_all(database, reads)
    planning = examined(ready, "--for", "plan", url=role.url)
    assert planning.code == 0
    assert {row["verdict"] for row in planning.rows if row["part"] == "privileges"} == {"ok"}
    ready.succeed("--dry-run", url=role.url)
    run_all(database, writes)
    applying = examined(ready, url=role.url)
    assert applying.code == 0
    assert {row["verdict"] for row in applying.rows if row["part"] == "privileges"} == {"ok"}
    ready.succeed(url=role.url)
    assert len(ready.entries()) == 1


def test_a_sequence_behind_a_default_is_granted_by_init_and_told_where_it_is_not(ready: Project) -> None:
    database = ready.database
    database.execute("ALTER TABLE audit_logs ADD COLUMN number bigserial")
    _, apply = granted(ready)
    name = apply.split("//")[1].split(":")[0]
    assert {row["verdict"] for row in examined(ready, url=apply).rows if row["part"] == "privileges"} == {"ok"}
    database.execute(f'REVOKE ALL ON SEQUENCE audit_logs_number_seq FROM "{name}"')
    found = examined(ready, url=apply)
    assert found.code == 4
    commands = found.row("privileges", "to apply")["commands"]
    assert commands == [f'GRANT USAGE ON SEQUENCE "public"."audit_logs_number_seq" TO "{name}";']
    assert ready.run(url=apply).code == 4
    run_all(database, commands)
    assert examined(ready, url=apply).code == 0
    ready.succeed(url=apply)
    assert len(ready.entries()) == 1


def test_what_is_granted_too_much_is_revoked_by_what_is_printed_and_all_that_is_needed_stays(ready: Project) -> None:
    database = ready.database
    _, apply = granted(ready)
    name = apply.split("//")[1].split(":")[0]
    group = database.role("group")
    run_all(
        database,
        [
            f'GRANT ALL ON tenants, audit_logs TO "{name}"',
            f'GRANT "{group.name}" TO "{name}"',
            f'GRANT SELECT ("smtpPass") ON system_settings TO "{group.name}"',
            f'GRANT UPDATE, DELETE ON reconciler.run TO "{group.name}"',
            "GRANT TRUNCATE ON system_settings TO PUBLIC",
            f'GRANT UPDATE ("name") ON tenants TO "{name}"',
        ],
    )
    found = examined(ready, url=apply)
    assert found.code == 0
    row = found.row("privileges", "too much")
    assert row["verdict"] == "warning"
    assert "read secrets of public.system_settings, public.tenants" in row["saw"]
    assert 'REVOKE TRUNCATE ON "public"."system_settings" FROM PUBLIC;' in row["commands"]
    assert f'REVOKE SELECT ("smtpPass") ON "public"."system_settings" FROM "{group.name}";' in row["commands"]
    assert f'REVOKE DELETE ON "reconciler"."run" FROM "{group.name}";' in row["commands"]
    run_all(database, row["commands"])
    mended = examined(ready, url=apply)
    assert mended.code == 0
    assert {row["verdict"] for row in mended.rows if row["part"] == "privileges"} == {"ok"}
    ready.succeed(url=apply)


def test_an_owner_a_superuser_and_a_member_of_a_role_that_reads_everything_are_told(ready: Project) -> None:
    database = ready.database
    _, apply = granted(ready)
    name = apply.split("//")[1].split(":")[0]
    assert "is a superuser" in examined(ready).row("privileges", "role")["saw"]
    run_all(database, [f'ALTER TABLE tenants OWNER TO "{name}"', f'GRANT pg_read_all_data TO "{name}"'])
    found = examined(ready, url=apply)
    assert found.code == 0
    assert "owns public.tenants" in found.row("privileges", "ownership")["saw"]
    assert found.row("privileges", "role")["commands"] == [f'REVOKE pg_read_all_data FROM "{name}";']
    run_all(database, ["ALTER TABLE tenants OWNER TO CURRENT_USER", *found.row("privileges", "role")["commands"]])
    lost = examined(ready, url=apply)  # a table takes what its owner may do with it
    run_all(database, [command for command in lost.commands if command.startswith("GRANT")])
    mended = examined(ready, url=apply)
    assert mended.code == 0
    assert {row["verdict"] for row in mended.rows if row["part"] == "privileges"} == {"ok"}


def test_row_security_that_hides_rows_is_told_with_the_policy_that_shows_them(ready: Project) -> None:
    database = ready.database
    _, apply = granted(ready)
    database.execute("ALTER TABLE tenants ENABLE ROW LEVEL SECURITY")
    found = examined(ready, url=apply)
    row = found.row("privileges", "row security")
    assert row["verdict"] == "warning"
    assert found.code == 3  # the row that git names is not there
    run_all(database, row["commands"])
    assert examined(ready, url=apply).code == 0


def test_a_name_that_needs_quotes_is_quoted(ready: Project) -> None:
    role = ready.database.role('odd"one; --')
    with ready.database.connect() as connection:
        connection.execute(sql.SQL("GRANT USAGE ON SCHEMA reconciler TO {}").format(sql.Identifier(role.name)))
    found = examined(ready, url=role.url)
    run_all(ready.database, found.row("privileges", "to plan")["commands"])
    assert examined(ready, "--for", "plan", url=role.url).code == 0


# The database is away


def test_a_database_that_is_down_leaves_the_other_rows(ready: Project) -> None:
    with line_to(ready.database) as line:
        line.refuse()
        found = examined(ready, url=f"postgresql://me:pass-canary@127.0.0.1:{line.port}/x")
    assert found.code == 4
    assert "refuses the connection" in found.row("database", "connection")["saw"]
    assert found.verdict("git", "revision") == "ok"
    assert found.verdict("redis", "REDIS_URL") == "warning"
    assert {found.verdict(*of) for of in (("privileges", "role"), ("ledger", "version"))} == {"unknown"}
    assert "canary" not in found.text


def test_a_database_that_never_answers_costs_its_deadline(ready: Project) -> None:
    with line_to(ready.database) as line:
        line.fall_silent()
        found = examined(ready, "--deadline", "1s", url=line.url_through(ready.database.url))
    assert found.code == 4
    assert found.document["seconds"] < 15


def test_a_database_that_falls_silent_in_the_middle_is_given_up(ready: Project) -> None:
    with line_to(ready.database) as line:
        line.hold_before(b"pg_is_in_recovery(), now()")
        found = examined(ready, "--deadline", "1s", url=line.url_through(ready.database.url))
    assert found.code == 4
    assert found.verdict("git", "revision") == "ok"
    assert any("no answer within 1 s" in row["saw"] for row in found.rows)


def test_no_address_and_a_wrong_password_are_told_apart(ready: Project) -> None:
    unset = cli.run("doctor", cwd=ready.directory)
    assert unset.code == 64
    assert "DATABASE_URL is not set" in unset.out
    role = ready.database.role("someone", "right-one")
    refused = examined(ready, url=with_user(ready.database.url, role.name, "wrong-canary"))
    assert refused.code in (0, 4)  # a server that trusts everybody asks for none
    assert "canary" not in refused.text
    nowhere = examined(ready, url=with_database(ready.database.url, "nowhere"))
    assert nowhere.code == 4
    assert 'there is no database "nowhere"' in nowhere.row("database", "connection")["saw"]


def test_no_secret_is_ever_printed(ready: Project) -> None:
    _, apply = granted(ready)
    environment = {
        "REDIS_URL": "redis://robot:redis-canary@127.0.0.1:1/0",
        "DIRECT_URL": "postgresql://me:direct-canary@127.0.0.1:1/x",
        "GITHUB_TOKEN": "token-canary",
    }
    for form in ("text", "json", "markdown"):
        done = ready.run("doctor", "--output", form, url=apply, environment=environment)
        assert done.code == 0
        assert "canary" not in done.out + done.err
        assert not any(secret in done.out for secret in SECRETS.values())
    assert BOB not in done.out
