"""Holding response headers back: the only file that touches mitmproxy's proxy internals.

mitmproxy sends the headers of a streamed response before the first body byte, and no hook can hold them. So an
`HttpStream` of our own stands in for mitmproxy's (`HttpLayer.make_stream` looks the name up in its module). It differs
for exchanges that are guarded and for nothing else:

- Body bytes go to the exchange, and what it answers is carried out: relay (headers first), refuse, end, abort.
- An upstream that breaks or cannot be reached is told to the exchange before it becomes mitmproxy's own error.
- A tape, if the exchange has one, hears what came from upstream and how it ended, after it was relayed.
- The exchange gets a wake-up at its deadline, and at least every `TICK` seconds: a wake-up cannot be taken
  back, so a long one would keep the stream in memory long after its end.

The parent's shape is checked before it is replaced. If it is not what we know, `install` says so, and guarding goes on
through the public API (headers at once, failures told in-band).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Protocol

from mitmproxy import http
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.layers import http as proxy_http
from mitmproxy.proxy.layers.http._events import (
    RequestProtocolError,
    ResponseData,
    ResponseEndOfMessage,
    ResponseHeaders,
    ResponseProtocolError,
    ResponseTrailers,
)

from sseguard.gate import Abort, Action, End, Refuse, Relay
from sseguard.recordings.recording import Ending

#: The longest sleep between two looks at the clock, in seconds.
TICK = 1.0

#: How late a look may be before a wake-up of its own is worth it, in seconds.
SLACK = 0.005


class Exchange(Protocol):
    """A guarded exchange, as this file sees it."""

    def feed(self, data: bytes) -> Sequence[Action]:
        """Body bytes have come from upstream."""

    def end(self) -> Sequence[Action]:
        """The body has ended as it should."""

    def cut(self, message: str) -> Sequence[Action]:
        """Upstream broke, or could not be reached."""

    def tick(self) -> Sequence[Action]:
        """Time has passed."""

    def seconds_left(self) -> float | None:
        """How long until `tick` is due; None if nothing is awaited."""

    def refuse(self, refusal: Refuse) -> None:
        """Put the error response into the flow, in place of what is there."""


class Tape(Protocol):
    """Takes down what comes from upstream, guarded or not."""

    def chunk(self, data: bytes) -> None:
        """Body bytes have come."""

    def end(self, ending: Ending) -> None:
        """Nothing more comes. Called once."""


Lookup = Callable[[http.HTTPFlow], Exchange | None]
Listen = Callable[[http.HTTPFlow], Tape | None]


class UnknownShapeError(ImportError):
    """Raised when mitmproxy's private API is not what this file was written for."""


def install(lookup: Lookup, listen: Listen) -> Callable[[], None]:
    """Let new streams ask `lookup` for their exchange, and `listen` for their tape. Returns what undoes it.

    Raises: UnknownShapeError.
    """
    _check_shape()
    parent = proxy_http.HttpStream
    guarded = type(
        "GuardedHttpStream", (GuardedHttpStream,), {"lookup": staticmethod(lookup), "listen": staticmethod(listen)}
    )
    proxy_http.HttpStream = guarded  # type: ignore[misc, assignment]

    def undo() -> None:
        if proxy_http.HttpStream is guarded:
            proxy_http.HttpStream = parent  # type: ignore[misc]

    return undo


def _check_shape() -> None:
    """Look for what is used below and is not imported above. Raises: UnknownShapeError."""
    wanted: dict[Any, tuple[str, ...]] = {
        proxy_http.HttpStream: (
            "_handle_event", "state_wait_for_response_headers", "state_done", "state_errored", "start_response_stream",
            "send_response", "handle_protocol_error",
        ),
        proxy_http: ("SendHttp",),
        commands: ("RequestWakeup",),
        events: ("Wakeup",),
    }  # fmt: skip
    for owner, names in wanted.items():
        for name in names:
            if not hasattr(owner, name):
                raise UnknownShapeError(f"Expected {name} in {owner.__name__}, got nothing.")
    if "HttpStream" not in proxy_http.HttpLayer.make_stream.__code__.co_names:
        raise UnknownShapeError("Expected HttpLayer.make_stream to look up HttpStream, got another way.")


def _cancel_code() -> Any:
    """The error code for an upstream that is not wanted any more; a status number before mitmproxy 12."""
    codes = getattr(proxy_http, "ErrorCode", None)
    return codes.CANCEL if codes is not None else 499


class GuardedHttpStream(proxy_http.HttpStream):
    """mitmproxy's `HttpStream`, except where an exchange is guarded."""

    lookup: ClassVar[Lookup]
    listen: ClassVar[Listen]

    _exchange: Exchange | None = None
    _tape: Tape | None = None
    _wakeup: commands.RequestWakeup | None = None  # that is awaited
    _awake_at = math.inf  # when it comes, on the monotonic clock
    _headers_sent = False
    _upstream_done = False
    _over = False  # answered by us: what upstream still says is of no interest

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        if isinstance(event, events.Wakeup):
            if event.command is self._wakeup:
                self._wakeup, self._awake_at = None, math.inf
            if self._exchange is not None and self._is_awaited():
                yield from self._look_around(self._exchange)
        elif self._over and _is_from_upstream(event):
            return
        else:
            yield from super()._handle_event(event)
            self._record(event)
        if self._over or self.state_errored in (self.client_state, self.server_state):
            # Upstream was sent away, or the flow was killed: for its side of the exchange, the client has left.
            self._end_tape(Ending.CLIENT_LEFT)
        yield from self._arm()

    def start_response_stream(self) -> layer.CommandGenerator[None]:
        exchange = self._find()
        chosen: object = self.flow.response and self.flow.response.stream
        if exchange is None or chosen is not exchange:
            # Not guarded, or another addon has put a stream function of its own in place of ours.
            self._exchange = None
            yield from super().start_response_stream()
            return
        self.server_state = self.state_guard_response_body
        yield from self._carry_out(exchange.tick())

    def state_guard_response_body(self, event: events.Event) -> layer.CommandGenerator[None]:
        """Like `state_stream_response_body`, with the exchange deciding what is sent."""
        exchange = self._find()
        assert exchange is not None and self.flow.response is not None  # noqa: PT018, S101 -- as the parent does
        if isinstance(event, ResponseData):
            yield from self._carry_out(exchange.feed(event.data))
        elif isinstance(event, ResponseTrailers):
            self.flow.response.trailers = event.trailers
        elif isinstance(event, ResponseEndOfMessage):
            self._upstream_done = True
            yield from self._carry_out(exchange.end())

    def handle_protocol_error(
        self, event: RequestProtocolError | ResponseProtocolError
    ) -> layer.CommandGenerator[None]:
        exchange = self._find()
        if isinstance(event, ResponseProtocolError) and exchange and self._is_awaited() and not self._client_has_left():
            self._upstream_done = True
            yield from self._carry_out(exchange.cut(event.message))
        else:
            yield from super().handle_protocol_error(event)

    def _look_around(self, exchange: Exchange) -> layer.CommandGenerator[None]:
        if self.context.server.timestamp_end is not None and not self._upstream_done:
            # The task that reads from upstream has died without a word. mitmproxy 12 cancels it when a write fails,
            # and if it happens to wait for its turn then, nobody hears that the connection is gone.
            self._upstream_done = True
            self._end_tape(Ending.CUT)
            yield from self._carry_out(exchange.cut("server closed connection"))
        else:
            yield from self._carry_out(exchange.tick())

    def _record(self, event: events.Event) -> None:
        if isinstance(event, ResponseHeaders):
            self._tape = type(self).listen(self.flow)
        elif self._tape is None:
            return
        elif isinstance(event, ResponseData):
            self._tape.chunk(event.data)
        elif isinstance(event, ResponseEndOfMessage):
            self._end_tape(Ending.EOF)
        elif isinstance(event, ResponseProtocolError):
            self._end_tape(Ending.CUT)
        elif isinstance(event, RequestProtocolError):
            self._end_tape(Ending.CLIENT_LEFT)

    def _end_tape(self, ending: Ending) -> None:
        tape, self._tape = self._tape, None
        if tape is not None:
            tape.end(ending)

    def _is_awaited(self) -> bool:
        """Whether what comes, or fails to, is ours to tell: the whole request has come, and no foreign response."""
        waiting = self.server_state in (self.state_wait_for_response_headers, self.state_guard_response_body)
        return waiting and self.client_state == self.state_done and not self._over

    def _client_has_left(self) -> bool:
        """Whether a client that waited for a connection to upstream has gone, which also ends the attempt."""
        return any(isinstance(event, RequestProtocolError) for event in self._paused_event_queue)

    def _find(self) -> Exchange | None:
        if self._exchange is None:
            self._exchange = type(self).lookup(self.flow) if hasattr(self, "flow") else None
        return self._exchange

    def _arm(self) -> layer.CommandGenerator[None]:
        if not self._is_awaited() or (exchange := self._find()) is None:
            return
        left = exchange.seconds_left()
        sleep = TICK if left is None else min(max(left, 0.0), TICK)
        due = time.monotonic() + sleep
        if self._wakeup is None or due < self._awake_at - SLACK:
            # What is due now may come before what was awaited; the wake-up for that still comes, and does no harm.
            self._wakeup, self._awake_at = commands.RequestWakeup(sleep), due
            yield self._wakeup

    def _carry_out(self, actions: Sequence[Action]) -> layer.CommandGenerator[None]:
        for action in actions:
            match action:
                case Relay(data):
                    yield from self._relay(data)
                case Refuse():
                    yield from self._refuse(action)
                case End(data):
                    yield from self._relay(data)
                    yield from self._stop_upstream("the answer has ended")
                    yield from self.send_response(already_streamed=True)
                case Abort(message):
                    yield from self._abort(message)

    def _relay(self, data: bytes) -> layer.CommandGenerator[None]:
        response = self.flow.response
        assert response is not None  # noqa: S101 -- as the parent does
        if not self._headers_sent:
            self._headers_sent = True
            yield proxy_http.SendHttp(ResponseHeaders(self.stream_id, response, end_stream=False), self.context.client)
        if data:
            if getattr(self.context.options, "store_streamed_bodies", False):
                self.response_body_buf += data
            yield proxy_http.SendHttp(ResponseData(self.stream_id, data), self.context.client)

    def _refuse(self, refusal: Refuse) -> layer.CommandGenerator[None]:
        assert self._exchange is not None  # noqa: S101 -- as the parent does
        yield from self._stop_upstream(refusal.failure.verdict)
        self._exchange.refuse(refusal)
        yield from self.send_response()

    def _abort(self, message: str) -> layer.CommandGenerator[None]:
        yield from self._stop_upstream(message)
        error = ResponseProtocolError(self.stream_id, message, ResponseProtocolError.code)
        yield from super().handle_protocol_error(error)

    def _stop_upstream(self, why: str) -> layer.CommandGenerator[None]:
        self._over = True
        if self.flow.response is not None and self.response_body_buf:
            self.flow.response.data.content = bytes(self.response_body_buf)
            self.response_body_buf.clear()  # type: ignore[no-untyped-call]
        if not self._upstream_done:
            self._upstream_done = True
            cancel = RequestProtocolError(self.stream_id, why, _cancel_code())
            yield proxy_http.SendHttp(cancel, self.context.server)


def _is_from_upstream(event: events.Event) -> bool:
    return isinstance(
        event,
        ResponseHeaders | ResponseData | ResponseTrailers | ResponseEndOfMessage | ResponseProtocolError,
    )
