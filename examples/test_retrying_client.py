"""A flaky provider as a deterministic test: silent twice, then it answers.

Run it with `pytest examples/test_retrying_client.py`; `sse_replay` comes with sseguard's pytest plugin.
"""

import openai
import pytest


def ask(base_url: str, retries: int) -> str:
    """The code under test."""
    with openai.OpenAI(base_url=base_url, api_key="any", max_retries=retries) as client:
        stream = client.chat.completions.create(
            model="anthropic/claude-sonnet-4.5", messages=[{"role": "user", "content": "Say hello."}], stream=True
        )
        return "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)


def test_without_the_guard_silence_looks_like_success(sse_replay):
    provider = sse_replay("recordings/empty_twice_then_answered")
    assert ask(f"{provider.base_url}/api/v1", retries=2) == ""
    assert len(provider.requests) == 1


def test_with_the_guard_the_client_retries_until_there_is_an_answer(sse_replay):
    provider = sse_replay("recordings/empty_twice_then_answered", guard=True)
    assert ask(f"{provider.base_url}/api/v1", retries=2) == "Hello!"
    assert len(provider.requests) == 3


def test_with_the_guard_and_no_retries_the_client_says_what_happened(sse_replay):
    provider = sse_replay("recordings/empty_twice_then_answered", guard=True)
    with pytest.raises(openai.InternalServerError, match="without sending any part of an answer"):
        ask(f"{provider.base_url}/api/v1", retries=0)


def test_an_answer_that_breaks_off_is_an_error_and_not_half_an_answer(sse_replay):
    provider = sse_replay("recordings/hello", "cut-after-frames=4", guard=True)
    with pytest.raises(openai.APIError, match="in the middle of the answer"):
        ask(f"{provider.base_url}/api/v1", retries=0)
