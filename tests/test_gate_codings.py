"""The gate and compressed bodies: judged on a decoded copy, and passed on as they came unless comments are left out."""

from __future__ import annotations

import gzip

import pytest

from gates import ANSWER, SAMPLE, feed, gate, pack, reason, refused, relayed, told
from samples import COMMENT, END_MARK, SAMPLES
from sseguard.dialects import Dialect
from sseguard.gate import Abort, End, Relay
from sseguard.verdicts import Verdict

CODINGS = ["gzip", "deflate", "br", "zstd"]


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("dialect", Dialect)
def test_a_compressed_answer_passes_as_it_came(coding: str, dialect: Dialect) -> None:
    sample, it = SAMPLES[dialect], gate(dialect, coding)
    held, answer, finish, end = pack(coding, COMMENT + sample.preamble, sample.answer, sample.finish)
    assert feed(it, held) == []
    assert feed(it, answer, finish) == [Relay(held + answer), Relay(finish)]
    assert feed(it, end[:1], end[1:]) == [Relay(data) for data in (end[:1], end[1:]) if data]
    assert it.end(103.0) == [End(b"")]
    assert it.verdict is Verdict.ANSWERED


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (COMMENT, Verdict.HEARTBEATS_ONLY),
        (SAMPLE.preamble, Verdict.PREAMBLE_ONLY),
        (END_MARK, Verdict.DONE_ONLY),
        (SAMPLE.error, Verdict.PROVIDER_ERROR),
        (b"<html>", Verdict.MALFORMED),
    ],
)
@pytest.mark.parametrize("size", [1, 1 << 20])
def test_a_compressed_body_without_an_answer_is_refused(coding: str, text: bytes, expected: Verdict, size: int) -> None:
    it, body = gate(coding=coding), b"".join(pack(coding, text))
    actions = feed(it, *(body[i : i + size] for i in range(0, len(body), size)))
    assert refused(actions or it.end(103.0)) is expected


def test_a_gzip_body_may_come_in_members() -> None:
    it = gate(coding="gzip")
    one, two = gzip.compress(SAMPLE.answer), gzip.compress(END_MARK)
    assert feed(it, one, two) == [Relay(one), Relay(two)]
    it.end(103.0)
    assert it.verdict is Verdict.ANSWERED


def test_a_late_cut_in_a_compressed_body_ends_as_upstreams_did() -> None:
    it = gate(coding="gzip")
    feed(it, *pack("gzip", SAMPLE.answer)[:1])
    assert it.cut("reset", 103.0) == [Abort("reset")]
    assert it.verdict is Verdict.CUT_LATE


def test_a_cut_behind_a_complete_compressed_answer_ends_as_upstreams_did() -> None:
    it = gate(coding="gzip")
    feed(it, *pack("gzip", SAMPLE.answer, END_MARK)[:2])
    assert it.cut("reset", 103.0) == [Abort("reset")]
    assert (it.verdict, it.failure) == (Verdict.ANSWERED, None)


@pytest.mark.parametrize("tail", [b"", b"\n"])
def test_a_cut_behind_a_held_compressed_answer_that_lacks_its_blank_line_is_refused(tail: bytes) -> None:
    it = gate(coding="gzip")
    assert feed(it, *pack("gzip", SAMPLE.finish[:-2] + tail)[:1]) == []
    assert refused(it.cut("reset", 103.0)) is it.verdict is Verdict.CUT


@pytest.mark.parametrize("error", [True, False])
def test_a_truncated_compressed_answer_is_flagged_only(error: bool) -> None:
    it = gate(coding="gzip", truncated_is_error=error)
    feed(it, *pack("gzip", SAMPLE.answer))
    assert it.end(103.0) == [End(b"")]
    assert (it.verdict, it.failure) == (Verdict.TRUNCATED, None)


@pytest.mark.parametrize("coding", CODINGS)
def test_a_body_that_is_not_compressed_as_it_says_is_refused(coding: str) -> None:
    it = gate(coding=coding)
    assert refused(feed(it, ANSWER)) is Verdict.MALFORMED
    assert it.failure is not None
    assert it.failure.excerpt.startswith("Expected a body coded as its header says, got ")


def test_a_bomb_is_refused() -> None:
    it = gate(coding="gzip")
    assert refused(feed(it, gzip.compress(b":" * (9 << 20)))) is Verdict.MALFORMED


def test_what_cannot_be_decoded_behind_the_answer_is_passed_on_unread() -> None:
    it, [answer, _] = gate(coding="gzip"), pack("gzip", SAMPLE.answer)
    assert feed(it, answer, b"\xff" * 20, b"\xff") == [Relay(answer), Relay(b"\xff" * 20), Relay(b"\xff")]
    assert it.end(103.0) == [End(b"")]
    assert it.verdict is Verdict.TRUNCATED


def test_silence_behind_the_end_of_a_compressed_answer_breaks_off_with_words() -> None:
    it = gate(coding="gzip", idle_timeout=20)
    feed(it, *pack("gzip", SAMPLE.answer, END_MARK)[:2], now=110.0)
    assert it.tick(130.0) == [Abort("silence after the end")]
    assert (it.verdict, it.failure) == (Verdict.ANSWERED, None)


# --- stripped comments ---


def test_comments_are_left_out_when_asked_for() -> None:
    it = gate(strip_comments=True)
    actions = feed(it, COMMENT, b"id: 7\n" + SAMPLE.answer, COMMENT, b": c\r\n\r\n", SAMPLE.finish, COMMENT + END_MARK)
    assert actions == [Relay(b"id: 7\n" + SAMPLE.answer), Relay(SAMPLE.finish), Relay(END_MARK)]
    assert it.end(103.0) == [End(b"")]
    assert (it.heartbeats, it.verdict) == (4, Verdict.ANSWERED)


def test_heartbeats_that_are_left_out_still_release_the_headers() -> None:
    it = gate(strip_comments=True, hold_seconds=1)
    feed(it, COMMENT)
    assert it.tick(102.0) == [Relay(b"")]
    assert feed(it, COMMENT) == []


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("size", [1, 1 << 20])
def test_a_compressed_body_whose_comments_are_left_out_is_decoded(coding: str, size: int) -> None:
    it = gate(coding=coding, strip_comments=True)
    body = b"".join(pack(coding, COMMENT, SAMPLE.answer, COMMENT, END_MARK))
    actions = feed(it, *(body[i : i + size] for i in range(0, len(body), size)))
    assert relayed(actions) == SAMPLE.answer + END_MARK
    assert it.end(103.0) == [End(b"")]


def test_a_decoded_body_takes_an_error_frame() -> None:
    it = gate(coding="gzip", strip_comments=True)
    feed(it, *pack("gzip", SAMPLE.answer, b"data: {")[:2])
    assert reason(it.cut("reset", 103.0)) == "cut_late"


def test_a_decoded_body_that_breaks_is_a_late_cut() -> None:
    it = gate(coding="gzip", strip_comments=True)
    feed(it, *pack("gzip", SAMPLE.answer)[:1])
    assert reason(feed(it, b"\xff" * 20)) == "cut_late"


def test_a_comment_that_is_cut_is_dropped() -> None:
    it = gate(strip_comments=True)
    feed(it, SAMPLE.answer, SAMPLE.more[:-2] + b"\n: comm")
    assert told(it.cut("reset", 103.0))[0] == b""
