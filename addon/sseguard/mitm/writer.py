"""Files that are written beside the traffic: a slow disk stalls a thread of its own, and no stream."""

from __future__ import annotations

import logging
import queue
import threading
from pathlib import Path

logger = logging.getLogger(__name__)


class Writer:
    """Appends text to a file, in order, from a thread. A disk that fails is told once, and the text is dropped."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._queue: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=f"sseguard writes {path.name}", daemon=True)
        self._thread.start()

    def write(self, text: str) -> None:
        """Have `text` written soon. Never waits, never raises."""
        self._queue.put(text)

    def close(self) -> None:
        """Wait until all is written."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        try:
            with self._path.open("a", encoding="utf-8") as file:
                while (text := self._queue.get()) is not None:
                    file.write(text)
                    if self._queue.empty():
                        file.flush()
        except OSError as e:
            logger.error("Expected to write to %s, got %s. Nothing more is written there.", self._path, e)
