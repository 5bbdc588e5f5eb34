"""Waiting for what nobody announces: files that another process writes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from .proxy import PATIENCE

T = TypeVar("T")


def until(look: Callable[[], T | None]) -> T:
    """What `look` gives, as soon as it gives anything that is true."""
    deadline = time.monotonic() + PATIENCE
    while not (seen := look()):
        assert time.monotonic() < deadline, f"Expected something to see within {PATIENCE:g} seconds, got {seen!r}."
        os.sched_yield()
    return seen


def recorded(folder: Path, count: int = 1) -> list[Path]:
    """The files in `folder`, sorted, when there are `count` and each has the name it gets when it is finished."""

    def look() -> list[Path] | None:
        paths = sorted(folder.iterdir())
        return paths if len(paths) == count and not any("-unfinished" in path.name for path in paths) else None

    return until(look)
