"""An upstream that does exactly what a test says, over a real socket: a thread a connection, blocking calls."""

from __future__ import annotations

import json
import queue
import select
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from .proxy import PATIENCE

Script = Callable[["Connection"], object]

EVENT_STREAM = "text/event-stream"


@dataclass(frozen=True)
class Request:
    """What the upstream was asked."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Connection:
    """One connection to the upstream, for a script to use."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._buffer = b""

    def read_request(self) -> Request:
        """The next request. Raises EOFError when the peer has gone."""
        while b"\r\n\r\n" not in self._buffer:
            self._fill()
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        first, *rest = head.decode("latin-1").split("\r\n")
        method, path, _ = first.split(" ", 2)
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}
        return Request(method, path, headers, self._read_body(headers))

    def send_headers(self, status: int = 200, content_type: str = EVENT_STREAM, **headers: str) -> None:
        """Response headers, chunked unless a length is given; underscores in names stand for dashes."""
        fields = {"content-type": content_type, **{name.replace("_", "-"): value for name, value in headers.items()}}
        if "content-length" not in fields:
            fields["transfer-encoding"] = "chunked"
        lines = [f"HTTP/1.1 {status} OK", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
        self.send("\r\n".join(lines).encode("latin-1"))

    def send_chunk(self, data: bytes) -> None:
        self.send(b"%x\r\n%s\r\n" % (len(data), data))

    def end(self) -> None:
        """The end of a chunked body."""
        self.send(b"0\r\n\r\n")

    def send(self, data: bytes) -> None:
        self._sock.sendall(data)

    def flood(self, data: bytes, most: int) -> int:
        """Send `data` again and again until the peer takes nothing more for a second. Gives how much it took.

        Raises AssertionError when it has taken `most` bytes.
        """
        sent = 0
        while select.select([], [self._sock], [], 1.0)[1]:
            sent += self._sock.send(data[sent % len(data) :])
            assert sent < most, f"Expected a peer that takes less than {most} bytes, got {sent}."
        return sent

    def answer(self, *chunks: bytes, **headers: str) -> None:
        """A whole event stream, orderly ended."""
        self.send_headers(**headers)  # type: ignore[arg-type]
        for chunk in chunks:
            self.send_chunk(chunk)
        self.end()

    def reset(self) -> None:
        """Break the connection with a TCP reset."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._sock.close()

    def close(self) -> None:
        """Close the connection in order, whatever state HTTP is in."""
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)
        self._sock.close()

    def finish(self) -> None:
        """Called when the script has run to its end, before the connection is closed."""

    def wait_until_left(self) -> None:
        """Wait until the peer has closed its side."""
        with suppress(EOFError, OSError):
            while True:
                self._fill()

    def _fill(self) -> None:
        data = self._sock.recv(65536)
        if not data:
            raise EOFError
        self._buffer += data

    def _read_body(self, headers: dict[str, str]) -> bytes:
        if "chunked" in headers.get("transfer-encoding", ""):
            return b"".join(iter(self._read_chunk, b""))
        return self._read_exactly(int(headers.get("content-length", "0")))

    def _read_chunk(self) -> bytes:
        while b"\r\n" not in self._buffer:
            self._fill()
        size, _, self._buffer = self._buffer.partition(b"\r\n")
        return self._read_exactly(int(size, 16) + 2)[:-2]

    def _read_exactly(self, size: int) -> bytes:
        parts, missing = [self._buffer[:size]], size - len(self._buffer)
        self._buffer = self._buffer[size:]
        while missing > 0:
            self._fill()
            parts.append(self._buffer[:missing])
            missing, self._buffer = missing - len(self._buffer), self._buffer[missing:]
        return b"".join(parts)


@dataclass
class Upstream:
    """A server on loopback that runs `script` for each connection, in a thread of its own."""

    script: Script
    tls: ssl.SSLContext | None = None
    #: How it talks: `Http2Connection` for HTTP/2.
    protocol: Callable[[socket.socket], Connection] = Connection
    port: int = 0
    connections: int = 0
    #: What went wrong in a script, raised again at the end.
    errors: queue.SimpleQueue[BaseException] = field(default_factory=queue.SimpleQueue)

    @classmethod
    @contextmanager
    def running(
        cls,
        script: Script,
        *,
        tls: ssl.SSLContext | None = None,
        protocol: Callable[[socket.socket], Connection] = Connection,
    ) -> Iterator[Upstream]:
        upstream = cls(script, tls, protocol)
        listener = socket.create_server(("127.0.0.1", 0))
        upstream.port = listener.getsockname()[1]
        thread = threading.Thread(target=upstream._serve, args=(listener,), daemon=True)
        thread.start()
        try:
            yield upstream
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
            thread.join()
        if not upstream.errors.empty():
            raise upstream.errors.get()

    @classmethod
    @contextmanager
    def answering(cls, *chunks: bytes, **headers: str) -> Iterator[Upstream]:
        """An upstream that gives every request the same event stream."""

        def script(connection: Connection) -> None:
            while True:
                connection.read_request()
                connection.answer(*chunks, **headers)

        with cls.running(script) as upstream:
            yield upstream

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def _serve(self, listener: socket.socket) -> None:
        threads = []
        with suppress(OSError):
            while True:
                sock, _ = listener.accept()
                self.connections += 1
                thread = threading.Thread(target=self._talk, args=(sock,), daemon=True)
                thread.start()
                threads.append(thread)
        for thread in threads:
            thread.join(PATIENCE)

    def _talk(self, sock: socket.socket) -> None:
        sock.settimeout(PATIENCE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            talking = self.tls.wrap_socket(sock, server_side=True) if self.tls else sock
            with talking, suppress(EOFError, ConnectionError, ssl.SSLError):
                connection = self.protocol(talking)
                self.script(connection)
                connection.finish()
        except OSError:
            pass
        except BaseException as e:  # noqa: BLE001 -- raised again in the test's own thread
            self.errors.put(e)
