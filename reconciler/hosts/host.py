"""What every host can do, in the words of GitHub: the interface that `github` and `gitlab` fill."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Protocol

import msgspec

from reconciler.hosts.address import PullRequest

__all__ = ["Host", "Issue", "Note", "Request"]


class Note(msgspec.Struct, frozen=True):
    """A comment. `mine`: it was written with the token that is used now, or by the same robot."""

    id: int
    body: str
    mine: bool


class Issue(msgspec.Struct, frozen=True):
    """An open issue."""

    number: int
    title: str
    body: str
    mine: bool


class Request(msgspec.Struct, frozen=True):
    """A pull request: the commit at its head, the branch it goes into, and when it was merged (RFC 3339), if it was."""

    number: int
    head: str
    base: str
    merged_at: str | None


class Host(Protocol):
    """One repository on a host. Every method raises HostProblem where the host does not do it."""

    def open_request(self, request: PullRequest) -> tuple[str, str]:
        """Open a pull request; its address, and what of it could not be done (empty: nothing)."""

    def request(self, number: int) -> Request:
        """A pull request as it is now."""

    def requests_of(self, commit: str) -> list[Request]:
        """The pull requests that a commit came by."""

    def notes(self, number: int) -> Iterator[Note]:
        """The comments of a pull request, the oldest first."""

    def add_note(self, number: int, body: str) -> None:
        """Comment on a pull request."""

    def edit_note(self, number: int, note: int, body: str) -> None:
        """Put another text in place of a comment's."""

    def set_labels(self, number: int, wanted: Collection[str], ours: Mapping[str, tuple[str, str]]) -> None:
        """Give a pull request the labels that are wanted; of the others, `ours` are taken away.

        `ours` says for each its colour (hexadecimal, without `#`) and description, for the first time.
        """

    def issues(self, label: str) -> Iterator[Issue]:
        """The open issues with this label."""

    def open_issue(self, title: str, body: str, label: str) -> int:
        """Open an issue; its number."""

    def edit_issue(self, number: int, title: str, body: str) -> None:
        """Put another title and text in place of an issue's."""

    def close_issue(self, number: int, why: str) -> None:
        """Say why, and close it."""

    def artifact(self, name: str, commit: str) -> bytes | None:
        """The zip archive that a job of this repository kept under this name for this commit, the newest.

        GitLab knows no names: there it is the job's number, and the commit is for the caller to compare.
        """
