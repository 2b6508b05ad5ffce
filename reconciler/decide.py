"""From a Project and a database to a Plan: the one function that a dry run and an apply share.

Takes a connection inside a transaction; gives a `Decision`: the Plan and what it was made from. A dry run hands over
`compare` and an apply `find_and_lock` as the way to look at the rows that differ; nothing else is different.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from psycopg import Connection

from reconciler.actual import Mismatch, Seen, Sought, compare, count_rows, expectations
from reconciler.blast import refusals, tables_to_count
from reconciler.canonical import to_text
from reconciler.catalog import Catalog, may_hide_rows, read_catalog
from reconciler.change_path import LookedAt, look_at_part, look_where_needed
from reconciler.database.connection import is_rehearsing
from reconciler.diff import diff_row, in_sync_past_a_kill
from reconciler.effects.following import count_following
from reconciler.errors import InvalidInput, NotAsExpected, Problem, UsageProblem, nearest
from reconciler.fields import format_timestamp
from reconciler.fit import refuse_what_does_not_fit, relation_of, relations_of
from reconciler.freezes import frozen_now
from reconciler.guards import CheckResult, Frozen, Situation, checks_needed, hold_back, is_guarded
from reconciler.in_effect import state_in_effect
from reconciler.ledger import Head, read_freezes, read_head, read_marks, read_released, settled_commit
from reconciler.ledger_schema import VERSION
from reconciler.model import Action, Change, Direction, FieldKey, Json, Mark, Row, RowKey
from reconciler.plan import Counts, EffectSummary, Notice, Plan, Scope, count, fingerprint_of
from reconciler.project import Project
from reconciler.schema import Table

Look = Callable[[Connection[Any], Sought], list[Seen]]
"""How a run looks at the rows of a table that are not in sync, in order of key: `compare`, or `find_and_lock`."""


class Part(msgspec.Struct, frozen=True):
    """Some of the rows that a Decision spoke of, and the Project that was read for it: one batch of a large change."""

    rows: Scope
    project: Project


class Inputs(msgspec.Struct, frozen=True, kw_only=True):
    """What a decision depends on besides git and the database.

    `results`: the health checks made so far. `committed`: whether desired stands in a commit. `allowed_changes`: how
    many rows may change whatever the blast limit says; `allowance` tells, only where that is not enough, how many the
    commits since a given one allow. `now`: another time than the database's, for a demo. `fields`: only these count.
    `full`: whether every row is looked at; None: if that is due (`change_path`). `part`: only these rows are looked at,
    of all that the scope means. `insists`: what a run of something that is not merged is to kill, and to leave killed,
    whether or not there is anything to write, with the values.
    """

    scope: Scope = Scope()
    notices: tuple[Notice, ...] = ()
    results: Mapping[str, CheckResult] = {}
    committed: bool = True
    allowed_changes: int = 0
    allowance: Callable[[str | None], int] = lambda _applied: 0
    now: datetime | None = None
    fields: frozenset[FieldKey] | None = None
    full: bool | None = None
    part: Part | None = None
    insists: Mapping[FieldKey, Json] = {}


class Decision(msgspec.Struct, frozen=True):
    """A Plan, and what an apply needs to carry it out. `checks_needed` would have to be made before it is final.

    `project` is the one that it was made from, with all of the state that it needed.
    `desired` is what counts now; `written_down` what stands in git, where some of it may be meant for another time.
    `seen` are the rows that were not in sync, by table and key. `insisted` are the fields of `Inputs.insists` that were
    off already, with their values.
    """

    plan: Plan
    catalog: Catalog
    head: Head
    written_down: Mapping[str, Mapping[str, Row]]
    desired: Mapping[str, Mapping[str, Row]]
    seen: Mapping[str, Mapping[str, Seen]]
    marks: Mapping[FieldKey, Mark]
    now: datetime
    looked_at: LookedAt
    project: Project
    checks_needed: frozenset[str] = frozenset()
    insisted: Mapping[FieldKey, Json] = {}


def decide(connection: Connection[Any], project: Project, inputs: Inputs, look: Look) -> Decision:
    """Make the Plan.

    Raises NotAsExpected where the database does not fit the schemas, InvalidInput where state names what the database
    lacks or cannot hold (an unknown row, a number out of a column's range, an `$expect` that does not hold),
    UsageProblem where the scope names nothing.
    """
    definitions, scope = project.definitions, inputs.scope
    _refuse_unknown(scope, definitions.tables)
    catalog = read_catalog(connection, relations_of(definitions))
    if inputs.part is None:
        project, looked_at = look_where_needed(connection, project, catalog, scope, inputs.full)
    else:
        looked_at = look_at_part(connection, project, catalog)
        project, scope = inputs.part.project, inputs.part.rows
    written_down = _in_scope(project, scope)
    refuse_what_does_not_fit(definitions, written_down, catalog, project.matches)
    head = _head(connection, catalog)
    now = _clock(inputs, head, catalog)
    desired, notes = state_in_effect(connection, project, written_down, now, has_ledger=head.version > 0)
    fleets = None
    if project.matches:
        from reconciler.fleets import Fleets  # few projects have any

        fleets = Fleets(
            connection,
            project,
            catalog,
            written_down,
            desired,
            now,
            has_ledger=head.version > 0,
            fields=inputs.fields,
        )
        desired = fleets.desired(dict(_tables_in_scope(project, scope)))
        notes += fleets.notes
    if head.version == 0:
        notes.append(Notice("there is no ledger yet: everything is new. `reconcile init` makes it"))

    seen = _look_at_rows(connection, project, desired, scope, catalog, look, looked_at.keys)
    if fleets is not None and look is not compare:
        desired = fleets.desired_again(desired, {name: list(rows) for name, rows in seen.items()})
    keys = {*((name, key) for name, rows in seen.items() for key in rows), *(field[:2] for field in inputs.insists)}
    marks = read_marks(connection, sorted(keys)) if head.version else {}
    if not scope.is_everything:
        marks = _covered(marks, scope)
    for name, rows in in_sync_past_a_kill(marks, desired, seen).items():
        table, asked = definitions.tables[name], {key: Row(name, key, {}) for key in rows}
        again = look(connection, Sought(table, relation_of(catalog, table), asked, catalog.has_ledger, rows))
        seen[name] |= {row.key: row for row in again}

    found = _diff(project, desired, seen, marks)
    found += _orphans(connection, definitions.tables, head) if scope.is_everything else []
    if inputs.fields is not None:
        found = [change for change in found if (change.table, change.key, change.field) in inputs.fields]
        marks = {field: mark for field, mark in marks.items() if field in inputs.fields}
    insisted: dict[FieldKey, Json] = {}
    if inputs.insists:
        from reconciler.insisting import notices_of_insisting, off_already  # only a kill ahead of git does

        insisted = off_already(inputs.insists, scope, inputs.fields, desired, seen, definitions.tables)
        found = [change for change in found if not (change.action.writes and change.sort_key() in insisted)]
        notes += notices_of_insisting(insisted)
    situation = Situation(
        now=now,
        tables=definitions.tables,
        desired=desired,
        marks=marks,
        results=inputs.results,
        frozen=_frozen(connection, project, head, found, now),
        committed=inputs.committed,
    )
    changes = sorted(hold_back(found, situation), key=Change.sort_key)
    missing = _missing_rows(connection, project, desired, seen, catalog)
    notes += _check_expectations(connection, project, desired, catalog, changes, missing)
    notes += _left_unnamed(changes, marks, desired)
    if inputs.part is None and looked_at.keys is None:
        notes += _named_by_nobody(project, scope, desired, seen)

    plan = Plan(
        id=str(uuid.uuid4()),
        created_at=format_timestamp(now),
        revision=project.revision,
        last_applied=head.commit,
        scope=inputs.scope,
        database=catalog.database,
        database_id=catalog.identity,
        changes=tuple(changes),
        notices=(*inputs.notices, *notes, *looked_at.notices),
        # A batch is a part of what was judged as a whole.
        refusals=tuple(_blast(connection, project, catalog, changes, inputs, head)) if inputs.part is None else (),
        counts=_counts(changes, desired, looked_at.managed if scope.is_everything else None),
        is_full=looked_at.is_full,
        fingerprint=fingerprint_of(changes),
        effects=tuple(EffectSummary(*each) for each in count_following(changes, definitions.tables)),
    )
    return Decision(
        plan,
        catalog,
        head,
        written_down,
        desired,
        seen,
        marks,
        now,
        looked_at,
        project,
        frozenset(checks_needed(found, situation)),
        insisted,
    )


def _counts(
    changes: Sequence[Change], desired: Mapping[str, Mapping[str, Row]], managed: tuple[int, int] | None
) -> Counts:
    if managed is None:
        rows = [row for of_table in desired.values() for row in of_table.values()]
        managed = len(rows), sum(len(row.values) for row in rows)
    return count(changes, managed_rows=managed[0], managed_fields=managed[1])


def _clock(inputs: Inputs, head: Head, catalog: Catalog) -> datetime:
    """The database's clock, which all runs share, whatever machine they are on; in a demo or a drill, another."""
    if inputs.now is None:
        return catalog.now
    if not head.movable_clock and not is_rehearsing():
        raise UsageProblem("--now moves the clock of a demo's database only")
    return inputs.now


def _frozen(
    connection: Connection[Any], project: Project, head: Head, changes: Sequence[Change], now: datetime
) -> list[Frozen]:
    """The freezes that are on. Where nothing but kills is written, nobody asks."""
    if not any(is_guarded(change, project.definitions.tables) for change in changes):
        return []
    called = read_freezes(connection, now) if head.version else []
    return [*frozen_now(project.definitions.policy.freezes, now), *called]


def _blast(
    connection: Connection[Any],
    project: Project,
    catalog: Catalog,
    changes: Sequence[Change],
    inputs: Inputs,
    head: Head,
) -> list[str]:
    blast = project.definitions.policy.blast
    tables = project.definitions.tables
    sizes = {
        name: count_rows(connection, relation_of(catalog, tables[name])) for name in tables_to_count(changes, blast)
    }
    refused = refusals(changes, blast, sizes, inputs.allowed_changes)
    if not refused:
        return []
    return refusals(changes, blast, sizes, inputs.allowance(settled_commit(connection) if head.version else None))


def _covered(marks: Mapping[FieldKey, Mark], scope: Scope) -> dict[FieldKey, Mark]:
    """The marks of fields that the scope means."""
    if scope.rows:
        only = frozenset(scope.rows)
        return {field: mark for field, mark in marks.items() if f"{field[0]}/{field[1]}" in only}
    return {field: mark for field, mark in marks.items() if field[0] in scope.tables}


def _refuse_unknown(scope: Scope, tables: Mapping[str, Table]) -> None:
    """Raise UsageProblem where the scope names what no schema describes."""
    for name in [*scope.tables, *(row.partition("/")[0] for row in scope.rows)]:
        if name not in tables:
            hint = nearest(name, tables) or f"the tables are {', '.join(tables)}"
            raise UsageProblem(f'no schema for a table "{name}" ({hint})')
    for row in scope.rows:
        if not row.partition("/")[2]:
            raise UsageProblem(f"--only {row}: name a row as table/key, or a whole table with --table {row}")


_FEW_KEYS = 2000
"""Of more, to find the nearest takes longer than a person in a hurry waits."""


def _named_by_nobody(
    project: Project,
    scope: Scope,
    desired: Mapping[str, Mapping[str, Row]],
    seen: Mapping[str, Mapping[str, Seen]],
) -> Iterator[Notice]:
    """A Notice for each row of the scope that neither git nor the ledger names: whoever mistyped a key in an incident
    must not take "nothing to do" for an answer.
    """
    for asked in scope.rows:
        name, _, key = asked.partition("/")
        if key not in desired.get(name, {}) and key not in seen.get(name, {}):
            known = project.desired.get(name, {})
            hint = nearest(key, known) if len(known) <= _FEW_KEYS else ""
            yield Notice(f"--only {asked}: git names no such row" + (f" ({hint})" if hint else ""))


def _in_scope(project: Project, scope: Scope) -> dict[str, dict[str, Row]]:
    if scope.is_everything:
        return project.desired
    if scope.rows:
        # By the rows that are asked for: they may be few of a million.
        found: dict[str, dict[str, Row]] = {name: {} for name in project.desired}
        for asked in scope.rows:
            name, _, key = asked.partition("/")
            row = project.desired.get(name, {}).get(key)
            if row is not None:
                found[name][key] = row
        return found
    return {name: rows if name in scope.tables else {} for name, rows in project.desired.items()}


def _tables_in_scope(project: Project, scope: Scope) -> Iterator[tuple[str, list[str] | None]]:
    """The tables to look at, each with the keys that count, or None for all of them."""
    for name in project.definitions.tables:
        only = [row.partition("/")[2] for row in scope.rows if row.partition("/")[0] == name]
        if scope.is_everything or only or (not scope.rows and name in scope.tables):
            yield name, only if scope.rows else None


def _head(connection: Connection[Any], catalog: Catalog) -> Head:
    if not catalog.has_ledger:
        return Head(0)
    head = read_head(connection)
    if head.version < VERSION:
        text = f"the ledger has version {head.version}, and this program needs {VERSION}"
        raise NotAsExpected([Problem(text, None, "run `reconcile init`: it upgrades the ledger")])
    if head.version > VERSION:
        text = f"the ledger has version {head.version}, and this program knows {VERSION}"
        raise NotAsExpected([Problem(text, None, "use the newer reconcile that made it")])
    return head


def _look_at_rows(
    connection: Connection[Any],
    project: Project,
    desired: Mapping[str, Mapping[str, Row]],
    scope: Scope,
    catalog: Catalog,
    look: Look,
    keys: Mapping[str, Sequence[str]] | None,
) -> dict[str, dict[str, Seen]]:
    """The rows of each table that are not in sync, by key."""
    seen: dict[str, dict[str, Seen]] = {}
    for name, only in _tables_in_scope(project, scope):
        table = project.definitions.tables[name]
        only_keys = keys[name] if only is None and keys is not None else only
        sought = Sought(table, relation_of(catalog, table), desired.get(name, {}), catalog.has_ledger, only_keys)
        seen[name] = {row.key: row for row in look(connection, sought)}
    return seen


def _diff(
    project: Project,
    desired: Mapping[str, Mapping[str, Row]],
    seen: Mapping[str, Mapping[str, Seen]],
    marks: Mapping[FieldKey, Mark],
) -> list[Change]:
    changes: list[Change] = []
    marked: dict[RowKey, dict[str, Mark]] = {}
    for (name, key, field), mark in marks.items():
        marked.setdefault((name, key), {})[field] = mark
    for name, rows in seen.items():
        table = project.definitions.tables[name]
        wanted = desired.get(name, {})
        for key, row in rows.items():
            changes += diff_row(
                table, key, wanted.get(key), row.base, row.actual, marked.get((name, key), {}), row.label
            )
    return changes


def _left_unnamed(
    changes: Sequence[Change], marks: Mapping[FieldKey, Mark], desired: Mapping[str, Mapping[str, Row]]
) -> list[Notice]:
    """What a run of a dirty work tree wrote into fields that no commit has named since: said until one does."""
    spoken_of = {change.sort_key() for change in changes}
    notices = []
    for field, mark in sorted(marks.items()):
        table, key, name = field
        row = desired.get(table, {}).get(key)
        if mark.glass is None or mark.seen_at is None or field in spoken_of or (row is not None and name in row.values):
            continue
        text = f"{name} of {table} {key} was made {to_text(mark.seen_value)} without a commit: {mark.glass}"
        notices.append(Notice(f"{text}. Git does not name it: commit it, or `reconcile release {table}/{key}.{name}`"))
    return notices


def _orphans(connection: Connection[Any], tables: Mapping[str, Table], head: Head) -> list[Change]:
    """Releases of what the ledger holds for tables that no schema describes any more."""
    gone = [name for name in head.tables if name not in tables]
    return read_released(connection, gone) if gone else []


def _missing_rows(
    connection: Connection[Any],
    project: Project,
    desired: Mapping[str, Mapping[str, Row]],
    seen: Mapping[str, Mapping[str, Seen]],
    catalog: Catalog,
) -> list[Problem]:
    problems = []
    for name, rows in seen.items():
        table = project.definitions.tables[name]
        if table.definition.missing_row == "create":
            continue
        missing = [row for row in rows.values() if row.actual is None and row.key in desired.get(name, {})]
        # Asked only then. Whoever took a row out of state that is hidden would release what is killed.
        is_hiding = bool(missing) and may_hide_rows(connection, relation_of(catalog, table))
        for row in missing:
            text = f'table {name} has no row with key "{row.key}"'
            if is_hiding:
                text += f" that role {catalog.role} can see"
                hint = "row-level security may hide it: `reconcile doctor` has the policy that shows all rows"
            elif row.base is not None:
                hint = "it was there before: deleted? Take it out of state; --only applies other rows until then"
            else:
                hint = "a wrong key? Rows of this table are made by the application, never by a reconciler"
            problems.append(Problem(text, desired[name][row.key].location, hint))
    return problems


def _check_expectations(
    connection: Connection[Any],
    project: Project,
    desired: Mapping[str, Mapping[str, Row]],
    catalog: Catalog,
    changes: Sequence[Change],
    problems: list[Problem],
) -> list[Notice]:
    """Raise InvalidInput with `problems` and every `$expect` that fails on a row that is to be changed or adopted.

    On a row where nothing happens it is only a notice: a tenant that was renamed must not stand in the way of a kill
    somewhere else. So it is on a row of which a guard holds all there is, where something is killed.
    """
    idle = [Action.KEEP, Action.RELEASE]
    if any(change.direction is Direction.KILL and change.action.writes for change in changes):
        idle.append(Action.HOLD)
    at_work = {(change.table, change.key) for change in changes if change.action not in idle}
    notices = []
    for name, rows in desired.items():
        table = project.definitions.tables[name]
        for mismatch in expectations(connection, table, relation_of(catalog, table), rows):
            text = _mismatch_text(name, mismatch)
            if (name, mismatch.key) in at_work:
                hint = "a wrong key, or the row has changed: look before you go on"
                problems.append(Problem(text, mismatch.location, hint))
            else:
                notices.append(Notice(text, mismatch.location))
    if problems:
        raise InvalidInput(problems)
    return notices


def _mismatch_text(table: str, mismatch: Mismatch) -> str:
    found = to_text(mismatch.found)
    return f"$expect: {mismatch.column} of {table} {mismatch.key} is {found}, not {to_text(mismatch.expected)}"
