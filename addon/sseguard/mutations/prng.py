"""Repeatable chance: the same seed gives the same numbers on every machine and every version of Python."""

from __future__ import annotations

_MASK = (1 << 64) - 1
_GAMMA = 0x9E3779B97F4A7C15


class SplitMix64:
    """Steele, Lea and Flood's generator (OOPSLA 2014), 64 bits a number. `seed` is any whole number."""

    __slots__ = ("_state",)

    def __init__(self, seed: int) -> None:
        self._state = seed

    def next(self) -> int:
        """The next number, 0 up to 2**64 - 1."""
        self._state = (self._state + _GAMMA) & _MASK
        return mixed(self._state)

    def below(self, limit: int) -> int:
        """A whole number from 0 to `limit` - 1; `limit` is 1 or more and far below 2**64."""
        return (self.next() * limit) >> 64

    def unit(self) -> float:
        """A number from 0 up to, but not including, 1."""
        return (self.next() >> 11) * 2.0**-53


def mixed(number: int) -> int:
    """64 bits that look unrelated to those of `number`, and differ for each."""
    number &= _MASK
    number = ((number ^ (number >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    number = ((number ^ (number >> 27)) * 0x94D049BB133111EB) & _MASK
    return number ^ (number >> 31)
