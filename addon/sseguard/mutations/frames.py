"""Event streams by their frames: what mutations count, replace and cut between."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

from sseguard.recordings.recording import Chunk, Recording, shown
from sseguard.sse import BOM, BlockSplitter

from .surgery import Chunks, MutationError, body_of, decoded, is_event_stream, media_type, split_at

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Framed:
    """An event stream by its frames.

    Attributes:
        recording: with the body decoded, if it was compressed.
        frames: the body's bytes, see `split_frames`.
    """

    recording: Recording
    frames: tuple[bytes, ...]

    @property
    def line_end(self) -> bytes:
        """What ends the lines of this stream: LF if it has none."""
        found = next(filter(None, map(_LINE_END.search, self.frames)), None)
        return found[0] if found else b"\n"

    @property
    def closing(self) -> bytes:
        """What the last frame lacks before another can follow it."""
        splitter = BlockSplitter()
        splitter.feed(self.frames[-1] if self.frames else b"")
        return self.line_end * 2 if splitter.pending else b""

    def split(self, count: int) -> tuple[Chunks, Chunks]:
        """The chunks of the first `count` frames, and those of the others. Raises `MutationError`."""
        if not 0 <= count <= len(self.frames):
            raise MutationError(
                f"Expected a number of frames from 0 to {len(self.frames)}, which is all that the recording has, "
                f"got {count!r}."
            )
        return split_at(self.recording.chunks, sum(map(len, self.frames[:count])))


_LINE_END = re.compile(rb"\r\n?|\n")


def framed(recording: Recording) -> Framed:
    """The frames of an event stream, compressed or not. Raises `MutationError` if that is not what it is."""
    if not is_event_stream(recording):
        raise MutationError(
            f"Expected a recording of text/event-stream to find frames in, got {shown(media_type(recording))}. Other "
            "answers can be cut by bytes, stalled, emptied, padded, compressed and cut into other chunks."
        )
    plain = decoded(recording)
    return Framed(plain, split_frames(body_of(plain.chunks)))


def split_frames(body: bytes) -> tuple[bytes, ...]:
    """The frames of an event stream: `b"".join` of them is `body` again.

    A frame is what `sse` calls a block, as raw bytes, with the blank lines behind it (and those before the first).
    Whatever stands behind the last blank line is a frame too.
    """
    frames: list[bytes] = []
    lines: list[bytes] = []
    whole = in_event = False
    for line in body.splitlines(keepends=True):
        first = (line if frames or lines else line.removeprefix(BOM))[:1]
        if first in (b"\n", b"\r", b""):
            whole, in_event = whole or in_event, False
        else:
            if whole:
                frames.append(b"".join(lines))
                lines.clear()
            in_event = in_event or first != b":"
            whole = not in_event
        lines.append(line)
    return (*frames, b"".join(lines)) if lines else ()


def rewritten(stream: Framed, frames: Sequence[bytes]) -> Chunks:
    """The chunks with each frame replaced by its counterpart in `frames`, which may be empty.

    A frame that stays as it is keeps its chunk boundaries; a new one goes where the last byte of the old one was.
    """
    ends = tuple(accumulate(map(len, stream.frames)))
    out: list[Chunk] = []
    index = start = 0
    for chunk in stream.recording.chunks:
        stop = start + len(chunk.data)
        pieces = []
        while index < len(ends):
            old, new = stream.frames[index], frames[index]
            begin = ends[index] - len(old)
            if new == old:
                pieces.append(old[max(start - begin, 0) : stop - begin])
            elif ends[index] <= stop:
                pieces.append(new)
            if ends[index] > stop:
                break
            index += 1
        if data := b"".join(pieces):
            out.append(Chunk(chunk.at, data))
        start = stop
    return tuple(out)
