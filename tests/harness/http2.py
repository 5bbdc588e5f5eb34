"""An upstream's side of HTTP/2, for the same scripts as HTTP/1.1: one stream at a time, blocking calls."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Any

import h2.config
import h2.connection
import h2.errors
import h2.events
import hyperframe.frame

from .upstream import EVENT_STREAM, Connection, Request


class Http2Connection(Connection):
    """One HTTP/2 connection. What is sent belongs to `stream`, the one of the request that was read last."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        config = h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        self._h2 = h2.connection.H2Connection(config)
        self._events: list[Any] = []
        self.stream = 0
        self._h2.initiate_connection()
        self._flush()

    def read_request(self) -> Request:
        """The next request. Raises EOFError when the peer has gone."""
        opened = self._next(h2.events.RequestReceived)
        self.stream = opened.stream_id
        fields = dict(opened.headers)
        headers = {name: value for name, value in fields.items() if not name.startswith(":")}
        body = b""
        while not isinstance(event := self._next(h2.events.DataReceived, h2.events.StreamEnded), h2.events.StreamEnded):
            body += event.data
            self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            self._flush()
        return Request(fields[":method"], fields[":path"], headers, body)

    def send_headers(self, status: int = 200, content_type: str = EVENT_STREAM, **headers: str) -> None:
        self._send_headers(status, content_type, headers)

    def send_headers_alone(self) -> None:
        """Headers that end the stream."""
        self._send_headers(200, EVENT_STREAM, {}, end_stream=True)

    def _send_headers(
        self, status: int, content_type: str, headers: dict[str, str], *, end_stream: bool = False
    ) -> None:
        fields = {"content-type": content_type, **{name.replace("_", "-"): value for name, value in headers.items()}}
        self._h2.send_headers(self.stream, [(":status", str(status)), *fields.items()], end_stream=end_stream)
        self._flush()

    def send_chunk(self, data: bytes) -> None:
        """Data, in as many frames as it takes, as fast as the peer's window opens."""
        while data:
            size = min(self._h2.local_flow_control_window(self.stream), self._h2.max_outbound_frame_size, len(data))
            if not size:
                self._receive()
                continue
            self._h2.send_data(self.stream, data[:size])
            self._flush()
            data = data[size:]

    def end(self) -> None:
        self._h2.end_stream(self.stream)
        self._flush()

    def break_off(self) -> None:
        """Break the stream off, and leave the connection as it is."""
        self._h2.reset_stream(self.stream, h2.errors.ErrorCodes.INTERNAL_ERROR)
        self._flush()

    def go_away(self) -> None:
        """Announce the end of the connection (GOAWAY); streams that are open may go on."""
        self._sock.sendall(hyperframe.frame.GoAwayFrame(last_stream_id=self.stream).serialize())

    def finish(self) -> None:
        """End in order: closing with something unread would reset the connection, and what was sent would be lost."""
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)
        self.wait_until_left()

    def wait_until_refused(self) -> int:
        """Wait until the peer has reset the stream. Gives its error code (RFC 9113 section 7)."""
        return int(self._next(h2.events.StreamReset).error_code)

    def _next(self, *kinds: type) -> Any:
        while True:
            while self._events:
                if isinstance(event := self._events.pop(0), kinds):
                    return event
            self._receive()

    def _receive(self) -> None:
        data = self._sock.recv(65536)
        if not data:
            raise EOFError
        self._events += self._h2.receive_data(data)
        self._flush()

    def _flush(self) -> None:
        if data := self._h2.data_to_send():
            self._sock.sendall(data)
