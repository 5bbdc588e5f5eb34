"""The state machine of a guarded exchange: hold, release, refuse, end.

                 opened                first answer frame, or
                 (2xx, event stream)   the hold has run out
    WAITING ────────────────> HOLDING ───────────────────> RELAYING
       │                        │                             │
       │ cut, deadline          │ end, cut, deadline,         │ end, cut, deadline,
       │                        │ error, malformed, done      │ error before an answer
       v                        v                             v
      OVER <──────────────── OVER: Refuse                  OVER: End or Abort

Until RELAYING nothing has reached the client, and a failure is a `Refuse`: a response with a real status. From then
on, what is relayed ends at a safe point of the stream (see `sse`), so that a failure can be told by an error frame,
with a clean `End` behind it. Where no frame can be put (inside a compressed body, or behind half a frame that was too
large to keep back), the stream ends in an `Abort`, as upstream's did.

Time is an argument everywhere: seconds on any clock that does not go back. The owner of a gate calls `tick` when
`deadline` has come; nothing here waits.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from .codings import CodingError, Decoder
from .dialects import Dialect
from .errors import Evidence, Failure, failure, frame
from .outlet import Outlet
from .reader import MAX_BLOCK, Reader, Stop
from .verdicts import Verdict

if TYPE_CHECKING:
    from .provider_error import ProviderError


@dataclass(frozen=True, slots=True)
class Limits:
    """How long to hold and to wait.

    Attributes:
        hold_seconds: how long to hold the response headers; 0 holds nothing back.
        hold_bytes: how much of a body to hold; also the largest frame that is kept back until it is complete.
        answer_timeout: seconds from the request's end to the first answer frame; 0 waits for ever.
        idle_timeout: seconds of silence after the answer began; 0 waits for ever.
        truncated_is_error: tell a client that the end mark is missing.
        strip_comments: decode the body and leave the comments out.
    """

    hold_seconds: float = 60.0
    hold_bytes: int = 1 << 20
    answer_timeout: float = 0.0
    idle_timeout: float = 0.0
    truncated_is_error: bool = False
    strip_comments: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """The API call that is guarded, as far as its stream depends on it.

    Attributes:
        dialect: how to read the frames, and how to word errors.
        model, host: for the evidence; empty when unknown.
        streaming: whether a stream is asked for; if not, nothing is awaited before the response headers.
        choices: how many choices (`n`); so many finish reasons make an answer complete.
    """

    dialect: Dialect
    model: str = ""
    host: str = ""
    streaming: bool = True
    choices: int = 1


@dataclass(frozen=True, slots=True)
class Relay:
    """Send these body bytes on; before the first of them, the response headers."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Refuse:
    """Answer with this failure in place of the response. Upstream is of no use any more."""

    failure: Failure


@dataclass(frozen=True, slots=True)
class End:
    """Send these last bytes and end the response cleanly. Upstream is of no use any more."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Abort:
    """Break the response off, as no error can be told inside it."""

    message: str


Action: TypeAlias = Relay | Refuse | End | Abort


class State(enum.Enum):
    """Where an exchange stands; see the picture above."""

    #: The request is sent, no response headers have come.
    WAITING = enum.auto()
    #: Headers have come and are held, with all of the body so far.
    HOLDING = enum.auto()
    #: Headers are sent.
    RELAYING = enum.auto()
    #: The verdict is there; nothing more is done.
    OVER = enum.auto()


class Gate:
    """One guarded exchange.

    Args:
        call: the API call.
        limits: how long to hold and to wait.
        now: the time at which the request was complete, in seconds.

    Raises nothing for anything that upstream may send.
    """

    __slots__ = ("_decoder", "_hold_until", "_last_byte", "_outlet", "_reader", "_started", "call", "ended",
                 "failure", "first_answer", "first_byte", "headers_at", "limits", "request_id", "size", "state",
                 "verdict")  # fmt: skip

    def __init__(self, call: Call, limits: Limits, now: float) -> None:
        self.call = call
        self.state = State.WAITING
        #: How the exchange ended, once it has.
        self.verdict: Verdict | None = None
        #: What the client was told, if anything.
        self.failure: Failure | None = None
        self.request_id: str | None = None
        #: Body bytes from upstream.
        self.size = 0
        #: When things happened, in seconds since the request was complete.
        self.headers_at: float | None = None
        self.first_byte: float | None = None
        self.first_answer: float | None = None
        self.ended: float | None = None

        self.limits = limits
        self._started = now
        self._hold_until = math.inf
        self._last_byte = now
        self._decoder: Decoder | None = None
        self._reader = Reader(call.dialect, call.choices, max(limits.hold_bytes, MAX_BLOCK))
        self._outlet = Outlet(limits.hold_bytes)

    @property
    def heartbeats(self) -> int:
        """Comments, pings and events without data so far."""
        return self._reader.heartbeats

    @property
    def events(self) -> int:
        """Blocks with data so far, pings not counted."""
        return self._reader.events

    @property
    def released(self) -> bool:
        """Whether the headers went out, so that a failure was told in-band."""
        return self._reader.released

    @property
    def _is_settled(self) -> bool:
        """Whether the client knows how it went: the end mark has come, or the provider's own error."""
        return self._reader.complete or self._reader.error is not None

    @property
    def deadline(self) -> float | None:
        """When `tick` is due, or None while nothing is awaited."""
        if self.state is State.OVER or (self.state is State.WAITING and not self.call.streaming):
            return None
        due = self._hold_until if self.state is State.HOLDING else math.inf
        if not self._reader.answered and self.limits.answer_timeout:
            due = min(due, self._started + self.limits.answer_timeout)
        if self._reader.answered and self.limits.idle_timeout:
            due = min(due, self._last_byte + self.limits.idle_timeout)
        return None if due == math.inf else due

    def evidence(self, now: float) -> Evidence:
        """What was seen until `now`."""
        return Evidence(
            heartbeats=self.heartbeats,
            events=self.events,
            bytes=self.size,
            seconds=now - self._started,
            model=self.call.model,
            host=self.call.host,
            request_id=self.request_id,
        )

    def opened(self, decoder: Decoder, now: float, *, request_id: str | None = None, held: bool = True) -> None:
        """Response headers of an event stream have come; `held` is false where they cannot be held back."""
        if self.state is State.OVER:
            return
        self.state = State.HOLDING if held else State.RELAYING
        self._reader.released = not held
        self.request_id = request_id
        self.headers_at = now - self._started
        self._hold_until = now + self.limits.hold_seconds
        if not decoder.is_identity:
            self._decoder = decoder
            self._outlet.aligned = self.limits.strip_comments
        if self.limits.strip_comments:
            self._outlet.strip_comments()

    def feed(self, chunk: bytes, now: float) -> list[Action]:
        """A piece of the body has come, still in its content coding."""
        if self.state is State.OVER or not chunk:
            return []
        self.size += len(chunk)
        self._last_byte = now
        if self.first_byte is None:
            self.first_byte = now - self._started
        text = chunk
        if self._decoder is not None:
            try:
                text = self._decoder.feed(chunk)
            except CodingError as e:
                self._decoder.give_up()
                return self._undecodable(chunk, str(e), now)
        if (stop := self._judge(self._reader.feed(text), now)) is not None:
            return stop
        return self._let_through(text if self._outlet.aligned else chunk)

    def end(self, now: float) -> list[Action]:
        """The body has ended as it should."""
        if self.state is State.OVER:
            return []
        if (stop := self._judge(self._reader.finish(), now)) is not None:
            return stop
        if not self._reader.answered:
            return self._fail(self._reader.silence, now)
        can_tell = self.state is State.HOLDING or self._outlet.takes_frames
        if not self._is_settled and self.limits.truncated_is_error and can_tell:
            return self._fail(Verdict.TRUNCATED, now)
        verdict = Verdict.ANSWERED if self._is_settled else Verdict.TRUNCATED
        return [End(self._outlet.take_all()), *self._over(verdict, now)]

    def cut(self, message: str, now: float) -> list[Action]:
        """Upstream broke, or could not be reached; `message` says how."""
        if self.state is State.OVER:
            return []
        if (stop := self._reader.finish_whole_frame()) is not None:
            return self._judge(stop, now) or []
        late = self._reader.answered and self.state is State.RELAYING
        if self._is_settled and (late or self._outlet.takes_frames):
            return self._settle(message, now)
        return self._fail(Verdict.CUT_LATE if late else Verdict.CUT, now, excerpt=message)

    def left(self, now: float) -> None:
        """The client has gone, which is no failure when the answer was complete."""
        if self.state is not State.OVER:
            self._over(Verdict.ANSWERED if self._is_settled else Verdict.CLIENT_LEFT, now)

    def block(self, failure: Failure) -> None:
        """The request is not to be sent at all."""
        self.failure = failure
        self._over(failure.verdict, self._started)

    def tick(self, now: float) -> list[Action]:
        """Time has passed; does nothing before `deadline`."""
        if self.deadline is None or now < self.deadline:
            return []
        if self._reader.answered:
            self._reader.finish_whole_frame()
            settled = self._is_settled
            return self._settle("silence after the end", now) if settled else self._fail(Verdict.TIMED_OUT_LATE, now)
        if self.limits.answer_timeout and now >= self._started + self.limits.answer_timeout:
            return self._fail(Verdict.TIMED_OUT, now)
        return self._release()

    # Reading

    def _judge(self, stop: Stop | None, now: float) -> list[Action] | None:
        if stop is not None:
            return self._fail(stop.verdict, now, provider_error=stop.provider_error, excerpt=stop.excerpt)
        if self.first_answer is None and self._reader.answered and self._reader.error is None:
            self.first_answer = now - self._started
        return None

    def _undecodable(self, chunk: bytes, message: str, now: float) -> list[Action]:
        """The body is not coded as it claims, or it is a bomb."""
        if not self._reader.answered:
            return self._fail(Verdict.MALFORMED, now, excerpt=message)
        if self._outlet.aligned:
            return self._fail(Verdict.CUT_LATE, now, excerpt=message)
        # What cannot be read is passed on unread: the client may know better.
        return self._let_through(chunk)

    # Relaying

    def _let_through(self, data: bytes) -> list[Action]:
        if self.state is State.HOLDING:
            self._outlet.put(data)
            over = self._outlet.is_over_limit or self.limits.hold_seconds <= 0
            return self._release() if self._reader.answered or over else []
        data = self._outlet.pass_on(data, self._reader.pending)
        return [Relay(data)] if data else []

    def _release(self) -> list[Action]:
        self.state = State.RELAYING
        self._reader.released = True
        return [Relay(self._outlet.take(self._reader.pending))]

    def _take_whole(self) -> bytes:
        return self._outlet.take_whole(self._reader.pending, complete=self._reader.ends_in_whole_frame)

    # Ending

    def _settle(self, message: str, now: float) -> list[Action]:
        """All of the answer has come: how the connection ends changes nothing for the client."""
        last = End(self._take_whole()) if self._outlet.takes_frames else Abort(message)
        return [last, *self._over(Verdict.ANSWERED, now)]

    def _fail(
        self, verdict: Verdict, now: float, *, provider_error: ProviderError | None = None, excerpt: str = ""
    ) -> list[Action]:
        self.failure = failure(verdict, provider_error=provider_error, excerpt=excerpt)
        if self.state is not State.RELAYING:
            action: Action = Refuse(self.failure)
        elif self._outlet.takes_frames:
            # Nothing but an answer is worth keeping, and a `[DONE]` would hide the error behind it.
            before = self._take_whole() if self._reader.answered else b""
            action = End(before + frame(self.call.dialect, self.failure, self.evidence(now)))
        else:
            action = Abort(excerpt or self.failure.message)
        return [action, *self._over(verdict, now)]

    def _over(self, verdict: Verdict, now: float) -> list[Action]:
        self.state = State.OVER
        self._outlet.drop()
        self.verdict = self._reader.error or verdict
        self.ended = now - self._started
        return []
