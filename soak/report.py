"""What came of a soak, whether that is good, and as a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sseguard.verdicts import Verdict

from .ledger import Ledger

#: How much memory may grow in a minute, in bytes, where a soak lasts long enough to tell growth from chance. It
#: spreads out for minutes, as free pieces lie between used ones (some 6 MiB a minute were seen, with not a block of
#: Python's more); streams that stayed, at 30 KB, would make it 200 MiB.
GROWTH = 8 << 20
LONG_ENOUGH = 240.0

#: How many blocks of memory Python may have more at the end, for each exchange and besides. One object that stayed of
#: each exchange would be a block or more; this does not spread out. Besides, there are caches with a bound, and a short
#: soak has not filled them when it begins to count.
BLOCKS = 0.25
BLOCKS_BESIDES = 20_000

#: Faults that are shown. The rest are counted.
SHOWN = 20

_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Insides:
    """What mitmdump has at one moment: bytes of memory, open files and sockets, streams, tasks, Python's blocks."""

    memory: int
    handles: int
    streams: int = 0
    tasks: int = 0
    blocks: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """A soak that is over.

    Attributes:
        ledger: its books, closed.
        start, end: mitmdump's insides, with nothing under way.
        most: the most memory and handles in between.
        seconds: that it took.
        faults: exchanges that were not as they should be.
        complaints: what mitmdump said that it should not.
    """

    ledger: Ledger
    start: Insides
    end: Insides
    most: Insides
    seconds: float
    faults: Sequence[str]
    complaints: Sequence[str]

    @property
    def growth(self) -> float:
        """Bytes of memory a minute."""
        return (self.end.memory - self.start.memory) / max(self.seconds / 60, 1)

    @property
    def is_good(self) -> bool:
        """Whether nothing is wrong."""
        return not any(self.findings())

    def findings(self) -> Iterator[str]:
        """What is wrong, in words."""
        yield from self.faults[:SHOWN]
        if len(self.faults) > SHOWN:
            yield f"{len(self.faults) - SHOWN:,} more like these."
        yield from self.complaints
        for name in ("handles", "streams", "tasks"):
            before, after = getattr(self.start, name), getattr(self.end, name)
            if after > before:
                yield f"Expected {before} {name} at the end, as at the start, got {after}."
        blocks = self.end.blocks - self.start.blocks
        if blocks > (allowed := int(self.ledger.sent.total() * BLOCKS) + BLOCKS_BESIDES):
            yield f"Expected at most {allowed:,} more blocks of memory in Python, got {blocks:,}."
        if self.seconds >= LONG_ENOUGH and self.growth > GROWTH:
            yield f"Expected at most {GROWTH / _MIB:g} MiB more memory a minute, got {self.growth / _MIB:.1f}."


def as_text(outcome: Outcome) -> str:
    """Two tables, and what is wrong."""
    ledger = outcome.ledger
    total = ledger.sent.total()
    columns = (ledger.sent, ledger.told, ledger.logged, ledger.recorded)
    known = [verdict.value for verdict in Verdict]
    names = [*known, *sorted({name for counter in columns for name in counter} - {*known})]
    lines = [f"{total:,} exchanges in {outcome.seconds:.0f} s, {total / max(outcome.seconds, 1):.0f} a second.", ""]
    lines += [_row("verdict", "sent", "told", "logged", "recorded")]
    lines += [
        _row(name, *(f"{counter[name]:,}" for counter in columns))
        for name in names
        if any(counter[name] for counter in columns)
    ]
    lines += [_row("all", *(f"{counter.total():,}" for counter in columns)), ""]
    start, end, most = outcome.start, outcome.end, outcome.most
    lines += [_row("mitmdump", "at start", "most", "at end", "more")]
    memory = [f"{insides.memory / _MIB:.1f}" for insides in (start, most, end)]
    lines += [_row("memory, MiB", *memory, f"{outcome.growth / _MIB:+.2f}/min")]
    lines += [
        _row("handles", str(start.handles), str(most.handles), str(end.handles), _more(start.handles, end.handles))
    ]
    for name in ("streams", "tasks", "blocks"):
        before, after = getattr(start, name), getattr(end, name)
        lines += [_row(name, f"{before:,}", "", f"{after:,}", _more(before, after))]
    lines += [""]
    findings = list(outcome.findings())
    lines += findings or ["All as it should be."]
    return "\n".join([*lines, ""])


def _row(first: str, *others: str) -> str:
    return first.ljust(20) + "".join(text.rjust(12) for text in others)


def _more(before: int, after: int) -> str:
    return f"{after - before:+,}"
