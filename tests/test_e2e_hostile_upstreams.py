"""Upstreams that flood, lie, or send what nobody should: the client gets what there is, and the proxy takes no harm."""

from __future__ import annotations

import gzip
import hashlib
import threading
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import brotli
import pytest
import zstandard

from harness import Connection, Proxy, Upstream
from harness.apis import CHAT
from harness.proxy import PATIENCE
from harness.raw import RawClient
from harness.scripts import SILENCE, sends
from harness.stage import TUNER
from harness.streams import ANSWER, DONE, HEARTBEAT, chat, data
from harness.waiting import recorded
from sseguard.recordings.fixture import load

WHOLE = b"".join(ANSWER)

#: Another request, answered while the hostile one is under way.
OTHER = "/other" + CHAT.path

MIB = 1 << 20


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream.running(SILENCE) as upstream:
        yield upstream


@pytest.fixture(scope="module")
def shared_proxy(tmp_path_factory: pytest.TempPathFactory, upstream: Upstream) -> Iterator[Proxy]:
    """Nothing is left when all is over."""
    folder = tmp_path_factory.mktemp("proxy")
    with Proxy.running(folder, mode=f"reverse:{upstream.url}", scripts=(TUNER,)) as proxy, proxy.leaving_nothing():
        yield proxy


@pytest.fixture
def proxy(shared_proxy: Proxy) -> Iterator[Proxy]:
    yield shared_proxy
    shared_proxy.assert_unharmed()


@pytest.fixture
def client(proxy: Proxy) -> Iterator[RawClient]:
    with RawClient.connected(proxy.port) as client:
        yield client


def verdict(proxy: Proxy, path: str) -> str:
    """That on the exchange with this path, which no other has."""
    while (flow := proxy.flow())["path"] != path:
        pass
    found: str = flow["facts"]["verdict"]
    return found


class Halves:
    """An upstream that sends chunks, and in the middle waits until another request has been answered."""

    def __init__(self, chunks: list[bytes], then: Callable[[Connection], object] = Connection.end, **more: str) -> None:
        self._chunks, self._then, self._headers = chunks, then, more
        self.is_half_sent = threading.Event()
        self.may_go_on = threading.Event()

    def __call__(self, connection: Connection) -> None:
        if connection.read_request().path == OTHER:
            connection.answer(*ANSWER)
            return
        connection.send_headers(**self._headers)  # type: ignore[arg-type]
        for index, chunk in enumerate(self._chunks):
            if index == len(self._chunks) // 2:
                self.is_half_sent.set()
                assert self.may_go_on.wait(PATIENCE)
            connection.send_chunk(chunk)
        self._then(connection)

    @contextmanager
    def answering_another(self, proxy: Proxy) -> Iterator[None]:
        """Meanwhile, another request is answered."""

        def ask() -> bytes:
            assert self.is_half_sent.wait(PATIENCE)
            with RawClient.connected(proxy.port) as other:
                body = other.ask(OTHER, CHAT.request).body
            self.may_go_on.set()
            return body

        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(ask)
            yield
            assert answer.result() == WHOLE


def pieces(body: bytes, size: int = 65536) -> list[bytes]:
    return [body[i : i + size] for i in range(0, len(body), size)]


# What never ends

ENDLESS: dict[str, tuple[bytes, bytes]] = {
    "comments": (b"", HEARTBEAT),
    "comment-line": (b":", b" hello"),
    "data-line": (b"data: ", b'{"x'),
    "data-lines": (b"", b"data: 1\n"),
    "nameless-line": (b"field", b"field"),
    "fields-without-data": (b"", b"id: 1\nretry: 5\n\n"),
    "blank-lines": (b"", b"\r\n\r\r"),
    "frames": (chat("Hello"), chat(" and so on")),
}


@pytest.mark.parametrize(
    ("name", "coding"), [*((name, "identity") for name in ENDLESS), ("comment-line", "gzip"), ("data-line", "gzip")]
)
def test_what_never_ends_passes_through_in_little_memory(
    proxy: Proxy, upstream: Upstream, client: RawClient, name: str, coding: str
) -> None:
    start, piece = ENDLESS[name]
    again = piece * (65536 // len(piece))
    chunks = [start, *[again] * (16 * MIB // len(again))]
    if coding == "gzip":
        packer = zlib.compressobj(0, wbits=31)  # as large as it was
        chunks = [packer.compress(chunk) + packer.flush(zlib.Z_SYNC_FLUSH) for chunk in chunks]
    chunks = [chunk for chunk in chunks if chunk]
    upstream.script = Halves(chunks, SILENCE, content_encoding=coding)
    path = f"/{name}/{coding}{CHAT.path}"
    with proxy.bounded(10):
        client.post(path, CHAT.request)
        with upstream.script.answering_another(proxy):
            assert client.read_head().status == 200
            assert_comes(client, chunks)
        client.leave()
        assert verdict(proxy, path) == "client_left"


def assert_comes(client: RawClient, chunks: list[bytes]) -> None:
    """Exactly these bytes come, in whatever chunks."""
    wanted, got, left = hashlib.sha256(), hashlib.sha256(), sum(map(len, chunks))
    for chunk in chunks:
        wanted.update(chunk)
    while left > 0:
        chunk = client.read_chunk()
        got.update(chunk)
        left -= len(chunk)
    assert (left, got.digest()) == (0, wanted.digest())


def test_a_frame_of_64_mib_arrives_whole_in_little_memory(proxy: Proxy, upstream: Upstream, client: RawClient) -> None:
    chunks = [chat("Hello"), *pieces(chat("x" * (64 * MIB))), chat("", "stop"), DONE]
    upstream.script = Halves(chunks)
    with proxy.bounded(24):
        client.post("/large" + CHAT.path, CHAT.request)
        with upstream.script.answering_another(proxy):
            client.read_head()
            assert_comes(client, chunks)
        assert client.read_chunk() == b""
    assert verdict(proxy, "/large" + CHAT.path) == "answered"


# A client that does not read

FLOOD = data({"choices": [{"index": 0, "delta": {"content": "x" * 60_000}}]})


@pytest.mark.parametrize("recording", [False, True], ids=["", "recording"])
@pytest.mark.parametrize("leaves", [False, True], ids=["reads later", "leaves"])
def test_a_client_that_does_not_read_stops_upstream_and_takes_little_memory(
    proxy: Proxy, upstream: Upstream, tmp_path: Path, *, recording: bool, leaves: bool
) -> None:
    flooded: list[int] = []
    is_full, may_go_on, left = threading.Event(), threading.Event(), threading.Event()

    def script(connection: Connection) -> None:
        if connection.read_request().path == OTHER:
            connection.answer(*ANSWER)
            return
        connection.send_headers()
        framed = b"%x\r\n%s\r\n" % (len(FLOOD), FLOOD)
        flooded.append(connection.flood(framed, most=64 * MIB))
        is_full.set()
        assert may_go_on.wait(PATIENCE)
        if leaves:
            connection.wait_until_left()
            left.set()
            return
        connection.send(framed[flooded[0] % len(framed) :])
        connection.send_chunk(DONE)
        connection.end()

    upstream.script = script
    path = f"/flood/{recording}/{leaves}{CHAT.path}"
    proxy.set(sse_record=str(tmp_path) if recording else "")
    with proxy.bounded(32), RawClient.connected(proxy.port) as client:
        client.post(path, CHAT.request)
        assert is_full.wait(PATIENCE)
        with RawClient.connected(proxy.port) as other:
            assert other.ask(OTHER, CHAT.request).body == WHOLE
        may_go_on.set()
        if leaves:
            client.leave()
            assert left.wait(PATIENCE)
        else:
            wanted = FLOOD * (flooded[0] // (len(FLOOD) + 8) + 1) + DONE
            client.read_head()
            assert_comes(client, pieces(wanted))
            assert client.read_chunk() == b""
    proxy.set(sse_record="")
    assert verdict(proxy, path) == ("client_left" if leaves else "answered")
    if recording:
        flood = load(recorded(tmp_path, 2)[0 if "flood" in recorded(tmp_path, 2)[0].read_text()[:2000] else 1])
        assert str(flood.end) == ("client_left" if leaves else "eof")
        if not leaves:
            assert b"".join(chunk.data for chunk in flood.chunks) == wanted


# Bombs

#: What one block of a bomb unpacks to.
BLOCK = 10 * MIB


def bomb(coding: str, text: bytes, blocks: int) -> list[bytes]:
    """`text`, and so many blocks of zeros, as chunks of a body in that coding."""
    match coding:
        case "gzip":
            first, block = gzip.compress(text), gzip.compress(bytes(BLOCK))
        case "deflate":
            packer = zlib.compressobj()
            first = packer.compress(text) + packer.flush(zlib.Z_FULL_FLUSH)
            block = packer.compress(bytes(BLOCK)) + packer.flush(zlib.Z_FULL_FLUSH)
        case "br":
            presser = brotli.Compressor(quality=9)
            first = presser.process(text) + presser.flush()
            block = presser.process(bytes(BLOCK)) + presser.flush()
        case _:
            first, block = (zstandard.ZstdCompressor().compress(part) for part in (text, bytes(BLOCK)))
    return [first, *pieces(block * blocks)]


BOMBS = pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])


@BOMBS
def test_a_bomb_in_place_of_an_answer_is_refused_in_little_memory(
    proxy: Proxy, upstream: Upstream, client: RawClient, coding: str
) -> None:
    for blocks in (1, 100, 1024):
        upstream.script = sends(*bomb(coding, HEARTBEAT, blocks), content_encoding=coding)
        with proxy.bounded(80):
            reply = client.ask(CHAT.path, CHAT.request)
            assert (reply.status, reply.reason) == (502, "malformed")


@BOMBS
def test_a_bomb_behind_an_answer_passes_unread_in_little_memory(
    proxy: Proxy, upstream: Upstream, client: RawClient, coding: str
) -> None:
    for blocks in (1, 100, 1024):
        chunks = bomb(coding, chat("Hello"), blocks)
        upstream.script = Halves(chunks, content_encoding=coding)
        path = f"/{coding}/{blocks}{CHAT.path}"
        with proxy.bounded(80):
            client.post(path, CHAT.request)
            with upstream.script.answering_another(proxy):
                client.read_head()
                assert_comes(client, chunks)
            assert client.read_chunk() == b""
        assert verdict(proxy, path) == "truncated"


@BOMBS
def test_a_bomb_behind_an_answer_is_a_late_cut_where_compression_is_taken_out(
    proxy: Proxy, upstream: Upstream, client: RawClient, coding: str
) -> None:
    proxy.set(sse_strip_comments=True)
    upstream.script = sends(*bomb(coding, chat("Hello"), 1024), then=SILENCE, content_encoding=coding)
    with proxy.bounded(80):
        reply = client.ask(CHAT.path, CHAT.request)
    proxy.set(sse_strip_comments=False)
    assert CHAT.late_error(reply.body.removeprefix(chat("Hello")))["metadata"]["reason"] == "cut_late"


def test_a_bomb_that_unpacks_little_by_little_leaves_room_for_others(
    proxy: Proxy, upstream: Upstream, client: RawClient
) -> None:
    # Each chunk is as large as may be, and all is one comment.
    upstream.script = Halves([gzip.compress(b":"), *[gzip.compress(bytes(8 * MIB))] * 32], content_encoding="gzip")
    with proxy.bounded(80):
        client.post(CHAT.path, CHAT.request)
        with upstream.script.answering_another(proxy):
            assert client.read_reply().reason == "heartbeats_only"
