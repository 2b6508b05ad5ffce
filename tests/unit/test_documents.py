"""Reading one YAML file: positions, strictness, bounds, and that both parsers agree."""

from __future__ import annotations

import gc
import json
import random
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from reconciler.documents import (
    MAX_ALIASED,
    MAX_DEPTH,
    MAX_FILE_BYTES,
    Document,
    Mapping,
    Node,
    Scalar,
    Sequence,
    read_document,
)
from reconciler.errors import Problem
from reconciler.fallback_parser import FallbackParser
from reconciler.model import Location
from reconciler.scalars import to_json
from reconciler.syntax import DEFAULT_EVENTS, Events

Parser = Callable[[bytes], Events]


@pytest.fixture(params=[DEFAULT_EVENTS, FallbackParser], ids=["default", "fallback"])
def parser(request: pytest.FixtureRequest) -> Parser:
    """Each of the two parsers."""
    chosen: Parser = request.param
    return chosen


def read(text: str | bytes, parser: Parser = DEFAULT_EVENTS) -> Node | None:
    """The root of a file in which nothing may be wrong."""
    problems: list[Problem] = []
    document = read_document("f.yaml", text.encode() if isinstance(text, str) else text, problems, parser)
    assert problems == []
    assert document is not None
    return document.root


def read_mapping(text: str | bytes, parser: Parser = DEFAULT_EVENTS) -> Mapping:
    root = read(text, parser)
    assert isinstance(root, Mapping)
    return root


def problems_of(text: str | bytes, parser: Parser = DEFAULT_EVENTS) -> tuple[Document | None, list[Problem]]:
    """What is wrong in a file, in order."""
    problems: list[Problem] = []
    document = read_document("f.yaml", text.encode() if isinstance(text, str) else text, problems, parser)
    return document, sorted(problems, key=Problem.sort_key)


def places(problems: list[Problem]) -> list[tuple[int, int]]:
    return [(p.location.line, p.location.column) for p in problems if p.location is not None]


# Nodes and positions -------------------------------------------------------------------------------------------------


def test_keys_and_values_know_their_line_and_column(parser: Parser) -> None:
    root = read_mapping("# a comment\nrow:\n  field: 5\n  'list':\n  - x\n  - {a: \"b\"}\n", parser)
    assert root == Mapping(
        {
            "row": Mapping(
                {
                    "field": Scalar("5", True, 3, 10),
                    "list": Sequence(
                        [Scalar("x", True, 5, 5), Mapping({"a": Scalar("b", False, 6, 9)}, {"a": (6, 6)}, 6, 5)], 5, 3
                    ),
                },
                {"field": (3, 3), "list": (4, 3)},
                3,
                3,
            )
        },
        {"row": (2, 1)},
        2,
        1,
    )


def test_columns_count_characters_not_bytes(parser: Parser) -> None:
    root = read_mapping("{é: ü, 😀: x}\n", parser)
    assert root.keys == {"é": (1, 2), "😀": (1, 8)}
    assert root.items["😀"] == Scalar("x", True, 1, 11)


@pytest.mark.parametrize("line_break", ["\n", "\r\n", "\r"])
def test_every_kind_of_line_break_counts_once(line_break: str, parser: Parser) -> None:
    root = read_mapping(line_break.join(["a: 1", "", "b: |", "  x", "  y", "c: 3", ""]), parser)
    assert root.keys == {"a": (1, 1), "b": (3, 1), "c": (6, 1)}
    assert to_json(root) == {"a": 1, "b": "x\ny\n", "c": 3}


def test_a_utf8_byte_order_mark_is_accepted_and_takes_no_column(parser: Parser) -> None:
    assert read_mapping(b"\xef\xbb\xbfa: 1\n", parser).keys == {"a": (1, 1)}


def test_keys_are_the_text_that_stands_in_the_file(parser: Parser) -> None:
    keys = [
        "0123",
        "1e3",
        "2026-11-27",
        "yes",
        "~",
        "null",
        "true",
        "0x1F",
        "8a6e0804-2bd0-4672-b79d-d97027f9071a",
        ".5",
    ]
    assert list(read_mapping("".join(f"{key}: x\n" for key in keys), parser).items) == keys


@pytest.mark.parametrize("text", [b"", b"\n\n", b"# nothing\n", b"---\n", b"---\n...\n", b"\xef\xbb\xbf"])
def test_a_file_that_holds_nothing_has_no_root(text: bytes, parser: Parser) -> None:
    assert read(text, parser) is None


def test_an_explicit_null_is_a_root(parser: Parser) -> None:
    assert read("null\n", parser) == Scalar("null", True, 1, 1)


def test_quoted_and_block_text_is_not_plain(parser: Parser) -> None:
    root = read_mapping("a: 'no'\nb: \"n\\to\"\nc: |\n  no\nd: no\n", parser)
    texts = [(item.text, item.plain) for item in root.items.values() if isinstance(item, Scalar)]
    assert texts == [("no", False), ("n\to", False), ("no\n", False), ("no", True)]


def test_a_value_that_is_left_out_is_null_at_its_key(parser: Parser) -> None:
    root = read_mapping("a:\nb: {c: , d}\ne:", parser)
    assert to_json(root) == {"a": None, "b": {"c": None, "d": None}, "e": None}
    assert root.items["a"] == Scalar("", True, 1, 1)
    assert root.items["e"] == Scalar("", True, 3, 1)


def test_core_tags_are_kept_in_short_form(parser: Parser) -> None:
    root = read_mapping("a: !!str 5\nb: !!map {}\nc: !!seq []\nd: !<tag:yaml.org,2002:int> '5'\n!!str e: 1\n", parser)
    assert root.items["a"] == Scalar("5", True, 1, 4, "!!str")
    assert root.items["d"] == Scalar("5", False, 4, 4, "!!int")
    assert to_json(root) == {"a": "5", "b": {}, "c": [], "d": 5, "e": 1}


def test_tabs_may_separate_but_not_indent(parser: Parser) -> None:
    assert to_json(read_mapping("a:\t1\t# x\nb: [1,\t2]\nc: x\ty\n", parser)) == {"a": 1, "b": [1, 2], "c": "x\ty"}


# Aliases -------------------------------------------------------------------------------------------------------------


def test_an_alias_is_the_node_that_it_names(parser: Parser) -> None:
    root = read_mapping("a: &x {k: &y v}\nb: *x\nc: [*x, *y]\n&z d: *z\n", parser)
    assert root.items["b"] is root.items["a"]
    assert to_json(root) == {"a": {"k": "v"}, "b": {"k": "v"}, "c": [{"k": "v"}, "v"], "d": "d"}


def test_an_alias_to_nothing_is_a_problem(parser: Parser) -> None:
    document, problems = problems_of("a: *nobody\nb: &nobody 1\na: 2\n", parser)
    assert document is None
    assert places(problems) == [(1, 4), (3, 1)]
    assert "*nobody names nothing above it" in str(problems[0])


@pytest.mark.parametrize("text", ["a: &x [*x]\n", "&x a: &y\n  b: {c: [*y]}\n", "&x\na: *x\n"])
def test_an_alias_inside_what_it_names_is_a_problem(text: str, parser: Parser) -> None:
    document, problems = problems_of(text, parser)
    assert document is None
    assert [p.message for p in problems if "stands inside what it names" in p.message]


def test_an_anchor_that_is_defined_twice_is_a_problem_that_names_both_places(parser: Parser) -> None:
    _, problems = problems_of("a: &x 1\nb: &x 2\n", parser)
    assert [str(p) for p in problems] == [
        "f.yaml:2:4: the anchor &x stands here and in line 1 (give each its own name)"
    ]


def bomb(levels: int, width: int) -> str:
    """Aliases of aliases: width ** levels values."""
    lines = ["a0: &a0 [x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * width)}]" for i in range(1, levels)]
    return "\n".join(lines) + "\n"


def test_an_alias_bomb_is_a_problem_at_the_alias_that_goes_too_far(parser: Parser) -> None:
    document, problems = problems_of(bomb(levels=40, width=10), parser)
    assert document is None
    assert len(problems) == 1
    assert places(problems)[0][0] == 6
    assert "aliases make this file more than" in problems[0].message


def test_what_aliases_add_is_bounded_by_the_size_of_the_file() -> None:
    rows = MAX_ALIASED // 20
    text = "d: &d {a: 1, b: 2, c: 3}\n" + "".join(f"row-{i:036}: *d\n" for i in range(rows * 8))
    assert len(read_mapping(text).items) == rows * 8 + 1
    anchored = "d: &d [" + "x, " * 100 + "]\n"
    _, problems = problems_of(anchored + "".join(f"r{i}: *d\n" for i in range(rows)))
    assert len(problems) == 1


# What is refused -----------------------------------------------------------------------------------------------------


def test_a_duplicate_key_is_a_problem_that_names_both_places_and_the_first_is_kept(parser: Parser) -> None:
    document, problems = problems_of("a: 1\nb: {x: 1, x: 2}\n'a': 3\na: 4\n", parser)
    assert [str(p) for p in problems] == [
        'f.yaml:2:11: the key "x" stands here and at f.yaml:2:5 (remove one of them)',
        'f.yaml:3:1: the key "a" stands here and at f.yaml:1:1 (remove one of them)',
        'f.yaml:4:1: the key "a" stands here and at f.yaml:1:1 (remove one of them)',
    ]
    assert document is not None
    assert document.root is not None
    assert to_json(document.root) == {"a": 1, "b": {"x": 1}}


def test_duplicates_before_a_syntax_error_are_reported_with_it(parser: Parser) -> None:
    document, problems = problems_of("a: 1\na: 2\nb: [1\nc: 3\n", parser)
    assert document is None
    assert places(problems) == [(2, 1), (4, 2)]


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("a: &a {x: 1}\nb:\n  <<: *a\n  y: 2\n", (3, 3), 'merge keys ("<<") are not supported'),
        ("a: &a k\n*a : 1\n", (2, 1), "a key must be text"),
        ("a: 1\n? {b: c}\n: d\n", (2, 3), "a key must be text"),
        ("a: 1\n? - b\n: {c: d}\n", (2, 3), "a key must be text"),
        ("a: 1\n[b, c]: d\n", (2, 1), "a key must be text"),
        ("!!int 5: x\na: 1\n", (1, 1), "a key is always text"),
        ("? \n: x\na: 1\n", (1, 2), "there is no key"),
        ("a: 1\nb: !secret x\n", (2, 4), "the tag !secret is not known"),
        ("a: 1\nb: !!timestamp 2026-11-27\n", (2, 4), "the tag !!timestamp is not known"),
        ("a: 1\nb: !!python/object:os.system {}\n", (2, 4), "is not known"),
        ("a: 1\nb: ! x\n", (2, 4), "the tag ! is not known"),
        ("a: !!str {b: c}\n", (1, 4), "the tag !!str does not fit a mapping"),
        ("a: !!map x\n", (1, 4), "the tag !!map does not fit a single value"),
        ("a: 1\n---\nb: 2\n", (2, 1), "a second document begins here"),
        ("a: 1\n...\n---\nb: 2\n", (3, 1), "a second document begins here"),
        ("%YAML 1.2\n---\na: 1\n", (1, 1), "directives"),
        ("%TAG !x! tag:x,2000:\n---\na: 1\n", (1, 1), "directives"),
        ('a: "x\\0y"\n', (1, 4), "NUL character"),
        ('"\\u0000": x\n', (1, 1), "NUL character"),
    ],
)
def test_what_is_refused_leaves_the_rest_readable(
    text: str, place: tuple[int, int], message: str, parser: Parser
) -> None:
    document, problems = problems_of(text, parser)
    assert document is not None
    assert places(problems) == [place]
    assert message in problems[0].message
    assert problems[0].hint


def test_values_of_refused_keys_are_left_out(parser: Parser) -> None:
    text = "a: &a {x: 1}\n<<: *a\n? [k]\n: {deep: [1, {a: b}]}\n*a : {z: 1}\nlast: 1\n"
    document, problems = problems_of(text, parser)
    assert len(problems) == 3
    assert document is not None
    assert document.root is not None
    assert to_json(document.root) == {"a": {"x": 1}, "last": 1}


def test_quoted_signs_are_ordinary_keys(parser: Parser) -> None:
    assert to_json(read_mapping("'<<': 1\n\"\": 2\n", parser)) == {"<<": 1, "": 2}


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("a:\n\tb: 1\n", (2, 1), "a tab stands where only spaces may"),
        ("a: |\n\tb\n", (2, 1), "a tab stands where only spaces may"),
        ("a: b\n c\n\td\n", (3, 1), "a tab stands where only spaces may"),
        ("a: 'b\nc: d\n", (1, 4), "the quote that opens here is never closed"),
        ('a: "b\n---\nc: d"\n', (1, 4), "is not closed before a line"),
        ("a: 1\nb\nc: 2\n", (2, 1), 'a ":" is missing after this'),
        ("a: 1\nb:2\n", (2, 1), 'a ":" is missing after this'),
        ("a: b: c\n", (1, 5), 'a ":" is not allowed here'),
        ("a: 1\n  b: 2\n", (2, 4), 'a ":" is not allowed here'),
        ("a:\n    b: 1\n  c: 2\n", (3, 3), "a key of the mapping above"),
        ("- a\nb: 1\n", (2, 1), 'the next "- " of the list'),
        ("a: [1, 2\nb: 3\n", (2, 2), 'a "," or "]" is missing'),
        ("a: {b: 1\n", (1, 9), 'a "," or "}" is missing'),
        ("a: {b: 1", (1, 9), 'a "," or "}" is missing'),
        ("a: @b\n", (1, 4), 'no value can begin with "@"'),
        ("a: `b`\n", (1, 4), 'no value can begin with "`"'),
        ("a: %b\n", (1, 4), 'no value can begin with "%"'),
        ("a: *\n", (1, 5), "a name must follow"),
        ('a: "\\q"\n', (1, 4), "a backslash in the text quoted here begins no escape"),
        ('a: "\\ud800"\n', (1, 4), "a backslash in the text quoted here begins no escape"),
        ('a: "\\U00110000"\n', (1, 4), "a backslash in the text quoted here begins no escape"),
        ("a: - b\n", (1, 4), 'a "- " is not allowed here'),
        ("a: |x\n  b\n", (1, 5), 'what follows "|" or ">"'),
        ("a: |0\n  b\n", (1, 5), 'what follows "|" or ">"'),
        ("a: !x!y z\n", (1, 4), "this is no tag"),
        ("a: ]\n", (1, 4), "a value was expected here"),
        (": x\na: 1\n", (1, 1), "a key of the mapping above"),
        ("a: 1\n...\nb: 2\n", (3, 1), "the document has ended"),
        ("a: {b: c:]}\n", (1, 9), 'a ":" is not allowed here'),
        ("[a]\n- b\n", (2, 1), "the document has ended"),
    ],
)
def test_a_syntax_error_is_said_in_plain_words_at_its_place(
    text: str, place: tuple[int, int], message: str, parser: Parser
) -> None:
    document, problems = problems_of(text, parser)
    assert document is None
    assert places(problems) == [place]
    assert message in problems[0].message
    assert problems[0].hint


# Bytes ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "place", "message", "hint"),
    [
        (b"a: 1\nb: \xe9\n", (2, 4), "the byte 0xe9 (at offset 8) is not UTF-8", "UTF-8"),
        ("é\r\né: ".encode() + b"\xff", (2, 4), "the byte 0xff (at offset 8)", "UTF-8"),
        ("a: 1".encode("utf-16"), (1, 1), "UTF-16", "UTF-8"),
        ("a: 1".encode("utf-16-be"), (1, 1), "U+0000", "binary"),
        (b"a: 1\nb: \x00", (2, 4), "U+0000", "binary"),
        (b"a: \x1b[0m\n", (1, 4), "U+001B", "\\u001b"),
        (b"a: x\x7f\n", (1, 5), "U+007F", "\\u007f"),
        ("é: x\u2028y\n".encode(), (1, 5), "U+2028", "\\u2028"),
        ("a: é\u0085\n".encode(), (1, 5), "U+0085", "\\u0085"),
        ("a: 1\n\ufeffb: 2\n".encode(), (2, 1), "U+FEFF", "\\ufeff"),
        ("a: \uffff\n".encode(), (1, 4), "U+FFFF", "\\uffff"),
    ],
)
def test_bytes_that_are_no_clean_text_are_refused_at_their_place(
    data: bytes, place: tuple[int, int], message: str, hint: str
) -> None:
    document, problems = problems_of(data)
    assert document is None
    assert places(problems) == [place]
    assert message in problems[0].message
    assert hint in problems[0].hint


def test_a_file_that_is_too_large_is_refused_without_being_parsed() -> None:
    def parse(data: bytes) -> Events:
        raise AssertionError("the parser was shown the file")

    document, problems = problems_of(b"#" * (MAX_FILE_BYTES + 1), parse)
    assert document is None
    assert [str(p) for p in problems] == [
        "f.yaml:1:1: the file has 67,108,865 bytes; at most 67,108,864 are read (split it: the files of a table add up)"
    ]


# Bounds --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("opening", ["[", "{a: "])
def test_nesting_is_accepted_up_to_the_limit_and_refused_beyond_it(opening: str, parser: Parser) -> None:
    closing = {"[": "]", "{a: ": "}"}[opening]
    assert read(opening * MAX_DEPTH + "1" + closing * MAX_DEPTH, parser) is not None
    document, problems = problems_of(opening * (MAX_DEPTH + 1) + "1" + closing * (MAX_DEPTH + 1), parser)
    assert document is None
    assert places(problems) == [(1, len(opening) * MAX_DEPTH + 1)]


@pytest.mark.parametrize("text", ["[" * 100_000, "{a: " * 100_000, "- " * 100_000, "? " * 100_000, "[{" * 100_000])
def test_endless_nesting_is_a_problem_and_no_crash(text: str) -> None:
    document, problems = problems_of(text)
    assert document is None
    assert any(re.search("nested (deeper than 64 levels|far too deep)", p.message) for p in problems)


def test_depth_is_counted_through_aliases(parser: Parser) -> None:
    half = MAX_DEPTH // 2
    text = "a: &a {}[1]{}\nb: {}*a{}\n".format("[" * (half - 1), "]" * (half - 1), "[" * half, "]" * half)
    root = read_mapping(text.replace("*a", "x"), parser)
    assert isinstance(root.items["b"], Sequence)
    document, problems = problems_of(text, parser)
    assert document is None
    assert "nested deeper than 64 levels" in problems[0].message
    shallower = text.replace("[" * half + "*a" + "]" * half, "[" * (half - 1) + "*a" + "]" * (half - 1))
    assert read(shallower, parser) is not None


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("text", ["a: 1\n", "a: [\n"])
def test_the_garbage_collector_is_left_as_it_was_found(enabled: bool, text: str) -> None:
    was_enabled = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        problems_of(text)
        assert gc.isenabled() is enabled
    finally:
        (gc.enable if was_enabled else gc.disable)()


# Properties ----------------------------------------------------------------------------------------------------------

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\u2028\u2029\ufeff\ufffe\uffff"))
TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


@given(TREES)
def test_what_another_program_writes_as_json_is_read_as_it_was_meant(tree: Any) -> None:
    root = read(json.dumps(tree, ensure_ascii=False, indent=1))
    assert root is not None
    assert to_json(root) == tree


@given(TREES, st.sampled_from([None, '"', "'", "|", ">"]), st.sampled_from([True, False]))
def test_what_pyyaml_writes_with_tags_is_read_as_it_was_meant(tree: Any, style: str | None, flow: bool) -> None:
    # With a style PyYAML writes what is no text as a tagged scalar; without one it writes by the rules of YAML 1.1.
    written = yaml.safe_dump(tree, default_style=style or '"', default_flow_style=flow, allow_unicode=True, width=10**6)
    root = read(re.sub(r"^--- ", "", written))
    assert (None if root is None else to_json(root)) == tree


SAMPLES = [
    (
        "# c\n8a6e-1:\n  $expect: {name: Acme Bakery}\n  isW: # why\n    value: false\n"
        '    reason: "ban, \\"INC\\" \\x41"\n'
        "    until: 2026-11-27T09:00:00Z\n  aiDailyLimit: 5\nb: &d\n  - one\n  - 'two ''x'''\n  - [a, b: c, {d: e}]\n"
        "c: *d\nt: |\n  block\n   text\n\nf: >-\n  folded\n  text\nz: !!str 5\n"
    ),
    "a: 1\nb: {x: y, z: [1, 2, 'q']}\n",
    "- a\n- b:\n    c: d\n-\n  - x\n",
    "---\nk: v\n...\n",
    "? a\n: b\n? [x]\n: c\n",
    "a: &x {k: v}\nb: *x\nc: &y [*x, *x]\n\"q r\": 'z'\né: ü # ö\n",
]
PIECES = [
    *("\t", " ", "\n", "\r\n", "\r", "  ", "\n  ", "\n\t", ":", ": ", "- ", "-", "? ", "?", "#", " #", "'", '"', ","),
    *(
        "&a ",
        "*a",
        "&a",
        "*a: ",
        "!!str ",
        "!!int ",
        "!x ",
        "!",
        "{",
        "}",
        "[",
        "]",
        "|",
        "|\n",
        ">",
        "|2\n",
        "|-",
        "@",
    ),
    *("`", "---\n", "...\n", "<<: ", "a: b\n", "\\", "\\x", "\\0", "é", "😀", "~", "a", "0", ": x", "k:\tv", "\tx"),
]


def mutated(text: str, seed: int) -> str:
    """The text with up to four pieces put in, cut out or doubled."""
    source = random.Random(seed)
    for _ in range(source.randint(1, 4)):
        at, kind = source.randrange(len(text) + 1), source.random()
        if kind < 0.6:
            text = text[:at] + source.choice(PIECES) + text[at:]
        elif kind < 0.85:
            text = text[:at] + text[at + source.randint(1, 4) :]
        else:
            text = text[:at] + text[source.randrange(at + 1) : at] + text[at:]
    return text


@settings(max_examples=500, deadline=None)
@given(
    st.builds(mutated, st.sampled_from(SAMPLES), st.integers(min_value=0, max_value=10**9))
    | st.lists(st.sampled_from(PIECES), min_size=1, max_size=9).map("".join)
)
@example("a: {name: really?, b: c}\n")
@example("[a, !!str , b:c]\n")
@example("a: {k:} x}\n")
@example("<<: \n[")
@example("a: |\n  \tx\n")
@example("x: a\n\n  b\n")
def test_both_parsers_give_the_same_nodes_and_the_same_problems(text: str) -> None:
    # An empty key behind a "?" is refused by both, at places a little apart.
    assume("?" not in text or not re.search(r"[\[{]", text) or re.search(r"\w\?", text))
    by_default, by_fallback = problems_of(text, DEFAULT_EVENTS), problems_of(text, FallbackParser)
    assert by_default[0] == by_fallback[0]
    assert [str(p) for p in by_default[1]] == [str(p) for p in by_fallback[1]]


def test_the_fallback_is_chosen_where_pyyaml_has_no_libyaml() -> None:
    without = "import sys; sys.modules['yaml._yaml'] = None"
    program = f"{without}; from reconciler import syntax; print(syntax.DEFAULT_EVENTS.__name__)"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "FallbackParser"


@settings(deadline=None)
@given(
    st.binary() | st.lists(st.sampled_from([*PIECES, "%", "%TAG ! x\n", "%YAML 1.2\n"])).map("".join).map(str.encode)
)
def test_no_bytes_make_a_reader_crash_and_no_file_is_dropped_in_silence(data: bytes) -> None:
    for parser in (DEFAULT_EVENTS, FallbackParser):
        document, problems = problems_of(data, parser)
        assert document is not None or problems
        assert all(isinstance(p.location, Location) and p.location.line >= 1 for p in problems)
