"""How much is measured: the more, the longer it takes and the less a busy machine matters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of everything.

    Attributes:
        rounds: of everything that is quick to measure.
        slow_rounds: of everything else.
        bulk: bytes of a body by size of its chunks; 0 is a frame a chunk.
        window: seconds for which paced streams are watched.
        requests: for the time to the first answer, a round.
        streams: numbers of paced streams at once.
        decoded: bytes for each decoder, in all rounds together.
        hostile: what share of the hostile input of full size is fed.
        judged: bytes of requests, a round.
        crowd: numbers of streams from the player: to begin with, to add in each step, and to end with.
    """

    rounds: int
    slow_rounds: int
    bulk: Mapping[int, int]
    window: float
    requests: int
    streams: tuple[int, ...]
    decoded: int
    hostile: float
    judged: int
    crowd: tuple[int, int, int]


_MIB = 1 << 20

FULL = Sizes(
    rounds=7,
    slow_rounds=3,
    bulk={0: 4 * _MIB, 4096: 8 * _MIB, 65536: 16 * _MIB},
    window=1.5,
    requests=50,
    streams=(10, 50, 200),
    decoded=64 * _MIB,
    hostile=1.0,
    judged=32 * _MIB,
    crowd=(200, 150, 3000),
)

#: To see where one stands.
QUICK = Sizes(
    rounds=3,
    slow_rounds=1,
    bulk={0: 2 * _MIB, 4096: 4 * _MIB, 65536: 8 * _MIB},
    window=1.0,
    requests=20,
    streams=(10, 200),
    decoded=12 * _MIB,
    hostile=0.5,
    judged=20 * _MIB,
    crowd=(200, 300, 2000),
)

#: To see that it works; the figures say nothing.
SMOKE = Sizes(
    rounds=1,
    slow_rounds=1,
    bulk={0: _MIB // 16, 4096: _MIB // 16, 65536: _MIB // 4},
    window=0.1,
    requests=1,
    streams=(2,),
    decoded=_MIB // 4,
    hostile=0.01,
    judged=1,
    crowd=(2, 2, 4),
)
