"""Reading a stream as it passes: what it counts, and when it stops."""

from __future__ import annotations

import json

import pytest

from samples import COMMENT, END_MARK, SAMPLES, chat, data, message
from sseguard import dialects
from sseguard.dialects import Dialect, Frame, read
from sseguard.provider_error import ProviderError
from sseguard.reader import EXCERPT, Reader, Stop
from sseguard.verdicts import Verdict

SAMPLE = SAMPLES[Dialect.CHAT]
OVERLOADED = ProviderError(529, "Overloaded", None, 529)


def reader(*chunks: bytes, dialect: Dialect = Dialect.CHAT, choices: int = 1) -> Reader:
    it = Reader(dialect, choices)
    for chunk in chunks:
        assert it.feed(chunk) is None
    return it


# --- before an answer ---


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        ([], Verdict.EMPTY),
        ([b"\n\n\r\n"], Verdict.EMPTY),
        ([COMMENT], Verdict.HEARTBEATS_ONLY),
        ([b"id: 1\n\n"], Verdict.HEARTBEATS_ONLY),
        ([b"data: : PROCESSING\n\n"], Verdict.HEARTBEATS_ONLY),
        ([SAMPLE.preamble], Verdict.PREAMBLE_ONLY),
        ([COMMENT, SAMPLE.preamble, COMMENT], Verdict.PREAMBLE_ONLY),
    ],
)
def test_silence_has_a_name(chunks: list[bytes], expected: Verdict) -> None:
    assert reader(*chunks).silence is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (END_MARK, Stop(Verdict.DONE_ONLY)),
        (SAMPLE.error, Stop(Verdict.PROVIDER_ERROR, OVERLOADED)),
        (b"data: Hello\n\n", Stop(Verdict.MALFORMED, excerpt="data: Hello")),
        (b"foo: bar\n\n", Stop(Verdict.MALFORMED, excerpt="foo: bar")),
        (b"data: \xff\x1b\n\n", Stop(Verdict.MALFORMED, excerpt="data: \\xff\x1b")),
        (b"data: " + b"x" * 900 + b"\n\n", Stop(Verdict.MALFORMED, excerpt="data: " + "x" * (EXCERPT - 6))),
    ],
)
@pytest.mark.parametrize("before", [(), (COMMENT,), (SAMPLE.preamble,), (COMMENT, SAMPLE.preamble)])
def test_there_is_no_use_in_waiting_for_more(before: tuple[bytes, ...], text: bytes, expected: Stop) -> None:
    assert reader(*before).feed(text) == expected


def test_a_message_that_stops_before_it_said_anything_is_a_preamble() -> None:
    it = reader(SAMPLES[Dialect.ANTHROPIC].preamble, dialect=Dialect.ANTHROPIC)
    assert it.feed(message("message_stop")) == Stop(Verdict.PREAMBLE_ONLY)


@pytest.mark.parametrize("body", [b"<!DOCTYPE html>", b'{"error": "x"}', b"Internal error", b"\r\n\r\n<html>"])
def test_a_body_that_is_no_event_stream_stops_at_once_and_byte_by_byte(body: bytes) -> None:
    stop = reader().feed(body)
    assert stop == Stop(Verdict.MALFORMED, excerpt=body.decode())
    it = reader()
    first = next(stop for i in range(len(body)) if (stop := it.feed(body[i : i + 1])))
    assert first.verdict is Verdict.MALFORMED


@pytest.mark.parametrize("body", [b"Unauthorized", b"_", b"-: x", b"data"])
def test_one_word_may_still_become_a_field(body: bytes) -> None:
    reader(*(body[i : i + 1] for i in range(len(body))))


def test_a_word_that_was_all_is_malformed() -> None:
    assert reader(b"Unauthorized\n").finish() == Stop(Verdict.MALFORMED, excerpt="Unauthorized")


def test_html_behind_a_comment_is_malformed_when_its_block_ends() -> None:
    assert reader(COMMENT).feed(b"<html>\n\n") == Stop(Verdict.MALFORMED, excerpt="<html>")


def test_only_the_first_error_is_told() -> None:
    second = data({"error": {"message": "second"}})
    assert reader().feed(SAMPLE.error + second) == Stop(Verdict.PROVIDER_ERROR, OVERLOADED)


# --- an answer ---


@pytest.mark.parametrize("dialect", Dialect)
def test_the_first_answer_frame_answers_and_the_finish_completes(dialect: Dialect) -> None:
    sample = SAMPLES[dialect]
    it = reader(COMMENT, sample.preamble, dialect=dialect)
    assert not it.answered
    it.feed(sample.answer)
    assert (it.answered, it.complete) == (True, False)
    it.feed(sample.more + sample.finish)
    assert (it.answered, it.complete, it.error) == (True, True, None)
    assert (it.heartbeats, it.events) == (1, 4)


@pytest.mark.parametrize("dialect", Dialect)
@pytest.mark.parametrize(
    "mark", [END_MARK, b"data:[DONE]\n\n", b"data: [DONE] \n\n", b"event: done\r\ndata: [DONE]\r\n\r\n"]
)
def test_an_end_mark_of_any_spelling_completes_an_answer(dialect: Dialect, mark: bytes) -> None:
    assert reader(SAMPLES[dialect].answer, mark, dialect=dialect).complete


def test_a_message_stop_completes_an_answer() -> None:
    sample = SAMPLES[Dialect.ANTHROPIC]
    assert reader(sample.answer, message("message_stop"), dialect=Dialect.ANTHROPIC).complete


def test_each_choice_needs_its_finish_reason() -> None:
    it = reader(chat(content="Hi"), chat(index=1, finish="stop"), choices=2)
    assert not it.complete
    it.feed(chat(index=0, finish="stop"))
    assert it.complete


def test_an_end_mark_completes_all_choices() -> None:
    assert reader(chat(content="Hi"), END_MARK, choices=3).complete


def test_one_frame_may_finish_all_choices() -> None:
    both = {"choices": [{"index": 0, "finish_reason": "stop"}, {"index": 1, "finish_reason": "length"}]}
    assert reader(data(both), choices=2).complete
    assert reader(chat(content="Hi"), data(both), choices=2).complete


@pytest.mark.parametrize("dialect", Dialect)
def test_an_error_behind_the_answer_is_the_providers_own(dialect: Dialect) -> None:
    it = reader(SAMPLES[dialect].answer, SAMPLES[dialect].error, dialect=dialect)
    assert it.error is Verdict.PROVIDER_ERROR_LATE


@pytest.mark.parametrize(
    "text",
    [
        b'error: {"code":500,"message":"slot unavailable"}\n\n',
        b"event: error\ndata: it broke\n\n",
        b'data: {"object":"error","message":"x","code":500}\n\n',
        data({"id": "1", "error": {"code": 502, "message": "x"}, "choices": [{"delta": {}, "finish_reason": "error"}]}),
        b'data: {\ndata: "error":\ndata: {"message": "x"}}\n\n',
    ],
)
def test_a_late_error_is_seen_in_every_form(text: bytes) -> None:
    assert reader(SAMPLE.answer, text).error is Verdict.PROVIDER_ERROR_LATE
    assert reader(SAMPLE.answer, SAMPLE.finish, text).error is Verdict.PROVIDER_ERROR_LATE


def test_an_error_that_the_client_sees_itself_needs_no_telling() -> None:
    it = Reader(Dialect.CHAT, 1)
    it.released = True
    assert it.feed(SAMPLE.error) is None
    assert (it.answered, it.error) == (True, Verdict.PROVIDER_ERROR)
    it.feed(SAMPLE.error)
    assert it.error is Verdict.PROVIDER_ERROR


@pytest.mark.parametrize("text", [b"data: oops\n\n", b"<html>\n\n", b"foo: bar\n\n", b"data: {\n\n", b"\0\n\n"])
def test_what_is_malformed_behind_the_answer_is_the_clients_to_judge(text: bytes) -> None:
    it = reader(SAMPLE.answer, text)
    assert (it.error, it.complete) == (None, False)


def test_heartbeats_behind_the_answer_are_counted_apart_from_events() -> None:
    it = reader(SAMPLE.answer, COMMENT, b":\n", b"event: ping\ndata: {}\n\n", SAMPLE.more)
    assert (it.heartbeats, it.events) == (3, 2)


@pytest.mark.parametrize("ping", [b"event:ping\ndata: {}", b'data: {"type": "ping"}', b"event: keepalive\ndata: 1",
                                  b"data:", b"id: 1", b"retry: 3000"])  # fmt: skip
def test_a_ping_in_an_unusual_spelling_changes_nothing_behind_the_answer(ping: bytes) -> None:
    it = reader(SAMPLE.answer, ping + b"\n\n")
    assert (it.answered, it.complete, it.error) == (True, False, None)


@pytest.mark.parametrize("dialect", Dialect)
def test_behind_the_answer_a_healthy_stream_is_read_in_full_only_once(
    dialect: Dialect, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = SAMPLES[dialect]
    seen: list[bytes] = []
    it = reader(COMMENT, sample.preamble, sample.answer, dialect=dialect)

    def count(block: bytes, dialect: Dialect) -> Frame:
        seen.append(block)
        return read(block, dialect)

    monkeypatch.setattr(dialects, "read", count)
    for frame in (sample.more, COMMENT, sample.answer, sample.finish, COMMENT, END_MARK):
        it.feed(frame)
    assert seen == [sample.finish[:-2]]


# --- the last frame ---


@pytest.mark.parametrize(
    "tail", [b"data: [DONE]", b"data: [DONE]\n", b"data: [DONE]\r", SAMPLE.finish[:-2], SAMPLE.finish[:-1]]
)
def test_a_complete_last_frame_counts_without_its_blank_line(tail: bytes) -> None:
    it = reader(SAMPLE.answer, tail)
    assert not it.complete
    assert it.ends_in_whole_frame
    assert it.finish() is None
    assert it.complete


def test_a_last_frame_that_lacks_its_blank_line_may_be_the_answer() -> None:
    it = reader(SAMPLE.finish[:-2])
    assert it.finish() is None
    assert (it.answered, it.complete) == (True, True)


@pytest.mark.parametrize(
    "tail", [b"data: {", b"data: [DONE", b"dat", b"event: error\ndata: {", b"data: x}", b": }x", b"data"]
)
def test_half_a_frame_is_not_whole(tail: bytes) -> None:
    assert not reader(SAMPLE.answer, tail).ends_in_whole_frame


def test_half_a_frame_at_the_end_is_malformed() -> None:
    half = b'data: {"choices": [{"delta"'
    assert reader(COMMENT, half).finish() == Stop(Verdict.MALFORMED, excerpt=half.decode())


def test_nothing_is_left_to_read_behind_a_safe_point() -> None:
    assert reader(COMMENT).finish() is None
    assert reader().finish() is None


# --- large frames ---


def test_a_frame_that_is_too_large_to_read_counts_as_an_answer() -> None:
    it = Reader(Dialect.CHAT, 1, max_block=50)
    assert it.feed(b"data: " + b"x" * 40) is None
    assert (it.answered, it.complete) == (False, False)
    assert it.feed(b"x" * 40) is None
    assert (it.answered, it.complete) == (True, False)
    assert it.feed(b"\n\n" + END_MARK) is None
    assert (it.answered, it.complete) == (True, True)


def test_a_comment_without_end_is_no_answer() -> None:
    it = Reader(Dialect.CHAT, 1, max_block=50)
    for _ in range(10):
        assert it.feed(b": " + b"x" * 40) is None
    assert not it.answered
    assert it.feed(b"\n\n") is None
    assert it.silence is Verdict.HEARTBEATS_ONLY


def test_json_that_breaks_parsers_breaks_nothing() -> None:
    for nested in (b"[" * 100_000, b'{"error":' * 100_000, b"9" * 5000):
        it = reader(SAMPLE.answer, b"data: " + nested + b"\n\n", b"event: error\ndata: " + nested + b"\n\n")
        assert it.error is Verdict.PROVIDER_ERROR_LATE
        assert reader().feed(b"data: " + nested + b"\n\n") is not None
    deep = json.dumps({"choices": [{"delta": {"content": {"a": [[[]]]}}}]}).encode()
    assert reader(b"data: " + deep + b"\n\n").answered
