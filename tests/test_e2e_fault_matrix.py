"""Upstreams over HTTP/1.1 that stop at every byte, in every way, and what the client gets: `fault_streams` knows."""

from __future__ import annotations

import pytest

from fault_cases import ALL, CHAT, PLAIN, assert_leavings, assert_outcomes, assert_silences, ended, on_the_wire
from harness.breaking import Then
from harness.many import Many


@pytest.mark.parametrize("then", [Then.CLOSE, Then.HALF_CLOSE, Then.RESET], ids=lambda then: then.name)
def test_a_connection_may_break_at_any_byte(many: Many, then: Then) -> None:
    assert_outcomes(many, "plain", (case for each in ALL for case in on_the_wire(*each, then)))


def test_a_body_may_end_at_any_byte(many: Many) -> None:
    assert_outcomes(many, "plain", (case for each in ALL for case in ended(*each)))


def test_an_upstream_may_be_silent_from_any_byte_on(many: Many) -> None:
    assert_silences(many, "plain", (case for each in ALL for case in on_the_wire(*each, Then.SILENCE)))


def test_a_client_may_leave_a_silent_upstream_at_any_byte(many: Many) -> None:
    assert_leavings(many, "plain", (case for each in PLAIN for case in on_the_wire(*each, Then.SILENCE)))


def test_tls_may_be_closed_without_notice_at_any_byte(many: Many) -> None:
    assert_outcomes(many, "tls", (case for each in PLAIN for case in on_the_wire(*each, Then.HALF_CLOSE)))


def test_a_connection_may_be_reset_at_any_byte_for_a_client_that_speaks_http2(many: Many) -> None:
    assert_outcomes(many, "tls", (case for each in CHAT for case in on_the_wire(*each, Then.RESET)), http2=True)
