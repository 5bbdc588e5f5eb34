"""Recordings in which the provider says something else: nothing, an error, half a frame, no end.

Each function takes a recording and returns another; the one given is never changed. They raise `MutationError`
where they cannot be done. A compressed event stream is decoded first, and comes out without its content-encoding.
Frames are counted with the heartbeats, as `frames.split_frames` tells them apart.
"""

from __future__ import annotations

import re

from sseguard.dialects import Dialect, Kind, read
from sseguard.endpoints import find
from sseguard.recordings.recording import Chunk, Ending, Recording, shown
from sseguard.sse import BOM

from . import shapes
from .frames import Framed, framed, rewritten
from .shapes import Shape
from .surgery import (
    MutationError,
    body_of,
    decoded,
    is_event_stream,
    paced,
    shifted,
    split_at,
    with_body,
    with_headers,
)

#: How many heartbeats make an endless stream of them; what follows is silence on an open connection.
ENDLESS = 3600


def empty(recording: Recording) -> Recording:
    """The body ends as it should, without a byte."""
    return with_body(recording, (), end=Ending.EOF)


def html(recording: Recording) -> Recording:
    """The body is a web server's error page. Status and content-type stay as they are, which is the point."""
    at = _first_at(recording)
    plain = with_headers(recording, drop=("content-encoding",))
    return with_body(plain, (Chunk(at, shapes.HTML),), end=Ending.EOF, ended=at)


def done_only(recording: Recording) -> Recording:
    """All there is of the stream is `data: [DONE]`, when the last byte came."""
    stream = framed(recording)
    at = recording.chunks[-1].at if recording.chunks else recording.ended
    return with_body(stream.recording, (Chunk(at, _styled(shapes.DONE, stream)),), end=Ending.EOF)


def heartbeats_only(recording: Recording) -> Recording:
    """Each frame that is not a heartbeat becomes one; the stream ends as it should."""
    stream = framed(recording)
    if not stream.frames:
        raise MutationError("Expected a recording with frames to make heartbeats of, got none.")
    beat = _heartbeat(stream)
    frames = [frame if _is_heartbeat(frame) else beat for frame in stream.frames]
    return with_body(stream.recording, rewritten(stream, frames), end=Ending.EOF)


def heartbeats_first(recording: Recording, count: int, seconds: float = 1.0) -> Recording:
    """The stream begins with `count` heartbeats, `seconds` apart; all else is later by as much."""
    stream = framed(recording)
    chunks = stream.recording.chunks
    beats = paced(_heartbeat(stream), count, seconds)
    if beats and body_of(chunks).startswith(BOM):
        # A byte order mark is one at the very start only; further on it would hide a field's name.
        beats = (Chunk(0.0, BOM + beats[0].data), *beats[1:])
        _, chunks = split_at(chunks, len(BOM))
    wait = count * seconds
    return with_body(stream.recording, (*beats, *shifted(chunks, wait)), ended=recording.ended + wait)


def endless_heartbeats(recording: Recording, seconds: float = 1.0) -> Recording:
    """Nothing but heartbeats, `seconds` apart, and no end of them for as long as anybody waits.

    A recording cannot be endless. This one has `ENDLESS` heartbeats (an hour of them, one a second) and then ends as
    if its client had left: a player then keeps the connection open and says nothing more.
    """
    stream = framed(recording)
    beats = paced(_heartbeat(stream), ENDLESS, seconds)
    return with_body(stream.recording, beats, end=Ending.CLIENT_LEFT, ended=ENDLESS * seconds)


def malformed(recording: Recording, number: int | None = None) -> Recording:
    """Frame `number` (from 1) stops in the middle of its JSON, its blank line and all other frames stay.

    Without a number it is the first frame that holds JSON.
    """
    stream = framed(recording)
    halves = {index: half for index, frame in enumerate(stream.frames) if (half := _half(frame, stream)) is not None}
    index = min(halves, default=-1) if number is None else number - 1
    if index not in halves:
        some = ", ".join(str(i + 1) for i in list(halves)[:8]) or "none"
        got = "no number, and no such frame" if number is None else number
        raise MutationError(f"Expected the number of a frame that holds JSON ({some}), got {got}.")
    frames = [halves[i] if i == index else frame for i, frame in enumerate(stream.frames)]
    return with_body(stream.recording, rewritten(stream, frames))


def error(recording: Recording, shape: Shape | str, after: int = 0) -> Recording:
    """The provider reports an error after `after` frames, in the form of `shape`, and ends the stream."""
    form, stream = _shape(shape), framed(recording)
    dialect = _dialect(recording)
    if form is Shape.RESPONSE_FAILED and dialect not in (None, Dialect.RESPONSES):
        raise MutationError(
            f"Expected a recording of the Responses API for the shape {form}, got one of {dialect}: take another shape "
            f"out of {', '.join(shapes.SHAPES_OF[dialect])}."
        )
    before, _ = stream.split(after)
    closing = stream.closing if after == len(stream.frames) else b""
    at = before[-1].at if before else _first_at(stream.recording)
    frame = closing + _styled(shapes.error_frame(form, _model(recording), after), stream)
    return with_body(stream.recording, (*before, Chunk(at, frame)), end=Ending.EOF, ended=at)


def missing_finish(recording: Recording) -> Recording:
    """The stream ends as it should, but nothing in it says that the answer is complete.

    Finish and stop reasons become null; terminal events and `[DONE]` are left out.
    """
    stream = framed(recording)
    frames = [_unfinished(frame) for frame in stream.frames]
    return with_body(stream.recording, rewritten(stream, frames), end=Ending.EOF)


def json_padded(recording: Recording, count: int = 10, seconds: float = 1.0) -> Recording:
    """JSON in one piece, behind `count` runs of blanks, `seconds` apart.

    A JSON recording keeps its body. In place of an event stream comes a small answer as to a request for no stream,
    although status and content-type stay as they are.
    """
    plain = decoded(recording)
    chunks = plain.chunks
    if is_event_stream(plain):
        answer = shapes.json_answer(_dialect(plain) or Dialect.CHAT, _model(plain))
        chunks = (Chunk(plain.ended, answer),)
        plain = with_body(plain, chunks, end=Ending.EOF)
    wait = count * seconds
    padded = (*paced(shapes.BLANKS, count, seconds), *shifted(chunks, wait))
    return with_body(plain, padded, ended=plain.ended + wait)


def _dialect(recording: Recording) -> Dialect | None:
    endpoint = find(recording.request.url)
    return endpoint.dialect if endpoint else None


def _model(recording: Recording) -> str:
    body = recording.request.body
    model = body.get("model") if isinstance(body, dict) else None
    return model if isinstance(model, str) else "unknown"


def _first_at(recording: Recording) -> float:
    return recording.chunks[0].at if recording.chunks else recording.ended


def _styled(frame: bytes, stream: Framed) -> bytes:
    return frame.replace(b"\n", stream.line_end)


def _heartbeat(stream: Framed) -> bytes:
    """The stream's own heartbeat, or one as its provider sends it."""
    own = next(filter(_is_heartbeat, stream.frames[:-1]), None)
    if own is not None:
        return own.removeprefix(BOM).lstrip(b"\r\n")
    dialect = _dialect(stream.recording) or Dialect.CHAT
    return _styled(shapes.heartbeat(dialect, stream.recording.request.url), stream)


def _is_heartbeat(frame: bytes) -> bool:
    # A heartbeat is the same in every dialect.
    return read(_block(frame), Dialect.CHAT).kind is Kind.HEARTBEAT


def _block(frame: bytes) -> bytes:
    return b"\n".join(filter(None, frame.removeprefix(BOM).splitlines()))


_VALUE = re.compile(rb"(?:^|(?<=[\r\n])|(?<=^\xef\xbb\xbf))data:[ \t]*(?P<value>(?!\[DONE\])[{\[][^\r\n]*)")


def _half(frame: bytes, stream: Framed) -> bytes | None:
    """The frame with half of its JSON, None if it holds no object or list."""
    match = _VALUE.search(frame)
    if match is None:
        return None
    blank = frame[len(frame.rstrip(b"\r\n")) :] or stream.line_end * 2
    return frame[: match.start("value") + max(len(match["value"]) // 2, 1)] + blank


# Quotes inside a JSON string carry backslashes, so no text can look like one of these members.
_REASON = re.compile(
    rb'("(?:(?:native_)?finish_reason|stop_reason|finishReason|blockReason)"\s*:\s*)"(?:[^"\\\r\n]|\\.)*"'
)


def _unfinished(frame: bytes) -> bytes:
    """The frame without what marks the end of an answer, in any dialect; empty if it says nothing else."""
    text = _REASON.sub(rb"\1null", frame)
    block = _block(text)
    found = (read(block, dialect) for dialect in Dialect)
    return b"" if any(each.final and each.kind is not Kind.ERROR for each in found) else text


def _shape(value: str) -> Shape:
    try:
        return Shape(value)
    except ValueError:
        raise MutationError(f"Expected a shape out of {', '.join(Shape)}, got {shown(value)}.") from None
