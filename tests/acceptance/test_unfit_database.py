"""What a command does about databases, roles and connections that are not as they should be: a sentence, the exit code,
no traceback, no password or secret, and not one row changed in any table.
"""

from __future__ import annotations

import socket
import time
from pathlib import Path

import psycopg
import pytest

from reconciler.apply import LOCK_KEY
from reconciler.ledger_schema import VERSION
from tests.support.postgres import with_user
from tests.support.project import ACME, BOB, SECRETS, Project, snapshot
from tests.support.refusals import assert_clean, assert_plainly_refused, nothing_changes

GOOD = f"{ACME}:\n  isAiEnabled: false\n"


# The database is not as the schemas say

TENANTS, POLICY = "schemas/tenants.yaml", "schemas/policy.yaml"

UNFIT = {
    "no table": (
        "DROP TABLE system_settings", ("schemas/system_settings.yaml", "table: system_settings"), "no table"
    ),
    "no audit table": ("ALTER TABLE audit_logs RENAME TO logs", (POLICY, "table: audit_logs"), "audit_logs"),
    "no column": (
        'ALTER TABLE tenants RENAME "aiDailyLimit" TO "aiDailyLimits"', (TENANTS, "aiDailyLimit:"),
        'did you mean "aiDailyLimits"?',
    ),
    "no secret column": (
        'ALTER TABLE tenants DROP COLUMN "stripeCustomerId"', (TENANTS, "stripeCustomerId"), "stripeCustomerId"
    ),
    "no audit column": ("ALTER TABLE audit_logs RENAME metadata TO data", (POLICY, "metadata:"), "metadata"),
    "no touch column": ('ALTER TABLE tenants DROP COLUMN "updatedAt"', (TENANTS, "touch:"), "updatedAt"),
    "another type": (
        'ALTER TABLE tenants ALTER "aiDailyLimit" TYPE text', (TENANTS, "type:", "aiDailyLimit:"), "text in the data"
    ),
    "an enum value that is lacking": (
        """ALTER TYPE "TenantStatus" RENAME VALUE 'SUSPENDED' TO 'PAUSED'""", (TENANTS, "values:", "status:"),
        'lacks the value "SUSPENDED"; it has ACTIVE, PAUSED, ARCHIVED',
    ),
    "a nullable field that is not": (
        'ALTER TABLE tenants ALTER "aiCustomModel" SET NOT NULL', (TENANTS, "nullable:", "aiCustomModel:"), "NOT NULL"
    ),
    "a key that is not unique": (
        "ALTER TABLE system_settings DROP CONSTRAINT system_settings_pkey", ("schemas/system_settings.yaml", "key: id"),
        'so two rows may have one key (ALTER TABLE public.system_settings ADD UNIQUE ("id");)'
    ),
    "an audit column that nobody fills": (
        "ALTER TABLE audit_logs ADD more text NOT NULL", (POLICY, "columns:"), "audit_logs.more is NOT NULL"
    ),
}  # fmt: skip


@pytest.mark.parametrize(("change", "place", "said"), UNFIT.values(), ids=UNFIT)
def test_a_database_that_does_not_fit_is_told_with_the_line_that_disagrees(
    project: Project, change: str, place: tuple[str, ...], said: str
) -> None:
    database = project.database
    database.execute("DELETE FROM audit_logs; DELETE FROM tenants WHERE id = 'SYSTEM'")
    database.execute("""UPDATE tenants SET "aiCustomModel" = 'gpt'""")
    project.state(GOOD)
    project.commit()
    database.execute(change)
    with nothing_changes(database):
        assert_plainly_refused(project.run(), 4, project.place(*place), said)


def test_a_number_that_the_column_cannot_hold_is_told_with_its_place(project: Project) -> None:
    project.database.execute("""ALTER TABLE tenants ALTER "aiDailyLimit" TYPE smallint""")
    project.edit_schema("tenants", "    max: 999999\n", "")
    project.state(f"{ACME}:\n  aiDailyLimit: 40000\n")
    project.commit()
    for arguments in (["--dry-run"], ["--yes"]):
        assert_plainly_refused(project.run(*arguments), 3, "state/tenants.yaml:2:17", "40000 is out of its range")


def test_a_number_that_the_column_could_not_hold_later_is_told_now(project: Project) -> None:
    project.edit_schema("tenants", "AI requests a day\n    min: 1\n    max: 999999\n", "AI requests a day\n")
    project.state(
        f"{ACME}:\n  aiDailyLimit: {{value: 5, until: 2999-01-01T00:00:00Z, then: 3000000000}}\n"
        f"{BOB}:\n  isAiEnabled: false\n"
    )
    said = ("state/tenants.yaml:2:25", "integer: `then`: 3000000000 is out of its range")
    assert_plainly_refused(project.run("--dry-run"), 3, *said)


def test_a_reason_that_no_database_can_hold_is_told_with_its_place(project: Project) -> None:
    project.commit_state(f'{ACME}:\n  aiDailyLimit:\n    value: 5\n    reason: "INC\\0 142"\n')
    for arguments in (["validate"], ["--dry-run"], ["--yes"]):
        assert_plainly_refused(project.run(*arguments), 3, "state/tenants.yaml:4:13", "NUL")


def test_without_a_ledger_it_is_planned_and_not_applied(project: Project) -> None:
    project.database.execute("DROP SCHEMA reconciler CASCADE")
    project.state(GOOD)
    project.commit()
    planned = project.succeed("--dry-run")
    assert "no ledger yet" in planned.out
    with nothing_changes(project.database):
        assert_plainly_refused(project.run(), 4, "has no ledger", "reconcile init")
        assert_plainly_refused(project.run("history"), 4, "has no ledger", "reconcile init")


def test_a_ledger_of_a_newer_program_is_left_alone(project: Project) -> None:
    project.database.execute("UPDATE reconciler.meta SET version = version + 1")
    project.state(GOOD)
    project.commit()
    with nothing_changes(project.database):
        for arguments in ([], ["--dry-run"], ["history"]):
            assert_plainly_refused(project.run(*arguments), 4, f"version {VERSION + 1}", "newer reconcile")
        assert f"version {VERSION + 1} is there" in project.run("init").err


def test_without_the_system_row_a_change_of_settings_is_not_applied(project: Project) -> None:
    project.database.execute("DELETE FROM audit_logs; DELETE FROM tenants WHERE id = 'SYSTEM'")
    project.state("system:\n  maxMessagesPerHour: 5\n", "system_settings.yaml")
    project.state(GOOD)
    project.commit()
    with nothing_changes(project.database):
        place = project.place(POLICY, "without_tenant:")
        assert_plainly_refused(project.run(), 4, place, "no row SYSTEM", "reconcile init")
    project.succeed("--table", "tenants")
    project.succeed("init")
    project.succeed()
    assert project.entries()[-1]["tenantId"] == "SYSTEM"


def test_an_entry_that_the_platform_refuses_rolls_everything_back(project: Project) -> None:
    project.database.execute(
        """
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
            $$BEGIN IF NEW.metadata ->> 'key' LIKE '8a6e%' THEN RAISE 'not you'; END IF; RETURN NEW; END$$;
        CREATE TRIGGER refuse BEFORE INSERT ON audit_logs FOR EACH ROW EXECUTE FUNCTION refuse();
        """
    )
    project.state(f"{GOOD}{BOB}:\n  aiDailyLimit: 1\n")
    project.commit()
    with nothing_changes(project.database):
        assert_plainly_refused(project.run(), 1, "the database refused while applying: not you")


def test_an_audit_table_that_swallows_entries_rolls_everything_back(project: Project) -> None:
    project.database.execute("CREATE RULE swallow AS ON INSERT TO audit_logs DO INSTEAD NOTHING")
    project.state(GOOD)
    project.commit()
    with nothing_changes(project.database):
        assert_plainly_refused(project.run(), 1, "nothing was applied")


def test_a_trigger_that_undoes_the_change_rolls_everything_back(project: Project) -> None:
    project.database.execute(
        """
        CREATE FUNCTION skip() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NULL; END$$;
        CREATE TRIGGER skip BEFORE UPDATE ON tenants FOR EACH ROW EXECUTE FUNCTION skip();
        """
    )
    project.state(GOOD)
    project.commit()
    with nothing_changes(project.database):
        assert_plainly_refused(project.run(), 1, "trigger", "Nothing was applied")


# Roles


def granted(project: Project, *, password: str = "s3cr3t-pass") -> tuple[str, str]:
    """Two roles with exactly the grants that `reconcile init` prints; the URLs of the planning and the applying one."""
    database = project.database
    plan, apply = database.role("plan", password), database.role("apply", password)
    printed = project.succeed("init", "--plan-role", plan.name, "--apply-role", apply.name).out
    database.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
    database.execute(printed)
    return plan.url, apply.url


def attempt(url: str, statement: str) -> str:
    """The SQLSTATE with which a statement is refused; empty where it is carried out (and rolled back)."""
    connection = psycopg.connect(url)
    try:
        connection.execute(statement.encode())
        return ""
    except psycopg.Error as error:
        return error.sqlstate or "?"
    finally:
        connection.rollback()
        connection.close()


def test_the_grants_that_init_prints_are_enough_and_no_more(project: Project) -> None:
    project.database.user("ann@example.org", BOB)
    project.database.execute("DELETE FROM system_settings")
    expected = "$expect: {name: Acme Bakery, aiPlan: FREE}"
    project.state(f"{ACME}:\n  {expected}\n  isAiEnabled: false\n  aiDailyLimit: 3\n  isWhatsappEnabled: false\n")
    project.state("system:\n  maxMessagesPerHour: 5\n", "system_settings.yaml")
    project.commit()
    plan, apply = granted(project)

    with nothing_changes(project.database):
        assert "isAiEnabled" in project.succeed("--dry-run", url=plan).out
        project.succeed("drift", url=plan)
        assert_plainly_refused(project.run(url=plan), 4, "may not update")
    project.succeed(url=apply)
    assert len(project.entries()) == 4
    assert project.entries()[0]["actorUserId"] is not None
    project.succeed(url=apply)
    project.succeed("--dry-run", url=plan)
    project.succeed("history", url=plan)
    until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
    project.succeed("freeze", "--until", until, "--reason", "a try", url=apply)
    project.succeed("--dry-run", url=plan)
    project.succeed("unfreeze", "--reason", "enough", url=apply)
    project.state(f"{ACME}:\n  isAiEnabled: false\n")
    project.commit("Release a field")
    project.succeed(url=apply)
    assert "REDIS_URL is not set" in project.run("deliver", url=apply).out
    assert "1 waiting since" in project.succeed("status", url=plan).out

    tables = ["tenants", "users", "audit_logs", "ai_usage_logs", "system_settings"]
    ledger = [name for name in snapshot(project.database) if name.startswith("reconciler.")]
    for table in (*tables, *ledger):
        assert attempt(plan, f"DELETE FROM {table}") == "42501"
        assert attempt(plan, f"INSERT INTO {table} DEFAULT VALUES") == "42501"
    assert attempt(plan, 'UPDATE tenants SET "isAiEnabled" = true') == "42501"
    assert attempt(plan, "UPDATE reconciler.meta SET movable_clock = true") == "42501"
    for url in (plan, apply):
        for column in (*(f'"{name}"' for name in SECRETS), "*"):
            assert attempt(url, f"SELECT {column} FROM system_settings") == "42501"
        assert attempt(url, 'SELECT "stripeCustomerId" FROM tenants') == "42501"
        assert attempt(url, 'SELECT "passwordHash" FROM users') == "42501"
        assert attempt(url, "CREATE TABLE reconciler.mine ()") == "42501"
    for table in tables:
        assert attempt(apply, f"DELETE FROM {table}") == "42501"
    assert attempt(apply, "UPDATE audit_logs SET metadata = NULL") == "42501"
    assert attempt(apply, "UPDATE tenants SET name = 'x'") == "42501"
    assert attempt(apply, "INSERT INTO tenants (id) VALUES ('x')") == "42501"
    for table in ledger:
        may_not_add = attempt(apply, f"INSERT INTO {table} DEFAULT VALUES") == "42501"
        assert may_not_add == (table == "reconciler.meta"), table
    # The memory cannot be rewritten, and its clock not moved.
    for statement in (
        "UPDATE reconciler.meta SET movable_clock = true",
        "UPDATE reconciler.run SET actor = 'nobody'",
        "UPDATE reconciler.change SET after = 'true'",
        *(f"DELETE FROM reconciler.{table}" for table in ("run", "change", "mark", "freeze", "meta")),
    ):
        assert attempt(apply, statement) == "42501", statement


AUDIT_COLUMNS = '(id, "tenantId", "actorUserId", "eventType", metadata, timestamp)'

REVOKED = {
    "no UPDATE": (
        'REVOKE UPDATE ("isAiEnabled") ON tenants FROM {role}',
        ["state/tenants.yaml:2:16: role", "may not update public.tenants.isAiEnabled", "GRANT UPDATE"],
    ),
    "no UPDATE on the touched column": (
        'REVOKE UPDATE ("updatedAt") ON tenants FROM {role}',
        ["schemas/tenants.yaml:", "may not update public.tenants.updatedAt"],
    ),
    "no SELECT": (
        'REVOKE SELECT ("aiDailyLimit") ON tenants FROM {role}',
        ["schemas/tenants.yaml:", "may not read public.tenants.aiDailyLimit", "GRANT SELECT"],
    ),
    "no INSERT of audit entries": (
        f"REVOKE INSERT {AUDIT_COLUMNS} ON audit_logs FROM {{role}}",
        ["schemas/policy.yaml:", "may not write public.audit_logs.metadata", "GRANT INSERT"],
    ),
    "no INSERT into the ledger": ("REVOKE INSERT ON reconciler.change FROM {role}", ["change", "reconcile init"]),
    "no ledger to read": ("REVOKE USAGE ON SCHEMA reconciler FROM {role}", ["reconciler", "reconcile init"]),
    "no users to read": ("REVOKE SELECT (id, email) ON users FROM {role}", ["schemas/policy.yaml:", "public.users.id"]),
    "no schema": ("REVOKE USAGE ON SCHEMA public FROM {role}", ["schemas/tenants.yaml:", "can see"]),
}


@pytest.mark.parametrize(("revoke", "said"), REVOKED.values(), ids=REVOKED)
def test_a_privilege_that_is_missing_is_named(project: Project, revoke: str, said: list[str]) -> None:
    _, apply = granted(project)
    role = apply.split("//")[1].split(":")[0]
    project.database.execute(revoke.format(role=f'"{role}"'))
    project.state(GOOD)
    project.commit()
    with nothing_changes(project.database):
        assert_plainly_refused(project.run(url=apply), 4, *said)


# Locks


def test_who_locks_a_row_is_said(project: Project) -> None:
    project.state(GOOD)
    project.commit()
    with psycopg.connect(project.database.url, application_name="colleague's psql") as other:
        other.execute("SELECT 1 FROM tenants WHERE id = %s FOR UPDATE", [ACME])
        with nothing_changes(project.database):
            started = time.monotonic()
            done = project.run("--lock-timeout", "0.3s")
            assert time.monotonic() - started < 9  # ten are the default
        pid = other.info.backend_pid
    assert_plainly_refused(done, 1, "a lock was not free in time", f"pid {pid} (colleague's psql", "--lock-timeout")
    project.succeed()


def test_who_else_applies_is_said(project: Project) -> None:
    project.state(GOOD)
    project.commit()
    with psycopg.connect(project.database.url, application_name="reconcile") as other:
        other.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK_KEY])
        with nothing_changes(project.database):
            done = project.run("--lock-timeout", "0.3s")
            assert_plainly_refused(done, 1, f"pid {other.info.backend_pid} (reconcile, role")
            project.succeed("--dry-run")


def test_a_kill_does_not_wait_for_a_row_that_it_does_not_touch(project: Project) -> None:
    project.state(GOOD)
    project.commit()
    with psycopg.connect(project.database.url) as other:
        other.execute("SELECT 1 FROM tenants WHERE id = %s FOR UPDATE", [BOB])
        project.succeed("--lock-timeout", "0.3s")


# Connections


def test_a_database_that_nobody_listens_for_is_told_at_once(project: Project) -> None:
    project.state(GOOD)
    project.commit()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    url = f"postgresql://admin:hunter2@127.0.0.1:{port}/platform"
    for arguments in ([], ["--dry-run"], ["history"], ["drift"], ["init"]):
        done = project.run(*arguments, url=url)
        assert_plainly_refused(done, 4, "DATABASE_URL", f"127.0.0.1:{port}")
        assert "hunter2" not in done.err


def test_a_database_that_does_not_answer_is_given_up_within_the_timeout(project: Project) -> None:
    project.state(GOOD)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://admin:hunter2@127.0.0.1:{silent.getsockname()[1]}/platform"
        started = time.monotonic()
        done = project.run("--dry-run", "--connect-timeout", "1s", url=url)
        assert time.monotonic() - started < 9  # ten are the default
    assert_plainly_refused(done, 4, "did not answer")
    assert "hunter2" not in done.err


def test_wait_keeps_trying_until_the_database_answers_or_the_time_is_up(project: Project) -> None:
    project.state(GOOD)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    done = project.run(
        "--dry-run", "--connect-timeout", "0.5s", "--wait", "1.5s", url=f"postgresql://a:hunter2@127.0.0.1:{port}/x"
    )
    assert_plainly_refused(done, 4, "Trying again in 1 s", "of trying")


def test_a_wrong_password_is_told_and_not_shown(project: Project) -> None:
    project.state(GOOD)
    role = project.database.role("someone", "right-one")
    url = with_user(project.database.url, role.name, "wr0ng-p@ss/word")
    if not attempt_to_connect(url):
        pytest.skip("this server trusts everybody")
    for arguments in (["--dry-run"], ["init"]):
        done = project.run(*arguments, url=url)
        assert_plainly_refused(done, 4, "password")
        for text in ("wr0ng", "p@ss", "p%40ss", "right-one"):
            assert text not in done.err


def attempt_to_connect(url: str) -> bool:
    """Whether the server asks for a password at all."""
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        return True
    return False


@pytest.mark.parametrize(
    "url", ["mysql://root:hunter2@db/x", "hunter2", "postgresql://a:hunter2@[::1", "postgresql://a:hunter2@h:99999/x"]
)
def test_an_address_that_is_none_is_told_without_its_password(project: Project, url: str) -> None:
    project.state(GOOD)
    done = project.run("--dry-run", url=url)
    assert done.code in (4, 64), str(done)
    assert_clean(done)
    assert "DATABASE_URL" in done.err
    assert "hunter2" not in done.err


def test_secrets_stay_out_of_every_output(project: Project, tmp_path: Path) -> None:
    project.state(GOOD)
    project.state("system:\n  maxMessagesPerHour: 5\n", "system_settings.yaml")
    project.commit()
    file = str(tmp_path / "plan.json")
    for arguments in (
        ["--dry-run", "--output", "json", "--plan-out", file], ["--dry-run", "--output", "markdown"], ["drift"],
        ["import", "--stdout"], ["--output", "json"], ["history", "--output", "json"], ["init"], ["validate"],
    ):  # fmt: skip
        assert_clean(project.succeed(*arguments))
    assert "canary" not in Path(file).read_text()
    rows = [row for name, rows in snapshot(project.database).items() if "reconciler" in name for row in rows]
    assert not [row for row in rows if "canary" in row]


def test_a_row_that_row_level_security_hides_is_not_said_to_be_deleted(project: Project) -> None:
    project.commit_state(GOOD)
    project.succeed()
    reader = project.database.role("reader", grants=["SELECT ON ALL TABLES IN SCHEMA public, reconciler"])
    project.database.execute(f'GRANT USAGE ON SCHEMA reconciler TO "{reader.name}"')
    project.database.execute("ALTER TABLE tenants ENABLE ROW LEVEL SECURITY")
    done = project.run("--dry-run", environment={"DATABASE_URL": reader.url})
    assert done.code == 3
    assert f'no row with key "{ACME}" that role {reader.name} can see (row-level security may hide it' in done.err
    project.database.execute("CREATE POLICY all_rows ON tenants USING (true)")
    assert project.run("--dry-run", environment={"DATABASE_URL": reader.url}).code == 0
