"""A new repository is valid from its first commit on, with a database or without; its workflows pass their linters."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.documents import read_document
from reconciler.errors import Problem
from reconciler.project import read_work_tree
from reconciler.scaffold.guesses import killed_values, looks_like_a_counter, looks_like_a_limit, looks_secret, off_value
from reconciler.scaffold.origin import requirement_of
from reconciler.scaffold.yaml_words import word
from reconciler.scalars import to_json
from tests.support.cli import Finished, run
from tests.support.postgres import Database

SQL = """
CREATE TYPE mood AS ENUM ('open', 'closed', 'on', 'very: odd');
CREATE SCHEMA depot;
CREATE TABLE shops (
    code             varchar(20) PRIMARY KEY,
    "Title"          text NOT NULL,
    "isOpen"         boolean NOT NULL DEFAULT true,
    blocked          boolean,
    "passwordHash"   text NOT NULL DEFAULT '',
    smtp_pass        text,
    "stripeApiKey"   text,
    "passwordReset"  boolean NOT NULL DEFAULT true,
    seats_limit      int NOT NULL DEFAULT 5 CHECK (seats_limit >= 1 AND seats_limit < 1000),
    odd              int CHECK (odd > 5 OR odd < 0),
    price            numeric(12, 3) NOT NULL DEFAULT 0,
    stars            numeric(2, 0),
    mood             mood NOT NULL DEFAULT 'open',
    plan             text NOT NULL DEFAULT 'free' CHECK (plan IN ('free', 'it''s paid', 'suspended')),
    motto            varchar(80),
    badge            uuid,
    renewed          timestamptz,
    extras           jsonb,
    tags             text[] NOT NULL DEFAULT '{}',
    moods            mood[],
    usage_count      bigint NOT NULL DEFAULT 0,
    photo            bytea,
    "$odd"           text,
    loud             text GENERATED ALWAYS AS (upper(motto)) STORED,
    "no"             text,
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE people (id uuid PRIMARY KEY, mail text NOT NULL);
CREATE TABLE desks (
    number int PRIMARY KEY, shop varchar(20) NOT NULL REFERENCES shops, lit boolean NOT NULL, UNIQUE (number, shop)
);
CREATE TABLE depot.boxes (box_id bigint UNIQUE NOT NULL, active boolean NOT NULL DEFAULT true);
CREATE TABLE settings (name text PRIMARY KEY, enabled boolean NOT NULL DEFAULT true);
CREATE TABLE keyless (enabled boolean);
CREATE TABLE audit_events (
    id uuid PRIMARY KEY, shop_owner text NOT NULL REFERENCES shops (code), org_id varchar(20) REFERENCES shops,
    author uuid REFERENCES people, action text NOT NULL, data jsonb, payload jsonb NOT NULL, at timestamptz NOT NULL
);
"""
WHO = {"GIT_AUTHOR_NAME": "Olu", "GIT_AUTHOR_EMAIL": "olu@example.org", "GIT_COMMITTER_NAME": "Olu",
       "GIT_COMMITTER_EMAIL": "olu@example.org"}  # fmt: skip
INSTALL = "git+https://git.example.org/reconcile@v1.2.3"


@pytest.fixture
def live(empty_database: Database) -> Database:
    empty_database.execute(SQL)
    return empty_database


def linter(name: str) -> str:
    """A linter that stands beside this Python, or on the PATH."""
    found = shutil.which(name, path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    assert found is not None, f"{name} is part of the extra `test`"
    return found


def succeed(*arguments: str, cwd: Path, database: str | None = None) -> Finished:
    done = run(*arguments, cwd=cwd, database=database, environment=WHO)
    assert done.code == 0, str(done)
    return done


def check_all(made: Path) -> None:
    """Everything that its own workflow checks, and the linters of workflows."""
    succeed("validate", cwd=made)
    succeed("schema", "--check", cwd=made)
    workflows = sorted((made / ".github" / "workflows").glob("*.yml"))
    assert [file.name for file in workflows] == ["apply.yml", "approvals.yml", "drift.yml", "plan.yml"]
    action = made / ".github" / "actions" / "reconcile" / "action.yml"
    for command in (
        [linter("actionlint"), *map(str, workflows)],
        [linter("zizmor"), "--offline", *map(str, workflows), str(action)],
    ):
        done = subprocess.run(command, cwd=made, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def uncommented(text: str, *, deeper: str = "") -> str:
    """A state file's example with its # taken away."""
    lines = [line.removeprefix("#").removeprefix(" ") for line in text.splitlines()[2:-1]]
    return "\n".join(deeper + line for line in lines)


def test_without_a_database_an_invented_table_is_written_that_is_valid_at_once(tmp_path: Path) -> None:
    done = succeed("new", "ours", "--install", INSTALL, cwd=tmp_path)
    assert "is invented" in done.err
    made = tmp_path / "ours"
    check_all(made)
    (table,) = read_work_tree(made).definitions.tables.values()
    assert table.fields["messaging_enabled"].is_killed(False), "of an invented table the kill side is known"
    assert table.secret == {"webhook_secret"}
    for name in ("README.md", ".gitignore", ".github/CODEOWNERS", "requirements.txt", "schemas/json/plan.schema.json"):
        assert (made / name).is_file(), name
    assert not (made / ".git").exists()


def test_the_example_of_a_state_file_is_valid_once_it_is_no_comment(tmp_path: Path, live: Database) -> None:
    succeed("new", "invented", cwd=tmp_path)
    succeed("new", "drawn", "--from-database", "--table", "shops", "--table", "desks", cwd=tmp_path, database=live.url)
    for made in (tmp_path / "invented", tmp_path / "drawn"):
        for state in (made / "state").glob("*.yaml"):
            text = state.read_text()
            assert to_json_or_none(text) is None, "as it stands, it manages nothing"
            state.write_text(uncommented(text))
        rows = read_work_tree(made).desired
        assert all(len(of_table) == 1 for of_table in rows.values())
        assert all(len(row.values) in (1, 2) for of_table in rows.values() for row in of_table.values())


def to_json_or_none(text: str) -> object:
    problems: list[Problem] = []
    document = read_document("state/x.yaml", text.encode(), problems)
    assert problems == []
    return to_json(document.root) if document is not None and document.root is not None else None


def test_schemas_are_drawn_from_the_live_columns(tmp_path: Path, live: Database) -> None:
    succeed("new", "ours", "--from-database", "--table", "shops", cwd=tmp_path, database=live.url)
    made = tmp_path / "ours"
    check_all(made)
    text = (made / "schemas" / "shops.yaml").read_text()
    definition = to_json_or_none(text)
    assert isinstance(definition, dict)
    assert {name: value for name, value in definition.items() if name != "fields"} == {
        "table": "shops", "key": "code", "label": "Title", "touch": "updated_at", "missing_row": "error",
        "audit": {"event": "SHOPS_RECONCILED", "tenant": "code"},
        "secret": ["passwordHash", "smtp_pass", "stripeApiKey"],
    }  # fmt: skip
    assert definition["fields"] == {
        "Title": {"type": "string"},
        "isOpen": {"type": "boolean"},
        "blocked": {"type": "boolean", "nullable": True},
        "passwordReset": {"type": "boolean"},
        "seats_limit": {"type": "integer", "min": 1, "max": 999},
        "odd": {"type": "integer", "nullable": True},
        "price": {"type": "number"},
        "stars": {"type": "integer", "nullable": True},
        "mood": {"type": "enum", "values": ["open", "closed", "on", "very: odd"]},
        "plan": {"type": "enum", "values": ["free", "it's paid", "suspended"]},
        "motto": {"type": "string", "max_length": 80, "nullable": True},
        "badge": {"type": "string", "pattern": "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", "nullable": True},
        "renewed": {"type": "timestamp", "nullable": True},
        "extras": {"type": "json", "nullable": True},
        "tags": {"type": "array", "items": {"type": "string"}},
        "moods": {"type": "array", "items": {"type": "enum", "values": ["open", "closed", "on", "very: odd"]},
                  "nullable": True},
        "no": {"type": "string", "nullable": True},
    }  # fmt: skip
    left_out = dict(re.findall(r"^#   (\S+) (.+)$", text.partition("# Left out:")[2], re.MULTILINE))
    assert left_out == {
        "usage_count": "looks like a counter of the application's",
        "photo": "is bytea, which no type of field holds",
        "$odd": "begins with $, as directives do",
        "loud": "is generated by the database",
        "created_at": "is the application's to set",
    }


def test_kill_sides_are_guessed_as_comments_that_can_be_taken_at_their_word(tmp_path: Path, live: Database) -> None:
    succeed("new", "ours", "--from-database", "--table", "shops", cwd=tmp_path, database=live.url)
    file = tmp_path / "ours" / "schemas" / "shops.yaml"
    fields = read_work_tree(tmp_path / "ours").definitions.tables["shops"].fields
    assert not any(getattr(field, "kill", None) for field in fields.values()), "nothing is guarded by a guess"
    file.write_text(file.read_text().replace("    # kill:", "    kill:"))
    fields = read_work_tree(tmp_path / "ours").definitions.tables["shops"].fields
    kills = {
        name: field.kill for name, field in fields.items() if hasattr(field, "kill") and field.kill not in (None, [])
    }
    assert kills == {
        "isOpen": False,
        "blocked": True,
        "seats_limit": "lower",
        "mood": ["closed"],
        "plan": ["suspended"],
    }


def test_the_audit_table_is_found_and_its_columns_are_guessed(tmp_path: Path, live: Database) -> None:
    tables = ("--table", "shops", "--table", "desks", "--table", "settings", "--table", "depot.boxes")
    succeed("new", "ours", "--from-database", *tables, cwd=tmp_path, database=live.url)
    definitions = read_work_tree(tmp_path / "ours").definitions
    audit = definitions.policy.audit
    assert (audit.table, audit.columns) == (
        "audit_events",
        {
            "id": "$uuid",
            "org_id": "$tenant",
            "author": "$actor",
            "action": "$event",
            "payload": "$metadata",
            "at": "$now",
        },
    )
    assert audit.actor is not None
    assert (audit.actor.table, audit.actor.id, audit.actor.email) == ("people", "id", "mail")
    assert {name: table.definition.audit.tenant for name, table in definitions.tables.items()} == {
        "boxes": None, "desks": "shop", "settings": None, "shops": "code",
    }  # fmt: skip
    assert (definitions.tables["boxes"].definition.schema, definitions.tables["boxes"].definition.key) == (
        "depot", "box_id",
    )  # fmt: skip
    assert audit.without_tenant is not None
    text = (tmp_path / "ours" / "schemas" / "policy.yaml").read_text()
    assert "# shop_owner must be filled, too: it is NOT NULL and has no default" in text


def test_the_row_that_lends_a_tenant_is_proposed_as_it_can_stand(tmp_path: Path, live: Database) -> None:
    succeed("new", "ours", "--from-database", "--table", "settings", cwd=tmp_path, database=live.url)
    file = tmp_path / "ours" / "schemas" / "policy.yaml"
    file.write_text(re.sub(r"^  # (  .*)$", r"  \1", file.read_text(), flags=re.MULTILINE))
    without = read_work_tree(tmp_path / "ours").definitions.policy.audit.without_tenant
    assert without is not None
    assert without.create is not None
    assert (without.create.table, without.create.key) == ("shops", "code")
    assert without.create.row == {"code": "SYSTEM", "Title": "Nobody"}


def test_from_a_drawn_schema_to_a_plan_is_three_commands(tmp_path: Path, database: Database) -> None:
    tenant = database.tenant(name="Acme Bakery")
    database.settings()
    tables = ("--table", "tenants", "--table", "users")
    succeed("new", "ours", "--from-database", *tables, "--git", cwd=tmp_path, database=database.url)
    made = tmp_path / "ours"
    succeed("init", cwd=made, database=database.url)
    succeed("import", "--only", f"tenants/{tenant}", cwd=made, database=database.url)
    plan = json.loads(succeed("--dry-run", "--output", "json", cwd=made, database=database.url).out)
    assert plan["counts"]["changes"] == 0
    assert plan["counts"]["recorded"] > 5


def test_git_makes_a_first_commit_in_which_everything_is_committed(tmp_path: Path) -> None:
    done = succeed("new", "ours", "--git", cwd=tmp_path)
    made = tmp_path / "ours"
    head = subprocess.run(["git", "log", "--format=%h %an", "--abbrev=12"], cwd=made, capture_output=True, text=True)
    assert head.stdout.split()[0] in done.out
    assert head.stdout.endswith("Olu\n")
    assert subprocess.run(["git", "status", "--short"], cwd=made, capture_output=True).stdout == b""
    assert subprocess.run(["git", "branch", "--show-current"], cwd=made, capture_output=True).stdout == b"main\n"


def test_a_clone_of_an_empty_repository_can_be_filled(tmp_path: Path) -> None:
    made = tmp_path / "ours"
    subprocess.run(["git", "init", "--quiet", "--initial-branch=trunk", str(made)], check=True)
    succeed("new", "ours", "--git", cwd=tmp_path)
    assert subprocess.run(["git", "branch", "--show-current"], cwd=made, capture_output=True).stdout == b"trunk\n"


def test_where_git_does_not_know_who_commits_nothing_is_written(tmp_path: Path) -> None:
    done = run("new", "ours", "--git", cwd=tmp_path, environment={"HOME": str(tmp_path)})
    assert done.code == 1
    assert "git config user.email" in done.err
    assert not (tmp_path / "ours").exists()


def test_a_directory_that_is_not_empty_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours" / "notes.txt").write_text("mine")
    done = run("new", "ours", cwd=tmp_path)
    assert (done.code, done.out) == (1, "")
    assert "not empty (notes.txt)" in done.err
    assert [file.name for file in (tmp_path / "ours").iterdir()] == ["notes.txt"]
    assert run("new", "ours/notes.txt", cwd=tmp_path).code == 1


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--table", "shops"], 64, "--from-database"),
        (["--audit-table", "shops"], 64, "--from-database"),
        (["--install", "-r evil.txt"], 64, "--install"),
        (["--install", "x\ny"], 64, "--install"),
        (["--install", "git+https://me:hunter2@git.example.org/x@v1"], 64, "password"),
        (["--owner", "nobody"], 64, "--owner"),
        (["--from-database"], 64, "audit_events, desks, keyless, people, settings, shops"),
        (["--from-database", "--table", "shop"], 4, 'did you mean "shops"?'),
        (["--from-database", "--table", "keyless"], 4, "no primary key"),
        (["--from-database", "--table", "policy"], 64, "policy.yaml"),
        (["--from-database", "--table", "../evil"], 64, "--table"),
        (["--from-database", "--table", "settings", "--table", "public.settings"], 4, "two tables are called settings"),
        (["--from-database", "--table", "shops", "--audit-table", "nope"], 4, '"nope"'),
    ],
)
def test_what_cannot_be_made_is_refused_and_nothing_is_written(
    tmp_path: Path, live: Database, arguments: list[str], code: int, said: str
) -> None:
    done = run("new", "ours", *arguments, cwd=tmp_path, database=live.url)
    assert (done.code, done.out) == (code, ""), str(done)
    assert said in done.err
    assert "hunter2" not in done.err
    assert not (tmp_path / "ours").exists()


def test_owners_and_what_is_installed_stand_where_they_are_looked_for(tmp_path: Path) -> None:
    succeed("new", "ours", "--install", INSTALL, "--owner", "@acme/ops", "--owner", "o@example.org", cwd=tmp_path)
    owners = (tmp_path / "ours" / ".github" / "CODEOWNERS").read_text(encoding="utf-8").splitlines()
    assert [line for line in owners if line and not line.startswith("#")] == ["* @acme/ops o@example.org", "/state/"]
    assert (tmp_path / "ours" / "requirements.txt").read_text().splitlines()[-1] == INSTALL


def test_a_program_from_a_git_repository_is_installed_from_the_same_commit() -> None:
    told = {
        "url": "https://git.example.org/r",
        "vcs_info": {"vcs": "git", "commit_id": "abc", "requested_revision": "v1"},
    }
    assert requirement_of(told).spec == "reconcile @ git+https://git.example.org/r@abc"
    assert requirement_of(told).certain
    for other in ({}, {"url": "file:///x", "dir_info": {"editable": True}}):
        assert not requirement_of(other).certain
        assert requirement_of(other).spec.startswith("reconcile==")


@pytest.mark.parametrize(
    "name",
    ["password", "passwordHash", "PASSWORD_HASH", "smtpPass", "SMTPPass", "api_key", "openaiApiKey", "apikey", "APIKey",
     "accessToken", "refresh_token", "clientSecret", "privateKey", "salt", "mfa_seed", "webhookSigningKey"],
)  # fmt: skip
def test_a_name_that_secrets_go_by_is_taken_for_one(name: str) -> None:
    assert looks_secret(name)


@pytest.mark.parametrize(
    "name", ["key", "keyboard", "compass", "passenger", "monkey", "status", "publicKeyword", "tokyo"]
)
def test_a_name_that_only_sounds_alike_is_no_secret(name: str) -> None:
    assert not looks_secret(name)


def test_guesses_follow_words_and_not_letters() -> None:
    assert [off_value(name) for name in ("isActive", "email_enabled", "isBlocked", "disabled", "colour", "Island")] == [
        False, False, True, True, None, None,
    ]  # fmt: skip
    assert list(killed_values(["ACTIVE", "SUSPENDED", "onHold", "switched_off"])) == ["SUSPENDED", "switched_off"]
    assert [looks_like_a_limit(name) for name in ("daily_limit", "maxUsers", "delimiter")] == [True, True, False]
    assert [looks_like_a_counter(name) for name in ("aiDailyUsage", "viewCount", "country")] == [True, True, False]


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1))
def test_any_word_stands_in_yaml_as_the_text_that_it_is(text: str) -> None:
    assert to_json_or_none(f"a: {word(text)}\nb: [{word(text)}]\n") == {"a": text, "b": [text]}
