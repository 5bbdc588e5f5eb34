"""A recording as a person reads it: blocks at their times, silences to scale, heartbeats folded, the verdict last."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from unicodedata import east_asian_width

from sseguard import dialects, sse
from sseguard.codings import CodingError, Decoder
from sseguard.dialects import Dialect, Kind

from .assessment import assess, dialect_of, header, is_guarded, model_of
from .recording import Ending, Recording

#: The fewest columns that a timeline fits in.
NARROWEST = 40

#: Silences shorter than this part of the whole are not drawn.
SHORTEST = 1 / 40

_ENDINGS = {
    Ending.EOF: "end of body",
    Ending.CUT: "connection broke",
    Ending.CLIENT_LEFT: "client left",
}
_NAMES = {
    Kind.HEARTBEAT: "heartbeat",
    Kind.PREAMBLE: "preamble",
    Kind.ANSWER: "answer",
    Kind.ERROR: "error",
    Kind.DONE: "done",
    Kind.MALFORMED: "malformed",
}


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened `at` seconds after the response headers, and went on until `until` if that is later."""

    at: float
    name: str
    text: str
    until: float = 0.0


def timeline(recording: Recording, width: int, *, ascii_only: bool = False) -> Iterator[str]:
    """The lines to print, with nothing in them that a terminal would obey.

    They are `width` columns wide at the most, or `NARROWEST`.
    """
    width = max(width, NARROWEST)
    lines = _lines(recording, width, "-" if ascii_only else "─")
    if not ascii_only:
        return lines
    escaped = (line.encode("ascii", "backslashreplace").decode("ascii") for line in lines)
    return (line[start : start + width] for line in escaped for start in range(0, len(line), width))


def _lines(recording: Recording, width: int, dash: str) -> Iterator[str]:
    request, response = recording.request, recording.response
    kind = header(response.headers, "content-type")
    yield _cut(f"{request.method} {request.url}", width)
    yield _cut(f"model {model_of(recording) or '-'}   answered {response.status} {kind}", width)
    last, total = 0.0, max(recording.ended, 1e-9)
    for mark in _folded(marks(recording)):
        if (mark.at - last) / total >= SHORTEST:
            yield _silence(mark.at - last, total, width, dash)
        yield _cut(f"{mark.at:9.3f}s  {mark.name:<10} {mark.text}", width)
        last = max(mark.at, mark.until)
    yield from wrapped(_verdict(recording), width)


def wrapped(text: str, width: int) -> list[str]:
    """`text` over as many lines as it takes, with nothing in them that a terminal would obey."""
    return textwrap.wrap(_plain(text), width if text.isascii() else width // 2)


def marks(recording: Recording) -> Iterator[Mark]:
    """Headers, each block as it became complete, and the end."""
    yield Mark(0.0, "headers", "")
    splitter, dialect, guarded = sse.BlockSplitter(), dialect_of(recording), is_guarded(recording)
    decoder: Decoder | None = None
    try:
        decoder = Decoder(header(recording.response.headers, "content-encoding"))
    except LookupError:
        yield Mark(0.0, "unreadable", "a content coding that is not known")
    for chunk in recording.chunks:
        try:
            text = decoder.feed(chunk.data) if decoder else b""
        except CodingError as e:
            yield Mark(chunk.at, "unreadable", str(e))
            decoder = None
            continue
        if not guarded:
            yield Mark(chunk.at, "body", _excerpt(text))
            continue
        for block in splitter.feed(text):
            yield _block(chunk.at, block, dialect)
    if rest := splitter.rest():
        yield Mark(recording.ended, "unfinished", _excerpt(rest))
    yield Mark(recording.ended, "end", _ENDINGS[recording.end])


def _block(at: float, block: bytes, dialect: Dialect) -> Mark:
    return Mark(at, _NAMES[dialects.read(block, dialect).kind], _excerpt(block))


def _folded(marks: Iterator[Mark]) -> Iterator[Mark]:
    """Runs of heartbeats as one mark each."""
    for name, run in groupby(marks, key=lambda mark: mark.name):
        first, *more = run
        if name != _NAMES[Kind.HEARTBEAT] or not more:
            yield first
            yield from more
        else:
            until = more[-1].at
            yield Mark(first.at, "heartbeats", f"{len(more) + 1} until {until:.3f}s   {first.text}", until)


def _silence(seconds: float, total: float, width: int, dash: str) -> str:
    return _cut(f"{'':9}   {dash * max(round(seconds / total * (width - 24)), 1)} {seconds:.3f}s", width)


def _verdict(recording: Recording) -> str:
    try:
        found = assess(recording)
    except LookupError as e:
        return f"verdict: none, its content coding is not known ({e!r})"
    if found.verdict is None:
        return f"verdict: none, the guard leaves this alone; the client gets {found.status}"
    said = f": {found.message}" if found.message else ""
    return f"verdict: {found.verdict}; the client gets {found.status}{said}"


def _excerpt(data: bytes) -> str:
    return data[:400].decode("utf-8", "backslashreplace")


def _cut(text: str, width: int) -> str:
    """As much of `text` as fits `width` columns, with dots if that is not all."""
    text = _plain(text[: width + 1])
    if _columns(text) <= width:
        return text
    while _columns(text) > width - 3:
        text = text[:-1]
    return f"{text}..."


def _columns(text: str) -> int:
    return len(text) + sum(east_asian_width(c) in "WF" for c in text) if not text.isascii() else len(text)


def _plain(text: str) -> str:
    """`text` with an escape for whatever is not printable."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
