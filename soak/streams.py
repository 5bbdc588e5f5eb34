"""What is sent: each example stream, in an order that mixes them, at the recorded pace or all at once."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from sseguard.recordings.fixture import SUFFIX, load_all
from sseguard.recordings.matching import Match
from sseguard.recordings.player import Player
from sseguard.recordings.recording import Ending, Recording
from sseguard.verdicts import Verdict

FIXTURES = Path(__file__).resolve().parent.parent / "examples" / "fixtures"

#: Which of the examples' hosts take what model ids. All are one loopback player here, each with a path of its own.
ROUTES = {
    "openrouter.ai": "openrouter",
    "api.openai.com": "openai",
    "api.anthropic.com": "anthropic",
    "generativelanguage.googleapis.com": "native",
}


@dataclass(frozen=True, slots=True)
class Stream:
    """An example. `name`: its file's, without the ending; `verdict`: what the guard is to find."""

    name: str
    recording: Recording
    verdict: Verdict

    @classmethod
    def read(cls, recording: Recording) -> Stream:
        """One whose file is named `api-verdict` or `api-verdict-variant`."""
        name = Path(recording.name).name.removesuffix(SUFFIX)
        return cls(name, recording, Verdict(name.split("-")[1]))

    @property
    def is_reset(self) -> bool:
        """Whether its connection is reset at last, which may overtake what was sent before."""
        return self.recording.end is Ending.CUT

    @property
    def body(self) -> bytes:
        """All that is sent."""
        return b"".join(chunk.data for chunk in self.recording.chunks)

    def target(self, number: int) -> str:
        """Where it is asked for by the exchange with that number, which `number_in` finds again."""
        url = urlsplit(self.recording.request.url)
        query = f"?{url.query}" if url.query else ""
        return f"/{url.hostname}/{number}{url.path}{query}"

    @property
    def asked(self) -> bytes:
        """The body of the request."""
        return json.dumps(self.recording.request.body).encode()


def number_in(target: str) -> int:
    """The number of the exchange that asked for `target`."""
    return int(target.split("/", 3)[2])


def chosen(only: Sequence[str]) -> list[Stream]:
    """The examples that have any of the texts `only` in their names; all, if there are none."""
    every = map(Stream.read, load_all(FIXTURES))
    return [stream for stream in every if not only or any(text in stream.name for text in only)]


def mixed(streams: Iterable[Stream], seed: int) -> Iterator[Stream]:
    """All of `streams`, in random order, over and over."""
    dice, deck = random.Random(seed), list(streams)  # noqa: S311 -- no cryptography
    while True:
        dice.shuffle(deck)
        yield from deck


class Provider:
    """Plays recordings on loopback, every other one all at once."""

    def __init__(self, streams: Iterable[Stream]) -> None:
        recordings = [stream.recording for stream in streams]
        self.player = Player(recordings, match=Match.MODEL, transform=self._paced)
        self._hurries = itertools.cycle((False, True))
        self._awaited: dict[int, asyncio.Event] = {}

    @contextmanager
    def awaiting(self, number: int) -> Iterator[asyncio.Event]:
        """What is set when the exchange with that number arrives here."""
        event = self._awaited[number] = asyncio.Event()
        try:
            yield event
        finally:
            del self._awaited[number]

    def _paced(self, recording: Recording) -> Recording:
        if event := self._awaited.get(number_in(self.player.requests[-1].path)):
            event.set()
        if not next(self._hurries):
            return recording
        return replace(recording, chunks=tuple(replace(chunk, at=0.0) for chunk in recording.chunks), ended=0.0)
