"""What a schema says about proofs of effect is checked when it is read, and every mistake has its line."""

from __future__ import annotations

import json

import pytest
from jsonschema import Draft202012Validator

from reconciler.editor_schema import editor_schemas
from reconciler.verify.compiled import CompiledProof
from tests.support.definitions import POLICY, definitions_of, sound_definitions

SCHEMA = """\
table: tenants
key: id
audit: {event: E, tenant: owner}
fields:
  isWhatsappEnabled: {type: boolean, kill: false, verify: %s}
  status: {type: enum, values: [on, off, '1'], effects: %s}
"""

JOB = "bullmq: {queue: q, job: J}"


def problems(verify: str, effects: str = "[]") -> list[str]:
    found, problems = definitions_of(POLICY, tenants=SCHEMA % (verify, effects))
    assert (found is None) == bool(problems)
    return [str(problem) for problem in problems]


@pytest.mark.parametrize(
    ("verify", "column", "said"),
    [
        ("[{when: false}]", 60, "a proof needs a kind (one of row, sql, http, job)"),
        ("[{row: written, job: completed}]", 60, "a proof has one kind, not 2"),
        ("[{row: writen}]", 61, 'did you mean "written"?'),
        ("[{rows: written}]", 61, 'unknown property rows'),
        ("[{row: written, within: 10}]", 75, "expected text, and this is a whole number"),
        ("[{row: written, within: soon}]", 75, "expected text (a duration"),
        ("[{when: off, row: written}]", 61, "`off` is a string in YAML 1.2, not a boolean (write false)"),
        ("[{job: completed}]", 61, "only a job can be completed (put it under `verify` of the effect that says"),
        ("[{sql: {query: 'SELECT $kye'}}]", 67, '$kye is nothing that a proof\'s template has (did you mean "$key"?)'),
        ("[{sql: {query: 'SELECT $id'}}]", 67, "$id is nothing that a proof's template has"),
        ("[{sql: {query: 'SELECT $1'}}]", 67, "a $ that begins no name (write $$ for a dollar sign)"),
        ("[{sql: {}}]", 61, "query is missing"),
        ("[{http: {url: 'ftp://x'}}]", 68, "ftp://x is not a URL"),
        ("[{http: {url: 'https://x', path: 'a/$key'}}]", 86, "a/$key does not begin with / (write /a/$key)"),
        ("[{http: {url: 'https://x', path: /$row.id}}]", 86, "$row.id is nothing that a proof's template has"),
        ("[{http: {url: 'https://x', json: {a: $z}}}]", 93, "$z is nothing that a proof's template has"),
        ("[{http: {url: 'https://x', text: $z}}]", 86, "$z is nothing that a proof's template has"),
        ("[{http: {url: 'https://x', method: HEAD, text: a}}]", 86, "the answer to HEAD has no body"),
        ("[{http: {url: 'https://x', method: POST}}]", 86, "POST"),
        ("[{http: {url: 'https://x', headers: {a: $}}}]", 96, "a $ that begins no name"),
        ("[{http: {url: 'https://x', status: 1000}}]", 86, "of at most 599"),
        ("[{http: {url: 'https://x', sample: 0}}]", 86, "of at least 1"),
    ],
)
def test_a_mistake_is_an_error_with_its_place(verify: str, column: int, said: str) -> None:
    [found] = problems(verify)
    assert said in found
    assert found.startswith(f"schemas/tenants.yaml:5:{column}: ")


@pytest.mark.parametrize(
    ("effects", "said"),
    [
        ("[{pg_notify: {channel: c}, verify: [{job: completed}]}]", "only a job can be completed"),
        (f"[{{when: on, {JOB}, verify: [{{when: on, job: completed}}]}}]", "asked whenever the effect follows"),
        (
            "[{bullmq: {queue: q, job: J, options: {removeOnFail: true}}, verify: [{job: completed}]}]",
            "whether a job failed cannot be seen with `removeOnFail: true` (keep some: removeOnFail: {count: 500})",
        ),
        (f"[{{{JOB}, verify: [{{}}]}}]", "a proof needs a kind"),
    ],
)
def test_a_mistake_in_a_proof_of_an_effect_is_one_too(effects: str, said: str) -> None:
    [found] = problems("[]", effects)
    assert found.startswith("schemas/tenants.yaml:6:")
    assert said in found


def test_all_mistakes_of_all_proofs_are_found_at_once() -> None:
    effects = f"[{{when: of, {JOB}, verify: [{{when: on, job: completed}}, {{row: written, sql: {{query: a}}}}]}}]"
    assert len(problems("[{when: 5, sql: {query: $a $b}}, {job: completed}]", effects)) == 7


def proofs_of(verify: str, effects: str = "[]") -> dict[str, tuple[CompiledProof, ...]]:
    return dict(sound_definitions(tenants=SCHEMA % (verify, effects)).tables["tenants"].proofs)


def test_a_proof_is_asked_for_the_values_of_when_and_that_of_an_effect_for_those_of_the_effect() -> None:
    effects = f"[{{when: [on, 1], {JOB}, verify: [{{job: completed, within: 30s}}]}}]"
    proofs = proofs_of("[{when: false, row: written}, {row: written}]", effects)
    [of_false, of_all] = proofs["isWhatsappEnabled"]
    assert [(of_false.asked_for(value), of_all.asked_for(value)) for value in (False, True)] == [
        (True, True),
        (False, True),
    ]
    [job] = proofs["status"]
    assert [job.asked_for(value) for value in ("on", "off", "1")] == [True, False, True]
    assert (job.kind, job.target, job.within_s) == ("job", "q J", 30)


def test_what_may_be_shown_of_a_url_has_no_password() -> None:
    http = "{http: {url: %s, path: /x/$key}}"
    urls = (http % "'https://ann:canary@app.example.com/base'", http % "$APP_URL")
    literal, variable = proofs_of(f"[{urls[0]}, {urls[1]}]")["isWhatsappEnabled"]
    assert literal.target == "https://app.example.com/base/x/$key"
    assert variable.target == "$APP_URL/x/$key"


def test_a_schema_without_proofs_has_none() -> None:
    assert proofs_of("[]") == {}


def test_editors_know_the_words_of_proofs() -> None:
    schema = json.loads(editor_schemas(sound_definitions(tenants=SCHEMA % ("[]", "[]")))["table.schema.json"])
    validator = Draft202012Validator(schema)

    def is_valid(*proofs: object) -> bool:
        field = {"type": "boolean", "verify": list(proofs)}
        document = {"table": "t", "key": "id", "audit": {"event": "E"}, "fields": {"on": field}}
        return validator.is_valid(document)

    assert is_valid({"row": "written"}, {"when": False, "http": {"url": "$APP", "path": "/$key"}, "within": "5s"})
    assert not is_valid({"row": "written", "job": "completed"})
    assert not is_valid({"when": False})
    assert not is_valid({"http": {"url": "nonsense"}})
