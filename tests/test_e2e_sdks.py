"""The official SDKs for Python behind the guard, as they come: what they raise, what they retry, what they answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import anthropic
import openai
import pytest
from google import genai
from google.genai import errors as genai_errors
from google.genai import types as genai_types

from harness import Connection
from harness.apis import ANTHROPIC, CHAT, COMPLETIONS, GEMINI, RESPONSES, Api
from harness.scripts import CLOSE, SILENCE, sends
from harness.stage import REGULAR, REVERSE, Stage
from harness.streams import HEARTBEAT, chat, data, event
from harness.upstream import Script

#: Made-up, and the same for all.
KEY = "key"


@pytest.fixture
def stage(shared_stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    monkeypatch.setenv("NO_PROXY", "*")
    # The one authority that matters here. An SDK loads all of them whenever a client is made, which takes its time.
    monkeypatch.setenv("SSL_CERT_FILE", shared_stage.proxy.ca)
    yield shared_stage
    shared_stage.assert_unharmed()


# The SDKs: each asks for a stream, and gives the text piece by piece.


def chat_completions(url: str, **options: Any) -> Iterator[str]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, **options) as client:
        for chunk in client.chat.completions.create(**CHAT.request):
            yield from (choice.delta.content or "" for choice in chunk.choices)


def chat_completions_async(url: str, **options: Any) -> Iterator[str]:
    pieces: list[str] = []

    async def ask() -> None:
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=KEY, **options) as client:
            async for chunk in await client.chat.completions.create(**CHAT.request):
                pieces.extend(choice.delta.content or "" for choice in chunk.choices)

    try:
        asyncio.run(ask())
    finally:
        yield from pieces


def completions(url: str, **options: Any) -> Iterator[str]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, **options) as client:
        for chunk in client.completions.create(**COMPLETIONS.request):
            yield from (choice.text for choice in chunk.choices)


def responses(url: str, **options: Any) -> Iterator[str]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, **options) as client:
        for found in client.responses.create(**RESPONSES.request):
            if found.type == "response.output_text.delta":
                yield found.delta


def messages(url: str, **options: Any) -> Iterator[str]:
    with anthropic.Anthropic(base_url=url, api_key=KEY, **options) as client:
        for found in client.messages.create(**ANTHROPIC.request):
            if found.type == "content_block_delta":
                yield found.delta.text


def messages_helper(url: str, **options: Any) -> Iterator[str]:
    request = {name: value for name, value in ANTHROPIC.request.items() if name != "stream"}
    with (
        anthropic.Anthropic(base_url=url, api_key=KEY, **options) as client,
        client.messages.stream(**request) as stream,
    ):
        yield from stream.text_stream


def generate_content(url: str, max_retries: int = 2) -> Iterator[str]:
    retry = genai_types.HttpRetryOptions(attempts=max_retries + 1, initial_delay=0.001, max_delay=0.001)
    options = genai_types.HttpOptions(base_url=url, retry_options=retry)
    client = genai.Client(api_key=KEY, http_options=options)
    try:
        for chunk in client.models.generate_content_stream(model="gemini", contents="Hi"):
            yield chunk.text or ""
    finally:
        client.close()


@dataclass(frozen=True)
class Sdk:
    """One way to ask: what asks, in which API, what it raises, and where that has our error object and the status."""

    ask: Callable[..., Iterator[str]]
    api: Api
    errors: Any
    late: type[Exception]
    details: Callable[[Any], Any]
    status: str = "status_code"

    def __str__(self) -> str:
        return self.ask.__name__


def _of_openai(ask: Callable[..., Iterator[str]], api: Api) -> Sdk:
    return Sdk(ask, api, openai, openai.APIError, lambda e: e.body)


def _of_anthropic(ask: Callable[..., Iterator[str]]) -> Sdk:
    return Sdk(ask, ANTHROPIC, anthropic, anthropic.APIStatusError, lambda e: e.body["error"])


OPENAI = (
    _of_openai(chat_completions, CHAT),
    _of_openai(chat_completions_async, CHAT),
    _of_openai(completions, COMPLETIONS),
    _of_openai(responses, RESPONSES),
)
BOTH = (*OPENAI, _of_anthropic(messages), _of_anthropic(messages_helper))
GOOGLE = Sdk(generate_content, GEMINI, genai_errors, genai_errors.APIError, lambda e: e.details["error"], "code")
ALL = (*BOTH, GOOGLE)


# Failures before the answer


@dataclass(frozen=True)
class Failure:
    """A stream without an answer, and the status error that it is to become."""

    reason: str
    status: int
    error: str
    script: Callable[[Api], Script]

    def __str__(self) -> str:
        return f"{self.reason}-{self.status}"


def _error(api: Api, **error: Any) -> Script:
    return sends(event("error", error=error) if api is ANTHROPIC else data({"error": error}))


FAILURES = (
    Failure("empty", 502, "InternalServerError", lambda _: sends()),
    Failure("heartbeats_only", 502, "InternalServerError", lambda _: sends(HEARTBEAT, HEARTBEAT)),
    Failure("preamble_only", 502, "InternalServerError", lambda api: sends(*api.preamble)),
    Failure("malformed", 502, "InternalServerError", lambda _: sends(b"<html>Bad gateway</html>")),
    Failure("cut", 502, "InternalServerError", lambda api: sends(HEARTBEAT, *api.preamble, then=CLOSE)),
    Failure("cut", 502, "InternalServerError", lambda _: CLOSE),
    Failure(
        "provider_error", 504, "InternalServerError", lambda api: _error(api, type="timeout_error", message="Slow")
    ),
    Failure("provider_error", 500, "InternalServerError", lambda api: _error(api, type="api_error", message="Oops")),
    Failure("provider_error", 429, "RateLimitError", lambda api: _error(api, type="rate_limit_error", message="Wait")),
    Failure("provider_error", 401, "AuthenticationError", lambda api: _error(api, type="authentication_error")),
    Failure("provider_error", 403, "PermissionDeniedError", lambda api: _error(api, type="permission_error")),
    Failure("provider_error", 404, "NotFoundError", lambda api: _error(api, type="not_found_error")),
    Failure("provider_error", 400, "BadRequestError", lambda api: _error(api, type="invalid_request_error")),
)


@pytest.mark.parametrize("failure", FAILURES, ids=str)
@pytest.mark.parametrize("sdk", BOTH, ids=str)
def test_no_answer_raises_the_status_error_that_names_the_cause(stage: Stage, sdk: Sdk, failure: Failure) -> None:
    stage.play(failure.script(sdk.api))
    with pytest.raises(getattr(sdk.errors, failure.error)) as raised:
        list(sdk.ask(stage.url(REVERSE), max_retries=0))
    assert_named(sdk, raised.value, failure.status, failure.reason)


@pytest.mark.parametrize("failure", FAILURES, ids=str)
def test_no_answer_raises_the_error_of_google_genai_too(stage: Stage, failure: Failure) -> None:
    stage.play(failure.script(GEMINI))
    kind = genai_errors.ServerError if failure.status >= 500 else genai_errors.ClientError
    with pytest.raises(kind) as raised:
        list(generate_content(stage.url(REVERSE), max_retries=0))
    assert raised.value.code == failure.status
    assert GOOGLE.details(raised.value)["metadata"]["reason"] == failure.reason


@pytest.mark.parametrize("sdk", ALL, ids=str)
def test_an_overloaded_provider_raises_the_error_that_the_sdk_has_for_it(stage: Stage, sdk: Sdk) -> None:
    kinds = {
        openai: openai.InternalServerError,
        anthropic: anthropic.OverloadedError,
        genai_errors: genai_errors.ServerError,
    }
    stage.play(sends(HEARTBEAT, sdk.api.error))
    with pytest.raises(kinds[sdk.errors], match="Overloaded, come again") as raised:
        list(sdk.ask(stage.url(REVERSE), max_retries=0))
    assert getattr(raised.value, sdk.status) == 529


def assert_named(sdk: Sdk, error: Any, status: int, reason: str) -> None:
    """The exception has the status, the words for people, and the reason for programs."""
    details = sdk.details(error)
    assert error.status_code == status
    assert details["metadata"]["reason"] == reason
    assert details["message"] in str(error)
    assert error.response.headers["x-sseguard"] == reason


@pytest.mark.parametrize("sdk", BOTH, ids=str)
def test_no_answer_in_time_raises_the_status_error_of_a_504(stage: Stage, sdk: Sdk) -> None:
    stage.play(sends(HEARTBEAT, *sdk.api.preamble, then=SILENCE))
    with stage.options(sse_answer_timeout="0.1"), pytest.raises(sdk.errors.InternalServerError) as raised:
        list(sdk.ask(stage.url(REVERSE), max_retries=0))
    assert_named(sdk, raised.value, 504, "timed_out")


@pytest.mark.parametrize("sdk", OPENAI, ids=str)
def test_a_misrouted_model_raises_a_bad_request_at_once(stage: Stage, sdk: Sdk) -> None:
    before = stage.upstreams["plain"].connections
    # Retries are on, and not made use of.
    with stage.options(sse_routes=["127.0.0.1=openai"]), pytest.raises(openai.BadRequestError) as raised:
        list(sdk.ask(stage.url(REVERSE)))
    assert_named(sdk, raised.value, 400, "misrouted")
    assert "vendor/model" in str(raised.value)
    assert stage.upstreams["plain"].connections == before


# Retries


@pytest.mark.parametrize("sdk", ALL, ids=str)
@pytest.mark.parametrize("silence", [(), (HEARTBEAT, HEARTBEAT)], ids=["empty", "heartbeats"])
def test_a_provider_that_is_empty_twice_and_then_answers_yields_the_answer(
    stage: Stage, sdk: Sdk, silence: tuple[bytes, ...]
) -> None:
    # The header keeps the SDKs from their back-off of seconds, and has to survive for it.
    streams = iter([silence, silence, (*sdk.api.preamble, *sdk.api.answer, *sdk.api.ending)])

    def script(connection: Connection) -> None:
        while True:
            connection.read_request()
            connection.answer(*next(streams), retry_after_ms="1")

    stage.play(script)
    assert "".join(sdk.ask(stage.url(REVERSE))) == "Hello world"
    assert next(streams, None) is None


# Failures in the answer


@pytest.mark.parametrize("sdk", ALL, ids=str)
def test_a_cut_in_the_answer_raises_the_api_error_with_our_words(stage: Stage, sdk: Sdk) -> None:
    stage.play(sends(*sdk.api.preamble, *sdk.api.answer, then=CLOSE))
    pieces: list[str] = []
    with pytest.raises(sdk.late) as raised:
        pieces.extend(sdk.ask(stage.url(REVERSE)))
    assert "".join(pieces) == "Hello world"
    assert "The connection to the provider was lost in the middle of the answer" in str(raised.value)
    assert sdk.details(raised.value)["metadata"]["reason"] == "cut_late"


@pytest.mark.parametrize("sdk", ALL, ids=str)
def test_a_missing_end_mark_raises_the_api_error_if_wanted(stage: Stage, sdk: Sdk) -> None:
    stage.play(sends(*sdk.api.preamble, *sdk.api.answer))
    with stage.options(sse_truncated="error"), pytest.raises(sdk.late, match="without saying that it was complete"):
        list(sdk.ask(stage.url(REVERSE)))


@pytest.mark.parametrize("sdk", BOTH, ids=str)
def test_heartbeats_that_outlast_the_hold_raise_the_api_error_in_the_end(stage: Stage, sdk: Sdk) -> None:
    stage.play(sends(HEARTBEAT, HEARTBEAT))
    with stage.options(sse_hold_seconds="0"), pytest.raises(sdk.late, match="without sending any part of an answer"):
        list(sdk.ask(stage.url(REVERSE)))


# Healthy answers


@pytest.mark.parametrize("sdk", ALL, ids=str)
def test_an_answer_is_read_as_ever(stage: Stage, sdk: Sdk) -> None:
    stage.play(sends(*sdk.api.preamble, *sdk.api.answer, *sdk.api.ending))
    assert "".join(sdk.ask(stage.url(REVERSE))) == "Hello world"


@pytest.mark.parametrize("sdk", ALL, ids=str)
def test_an_answer_between_heartbeats_is_read_where_they_are_taken_out(stage: Stage, sdk: Sdk) -> None:
    first, second = sdk.api.answer
    stage.play(sends(HEARTBEAT, *sdk.api.preamble, HEARTBEAT, first, HEARTBEAT, second, *sdk.api.ending))
    with stage.options(sse_strip_comments=True):
        assert "".join(sdk.ask(stage.url(REVERSE))) == "Hello world"


@pytest.mark.parametrize("sdk", [*OPENAI, BOTH[-2]], ids=str)
def test_an_sdk_in_regular_mode_needs_but_the_environment(
    stage: Stage, sdk: Sdk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_PROXY")
    monkeypatch.setenv("HTTPS_PROXY", stage.proxy.url)  # and SSL_CERT_FILE, as above
    stage.play(sends(*sdk.api.answer, *sdk.api.ending))
    assert "".join(sdk.ask(stage.url(REGULAR))) == "Hello world"
    stage.play(sends(HEARTBEAT))
    with pytest.raises(sdk.errors.InternalServerError):
        list(sdk.ask(stage.url(REGULAR), max_retries=0))


# Tools and usage

CALL = '{"a":1}'


def test_a_tool_call_of_chat_completions_is_read_with_its_usage(stage: Stage) -> None:
    def call(**function: str) -> bytes:
        tool = {"index": 0, "id": "call_1", "type": "function", "function": function}
        return chat(choices=[{"index": 0, "delta": {"tool_calls": [tool]}, "finish_reason": None}])

    usage = chat(choices=[], usage={"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8})
    pieces = (call(name="sum", arguments=""), call(arguments=CALL[:3]), call(arguments=CALL[3:]))
    stage.play(sends(*CHAT.preamble, *pieces, chat("", "tool_calls"), usage, CHAT.done))
    arguments, total = "", 0
    with openai.OpenAI(base_url=f"{stage.url(REVERSE)}/v1", api_key=KEY) as client:
        for chunk in client.chat.completions.create(**CHAT.request):
            total += chunk.usage.total_tokens if chunk.usage else 0
            for choice in chunk.choices:
                arguments += "".join(call.function.arguments or "" for call in choice.delta.tool_calls or ())
    assert (arguments, total) == (CALL, 8)


def test_a_tool_call_of_responses_is_read_with_its_usage(stage: Stage) -> None:
    tool = {"id": "fc_1", "type": "function_call", "call_id": "call_1", "name": "sum", "status": "in_progress"}
    done = {**tool, "status": "completed", "arguments": CALL}
    place = {"item_id": "fc_1", "output_index": 0}
    usage = {"input_tokens": 3, "output_tokens": 5, "total_tokens": 8}
    stage.play(
        sends(
            RESPONSES.preamble[0],
            event("response.output_item.added", sequence_number=1, output_index=0, item={**tool, "arguments": ""}),
            event("response.function_call_arguments.delta", sequence_number=2, **place, delta=CALL),
            event("response.function_call_arguments.done", sequence_number=3, **place, name="sum", arguments=CALL),
            event("response.output_item.done", sequence_number=4, output_index=0, item=done),
            event("response.completed", sequence_number=5, response={"output": [done], "usage": usage}),
        )
    )
    with openai.OpenAI(base_url=f"{stage.url(REVERSE)}/v1", api_key=KEY) as client:
        *_, last = client.responses.create(**RESPONSES.request)
    assert (last.response.output[0].arguments, last.response.usage.total_tokens) == (CALL, 8)


def test_a_tool_call_of_messages_is_read_with_its_usage(stage: Stage) -> None:
    tool = {"type": "tool_use", "id": "toolu_1", "name": "sum", "input": {}}
    halves = ({"type": "input_json_delta", "partial_json": half} for half in (CALL[:3], CALL[3:]))
    stage.play(
        sends(
            ANTHROPIC.preamble[0],
            event("content_block_start", index=0, content_block=tool),
            *(event("content_block_delta", index=0, delta=half) for half in halves),
            event("content_block_stop", index=0),
            event(
                "message_delta", delta={"stop_reason": "tool_use", "stop_sequence": None}, usage={"output_tokens": 5}
            ),
            event("message_stop"),
        )
    )
    with (
        anthropic.Anthropic(base_url=stage.url(REVERSE), api_key=KEY) as client,
        client.messages.stream(model="claude", max_tokens=9, messages=[{"role": "user", "content": "Hi"}]) as stream,
    ):
        message = stream.get_final_message()
    [block] = message.content
    assert block.type == "tool_use"
    assert (block.input, message.stop_reason, message.usage.output_tokens) == ({"a": 1}, "tool_use", 5)


def test_a_tool_call_of_generate_content_is_read_with_its_usage(stage: Stage) -> None:
    part = {"functionCall": {"name": "sum", "args": {"a": 1}}}
    candidate = {"content": {"role": "model", "parts": [part]}, "finishReason": "STOP", "index": 0}
    stage.play(sends(data({"candidates": [candidate], "usageMetadata": {"totalTokenCount": 8}})))
    client = genai.Client(api_key=KEY, http_options=genai_types.HttpOptions(base_url=stage.url(REVERSE)))
    [chunk] = client.models.generate_content_stream(model="gemini", contents="Hi")
    client.close()
    assert chunk.usage_metadata is not None
    assert ([call.args for call in chunk.function_calls or ()], chunk.usage_metadata.total_token_count) == (
        [{"a": 1}],
        8,
    )


def test_an_answer_in_one_piece_is_read_as_ever(stage: Stage) -> None:
    message = {"role": "assistant", "content": "Hello world"}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    body = json.dumps({"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]})

    def script(connection: Connection) -> None:
        connection.read_request()
        connection.send_headers(content_type="application/json", content_length=str(len(body)))
        connection.send(body.encode())

    stage.play(script)
    with openai.OpenAI(base_url=f"{stage.url(REVERSE)}/v1", api_key=KEY) as client:
        answer = client.chat.completions.create(**{**CHAT.request, "stream": False})
    assert answer.choices[0].message.content == "Hello world"
