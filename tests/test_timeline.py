from __future__ import annotations

from pathlib import Path
from unicodedata import east_asian_width

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.codings import encoded
from harness.streams import DONE, HEARTBEAT, chat
from sseguard.recordings.assessment import assess
from sseguard.recordings.fixture import load_all
from sseguard.recordings.recording import Chunk, Ending, Headers, RecordedRequest, RecordedResponse, Recording
from sseguard.recordings.timeline import NARROWEST, Mark, marks, timeline, wrapped

FIXTURES = Path(__file__).parents[1] / "examples" / "fixtures"
STREAM: Headers = (("content-type", "text/event-stream"),)
EXAMPLES = load_all(FIXTURES)


def recording(
    *chunks: tuple[float, bytes],
    end: Ending = Ending.EOF,
    ended: float = 10.0,
    headers: Headers = STREAM,
    url: str = "https://openrouter.ai/api/v1/chat/completions",
) -> Recording:
    request = RecordedRequest("POST", url, (), {"model": "a/b"})
    return Recording(
        request, RecordedResponse(200, headers), tuple(Chunk(at, data) for at, data in chunks), end, ended, ""
    )


def columns(line: str) -> int:
    return sum(2 if east_asian_width(letter) in "WF" else 1 for letter in line)


def names(of: Recording) -> list[str]:
    return [mark.name for mark in marks(of)]


def test_a_recording_reads_from_top_to_bottom() -> None:
    of = recording((0.0, HEARTBEAT), (1.0, HEARTBEAT), (8.0, DONE))
    assert list(timeline(of, 80)) == [
        "POST https://openrouter.ai/api/v1/chat/completions",
        "model a/b   answered 200 text/event-stream",
        "    0.000s  headers    ",
        "    0.000s  heartbeats 2 until 1.000s   : OPENROUTER PROCESSING",
        "            ─────────────────────────────────────── 7.000s",
        "    8.000s  done       data: [DONE]",
        "            ─────────── 2.000s",
        "   10.000s  end        end of body",
        *wrapped(f"verdict: done_only; the client gets 502: {assess(of).message}", 80),
    ]


def test_a_silence_behind_folded_heartbeats_counts_from_the_last_of_them() -> None:
    shown = list(timeline(recording((0.0, HEARTBEAT), (4.0, HEARTBEAT), (5.0, DONE)), 80))
    assert shown[4].endswith(" 1.000s")


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: Path(example.name).name)
@pytest.mark.parametrize("width", [40, 80, 200])
@pytest.mark.parametrize("ascii_only", [False, True])
def test_every_example_fits_and_ends_with_its_verdict(example: Recording, width: int, *, ascii_only: bool) -> None:
    lines = list(timeline(example, width, ascii_only=ascii_only))
    assert all(columns(line) <= width and line.isprintable() for line in lines)
    assert any(line.startswith("verdict: ") for line in lines)
    assert not ascii_only or all(line.isascii() for line in lines)


def test_what_is_narrower_than_a_timeline_needs_gets_what_it_needs() -> None:
    assert list(timeline(recording(), 1)) == list(timeline(recording(), NARROWEST))


TEXT = st.text(max_size=120) | st.sampled_from(
    ["\x1b[2J", "\u202e\u2066", "\N{ROCKET}" * 90, "漢" * 90, "e\u0301" * 60]
)


@given(
    url=TEXT.map(lambda text: f"https://h/v1/chat/completions?{text}".replace("[", "").replace("]", "")),
    kind=TEXT,
    data=st.lists(st.binary(max_size=60) | TEXT.map(lambda text: f"data: {text}\n\n".encode("utf-8", "replace"))),
    width=st.integers(1, 120),
    ended=st.sampled_from([0.0, 1e-6, 10.0, 1e300]),
    ascii_only=st.booleans(),
)
def test_whatever_it_holds_no_line_is_wider_and_a_terminal_obeys_none(
    url: str, kind: str, data: list[bytes], width: int, ended: float, *, ascii_only: bool
) -> None:
    hostile = recording(*((0.0, chunk) for chunk in data), ended=ended, url=url, headers=(("content-type", kind),))
    for line in timeline(hostile, width, ascii_only=ascii_only):
        assert line.isprintable()
        assert columns(line) <= max(width, NARROWEST)


def test_a_message_of_the_provider_is_escaped_and_told_in_full() -> None:
    message = "\\u001b[31mred " + "word " * 40
    frame = f'data: {{"error": {{"code": 429, "message": "{message}"}}}}\n\n'.encode()
    lines = list(timeline(recording((0.0, frame)), 60))
    assert all(line.isprintable() for line in lines)


def test_what_does_not_fit_ends_in_dots() -> None:
    lines = list(timeline(recording((0.0, chat("x" * 500, "stop"))), 60))
    assert lines[3].endswith("...")
    assert len(lines[3]) == 60


# Marks


def test_each_block_is_marked_when_it_is_complete() -> None:
    frame = chat("Hello")
    assert list(marks(recording((1.0, frame[:9]), (2.0, frame[9:]), (3.0, DONE)))) == [
        Mark(0.0, "headers", ""),
        Mark(2.0, "answer", frame.decode().strip()),
        Mark(3.0, "done", "data: [DONE]"),
        Mark(10.0, "end", "end of body"),
    ]


@pytest.mark.parametrize(
    ("end", "text"),
    [(Ending.EOF, "end of body"), (Ending.CUT, "connection broke"), (Ending.CLIENT_LEFT, "client left")],
)
def test_the_end_says_who_ended_it(end: Ending, text: str) -> None:
    *_, last = marks(recording(end=end))
    assert last == Mark(10.0, "end", text)


def test_half_a_frame_is_shown() -> None:
    assert names(recording((1.0, b"data: {"))) == ["headers", "unfinished", "end"]


def test_all_kinds_have_names() -> None:
    chunks = (chat(), HEARTBEAT, chat("x"), b"data: nope\n\n", b'data: {"error": {"message": "x"}}\n\n', DONE)
    assert names(recording(*((1.0, chunk) for chunk in chunks))) == [
        "headers",
        "preamble",
        "heartbeat",
        "answer",
        "malformed",
        "error",
        "done",
        "end",
    ]


def test_a_compressed_stream_is_shown_decoded() -> None:
    coded = encoded("gzip", chat("x"), DONE)
    headers = (*STREAM, ("content-encoding", "gzip"))
    assert names(recording(*((1.0, chunk) for chunk in coded), headers=headers)) == ["headers", "answer", "done", "end"]


def test_what_cannot_be_decoded_is_told_once() -> None:
    headers = (*STREAM, ("content-encoding", "gzip"))
    found = names(recording((1.0, b"garbage"), (2.0, b"more"), headers=headers))
    assert found == ["headers", "unreadable", "end"]
    unknown = names(recording((1.0, b"x"), headers=(*STREAM, ("content-encoding", "never-heard-of"))))
    assert unknown == ["headers", "unreadable", "end"]


def test_an_unknown_coding_has_no_verdict() -> None:
    *_, last = timeline(recording(headers=(*STREAM, ("content-encoding", "never-heard-of"))), 200)
    assert last.startswith("verdict: none, its content coding is not known")


def test_a_body_that_is_no_stream_is_shown_chunk_by_chunk() -> None:
    body = recording((1.0, b'{"a":'), (2.0, b"1}"), headers=(("content-type", "application/json"),))
    assert names(body) == ["headers", "body", "body", "end"]
    assert list(timeline(body, 80))[-1] == "verdict: none, the guard leaves this alone; the client gets 200"
