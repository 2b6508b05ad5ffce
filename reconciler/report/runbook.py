"""The runbook as a page for people, drawn from the playbooks: docs/runbook.md is made by this, and a test keeps it so.

Takes a Runbook; gives Markdown. What the page says of guards, checks and values is read from the same definitions that
hold a restore back, so the page cannot promise what the tool does not do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from reconciler.playbook import BEFORE, SUBJECT, Assignment, Playbook, Symptom
from reconciler.policy import BullmqCheck, Check, HttpCheck, PostgresCheck, RedisCheck
from reconciler.report.markdown_text import code, prose
from reconciler.report.words import literal
from reconciler.runbook.playbooks import Runbook
from reconciler.runbook.triage import sentence_of
from reconciler.schema import Definitions

__all__ = ["render_runbook"]

_HEAD = """\
# Runbook

Drawn from `schemas/playbooks/` by `reconcile runbook`: change a playbook, not this page.

Which incident is it? `reconcile triage` looks at the live system, says which of these match, with the evidence, and
prints the command that stops the damage. It works while Redis, the pooler or the database is away. Then:

1. **Stop the damage**: `reconcile kill PLAYBOOK`. A kill passes every guard; `--now` does not wait for the pull request
   to be merged.
2. **Go back**: `reconcile restore PLAYBOOK`. Guards and checks hold it until it is safe, and it asks for the steps that
   only a person can do.
3. **Watch** for the time given, with `reconcile triage --watch`.
"""


def render_runbook(runbook: Runbook) -> str:
    """The page: a table of all incidents, and a section for each."""
    ordered = sorted(runbook.playbooks.items(), key=lambda one: (one[1].incident is None, one[1].incident or 0, one[0]))
    lines = [_HEAD, "| # | incident | what is seen | what stops it |", "|---|---|---|---|"]
    for name, playbook in ordered:
        number = "" if playbook.incident is None else str(playbook.incident)
        seen = "; ".join(prose(text.rstrip(".")) for text in playbook.look)
        lines.append(f"| {number} | [{prose(playbook.title)}](#{name}) | {seen} | `reconcile kill {name}` |")
    for name, playbook in ordered:
        lines += ["", *_section(name, playbook, runbook.definitions)]
    return "\n".join(lines) + "\n"


def _section(name: str, playbook: Playbook, definitions: Definitions) -> Iterator[str]:
    number = f"{playbook.incident}. " if playbook.incident is not None else ""
    yield f'## <a id="{name}"></a>{number}{prose(playbook.title)}\n'
    yield f"{prose(playbook.summary)}\n"
    for warning in playbook.warnings:
        yield f"> **{prose(warning)}**\n"
    yield "### What is seen\n"
    yield from (f"- {prose(text)}" for text in playbook.look)
    yield f"\n`reconcile triage --only {name}` looks for:\n"
    checks = definitions.policy.checks
    yield from (f"- {_symptom(symptom, checks)}" for symptom in playbook.symptoms)
    yield "\n### Stop the damage\n"
    yield from _kill(name, playbook)
    yield "\n### Go back\n"
    yield from _restore(name, playbook, definitions)
    yield f"\n### Watch for {playbook.monitor.for_}\n"
    yield from (f"- {prose(text)}" for text in playbook.monitor.steps)
    yield from (f"- {_symptom(symptom, checks)}" for symptom in playbook.monitor.queries)
    yield "\n### Whom to call\n"
    yield from (f"- {prose(contact.who)}: {prose(contact.how)}" for contact in playbook.contacts)


def _symptom(symptom: Symptom, checks: Mapping[str, Check]) -> str:
    text = f"{code(symptom.name)}: {prose(sentence_of(symptom))}"
    if symptom.check is not None:
        return f"{text} (where the check {code(symptom.check)} does not pass: {_check(checks[symptom.check])})"
    if symptom.probe is not None:
        tells = "whether `DIRECT_URL` does tells the pooler from the database"
        return f"{text} (where `DATABASE_URL` does not answer; {tells})"
    limits = ", ".join(f"{name} {limit}" for name, limit in symptom.thresholds.items())
    return f"{text} ({limits})" if limits else text


def _check(check: Check) -> str:
    """What makes a check pass."""
    match check:
        case RedisCheck():
            memory = f", and less than {check.memory_below} of its memory is used" if check.memory_below else ""
            return f"Redis answers PING{memory}"
        case BullmqCheck():
            within = f" in {check.failed_within}" if check.failed_within else ""
            limits = {
                "waiting": check.waiting,
                "active": check.active,
                f"failed{within}": check.failed,
                "delayed": check.delayed,
            }
            most = [f"at most {limit} {name}" for name, limit in limits.items() if limit is not None]
            most += [f"none waiting for more than {check.oldest_waiting}"] if check.oldest_waiting else []
            return f"the queues {', '.join(map(code, check.queues))} have {', '.join(most)}"
        case HttpCheck():
            return f"{code(check.url)} answers {check.status}"
        case PostgresCheck():
            return f"Postgres answers in less than {check.latency_below} ms"
        case _:
            return "its query returns true"


def _kill(name: str, playbook: Playbook) -> Iterator[str]:
    yield f'```sh\n{_command("kill", name, playbook)} --reason "..."\n```\n'
    yield "| option | what it does | what it sets |\n|---|---|---|"
    for option, kill in playbook.kill.options.items():
        flag = f"`--{option}`" + (" (without an option)" if option == playbook.kill.default else "")
        yield f"| {flag} | {prose(kill.help)} | {_values(kill.set)} |"
    if playbook.kill.steps:
        yield ""
        yield from (f"- {prose(step.text)}" for step in playbook.kill.steps)


def _restore(name: str, playbook: Playbook, definitions: Definitions) -> Iterator[str]:
    restore = playbook.restore
    yield f'```sh\n{_command("restore", name, playbook)} --reason "..."\n```\n'
    yield from (f"{number}. {prose(step.text)}" for number, step in enumerate(restore.steps, 1))
    if restore.checks:
        names = ", ".join(map(code, restore.checks))
        yield f"\nAsked first: {names} ({'; '.join(_check(definitions.policy.checks[one]) for one in restore.checks)})."
    yield f"\nSets, of what was switched: {_values(restore.set)}."
    guards = list(_guards(restore.set, definitions))
    if guards:
        yield "\nHeld by itself:\n"
        yield from guards


def _guards(assignments: Iterable[Assignment], definitions: Definitions) -> Iterator[str]:
    for one in assignments:
        guard = definitions.tables[one.table].fields[one.field].restore
        if guard is None:
            continue
        after = [f"not before {guard.after} after the last kill"] if guard.after else []
        requires = [f"not before these checks pass: {', '.join(map(code, guard.requires))}"] if guard.requires else []
        yield f"- {code(one.field)}: {'; '.join([*after, *requires])}"


def _command(verb: str, name: str, playbook: Playbook) -> str:
    return f"reconcile {verb} {name}" + (" --tenant NAME-OR-ID" if playbook.subject is not None else "")


def _values(assignments: Iterable[Assignment]) -> str:
    return ", ".join(_value(one) for one in assignments)


def _value(one: Assignment) -> str:
    row = "" if one.row == SUBJECT else f" of {code(f'{one.table}/{one.row}')}"
    value = "what it was" if one.value == BEFORE else code(literal(one.value))
    return f"{code(one.field)}{row} = {value}"
