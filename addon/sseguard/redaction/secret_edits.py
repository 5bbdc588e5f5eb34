"""What is to be replaced in a stream, applied chunk by chunk as the chunks are let go."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable

from .secret_deltas import Cut
from .secret_scan import Hit


class Edits:
    """Replacements by offset in the stream, in order and without overlap. `place` gives a hit's placeholder."""

    def __init__(self, place: Callable[[Hit], bytes]) -> None:
        self._place = place
        self._edits: list[tuple[int, int, bytes]] = []

    def add(self, cuts: Iterable[Cut]) -> None:
        """Take note of some cuts. Where one overlaps an earlier, the placeholder that begins first stays."""
        for cut in sorted(cuts, key=lambda cut: cut.start):
            if cut.start < cut.end:
                self._add(cut)

    def _add(self, cut: Cut) -> None:
        low = bisect_left(self._edits, (cut.start,))
        if low and self._edits[low - 1][1] > cut.start:
            low -= 1
        high = low
        while high < len(self._edits) and self._edits[high][0] < cut.end:
            high += 1
        end = max([cut.end, *(edit[1] for edit in self._edits[low:high])])
        if low < high and self._edits[low][0] <= cut.start:
            start, _, text = self._edits[low]
        else:
            start, text = cut.start, self._place(cut.hit) if cut.hit else b""
        self._edits[low:high] = [(start, end, text)]

    def apply(self, data: bytes, offset: int) -> bytes:
        """`data`, which begins at `offset`, after the edits; offsets must grow from call to call."""
        parts, done, end = [], offset, offset + len(data)
        used = 0
        for start, stop, text in self._edits:
            if start >= end:
                break
            parts.append(data[done - offset : max(start - offset, 0)])
            parts.append(text if start >= offset else b"")
            done = max(done, min(stop, end))
            used += stop <= end
        if not parts:
            return data
        del self._edits[:used]
        return b"".join([*parts, data[done - offset :]])
