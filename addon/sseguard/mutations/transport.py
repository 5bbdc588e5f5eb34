"""Recordings in which the same bytes travel differently: broken off, late, in other chunks, compressed.

Each function takes a recording and returns another; the one given is never changed. They raise `MutationError`
where they cannot be done. Those that look for frames, characters or line ends decode a compressed body first, and then
the result has no content-encoding; the others take the bytes as they come.
"""

from __future__ import annotations

import re
import zlib
from itertools import accumulate, islice
from typing import TYPE_CHECKING

from sseguard.recordings.recording import Chunk, Ending, Recording

from .frames import framed
from .prng import SplitMix64
from .surgery import (
    MutationError,
    body_of,
    checked_seconds,
    decoded,
    regrouped,
    shifted,
    split_at,
    with_body,
    with_headers,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .surgery import Chunks


def cut_after_frames(recording: Recording, count: int) -> Recording:
    """The connection breaks behind the first `count` frames, heartbeats counted."""
    stream = framed(recording)
    before, _ = stream.split(count)
    return _cut(stream.recording, before)


def cut_after_bytes(recording: Recording, count: int) -> Recording:
    """The connection breaks behind the first `count` bytes of the body, compressed as it may be."""
    size = len(body_of(recording.chunks))
    if not 0 <= count <= size:
        raise MutationError(
            f"Expected a number of bytes from 0 to {size}, which is all that the recording has, got {count!r}."
        )
    return _cut(recording, split_at(recording.chunks, count)[0])


_MULTIBYTE = re.compile(rb"[\xc2-\xf4][\x80-\xbf]+")


def cut_in_character(recording: Recording, number: int = 1) -> Recording:
    """The connection breaks behind the first byte of a character that takes several, the `number`th from 1."""
    plain = decoded(recording)
    found = list(islice(_MULTIBYTE.finditer(body_of(plain.chunks)), max(number, 0)))
    if number < 1 or len(found) < number:
        raise MutationError(
            f"Expected the number of a character of several bytes, from 1, got {number!r}, and the body has "
            f"{len(found)} up to there. Providers that escape such characters as \\u… send none; cut by bytes instead."
        )
    return _cut(plain, split_at(plain.chunks, found[-1].start() + 1)[0])


def _cut(recording: Recording, chunks: Chunks) -> Recording:
    return with_body(recording, chunks, end=Ending.CUT, ended=chunks[-1].at if chunks else 0.0)


def stall(recording: Recording, seconds: float, after: int = 0) -> Recording:
    """Nothing comes for `seconds` longer than recorded after `after` frames; all else is later by as much."""
    wait = checked_seconds(seconds)
    if after == 0:
        return with_body(recording, shifted(recording.chunks, wait), ended=recording.ended + wait)
    stream = framed(recording)
    before, rest = stream.split(after)
    return with_body(stream.recording, (*before, *shifted(rest, wait)), ended=recording.ended + wait)


def glue(recording: Recording, count: int | None = None) -> Recording:
    """`count` frames come as one chunk, when the last of them did; without a number all of the body does."""
    if count is None:
        size = len(body_of(recording.chunks))
        return with_body(recording, regrouped(recording.chunks, (size,) if size else ()))
    if count < 1:
        raise MutationError(f"Expected a number of frames from 1, got {count!r}.")
    stream = framed(recording)
    ends = list(accumulate(map(len, stream.frames)))
    last = ends[-1:] if len(ends) % count else []
    return with_body(stream.recording, regrouped(stream.recording.chunks, (*ends[count - 1 :: count], *last)))


def bytewise(recording: Recording) -> Recording:
    """Each byte comes as a chunk of its own."""
    size = sum(len(chunk.data) for chunk in recording.chunks)
    return with_body(recording, regrouped(recording.chunks, range(1, size + 1)))


def rechunk(recording: Recording, seed: int, largest: int = 64) -> Recording:
    """The bytes come in chunks of random sizes from 1 to `largest`, the same for the same `seed`."""
    if largest < 1:
        raise MutationError(f"Expected a largest chunk of 1 byte or more, got {largest!r}.")
    size = sum(len(chunk.data) for chunk in recording.chunks)
    return with_body(recording, regrouped(recording.chunks, _random_ends(size, seed, largest)))


def _random_ends(size: int, seed: int, largest: int) -> Iterator[int]:
    chance = SplitMix64(seed)
    end = 0
    while end < size:
        end = min(end + 1 + chance.below(largest), size)
        yield end


def crlf(recording: Recording) -> Recording:
    """Every line ends in CRLF, as Gemini's do."""
    return _with_line_ends(recording, b"\r\n")


def cr(recording: Recording) -> Recording:
    """Every line ends in CR, which the standard allows and few expect."""
    return _with_line_ends(recording, b"\r")


def _with_line_ends(recording: Recording, line_end: bytes) -> Recording:
    plain = decoded(recording)
    chunks = []
    after_cr = False
    for chunk in plain.chunks:
        # The LF of a CRLF may come a chunk later; its line has ended by then.
        data = chunk.data[1:] if after_cr and chunk.data[:1] == b"\n" else chunk.data
        after_cr = chunk.data[-1:] == b"\r" if chunk.data else after_cr
        if data:
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", line_end)
            chunks.append(Chunk(chunk.at, data))
    return with_body(plain, tuple(chunks))


def gzip(recording: Recording) -> Recording:
    """The body is compressed, each chunk so that it can be read when it comes; says so in content-encoding.

    A body that breaks off lacks the end of its gzip too.
    """
    plain = decoded(recording)
    packer = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    chunks = [Chunk(chunk.at, packer.compress(chunk.data) + packer.flush(zlib.Z_SYNC_FLUSH)) for chunk in plain.chunks]
    if plain.end is Ending.EOF:
        last = chunks.pop() if chunks else Chunk(plain.ended, b"")
        chunks.append(Chunk(last.at, last.data + packer.flush()))
    named = with_headers(plain, drop=("content-encoding",), add=(("content-encoding", "gzip"),))
    return with_body(named, tuple(chunks))
