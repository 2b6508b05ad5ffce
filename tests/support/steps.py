"""The steps of a conversation, and a fault after any of them: the messages of Postgres' or of Redis' protocol, counted.

Takes what a client and a server say, as bytes in pieces of any size; gives whole messages, one after the other, and
tells the line (`proxy.FaultyLine`) when the time for its fault has come. With `Steps` that have no fault, one good
conversation is counted; with the n-th message of either side in `Steps`, the same conversation breaks there:

    line.steps = Steps(POSTGRES)                  # count: line.steps.said == {THERE: 131, BACK: 264}
    line.steps = Steps(POSTGRES, CUT, THERE, 17)  # 17 messages of the client have gone through, then the line is cut
    line.steps = Steps(REDIS, STALL, BACK, 3)     # ... nothing is passed on any more, in either direction
    line.steps = Steps(REDIS, DELAY, BACK, 3)     # ... the next one of the server comes LATE_S seconds late
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable

THERE, BACK = "there", "back"
"""What the client says, and what the server answers."""

CUT, STALL, DELAY = "cut", "stall", "delay"

LATE_S = 0.3

Framing = Callable[[bytes, bool], int]
"""How many bytes the first message has of what was said and not passed on yet, 0 where it is not whole yet; whether
nothing was said before it by this client."""


def postgres_message(data: bytes, is_first_of_client: bool) -> int:
    """A type and a length that counts itself; a client's first message has no type."""
    head = 0 if is_first_of_client else 1
    if len(data) < head + 4:
        return 0
    whole = head + int(struct.unpack_from("!i", data, head)[0])
    return whole if len(data) >= whole else 0


def redis_message(data: bytes, _is_first_of_client: bool) -> int:
    """A line; a text of so many bytes; a list of so many messages (RESP 2 and 3)."""
    end = data.find(b"\r\n")
    if end < 0:
        return 0
    kind, position = data[:1], end + 2
    if kind in b"$=!":
        length = int(data[1:end])
        position += length + 2 if length >= 0 else 0
        return position if len(data) >= position else 0
    parts = max(int(data[1:end]), 0) * (2 if kind == b"%" else 1) if kind in b"*%~>" else 0
    for _ in range(parts):
        size = redis_message(data[position:], False)
        if not size:
            return 0
        position += size
    return position


POSTGRES: Framing = postgres_message
REDIS: Framing = redis_message


class Steps:
    """How many messages were said on a line, by all its clients together, and after which of them what happens."""

    def __init__(self, framing: Framing, fault: str = "", direction: str = "", after: int = 0) -> None:
        self.framing = framing
        self.fault = fault
        self.direction = direction
        self.after = after
        self.said = {THERE: 0, BACK: 0}
        self.before_commit: dict[str, int] | None = None
        """What had been said when a client of Postgres first said COMMIT."""
        self.happened = threading.Event()
        """Set once the fault has come."""

    def is_due(self, direction: str, message: bytes) -> bool:
        """Whether it comes before the message that this side is about to say; counts the message where it does not."""
        if self.before_commit is None and direction == THERE and b"COMMIT\0" in message:
            self.before_commit = dict(self.said)
        if self.fault and direction == self.direction and self.said[direction] == self.after:
            return True
        self.said[direction] += 1
        return False

    def happens(self) -> str:
        """Which fault; it comes once."""
        fault, self.fault = self.fault, ""
        self.happened.set()
        return fault


class Splitter:
    """What one side of one connection has said, cut into messages."""

    def __init__(self, framing: Framing, direction: str) -> None:
        self._framing = framing
        self._is_first = direction == THERE
        self._rest = b""

    def split(self, data: bytes) -> list[bytes]:
        """The messages that are whole by now."""
        self._rest += data
        messages = []
        while size := self._framing(self._rest, self._is_first):
            self._is_first = False
            messages.append(self._rest[:size])
            self._rest = self._rest[size:]
        return messages
