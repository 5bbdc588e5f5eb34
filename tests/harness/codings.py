"""Content codings as servers apply them to a stream: each piece is flushed, so that it can be read when it comes."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import brotli
import zstandard

#: The names of all codings, and of none.
CODINGS = ("identity", "gzip", "deflate", "br", "zstd")


def encoded(coding: str, *pieces: bytes) -> list[bytes]:
    """`pieces` in that coding, and what ends it: one more than there were, but for identity."""
    if coding == "identity":
        return list(pieces)
    step, end = _STEPS[coding]()
    return [*map(step, pieces), end()]


def headers(coding: str) -> dict[str, Any]:
    """What a response in that coding says of it; underscores stand for dashes."""
    return {} if coding == "identity" else {"content_encoding": coding}


Steps = tuple[Callable[[bytes], bytes], Callable[[], bytes]]


def _zlib(wbits: int) -> Steps:
    stream = zlib.compressobj(wbits=wbits)
    return lambda piece: stream.compress(piece) + stream.flush(zlib.Z_SYNC_FLUSH), stream.flush


def _brotli() -> Steps:
    stream = brotli.Compressor()
    return lambda piece: stream.process(piece) + stream.flush(), stream.finish


def _zstd() -> Steps:
    stream = zstandard.ZstdCompressor().compressobj()
    flush = zstandard.COMPRESSOBJ_FLUSH_BLOCK
    return lambda piece: stream.compress(piece) + stream.flush(flush), stream.flush


_STEPS: dict[str, Callable[[], Steps]] = {
    "gzip": lambda: _zlib(zlib.MAX_WBITS | 16),
    "deflate": lambda: _zlib(zlib.MAX_WBITS),
    "br": _brotli,
    "zstd": _zstd,
}
