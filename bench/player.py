"""The player, in a process of its own, against a bare server on the same event loop that keeps the same pace."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sseguard.recordings.recording import Chunk, Ending, RecordedRequest, RecordedResponse, Recording, dumps

from . import contenders, frames, load
from .figures import Figure, Of, Section, Target, interleaved, percentile
from .process import running
from .sizes import Sizes
from .upstream import PATH, Play, target

#: Frames a second of each stream.
RATE = 20

#: What the 99th percentile of the timing error may be, in milliseconds.
SLIP = 5.0

#: Seconds of a recording: longer than any client stays.
_LENGTH = 120

_PLAYER, _RIVAL = "sseguard's player", "bare asyncio"


def measure(sizes: Sizes, say: Callable[[str], None]) -> Section:
    """All of it; `say` is told what comes next. Raises: BenchError."""
    with contenders.upstream() as bare, _player() as port:
        ports = {_PLAYER: port, _RIVAL: bare.port}
        figures = [*_timing(ports, sizes, say), _most(ports, sizes, say)]
    note = f"Streams of {RATE} frames/s, which begin at moments that do not fall together. Seen from the client."
    return Section("Player", figures, [note])


@contextmanager
def _player() -> Iterator[int]:
    with tempfile.TemporaryDirectory(prefix="sseguard-bench-") as folder:
        file = Path(folder) / "paced.sse.jsonl"
        file.write_text(dumps(_recording()), "utf-8")
        command = [sys.executable, "-m", "sseguard", "replay", str(file), "--port", "0"]
        with running(command, r"played at http://[^\n]*:(\d+)") as program:
            yield program.port


def _recording() -> Recording:
    due = [number / RATE for number in range(1, _LENGTH * RATE)]
    chunks = (Chunk(0.0, frames.PREAMBLE), *(Chunk(at, frames.stamped(round(at * 1e9))) for at in due))
    request = RecordedRequest("POST", f"http://127.0.0.1{PATH}", (), {"model": "example/large-model", "stream": True})
    response = RecordedResponse(200, (("content-type", "text/event-stream"),))
    return Recording(request, response, chunks, Ending.EOF, float(_LENGTH), "2026-11-22T09:00:00Z")


def _asked() -> bytes:
    return load.request(target(Play.DUE, every=1 / RATE))


def _timing(ports: dict[str, int], sizes: Sizes, say: Callable[[str], None]) -> Iterator[Figure]:
    count = sizes.crowd[0]
    say(f"player: timing of {count} streams")

    async def once(port: int) -> list[float]:
        async with load.Streams(port, _asked()) as streams:
            await streams.open(count, spread=sizes.window / 2)
            return await streams.lateness(sizes.window)

    results = interleaved(sizes.slow_rounds, ports, lambda name: asyncio.run(once(ports[name])))
    for percent in (50, 99):
        samples = {name: [percentile(late, percent) * 1e3 for late in rounds] for name, rounds in results.items()}
        targets = {_PLAYER: [Target(Of.VALUE, SLIP)]} if percent == 99 else {}
        yield Figure(f"timing error of {count} streams, p{percent}", "ms", samples, _RIVAL, targets)


def _most(ports: dict[str, int], sizes: Sizes, say: Callable[[str], None]) -> Figure:
    say("player: the most streams at once")
    start, step, end = sizes.crowd
    pause = sizes.window / 2

    async def once(port: int) -> float:
        """The largest crowd that got its frames in time; one slip is forgiven, as it may be another program's."""
        most, slips = 0, 0
        async with load.Streams(port, _asked()) as streams:
            for count in range(start, end + 1, step):
                await streams.open(count if not most and not slips else step, spread=pause)
                late = percentile(await streams.lateness(pause), 99) * 1e3
                most, slips = (count, 0) if late <= SLIP else (most, slips + 1)
                if slips == 2:
                    break
        return float(most)

    samples = interleaved(sizes.slow_rounds, ports, lambda name: asyncio.run(once(ports[name])), warm_up=False)
    name = f"streams at once before the p99 slips by {SLIP:g} ms"
    return Figure(name, "streams", samples, _RIVAL, {_PLAYER: [Target(Of.VALUE, start, at_least=True)]})
