"""Upstreams that stop at a byte: a request says by its number what it is sent, and how that ends.

Unlike those in `upstream`, they serve hundreds of requests at once, in the event loop of the test.
"""

from __future__ import annotations

import asyncio
import enum
import fcntl
import socket
import ssl
import struct
import termios
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import h2.config
import h2.connection
import h2.events
import hyperframe.frame

from .proxy import PATIENCE
from .upstream import EVENT_STREAM

#: How long hundreds of exchanges may take, in seconds.
LONG = 4 * PATIENCE


class Then(enum.Enum):
    """What comes behind the last byte."""

    #: The body is over, as it should be. What is sent over HTTP/1.1 says so itself.
    END = enum.auto()
    #: The connection is closed in order: a FIN, over TLS with a notice before it.
    CLOSE = enum.auto()
    #: One half of the connection is closed, without a notice, and the other kept open.
    HALF_CLOSE = enum.auto()
    #: A TCP reset, when the proxy has read everything before it.
    RESET = enum.auto()
    #: Nothing, until the proxy leaves.
    SILENCE = enum.auto()
    #: HTTP/2: the stream is reset.
    RST_STREAM = enum.auto()
    #: HTTP/2: the connection is said to be over, and is closed.
    GOAWAY = enum.auto()


@dataclass(frozen=True)
class Play:
    """What a request is sent: over HTTP/1.1 these very bytes, over HTTP/2 headers and this body, or nothing.

    Attributes:
        sent: the bytes.
        then: how it ends.
        coding: of the body, for HTTP/2.
        code: the error code of what ends it, for HTTP/2.
    """

    sent: bytes | None
    then: Then
    coding: str = "identity"
    code: int = 0


async def _no_turn() -> None:
    raise NotImplementedError


@dataclass
class Breaker:
    """The upstreams' side of a test.

    Attributes:
        turn: waits until the proxy has read all that has come to it.
        plays: by the number that starts a path.
        delivered: the requests whose play has come to silence, with all before it read by the proxy.
        left: those whose silence the proxy has ended; `changed` tells of more.
        errors: what went wrong here.
    """

    turn: Callable[[], Awaitable[None]] = _no_turn
    plays: dict[int, Play] = field(default_factory=dict)
    delivered: dict[int, asyncio.Event] = field(default_factory=dict)
    left: set[int] = field(default_factory=set)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    errors: list[BaseException] = field(default_factory=list)
    servers: list[asyncio.Server] = field(default_factory=list)

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection over HTTP/1.1, for as long as nothing but bodies end on it."""
        await self._guarded(self._talk(reader, writer), writer)

    async def talk_http2(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection over HTTP/2."""
        await self._guarded(_Http2(self, reader, writer).talk(), writer)

    async def _guarded(self, talk: Awaitable[None], writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(LONG):
                await talk
        except (EOFError, ConnectionError, ssl.SSLError):
            pass
        except BaseException as e:  # noqa: BLE001 -- raised again by the test
            self.errors.append(e)
        finally:
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        then = Then.END
        while then is Then.END:
            head = await reader.readuntil(b"\r\n\r\n")
            length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
            await reader.readexactly(int(length))
            number = number_of(head.split(b" ", 2)[1].decode())
            play, then = self.plays[number], self.plays[number].then
            writer.write(play.sent or b"")
        await self.part(then, number, reader, writer)

    async def part(self, then: Then, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """End an HTTP/1.1 message, or any connection."""
        match then:
            case Then.RESET:
                await self.read_by_proxy(writer)
                linger = struct.pack("ii", 1, 0)
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                writer.transport.abort()
            case Then.HALF_CLOSE:
                writer.get_extra_info("socket").shutdown(socket.SHUT_WR)
                await reader.read()
            case Then.SILENCE:
                await self.read_by_proxy(writer)
                self.delivered[number].set()
                with suppress(ConnectionError, ssl.SSLError):
                    await reader.read()
                await self.leave(number)

    async def leave(self, number: int) -> None:
        """The proxy has left."""
        async with self.changed:
            self.left.add(number)
            self.changed.notify_all()

    async def read_by_proxy(self, writer: asyncio.StreamWriter) -> None:
        """Wait until the proxy has read everything: a reset takes away what has not been read."""
        sock = writer.get_extra_info("socket")
        while any(fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4))):  # noqa: ASYNC110 -- nobody tells of it
            await asyncio.sleep(0.001)
        await self.turn()


class _Http2:
    """One connection over HTTP/2, with any number of streams."""

    def __init__(self, breaker: Breaker, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._breaker, self._reader, self._writer = breaker, reader, writer
        config = h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        self._h2 = h2.connection.H2Connection(config)
        self._numbers: dict[int, int] = {}

    async def talk(self) -> None:
        self._h2.initiate_connection()
        self._flush()
        while data := await self._reader.read(65536):
            for event in self._h2.receive_data(data):
                await self._hear(event)
            self._flush()

    async def _hear(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.RequestReceived():
                headers: Any = event.headers  # of other types in each version of h2
                self._numbers[event.stream_id] = number_of(dict(headers)[":path"])
            case h2.events.DataReceived():
                self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            case h2.events.StreamEnded():
                await self._answer(event.stream_id)
            case h2.events.StreamReset():
                await self._breaker.leave(self._numbers[event.stream_id])

    async def _answer(self, stream: int) -> None:
        number = self._numbers[stream]
        play = self._breaker.plays[number]
        if play.sent is not None:
            fields = [(":status", "200"), ("content-type", EVENT_STREAM)]
            coding = [] if play.coding == "identity" else [("content-encoding", play.coding)]
            self._h2.send_headers(stream, fields + coding)
        if play.sent:
            self._h2.send_data(stream, play.sent)
        if play.then is Then.END:
            self._h2.end_stream(stream)
        if play.then is Then.RST_STREAM:
            self._h2.reset_stream(stream, play.code)
        self._flush()
        match play.then:
            case Then.GOAWAY:
                self._writer.write(
                    hyperframe.frame.GoAwayFrame(last_stream_id=stream, error_code=play.code).serialize()
                )
                self._writer.close()
            case Then.CLOSE:
                self._writer.close()
            case Then.SILENCE:
                await self._breaker.read_by_proxy(self._writer)
                self._breaker.delivered[number].set()
            case _:
                await self._breaker.part(play.then, number, self._reader, self._writer)

    def _flush(self) -> None:
        if data := self._h2.data_to_send():
            self._writer.write(data)


def number_of(path: str) -> int:
    """The number that starts a path."""
    return int(path.split("/", 2)[1])
