"""The `drill:` part of a playbook: what no type can say of it, and its SQL with the subject put in.

Takes a Playbook and Definitions; gives what is wrong, each with its path. A drill is data, so that a seventh playbook
is drilled without code; it is checked as strictly as the rest, because the drill is what proves the rest.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from reconciler.errors import nearest
from reconciler.playbook import Drill, Happening, Playbook
from reconciler.policy import HttpCheck
from reconciler.runbook.strict import Path
from reconciler.schema import Definitions

__all__ = ["SUBJECT_IN_SQL", "drill_problems", "variable_of"]

SUBJECT_IN_SQL = "{subject}"
"""In a statement: the subject's key, put in as a literal."""

_WRITES = re.compile(r"\s*(--[^\n]*\n\s*)*(insert|update|delete|with)\b", re.IGNORECASE)
_VARIABLE = re.compile(r"\$(?:([A-Za-z_][A-Za-z0-9_]*)|\{([A-Za-z_][A-Za-z0-9_]*)\})")

_Found = Iterator[tuple[Path, str, str]]


def variable_of(check: HttpCheck) -> str | None:
    """The variable that holds the whole URL of the check; None where the URL stands in the policy."""
    found = _VARIABLE.fullmatch(check.url)
    return (found[1] or found[2]) if found else None


def drill_problems(playbook: Playbook, definitions: Definitions) -> _Found:
    """(path, what is wrong, hint) for each thing that is wrong in `drill`."""
    drill = playbook.drill
    if drill is None:
        return
    if playbook.subject is not None and drill.subject is None:
        yield ("drill",), "subject is missing", f"the key of a row of {playbook.subject} in the drill's own database"
    if playbook.subject is None and drill.subject is not None:
        yield ("drill", "subject"), "this playbook is about everybody, so its drill has no subject", ""
    names = [symptom.name for symptom in playbook.symptoms]
    for index, name in enumerate(drill.sees):
        if name not in names:
            hint = nearest(name, names) or f"there are {', '.join(names)}"
            yield ("drill", "sees", index), f'there is no symptom "{name}"', hint
    for part, happenings in (("happens", drill.happens), ("recovers", drill.recovers)):
        for index, one in enumerate(happenings):
            yield from _of_happening(one, ("drill", part, index), playbook, definitions)
    yield from _unbalanced(drill)


def _of_happening(one: Happening, path: Path, playbook: Playbook, definitions: Definitions) -> _Found:
    given = [name for name in one.__struct_fields__ if getattr(one, name) is not None]
    if len(given) != 1:
        yield path, f"one of {', '.join(one.__struct_fields__)} is needed, and only one", ""
        return
    if one.sql is not None:
        if not _WRITES.match(one.sql):
            hint = "each in a happening of its own: a transaction that is to be rolled back must not be ended"
            yield (*path, "sql"), "the statement begins with INSERT, UPDATE, DELETE or WITH", hint
        if SUBJECT_IN_SQL in one.sql and playbook.subject is None:
            yield (*path, "sql"), f"{SUBJECT_IN_SQL}: this playbook has no subject", ""
    if one.jobs is not None and (one.jobs.waiting is None) == (one.jobs.failed is None):
        yield (*path, "jobs"), "one of waiting and failed is needed, and only one", ""
    if one.answer is not None:
        yield from _of_answer(one.answer.check, (*path, "answer", "check"), definitions)


def _of_answer(name: str, path: Path, definitions: Definitions) -> _Found:
    checks = definitions.policy.checks
    check = checks.get(name)
    if check is None:
        hint = nearest(name, checks) or "schemas/policy.yaml declares checks"
        yield path, f'there is no check "{name}"', hint
    elif not isinstance(check, HttpCheck):
        yield path, f"{name} asks no URL", "only a check of type http is answered"
    elif variable_of(check) is None:
        hint = "url: $NAME, which the drill sets to a server of its own"
        yield path, f"the URL of {name} stands in schemas/policy.yaml, and nobody but its owner answers it", hint


def _unbalanced(drill: Drill) -> _Found:
    """What is stopped must be started again, and nothing else."""
    stopped = [one.stop for one in drill.happens if one.stop is not None]
    started = [one.start for one in drill.recovers if one.start is not None]
    for part, happenings in (("happens", drill.happens), ("recovers", drill.recovers)):
        wrong: Sequence[str | None] = [one.start if part == "happens" else one.stop for one in happenings]
        for index, server in enumerate(wrong):
            if server is not None:
                done = "started" if part == "happens" else "stopped"
                hint = "`happens` stops servers, and `recovers` starts them"
                yield ("drill", part, index), f"{server} cannot be {done} here", hint
    for server in sorted(set(stopped) - set(started)):
        yield ("drill", "recovers"), f"{server} is stopped, and never started again", f"start: {server}"
    for server in sorted(set(started) - set(stopped)):
        yield ("drill", "recovers"), f"{server} is started, and was never stopped", f"stop: {server}"
