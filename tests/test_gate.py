"""Hold, release, refuse, end: the gate up to the first answer frame."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gates import ANSWER, CALL, SAMPLE, feed, gate, refused, told
from samples import COMMENT, END_MARK, SAMPLES, chat, message
from sseguard.codings import Decoder
from sseguard.dialects import Dialect
from sseguard.errors import body, failure
from sseguard.gate import End, Gate, Limits, Refuse, Relay, State
from sseguard.verdicts import Verdict

# --- an answer ---


@pytest.mark.parametrize("dialect", Dialect)
def test_headers_and_what_was_held_go_out_with_the_first_answer_frame(dialect: Dialect) -> None:
    sample, it = SAMPLES[dialect], gate(dialect)
    assert feed(it, COMMENT, sample.preamble) == []
    assert (it.state, it.released) == (State.HOLDING, False)
    assert feed(it, sample.answer) == [Relay(COMMENT + sample.preamble + sample.answer)]
    assert (it.state, it.released) == (State.RELAYING, True)
    assert feed(it, sample.more, COMMENT, sample.finish) == [Relay(sample.more), Relay(COMMENT), Relay(sample.finish)]
    assert it.end(103.0) == [End(b"")]
    assert (it.state, it.verdict, it.failure) == (State.OVER, Verdict.ANSWERED, None)


def test_each_frame_leaves_with_the_bytes_that_complete_it() -> None:
    it = gate()
    feed(it, SAMPLE.answer)
    assert feed(it, SAMPLE.more[:-1]) == []
    assert feed(it, SAMPLE.more[-1:] + SAMPLE.finish[:9]) == [Relay(SAMPLE.more)]
    assert feed(it, SAMPLE.finish[9:] + END_MARK) == [Relay(SAMPLE.finish + END_MARK)]


@pytest.mark.parametrize("at", range(len(ANSWER)))
def test_an_answer_is_the_same_wherever_it_is_split(at: int) -> None:
    it = gate()
    relayed = [action.data for action in feed(it, ANSWER[:at], ANSWER[at:]) if isinstance(action, Relay)]
    assert b"".join(relayed) == ANSWER
    assert it.end(103.0) == [End(b"")]
    assert it.verdict is Verdict.ANSWERED


def test_a_complete_last_frame_without_its_blank_line_is_the_answer() -> None:
    it = gate()
    assert feed(it, SAMPLE.finish[:-2]) == []
    assert it.end(103.0) == [End(SAMPLE.finish[:-2])]
    assert it.verdict is Verdict.ANSWERED


def test_times_and_sizes_are_kept() -> None:
    it = gate()
    feed(it, COMMENT, now=103.0)
    feed(it, SAMPLE.answer, END_MARK, now=105.0)
    it.end(107.5)
    assert (it.headers_at, it.first_byte, it.first_answer, it.ended) == (1.0, 3.0, 5.0, 7.5)
    assert (it.heartbeats, it.events, it.size) == (1, 2, len(COMMENT + SAMPLE.answer + END_MARK))


# --- no answer, and a status still to give ---


@pytest.mark.parametrize("dialect", Dialect)
@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        ([], Verdict.EMPTY),
        ([b"\n\n"], Verdict.EMPTY),
        ([COMMENT, b":\n"], Verdict.HEARTBEATS_ONLY),
        ([b"data: \n\n", b"data: : PROCESSING\n\n", b"event: ping\ndata: {}\n\n"], Verdict.HEARTBEATS_ONLY),
        (["preamble"], Verdict.PREAMBLE_ONLY),
        ([COMMENT, "preamble"], Verdict.PREAMBLE_ONLY),
        ([b'data: {"half'], Verdict.MALFORMED),
    ],
)
def test_an_end_without_an_answer_is_refused(dialect: Dialect, chunks: list[Any], expected: Verdict) -> None:
    it = gate(dialect)
    assert feed(it, *(SAMPLES[dialect].preamble if chunk == "preamble" else chunk for chunk in chunks)) == []
    assert refused(it.end(103.0)) is it.verdict is expected
    assert it.failure is not None
    assert it.failure.status == 502


@pytest.mark.parametrize("dialect", Dialect)
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (END_MARK, Verdict.DONE_ONLY),
        (b"data: not json\n\n", Verdict.MALFORMED),
        (b"<html>", Verdict.MALFORMED),
    ],
)
def test_what_holds_no_answer_is_refused_at_once(dialect: Dialect, text: bytes, expected: Verdict) -> None:
    it = gate(dialect)
    assert feed(it, COMMENT) == [] if text[:1] != b"<" else True
    assert refused(feed(it, text)) is it.verdict is expected


def test_a_message_that_stops_at_once_is_refused_at_once() -> None:
    it = gate(Dialect.ANTHROPIC)
    assert refused(feed(it, SAMPLES[Dialect.ANTHROPIC].preamble, message("message_stop"))) is Verdict.PREAMBLE_ONLY


def test_a_truncated_answer_that_is_still_held_may_be_refused() -> None:
    it = gate(truncated_is_error=True)
    assert feed(it, SAMPLE.answer[:-2]) == []
    assert it.end(103.0) == [Refuse(failure(Verdict.TRUNCATED))]
    assert (it.verdict, it.released) == (Verdict.TRUNCATED, False)


@pytest.mark.parametrize(
    ("dialect", "status"),
    [(Dialect.CHAT, 529), (Dialect.RESPONSES, 429), (Dialect.ANTHROPIC, 529), (Dialect.GEMINI, 429)],
)
@pytest.mark.parametrize("complete", [True, False])
@pytest.mark.parametrize("ending", ["end", "cut"])
def test_a_providers_error_keeps_its_status_and_words(
    dialect: Dialect, status: int, complete: bool, ending: str
) -> None:
    it = gate(dialect)
    sample = SAMPLES[dialect]
    actions = feed(it, COMMENT, sample.preamble, sample.error if complete else sample.error[:-2])
    if not complete:
        assert actions == []
        actions = it.end(103.0) if ending == "end" else it.cut("reset", 103.0)
    assert refused(actions) is it.verdict is Verdict.PROVIDER_ERROR
    assert it.failure is not None
    assert it.failure.status == status
    assert 'It said: "Overloaded"' in it.failure.message


@pytest.mark.parametrize(
    "chunks",
    [[], [COMMENT], [SAMPLE.preamble], [b"data: {"], [SAMPLE.answer[:-2]], [b"event: error\ndata: {"], [b"\xef\xbb"]],
)
def test_a_cut_before_an_answer_has_left_is_refused(chunks: list[bytes]) -> None:
    it = gate()
    assert feed(it, *chunks) == []
    assert it.cut("connection reset", 103.0) == [Refuse(failure(Verdict.CUT, excerpt="connection reset"))]
    assert it.verdict is Verdict.CUT


def test_a_cut_behind_a_complete_answer_is_none_even_without_the_last_blank_line() -> None:
    it = gate()
    feed(it, SAMPLE.finish[:-2])
    assert it.cut("reset", 103.0) == [End(SAMPLE.finish)]
    assert it.verdict is Verdict.ANSWERED


def test_an_upstream_that_cannot_be_reached_is_a_cut() -> None:
    it = Gate(CALL, Limits(), now=100.0)
    assert it.cut("refused", 101.0) == [Refuse(failure(Verdict.CUT, excerpt="refused"))]
    assert (it.headers_at, it.first_byte, it.ended) == (None, None, 1.0)


def test_the_error_holds_the_evidence() -> None:
    it = gate()
    feed(it, COMMENT, COMMENT, SAMPLE.preamble)
    it.end(109.5)
    assert it.failure is not None
    assert json.loads(body(Dialect.CHAT, it.failure, it.evidence(109.5)))["error"]["metadata"] == {
        "reason": "preamble_only",
        "heartbeats": 2,
        "events": 1,
        "bytes": len(COMMENT * 2 + SAMPLE.preamble),
        "seconds": 9.5,
        "model": "vendor/model",
        "host": "openrouter.ai",
        "request_id": "gen-1",
    }


# --- hold by time and by bytes ---


def test_the_hold_ends_at_its_deadline_and_not_before() -> None:
    it = gate(hold_seconds=60)
    feed(it, COMMENT)
    assert (it.state, it.deadline) == (State.HOLDING, 161.0)
    assert it.tick(160.999) == []
    assert it.tick(161.0) == [Relay(COMMENT)]
    assert (it.state, it.deadline) == (State.RELAYING, None)
    assert feed(it, COMMENT) == [Relay(COMMENT)]


def test_headers_are_released_even_when_nothing_has_come() -> None:
    assert gate(hold_seconds=60).tick(161.0) == [Relay(b"")]


def test_no_hold_at_all_releases_headers_with_the_first_look_at_the_clock() -> None:
    it = gate(hold_seconds=0)
    assert it.deadline == 101.0
    assert it.tick(101.0) == [Relay(b"")]
    assert feed(it, COMMENT) == [Relay(COMMENT)]


def test_no_hold_at_all_releases_headers_with_the_first_byte_too() -> None:
    assert feed(gate(hold_seconds=0), COMMENT) == [Relay(COMMENT)]


def test_the_hold_ends_when_more_is_held_than_should_be() -> None:
    it = gate(hold_bytes=2 * len(COMMENT))
    assert feed(it, COMMENT, COMMENT) == []
    assert feed(it, b":") == [Relay(COMMENT * 2)]
    assert it.state is State.RELAYING
    assert feed(it, b"\n") == [Relay(b":\n")]


def test_a_frame_larger_than_the_hold_leaves_in_the_step_it_comes_in() -> None:
    it = gate(hold_bytes=10)
    large = chat(content="x" * 100)
    assert feed(it, large[:50], large[50:99]) == [Relay(large[:50]), Relay(large[50:99])]
    assert feed(it, large[99:] + b"data") == [Relay(large[99:])]
    assert feed(it, SAMPLE.more[4:]) == [Relay(SAMPLE.more)]


def test_holding_no_bytes_lets_every_byte_through() -> None:
    it = gate(hold_bytes=0)
    assert feed(it, b"d", b"ata: ", b"{}", b"\n", b"\n") == [Relay(b"d"), Relay(b"ata: "), Relay(b"{}"), Relay(b"\n"),
                                                              Relay(b"\n")]  # fmt: skip
    assert it.first_answer == 2.0


def test_headers_that_cannot_be_held_are_not() -> None:
    it = Gate(CALL, Limits(), now=100.0)
    it.opened(Decoder(""), 101.0, held=False)
    assert (it.state, it.deadline) == (State.RELAYING, None)
    assert feed(it, COMMENT) == [Relay(COMMENT)]
    assert told(it.end(103.0))[1]["metadata"]["reason"] == "heartbeats_only"


# --- the client leaves ---


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        ([], Verdict.CLIENT_LEFT),
        ([COMMENT], Verdict.CLIENT_LEFT),
        ([SAMPLE.answer], Verdict.CLIENT_LEFT),
        ([SAMPLE.answer, b"data: [DO"], Verdict.CLIENT_LEFT),
        ([SAMPLE.answer, SAMPLE.finish], Verdict.ANSWERED),
        ([SAMPLE.answer, END_MARK, COMMENT], Verdict.ANSWERED),
        ([SAMPLE.answer, SAMPLE.error], Verdict.PROVIDER_ERROR_LATE),
    ],
)
def test_a_client_that_leaves_is_no_failure_when_it_has_the_whole_answer(
    chunks: list[bytes], expected: Verdict
) -> None:
    it = gate()
    feed(it, *chunks)
    it.left(103.0)
    assert (it.state, it.verdict, it.failure, it.ended) == (State.OVER, expected, None, 3.0)


def test_a_client_may_leave_before_the_headers() -> None:
    it = Gate(CALL, Limits(), now=100.0)
    it.left(101.0)
    assert (it.state, it.verdict) == (State.OVER, Verdict.CLIENT_LEFT)


# --- over ---


def test_a_blocked_request_is_over_before_it_began() -> None:
    it, what = Gate(CALL, Limits(), now=100.0), failure(Verdict.CUT)
    it.block(what)
    assert (it.state, it.verdict, it.failure, it.ended) == (State.OVER, Verdict.CUT, what, 0.0)


def test_nothing_happens_behind_the_verdict() -> None:
    it = gate(answer_timeout=1)
    it.end(101.5)
    assert (feed(it, ANSWER), it.end(103.0), it.cut("x", 103.0), it.tick(1e9)) == ([], [], [], [])
    it.left(104.0)
    it.opened(Decoder("gzip"), 105.0)
    assert (it.state, it.verdict, it.deadline, it.ended, it.size) == (State.OVER, Verdict.EMPTY, None, 1.5, 0)
    assert it.headers_at == 1.0


def test_no_bytes_are_no_event() -> None:
    it = gate()
    assert feed(it, b"") == []
    assert it.first_byte is None
