"""A client of the proxy that says what it was told of a stream."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from dataclasses import dataclass

import h11

from sseguard.verdicts import Verdict

from .streams import Stream

#: Seconds of silence behind which a client leaves that is to leave.
LITTLE_PATIENCE = 0.4

#: Seconds of silence behind which a stream counts as hanging.
PATIENCE = 60.0

#: What a client was told that no verdict belongs to.
HANGING = "hanging"
ALTERED = "altered"

_REASON = re.compile(rb'"reason":"(\w+)"')


@dataclass(frozen=True, slots=True)
class Answer:
    """What came. `verdict`: in the headers; `ended`: in order."""

    verdict: str = ""
    body: bytes = b""
    ended: bool = True

    def told(self, stream: Stream) -> str:
        """The verdict that a client can see; that on `stream`, if it came as it was sent."""
        if self.verdict:
            return self.verdict
        if not self.ended:
            # Nothing can be put into a compressed stream: it breaks off, as it did upstream.
            return Verdict.CUT_LATE
        if self.body == stream.body:
            return stream.verdict
        found = _REASON.findall(self.body)
        return found[-1].decode("ascii") if found else ALTERED


class Client:
    """One client, with a connection that it keeps while it can."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._http: h11.Connection | None = None
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter

    async def ask(self, stream: Stream, target: str, arrived: asyncio.Event) -> str:
        """Ask for a stream, and say what was told of it. `arrived` is set when the provider has got the request."""
        http = self._http = self._http or await self._connected()
        leaves = stream.verdict is Verdict.CLIENT_LEFT
        headers = [("host", "127.0.0.1"), ("content-type", "application/json"), ("content-length", len(stream.asked))]
        head = h11.Request(method="POST", target=target, headers=[(name, str(value)) for name, value in headers])
        self._writer.write((http.send(head) or b"") + (http.send(h11.Data(stream.asked)) or b""))
        http.send(h11.EndOfMessage())
        try:
            if leaves:  # earlier than that, there may be nothing yet for the guard to tell of
                await asyncio.wait_for(arrived.wait(), PATIENCE)
            answer = await self._read(http, LITTLE_PATIENCE if leaves else PATIENCE)
        except TimeoutError:
            await self.leave()
            return Verdict.CLIENT_LEFT if leaves and arrived.is_set() else HANGING
        if not answer.ended or http.our_state is not h11.DONE or http.their_state is not h11.DONE:
            await self.leave()
        else:
            http.start_next_cycle()
        return answer.told(stream)

    async def leave(self) -> None:
        """Close the connection; the next stream gets another."""
        if self._http is not None:
            self._http = None
            self._writer.close()
            with suppress(OSError):
                await self._writer.wait_closed()

    async def _connected(self) -> h11.Connection:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return h11.Connection(h11.CLIENT)

    async def _read(self, http: h11.Connection, patience: float) -> Answer:
        """A whole answer. Raises: TimeoutError."""
        verdict, body = "", bytearray()
        while True:
            try:
                event = await self._next(http, patience)
            except (h11.RemoteProtocolError, OSError) as e:
                if isinstance(e, TimeoutError):
                    raise
                return Answer(verdict, bytes(body), ended=False)
            match event:
                case h11.Response():
                    verdict = dict(event.headers).get(b"x-sseguard", b"").decode("latin-1")
                case h11.Data():
                    body += event.data
                case h11.EndOfMessage():
                    return Answer(verdict, bytes(body))

    async def _next(self, http: h11.Connection, patience: float) -> object:
        while (event := http.next_event()) is h11.NEED_DATA:
            http.receive_data(await asyncio.wait_for(self._reader.read(65536), patience))
        return event
