"""Streams, chunkings, limits and JSON for the properties."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from itertools import pairwise

import brotli
import zstandard
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from samples import COMMENT, END_MARK, SAMPLES
from sseguard.dialects import Dialect
from sseguard.gate import Limits

DIALECTS = st.sampled_from(Dialect)

ODDITIES = (
    COMMENT, END_MARK, b":\n", b"\n", b"\r", b"\r\n", b"data: : PROCESSING\n\n", b"data:\n\n", b"data", b"id: 7\n\n",
    b"retry: 5\n\n", b"event: ping\ndata: {}\n\n", b"event: error\n", b"data: ", b"data: {\n", b"{}", b"}\n\n",
    b"[DONE]", b"error: {}\n\n", b"<html>", b"\xef\xbb\xbf", b"\xef", b"\xff", b"\0", b":", b" ",
)  # fmt: skip


@st.composite
def streams(draw: st.DrawFn, dialect: Dialect) -> bytes:
    """Frames, odd pieces and any bytes in a row, with any line endings."""
    sample = SAMPLES[dialect]
    frames = st.sampled_from((sample.preamble, sample.answer, sample.more, sample.finish, sample.error))
    pieces = draw(st.lists(st.one_of(frames, st.sampled_from(ODDITIES), st.binary(max_size=4)), max_size=8))
    body = b"".join(pieces)
    missing = draw(st.one_of(st.sampled_from((0, 0, 1, 2)), st.integers(0, len(body))))
    body = body[: len(body) - missing]
    return body.replace(b"\n", draw(st.sampled_from((b"\n", b"\n", b"\r\n", b"\r"))))


@st.composite
def chunkings(draw: st.DrawFn, body: bytes) -> list[bytes]:
    """`body` in pieces, often cut at its line ends."""
    line_ends = [match.end() for match in re.finditer(rb"[\r\n]", body)] or [0]
    cuts = draw(st.sets(st.one_of(st.integers(0, len(body)), st.sampled_from(line_ends)), max_size=12))
    edges = [0, *sorted(cuts), len(body)]
    return [body[start:end] for start, end in pairwise(edges)]


def one_by_one(body: bytes) -> list[bytes]:
    return [body[i : i + 1] for i in range(len(body))]


LIMITS = st.builds(
    Limits,
    hold_seconds=st.sampled_from((0.0, 2.0, 1e9)),
    hold_bytes=st.sampled_from((0, 1, 30, 200, 1 << 20)),
    answer_timeout=st.sampled_from((0.0, 3.0)),
    idle_timeout=st.sampled_from((0.0, 2.0)),
    truncated_is_error=st.booleans(),
    strip_comments=st.booleans(),
)


def compress(coding: str, body: bytes) -> bytes:
    match coding:
        case "gzip":
            return gzip.compress(body, mtime=0)
        case "deflate":
            return zlib.compress(body)
        case "br":
            return brotli.compress(body) if body else b""
        case "zstd":
            return zstandard.compress(body)
    return body


CODINGS = ("", "gzip", "deflate", "br", "zstd")
CODING = st.sampled_from(("", "", "", *CODINGS))


KEYS = st.sampled_from(
    ("error", "type", "object", "choices", "finish_reason", "delta", "content", "text", "usage", "message", "response",
     "code", "candidates", "finishReason", "promptFeedback", "blockReason", "stop_reason", "parts", "status", "item")
)  # fmt: skip
WORDS = st.sampled_from(
    ("error", "response.failed", "response.completed", "response.created", "message_stop", "message_delta", "stop",
     "message_start", "ping", "STOP", '"error": {', '"finish_reason":"stop"', "[DONE]", "\n", "\u2028", "\ud800", "")
)  # fmt: skip
JSON: SearchStrategy[object] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), WORDS, st.text(max_size=3)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=4)),
    max_leaves=12,
)
SPACINGS = st.sampled_from(((",", ":"), (", ", ": "), (" , ", " : "), (",\t", ":\t")))


@st.composite
def json_blocks(draw: st.DrawFn) -> bytes:
    """A block with JSON in it, in the spacings that `json.dumps` can make."""
    value = draw(st.dictionaries(KEYS, JSON, max_size=5))
    text = json.dumps(
        value,
        separators=draw(SPACINGS),
        indent=draw(st.sampled_from((None, None, 0, 2, "\t"))),
        ensure_ascii=draw(st.booleans()),
    )
    name = draw(st.sampled_from(("data:", "data: ")))
    lines = [name.encode() + line.encode("utf-8", "replace") for line in text.split("\n")]
    event = draw(st.sampled_from(((), (), (b"event: error",), (b"event:message",), (b"id: 3",))))
    return b"\n".join([*event, *lines])
