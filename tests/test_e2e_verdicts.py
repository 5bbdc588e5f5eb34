"""Every verdict, as a client gets it: over HTTP/1.1 and HTTP/2, in reverse mode, and in regular mode with TLS."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from h2.errors import ErrorCodes

from harness import Connection
from harness.apis import ANTHROPIC, APIS, CHAT, GEMINI, RESPONSES, Api
from harness.codings import CODINGS, encoded, headers
from harness.http2 import Http2Connection
from harness.proxy import PATIENCE
from harness.scripts import CLOSE, RESET, SILENCE, head, sends, sends_raw
from harness.stage import REGULAR, REGULAR_H2_TO_H1, REVERSE, TO_H2, VERSIONS, WAYS, Stage, Way
from harness.steps import Body, Step, Steps
from harness.streams import HEARTBEAT
from harness.upstream import Script

HTML = b"<!DOCTYPE html><html><body>Bad gateway</body></html>"

#: Of no use with a body of ours, or not the proxy's to pass on.
FRAMING = ("content-encoding", "transfer-encoding", "connection", "keep-alive", "trailer", "set-cookie", "alt-svc")


@dataclass(frozen=True)
class Failure:
    """A stream without an answer, and what a client is to get in its place."""

    name: str
    verdict: str
    status: int
    script: Callable[[Api], Script]

    def __str__(self) -> str:
        return self.name


FAILURES = (
    Failure("empty", "empty", 502, lambda _: sends()),
    Failure("heartbeats", "heartbeats_only", 502, lambda _: sends(HEARTBEAT, HEARTBEAT)),
    Failure("preamble", "preamble_only", 502, lambda api: sends(*api.preamble)),
    Failure("half-a-frame", "malformed", 502, lambda api: sends(api.answer[0][:-10])),
    Failure("not-json", "malformed", 502, lambda _: sends(b"data: Internal error\n\n")),
    Failure("html", "malformed", 502, lambda _: sends(HTML)),
    Failure("error-frame", "provider_error", 529, lambda api: sends(HEARTBEAT, api.error)),
    Failure("reset", "cut", 502, lambda api: sends(HEARTBEAT, *api.preamble, then=RESET)),
)


def assert_error(response: httpx.Response, api: Api, verdict: str, status: int) -> dict[str, Any]:
    """`response` tells the failure in the API's own form; nothing is left of the stream's headers. Gives its error."""
    assert (response.status_code, response.headers["x-sseguard"]) == (status, verdict)
    assert response.headers["content-type"] == "application/json"
    assert response.headers["content-length"] == str(len(response.content))
    assert not [name for name in FRAMING if name in response.headers]
    body = response.json()
    error: dict[str, Any] = body["error"]
    assert error["metadata"]["reason"] == verdict
    assert error["message"]
    if api is ANTHROPIC:
        assert body == {"type": "error", "error": error, "request_id": None}
    elif api is GEMINI:
        assert body == {"error": {**error, "code": status}}
    else:
        assert body == {"error": {**error, "code": status, "param": None}}
    return error


@pytest.mark.parametrize("failure", FAILURES, ids=str)
@pytest.mark.parametrize("way", WAYS, ids=str)
def test_a_stream_without_an_answer_becomes_an_error_on_every_way(stage: Stage, way: Way, failure: Failure) -> None:
    stage.play(failure.script(CHAT))
    assert_error(stage.ask(way), CHAT, failure.verdict, failure.status)
    facts = stage.facts
    assert (facts["verdict"], facts["status"]) == (failure.verdict, failure.status)


@pytest.mark.parametrize("failure", FAILURES, ids=str)
@pytest.mark.parametrize("api", APIS[1:], ids=str)
def test_a_stream_without_an_answer_becomes_an_error_in_every_api(stage: Stage, api: Api, failure: Failure) -> None:
    stage.play(failure.script(api))
    assert_error(stage.ask(REVERSE, api), api, failure.verdict, failure.status)
    assert stage.facts["dialect"] == ("chat" if api.name == "completions" else api.name)


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("api", [api for api in APIS if api.done], ids=str)
def test_an_end_mark_alone_becomes_an_error(stage: Stage, way: Way, api: Api) -> None:
    stage.play(sends(HEARTBEAT, api.done))
    verdict = "preamble_only" if api is ANTHROPIC else "done_only"
    assert_error(stage.ask(way, api), api, verdict, 502)


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_the_error_says_what_was_seen(stage: Stage, way: Way) -> None:
    stage.play(sends(HEARTBEAT, HEARTBEAT, *CHAT.preamble, x_request_id="req_7"))
    metadata = assert_error(stage.ask(way), CHAT, "preamble_only", 502)["metadata"]
    seconds = metadata.pop("seconds")
    assert 0 <= seconds < 10
    assert metadata == {
        "reason": "preamble_only",
        "heartbeats": 2,
        "events": 1,
        "bytes": len(HEARTBEAT * 2 + CHAT.preamble[0]),
        "model": "vendor/model",
        "host": "127.0.0.1",
        "request_id": "req_7",
    }


@pytest.mark.parametrize("api", APIS, ids=str)
def test_the_provider_s_own_words_are_kept(stage: Stage, api: Api) -> None:
    stage.play(sends(api.error))
    error = assert_error(stage.ask(REVERSE, api), api, "provider_error", 529)
    assert error["metadata"]["provider_error"] == "Overloaded, come again"
    assert "Overloaded, come again" in error["message"]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ({"code": 429, "message": "Slow down"}, 429),
        ({"code": "rate_limit_exceeded"}, 429),
        ({"type": "insufficient_quota"}, 402),
        ({"type": "authentication_error"}, 401),
        ({"code": "context_length_exceeded", "type": "invalid_request_error"}, 400),
        ({"status": 503}, 503),
        ({"code": 200, "message": "?"}, 500),
        ("out of memory", 500),
    ],
)
def test_an_error_frame_has_its_own_status(stage: Stage, error: object, status: int) -> None:
    stage.play(sends(f"data: {json.dumps({'error': error})}\n\n".encode()))
    assert_error(stage.ask(REVERSE), CHAT, "provider_error", status)


@pytest.mark.parametrize("coding", CODINGS[1:])
@pytest.mark.parametrize("way", VERSIONS, ids=str)
def test_an_error_in_place_of_a_compressed_stream_is_not_compressed(stage: Stage, way: Way, coding: str) -> None:
    stage.play(sends(*encoded(coding, HEARTBEAT, *CHAT.preamble), **headers(coding)))
    error = assert_error(stage.ask(way), CHAT, "preamble_only", 502)
    assert error["metadata"]["heartbeats"] == 1


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_a_body_that_is_not_coded_as_it_says_becomes_an_error(stage: Stage, way: Way) -> None:
    stage.play(sends(*CHAT.healthy, content_encoding="gzip"))
    assert_error(stage.ask(way), CHAT, "malformed", 502)


@pytest.mark.parametrize("way", [way for way in WAYS if way not in TO_H2], ids=str)
def test_a_body_of_no_length_becomes_an_error(stage: Stage, way: Way) -> None:
    stage.play(sends_raw(head("Content-Length: 0")))
    assert_error(stage.ask(way), CHAT, "empty", 502)
    assert stage.facts["verdict"] == "empty"


@pytest.mark.parametrize("way", TO_H2, ids=str)
def test_a_stream_that_ends_with_its_headers_becomes_an_error(stage: Stage, way: Way) -> None:
    def script(connection: Connection) -> None:
        assert isinstance(connection, Http2Connection)
        connection.read_request()
        connection.send_headers_alone()

    stage.play(script)
    assert_error(stage.ask(way), CHAT, "empty", 502)


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("chunk", [HTML, CHAT.error, CHAT.done], ids=["html", "error-frame", "end-mark"])
def test_an_upstream_that_is_of_no_use_is_refused_and_sent_away_at_once(stage: Stage, way: Way, chunk: bytes) -> None:
    sent_away = threading.Event()

    def script(connection: Connection) -> None:
        connection.read_request()
        connection.send_headers()
        connection.send_chunk(chunk)
        if isinstance(connection, Http2Connection):
            assert connection.wait_until_refused() == ErrorCodes.CANCEL
        else:
            connection.wait_until_left()
        sent_away.set()

    stage.play(script)
    with stage.stream(way) as response:
        assert response.status_code >= 500
        assert sent_away.wait(PATIENCE)


# Upstreams that cannot be reached


@pytest.mark.parametrize(
    "way",
    [REVERSE.to("refused"), Way("regular", "refused"), REGULAR.to("refused"), REGULAR_H2_TO_H1.to("refused")],
    ids=str,
)
def test_a_refused_connection_becomes_an_error(stage: Stage, way: Way) -> None:
    error = assert_error(stage.ask(way), CHAT, "cut", 502)
    assert "Connect call failed" in error["metadata"]["excerpt"]


@pytest.mark.parametrize(
    "way", [REVERSE.to("untrusted"), REGULAR.to("untrusted"), REGULAR_H2_TO_H1.to("untrusted")], ids=str
)
def test_a_certificate_that_is_not_trusted_becomes_an_error(stage: Stage, way: Way) -> None:
    error = assert_error(stage.ask(way), CHAT, "cut", 502)
    assert "certificate verify failed" in error["metadata"]["excerpt"].lower()


@pytest.mark.parametrize("way", [REGULAR.to("plain"), REGULAR_H2_TO_H1.to("plain")], ids=str)
def test_an_upstream_that_does_not_speak_tls_becomes_an_error(stage: Stage, way: Way) -> None:
    stage.play(CLOSE)
    assert_error(stage.ask(way), CHAT, "cut", 502)


# Once the answer has begun


@pytest.mark.parametrize("api", APIS, ids=str)
@pytest.mark.parametrize("way", VERSIONS, ids=str)
def test_a_whole_answer_is_left_alone(stage: Stage, way: Way, api: Api) -> None:
    stage.play(sends(*api.healthy))
    response = stage.ask(way, api)
    assert (response.status_code, response.content) == (200, b"".join(api.healthy))
    assert "x-sseguard" not in response.headers
    assert stage.facts["verdict"] == "answered"


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("api", APIS, ids=str)
def test_a_cut_in_the_answer_is_told_by_a_frame(stage: Stage, way: Way, api: Api) -> None:
    steps = Steps(Step.of(*api.preamble, api.answer[0]), then=RESET)
    stage.play(steps)
    with stage.stream(way, api) as response:
        error = api.late_error(steps.follow(response))
    assert error["metadata"]["reason"] == "cut_late"
    assert stage.facts["verdict"] == "cut_late"


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("api", [CHAT, RESPONSES, ANTHROPIC, GEMINI], ids=str)
def test_an_error_frame_behind_an_answer_is_left_alone(stage: Stage, way: Way, api: Api) -> None:
    stream = (*api.preamble, *api.answer, api.error)
    stage.play(sends(*stream))
    assert stage.ask(way, api).content == b"".join(stream)
    assert stage.facts["verdict"] == "provider_error_late"


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("api", APIS, ids=str)
def test_an_answer_without_an_end_mark_is_left_alone_and_flagged(stage: Stage, way: Way, api: Api) -> None:
    stage.play(sends(*api.preamble, *api.answer))
    assert stage.ask(way, api).content == b"".join(api.preamble + api.answer)
    flow = stage.flow()
    assert (flow["facts"]["verdict"], flow["marked"]) == ("truncated", ":yellow_circle:")


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("api", APIS, ids=str)
def test_an_answer_without_an_end_mark_is_an_error_if_wanted(stage: Stage, way: Way, api: Api) -> None:
    stage.play(sends(*api.preamble, *api.answer))
    with stage.options(sse_truncated="error"):
        content = stage.ask(way, api).content
    before = b"".join(api.preamble + api.answer)
    assert content.startswith(before)
    assert api.late_error(content.removeprefix(before))["metadata"]["reason"] == "truncated"


# Time


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_no_answer_in_time_becomes_a_504(stage: Stage, way: Way) -> None:
    stage.play(sends(HEARTBEAT, *CHAT.preamble, then=SILENCE))
    with stage.options(sse_answer_timeout="0.1"):
        assert_error(stage.ask(way), CHAT, "timed_out", 504)


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_no_headers_in_time_become_a_504(stage: Stage, way: Way) -> None:
    def script(connection: Connection) -> None:
        connection.read_request()
        connection.wait_until_left()

    stage.play(script)
    with stage.options(sse_answer_timeout="0.1"):
        assert_error(stage.ask(way), CHAT, "timed_out", 504)


@pytest.mark.parametrize(("way", "api"), [*((way, CHAT) for way in VERSIONS), (REVERSE, ANTHROPIC)], ids=str)
def test_silence_in_the_answer_is_told_by_a_frame(stage: Stage, way: Way, api: Api) -> None:
    steps = Steps(Step.of(*api.preamble, api.answer[0]), then=SILENCE)
    stage.play(steps)
    with stage.options(sse_idle_timeout="0.1"), stage.stream(way, api) as response:
        error = api.late_error(steps.follow(response))
    assert error["metadata"]["reason"] == "timed_out_late"
    assert stage.facts["verdict"] == "timed_out_late"


@pytest.mark.parametrize("api", APIS, ids=str)
@pytest.mark.parametrize("way", VERSIONS, ids=str)
def test_heartbeats_that_outlast_the_hold_are_let_out_and_the_empty_end_is_told_by_a_frame(
    stage: Stage, way: Way, api: Api
) -> None:
    steps = Steps(HEARTBEAT, HEARTBEAT)
    stage.play(steps)
    with stage.options(sse_hold_seconds="0.1"), stage.stream(way, api) as response:
        assert response.status_code == 200
        error = api.late_error(steps.follow(response))
    assert error["metadata"]["reason"] == "heartbeats_only"
    assert stage.facts["verdict"] == "heartbeats_only"


@pytest.mark.parametrize("way", VERSIONS, ids=str)
def test_heartbeats_that_fill_the_hold_are_let_out(stage: Stage, way: Way) -> None:
    steps = Steps(Step.of(HEARTBEAT, HEARTBEAT), HEARTBEAT)
    stage.play(steps)
    with stage.options(sse_hold_bytes=str(2 * len(HEARTBEAT) - 1)), stage.stream(way) as response:
        assert CHAT.late_error(steps.follow(response))["metadata"]["reason"] == "heartbeats_only"


# Clients that leave


class LeftError(Exception):
    """Raised in a client, for it to leave."""


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_a_client_that_leaves_during_the_hold_cancels_upstream(stage: Stage, way: Way) -> None:
    held, cancelled = threading.Event(), threading.Event()

    def script(connection: Connection) -> None:
        connection.read_request()
        connection.send_headers()
        connection.send_chunk(HEARTBEAT)
        held.set()
        connection.wait_until_left()
        cancelled.set()

    def leave(event: str, details: dict[str, Any]) -> None:
        if event.endswith("receive_response_headers.started") and details["request"].method == b"POST":
            assert held.wait(PATIENCE)
            raise LeftError

    stage.play(script)
    with pytest.raises(LeftError):
        stage.ask(way, extensions={"trace": leave})
    assert cancelled.wait(PATIENCE)
    assert stage.facts["verdict"] == "client_left"


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_a_client_that_leaves_in_the_answer_cancels_upstream(stage: Stage, way: Way) -> None:
    cancelled = threading.Event()

    def script(connection: Connection) -> None:
        connection.read_request()
        connection.send_headers()
        connection.send_chunk(CHAT.answer[0])
        connection.wait_until_left()
        cancelled.set()

    stage.play(script)
    with stage.stream(way) as response:
        assert Body(response).read(len(CHAT.answer[0])) == CHAT.answer[0]
    assert cancelled.wait(PATIENCE)
    assert stage.facts["verdict"] == "client_left"


# Requests that go astray


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("api", [CHAT, RESPONSES, ANTHROPIC], ids=str)
def test_a_slash_model_on_a_native_route_is_refused_and_upstream_never_asked(stage: Stage, way: Way, api: Api) -> None:
    before = stage.upstreams[way.out].connections
    with stage.options(sse_routes=["127.0.0.1=native"]):
        response = stage.ask(way, api, json={**api.request, "model": "vendor/model"})
    error = assert_error(response, api, "misrouted", 400)
    assert response.headers["x-should-retry"] == "false"
    assert "vendor/model" in error["message"]
    flow = stage.flow()
    assert (flow["facts"]["verdict"], flow["server_connected"]) == ("misrouted", False)
    assert stage.upstreams[way.out].connections == before


# Headers

KEPT = {
    "access-control-allow-origin": "https://app.example",
    "access-control-allow-credentials": "true",
    "access-control-expose-headers": "x-request-id",
    "vary": "origin",
    "x-request-id": "req_1",
    "request-id": "req_2",
    "x-generation-id": "gen_1",
    "cf-ray": "ray",
    "retry-after": "7",
    "retry-after-ms": "7000",
    "x-should-retry": "true",
    "x-ratelimit-remaining-requests": "9",
    "x-ratelimit-reset-tokens": "6ms",
    "anthropic-ratelimit-tokens-remaining": "99",
    "ratelimit-limit": "10",
    "openai-organization": "org",
    "openai-processing-ms": "12",
}
DROPPED = {
    "set-cookie": "session=secret",
    "alt-svc": 'h3=":443"',
    "etag": '"1"',
    "last-modified": "Thu, 01 Jan 2026 00:00:00 GMT",
    "content-disposition": "attachment",
    "content-language": "en",
    "content-security-policy": "default-src 'none'",
    "strict-transport-security": "max-age=1",
    "server": "cloudflare",
    "x-sseguard": "answered",
    "cache-control": "max-age=9",
}
#: Which HTTP/2 does not know.
DROPPED_OF_HTTP1 = {"connection": "keep-alive", "keep-alive": "timeout=5", "proxy-connection": "keep-alive"}
OURS = {"content-type": "application/json", "x-sseguard": "heartbeats_only", "cache-control": "no-store"}


@pytest.mark.parametrize("coding", ["identity", "gzip"])
@pytest.mark.parametrize("way", WAYS, ids=str)
def test_of_upstream_s_headers_those_survive_that_fit_the_error(stage: Stage, way: Way, coding: str) -> None:
    fields = {**KEPT, **DROPPED, **({} if way in TO_H2 else DROPPED_OF_HTTP1), **headers(coding)}
    stage.play(sends(*encoded(coding, HEARTBEAT), **fields))
    response = stage.ask(way)
    assert response.status_code == 502
    assert dict(response.headers) == {**KEPT, **OURS, "content-length": str(len(response.content))}
    assert response.json()["error"]["metadata"]["request_id"] == "gen_1"


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_upstream_s_headers_survive_on_a_healthy_stream(stage: Stage, way: Way) -> None:
    fields: dict[str, Any] = {**KEPT, **DROPPED}
    del fields["alt-svc"]  # mitmproxy's own affair: it puts itself in place of what upstream announces
    stage.play(sends(*CHAT.healthy, **fields))
    response = stage.ask(way)
    framing = {} if way.http2 else {"transfer-encoding": "chunked"}
    assert dict(response.headers) == {**fields, **framing, "content-type": "text/event-stream"}
