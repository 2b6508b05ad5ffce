"""`fmt` keeps what a file says, its comments and the order of its rows, and what it makes it makes once."""

from __future__ import annotations

import textwrap
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.documents import read_document
from reconciler.editing.spans import read_spans
from reconciler.errors import Failed, InvalidInput, Problem
from reconciler.formatting.comments import Comments
from reconciler.formatting.text import format_text
from reconciler.nodes import Mapping, Node
from tests.support.corpus import CORPUS, DEFINITIONS, rows_of
from tests.support.yaml_styles import files

PATH = "state/shops.yaml"
HEADER = "# yaml-language-server: $schema=../schemas/json/shops.state.schema.json"


def formatted(data: bytes, path: str = PATH) -> bytes:
    return format_text(path, data, DEFINITIONS.tables["shops"], DEFINITIONS)


def of(text: str) -> str:
    """The lines below the header, of a text that may be indented."""
    header, _, rest = formatted(textwrap.dedent(text).encode()).decode().partition("\n")
    assert header == HEADER
    return rest


def said(data: bytes) -> dict[str, object]:
    """All that a file asks for, places apart."""
    return {
        key: (
            {name: (value.data, value.reason, value.until, value.then, dict(value.override))
             for name, value in row.values.items()},
            {name: value.data for name, value in row.expect.items()},
        )
        for key, row in rows_of(data).items()
    }  # fmt: skip


def root_of(data: bytes) -> Node | None:
    problems: list[Problem] = []
    document = read_document(PATH, data, problems)
    assert document is not None
    assert not problems
    return document.root


def comments_of(data: bytes) -> Counter[str]:
    """The comments, but for the line that editors look for."""
    text = data.removeprefix(b"\xef\xbb\xbf").decode()
    root = root_of(data)
    keys = root.items if isinstance(root, Mapping) else {}
    found = Comments(text, read_spans(text, keys)).all
    return Counter(comment.text for comment in found if "yaml-language-server" not in comment.text)


@given(st.one_of(st.sampled_from(sorted(CORPUS.values())), files()))
def test_a_file_says_the_same_with_all_its_comments_and_stays_as_it_then_is(data: bytes) -> None:
    after = formatted(data)
    assert said(after) == said(data)
    assert list(rows_of(after)) == list(rows_of(data))
    assert comments_of(after) == comments_of(data)
    assert formatted(after) == after
    if after != data:
        assert after.startswith(b"# yaml-language-server: $schema=")
        assert after.endswith(b"\n")
        assert b"\r" not in after
        assert not after.startswith(b"\xef\xbb\xbf")


# The style ----------------------------------------------------------------------------------------------------------


def test_fields_come_in_the_order_of_the_schema_and_what_belongs_to_a_row_first() -> None:
    assert of("""\
        acme:
          title: Acme
          seats: 3
          $expect: {title: Acme}
          open: true
        """) == "acme:\n  $expect: {title: Acme}\n  open: true\n  seats: 3\n  title: Acme\n"


def test_rows_stay_in_the_order_of_the_author() -> None:
    assert of("zoo: {open: true}\nacme: {open: true}\n") == "zoo:\n  open: true\nacme:\n  open: true\n"


def test_the_long_form_begins_with_the_value() -> None:
    assert of("""\
        acme:
            open:
                then: restore
                until: 2031-01-01T00:00:00Z
                reason: why
                value: False
            seats: {reason: "few",value: 3}
        """) == textwrap.dedent("""\
        acme:
          open:
            value: false
            reason: why
            until: 2031-01-01T00:00:00Z
            then: restore
          seats: {value: 3, reason: few}
        """)


@pytest.mark.parametrize(
    ("field", "written", "becomes"),
    [
        ("open", "True", "true"), ("open", "FALSE", "false"), ("open", "!!bool true", "true"),
        ("seats", "+3", "3"), ("seats", "0x1F", "31"), ("seats", "012", "12"), ("seats", "-0", "0"),
        ("title", "~", "null"), ("title", "", "null"), ("title", "Null", "null"),
        ("title", "'Acme'", "Acme"), ("title", '"Acme"', "Acme"), ("title", "'yes'", '"yes"'),
        ("title", "'it''s'", "it's"), ("title", "'say \"no\", #1'", "'say \"no\", #1'"),
        ("title", '"a\\tb"', '"a\\tb"'), ("title", "!!str 5", '"5"'), ("title", "'5'", '"5"'),
        ("since", "2026-11-27T09:00:00Z", "2026-11-27T09:00:00Z"),
        ("extra", "1.50", "1.50"), ("extra", "[1,2 , 'x']", "[1, 2, x]"), ("extra", "{b: 1,a: 2}", "{b: 1, a: 2}"),
        ("extra", "True", "true"),
        ("tags", "[ a,b ]", "[a, b]"),
    ],
)  # fmt: skip
def test_a_value_is_written_in_one_way(field: str, written: str, becomes: str) -> None:
    assert of(f"acme:\n  {field}: {written}\n") == f"acme:\n  {field}: {becomes}\n"


def test_what_is_text_stays_the_text_that_it_was() -> None:
    text = "acme:\n  open:\n    value: true\n    reason: 0x1F\n  title: yes\n12:\n  open: true\n"
    assert of(text) == text


def test_comments_go_with_what_they_belong_to() -> None:
    assert of("""\
        # The file.

        # Acme.
        acme:   # the first
            # How many.
            seats: 3    # few

            # Whether.
            # Really.
            open: true\t# yes
            # Last in the row.
        # Bistro.
        bistro:
            open: false
        # The end.
        """) == textwrap.dedent("""\
        # The file.

        # Acme.
        acme:   # the first
          # Whether.
          # Really.
          open: true  # yes
          # How many.
          seats: 3    # few
          # Last in the row.
        # Bistro.
        bistro:
          open: false
        # The end.
        """)


def test_what_stands_above_an_empty_line_at_the_top_of_a_row_is_about_the_row() -> None:
    assert of("""\
        acme:
          # Asked for by their owner.

          # How many.
          seats: 3
          open: true
        """) == textwrap.dedent("""\
        acme:
          # Asked for by their owner.

          open: true
          # How many.
          seats: 3
        """)


def test_of_several_empty_lines_one_stays() -> None:
    assert of("acme:\n  open: true\n\n\n\nbistro:\n\n  open: true\n\n\n") == (
        "acme:\n  open: true\n\nbistro:\n  open: true\n"
    )


def test_a_row_between_brackets_gets_lines_and_keeps_its_comments() -> None:
    assert of("""\
        acme: {seats: 3,   # few
          # Whether.
          open: true,
          # Done.
        } # brackets
        """) == textwrap.dedent("""\
        acme: # brackets
          # Whether.
          open: true
          seats: 3   # few
          # Done.
        """)


def test_the_inside_of_a_value_is_the_authors() -> None:
    assert of("""\
        acme:
            extra:
                # Inside.
                b:   'x'
                a: [1,
                    2]   # two
            tags:
            - b   # first
            - a
            title: |
                Two

                  lines
        """) == textwrap.dedent("""\
        acme:
          title: |
            Two

              lines
          tags:
          - b   # first
          - a
          extra:
            # Inside.
            b:   'x'
            a: [1,
                2]   # two
        """)


def test_where_an_alias_stands_the_order_stays() -> None:
    text = "acme:\n  title: &name Acme\n  open: &on true\nbistro:\n  title: *name\n  open: *on\n"
    assert of(text) == text


def test_the_line_for_editors_comes_first_and_names_the_schema_as_seen_from_the_file() -> None:
    data = b"# Ours.\n# yaml-language-server: $schema=wrong/shops.state.schema.json\nacme: {open: true}\n"
    found = formatted(data, "state/shops/eu/acme.yaml").decode()
    assert found == (
        "# yaml-language-server: $schema=../../../schemas/json/shops.state.schema.json\n"
        "# Ours.\nacme:\n  open: true\n"
    )
    own = b"# yaml-language-server: $schema=https://example.org/ours.json\nacme:\n  open: true\n"
    assert formatted(own) == own


def test_an_empty_file_stays_empty() -> None:
    assert formatted(b"") == b""


def test_what_is_not_valid_by_the_schema_is_formatted_all_the_same() -> None:
    assert of("acme: {opne: True, open: maybe, $where: [1,2]}\n") == (
        "acme:\n  $where: [1, 2]\n  open: maybe\n  opne: True\n"
    )


def test_a_directive_for_all_rows_is_left_in_its_form() -> None:
    assert of("$where:\n    - match: {open: True}\n      set:  {seats: 3}\nacme: {open: true}\n") == (
        "$where:\n  - match: {open: True}\n    set:  {seats: 3}\nacme:\n  open: true\n"
    )


@pytest.mark.parametrize(
    "text", ["? acme\n: extra:\n    ? a\n    : - 1\n", "&a acme:\n  title: x\nbistro:\n  title: *a\n"]
)
def test_what_cannot_be_formatted_is_left_and_said(text: str) -> None:
    try:
        after = formatted(text.encode())
    except Failed as error:
        assert "state/shops.yaml is left as it is: formatted, " in str(error)
    else:
        assert said(after) == said(text.encode())


def test_what_is_no_yaml_is_said() -> None:
    with pytest.raises(InvalidInput, match=r"state/shops\.yaml:1:"):
        formatted(b"acme: [\n")
