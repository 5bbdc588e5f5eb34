"""Scripts for upstreams that answer one request."""

from __future__ import annotations

from collections.abc import Callable
from operator import methodcaller
from typing import Any

from .upstream import Connection, Script

#: What an upstream does at last.
Ending = Callable[[Connection], object]

END: Ending = methodcaller("end")
#: Ends the connection without ending the stream; what was sent before arrives.
CLOSE: Ending = methodcaller("close")
#: What was sent just before may be lost.
RESET: Ending = methodcaller("reset")
SILENCE: Ending = methodcaller("wait_until_left")


def sends(*chunks: bytes, then: Ending = END, **headers: Any) -> Script:
    """It sends these chunks as its stream. `headers` as for `Connection.send_headers`."""

    def script(connection: Connection) -> None:
        connection.read_request()
        connection.send_headers(**headers)
        for chunk in chunks:
            connection.send_chunk(chunk)
        then(connection)

    return script


def sends_raw(data: bytes, then: Ending = CLOSE) -> Script:
    """It sends these bytes, headers and all."""

    def script(connection: Connection) -> None:
        connection.read_request()
        connection.send(data)
        then(connection)

    return script


def head(*lines: str, version: str = "1.1", **headers: str) -> bytes:
    """Headers of an event stream as bytes; underscores in names stand for dashes."""
    named = (f"{name.replace('_', '-')}: {value}" for name, value in headers.items())
    first = f"HTTP/{version} 200 OK"
    return "\r\n".join([first, "Content-Type: text/event-stream", *lines, *named, "", ""]).encode()
