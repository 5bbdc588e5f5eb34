"""Clients that ask for many streams at once, in the event loop of the test, and tell how each of them ended."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from .raw import post


@dataclass(frozen=True)
class Got:
    """A response, as far as it came.

    Attributes:
        whole: it ended as HTTP has it, and was not broken off; None if its end cannot be told from a break.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    whole: bool | None


@dataclass
class Asker:
    """A client with one connection, made anew when it was closed."""

    address: tuple[str, int]
    tls: ssl.SSLContext | None = None
    _streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    @classmethod
    @asynccontextmanager
    async def ready(cls, address: tuple[str, int], tls: ssl.SSLContext | None = None) -> AsyncIterator[Asker]:
        asker = cls(address, tls)
        try:
            yield asker
        finally:
            asker.leave()

    async def send(self, request: bytes) -> None:
        if self._streams is None:
            host, port = self.address
            self._streams = await asyncio.open_connection(host, port, ssl=self.tls)
        self._streams[1].write(request)

    async def ask(self, path: str, value: Any) -> Got:
        """Send a request, and read what comes."""
        await self.send(post(path, value))
        got = await self._read()
        if not got.whole:
            self.leave()
        return got

    async def read_head(self) -> tuple[int, dict[str, str]]:
        """Status and headers of the next response."""
        assert self._streams is not None
        first, *rest = (await self._streams[0].readuntil(b"\r\n\r\n"))[:-4].decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}
        return int(first.split(" ")[1]), headers

    def leave(self) -> None:
        """Close the connection, whatever is still to come."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def _read(self) -> Got:
        assert self._streams is not None
        status, headers = await self.read_head()
        if "content-length" in headers:
            body, whole = await self._read_exactly(int(headers["content-length"]))
            return Got(status, headers, body, whole)
        if "transfer-encoding" not in headers:
            return Got(status, headers, await self._streams[0].read(), whole=None)
        chunks: list[bytes] = []
        while size := await self._read_size():
            chunk, whole = await self._read_exactly(size + 2)
            chunks.append(chunk[:size])
            if not whole:
                return Got(status, headers, b"".join(chunks), whole=False)
        whole = size == 0 and (await self._read_exactly(2))[1]
        return Got(status, headers, b"".join(chunks), whole)

    async def _read_size(self) -> int | None:
        """Of the next chunk; None if there is none."""
        assert self._streams is not None
        try:
            return int(await self._streams[0].readuntil(b"\r\n"), 16)
        except asyncio.IncompleteReadError:
            return None

    async def _read_exactly(self, size: int) -> tuple[bytes, bool]:
        """So many bytes, or those that came, and whether it is all of them."""
        assert self._streams is not None
        try:
            return await self._streams[0].readexactly(size), True
        except asyncio.IncompleteReadError as e:
            return e.partial, False


async def ask_http2(client: httpx.AsyncClient, path: str, value: Any) -> Got:
    """As `Asker.ask`, over HTTP/2."""
    body = b""
    async with client.stream("POST", path, json=value) as response:
        assert response.http_version == "HTTP/2"
        try:
            async for piece in response.aiter_raw():
                body += piece
        except httpx.RemoteProtocolError:
            return Got(response.status_code, response.headers, body, whole=False)
    return Got(response.status_code, response.headers, body, whole=True)


@dataclass
class Turns:
    """Round trips through the proxy: it has one thread, so what came to it before one of them it has read by its end.

    Those who wait at the same time share one.
    """

    asker: Asker
    _waiting: list[asyncio.Future[None]] = field(default_factory=list)
    _task: asyncio.Task[None] | None = None

    async def turn(self) -> None:
        """Wait for a round trip that starts from now on."""
        done = asyncio.get_running_loop().create_future()
        self._waiting.append(done)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._go_round())
        await done

    async def _go_round(self) -> None:
        while self._waiting:
            waiting, self._waiting = self._waiting, []
            await self.asker.send(b"PUT /__options__ HTTP/1.1\r\nhost: proxy\r\ncontent-length: 2\r\n\r\n{}")
            status, _ = await self.asker.read_head()
            assert status == 204, status
            for done in waiting:
                done.set_result(None)
