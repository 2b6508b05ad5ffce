"""Which incident is this? Looks at the live system, and says which playbooks match, with the evidence in numbers.

Takes a Runbook, the environment and a deadline for each question; gives a Triage: matches with the command that throws
the switch, and what could not be looked at. It reads and never writes, and it is of use when Redis, the pooler or the
database itself is away: what does not answer is a symptom, or is said.
"""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal

import msgspec

from reconciler.database.address import DatabaseAddress
from reconciler.errors import UsageProblem, nearest
from reconciler.fields import Duration, format_timestamp
from reconciler.model import Json
from reconciler.playbook import Playbook, Symptom
from reconciler.runbook.database_probe import Door
from reconciler.runbook.in_effect import options_in_effect, read_live, rows_of
from reconciler.runbook.playbooks import Runbook, names_in
from reconciler.runbook.sightings import Sighting, Sightings, look

__all__ = [
    "Alternative",
    "Evidence",
    "Match",
    "Remedy",
    "Triage",
    "Unseen",
    "kill_command",
    "say",
    "sentence_of",
    "triage",
]

_LONGEST_REASON = 160


class Evidence(msgspec.Struct, frozen=True):
    """One row of a symptom that matches: the sentence, whose it is (where it is anybody's), and the numbers."""

    symptom: str
    text: str
    key: str | None
    label: str | None
    values: Mapping[str, Json]


class Alternative(msgspec.Struct, frozen=True):
    """Another option of the kill: its flag, and what it does."""

    flag: str
    help: str


class Remedy(msgspec.Struct, frozen=True):
    """The command for one row. `key` is None where the playbook has no subject, or nobody knows which row it is.

    `in_effect` names the options that have been taken already; None where that could not be read.
    """

    key: str | None
    label: str | None
    command: str
    in_effect: tuple[str, ...] | None = None


class Match(msgspec.Struct, frozen=True):
    """A playbook whose symptoms are there. `more`: there is more evidence of the same kind than is told."""

    playbook: str
    title: str
    incident: int | None
    evidence: tuple[Evidence, ...]
    more: bool
    warnings: tuple[str, ...]
    steps: tuple[str, ...]
    remedies: tuple[Remedy, ...]
    alternatives: tuple[Alternative, ...]


class Unseen(msgspec.Struct, frozen=True):
    """A symptom that could not be looked at. Not set up is no failure: nobody has said where to look."""

    playbook: str
    symptom: str
    reason: str
    is_set_up: bool


class Triage(msgspec.Struct, frozen=True):
    """What was found at one moment (RFC 3339, UTC). `looked` counts the questions that were answered."""

    at: str
    seconds: float
    playbooks: int
    looked: int
    matches: tuple[Match, ...]
    unseen: tuple[Unseen, ...]
    doors: tuple[Door, ...]
    notes: tuple[str, ...]

    @property
    def failed(self) -> tuple[Unseen, ...]:
        """What should have been seen and could not be."""
        return tuple(one for one in self.unseen if one.is_set_up)


def triage(
    runbook: Runbook,
    *,
    only: Sequence[str] = (),
    deadline_s: float = 3.0,
    directory: str = ".",
    environment: Mapping[str, str] = os.environ,
) -> Triage:
    """Look at the symptoms of all playbooks, or of those named. `directory` goes into the commands.

    Raises UsageProblem for a playbook that does not exist; nothing else that goes wrong is raised.
    """
    playbooks = _chosen(runbook.playbooks, only)
    started, at = time.monotonic(), datetime.now(UTC).replace(microsecond=0)
    symptoms = [symptom for playbook in playbooks.values() for symptom in playbook.symptoms]
    sightings = look(symptoms, runbook.definitions.policy.checks, environment, deadline_s)
    matches: list[Match] = []
    unseen: list[Unseen] = []
    for name, playbook in playbooks.items():
        match = _match(name, playbook, sightings, directory, unseen)
        if match is not None:
            matches.append(match)
    if matches and sightings.way_in is not None:
        matches = _with_effects(matches, runbook, sightings.way_in, deadline_s)
    return Triage(
        at=format_timestamp(at),
        seconds=round(time.monotonic() - started, 3),
        playbooks=len(playbooks),
        looked=sum(one.unseen is None for one in sightings.by_question.values()),
        matches=tuple(matches),
        unseen=tuple(unseen),
        doors=sightings.doors,
        notes=sightings.notes,
    )


def _chosen(playbooks: Mapping[str, Playbook], only: Sequence[str]) -> dict[str, Playbook]:
    """The playbooks asked for, in the order of their numbers."""
    for name in only:
        if name not in playbooks:
            hint = nearest(name, playbooks) or f"there are {', '.join(playbooks) or 'none'}"
            raise UsageProblem(f'there is no playbook "{name}" ({hint})')
    chosen = [(name, playbook) for name, playbook in playbooks.items() if not only or name in only]
    return dict(sorted(chosen, key=lambda one: (one[1].incident is None, one[1].incident or 0, one[0])))


def _match(name: str, playbook: Playbook, sightings: Sightings, directory: str, unseen: list[Unseen]) -> Match | None:
    evidence: list[Evidence] = []
    more = False
    for symptom in playbook.symptoms:
        sighting = sightings.of(symptom)
        try:
            evidence += _evidence(playbook, symptom, sighting)
        except KeyError as missing:
            sighting = Sighting(unseen=f"`says` names {{{missing.args[0]}}}, and the query returns no such column")
        more = more or sighting.more
        if sighting.unseen is not None:
            unseen.append(Unseen(name, symptom.name, sighting.unseen, sighting.is_set_up))
    if not evidence:
        return None
    return Match(
        playbook=name,
        title=playbook.title,
        incident=playbook.incident,
        evidence=tuple(evidence),
        more=more,
        warnings=tuple(playbook.warnings),
        steps=tuple(step.text for step in playbook.kill.steps),
        remedies=tuple(_remedies(name, playbook, evidence, directory)),
        alternatives=tuple(
            Alternative(f"--{option}", kill.help)
            for option, kill in playbook.kill.options.items()
            if option != playbook.kill.default
        ),
    )


def _evidence(playbook: Playbook, symptom: Symptom, sighting: Sighting) -> list[Evidence]:
    found = []
    for row in sighting.rows:
        key, label = (row.get("key"), row.get("label")) if playbook.subject else (None, None)
        found.append(
            Evidence(
                symptom.name,
                say(symptom, row),
                None if key is None else str(key),
                None if label is None else str(label),
                {column: value for column, value in row.items() if column not in ("key", "label")},
            )
        )
    return found


def _remedies(name: str, playbook: Playbook, evidence: Iterable[Evidence], directory: str) -> list[Remedy]:
    """One command per row that the evidence names, for the reason named first; one in all where it names none."""
    first: dict[str | None, Evidence] = {}
    for one in evidence:
        first.setdefault(one.key, one)
    if playbook.subject is None or list(first) == [None]:
        return [Remedy(None, None, kill_command(name, playbook, None, first[None].text, directory))]
    first.pop(None, None)
    return [
        Remedy(key, one.label, kill_command(name, playbook, key, one.text, directory)) for key, one in first.items()
    ]


def _with_effects(
    matches: Sequence[Match], runbook: Runbook, way_in: DatabaseAddress, deadline_s: float
) -> list[Match]:
    """The same matches, with what has been done about them already."""
    wanted = [
        one
        for match in matches
        for remedy in match.remedies
        for one in rows_of(runbook.playbooks[match.playbook], remedy.key)
    ]
    live = read_live(way_in, runbook.definitions, wanted, deadline_s)
    if live is None:
        return list(matches)

    def with_effect(match: Match, remedy: Remedy) -> Remedy:
        playbook = runbook.playbooks[match.playbook]
        return msgspec.structs.replace(remedy, in_effect=options_in_effect(playbook, remedy.key, live))

    return [
        msgspec.structs.replace(match, remedies=tuple(with_effect(match, remedy) for remedy in match.remedies))
        for match in matches
    ]


def kill_command(name: str, playbook: Playbook, key: str | None, reason: str, directory: str = ".") -> str:
    """The line to type in a shell. Where nobody knows the row, it says what is to be put in its place."""
    words = ["reconcile", "kill", name]
    if directory != ".":
        words += ["--directory", directory]
    if playbook.subject is not None:
        words += ["--tenant", key if key is not None else "NAME-OR-ID"]
    short = reason if len(reason) <= _LONGEST_REASON else reason[: _LONGEST_REASON - 1] + "…"
    return shlex.join([*words, "--reason", " ".join(short.split())])


def say(symptom: Symptom, row: Mapping[str, Json]) -> str:
    """The symptom's sentence about one row. Raises KeyError for a name that is neither a column nor a threshold."""
    words = {name: spoken(limit) for name, limit in symptom.thresholds.items()}
    words |= {name: shown(value) for name, value in row.items()}
    return symptom.says.format_map(words)


def sentence_of(symptom: Symptom) -> str:
    """The symptom's sentence without a row: thresholds put in, and an ellipsis for what only a row can tell."""
    words = {name: spoken(limit) for name, limit in symptom.thresholds.items()}
    return symptom.says.format_map({**dict.fromkeys(names_in(symptom.says), "…"), **words})


def shown(value: Json) -> str:
    """A value in a sentence: numbers with commas between the thousands."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int | Decimal) else str(value)


def spoken(limit: int | Duration) -> str:
    """A threshold in a sentence: `hour` for 1h, `15 minutes` for 15m."""
    if isinstance(limit, int):
        return f"{limit:,}"
    number, unit = int(limit[:-1]), {"s": "second", "m": "minute", "h": "hour", "d": "day"}[limit[-1]]
    return unit if number == 1 else f"{number:,} {unit}s"
