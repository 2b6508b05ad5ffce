"""Edits of files in every style of the corpus, and of files that are made up: the rest of the file stays as it is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from msgspec.structs import replace

from reconciler.documents import read_document
from reconciler.editing.edit import KEEP, AnyEdit, Edit, Keep, RemoveField, RemoveRow, edit_text
from reconciler.editing.spans import read_spans
from reconciler.errors import Problem
from reconciler.fallback_parser import FallbackParser
from reconciler.model import Json, Row, Then, Value
from reconciler.nodes import Mapping, Node, Scalar
from tests.support.corpus import CORPUS, FIELDS, rows_of
from tests.support.yaml_styles import files

PATH = "state/shops.yaml"
FILES = st.one_of(st.sampled_from(sorted(CORPUS.values())), files())

TEXTS = st.one_of(
    st.sampled_from(
        ["INC-142: rats", "yes", "off", "5", "it's", 'a "word"', "a, b", "# no", "- x", "[a]", "two\nlines\n", "\n",
         "two\nlines", " x", "x ", "é🍞", "null", "2026-11-27", "a: b", "*a", "tab\there", "\x1b[2J"],
    ),
    st.text(min_size=1, max_size=20).filter(lambda text: "\x00" not in text),
)  # fmt: skip
REASONS = TEXTS.map(str.strip).filter(bool)
WAIVERS = st.dictionaries(st.sampled_from(["after", "freeze"]), REASONS)
VALUES: dict[str, st.SearchStrategy[Json]] = {
    "open": st.booleans(),
    "seats": st.integers(-5, 10**6),
    "title": st.one_of(st.none(), TEXTS),
    "tags": st.lists(TEXTS, max_size=3),
    "extra": st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.sampled_from([Decimal("1.5")]), TEXTS),
        lambda inner: st.one_of(
            st.lists(inner, max_size=2),
            st.dictionaries(st.one_of(st.sampled_from(["value", "reason", "a"]), REASONS), inner, max_size=2),
        ),
        max_leaves=5,
    ).filter(lambda value: value is not None),
    "since": st.sampled_from(["2026-11-27T09:00:00Z", "1999-01-01T00:00:00.5Z"]),
}


@st.composite
def edits(draw: st.DrawFn, rows: dict[str, Row]) -> AnyEdit:
    key = draw(st.sampled_from([*rows, *rows, "new", "new row: #1", "12"]))
    named = sorted(rows[key].values) if key in rows else []
    kind = draw(st.sampled_from(["set"] * 5 + ["remove field", "remove row"])) if named else "set"
    if kind == "remove row":
        return RemoveRow("shops", key)
    field = draw(st.sampled_from(named * 3 + sorted(FIELDS))) if kind == "set" else draw(st.sampled_from(named))
    if kind == "remove field":
        return RemoveField("shops", key, field)
    then = st.one_of(st.just(Then(restores=True)), VALUES[field].map(Then))
    until, after = draw(st.one_of(
        st.just((KEEP, KEEP)), st.just((None, KEEP)),
        st.tuples(st.sampled_from(["2026-12-01T08:30:00Z"]), st.one_of(st.just(KEEP), st.none(), then)),
    ))  # fmt: skip
    return Edit(
        "shops",
        key,
        field,
        value=draw(VALUES[field]) if field not in named else draw(st.one_of(st.just(KEEP), VALUES[field])),
        reason=draw(st.one_of(st.just(KEEP), st.none(), REASONS)),
        until=until,
        then=after,
        override=draw(
            st.one_of(st.just(KEEP), st.none(), st.dictionaries(st.sampled_from(["after", "freeze"]), REASONS))
        ),
        expect={"title": "Acme, Inc."} if key not in rows and draw(st.booleans()) else {},
    )


def asked(rows: dict[str, Row], edit: AnyEdit) -> dict[str, Row]:
    """The state after an edit, by a few lines that know no text and no nodes."""
    after = {key: Row(row.table, key, dict(row.values), None, row.expect) for key, row in rows.items()}
    if isinstance(edit, RemoveRow):
        after.pop(edit.key, None)
        return after
    row = after.get(edit.key)
    if isinstance(edit, RemoveField):
        if row is not None:
            row.values = {name: value for name, value in row.values.items() if name != edit.field}
            if not row.values and not row.expect:
                del after[edit.key]
        return after
    if row is None:
        row = after[edit.key] = Row(
            "shops", edit.key, {}, None, {name: Value(text) for name, text in edit.expect.items()}
        )
    old = row.values.get(edit.field, Value(None))
    parts: dict[str, Any] = {
        "data": edit.value, "reason": edit.reason, "until": edit.until, "then": edit.then, "override": edit.override,
    }  # fmt: skip
    new = replace(old, **{name: part for name, part in parts.items() if not isinstance(part, Keep)})
    if new.until is None:
        new = replace(new, then=None)
    row.values = {**row.values, edit.field: replace(new, override=new.override or {})}
    return after


def said(rows: dict[str, Row]) -> dict[str, Any]:
    """All that a state says, places apart."""
    return {
        key: (
            {name: replace(value, file="", line=0, column=0, override=dict(value.override or {}))
             for name, value in row.values.items()},
            {name: value.data for name, value in row.expect.items()},
        )
        for key, row in rows.items()
    }  # fmt: skip


@given(st.data())
def test_the_file_says_what_the_edits_ask_and_nothing_else_changes_its_meaning(data: st.DataObject) -> None:
    before = data.draw(FILES)
    rows = rows_of(before)
    asked_for: list[AnyEdit] = []
    for _ in range(data.draw(st.integers(1, 4))):
        edit = data.draw(edits(rows))
        asked_for.append(edit)
        rows = asked(rows, edit)
    after = edit_text(PATH, before, asked_for, FIELDS)
    assert said(rows_of(after)) == said(rows)


@given(st.data())
def test_one_edit_touches_no_line_but_those_of_its_entry(data: st.DataObject) -> None:
    # Anchors move to other entries, and after a "?" two entries can share a line.
    before = data.draw(FILES.filter(lambda file: b"&" not in file and b"? " not in file))
    edit = data.draw(edits(rows_of(before)))
    after = edit_text(PATH, before, [edit], FIELDS)
    lines, edited = before.splitlines(keepends=True), after.splitlines(keepends=True)
    same_above = _common(lines, edited)
    same_below = _common(lines[same_above:][::-1], edited[same_above:][::-1])
    changed = range(same_above, len(lines) - same_below)
    first, last = _lines_of(before, edit)
    # The last line of a file may be without a line break: as the last it has none, and as another one it has.
    bare = [line.rstrip(b"\r\n") for line in edited]
    assert all(first <= line <= last or lines[line].rstrip(b"\r\n") in bare[line : line + 1] for line in changed)
    assert first - 1 <= same_above <= last + 1 or before == after


@given(st.data())
def test_comments_on_lines_of_their_own_stay(data: st.DataObject) -> None:
    before = data.draw(FILES)
    rows = rows_of(before)
    edit = data.draw(edits(rows).filter(lambda edit: isinstance(edit, Edit) and edit.value is KEEP))
    after = edit_text(PATH, before, [edit], FIELDS)
    assert sorted(_comments(before)) == sorted(_comments(after))


@pytest.mark.parametrize("name", CORPUS)
def test_what_a_value_is_already_changes_no_byte(name: str) -> None:
    data = CORPUS[name]
    same: list[AnyEdit] = [
        Edit("shops", key, field, value.data, value.reason, value.until, value.then, value.override or None)
        for key, row in rows_of(data).items()
        for field, value in row.values.items()
    ]
    for edit in same:
        assert edit_text(PATH, data, [edit], FIELDS) == data, edit
    assert edit_text(PATH, data, same, FIELDS) == data


@given(st.data())
def test_back_is_the_way_there(data: st.DataObject) -> None:
    before = data.draw(FILES)
    rows = rows_of(before)
    fields = [
        (key, field)
        for key, row in rows.items()
        for field, value in row.values.items()
        if not isinstance(value.data, list | dict)
    ]
    assume(fields)
    key, field = data.draw(st.sampled_from(fields))
    was = rows[key].values[field].data
    old = _value_node(before, key, field)
    assert old is not None
    there = edit_text(PATH, before, [Edit("shops", key, field, data.draw(VALUES[field]))], FIELDS)
    between = _value_node(there, key, field)
    back = edit_text(PATH, there, [Edit("shops", key, field, was)], FIELDS)
    assert said(rows_of(back)) == said(rows)
    # Of two ways to write a value the file had one, and a value between that could not be written so lost it.
    if (
        b"*" not in before
        and between is not None
        and _is_usual(before, old)
        and _style(before, old) == _style(there, between)
    ):
        assert back == before


@pytest.mark.parametrize("name", CORPUS)
def test_both_parsers_find_the_same_places(name: str) -> None:
    text = CORPUS[name].removeprefix(b"\xef\xbb\xbf").decode()
    for keys in ((), ("acme",), ("acme", "bistro", "corner", "dairy", "far")):
        assert read_spans(text, keys) == read_spans(text, keys, FallbackParser)


def _common(one: list[bytes], other: list[bytes]) -> int:
    pairs = zip(one, other, strict=False)
    return next((at for at, (left, right) in enumerate(pairs) if left != right), min(len(one), len(other)))


def _lines_of(data: bytes, edit: AnyEdit) -> tuple[int, int]:
    """The first and the last line, from 0, that an edit may touch: of its field, of its row, or the file's last."""
    root = _root(data)
    end = len(data.splitlines())
    if not isinstance(root, Mapping) or edit.key not in root.items:
        # A new row comes last; between brackets, behind the last that there is.
        last = max((line for line, _ in root.keys.values()), default=1) if isinstance(root, Mapping) else 1
        return last - 1, end
    row = root.items[edit.key]
    starts = sorted(line for line, _ in root.keys.values())
    first = root.keys[edit.key][0]
    last = next((line - 1 for line in starts if line > first), end)
    if isinstance(edit, RemoveRow) or (
        isinstance(edit, RemoveField) and isinstance(row, Mapping) and len(row.items) == 1
    ):
        return first - 3, last  # with a blank line, and the line break of the file's last line
    if not isinstance(row, Mapping) or edit.field not in row.items:
        return first - 2, last
    below = sorted(line for line, _ in row.keys.values())
    first = row.keys[edit.field][0]
    before = 2 if isinstance(edit, RemoveField) else 1  # with the last between brackets goes the comma before it
    return first - before, next((line - 2 for line in below if line > first), last - 1)


def _comments(data: bytes) -> Iterator[bytes]:
    inside = {line for scalar in _scalars(_root(data)) for line in _block_lines(data, scalar)}
    for number, line in enumerate(data.splitlines()):
        if line.strip().startswith(b"#") and number not in inside:
            yield line.strip()


def _block_lines(data: bytes, scalar: Scalar) -> range:
    """The lines of a text after `|` or `>`, in which nothing is a comment."""
    is_block = not scalar.plain and _style(data, scalar) in ("|", ">")
    return range(scalar.line, scalar.line + scalar.text.count("\n") + 1 if is_block else scalar.line)


def _scalars(node: Node | None) -> Iterator[Scalar]:
    if isinstance(node, Scalar):
        yield node
    elif node is not None:
        for item in node.items.values() if isinstance(node, Mapping) else node.items:
            yield from _scalars(item)


def _root(data: bytes) -> Node | None:
    problems: list[Problem] = []
    document = read_document(PATH, data, problems)
    assert document is not None
    assert not problems
    return document.root


def _value_node(data: bytes, key: str, field: str) -> Scalar | None:
    """The scalar of a field, out of its long form."""
    root = _root(data)
    assert isinstance(root, Mapping)
    row = root.items[key]
    assert isinstance(row, Mapping)
    node = row.items[field]
    if isinstance(node, Mapping) and "value" in node.items:
        node = node.items["value"]
    return node if isinstance(node, Scalar) else None


def _style(data: bytes, scalar: Scalar) -> str:
    """The first character of how it is written, or that it is plain, and of which type."""
    if not scalar.plain:
        return data.removeprefix(b"\xef\xbb\xbf").decode().splitlines()[scalar.line - 1][scalar.column - 1]
    return "text" if re.fullmatch(r"[A-Za-z][a-z ]*", scalar.text) and scalar.text.lower() not in WORDS else "other"


WORDS = ("true", "false", "null")


def _is_usual(data: bytes, scalar: Scalar) -> bool:
    """Whether it is written as an edit would write it: on one line, without escapes and other ways to spell numbers."""
    line = data.removeprefix(b"\xef\xbb\xbf").decode().splitlines()[scalar.line - 1][scalar.column - 1 :]
    if scalar.tag is not None:
        return False
    if not scalar.plain:
        text = scalar.text
        return (
            text.isprintable()
            and "\\" not in text
            and line[1:].startswith(text)
            and "'" not in text
            and '"' not in text
        )
    if scalar.text.lower() in WORDS:
        return scalar.text in (scalar.text.lower(), scalar.text.title(), scalar.text.upper()) and scalar.text != "~"
    is_number = bool(re.fullmatch(r"-?(0|[1-9][0-9]*)", scalar.text))
    return line.startswith(scalar.text) and (is_number or bool(re.fullmatch(r"[A-Za-z][a-z ]*[a-z]", scalar.text)))
