"""A recorded body as one run of bytes, each with its time, and the cuts and joins that mutations are made of.

Chunk boundaries and times survive whatever is done elsewhere in the body: a chunk is split only where a cut goes
through it, and bytes that change chunk arrive when the last of them did.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import accumulate
from typing import TYPE_CHECKING, TypeAlias

from sseguard.codings import STEP, CodingError, Decoder
from sseguard.recordings.recording import Chunk, Ending, Recording, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Chunks: TypeAlias = tuple[Chunk, ...]

#: The largest body that is decoded, or searched for frames, in bytes.
MAX_BODY = 64 << 20

#: The most chunks that a mutation makes of a body, or adds to it.
MAX_CHUNKS = 1_000_000

#: The longest wait, in seconds: a day.
MAX_SECONDS = 86_400.0


class MutationError(ValueError):
    """Raised when a mutation cannot be read, or not be done to a recording; says what was expected, and what to do."""


def media_type(recording: Recording) -> str:
    """The response's content-type without parameters, in lower case; empty if it has none."""
    types = (value for name, value in recording.response.headers if name.lower() == "content-type")
    return next(types, "").partition(";")[0].strip().lower()


def is_event_stream(recording: Recording) -> bool:
    """Whether the response calls itself `text/event-stream`, with any parameters."""
    return media_type(recording) == "text/event-stream"


def body_of(chunks: Iterable[Chunk]) -> bytes:
    """All bytes together. Raises `MutationError` for more than `MAX_BODY`."""
    data = b"".join(chunk.data for chunk in chunks)
    if len(data) > MAX_BODY:
        raise MutationError(f"Expected a body of at most {MAX_BODY} bytes, got {len(data)}: record a shorter answer.")
    return data


def split_at(chunks: Chunks, offset: int) -> tuple[Chunks, Chunks]:
    """The chunks of the first `offset` bytes, and those of the others; the one across is split."""
    for index, chunk in enumerate(chunks):
        if offset < len(chunk.data):
            head = (Chunk(chunk.at, chunk.data[:offset]),) if offset else ()
            return (*chunks[:index], *head), (Chunk(chunk.at, chunk.data[offset:]), *chunks[index + 1 :])
        offset -= len(chunk.data)
    return chunks, ()


def regrouped(chunks: Chunks, ends: Iterable[int]) -> Chunks:
    """The same bytes in chunks that end at `ends`, which rise up to the size of the body. Raises `MutationError`."""
    data = body_of(chunks)
    arrivals = _arrivals(chunks)
    start, arrived, at = 0, 0, 0.0
    out: list[Chunk] = []
    for end in ends:
        while arrived < end:
            arrived, at = next(arrivals)
        out.append(Chunk(at, data[start:end]))
        start = end
        if len(out) > MAX_CHUNKS:
            raise MutationError(f"Expected a body for at most {MAX_CHUNKS} chunks, got more: take a shorter recording.")
    return tuple(out)


def _arrivals(chunks: Chunks) -> Iterator[tuple[int, float]]:
    """How many bytes have come, and when."""
    return zip(accumulate(len(chunk.data) for chunk in chunks), (chunk.at for chunk in chunks), strict=True)


def shifted(chunks: Iterable[Chunk], seconds: float) -> Chunks:
    """The same chunks, `seconds` later."""
    return tuple(Chunk(chunk.at + seconds, chunk.data) for chunk in chunks)


def paced(data: bytes, count: int, seconds: float) -> Chunks:
    """`count` chunks of the same bytes, `seconds` apart. Raises `MutationError` for what is out of bounds."""
    if not 0 <= count <= MAX_CHUNKS:
        raise MutationError(f"Expected a number from 0 to {MAX_CHUNKS}, got {count!r}.")
    wait = checked_seconds(seconds)
    return tuple(Chunk(index * wait, data) for index in range(count))


def checked_seconds(seconds: float) -> float:
    """`seconds`, if that is a wait. Raises `MutationError`."""
    if not 0 <= seconds <= MAX_SECONDS:
        raise MutationError(f"Expected seconds from 0 to {MAX_SECONDS:.0f} (a day), got {seconds!r}.")
    return seconds


def decoded(recording: Recording) -> Recording:
    """The recording as it would be had it not been compressed, without its content-encoding. Raises `MutationError`.

    What a chunk adds to the decoded body keeps the time of that chunk.
    """
    coding = ", ".join(value for name, value in recording.response.headers if name.lower() == "content-encoding")
    try:
        decoder = Decoder(coding)
    except LookupError as error:
        raise MutationError(
            f"Expected a content-encoding of gzip, deflate, br or zstd, got {shown(coding)}. Cut by bytes, or change "
            "the recording by hand."
        ) from error
    if decoder.is_identity:
        return recording
    chunks = tuple(Chunk(at, data) for at, data in _decoded(decoder, recording.chunks) if data)
    return with_headers(replace(recording, chunks=chunks), drop=("content-encoding", "content-length"))


def _decoded(decoder: Decoder, chunks: Chunks) -> Iterator[tuple[float, bytes]]:
    room = MAX_BODY
    for chunk in chunks:
        parts = []
        for start in range(0, len(chunk.data), STEP):
            try:
                parts.append(decoder.feed(chunk.data[start : start + STEP]))
            except CodingError as error:
                raise MutationError(f"{error} Mutations that need frames have to decode it; cut by bytes.") from error
            room -= len(parts[-1])
            if room < 0:
                raise MutationError(f"Expected a body of at most {MAX_BODY} bytes when decoded, got more.")
        yield chunk.at, b"".join(parts)


def with_headers(recording: Recording, *, drop: tuple[str, ...], add: tuple[tuple[str, str], ...] = ()) -> Recording:
    """The recording without the response headers named in `drop` (lower case), and with those in `add`."""
    kept = (header for header in recording.response.headers if header[0].lower() not in drop)
    return replace(recording, response=replace(recording.response, headers=(*kept, *add)))


def with_body(
    recording: Recording, chunks: Chunks, *, end: Ending | None = None, ended: float | None = None
) -> Recording:
    """The recording with another body; `end` and `ended` stay if they are not given.

    A content-length goes where it is no longer true. Where the body breaks off, it stays: that is how a client
    sees that bytes are missing.
    """
    new = replace(
        recording,
        chunks=chunks,
        end=recording.end if end is None else end,
        ended=recording.ended if ended is None else ended,
    )
    before, after = (sum(len(chunk.data) for chunk in r.chunks) for r in (recording, new))
    holds = after == before or (after < before and new.end is Ending.CUT)
    return new if holds else with_headers(new, drop=("content-length",))
