"""Which paths ask for an answer, and in which dialect."""

from __future__ import annotations

import re

import pytest

from sseguard.dialects import Dialect
from sseguard.endpoints import FORM, Endpoint, PatternError, find, parse_endpoint


def dialect_of(path: str, *more: str) -> Dialect | None:
    endpoint = find(path, map(parse_endpoint, more))
    return None if endpoint is None else endpoint.dialect


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v1/chat/completions", Dialect.CHAT),
        ("/api/v1/chat/completions?x=1", Dialect.CHAT),
        ("/chat/completions/", Dialect.CHAT),
        ("/v1/completions", Dialect.CHAT),
        ("/openai/deployments/gpt/chat/completions?api-version=2024-10-21", Dialect.CHAT),
        ("/v1/responses", Dialect.RESPONSES),
        ("/v1/messages", Dialect.ANTHROPIC),
        ("/v1/messages?beta=true", Dialect.ANTHROPIC),
        ("/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse", Dialect.GEMINI),
    ],
)
def test_generation_endpoints_are_known_by_the_end_of_their_path(path: str, expected: Dialect) -> None:
    assert dialect_of(path) is expected


@pytest.mark.parametrize(
    "path",
    ["", "/", "/v1/models", "/mcp", "/v1/chat/completions/cmpl_1", "/v1/messages/batches", "/v1/messages/count_tokens",
     "/v1/responses/resp_1", "/mycompletions", "/x?y=/v1/messages", "/v1beta/models/gemini:generateContent",
     "/V1/MESSAGES", "/events"],
)  # fmt: skip
def test_no_other_path_is_guarded(path: str) -> None:
    assert dialect_of(path) is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("/v1/generate", Endpoint("/v1/generate", Dialect.CHAT)),
        ("/v1/generate/", Endpoint("/v1/generate", Dialect.CHAT)),
        ("/generate=anthropic", Endpoint("/generate", Dialect.ANTHROPIC)),
        (":predict=gemini", Endpoint(":predict", Dialect.GEMINI)),
        ("/*/invoke=responses", Endpoint("/*/invoke", Dialect.RESPONSES)),
        ("/a", Endpoint("/a", Dialect.CHAT)),
    ],
)
def test_a_pattern_is_a_path_ending_and_a_dialect(value: str, expected: Endpoint) -> None:
    assert parse_endpoint(value) == expected


@pytest.mark.parametrize(
    "value",
    ["", " ", "/", "//", "///=chat", ":", ":/", "generate", "v1/generate", "/a b", "/a?b", "/a#b", "/a=", "/a=b=chat",
     "https://host/v1", "/a=chat ", "/a\n", "=chat"],
)  # fmt: skip
def test_a_pattern_that_cannot_be_read_is_shown_with_the_form_expected(value: str) -> None:
    message = f"Expected a pattern of the form {FORM}, got {value!r}."
    with pytest.raises(PatternError, match=f"^{re.escape(message)}$"):
        parse_endpoint(value)


@pytest.mark.parametrize("name", ["openai", "CHAT", "sse"])
def test_an_unknown_dialect_is_shown_with_those_that_there_are(name: str) -> None:
    message = f"Expected a dialect of chat, responses, anthropic, gemini, got {name!r} in '/a={name}'."
    with pytest.raises(PatternError, match=f"^{re.escape(message)}$"):
        parse_endpoint(f"/a={name}")


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("/*/invoke", "/model/claude/invoke", True),
        ("/*/invoke", "/invoke", False),
        ("/*/invoke", "//invoke", False),
        ("/model/*/invoke", "/model/a/b/invoke", False),
        ("/model/*/invoke", "/v1/model/a.b:c/invoke?x=/y", True),
        ("/run/*", "/run/a", True),
        ("/run/*", "/run/", False),
        ("/run/*", "/run/a/b", False),
        ("/a.c", "/abc", False),
        ("/*.c", "/abc", False),
        ("/a/*/b/*/c", "/a/1/b/2/c", True),
        ("/generate", "/regenerate", False),
    ],
)
def test_a_star_is_one_segment_and_everything_else_is_meant_as_written(pattern: str, path: str, expected: bool) -> None:
    assert parse_endpoint(pattern).matches(path) is expected


def test_a_users_pattern_goes_before_the_built_in_ones() -> None:
    assert dialect_of("/v1/messages", "/messages=chat") is Dialect.CHAT
