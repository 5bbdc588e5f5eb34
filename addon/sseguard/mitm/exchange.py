"""A guarded exchange inside mitmproxy: its flow, its gate, and what mitmproxy asks of the two."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable

from mitmproxy import http

from sseguard import errors
from sseguard.codings import Decoder
from sseguard.error_headers import error_headers, request_id
from sseguard.gate import Action, End, Gate, Refuse, Relay, State
from sseguard.recordings.framing import reason_phrase

Transform = Callable[[bytes], Iterable[bytes] | bytes]


class Exchange:
    """One guarded exchange. Also the stream function of its response, for where headers cannot be held back."""

    def __init__(self, flow: http.HTTPFlow, gate: Gate) -> None:
        self.flow = flow
        self.gate = gate
        self._transform: Transform | None = None

    def open(self, response: http.Response, decoder: Decoder, *, held: bool) -> None:
        """The headers of an event stream have come: take over its body. `held`: they can be held back."""
        if callable(response.stream):
            # Another addon changes the body: what comes out of there is what the client is to get.
            self._transform = response.stream
        if self.gate.limits.strip_comments and not decoder.is_identity:
            del response.headers["content-encoding"]
        _make_open_ended(self.flow.request, response)
        self.gate.opened(decoder, time.monotonic(), request_id=request_id(_text(response.headers)), held=held)
        response.stream = self

    def feed(self, data: bytes) -> list[Action]:
        """Body bytes have come from upstream."""
        now = time.monotonic()
        if self._transform is None:
            return self.gate.feed(data, now)
        return [action for chunk in self._transformed(data) for action in self.gate.feed(chunk, now)]

    def end(self) -> list[Action]:
        """The body has ended as it should."""
        now = time.monotonic()
        last = self._transformed(b"") if self._transform else []
        return [*(action for chunk in last for action in self.gate.feed(chunk, now)), *self.gate.end(now)]

    def cut(self, message: str) -> list[Action]:
        """Upstream broke, or could not be reached."""
        return self.gate.cut(message, time.monotonic())

    def tick(self) -> list[Action]:
        """Time has passed."""
        return self.gate.tick(time.monotonic())

    def left(self) -> None:
        """The client has gone."""
        self.gate.left(time.monotonic())

    @property
    def deadline(self) -> float:
        """When `tick` is due, on the monotonic clock; infinity if nothing is awaited."""
        deadline = self.gate.deadline
        return math.inf if deadline is None else deadline

    def refuse(self, refusal: Refuse) -> None:
        """Put the error response into the flow, in place of what is there."""
        evidence = self.gate.evidence(time.monotonic())
        body = errors.body(self.gate.call.dialect, refusal.failure, evidence)
        self.flow.response = error_response(refusal.failure, body, self.flow.response)

    def settle(self, body: bytes) -> None:
        """Judge a body that mitmproxy has kept whole, an empty one mostly, before it is sent."""
        self.feed(body)
        self.end()
        # Nothing has been sent, even where headers cannot be held back.
        if self.gate.failure is not None and self.gate.first_answer is None:
            self.refuse(Refuse(self.gate.failure))

    def __call__(self, data: bytes) -> list[bytes]:
        """As mitmproxy's stream function, used where the headers are out already: a failure is told in-band."""
        if self.gate.state is State.OVER:
            return []
        actions = self.feed(data) if data else self.end()
        return [action.data for action in actions if isinstance(action, Relay | End) and action.data]

    def _transformed(self, data: bytes) -> list[bytes]:
        chunks = self._transform(data) if self._transform else [data]
        return [chunks] if isinstance(chunks, bytes) else list(chunks)


def error_response(failure: errors.Failure, body: bytes, upstream: http.Response | None = None) -> http.Response:
    """The response that tells `failure`, with what is worth keeping of `upstream`'s headers."""
    headers = error_headers(failure, _text(upstream.headers) if upstream else ())
    fields = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    response = http.Response.make(failure.status, body, http.Headers(fields))
    # mitmproxy 11 does not know every status that providers use.
    response.reason = response.reason or reason_phrase(failure.status)
    return response


def _make_open_ended(request: http.Request, response: http.Response) -> None:
    """Let a body end where it does, and let that be seen: an error frame may come to it, or a part be missing. How a
    body is delimited is each connection's own affair (RFC 9112 section 6).
    """
    response.headers.pop("content-length", None)
    if request.http_version == "HTTP/1.1":
        if response.http_version == "HTTP/1.0" and "keep-alive" not in response.headers.get("connection", "").lower():
            response.headers["connection"] = "close"  # as it goes without saying in that version
        response.http_version = "HTTP/1.1"
        response.headers["transfer-encoding"] = "chunked"
    elif request.http_version == "HTTP/1.0":
        response.headers.pop("transfer-encoding", None)


def _text(headers: http.Headers) -> list[tuple[str, str]]:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers.fields]
