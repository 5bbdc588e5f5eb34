"""The client's side: requests on plain sockets, and what can be seen from there."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self, cast

from . import frames
from .figures import BenchError
from .upstream import PATH

#: Seconds that anything may take.
PATIENCE = 60.0

_ENDED = frames.DONE + b"\r\n0\r\n\r\n"
_GOLDEN = 0.618033988749895

BODY = json.dumps(
    {"model": "example/large-model", "stream": True, "messages": [{"role": "user", "content": "Count to ten."}]}
).encode()


def request(target: str = PATH, body: bytes = BODY) -> bytes:
    """A request for a stream, as it goes over the wire."""
    head = (
        f"POST {target} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        f"authorization: Bearer none\r\naccept: text/event-stream\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode("ascii") + body


@contextmanager
def connection(port: int) -> Iterator[socket.socket]:
    """A connection to a port on loopback."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield sock


def fetch(sock: socket.socket, asked: bytes, until: bytes = frames.MARK) -> tuple[float, float]:
    """Read a whole answer. Gives the moments when `until` had come, and all of it. Raises: BenchError."""
    sock.sendall(asked)
    buffer = bytearray(1 << 20)
    view, tail, found = memoryview(buffer), b"", 0.0
    while tail != _ENDED:
        got = sock.recv_into(buffer)
        if not got:
            raise BenchError(f"Expected a whole answer, got this at its end: {tail!r}")
        if not found and buffer.find(until, 0, got) >= 0:
            found = time.perf_counter()
        tail = (tail + view[max(got - len(_ENDED), 0) : got])[-len(_ENDED) :]
    if not found:
        raise BenchError(f"Expected {until!r} in an answer, got none.")
    return found, time.perf_counter()


def first_answer(port: int, asked: bytes, count: int, *, keep: bool) -> list[float]:
    """Seconds to the first answer frame, for so many requests, on connections that are new or kept."""
    with contextlib.ExitStack() as stack:
        kept = stack.enter_context(connection(port)) if keep else None
        return [_first_answer(port, kept, asked) for _ in range(count + keep)][int(keep) :]


def _first_answer(port: int, kept: socket.socket | None, asked: bytes) -> float:
    began = time.perf_counter()
    with contextlib.nullcontext(kept) if kept else connection(port) as sock:
        return fetch(sock, asked)[0] - began


@contextmanager
def holding() -> Iterator[Callable[[int, bytes], None]]:
    """A function that opens a stream at a port, waits for its first answer frame, and leaves it open until the end."""
    with contextlib.ExitStack() as stack:

        def hold(port: int, asked: bytes) -> None:
            sock = stack.enter_context(connection(port))
            sock.sendall(asked)
            received = b""
            while frames.MARK not in received:
                if not (data := sock.recv(65536)):
                    raise BenchError(f"Expected an answer that goes on, got {received!r}")
                received += data

        yield hold


class Stream(asyncio.Protocol):
    """A paced stream. `delays`: for each frame, when it came, less what is stamped on it, in nanoseconds."""

    def __init__(self, asked: bytes) -> None:
        self.delays: list[int] = []
        #: When the headers came.
        self.began = 0
        self.lost = False
        self._asked = asked

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(self._asked)

    def connection_lost(self, _: Exception | None) -> None:
        self.lost = True

    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        self.began = self.began or now
        at = data.find(frames.MARK)
        while 0 <= at < len(data) - frames.DIGITS - 2:  # what is torn is not counted
            self.delays.append(now - int(data[at + 2 : at + 2 + frames.DIGITS]))
            at = data.find(frames.MARK, at + 2)


@dataclass(frozen=True, slots=True)
class Window:
    """What happened while all streams were under way: delays in seconds, and CPU seconds of the program watched."""

    delays: Sequence[float]
    cpu: float


class Streams:
    """Paced streams at one port, opened one after the other at moments that do not fall together.

    An async context manager: at its end, the client leaves all of them.
    """

    def __init__(self, port: int, asked: bytes) -> None:
        self._port = port
        self._asked = asked
        self._streams: list[Stream] = []
        self._seen: dict[Stream, int] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for stream in self._streams:
            stream.transport.abort()
        await asyncio.sleep(0.05)

    async def open(self, count: int, spread: float) -> None:
        """Open `count` more within `spread` seconds, and wait until each has a frame. Raises: BenchError."""
        await asyncio.gather(*(self._open(number * _GOLDEN % 1.0 * spread) for number in range(count)))
        give_up = time.monotonic() + PATIENCE
        while not all(stream.delays for stream in self._streams):
            self._check()
            if time.monotonic() > give_up:
                raise BenchError(f"Expected {count} streams to begin within {PATIENCE} s, got fewer.")
            await asyncio.sleep(0.01)

    async def _open(self, after: float) -> None:
        await asyncio.sleep(after)
        loop = asyncio.get_running_loop()
        _, stream = await loop.create_connection(lambda: Stream(self._asked), "127.0.0.1", self._port)
        self._streams.append(stream)

    async def watch(self, seconds: float, cpu: Callable[[], float] = lambda: 0.0) -> Window:
        """Let them run. Raises: BenchError."""
        self._fresh()
        before = cpu()
        await asyncio.sleep(seconds)
        used = cpu() - before
        delays = [delay / 1e9 for stream, start in self._fresh() for delay in stream.delays[start:]]
        self._check()
        return Window(delays, used)

    async def lateness(self, seconds: float) -> list[float]:
        """Let them run, stamped with when frames were due: seconds later than the least delayed of the same stream,
        the headers included.
        """
        self._fresh()
        await asyncio.sleep(seconds)
        late = []
        for stream, start in self._fresh():
            least = min(stream.began, *stream.delays)
            late += [(delay - least) / 1e9 for delay in stream.delays[start:]]
        self._check()
        return late

    def _fresh(self) -> list[tuple[Stream, int]]:
        """Each stream, and where what came since the last call begins."""
        fresh = [(stream, self._seen.get(stream, 0)) for stream in self._streams]
        self._seen = {stream: len(stream.delays) for stream in self._streams}
        return fresh

    def _check(self) -> None:
        if any(stream.lost for stream in self._streams):
            raise BenchError("Expected all streams to go on, got one that ended.")
