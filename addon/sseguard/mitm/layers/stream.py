"""A stream that can hold its response headers back.

mitmproxy sends the headers of a streamed response before the first body byte, and no hook can hold them. So an
`HttpStream` of our own stands in for mitmproxy's. It differs for exchanges that are guarded and for nothing else:

- Body bytes go to the exchange, and what it answers is carried out: relay (headers first), refuse, end, abort.
- An upstream that breaks or cannot be reached is told to the exchange before it becomes mitmproxy's own error.
- A tape, if the exchange has one, hears what came from upstream and how it ended, after it was relayed.
- The exchange gets a wake-up at its deadline, and every few seconds in any case: a wake-up cannot be taken back, so a
  long one would keep the stream in memory long after its end.

Once the answer is on its way, a chunk takes a short cut: past mitmproxy's own states, and for a client of HTTP/1 past
the layer that would put a frame around it. What the client gets is the same, byte for byte, for half of the work.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Protocol

from mitmproxy import http
from mitmproxy.connection import ConnectionState
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

from .http1 import Burst

#: The longest sleep between two looks at the clock, in seconds. Where no time is running out, each sleep may be twice
#: as long as the one before, up to the second figure.
TICK, LONGEST_TICK = 1.0, 4.0

#: How late a look may be before a wake-up of its own is worth it, in seconds.
SLACK = 0.005


#: What a client of HTTP/1 may have agreed on with TLS; without TLS, there is nothing to agree on.
_HTTP_1 = (None, b"", b"http/1.1", b"http/1.0")


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

    @property
    def deadline(self) -> float:
        """When `tick` is due, on the monotonic clock; infinity if nothing is awaited."""

    def refuse(self, refusal: Refuse) -> None:
        """Put the error response into the flow, in place of what is there."""


class Tape(Protocol):
    """Takes down what comes from upstream, guarded or not."""

    def chunk(self, data: bytes) -> None:
        """Body bytes have come."""

    def end(self, ending: Ending) -> None:
        """Nothing more comes. Called once."""


def _cancel_code() -> Any:
    """The error code for an upstream that is not wanted any more; a status number before mitmproxy 12."""
    codes = getattr(proxy_http, "ErrorCode", None)
    return codes.CANCEL if codes is not None else 499


class GuardedHttpStream(proxy_http.HttpStream):
    """mitmproxy's `HttpStream`, except where an exchange is guarded."""

    lookup: ClassVar[Callable[[http.HTTPFlow], Exchange | None]]
    listen: ClassVar[Callable[[http.HTTPFlow], Tape | None]]

    _exchange: Exchange | None = None
    _tape: Tape | None = None
    _wakeup: commands.RequestWakeup | None = None  # that is awaited
    _tick = TICK  # how long the next sleep may be
    _awake_at = math.inf  # when it comes, on the monotonic clock
    _headers_sent = False
    _chunked = False  # as the client gets it
    _upstream_done = False
    _over = False  # answered by us: what upstream still says is of no interest

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        if isinstance(event, ResponseData) and self._flows():
            yield from self._pass_on(event.chunks if isinstance(event, Burst) else (event.data,))
        elif isinstance(event, Burst):
            yield from self._take_apart(event)
        else:
            yield from self._take(event)
        yield from self._arm()

    def _take(self, event: events.Event) -> layer.CommandGenerator[None]:
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

    def _take_apart(self, burst: Burst) -> layer.CommandGenerator[None]:
        for index, chunk in enumerate(burst.chunks):
            if self._flows():
                yield from self._pass_on(burst.chunks[index:])
                return
            yield from self._take(ResponseData(self.stream_id, chunk))

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
            if not self._client_speaks_http1():  # to HTTP/1, mitmproxy cannot send any
                self.flow.response.trailers = event.trailers
        elif isinstance(event, ResponseEndOfMessage):
            self._upstream_done = True
            if self.context.server.state is ConnectionState.CAN_WRITE:
                # The body ended with its connection, which mitmproxy would keep, as the client's can go on.
                yield commands.CloseConnection(self.context.server)
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
            yield from self._carry_out(exchange.cut("server closed connection"))
            self._end_tape(Ending.CUT)
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
        exchange = self._exchange
        if exchange is not None and self._wakeup is not None and exchange.deadline >= self._awake_at - SLACK:
            return
        if not self._is_awaited() or (exchange := self._find()) is None:
            return
        now, due = time.monotonic(), exchange.deadline
        if due < math.inf:
            self._tick = TICK
        # What is due now may come before what was awaited; the wake-up for that still comes, and does no harm.
        self._awake_at = min(max(due, now), now + self._tick)
        self._tick = min(2 * self._tick, LONGEST_TICK)
        self._wakeup = commands.RequestWakeup(self._awake_at - now)
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
            self._chunked = "chunked" in response.headers.get("transfer-encoding", "").lower()
            yield proxy_http.SendHttp(ResponseHeaders(self.stream_id, response, end_stream=False), self.context.client)
        if data:
            yield self._send((data,))

    def _flows(self) -> bool:
        """Whether the answer is on its way, so that a chunk is most often just passed on."""
        return self._headers_sent and not self._over and self.server_state == self.state_guard_response_body

    def _pass_on(self, chunks: Sequence[bytes]) -> layer.CommandGenerator[None]:
        assert self._exchange is not None  # noqa: S101 -- as the parent does
        relayed: list[bytes] = []
        last: Sequence[Action] = ()
        heard = 0
        for chunk in chunks:
            heard += 1
            actions = self._exchange.feed(chunk)
            relays = [action.data for action in actions if isinstance(action, Relay)]
            if len(relays) < len(actions):
                last = actions
                break
            relayed += relays
        if relayed:
            yield self._send(relayed)
        yield from self._carry_out(last)
        if self._tape is not None:
            for chunk in chunks[:heard]:
                self._tape.chunk(chunk)
        if self._over:
            self._end_tape(Ending.CLIENT_LEFT)

    def _send(self, chunks: Sequence[bytes]) -> commands.Command:
        """What sends body bytes to the client, each chunk of them as one."""
        if getattr(self.context.options, "store_streamed_bodies", False):
            self.response_body_buf += b"".join(chunks)
        if not self._client_speaks_http1():
            return proxy_http.SendHttp(ResponseData(self.stream_id, b"".join(chunks)), self.context.client)
        # As mitmproxy's `Http1Server` would, which is spared the trouble.
        framed = [b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks] if self._chunked else chunks
        return commands.SendData(self.context.client, b"".join(framed))

    def _client_speaks_http1(self) -> bool:
        return self.context.client.alpn in _HTTP_1 and not self.flow.is_replay

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
