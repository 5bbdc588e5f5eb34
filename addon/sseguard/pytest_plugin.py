"""The `sse_replay` fixture for pytest: a provider on loopback that plays recordings to the code under test.

    def test_my_client_retries(sse_replay):
        provider = sse_replay("recordings/empty_twice_then_answered", guard=True)
        client = MyClient(base_url=provider.base_url + "/v1")
        assert client.ask("Hi") == "Hello"
        assert len(provider.requests) == 3

The plugin comes with the package; nothing has to be turned on. The network is not touched.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest

from sseguard.mutations.mutate import parse_mutations
from sseguard.recordings.assessment import guarded
from sseguard.recordings.fixture import load_all
from sseguard.recordings.matching import Match
from sseguard.recordings.player import Player, run_in_thread
from sseguard.recordings.recording import Recording


class Replay(Protocol):
    """What the `sse_replay` fixture is: call it to start a provider, which is stopped when the test is over."""

    def __call__(
        self,
        path: str | Path,
        *faults: str,
        guard: bool = False,
        speed: float = 0,
        match: str = "path",
        strict: bool = True,
    ) -> Player:
        """Play a recording, or a folder of them.

        Args:
            path: a file or folder; a relative one is looked for beside the test first.
            faults: what to break on purpose, as for `sseguard mutate`: "cut-after-frames=3".
            guard: play what a client of the guard gets of them: a stream without an answer is a 502.
            speed: recorded seconds per second; 0 for no pacing.
            match: "exact", "model" or "path": how unlike a recorded request may be and still be answered.
            strict: fail the test at its end if a request was not in the recordings.

        Raises: FixtureError, MutationError.
        """


@pytest.fixture
def sse_replay(request: pytest.FixtureRequest) -> Iterator[Replay]:
    """Start providers that play recordings; see `Replay`."""
    with contextlib.ExitStack() as stack:

        def start(
            path: str | Path,
            *faults: str,
            guard: bool = False,
            speed: float = 0,
            match: str = "path",
            strict: bool = True,
        ) -> Player:
            mutation: Callable[[Recording], Recording] = parse_mutations(faults)
            recordings = [mutation(recording) for recording in load_all(_find(Path(path), request.path.parent))]
            transform = guarded if guard else None
            player = Player(recordings, speed=speed, match=Match(match), strict=strict, transform=transform)
            return stack.enter_context(run_in_thread(player))

        yield start


def _find(path: Path, beside: Path) -> Path:
    return beside / path if (beside / path).exists() else path
