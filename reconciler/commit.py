"""A commit: who asked for the state in it, when, and in which words.

Takes the bytes of a commit object, as git stores them; gives a frozen Commit. Nothing of it can fail: commits are old
and come from many programs, so odd encodings, missing names and impossible dates are read as `git log` would show
them, never refused. All text is fit for a database and for a terminal's encoding: no NUL, no half surrogate.
"""

from __future__ import annotations

import re
import time

import msgspec

__all__ = ["Commit", "parse_commit"]

_LAST_SECOND = 253402300799
"""9999-12-31T23:59:59Z. Later dates are taken for the epoch, as git does with dates it cannot show."""

_PERSON = re.compile(rb"(?P<name>[^<]*)<(?P<email>[^>]*)>(?:.*?(?P<seconds>\d+)(?: [+-]\d+)?\s*$)?", re.DOTALL)
_TRAILER = re.compile(r"([A-Za-z0-9-]+)[ \t]*:(.*)")
_WRITTEN_BY_GIT = ("Signed-off-by: ", "(cherry picked from commit ")


class Commit(msgspec.Struct, frozen=True):
    """One commit. `parents` are those that it records, whether or not a shallow clone holds them.

    Times are RFC 3339 in UTC, to the second, and end in Z. Names and emails may be empty. `message` is the whole of it.
    """

    id: str
    parents: tuple[str, ...]
    author_name: str
    author_email: str
    authored_at: str
    committer_name: str
    committer_email: str
    committed_at: str
    message: str

    @property
    def subject(self) -> str:
        """The first paragraph as one line, as `git log --format=%s` prints it; empty where there is no message."""
        return " ".join(line.strip() for line in self._paragraphs[0].split("\n")) if self._paragraphs else ""

    @property
    def trailers(self) -> dict[str, list[str]]:
        """What stands as `Name: value` in the last paragraph: lower-case name to values, in order, lines unfolded.

        By git's rule: a message of one paragraph has none; and the last paragraph counts where all of its lines are
        trailers, or a quarter are and git itself wrote one of them.
        """
        paragraphs = self._paragraphs
        found: dict[str, list[str]] = {}
        if len(paragraphs) < 2:
            return found
        values: list[str] = []
        trailers = others = 0
        written_by_git = False
        for line in paragraphs[-1].split("\n"):
            match = _TRAILER.match(line)
            written_by_git = written_by_git or line.startswith(_WRITTEN_BY_GIT)
            if line[:1] in " \t" and values:
                values[-1] = f"{values[-1]} {line.strip()}".strip()
            elif match:
                values = found.setdefault(match[1].lower(), [])
                values.append(match[2].strip())
                trailers += 1
            elif line.startswith(_WRITTEN_BY_GIT):
                trailers += 1
                values = []
            else:
                others += 1
                values = []
        counts = others == 0 or (written_by_git and trailers * 3 >= others)
        return found if counts else {}

    @property
    def _paragraphs(self) -> list[str]:
        lines = (line.rstrip() for line in self.message.split("\n"))
        return [part.strip("\n") for part in re.split(r"\n{2,}", "\n".join(lines).strip("\n")) if part]


def parse_commit(identity: str, data: bytes) -> Commit:
    """The Commit of a commit object's bytes. `identity` is its id."""
    head, _, message = data.partition(b"\n\n")
    parents: list[str] = []
    fields: dict[bytes, bytes] = {}
    for line in head.split(b"\n"):
        name, _, value = line.partition(b" ")
        if name == b"parent":
            parents.append(value.decode("ascii", "replace"))
        elif name:  # a continued line, of a signature for one, begins with a space
            fields.setdefault(name, value)
    encoding = fields.get(b"encoding", b"utf-8").decode("ascii", "replace")
    author_name, author_email, authored_at = _person(fields.get(b"author", b""), encoding)
    committer_name, committer_email, committed_at = _person(fields.get(b"committer", b""), encoding)
    return Commit(
        id=identity,
        parents=tuple(parents),
        author_name=author_name,
        author_email=author_email,
        authored_at=authored_at,
        committer_name=committer_name,
        committer_email=committer_email,
        committed_at=committed_at,
        message=_text(message, encoding),
    )


def _person(line: bytes, encoding: str) -> tuple[str, str, str]:
    """The name, the email and the time of an author's or a committer's line."""
    match = _PERSON.match(line)
    if match is None:
        return _text(line, encoding).strip(), "", _time(0)
    name, email = _text(match["name"], encoding).strip(), _text(match["email"], encoding).strip()
    return name, email, _time(int(match["seconds"][:20] if match["seconds"] else 0))


def _time(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds if seconds <= _LAST_SECOND else 0))


def _text(data: bytes, encoding: str) -> str:
    """Text in the encoding that the commit names; where that is wrong, UTF-8; where that is, Latin-1, which any is."""
    for candidate in (encoding, "utf-8", "latin-1"):
        try:
            text = data.decode(candidate)
            text.encode("utf-8")  # some encodings (utf-7) can spell half of a surrogate pair
        except (LookupError, ValueError):
            continue
        return text.replace("\0", "\N{REPLACEMENT CHARACTER}")
    raise AssertionError("every byte is a character of Latin-1")
