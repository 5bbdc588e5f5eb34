"""The ways from a client to a provider: direct, and through mitmdump in reverse mode, set up in each manner."""

from __future__ import annotations

import enum
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from .figures import BenchError
from .process import ROOT, SETTLE_WITHIN, Program, running, starting

MITMDUMP = Path(sys.executable).with_name("mitmdump")


class Way(enum.StrEnum):
    """How a stream comes to the client."""

    DIRECT = "direct"
    #: mitmdump with a pass-through `flow.response.stream` function.
    PLAIN = "pass-through"
    GUARD = "guard"
    RECORDING = "guard, recording"


PROXIED = (Way.PLAIN, Way.GUARD, Way.RECORDING)


@dataclass(frozen=True, slots=True)
class Proxy:
    """A mitmdump that runs.

    Attributes:
        recordings: where it puts them, if it does.
    """

    program: Program
    recordings: Path | None = None

    def settled_cpu(self) -> float:
        """CPU seconds when there is nothing more to do, and no recording to write. Removes recordings.

        Raises: BenchError.
        """
        give_up = time.monotonic() + SETTLE_WITHIN
        while self.recordings and any(self.recordings.glob("*-unfinished*")):
            if time.monotonic() > give_up:
                raise BenchError(f"Expected recordings to be written within {SETTLE_WITHIN} s, got one under way.")
            time.sleep(0.02)
        used = self.program.settled_cpu()
        for file in self.recordings.iterdir() if self.recordings else ():
            file.unlink()
        return used


@contextmanager
def upstream() -> Iterator[Program]:
    """The provider of `bench.upstream`. Raises: BenchError."""
    with running([sys.executable, "-m", "bench.upstream"], r"listening at (\d+)\n") as program:
        yield program


@contextmanager
def proxies(port: int, ways: Iterable[Way] = PROXIED) -> Iterator[dict[Way, Proxy]]:
    """A mitmdump in front of `port` for each of the ways. Raises: BenchError."""
    with ExitStack() as stack:
        started = {way: stack.enter_context(_proxy(port, way)) for way in ways}
        yield {way: listens() for way, listens in started.items()}


@contextmanager
def _proxy(port: int, way: Way) -> Iterator[Callable[[], Proxy]]:
    with tempfile.TemporaryDirectory(prefix="sseguard-bench-") as folder:
        script = ROOT / ("bench/passthrough.py" if way is Way.PLAIN else "addon/main.py")
        recordings = Path(folder) / "recordings" if way is Way.RECORDING else None
        command = [str(MITMDUMP), "--mode", f"reverse:http://127.0.0.1:{port}", "--listen-host", "127.0.0.1"]
        command += ["--listen-port", "0", "--set", f"confdir={folder}", "-s", str(script)]
        if recordings:
            recordings.mkdir()
            command += ["--set", f"sse_record={recordings}"]
        with starting(command, r"listening at [^\n]*:(\d+)\.") as listens:
            yield lambda: Proxy(listens(), recordings)
