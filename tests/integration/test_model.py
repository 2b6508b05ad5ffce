"""Random histories on a real database and a real repository, held step by step against the rules of the design.

Commits, hands in the database, clocks, kills, restores, dirty work trees, freezes, crashes and runs again: after each
run every field must be what `tests.support.oracle` says, every changed field must have its audit entry, the ledger must
say what was applied, the dry run must have said the same, and running again must change nothing.

RECONCILE_MODEL=EXAMPLESxSTEPS (as in 400x60) makes it look longer than it does by default, and shorten what it finds.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import hypothesis.strategies as st
import msgspec
import psycopg
import pytest
from hypothesis import HealthCheck, Phase, note, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from reconciler import change_path, parse_cache, project, row_reader
from reconciler.break_glass import call_freeze, end_freeze, release
from reconciler.database.connection import DatabaseConnection, open_database
from reconciler.database.url import parse_database_url
from reconciler.errors import ReconcileError, Stale
from reconciler.initialize import initialize as init_ledger
from reconciler.pipeline import Ending, Origin, Request, apply, make_plan, read_for_apply
from reconciler.plan import Scope
from reconciler.project import Project
from tests.support.gitrepo import GitRepo
from tests.support.oracle import (
    ASKED,
    NOTHING,
    Data,
    Entry,
    Memory,
    Rule,
    World,
    expected,
    expected_row,
    remember,
    wanted,
)
from tests.support.postgres import Database, Server

_Field = tuple[str, str, str]

TENANTS = ("t-acme", "t-bob")
HOUR = timedelta(hours=1)
RULES: dict[tuple[str, str], Rule] = {
    ("tenants", "isWhatsappEnabled"): Rule(frozenset({False}), after=24 * HOUR),
    ("tenants", "isAiEnabled"): Rule(frozenset({False}), checked=True),
    ("tenants", "aiDailyLimit"): Rule(lower=True, after=6 * HOUR),
    ("tenants", "status"): Rule(frozenset({"SUSPENDED", "ARCHIVED"}), after=12 * HOUR, checked=True),
    ("tenants", "aiPlan"): Rule(frozenset({"FREE"}), after=3 * HOUR),
    ("tenants", "aiCustomModel"): Rule(),
    ("system_settings", "globalAiEnabled"): Rule(frozenset({False}), after=3 * HOUR),
    ("system_settings", "emailEnabled"): Rule(frozenset({False})),
    ("system_settings", "maxTenantsAllowed"): Rule(),
}
VALUES: dict[str, list[Data]] = {
    "isWhatsappEnabled": [True, False],
    "isAiEnabled": [True, False],
    "aiDailyLimit": [5, 20, 50, 100],
    "status": ["ACTIVE", "SUSPENDED", "ARCHIVED"],
    "aiPlan": ["FREE", "PAID_BASIC", "PAID_PRO"],
    "aiCustomModel": [None, "small", "large"],
    "globalAiEnabled": [True, False],
    "emailEnabled": [True, False],
    "maxTenantsAllowed": [10, 100],
}
FIELDS: list[_Field] = [
    *(("tenants", "t-acme", name) for table, name in RULES if table == "tenants"),
    *(("tenants", "t-bob", name) for name in ("isWhatsappEnabled", "aiDailyLimit")),
    *(("system_settings", "system", name) for table, name in RULES if table == "system_settings"),
]
TENANTS_SCHEMA = """\
table: tenants
key: id
label: name
touch: updatedAt
audit: {event: CHANGED, tenant: id}
fields:
  isWhatsappEnabled: {type: boolean, kill: false, restore: {after: %s}}
  isAiEnabled: {type: boolean, kill: false, restore: {requires: [healthy]}}
  aiDailyLimit: {type: integer, min: 1, max: 100, kill: lower, restore: {after: 6h}}
  status:
    type: enum
    values: [ACTIVE, SUSPENDED, ARCHIVED]
    kill: [SUSPENDED, ARCHIVED]
    restore: {after: 12h, requires: [healthy]}
  aiPlan: {type: enum, values: [FREE, PAID_BASIC, PAID_PRO, ENTERPRISE], kill: [FREE], restore: {after: 3h}}
  aiCustomModel: {type: string, nullable: true}
"""
SETTINGS_SCHEMA = """\
table: system_settings
key: id
touch: updatedAt
missing_row: create
audit: {event: SETTINGS_CHANGED}
secret: [openaiApiKey, smtpPass, resendApiKey]
fields:
  globalAiEnabled: {type: boolean, kill: false, restore: {after: 3h}}
  emailEnabled: {type: boolean, kill: false}
  maxTenantsAllowed: {type: integer}
"""
POLICY = """\
audit:
  table: audit_logs
  columns: {id: $uuid, tenantId: $tenant, actorUserId: $actor, eventType: $event, metadata: $metadata, timestamp: $now}
  without_tenant: {tenant: t-acme}
checks:
  healthy: {type: sql, query: SELECT healthy FROM health}
"""
ORIGIN = Origin(actor="the test")
TIERS = ("LOW", "HIGH")
TIER = "{type: enum, values: [FREE, LOW, MEDIUM, HIGH]}"


def entries_of(name: str) -> st.SearchStrategy[Entry | None]:
    """What git may say of a field; None is a release. Times are hours from now until `commit` makes them moments."""
    values = st.sampled_from(VALUES[name])
    texts = st.sampled_from(["confirmed", "again"])
    override = st.dictionaries(st.sampled_from(["after", "requires", "freeze"]), texts, max_size=2)
    plain = st.builds(Entry, values, reason=st.sampled_from([None, "a", "b"]), override=override.map(_pairs))
    timed = st.builds(
        _timed, values, st.sampled_from([-1, 1, 5, 30]), st.one_of(st.just(NOTHING), values), st.booleans()
    )
    bare = st.builds(Entry, values)
    return st.one_of(bare, bare, plain, plain, plain, timed, st.none())


def _pairs(override: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(override.items()))


_START = datetime(2000, 1, 1, tzinfo=UTC)


def _timed(value: Data, hours: int, then: Data, restores: bool) -> Entry:
    return Entry(value, until=_START + hours * HOUR, then=NOTHING if restores else then, restores=restores)


def edits_of(fields: list[_Field]) -> st.SearchStrategy[list[tuple[_Field, Entry | None]]]:
    """One to three fields, with what git is to say of them."""
    one = st.sampled_from(fields).flatmap(lambda field: st.tuples(st.just(field), entries_of(field[2])))
    return st.lists(one, min_size=1, max_size=3)


class Histories(RuleBasedStateMachine):
    """One history: a repository, a database, and the memory of what the rules say."""

    server: ClassVar[Server]
    folder: ClassVar[Path]
    number: ClassVar[int] = 0
    is_large: ClassVar[bool] = False
    is_known: ClassVar[bool] = True
    full: ClassVar[bool | None] = None
    batch: ClassVar[int | None] = None

    def __init__(self) -> None:
        super().__init__()
        type(self).number += 1
        self.open = contextlib.ExitStack()
        self.database: Database = self.open.enter_context(self.server.platform())
        self.sql: psycopg.Connection[dict[str, Any]] = self.open.enter_context(self.database.connect())
        self.repo = GitRepo(self.folder / f"history-{self.number}")
        self.memories = {field: Memory() for field in FIELDS}
        self.schemas = dict(RULES)
        self.committed: dict[_Field, Entry] = {}
        self.healthy = True
        self.frozen_until: datetime | None = None
        self.project: Project | None = None
        self.commits: list[str] = []
        """Those that are older than what was applied last."""
        self.connection: DatabaseConnection

    @initialize(values=st.fixed_dictionaries({field: st.sampled_from(VALUES[field[2]]) for field in FIELDS}))
    def begin(self, values: dict[_Field, Data]) -> None:
        """The platform as it is before anything is managed, and the ledger."""
        for key in TENANTS:
            self.database.tenant(key, **{name: values[table, row, name] for table, row, name in FIELDS if row == key})
        self.database.settings(**{name: values[table, row, name] for table, row, name in FIELDS if row == "system"})
        self.sql.execute("CREATE TABLE health (healthy boolean NOT NULL)")
        self.sql.execute("INSERT INTO health VALUES (true)")
        self.repo.write("schemas/tenants.yaml", TENANTS_SCHEMA % "24h")
        self.repo.write("schemas/system_settings.yaml", SETTINGS_SCHEMA)
        self.repo.write("schemas/policy.yaml", POLICY)
        self._write(self.committed)
        self._prepare()
        self.repo.commit()
        row = self.sql.execute("SELECT date_trunc('second', now()) AS now").fetchone()
        assert row is not None
        self.now: datetime = row["now"].astimezone(UTC) + timedelta(days=1)
        self._connect()
        init_ledger(self.connection, read_for_apply(self._request()).definitions)
        self.sql.execute("UPDATE reconciler.meta SET movable_clock = true")

    def _prepare(self) -> None:
        """What else there is before anything is managed."""

    def teardown(self) -> None:
        """Drop the database."""
        self.open.close()

    # What people and programs do

    @rule(data=st.data())
    def commit(self, data: st.DataObject) -> None:
        self._commit(data.draw(edits_of(self._worth_a_look())))

    @precondition(lambda self: self.committed)
    @rule(data=st.data(), override=st.sampled_from([(), (), (("after", "confirmed"),), (("requires", "again"),)]))
    def commit_the_opposite(self, data: st.DataObject, override: tuple[tuple[str, str], ...]) -> None:
        """A kill of what git has open, or a restore of what it has killed."""
        field = data.draw(st.sampled_from(sorted(self.committed)))
        was = self.committed[field].value
        others = [value for value in VALUES[field[2]] if self._rule(field).way(was, value) != "neutral"]
        value = data.draw(st.sampled_from(others or VALUES[field[2]]))
        self._commit([(field, Entry(value, reason=data.draw(st.sampled_from(["a", "b"])), override=override))])

    @rule(after=st.sampled_from([1, 24, 48]))
    def change_a_schema(self, after: int) -> None:
        self.schemas["tenants", "isWhatsappEnabled"] = Rule(frozenset({False}), after=after * HOUR)
        self.repo.write("schemas/tenants.yaml", TENANTS_SCHEMA % f"{after}h")
        self.repo.commit("Another cooldown")
        self.project = None

    @rule(data=st.data())
    def change_by_hand(self, data: st.DataObject) -> None:
        table, key, name = data.draw(st.sampled_from(self._worth_a_look()))
        value = data.draw(st.sampled_from(VALUES[name]))
        self.sql.execute(f'UPDATE {table} SET "{name}" = %s WHERE id = %s'.encode(), (value, key))

    @rule()
    def delete_the_settings(self) -> None:
        self.sql.execute("DELETE FROM system_settings")

    @rule(moves=st.sampled_from([-600, 1, 3600, 3 * 3600, 6 * 3600, 12 * 3600, 24 * 3600 - 1, 24 * 3600]))
    def move_the_clock(self, moves: int) -> None:
        self.now += timedelta(seconds=moves)

    @precondition(lambda self: self._deadlines())
    @rule(data=st.data(), off=st.sampled_from([-1, 0, 0, 1]))
    def move_the_clock_to_a_deadline(self, data: st.DataObject, off: int) -> None:
        """To when a cooldown ends, or an `until`, a second before or after."""
        self.now = data.draw(st.sampled_from(self._deadlines())) + timedelta(seconds=off)

    @rule(healthy=st.booleans())
    def break_or_mend(self, healthy: bool) -> None:
        self.healthy = healthy
        self.sql.execute("UPDATE health SET healthy = %s", (healthy,))

    @precondition(lambda self: self.frozen_until is None)
    @rule(hours=st.sampled_from([1, 12]))
    def freeze(self, hours: int) -> None:
        self.frozen_until = self.now + hours * HOUR
        call_freeze(self.connection, self._project().definitions, self.frozen_until, "launch", "the test")

    @precondition(lambda self: self.frozen_until is not None)
    @rule()
    def unfreeze(self) -> None:
        end_freeze(self.connection, self._project().definitions, "over", "the test")
        self.frozen_until = None

    @precondition(lambda self: self._against())
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        field = data.draw(st.sampled_from(self._against()))
        release(self.connection, self._project().definitions, [field], "it is over", "the test")
        self.memories[field].released = True

    # Runs

    @rule(data=st.data())
    def kill_ahead_of_git(self, data: st.DataObject) -> None:
        """What `reconcile kill --now` does: a commit on a branch of its own, applied before its merge to one field."""
        field = data.draw(st.sampled_from([one for one in self._worth_a_look() if self._rule(one).kills]))
        value = data.draw(st.sampled_from(sorted(self._rule(field).kills)))
        entries = self._edited([(field, Entry(value, reason=data.draw(st.sampled_from(["a", "b"]))))])
        self.repo.git("checkout", "--quiet", "-b", "side")
        self._write(entries)
        commit = self.repo.commit("Kill")
        self.repo.git("checkout", "--quiet", "main")
        self.repo.git("branch", "--quiet", "-D", "side")
        request = msgspec.structs.replace(
            self._request(), revision=commit, scope=Scope(rows=("/".join(field[:2]),)), fields=frozenset([field]),
            ahead=True, insists=True, reason="an incident",
        )  # fmt: skip
        self._run(read_for_apply(request), request, entries)

    @precondition(lambda self: self.commits)
    @rule(data=st.data())
    def run_an_old_job_again(self, data: st.DataObject) -> None:
        """A commit that is older than what was applied last is refused, and nothing is written."""
        commit = data.draw(st.sampled_from(self.commits))
        request = msgspec.structs.replace(self._request(), revision=commit)
        before = self._everything()
        with pytest.raises(Stale):
            apply(self.connection, request, read_for_apply(request), ORIGIN)
        assert self._everything() == before

    @rule(only=st.sampled_from([None, None, None, *TENANTS]))
    def run(self, only: str | None) -> None:
        self._run(self._project(), self._request(only), self.committed)

    @rule(data=st.data())
    def run_a_dirty_work_tree(self, data: st.DataObject) -> None:
        entries = self._edited(data.draw(edits_of(self._worth_a_look())))
        self._write(entries)
        request = self._request(dirty=True)
        try:
            self._run(read_for_apply(request), request, entries)
        finally:
            self.repo.git("checkout", "--quiet", "--", "state")

    @rule(
        table=st.sampled_from(
            [
                "reconciler.run",
                "tenants",
                "reconciler.change",
                "audit_logs",
                "reconciler.managed_row",
                "reconciler.mark",
            ]
        ),
        is_cut=st.booleans(),
    )
    def run_into_a_fault(self, table: str, is_cut: bool) -> None:
        """A run that breaks where it first writes to the table: by an error, or by the end of its connection."""
        cut = "PERFORM pg_terminate_backend(pg_backend_pid());" if is_cut else ""
        self.sql.execute(
            f"""
            CREATE FUNCTION fault() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN {cut} RAISE EXCEPTION 'a fault'; END $$;
            CREATE TRIGGER fault BEFORE INSERT OR UPDATE ON {table} EXECUTE FUNCTION fault();
            """.encode()
        )
        before = self._everything()
        try:
            self._run(self._project(), self._request(), self.committed)
        except ReconcileError as error:
            note(f"broken off: {error}")
            assert self._everything() == before
            if self.connection.closed:
                self._connect()
        finally:
            self.sql.execute("DROP FUNCTION fault CASCADE")

    def _run(
        self, project: Project, request: Request, entries: Mapping[_Field, Entry], *, interrupted: bool = False
    ) -> None:
        is_dirty = request.ahead or (project.revision is not None and project.revision.dirty)
        frozen = self.frozen_until is not None and self.now < self.frozen_until
        glass = None
        if is_dirty and project.revision is not None:
            glass = project.revision.commit if request.ahead else "dirty"
        world = World(self.now, committed=not is_dirty, healthy=self.healthy, frozen=frozen, glass=glass)
        before, runs = self._values(), self._runs()
        scope = [field for field in FIELDS if not request.scope.rows or f"{field[0]}/{field[1]}" in request.scope.rows]
        scope = [field for field in scope if request.fields is None or field in request.fields]
        named = [field for field in scope if wanted(entries.get(field), self.memories[field], self.now) is not NOTHING]
        foreseen = before | self._foreseen(named, entries, before, world)
        plan = make_plan(self.connection, request, project)
        if interrupted:
            with contextlib.suppress(KeyboardInterrupt):
                apply(self.connection, request, project, ORIGIN, None, Ending(progress=interrupt_between_batches))
        outcome = apply(self.connection, request, project, ORIGIN)
        for change in outcome.plan.changes:
            what = f"{change.table}/{change.key}.{change.field}: {change.action.value}"
            note(f"    {what}, {change.explanation} {change.hold}")
        after = self._values()
        assert after == foreseen
        if not interrupted:
            assert outcome.plan.changes == plan.changes, "the dry run said something else, or had other reasons"
            assert outcome.plan.fingerprint == plan.fingerprint
        self._check_audit(self._runs() - runs, named, before, after)
        for field in scope:
            insists = is_dirty and self._is_kill_of_gits(field, entries, request)
            memory = self.memories[field]
            remember(
                self._rule(field), entries.get(field), memory, before[field], after[field], world, insists=insists
            )
        self._check_ledger()
        settled = self._everything()
        if not is_dirty:
            self.commits = self.repo.git("rev-list", "--skip=1", "HEAD").splitlines()
        again = apply(self.connection, request, project, ORIGIN)
        assert (again.applied, again.audit_entries) == (0, 0)
        assert self._everything() == settled, "running again changed something"

    def _is_kill_of_gits(self, field: _Field, entries: Mapping[_Field, Entry], request: Request) -> bool:
        """Whether a run of what is not merged, or not committed, is to kill what git asks for."""
        if field not in entries or entries[field].matched:
            return False
        asked = [self.committed[field]] if field in self.committed else self._asked_by_others(field)
        return request.ahead or any(self._is_kill(field, one, entries[field]) for one in asked)

    def _is_kill(self, field: _Field, asked: Entry, entry: Entry) -> bool:
        others = [asked.value]
        if entry.then is NOTHING and not entry.restores:
            if asked.restores:
                return True
            others += [] if asked.then is NOTHING else [asked.then]
        return any(self._rule(field).way(other, entry.value) == "kill" for other in others)

    def _asked_by_others(self, _field: _Field) -> list[Entry]:
        """What git asks of a field whose row does not name it."""
        return []

    def _foreseen(
        self, named: list[_Field], entries: Mapping[_Field, Entry], before: Mapping[_Field, Data], world: World
    ) -> dict[_Field, Data]:
        foreseen = {
            field: expected(self._rule(field), entries[field], self.memories[field], before[field], world)
            for field in named
            if before[field] is not NOTHING
        }
        missing = [field for field in named if before[field] is NOTHING]
        if missing:
            made = expected_row(
                {field[2]: self._rule(field) for field in missing},
                {field[2]: entries[field] for field in missing},
                {field[2]: self.memories[field] for field in missing},
                world,
            )
            if made is not None:
                foreseen |= {field: made.get(field[2], DEFAULTS[field[2]]) for field in FIELDS if field[1] == "system"}
        return foreseen

    # What must hold after every run

    def _check_audit(
        self, runs: set[str], named: list[_Field], before: Mapping[_Field, Data], after: Mapping[_Field, Data]
    ) -> None:
        """One entry for each change: kills that wait for no check are a run of their own before the others."""
        changed = {
            field: (None if before[field] is NOTHING else before[field], after[field])
            for field in FIELDS
            if before[field] != after[field] and not (before[field] is NOTHING and field not in named)
        }
        query = "SELECT metadata AS m FROM audit_logs WHERE metadata ->> 'run' = ANY (%s)"
        written = self.sql.execute(query, [list(runs)]).fetchall()
        found = {(m["table"], m["key"], m["field"]): (m["before"], m["after"]) for m in (row["m"] for row in written)}
        assert found == changed
        assert len(written) == len(changed)

    def _runs(self) -> set[str]:
        return {str(row["id"]) for row in self.sql.execute("SELECT id FROM reconciler.run").fetchall()}

    def _check_ledger(self) -> None:
        applied = {
            (row["table_name"], row["key"], name): value
            for row in self.sql.execute("SELECT * FROM reconciler.managed_row").fetchall()
            for name, value in row["applied"].items()
        }
        assert applied == {field: m.base for field, m in self.memories.items() if m.base is not NOTHING}
        marks = {
            (row["table_name"], row["key"], row["field"]): row
            for row in self.sql.execute("SELECT * FROM reconciler.mark").fetchall()
        }
        for field, memory in self.memories.items():
            mark = marks.get(field, {"killed_at": None, "seen_at": None})
            assert (field, mark["killed_at"]) == (field, memory.killed)
            against = None if memory.against is None else memory.against[0]
            assert (field, mark["seen_at"] is not None) == (field, memory.against is not None)
            assert mark["seen_at"] is None or mark["seen_value"] == against

    # Reading and writing

    def _rule(self, field: _Field) -> Rule:
        return self.schemas[field[0], field[2]]

    def _worth_a_look(self) -> list[_Field]:
        """Every field, and twice more those that git names: most of what can go wrong is about them."""
        return [*sorted(self.committed) * 2, *FIELDS]

    def _deadlines(self) -> list[datetime]:
        """What is to come: the ends of cooldowns and of values that are meant for a time."""
        cold = [
            memory.killed + after
            for field, memory in self.memories.items()
            if memory.killed is not None and (after := self._rule(field).after) is not None
        ]
        untils = [entry.until for entry in self.committed.values() if entry.until is not None]
        return sorted(moment for moment in {*cold, *untils} if moment > self.now)

    def _commit(self, edits: list[tuple[_Field, Entry | None]]) -> None:
        self.committed = self._edited(edits)
        self._write(self.committed)
        self.repo.commit()
        self.project = None

    def _against(self) -> list[_Field]:
        """What can be released: what a guard merely holds is none of it."""
        stands = {field: memory.against for field, memory in self.memories.items()}
        return [field for field, against in stands.items() if against is not None and against[1] is not ASKED]

    def _request(self, only: str | None = None, *, dirty: bool = False) -> Request:
        scope = Scope(rows=(f"tenants/{only}",)) if only else Scope()
        reason = "an incident" if dirty else None
        return Request(
            directory=self.repo.path,
            scope=scope,
            allow_dirty=dirty,
            reason=reason,
            now=self.now,
            full=self.full,
            batch=None if dirty else self.batch,
        )

    def _project(self) -> Project:
        """What the newest commit holds, read once."""
        if self.project is None:
            self.project = read_for_apply(self._request())
        return self.project

    def _edited(self, edits: list[tuple[_Field, Entry | None]]) -> dict[_Field, Entry]:
        entries = dict(self.committed)
        for field, entry in edits:
            entries.pop(field, None)
            if entry is not None:
                until = entry.until and self.now + (entry.until - _START)
                entries[field] = replace(entry, until=until)
        return entries

    def _write(self, entries: Mapping[_Field, Entry]) -> None:
        files: dict[str, dict[str, dict[str, Any]]] = {self._file_of(field): {} for field in FIELDS}
        for field, entry in sorted(entries.items()):
            _, key, name = field
            files[self._file_of(field)].setdefault(key, {})[name] = _long_form(entry)
        for path, rows in files.items():
            besides = self._besides(path)
            plain = None if besides else _plain_rows(rows)
            self.repo.write(path, plain or json.dumps(besides | rows, indent=1) + "\n")

    def _besides(self, _path: str) -> dict[str, Any]:
        """What a file says besides its rows."""
        return {}

    def _file_of(self, field: _Field) -> str:
        """Where a field stands; in a large project, rows are spread over files."""
        return f"state/{field[0]}/{len(field[2]) % 3}.yaml" if self.is_large else f"state/{field[0]}.yaml"

    def _values(self) -> dict[_Field, Data]:
        rows = {
            (table, row["id"]): row
            for table in ("tenants", "system_settings")
            for row in self.sql.execute(f"SELECT * FROM {table}".encode()).fetchall()
        }
        return {
            (table, key, name): rows[table, key][name] if (table, key) in rows else NOTHING
            for table, key, name in FIELDS
        }

    def _everything(self) -> dict[str, list[Any]]:
        """Every row of every table that a run writes, its run apart."""
        return {
            table: self.sql.execute(f"SELECT t::text FROM {table} t ORDER BY 1".encode()).fetchall()
            for table in ("tenants", "system_settings", "audit_logs", "reconciler.change", "reconciler.managed_row",
                          "reconciler.mark", "reconciler.pending")
        }  # fmt: skip

    def _connect(self) -> None:
        address = parse_database_url(self.database.url, variable="DATABASE_URL")
        self.connection = self.open.enter_context(open_database([address]))


def _plain_rows(rows: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str | None:
    """A file in the simplest form, which is compared row by row; None where more than values stands in it."""
    if not all(list(said) == ["value"] and said["value"] is not None for row in rows.values() for said in row.values()):
        return None
    lines = []
    for key, row in rows.items():
        lines.append(f"{key}:")
        lines += [f"  {name}: {json.dumps(said['value']).strip(chr(34))}" for name, said in row.items()]
    return "\n".join([*lines, ""])


DEFAULTS = {"globalAiEnabled": True, "emailEnabled": False, "maxTenantsAllowed": 100}


def _long_form(entry: Entry) -> dict[str, Any]:
    said: dict[str, Any] = {"value": entry.value}
    if entry.reason is not None:
        said["reason"] = entry.reason
    if entry.until is not None:
        said["until"] = entry.until.strftime("%Y-%m-%dT%H:%M:%SZ")
    if entry.restores:
        said["then"] = "restore"
    elif entry.then is not NOTHING:
        said["then"] = {"value": entry.then}
    if entry.override:
        said["override"] = dict(entry.override)
    return said


class LargeHistories(Histories):
    """As if the project were large: a run reads no more than it needs, and looks at every row all the same."""

    is_large: ClassVar[bool] = True
    full: ClassVar[bool | None] = True


class ChangePathHistories(LargeHistories):
    """Runs look at nothing but what git has changed and what waits; so nothing else moves the rows."""

    full: ClassVar[bool | None] = False

    def change_by_hand(self) -> None:
        """Not here."""

    def delete_the_settings(self) -> None:
        """Not here."""


class SweepHistories(LargeHistories):
    """As if no run could tell which commit the ledger stands at; what was read of a file is found in the cache."""

    is_known: ClassVar[bool] = False


class FleetHistories(Histories):
    """Git asks things of every tenant of a tier, too; the application moves tenants from one tier to another.

    What is asked of a tier is an entry of each of its tenants that has none of its own for the field.
    """

    def __init__(self) -> None:
        super().__init__()
        self.asked: dict[str, dict[str, Entry]] = {tier: {} for tier in TIERS}
        self.since: dict[tuple[str, str, Entry], datetime] = {}
        """Since when a run of everything, from git, has applied an entry of a tier."""

    def _prepare(self) -> None:
        schema = (TENANTS_SCHEMA % "24h").replace("fields:\n", f"match:\n  aiTier: {TIER}\nfields:\n")
        self.repo.write("schemas/tenants.yaml", schema)

    def change_a_schema(self, after: int) -> None:
        """Not here."""

    @rule(key=st.sampled_from(TENANTS), tier=st.sampled_from(["FREE", *TIERS]))
    def move_a_tenant(self, key: str, tier: str) -> None:
        self.sql.execute('UPDATE tenants SET "aiTier" = %s WHERE id = %s', (tier, key))

    @rule(data=st.data(), tier=st.sampled_from(TIERS), name=st.sampled_from(["isWhatsappEnabled", "aiDailyLimit"]))
    def ask_a_tier(self, data: st.DataObject, tier: str, name: str) -> None:
        entry = data.draw(entries_of(name))
        self.asked[tier].pop(name, None)
        if entry is not None:
            self.asked[tier][name] = replace(entry, until=entry.until and self.now + (entry.until - _START))
        self._commit([])

    def _asked_by_others(self, field: _Field) -> list[Entry]:
        if field[0] != "tenants":
            return []
        return [fields[field[2]] for fields in self.asked.values() if field[2] in fields]

    def _besides(self, path: str) -> dict[str, Any]:
        asked = [
            {"match": {"aiTier": tier}, "set": {name: _long_form(entry) for name, entry in sorted(fields.items())}}
            for tier, fields in self.asked.items()
            if fields
        ]
        return {"$where": asked} if asked and path == "state/tenants.yaml" else {}

    def _run(
        self, project: Project, request: Request, entries: Mapping[_Field, Entry], *, interrupted: bool = False
    ) -> None:
        tiers = {row["id"]: row["aiTier"] for row in self.sql.execute('SELECT id, "aiTier" FROM tenants').fetchall()}
        of_tiers = {
            ("tenants", key, name): replace(entry, matched=True, since=self.since.get((tier, name, entry)))
            for key, tier in tiers.items()
            for name, entry in self.asked.get(tier, {}).items()
        }
        # An override whose time had passed before it was ever applied is as if it did not stand there.
        own = {
            field: entry
            for field, entry in entries.items()
            if wanted(entry, self.memories[field], self.now) is not NOTHING
        }
        super()._run(project, request, dict(entries) | of_tiers | own, interrupted=interrupted)
        if request.scope.is_everything and not request.allow_dirty:  # one that is ahead is of one row
            told = [(tier, name, entry) for tier, fields in self.asked.items() for name, entry in fields.items()]
            self.since = {one: self.since.get(one, self.now) for one in told}


class BatchedHistories(ChangePathHistories):
    """Each row is a transaction of its own, and some runs end before the last one."""

    batch: ClassVar[int | None] = 1

    @rule()
    def run_and_be_interrupted(self) -> None:
        """Ended after the first batch, and completed by another run."""
        self._run(self._project(), self._request(), self.committed, interrupted=True)

    def run_into_a_fault(self) -> None:
        """Not here: it is for one transaction, which leaves all as it was."""


def interrupt_between_batches(_what: str, done: int, total: int) -> None:
    """Somebody presses Ctrl-C once a batch is committed."""
    if done < total:
        raise KeyboardInterrupt


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    [Histories, FleetHistories, LargeHistories, ChangePathHistories, SweepHistories, BatchedHistories],
)
def test_every_history_ends_as_the_rules_say(
    kind: type[Histories], postgres_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind.is_large:  # the sizes from which on a project is one
        monkeypatch.setattr(project, "FEW_FILES", 1)
        monkeypatch.setattr(change_path, "FEW_ROWS", 0)
        monkeypatch.setattr(row_reader, "MOST", 1_000)
        monkeypatch.setenv(parse_cache.VARIABLE, str(tmp_path / "cache"))
        if not kind.is_known:
            monkeypatch.setattr(change_path, "read_sync", lambda _connection: None)
    asked = os.environ.get("RECONCILE_MODEL")
    examples, steps = map(int, (asked or ("30x40" if kind is Histories else "10x40")).split("x"))
    # Histories of 40 steps can be read as they are; to make one shorter takes minutes, for which somebody has to ask.
    shorten = [Phase.shrink] if asked else []

    class OnThisServer(kind):  # type: ignore[valid-type, misc]
        server = postgres_server
        folder = tmp_path

    run_state_machine_as_test(
        OnThisServer,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            phases=[Phase.reuse, Phase.generate, *shorten],
            suppress_health_check=list(HealthCheck),
        ),
    )
