"""What the gate does once headers are out, and its time limits: safe points, torn frames, silence."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gates import CALL, SAMPLE, feed, gate, reason, refused, relayed, told
from samples import COMMENT, END_MARK, SAMPLES, chat
from sseguard.codings import Decoder
from sseguard.dialects import Dialect
from sseguard.gate import Abort, Call, End, Gate, Limits, Refuse, Relay
from sseguard.verdicts import Verdict

CODINGS = ["gzip", "deflate", "br", "zstd"]


# --- released without an answer ---


@pytest.mark.parametrize("dialect", Dialect)
@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        ([], Verdict.EMPTY),
        ([COMMENT], Verdict.HEARTBEATS_ONLY),
        (["preamble"], Verdict.PREAMBLE_ONLY),
        ([b"data: {"], Verdict.MALFORMED),
    ],
)
def test_an_empty_end_is_told_in_band(dialect: Dialect, chunks: list[Any], expected: Verdict) -> None:
    it = gate(dialect, hold_seconds=1)
    it.tick(102.0)
    feed(it, *(SAMPLES[dialect].preamble if chunk == "preamble" else chunk for chunk in chunks))
    before, error = told(it.end(103.0))
    assert (before, error["metadata"]["reason"], it.verdict) == (b"", expected, expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [(END_MARK, "done_only"), (b"data: oops\n\n", "malformed"), (END_MARK + SAMPLE.answer, "done_only")],
)
def test_a_done_that_would_hide_the_error_is_dropped(text: bytes, expected: str) -> None:
    it = gate(hold_seconds=0)
    assert feed(it, COMMENT) == [Relay(COMMENT)]
    before, error = told(feed(it, text))
    assert (before, error["metadata"]["reason"]) == (b"", expected)


@pytest.mark.parametrize("dialect", Dialect)
def test_a_providers_error_passes_as_it_is_when_headers_are_out(dialect: Dialect) -> None:
    it, error = gate(dialect, hold_seconds=1), SAMPLES[dialect].error
    it.tick(102.0)
    assert feed(it, error, END_MARK) == [Relay(error), Relay(END_MARK)]
    assert it.end(103.0) == [End(b"")]
    assert (it.verdict, it.failure, it.first_answer) == (Verdict.PROVIDER_ERROR, None, None)


def test_a_providers_error_passes_as_it_is_when_headers_could_not_be_held() -> None:
    it = Gate(CALL, Limits(), now=100.0)
    it.opened(Decoder(""), 101.0, held=False)
    assert feed(it, SAMPLE.error) == [Relay(SAMPLE.error)]
    assert it.end(103.0) == [End(b"")]
    assert it.verdict is Verdict.PROVIDER_ERROR


def test_a_providers_last_error_that_lacks_its_blank_line_gets_it_at_a_cut() -> None:
    it = gate(hold_seconds=1)
    it.tick(102.0)
    assert feed(it, SAMPLE.error[:-2]) == []
    assert it.cut("reset", 103.0) == [End(SAMPLE.error)]
    assert it.verdict is Verdict.PROVIDER_ERROR


def test_a_cut_before_an_answer_is_told_in_band() -> None:
    it = gate(hold_seconds=1)
    it.tick(102.0)
    feed(it, COMMENT, b"data: {")
    before, error = told(it.cut("reset", 103.0))
    assert (before, error["metadata"]["reason"], error["metadata"]["excerpt"]) == (b"", "cut", "reset")


# --- a failure behind the answer ---


@pytest.mark.parametrize("dialect", Dialect)
@pytest.mark.parametrize("tail", [b"", b"data: {", b"event: error\ndata: {", b"da", b": comm", b"id: 3\n"])
def test_a_late_cut_gives_the_complete_frames_and_an_error_frame(dialect: Dialect, tail: bytes) -> None:
    sample, it = SAMPLES[dialect], gate(dialect)
    assert feed(it, sample.answer, sample.more + tail) == [Relay(sample.answer), Relay(sample.more)]
    before, error = told(it.cut("reset", 103.0))
    assert (before, error["metadata"]["reason"], it.verdict) == (b"", "cut_late", Verdict.CUT_LATE)


@pytest.mark.parametrize("lacking", [b"\n\n", b"\n"])
def test_a_complete_last_frame_goes_out_before_the_error_frame(lacking: bytes) -> None:
    it = gate()
    feed(it, SAMPLE.answer, SAMPLE.more.removesuffix(lacking))
    assert told(it.cut("reset", 103.0))[0] == SAMPLE.more


def test_a_complete_last_frame_that_ends_in_a_cr_is_not_glued_to_the_error_frame() -> None:
    it = gate()
    feed(it, SAMPLE.answer, SAMPLE.more[:-2] + b"\r")
    assert told(it.cut("reset", 103.0))[0] == SAMPLE.more[:-2] + b"\r\n\n"


def test_a_complete_frame_that_was_alone_in_the_cut_is_kept_when_headers_are_out() -> None:
    it = gate(hold_seconds=1)
    it.tick(102.0)
    feed(it, SAMPLE.answer[:-2])
    before, error = told(it.cut("reset", 103.0))
    assert (before, error["metadata"]["reason"]) == (SAMPLE.answer, "cut_late")


@pytest.mark.parametrize("tail", [b"", b"data: [DONE", b"da", COMMENT[:5]])
@pytest.mark.parametrize("dialect", Dialect)
def test_a_cut_behind_the_end_of_the_answer_is_none(dialect: Dialect, tail: bytes) -> None:
    it = gate(dialect)
    feed(it, SAMPLES[dialect].answer, SAMPLES[dialect].finish, tail)
    assert it.cut("reset", 103.0) == [End(b"")]
    assert (it.verdict, it.failure) == (Verdict.ANSWERED, None)


def test_a_cut_behind_the_providers_own_error_is_told_by_that() -> None:
    it = gate()
    feed(it, SAMPLE.answer, SAMPLE.error, b"data")
    assert it.cut("reset", 103.0) == [End(b"")]
    assert it.verdict is Verdict.PROVIDER_ERROR_LATE


@pytest.mark.parametrize("dialect", Dialect)
def test_a_late_provider_error_passes_as_it_is(dialect: Dialect) -> None:
    sample, it = SAMPLES[dialect], gate(dialect)
    assert feed(it, sample.answer, sample.error) == [Relay(sample.answer), Relay(sample.error)]
    assert it.end(103.0) == [End(b"")]
    assert (it.verdict, it.failure) == (Verdict.PROVIDER_ERROR_LATE, None)


@pytest.mark.parametrize("tail", [b"", b"data: {"])
def test_a_clean_end_without_an_end_mark_is_flagged_and_untouched(tail: bytes) -> None:
    it = gate()
    feed(it, SAMPLE.answer, tail)
    assert it.end(103.0) == [End(tail)]
    assert (it.verdict, it.failure) == (Verdict.TRUNCATED, None)


@pytest.mark.parametrize("tail", [b"", b"data: {"])
def test_a_clean_end_without_an_end_mark_may_be_told(tail: bytes) -> None:
    it = gate(truncated_is_error=True)
    feed(it, SAMPLE.answer, tail)
    before, error = told(it.end(103.0))
    assert (before, error["metadata"]["reason"], it.verdict) == (b"", "truncated", Verdict.TRUNCATED)


def test_of_several_choices_one_that_lacks_its_finish_is_truncated() -> None:
    it = Gate(replace(CALL, choices=2), Limits(), now=100.0)
    it.opened(Decoder(""), 101.0)
    feed(it, chat(content="Hi"), chat(finish="stop"))
    it.end(103.0)
    assert it.verdict is Verdict.TRUNCATED


# --- time limits ---


def test_no_answer_in_time_is_refused() -> None:
    it = gate(answer_timeout=30)
    feed(it, COMMENT, now=129.0)
    assert it.deadline == 130.0
    assert it.tick(129.999) == []
    assert refused(it.tick(130.0)) is Verdict.TIMED_OUT
    assert it.failure is not None
    assert it.failure.status == 504


def test_no_headers_in_time_are_refused_when_a_stream_was_asked_for() -> None:
    it = Gate(CALL, Limits(answer_timeout=30), now=100.0)
    assert it.tick(129.0) == []
    assert refused(it.tick(130.0)) is Verdict.TIMED_OUT


def test_a_response_that_need_not_be_a_stream_may_take_its_time() -> None:
    it = Gate(Call(Dialect.CHAT, streaming=False), Limits(answer_timeout=30), now=100.0)
    assert it.deadline is None
    assert it.tick(1e9) == []
    it.opened(Decoder(""), 125.0)
    assert it.deadline == 130.0


def test_the_answer_may_still_time_out_when_the_hold_is_over() -> None:
    it = gate(hold_seconds=10, answer_timeout=30)
    assert it.tick(111.0) == [Relay(b"")]
    assert it.deadline == 130.0
    before, error = told(it.tick(130.0))
    assert (before, error["code"], it.verdict) == (b"", 504, Verdict.TIMED_OUT)


def test_an_answer_in_time_is_not_timed_out() -> None:
    it = gate(answer_timeout=30)
    feed(it, SAMPLE.answer, now=129.0)
    assert it.deadline is None
    assert it.tick(131.0) == []


def test_when_the_hold_and_the_answer_are_due_at_once_the_answer_is_late() -> None:
    assert refused(gate(hold_seconds=29, answer_timeout=30).tick(130.0)) is Verdict.TIMED_OUT


# --- silence behind the answer ---


def test_silence_behind_the_answer_times_out_at_its_deadline() -> None:
    it = gate(idle_timeout=20)
    assert it.deadline == 161.0
    feed(it, SAMPLE.answer, now=110.0)
    assert it.deadline == 130.0
    feed(it, COMMENT, now=115.0)
    assert it.deadline == 135.0
    assert it.tick(134.999) == []
    before, error = told(it.tick(135.0))
    assert (before, error["code"], it.verdict) == (b"", 504, Verdict.TIMED_OUT_LATE)


def test_silence_drops_half_a_frame() -> None:
    it = gate(idle_timeout=20)
    feed(it, SAMPLE.answer, SAMPLE.more + b"data: {", now=110.0)
    assert told(it.tick(130.0))[0] == b""


def test_silence_behind_the_end_of_the_answer_ends_the_response() -> None:
    it = gate(idle_timeout=20)
    feed(it, SAMPLE.answer, END_MARK, now=110.0)
    assert it.tick(130.0) == [End(b"")]
    assert (it.verdict, it.failure) == (Verdict.ANSWERED, None)


@pytest.mark.parametrize("lacking", [b"\n\n", b"\n"])
def test_silence_behind_an_end_mark_that_lacks_its_blank_line_ends_the_response(lacking: bytes) -> None:
    it = gate(idle_timeout=20)
    feed(it, SAMPLE.answer, END_MARK.removesuffix(lacking), now=110.0)
    assert it.tick(130.0) == [End(END_MARK)]
    assert (it.verdict, it.failure) == (Verdict.ANSWERED, None)


# --- torn frames ---


def test_no_error_frame_is_put_behind_half_a_frame() -> None:
    it = gate(hold_bytes=10)
    assert feed(it, b"data: {123456") == [Relay(b"data: {123456")]
    assert it.cut("reset", 103.0) == [Abort("reset")]
    assert it.verdict is Verdict.CUT


def test_a_torn_frame_that_is_complete_at_last_takes_an_error_frame_behind_it() -> None:
    it = gate(hold_bytes=10)
    feed(it, SAMPLE.answer[:50], SAMPLE.answer[50:])
    assert reason(it.cut("reset", 103.0)) == "cut_late"


def test_half_a_frame_that_is_held_back_when_the_hold_is_full_is_not_torn() -> None:
    it = gate(hold_bytes=30)
    assert feed(it, COMMENT, COMMENT + b"data: {") == [Relay(COMMENT * 2)]
    assert reason(it.cut("reset", 103.0)) == "cut"


def test_half_a_frame_in_a_large_chunk_is_not_torn() -> None:
    it = gate(hold_bytes=100)
    assert feed(it, SAMPLE.answer * 9 + b"data: {") == [Relay(SAMPLE.answer * 9)]
    assert reason(it.cut("reset", 103.0)) == "cut_late"


def test_a_timeout_behind_half_a_frame_breaks_off_with_words() -> None:
    it = gate(hold_bytes=0, answer_timeout=10)
    feed(it, b"data: {")
    [action] = it.tick(110.0)
    assert isinstance(action, Abort)
    assert action.message.startswith("The provider sent no part of an answer")


def test_a_truncated_stream_that_ends_in_half_a_frame_is_flagged_only() -> None:
    it = gate(hold_bytes=0, truncated_is_error=True)
    feed(it, SAMPLE.answer, b"data: {")
    assert it.end(103.0) == [End(b"")]
    assert (it.verdict, it.failure) == (Verdict.TRUNCATED, None)


# --- frames too large to read ---


def test_a_frame_too_large_to_read_counts_as_an_answer() -> None:
    it: Gate = gate()
    half = b'data: {"choices":[{"delta":{"content":"' + b"x" * (1 << 20)
    assert feed(it, half) == [Relay(half)]
    assert feed(it, b'"}}]}\n\n', END_MARK) == [Relay(b'"}}]}\n\n'), Relay(END_MARK)]
    assert it.end(103.0) == [End(b"")]
    assert it.verdict is Verdict.ANSWERED


def test_an_endless_comment_is_passed_on_and_told_when_it_ends() -> None:
    it = gate()
    block = b": " + b"x" * (1 << 18)
    assert relayed(feed(it, *[block] * 5)) == block * 5
    assert it.end(103.0) == [Abort(it.failure.message if it.failure else "")]
    assert it.verdict is Verdict.HEARTBEATS_ONLY
    assert not isinstance(it.failure, Refuse)
