"""What the tests of mutations share: odd recordings, strategies, and what holds for every result."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import replace

from hypothesis import strategies as st

from healthy import CHAT, STREAM, body
from sseguard.recordings.fixture import dumps, loads
from sseguard.recordings.recording import Chunk, RecordedResponse, Recording
from sseguard.sse import BOM

URL = CHAT.request.url
JSON_HEADERS = (("content-type", "application/json"),)

#: Chunks of any bytes.
CHUNKS = st.lists(st.binary(max_size=12), max_size=12)

#: Pieces of event streams, sound and broken.
LINES = st.sampled_from(
    [b"\n", b"\r", b"\r\n", b": a", b"data: {}", b'data: {"a":1}', b"event: x", b"data: [DONE]", BOM, b"\xff"]
)


def compressed(original: Recording, coding: str, pack: Callable[[bytes], bytes]) -> Recording:
    """The recording with its whole body packed, in two chunks."""
    data = pack(body(original))
    headers = (*STREAM, ("Content-Encoding", coding), ("Content-Length", str(len(data))))
    chunks = (Chunk(1.0, data[:40]), Chunk(2.0, data[40:]))
    return replace(original, response=RecordedResponse(200, headers), chunks=chunks, ended=3.0)


def gzipped(original: Recording) -> Recording:
    return compressed(original, "gzip", lambda data: zlib.compress(data, wbits=31))


def times(of: Recording) -> list[float]:
    return [chunk.at for chunk in of.chunks]


def texts(of: Recording) -> list[bytes]:
    return [chunk.data for chunk in of.chunks]


def assert_sound(mutated: Recording) -> None:
    at = [0.0, *times(mutated), mutated.ended]
    assert at == sorted(at)
    assert loads(dumps(mutated)) == loads(dumps(loads(dumps(mutated))))
    assert [chunk.data for chunk in loads(dumps(mutated)).chunks] == texts(mutated)
