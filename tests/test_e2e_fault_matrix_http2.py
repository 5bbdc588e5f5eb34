"""Upstreams over HTTP/2 that stop at every byte, in every way, and what the client gets: `fault_streams` knows."""

from __future__ import annotations

import pytest

from fault_cases import ALL, CHAT, PLAIN, assert_leavings, assert_outcomes, assert_silences, over_http2
from harness.breaking import Then
from harness.many import Many

#: What an upstream may say of an end (RFC 9113 section 7): nothing, its own fault, ours, refused, cancelled, too much.
CODES = (0x0, 0x1, 0x2, 0x7, 0x8, 0xB)


@pytest.mark.parametrize("then", [Then.RST_STREAM, Then.GOAWAY], ids=lambda then: then.name)
def test_a_stream_may_be_broken_off_at_any_byte(many: Many, then: Then) -> None:
    cases = (case for each in ALL for case in over_http2(*each, then, *CODES))
    assert_outcomes(many, "h2", cases, http2=True)


@pytest.mark.parametrize("then", [Then.CLOSE, Then.HALF_CLOSE, Then.RESET], ids=lambda then: then.name)
def test_a_connection_may_break_at_any_byte(many: Many, then: Then) -> None:
    assert_outcomes(many, "h2", over_http2(*CHAT[0], then), http2=True)


def test_a_stream_may_end_at_any_byte(many: Many) -> None:
    assert_outcomes(many, "h2", (case for each in PLAIN for case in over_http2(*each, Then.END)), http2=True)


def test_an_upstream_may_be_silent_from_any_byte_on(many: Many) -> None:
    cases = (case for each in PLAIN for case in over_http2(*each, Then.SILENCE))
    assert_silences(many, "h2", cases, http2=True)


def test_a_client_may_leave_a_silent_upstream_at_any_byte(many: Many) -> None:
    assert_leavings(many, "h2", over_http2(*CHAT[0], Then.SILENCE))


@pytest.mark.parametrize("then", [Then.RST_STREAM, Then.END], ids=lambda then: then.name)
def test_a_client_that_speaks_http1_is_told_of_how_a_stream_ends_at_any_byte(many: Many, then: Then) -> None:
    assert_outcomes(many, "h2", (case for each in CHAT for case in over_http2(*each, then)))
