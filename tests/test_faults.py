"""Recordings in which the provider says something else."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from healthy import ANTHROPIC, CHAT, GEMINI, HEALTHY, RESPONSES, STREAM, body, frame, judged, recording
from mutants import JSON_HEADERS, URL, gzipped, texts, times
from sseguard.dialects import Dialect
from sseguard.mutations import faults
from sseguard.mutations.mutate import MutationError, mutate
from sseguard.mutations.shapes import Shape
from sseguard.recordings.recording import Chunk, Ending, RecordedResponse
from sseguard.sse import BOM
from sseguard.verdicts import Verdict


def test_heartbeats_stand_where_frames_were_and_when() -> None:
    mutated = faults.heartbeats_only(CHAT)
    assert texts(mutated) == [b": OPENROUTER PROCESSING\n\n"] * 7
    assert (times(mutated), mutated.ended) == (times(CHAT), CHAT.ended)


def test_heartbeats_are_the_streams_own_or_what_its_provider_sends() -> None:
    ping = b'event: ping\ndata: {"type": "ping"}\n\n'
    assert set(texts(faults.heartbeats_only(ANTHROPIC))) == {ping}
    assert texts(faults.heartbeats_first(recording(ANTHROPIC.request.url), 1)) == [ping.replace(b': "', b':"')]
    assert set(texts(faults.heartbeats_only(RESPONSES))) == {b": keep-alive\n\n"}
    assert set(texts(faults.heartbeats_only(GEMINI))) == {b": keep-alive\r\n\r\n"}
    assert texts(faults.heartbeats_first(recording(URL), 1)) == [b": OPENROUTER PROCESSING\n\n"]


def test_a_stream_without_frames_has_none_to_make_heartbeats_of() -> None:
    with pytest.raises(MutationError, match=r"^heartbeats-only: Expected a recording with frames .*, got none\.$"):
        mutate(recording(URL), "heartbeats-only")


def test_first_heartbeats_delay_all_else() -> None:
    mutated = faults.heartbeats_first(CHAT, 3, 2.0)
    assert times(mutated) == [0.0, 2.0, 4.0, *(at + 6.0 for at in times(CHAT))]
    assert mutated.ended == CHAT.ended + 6.0
    assert texts(mutated) == [b": OPENROUTER PROCESSING\n\n"] * 3 + texts(CHAT)


def test_first_heartbeats_come_behind_a_byte_order_mark() -> None:
    mutated = faults.heartbeats_first(recording(URL, BOM + texts(CHAT)[2], b"data: [DONE]\n\n"), 2)
    assert texts(mutated)[0] == BOM + b": OPENROUTER PROCESSING\n\n"
    assert body(mutated).count(BOM) == 1
    assert judged(mutated) is Verdict.ANSWERED


def test_an_unfinished_heartbeat_is_not_one_to_repeat() -> None:
    mutated = faults.heartbeats_first(recording(URL, texts(CHAT)[2], b": half"), 1)
    assert texts(mutated)[0] == b": OPENROUTER PROCESSING\n\n"


def test_a_heartbeat_is_repeated_without_what_stands_only_at_the_start() -> None:
    mutated = faults.heartbeats_first(recording(URL, BOM + b"\n: x\n\n", texts(CHAT)[2]), 2)
    assert texts(mutated) == [BOM + b": x\n\n", b": x\n\n", b"\n: x\n\n", texts(CHAT)[2]]


@pytest.mark.parametrize("text", ["heartbeats-only", "missing-finish", "done-only", "empty", "html", "error=openai"])
def test_what_the_provider_says_ends_in_order_even_if_the_recording_did_not(text: str) -> None:
    assert mutate(replace(CHAT, end=Ending.CUT), text).end is Ending.EOF


def test_endless_heartbeats_go_on_for_an_hour_and_leave_the_connection_open() -> None:
    mutated = faults.endless_heartbeats(CHAT)
    assert len(mutated.chunks) == faults.ENDLESS
    assert (mutated.end, mutated.ended, mutated.chunks[-1].at) == (Ending.CLIENT_LEFT, 3600.0, 3599.0)


def test_done_alone_comes_when_the_last_byte_did() -> None:
    assert faults.done_only(CHAT).chunks == (Chunk(1.75, b"data: [DONE]\n\n"),)
    assert faults.done_only(GEMINI).chunks == (Chunk(0.75, b"data: [DONE]\r\n\r\n"),)
    assert faults.done_only(recording(URL)).chunks == (Chunk(0.5, b"data: [DONE]\n\n"),)


def test_an_empty_stream_ends_in_order_when_the_full_one_did() -> None:
    mutated = faults.empty(replace(CHAT, end=Ending.CUT))
    assert (mutated.chunks, mutated.end, mutated.ended) == ((), Ending.EOF, CHAT.ended)


def test_without_a_finish_all_else_stays_as_it_was() -> None:
    mutated = faults.missing_finish(CHAT)
    expected = [*texts(CHAT)[:4], texts(CHAT)[4].replace(b'"stop"', b"null"), texts(CHAT)[5]]
    assert texts(mutated) == expected
    assert times(mutated) == times(CHAT)[:6]
    assert texts(faults.missing_finish(RESPONSES)) == texts(RESPONSES)[:4]
    assert texts(faults.missing_finish(ANTHROPIC))[:6] == texts(ANTHROPIC)[:6]
    assert b'"stop_reason":null' in texts(faults.missing_finish(ANTHROPIC))[6].replace(b" ", b"")
    assert len(faults.missing_finish(ANTHROPIC).chunks) == 7
    assert b'"!"' in body(faults.missing_finish(GEMINI))
    assert b"STOP" not in body(faults.missing_finish(GEMINI))


def test_a_prompt_that_was_blocked_can_lack_its_reason_too() -> None:
    blocked = recording(GEMINI.request.url, frame({"promptFeedback": {"blockReason": "SAFETY"}}))
    assert judged(blocked) is Verdict.ANSWERED
    assert judged(faults.missing_finish(blocked)) is Verdict.TRUNCATED


def test_text_about_a_finish_is_no_finish() -> None:
    said = frame({"choices": [{"delta": {"content": '{"finish_reason": "stop", "stop_reason":"x"}'}}]})
    native = frame({"choices": [{"delta": {}, "finish_reason": "stop", "native_finish_reason": "end\\"}]})
    mutated = faults.missing_finish(recording(URL, said, native))
    assert texts(mutated)[0] == said
    assert json.loads(texts(mutated)[1][6:])["choices"][0] == {
        "delta": {},
        "finish_reason": None,
        "native_finish_reason": None,
    }


def test_an_error_is_no_end_mark_to_be_left_out() -> None:
    stream = mutate(CHAT, "error=openai:4", "missing-finish")
    assert judged(stream) is Verdict.PROVIDER_ERROR_LATE


def test_a_malformed_frame_is_half_there_and_its_blank_line_whole() -> None:
    mutated = faults.malformed(CHAT, 3)
    old, new = texts(CHAT)[2], texts(mutated)[2]
    assert new.endswith(b"\n\n")
    assert old.startswith(new[:-2])
    assert len(new) < len(old) - 20
    assert [text for i, text in enumerate(texts(mutated)) if i != 2] == [
        text for i, text in enumerate(texts(CHAT)) if i != 2
    ]


@pytest.mark.parametrize(
    ("text", "half"),
    [
        (b"data: {}\n\n", b"data: {\n\n"),
        (b"data:[1,2]\r\n\r\n", b"data:[1\r\n\r\n"),
        (b"event: x\ndata: {\ndata: }\nid: 12345678\n\n", b"event: x\ndata: {\n\n"),
        (b'data: {"a": 12}', b'data: {"a"\n\n'),
        (BOM + b"data: {}\n\n", BOM + b"data: {\n\n"),
        (b"id: 1\rdata: {}\r\r", b"id: 1\rdata: {\r\r"),
    ],
)
def test_half_of_a_frame_keeps_its_line_ends(text: bytes, half: bytes) -> None:
    assert body(faults.malformed(recording(URL, text))) == half
    assert judged(faults.malformed(recording(URL, text))) is Verdict.MALFORMED


@pytest.mark.parametrize(
    ("number", "got"), [(1, "got 1."), (7, "got 7."), (0, "got 0."), (99, "got 99."), (-1, "got -1.")]
)
def test_only_a_frame_with_json_can_be_malformed(number: int, got: str) -> None:
    with pytest.raises(MutationError) as caught:
        faults.malformed(CHAT, number)
    assert str(caught.value) == f"Expected the number of a frame that holds JSON (2, 3, 4, 5, 6), {got}"


def test_a_stream_without_json_cannot_be_malformed() -> None:
    with pytest.raises(MutationError) as caught:
        faults.malformed(recording(URL, b": a\n\n"))
    assert (
        str(caught.value) == "Expected the number of a frame that holds JSON (none), got no number, and no such frame."
    )


def test_an_error_ends_the_stream_when_its_turn_came() -> None:
    mutated = faults.error(CHAT, "openai", 3)
    assert texts(mutated)[:3] == texts(CHAT)[:3]
    assert json.loads(texts(mutated)[3][6:])["error"]["type"] == "server_error"
    assert (times(mutated), mutated.end, mutated.ended) == ([0.25, 0.5, 0.75, 0.75], Ending.EOF, 0.75)


@pytest.mark.parametrize(
    ("shape", "start"),
    [
        ("openai", b'data: {"error":{"message":"'),
        (
            "openrouter",
            b'data: {"id":"gen-sseguard-made-this","object":"chat.completion.chunk","created":0,"model":"a/model"',
        ),
        ("anthropic", b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error"'),
        ("gemini", b'data: {"error":{"code":503,"message":"'),
        ("responses", b'event: error\ndata: {"type":"error","sequence_number":2,"code":"server_error"'),
        (
            "response.failed",
            b'event: response.failed\ndata: {"type":"response.failed","sequence_number":2,"response":{',
        ),
        ("llama.cpp", b'error: {"code":500,"message":"'),
    ],
)
def test_each_provider_words_its_errors_in_its_own_way(shape: str, start: bytes) -> None:
    last = texts(faults.error(RESPONSES, shape, 2))[-1]
    assert last.startswith(start)
    assert last.endswith(b"\n\n")


def test_an_old_llama_cpp_says_done_behind_its_error() -> None:
    assert body(faults.error(CHAT, Shape.LLAMA_CPP)).endswith(b"\n\ndata: [DONE]\n\n")


def test_an_error_never_follows_half_a_frame() -> None:
    half = recording(URL, texts(CHAT)[2], b"data: [DONE]")
    assert b"data: [DONE]\n\ndata: {" in body(faults.error(half, "openai", 2))
    assert b"\r\n\r\ndata: {" in body(faults.error(mutate(half, "crlf"), "openai", 2))
    assert body(faults.error(half, "openai", 1)).count(b"\n\n") == 2


def test_an_error_in_a_stream_without_chunks_comes_at_its_end() -> None:
    assert times(faults.error(recording(URL), "openai")) == [0.5]


def test_an_error_names_no_model_where_the_request_does_not() -> None:
    asked = replace(CHAT, request=replace(CHAT.request, body=None))
    assert b'"model":"unknown"' in body(faults.error(asked, "openrouter"))


def test_only_the_responses_api_has_response_failed() -> None:
    assert judged(faults.error(RESPONSES, "response.failed", 2)) is Verdict.PROVIDER_ERROR
    with pytest.raises(MutationError) as caught:
        mutate(CHAT, "error=response.failed")
    assert str(caught.value) == (
        "error=response.failed: Expected a recording of the Responses API for the shape response.failed, got one of "
        "chat: take another shape out of openai, openrouter, llama.cpp."
    )
    elsewhere = replace(RESPONSES, request=replace(RESPONSES.request, url="https://example.com/generate"))
    assert b"event: response.failed" in body(faults.error(elsewhere, "response.failed"))


def test_an_unknown_shape_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(MutationError, match=r"^Expected a shape out of openai, .*, llama\.cpp, got 'azure'\.$"):
        faults.error(CHAT, "azure")


def test_a_web_page_comes_under_the_headers_of_a_stream() -> None:
    mutated = faults.html(gzipped(CHAT))
    assert body(mutated).startswith(b"<!DOCTYPE html>")
    assert (times(mutated), mutated.ended) == ([1.0], 1.0)
    assert mutated.response == RecordedResponse(200, STREAM)


def test_padded_json_keeps_its_body_behind_the_blanks() -> None:
    original = recording(URL, b'{"choices":', b"[]}", headers=JSON_HEADERS)
    mutated = faults.json_padded(original, 2, 3.0)
    assert [*times(mutated), mutated.ended] == [0.0, 3.0, 6.25, 6.5, 7.0]
    assert json.loads(body(mutated)) == {"choices": []}
    assert body(mutated).startswith(b"\n         \n\n         \n{")
    assert mutated.response == original.response


@pytest.mark.parametrize(
    ("dialect", "key"),
    [("chat", "choices"), ("responses", "output"), ("anthropic", "content"), ("gemini", "candidates")],
)
def test_padded_json_in_place_of_a_stream_is_a_whole_answer(dialect: str, key: str) -> None:
    mutated = faults.json_padded(replace(HEALTHY[Dialect(dialect)], end=Ending.CUT))
    assert "This is a whole answer" in json.dumps(json.loads(body(mutated))[key])
    assert mutated.end is Ending.EOF
    assert mutated.ended == mutated.chunks[-1].at == HEALTHY[Dialect(dialect)].ended + 10
