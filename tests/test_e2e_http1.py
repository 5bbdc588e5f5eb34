"""What is odd about responses of HTTP/1, and is read all the same."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from h11._readers import ChunkedReader
from mitmproxy import http
from mitmproxy.connection import Client, Server
from mitmproxy.options import Options
from mitmproxy.proxy import commands, context, events
from mitmproxy.proxy.layers.http._base import ReceiveHttp
from mitmproxy.proxy.layers.http._events import ResponseData, ResponseEndOfMessage, ResponseProtocolError

from harness import Connection, Proxy, Upstream
from harness.proxy import ADDON, ROOT
from harness.raw import RawClient, post
from harness.streams import DONE, HEARTBEAT, chat, data
from harness.waiting import recorded
from sseguard.mitm.layers.http1 import Burst, PatientHttp1Client
from sseguard.recordings.fixture import load

PATH = "/api/v1/chat/completions"
REQUEST = {"model": "vendor/model", "stream": True, "messages": []}
WORDS = [chat(f" {number}") for number in range(20)]
END = [chat("", "stop"), DONE]
LATE_ERROR = data({"error": {"code": 429, "message": "Slow down"}})


def framed(*chunks: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)


HEADERS = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


class Scene:
    """A proxy that records, and an upstream that sends each of `sends` once the client has what came before it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.headers = HEADERS
        self.sends: list[bytes] = []
        self.then_cut = False
        self.go = threading.Semaphore(0)

    def script(self, connection: Connection) -> None:
        while True:
            connection.read_request()
            connection.send(self.headers)
            for piece in self.sends:
                self.go.acquire()
                connection.send(piece)
            if self.then_cut:
                break
        connection.close()


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path / "recordings")


@pytest.fixture
def proxy(scene: Scene, tmp_path: Path) -> Iterator[Proxy]:
    options = {"sse_record": str(scene.folder)}
    with (
        Upstream.running(scene.script) as upstream,
        Proxy.running(tmp_path / "conf", mode=f"reverse:{upstream.url}", options=options) as proxy,
    ):
        yield proxy
        proxy.assert_unharmed()


def chunks_in(folder: Path) -> list[bytes]:
    [path] = recorded(folder)
    return [chunk.data for chunk in load(path).chunks]


# Chunks that come together: each is still by itself for the client, for the guard, and in the recording


def test_the_client_gets_each_chunk_and_the_recording_has_it(scene: Scene, proxy: Proxy) -> None:
    first = [HEARTBEAT, chat(), chat("Hello"), *WORDS[:5]]
    rest = [*WORDS[5:], HEARTBEAT, *END]
    scene.sends = [framed(*first), framed(*rest) + b"0\r\n\r\n"]
    with RawClient.connected(proxy.port) as client:
        client.post(PATH, REQUEST)
        scene.go.release()
        assert client.read_head().status == 200
        # What was held goes out in one chunk with the first answer frame.
        held = framed(b"".join(first[:3])) + framed(*first[3:])
        assert client.read_exactly(len(held)) == held
        scene.go.release()
        assert client.read_exactly(len(scene.sends[1])) == scene.sends[1]
    assert proxy.flow()["facts"]["verdict"] == "answered"
    assert chunks_in(scene.folder) == [*first, *rest]


def test_half_a_frame_waits_for_its_other_half(scene: Scene, proxy: Proxy) -> None:
    half = WORDS[3][:20]
    scene.sends = [framed(chat("Hello")), framed(*WORDS[:3], half), framed(WORDS[3][20:], *END) + b"0\r\n\r\n"]
    with RawClient.connected(proxy.port) as client:
        client.post(PATH, REQUEST)
        for _ in scene.sends:
            scene.go.release()
        client.read_head()
        chunks = list(iter(client.read_chunk, b""))
    assert chunks == [chat("Hello"), *WORDS[:4], *END]
    proxy.flow()
    assert chunks_in(scene.folder) == [chat("Hello"), *WORDS[:3], half, WORDS[3][20:], *END]


def test_a_cut_in_the_same_breath_is_told_behind_the_whole_frames(scene: Scene, proxy: Proxy) -> None:
    scene.sends = [framed(chat("Hello")), framed(*WORDS, chat("half")[:30])]
    scene.then_cut = True
    with RawClient.connected(proxy.port) as client:
        client.post(PATH, REQUEST)
        scene.go.release()
        client.read_head()
        assert client.read_chunk() == chat("Hello")
        scene.go.release()
        *frames, error = list(iter(client.read_chunk, b""))
    assert frames == WORDS
    assert b"cut_late" in error
    assert proxy.flow()["facts"]["verdict"] == "cut_late"
    assert chunks_in(scene.folder) == [chat("Hello"), *WORDS, chat("half")[:30]]


def test_an_error_among_them_is_seen(scene: Scene, proxy: Proxy) -> None:
    scene.sends = [framed(chat("Hello")), framed(*WORDS, LATE_ERROR) + b"0\r\n\r\n"]
    scene.go.release(2)
    body = httpx.post(proxy.url + PATH, json=REQUEST).content
    assert body == b"".join([chat("Hello"), *WORDS, LATE_ERROR])
    assert proxy.flow()["facts"]["verdict"] == "provider_error_late"


def test_another_addon_may_make_more_pieces_of_them(scene: Scene, tmp_path: Path) -> None:
    scene.sends = [framed(chat("Hello")), framed(*WORDS, *END) + b"0\r\n\r\n"]
    scripts = (ROOT / "tests" / "harness" / "neighbour.py", ADDON)  # which is heard in this order only
    with (
        Upstream.running(scene.script) as upstream,
        Proxy.running(tmp_path, mode=f"reverse:{upstream.url}", addon=False, scripts=scripts) as proxy,
        RawClient.connected(proxy.port) as client,
    ):
        client.post(PATH, REQUEST, x_do="add")
        scene.go.release()
        client.read_head()
        assert client.read_chunk() == b": seen\n\n" + chat("Hello")
        scene.go.release()
        rest = list(iter(client.read_chunk, b""))
        assert rest == [piece for chunk in (*WORDS, *END) for piece in (b": seen\n\n", chunk)]
        assert proxy.flow()["facts"]["verdict"] == "answered"
        proxy.assert_unharmed()


# Other versions


@pytest.mark.parametrize("length", [True, False])
def test_an_upstream_of_http_1_0_gets_one_request_a_connection(scene: Scene, proxy: Proxy, *, length: bool) -> None:
    body = b"".join([chat("Hello"), *END])
    fields = b"content-length: %d\r\n" % len(body) if length else b""
    scene.headers = b"HTTP/1.0 200 OK\r\ncontent-type: text/event-stream\r\n" + fields + b"\r\n"
    scene.sends, scene.then_cut = [body], not length
    for _ in range(2):
        with RawClient.connected(proxy.port) as client:
            scene.go.release()
            client.post(PATH, REQUEST)
            head = client.read_head()
            assert (head.version, head.status, head.headers["connection"]) == ("HTTP/1.1", 200, "close")
            assert b"".join(iter(client.read_chunk, b"")) == body
            assert client.read_to_end() == b""


def test_an_upstream_that_ends_an_answer_with_its_connection_leaves_the_clients_open(
    scene: Scene, proxy: Proxy
) -> None:
    body = b"".join([chat("Hello"), *END])
    scene.headers = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
    scene.sends, scene.then_cut = [body], True
    with RawClient.connected(proxy.port) as client:
        for _ in range(3):
            scene.go.release()
            assert client.ask(PATH, REQUEST).body == body
        proxy.wait_for("server disconnect", times=3)


def test_a_client_of_http_1_0_gets_no_chunks(scene: Scene, proxy: Proxy) -> None:
    scene.sends = [framed(chat("Hello"), *END) + b"0\r\n\r\n"]
    scene.go.release()
    with RawClient.connected(proxy.port) as client:
        client.send(post(PATH, REQUEST).replace(b"HTTP/1.1", b"HTTP/1.0"))
        assert "transfer-encoding" not in client.read_head().headers
        assert client.read_to_end() == b"".join([chat("Hello"), *END])


# Interim responses and trailers

EARLY = b"HTTP/1.1 103 Early Hints\r\nlink: </a>; rel=preload\r\nlink: </b>; rel=preload\r\n\r\n"
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n" + EARLY
TRAILERS = b"0\r\nx-checksum: 1\r\nserver-timing: total;dur=12\r\n\r\n"


@pytest.mark.parametrize("end", [b"0\r\n\r\n", TRAILERS], ids=["plain", "trailers"])
@pytest.mark.parametrize("before", [b"", INTERIM], ids=["plain", "interim"])
def test_an_answer_arrives_between_interim_responses_and_trailers(
    scene: Scene, proxy: Proxy, before: bytes, end: bytes
) -> None:
    scene.headers = before + HEADERS
    scene.sends = [framed(HEARTBEAT, chat("Hello"), *END) + end]
    scene.go.release(3)
    with RawClient.connected(proxy.port) as client:
        for _ in range(3):
            reply = client.ask(PATH, REQUEST)
            assert (reply.status, reply.body) == (200, b"".join([HEARTBEAT, chat("Hello"), *END]))


@pytest.mark.parametrize("end", [b"0\r\n\r\n", TRAILERS], ids=["plain", "trailers"])
def test_no_answer_between_interim_responses_and_trailers_is_refused(scene: Scene, proxy: Proxy, end: bytes) -> None:
    scene.headers = INTERIM + HEADERS
    scene.sends = [framed(HEARTBEAT) + end]
    scene.go.release(2)
    with RawClient.connected(proxy.port) as client:
        for _ in range(2):
            reply = client.ask(PATH, REQUEST)
            assert (reply.status, reply.reason) == (502, "heartbeats_only")


def test_interim_responses_may_come_in_any_pieces(scene: Scene, proxy: Proxy) -> None:
    head = INTERIM + HEADERS
    scene.headers = b""
    scene.sends = [*(head[at : at + 1] for at in range(len(head))), framed(chat("Hello"), *END) + b"0\r\n\r\n"]
    scene.go.release(len(scene.sends))
    assert httpx.post(proxy.url + PATH, json=REQUEST).content == b"".join([chat("Hello"), *END])


def test_trailers_are_left_out_of_what_is_not_guarded_too(scene: Scene, proxy: Proxy) -> None:
    scene.headers = HEADERS.replace(b"text/event-stream", b"text/plain")
    scene.sends = [framed(b"text") + TRAILERS]
    scene.go.release(1)
    assert httpx.post(proxy.url + PATH, json=REQUEST).content == b"text"


# The layer by itself


def layer(*, guarded: bool) -> PatientHttp1Client:
    """One that has sent a request and read the headers of a chunked response."""
    client = Client(peername=("127.0.0.1", 1), sockname=("127.0.0.1", 2), timestamp_start=0.0)
    kind = type("Reader", (PatientHttp1Client,), {"guards": staticmethod(lambda _: guarded)})
    around = context.Context(client, Options())
    around.server = Server(address=("127.0.0.1", 3))
    reader: PatientHttp1Client = kind(around)
    list(reader.handle_event(events.Start()))
    reader.stream_id = 1
    reader.request, reader.request_done = http.Request.make("POST", "http://127.0.0.1/"), True
    reader.response = http.Response.make(200)
    reader.response.headers.clear()
    reader.response.headers["transfer-encoding"] = "chunked"
    reader.body_reader = ChunkedReader()
    reader.state = reader.read_body
    return reader


def heard(reader: PatientHttp1Client, text: bytes) -> list[object]:
    """What the reader makes of bytes that have come at once."""
    made = reader.handle_event(events.DataReceived(reader.conn, text))
    return [command.event if isinstance(command, ReceiveHttp) else command for command in made]


def test_chunks_of_a_guarded_body_are_handed_over_at_once_and_the_end_behind_them() -> None:
    burst, end = heard(layer(guarded=True), framed(b"a", b"bc") + b"0\r\n\r\n")
    assert isinstance(burst, Burst)
    assert (burst.chunks, burst.data, burst.stream_id) == ([b"a", b"bc"], b"abc", 1)
    assert isinstance(end, ResponseEndOfMessage)


def test_chunks_of_another_body_are_not() -> None:
    one, two, end = heard(layer(guarded=False), framed(b"a", b"bc") + b"0\r\n\r\n")
    assert type(one) is type(two) is ResponseData
    assert isinstance(end, ResponseEndOfMessage)


def test_what_came_before_nonsense_is_handed_over_before_it_is_told() -> None:
    burst, close, error = heard(layer(guarded=True), framed(b"a", b"b") + b"nonsense\r\n")
    assert isinstance(burst, Burst)
    assert burst.chunks == [b"a", b"b"]
    assert isinstance(close, commands.CloseConnection)
    assert isinstance(error, ResponseProtocolError)
