"""A TCP line between a client and a server that fails when, and in the way, it is told to.

Takes the address of a server; gives an address of its own, and methods that each bring one fault. Faults that depend on
what is said look at plain bytes, so the client must not encrypt (`url_through` sees to that).

    with FaultyLine("127.0.0.1", 5432) as line:
        line.cut_before(b"COMMIT")        # the server never sees it: nothing is committed
        line.lose_answer_to(b"COMMIT")    # the server commits, and the client never hears of it
        line.hold_before(b"COMMIT")       # the server never sees it, and the client waits for its answer until it ends
        line.delay(0.05)                  # each piece of data comes so many seconds late, in both directions
        line.cut()                        # connections that are open are reset; new ones are let through
        line.refuse()                     # nobody listens any more; connections that are open are reset
        line.fall_silent()                # a black hole: nothing is closed, nothing is passed on
        line.steps = Steps(...)           # one of these after the n-th message of either side (see `steps`)
        line.heal()                       # as new; connections that were cut stay cut

An event loop in a thread of its own does the work, so that tests stay plain functions.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self

from tests.support.postgres import with_place
from tests.support.steps import BACK, CUT, LATE_S, STALL, THERE, Splitter, Steps

_SIZE = 65536
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER, zero seconds: close with RST, as a crashed host does


class FaultyLine:
    """One listening port on 127.0.0.1, and a server that its connections lead to."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="faulty-line", daemon=True)
        self._server: asyncio.Server | None = None
        self._open: set[_Connection] = set()
        self.port = 0
        self.happened = threading.Event()
        """Set once a cut or a loss has happened."""
        self.delay_s = 0.0
        self.before: bytes | None = None
        self.held: bytes | None = None
        self.lost: bytes | None = None
        self.steps: Steps | None = None
        self.flowing = asyncio.Event()

    def __enter__(self) -> Self:
        self._thread.start()
        self.heal()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def url_through(self, url: str) -> str:
        """The same user and database, reached through this line."""
        return with_place(url, "127.0.0.1", self.port)

    def cut_before(self, pattern: bytes) -> None:
        """Reset both sides when a client is about to say `pattern`; what it said before that has gone through."""
        self.happened.clear()
        self.before = pattern

    def hold_before(self, pattern: bytes) -> None:
        """Pass on no more of what a client says from when it is about to say `pattern`, until the client ends.

        For a test that kills the client at that very moment: `happened` tells when.
        """
        self.happened.clear()
        self.held = pattern

    def lose_answer_to(self, pattern: bytes) -> None:
        """Let a client say `pattern`, wait until the server has answered, and reset both sides.

        The client never sees the answer. It must be one that waits for each answer before it goes on, so that nothing
        else is on its way back.
        """
        self.happened.clear()
        self.lost = pattern

    def delay(self, seconds: float) -> None:
        """Hold each piece of data for so long, in both directions."""
        self.delay_s = seconds

    def cut(self) -> None:
        """Reset what is open, whatever it is doing, and go on listening."""
        self._do(self._cut())

    def refuse(self) -> None:
        """Stop listening, and reset what is open."""
        self._do(self._close())

    def fall_silent(self) -> None:
        """Keep everything open, accept more, and pass nothing on."""
        self._do(self._set_flowing(False))

    def heal(self) -> None:
        """No fault any more. Data that was held back in the silence goes on its way."""
        self.before = self.lost = self.held = None
        self.steps = None
        self.delay_s = 0.0
        self._do(self._listen())
        self._do(self._set_flowing(True))

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=10)

    async def _set_flowing(self, flowing: bool) -> None:
        (self.flowing.set if flowing else self.flowing.clear)()

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        await self._cut()

    async def _cut(self) -> None:
        open_now = set(self._open)  # a client may be quick to come again
        for connection in open_now:
            connection.cut()
        while self._open & open_now:
            await asyncio.sleep(0.001)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(self, reader, writer)
        self._open.add(connection)
        try:
            await connection.run(*self._target)
        except asyncio.CancelledError:  # cut while it was ending anyway
            pass
        finally:
            self._open.discard(connection)


class _Connection:
    """One client, and the server's side that was opened for it."""

    def __init__(self, line: FaultyLine, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._line = line
        self._client = (reader, writer)
        self._writers = [writer]
        self._task: asyncio.Task[Any] | None = None
        self._answer_is_lost = False
        self._splitters: dict[str, Splitter] = {}

    async def run(self, host: str, port: int) -> None:
        """Pass data both ways until one side is done."""
        self._task = asyncio.current_task()
        pumps: list[asyncio.Task[None]] = []
        reader, writer = self._client
        try:
            await self._line.flowing.wait()
            server_reader, server_writer = await asyncio.open_connection(host, port)
            self._writers.append(server_writer)
            pumps.append(asyncio.ensure_future(self._there(reader, server_writer)))
            pumps.append(asyncio.ensure_future(self._back(server_reader, writer)))
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        except OSError:  # the server is not there: the client learns of it as it would without us
            self._reset()
        except asyncio.CancelledError:  # from `cut`, which has reset both sides
            pass
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            for side in self._writers:
                side.close()

    def cut(self) -> None:
        """Reset both sides, whatever they are doing."""
        self._reset()
        if self._task is not None:
            self._task.cancel()

    def _reset(self) -> None:
        """Close both sides so that they see an error, not an end."""
        for writer in self._writers:
            side = writer.get_extra_info("socket")
            if side is not None and side.fileno() >= 0:
                side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()

    async def _there(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said = b""
        while data := await self._receive(reader):
            line = self._line
            # A pattern may come in two pieces, so each piece is looked at together with the end of what went before.
            kept, said = said, (said + data)[-_SIZE:]
            if line.before is not None and (cut := _ends_at(kept, data, line.before)):
                writer.write(data[: max(0, cut - len(line.before))])
                await writer.drain()
                line.before = None
                line.happened.set()
                self._reset()
                return
            if line.held is not None and (cut := _ends_at(kept, data, line.held)):
                writer.write(data[: max(0, cut - len(line.held))])
                await writer.drain()
                line.held = None
                line.happened.set()
                while await self._receive(reader):
                    pass
                self._reset()
                return
            if line.lost is not None and _ends_at(kept, data, line.lost):
                line.lost = None
                self._answer_is_lost = True
            if not await self._pass_on(THERE, writer, data):
                return

    async def _back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await self._receive(reader):
            if self._answer_is_lost:
                self._line.happened.set()
                self._reset()
                return
            if not await self._pass_on(BACK, writer, data):
                return

    async def _pass_on(self, direction: str, writer: asyncio.StreamWriter, data: bytes) -> bool:
        """Say it to the other side, message by message where steps are counted; False once the line is cut."""
        steps = self._line.steps
        if steps is None:
            writer.write(data)
            await writer.drain()
            return True
        splitter = self._splitters.setdefault(direction, Splitter(steps.framing, direction))
        for message in splitter.split(data):
            if steps.is_due(direction, message):
                fault = steps.happens()
                if fault == CUT:
                    self._reset()
                    return False
                if fault == STALL:
                    self._line.flowing.clear()
                else:
                    await asyncio.sleep(LATE_S)
            await self._line.flowing.wait()
            writer.write(message)
            await writer.drain()
        return True

    async def _receive(self, reader: asyncio.StreamReader) -> bytes:
        try:
            data = await reader.read(_SIZE)
        except OSError:
            return b""
        if self._line.delay_s:
            await asyncio.sleep(self._line.delay_s)
        await self._line.flowing.wait()
        return data


def _ends_at(before: bytes, data: bytes, pattern: bytes) -> int:
    """How many bytes of `data` it takes until `pattern` is complete, where it may begin in `before`; 0 for never."""
    overlap = before[-(len(pattern) - 1) :] if len(pattern) > 1 else b""
    found = (overlap + data).find(pattern)
    return found + len(pattern) - len(overlap) if found >= 0 else 0
