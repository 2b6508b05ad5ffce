"""The desired side of the diff: what the documents below `state/` ask for.

Takes documents (`documents.read_document`) and Definitions; gives a State whose values carry their places. A path is a
table, a top-level key a row, what stands below it columns. Files and folders of a table add up; the same field of the
same row in two places is an error that names both. What stands below `$where` is asked of every row that looks so, and
is given apart. Every problem of every file is reported.
"""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.documents import PlainDocument
from reconciler.errors import Problem, nearest
from reconciler.fields import JsonField, NotAValue, canonical_timestamp, resolve_plainly
from reconciler.model import WAIVABLE, WHERE, Json, Location, Match, PlainShape, PlainValues, Row, Then, Value
from reconciler.nodes import Document, Mapping, Node, Scalar
from reconciler.schema import Definitions, Table

LONG_FORM = ("value", "reason", "until", "then", "override")
"""What may stand beside a value in the long form."""

DIRECTIVES = ("$expect",)

_MOST_SHAPES = 20_000
"""So many shapes of rows are remembered; a fleet whose rows are all different gains nothing by more."""

_NULLS = ("null", "Null", "NULL", "~")

_Memo = dict[str | tuple[str, bool, str | None], Json]


def table_of(path: str, state_folder: str) -> str:
    """The table that a file below the state folder belongs to: `state/tenants.yaml`, `state/tenants/eu/acme.yaml`."""
    inside = path.removeprefix(state_folder.rstrip("/") + "/")
    first, slash, _ = inside.partition("/")
    return first if slash else first.rpartition(".")[0]


def read_desired(
    documents: Iterable[Document | PlainDocument],
    definitions: Definitions,
    state_folder: str,
    problems: list[Problem],
    matches: dict[str, list[Match]] | None = None,
) -> dict[str, dict[str, Row]]:
    """The desired State: table name to row key to Row, for every table that state names. Appends to `problems`.

    `matches` takes what stands below `$where`, by table; the rows that it means are in no file.
    """
    state: dict[str, dict[str, Row]] = {}
    readers: dict[str, _TableReader] = {}
    for document in documents:
        name = table_of(document.path, state_folder)
        table = definitions.tables.get(name)
        if table is None:
            place = Location(document.path, 1, 1)
            hint = nearest(name, definitions.tables) or f"add schemas/{name}.yaml, or move the file"
            problems.append(Problem(f'no schema for a table "{name}"', place, hint))
            continue
        if name not in readers:
            readers[name] = _TableReader(table, state.setdefault(name, {}), problems)
        readers[name].read(document)
    for name, reader in readers.items():
        if reader.matches:
            from reconciler.where import match_problems  # few have any, and a process that flips one switch has no time

            problems.extend(match_problems(reader.matches))
            if matches is not None:
                matches[name] = reader.matches
    return state


class _TableReader:
    """Reads the documents of one table into its rows. A scalar that was seen before costs one look-up."""

    def __init__(self, table: Table, rows: dict[str, Row], problems: list[Problem]) -> None:
        self._table = table
        self._rows = rows
        self._problems = problems
        self._memo: dict[str, _Memo] = {name: {} for name in table.fields}
        self._shapes: dict[tuple[tuple[str, str, int, int], ...], PlainShape] = {}
        self.matches: list[Match] = []

    def read(self, document: Document | PlainDocument) -> None:
        if isinstance(document, PlainDocument):
            if self._read_plain(document):
                return
            document = document.with_nodes()
        if document.root is None:
            return
        if not isinstance(document.root, Mapping):
            place = Location(document.path, document.root.line, document.root.column)
            self._problems.append(Problem("a mapping of row keys is expected here", place, "row-key: {field: value}"))
            return
        file = document.path
        for key, node in document.root.items.items():
            line, column = document.root.keys[key]
            place = Location(file, line, column)
            if key == WHERE:
                from reconciler.where import read_where

                self.matches += read_where(self._table, node, file, self._read_row, self._problems)
                continue
            if not isinstance(node, Mapping):
                hint = "field: value, indented below the key"
                self._problems.append(Problem(f"row {key}: a mapping of fields is expected", place, hint))
                continue
            if not key or "\x00" in key:
                self._problems.append(Problem("a row needs a key", place))
                continue
            row = self._rows.get(key)
            if row is None:
                row = self._rows[key] = Row(self._table.name, key, {}, place, {})
            self._read_row(row, node, file)

    def _read_plain(self, document: PlainDocument) -> bool:
        """Take all rows if nothing is wrong with any, and none has been named before; else take none, and say so."""
        table, file, shapes = self._table.name, document.path, self._shapes
        rows: dict[str, Row] = {}
        for key, (place, fields) in document.rows.items():
            said = tuple([(name, text, line - place, column) for name, (_, text, line, column) in fields.items()])
            shape = shapes.get(said)
            if shape is None:
                data = self._parse_plain(said)
                if data is None:
                    return False
                places = {name: (line, column) for name, _, line, column in said}
                if len(shapes) >= _MOST_SHAPES:
                    shapes.clear()
                shape = shapes[said] = PlainShape(data, places)
            rows[key] = Row(table, key, PlainValues(shape, file, place), Location(file, place, 1), {})
        if not self._rows.keys().isdisjoint(rows):
            return False
        self._rows.update(rows)
        return True

    def _parse_plain(self, said: Iterable[tuple[str, str, int, int]]) -> dict[str, Json] | None:
        """The values of fields in plain words; None where anything is wrong with one."""
        data: dict[str, Json] = {}
        for name, text, line, column in said:
            memo = self._memo.get(name)
            if memo is None:
                return None
            if text not in memo:
                try:
                    memo[text] = self._table.fields[name].parse(Scalar(text, True, line, column))
                except NotAValue:
                    return None
            data[name] = memo[text]
        return data

    def _read_row(self, row: Row, node: Mapping, file: str) -> None:
        values, memos = dict(row.values), self._memo
        row.values = values
        for name, child in node.items.items():
            memo = memos.get(name)
            if memo is None:
                self._read_other(row, name, child, node, file)
                continue
            if name in values:
                self._twice(row, name, file, node.keys[name])
                continue
            if type(child) is Scalar:
                # A plain scalar without a tag, which most are, is known by its text alone.
                found = child.text if child.plain and child.tag is None else (child.text, child.plain, child.tag)
                if found in memo:
                    values[name] = Value(memo[found], file, child.line, child.column)
                    continue
                data = self._parse(row, name, child, file)
                if data is not None:
                    memo[found] = data[0]
                    values[name] = Value(data[0], file, child.line, child.column)
            else:
                value = self._structured(row, name, child, file)
                if value is not None:
                    values[name] = value

    def _parse(self, row: Row, name: str, node: Node, file: str) -> tuple[Json] | None:
        """The canonical value in a tuple (it may be None), or None once its problem has been noted."""
        try:
            return (self._table.fields[name].parse(node),)
        except NotAValue as wrong:
            place = Location(file, node.line, node.column)
            self._problems.append(Problem(f"{self._table.name}.{name}: {wrong}", place, wrong.hint))
            return None

    def _structured(self, row: Row, name: str, node: Node, file: str) -> Value | None:
        field = self._table.fields[name]
        if not isinstance(node, Mapping) or (isinstance(field, JsonField) and not _is_long_form(node)):
            data = self._parse(row, name, node, file)
            return Value(data[0], file, node.line, node.column) if data else None
        unknown = [part for part in node.items if part not in LONG_FORM]
        for part in unknown:
            place = Location(file, *node.keys[part])
            hint = nearest(part, LONG_FORM) or f"beside a value may stand {', '.join(LONG_FORM[1:])}"
            self._problems.append(Problem(f"{part} is not known beside a value", place, hint))
        if "value" not in node.items:
            place = Location(file, node.line, node.column)
            self._problems.append(Problem(f"{name} has no `value`", place, "value: …"))
            return None
        data = self._parse(row, name, node.items["value"], file)
        reason = self._text(node, "reason", file)
        until = self._moment(node, "until", file)
        then = self._then(row, name, node, file)
        override = self._override(node, file)
        if not data or unknown:
            return None
        inner = node.items["value"]
        if until is not None or then is not None:
            row.timed = (*row.timed, name)
        return Value(data[0], file, inner.line, inner.column, reason, until, then, override)

    def _then(self, row: Row, name: str, node: Mapping, file: str) -> Then | None:
        """What is to be after `until`: `restore`, a value, or `{value: …}` for a value that is called restore."""
        child = node.items.get("then")
        if child is None:
            return None
        if "until" not in node.items:
            place = Location(file, *node.keys["then"])
            self._problems.append(Problem("`then` says what comes after `until`, and there is none", place))
            return None
        if isinstance(child, Scalar) and child.text == "restore":
            return Then(restores=True)
        if isinstance(child, Mapping) and list(child.items) == ["value"]:
            child = child.items["value"]
        data = self._parse(row, name, child, file)
        return Then(data[0]) if data else None

    def _override(self, node: Mapping, file: str) -> dict[str, str]:
        """The waivers: guard to reason."""
        child = node.items.get("override")
        if child is None:
            return {}
        if not isinstance(child, Mapping):
            place = Location(file, child.line, child.column)
            self._problems.append(Problem("`override` takes a mapping", place, 'override: {after: "why"}'))
            return {}
        waivers: dict[str, str] = {}
        for guard in child.items:
            if guard not in WAIVABLE:
                hint = nearest(guard, WAIVABLE) or f"the guards are {', '.join(WAIVABLE)}"
                problem = Problem(f'there is no guard "{guard}" to waive', Location(file, *child.keys[guard]), hint)
                self._problems.append(problem)
                continue
            reason = self._text(child, guard, file)
            if reason is not None:
                waivers[guard] = reason
        return waivers

    def _text(self, node: Mapping, part: str, file: str) -> str | None:
        child = node.items.get(part)
        if child is None:
            return None
        if isinstance(child, Scalar) and _is_text(child):
            return child.text.strip()
        self._problems.append(Problem(f"`{part}` must be text", Location(file, child.line, child.column)))
        return None

    def _moment(self, node: Mapping, part: str, file: str) -> str | None:
        text = self._text(node, part, file)
        if text is None:
            return None
        try:
            return canonical_timestamp(text)
        except NotAValue as wrong:
            child = node.items[part]
            place = Location(file, child.line, child.column)
            self._problems.append(Problem(f"`{part}`: {wrong}", place, wrong.hint))
            return None

    def _read_other(self, row: Row, name: str, node: Node, parent: Mapping, file: str) -> None:
        place = Location(file, *parent.keys[name])
        if name == "$expect":
            self._read_expect(row, node, file)
        elif name.startswith("$"):
            hint = nearest(name, DIRECTIVES) or f"the directives are {', '.join(DIRECTIVES)}"
            self._problems.append(Problem(f"{name} is not a directive", place, hint))
        elif name in self._table.secret:
            self._problems.append(Problem(f"{name} holds a secret: it can never be managed or read", place))
        else:
            hint = nearest(name, self._table.fields) or f"schemas/{self._table.name}.yaml lists the fields"
            self._problems.append(Problem(f'table {self._table.name} has no managed field "{name}"', place, hint))

    def _read_expect(self, row: Row, node: Node, file: str) -> None:
        if not isinstance(node, Mapping):
            place = Location(file, node.line, node.column)
            self._problems.append(Problem("$expect takes a mapping", place, "$expect: {column: value}"))
            return
        for name, child in node.items.items():
            place = Location(file, *node.keys[name])
            if name in self._table.secret:
                self._problems.append(Problem(f"{name} holds a secret: it can never be read", place))
            elif not isinstance(child, Scalar):
                self._problems.append(Problem(f"$expect.{name}: a single value is expected", place))
            elif name in row.expect:
                self._twice(row, f"$expect.{name}", file, node.keys[name])
            else:
                try:
                    row.expect[name] = Value(resolve_plainly(child), file, child.line, child.column)
                except NotAValue as wrong:
                    self._problems.append(Problem(f"$expect.{name}: {wrong}", place, wrong.hint))

    def _twice(self, row: Row, name: str, file: str, mark: tuple[int, int]) -> None:
        first = row.expect[name.removeprefix("$expect.")] if name.startswith("$expect.") else row.values[name]
        place = Location(file, *mark)
        message = f"{name} of row {row.key} stands here and at {first.location}"
        self._problems.append(Problem(message, place, "remove one of the two"))


def _is_text(node: Scalar) -> bool:
    """Whether a sentence stands here: not nothing, and not `null`."""
    return bool(node.text.strip()) and not (node.plain and node.text in _NULLS)


def _is_long_form(node: Mapping) -> bool:
    """A JSON field takes mappings as values: one is the long form only if it has `value`, and nothing unknown."""
    return "value" in node.items and all(part in LONG_FORM for part in node.items)

