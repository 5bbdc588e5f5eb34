"""One client of the player: h11 reads its requests, timers on the event loop play the recordings.

Chunks are due at absolute times, counted from when the headers are written, so lateness never adds up. Each is one
HTTP chunk and one write (asyncio sets TCP_NODELAY). Nothing is written while the client does not read, so no more
than one chunk per client waits in memory.

A cut is a real TCP reset: a close with SO_LINGER at zero. That throws away what the kernel still has to send, so it
waits until the peer's kernel has acknowledged every byte. On Linux and macOS acknowledged bytes stay readable after
the reset. Programs that read ahead, like asyncio's `StreamReader`, drop what they hold when a reset arrives, so a
reset also stays `RESET_PAUSE` behind the last byte. TCP has no way to see more than that from here.
"""

from __future__ import annotations

import asyncio
import enum
import logging
import os
import socket
import struct
import sys
from typing import TYPE_CHECKING, cast

import h11

from .framing import Received, reason_phrase, refusal, response_headers, without_body
from .recording import Ending, shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from .recording import Recording

#: Bytes of a request's body; more is answered with 413.
MAX_BODY = 64 * 1024 * 1024

#: Bytes of a request's head; more is answered with 431.
MAX_HEAD = 64 * 1024

#: Seconds at least from the delivery of the last byte to a reset.
RESET_PAUSE = 0.02

#: Seconds, and bytes, for which a client may go on sending after the last answer on a connection.
LINGER_SECONDS = 2.0
LINGER_BYTES = 4 * MAX_BODY

#: Bytes of further requests that are read while one is being answered.
_READ_AHEAD = 64 * 1024

#: Chunks written in a row before other clients have their turn.
_TURN = 32

logger = logging.getLogger(__name__)


class _Stage(enum.Enum):
    #: Waiting for a request, or the rest of one.
    READING = enum.auto()
    #: A response is under way.
    PLAYING = enum.auto()
    #: The recorded client left at this point. What came next is not known, so nothing does until this one leaves.
    SILENT = enum.auto()
    #: To be reset when all is delivered.
    RESETTING = enum.auto()
    #: The last answer is written. What still comes in is thrown away, because a close with unread data would be a
    #: reset and could take the answer with it.
    LINGERING = enum.auto()


class Connection(asyncio.Protocol):
    """Plays what `answer` (which must not raise) returns for each request.

    `speed` is recorded seconds per second, 0 for no pacing. `opened` and `closed` are told of this connection.
    """

    _transport: asyncio.Transport

    def __init__(
        self,
        answer: Callable[[Received], Recording],
        speed: float,
        opened: Callable[[Connection], None],
        closed: Callable[[Connection], None],
    ) -> None:
        self._answer = answer
        self._speed = speed
        self._opened = opened
        self._closed = closed
        self._loop = asyncio.get_running_loop()
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
        self._stage = _Stage.READING
        self._request: h11.Request | None = None
        self._body = bytearray()
        self._recording: Recording | None = None
        self._played = 0
        self._began = 0.0
        self._blocked = False
        self._timer: asyncio.Handle | None = None
        self._discarded = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        # Told as soon as the kernel takes no more, not 64 KiB later. At 0, TLS would pause with nothing to resume.
        self._transport.set_write_buffer_limits(high=1)
        self._opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        logger.debug("Client gone: %r", exc)
        self._schedule(None)
        self._closed(self)

    def abort(self) -> None:
        """Drop the client at once."""
        self._transport.abort()

    def pause_writing(self) -> None:
        self._blocked = True

    def resume_writing(self) -> None:
        self._blocked = False
        if self._stage is _Stage.PLAYING:
            # Not at once: a TLS transport calls this from inside `write`.
            self._schedule(self._loop.call_soon(self._tick))

    def data_received(self, data: bytes) -> None:
        if self._stage is _Stage.LINGERING:
            self._discard(len(data))
            return
        self._http.receive_data(data)
        if self._stage is _Stage.READING:
            self._read()
        elif len(self._http.trailing_data[0]) > _READ_AHEAD:
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        """Take a half-close for the client's leaving, as other servers do: HTTP clients do not half-close."""
        if self._stage not in (_Stage.READING, _Stage.LINGERING):
            self.abort()
        return False

    def _read(self) -> None:
        while self._stage is _Stage.READING:
            try:
                event = self._http.next_event()
            except (h11.RemoteProtocolError, ValueError) as error:
                # The ValueError is h11 0.14's, for a Content-Length of more digits than Python reads.
                message = f"Expected an HTTP/1.1 request, got something else: {shown(str(error), 200)}."
                self._refuse(getattr(error, "error_status_hint", 400), "invalid_request_error", message)
            else:
                if not self._take(event):
                    return

    def _take(self, event: object) -> bool:
        """Deal with one event of h11's; true if there may be another."""
        match event:
            case h11.Request():
                self._request = event
                self._body.clear()
                return self._fits(_declared_length(event))
            case h11.Data():
                self._body += event.data
                return self._fits(len(self._body))
            case h11.EndOfMessage():
                self._play(self._answer(self._received()))
                return False
            case _:
                if self._http.they_are_waiting_for_100_continue:
                    self._write(h11.InformationalResponse(status_code=100, headers=[]))
                return False

    def _fits(self, size: int) -> bool:
        if size <= MAX_BODY:
            return True
        self._refuse(413, "request_too_large", f"Expected a body of {MAX_BODY} bytes at most, got {size} or more.")
        return False

    def _refuse(self, status: int, kind: str, message: str) -> None:
        logger.warning(message)
        self._play(refusal(status, kind, message))

    def _received(self) -> Received:
        request = cast("h11.Request", self._request)
        headers = tuple((_text(name), _text(value)) for name, value in request.headers.raw_items())
        return Received(_text(request.method), _text(request.target), headers, bytes(self._body))

    def _play(self, recording: Recording) -> None:
        self._stage = _Stage.PLAYING
        method = "GET" if self._request is None else _text(self._request.method)
        headers = response_headers(recording, method)
        if self._http.their_state is not h11.DONE:
            headers.append((b"connection", b"close"))
        status = recording.response.status
        try:
            head = h11.Response(status_code=status, headers=headers, reason=reason_phrase(status).encode("ascii"))
        except h11.LocalProtocolError as error:
            self._play(_unplayable(recording, error))
            return
        self._write(head)
        bodiless = method == "HEAD" or status in (204, 304)
        self._recording = without_body(recording) if bodiless else recording
        self._played = 0
        self._began = self._loop.time()
        self._schedule(self._loop.call_soon(self._tick))

    def _tick(self) -> None:
        """Write what is due, then set the timer for what comes next."""
        self._timer = None
        recording = cast("Recording", self._recording)
        for _ in range(_TURN):
            if self._blocked or self._transport.is_closing():
                return
            if self._played == len(recording.chunks):
                self._end(recording)
                return
            chunk = recording.chunks[self._played]
            if self._waits(chunk.at):
                return
            self._played += 1
            self._write(h11.Data(data=chunk.data))
        self._schedule(self._loop.call_soon(self._tick))

    def _end(self, recording: Recording) -> None:
        match recording.end:
            case Ending.EOF:
                if not self._waits(recording.ended):
                    self._finish()
            case Ending.CUT:
                if not self._waits(recording.ended, RESET_PAUSE):
                    self._stage = _Stage.RESETTING
                    self._reset(delivered=False)
            case Ending.CLIENT_LEFT:
                self._stage = _Stage.SILENT

    def _waits(self, at: float, ahead: float = 0.0) -> bool:
        """Whether it is too early for what was recorded `at`; then the timer is set for it, `ahead` seconds early."""
        due = self._began + (at / self._speed if self._speed else 0.0) - ahead
        if due <= self._loop.time():
            return False
        self._schedule(self._loop.call_at(due, self._tick))
        return True

    def _finish(self) -> None:
        self._write(h11.EndOfMessage())
        if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            self._linger()
            return
        self._http.start_next_cycle()
        self._request = None
        self._recording = None
        self._stage = _Stage.READING
        self._transport.resume_reading()
        self._read()

    def _linger(self) -> None:
        self._stage = _Stage.LINGERING
        if not self._transport.can_write_eof():
            self._transport.close()
            return
        self._transport.write_eof()
        self._transport.resume_reading()
        self._schedule(self._loop.call_later(LINGER_SECONDS, self.abort))

    def _discard(self, size: int) -> None:
        self._discarded += size
        if self._discarded > LINGER_BYTES:
            self.abort()

    def _reset(self, *, delivered: bool) -> None:
        """Reset once everything has been delivered twice in a row, `RESET_PAUSE` apart."""
        sock: socket.socket = self._transport.get_extra_info("socket")
        if self._transport.get_write_buffer_size() or _undelivered(sock):
            again = self._loop.call_later(RESET_PAUSE, lambda: self._reset(delivered=False))
        elif not delivered:
            again = self._loop.call_later(RESET_PAUSE, lambda: self._reset(delivered=True))
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
            self.abort()
            return
        self._schedule(again)

    def _write(self, event: h11.Event) -> None:
        # An empty chunk would be the end of the body; h11 makes nothing of it.
        if data := self._http.send(event):
            self._transport.write(data)

    def _schedule(self, timer: asyncio.Handle | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = timer


# struct linger, on and for 0 seconds.
_LINGER_ZERO = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)

if sys.platform == "linux":
    import fcntl
    import termios

    def _undelivered(sock: socket.socket) -> int:
        """Bytes that the peer's kernel has not acknowledged: SIOCOUTQ, tcp(7)."""
        return int.from_bytes(fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4)), sys.byteorder)

elif sys.platform == "darwin":

    def _undelivered(sock: socket.socket) -> int:
        """Bytes in the send buffer, where they stay until acknowledged: SO_NWRITE, getsockopt(2)."""
        return sock.getsockopt(socket.SOL_SOCKET, 0x1024)

else:

    def _undelivered(sock: socket.socket) -> int:
        """Not known elsewhere; over loopback what the kernel took is delivered within `RESET_PAUSE`."""
        return 0


def _declared_length(request: h11.Request) -> int:
    return next((int(value) for name, value in request.headers if name == b"content-length"), 0)


def _unplayable(recording: Recording, error: h11.LocalProtocolError) -> Recording:
    message = f"Expected a response that HTTP can carry in {recording.name or 'the recording'}, got: {error}."
    logger.error(message)
    return refusal(500, "server_error", message)


def _text(data: bytes) -> str:
    return data.decode("latin-1")
