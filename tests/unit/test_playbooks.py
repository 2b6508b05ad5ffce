"""Playbooks: read strictly, checked against tables and policy, and good for editors and people."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from reconciler.cli.triage import command as triage_command
from reconciler.documents import read_document
from reconciler.editor_schema import editor_schemas
from reconciler.errors import InvalidInput, Problem
from reconciler.playbook import Playbook
from reconciler.report.runbook import render_runbook
from reconciler.runbook.playbooks import RESERVED, load_runbook, query_of, read_playbooks
from reconciler.runbook.triage import kill_command, say, sentence_of, shown, spoken
from reconciler.scalars import to_json
from reconciler.schema import Definitions
from tests.support import cli
from tests.support.definitions import POLICY, sound_definitions

TOP = Path(__file__).parents[2]

OVENS = """\
table: ovens
key: serial
label: name
audit: {event: OVEN}
secret: [pin]
fields:
  lit: {type: boolean, kill: false}
  heat: {type: integer, kill: lower, min: 0, max: 500}
  mode: {type: enum, values: [bake, grill, cold], kill: [cold]}
"""

FIRE = """\
title: Fire
summary: An oven is too hot.
incident: 7
subject: ovens
symptoms:
  - name: hot
    says: "{label} has {heat} degrees, and {most} are allowed, for an {window}"
    thresholds: {most: 300, window: 1h}
    query: |
      SELECT serial AS key, name AS label, heat FROM ovens
      WHERE heat > {most} AND since < now() - interval {window};
  - name: alarm
    check: alarm
    says: "the alarm: {saw}"
look: [Smoke.]
warnings: [Do not open the door.]
kill:
  default: out
  options:
    out:
      help: Put it out.
      set: [{table: ovens, row: $subject, field: lit, value: false}]
    low:
      help: Turn it down.
      set: [{table: ovens, row: $subject, field: heat, value: 50}]
restore:
  set:
    - {table: ovens, row: $subject, field: lit, value: true}
    - {table: ovens, row: $subject, field: heat, value: $before}
  checks: [alarm]
  steps: [{id: cooled, text: It has cooled down.}]
monitor: {for: 1h}
contacts: [{who: Fire brigade, how: "112"}]
"""

TWICE = "{table: ovens, row: $subject, field: heat, value: 9}, {table: ovens, row: $subject, "


def definitions() -> Definitions:
    policy = POLICY + "checks: {alarm: {type: sql, query: SELECT true}}\n"
    return sound_definitions(policy, ovens=OVENS)


def read(*changes: tuple[str, str], file: str = "fire") -> tuple[Playbook | None, list[Problem]]:
    """The playbook with some of its text replaced, and what is wrong with it."""
    text = FIRE
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    problems: list[Problem] = []
    document = read_document(f"schemas/playbooks/{file}.yaml", text.encode(), problems)
    assert document is not None, problems
    return read_playbooks([document], definitions(), problems).get(file), problems


def only_problem(*changes: tuple[str, str], file: str = "fire") -> str:
    playbook, problems = read(*changes, file=file)
    assert playbook is None
    assert len(problems) == 1, problems
    return str(problems[0]).removeprefix("schemas/playbooks/")


def test_a_sound_playbook_of_an_invented_table_is_read_whole() -> None:
    playbook, problems = read()
    assert problems == []
    assert playbook is not None
    assert list(playbook.kill.options) == ["out", "low"]
    assert playbook.restore.steps[0].confirm
    assert playbook.monitor.for_ == "1h"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("title:", "titel:", 'fire.yaml:1:1: unknown property titel (did you mean "title"?)'),
        ("incident: 7", "incident: seven", "fire.yaml:3:1: expected a whole number, and this is text"),
        ("subject: ovens", "subject: oven", 'no schema for a table "oven" (did you mean "ovens"?)'),
        ("name: alarm", "name: hot", "hot is named twice"),
        ("name: alarm", "name: The alarm", "fire.yaml:12:5: expected text (lower case: new-session)"),
        ("check: alarm", "check: alram", 'fire.yaml:13:5: no check is called "alram" (did you mean "alarm"?)'),
        ("check: alarm", "probe: databse", "fire.yaml:13:5: \"databse\" cannot stand here"),
        ("    check: alarm\n", "", "alarm needs one of query, check and probe"),
        ("check: alarm", "check: alarm\n    probe: database", "alarm needs one of query, check and probe"),
        ("{saw}", "{seen}", "{seen} is not known here (a check and a probe give {saw})"),
        ("{heat} degrees", "{heat:,} degrees", "{heat:,} is not a name"),
        ("{heat} degrees", "{heat.real} degrees", "{heat.real} is not a name"),
        ("{heat} degrees", "{heat degrees", "a brace is not closed, or not opened (write {name})"),
        ("{heat} degrees", "heat} degrees", "a brace is not closed, or not opened (write {name})"),
        ("heat > {most}", "heat > {mots}", 'there is no threshold {mots} (did you mean "most"?)'),
        ("{most: 300, window", "{most: 300, unused: 1, window", "the query does not name {unused}"),
        ("check: alarm", "check: alarm\n    thresholds: {most: 1}", "only a query has thresholds"),
        ("most: 300", "most: 0.5", "expected a whole number or text, and this is a number (a duration: 90s, 30m, 24h,"),
        ("window: 1h", "window: 1h'; DROP TABLE ovens", "expected text (a duration: 90s, 30m, 24h, 7d)"),
        ("SELECT serial", "DELETE serial", "a query begins with SELECT or WITH (it is run READ ONLY)"),
        ("default: out", "default: off", 'no option is called "off" (one of out, low)'),
        ("    low:", "    reason:", "--reason is a flag of reconcile itself (find another name)"),
        ("    low:", "    So low:", '"So low" is no name for an option'),
        ("lit, value: false", "let, value: false", 'table ovens has no managed field "let"'),
        ("lit, value: false", "pin, value: false", "pin holds a secret: it can never be managed or read"),
        ("lit, value: false", "lit, value: off", "ovens.lit: `off` is a string in YAML 1.2, not a boolean"),
        ("lit, value: false", "lit, value: true", "this is not on the kill side of lit: it stops nothing"),
        ("lit, value: true", "lit, value: false", "this is on the kill side of lit: it restores nothing"),
        ("heat, value: 50", "heat, value: 501", "ovens.heat: 501 is more than the maximum 500"),
        ("heat, value: 50", "heat, value: $before", "$before is for `restore`: a kill sets a value of its own"),
        ("set: [{table: ovens, row: $subject, field: heat", f"set: [{TWICE}field: heat", "is set twice"),
        ("ovens, row: $subject, field: heat, value: 5", "oven, row: a, field: heat, value: 5", '"oven"'),
        ("row: $subject, field: heat, value: 5", "row: $subjct, field: heat, value: 5", "$subjct is not a directive"),
        ("    - {table: ovens, row: $subject, field: lit, value: true}\n", "", "`restore` says nothing of lit"),
        ("field: heat, value: $before", "field: mode, value: bake", "no kill option sets mode"),
        ("checks: [alarm]", "checks: [alarms]", 'no check is called "alarms" (did you mean "alarm"?)'),
        ("{id: cooled, text: It has cooled down.}", "{id: a, text: b}, {id: a, text: c}", "there are two steps a"),
        ("monitor: {for: 1h}", "monitor: {for: 1 hour}", "expected text (a duration: 90s, 30m, 24h, 7d)"),
        ("monitor: {for: 1h}", "monitor: {}", "for is missing"),
        ("  options:\n    out:", "  options: {}\nextra:\n  old:\n    out:", "expected a mapping of at least 1 entry"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_line(old: str, new: str, said: str) -> None:
    playbook, problems = read((old, new))
    assert playbook is None
    found = [str(problem) for problem in problems]
    assert any(said in one for one in found), found
    assert all(one.startswith("schemas/playbooks/fire.yaml:") for one in found)


def test_every_mistake_of_a_playbook_is_told_at_once() -> None:
    _, problems = read(
        ("title:", "titel:"), ("most: 300", "most: none"), ("check: alarm", "chekc: alarm"), ("who:", "whom:")
    )
    assert [str(problem).partition(" ")[2] for problem in problems] == [
        'unknown property titel (did you mean "title"?)',
        "expected text (a duration: 90s, 30m, 24h, 7d)",
        'unknown property chekc (did you mean "check"?)',
        'unknown property whom (did you mean "who"?)',
        "who is missing",
        "title is missing",
    ]


def test_a_playbook_about_no_row_names_its_rows() -> None:
    assert "$subject has no meaning without `subject`" in str(read(("subject: ovens\n", ""))[1][0])
    playbook, problems = read(("subject: ovens\n", ""), ("$subject", '"7"'))
    assert (bool(playbook), problems) == (True, [])


def test_a_subject_that_no_kill_touches_is_a_mistake() -> None:
    _, problems = read(("row: $subject", "row: big-one"))
    assert "no kill option sets a field of the subject (row: $subject)" in str(problems[0])


def test_a_playbook_is_called_as_its_file() -> None:
    assert only_problem(file="Fire alarm").startswith('Fire alarm.yaml:1:1: "Fire alarm" is no name for a playbook')


def test_two_playbooks_do_not_share_a_number() -> None:
    problems: list[Problem] = []
    documents = [read_document(f"schemas/playbooks/{name}.yaml", FIRE.encode(), problems) for name in ("a", "b")]
    found = read_playbooks([one for one in documents if one], definitions(), problems)
    assert list(found) == ["a"]
    assert [str(problem) for problem in problems] == ["schemas/playbooks/b.yaml:3:1: a is incident 7 already"]


def test_thresholds_are_put_into_the_query_and_into_the_sentence() -> None:
    playbook, _ = read()
    assert playbook is not None
    hot = playbook.symptoms[0]
    assert query_of(hot).endswith("WHERE heat > 300 AND since < now() - interval '1h'")
    said = say(hot, {"key": "7", "label": "The big one", "heat": 1250})
    assert said == "The big one has 1,250 degrees, and 300 are allowed, for an hour"
    assert sentence_of(hot) == "… has … degrees, and 300 are allowed, for an hour"
    with pytest.raises(KeyError):
        say(hot, {"label": "The big one"})


def test_values_in_a_sentence_read_as_people_write_them() -> None:
    assert [shown(value) for value in (None, True, 12410, "12410")] == ["none", "yes", "12,410", "12410"]
    assert [spoken(limit) for limit in ("1h", "24h", "15m", "1d", 1000)] == [
        "hour", "24 hours", "15 minutes", "day", "1,000",
    ]  # fmt: skip


def test_the_command_can_be_pasted_into_a_shell() -> None:
    playbook, _ = read()
    assert playbook is not None
    line = kill_command("fire", playbook, "it's; rm -rf /", "a 'reason'\nin two lines " + "x" * 300, "../ovens")
    words = shlex.split(line)
    assert words[:7] == ["reconcile", "kill", "fire", "--directory", "../ovens", "--tenant", "it's; rm -rf /"]
    assert words[8].startswith("a 'reason' in two lines xxx")
    assert len(words[8]) == 160


def test_validate_reports_playbooks_with_all_else(tmp_path: Path) -> None:
    shutil.copytree(TOP / "schemas", tmp_path / "schemas")
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "tenants.yaml").write_text("a: {isAiEnabled: off}\n")
    playbook = tmp_path / "schemas" / "playbooks" / "redis-down.yaml"
    playbook.write_text(playbook.read_text().replace("check: jobs", "check: job", 1))
    done = cli.run("validate", cwd=tmp_path)
    assert done.code == 3
    assert 'schemas/playbooks/redis-down.yaml:12:5: no check is called "job" (did you mean "jobs"?)' in done.err
    assert "state/tenants.yaml:1:18: " in done.err
    with pytest.raises(InvalidInput, match="no check is called"):
        load_runbook(tmp_path)


def test_validate_counts_the_playbooks() -> None:
    assert "; 6 playbooks." in cli.run("validate", cwd=TOP).out
    assert json.loads(cli.run("validate", "--output", "json", cwd=TOP).out)["playbooks"] == 6


def test_a_project_without_playbooks_is_valid_and_its_triage_is_quiet(tmp_path: Path) -> None:
    shutil.copytree(TOP / "schemas", tmp_path / "schemas", ignore=shutil.ignore_patterns("playbooks"))
    assert cli.run("validate", cwd=tmp_path).out == "Valid: 0 rows with 0 managed fields; schemas for 2 tables.\n"
    assert load_runbook(tmp_path).playbooks == {}


def test_an_apply_does_not_read_playbooks(tmp_path: Path) -> None:
    """The path that flips one switch has no time for them, and a mistake in one must not keep it from working."""
    from reconciler.project import read_work_tree

    shutil.copytree(TOP / "schemas", tmp_path / "schemas")
    (tmp_path / "schemas" / "playbooks" / "redis-down.yaml").write_text("a: [\n")
    assert set(read_work_tree(tmp_path).definitions.tables) == {"system_settings", "tenants"}


def playbook_schema() -> dict[str, Any]:
    schema: dict[str, Any] = json.loads(editor_schemas(load_runbook(TOP).definitions)["playbook.schema.json"])
    return schema


def document_of(path: Path) -> Any:
    document = read_document(path.name, path.read_bytes(), [])
    assert document is not None
    assert document.root is not None
    return to_json(document.root)


@pytest.mark.parametrize("path", sorted((TOP / "schemas" / "playbooks").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_schema_for_editors_accepts_what_ships_and_complains_of_mistakes(path: Path) -> None:
    validator = jsonschema.Draft202012Validator(playbook_schema())
    document = document_of(path)
    assert list(validator.iter_errors(document)) == []
    options = document["kill"]["options"]
    first = options[document["kill"]["default"]]["set"][0]
    for part, wrong in (("field", "isAiEnabeld"), ("table", "tenant"), ("value", {"no": "value"})):
        original, first[part] = first[part], wrong
        assert list(validator.iter_errors(document)), part
        first[part] = original
    document["symptoms"][0]["says"] = 5
    assert list(validator.iter_errors(document))


def test_files_of_playbooks_carry_the_line_for_editors() -> None:
    for path in (TOP / "schemas" / "playbooks").glob("*.yaml"):
        first = path.read_text(encoding="utf-8").splitlines()[0]
        assert first == "# yaml-language-server: $schema=../json/playbook.schema.json", path.name


def test_no_option_of_a_playbook_can_be_taken_for_a_flag_of_a_command() -> None:
    flags = {flag.removeprefix("--") for option in triage_command.params for flag in option.opts if flag[:2] == "--"}
    assert flags <= RESERVED


def test_the_page_of_the_runbook_is_up_to_date() -> None:
    page = (TOP / "docs" / "runbook.md").read_text(encoding="utf-8")
    assert page == render_runbook(load_runbook(TOP)), "run: reconcile runbook > docs/runbook.md"


def test_the_runbook_command_prints_the_page_and_checks_a_file(tmp_path: Path) -> None:
    page = cli.run("runbook", cwd=TOP)
    assert page.out == (TOP / "docs" / "runbook.md").read_text(encoding="utf-8")
    kept = tmp_path / "runbook.md"
    assert cli.run("runbook", "--check", str(kept), cwd=TOP).code == 3
    kept.write_text(page.out, encoding="utf-8")
    assert cli.run("runbook", "--check", str(kept), cwd=TOP).code == 0
    kept.write_text(page.out + "\n", encoding="utf-8")
    stale = cli.run("runbook", "--check", str(kept), cwd=TOP)
    assert stale.code == 3
    assert f"{kept} is out of date (run `reconcile runbook > {kept}`)" in stale.err
