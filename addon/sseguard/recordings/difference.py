"""Where two JSON values differ first, in a line that is short and safe to print however large or hostile they are."""

from __future__ import annotations

from .recording import plain, shown

#: Levels that are gone into. Each compares what lies below it again, so this bounds the time.
MAX_DEPTH = 8

_BLOCK = 4096


def same(one: object, other: object) -> bool:
    """Equality of JSON values; those nested too deeply for Python to compare count as different."""
    try:
        return one == other
    except RecursionError:
        return False


def difference(where: str, recorded: object, got: object) -> str:
    """The first place in which two values differ, `None` being nothing at all: `messages[0].content: recorded …`."""
    for _ in range(MAX_DEPTH):
        step = _step(recorded, got)
        if step is None:
            break
        place, recorded, got = step
        where += place
    named = plain(where)
    match recorded, got:
        case list(), list() if len(recorded) != len(got):
            return f"{named}: recorded {len(recorded)} items, got {len(got)}"
        case str(), str():
            start = max(0, _parting(recorded, got) - 20)
            return f"{named}: recorded {_excerpt(recorded, start)}, got {_excerpt(got, start)}"
        case _:
            return f"{named}: recorded {_told(recorded)}, got {_told(got)}"


def _step(recorded: object, got: object) -> tuple[str, object, object] | None:
    """One level down towards the first difference, if there is a way."""
    match recorded, got:
        case dict(), dict():
            ours, theirs = recorded, got
            names = ((f".{key}", key) for key in dict.fromkeys((*ours, *theirs)))
            pairs = ((name, ours.get(key), theirs.get(key)) for name, key in names)
        case list(), list() if len(recorded) == len(got):
            zipped = enumerate(zip(recorded, got, strict=True))
            pairs = ((f"[{place}]", one, other) for place, (one, other) in zipped)
        case _:
            return None
    return next((pair for pair in pairs if not same(pair[1], pair[2])), None)


def _parting(one: str, other: str) -> int:
    """The first index at which two texts differ, found by blocks because a prompt may have megabytes."""
    start = 0
    while start < len(one) and one[start : start + _BLOCK] == other[start : start + _BLOCK]:
        start += _BLOCK
    ends = min(len(one), len(other), start + _BLOCK)
    return next((index for index in range(start, ends) if one[index] != other[index]), ends)


def _excerpt(text: str, start: int) -> str:
    return ("…" if start else "") + shown(text[start : start + 60])


def _told(value: object) -> str:
    return "nothing" if value is None else shown(value)
