"""Commit objects as odd as git lets them be, read from their bytes."""

from __future__ import annotations

import pytest

from reconciler.commit import Commit, parse_commit

ID = "a" * 40
TREE = b"tree " + b"b" * 40 + b"\n"
ANN = b"author Ann <ann@example.org> 1700000000 +0100\n"
BOB = b"committer Bob <bob@example.org> 1700000060 -0500\n"


def commit(message: str) -> Commit:
    return parse_commit(ID, TREE + ANN + BOB + b"\n" + message.encode())


def test_author_committer_times_in_utc_and_message_are_read() -> None:
    read = commit("Pause Acme\n\nINC-142\n")
    assert (read.id, read.parents) == (ID, ())
    assert (read.author_name, read.author_email, read.authored_at) == ("Ann", "ann@example.org", "2023-11-14T22:13:20Z")
    assert (read.committer_name, read.committer_email) == ("Bob", "bob@example.org")
    assert read.committed_at == "2023-11-14T22:14:20Z"
    assert (read.subject, read.message) == ("Pause Acme", "Pause Acme\n\nINC-142\n")


def test_every_parent_is_kept_in_order() -> None:
    data = TREE + b"parent " + b"c" * 40 + b"\nparent " + b"d" * 40 + b"\n" + ANN + BOB + b"\nmerge\n"
    assert parse_commit(ID, data).parents == ("c" * 40, "d" * 40)


def test_a_signature_with_its_continued_lines_is_passed_over() -> None:
    signature = b"gpgsig -----BEGIN PGP SIGNATURE-----\n \n author Eve <eve@example.org> 1 +0000\n -----END-----\n"
    read = parse_commit(ID, TREE + ANN + BOB + signature + b"\nsigned\n")
    assert (read.author_name, read.message) == ("Ann", "signed\n")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b" <> 1700000000 +0000", ("", "", "2023-11-14T22:13:20Z")),
        (b"Ann <ann@example.org> 99999999999999 +0000", ("Ann", "ann@example.org", "1970-01-01T00:00:00Z")),
        (b"Ann <ann@example.org> " + b"9" * 5000 + b" +0000", ("Ann", "ann@example.org", "1970-01-01T00:00:00Z")),
        (b"Ann <ann@example.org>", ("Ann", "ann@example.org", "1970-01-01T00:00:00Z")),
        (b"Ann <ann@example.org> soon", ("Ann", "ann@example.org", "1970-01-01T00:00:00Z")),
        (b"Ann", ("Ann", "", "1970-01-01T00:00:00Z")),
        (b"", ("", "", "1970-01-01T00:00:00Z")),
    ],
)
def test_an_author_with_parts_missing_or_impossible_is_read_as_git_shows_it(
    line: bytes, expected: tuple[str, str, str]
) -> None:
    read = parse_commit(ID, TREE + b"author " + line + b"\n" + BOB + b"\nx\n")
    assert (read.author_name, read.author_email, read.authored_at) == expected


@pytest.mark.parametrize(
    ("encoding", "data", "expected"),
    [
        (b"ISO-8859-1", "Grüße".encode("latin-1"), "Grüße"),
        (b"Shift_JIS", "休止".encode("shift_jis"), "休止"),
        (b"no-such-encoding", "Grüße".encode(), "Grüße"),
        (b"hex", b"cafe", "cafe"),
        (b"UTF-8", "Grüße".encode("latin-1"), "Grüße"),
        (b"utf-7", b"+2AA-", "+2AA-"),
        (b"UTF-8", b"a\0b", "a\N{REPLACEMENT CHARACTER}b"),
    ],
)
def test_text_is_read_in_the_encoding_that_the_commit_names_and_is_always_fit_to_store(
    encoding: bytes, data: bytes, expected: str
) -> None:
    author = b"author " + data + b" <x@example.org> 1 +0000\n"
    read = parse_commit(ID, TREE + author + BOB + b"encoding " + encoding + b"\n\n" + data + b"\n")
    assert (read.author_name, read.message) == (expected, expected + "\n")


def test_a_commit_without_a_message_has_an_empty_subject_and_no_trailers() -> None:
    assert (commit("").subject, commit("").trailers) == ("", {})


def test_a_subject_of_two_lines_is_one_line() -> None:
    assert commit("\n\nPause\nAcme\n\nbody\n").subject == "Pause Acme"


def test_trailers_are_found_by_lower_case_name_with_every_value_unfolded() -> None:
    read = commit("Pause\n\nBody: not one\n\nTicket: INC-1\nticket: INC-2\nReason: banned by\n  WhatsApp\n")
    assert read.trailers == {"ticket": ["INC-1", "INC-2"], "reason": ["banned by WhatsApp"]}


def test_a_last_paragraph_that_is_prose_holds_no_trailers() -> None:
    assert commit("Pause\n\nWe saw this:\nTicket: INC-1\nand stopped it.\n").trailers == {}


def test_prose_among_trailers_is_allowed_where_git_itself_wrote_one_of_them() -> None:
    read = commit("Pause\n\nTicket: INC-1\n(cherry picked from commit abc)\nSigned-off-by: Ann <a@b>\nprose here\n")
    assert read.trailers == {"ticket": ["INC-1"], "signed-off-by": ["Ann <a@b>"]}


def test_a_message_of_one_paragraph_has_no_trailers() -> None:
    assert commit("Ticket: INC-1\n").trailers == {}
