"""The error that a client sees, in every dialect."""

from __future__ import annotations

import json
from typing import Any

import pytest

from reference import dispatch
from sseguard.dialects import Dialect, Kind, read
from sseguard.errors import Evidence, Failure, body, failure, frame
from sseguard.provider_error import ProviderError
from sseguard.verdicts import Verdict, message_of, status_of

EVIDENCE = Evidence(
    heartbeats=12, events=3, bytes=456, seconds=7.12345, model="vendor/model", host="openrouter.ai", request_id="req-1"
)
METADATA = {
    "heartbeats": 12, "events": 3, "bytes": 456, "seconds": 7.123, "model": "vendor/model", "host": "openrouter.ai",
    "request_id": "req-1",
}  # fmt: skip
TOLD = [verdict for verdict in Verdict if verdict not in (
    Verdict.ANSWERED, Verdict.CLIENT_LEFT, Verdict.PROVIDER_ERROR_LATE, Verdict.MISROUTED)]  # fmt: skip


def told(dialect: Dialect, what: Failure) -> Any:
    return json.loads(body(dialect, what, EVIDENCE))


# --- verdicts ---


@pytest.mark.parametrize("verdict", TOLD)
def test_a_verdict_has_the_status_of_the_design(verdict: Verdict) -> None:
    assert status_of(verdict) == (504 if verdict in (Verdict.TIMED_OUT, Verdict.TIMED_OUT_LATE) else 502)


def test_a_misrouted_request_is_the_clients_mistake() -> None:
    assert status_of(Verdict.MISROUTED) == 400


@pytest.mark.parametrize("verdict", TOLD)
def test_a_message_is_plain_words_and_says_what_happened(verdict: Verdict) -> None:
    message = message_of(verdict)
    assert message[0].isupper()
    assert message.endswith(".")
    assert not {"SSE", "proxy", "upstream", "JSON", "frame", "parse", "terminal", "dialect"} & set(message.split())


@pytest.mark.parametrize("verdict", [verdict for verdict in TOLD if verdict is not Verdict.PROVIDER_ERROR])
def test_a_message_says_what_to_do(verdict: Verdict) -> None:
    assert "end the request again" in message_of(verdict)


def test_only_an_answer_is_good() -> None:
    assert [verdict for verdict in Verdict if verdict.is_good] == [Verdict.ANSWERED]


def test_a_verdict_that_no_client_is_told_of_has_no_message() -> None:
    with pytest.raises(KeyError):
        message_of(Verdict.ANSWERED)


# --- bodies ---


@pytest.mark.parametrize("dialect", [Dialect.CHAT, Dialect.RESPONSES])
def test_openai_and_openrouter_get_their_error_object(dialect: Dialect) -> None:
    assert told(dialect, failure(Verdict.HEARTBEATS_ONLY)) == {
        "error": {
            "message": message_of(Verdict.HEARTBEATS_ONLY),
            "type": "server_error",
            "param": None,
            "code": 502,
            "metadata": {"reason": "heartbeats_only", **METADATA},
        }
    }


def test_anthropic_gets_its_error_object() -> None:
    assert told(Dialect.ANTHROPIC, failure(Verdict.CUT, excerpt="connection reset")) == {
        "type": "error",
        "error": {
            "type": "api_error",
            "message": message_of(Verdict.CUT),
            "metadata": {"reason": "cut", **METADATA, "excerpt": "connection reset"},
        },
        "request_id": "req-1",
    }


def test_gemini_gets_its_error_object() -> None:
    assert told(Dialect.GEMINI, failure(Verdict.TIMED_OUT)) == {
        "error": {
            "code": 504,
            "message": message_of(Verdict.TIMED_OUT),
            "status": "DEADLINE_EXCEEDED",
            "metadata": {"reason": "timed_out", **METADATA},
        }
    }


@pytest.mark.parametrize("dialect", Dialect)
def test_a_providers_own_words_are_kept_word_for_word(dialect: Dialect) -> None:
    said = ProviderError(429, 'Slow "down"\n\x1b[31m \ud800', "requests", "rate_limit_exceeded")
    error = told(dialect, failure(Verdict.PROVIDER_ERROR, provider_error=said))["error"]
    assert error["metadata"] == {
        "reason": "provider_error", **METADATA, "provider_error": said.message, "provider_code": "rate_limit_exceeded"
    }  # fmt: skip
    assert said.message in error["message"]
    assert error.get("code", 429) == 429


def test_a_provider_that_says_nothing_is_not_quoted() -> None:
    what = failure(Verdict.PROVIDER_ERROR, provider_error=ProviderError(500, ""))
    assert what == Failure(
        Verdict.PROVIDER_ERROR, 500, message_of(Verdict.PROVIDER_ERROR), provider_error=ProviderError(500, "")
    )


@pytest.mark.parametrize(
    ("status", "openai", "anthropic", "gemini"),
    [
        (400, "invalid_request_error", "invalid_request_error", "INVALID_ARGUMENT"),
        (401, "authentication_error", "authentication_error", "UNAUTHENTICATED"),
        (402, "insufficient_quota", "billing_error", "INVALID_ARGUMENT"),
        (403, "permission_error", "permission_error", "PERMISSION_DENIED"),
        (404, "not_found_error", "not_found_error", "NOT_FOUND"),
        (413, "invalid_request_error", "request_too_large", "INVALID_ARGUMENT"),
        (429, "rate_limit_error", "rate_limit_error", "RESOURCE_EXHAUSTED"),
        (500, "server_error", "api_error", "INTERNAL"),
        (502, "server_error", "api_error", "UNAVAILABLE"),
        (503, "server_error", "api_error", "UNAVAILABLE"),
        (504, "server_error", "timeout_error", "DEADLINE_EXCEEDED"),
        (529, "server_error", "overloaded_error", "INTERNAL"),
    ],
)
def test_the_status_names_the_type_of_error_in_each_dialect(
    status: int, openai: str, anthropic: str, gemini: str
) -> None:
    what = failure(Verdict.PROVIDER_ERROR, provider_error=ProviderError(status, "x"))
    assert told(Dialect.CHAT, what)["error"]["type"] == openai
    assert told(Dialect.RESPONSES, what)["error"]["type"] == openai
    assert told(Dialect.ANTHROPIC, what)["error"]["type"] == anthropic
    assert told(Dialect.GEMINI, what)["error"]["status"] == gemini


def test_openai_clients_get_the_providers_own_type() -> None:
    what = failure(Verdict.PROVIDER_ERROR, provider_error=ProviderError(500, "x", "cuda_error"))
    assert told(Dialect.CHAT, what)["error"]["type"] == "cuda_error"


@pytest.mark.parametrize("dialect", Dialect)
def test_details_go_into_the_metadata(dialect: Dialect) -> None:
    what = Failure(Verdict.MISROUTED, 400, "No.", details={"route": "api.openai.com"})
    assert told(dialect, what)["error"]["metadata"] == {"reason": "misrouted", **METADATA, "route": "api.openai.com"}


def test_nothing_is_known_of_an_exchange_that_has_not_begun() -> None:
    nothing = {"heartbeats": 0, "events": 0, "bytes": 0, "seconds": 0.0, "model": "", "host": "", "request_id": None}
    error = json.loads(body(Dialect.CHAT, failure(Verdict.CUT), Evidence()))["error"]
    assert error["metadata"] == {"reason": "cut", **nothing}


# --- frames ---


@pytest.mark.parametrize("verdict", TOLD)
@pytest.mark.parametrize("dialect", Dialect)
def test_a_frame_is_one_event_that_reads_as_an_error(dialect: Dialect, verdict: Verdict) -> None:
    text = frame(dialect, failure(verdict, excerpt="\r\n\n\u2028\ud800: "), EVIDENCE)
    [event] = dispatch(text)
    error = json.loads(event.data)["error"]
    assert event.type == ("message" if dialect in (Dialect.CHAT, Dialect.GEMINI) else "error")
    assert error["message"] == message_of(verdict)
    assert error["metadata"]["reason"] == verdict
    assert read(text.removesuffix(b"\n\n"), dialect).kind is Kind.ERROR


@pytest.mark.parametrize("dialect", [Dialect.CHAT, Dialect.GEMINI, Dialect.ANTHROPIC])
def test_a_frame_says_what_the_body_would_have_said(dialect: Dialect) -> None:
    what = failure(Verdict.CUT_LATE)
    [event] = dispatch(frame(dialect, what, EVIDENCE))
    assert event.data.encode() == body(dialect, what, EVIDENCE)


def test_a_responses_frame_is_the_event_of_the_specification_with_the_object_that_sdks_look_for() -> None:
    what = failure(Verdict.CUT_LATE)
    [event] = dispatch(frame(Dialect.RESPONSES, what, EVIDENCE))
    assert json.loads(event.data) == {
        "type": "error",
        "sequence_number": 3,
        "code": "502",
        "message": message_of(Verdict.CUT_LATE),
        "param": None,
        "error": told(Dialect.RESPONSES, what)["error"],
    }
