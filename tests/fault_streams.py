"""Short streams of each API, and what has to come of them when they stop at a byte: as plainly as it can be said."""

from __future__ import annotations

import enum
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from harness.apis import ANTHROPIC, CHAT, GEMINI, RESPONSES, Api
from harness.codings import encoded
from harness.streams import DONE, data, event


class Role(enum.Enum):
    """What a frame is to an answer."""

    BEAT = enum.auto()
    PREAMBLE = enum.auto()
    ANSWER = enum.auto()
    END = enum.auto()


class Fate(enum.Enum):
    """What becomes of a stream behind its last byte."""

    ENDED = enum.auto()
    CUT = enum.auto()
    SILENT = enum.auto()


@dataclass(frozen=True)
class Frame:
    role: Role
    text: bytes

    def is_told_by(self, start: bytes) -> bool:
        """Whether `start` lacks at most the blank line."""
        return len(start) >= len(self.text) - 2


@dataclass(frozen=True)
class Stream:
    """A healthy stream."""

    api: Api
    frames: tuple[Frame, ...]

    def __str__(self) -> str:
        return self.api.name

    def body(self, coding: str) -> list[bytes]:
        """The frames, each flushed, and what ends the coding."""
        return encoded(coding, *(frame.text for frame in self.frames))


def _candidate(**said: object) -> bytes:
    return data({"candidates": [said]})


def _choice(**said: object) -> bytes:
    return data({"choices": [said]})


_BEAT = Frame(Role.BEAT, b": WAIT\n\n")

STREAMS = (
    Stream(
        CHAT,
        (
            _BEAT,
            Frame(Role.ANSWER, _choice(delta={"content": "Hi"})),
            Frame(Role.END, _choice(delta={}, finish_reason="stop")),
            Frame(Role.END, DONE),
        ),
    ),
    Stream(
        RESPONSES,
        (
            _BEAT,
            Frame(Role.ANSWER, event("response.output_text.delta", delta="Hi")),
            Frame(Role.END, event("response.completed", response={})),
        ),
    ),
    Stream(
        ANTHROPIC,
        (
            Frame(Role.BEAT, event("ping")),
            Frame(Role.PREAMBLE, event("message_start", message={})),
            Frame(Role.ANSWER, event("content_block_delta", delta={"text": "Hi"})),
            Frame(Role.END, event("message_stop")),
        ),
    ),
    Stream(
        GEMINI,
        (
            _BEAT,
            Frame(Role.ANSWER, _candidate(content={"parts": [{"text": "Hi"}]})),
            Frame(Role.END, _candidate(finishReason="STOP")),
        ),
    ),
)


@dataclass(frozen=True)
class Expected:
    """What a client gets.

    Attributes:
        status: 200, or that of an error in JSON.
        verdict: in the flow, in the headers of an error, and in its body.
        body: what stands before an error frame; of no meaning in an error.
        told: whether there is an error frame.
        whole: whether the response ends as HTTP has it.
    """

    status: int
    verdict: str
    body: bytes = b""
    told: bool = False
    whole: bool = True


def expected(stream: Stream, coding: str, sent: bytes, fate: Fate) -> Expected:
    """What comes of `stream`, of whose body so much was `sent`."""
    whole, rest, under_way = _read(stream, _decoded(coding, sent))
    told = under_way if under_way and under_way.is_told_by(rest) else None
    roles = {frame.role for frame in whole}
    all_roles = roles | {told.role} if told else roles
    settled = Role.END in all_roles
    if fate is Fate.ENDED:
        if all_roles & {Role.ANSWER, Role.END}:
            return Expected(200, "answered" if settled else "truncated", sent)
        return Expected(502, _silence(all_roles, b"" if told else rest))
    if Role.ANSWER not in roles:
        return Expected(502, "cut") if fate is Fate.CUT else Expected(504, "timed_out")
    verdict = "answered" if settled else "cut_late" if fate is Fate.CUT else "timed_out_late"
    if coding != "identity":
        return Expected(200, verdict, sent, whole=False)
    body = b"".join(frame.text for frame in whole) + (told.text if told else b"")
    return Expected(200, verdict, body, told=not settled)


def verdict_on_leaving(stream: Stream, coding: str, sent: bytes) -> str:
    """The verdict when the client leaves a stream of whose body so much was `sent`."""
    whole, _, _ = _read(stream, _decoded(coding, sent))
    return "answered" if any(frame.role is Role.END for frame in whole) else "client_left"


def _decoded(coding: str, sent: bytes) -> bytes:
    return sent if coding == "identity" else zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(sent)


def _read(stream: Stream, text: bytes) -> tuple[list[Frame], bytes, Frame | None]:
    """The whole frames, the start of the one under way, and that."""
    whole: list[Frame] = []
    for frame in stream.frames:
        if not text.startswith(frame.text):
            assert frame.text.startswith(text)
            return whole, text, frame if text else None
        whole.append(frame)
        text = text.removeprefix(frame.text)
    return whole, b"", None


def _silence(roles: set[Role], rest: bytes) -> str:
    """The verdict on a stream that ended before the answer, with `rest` of a frame that was not told."""
    fields = {name: value for name, _, value in (line.partition(b":") for line in rest.splitlines())}
    if fields and not fields.keys() & {b"", b"event", b"data"}:
        return "malformed"
    if fields.get(b"data", b"").strip() and fields.get(b"event") != b" ping":
        return "malformed"
    if Role.PREAMBLE in roles:
        return "preamble_only"
    return "heartbeats_only" if roles or rest else "empty"


# As bytes on an HTTP/1.1 connection


def wire(stream: Stream, coding: str) -> tuple[bytes, bytes]:
    """Headers, and a body with a chunk a frame."""
    said = "" if coding == "identity" else f"content-encoding: {coding}\r\n"
    head = f"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n{said}\r\n".encode()
    return head, b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (*stream.body(coding), b""))


def bodies(stream: Stream, coding: str) -> Iterator[bytes]:
    """For each number of bytes of the wire's body, what of the stream is in them."""
    seen = b""
    yield seen
    for piece in stream.body(coding):
        yield from [seen] * len(b"%x\r\n" % len(piece))
        for byte in piece:
            seen += bytes([byte])
            yield seen
        yield from [seen] * 2
    yield from [seen] * len(b"0\r\n\r\n")
