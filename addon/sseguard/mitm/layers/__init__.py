"""Where mitmproxy's proxy internals are touched, and nowhere else: layers of our own in place of two of mitmproxy's.

`HttpStream` (in `stream.py`) holds response headers back; `Http1Client` (in `http1.py`) reads what upstream says.
mitmproxy looks both up by name when it needs a new one.

mitmproxy's shape is checked before anything is put in place. If it is not what we know, `install` says so, and
guarding goes on through the public API (headers at once, failures told in-band).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mitmproxy import http
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.layers import http as proxy_http
from mitmproxy.proxy.layers.http._http1 import Http1Client

from .http1 import PatientHttp1Client
from .stream import Exchange, GuardedHttpStream, Tape

__all__ = ["Exchange", "Tape", "UnknownShapeError", "install"]

Lookup = Callable[[http.HTTPFlow], Exchange | None]
Listen = Callable[[http.HTTPFlow], Tape | None]
Guards = Callable[[http.Response], bool]


class UnknownShapeError(ImportError):
    """Raised when mitmproxy's private API is not what these files were written for."""


def install(lookup: Lookup, listen: Listen, guards: Guards) -> Callable[[], None]:
    """Let new streams ask `lookup` for their exchange and `listen` for their tape, and new connections to upstream
    ask `guards` whether a response is guarded. Returns what undoes it.

    Raises: UnknownShapeError.
    """
    _check_shape()
    ours = {
        "HttpStream": type(
            "GuardedHttpStream", (GuardedHttpStream,), {"lookup": staticmethod(lookup), "listen": staticmethod(listen)}
        ),
        "Http1Client": type("PatientHttp1Client", (PatientHttp1Client,), {"guards": staticmethod(guards)}),
    }
    theirs = {name: getattr(proxy_http, name) for name in ours}
    for name, layer in ours.items():
        setattr(proxy_http, name, layer)

    def undo() -> None:
        for name, layer in ours.items():
            if getattr(proxy_http, name) is layer:
                setattr(proxy_http, name, theirs[name])

    return undo


def _check_shape() -> None:
    """Look for what is used here and is not imported by name. Raises: UnknownShapeError."""
    wanted: dict[Any, tuple[str, ...]] = {
        proxy_http.HttpStream: (
            "_handle_event", "state_wait_for_response_headers", "state_done", "state_errored", "start_response_stream",
            "send_response", "handle_protocol_error",
        ),
        Http1Client: ("read_headers", "read_body"),
        proxy_http: ("SendHttp", "Http1Client"),
        commands: ("RequestWakeup", "SendData"),
        events: ("Wakeup",),
    }  # fmt: skip
    for owner, names in wanted.items():
        for name in names:
            if not hasattr(owner, name):
                raise UnknownShapeError(f"Expected {name} in {owner.__name__}, got nothing.")
    if "HttpStream" not in proxy_http.HttpLayer.make_stream.__code__.co_names:
        raise UnknownShapeError("Expected HttpLayer.make_stream to look up HttpStream, got another way.")
