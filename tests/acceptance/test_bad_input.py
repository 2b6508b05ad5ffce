"""What a command does about files and repositories that are not as they should be: a sentence with its place, the exit
code, no traceback, no secret, and not one row changed in any table.
"""

from __future__ import annotations

import re
import shutil
import time
from pathlib import Path

import pytest

from tests.support.project import ACME, BOB, Project
from tests.support.refusals import assert_clean, assert_plainly_refused, nothing_changes

GOOD = f"{ACME}:\n  isAiEnabled: false\n"


# What is wrong in a file, and what is said of it.

WRONG_STATE: dict[str, tuple[str | bytes, str, str]] = {
    "broken YAML": (f"{ACME}:\n  isAiEnabled: [false\n", "tenants.yaml:2:22", ""),
    "a tab for an indent": (f"{ACME}:\n\tisAiEnabled: false\n", "tenants.yaml:2:1", ""),
    "a word for an integer": (f"{ACME}:\n  aiDailyLimit: many\n", "tenants.yaml:2:17", "aiDailyLimit"),
    "a text for an integer": (f"{ACME}:\n  aiDailyLimit: '5'\n", "tenants.yaml:2:17", "aiDailyLimit"),
    "a fraction for an integer": (f"{ACME}:\n  aiDailyLimit: 5.5\n", "tenants.yaml:2:17", "aiDailyLimit"),
    "too small a number": (f"{ACME}:\n  aiDailyLimit: 0\n", "tenants.yaml:2:17", "aiDailyLimit"),
    "a list for an integer": (f"{ACME}:\n  aiDailyLimit: [5]\n", "tenants.yaml:2:17", "aiDailyLimit"),
    "off for a boolean": (f"{ACME}:\n  isAiEnabled: off\n", "tenants.yaml:2:16", "false"),
    "yes for a boolean": (f"{ACME}:\n  isAiEnabled: yes\n", "tenants.yaml:2:16", "true"),
    "a number for a boolean": (f"{ACME}:\n  isAiEnabled: 1\n", "tenants.yaml:2:16", "isAiEnabled"),
    "null for what is not nullable": (f"{ACME}:\n  isAiEnabled: null\n", "tenants.yaml:2:16", "isAiEnabled"),
    "nothing for what is not nullable": (f"{ACME}:\n  isAiEnabled:\n", "tenants.yaml:2:", "isAiEnabled"),
    "an enum value that is none": (f"{ACME}:\n  status: SUSPENDET\n", "tenants.yaml:2:11", "SUSPENDED"),
    "a pattern that does not fit": (f"{ACME}:\n  aiCustomModel: 'no spaces'\n", "tenants.yaml:2:18", "aiCustomModel"),
    "a duplicate row": (f"{GOOD}{GOOD}", "tenants.yaml:3:1", ACME),
    "a duplicate field": (f"{GOOD}  isAiEnabled: true\n", "tenants.yaml:3:3", "isAiEnabled"),
    "an unknown field": (f"{ACME}:\n  isAiEnabeld: false\n", "tenants.yaml:2:3", 'did you mean "isAiEnabled"?'),
    "an unknown directive": (f"{ACME}:\n  $expects: {{name: x}}\n", "tenants.yaml:2:3", '"$expect"'),
    "an unknown part of the long form": (
        f"{ACME}:\n  isAiEnabled: {{value: false, raeson: x}}\n", "tenants.yaml:2:", 'did you mean "reason"?'
    ),
    "a long form without a value": (f"{ACME}:\n  isAiEnabled: {{reason: x}}\n", "tenants.yaml:2:16", "value"),
    "a time without a zone": (
        f"{ACME}:\n  isAiEnabled: {{value: false, until: 2026-11-27 09:00}}\n", "tenants.yaml:2:", "until"
    ),
    "a guard that is none": (
        f"{ACME}:\n  isAiEnabled: {{value: true, override: {{afer: x}}}}\n", "tenants.yaml:2:", '"after"'
    ),
    "a secret column": (f"{ACME}:\n  stripeCustomerId: cus_1\n", "tenants.yaml:2:3", "secret"),
    "a secret column in $expect": (f"{ACME}:\n  $expect: {{stripeCustomerId: cus_1}}\n", "tenants.yaml:2:", "secret"),
    "a row that is no mapping": (f"{ACME}: false\n", "tenants.yaml:1:1", "mapping"),
    "a file that is a list": (f"- {ACME}\n", "tenants.yaml:1:1", "mapping"),
    "two documents": (f"{GOOD}---\n{GOOD}", "tenants.yaml:3:1", ""),
    "a merge key": (f"base: &b {{isAiEnabled: false}}\n{ACME}:\n  <<: *b\n", "tenants.yaml:3:3", ""),
    "a tag that runs code": (f"{ACME}:\n  isAiEnabled: !!python/object/apply:os.system [id]\n", "tenants.yaml:2:", ""),
    "an alias bomb": (
        "a: &a [x, x, x, x, x, x, x, x, x]\n"
        + "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)),
        "tenants.yaml:", "",
    ),
    "a depth without end": ("[" * 100_000, "tenants.yaml:1:", ""),
    "not UTF-8": (f"{ACME}:\n  aiCustomModel: caf\xe9\n".encode("latin-1"), "tenants.yaml:2:21", "UTF-8"),
    "UTF-16": (GOOD.encode("utf-16"), "tenants.yaml:1:1", "UTF-8"),
    "a null byte": (b"a\x00b: {}\n", "tenants.yaml:1:2", ""),
    "an archived tenant with WhatsApp on": (
        f"{ACME}:\n  status: ARCHIVED\n  isWhatsappEnabled: true\n", "tenants.yaml:", "an archived tenant must have"
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "place", "said"), WRONG_STATE.values(), ids=WRONG_STATE)
def test_wrong_state_is_told_with_its_place(project: Project, text: str | bytes, place: str, said: str) -> None:
    project.write("state/tenants.yaml", text)
    with nothing_changes(project.database):
        assert_plainly_refused(project.run("--dry-run"), 3, f"state/{place}", said)


def test_a_commit_is_checked_as_the_work_tree_is(project: Project) -> None:
    for number, (text, _, _) in enumerate(WRONG_STATE.values()):
        project.write(f"state/tenants/{number:02}.yaml", text)
    project.commit()
    with nothing_changes(project.database):
        planned, applied = project.run("--dry-run"), project.run()
        assert_plainly_refused(applied, 3, *(f"state/tenants/{number:02}.yaml:" for number in range(30)))
        assert applied.err == planned.err


RULE = "rule: aiDailyLimit <= aiMonthlyLimit"

# The file, what stands there, what is put in its place, the line that the error names, and what it says.
WRONG_SCHEMAS = {
    "an unknown property": ("tenants", "touch: up", "tuoch: up", "tuoch: up", 'did you mean "touch"?'),
    "an unknown type": ("tenants", "boolean\n    title: AI\n", "bolean\n    title: AI\n", "type: bolean", "boolean"),
    "a kill side that is no value": ("tenants", "AI\n    kill: false", "AI\n    kill: maybe", "kill: maybe", "or fals"),
    "a field that is a secret": ("tenants", "[stripeCustomerId]", "[stripeCustomerId, status]", "status:", "secret"),
    "a check that is not declared": ("system_settings", "[redis, queues]", "[quues]", "requires: [quues]", '"queues"'),
    "a duration that is none": ("tenants", "{after: 24h}", "{after: a day}", "{after: a day}", ""),
    "a rule that is no expression": ("policy", RULE, "rule: aiDailyLimit <= (", "rule: aiDailyLimit <= (", ""),
    "a rule that would run code": ("policy", RULE, "rule: __import__('os')", "rule: __import__('os')", ""),
    "an audit word that is none": ("policy", "$tenant\n", "$tennant\n", "$tennant", "$tenant"),
    "broken YAML": ("policy", "audit:\n", "audit: [\n", "columns:", ""),
}


@pytest.mark.parametrize(("name", "old", "new", "line", "said"), WRONG_SCHEMAS.values(), ids=WRONG_SCHEMAS)
def test_a_wrong_schema_or_policy_is_told_with_its_place(
    project: Project, name: str, old: str, new: str, line: str, said: str
) -> None:
    project.state(GOOD)
    project.edit_schema(name, old, new)
    file, number, *_ = project.place(f"schemas/{name}.yaml", line).split(":")
    with nothing_changes(project.database):
        assert_plainly_refused(project.run("--dry-run"), 3, f"{file}:{number}:", said)


def test_every_mistake_of_every_file_is_told_at_once(project: Project) -> None:
    project.state(f"{ACME}:\n  isAiEnabled: off\n  aiDailyLimit: many\n{BOB}:\n  nothing: 1\n")
    project.state(f"{ACME}:\n  isAiEnabled: [\n", "tenants/broken.yaml")
    project.state(f"{BOB}:\n  isAiEnabled: true\n", "tenants/one.yaml")
    project.state(f"{BOB}:\n  isAiEnabled: false\n", "tenants/two.yaml")
    project.state("system:\n  smtpPass: hunter2\n", "system_settings.yaml")
    project.state("x: {}\n", "tenats.yaml")
    done = project.run("validate")
    assert_plainly_refused(
        done, 3, "state/tenants.yaml:2:16", "state/tenants.yaml:3:17", "state/tenants.yaml:5:3", "tenants/broken.yaml:",
        "state/tenants/two.yaml:2:3: isAiEnabled of row", "state/tenants/one.yaml:2:16",
        "state/system_settings.yaml:2:3", "state/tenats.yaml:1:1",
    )  # fmt: skip
    places = re.findall(r"^\s*(state/\S+?):(\d+):", done.err, re.MULTILINE)
    assert len(places) == 7
    assert [file for file, _ in places] == sorted(file for file, _ in places)


def test_a_file_of_200_mb_is_refused_without_being_read(project: Project) -> None:
    with project.write("state/tenants.yaml", "").open("wb") as file:
        file.truncate(200_000_000)
    with nothing_changes(project.database):
        started = time.monotonic()
        assert_plainly_refused(project.run("--dry-run"), 3, "state/tenants.yaml:1:1", "64")
        assert time.monotonic() - started < 20  # to read it would take minutes


def test_a_symbolic_link_out_of_the_repository_is_refused(project: Project, tmp_path: Path) -> None:
    (tmp_path / "outside.yaml").write_text(GOOD)
    project.write("state/x", "").unlink()
    (project.directory / "state/tenants.yaml").symlink_to(tmp_path / "outside.yaml")
    with nothing_changes(project.database):
        assert_plainly_refused(project.run("--dry-run"), 3, "state/tenants.yaml:1:1", "symbolic link")
        project.commit()
        assert_plainly_refused(project.run(), 3, "state/tenants.yaml:1:1", "symbolic link")


def test_a_terminal_is_not_steered_by_what_stands_in_a_file(project: Project) -> None:
    project.state(f'{ACME}:\n  isAiEnabled:\n    value: false\n    reason: "\\e[2J\\e[1;1H all is well"\n')
    done = project.succeed("--dry-run")
    assert "\x1b" not in done.out
    project.state(f'{ACME}:\n  "is\\e[2JAi": false\n')
    done = project.run("--dry-run")
    assert done.code == 3
    assert "\x1b" not in done.err


# The repository


def test_outside_of_git_it_is_planned_and_not_applied(project: Project) -> None:
    project.state(GOOD)
    shutil.rmtree(project.directory / ".git")
    assert "isAiEnabled" in project.succeed("--dry-run").out
    with nothing_changes(project.database):
        assert_plainly_refused(project.run(), 1, "git repository")
        assert_plainly_refused(project.run("--allow-dirty", "--reason", "x"), 1, "git repository")
        assert_plainly_refused(project.run("--dry-run", "--revision", "HEAD"), 1, "git repository")


def test_a_repository_without_a_commit_is_planned_and_not_applied(project: Project) -> None:
    project.state(GOOD)
    assert "isAiEnabled" in project.succeed("--dry-run").out
    with nothing_changes(project.database):
        assert_plainly_refused(project.run(), 1, "commit")
        assert_plainly_refused(project.run("--allow-dirty", "--reason", "x"), 1, "commit")


def test_a_revision_that_is_none_is_refused(project: Project) -> None:
    project.state(GOOD)
    project.commit()
    with nothing_changes(project.database):
        for revision in ("nowhere", "--all", "HEAD:state", ""):
            done = project.run("--dry-run", f"--revision={revision}")
            assert done.code in (1, 64), str(done)
            assert_clean(done)


def test_a_git_that_is_not_installed_is_said(project: Project, tmp_path: Path) -> None:
    project.state(GOOD)
    project.commit()
    with nothing_changes(project.database):
        done = project.run(environment={"PATH": str(tmp_path)})
        assert_plainly_refused(done, 1, "git")


def test_a_folder_without_schemas_is_told(project: Project) -> None:
    project.state(GOOD)
    shutil.rmtree(project.directory / "schemas")
    with nothing_changes(project.database):
        assert_plainly_refused(project.run("--dry-run"), 3, "schemas/")


def test_a_folder_that_is_no_project_is_told(project: Project, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = project.run("--dry-run", "--directory", str(tmp_path / "empty"))
    assert_plainly_refused(done, 3, "no state/*.yaml and no schemas/*.yaml", "--directory")
    assert_plainly_refused(project.run("--dry-run", "--directory", str(tmp_path / "absent")), 64)


def test_a_missing_policy_is_told(project: Project) -> None:
    project.state(GOOD)
    (project.directory / "schemas/policy.yaml").unlink()
    with nothing_changes(project.database):
        assert_plainly_refused(project.run("--dry-run"), 3, "schemas/policy.yaml")


# What the database says about the state


def test_an_unknown_tenant_is_told_with_its_place(project: Project) -> None:
    project.state(f"{GOOD}no-such-tenant:\n  isAiEnabled: true\n")
    project.commit()
    with nothing_changes(project.database):
        for arguments in (["--dry-run"], []):
            done = project.run(*arguments)
            assert_plainly_refused(done, 3, 'state/tenants.yaml:3:1: table tenants has no row with key "no-such-')


def test_a_row_that_is_not_as_expected_stops_everything(project: Project) -> None:
    project.state(f"{ACME}:\n  $expect: {{name: Apex Bakery}}\n  isAiEnabled: false\n{BOB}:\n  isAiEnabled: false\n")
    project.commit()
    with nothing_changes(project.database):
        for arguments in (["--dry-run"], []):
            done = project.run(*arguments)
            assert_plainly_refused(done, 3, "state/tenants.yaml:2:19: $expect", '"Acme Bakery", not "Apex Bakery"')
