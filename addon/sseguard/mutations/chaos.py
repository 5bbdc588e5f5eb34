"""Mutations by chance: which stream gets which is decided by a seed, and the same each time.

    chaos = Chaos.parse("cut=0.1,empty=0.05", seed=7)
    outcome = chaos.strike(recording, index)

Names are those of `mutate.MUTATIONS`, and `cut`, a break at any byte. What is done comes back in the words of
`parse_mutation`, so that it can be done again to a file.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import count
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from sseguard.dialects import Dialect
from sseguard.endpoints import find
from sseguard.recordings.recording import shown

from .frames import framed
from .mutate import MUTATIONS, MutationError, parse_mutation
from .prng import SplitMix64, mixed
from .shapes import SHAPES_OF

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sseguard.recordings.recording import Recording

FORM: Final = "NAME=PROBABILITY[,NAME=PROBABILITY…], such as cut=0.1,empty=0.05"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one stream.

    Attributes:
        recording: to be played.
        done: the mutation, as `parse_mutation` reads it; empty if the stream was left alone.
        problem: why the mutation that was drawn could not be done, else empty.
    """

    recording: Recording
    done: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Chaos:
    """At most one mutation a stream. `odds`: names and their probabilities, in order; `seed`: any whole number."""

    odds: tuple[tuple[str, float], ...]
    seed: int = 0

    @classmethod
    def parse(cls, text: str, seed: int = 0) -> Chaos:
        """Read text of the form `FORM`. Raises `MutationError`."""
        odds = tuple(map(_odds, text.split(",")))
        names = [name for name, _ in odds]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise MutationError(f"Expected each name once, got {twice} again in {shown(text)}.")
        total = math.fsum(probability for _, probability in odds)
        if total > 1:
            raise MutationError(f"Expected probabilities that add up to 1 at most, got {total:g} in {shown(text)}.")
        return cls(odds, seed)

    def strike(self, recording: Recording, index: int) -> Outcome:
        """What becomes of the stream served as number `index`: for one recording, that and the seed decide."""
        chance = SplitMix64(mixed(self.seed) + index)
        drawn = chance.unit()
        for name, probability in self.odds:
            if drawn < probability:
                return _strike(recording, name, chance)
            drawn -= probability
        return Outcome(recording)

    def transform(self, tell: Callable[[int, Outcome], object]) -> Callable[[Recording], Recording]:
        """For `Player`: strikes each stream as it is served, numbered from 0, and tells what it did, or did not."""
        numbers = count()

        def strike(recording: Recording) -> Recording:
            index = next(numbers)
            outcome = self.strike(recording, index)
            tell(index, outcome)
            return outcome.recording

        return strike


def _strike(recording: Recording, name: str, chance: SplitMix64) -> Outcome:
    text = name
    try:
        if name in _ARGUMENTS:
            text = _ARGUMENTS[name](recording, chance)
        return Outcome(parse_mutation(text)(recording), done=text)
    except MutationError as error:
        return Outcome(recording, problem=f"{text}: {error}")


def _odds(text: str) -> tuple[str, float]:
    name, _, probability = text.strip().partition("=")
    if name not in NAMES:
        raise MutationError(f"Expected {FORM}, with a name out of {', '.join(NAMES)}, got {shown(name)}.")
    try:
        value = float(probability)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise MutationError(f"Expected {FORM}, with a probability from 0 to 1 for {name}, got {shown(probability)}.")
    return name, value


def _cut(recording: Recording, chance: SplitMix64) -> str:
    size = sum(len(chunk.data) for chunk in recording.chunks)
    return f"cut-after-bytes={chance.below(max(size, 1))}"


def _cut_after_frames(recording: Recording, chance: SplitMix64) -> str:
    return f"cut-after-frames={chance.below(max(len(framed(recording).frames), 1))}"


def _heartbeats_first(_: Recording, chance: SplitMix64) -> str:
    return f"heartbeats-first={1 + chance.below(20)}"


def _stall(recording: Recording, chance: SplitMix64) -> str:
    return f"stall={1 + chance.below(30)}:{_frame(recording, chance)}"


def _error(recording: Recording, chance: SplitMix64) -> str:
    endpoint = find(recording.request.url)
    shapes = SHAPES_OF[endpoint.dialect if endpoint else Dialect.CHAT]
    return f"error={shapes[chance.below(len(shapes))]}:{_frame(recording, chance)}"


def _rechunk(_: Recording, chance: SplitMix64) -> str:
    return f"rechunk={chance.below(10**9)}"


def _frame(recording: Recording, chance: SplitMix64) -> int:
    return chance.below(len(framed(recording).frames) + 1)


#: How to draw what stands for the argument; the others do without one.
_ARGUMENTS: Final[Mapping[str, Callable[[Recording, SplitMix64], str]]] = MappingProxyType(
    {
        "cut": _cut,
        "cut-after-bytes": _cut,
        "cut-after-frames": _cut_after_frames,
        "error": _error,
        "heartbeats-first": _heartbeats_first,
        "rechunk": _rechunk,
        "stall": _stall,
    }
)

#: What `Chaos` can be asked for.
NAMES: Final = ("cut", *MUTATIONS)
