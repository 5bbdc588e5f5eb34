"""Streams as OpenRouter sends them, made in advance: frames of about 300 bytes, with heartbeats in between."""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Iterator, Sequence
from typing import Any

#: Stands before the number in `stamped`, and nowhere else.
MARK = b'"@'
DIGITS = 20

#: A heartbeat comes instead of each so-many-th frame.
HEARTBEAT_EVERY = 20

#: Bytes in an HTTP chunk; 0 is a block in each.
CHUNKS = {"a frame a chunk": 0, "4 KiB a chunk": 4096, "64 KiB a chunk": 65536}

HEARTBEAT = b": OPENROUTER PROCESSING\n\n"
DONE = b"data: [DONE]\n\n"

# Some of it is not ASCII, and one word is what a guard looks for.
_WORDS = (
    *(
        "The",
        " stream",
        " begins",
        ",",
        " and",
        " each",
        " frame",
        " holds",
        " one",
        " token",
        " of",
        " the",
        " answer",
    ),
    *(
        " —",
        " größer",
        " than",
        " it",
        " looks",
        ".",
        "\n\n",
        "If",
        " an",
        " error",
        " comes",
        ",",
        ' it says "so"',
        "。",
    ),
)


def _frame(delta: dict[str, str], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish, "native_finish_reason": finish, "logprobs": None}
    value: dict[str, Any] = {
        "id": "gen-1763800000-pQ3vKx9TnWmB7aLsYd2c",
        "provider": "Example",
        "model": "example/large-model-2026-11",
        "object": "chat.completion.chunk",
        "created": 1763800000,
        "choices": [choice],
        "system_fingerprint": "fp_a1b2c3d4e5",
    }
    return b"data: " + json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode() + b"\n\n"


PREAMBLE = _frame({"role": "assistant", "content": ""})
ENDING = _frame({"role": "assistant", "content": ""}, "stop") + DONE

_BEFORE, _AFTER = _frame({"role": "assistant", "content": "@"}).split(b"@")


def stamped(number: int) -> bytes:
    """An answer frame that has a number in it."""
    return _BEFORE + b"@%0*d" % (DIGITS, number) + _AFTER


def blocks() -> Iterator[bytes]:
    """An answer without an end, block by block."""
    yield from (HEARTBEAT, PREAMBLE)
    deltas = [_frame({"role": "assistant", "content": word}) for word in _WORDS]
    for count in itertools.count(1):
        yield deltas[count % len(deltas)] if count % HEARTBEAT_EVERY else HEARTBEAT


@functools.cache
def chunks(size: int, total: int) -> Sequence[bytes]:
    """About `total` bytes of `blocks()`, whole ones, in pieces of `size` bytes; with 0, a block in each."""
    sizes = itertools.accumulate(map(len, blocks()))
    whole = [block for block, _ in zip(blocks(), itertools.takewhile(lambda end: end <= total, sizes), strict=False)]
    if not size:
        return whole
    text = b"".join(whole)
    return [text[start : start + size] for start in range(0, len(text), size)]


def framed(chunk: bytes) -> bytes:
    """`chunk` as HTTP/1.1 sends it in a chunked body (RFC 9112 section 7.1); without bytes, the body's end."""
    return b"%x\r\n%b\r\n" % (len(chunk), chunk)


@functools.cache
def body_unit(size: int, total: int) -> bytes:
    """`chunks` of these arguments, as they go over the wire; may be sent more than once in a body."""
    return b"".join(map(framed, chunks(size, total)))
