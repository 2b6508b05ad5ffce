"""Rows as blocks of bytes: whatever is taken is what the reader of the whole file makes of it, and of two versions
nothing that differs is left out.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.documents import PlainDocument, read_rows
from reconciler.plain_rows import PlainRows, read_plain_rows
from reconciler.row_blocks import Bodies, RowBlocks

_BODIES = st.sampled_from(
    ["  on: true\n", "  on: no\n  limit: 5\n", "  on: true # c\n\n", "    a: b\n# c\n", "\n  a: true\n", "  a:  1\n"]
)
_ODD = st.sampled_from(
    ["", "  on:\n", "  on: 'a\n", "  on: b'\n", "  a: {b: c}\n", "on: a\n", "  - a\n", "---\n", "\ta: b\n", "  é: 1\n"]
)
_HEADERS = st.sampled_from(["", "", "# a schema\n", "\n\n", "# é\n\n", "---\n", "  \n", "#\t\n", "\ufeff", "%TAG\n"])
_ENDS = st.sampled_from([":\n"] * 9 + [": \n", ": # c\n", ": a\n", "\n"])
_KEY_LINES = st.builds("{}{}".format, st.integers(0, 6), _ENDS)
_ROWS = st.lists(st.builds("{}{}".format, _KEY_LINES, st.one_of(_BODIES, _BODIES, _BODIES, _ODD)), max_size=6)
_FILES = st.builds("{}{}{}".format, _HEADERS, _ROWS.map("".join), st.sampled_from(["", "", "", "  x: 1"]))


def _whole(text: str) -> PlainRows | None:
    document = read_rows("f.yaml", text.encode(), [])
    return document.rows if isinstance(document, PlainDocument) else None


def _taken(text: str, bodies: Bodies) -> RowBlocks | None:
    blocks = RowBlocks.of("f.yaml", text.encode())
    return blocks if blocks is not None and bodies.are_plain(blocks.bodies.values()) else None


@given(_FILES)
@settings(max_examples=1_000)
def test_what_is_taken_is_what_the_reader_of_the_whole_file_gives(text: str) -> None:
    bodies = Bodies()
    blocks = _taken(text, bodies)
    if blocks is not None and blocks.bodies:
        assert blocks.rows(blocks.bodies, bodies) == _whole(text)


@given(_FILES, _FILES)
@settings(max_examples=1_000)
def test_rows_with_the_same_block_in_two_versions_are_the_same(old_text: str, new_text: str) -> None:
    bodies = Bodies()
    old, new = _taken(old_text, bodies), _taken(new_text, bodies)
    if old is None or new is None:
        return
    old_rows, new_rows = _whole(old_text) or {}, _whole(new_text) or {}
    same = {key.decode() for key, body in new.bodies.items() if old.bodies.get(key) == body}

    def said(rows: PlainRows, key: str) -> list[tuple[str, str]]:
        return [(name, text) for name, (_, text, _, _) in rows[key][1].items()]

    assert all(said(old_rows, key) == said(new_rows, key) for key in same)
    assert old_rows.keys() | new_rows.keys() == {key.decode() for key in old.bodies.keys() | new.bodies.keys()}


def test_the_blocks_of_a_fleet_are_taken_and_its_lines_are_counted() -> None:
    text = "# a schema\n\na:\n  on: true\nb-1:\n\n  on: true\n  limit: 5  # c\n# d\n\nc:\n  on: true\n"
    bodies = Bodies()
    blocks = _taken(text, bodies)
    assert blocks is not None
    assert blocks.named(["c", "b-1", "x"]) == {b"c", b"b-1"}
    assert blocks.rows({b"c", b"b-1"}, bodies) == {
        "b-1": (5, {"on": (3, "true", 7, 7), "limit": (3, "5", 8, 10)}),
        "c": (11, {"on": (3, "true", 12, 7)}),
    }


@pytest.mark.parametrize(
    "text",
    [
        "a:\n  on: true",
        "a:\n  on: true\na:\n  on: true\n",
        "a:\r\n  on: true\r\n",
        "\ufeffa:\n  on: true\n",
        "a: {on: true}\n",
        "$where:\n  on: true\n",
        "a:\n  on: \x07\n",
        "# \u2028b:\na:\n  on: true\n",
    ],
)
def test_anything_else_is_left_to_others(text: str) -> None:
    assert RowBlocks.of("f.yaml", text.encode()) is None


@pytest.mark.parametrize(
    "body",
    [
        '  on: "a\nb:\n  on: b"\n',
        "  on: [a]\n",
        "  on: &x a\n",
        "  on: |\n   a\n",
        "\n",
        "  on: true\n...\n",
        "  on: true\n.b:\n  on: true\n",
        "  on: true\n$where:\n  on: true\n",
    ],
)
def test_what_only_a_parser_understands_is_not_plain(body: str) -> None:
    bodies = Bodies()
    blocks = RowBlocks.of("f.yaml", f"a:\n{body}c:\n  on: true\n".encode())
    assert blocks is None or not bodies.are_plain(blocks.bodies.values())


def test_more_bodies_than_are_remembered_are_read_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reconciler.row_blocks._MOST_BODIES", 2)
    text = "".join(f"row-{number}:\n  limit: {number}\n" for number in range(9))
    bodies = Bodies()
    blocks = _taken(text, bodies)
    assert blocks is not None
    assert blocks.rows(blocks.bodies, bodies) == read_plain_rows(text)
