"""What was recorded, replayed, and recorded again is the same: bytes, chunk boundaries, times, ending, verdict."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from harness import Proxy
from harness.codings import CODINGS, encoded
from harness.raw import RawClient
from harness.streams import chat
from sseguard.codings import Decoder
from sseguard.recordings import recording as recordings
from sseguard.recordings.assessment import assess, header
from sseguard.recordings.fixture import load, load_all, loads
from sseguard.recordings.player import Player, run_in_thread
from sseguard.recordings.recording import Chunk, Ending, Headers, RecordedRequest, RecordedResponse, Recording
from sseguard.recordings.tape import Request, Tape
from sseguard.redaction.redact import Redactor

FIXTURES = Path(__file__).parents[1] / "examples" / "fixtures"
PATH = "/v1/chat/completions"
STREAM: Headers = (("content-type", "text/event-stream"),)

#: How much faster than recorded the examples are played for the first recording. The longest takes a minute.
SPEED = 25

#: The limits of the guard, in seconds, so that recordings that end in silence end.
LIMITS = {"sse_answer_timeout": "4", "sse_idle_timeout": "4"}


def taped(chunks: tuple[Chunk, ...], end: Ending, ended: float, headers: Headers = STREAM) -> str:
    """What a recorder writes of this."""
    request = Request("POST", f"https://h{PATH}", (), b'{"model": "vendor/model", "stream": true}')
    tape = Tape(Redactor(), request, RecordedResponse(200, headers), "2026-11-22T09:00:00Z")
    return "".join((tape.begin(), *(tape.chunk(chunk.at, chunk.data) for chunk in chunks), tape.end(ended, end)))


def again(recording: Recording) -> str:
    return taped(recording.chunks, recording.end, recording.ended, recording.response.headers)


def data_of(recording: Recording) -> list[bytes]:
    return [chunk.data for chunk in recording.chunks]


# Pure: the tape and the format

INTERESTING = st.sampled_from(
    [
        b"data: ",
        b"\n",
        b"\r",
        b"\r\n\r\n",
        b": ping\n\n",
        b"data: [DONE]\n\n",
        b"\xff\xfe",
        b"\0",
        b"\x1b[31m",
        "\u2028".encode(),
        "\N{ROCKET}".encode(),
        chat("Hello"),
        chat("", "stop"),
        b'{"a": "\\u0041',
        b"sk-",
    ]
)
BYTES = st.lists(INTERESTING | st.binary(max_size=12), max_size=12).map(b"".join)


@st.composite
def streams(draw: st.DrawFn) -> tuple[tuple[Chunk, ...], Ending, float]:
    body = draw(BYTES)
    cuts = sorted(draw(st.sets(st.integers(0, len(body)), max_size=8)))
    parts = [body[start:end] for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    times = sorted(draw(st.lists(st.integers(0, 10**9), min_size=len(parts) + 1, max_size=len(parts) + 1)))
    chunks = tuple(Chunk(at / 10**6, part) for at, part in zip(times, parts, strict=False))
    return chunks, draw(st.sampled_from(Ending)), times[-1] / 10**6


@given(streams())
@example(((Chunk(0.0, "\N{ROCKET}".encode()[:2]), Chunk(0.0, "\N{ROCKET}".encode()[2:])), Ending.EOF, 0.0))
def test_any_bytes_in_any_chunks_are_recorded_as_they_came(stream: tuple[tuple[Chunk, ...], Ending, float]) -> None:
    chunks, end, ended = stream
    recording = loads(taped(chunks, end, ended))
    assert (recording.chunks, recording.end, recording.ended) == (chunks, end, ended)
    assert recording.warnings == ()


@given(streams())
def test_recording_what_was_recorded_gives_the_same_file(stream: tuple[tuple[Chunk, ...], Ending, float]) -> None:
    once = taped(*stream)
    assert again(loads(once)) == once


@given(streams(), st.sampled_from([coding for coding in CODINGS if coding != "identity"]))
def test_a_coded_stream_decodes_to_the_same_steps_after_one_recording_and_after_two(
    stream: tuple[tuple[Chunk, ...], Ending, float], coding: str
) -> None:
    chunks, end, ended = stream
    plain = [chunk.data for chunk in chunks]
    coded = encoded(coding, *plain)
    original = tuple(Chunk(0.0, data) for data in coded)
    headers = (*STREAM, ("content-encoding", coding))
    once = loads(taped(original, end, ended, headers))
    twice = loads(again(once))
    for recording in (once, twice):
        decoder = Decoder(coding)
        assert [decoder.feed(data) for data in data_of(recording)] == [*plain, b""]
        assert decoder.is_whole
    assert assess(once).verdict == assess(twice).verdict


@given(streams())
def test_any_part_of_a_recording_with_a_first_line_loads_as_cut(
    stream: tuple[tuple[Chunk, ...], Ending, float],
) -> None:
    chunks, end, ended = stream
    text = taped(chunks, end, ended).encode()
    lines = text.splitlines(keepends=True)
    for stop in {len(lines[0]), len(lines[0]) + len(lines[1]) // 2, len(text) - len(lines[-1]), len(text) - 3}:
        recording = loads(text[:stop])
        assert recording.end is Ending.CUT
        assert recording.warnings
        assert recording.chunks == chunks[: len(recording.chunks)]


# Over a socket: the player


class Stage:
    """A player of whatever `recording` is at the time."""

    def __init__(self) -> None:
        request = RecordedRequest("POST", PATH, (), None)
        self.recording = Recording(request, RecordedResponse(200, STREAM), (), Ending.EOF, 0.0, "")
        self.player = Player([self.recording], speed=0, transform=lambda _: self.recording)

    def replayed(self, recording: Recording) -> tuple[list[bytes], Ending]:
        """What a client gets of it."""
        self.recording = recording
        with RawClient.connected(self.player.port) as client:
            client.post(PATH, {})
            head = client.read_head()
            assert head.status == recording.response.status
            chunks: list[bytes] = []
            try:
                while chunk := client.read_chunk():
                    chunks.append(chunk)
            except ConnectionResetError:
                return chunks, Ending.CUT
            return chunks, Ending.EOF


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    stage = Stage()
    with run_in_thread(stage.player):
        yield stage


@given(stream=streams())
def test_what_a_client_of_the_player_gets_is_what_was_recorded(
    stage: Stage, stream: tuple[tuple[Chunk, ...], Ending, float]
) -> None:
    chunks, end, ended = stream
    end = Ending.EOF if end is Ending.CLIENT_LEFT else end  # then the player waits for the client to leave
    recording = loads(taped(chunks, end, ended))
    # HTTP has no empty chunk: it would be the end.
    assert stage.replayed(recording) == ([data for data in data_of(recording) if data], end)


# With mitmdump: every example


@dataclass(frozen=True)
class Trip:
    """One example on its way: as it is, recorded, and recorded again from the replay of that."""

    name: str
    example: Recording
    first: Recording
    second: Recording


def _asked(number: int, example: Recording) -> str:
    url = urlsplit(example.request.url)
    return f"/trip{number}{url.path}" + (f"?{url.query}" if url.query else "")


def _ask(proxy: Proxy, number: int, example: Recording) -> None:
    with RawClient.connected(proxy.port) as client:
        client.ask(_asked(number, example), example.request.body)


def _ask_all(proxy: Proxy, examples: tuple[Recording, ...]) -> None:
    def ask(number: int) -> None:
        # A connection that breaks off is one of the outcomes.
        try:
            _ask(proxy, number, examples[number])
        except (EOFError, ConnectionError):
            return

    with ThreadPoolExecutor(40) as pool:
        list(pool.map(ask, range(len(examples))))
    for _ in examples:
        proxy.flow()
    proxy.assert_unharmed()


def _by_number(folder: Path) -> dict[int, Recording]:
    found = {}
    for path in folder.iterdir():
        recording = load(path)
        match = re.search(r"/trip(\d+)/", recording.request.url)
        assert match, recording.request.url
        found[int(match[1])] = recording
    return found


@contextmanager
def _proxy(tmp: Path, upstream: str, **options: str) -> Iterator[Proxy]:
    with Proxy.running(tmp / "conf", mode=f"reverse:{upstream}", options={**LIMITS, **options}) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def trips(tmp_path_factory: pytest.TempPathFactory) -> list[Trip]:
    tmp = tmp_path_factory.mktemp("round_trip")
    examples = load_all(FIXTURES)
    once, twice = tmp / "once", tmp / "twice"
    with (
        run_in_thread(Player(examples, speed=SPEED)) as player,
        _proxy(tmp, player.base_url, sse_record=str(once)) as proxy,
    ):
        _ask_all(proxy, examples)
    with _proxy(tmp, "http://127.0.0.1:9", sse_replay=str(once), sse_record=str(twice)) as proxy:
        _ask_all(proxy, examples)
    first, second = _by_number(once), _by_number(twice)
    names = [Path(example.name).name.removesuffix(".sse.jsonl") for example in examples]
    assert sorted(first) == sorted(second) == list(range(len(examples)))
    return [
        Trip(name, example, first[at], second[at])
        for at, (name, example) in enumerate(zip(names, examples, strict=True))
    ]


def verdict_in_name(recording: Recording) -> str:
    return recording.name.removesuffix(".sse.jsonl").rpartition("-")[2]


def decoded(recording: Recording) -> list[bytes]:
    """The steps of the body, those that say something."""
    decoder = Decoder(header(recording.response.headers, "content-encoding"))
    return [text for text in map(decoder.feed, data_of(recording)) if text]


def is_small(trip: Trip) -> bool:
    """Whether one read takes a whole chunk in; where a larger one is parted is the kernel's affair."""
    return max(map(len, data_of(trip.example)), default=0) <= 4096


def test_every_example_is_recorded_twice_with_the_same_verdict(trips: list[Trip]) -> None:
    assert {trip.name: verdict_in_name(trip.second) for trip in trips} == {
        trip.name: verdict_in_name(trip.first) for trip in trips
    }


def test_the_verdict_is_that_of_the_example(trips: list[Trip]) -> None:
    # Whether a model is misrouted depends on the host, and whether the client leaves on the client.
    known = {
        trip.name: trip
        for trip in trips
        if not {"misrouted", "client_left", "timed_out", "timed_out_late"} & set(trip.name.split("-"))
    }
    assert len(known) > 90
    assert {name: verdict_in_name(trip.first) for name, trip in known.items()} == {
        name: name.split("-")[1] for name in known
    }


def test_the_first_recording_has_the_chunks_of_the_example(trips: list[Trip]) -> None:
    for trip in filter(is_small, trips):
        wanted = decoded(trip.example)
        # Where the guard sent upstream away, what would have come is not known.
        cut_short = trip.first.end is Ending.CLIENT_LEFT
        assert decoded(trip.first) == (wanted[: len(decoded(trip.first))] if cut_short else wanted), trip.name


def test_the_second_recording_has_the_bytes_and_chunks_of_the_first(trips: list[Trip]) -> None:
    for trip in trips:
        once, twice = data_of(trip.first), data_of(trip.second)
        if not is_small(trip):
            once, twice = [b"".join(once)], [b"".join(twice)]
        assert twice == once, trip.name


def test_the_second_recording_ends_as_the_first(trips: list[Trip]) -> None:
    assert {trip.name: trip.second.end for trip in trips} == {trip.name: trip.first.end for trip in trips}


def test_the_second_recording_has_the_head_of_the_first(trips: list[Trip]) -> None:
    for trip in trips:
        assert trip.second.response == trip.first.response, trip.name
        assert trip.second.request.body == trip.first.request.body == trip.example.request.body, trip.name


def test_what_was_led_to_the_player_is_recorded_as_going_where_it_was(trips: list[Trip]) -> None:
    for trip in trips:
        url = urlsplit(trip.second.request.url)
        assert (url.hostname, url.port) == ("127.0.0.1", 9), trip.name
        assert dict(trip.second.request.headers)["Host" if "Host" in dict(trip.second.request.headers) else "host"]


def test_times_are_kept(trips: list[Trip]) -> None:
    off = []
    for trip in trips:
        for was, now in zip(trip.example.chunks, trip.first.chunks, strict=False):
            off.append(abs(was.at / SPEED - now.at))
        for was, now in zip(trip.first.chunks, trip.second.chunks, strict=False):
            off.append(abs(was.at - now.at))
    # All at once, on a machine that does other things too; the player's own timing is measured elsewhere.
    assert statistics.median(off) < 0.5
    assert len(off) > 1000


def test_long_silences_stay_long(trips: list[Trip]) -> None:
    long_ones = [trip for trip in trips if trip.first.ended > 2]
    assert len(long_ones) > 5
    assert all(trip.second.ended > 1.5 for trip in long_ones)


def test_what_is_recorded_can_be_written_anew(trips: list[Trip]) -> None:
    for trip in trips:
        for recording in (trip.first, trip.second):
            assert loads(recordings.dumps(recording)) == recording
