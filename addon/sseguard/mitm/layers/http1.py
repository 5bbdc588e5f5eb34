"""Reading responses of HTTP/1, in three ways unlike mitmproxy.

- Chunks of a guarded body that came together are handed over together. An upstream in a hurry sends many at a time, and
  mitmproxy takes each through all of its layers: most of what relaying costs. A burst takes that way once, with every
  chunk still by itself.
- Interim responses (RFC 9110 section 15.2) are passed over. mitmproxy takes the first for the final one.
- Trailers (RFC 9110 section 6.5) are left out, as the section allows. mitmproxy crashes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import ClassVar

import h11
from h11._readers import ChunkedReader
from h11._receivebuffer import ReceiveBuffer
from mitmproxy import http
from mitmproxy.proxy import events, layer
from mitmproxy.proxy.layers.http._base import ReceiveHttp
from mitmproxy.proxy.layers.http._events import ResponseData
from mitmproxy.proxy.layers.http._http1 import Http1Client

#: All but 101, which ends HTTP on its connection.
_INTERIM = re.compile(rb"HTTP/1\.[01] 1(?!01)\d\d[^\n]*\n(?:[^\r\n][^\n]*\n)*\r?\n")
_LONGEST_INTERIM = 65536


class Burst(ResponseData):
    """Body bytes in one or more chunks; for whom that does not matter, in one."""

    def __init__(self, stream_id: int, chunks: list[bytes]) -> None:
        super().__init__(stream_id, b"".join(chunks))
        self.chunks = chunks


class TrailerlessReader(ChunkedReader):
    """Reads a chunked body."""

    def __call__(self, buf: ReceiveBuffer) -> h11.Data | h11.EndOfMessage | None:
        event = super().__call__(buf)
        return h11.EndOfMessage() if isinstance(event, h11.EndOfMessage) else event


class PatientHttp1Client(Http1Client):
    """mitmproxy's `Http1Client`, but for the above."""

    guards: ClassVar[Callable[[http.Response], bool]]

    def read_headers(self, event: events.ConnectionEvent) -> layer.CommandGenerator[None]:
        while len(self.buf) <= _LONGEST_INTERIM and (interim := _INTERIM.match(bytes(self.buf))):
            self.buf.maybe_extract_at_most(interim.end())
        yield from super().read_headers(event)

    def read_body(self, event: events.Event) -> layer.CommandGenerator[None]:
        if type(self.body_reader) is ChunkedReader:
            self.body_reader = TrailerlessReader()
        commands = super().read_body(event)
        if self.response is None or not type(self).guards(self.response):
            yield from commands
            return
        assert self.stream_id is not None  # noqa: S101 -- as the parent does
        stream_id, chunks = self.stream_id, []
        for command in commands:
            if type(command) is ReceiveHttp and type(command.event) is ResponseData:
                chunks.append(command.event.data)
                continue
            if chunks:
                yield ReceiveHttp(Burst(stream_id, chunks))
                chunks = []
            yield command
        if chunks:
            yield ReceiveHttp(Burst(stream_id, chunks))
