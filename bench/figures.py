"""What has been measured: samples of each contender, round by round, and what follows from them."""

from __future__ import annotations

import enum
import gc
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")


class BenchError(Exception):
    """Raised when something cannot be measured. The message is for the user."""


class Of(enum.StrEnum):
    """What a target speaks of."""

    #: The contender's own figure.
    VALUE = "value"
    #: That figure, divided by the rival's in the same round.
    RATIO = "ratio"
    #: That figure, less the rival's in the same round.
    DIFFERENCE = "difference"


@dataclass(frozen=True, slots=True)
class Spread:
    """Median and quartiles of a row of samples."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, samples: Sequence[float]) -> Spread:
        """Of one sample or more."""
        if len(samples) < 2:
            return cls(samples[0], samples[0], samples[0])
        low, median, high = statistics.quantiles(samples, n=4, method="inclusive")
        return cls(median, low, high)


@dataclass(frozen=True, slots=True)
class Target:
    """What a contender should reach.

    Attributes:
        limit: in the figure's unit, or a ratio.
        at_least: whether more is better.
        within_spread: the target is met when any of the middle half of the rounds meets it; otherwise the median must.
    """

    of: Of
    limit: float
    at_least: bool = False
    within_spread: bool = False

    def is_met(self, spread: Spread) -> bool:
        """Whether samples of that spread are good enough."""
        if self.at_least:
            return (spread.high if self.within_spread else spread.median) >= self.limit
        return (spread.low if self.within_spread else spread.median) <= self.limit


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing measured, of all who contend in it.

    Attributes:
        name: what was measured, under which conditions.
        unit: of the samples.
        samples: by contender, one a round. Contenders have the same rounds.
        rival: the contender that the others are compared with, or empty.
        targets: by contender.
    """

    name: str
    unit: str
    samples: Mapping[str, Sequence[float]]
    rival: str = ""
    targets: Mapping[str, Sequence[Target]] = field(default_factory=dict)

    def spread(self, contender: str, of: Of) -> Spread | None:
        """How a contender did; None for a comparison that there is no rival for."""
        own = self.samples[contender]
        if of is Of.VALUE:
            return Spread.of(own)
        rivals = self.samples.get(self.rival)
        if contender == self.rival or not rivals:
            return None
        pairs = zip(own, rivals, strict=True)
        if of is Of.DIFFERENCE:
            return Spread.of([mine - other for mine, other in pairs])
        return Spread.of([mine / other for mine, other in pairs]) if all(rivals) else None

    def outcomes(self, contender: str) -> list[tuple[Target, bool]]:
        """The contender's targets that there is a figure for, and whether each is met."""
        found = ((target, self.spread(contender, target.of)) for target in self.targets.get(contender, ()))
        return [(target, target.is_met(spread)) for target, spread in found if spread is not None]


@dataclass(frozen=True, slots=True)
class Section:
    """Figures on one subject. `notes` say what was left out, and what a reader should know."""

    title: str
    figures: Sequence[Figure]
    notes: Sequence[str] = ()


def interleaved(
    rounds: int, contenders: Iterable[str], measure: Callable[[str], T], *, warm_up: bool = True
) -> dict[str, list[T]]:
    """`measure` of each contender, `rounds` times in turn; each round starts with another one.

    A round before the first is thrown away, unless it is not wanted.
    """
    names = list(contenders)
    results: dict[str, list[T]] = {name: [] for name in names}
    for number in range(-1 if warm_up else 0, rounds):
        start = number % len(names)
        for name in names[start:] + names[:start]:
            with _no_garbage():
                result = measure(name)
            if number >= 0:
                results[name].append(result)
    return results


@contextmanager
def _no_garbage() -> Iterator[None]:
    """As `timeit` has it: no contender pays for collecting what another has left."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def percentile(samples: Sequence[float], percent: int) -> float:
    """The sample that so many percent do not exceed."""
    return sorted(samples)[min(len(samples) * percent // 100, len(samples) - 1)]
