from __future__ import annotations

import pytest

from sseguard.error_headers import error_headers, request_id
from sseguard.errors import Failure
from sseguard.verdicts import Verdict

FAILURE = Failure(Verdict.EMPTY, 502, "Nothing came.")
OURS = [("content-type", "application/json"), ("cache-control", "no-store"), ("x-sseguard", "empty")]


@pytest.mark.parametrize(
    "name",
    [
        "Retry-After",
        "retry-after-ms",
        "X-Should-Retry",
        "access-control-allow-origin",
        "Access-Control-Expose-Headers",
        "x-ratelimit-remaining-tokens",
        "RateLimit-Reset",
        "anthropic-ratelimit-requests-limit",
        "x-request-id",
        "request-id",
        "apim-request-id",
        "x-amzn-RequestId",
        "X-Generation-Id",
        "x-trace-id",
        "x-correlation-id",
        "cf-ray",
        "openai-organization",
        "vary",
        "date",
    ],
)
def test_what_helps_to_ask_again_or_to_ask_support_is_kept_as_it_was_spelled(name: str) -> None:
    assert list(error_headers(FAILURE, [(name, "a value")])) == [(name, "a value"), *OURS]


@pytest.mark.parametrize(
    "name",
    [
        "Content-Type",
        "content-length",
        "Content-Encoding",
        "transfer-encoding",
        "cache-control",
        "set-cookie",
        "etag",
        "content-md5",
        "x-sseguard",
        "connection",
        "server",
    ],
)
def test_what_describes_the_body_or_is_private_goes(name: str) -> None:
    assert list(error_headers(FAILURE, [(name, "a value")])) == OURS


@pytest.mark.parametrize("value", ["r\x1b[31m", "7\x07", "a\x00b", "\x9b2J"])
def test_what_a_terminal_would_obey_goes(value: str) -> None:
    assert "x-request-id" not in dict(error_headers(FAILURE, [("x-request-id", value)]))


def test_repeated_headers_keep_their_order() -> None:
    kept = [("vary", "a"), ("x-request-id", "1"), ("Vary", "b")]
    assert list(error_headers(FAILURE, kept)) == [*kept, *OURS]


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ([], None),
        ([("content-type", "x")], None),
        ([("CF-Ray", "1")], "1"),
        ([("cf-ray", "1"), ("Request-ID", "2")], "2"),
        ([("request-id", "2"), ("x-request-id", "3")], "3"),
        ([("X-Generation-Id", "gen"), ("x-request-id", "3")], "gen"),
    ],
)
def test_the_most_telling_id_is_quoted(headers: list[tuple[str, str]], found: str | None) -> None:
    assert request_id(headers) == found
