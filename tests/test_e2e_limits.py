"""How long headers are held, how long an answer may take, and what else the options set a limit to."""

import gzip
import threading
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import brotli
import httpx
import pytest
import zstandard

from harness import Connection
from harness.apis import ANTHROPIC, APIS, CHAT, Api
from harness.http2 import Http2Connection
from harness.proxy import PATIENCE
from harness.stage import REVERSE, TO_H2, VERSIONS, Stage, Way
from harness.streams import DONE, HEARTBEAT, chat, data


def wait_until_sent_away(connection: Connection) -> None:
    """Wait for the end that a proxy makes of what it does not want any more."""
    if isinstance(connection, Http2Connection):
        connection.wait_until_refused()
    else:
        connection.wait_until_left()


def end(connection: Connection) -> None:
    connection.end()


def nothing_more(_: Connection) -> None:
    """It stays open, and silent."""


def answering(*chunks: bytes, **headers: str) -> Callable[[Connection], None]:
    """An upstream that answers one request."""

    def script(connection: Connection) -> None:
        connection.read_request()
        connection.answer(*chunks, **headers)

    return script


def error_behind(before: bytes, stream: bytes, api: Api = CHAT) -> Any:
    """The error frame of ours that ends a stream."""
    assert stream.startswith(before), stream
    return api.late_error(stream.removeprefix(before))


class Peers:
    """An upstream that sends some chunks, waits until the client has them, and goes on from there."""

    def __init__(self, *first: bytes, then: Callable[[Connection], None] = end, **headers: str) -> None:
        self._first, self._then, self._headers = first, then, headers
        self.client_has_them = threading.Event()
        self.sent_away = threading.Event()

    def __call__(self, connection: Connection) -> None:
        connection.read_request()
        connection.send_headers(**self._headers)  # type: ignore[arg-type]
        for chunk in self._first:
            connection.send_chunk(chunk)
        assert self.client_has_them.wait(PATIENCE)
        self._then(connection)
        wait_until_sent_away(connection)
        self.sent_away.set()


def read(chunks: Iterator[bytes], size: int) -> bytes:
    """Exactly so many bytes."""
    got = b""
    while len(got) < size:
        got += next(chunks)
    assert len(got) == size, got
    return got


# Holding


@pytest.mark.parametrize("api", APIS, ids=str)
def test_heartbeats_that_outlast_the_hold_are_released_and_the_empty_end_is_told_in_the_stream(
    stage: Stage, api: Api
) -> None:
    stage.play(peers := Peers(HEARTBEAT))
    with stage.options(sse_hold_seconds="0.2"), stage.stream(REVERSE, api) as response:
        assert (response.status_code, response.headers["content-type"]) == (200, "text/event-stream")
        chunks = response.iter_raw()
        assert read(chunks, len(HEARTBEAT)) == HEARTBEAT
        peers.client_has_them.set()
        error = api.late_error(b"".join(chunks))
    assert error["metadata"]["reason"] == "heartbeats_only"
    assert stage.facts["verdict"] == "heartbeats_only"


@pytest.mark.parametrize("way", VERSIONS, ids=str)
def test_a_hold_that_is_over_lets_the_answer_through(stage: Stage, way: Way) -> None:
    def answer(connection: Connection) -> None:
        for chunk in CHAT.healthy:
            connection.send_chunk(chunk)
        connection.end()

    stage.play(peers := Peers(HEARTBEAT, CHAT.preamble[0], then=answer))
    with stage.options(sse_hold_seconds="0.2"), stage.stream(way) as response:
        chunks = response.iter_raw()
        first = HEARTBEAT + CHAT.preamble[0]
        assert read(chunks, len(first)) == first
        peers.client_has_them.set()
        assert b"".join(chunks) == b"".join(CHAT.healthy)
    assert stage.facts["verdict"] == "answered"


def test_a_hold_may_outlast_several_looks_at_the_clock(stage: Stage) -> None:
    stage.play(peers := Peers(HEARTBEAT))
    with stage.options(sse_hold_seconds="1.2"), stage.stream(REVERSE) as response:
        chunks = response.iter_raw()
        assert read(chunks, len(HEARTBEAT)) == HEARTBEAT
        peers.client_has_them.set()
        CHAT.late_error(b"".join(chunks))
    assert stage.facts["seconds"] >= 1.2


@pytest.mark.parametrize("way", VERSIONS, ids=str)
def test_no_hold_at_all_sends_the_headers_before_any_byte_of_the_body(stage: Stage, way: Way) -> None:
    stage.play(peers := Peers())
    with stage.options(sse_hold_seconds="0"), stage.stream(way) as response:
        assert response.status_code == 200
        peers.client_has_them.set()
        error = CHAT.late_error(response.read())
    assert error["metadata"]["reason"] == "empty"


def test_more_heartbeats_than_may_be_held_are_released(stage: Stage) -> None:
    held = HEARTBEAT * 4
    stage.play(peers := Peers(held, HEARTBEAT))
    with stage.options(sse_hold_bytes=str(len(held))), stage.stream(REVERSE) as response:
        chunks = response.iter_raw()
        assert read(chunks, len(held + HEARTBEAT)) == held + HEARTBEAT
        peers.client_has_them.set()
        error = CHAT.late_error(b"".join(chunks))
    assert error["metadata"]["reason"] == "heartbeats_only"


def test_as_many_heartbeats_as_may_be_held_are_held(stage: Stage) -> None:
    held = HEARTBEAT * 4
    stage.play(answering(held))
    with stage.options(sse_hold_bytes=str(len(held))):
        assert stage.ask(REVERSE).status_code == 502


@pytest.mark.parametrize("way", VERSIONS, ids=str)
def test_a_frame_larger_than_the_hold_leaves_as_it_comes(stage: Stage, way: Way) -> None:
    large = chat("x" * 3000)

    def rest(connection: Connection) -> None:
        connection.send_chunk(large[2000:] + DONE)
        connection.end()

    stage.play(
        peers := Peers(
            chat("Hello"),
            large[:2000],
            then=rest,
        )
    )
    with stage.options(sse_hold_bytes="1000"), stage.stream(way) as response:
        chunks = response.iter_raw()
        first = chat("Hello") + large[:2000]
        assert read(chunks, len(first)) == first
        peers.client_has_them.set()
        assert b"".join(chunks) == large[2000:] + DONE
    assert stage.facts["verdict"] == "answered"


# Time for an answer


@pytest.mark.parametrize("way", VERSIONS, ids=str)
@pytest.mark.parametrize("api", [CHAT, ANTHROPIC], ids=str)
def test_no_answer_in_time_is_a_504_and_upstream_is_sent_away(stage: Stage, way: Way, api: Api) -> None:
    stage.play(peers := Peers(HEARTBEAT, *api.preamble, then=nothing_more))
    peers.client_has_them.set()
    with stage.options(sse_answer_timeout="0.2"):
        response = stage.ask(way, api)
    assert (response.status_code, response.headers["x-sseguard"]) == (504, "timed_out")
    assert response.json()["error"]["metadata"]["reason"] == "timed_out"
    assert peers.sent_away.wait(PATIENCE)


@pytest.mark.parametrize("way", VERSIONS, ids=str)
def test_no_headers_in_time_are_a_504_and_upstream_is_sent_away(stage: Stage, way: Way) -> None:
    sent_away = threading.Event()

    def mute(connection: Connection) -> None:
        connection.read_request()
        wait_until_sent_away(connection)
        sent_away.set()

    stage.play(mute)
    with stage.options(sse_answer_timeout="0.2"):
        response = stage.ask(way)
    assert (response.status_code, response.headers["content-type"]) == (504, "application/json")
    assert response.json()["error"]["code"] == 504
    assert sent_away.wait(PATIENCE)
    facts = stage.facts
    assert (facts["verdict"], facts["status"], facts["first_byte"]) == ("timed_out", 504, None)


def test_an_answer_that_is_late_after_the_hold_is_told_in_the_stream(stage: Stage) -> None:
    stage.play(peers := Peers(HEARTBEAT, then=nothing_more))
    with stage.options(sse_hold_seconds="0.1", sse_answer_timeout="0.3"), stage.stream(REVERSE) as response:
        chunks = response.iter_raw()
        assert read(chunks, len(HEARTBEAT)) == HEARTBEAT
        peers.client_has_them.set()
        error = CHAT.late_error(b"".join(chunks))
    assert (error["metadata"]["reason"], error["code"]) == ("timed_out", 504)
    assert peers.sent_away.wait(PATIENCE)


def test_what_is_asked_for_in_one_piece_may_take_its_time(stage: Stage) -> None:
    asked, timed_out = threading.Event(), threading.Event()

    def script(connection: Connection) -> None:
        if connection.read_request().json()["stream"]:
            connection.wait_until_left()
            return
        asked.set()
        assert timed_out.wait(PATIENCE)
        connection.send_headers(content_type="application/json", content_length="2")
        connection.send(b"{}")

    stage.play(script)
    answers: list[httpx.Response] = []
    whole = {**CHAT.request, "stream": False}
    with stage.options(sse_answer_timeout="0.2"), stage.client(REVERSE) as client:
        slow = threading.Thread(target=lambda: answers.append(client.post(CHAT.path, json=whole)))
        slow.start()
        assert asked.wait(PATIENCE)
        # This one is sent later: when its time is over, the other's would be too.
        assert stage.ask(REVERSE).status_code == 504
        timed_out.set()
        slow.join()
    assert [(answer.status_code, answer.content) for answer in answers] == [(200, b"{}")]


# Silence


@pytest.mark.parametrize("way", VERSIONS, ids=str)
@pytest.mark.parametrize("api", [CHAT, ANTHROPIC], ids=str)
def test_silence_in_the_middle_of_an_answer_is_told_behind_its_complete_frames(
    stage: Stage, way: Way, api: Api
) -> None:
    begun = (*api.preamble, *api.answer)
    stage.play(peers := Peers(*begun, b'data: {"half', then=nothing_more))
    peers.client_has_them.set()
    with stage.options(sse_idle_timeout="0.2"):
        response = stage.ask(way, api)
    error = error_behind(b"".join(begun), response.content, api)
    assert error["metadata"]["reason"] == "timed_out_late"
    assert peers.sent_away.wait(PATIENCE)
    assert stage.facts["verdict"] == "timed_out_late"


@pytest.mark.parametrize("way", VERSIONS, ids=str)
@pytest.mark.parametrize("api", [CHAT, ANTHROPIC], ids=str)
def test_silence_behind_the_end_mark_is_a_clean_end(stage: Stage, way: Way, api: Api) -> None:
    stage.play(peers := Peers(*api.healthy, then=nothing_more))
    peers.client_has_them.set()
    with stage.options(sse_idle_timeout="0.2"):
        response = stage.ask(way, api)
    assert (response.status_code, response.content) == (200, b"".join(api.healthy))
    assert peers.sent_away.wait(PATIENCE)
    assert stage.facts["verdict"] == "answered"


def test_silence_before_the_answer_is_not_counted_as_idle(stage: Stage) -> None:
    silent = threading.Event()

    def script(connection: Connection) -> None:
        if connection.read_request().path.startswith("/other"):
            connection.send_headers()
            connection.send_chunk(chat("Hello"))
            connection.wait_until_left()
            return
        connection.send_headers()
        connection.send_chunk(HEARTBEAT)
        silent.set()
        assert other_was_idle.wait(PATIENCE)
        for chunk in CHAT.healthy:
            connection.send_chunk(chunk)
        connection.end()

    other_was_idle = threading.Event()
    stage.play(script)
    answers: list[httpx.Response] = []
    with stage.options(sse_idle_timeout="0.2"), stage.client(REVERSE) as client:
        slow = threading.Thread(target=lambda: answers.append(client.post(CHAT.path, json=CHAT.request)))
        slow.start()
        assert silent.wait(PATIENCE)
        late = client.post("/other" + CHAT.path, json=CHAT.request)
        other_was_idle.set()
        slow.join()
    assert b"timed_out_late" in late.content
    assert [answer.content for answer in answers] == [HEARTBEAT + b"".join(CHAT.healthy)]


# What is missing


def test_a_missing_end_mark_is_only_flagged_by_default(stage: Stage) -> None:
    stage.play(answering(*CHAT.answer))
    assert stage.ask(REVERSE).content == b"".join(CHAT.answer)
    assert stage.facts["verdict"] == "truncated"


@pytest.mark.parametrize("way", VERSIONS, ids=str)
@pytest.mark.parametrize("api", APIS, ids=str)
def test_a_missing_end_mark_is_told_if_it_is_to_count_as_an_error(stage: Stage, way: Way, api: Api) -> None:
    stage.play(answering(*api.answer))
    with stage.options(sse_truncated="error"):
        response = stage.ask(way, api)
    assert error_behind(b"".join(api.answer), response.content, api)["metadata"]["reason"] == "truncated"


# Comments

CODINGS: dict[str, Callable[[bytes], bytes]] = {
    "identity": bytes,
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}
COMMENTED = b": one\n\n" + chat("Hello") + b": two\r\n" + chat(" world") + HEARTBEAT + chat("", "stop") + DONE


@pytest.mark.parametrize("way", VERSIONS, ids=str)
@pytest.mark.parametrize("coding", CODINGS)
def test_comments_can_be_taken_out_of_a_body_in_any_coding(stage: Stage, way: Way, coding: str) -> None:
    body = CODINGS[coding](COMMENTED)
    parts = (body[:20], body[20:21], body[21:])
    stage.play(answering(*parts, content_encoding=coding))
    with stage.options(sse_strip_comments=True):
        response = stage.ask(way)
    assert response.content == chat("Hello") + chat(" world") + chat("", "stop") + DONE
    assert response.headers.get("content-encoding", "identity") == "identity"
    assert "content-length" not in response.headers
    assert stage.facts["verdict"] == "answered"


def test_a_length_that_counts_comments_is_not_kept_when_they_are_taken_out(stage: Stage) -> None:
    def script(connection: Connection) -> None:
        connection.read_request()
        connection.send_headers(content_length=str(len(COMMENTED)))
        connection.send(COMMENTED)

    stage.play(script)
    with stage.options(sse_strip_comments=True):
        response = stage.ask(REVERSE)
    assert response.content == chat("Hello") + chat(" world") + chat("", "stop") + DONE


def test_a_late_cut_of_a_compressed_body_is_told_when_it_is_decoded(stage: Stage) -> None:
    packer = zlib.compressobj(wbits=31)
    begun = packer.compress(HEARTBEAT + chat("Hello")) + packer.flush(zlib.Z_SYNC_FLUSH)
    stage.play(peers := Peers(begun, then=lambda connection: connection.reset(), content_encoding="gzip"))
    with stage.options(sse_strip_comments=True), stage.stream(REVERSE) as response:
        chunks = response.iter_raw()
        assert read(chunks, len(chat("Hello"))) == chat("Hello")
        peers.client_has_them.set()
        error = CHAT.late_error(b"".join(chunks))
    assert error["metadata"]["reason"] == "cut_late"


@pytest.mark.parametrize("way", TO_H2, ids=str)
def test_a_released_heartbeat_that_is_taken_out_leaves_no_empty_chunk(stage: Stage, way: Way) -> None:
    def answer(connection: Connection) -> None:
        connection.send_chunk(chat("Hello") + DONE)
        connection.end()

    stage.play(peers := Peers(HEARTBEAT, then=answer))
    with stage.options(sse_strip_comments=True, sse_hold_seconds="0.1"), stage.stream(way) as response:
        peers.client_has_them.set()
        assert response.read() == chat("Hello") + DONE


def test_comments_alone_are_refused_when_they_are_taken_out(stage: Stage) -> None:
    stage.play(answering(HEARTBEAT, HEARTBEAT))
    with stage.options(sse_strip_comments=True):
        response = stage.ask(REVERSE)
    assert (response.status_code, response.headers["x-sseguard"]) == (502, "heartbeats_only")


# Sizes


def test_a_path_of_ones_own_is_guarded_in_its_dialect(stage: Stage) -> None:
    stage.play(answering(data({"type": "ping"})))
    with stage.options(sse_paths=["/*/invoke=anthropic"]):
        response = stage.ask(REVERSE, path="/model/invoke")
    assert response.status_code == 502
    assert response.json()["type"] == "error"
