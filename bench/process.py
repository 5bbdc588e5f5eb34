"""Programs that are measured: started, watched through /proc, and ended by their process id."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .figures import BenchError

ROOT = Path(__file__).resolve().parent.parent

#: Seconds.
START_WITHIN = 60.0
STOP_WITHIN = 5.0
SETTLE_WITHIN = 120.0

#: Open files that the largest crowd takes, on either side.
FILES = 8192

#: A process that has used less CPU in `REST` seconds than this share of them does nothing of note.
REST = 0.03
IDLE = 0.03


@dataclass(frozen=True, slots=True)
class Program:
    """A program that was started, and the port that it listens on."""

    process: subprocess.Popen[bytes]
    port: int
    said: int  # a file descriptor

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    @property
    def runs(self) -> bool:
        """Whether it still does."""
        return self.process.poll() is None

    def output(self) -> str:
        """What it has printed so far, the start of it if that is much."""
        return _said(self.said)

    def cpu(self) -> float:
        """CPU seconds so far, of all threads: to the nanosecond if the kernel counts them, else to the tick."""
        try:
            threads = Path(f"/proc/{self.pid}/task").glob("*/schedstat")
            exact = sum(int(thread.read_text("ascii").split()[0]) for thread in threads) / 1e9
        except OSError:
            exact = 0.0
        return exact or self._ticks() / os.sysconf("SC_CLK_TCK")

    def _ticks(self) -> int:
        # The name before the parenthesis may hold anything; of the rest, the twelfth and thirteenth are meant.
        user, system = Path(f"/proc/{self.pid}/stat").read_text("utf-8").rpartition(")")[2].split()[11:13]
        return int(user) + int(system)

    def settled_cpu(self) -> float:
        """CPU seconds when there is nothing more to do. Raises: BenchError."""
        before = self.cpu()
        give_up = time.monotonic() + SETTLE_WITHIN
        while time.monotonic() < give_up:
            time.sleep(REST)
            after = self.cpu()
            if after - before < REST * IDLE:
                return after
            before = after
        raise BenchError(f"Expected process {self.pid} to come to rest within {SETTLE_WITHIN} s, got one still busy.")

    def resident(self) -> int:
        """Bytes of memory that it has in use."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text("ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def handles(self) -> int:
        """How many files and sockets it has open."""
        return sum(1 for _ in Path(f"/proc/{self.pid}/fd").iterdir())


@contextmanager
def running(command: Sequence[str], listening: str) -> Iterator[Program]:
    """As `starting`, once it listens. Raises: BenchError."""
    with starting(command, listening) as listens:
        yield listens()


@contextmanager
def starting(command: Sequence[str], listening: str) -> Iterator[Callable[[], Program]]:
    """A program, and what waits until it has printed what the expression `listening` looks for: its group is the port.

    That function raises: BenchError.
    """
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(  # noqa: S603 -- our own
            command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},  # so that what it prints can be waited for
        )
        try:
            yield lambda: _listening(process, said.fileno(), re.compile(listening))
        finally:
            _stop(process)


def raise_file_limit() -> None:
    """Let this program, and those that it starts, have so many files open as the largest crowd takes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _listening(process: subprocess.Popen[bytes], said: int, pattern: re.Pattern[str]) -> Program:
    give_up = time.monotonic() + START_WITHIN
    while time.monotonic() < give_up:
        over = process.poll() is not None
        if found := pattern.search(_said(said)):
            return Program(process, int(found[1]), said)
        if over:
            break
        time.sleep(0.02)
    raise BenchError(f"Expected {process.args!r} to listen within {START_WITHIN} s, got this from it:\n{_said(said)}")


def _said(file: int) -> str:
    return os.pread(file, 1 << 16, 0).decode("utf-8", "backslashreplace")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_WITHIN)
    except subprocess.TimeoutExpired:
        pass
    finally:  # also when one more Ctrl-C comes
        process.kill()
        process.wait()
