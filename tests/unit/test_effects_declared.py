"""What a schema says about effects is checked when it is read, and every mistake has its line."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from reconciler.editor_schema import editor_schemas
from reconciler.effects.following import RunFacts, count_following, following, outgoing
from tests.support.definitions import POLICY, definitions_of, sound_definitions
from tests.support.plan_examples import HELD, change

SCHEMA = """\
table: tenants
key: id
label: name
secret: [pin]
audit: {event: E, tenant: owner}
fields:
  isWhatsappEnabled: {type: boolean, kill: false, effects: %s}
  status: {type: enum, values: [on, off, '1'], effects: %s}
"""


def problems(effects: str, of_status: str = "[]", policy: str = "") -> list[str]:
    found, problems = definitions_of(POLICY + policy, tenants=SCHEMA % (effects, of_status))
    assert (found is None) == bool(problems)
    return [str(problem) for problem in problems]


@pytest.mark.parametrize(
    ("effects", "said"),
    [
        ("[{when: false}]", "an effect needs a kind (one of bullmq, redis_publish"),
        ("[{bullmq: {queue: q, job: J}, pg_notify: {channel: c}}]", "an effect has one kind, not 2"),
        ("[{bulmq: {queue: q, job: J}}]", "unknown property bulmq"),
        ("[{bullmq: {queue: 'a:b', job: J}}]", "a queue's name holds neither : nor $"),
        ("[{bullmq: {queue: q, job: J, options: {jobId: x}}}]", "the job's id is the effect's own"),
        ("[{bullmq: {job: J}}]", "queue is missing"),
        ("[{when: off, bullmq: {queue: q, job: J}}]", "`off` is a string in YAML 1.2, not a boolean (write false)"),
        ("[{when: [true, 5], bullmq: {queue: q, job: J}}]", "5 is not a boolean"),
        ("[{redis_publish: {channel: c, data: {a: $row.pin}}}]", "pin is named under `secret`"),
        ("[{redis_publish: {channel: 'c:$kye'}}]", '$kye is nothing that a template has (did you mean "$key"?)'),
        ("[{redis_stream: {stream: s, max_length: 0}}]", "expected a whole number of at least 1"),
        ("[{redis_delete: {keys: []}}]", "expected a list of at least 1 item"),
        ("[{webhook: {url: 'ftp://x'}}]", "ftp://x is not a URL"),
        ("[{webhook: {url: $HOOK, text: hi}}]", "`text` is for the formats slack and discord"),
        ("[{webhook: {url: $HOOK, format: slack, data: {}}}]", "`data` is for the format json"),
        ("[{webhook: {url: $HOOK, format: teams}}]", "teams"),
        ("[{pg_notify: {channel: " + "c" * 64 + "}}]", "63"),
        ("[{pg_notify: {channel: " + "ä" * 32 + "}}]", "a channel has at most 63 bytes"),
        ("[{pg_notify: {channel: 'c:$key'}}]", "c:$key: names stand in `data` alone"),
        ("[{bullmq: {queue: q, job: STOP_$key}}]", "STOP_$key: names stand in `data` alone"),
        ("[{bullmq: {queue: q, job: J, prefix: '{$key}'}}]", "names stand in `data` alone"),
        ("[{bullmq: {queue: q, job: J, options: {group: {id: $key}}}}]", "$key: names stand in `data` alone"),
        ("[{when: [], pg_notify: {channel: c}}]", "an empty list is led to by no change"),
        ("[{redis_stream: {stream: s, max_length: 9223372036854775808}}]", "9223372036854775807"),
    ],
)
def test_a_mistake_is_an_error_with_its_line(effects: str, said: str) -> None:
    [found] = problems(effects)
    assert found.startswith("schemas/tenants.yaml:7:")
    assert said in found


def test_an_unknown_field_is_told_with_the_very_line_of_the_template() -> None:
    schema = """\
table: tenants
key: id
label: name
audit: {event: E}
fields:
  isWhatsappEnabled:
    type: boolean
    effects:
      - when: false
        bullmq:
          queue: q
          job: J
          data:
            type: STOP
            who:
              name: of ${row.nmae}
"""
    _, [problem] = definitions_of(POLICY, tenants=schema)
    found = str(problem)
    assert found.startswith("schemas/tenants.yaml:16:15: ")
    assert "$row.nmae: unknown field nmae" in found


def test_all_mistakes_of_all_effects_are_found_at_once() -> None:
    effects = "[{when: 5, redis_delete: {keys: [$a, $b]}}, {when: true}]"
    assert len(problems(effects, "[{when: of, pg_notify: {channel: c}}]")) == 5


def test_the_policy_s_notifications_are_checked_too() -> None:
    [found] = problems("[]", policy="notify: [{on: [kill], webhook: {url: hooks}}]\n")
    assert found == "schemas/policy.yaml:5:33: hooks is not a URL (https://..., or $NAME for a variable that holds it)"
    [found] = problems("[]", policy="notify: [{on: [killed], webhook: {url: $HOOK}}]\n")
    assert found.startswith("schemas/policy.yaml:5:16: ")


def test_a_value_of_when_is_read_as_the_field_reads_it() -> None:
    tables = sound_definitions(
        tenants=SCHEMA % ("[]", "[{when: [on, 1], pg_notify: {channel: c}}, {pg_notify: {channel: every}}]")
    ).tables
    targets = {
        value: [target for _, target, _ in count_following([change(field="status", desired=value)], tables)]
        for value in ("on", "off", "1")
    }
    assert targets == {"on": ["c", "every"], "off": ["every"], "1": ["c", "every"]}


def test_only_what_is_written_has_effects() -> None:
    tables = sound_definitions(tenants=SCHEMA % ("[{pg_notify: {channel: c}}]", "[]")).tables
    held = change(action=HELD.action, desired=False, hold=HELD.hold)
    assert count_following([held], tables) == []
    assert count_following([change()], tables) == [("pg_notify", "c", 1)]


def test_an_entry_has_an_id_of_its_own_unless_the_message_says_one() -> None:
    effects = "[{pg_notify: {channel: c, data: {a: 1}}}, {pg_notify: {channel: c, data: {id: mine}}}]"
    tables = sound_definitions(tenants=SCHEMA % (effects, "[]")).tables
    entries = outgoing(following([change()], tables), RunFacts("run", "commit", None), {})
    messages: list[Any] = [json.loads(entry.payload["message"]) for entry in entries]
    assert messages == [{"a": 1, "id": entries[0].id}, {"id": "mine"}]
    assert entries[0].id != entries[1].id


def test_editors_know_that_an_effect_has_one_kind() -> None:
    definitions = sound_definitions(tenants=SCHEMA % ("[]", "[]"))
    validator = Draft202012Validator(json.loads(editor_schemas(definitions)["table.schema.json"]))

    def is_valid(effect: dict[str, Any]) -> bool:
        fields = {"a": {"type": "boolean", "effects": [effect]}}
        return validator.is_valid({"table": "t", "key": "id", "audit": {"event": "E"}, "fields": fields})

    assert is_valid({"when": False, "bullmq": {"queue": "q", "job": "J"}})
    assert not is_valid({"when": False})
    assert not is_valid({"bullmq": {"queue": "q", "job": "J"}, "pg_notify": {"channel": "c"}})
    assert not is_valid({"webhook": {"url": "ftp://x"}})
