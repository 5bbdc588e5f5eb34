"""A mitmproxy script beside the addon that does what the header `x-do` of a request tells it to."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from mitmproxy import ctx, http
from mitmproxy.addons.intercept import Intercept

#: Flows that wait for `GET /__resume__`.
_held: list[http.HTTPFlow] = []

#: The flow that `GET /__replay__` sends again.
_last: list[http.HTTPFlow] = []


def request(flow: http.HTTPFlow) -> None:
    match flow.request.headers.get("x-do"):
        case "answer":
            flow.response = http.Response.make(200, b"data: mine\n\n", {"content-type": "text/event-stream"})
        case "kill":
            flow.kill()  # type: ignore[no-untyped-call]
    if flow.request.path == "/__resume__":
        for held in _held:
            held.resume()  # type: ignore[no-untyped-call]
        _held.clear()
        flow.response = http.Response.make(204)
    if flow.request.path == "/__replay__":
        ctx.master.commands.call("replay.client", _last)
        flow.response = http.Response.make(204)


def responseheaders(flow: http.HTTPFlow) -> None:
    assert flow.response is not None
    match flow.request.headers.get("x-do"):
        case "stream":
            flow.response.stream = True
        case "transform":
            flow.response.stream = _shouting
        case "add":
            flow.response.stream = _commenting
        case "buffer":
            flow.response.stream = False
        case "kill later":
            flow.kill()  # type: ignore[no-untyped-call]
        case "replace":
            flow.response = http.Response.make(418, b"tea", {"content-type": "text/plain"})


def response(flow: http.HTTPFlow) -> None:
    assert flow.response is not None
    if "x-mark" in flow.request.headers:
        flow.response.headers["x-marked"] = str(flow.response.status_code)
    if "x-replay" in flow.request.headers:
        _last[:] = [flow]


def _shouting(data: bytes) -> Iterable[bytes]:
    """Changes sizes, and holds something back for the end."""
    return [data.replace(b"Hello", b"HELLO THERE")] if data else [b": the end\n\n"]


def _commenting(data: bytes) -> Iterable[bytes]:
    """More pieces than have come."""
    return [b": seen\n\n", data] if data else []


class _Keeper:
    def request(self, flow: http.HTTPFlow) -> None:
        if flow.intercepted:
            _held.append(flow)
            sys.stdout.write(f"INTERCEPTED {flow.request.path}\n")
            sys.stdout.flush()

    response = request


#: mitmdump has no intercept of its own, unlike mitmweb and the console.
addons = [Intercept(), _Keeper()]
