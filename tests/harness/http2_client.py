"""A client that speaks HTTP/2 to the proxy: it leaves streams one by one, and keeps its connection."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import h2.config
import h2.connection
import h2.errors
import h2.events

from .apis import CHAT
from .proxy import PATIENCE
from .stage import Stage, Way


class Http2Client:
    """One connection to the proxy in front of an upstream; streams are left one by one."""

    def __init__(self, sock: ssl.SSLSocket) -> None:
        self._sock = sock
        self._h2 = h2.connection.H2Connection(h2.config.H2Configuration())
        self._h2.initiate_connection()
        self._flush()

    @classmethod
    @contextmanager
    def connected(cls, stage: Stage, way: Way) -> Iterator[Http2Client]:
        url = urlsplit(stage.url(way))
        assert url.hostname is not None
        stage.trust_http2.set_alpn_protocols(["h2"])
        with (
            socket.create_connection((url.hostname, url.port or 0), PATIENCE) as plain,
            stage.trust_http2.wrap_socket(plain, server_hostname=url.hostname) as sock,
        ):
            yield cls(sock)

    def post(self, path: str) -> int:
        """Ask for a stream. Gives its number."""
        number: int = self._h2.get_next_available_stream_id()
        fields = {":method": "POST", ":scheme": "https", ":authority": "127.0.0.1", ":path": path}
        self._h2.send_headers(number, [*fields.items(), ("content-type", "application/json")])
        self._h2.send_data(number, json.dumps(CHAT.request).encode(), end_stream=True)
        self._flush()
        return number

    def leave(self, number: int) -> None:
        """Give that stream up, and keep the connection."""
        self._h2.reset_stream(number, h2.errors.ErrorCodes.CANCEL)
        self._flush()

    def read(self, number: int, size: int | None = None) -> tuple[str, bytes]:
        """Status and body of that stream, of so many bytes or to its end."""
        status, body, over = "", b"", False
        while not over and (size is None or len(body) < size):
            data = self._sock.recv(65536)
            assert data, "Expected a connection that stays, got its end."
            events: list[Any] = self._h2.receive_data(data)
            for event in events:
                if getattr(event, "stream_id", number) != number:
                    continue
                if isinstance(event, h2.events.ResponseReceived):
                    status = dict(event.headers)[b":status"].decode()
                elif isinstance(event, h2.events.DataReceived):
                    body += event.data
                    self._h2.acknowledge_received_data(event.flow_controlled_length, number)
                elif isinstance(event, h2.events.StreamEnded):
                    over = True
                assert not isinstance(event, h2.events.StreamReset)
            self._flush()
        return status, body

    def _flush(self) -> None:
        if data := self._h2.data_to_send():
            self._sock.sendall(data)
