"""A client over a plain socket, for what HTTP libraries do not do: it sends what it is told to, and leaves at will."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from .proxy import PATIENCE


@dataclass(frozen=True)
class Head:
    """The start of a response."""

    version: str
    status: int
    headers: dict[str, str]


@dataclass(frozen=True)
class Reply:
    """A whole response."""

    head: Head
    body: bytes

    @property
    def status(self) -> int:
        return self.head.status

    @property
    def reason(self) -> str:
        """The verdict in an error body of ours."""
        reason: str = json.loads(self.body)["error"]["metadata"]["reason"]
        return reason


class RawClient:
    """One connection. Raises EOFError when the server has gone, TimeoutError when nothing comes."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._buffer = b""

    @classmethod
    @contextmanager
    def connected(cls, port: int, host: str = "127.0.0.1") -> Iterator[RawClient]:
        with socket.create_connection((host, port), PATIENCE) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            yield cls(sock)

    def send(self, data: bytes) -> None:
        self._sock.sendall(data)

    def post(self, path: str, value: Any = None, *, body: bytes | None = None, **headers: str) -> None:
        """Send a request; underscores in header names stand for dashes."""
        self.send(post(path, value, body=body, **headers))

    def ask(self, path: str, value: Any = None, *, body: bytes | None = None, **headers: str) -> Reply:
        """Send a request, and read its response."""
        self.post(path, value, body=body, **headers)
        return self.read_reply()

    def read_head(self) -> Head:
        head = self.read_until(b"\r\n\r\n")[:-4]
        first, *rest = head.decode("latin-1").split("\r\n")
        version, status, *_ = first.split(" ")
        return Head(version, int(status), {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in rest)})

    def read_reply(self, *, bodyless: bool = False) -> Reply:
        """A whole response; `bodyless`: to a HEAD."""
        head = self.read_head()
        if bodyless or head.status < 200 or head.status in (204, 304):
            return Reply(head, b"")
        if "chunked" in head.headers.get("transfer-encoding", ""):
            return Reply(head, b"".join(iter(self.read_chunk, b"")))
        if "content-length" in head.headers:
            return Reply(head, self.read_exactly(int(head.headers["content-length"])))
        return Reply(head, self.read_to_end())

    def read_chunk(self) -> bytes:
        size = int(self.read_until(b"\r\n"), 16)
        return self.read_exactly(size + 2)[:-2]

    def read_until(self, mark: bytes) -> bytes:
        """All up to and with `mark`."""
        while mark not in self._buffer:
            self._fill()
        found, self._buffer = self._buffer.split(mark, 1)
        return found + mark

    def read_exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._fill()
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    def read_to_end(self) -> bytes:
        """All until the server closes the connection."""
        while data := self._sock.recv(65536):
            self._buffer += data
        data, self._buffer = self._buffer, b""
        return data

    def finish_sending(self) -> None:
        """Close this side of the connection."""
        self._sock.shutdown(socket.SHUT_WR)

    def leave(self) -> None:
        """Close the connection."""
        self._sock.close()

    def _fill(self) -> None:
        data = self._sock.recv(65536)
        if not data:
            raise EOFError
        self._buffer += data


def post(path: str, value: Any = None, *, body: bytes | None = None, **headers: str) -> bytes:
    """A request as bytes, with a length; underscores in header names stand for dashes."""
    content = json.dumps(value).encode() if body is None else body
    fields = {"host": "127.0.0.1", "content-type": "application/json", "content-length": str(len(content))}
    fields |= {name.replace("_", "-"): text for name, text in headers.items()}
    lines = "".join(f"{name}: {text}\r\n" for name, text in fields.items())
    return f"POST {path} HTTP/1.1\r\n{lines}\r\n".encode("latin-1") + content
