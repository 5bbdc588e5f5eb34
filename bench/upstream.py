"""A provider that costs next to nothing: `python -m bench.upstream` prints its port and serves until it is ended.

What it plays is said by the query, see `Play`.
"""

from __future__ import annotations

import asyncio
import enum
import gc
import sys
import time
from typing import cast
from urllib.parse import parse_qs, urlencode, urlsplit

from . import frames

PATH = "/v1/chat/completions"

_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\n"
    b"x-generation-id: gen-1763800000\r\ntransfer-encoding: chunked\r\n\r\n"
)
_END = frames.framed(frames.ENDING) + frames.framed(b"")
_BEFORE_ANSWER = frames.framed(frames.HEARTBEAT) + frames.framed(frames.PREAMBLE)

#: Bytes written at once.
_SLICE = 1 << 18


class Play(enum.StrEnum):
    """What is answered."""

    #: `units` times a body of `bytes` in pieces of `chunk`, as fast as it goes.
    BULK = "bulk"
    #: A frame each `every` seconds until the client leaves, stamped with the monotonic time at which it is sent.
    PACED = "paced"
    #: The same, stamped with when it was due, after the headers.
    DUE = "due"
    #: A whole answer at once.
    FIRST = "first"
    #: The start of an answer, and then nothing until the client leaves.
    HELD = "held"


def target(play: Play, **arguments: float) -> str:
    """The path and query that ask for it."""
    return f"{PATH}?{urlencode({'play': str(play), **arguments})}"


class Connection(asyncio.Protocol):
    """One client."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._received = b""
        self._timer: asyncio.TimerHandle | None = None
        self._unit = memoryview(b"")
        self._at = 0
        self._units = 0
        self._began = 0.0
        self._played = 0
        self._every = 0.0
        self._due = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=0)  # so that `resume_writing` comes whenever something was left

    def connection_lost(self, _: Exception | None) -> None:
        self._units = 0
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if end and len(body) >= int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]):
            self._received = b""
            self._answer(head.split(b" ")[1].decode("ascii"))

    def resume_writing(self) -> None:
        self._pump()

    def _answer(self, asked: str) -> None:
        arguments = {name: values[0] for name, values in parse_qs(urlsplit(asked).query).items()}
        play = Play(arguments["play"])
        self._transport.write(_HEAD)
        match play:
            case Play.BULK:
                self._unit = memoryview(frames.body_unit(int(arguments["chunk"]), int(arguments["bytes"])))
                self._units = int(arguments["units"])
                self._pump()
            case Play.PACED | Play.DUE:
                self._every, self._due = float(arguments["every"]), play is Play.DUE
                self._transport.write(_BEFORE_ANSWER)
                self._began, self._played = self._loop.time(), 0
                self._tick()
            case Play.FIRST:
                self._transport.write(_BEFORE_ANSWER + frames.framed(frames.stamped(0)) + _END)
            case Play.HELD:
                self._transport.write(_BEFORE_ANSWER + 3 * frames.framed(frames.stamped(0)))

    def _pump(self) -> None:
        """Write until the socket is full; `resume_writing` goes on."""
        while self._units and not self._transport.get_write_buffer_size():
            end = self._at + _SLICE
            self._transport.write(self._unit[self._at : end])
            self._at = end
            if end >= len(self._unit):
                self._at = 0
                self._units -= 1
                if not self._units:
                    self._transport.write(_END)

    def _tick(self) -> None:
        due = self._began + self._played * self._every
        now = self._loop.time()
        if self._played and due <= now:
            stamp = round((due - self._began) * 1e9) if self._due else time.monotonic_ns()
            self._transport.write(frames.framed(frames.stamped(stamp)))
        if due <= now:
            self._played += 1
            due += self._every
        self._timer = self._loop.call_at(due, self._tick)


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", 0, backlog=1024)
    sys.stdout.write(f"listening at {server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    gc.freeze()
    gc.disable()  # a pause here would be counted as the proxy's
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve())
