"""Healthy streams arrive byte for byte and without waiting, and what is none of the guard's is left alone."""

from __future__ import annotations

import pytest

from harness import Connection
from harness.apis import APIS, CHAT, Api
from harness.codings import CODINGS, encoded, headers
from harness.scripts import head, sends_raw
from harness.stage import REVERSE, TO_H1, TO_H2, VERSIONS, WAYS, Stage, Way
from harness.steps import Step, Steps, assert_followed
from harness.streams import HEARTBEAT, chat

# Without waiting


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("api", APIS, ids=str)
def test_each_frame_leaves_in_the_step_it_came_in(stage: Stage, way: Way, api: Api) -> None:
    held = Step.of(HEARTBEAT, *api.preamble, api.answer[0])
    assert_followed(stage, way, Steps(held, HEARTBEAT, *api.answer[1:], b": ping\n\n", *api.ending), api)


@pytest.mark.parametrize("way", VERSIONS, ids=str)
@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b"\r"], ids=["LF", "CRLF", "CR"])
def test_each_frame_leaves_with_the_second_part_of_it(stage: Stage, way: Way, ending: bytes) -> None:
    frames = [frame.replace(b"\n", ending) for frame in (*CHAT.answer, HEARTBEAT, *CHAT.ending)]
    halves = [Step((frame[:9], frame[9:]), frame) for frame in frames]
    assert_followed(stage, way, Steps(*halves))


def test_of_frames_that_come_glued_together_the_whole_ones_leave_at_once(stage: Stage) -> None:
    first, second, third, done = *CHAT.answer, *CHAT.ending
    parts = (first + second + third[:9], third[9:] + done[:-1], b"\n")
    steps = map(Step, [(part,) for part in parts], [first + second, third, done])
    assert_followed(stage, REVERSE, Steps(*steps))


@pytest.mark.parametrize("way", VERSIONS, ids=str)
@pytest.mark.parametrize("coding", CODINGS)
def test_each_frame_leaves_in_the_step_it_came_in_whatever_its_coding(stage: Stage, way: Way, coding: str) -> None:
    held, first, *later = encoded(coding, HEARTBEAT + CHAT.preamble[0], *CHAT.answer, HEARTBEAT, *CHAT.ending)
    assert_followed(stage, way, Steps(Step.of(held, first), *later, **headers(coding)))


@pytest.mark.parametrize("way", VERSIONS, ids=str)
@pytest.mark.parametrize("coding", CODINGS[1:])
def test_each_compressed_byte_leaves_in_the_step_it_came_in(stage: Stage, way: Way, coding: str) -> None:
    first, second, *later = encoded(coding, *CHAT.answer, *CHAT.ending)
    bytewise = [second[i : i + 1] for i in range(len(second))]
    assert_followed(stage, way, Steps(first, *bytewise, *later, **headers(coding)))


@pytest.mark.parametrize("way", VERSIONS, ids=str)
def test_a_frame_larger_than_the_hold_leaves_in_the_steps_it_comes_in(stage: Stage, way: Way) -> None:
    large = chat("x" * 5000)
    steps = Steps(CHAT.answer[0], large[:2000], large[2000:2010], large[2010:], CHAT.answer[1], *CHAT.ending)
    with stage.options(sse_hold_bytes="1k"):
        assert_followed(stage, way, steps)


@pytest.mark.parametrize("way", VERSIONS, ids=str)
def test_a_first_frame_larger_than_the_hold_leaves_in_the_steps_it_comes_in(stage: Stage, way: Way) -> None:
    large = chat("x" * 5000)
    with stage.options(sse_hold_bytes="1k"):
        assert_followed(stage, way, Steps(large[:2000], large[2000:2010], large[2010:], *CHAT.ending))


# Byte for byte


@pytest.mark.parametrize("way", VERSIONS, ids=str)
@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_a_stream_arrives_as_it_was_sent_in_chunks_of_any_size(stage: Stage, way: Way, coding: str, size: int) -> None:
    stream = b"".join(encoded(coding, *CHAT.healthy))
    steps = Steps(Step.of(*(stream[i : i + size] for i in range(0, len(stream), size))), **headers(coding))
    assert_followed(stage, way, steps)


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_a_frame_of_8_mb_arrives_as_it_was_sent(stage: Stage, way: Way) -> None:
    large = chat("x" * (8 << 20))
    assert_followed(stage, way, Steps(CHAT.answer[0], large, *CHAT.ending))


@pytest.mark.parametrize("way", TO_H1, ids=str)
@pytest.mark.parametrize("coding", CODINGS)
def test_a_stream_of_announced_length_arrives_as_it_was_sent(stage: Stage, way: Way, coding: str) -> None:
    stream = b"".join(encoded(coding, *CHAT.healthy))
    stage.play(sends_raw(head(f"Content-Length: {len(stream)}", **headers(coding)) + stream))
    with stage.stream(way) as response:
        assert b"".join(response.iter_raw()) == stream
    assert stage.facts["verdict"] == "answered"


@pytest.mark.parametrize("way", TO_H1, ids=str)
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_stream_that_ends_with_its_connection_arrives_as_it_was_sent(stage: Stage, way: Way, version: str) -> None:
    stream = b"".join(CHAT.healthy)
    stage.play(sends_raw(head(version=version) + stream))
    assert stage.ask(way).content == stream
    assert stage.facts["verdict"] == "answered"


@pytest.mark.parametrize("way", VERSIONS, ids=str)
@pytest.mark.parametrize("coding", CODINGS)
def test_comments_are_taken_out_if_wanted_and_compression_with_them(stage: Stage, way: Way, coding: str) -> None:
    first, second, *later = CHAT.answer + CHAT.ending
    chunks = encoded(coding, HEARTBEAT + first, HEARTBEAT, second, *later)
    last = Step(tuple(chunks[3:]), b"".join(later))
    steps = Steps(Step((chunks[0],), first), Step(tuple(chunks[1:3]), second), last, **headers(coding))
    stage.play(steps)
    with stage.options(sse_strip_comments=True), stage.stream(way) as response:
        assert "content-encoding" not in response.headers
        assert steps.follow(response) == b""
    assert stage.facts["verdict"] == "answered"


# What is none of the guard's

PROSE = (b"data: hello\n\n", b": still here\n\n", b"event: endpoint\ndata: /messages?id=1\n\n", b"data: [DONE]\n\n")


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/sse"), ("GET", "/v1/chat/completions"), ("POST", "/mcp"), ("PUT", "/v1/responses")]
)
def test_any_other_event_stream_is_passed_on_at_once_and_left_alone(
    stage: Stage, way: Way, method: str, path: str
) -> None:
    headers_alone = Step((), b"")
    steps = Steps(headers_alone, *PROSE)
    stage.play(steps)
    with stage.stream(way, method=method, path=path) as response:
        assert steps.follow(response) == b""
    assert (stage.flow()["facts"], response.status_code) == ({}, 200)


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_any_other_event_stream_may_end_without_data(stage: Stage, way: Way) -> None:
    stage.play(Steps())
    response = stage.ask(way, method="GET", path="/sse")
    assert (response.status_code, response.content) == (200, b"")


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("status", [400, 429, 503])
def test_an_event_stream_with_an_error_status_is_passed_on_at_once_and_left_alone(
    stage: Stage, way: Way, status: int
) -> None:
    steps = Steps(Step((), b""), *PROSE, status=status)
    stage.play(steps)
    with stage.stream(way) as response:
        assert steps.follow(response) == b""
    assert (stage.flow()["facts"], response.status_code) == ({}, status)


@pytest.mark.parametrize("way", VERSIONS, ids=str)
def test_a_stream_in_an_unknown_coding_is_passed_on_at_once_and_left_alone(stage: Stage, way: Way) -> None:
    steps = Steps(Step((), b""), *PROSE, content_encoding="snappy")
    stage.play(steps)
    with stage.stream(way) as response:
        assert steps.follow(response) == b""
    assert stage.flow()["facts"] == {}


BODIES = {
    "json": (200, "application/json", b'{"choices":[{"message":{"content":"Hello"}}]}'),
    "padded-json": (200, "application/json", b"\n      \n\n      \n" + b'{"choices":[]}\n'),
    "ndjson": (200, "application/x-ndjson", b'{"done":false}\n{"done":true}\n'),
    "no-type": (200, "", b"data: [DONE]\n\n"),
    "html": (200, "text/html", b"<html>Not here</html>"),
    "rate-limit": (429, "application/json", b'{"error":{"message":"Slow down","code":429}}'),
    "bad-gateway": (502, "text/html; charset=UTF-8", b"<html>nginx</html>"),
    "nothing": (503, "text/plain", b""),
}


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("body", BODIES)
def test_any_other_response_is_left_alone(stage: Stage, way: Way, body: str) -> None:
    status, kind, content = BODIES[body]
    fields = {"retry-after": "7", "set-cookie": "a=b", "etag": '"1"', "x-ratelimit-limit": "9"}
    fields["content-length"] = str(len(content))

    def script(connection: Connection) -> None:
        connection.read_request()
        connection.send_headers(status, kind, **fields)
        if way in TO_H2:
            connection.send_chunk(content)
            connection.end()
        else:
            connection.send(content)

    stage.play(script)
    response = stage.ask(way)
    assert (response.status_code, response.content) == (status, content)
    assert dict(response.headers) == {"content-type": kind, **fields}
    assert stage.flow()["facts"] == {}
