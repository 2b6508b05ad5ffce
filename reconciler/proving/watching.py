"""Asks the proofs of a run until all is seen in effect, or their time is over.

Takes Questions (a proof, its targets, and who asks it) in lanes; gives a Verdict for each. A lane is what shares a
connection: its questions are asked one after the other, again and again, in a thread of its own, so that an application
that hangs does not keep anybody from looking into Postgres. A thread that does not come back in time is left behind.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence

import msgspec

from reconciler.outcome import Unseen, Verdict
from reconciler.proving.sight import Asker, Sighting, Target
from reconciler.verify.compiled import CompiledProof

Watching = Callable[[str], None]
"""Is told how far it is, several times a second; an empty text when it is over."""

_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 1.0
_GROWTH = 1.6
_GRACE_S = 1.0
"""How much longer than its deadline the last asking of a proof may take."""

_DRAWN_EVERY_S = 0.1


class Question(msgspec.Struct, frozen=True):
    """One proof of one field. `changes` is how many called for it; `targets` are those that are asked."""

    table: str
    field: str
    proof: CompiledProof
    changes: int
    targets: tuple[Target, ...]
    asker: Asker


class Watched(msgspec.Struct, frozen=True):
    """The verdicts, in the order of the questions. `interrupted`: somebody did not want to wait."""

    verdicts: tuple[Verdict, ...]
    interrupted: bool


def watch(
    lanes: Sequence[Sequence[Question]], committed: float, at_most_s: float | None, watching: Watching
) -> Watched:
    """Ask until all are seen. `committed` is a time of `time.monotonic`; `at_most_s` shortens each proof's own time."""
    began = time.monotonic()
    stop = threading.Event()
    states = [[_State(each, committed, _deadline(each, began, at_most_s)) for each in lane] for lane in lanes]
    threads = [threading.Thread(target=_ask_lane, args=(lane, stop), daemon=True) for lane in states]
    asked = [state for lane in states for state in lane]
    end = max(state.deadline for state in asked) + _GRACE_S + 0.5
    total = sum(len(state.question.targets) for state in asked)
    interrupted = False
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive() and time.monotonic() < end:
                thread.join(_DRAWN_EVERY_S)
                if thread.is_alive():
                    seen = sum(state.seen for state in asked)
                    took, limit = time.monotonic() - committed, end - _GRACE_S - 0.5 - committed
                    watching(f"Committed. In effect: {seen:,} of {total:,} seen, {took:.0f} s of at most {limit:.0f} s")
    except KeyboardInterrupt:
        interrupted = True
    finally:
        stop.set()
        watching("")
    return Watched(tuple(state.verdict() for state in asked), interrupted)


def _deadline(question: Question, began: float, at_most_s: float | None) -> float:
    within_s: float = question.proof.within_s
    return began + (within_s if at_most_s is None else min(within_s, at_most_s))


class _State:
    """What is known of one question so far. Written by its lane's thread, read by the one that waits."""

    def __init__(self, question: Question, committed: float, deadline: float) -> None:
        self.question = question
        self.deadline = deadline
        self.is_over = False
        self._committed = committed
        self._lock = threading.Lock()
        self._open = {target.number: target for target in question.targets}
        self._last: dict[int, Sighting] = {}
        self._seen_at: float | None = None
        self._ended_at: float | None = None

    @property
    def seen(self) -> int:
        """How many of its targets are in effect."""
        with self._lock:
            unseen = sum(not sighting.seen for sighting in self._last.values())
            return len(self._last) - unseen

    def ask(self) -> None:
        """Ask once of all that is open; it is over when nothing is, or when its time is."""
        with self._lock:
            targets = list(self._open.values())
        now = time.monotonic()
        self._note(self.question.asker.ask(targets, max(now, self.deadline) + _GRACE_S))
        self.is_over = not self._open or time.monotonic() >= self.deadline
        if self.is_over:
            self._ended_at = time.monotonic()

    def fail(self, error: Exception) -> None:
        """A mistake of ours, or of a library's: it ends the asking, and nothing else."""
        said = Sighting(False, f"it could not be asked: {type(error).__name__}", True)
        self._note(dict.fromkeys(list(self._open), said))
        self.is_over = True

    def _note(self, sightings: Mapping[int, Sighting]) -> None:
        now = time.monotonic()
        with self._lock:
            self._last.update(sightings)
            for number, sighting in sightings.items():
                if sighting.seen:
                    self._seen_at = now
                if sighting.seen or sighting.final:
                    self._open.pop(number, None)

    def verdict(self) -> Verdict:
        """What has come of it."""
        with self._lock:
            last = dict(self._last)
        question = self.question
        silent = Sighting(False, "no answer in time")
        unseen = tuple(
            Unseen(target.key, target.label, sighting.said)
            for target in question.targets
            if not (sighting := last.get(target.number, silent)).seen
        )
        ended = self._ended_at or time.monotonic()
        return Verdict(
            table=question.table,
            field=question.field,
            kind=question.proof.kind,
            target=question.proof.target,
            changes=question.changes,
            asked=len(question.targets),
            seen=len(question.targets) - len(unseen),
            after_s=None if self._seen_at is None else self._seen_at - self._committed,
            waited_s=ended - self._committed,
            unseen=unseen,
        )


def _ask_lane(states: Sequence[_State], stop: threading.Event) -> None:
    pause = _FIRST_PAUSE_S
    try:
        while not stop.is_set():
            for state in states:
                if not state.is_over:
                    try:
                        state.ask()
                    except Exception as error:
                        state.fail(error)
            left = [state.deadline for state in states if not state.is_over]
            if not left:
                return
            stop.wait(max(min(pause, min(left) - time.monotonic()), 0.0))
            pause = min(pause * _GROWTH, _LONGEST_PAUSE_S)
    finally:
        for state in states:
            state.question.asker.close()
