"""Streams that are cut, at any moment: before the answer that is an error, and later a frame behind the whole ones."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from harness import Connection
from harness.apis import APIS, CHAT, Api
from harness.codings import CODINGS, encoded, headers
from harness.http2 import Http2Connection
from harness.raw import RawClient, Reply, post
from harness.scripts import CLOSE, RESET, Ending, head, sends_raw
from harness.stage import TO_H1, TO_H2, VERSIONS, WAYS, Stage, Way
from harness.steps import Body, Step, Steps, assert_followed
from harness.streams import DONE, HEARTBEAT, chat

# Cuts before the answer


def assert_cut(response: httpx.Response) -> None:
    assert (response.status_code, response.headers["content-type"]) == (502, "application/json")
    assert response.headers["content-length"] == str(len(response.content))
    assert response.json()["error"]["metadata"]["reason"] == "cut"


HEAD = head("Transfer-Encoding: chunked")
CHUNK = b"%x\r\n%s\r\n" % (len(HEARTBEAT), HEARTBEAT)
FIRST = CHAT.preamble[0] + CHAT.answer[0]
MOMENTS = {
    "before-the-headers": b"",
    "in-the-headers": HEAD[:20],
    "behind-the-headers": HEAD,
    "in-a-chunk-size": HEAD + b"1",
    "in-a-heartbeat": HEAD + CHUNK[:9],
    "behind-a-heartbeat": HEAD + CHUNK,
    "in-the-first-frame": HEAD + CHUNK + b"fff\r\n" + FIRST[:-9],
    "short-of-the-length": head("Content-Length: 999") + HEARTBEAT,
    "short-of-the-compressed-length": head("Content-Length: 999", content_encoding="gzip")
    + encoded("gzip", HEARTBEAT)[0],
}


@pytest.mark.parametrize("way", TO_H1, ids=str)
@pytest.mark.parametrize("then", [CLOSE, RESET], ids=["closed", "reset"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_cut_before_the_answer_becomes_an_error(stage: Stage, way: Way, moment: str, then: Ending) -> None:
    stage.play(sends_raw(MOMENTS[moment], then))
    assert_cut(stage.ask(way))
    assert stage.facts["verdict"] == "cut"


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_an_upstream_that_closes_before_the_request_becomes_an_error(stage: Stage, way: Way) -> None:
    stage.play(CLOSE)
    assert_cut(stage.ask(way))


# Without TLS, mitmproxy itself forgets about a connection that is reset in the moment in which it is made.
@pytest.mark.parametrize("way", [way for way in WAYS if way.out != "plain"], ids=str)
def test_a_reset_before_the_request_becomes_an_error(stage: Stage, way: Way) -> None:
    stage.play(RESET)
    assert_cut(stage.ask(way))


def break_off(connection: Any) -> None:
    connection.break_off()


def go_away(connection: Any) -> None:
    connection.go_away()


HTTP2_CUTS = pytest.mark.parametrize(
    "then", [break_off, go_away, CLOSE, RESET], ids=["RST_STREAM", "GOAWAY", "closed", "reset"]
)


@HTTP2_CUTS
@pytest.mark.parametrize("way", TO_H2, ids=str)
@pytest.mark.parametrize(
    "chunks", [None, (), (HEARTBEAT,), (HEARTBEAT[:9],), CHAT.preamble, (CHAT.answer[0][:-9],)], ids=repr
)
def test_a_cut_of_http2_before_the_answer_becomes_an_error(
    stage: Stage, way: Way, chunks: tuple[bytes, ...] | None, then: Ending
) -> None:
    def script(connection: Connection) -> None:
        connection.read_request()
        if chunks is not None:
            connection.send_headers()
            for chunk in chunks:
                connection.send_chunk(chunk)
        then(connection)

    stage.play(script)
    assert_cut(stage.ask(way))
    assert stage.facts["verdict"] == "cut"


# Cuts in the answer


def assert_told(stage: Stage, way: Way, steps: Steps, api: Api = CHAT, before: bytes = b"") -> None:
    """All of `steps` arrives, then `before`, then an error frame, and then the stream ends as it should."""
    stage.play(steps)
    with stage.stream(way, api) as response:
        rest = steps.follow(response)
    assert rest.startswith(before)
    assert api.late_error(rest.removeprefix(before))["metadata"]["reason"] == "cut_late"
    assert stage.facts["verdict"] == "cut_late"


UMLAUT = CHAT.answer[1].replace(b"world", "wörld".encode())
LATE: dict[str, tuple[Step | bytes, ...]] = {
    "behind-a-frame": (),
    "in-a-frame": (Step((CHAT.answer[1][:-9],), b""),),
    "in-a-character": (Step((UMLAUT[: UMLAUT.index("ö".encode()) + 1],), b""),),
    "in-a-heartbeat": (Step((HEARTBEAT[:9],), b""),),
    "behind-a-heartbeat": (HEARTBEAT,),
    "behind-more-frames": (CHAT.answer[1], HEARTBEAT, CHAT.answer[0]),
    "in-an-end-mark": (Step((DONE[:-4],), b""),),
}


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("then", [CLOSE, RESET], ids=["closed", "reset"])
@pytest.mark.parametrize("moment", LATE)
def test_a_cut_in_the_answer_leaves_the_whole_frames_and_tells_of_it(
    stage: Stage, way: Way, moment: str, then: Ending
) -> None:
    assert_told(stage, way, Steps(CHAT.answer[0], *LATE[moment], then=then))


@HTTP2_CUTS
@pytest.mark.parametrize("way", TO_H2, ids=str)
@pytest.mark.parametrize("moment", LATE)
def test_a_cut_of_http2_in_the_answer_leaves_the_whole_frames_and_tells_of_it(
    stage: Stage, way: Way, moment: str, then: Ending
) -> None:
    assert_told(stage, way, Steps(CHAT.answer[0], *LATE[moment], then=then))


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("api", APIS, ids=str)
def test_a_frame_that_lacks_but_its_blank_line_at_the_cut_is_completed(stage: Stage, way: Way, api: Api) -> None:
    first, second = api.answer
    steps = Steps(first, Step((second[:-1],), b""), then=CLOSE)
    assert_told(stage, way, steps, api, before=second)


class UntilClose(Connection):
    """Sends bodies as HTTP/1.0 does: to the end of the connection, unless `LENGTH` is announced."""

    start = head()

    def send_headers(self, *_: Any, **__: Any) -> None:
        self.send(self.start)

    def send_chunk(self, data: bytes) -> None:
        self.send(data)


class TooShort(UntilClose):
    """Announces more than it sends."""

    start = head("Content-Length: 999")


@pytest.mark.parametrize("way", TO_H1, ids=str)
@pytest.mark.parametrize("then", [CLOSE, RESET], ids=["closed", "reset"])
def test_an_answer_that_is_short_of_its_length_is_told_of(stage: Stage, way: Way, then: Ending) -> None:
    with stage.speaking(TooShort):
        assert_told(stage, way, Steps(*CHAT.answer, then=then))


@pytest.mark.parametrize("way", TO_H1, ids=str)
@pytest.mark.parametrize("then", [CLOSE, RESET], ids=["closed", "reset"])
def test_an_answer_to_the_end_of_its_connection_without_an_end_mark_is_flagged(
    stage: Stage, way: Way, then: Ending
) -> None:
    # That is all there is to tell it from a whole one: mitmproxy tells nobody of a reset there.
    with stage.speaking(UntilClose):
        assert_followed(stage, way, Steps(*CHAT.answer, then=then), verdict="truncated")


@pytest.mark.parametrize("way", TO_H1, ids=str)
def test_no_answer_to_the_end_of_a_connection_becomes_an_error(stage: Stage, way: Way) -> None:
    stage.play(sends_raw(head(version="1.0") + HEARTBEAT))
    response = stage.ask(way)
    assert (response.status_code, response.json()["error"]["metadata"]["reason"]) == (502, "heartbeats_only")


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("then", [CLOSE, RESET], ids=["closed", "reset"])
@pytest.mark.parametrize("api", APIS, ids=str)
def test_a_cut_behind_the_end_mark_changes_nothing(stage: Stage, way: Way, api: Api, then: Ending) -> None:
    assert_followed(stage, way, Steps(*api.answer, *api.ending, then=then), api)


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_no_end_mark_is_invented(stage: Stage, way: Way) -> None:
    assert_followed(stage, way, Steps(*CHAT.answer, CHAT.ending[0], then=CLOSE))


@pytest.mark.parametrize("way", VERSIONS, ids=str)
@pytest.mark.parametrize("coding", CODINGS[1:])
def test_a_cut_in_a_compressed_answer_breaks_it_off(stage: Stage, way: Way, coding: str) -> None:
    steps = Steps(*encoded(coding, *CHAT.answer)[:2], then=RESET, **headers(coding))
    stage.play(steps)
    with stage.stream(way) as response, pytest.raises(httpx.RemoteProtocolError):
        steps.follow(response)
    assert stage.facts["verdict"] == "cut_late"


@pytest.mark.parametrize("way", VERSIONS, ids=str)
def test_a_cut_in_half_a_frame_that_is_out_breaks_it_off(stage: Stage, way: Way) -> None:
    steps = Steps(CHAT.answer[0], chat("x" * 5000)[:2000], then=RESET)
    stage.play(steps)
    with stage.options(sse_hold_bytes="1k"), stage.stream(way) as response, pytest.raises(httpx.RemoteProtocolError):
        steps.follow(response)
    assert stage.facts["verdict"] == "cut_late"


@pytest.mark.parametrize("way", VERSIONS, ids=str)
@pytest.mark.parametrize("coding", CODINGS)
def test_a_cut_is_told_where_comments_and_compression_are_taken_out(stage: Stage, way: Way, coding: str) -> None:
    first, second, *_ = encoded(coding, *CHAT.answer)
    steps = Steps(Step((first,), CHAT.answer[0]), Step((second,), CHAT.answer[1]), then=RESET, **headers(coding))
    with stage.options(sse_strip_comments=True):
        assert_told(stage, way, steps)


# On one connection


@pytest.mark.parametrize("way", VERSIONS, ids=str)
@pytest.mark.parametrize("chunks", [(HEARTBEAT,), CHAT.answer], ids=["refused", "told"])
def test_a_connection_is_of_use_after_a_failure(stage: Stage, way: Way, chunks: tuple[bytes, ...]) -> None:
    streams = iter([chunks, CHAT.healthy])

    def script(connection: Connection) -> None:
        while True:
            connection.read_request()
            connection.answer(*next(streams))

    stage.play(script)
    with stage.options(sse_truncated="error"), stage.client(way) as client:
        failed, address = _asked_through(client)
        assert b"data: [DONE]" not in failed
        assert _asked_through(client) == (b"".join(CHAT.healthy), address)


def _asked_through(client: httpx.Client) -> tuple[bytes, object]:
    """The body of an answer, and the client's end of the connection that it came on."""
    with client.stream("POST", CHAT.path, json=CHAT.request) as response:
        address = response.extensions["network_stream"].get_extra_info("client_addr")
        return response.read(), address


@pytest.mark.parametrize("way", TO_H2, ids=str)
@pytest.mark.parametrize("chunk", [HEARTBEAT, b"<html>"], ids=["ended", "sent-away"])
def test_a_failure_leaves_the_other_streams_of_its_connection_alone(stage: Stage, way: Way, chunk: bytes) -> None:
    first, *later = CHAT.answer + CHAT.ending

    def script(connection: Connection) -> None:
        assert isinstance(connection, Http2Connection)
        connection.read_request()
        healthy = connection.stream
        connection.send_headers()
        connection.send_chunk(first)
        connection.read_request()
        connection.send_headers()
        connection.send_chunk(chunk)
        if chunk == HEARTBEAT:
            connection.end()
        else:
            connection.wait_until_refused()
        connection.stream = healthy
        for frame in later:
            connection.send_chunk(frame)
        connection.end()

    stage.play(script)
    with stage.client(way) as client, client.stream("POST", CHAT.path, json=CHAT.request) as response:
        body = Body(response)
        assert body.read(len(first)) == first
        assert client.post(CHAT.path, json=CHAT.request).status_code == 502
        assert body.rest() == b"".join(later)


# A client that speaks HTTP/1.0


def _asked_in_http10(stage: Stage) -> Reply:
    host, _, port = stage.listeners["plain"].partition(":")
    with RawClient.connected(int(port), host) as client:
        client.send(post(CHAT.path, CHAT.request).replace(b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", 1))
        reply = client.read_reply()
        assert client.read_to_end() == b""
    assert "transfer-encoding" not in reply.head.headers
    return reply


def test_an_old_client_gets_an_error_in_place_of_no_answer(stage: Stage) -> None:
    stage.play(sends_raw(HEAD + CHUNK + b"0\r\n\r\n"))
    reply = _asked_in_http10(stage)
    assert (reply.status, reply.reason) == (502, "heartbeats_only")


def test_an_old_client_is_told_of_a_cut_in_the_answer(stage: Stage) -> None:
    stage.play(sends_raw(head("Content-Length: 999") + CHAT.answer[0]))
    reply = _asked_in_http10(stage)
    error = CHAT.late_error(reply.body.removeprefix(CHAT.answer[0]))
    assert (reply.status, error["metadata"]["reason"]) == (200, "cut_late")
