"""Secrets taken out of a response while it arrives, chunk boundaries kept.

A line is the unit. Nothing that is looked for is longer than a line, except a PEM block, and what an answer
spells out over many frames (`secret_deltas`). So a chunk is held until the line that it ends in is complete,
which a chunk of whole frames is at once, and while something that began in it may still become a secret. What is
held is bounded; at the bound it is judged as it stands, and what is probably a secret goes.

A placeholder stands in the chunk in which its secret began; what other chunks and frames had of it is taken out,
so a chunk may become empty. It stays a chunk: there are as many, at the same times.

Bytes must be identity: a compressed stream has to be decoded first (and recorded as what it decodes to), since
nothing inside compressed bytes can be replaced.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable

from sseguard.recordings.recording import Chunk

from .secret_deltas import STRUCTURAL, Cut, Deltas, following, swallowed
from .secret_edits import Edits
from .secret_patterns import PEM_END, PEM_FIRST_LINE, PEM_LINE
from .secret_scan import CleanFields, Hit, Wanted, find, with_begun
from .secret_tails import opening
from .secret_views import BASE64_BYTES

#: A longer line is judged in parts, in bytes.
MAX_LINE = 65536
#: Parts overlap by this much, so that a secret of up to this length is in one of them as a whole.
OVERLAP = 8192
#: Held chunks, with 64 bytes for each beside its data.
MAX_HELD = 2 << 20

_LINE_ENDS = (b"\n", b"\r")
_MAX_PEM = 32768
_NUMBER = re.compile(rb' ?"\w{1,40}": ?[0-9]{1,15}')
_ID = re.compile(rb'[^"]*"(?:' + STRUCTURAL + rb')"\s*:\s*"[^"]*"[^"]*')


class StreamRedactor:
    """Takes secrets out of one response.

    `place` gives the placeholder for a hit. `no_secret` remembers for many streams what `finds_nothing` said.
    """

    def __init__(self, wanted: Wanted, place: Callable[[Hit], bytes], no_secret: CleanFields) -> None:
        self._wanted = wanted
        self._deltas = Deltas(wanted)
        self._edits = Edits(place)
        self._held: deque[Chunk] = deque()
        self._held_size = 0
        self._released = 0  # offsets in the stream: up to here chunks were given back,
        self._judged = 0  # up to here lines were looked at, and here `_open` begins
        self._open = bytearray()
        self._inside = False  # `_open` begins inside a line
        self._pem = bytearray()
        self._swallow: re.Pattern[bytes] | None = None
        self._clean = CleanFields(self._begins_nothing)
        self._no_secret = no_secret

    def feed(self, at: float, data: bytes) -> list[Chunk]:
        """Take a chunk that came `at` seconds after the headers; returns the chunks that may be written now."""
        if not self._held and data[-1:] in _LINE_ENDS and len(data) <= MAX_LINE and self._plain(data):
            self._released = self._judged = self._judged + len(data)
            return [Chunk(at, data)]
        self._held.append(Chunk(at, data))
        self._held_size += len(data) + 64
        self._open += data
        end = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
        if end:
            self._lines(len(self._open) - len(data) + end)
        if len(self._open) > MAX_LINE + OVERLAP:
            self._part_of_line()
        ready = self._ready()
        return ready if self._held_size <= MAX_HELD else ready + self._give_up()

    def finish(self) -> list[Chunk]:
        """The stream has ended, somehow; returns the chunks that are left."""
        self._lines(len(self._open), last=True)
        if self._pem:
            self._pem_block()
        self._edits.add(self._deltas.settle())
        return self._ready()

    def _plain(self, data: bytes) -> bool:
        """Whether complete lines hold nothing to take out, and begin nothing. Nothing may be held."""
        if self._deltas.active or self._swallow or self._wanted.user or self._mentions(data):
            return False
        return all(self._harmless_line(line) for line in data.splitlines(True))

    def _harmless_line(self, line: bytes) -> bool:
        if len(line) < 3:
            return True
        if not self._clean(line):
            return False
        self._deltas.skip()
        return True

    def _mentions(self, data: bytes) -> bool:
        return any(needle.form in data for needle in self._wanted.needles)

    def _harmless(self, line: bytes) -> bool:
        # A known secret may hold commas, and a pattern of the user's may say anything.
        return not self._wanted.user and not self._mentions(line) and self._harmless_line(line)

    def _begins_nothing(self, part: bytes) -> bool:
        if _NUMBER.fullmatch(part):
            return True
        if not self._no_secret(part):
            return False
        quote = part.rfind(b'"')
        if quote < 0 or part[quote + 1 : quote + 2] == b":":  # no text ends here
            return True
        return _ID.fullmatch(part) is not None or opening(part[:quote], self._wanted) is None

    def _find(self, line: bytes) -> list[Hit]:
        if self._wanted.user or self._mentions(line) or not self._no_secret(line):
            return find(line, self._wanted)
        return []

    def _lines(self, end: int, *, last: bool = False) -> None:
        lines = bytes(self._open[:end])
        del self._open[:end]
        for line in lines.splitlines(keepends=True):
            start, self._judged = self._judged, self._judged + len(line)
            if self._pem or (b"PRIVATE KEY-----" in line and PEM_FIRST_LINE.search(line)):
                self._pem_line(line)
            elif self._inside or last or self._deltas.active or self._swallow or not self._harmless(line):
                self._judge(line, start, last=last)
            self._inside = False

    def _judge(self, line: bytes, start: int, *, last: bool) -> None:
        cuts, owned = self._deltas.feed(line, start)
        if self._swallow:
            cuts.append(Cut(start, start + swallowed(line, self._swallow), None))
            self._swallow = None
        hits = self._find(line)
        if last and (begun := opening(line, self._wanted)):
            hits = with_begun(hits, begun.hit)
        cuts += filter(None, (_outside(start + hit.start, start + hit.end, hit, owned) for hit in hits))
        self._edits.add(cuts)

    def _pem_line(self, line: bytes) -> None:
        first = not self._pem
        self._pem += line
        over = PEM_END.search(line) or not (first or PEM_LINE.fullmatch(line)) or len(self._pem) > _MAX_PEM
        if over:
            self._pem_block()

    def _pem_block(self) -> None:
        block = bytes(self._pem)
        self._pem.clear()
        self._judge(block, self._judged - len(block), last=False)

    def _part_of_line(self) -> None:
        """Judge a line that is too long to wait for, but for its end, which the next part begins with."""
        part = bytes(self._open)
        start, until = self._judged, len(part) - OVERLAP
        digits = len(part.rstrip(BASE64_BYTES))
        if digits < until:  # the next part begins where a group of four does
            until -= (until - digits) % 4
        begun = opening(part, self._wanted)
        gone = swallowed(part, self._swallow) if self._swallow else 0
        cuts = [Cut(start, start + gone, None)]
        self._swallow = self._swallow if gone == len(part) else None
        for hit in with_begun(find(part, self._wanted), begun and begun.hit):
            if hit.start < until:
                until = max(until, hit.end)
                cuts.append(Cut(start + hit.start, start + hit.end, hit))
                if hit.end == len(part):
                    self._swallow = following(hit)
        self._edits.add(cuts)
        until = max(until, gone)
        del self._open[:until]
        self._judged += until
        self._inside = True

    def _give_up(self) -> list[Chunk]:
        self._edits.add(self._deltas.settle())
        if self._pem:
            self._pem_block()
        if len(self._open) > OVERLAP:
            self._part_of_line()
        return self._ready()

    def _ready(self) -> list[Chunk]:
        waiting = self._deltas.hold()
        until = min(self._judged - len(self._pem), self._judged if waiting is None else waiting)
        ready = []
        while self._held and self._released + len(self._held[0].data) <= until:
            chunk = self._held.popleft()
            self._held_size -= len(chunk.data) + 64
            ready.append(Chunk(chunk.at, self._edits.apply(chunk.data, self._released)))
            self._released += len(chunk.data)
        return ready


def finds_nothing(part: bytes) -> bool:
    """Whether there is no secret in a part of a line, between commas, that no one wants to see in particular."""
    # User information and PEM blocks may have commas in them, so those are for the whole line.
    return b"://" not in part and b"-----" not in part and not find(part)


def _outside(start: int, end: int, hit: Hit, owned: list[tuple[int, int]]) -> Cut | None:
    """The cut for a hit, but for what is judged as part of a text."""
    for low, high in owned:
        if low <= start < high:
            start = high
    return Cut(start, end, hit) if start < end else None
