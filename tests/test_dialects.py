"""What a block means in each API."""

from __future__ import annotations

import json

import pytest

from samples import SAMPLES
from sseguard.dialects import (
    ANSWER,
    DONE,
    HEARTBEAT,
    MALFORMED,
    PREAMBLE,
    Dialect,
    Frame,
    Kind,
    is_heartbeat,
    may_be_end,
    may_be_error,
    read,
)
from sseguard.provider_error import ProviderError

FINISH = Frame(Kind.ANSWER, finished=1)
LAST = Frame(Kind.ANSWER, final=True)
ERROR = Kind.ERROR
CHAT, RESPONSES, ANTHROPIC, GEMINI = Dialect


def look(value: object, dialect: Dialect, event: str = "") -> Frame:
    return read((f"event: {event}\n" if event else "").encode() + b"data: " + json.dumps(value).encode(), dialect)


def choice(**fields: object) -> dict[str, object]:
    return {"choices": [{"index": 0, **fields}]}


def candidate(*parts: object, **fields: object) -> dict[str, object]:
    return {"candidates": [{"content": {"role": "model", "parts": list(parts)}, **fields}]}


# --- in every dialect ---


@pytest.mark.parametrize("dialect", Dialect)
@pytest.mark.parametrize(
    "block",
    [b":", b": OPENROUTER PROCESSING", b"id: 7", b"retry: 3000", b"event: message_start", b"data:", b"data: ",
     b"data:\ndata: \t", b"data: : OPENROUTER PROCESSING", b"event: ping\ndata: {}",
     b'event: ping\ndata: {"type":"ping"}', b'data: {"type": "ping"}', b'data: {"type": "keepalive"}',
     b"event: keep-alive\ndata: 1", b"event: heartbeat", b"event: error"],
)  # fmt: skip
def test_what_says_only_that_the_provider_lives_is_a_heartbeat(block: bytes, dialect: Dialect) -> None:
    assert read(block, dialect) == HEARTBEAT


@pytest.mark.parametrize("dialect", Dialect)
@pytest.mark.parametrize(
    "block", [b"data: [DONE]", b"data:[DONE]", b"data: [DONE] ", b"event: done\ndata: [DONE]\nid: 1"]
)
def test_done_is_the_end_mark(block: bytes, dialect: Dialect) -> None:
    assert read(block, dialect) == DONE
    assert may_be_end(block, dialect)


@pytest.mark.parametrize("dialect", Dialect)
@pytest.mark.parametrize(
    "block",
    [b"data: {", b'data: {"choices": [', b"data: Hello", b"data: <html>", b"data: [DONE", b"data: {}{}", b"data: \xff",
     b"data: \0", b"foo: bar", b"Hello", b"<html>", b"data: {'a': 1}", b"event: message\ndata: oops",
     b"data: " + b"[" * 100_000, b"data: " + b'{"a":' * 100_000],
)  # fmt: skip
def test_what_is_no_json_is_malformed(block: bytes, dialect: Dialect) -> None:
    assert read(block, dialect) == MALFORMED


@pytest.mark.parametrize("dialect", Dialect)
@pytest.mark.parametrize(
    "block",
    [b"data: 1", b'data: "text"', b"data: []", b"data: null", b"data: NaN", b"data: {}", b'data: {"type": ["error"]}',
     b'data: {"type": {"error": 1}}', b'data: {"type": null}', b'data: {"new": "thing"}', b'data: {"error": null}',
     b'data: {"error": ""}', b'data: {"error": {}}', b'data: {"error": false}', b'data: {"choices": 1}',
     b'data: {"choices": [1]}', b'data: {"candidates": "x"}', b'data: {"type": "\\ud800"}', b'data: {"object": []}',
     b"foo: bar\ndata: {}", b'data: {\ndata: "a":\ndata: 1}', b"data: " + b"9" * 4000],
)  # fmt: skip
def test_what_is_not_known_counts_as_an_answer(block: bytes, dialect: Dialect) -> None:
    assert read(block, dialect) == ANSWER


@pytest.mark.parametrize("dialect", Dialect)
@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (b'data: {"error": {"message": "Slow down", "code": 429}}', ProviderError(429, "Slow down", None, 429)),
        (b'data: {"error": "it broke"}', ProviderError(500, "it broke")),
        (b'data: {"error": true}', ProviderError(500, "")),
        (b'data: {"error": NaN}', ProviderError(500, "nan")),
        (b'data: {"error": [{"message": "first"}]}', ProviderError(500, "first")),
        (b'data: {"error": {"message": "a"}, "error": {"message": "b"}}', ProviderError(500, "b")),
        (b'data: {"type": "error", "error": {"type": "overloaded_error", "message": "Busy"}}',
         ProviderError(529, "Busy", "overloaded_error")),
        (b'event: error\ndata: {"type": "error", "error": {"type": "api_error", "message": "Oh"}}',
         ProviderError(500, "Oh", "api_error")),
        (b'event: error\ndata: {"type": "rate_limit_error", "message": "Busy"}',
         ProviderError(429, "Busy", "rate_limit_error")),
        (b'data: {"type": "error", "code": "rate_limit_exceeded", "message": "Busy", "param": null}',
         ProviderError(429, "Busy", None, "rate_limit_exceeded")),
        (b'data: {"object": "error", "message": "No such model", "type": "NotFoundError", "code": 404}',
         ProviderError(404, "No such model", "NotFoundError", 404)),
        (b'error: {"code": 503, "message": "Loading model", "type": "unavailable_error"}',
         ProviderError(503, "Loading model", "unavailable_error", 503)),
        (b"error: it broke", ProviderError(500, "it broke")),
        (b"event: error\ndata: upstream\ndata: went away", ProviderError(500, "upstream\nwent away")),
        (b"event: error\ndata: [1, 2]", ProviderError(500, "1")),
        (b"event: error\ndata: \xff", ProviderError(500, "\ufffd")),
        (b'data: {"error": {"message": "x", "code": 9' + b"0" * 4000 + b"}}",
         ProviderError(500, "x", None, 9 * 10**4000)),
    ],
)  # fmt: skip
def test_an_error_object_is_an_error_in_every_providers_form(
    block: bytes, expected: ProviderError, dialect: Dialect
) -> None:
    assert read(block, dialect) == Frame(ERROR, final=True, error=expected)
    assert may_be_error(block)


@pytest.mark.parametrize("dialect", Dialect)
def test_the_samples_are_what_they_are_called(dialect: Dialect) -> None:
    sample = SAMPLES[dialect]
    kinds = [read(frame[:-2], dialect).kind for frame in (sample.preamble, sample.answer, sample.finish, sample.error)]
    assert kinds == [Kind.PREAMBLE, Kind.ANSWER, Kind.ANSWER, Kind.ERROR]


# --- chat ---


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (choice(delta={"role": "assistant"}, finish_reason=None), PREAMBLE),
        (choice(delta={"role": "assistant", "content": ""}), PREAMBLE),
        (choice(delta={"role": "assistant", "content": None, "reasoning": None, "tool_calls": []}), PREAMBLE),
        (choice(delta={}), PREAMBLE),
        (choice(delta=None), PREAMBLE),
        (choice(text=""), PREAMBLE),
        ({"choices": []}, PREAMBLE),
        ({"choices": [], "usage": None, "prompt_filter_results": [{}]}, PREAMBLE),
        (choice(delta={"content": "Hi"}), ANSWER),
        (choice(delta={"content": " "}), ANSWER),
        (choice(delta={"reasoning": "Hm"}), ANSWER),
        (choice(delta={"reasoning_content": "Hm"}), ANSWER),
        (choice(delta={"refusal": "No"}), ANSWER),
        (choice(delta={"audio": {"id": "a"}}), ANSWER),
        (choice(delta={"tool_calls": [{"index": 0, "id": "call_1"}]}), ANSWER),
        (choice(delta="text"), ANSWER),
        (choice(text="Hi"), ANSWER),
        (choice(message={"content": "Hi"}), ANSWER),
        ({"choices": [], "usage": {"total_tokens": 3}}, ANSWER),
        (choice(delta={}, finish_reason="stop"), FINISH),
        (choice(delta={}, finish_reason="error"), FINISH),
        (choice(text="", finish_reason="length"), FINISH),
        ({"choices": [{"finish_reason": "stop"}, {"finish_reason": "stop"}, {}]}, Frame(Kind.ANSWER, finished=2)),
    ],
)
def test_chat_completions(value: object, expected: Frame) -> None:
    assert look(value, CHAT) == expected


@pytest.mark.parametrize(
    "value",
    [
        {"id": "gen-1", "error": {"code": 502, "message": "Provider disconnected"},
         "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "error"}]},
        choice(delta={"content": ""}, finish_reason="error", error={"code": 502, "message": "Provider disconnected"}),
    ],
)  # fmt: skip
def test_an_error_beside_or_inside_a_choice_is_an_error(value: object) -> None:
    expected = ProviderError(502, "Provider disconnected", None, 502)
    assert look(value, CHAT) == Frame(ERROR, final=True, error=expected)


# --- responses ---


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"type": "response.created", "response": {"error": None, "status": "in_progress"}}, PREAMBLE),
        ({"type": "response.in_progress"}, PREAMBLE),
        ({"type": "response.queued"}, PREAMBLE),
        ({"type": "response.output_item.added", "item": {"type": "message", "content": []}}, PREAMBLE),
        ({"type": "response.output_item.added", "item": {"type": "reasoning", "summary": []}}, PREAMBLE),
        ({"type": "response.content_part.added", "part": {"type": "output_text", "text": ""}}, PREAMBLE),
        ({"type": "response.content_part.added", "part": {"type": "output_text", "text": "Hi"}}, ANSWER),
        ({"type": "response.content_part.added", "part": {"type": "refusal", "refusal": "No"}}, ANSWER),
        ({"type": "response.output_item.added", "item": {"type": "function_call", "name": "f"}}, ANSWER),
        ({"type": "response.output_item.added", "item": {"type": "message", "content": [{}]}}, ANSWER),
        ({"type": "response.output_item.added", "item": {"type": "reasoning", "summary": [{}]}}, ANSWER),
        ({"type": "response.output_text.delta", "delta": "Hi"}, ANSWER),
        ({"type": "response.reasoning_summary_text.delta", "delta": "Hm"}, ANSWER),
        ({"type": "response.brand_new"}, ANSWER),
        ({"type": "response.completed", "response": {"error": None}}, LAST),
        ({"type": "response.incomplete", "response": {"incomplete_details": {"reason": "max_output_tokens"}}}, LAST),
        ({"type": "response.cancelled"}, LAST),
    ],
)
def test_responses(value: object, expected: Frame) -> None:
    assert look(value, RESPONSES) == look(value, RESPONSES, event="x") == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"type": "response.failed", "response": {"error": {"code": "rate_limit_exceeded", "message": "Slow"}}},
         ProviderError(429, "Slow", None, "rate_limit_exceeded")),
        ({"type": "response.failed", "response": {"error": None}}, ProviderError(500, "")),
        ({"type": "response.failed"}, ProviderError(500, "")),
        ({"type": "response.error", "error": {"code": "server_error", "message": "Oh"}},
         ProviderError(500, "Oh", None, "server_error")),
    ],
)  # fmt: skip
def test_a_failed_response_is_an_error(value: object, expected: ProviderError) -> None:
    assert look(value, RESPONSES) == Frame(ERROR, final=True, error=expected)


# --- messages ---


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"type": "message_start", "message": {"content": [], "stop_reason": None, "usage": {"x": 1}}}, PREAMBLE),
        ({"type": "message_start"}, PREAMBLE),
        ({"type": "content_block_start", "content_block": {"type": "text", "text": ""}}, PREAMBLE),
        ({"type": "content_block_start", "content_block": {"type": "thinking", "thinking": ""}}, PREAMBLE),
        ({"type": "content_block_stop", "index": 0}, PREAMBLE),
        ({"type": "message_start", "message": {"content": [{"type": "text"}]}}, ANSWER),
        ({"type": "message_start", "message": {"stop_reason": "end_turn"}}, FINISH),
        ({"type": "content_block_start", "content_block": {"type": "text", "text": "Hi"}}, ANSWER),
        ({"type": "content_block_start", "content_block": {"type": "thinking", "thinking": "Hm"}}, ANSWER),
        ({"type": "content_block_start", "content_block": {"type": "tool_use", "name": "f"}}, ANSWER),
        ({"type": "content_block_start", "content_block": {"type": "redacted_thinking"}}, ANSWER),
        ({"type": "content_block_delta", "delta": {"type": "text_delta", "text": "Hi"}}, ANSWER),
        ({"type": "brand_new"}, ANSWER),
        ({"type": "message_delta", "delta": {"stop_reason": None}}, ANSWER),
        ({"type": "message_delta", "delta": {"stop_reason": "end_turn"}}, FINISH),
        ({"type": "message_delta", "delta": {"stop_reason": "refusal"}}, FINISH),
        ({"type": "message_stop"}, Frame(Kind.PREAMBLE, final=True)),
    ],
)
def test_messages(value: object, expected: Frame) -> None:
    assert look(value, ANTHROPIC) == expected


# --- Gemini ---


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (candidate({"text": ""}), PREAMBLE),
        (candidate(), PREAMBLE),
        ({"candidates": [{}]}, PREAMBLE),
        (candidate({"text": "Hi"}), ANSWER),
        (candidate({"functionCall": {"name": "f"}}), ANSWER),
        (candidate({"text": "", "thoughtSignature": "c2ln"}), ANSWER),
        ({"candidates": []}, ANSWER),
        ({"usageMetadata": {"totalTokenCount": 3}}, ANSWER),
        (candidate({"text": ""}, finishReason="STOP"), FINISH),
        (candidate({"text": "Hi"}, finishReason="SAFETY"), FINISH),
        ({"promptFeedback": {"blockReason": "SAFETY"}}, LAST),
        ({"promptFeedback": {}}, ANSWER),
    ],
)
def test_gemini(value: object, expected: Frame) -> None:
    assert look(value, GEMINI) == expected


# --- the cheap look ---


@pytest.mark.parametrize("dialect", Dialect)
def test_a_plain_answer_is_neither_an_error_nor_an_end_at_first_sight(dialect: Dialect) -> None:
    for frame in (SAMPLES[dialect].answer, SAMPLES[dialect].more):
        assert not may_be_error(frame[:-2])
        assert not may_be_end(frame[:-2], dialect)


@pytest.mark.parametrize("text", ['"error": {"code": 500}', '"finish_reason": "stop"', '"type": "error"', "error: x"])
def test_text_that_speaks_of_an_error_does_not_look_like_one(text: str) -> None:
    block = b"data: " + json.dumps(choice(delta={"content": text}, finish_reason=None)).encode()
    assert not may_be_error(block)
    assert not may_be_end(block, CHAT)


@pytest.mark.parametrize(
    ("value", "dialect"),
    [
        (choice(finish_reason="stop"), CHAT),
        ({"type": "response.completed"}, RESPONSES),
        ({"type": "response.failed"}, RESPONSES),
        ({"type": "message_delta", "delta": {"stop_reason": "end_turn"}}, ANTHROPIC),
        ({"type": "message_stop"}, ANTHROPIC),
        (candidate({"text": ""}, finishReason="STOP"), GEMINI),
        ({"promptFeedback": {"blockReason": "OTHER"}}, GEMINI),
    ],
)
@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": "), (" ,", "\t: ")])
@pytest.mark.parametrize("indent", [None, 0, 2])
def test_an_end_is_seen_in_any_spacing(
    value: object, dialect: Dialect, separators: tuple[str, str], indent: int | None
) -> None:
    text = json.dumps(value, separators=separators, indent=indent)
    assert may_be_end(b"\n".join(b"data: " + line.encode() for line in text.split("\n")), dialect)


@pytest.mark.parametrize("block", [b":", b": hi", b"event: ping\ndata: {}", b'event: ping\ndata: {"type": "ping"}'])
def test_comments_and_pings_are_heartbeats_at_first_sight(block: bytes) -> None:
    assert is_heartbeat(block)


@pytest.mark.parametrize("dialect", Dialect)
def test_no_frame_with_an_answer_is_a_heartbeat_at_first_sight(dialect: Dialect) -> None:
    sample = SAMPLES[dialect]
    assert not any(map(is_heartbeat, (sample.preamble, sample.answer, sample.finish, sample.error, b"data: [DONE]")))
