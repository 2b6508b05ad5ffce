"""Edits of state files, one by one: what stands in the file before, what is asked, what stands there after."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from reconciler.editing.edit import KEEP, AnyEdit, Edit, RemoveField, RemoveRow, edit_text
from reconciler.editing.files import EditedFile, edit_files, undo_edited, write_edited
from reconciler.errors import Failed, InvalidInput
from reconciler.model import Then
from reconciler.sources import SourceFile
from tests.support.corpus import CORPUS, DEFINITIONS, FIELDS


def edited(text: str, *edits: AnyEdit) -> str:
    return edit_text("state/shops.yaml", text.encode(), edits, FIELDS).decode()


def shop(key: str, field: str, value: object = KEEP, **more: object) -> Edit:
    return Edit("shops", key, field, value, **more)  # type: ignore[arg-type]


EXAMPLES: dict[str, tuple[str, list[AnyEdit], str]] = {
    "a value is changed in place, and the comment behind it stays": (
        "a:\n  open: true    # the switch\n",
        [shop("a", "open", False)],
        "a:\n  open: false    # the switch\n",
    ),
    "a value keeps its quotes": (
        "a:\n  title: 'It''s A'\nb: {title: \"B\"}\n",
        [shop("a", "title", "It's C"), shop("b", "title", "D")],
        "a:\n  title: 'It''s C'\nb: {title: \"D\"}\n",
    ),
    "a truth value keeps its case": (
        "a:\n  open: True\n",
        [shop("a", "open", False)],
        "a:\n  open: False\n",
    ),
    "a text gets quotes where it could be taken for something else": (
        "a:\n  title: one\n",
        [shop("a", "title", "yes: no")],
        'a:\n  title: "yes: no"\n',
    ),
    "nothing gets a value": (
        "a:\n  title:   # none yet\n",
        [shop("a", "title", "one")],
        "a:\n  title: one   # none yet\n",
    ),
    "the short form becomes the long one, with the comment behind the key": (
        "a:\n    open: true # why not\n    seats: 3\n",
        [shop("a", "open", False, reason="rats, INC-1", until="2026-11-27T09:00:00Z", then=Then(restores=True))],
        "a:\n    open: # why not\n        value: false\n        reason: rats, INC-1\n"
        "        until: 2026-11-27T09:00:00Z\n        then: restore\n    seats: 3\n",
    ),
    "the short form between brackets becomes the long one there": (
        "a: {open: true, seats: 3}\n",
        [shop("a", "open", False, reason="rats, INC-1")],
        'a: {open: {value: false, reason: "rats, INC-1"}, seats: 3}\n',
    ),
    "a list with comments moves into the long form": (
        "a:\n  tags:\n    - x   # first\n    # second\n    - y\n",
        [shop("a", "tags", reason="sorted")],
        "a:\n  tags:\n    value:\n      - x   # first\n      # second\n      - y\n    reason: sorted\n",
    ),
    "parts of the long form are replaced, added and removed in their places": (
        "a:\n  open:\n    value: false # c\n    reason: old # d\n    until: 2026-11-27T09:00:00Z\n  seats: 1\n",
        [shop("a", "open", True, reason="new", until=None, override={"after": "it is safe"})],
        "a:\n  open:\n    value: true # c\n    reason: new # d\n    override: {after: it is safe}\n  seats: 1\n",
    ),
    "`then` goes with its `until`": (
        "a:\n  open: {value: false, until: 2026-11-27T09:00:00Z, then: restore}\n",
        [shop("a", "open", until=None)],
        "a:\n  open: {value: false}\n",
    ),
    "a field is added below its siblings, above the comment of the next row": (
        "a:\n   open: true\n\n# About b.\nb:\n   open: true\n",
        [shop("a", "seats", 3)],
        "a:\n   open: true\n   seats: 3\n\n# About b.\nb:\n   open: true\n",
    ),
    "a field is added between brackets, on a line of its own where the others have one": (
        "a: {open: true}\nb: {\n  open: true   # c\n}\n",
        [shop("a", "seats", 3), shop("b", "seats", 4)],
        "a: {open: true, seats: 3}\nb: {\n  open: true,   # c\n  seats: 4\n}\n",
    ),
    "a row is added at the end, after a blank line where rows have one between them": (
        "a:\n  open: true\n\nb:\n  open: true\n# The end.\n",
        [shop("c", "open", False, reason="rats", expect={"title": "C"}), shop("c", "seats", 3)],
        "a:\n  open: true\n\nb:\n  open: true\n# The end.\n\n"
        "c:\n  $expect: {title: C}\n  open:\n    value: false\n    reason: rats\n  seats: 3\n",
    ),
    "a row is added close to the others where they stand close": (
        "a:\n  open: true\nb:\n  open: true\n",
        [shop("12", "seats", 3)],
        'a:\n  open: true\nb:\n  open: true\n"12":\n  seats: 3\n',
    ),
    "a row is added before the end of the document": (
        "---\na:\n  open: true\n...\n# after\n",
        [shop("b", "open", True)],
        "---\na:\n  open: true\n\nb:\n  open: true\n...\n# after\n",
    ),
    "a field is removed, and the comment above it stays": (
        "a:\n  open: true\n  # About the seats.\n  seats: 3   # c\n  title: A\n",
        [RemoveField("shops", "a", "seats")],
        "a:\n  open: true\n  # About the seats.\n  title: A\n",
    ),
    "a row of which nothing is left goes": (
        "a:\n  open: true\nb:\n  open: true\n",
        [RemoveField("shops", "a", "open")],
        "b:\n  open: true\n",
    ),
    "a row is removed with one of the blank lines around it": (
        "a:\n  open: true\n\nb:\n  open: true\n\nc:\n  open: true\n",
        [RemoveRow("shops", "b")],
        "a:\n  open: true\n\nc:\n  open: true\n",
    ),
    "a row is removed with one of the blank lines around it, also with Windows' line breaks": (
        "a:\r\n  open: true\r\nb:\r\n  open: true\r\n\r\nc:\r\n  open: true\r\n",
        [RemoveRow("shops", "b")],
        "a:\r\n  open: true\r\n\r\nc:\r\n  open: true\r\n",
    ),
    "the only row of a document with an end leaves an empty one": (
        "# head\na:\n  open: true\n...\n",
        [RemoveRow("shops", "a")],
        "# head\n{}\n...\n",
    ),
    "an alias whose value changes is written out": (
        "a:\n  open: &open true\nb:\n  open: *open\n",
        [shop("b", "open", False)],
        "a:\n  open: &open true\nb:\n  open: false\n",
    ),
    "an anchor whose value changes moves to its first alias": (
        "a:\n  open: &open true\nb:\n  open: *open\nc:\n  open: *open\n",
        [shop("a", "open", False)],
        "a:\n  open: false\nb:\n  open: &open true\nc:\n  open: *open\n",
    ),
    "a row that others refer to is written out for them": (
        "a: &a\n  open: true\n  seats: 3\nb: *a\nc: *a\n",
        [shop("a", "seats", 4)],
        "a:\n  open: true\n  seats: 4\nb: &a {open: true, seats: 3}\nc: *a\n",
    ),
    "a row that refers to another is written out": (
        "a: &a\n  open: true\n  seats: 3\nb: *a\n",
        [shop("b", "open", False, reason="rats")],
        "a: &a\n  open: true\n  seats: 3\nb: {open: {value: false, reason: rats}, seats: 3}\n",
    ),
    "a text of several lines stays a block": (
        "a:\n  title: |   # c\n      one\n      two\n  open: true\n",
        [shop("a", "title", "three\nfour\n")],
        "a:\n  title: |   # c\n      three\n      four\n  open: true\n",
    ),
    "a text of one line takes the place of a block": (
        "a:\n  title: >-   # c\n    one\n    two\n\n  open: true\n",
        [shop("a", "title", "three")],
        "a:\n  title: three   # c\n\n  open: true\n",
    ),
    "Windows' line breaks stay": (
        "a:\r\n  open: true\r\n",
        [shop("a", "open", False, reason="rats"), shop("a", "seats", 3)],
        "a:\r\n  open:\r\n    value: false\r\n    reason: rats\r\n  seats: 3\r\n",
    ),
    "a file without a line break at its end gets none": (
        "a:\n  open: true",
        [shop("a", "seats", 3), shop("b", "seats", 4)],
        "a:\n  open: true\n  seats: 3\n\nb:\n  seats: 4",
    ),
    "a byte order mark stays": (
        "\ufeffa:\n  open: true\n",
        [shop("a", "open", False)],
        "\ufeffa:\n  open: false\n",
    ),
    "a block at the end of a file without a line break keeps its value": (
        "a:\n  title: |\n    one\n    two",
        [shop("a", "open", True)],
        "a:\n  title: |-\n    one\n    two\n  open: true",
    ),
    "a mapping that looks like the long form is put into one": (
        "a:\n  extra: {x: 1}\n",
        [shop("a", "extra", {"value": 1})],
        "a:\n  extra:\n    value: {value: 1}\n",
    ),
    "several edits of a field come one after the other": (
        "a:\n  open: true\n",
        [shop("a", "open", False), shop("a", "open", reason="rats"), shop("a", "open", True, reason=None)],
        "a:\n  open:\n    value: true\n",
    ),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_edit_in_place(name: str) -> None:
    before, edits, after = EXAMPLES[name]
    assert edited(before, *edits) == after


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_edit_that_is_made_already_changes_nothing(name: str) -> None:
    _, edits, after = EXAMPLES[name]
    assert edited(after, edits[-1]) == after


def test_a_value_that_its_field_does_not_take_is_refused() -> None:
    with pytest.raises(Failed, match=r'shops/a\.open: "off" is not a boolean'):
        edited("a:\n  open: true\n", shop("a", "open", "off"))


def test_a_field_that_the_table_lacks_is_refused_with_the_nearest() -> None:
    with pytest.raises(Failed, match=r'no managed field "opne" .*"open"'):
        edited("a:\n  open: true\n", shop("a", "opne", True))


def test_the_value_of_a_field_that_is_not_there_cannot_be_kept() -> None:
    with pytest.raises(Failed, match=r"shops/a\.seats is not in the file"):
        edited("a:\n  open: true\n", shop("a", "seats", reason="why"))


def test_an_empty_reason_is_refused() -> None:
    with pytest.raises(Failed, match="cannot be empty"):
        edited("a:\n  open: true\n", shop("a", "open", reason=" "))


def test_a_file_that_is_wrong_is_not_touched() -> None:
    with pytest.raises(InvalidInput, match=r'the key "a" stands here and at state/shops\.yaml:1:1'):
        edited("a: {open: true}\na: {open: true}\n", shop("a", "open", False))


def test_a_row_that_is_no_mapping_is_refused() -> None:
    with pytest.raises(Failed, match="row a is no mapping of fields"):
        edited("a: 5\n", shop("a", "open", False))


def test_what_cannot_be_edited_in_place_is_refused_and_said() -> None:
    # An alias to a key: nobody writes so.
    with pytest.raises(Failed, match=r"^state/shops.yaml is left as it is: .* Edit it by hand$"):
        edited("&k a: {open: true}\nb: {title: *k}\n", RemoveRow("shops", "a"))


def test_thousands_of_edits_are_made_together() -> None:
    text = "".join(f"row-{number}:\n  open: true\n  seats: {number}\n" for number in range(2_000))
    edits = [shop(f"row-{number}", "open", False) for number in range(2_000)]
    assert edited(text, *edits) == text.replace("true", "false")


# Which file


def files(**texts: str) -> list[SourceFile]:
    paths = {f"state/{name.replace('__', '/')}.yaml": dedent(text) for name, text in texts.items()}
    return [SourceFile(path, None, text.encode()) for path, text in sorted(paths.items())]


def where(found: list[EditedFile]) -> dict[str, str]:
    return {file.path: file.after.decode() for file in found}


LINE = "# yaml-language-server: $schema=../schemas/json/shops.state.schema.json\n"


def test_an_edit_goes_where_the_field_stands() -> None:
    project = files(shops="a: {open: true}\n", shops__more="a: {seats: 3}\n")
    found = edit_files(project, [shop("a", "seats", 4)], DEFINITIONS)
    assert where(found) == {"state/shops/more.yaml": "a: {seats: 4}\n"}


def test_a_new_field_goes_where_its_row_stands() -> None:
    project = files(shops="b: {open: true}\n", shops__more="a: {seats: 3}\n")
    found = edit_files(project, [shop("a", "open", True)], DEFINITIONS)
    assert where(found) == {"state/shops/more.yaml": "a: {seats: 3, open: true}\n"}


def test_a_new_row_goes_to_the_file_of_its_table() -> None:
    project = files(shops="b: {open: true}\n", shops__more="a: {seats: 3}\nc: {seats: 3}\n")
    found = edit_files(project, [shop("d", "open", True), shop("d", "seats", 1)], DEFINITIONS)
    assert where(found) == {"state/shops.yaml": "b: {open: true}\n\nd:\n  open: true\n  seats: 1\n"}


def test_a_new_row_gets_a_file_of_its_own_where_each_row_has_one() -> None:
    project = files(shops__acme="a: {open: true}\n", shops__bistro="b: {open: true}\n")
    found = edit_files(project, [shop("c", "open", True)], DEFINITIONS, {("shops", "c"): "Corner Shop"})
    assert where(found) == {"state/shops/corner-shop.yaml": LINE.replace("../", "../../", 1) + "c:\n  open: true\n"}


def test_a_new_row_goes_to_the_largest_file_where_files_hold_several() -> None:
    project = files(shops__one="a: {open: true}\n", shops__two="b: {open: true}\nc: {open: true}\n")
    found = edit_files(project, [shop("d", "open", True)], DEFINITIONS)
    assert list(where(found)) == ["state/shops/two.yaml"]


def test_the_first_row_of_a_table_makes_its_file() -> None:
    found = edit_files([], [shop("a", "open", True)], DEFINITIONS)
    assert where(found) == {"state/shops.yaml": LINE + "a:\n  open: true\n"}
    assert found[0].before is None


def test_a_row_is_removed_from_every_file_that_names_it() -> None:
    project = files(shops="a: {open: true}\nb: {open: true}\n", shops__more="a: {seats: 3}\n")
    found = edit_files(project, [RemoveRow("shops", "a")], DEFINITIONS)
    assert where(found) == {"state/shops.yaml": "b: {open: true}\n", "state/shops/more.yaml": ""}


def test_a_field_that_stands_nowhere_is_removed_without_a_change() -> None:
    assert edit_files(files(shops="a: {open: true}\n"), [RemoveField("shops", "a", "seats")], DEFINITIONS) == []


def test_a_table_without_a_schema_is_refused() -> None:
    with pytest.raises(Failed, match='no schema for a table "cities"'):
        edit_files([], [Edit("cities", "a", "open", True)], DEFINITIONS)


def test_a_state_that_would_break_a_rule_is_refused() -> None:
    project = files(shops="a: {open: true, seats: 3}\n")
    with pytest.raises(InvalidInput, match="an open shop has seats"):
        edit_files(project, [shop("a", "seats", 0)], DEFINITIONS)


def test_files_are_written_together_and_put_back(tmp_path: Path) -> None:
    folder = tmp_path
    (folder / "state").mkdir()
    (folder / "state" / "shops.yaml").write_bytes(CORPUS["crlf"])
    changed = EditedFile("state/shops.yaml", "shops", CORPUS["crlf"], b"a: {open: true}\n")
    new = EditedFile("state/shops/new.yaml", "shops", None, b"b: {open: true}\n")
    write_edited(folder, [changed, new])
    assert (folder / "state" / "shops.yaml").read_bytes() == changed.after
    assert (folder / "state" / "shops" / "new.yaml").read_bytes() == new.after
    undo_edited(folder, [changed, new])
    assert (folder / "state" / "shops.yaml").read_bytes() == CORPUS["crlf"]
    assert not (folder / "state" / "shops" / "new.yaml").exists()
