"""The example streams: complete, well-formed, and each with the verdict that its name promises."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from sseguard import endpoints, routing
from sseguard.codings import Decoder
from sseguard.dialects import Dialect
from sseguard.gate import Call, Gate, Limits
from sseguard.recordings import fixture
from sseguard.recordings.recording import Chunk, Ending, Recording
from sseguard.verdicts import Verdict

FIXTURES = Path(__file__).parent.parent / "examples" / "fixtures"

#: What the names begin with, and how the streams are read.
APIS = {
    "chat": Dialect.CHAT,
    "completions": Dialect.CHAT,
    "responses": Dialect.RESPONSES,
    "anthropic": Dialect.ANTHROPIC,
    "gemini": Dialect.GEMINI,
}

#: The pairs that have no example, because no such stream can be.
IMPOSSIBLE = {("gemini", Verdict.DONE_ONLY): "its streams have no end mark: they just end"}

#: Seconds that the guard waits here. The examples that wait for longer fall silent for good.
PATIENCE = 5.0


Chunking = Callable[[tuple[Chunk, ...]], Iterable[Chunk]]


@dataclass(frozen=True, slots=True)
class Example:
    """A file named `api-verdict` or `api-verdict-variant`; the variant of a `provider_error` begins with the status."""

    api: str
    verdict: Verdict
    variant: str
    path: Path

    @classmethod
    def at(cls, path: Path) -> Example:
        api, verdict, *variant = path.name.removesuffix(fixture.SUFFIX).split("-", 2)
        return cls(api, Verdict(verdict), "".join(variant), path)

    def load(self) -> Recording:
        return fixture.load(self.path)


EXAMPLES = [Example.at(path) for path in sorted(FIXTURES.iterdir())]
STREAMS = [example for example in EXAMPLES if example.verdict is not Verdict.MISROUTED]

each_example = pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.path.stem.removesuffix(".sse"))
each_stream = pytest.mark.parametrize("example", STREAMS, ids=lambda example: example.path.stem.removesuffix(".sse"))


def target(recording: Recording) -> str:
    url = urlsplit(recording.request.url)
    return f"{url.path}?{url.query}"


def asked(recording: Recording) -> routing.Asked:
    return routing.models_in(json.dumps(recording.request.body).encode(), target(recording))


def header(recording: Recording, name: str) -> str:
    return ", ".join(value for key, value in recording.response.headers if key == name)


def guard(recording: Recording, dialect: Dialect, chunks: Iterable[Chunk]) -> Gate:
    """Feed `chunks` to a gate at their times, and then what the recording ended with."""
    call = Call(dialect, model=asked(recording).models[0], choices=asked(recording).n or 1)
    gate = Gate(call, Limits(answer_timeout=PATIENCE, idle_timeout=PATIENCE), 0.0)
    gate.opened(Decoder(header(recording, "content-encoding")), 0.0)
    for chunk in chunks:
        gate.tick(chunk.at)
        gate.feed(chunk.data, chunk.at)
    gate.tick(recording.ended)
    match recording.end:
        case Ending.EOF:
            gate.end(recording.ended)
        case Ending.CUT:
            gate.cut("Connection reset by peer", recording.ended)
        case Ending.CLIENT_LEFT:
            gate.left(recording.ended)
    return gate


def in_one(chunks: tuple[Chunk, ...]) -> Iterable[Chunk]:
    return [Chunk(chunks[0].at, b"".join(chunk.data for chunk in chunks))] if chunks else []


def byte_by_byte(chunks: tuple[Chunk, ...]) -> Iterable[Chunk]:
    return [Chunk(chunk.at, bytes([byte])) for chunk in chunks for byte in chunk.data]


@pytest.mark.parametrize("chunking", [tuple, in_one, byte_by_byte])
@each_stream
def test_the_guard_comes_to_the_verdict_in_the_name_in_any_chunking(example: Example, chunking: Chunking) -> None:
    recording = example.load()
    gate = guard(recording, APIS[example.api], chunking(recording.chunks))
    assert gate.verdict is example.verdict
    assert gate.ended is not None
    assert gate.ended <= recording.ended


@each_example
def test_the_file_is_what_would_be_written(example: Example) -> None:
    text = example.path.read_text(encoding="utf-8")
    assert fixture.dumps(fixture.loads(text)) == text


@each_example
def test_the_request_is_one_for_the_api_in_the_name(example: Example) -> None:
    found = endpoints.find(target(example.load()))
    assert found is not None
    assert (found.dialect, found.ending == "/completions") == (APIS[example.api], example.api == "completions")


@each_stream
def test_the_response_is_one_that_is_guarded(example: Example) -> None:
    recording = example.load()
    kind = header(recording, "content-type").partition(";")[0]
    assert (recording.request.method, recording.response.status, kind) == ("POST", 200, "text/event-stream")


@pytest.mark.parametrize(
    "example", [e for e in STREAMS if e.verdict is Verdict.PROVIDER_ERROR], ids=lambda e: e.path.name
)
def test_a_provider_error_has_the_status_in_the_name(example: Example) -> None:
    recording = example.load()
    gate = guard(recording, APIS[example.api], recording.chunks)
    assert gate.failure is not None
    assert gate.failure.provider_error is not None
    assert gate.failure.provider_error.message
    assert gate.failure.status == int(example.variant.partition("-")[0])


@each_example
def test_only_the_misrouted_are_blocked_for_their_model(example: Example) -> None:
    recording = example.load()
    url = urlsplit(recording.request.url)
    route = routing.Table().find(url.hostname or "", url.port or 443, url.path)
    findings = routing.judge(route, asked(recording).models)
    severities = [routing.Severity.BLOCK] if example.verdict is Verdict.MISROUTED else []
    assert [finding.severity for finding in findings] == severities


@each_example
def test_the_example_is_over_within_a_second_or_falls_silent(example: Example) -> None:
    recording = example.load()
    silent = example.verdict in (Verdict.TIMED_OUT, Verdict.TIMED_OUT_LATE)
    assert recording.ended > PATIENCE if silent else recording.ended < 1.0


def test_every_verdict_has_an_example_in_every_api_where_it_can_occur() -> None:
    there = {(example.api, example.verdict) for example in EXAMPLES}
    assert there == set(itertools.product(APIS, Verdict)) - IMPOSSIBLE.keys()


def test_each_example_asks_for_a_model_of_its_own() -> None:
    models = [asked(example.load()).models for example in EXAMPLES]
    assert len(set(models)) == len(EXAMPLES)
    assert all(len(model) == 1 for model in models)


def test_no_example_holds_what_looks_like_a_key() -> None:
    keys = re.compile(r"\b(?:sk-|AIza|AKIA|gh[pousr]_)[\w-]{16}|\beyJ[\w-]+\.eyJ|-----BEGIN|Bearer (?!<redacted:)")
    assert [example.path.name for example in EXAMPLES if keys.search(example.path.read_text(encoding="utf-8"))] == []
