"""What a provider's error says, and the status that goes with it."""

from __future__ import annotations

import pytest

from sseguard.provider_error import ProviderError


def status(**error: object) -> int:
    return ProviderError.read(error).status


@pytest.mark.parametrize("key", ["code", "status", "status_code"])
@pytest.mark.parametrize("value", [400, 429, 599, "400", "503"])
def test_a_numeric_status_wins_over_every_name(key: str, value: int | str) -> None:
    assert status(**{"type": "overloaded_error", "message": "x", key: value}) == int(value)


@pytest.mark.parametrize(
    "value",
    [200, 399, 600, -1, 10**4000, "200", "4000", "0429", "+429", "\u0664\u0660\u0660", " 429", 429.0, True, None, [429],
     {"code": 429}, "429 Too Many Requests"],
)  # fmt: skip
def test_a_number_that_is_no_error_status_does_not_count(value: object) -> None:
    assert status(code=value) == 500
    assert status(code=value, type="overloaded_error") == 529


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # the design's table
        ("rate_limit_error", 429), ("rate_limit_exceeded", 429),
        ("overloaded_error", 529), ("overloaded", 529),
        ("invalid_request_error", 400),
        ("authentication_error", 401),
        ("permission_error", 403), ("permission_denied_error", 403),
        ("not_found_error", 404),
        ("insufficient_quota", 402), ("billing_error", 402), ("billing_hard_limit_reached", 402),
        ("timeout_error", 504), ("timeout", 504),
        ("server_error", 500), ("api_error", 500),
        # OpenAI's codes
        ("model_not_found", 404), ("invalid_api_key", 401), ("context_length_exceeded", 400), ("invalid_prompt", 400),
        # HTTP's reasons, as gateways send them
        ("too_many_requests", 429), ("payment_required", 402), ("unauthorized", 401), ("forbidden", 403),
        ("service_unavailable", 503),
        # gRPC's names, as Gemini sends them
        ("RESOURCE_EXHAUSTED", 429), ("UNAUTHENTICATED", 401), ("PERMISSION_DENIED", 403), ("NOT_FOUND", 404),
        ("INVALID_ARGUMENT", 400), ("DEADLINE_EXCEEDED", 504), ("UNAVAILABLE", 503), ("INTERNAL", 500),
        ("UNKNOWN", 500),
        # llama.cpp
        ("unavailable_error", 503), ("exceed_context_size_error", 500),
        # what nobody knows
        ("", 500), ("error", 500), ("something_new", 500), ("Rate_Limit", 429), ("my_rate_limit", 500),
    ],
)  # fmt: skip
@pytest.mark.parametrize("key", ["type", "code", "status"])
def test_a_name_gives_the_status_by_how_it_starts(name: str, expected: int, key: str) -> None:
    assert status(**{key: name}) == expected


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ({"type": "invalid_request_error", "code": "model_not_found"}, 404),
        ({"type": "requests", "code": "rate_limit_exceeded"}, 429),
        ({"type": "rate_limit_error", "code": "unheard_of"}, 429),
        ({"type": "unheard_of", "status": "RESOURCE_EXHAUSTED"}, 429),
        ({"type": ["rate_limit_error"], "code": None, "status": {}}, 500),
        ({"code": 200, "status": 503}, 503),
    ],
)
def test_the_most_precise_name_that_is_known_counts(error: dict[str, object], expected: int) -> None:
    assert status(**error) == expected


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ({"message": " Slow  down\n"}, " Slow  down\n"),
        ({"message": "", "detail": "why"}, "why"),
        ({"detail": "why"}, "why"),
        ({"msg": "why"}, "why"),
        ({"error": "why"}, "why"),
        ({"message": ["no", "text"]}, ""),
        ({}, ""),
    ],
)
def test_the_message_is_the_providers_own_word_for_word(error: object, expected: str) -> None:
    assert ProviderError.read(error).message == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("it broke", ProviderError(500, "it broke")),
        (None, ProviderError(500, "")),
        (True, ProviderError(500, "")),
        (17, ProviderError(500, "17")),
        ([], ProviderError(500, "[]")),
        (["first", "second"], ProviderError(500, "first")),
        ([{"message": "first", "code": 429}], ProviderError(429, "first", None, 429)),
        ({"error": {"message": "inside", "code": 429}, "code": 500}, ProviderError(429, "inside", None, 429)),
        ({"error": {"message": "inside"}, "code": 503}, ProviderError(503, "inside", None, 503)),
        ({"type": "error", "message": "x"}, ProviderError(500, "x")),
        ({"type": 1, "code": False, "message": "x"}, ProviderError(500, "x")),
        ({"type": "t", "code": "c", "message": "\ud800"}, ProviderError(500, "\ud800", "t", "c")),
    ],
)
def test_any_json_value_is_read(value: object, expected: ProviderError) -> None:
    assert ProviderError.read(value) == expected
