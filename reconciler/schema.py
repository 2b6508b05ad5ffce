"""What may be managed, and how safely: `schemas/<table>.yaml` and `schemas/policy.yaml`, read and checked.

Takes documents (with positions); gives `Definitions`: a `Table` per file and the `Policy`. Every mistake in every file
becomes a Problem with its line. Nothing here knows a table by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Set
from functools import partial
from typing import Any, Literal

import msgspec

from reconciler.effects.compiled import CompiledEffect, compile_effects
from reconciler.effects.templates import Names
from reconciler.errors import Problem, nearest
from reconciler.fields import ArrayField, Field, JsonField, field_type_names
from reconciler.invariants import rule_problems
from reconciler.model import Location
from reconciler.nodes import Document, Node, Scalar
from reconciler.nodes import Mapping as MappingNode
from reconciler.nodes import Sequence as SequenceNode
from reconciler.policy import Check, Name, Policy, policy_problems
from reconciler.scalars import NotStorable, looks_like_yaml11_boolean, to_json


class TableAudit(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How an audit entry of this table finds its tenant, and what it is called.

    `tenant` names the column of the row that holds the tenant's id; without it the policy's `without_tenant` serves.
    """

    event: str
    tenant: Name | None = None


class TableDefinition(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One file of `schemas/`: a table, its key, and the fields that git may manage."""

    table: Name
    schema: Name | None = None
    key: Name
    label: Name | None = None
    touch: Name | None = None
    missing_row: Literal["error", "create"] = "error"
    create: dict[str, Any] = {}
    audit: TableAudit
    secret: list[Name] = []
    fields: dict[str, Any]
    match: dict[str, Any] = {}


class Places:
    """Where each part of a definition stands, for errors that are found long after it was read."""

    __slots__ = ("_file", "_root")

    def __init__(self, document: Document) -> None:
        self._file = document.path
        self._root = document.root

    def node(self, *path: str | int) -> Node | None:
        """What stands there, None for nothing."""
        node: Node | None = self._root
        for step in path:
            if isinstance(node, MappingNode):
                node = node.items.get(str(step))
            elif isinstance(node, SequenceNode) and isinstance(step, int) and step < len(node.items):
                node = node.items[step]
            else:
                return None
        return node

    def of(self, *path: str | int) -> Location:
        """The place of the deepest part of `path` that exists (its key, where it has one)."""
        node: Node | None = self._root
        line, column = (node.line, node.column) if node is not None else (1, 1)
        for step in path:
            if isinstance(node, MappingNode) and step in node.keys:
                line, column = node.keys[str(step)]
                node = node.items[str(step)]
            elif isinstance(node, SequenceNode) and isinstance(step, int) and step < len(node.items):
                node = node.items[step]
                line, column = node.line, node.column
            else:
                break
        return Location(self._file, line, column)


_NOT_MATCHED = (JsonField, ArrayField)
_OF_FIELDS_ALONE = ("restore", "masked_by", "drift", "effects", "kill", "nullable", "verify")
"""What has no meaning for a column that git only looks at."""


class Table:
    """A table as its schema file defines it: the definition, its typed fields in order of name, and their places.

    `effects` and `proofs` have only the fields that have some; the proofs of its effects are among a field's.
    `matchable` are the columns that a `$where` may match by: the fields with single values, and those that are declared
    for nothing else (`matched`).
    """

    __slots__ = ("definition", "effects", "fields", "matchable", "matched", "name", "places", "proofs", "secret")

    def __init__(
        self,
        definition: TableDefinition,
        fields: Mapping[str, Field],
        places: Places,
        effects: Mapping[str, tuple[CompiledEffect, ...]],
        proofs: Mapping[str, tuple[Any, ...]],
        matched: Mapping[str, Field],
    ) -> None:
        self.name = definition.table
        self.definition = definition
        self.fields: dict[str, Field] = dict(sorted(fields.items()))
        self.effects = effects
        self.proofs = proofs
        self.matched: dict[str, Field] = dict(sorted(matched.items()))
        single = {name: field for name, field in self.fields.items() if not isinstance(field, _NOT_MATCHED)}
        self.matchable: dict[str, Field] = {**single, **self.matched}
        self.secret = frozenset(definition.secret)
        self.places = places


class Definitions(msgspec.Struct, frozen=True):
    """All of `schemas/`: tables by name, sorted, and the policy with its places."""

    tables: dict[str, Table]
    policy: Policy
    policy_places: Places


def read_definitions(documents: Iterable[Document], problems: list[Problem]) -> Definitions | None:
    """Definitions from the documents of `schemas/` (those directly in it). None if any problem was appended."""
    before = len(problems)
    tables: dict[str, Table] = {}
    policy_document: Document | None = None
    for document in documents:
        stem = _stem(document.path)
        places = Places(document)
        if stem == "policy":
            if policy_document is not None:
                message = f"the policy stands here and in {policy_document.path}"
                problems.append(Problem(message, places.of(), "remove one of the two"))
            policy_document = policy_document or document
            continue
        table = _read_table(document, places, problems)
        if table is None:
            continue
        if table.name != stem:
            where = places.of("table")
            problems.append(Problem(f"the file of table {table.name} must be called {table.name}.yaml", where))
        elif table.name in tables:
            message = f"table {table.name} is described here and in {tables[table.name].places.of().file}"
            problems.append(Problem(message, places.of(), "remove one of the two"))
        tables[table.name] = table
    # What refers to a file that has problems of its own is not wrong for that.
    files = [problem.location.file for problem in problems if problem.location is not None]
    unread = {_stem(file) for file in files if file.split("/")[-2:-1] == ["schemas"]} - tables.keys()
    if policy_document is None:
        if "policy" in unread:
            return None
        hint = "it says where audit entries go; see docs/schemas.md"
        problems.append(Problem("schemas/policy.yaml is missing", None, hint))
        return None
    policy_places = Places(policy_document)
    policy = _read_policy(policy_document, policy_places, tables, unread, problems)
    if policy is not None:
        problems.extend(_dangling(tables, policy, unread))
    if len(problems) > before or policy is None:
        return None
    return Definitions(dict(sorted(tables.items())), policy, policy_places)


def _stem(path: str) -> str:
    """The name that a file of `schemas/` gives to what it describes."""
    return path.rpartition("/")[2].rpartition(".")[0]


def _read_policy(
    document: Document, places: Places, tables: Mapping[str, Table], unread: Set[str], problems: list[Problem]
) -> Policy | None:
    misdeclared = list(_misdeclared_checks(document, places))
    problems.extend(misdeclared)
    policy: Policy | None = None if misdeclared else _convert(document, Policy, places, problems)
    if policy is None:
        return None
    problems.extend(Problem(message, places.of(*path), hint) for path, message, hint in policy_problems(policy))
    for index, invariant in enumerate(policy.invariants):
        table = tables.get(invariant.table)
        if table is None:
            if invariant.table in unread:
                continue
            where = places.of("invariants", index, "table")
            hint = nearest(invariant.table, tables)
            problems.append(Problem(f'no schema for a table "{invariant.table}"', where, hint))
            continue
        for message, hint in rule_problems(invariant.rule, table.fields):
            problems.append(Problem(message, places.of("invariants", index, "rule"), hint))
    return policy


def _misdeclared_checks(document: Document, places: Places) -> Iterator[Problem]:
    """What is wrong in the checks, one by one: msgspec does not name the key of the mapping in which it is."""
    root = document.root
    checks = root.items.get("checks") if isinstance(root, MappingNode) else None
    kinds = {str(kind.__struct_config__.tag): kind for kind in Check.__args__}
    for name, node in checks.items.items() if isinstance(checks, MappingNode) else ():
        try:
            body = to_json(node)
        except NotStorable:
            continue  # which is said of the policy as a whole
        type_name = body.get("type") if isinstance(body, dict) else None
        if not isinstance(type_name, str) or type_name not in kinds:
            hint = nearest(str(type_name), kinds) or f"one of {', '.join(sorted(kinds))}"
            yield Problem(f"check {name} has no `type` that is known", places.of("checks", name, "type"), hint)
            continue
        try:
            msgspec.convert(body, Check)
        except msgspec.ValidationError as error:
            yield _problem_of(error, places, ("checks", name), kinds[type_name])


def _read_table(document: Document, places: Places, problems: list[Problem]) -> Table | None:
    before = len(problems)
    definition = _convert(document, TableDefinition, places, problems)
    if definition is None:
        return None
    fields: dict[str, Field] = {}
    for name, body in definition.fields.items():
        field = _read_field(name, body, places, problems)
        if field is not None:
            fields[name] = field
    matched = _read_matched(definition, places, problems)
    problems.extend(_contradictions(definition, places))
    effects = _effects(definition, fields, places, problems)
    proofs = _proofs(fields, places, problems)
    return Table(definition, fields, places, effects, proofs, matched) if len(problems) == before else None


def _read_matched(definition: TableDefinition, places: Places, problems: list[Problem]) -> dict[str, Field]:
    """The columns that a `$where` may match by, and that git does not manage."""
    matched: dict[str, Field] = {}
    for name, body in definition.match.items():
        if name in definition.fields:
            problems.append(Problem(f"{name} is a field, and may be matched as it is", places.of("match", name)))
            continue
        field = _read_field(name, body, places, problems, part="match")
        if field is None:
            continue
        if isinstance(field, _NOT_MATCHED):
            where = places.of("match", name, "type")
            problems.append(Problem(f"a column of type {field.type_name} cannot be matched", where))
        for alone in _OF_FIELDS_ALONE:
            if alone in body:
                text = f"`{alone}` has no meaning for a column that is only matched"
                problems.append(Problem(text, places.of("match", name, alone), "remove it"))
        matched[name] = field
    return matched


def _effects(
    definition: TableDefinition, fields: Mapping[str, Field], places: Places, problems: list[Problem]
) -> dict[str, tuple[CompiledEffect, ...]]:
    """The effects of every field that has some; a Problem for all that is wrong in one."""
    named = {definition.key, definition.label, definition.audit.tenant, *definition.fields}
    secret = frozenset(definition.secret)
    names = Names(frozenset(name for name in named if name is not None) - secret, secret)
    effects = {}
    for name, field in fields.items():
        nodes = [places.node("fields", name, "effects", index, "when") for index in range(len(field.effects))]
        compiled, wrong = compile_effects(field, nodes, names)
        problems.extend(
            Problem(message, places.of("fields", name, "effects", *path), hint) for path, message, hint in wrong
        )
        if compiled:
            effects[name] = compiled
    return effects


def _proofs(
    fields: Mapping[str, Field], places: Places, problems: list[Problem]
) -> dict[str, tuple[Any, ...]]:
    """The `CompiledProof`s of every field that has some. Only a schema with a proof imports what reads one."""
    proofs = {}
    for name, field in fields.items():
        if not field.verify and not any(effect.verify for effect in field.effects):
            continue
        from reconciler.verify.compiled import compile_proofs

        compiled, wrong = compile_proofs(field, partial(places.node, "fields", name))
        problems.extend(Problem(message, places.of("fields", name, *path), hint) for path, message, hint in wrong)
        if compiled:
            proofs[name] = compiled
    return proofs


def _read_field(
    name: str, body: Any, places: Places, problems: list[Problem], part: str = "fields"
) -> Field | None:
    if not isinstance(body, dict) or "type" not in body:
        where = places.of(part, name)
        problems.append(Problem(f"field {name} has no type", where, "for example {type: boolean, kill: false}"))
        return None
    if body["type"] not in field_type_names():
        hint = nearest(str(body["type"]), field_type_names()) or f"one of {', '.join(field_type_names())}"
        problems.append(Problem(f"{body['type']} is not a type", places.of(part, name, "type"), hint))
        return None
    try:
        field: Field = msgspec.convert(body, Field)
    except msgspec.ValidationError as error:
        kind = next(one for one in Field.__args__ if one.__struct_config__.tag == body["type"])
        problems.append(_problem_of(error, places, (part, name), kind))
        return None
    wrong = [Problem(text, places.of(part, name, which)) for which, text in field.definition_problems()]
    for which in sorted(_OF_A_FIELD & set(body["items"] if isinstance(field, ArrayField) else ())):
        text = f"`{which}` says something of a field, and has no meaning below `items`"
        wrong.append(Problem(text, places.of(part, name, "items", which), "remove it"))
    if field.restore is not None and not _has_kill_side(field):
        text = "`restore` guards the way back from the kill side, and the field has none"
        wrong.append(Problem(text, places.of(part, name, "restore"), "kill: false, lower or a list of values"))
    problems.extend(wrong)
    return None if wrong else field


_OF_A_FIELD = {"drift", "effects", "kill", "masked_by", "restore", "title", "verify"}
"""What the items of an array cannot say: only the array as a whole is a field."""


def _has_kill_side(field: Field) -> bool:
    """Whether any change of the field is a kill. `kill: false` is a kill side."""
    return getattr(field, "kill", None) not in (None, [])


def _contradictions(definition: TableDefinition, places: Places) -> Iterator[Problem]:
    secret = set(definition.secret)
    reserved = {definition.key: "the key", definition.touch: "the column that is touched on a write"}
    for name in definition.fields:
        where = places.of("fields", name)
        if name in secret:
            yield Problem(f"{name} is named under `secret`, and can never be managed", where)
        elif name in reserved:
            yield Problem(f"{name} is {reserved[name]}, and cannot be managed as well", where)
        elif name.startswith("$"):
            yield Problem(f"{name}: names that begin with $ are directives, not columns", where)
    for part, column in (("key", definition.key), ("label", definition.label), ("touch", definition.touch)):
        if column in secret:
            yield Problem(f"{column} is named under `secret`, and can never be read", places.of(part))
    for name in secret.intersection(definition.match):
        yield Problem(f"{name} is named under `secret`, and can never be read", places.of("match", name))
    if definition.audit.tenant in secret:
        yield Problem(f"{definition.audit.tenant} is named under `secret`", places.of("audit", "tenant"))
    for name in secret.intersection(definition.create):
        yield Problem(f"{name} is named under `secret`, and can never be written", places.of("create", name))
    if definition.create and definition.missing_row == "error":
        yield Problem("`create` has no meaning with `missing_row: error`", places.of("create"), "missing_row: create")


def _dangling(tables: Mapping[str, Table], policy: Policy, unread: Set[str]) -> Iterator[Problem]:
    """What a field names that stands nowhere: a health check, the field that masks it."""
    for table in tables.values():
        for name, field in table.fields.items():
            for index, check in enumerate(field.restore.requires if field.restore else ()):
                if check not in policy.checks:
                    where = table.places.of("fields", name, "restore", "requires", index)
                    hint = nearest(check, policy.checks) or "declare it under `checks` in schemas/policy.yaml"
                    yield Problem(f'no check is called "{check}"', where, hint)
            if field.masked_by is not None:
                masking_table, _, rest = field.masked_by.partition("/")
                masking_field = rest.rpartition(".")[2]
                if masking_table in unread:
                    continue
                if masking_table not in tables or masking_field not in tables[masking_table].fields:
                    where = table.places.of("fields", name, "masked_by")
                    yield Problem(f"{field.masked_by} is no managed field", where, "write table/row.field")
                elif not _has_kill_side(tables[masking_table].fields[masking_field]):
                    where = table.places.of("fields", name, "masked_by")
                    yield Problem(f"{field.masked_by} has no kill side, and so masks nothing", where)


def _convert(document: Document, kind: type[Any], places: Places, problems: list[Problem]) -> Any:
    if not isinstance(document.root, MappingNode):
        problems.append(Problem("a mapping is expected here", places.of(), "see docs/schemas.md"))
        return None
    try:
        data = to_json(document.root)
        return msgspec.convert(data, kind)
    except msgspec.ValidationError as error:
        problems.append(_problem_of(error, places, (), kind))
    except NotStorable as error:
        problems.append(Problem(str(error), Location(document.path, error.node.line, error.node.column)))
    return None


def _problem_of(error: msgspec.ValidationError, places: Places, prefix: tuple[str, ...], kind: Any) -> Problem:
    """msgspec says ``Expected `int`, got `str` - at `$.fields.limit.min` ``; the path becomes a line of the file."""
    from reconciler.type_words import in_plain_words, properties_at

    message, _, path = str(error).partition(" - at `$")
    steps: tuple[str | int, ...] = tuple(
        int(index) if index else name for name, index in re.findall(r"\.([^.\[\]`]+)|\[(\d+)\]", path)
    )
    unknown = re.fullmatch(r"Object contains unknown field `(.+)`", message)
    missing = re.fullmatch(r"Object missing required field `(.+)`", message)
    if unknown:
        known = nearest(unknown[1], properties_at(kind, steps))
        return Problem(f"unknown property {unknown[1]}", places.of(*prefix, *steps, unknown[1]), known)
    if missing:
        return Problem(f"{missing[1]} is missing", places.of(*prefix, *steps))
    plain, hint = in_plain_words(message, kind, steps)
    node = places.node(*prefix, *steps)
    if "true or false" in plain and isinstance(node, Scalar) and node.plain and looks_like_yaml11_boolean(node.text):
        hint = f"in YAML 1.2 `{node.text}` is text: write {str(node.text.lower() in ('yes', 'on', 'y')).lower()}"
    return Problem(plain, places.of(*prefix, *steps), hint)
