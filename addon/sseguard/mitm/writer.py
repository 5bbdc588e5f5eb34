"""Files that are written beside the traffic: a slow disk stalls a thread of its own, and no stream."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path

logger = logging.getLogger(__name__)


#: What a job weighs beside the bytes that it holds.
JOB = 512

#: The most jobs that are done together.
TOGETHER = 1000

#: How long the thread works at a time, and how long it then lets others work, in seconds: Python runs one thread at a
#: time, and a stream that is relayed meanwhile would wait. There are no breaks while much waits, in bytes.
STINT, BREAK = 0.0003, 0.0002
MUCH = 1 << 20


class Worker:
    """Does jobs one after the other, in a thread.

    Args:
        name: of the thread.
        limit: the most bytes that may wait, unless in one job alone.
        pause: how long to let jobs gather before they are done together, in seconds: each waking of a thread has a
            price that the streams pay.
        rest: called after those that were done together.
    """

    def __init__(
        self, name: str, limit: int = 64 << 20, *, pause: float = 0.0, rest: Callable[[], None] = lambda: None
    ) -> None:
        self._limit = limit
        self._pause, self._rest = pause, rest
        self._waiting = 0
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._jobs: queue.SimpleQueue[tuple[Callable[[], None], int] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, job: Callable[[], None], size: int = 0) -> bool:
        """Have `job` done soon; it holds `size` bytes. Never waits.

        Returns False, and the job is not done, if too much waits already. A job that holds nothing is always taken.
        """
        with self._lock:
            if size and self._waiting and self._waiting + size + JOB > self._limit:
                return False
            self._waiting += size + JOB
        self._jobs.put((job, size + JOB))
        return True

    @property
    def is_alive(self) -> bool:
        """Whether there may still be jobs to do."""
        return self._thread.is_alive()

    def close(self, *, wait: bool = True) -> None:
        """Nothing more is submitted. Wait until all is done."""
        self._jobs.put(None)
        self._closing.set()
        if wait:
            self._thread.join()

    def _run(self) -> None:
        jobs: list[tuple[Callable[[], None], int] | None] = []
        while None not in jobs[-1:]:
            jobs = self._gathered()
            done = [item for item in jobs if item is not None]
            rested = time.monotonic()
            for job, _ in done:
                self._do(job)
                if self._waiting < MUCH and time.monotonic() > rested + STINT:
                    time.sleep(BREAK)
                    rested = time.monotonic()
            self._do(self._rest)
            with self._lock:
                self._waiting -= sum(size for _, size in done)

    def _gathered(self) -> list[tuple[Callable[[], None], int] | None]:
        """What waits, when something does; ends in None when there will be no more."""
        jobs = [self._jobs.get()]
        self._closing.wait(self._pause)
        with contextlib.suppress(queue.Empty):
            while jobs[-1] is not None and len(jobs) < TOGETHER:
                jobs.append(self._jobs.get_nowait())
        return jobs

    def _do(self, job: Callable[[], None]) -> None:
        try:
            job()
        except Exception:
            logger.exception("A job beside the traffic has failed; the traffic goes on.")


class Writer:
    """Appends text to a file, in order. A disk that fails is told once, and the text is dropped."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._failed = self._full = False
        self._texts: list[str] = []
        self._worker = Worker(f"sseguard writes {path.name}", rest=self._append)

    def write(self, text: str) -> None:
        """Have `text` written soon. Never waits, never raises."""
        full = not self._worker.submit(lambda: self._texts.append(text), len(text))
        if full and not self._full:
            logger.error("Expected %s to keep up, but its disk is too slow. Some lines are left out.", self._path)
        self._full = full

    def close(self) -> None:
        """Wait until all is written."""
        self._worker.close()

    def _append(self) -> None:
        text = "".join(self._texts)
        self._texts.clear()
        if not text or self._failed:
            return
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(text)
        except OSError as e:
            self._failed = True
            logger.error("Expected to write to %s, got %s. Nothing more is written there.", self._path, e)
