"""Reading rows without a parser: whatever is taken is what the parser makes of it, places included."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.desired import read_desired
from reconciler.documents import PlainDocument, read_document, read_rows
from reconciler.errors import Problem
from reconciler.plain_rows import read_plain_rows, tree
from tests.support.definitions import sound_definitions

DEFINITIONS = sound_definitions(
    shops="{table: shops, key: id, audit: {event: E}, fields: {on: {type: boolean}, limit: {type: integer, max: 9}}}"
)

PLAIN = """\
# yaml-language-server: $schema=../schemas/json/state.tenants.schema.json

8a6e0804-2bd0-4672-b79d-d97027f9071a:
  isWhatsappEnabled: false  # INC-142
  aiDailyLimit:   5

  # a model of the day
  aiCustomModel: openai/gpt-4o:free
acme.bakery:   # indented otherwise
      status: ACTIVE
      until: 2026-11-27T09:00:00Z
      a_b: -3
"""

_PLAIN = "a b id-1 x.y 0123 no null -1 ... 1:2 +1 1e5 a:/b // _ A- - -- --- a: :a << ? ~ a#b"
_ODD = "# 'q' \"q\" &a *a !t %d [1] {a} | > @ é = ,"
_WORDS = st.sampled_from([*_PLAIN.split(), *_ODD.split(), "a b", "a: b"])
_SPACES = st.sampled_from(["", " ", "  ", "    "])
_ENDS = st.sampled_from(["", "", "", " ", " # c", "#c", "\t"])
_FIELDS = st.builds(
    "  {}:{}{}{}".format, st.integers(0, 99), st.sampled_from([" ", "  "]), st.sampled_from(_PLAIN.split()), _ENDS
)
_OTHERS = st.one_of(
    st.builds("{}:{}".format, st.integers(0, 9), _ENDS),
    st.builds("{}{}:{}{}".format, _SPACES, _WORDS, _SPACES, _WORDS),
    st.sampled_from(["", "  ", "# c", "  # c", "#", "\t", "---", "...", "- a", "  continued", "a: 1", "\ta: 1"]),
)
_LINES = st.lists(st.one_of(_FIELDS, _FIELDS, _OTHERS), max_size=5)


@given(_LINES, st.sampled_from(["\n", "\n", "\n", "\r\n", "\r"]), st.booleans())
@settings(max_examples=1_000)
def test_what_is_taken_is_what_the_parser_reads_without_a_problem(lines: list[str], end: str, ends: bool) -> None:
    text = end.join(["row:", *lines]) + (end if ends else "")
    rows = read_plain_rows(text)
    if rows is not None:
        problems: list[Problem] = []
        document = read_document("f.yaml", text.encode(), problems)
        assert problems == []
        assert document is not None
        assert document.root == tree(rows)


def test_a_file_of_plain_rows_is_taken_whole() -> None:
    rows = read_plain_rows(PLAIN)
    assert rows is not None
    line, acme = rows["acme.bakery"]
    assert line == 9
    assert acme["status"] == (7, "ACTIVE", 10, 15)
    document = read_document("f.yaml", PLAIN.encode(), [])
    assert document is not None
    assert document.root == tree(rows)


@pytest.mark.parametrize(
    "line",
    [
        "  reason: WhatsApp ban",
        "  name: 'Acme'",
        "  limit: {value: 5}",
        "  limit:",
        "  a: 1",
        "   b: 2",
        "# c\r  b: 2",
        "  b: &x 2",
        "  b: 2#3",
        "  b: c:",
        "b: 2",
        "b:",
        "r:",
        "---",
    ],
)
def test_anything_else_is_left_to_the_parser(line: str) -> None:
    assert read_plain_rows("r:\n  a: 1\n") is not None
    assert read_plain_rows(f"r:\n  a: 1\n{line}\n") is None


@given(
    st.lists(st.sampled_from(["a", "b", "c"]), max_size=4),
    st.lists(st.sampled_from(["true", "true", "on"]), min_size=1, max_size=4),
    st.sampled_from(["5", "5", "10", "x"]),
)
def test_rows_mean_the_same_with_nodes_and_without(keys: list[str], switches: list[str], limit: str) -> None:
    files = [f"{key}:\n  on: {switches[at % len(switches)]}\n  limit: {limit}\n" for at, key in enumerate(keys)]
    plain: list[Problem] = []
    with_nodes: list[Problem] = []
    documents = [read_rows(f"state/shops/{at}.yaml", text.encode(), plain) for at, text in enumerate(files)]
    assert all(isinstance(document, PlainDocument) for document in documents)
    nodes = [read_document(f"state/shops/{at}.yaml", text.encode(), with_nodes) for at, text in enumerate(files)]
    state = read_desired([document for document in documents if document], DEFINITIONS, "state", plain)
    assert read_desired([document for document in nodes if document], DEFINITIONS, "state", with_nodes) == state
    assert [str(problem) for problem in plain] == [str(problem) for problem in with_nodes]
