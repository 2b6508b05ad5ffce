"""The playbooks of `schemas/playbooks/`, read strictly and checked against the tables and the policy.

Takes documents with positions, or a project's directory; gives `Playbook`s by name. What a playbook sets is parsed by
the very fields that state is parsed by, so a playbook that is valid writes state that is valid: nobody finds a typing
mistake at three in the morning. A seventh incident is a file in this folder, and no code.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path as FilePath

import msgspec

from reconciler.documents import read_document
from reconciler.errors import InvalidInput, Problem, nearest
from reconciler.fields import Field, NotAValue
from reconciler.nodes import Document
from reconciler.playbook import BEFORE, SUBJECT, Assignment, Playbook, Symptom
from reconciler.runbook.drill_part import drill_problems
from reconciler.runbook.strict import Path, node_at, read_strictly
from reconciler.schema import Definitions, Places, read_definitions
from reconciler.sources import SourceFile, files_in_work_tree

__all__ = [
    "FOLDER",
    "RESERVED",
    "Playbook",
    "Runbook",
    "load_runbook",
    "names_in",
    "query_of",
    "read_playbook_files",
    "read_playbooks",
]

FOLDER = "schemas/playbooks"

RESERVED = frozenset((
    "allow-dirty", "branch", "check", "confirm", "connect-timeout", "deadline", "directory", "dry-run", "exit-code",
    "help", "incident", "lock-timeout", "no-pr", "no-push", "no-verify", "now", "only", "output", "override", "plan",
    "push", "reason", "remote", "revision", "row", "statement-timeout", "steps", "target", "tenant", "until",
    "verify-within", "wait", "watch", "yes",
))  # fmt: skip
"""Flags that `reconcile kill` and `reconcile restore` have for themselves, or may have: no option is called so."""

_WORD = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_NAME = re.compile(r"\{([^{}]*)\}")
_IDENTIFIER = re.compile(r"[a-z_][a-z0-9_]*")
_IN_QUERY = re.compile(r"\{([a-z_][a-z0-9_]*)\}")
_SAW = ("saw",)


class Runbook(msgspec.Struct, frozen=True):
    """All of `schemas/`: the tables and the policy, and the playbooks by name, sorted."""

    definitions: Definitions
    playbooks: dict[str, Playbook]


def load_runbook(directory: FilePath) -> Runbook:
    """The runbook of the work tree; `state/` is not looked at, so it may be broken. Raises InvalidInput."""
    problems: list[Problem] = []
    files = files_in_work_tree(directory, ("schemas",), problems)
    tables = [document for file in files if file.path.count("/") == 1 if (document := _document(file, problems))]
    definitions = read_definitions(tables, problems)
    playbooks = read_playbook_files(files, definitions, problems)
    if problems or definitions is None:
        raise InvalidInput(problems)
    return Runbook(definitions, playbooks)


def read_playbook_files(
    files: Iterable[SourceFile], definitions: Definitions | None, problems: list[Problem]
) -> dict[str, Playbook]:
    """The playbooks among the files. Without definitions, only what is no YAML at all is said."""
    of_folder = [file for file in files if file.path.startswith(f"{FOLDER}/")]
    documents = [document for file in of_folder if (document := _document(file, problems))]
    return read_playbooks(documents, definitions, problems) if definitions else {}


def read_playbooks(
    documents: Iterable[Document], definitions: Definitions, problems: list[Problem]
) -> dict[str, Playbook]:
    """Playbooks by name (that of the file), sorted; a Problem for each thing that is wrong, in any of them."""
    playbooks: dict[str, Playbook] = {}
    numbers: dict[int, str] = {}
    for document in documents:
        name = document.path.rpartition("/")[2].rpartition(".")[0]
        places = Places(document)
        before = len(problems)
        if not _WORD.fullmatch(name):
            hint = "lower case letters, digits and single hyphens"
            problems.append(Problem(f'"{name}" is no name for a playbook', places.of(), hint))
        playbook = read_strictly(document, Playbook, problems)
        if playbook is None:
            continue
        for path, message, hint in _Checker(document, playbook, definitions).problems():
            problems.append(Problem(message, places.of(*path), hint))
        if playbook.incident is not None:
            other = numbers.setdefault(playbook.incident, name)
            if other != name:
                problems.append(Problem(f"{other} is incident {playbook.incident} already", places.of("incident")))
        if name in playbooks:
            problems.append(Problem(f"there are two files of playbook {name}", places.of()))
        if len(problems) == before:
            playbooks[name] = playbook
    return dict(sorted(playbooks.items()))


def names_in(template: str) -> list[str]:
    """The names in braces of a `says`, in order."""
    return _NAME.findall(template)


def query_of(symptom: Symptom) -> str:
    """The symptom's SQL with its thresholds put in: numbers as they are, durations as text that is an interval."""
    assert symptom.query is not None
    limits = symptom.thresholds
    written = {name: f"'{value}'" if isinstance(value, str) else str(value) for name, value in limits.items()}
    return _IN_QUERY.sub(lambda found: written[found[1]], symptom.query).strip().rstrip(";")


def _document(file: SourceFile, problems: list[Problem]) -> Document | None:
    return read_document(file.path, file.data, problems)


_Found = Iterator[tuple[Path, str, str]]


class _Checker:
    """What no type can say of one playbook."""

    def __init__(self, document: Document, playbook: Playbook, definitions: Definitions) -> None:
        self._document = document
        self._playbook = playbook
        self._definitions = definitions

    def problems(self) -> _Found:
        """(path, what is wrong, hint) for each thing that is wrong."""
        playbook = self._playbook
        yield from self._subject()
        yield from self._symptoms(playbook.symptoms, ("symptoms",))
        yield from self._symptoms(playbook.monitor.queries, ("monitor", "queries"))
        yield from self._kill()
        yield from self._assignments(playbook.restore.set, ("restore", "set"), restores=True)
        yield from self._way_back()
        yield from self._steps()
        yield from drill_problems(playbook, self._definitions)
        for index, check in enumerate(playbook.restore.checks):
            yield from self._known_check(check, ("restore", "checks", index))

    def _subject(self) -> _Found:
        subject, tables = self._playbook.subject, self._definitions.tables
        if subject is None:
            return
        if subject not in tables:
            yield ("subject",), f'no schema for a table "{subject}"', nearest(subject, tables)
        elif not any(one.row == SUBJECT for option in self._playbook.kill.options.values() for one in option.set):
            yield ("subject",), "no kill option sets a field of the subject", f"row: {SUBJECT}"

    def _symptoms(self, symptoms: Sequence[Symptom], path: Path) -> _Found:
        seen: set[str] = set()
        for index, symptom in enumerate(symptoms):
            at = (*path, index)
            if symptom.name in seen:
                yield (*at, "name"), f"{symptom.name} is named twice", ""
            seen.add(symptom.name)
            if sum(one is not None for one in (symptom.query, symptom.check, symptom.probe)) != 1:
                yield at, f"{symptom.name} needs one of query, check and probe", ""
                continue
            yield from self._query(symptom, at)
            if symptom.check is not None:
                yield from self._known_check(symptom.check, (*at, "check"))
            yield from _template_problems(symptom, (*at, "says"))

    def _query(self, symptom: Symptom, at: Path) -> _Found:
        if symptom.query is None:
            if symptom.thresholds:
                hint = "those of a check stand in schemas/policy.yaml"
                yield (*at, "thresholds"), "only a query has thresholds", hint
            return
        if not re.match(r"\s*(--[^\n]*\n\s*)*(select|with)\b", symptom.query, re.IGNORECASE):
            yield (*at, "query"), "a query begins with SELECT or WITH", "it is run READ ONLY"
        used = set(_IN_QUERY.findall(symptom.query))
        for name in sorted(used - symptom.thresholds.keys()):
            hint = nearest(name, symptom.thresholds) or "declare it under `thresholds`"
            yield (*at, "query"), f"there is no threshold {{{name}}}", hint
        for name in symptom.thresholds:
            if name not in used:
                yield (*at, "thresholds", name), f"the query does not name {{{name}}}", ""

    def _known_check(self, check: str, path: Path) -> _Found:
        checks = self._definitions.policy.checks
        if check not in checks:
            hint = nearest(check, checks) or "declare it under `checks` in schemas/policy.yaml"
            yield path, f'no check is called "{check}"', hint

    def _kill(self) -> _Found:
        kill = self._playbook.kill
        if kill.default not in kill.options:
            hint = nearest(kill.default, kill.options) or f"one of {', '.join(kill.options)}"
            yield ("kill", "default"), f'no option is called "{kill.default}"', hint
        for name, option in kill.options.items():
            path = ("kill", "options", name)
            if not _WORD.fullmatch(name):
                yield path, f'"{name}" is no name for an option', "lower case letters, digits and single hyphens"
            if name in RESERVED:
                yield path, f"--{name} is a flag of reconcile itself", "find another name"
            yield from self._assignments(option.set, (*path, "set"), restores=False)

    def _assignments(self, assignments: Sequence[Assignment], path: Path, *, restores: bool) -> _Found:
        seen: set[tuple[str, str, str]] = set()
        for index, one in enumerate(assignments):
            at = (*path, index)
            if _target(one) in seen:
                yield at, f"{one.field} of the same row is set twice", ""
            seen.add(_target(one))
            if one.row == SUBJECT and self._playbook.subject is None:
                hint = "name the row, or the subject's table"
                yield (*at, "row"), f"{SUBJECT} has no meaning without `subject`", hint
            elif one.row == SUBJECT and self._playbook.subject != one.table:
                yield (*at, "row"), f"{SUBJECT} is a row of {self._playbook.subject}, not of {one.table}", ""
            elif one.row.startswith("$") and one.row != SUBJECT:
                yield (*at, "row"), f"{one.row} is not a directive", f"{SUBJECT}, or a row's key"
            yield from self._value(one, at, restores)

    def _value(self, one: Assignment, at: Path, restores: bool) -> _Found:
        table = self._definitions.tables.get(one.table)
        if table is None:
            hint = nearest(one.table, self._definitions.tables)
            yield (*at, "table"), f'no schema for a table "{one.table}"', hint
            return
        field = table.fields.get(one.field)
        if field is None:
            if one.field in table.secret:
                yield (*at, "field"), f"{one.field} holds a secret: it can never be managed or read", ""
                return
            hint = nearest(one.field, table.fields) or f"schemas/{table.name}.yaml lists the fields"
            yield (*at, "field"), f'table {table.name} has no managed field "{one.field}"', hint
            return
        if one.value == BEFORE:
            if not restores:
                yield (*at, "value"), f"{BEFORE} is for `restore`: a kill sets a value of its own", ""
            return
        yield from self._side(one, field, (*at, "value"), restores)

    def _side(self, one: Assignment, field: Field, path: Path, restores: bool) -> _Found:
        """The value must be one of the field, and on the right side of it where it has sides."""
        node = node_at(self._document, path)
        assert node is not None
        try:
            killed = field.is_killed(field.parse(node))
        except NotAValue as wrong:
            yield path, f"{one.table}.{one.field}: {wrong}", wrong.hint
            return
        if restores and killed:
            yield path, f"this is on the kill side of {one.field}: it restores nothing", ""
        side = getattr(field, "kill", None)
        if not restores and not killed and side not in (None, [], "lower", "higher"):
            hint = f"schemas/{one.table}.yaml says which is"
            yield path, f"this is not on the kill side of {one.field}: it stops nothing", hint

    def _way_back(self) -> _Found:
        """What a kill sets must have a way back, and what a restore sets must have been killed."""
        options = self._playbook.kill.options
        back = {_target(one) for one in self._playbook.restore.set}
        killed = {_target(one) for option in options.values() for one in option.set}
        for name, option in options.items():
            for index, one in enumerate(option.set):
                if _target(one) not in back:
                    yield ("kill", "options", name, "set", index), f"`restore` says nothing of {one.field}", ""
        for index, one in enumerate(self._playbook.restore.set):
            if _target(one) not in killed:
                yield ("restore", "set", index), f"no kill option sets {one.field}", ""

    def _steps(self) -> _Found:
        seen: set[str] = set()
        for part, steps in (("kill", self._playbook.kill.steps), ("restore", self._playbook.restore.steps)):
            for index, step in enumerate(steps):
                if step.id in seen:
                    yield (part, "steps", index, "id"), f"there are two steps {step.id}", ""
                seen.add(step.id)


def _template_problems(symptom: Symptom, path: Path) -> _Found:
    rest = _NAME.sub("", symptom.says)
    if "{" in rest or "}" in rest:
        yield path, "a brace is not closed, or not opened", "write {name}"
    for name in names_in(symptom.says):
        if not _IDENTIFIER.fullmatch(name):
            yield path, f"{{{name}}} is not a name", "lower case letters, digits and _, without formats"
        elif symptom.query is None and name not in _SAW:
            yield path, f"{{{name}}} is not known here", "a check and a probe give {saw}"


def _target(one: Assignment) -> tuple[str, str, str]:
    return one.table, one.row, one.field
