"""Webhooks, checks and proofs over HTTP: is every variable of the environment set that they need?

Takes the Definitions and the environment; gives Findings. No webhook is called: whoever is behind it would read it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from string import Template

from reconciler.checks.run import unset_variable
from reconciler.doctor.findings import Finding, note, ok, warning
from reconciler.effects.declared import WebhookTarget
from reconciler.policy import HttpCheck
from reconciler.schema import Definitions

PART = "effects"


def look_at_targets(definitions: Definitions, environment: Mapping[str, str]) -> list[Finding]:
    """A row for each variable that a webhook needs, and for each check or proof that cannot be made."""
    return list(_look(definitions, environment))


def _look(definitions: Definitions, environment: Mapping[str, str]) -> Iterator[Finding]:
    needed: dict[str, list[str]] = {}
    for table in definitions.tables.values():
        for name, field in table.fields.items():
            for effect in field.effects:
                if effect.webhook is not None:
                    _add(needed, effect.webhook, f"{table.name}.{name}")
    for index, notification in enumerate(definitions.policy.notify):
        _add(needed, notification.webhook, f"notify[{index}]")
    for variable, users in sorted(needed.items()):
        who = ", ".join(dict.fromkeys(users))
        if environment.get(variable, "").strip():
            yield ok(PART, "variable", f"{variable} is set, for {who}")
        else:
            text = f"{variable} is not set: what {who} sends waits in the outbox"
            yield warning(PART, "variable", text, "set it where reconcile runs")
    for name, check in sorted(definitions.policy.checks.items()):
        unset = unset_variable(check, environment) if isinstance(check, HttpCheck) else None
        if unset is not None:
            advice = f"set {unset}: a restore that requires the check is held until then"
            yield note(PART, "check", f"{name} cannot be made: {unset} is not set", advice)


    yield from _look_at_proofs(definitions, environment)


def _look_at_proofs(definitions: Definitions, environment: Mapping[str, str]) -> Iterator[Finding]:
    needed: dict[str, list[str]] = {}
    for table in definitions.tables.values():
        for name, field in table.fields.items():
            for proof in (*field.verify, *(proof for effect in field.effects for proof in effect.verify)):
                if proof.http is not None:
                    for text in (proof.http.url, *proof.http.headers.values()):
                        for variable in Template(text).get_identifiers():
                            needed.setdefault(variable, []).append(f"{table.name}.{name}")
    for variable, users in sorted(needed.items()):
        if not environment.get(variable, "").strip():
            who = ", ".join(dict.fromkeys(users))
            text = f"{who} cannot be seen in effect over HTTP: {variable} is not set"
            yield warning(PART, "proof", text, f"set {variable}: until then a run says NOT IN EFFECT")


def _add(needed: dict[str, list[str]], target: WebhookTarget, user: str) -> None:
    names = [target.url[1:]] if target.url.startswith("$") else []
    for variable in (*names, *filter(None, (target.secret,))):
        needed.setdefault(variable, []).append(user)
