"""Streams relayed by real mitmdump in reverse mode on loopback, against mitmdump with a pass-through function."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from . import contenders, frames, load
from .contenders import PROXIED, Proxy, Way
from .figures import BenchError, Figure, Of, Section, Target, interleaved, percentile
from .process import Program
from .sizes import Sizes
from .upstream import Play, target

#: What is allowed on top of the pass-through function: a share of its CPU and throughput, and bytes an open stream.
SHARES = {Way.GUARD: 0.03, Way.RECORDING: 0.05}
MEMORY = 16.0  # KiB

#: Bytes of a body are sent over and over in units of at most this.
_UNIT = 1 << 20

#: Exchanges before memory is looked at.
_WARM_UP = 20

_NOTES = (
    "CPU is that of mitmdump, all threads and what it does behind the stream included; a chunk is an HTTP chunk.",
    "A frame has about 300 bytes. Latency counts from when upstream writes a frame until the client has read it.",
)

_SAME: dict[str, list[Target]] = {way: [Target(Of.RATIO, 1.0, within_spread=True)] for way in SHARES}
_CPU: dict[str, list[Target]] = {way: [Target(Of.RATIO, 1 + share)] for way, share in SHARES.items()}
_THROUGHPUT: dict[str, list[Target]] = {
    way: [Target(Of.RATIO, 1 - share, at_least=True)] for way, share in SHARES.items()
}


@dataclass(frozen=True, slots=True)
class Relay:
    """What is there to measure: the provider, and the proxies in front of it."""

    upstream: Program
    proxies: Mapping[Way, Proxy]
    sizes: Sizes

    def port(self, way: Way) -> int:
        """Where a client connects."""
        return self.upstream.port if way is Way.DIRECT else self.proxies[way].program.port

    def cpu(self, way: Way) -> float:
        """CPU seconds of the proxy so far; none without one."""
        return 0.0 if way is Way.DIRECT else self.proxies[way].program.cpu()

    def settled_cpu(self, way: Way) -> float:
        """The same, when there is nothing more to do."""
        return 0.0 if way is Way.DIRECT else self.proxies[way].settled_cpu()

    def settle(self) -> None:
        """Wait until no proxy has anything to do."""
        for way in self.proxies:
            self.settled_cpu(way)


def measure(sizes: Sizes, say: Callable[[str], None]) -> Section:
    """All of it; `say` is told what comes next. Raises: BenchError."""
    with contenders.upstream() as upstream:
        with contenders.proxies(upstream.port) as proxies:
            relay = Relay(upstream, proxies, sizes)
            figures = [figure for part in (_bulk, _latency, _first_answers, _crowds) for figure in part(relay, say)]
        figures += _memory(upstream, sizes, say)
    return Section("Relay", figures, _NOTES)


def _bulk(relay: Relay, say: Callable[[str], None]) -> Iterator[Figure]:
    for name, size in frames.CHUNKS.items():
        say(f"relay: bulk, {name}")
        units = -(-relay.sizes.bulk[size] // _UNIT)
        unit = relay.sizes.bulk[size] // units
        asked = load.request(target(Play.BULK, chunk=size, bytes=unit, units=units))
        count = units * len(frames.chunks(size, unit))
        payload = units * sum(map(len, frames.chunks(size, unit)))

        def once(way: str, asked: bytes = asked) -> tuple[float, float]:
            return _bulk_once(relay, Way(way), asked)

        results = interleaved(relay.sizes.rounds, Way, once)
        speed = {way: [payload / 1e6 / seconds for seconds, _ in rounds] for way, rounds in results.items()}
        cpu: dict[str, list[float]] = {way: [used / count * 1e6 for _, used in results[way]] for way in PROXIED}
        yield Figure(f"bulk, {name}", "MB/s", speed, Way.PLAIN, _THROUGHPUT)
        yield Figure(f"bulk, {name}", "µs CPU a chunk", cpu, Way.PLAIN, _CPU)


def _bulk_once(relay: Relay, way: Way, asked: bytes) -> tuple[float, float]:
    """Seconds on the clock, and CPU seconds of the proxy."""
    before = relay.settled_cpu(way)
    with load.connection(relay.port(way)) as sock:
        began, ended = load.fetch(sock, asked, until=b"HTTP/1.1 200")
    return ended - began, relay.settled_cpu(way) - before


def _latency(relay: Relay, say: Callable[[str], None]) -> Iterator[Figure]:
    say("relay: latency of a frame")
    results = interleaved(relay.sizes.rounds, Way, lambda way: _watch(relay, Way(way), 1, 0.005)[0])
    for percent in (50, 99):
        samples = {way: [percentile(delays, percent) * 1e6 for delays in rounds] for way, rounds in results.items()}
        yield Figure(f"latency of a frame each 5 ms, p{percent}", "µs", samples, Way.PLAIN, _SAME)


def _first_answers(relay: Relay, say: Callable[[str], None]) -> Iterator[Figure]:
    asked = load.request(target(Play.FIRST))
    for name, keep in (("a new connection", False), ("a kept connection", True)):
        say(f"relay: first answer on {name}")

        def once(way: str, keep: bool = keep) -> float:
            times = load.first_answer(relay.port(Way(way)), asked, relay.sizes.requests, keep=keep)
            return percentile(times, 50) * 1e3

        samples = interleaved(relay.sizes.rounds, Way, once)
        yield Figure(f"first answer frame on {name}, p50", "ms", samples, Way.PLAIN, _SAME)
        relay.settle()


def _crowds(relay: Relay, say: Callable[[str], None]) -> Iterator[Figure]:
    for count in relay.sizes.streams:
        say(f"relay: {count} streams at once")

        def once(way: str, count: int = count) -> tuple[Sequence[float], float]:
            return _watch(relay, Way(way), count, 0.1)

        results = interleaved(relay.sizes.slow_rounds, PROXIED, once, warm_up=False)
        cpu = {way: [used * 1e6 / len(delays) for delays, used in rounds] for way, rounds in results.items()}
        late = {way: [percentile(delays, 99) * 1e3 for delays, _ in rounds] for way, rounds in results.items()}
        yield Figure(f"{count} streams of 10 frames/s", "µs CPU a frame", cpu, Way.PLAIN, _CPU)
        yield Figure(f"{count} streams of 10 frames/s, latency p99", "ms", late, Way.PLAIN, _SAME)


def _watch(relay: Relay, way: Way, count: int, every: float) -> tuple[Sequence[float], float]:
    """Delays of the frames of paced streams, and CPU seconds of the proxy."""

    async def watch() -> load.Window:
        async with load.Streams(relay.port(way), load.request(target(Play.PACED, every=every))) as streams:
            await streams.open(count, spread=max(every, count * 0.005))
            return await streams.watch(relay.sizes.window, lambda: relay.cpu(way))

    relay.settled_cpu(way)
    window = asyncio.run(watch())
    if not window.delays:
        raise BenchError(f"Expected frames within {relay.sizes.window} s, got none.")
    return window.delays, window.cpu


def _memory(upstream: Program, sizes: Sizes, say: Callable[[str], None]) -> Iterator[Figure]:
    """Of proxies that have just been started: what one has used for streams that are gone, it keeps for later ones."""
    rounds: dict[str, list[list[float]]] = {way: [] for way in PROXIED}
    for number in range(sizes.slow_rounds):
        say(f"relay: memory of open streams, round {number + 1}")
        with contenders.proxies(upstream.port) as proxies:
            for way, proxy in proxies.items():
                rounds[way].append(list(_grown(proxy, sizes.streams)))
    for at, count in enumerate(sizes.streams):
        samples = {way: [grown[at] / count / 1024 for grown in rounds[way]] for way in rounds}
        largest = count == max(sizes.streams)  # memory comes in steps that are too large to tell of a few streams
        targets: dict[str, list[Target]] = {way: [Target(Of.DIFFERENCE, MEMORY)] for way in SHARES if largest}
        yield Figure(f"memory of {count} open streams", "KiB a stream", samples, Way.PLAIN, targets)


def _grown(proxy: Proxy, counts: Sequence[int]) -> Iterator[float]:
    """By how many bytes a proxy has grown with so many streams open, for each of the counts."""
    asked, port = load.request(target(Play.HELD)), proxy.program.port
    load.first_answer(port, load.request(target(Play.FIRST)), _WARM_UP, keep=False)
    proxy.settled_cpu()
    before, held = proxy.program.resident(), 0
    with load.holding() as hold:
        for count in counts:
            for _ in range(count - held):
                hold(port, asked)
            held = count
            proxy.program.settled_cpu()
            yield proxy.program.resident() - before
