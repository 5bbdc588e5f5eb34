"""Chunks that came together, handed over together.

An upstream in a hurry sends many chunks at a time, and mitmproxy takes each of them through all of its layers: most of
what relaying costs. A burst takes that way once, with every chunk still by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from mitmproxy import http
from mitmproxy.proxy import events, layer
from mitmproxy.proxy.layers.http._base import ReceiveHttp
from mitmproxy.proxy.layers.http._events import ResponseData
from mitmproxy.proxy.layers.http._http1 import Http1Client


class Burst(ResponseData):
    """Body bytes in one or more chunks; for whom that does not matter, in one."""

    def __init__(self, stream_id: int, chunks: list[bytes]) -> None:
        super().__init__(stream_id, b"".join(chunks))
        self.chunks = chunks


class BurstingHttp1Client(Http1Client):
    """mitmproxy's `Http1Client`, except for the bodies of guarded responses."""

    guards: ClassVar[Callable[[http.Response], bool]]

    def read_body(self, event: events.Event) -> layer.CommandGenerator[None]:
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
