"""Runs the soak, prints what came of it, and fails if anything is not as it should be."""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import signal
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.contenders import MITMDUMP
from bench.figures import BenchError
from bench.process import ROOT, Program, raise_file_limit, running

from sseguard.recordings.player import Player

from . import insides, report, streams
from .client import Client
from .ledger import Ledger
from .report import Insides, Outcome
from .streams import Provider, Stream

#: Seconds without an answer, and of silence in one, behind which the guard ends a stream: more than a healthy one ever
#: takes, even where other programs want the same CPUs.
TIMEOUT = 10

#: Streams that a client asks for on one connection, if it can be kept.
KEPT = 10

#: Seconds between two looks at log and recordings, and those that the last of them may take to be written.
LOOK = 0.5
SETTLE_WITHIN = 15.0

#: Seconds before memory, handles and tasks are looked at for the first time: memory spreads out in the first minute. At
#: most a half of what is asked for.
WARM_UP = 60.0


@dataclass(frozen=True, slots=True)
class Bound:
    """When to stop: at a moment on the monotonic clock, or with an exchange."""

    exchanges: int | None
    seconds: float = 0.0

    @property
    def warm_up(self) -> Bound:
        """Of what comes before."""
        return Bound(self.exchanges and self.exchanges // 4, min(self.seconds / 2, WARM_UP))

    def numbers(self, began: float) -> Iterator[int]:
        """Numbers for exchanges that are still to begin."""
        for number in itertools.count() if self.exchanges is None else range(self.exchanges):
            if self.exchanges is None and time.monotonic() - began >= self.seconds:
                return
            yield number


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0 when all was as it should be, 1 when not."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that mitmdump is ended, too
    if not Path("/proc/self/statm").exists():
        sys.stderr.write("soak: Expected memory and open files to be told in /proc, got none here. Use Linux.\n")
        return 1
    raise_file_limit()
    examples = streams.chosen(options.only)
    if not examples:
        sys.stderr.write(f"soak: Expected a part of an example's name, got {', '.join(options.only)}.\n")
        return 1
    bound = Bound(options.exchanges, options.minutes * 60.0)
    try:
        outcome = asyncio.run(_soak(bound, options.streams, examples, options.seed))
    except BenchError as e:
        sys.stderr.write(f"soak: {e}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("soak: Stopped.\n")
        return 128 + signal.SIGINT
    sys.stdout.write(report.as_text(outcome))
    return 0 if outcome.is_good else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/soak", description="Good and bad streams at once, for long.")
    parser.add_argument("minutes", type=float, nargs="?", default=5.0, metavar="MINUTES", help="default: %(default)g")
    parser.add_argument("--exchanges", type=int, metavar="N", help="stop after so many instead")
    parser.add_argument("--streams", type=int, default=200, metavar="N", help="at once; default: %(default)s")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="only examples with NAME in theirs")
    parser.add_argument("--seed", type=int, default=0, help="of the order; default: %(default)s")
    return parser


async def _soak(bound: Bound, count: int, examples: Sequence[Stream], seed: int) -> Outcome:
    """Raises: BenchError."""
    provider, order = streams.Provider(examples), streams.mixed(examples, seed)
    with tempfile.TemporaryDirectory(prefix="sseguard-soak-") as folder:
        async with provider.player:
            with _mitmdump(provider.player, Path(folder)) as proxy:
                books = [Ledger(Path(folder, "log.jsonl"), Path(folder, "recordings")) for _ in range(2)]
                warm_up, crowd = (Crowd(proxy, provider, ledger, order) for ledger in books)
                await warm_up.run(bound.warm_up, count)
                start = await _insides(proxy)
                seconds = await crowd.run(bound, count)
                end = await _insides(proxy)
                faults = [fault for ledger in books for fault in ledger.faults]
                return Outcome(books[1], start, end, crowd.most, seconds, faults, _complaints(proxy))


@contextmanager
def _mitmdump(player: Player, folder: Path) -> Iterator[Program]:
    """One that says nothing but errors. Raises: BenchError."""
    (folder / "recordings").mkdir()
    host = player.base_url.partition("://")[2]
    command = [str(MITMDUMP), "--mode", f"reverse:{player.base_url}", "--listen-host", "127.0.0.1"]
    command += ["--listen-port", "0", "-s", str(ROOT / "addon" / "main.py"), "-s", insides.__file__]
    settings = [f"confdir={folder}", "flow_detail=0", "termlog_verbosity=error"]
    settings += [f"sse_log={folder / 'log.jsonl'}", f"sse_record={folder / 'recordings'}"]
    settings += [f"sse_answer_timeout={TIMEOUT}", f"sse_idle_timeout={TIMEOUT}"]
    settings += [f"sse_routes={host}/{name}={kind}" for name, kind in streams.ROUTES.items()]
    with running([*command, *(part for setting in settings for part in ("--set", setting))], LISTENING) as program:
        yield program


LISTENING = r"listening at (\d+)\n"


def _complaints(proxy: Program) -> list[str]:
    """What mitmdump has said beside where it listens."""
    said = [line for line in proxy.output().splitlines() if not line.startswith("listening at ")]
    return said if proxy.runs else [*said, f"mitmdump has ended by itself, with {proxy.process.returncode}."]


async def _insides(proxy: Program) -> Insides:
    """When all is quiet. Raises: BenchError."""

    def fetch() -> dict[str, int]:
        with urllib.request.urlopen(f"http://127.0.0.1:{proxy.port}{insides.PATH}", timeout=60) as response:
            found: dict[str, int] = json.load(response)
            return found

    try:
        counts = await asyncio.to_thread(fetch)
    except OSError as e:
        raise BenchError(f"Expected mitmdump to tell of itself, got {e}. It says:\n{proxy.output()}") from e
    await asyncio.sleep(LOOK)  # until the connection that asked is gone, too
    return Insides(proxy.resident(), proxy.handles(), **counts)


class Crowd:
    """Clients that ask at once, one stream after the other. `most`: the most memory and handles that were seen."""

    def __init__(self, proxy: Program, provider: Provider, ledger: Ledger, order: Iterator[Stream]) -> None:
        self.most = Insides(0, 0)
        self._proxy = proxy
        self._provider = provider
        self._ledger = ledger
        self._order = order

    async def run(self, bound: Bound, count: int) -> float:
        """Ask until the bound is reached, then close the books. Gives the seconds that it took."""
        began = time.monotonic()
        numbers = bound.numbers(began)
        asking = asyncio.gather(*(self._ask(numbers) for _ in range(count)))
        told = began
        while not asking.done():
            await asyncio.wait([asking], timeout=LOOK)
            self._look()
            if time.monotonic() - told >= 30:
                told = time.monotonic()
                memory = f"{self._proxy.resident() / (1 << 20):.0f} MiB"
                _say(f"{told - began:6.0f} s  {self._ledger.sent.total():,} exchanges, mitmdump has {memory}")
        await asking
        took = time.monotonic() - began
        give_up = time.monotonic() + SETTLE_WITHIN
        while not self._ledger.is_complete and time.monotonic() < give_up:
            await asyncio.sleep(LOOK)
            self._ledger.read()
        for _ in range(2):  # what comes now is too much
            await asyncio.sleep(LOOK)
            self._ledger.read()
        self._ledger.close()
        return took

    async def _ask(self, numbers: Iterator[int]) -> None:
        client = Client(self._proxy.port)
        for asked, number in enumerate(numbers):
            stream = next(self._order)
            try:
                with self._provider.awaiting(number) as arrived:
                    told = await client.ask(stream, stream.target(number), arrived)
            except OSError as e:
                raise BenchError(f"Expected a connection to mitmdump, got {e}. {self._proxy.output()}") from e
            self._ledger.enter(number, stream, told)
            if asked % KEPT == KEPT - 1:
                await client.leave()
        await client.leave()

    def _look(self) -> None:
        self._ledger.read()
        if self._proxy.runs:
            now = Insides(self._proxy.resident(), self._proxy.handles())
            self.most = Insides(max(now.memory, self.most.memory), max(now.handles, self.most.handles))


def _say(message: str) -> None:
    sys.stderr.write(f"{message}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
