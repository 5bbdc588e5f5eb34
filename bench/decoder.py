"""The decoder alone, in this process: ours, those that clients use, and the least that could be done."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import import_module
from importlib.util import find_spec
from unittest import mock

from sseguard.codings import Decoder
from sseguard.dialects import Dialect
from sseguard.gate import Call, Gate, Limits
from sseguard.sse import BlockSplitter

from . import frames
from .figures import Figure, Of, Section, Target, interleaved
from .sizes import Sizes

OURS, GATE, FLOOR, OPENAI = "sseguard's decoder", "sseguard's whole gate", "bytes.split", "openai SDK"

#: Rivals by the module that they need.
_MODULES = {"openai": OPENAI, "httpx_sse": "httpx-sse", "sseclient": "sseclient-py"}

#: The least that our decoder should reach.
SPEED = 300.0  # MB/s, a frame a chunk
TIMES_OPENAI = 10.0

#: What twice the input may take.
GROWTH = 2.5

Decode = Callable[[Iterable[bytes]], None]


def measure(sizes: Sizes, say: Callable[[str], None]) -> Section:
    """All of it; `say` is told what comes next."""
    decoders = _decoders()
    figures = [*_speed(decoders, sizes, say), *_growth(decoders, sizes, say), _parses()]
    missing = [f"{name} is not installed, and left out." for name in _MODULES.values() if name not in decoders]
    note = "MB a second of CPU time. Ours find blocks and judge them as bytes; the clients' make events of text."
    return Section("Decoder", figures, [note, *missing])


def _decoders() -> dict[str, Decode]:
    return {
        OURS: _split,
        GATE: _pass_gate,
        **{name: _CLIENTS[name] for module, name in _MODULES.items() if find_spec(module)},
        FLOOR: _least,
    }


def _split(chunks: Iterable[bytes]) -> None:
    feed = BlockSplitter().feed
    for chunk in chunks:
        feed(chunk)


def _pass_gate(chunks: Iterable[bytes]) -> None:
    gate = _gate()
    for now, chunk in enumerate(chunks):
        gate.feed(chunk, now * 1e-6)


def _gate() -> Gate:
    gate = Gate(Call(Dialect.CHAT), Limits(), 0.0)
    gate.opened(Decoder(""), 0.0)
    return gate


def _least(chunks: Iterable[bytes]) -> None:
    for chunk in chunks:
        chunk.split(b"\n\n")


# The clients may be missing, and so cannot be imported above.


def _openai(chunks: Iterable[bytes]) -> None:
    _consume(import_module("openai._streaming").SSEDecoder().iter_bytes(iter(chunks)))


def _httpx_sse(chunks: Iterable[bytes]) -> None:
    headers = {"content-type": "text/event-stream"}
    response = import_module("httpx").Response(200, headers=headers, content=iter(chunks))
    _consume(import_module("httpx_sse").EventSource(response).iter_sse())


def _sseclient(chunks: Iterable[bytes]) -> None:
    _consume(import_module("sseclient").SSEClient(iter(chunks)).events())


_CLIENTS: dict[str, Decode] = {OPENAI: _openai, "httpx-sse": _httpx_sse, "sseclient-py": _sseclient}


def _consume(events: Iterator[object]) -> None:
    deque(events, maxlen=0)


def _seconds(decode: Decode, chunks: Iterable[bytes]) -> float:
    """CPU seconds, which another process on the same core does not add to."""
    began = time.process_time()
    decode(chunks)
    return time.process_time() - began


def _speed(decoders: dict[str, Decode], sizes: Sizes, say: Callable[[str], None]) -> Iterator[Figure]:
    share = sizes.decoded // sizes.rounds
    for name, size in frames.CHUNKS.items():
        say(f"decoder: {name}")
        chunks = frames.chunks(size, share)
        total = sum(map(len, chunks)) / 1e6

        def once(decoder: str, chunks: Sequence[bytes] = chunks, total: float = total) -> float:
            return total / _seconds(decoders[decoder], chunks)

        targets = [Target(Of.RATIO, TIMES_OPENAI, at_least=True)]
        targets += [Target(Of.VALUE, SPEED, at_least=True)] if size == 0 else []
        yield Figure(name, "MB/s", interleaved(sizes.rounds, decoders, once), OPENAI, {OURS: targets})


def _growth(decoders: dict[str, Decode], sizes: Sizes, say: Callable[[str], None]) -> Iterator[Figure]:
    hostile: dict[str, Callable[[float], Sequence[bytes]]] = {
        "a line of 8 MiB in chunks of 16 bytes": lambda share: (
            [b"data: " + b"x" * 10] + [b"x" * 16] * int(share * (1 << 19))
        ),
        "400,000 data lines of a byte": lambda share: [b"data:x\n"] * int(share * 400_000),
        "a comment of 64 MiB in chunks of 4 KiB": lambda share: [b":" * 4096] * int(share * (1 << 14)),
    }
    for name, make in hostile.items():
        say(f"decoder: {name}")
        inputs = {"half of it": make(sizes.hostile / 2), "all of it": make(sizes.hostile)}
        for decoder in (OURS, GATE):

            def once(which: str, inputs: dict[str, Sequence[bytes]] = inputs, decoder: str = decoder) -> float:
                return _seconds(decoders[decoder], inputs[which]) * 1e3

            targets = {"all of it": [Target(Of.RATIO, GROWTH)]}
            yield Figure(
                f"{name}, {decoder}", "ms", interleaved(sizes.slow_rounds, inputs, once), "half of it", targets
            )


def _parses() -> Figure:
    """How many JSON texts are parsed behind the first answer frame of a healthy stream."""
    gate = _gate()
    healthy = [*frames.chunks(0, 1 << 18), frames.ENDING]
    gate.feed(b"".join(healthy[:3]), 0.0)
    with mock.patch("json.loads", wraps=json.loads) as loads:
        for chunk in healthy[3:]:
            gate.feed(chunk, 1.0)
    name = f"JSON texts parsed in {len(healthy)} blocks behind the first answer frame"
    return Figure(name, "a stream", {GATE: [float(loads.call_count)]}, targets={GATE: [Target(Of.VALUE, 1.0)]})
