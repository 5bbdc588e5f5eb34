from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.codings import CODINGS, encoded
from harness.streams import ANSWER, DONE, HEARTBEAT, chat, event
from sseguard.dialects import Dialect
from sseguard.gate import Limits
from sseguard.recordings.assessment import (
    Assessment,
    assess,
    decoded,
    dialect_of,
    guarded,
    header,
    is_guarded,
    model_of,
)
from sseguard.recordings.fixture import load_all
from sseguard.recordings.recording import Chunk, Ending, Headers, RecordedRequest, RecordedResponse, Recording

FIXTURES = Path(__file__).parents[1] / "examples" / "fixtures"
STREAM: Headers = (("content-type", "text/event-stream"),)
CHAT = "https://openrouter.ai/api/v1/chat/completions"


def recording(
    *data: bytes,
    end: Ending = Ending.EOF,
    ended: float | None = None,
    headers: Headers = STREAM,
    url: str = CHAT,
    body: object = None,
    method: str = "POST",
    status: int = 200,
) -> Recording:
    """A chunk a second."""
    chunks = tuple(Chunk(float(at), chunk) for at, chunk in enumerate(data, 1))
    last = len(data) + 1.0 if ended is None else ended
    return Recording(
        RecordedRequest(method, url, (), body), RecordedResponse(status, headers), chunks, end, last, "then", "a name"
    )


def reason(played: Recording) -> str:
    return str(json.loads(played.chunks[-1].data.removeprefix(b"data: "))["error"]["metadata"]["reason"])


# What is guarded


@pytest.mark.parametrize(
    "kind",
    [
        "text/event-stream",
        "Text/Event-Stream; charset=utf-8",
        " text/event-stream ;;",
        "text/event-stream, text/event-stream",
        "text/event-stream charset",
    ],
)
def test_an_event_stream_is_guarded_however_it_says_so(kind: str) -> None:
    assert is_guarded(recording(headers=(("Content-Type", kind),)))


@pytest.mark.parametrize(
    "other",
    [
        recording(headers=()),
        recording(headers=(("content-type", "application/json"),)),
        recording(headers=(("content-type", "text/event-streams"),)),
        recording(status=429),
        recording(status=304),
        recording(method="GET"),
        recording(url="https://example.com/mcp"),
    ],
)
def test_all_else_is_left_alone(other: Recording) -> None:
    assert not is_guarded(other)
    assert assess(other) == Assessment(None, other.response.status)
    assert guarded(other) is other


# Verdicts

EXAMPLES = load_all(FIXTURES)


def wanted(example: Recording) -> str:
    return Path(example.name).name.removesuffix(".sse.jsonl").split("-")[1]


@pytest.mark.parametrize(
    "example",
    [example for example in EXAMPLES if wanted(example) != "misrouted"],
    ids=lambda example: Path(example.name).name,
)
def test_every_example_is_judged_as_its_name_says(example: Recording) -> None:
    limits = Limits(answer_timeout=30, idle_timeout=30) if wanted(example).startswith("timed_out") else None
    if is_guarded(example):
        assert assess(example, limits).verdict == wanted(example)


def test_what_the_client_is_told_comes_with_the_verdict() -> None:
    found = assess(recording(HEARTBEAT))
    assert (found.verdict, found.status) == ("heartbeats_only", 502)
    assert "without sending any part of an answer" in found.message


def test_a_late_failure_keeps_the_status_that_went_out() -> None:
    found = assess(recording(chat("Hello"), end=Ending.CUT))
    assert (found.verdict, found.status) == ("cut_late", 200)
    assert found.message


def test_an_answer_has_no_message() -> None:
    assert assess(recording(*ANSWER)) == Assessment(assess(recording(*ANSWER)).verdict, 200, "")


def test_a_client_that_left_is_told_nothing() -> None:
    found = assess(recording(HEARTBEAT, end=Ending.CLIENT_LEFT))
    assert (found.verdict, found.status, found.message) == ("client_left", 200, "")


@pytest.mark.parametrize("coding", CODINGS)
def test_codings_change_no_verdict(coding: str) -> None:
    headers = (*STREAM, ("content-encoding", coding))
    assert assess(recording(*encoded(coding, *ANSWER), headers=headers)).verdict == "answered"
    assert assess(recording(*encoded(coding, HEARTBEAT), headers=headers)).verdict == "heartbeats_only"


def test_an_unknown_coding_is_told() -> None:
    with pytest.raises(LookupError):
        assess(recording(*ANSWER, headers=(*STREAM, ("content-encoding", "never-heard-of"))))


def test_time_limits_are_in_recorded_time() -> None:
    late = recording(HEARTBEAT, HEARTBEAT, HEARTBEAT, *ANSWER)
    assert assess(late, Limits(answer_timeout=10)).verdict == "answered"
    assert assess(late, Limits(answer_timeout=2.5)).verdict == "timed_out"
    assert assess(recording(HEARTBEAT, ended=100.0), Limits(answer_timeout=50)).verdict == "timed_out"
    assert assess(recording(chat("Hello"), ended=100.0), Limits(idle_timeout=50)).verdict == "timed_out_late"


def test_as_many_finish_reasons_as_choices_make_an_answer_complete() -> None:
    def choice(index: int) -> bytes:
        return b'data: {"choices": [{"index": %d, "delta": {"content": "x"}, "finish_reason": "stop"}]}\n\n' % index

    both = {"n": 2}
    assert assess(recording(choice(0), choice(1), body=both)).verdict == "answered"
    assert assess(recording(choice(0), body=both)).verdict == "truncated"
    assert assess(recording(choice(0), body={"n": 1})).verdict == "answered"


@pytest.mark.parametrize("body", [{"n": True}, {"n": 0}, {"n": "2"}, {"n": -1}, ["n"], "n", None])
def test_a_strange_number_of_choices_is_one(body: object) -> None:
    assert assess(recording(chat("x", "stop"), body=body)).verdict == "answered"


@pytest.mark.parametrize(
    ("url", "dialect"),
    [
        (CHAT, Dialect.CHAT),
        ("/v1/messages?beta=true", Dialect.ANTHROPIC),
        ("https://api.openai.com/v1/responses", Dialect.RESPONSES),
        ("https://h/v1beta/models/g:streamGenerateContent?alt=sse", Dialect.GEMINI),
        ("https://h/elsewhere", Dialect.CHAT),
    ],
)
def test_the_dialect_is_that_of_the_endpoint(url: str, dialect: Dialect) -> None:
    assert dialect_of(recording(url=url)) is dialect


@pytest.mark.parametrize(
    ("url", "body", "model"),
    [
        (CHAT, {"model": "a/b"}, "a/b"),
        (CHAT, {"model": 5}, ""),
        (CHAT, {}, ""),
        (CHAT, None, ""),
        (CHAT, "text", ""),
        ("https://h/v1beta/models/gemini-pro:streamGenerateContent?alt=sse", {}, "gemini-pro"),
    ],
)
def test_the_model_is_found_in_body_or_path(url: str, body: Any, model: str) -> None:
    assert model_of(recording(url=url, body=body)) == model


def test_headers_are_found_in_any_case_and_joined() -> None:
    assert header((("A", "1"), ("b", "2"), ("a", "3")), "a") == "1, 3"
    assert header((), "a") == ""


# What a client of the guard gets


def test_a_healthy_stream_is_the_same_behind_the_guard() -> None:
    played = guarded(recording(*ANSWER))
    assert b"".join(chunk.data for chunk in played.chunks) == b"".join(ANSWER)
    assert (played.end, played.response) == (Ending.EOF, RecordedResponse(200, STREAM))


def test_heartbeats_before_an_answer_come_with_it() -> None:
    played = guarded(recording(HEARTBEAT, HEARTBEAT, chat("Hello", "stop"), DONE))
    assert [chunk.at for chunk in played.chunks] == [3.0, 4.0]


def test_a_stream_without_an_answer_is_an_error_that_is_there_at_once() -> None:
    live = recording(HEARTBEAT, headers=(*STREAM, ("x-request-id", "7"), ("set-cookie", "a=b")))
    played = guarded(live)
    assert (played.response.status, played.end, played.ended) == (502, Ending.EOF, 0.0)
    assert dict(played.response.headers) == {
        "x-request-id": "7",
        "content-type": "application/json",
        "cache-control": "no-store",
        "x-sseguard": "heartbeats_only",
    }
    assert reason(played) == "heartbeats_only"
    assert (played.request, played.recorded, played.name) == (live.request, live.recorded, live.name)


def test_a_late_cut_is_told_in_a_frame_and_ends_in_order() -> None:
    played = guarded(recording(chat("Hello"), b"data: {", end=Ending.CUT))
    assert played.end is Ending.EOF
    assert b"".join(chunk.data for chunk in played.chunks).startswith(chat("Hello") + b"data: ")
    assert reason(played) == "cut_late"


def test_a_compressed_stream_that_is_cut_late_stays_cut() -> None:
    coded = encoded("gzip", chat("Hello"))[:1]
    played = guarded(recording(*coded, end=Ending.CUT, headers=(*STREAM, ("content-encoding", "gzip"))))
    assert (played.end, [chunk.data for chunk in played.chunks]) == (Ending.CUT, coded)


def test_a_provider_error_has_its_own_status_in_the_dialect_that_was_asked() -> None:
    frame = event("error", error={"type": "overloaded_error", "message": "Overloaded"})
    played = guarded(recording(frame, url="https://api.anthropic.com/v1/messages"))
    assert played.response.status == 529
    assert json.loads(played.chunks[0].data)["type"] == "error"


def test_a_client_that_left_is_played_as_that() -> None:
    assert guarded(recording(HEARTBEAT, end=Ending.CLIENT_LEFT)).end is Ending.CLIENT_LEFT


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: Path(example.name).name)
def test_every_example_can_be_played_as_guarded_and_changes_nothing_the_second_time(example: Recording) -> None:
    once = guarded(example)
    assert assess(example).status == once.response.status
    if (
        once.response.status == 200
        and once.end is Ending.EOF
        and header(once.response.headers, "content-encoding") == ""
    ):
        assert b"".join(chunk.data for chunk in guarded(once).chunks) == b"".join(chunk.data for chunk in once.chunks)


@given(st.lists(st.binary(max_size=40), max_size=6), st.sampled_from(Ending))
def test_any_bytes_are_assessed(data: list[bytes], end: Ending) -> None:
    assert assess(recording(*data, end=end)).verdict is not None
    assert guarded(recording(*data, end=end)).end in (end, Ending.EOF)


# Decoded


def test_chunks_are_decoded_one_by_one() -> None:
    coded = encoded("gzip", b"one", b"two")
    plain = decoded(recording(*coded, headers=(("content-encoding", "gzip"),)))
    assert [(chunk.at, chunk.data) for chunk in plain] == [(1.0, b"one"), (2.0, b"two"), (3.0, b"")]


def test_what_cannot_be_decoded_is_given_as_it_is() -> None:
    good = gzip.compress(b"one")
    coded = recording(good, b"garbage", b"more", headers=(("content-encoding", "gzip"),))
    assert [chunk.data for chunk in decoded(coded)] == [b"one", b"garbage", b"more"]
    unknown = recording(b"x", headers=(("content-encoding", "never-heard-of"),))
    assert [chunk.data for chunk in decoded(unknown)] == [b"x"]
