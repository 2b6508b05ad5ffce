"""What is said on the host's pages: one comment that is kept up to date, labels, and one issue of each kind.

Takes the Surroundings and texts; gives nothing but `problems`: sentences about what could not be said. It never raises.

Every comment and issue begins with a hidden marker, `<!-- reconcile:KIND PROJECT ... -->`, by which it is found again:
at the very beginning, so that nobody's quotation is taken for it, and only among those that the same author wrote.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import TypeVar

import msgspec

from reconciler.ci.surroundings import Surroundings
from reconciler.hosts.host import Host, Issue, Note, Request
from reconciler.hosts.http import HostProblem

__all__ = ["Marker", "Talk"]

T = TypeVar("T")

_MARKER = re.compile(r"<!-- reconcile:([a-z]+) (\S+)((?: [a-z]+=\S+)*) -->")


class Marker(msgspec.Struct, frozen=True):
    """What a hidden marker says: the kind, the project's directory, and more by name."""

    kind: str
    project: str
    facts: dict[str, str]

    @property
    def text(self) -> str:
        """The name that `console` makes the hidden line of."""
        return " ".join([f"{self.kind} {self.project}", *(f"{name}={fact}" for name, fact in self.facts.items())])

    def is_same(self, other: Marker | None) -> bool:
        """Whether both mark the same comment or issue, whatever else they say."""
        return other is not None and (other.kind, other.project) == (self.kind, self.project)


def _marker_of(body: str) -> Marker | None:
    found = _MARKER.match(body)
    if found is None:
        return None
    facts = dict(fact.split("=", 1) for fact in found[3].split())
    return Marker(found[1], found[2], facts)


class Talk:
    """Speaks to the host of these Surroundings, or to nobody."""

    def __init__(self, where: Surroundings) -> None:
        self.where = where
        self.problems: list[str] = []

    def comment(self, number: int, marker: Marker, body: str) -> None:
        """Write the comment, or put it in the place of the one that is there."""

        def write(host: Host) -> None:
            there = _own_note(host, number, marker)
            if there is None:
                host.add_note(number, body)
            elif there.body.replace("\r\n", "\n").strip() != body.strip():
                host.edit_note(number, there.id, body)

        self._try(f"the comment on #{number}", write)

    def facts(self, number: int, marker: Marker) -> dict[str, str] | None:
        """What the marker of the comment that is there says; None where there is none, or that cannot be known."""

        def read(host: Host) -> dict[str, str] | None:
            there = _own_note(host, number, marker)
            found = _marker_of(there.body) if there is not None else None
            return found.facts if found is not None else None

        return self._ask(f"the comment on #{number}", read, otherwise=None)

    def markers(self, number: int, kind: str) -> list[Marker]:
        """The markers of all comments of ours of this kind, of other projects and databases too."""

        def read(host: Host) -> list[Marker]:
            found = [_marker_of(note.body) for note in host.notes(number) if note.mine]
            return [marker for marker in found if marker is not None and marker.kind == kind]

        nothing: list[Marker] = []
        return self._ask(f"the comments on #{number}", read, otherwise=nothing)

    def passed_by(self) -> str:
        """Why a job has nothing to say on its pull request any more, a clause; empty where it has.

        What was reviewed stays as it was read: a job that is run again after the merge, or ends after it, sees a
        database in which that is applied.
        """
        number, head = self.where.number, self.where.head
        if number is None or head is None:
            return ""
        nobody: Request | None = None
        now = self._ask(f"#{number}", lambda host: host.request(number), otherwise=nobody)
        if now is None:
            return ""
        if now.merged_at is not None:
            return "is merged"
        return "" if now.head == head else "has a newer commit than this job's"

    def labels(self, number: int, wanted: Collection[str], ours: Mapping[str, tuple[str, str]]) -> None:
        """Set those of our labels that are wanted, and take the others of ours away."""
        self._try(f"the labels of #{number}", lambda host: host.set_labels(number, wanted, ours))

    def requests_of(self, commit: str) -> list[Request]:
        """The pull requests by which a commit was merged."""
        nothing: list[Request] = []
        found = self._ask("the merged pull request", lambda host: host.requests_of(commit), otherwise=nothing)
        return [request for request in found if request.merged_at is not None]

    def artifact(self, name: str, commit: str) -> bytes | None:
        """The archive of the reviewed plan. That it is not kept any more is no problem."""
        return self._ask("the reviewed plan", lambda host: host.artifact(name, commit), otherwise=None)

    def issue(self, marker: Marker, label: str, title: str, body: str) -> None:
        """Open the issue, or bring the one that is open up to date. The same key in the marker: it says the same."""

        def write(host: Host) -> None:
            found = _own_issues(host, marker, label)
            if not found:
                host.open_issue(title, body, label)
                return
            there, *doubles = found
            said = _marker_of(there.body)
            if said is None or "key" not in marker.facts or said.facts.get("key") != marker.facts["key"]:
                host.edit_issue(there.number, title, body)
            for double in doubles:  # of two jobs that opened one at the same time
                host.close_issue(double.number, f"The same as #{there.number}.")

        self._try(f"the issue about {label}", write)

    def close_issues(self, marker: Marker, label: str, why: str) -> None:
        """Close what is open, and say why."""

        def write(host: Host) -> None:
            for there in _own_issues(host, marker, label):
                host.close_issue(there.number, why)

        self._try(f"the issue about {label}", write)

    def _try(self, what: str, write: Callable[[Host], None]) -> None:
        if self.where.host is None:
            return
        try:
            write(self.where.host)
        except HostProblem as problem:
            self._failed(what, problem)
        except (KeyError, TypeError, AttributeError):
            self._failed(what, HostProblem("its answer was not understood"))

    def _ask(self, what: str, read: Callable[[Host], T], *, otherwise: T) -> T:
        if self.where.host is None:
            return otherwise
        try:
            return read(self.where.host)
        except HostProblem as problem:
            self._failed(what, problem)
        except (KeyError, TypeError, AttributeError):
            self._failed(what, HostProblem("its answer was not understood"))
        return otherwise

    def _failed(self, what: str, problem: HostProblem) -> None:
        """Say it once: a host that is away is away for everything."""
        text = f"{what}: {problem}"
        if text not in self.problems:
            self.problems.append(text)


def _own_note(host: Host, number: int, marker: Marker) -> Note | None:
    """The first of ours that has the marker."""
    return next((note for note in host.notes(number) if marker.is_same(_marker_of(note.body)) and note.mine), None)


def _own_issues(host: Host, marker: Marker, label: str) -> list[Issue]:
    """Ours that are open, the oldest first."""
    found = [one for one in host.issues(label) if marker.is_same(_marker_of(one.body)) and one.mine]
    return sorted(found, key=lambda one: one.number)
