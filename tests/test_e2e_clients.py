"""What clients may do: leave at any moment, keep their connection, pipeline, speak old or odd HTTP."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from harness import Connection, Proxy, Upstream
from harness.proxy import PATIENCE
from harness.raw import RawClient, post
from harness.streams import ANSWER, DONE, HEARTBEAT, chat

REQUEST = {"model": "vendor/model", "stream": True, "messages": [{"role": "user", "content": "Hi"}]}
PATH = "/v1/chat/completions"

#: What an upstream may do, by the start of the path: its stream, and the verdict on it.
STREAMS: dict[str, tuple[tuple[bytes, ...], int, str]] = {
    "/good": (ANSWER, 200, "answered"),
    "/beats": ((HEARTBEAT,), 502, "heartbeats_only"),
    "/done": ((HEARTBEAT, DONE), 502, "done_only"),
    "/html": ((b"<!doctype html>",), 502, "malformed"),
    "/limit": ((b'data: {"error":{"message":"Slow down","code":429}}\n\n',), 429, "provider_error"),
    "/nothing": ((), 502, "empty"),
}


def provider(connection: Connection) -> None:
    """Answers by path, again and again; `/open` paths leave the stream open when all is said."""
    while True:
        path = connection.read_request().path
        name = path.removeprefix("/open")[: path.removeprefix("/open").index("/", 1)]
        chunks = STREAMS[name][0]
        if path.startswith("/open"):
            connection.send_headers()
            for chunk in chunks:
                connection.send_chunk(chunk)
            connection.wait_until_left()
            return
        connection.answer(*chunks)


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream.running(provider) as upstream:
        yield upstream


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory, upstream: Upstream) -> Iterator[Proxy]:
    with Proxy.running(tmp_path_factory.mktemp("proxy"), mode=f"reverse:{upstream.url}") as proxy:
        yield proxy
        proxy.assert_unharmed()


@pytest.fixture(autouse=True)
def _provider(upstream: Upstream) -> None:
    upstream.script = provider


@pytest.fixture
def client(proxy: Proxy) -> Iterator[RawClient]:
    with RawClient.connected(proxy.port) as client:
        yield client


def flow_of(proxy: Proxy, path: str) -> dict[str, Any]:
    while (flow := proxy.flow())["path"] != path:
        pass
    return flow


def insides(proxy: Proxy) -> dict[str, int]:
    """What mitmdump holds when all streams are gone."""
    found: dict[str, int] = httpx.get(f"{proxy.url}/__probe__?settled", timeout=PATIENCE, trust_env=False).json()
    return found


# Leaving


class Leaver:
    """An upstream that says `chunks`, or nothing at all, and then waits for the proxy to leave."""

    def __init__(self, *chunks: bytes, headers: bool = True) -> None:
        self._chunks, self._headers = chunks, headers
        self.asked = threading.Event()
        self.left = threading.Event()

    def __call__(self, connection: Connection) -> None:
        connection.read_request()
        if self._headers:
            connection.send_headers()
        for chunk in self._chunks:
            connection.send_chunk(chunk)
        self.asked.set()
        connection.wait_until_left()
        self.left.set()


def test_a_client_that_leaves_during_the_hold_sends_upstream_away_within_a_second(
    proxy: Proxy, upstream: Upstream, client: RawClient
) -> None:
    upstream.script = peer = Leaver(HEARTBEAT, chat())
    client.post("/held" + PATH, REQUEST)
    proxy.wait_for("PROBED headers /held/")
    client.leave()
    assert peer.left.wait(1.0)
    flow = flow_of(proxy, "/held" + PATH)
    assert (flow["facts"]["verdict"], flow["facts"]["status"], flow["marked"]) == (
        "client_left",
        None,
        ":yellow_circle:",
    )


def test_a_client_that_leaves_before_any_headers_sends_upstream_away_within_a_second(
    proxy: Proxy, upstream: Upstream, client: RawClient
) -> None:
    upstream.script = peer = Leaver(headers=False)
    client.post("/mute" + PATH, REQUEST)
    assert peer.asked.wait(PATIENCE)
    client.leave()
    assert peer.left.wait(1.0)
    assert flow_of(proxy, "/mute" + PATH)["facts"]["verdict"] == "client_left"


def test_a_client_that_leaves_in_the_middle_of_the_answer_sends_upstream_away_within_a_second(
    proxy: Proxy, upstream: Upstream, client: RawClient
) -> None:
    upstream.script = peer = Leaver(HEARTBEAT, chat("Hello"))
    client.post("/middle" + PATH, REQUEST)
    assert client.read_head().status == 200
    client.read_until(b"Hello")
    client.leave()
    assert peer.left.wait(1.0)
    facts = flow_of(proxy, "/middle" + PATH)["facts"]
    assert (facts["verdict"], facts["frames"], facts["heartbeats"]) == ("client_left", 1, 1)


def test_a_client_that_leaves_behind_the_end_mark_has_its_answer(
    proxy: Proxy, upstream: Upstream, client: RawClient
) -> None:
    upstream.script = peer = Leaver(chat("Hello"), DONE)
    client.post("/whole" + PATH, REQUEST)
    client.read_head()
    client.read_until(b"[DONE]")
    client.leave()
    assert peer.left.wait(1.0)
    flow = flow_of(proxy, "/whole" + PATH)
    assert (flow["facts"]["verdict"], flow["marked"]) == ("answered", "")


def test_a_client_that_has_left_in_every_state_leaves_nothing_behind(proxy: Proxy, upstream: Upstream) -> None:
    def leave_at_all_points() -> None:
        for index, chunks in enumerate(((), (HEARTBEAT,), (chat(),), (chat("Hello"),), (chat("Hello"), DONE))):
            upstream.script = peer = Leaver(*chunks, headers=bool(index))
            with RawClient.connected(proxy.port) as client:
                client.post(PATH, REQUEST)
                assert peer.asked.wait(PATIENCE)
            assert peer.left.wait(PATIENCE)

    leave_at_all_points()
    before = insides(proxy)
    for _ in range(5):
        leave_at_all_points()
    after = insides(proxy)
    assert (before["streams"], after["streams"]) == (1, 1)
    assert (after["tasks"], after["files"]) == (before["tasks"], before["files"])


# Staying


def test_a_connection_stays_usable_behind_refusals(client: RawClient) -> None:
    for _ in range(3):
        for name, (chunks, status, verdict) in STREAMS.items():
            reply = client.ask(name + PATH, REQUEST)
            assert reply.status == status
            if status == 200:
                assert reply.body == b"".join(chunks)
            else:
                assert (reply.reason, reply.head.headers["x-sseguard"]) == (verdict, verdict)
                assert reply.head.headers["content-length"] == str(len(reply.body))


@pytest.mark.parametrize("name", ["/done", "/html", "/limit"])
def test_a_connection_stays_usable_behind_a_refusal_of_a_stream_that_would_have_gone_on(
    client: RawClient, name: str
) -> None:
    for _ in range(3):
        assert client.ask(f"/open{name}{PATH}", REQUEST).reason == STREAMS[name][2]
        assert client.ask("/good" + PATH, REQUEST).body == b"".join(ANSWER)


def test_a_connection_stays_usable_behind_a_late_cut(proxy: Proxy, upstream: Upstream, client: RawClient) -> None:
    told = threading.Event()

    def cut(connection: Connection) -> None:
        connection.read_request()
        connection.send_headers()
        connection.send_chunk(chat("Hello"))
        assert told.wait(PATIENCE)
        connection.reset()

    upstream.script = cut
    client.post("/cut" + PATH, REQUEST)
    client.read_head()
    assert client.read_chunk() == chat("Hello")
    told.set()
    rest = b"".join(iter(client.read_chunk, b""))
    assert json.loads(rest.removeprefix(b"data: "))["error"]["metadata"]["reason"] == "cut_late"
    upstream.script = provider
    assert client.ask("/good" + PATH, REQUEST).body == b"".join(ANSWER)


def test_two_requests_sent_at_once_are_answered_in_their_order(client: RawClient) -> None:
    client.send(post("/beats" + PATH, REQUEST) + post("/good" + PATH, REQUEST) + post("/limit" + PATH, REQUEST))
    refusal, answer, limit = client.read_reply(), client.read_reply(), client.read_reply()
    assert (refusal.status, refusal.reason) == (502, "heartbeats_only")
    assert (answer.status, answer.body) == (200, b"".join(ANSWER))
    assert (limit.status, limit.reason) == (429, "provider_error")


def test_a_thousand_exchanges_leave_nothing_behind(proxy: Proxy) -> None:
    names = list(STREAMS)

    def ask(first: int, count: int) -> list[str]:
        """On a kept connection, mixed good and bad. Gives what went wrong."""
        wrong = []
        with RawClient.connected(proxy.port) as client:
            for index in range(first, first + count):
                name = names[index % len(names)]
                reply = client.ask(name + PATH, REQUEST)
                chunks, status, verdict = STREAMS[name]
                right = b"".join(chunks) == reply.body if status == 200 else reply.reason == verdict
                if reply.status != status or not right:
                    wrong.append(f"{name}: {reply}")
        return wrong

    def ask_at_once(count: int) -> list[str]:
        """As eight clients."""
        with ThreadPoolExecutor(8) as pool:
            return [wrong for some in pool.map(ask, range(8), [count] * 8) for wrong in some]

    assert ask_at_once(40) == []  # memory for so many at once is taken, and kept for the next
    before = insides(proxy)
    assert ask_at_once(125) == []
    after = insides(proxy)
    assert (before["streams"], after["streams"]) == (1, 1)
    assert (after["tasks"], after["files"]) == (before["tasks"], before["files"])
    # A stream and its flow take about 30 KB: a thousand that stayed would be 30 MB.
    # How many there are at once, for a second at most, is chance.
    assert after["resident"] - before["resident"] < 12 << 20


# Odd HTTP


def test_a_client_of_http_1_0_gets_its_answer_and_the_end_of_the_connection(client: RawClient) -> None:
    client.send(post("/good" + PATH, REQUEST).replace(b"HTTP/1.1", b"HTTP/1.0"))
    reply = client.read_reply()
    assert (reply.status, reply.body) == (200, b"".join(ANSWER))
    assert client.read_to_end() == b""


def test_a_client_of_http_1_0_gets_its_refusal_and_the_end_of_the_connection(client: RawClient) -> None:
    client.send(post("/beats" + PATH, REQUEST).replace(b"HTTP/1.1", b"HTTP/1.0"))
    reply = client.read_reply()
    assert (reply.status, reply.reason) == (502, "heartbeats_only")
    assert client.read_to_end() == b""


@pytest.mark.parametrize("method", [b"HEAD", b"OPTIONS", b"GET"])
def test_what_is_not_posted_is_not_guarded(upstream: Upstream, client: RawClient, proxy: Proxy, method: bytes) -> None:
    def script(connection: Connection) -> None:
        while True:
            if connection.read_request().method == "HEAD":
                connection.send_headers()
            else:
                connection.answer(HEARTBEAT, x_of="upstream")

    upstream.script = script
    path = f"/{method.decode()}{PATH}"
    for _ in range(2):
        client.send(method + b" " + path.encode() + b" HTTP/1.1\r\nhost: x\r\n\r\n")
        reply = client.read_reply(bodyless=method == b"HEAD")
        assert (reply.status, reply.body) == (200, b"" if method == b"HEAD" else HEARTBEAT)
        assert "x-sseguard" not in reply.head.headers
    assert flow_of(proxy, path)["facts"] == {}


@pytest.mark.parametrize(("name", "status"), [("/good", 200), ("/beats", 502)])
def test_a_client_that_asks_before_it_sends_its_body_is_told_to_go_on(
    client: RawClient, name: str, status: int
) -> None:
    head, _, body = post(name + PATH, REQUEST, expect="100-continue").partition(b"\r\n\r\n")
    for _ in range(2):
        client.send(head + b"\r\n\r\n")
        assert client.read_head().status == 100
        client.send(body)
        assert client.read_reply().status == status


def test_a_request_in_chunks_is_guarded_and_arrives_whole(upstream: Upstream, client: RawClient) -> None:
    got = []

    def script(connection: Connection) -> None:
        while True:
            got.append(connection.read_request().json())
            connection.answer(HEARTBEAT)

    upstream.script = script
    body = json.dumps(REQUEST).encode()
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:1], body[1:30], body[30:]))
    client.send(f"POST {PATH} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n".encode())
    client.send(chunks + b"0\r\n\r\n")
    assert client.read_reply().reason == "heartbeats_only"
    assert got == [REQUEST]


def test_a_request_of_ten_megabytes_is_guarded_and_arrives_whole(upstream: Upstream, client: RawClient) -> None:
    got: list[int] = []

    def script(connection: Connection) -> None:
        while True:
            got.append(len(connection.read_request().body))
            connection.answer(HEARTBEAT)

    upstream.script = script
    # The model stands behind it all.
    body = b'{"stream": true, "messages": [{"content": "%s"}], "model": "far/away"}' % (b"x" * (10 << 20))
    reply = client.ask(PATH, body=body)
    assert (reply.reason, json.loads(reply.body)["error"]["metadata"]["model"]) == ("heartbeats_only", "far/away")
    assert got == [len(body)]


def test_a_request_that_is_passed_on_as_it_comes_is_guarded_all_the_same(
    tmp_path_factory: pytest.TempPathFactory, upstream: Upstream
) -> None:
    folder = tmp_path_factory.mktemp("streaming")
    with (
        Proxy.running(folder, mode=f"reverse:{upstream.url}", options={"stream_large_bodies": "1k"}) as proxy,
        RawClient.connected(proxy.port) as client,
    ):
        large = {**REQUEST, "more": "x" * 100_000}
        for name, (chunks, status, verdict) in STREAMS.items():
            reply = client.ask(name + PATH, large)
            assert reply.status == status
            assert reply.body == b"".join(chunks) if status == 200 else reply.reason == verdict
        proxy.assert_unharmed()
