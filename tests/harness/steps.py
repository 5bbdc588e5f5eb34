"""Streams in lock-step: nothing more is sent before the client has got what came so far. Any delay is a deadlock."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import httpx

from .apis import CHAT, Api
from .proxy import PATIENCE
from .scripts import END, Ending
from .stage import Stage, Way
from .upstream import Connection


@dataclass(frozen=True)
class Step:
    """Chunks that are sent at once, and what the client is to get by them."""

    sent: tuple[bytes, ...]
    arrives: bytes

    @classmethod
    def of(cls, *chunks: bytes) -> Step:
        """Chunks that arrive as they are."""
        return cls(chunks, b"".join(chunks))


class Steps:
    """An upstream's script that sends step by step, and the reading of it by the client.

    Args:
        steps: in their order; bytes are a step that arrives as it is sent.
        then: what the upstream does at last, the orderly end if nothing else is said.
        headers: of the response, as for `Connection.send_headers`.
    """

    def __init__(self, *steps: Step | bytes, then: Ending = END, **headers: Any) -> None:
        self.steps = [Step.of(step) if isinstance(step, bytes) else step for step in steps]
        self._then = then
        self._headers = headers
        self._arrived = threading.Semaphore(0)

    def __call__(self, connection: Connection) -> None:
        connection.read_request()
        connection.send_headers(**self._headers)
        for step in self.steps:
            for chunk in step.sent:
                connection.send_chunk(chunk)
            assert self._arrived.acquire(timeout=PATIENCE), f"Expected the client to get {step.arrives!r}."
        self._then(connection)

    @property
    def arriving(self) -> bytes:
        """What the client gets by all steps."""
        return b"".join(step.arrives for step in self.steps)

    def follow(self, response: httpx.Response) -> bytes:
        """Read `response` step by step, and give what comes behind the last one."""
        body = Body(response)
        for step in self.steps:
            assert body.read(len(step.arrives)) == step.arrives
            self._arrived.release()
        return body.rest()


class Body:
    """The body of a streamed response, still in its content coding, for reading in exact portions."""

    def __init__(self, response: httpx.Response) -> None:
        self._chunks = response.iter_raw()
        self._buffer = b""

    def read(self, size: int) -> bytes:
        """So many bytes. Waits for them, and not for any more."""
        while len(self._buffer) < size:
            self._buffer += next(self._chunks)
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    def rest(self) -> bytes:
        """All that is still to come."""
        return self._buffer + b"".join(self._chunks)


def assert_followed(stage: Stage, way: Way, steps: Steps, api: Api = CHAT, verdict: str = "answered") -> None:
    """All of `steps` arrives, each in time, and nothing else."""
    stage.play(steps)
    with stage.stream(way, api) as response:
        assert response.status_code == 200
        assert steps.follow(response) == b""
    assert stage.facts["verdict"] == verdict
