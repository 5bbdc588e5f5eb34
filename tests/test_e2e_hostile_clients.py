"""Clients that send too much, odd JSON or odd HTTP, and clients that leave and come back on the same connection."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness import Connection, Proxy
from harness.apis import CHAT
from harness.http2 import Http2Connection
from harness.http2_client import Http2Client
from harness.proxy import PATIENCE
from harness.raw import RawClient, Reply, post
from harness.scripts import SILENCE, head, sends, sends_raw
from harness.stage import REVERSE_H2, Stage, Way
from harness.streams import ANSWER, DONE, HEARTBEAT, chat
from harness.waiting import recorded, until
from sseguard.recordings.fixture import load

WHOLE = b"".join(ANSWER)


@contextmanager
def connected(stage: Stage) -> Iterator[RawClient]:
    """A client in front of the plainest upstream."""
    host, _, port = stage.listeners["plain"].partition(":")
    with RawClient.connected(int(port), host) as client:
        yield client


def send_and_read(stage: Stage, data: bytes) -> Reply:
    with connected(stage) as client:
        client.send(data)
        return client.read_reply()


# Leaving and coming back


#: Where a client leaves: what upstream has sent until then, or None before any headers; and what the client has got.
STATES: dict[str, tuple[tuple[bytes, ...] | None, bytes]] = {
    "waiting": (None, b""),
    "headers-held": ((), b""),
    "heartbeat-held": ((HEARTBEAT,), b""),
    "preamble-held": (CHAT.preamble, b""),
    "half-a-frame-held": ((chat("Hello")[:-9],), b""),
    "answering": ((chat("Hello"),), chat("Hello")),
    "half-a-frame-kept-back": ((chat("Hello"), chat(" world")[:-9]), chat("Hello")),
    "answered": ((chat("Hello"), DONE), chat("Hello") + DONE),
}


class Provider:
    """An upstream for those who leave: `asked` and `left` tell of each state, by its name."""

    def __init__(self) -> None:
        self.asked = {name: threading.Event() for name in STATES}
        self.left = {name: threading.Event() for name in STATES}

    def __call__(self, connection: Connection) -> None:
        while (name := connection.read_request().path.split("/")[1]) not in STATES:
            connection.answer(*ANSWER)
        if (chunks := STATES[name][0]) is not None:
            connection.send_headers()
            for chunk in chunks:
                connection.send_chunk(chunk)
        self.asked[name].set()
        if isinstance(connection, Http2Connection):
            connection.wait_until_refused()
            self.left[name].set()
            self(connection)
        else:
            connection.wait_until_left()
            self.left[name].set()


@pytest.mark.parametrize("way", [REVERSE_H2, REVERSE_H2.to("tls")], ids=str)
def test_a_client_may_leave_in_any_state_and_come_back_on_its_connection(stage: Stage, way: Way) -> None:
    stage.play(provider := Provider())
    with Http2Client.connected(stage, way) as client:
        for name, (chunks, got) in STATES.items():
            path = f"/{name}/{way}{CHAT.path}"
            number = client.post(path)
            assert provider.asked[name].wait(PATIENCE)
            if chunks is not None:
                stage.proxy.wait_for(f"PROBED headers {path}")
                assert client.read(number, len(got)) == ("200" if got else "", got)
            client.leave(number)
            assert provider.left[name].wait(PATIENCE), name
            while (flow := stage.proxy.flow())["path"] != path:
                pass
            verdict = "answered" if name == "answered" else "client_left"
            assert (name, flow["facts"]["verdict"]) == (name, verdict)
            assert client.read(client.post(f"/again{CHAT.path}")) == ("200", WHOLE)


# Bodies


def test_bodies_of_200_mb_are_passed_on_and_judged_by_what_comes_back(stage: Stage) -> None:
    sizes: list[int] = []

    def script(connection: Connection) -> None:
        while True:
            sizes.append(len(connection.read_request().body))
            connection.answer(*(ANSWER if len(sizes) % 2 else [HEARTBEAT]))

    stage.play(script)
    start, end = b'{"model": "vendor/model", "stream": true, "messages": [{"content": "', b'"}]}'
    body = start + b"x" * (200 * 1000 * 1000 - len(start + end)) + end
    with connected(stage) as client:
        assert client.ask(CHAT.path, body=body).body == WHOLE
        assert client.ask(CHAT.path, body=body).reason == "heartbeats_only"
    assert sizes == [200_000_000] * 2


def nested(depth: int) -> bytes:
    return b'{"model": "m", "stream": true, "x": ' + b'{"a":[' * depth + b"]}" * depth + b"}"


BODIES: dict[str, bytes] = {
    "nested-lists": b"[" * 1_000_000,
    "nested-and-closed": nested(100_000),
    "nested-in-the-model": b'{"stream": true, "model": ' + b"[" * 500_000 + b"]" * 500_000 + b"}",
    "model-a-list": b'{"stream": true, "model": ["a/b", "c"]}',
    "model-a-number": b'{"stream": true, "model": 1e400}',
    "model-a-number-of-a-million-digits": b'{"stream": true, "model": %s}' % (b"9" * 1_000_000),
    "model-an-object": b'{"stream": true, "model": {"a": 1}}',
    "model-null": b'{"stream": true, "model": null}',
    "no-model": b'{"stream": true}',
    "model-of-a-megabyte": b'{"stream": true, "model": "%s"}' % (b"m" * 1_000_000),
    "model-of-half-a-character": b'{"stream": true, "model": "\\ud800"}',
    "keys-twice": b'{"stream": false, "stream": true, "model": "a", "model": "b", "n": 2, "n": 1}',
    "a-hundred-thousand-models": b'{"stream": true, "models": [%s]}' % b",".join([b'"a"'] * 100_000),
    "n-negative": b'{"stream": true, "n": -5}',
    "n-enormous": b'{"stream": true, "n": 1%s}' % (b"0" * 5000),
    "no-json": b"\x00\xff\xfe" * 1000,
    "nothing": b"",
}


def test_odd_bodies_are_passed_on_as_they_are_and_judged_by_what_comes_back(stage: Stage) -> None:
    got: list[bytes] = []
    answers = [ANSWER, (HEARTBEAT,)]

    def script(connection: Connection) -> None:
        while True:
            got.append(connection.read_request().body)
            connection.answer(*answers[len(got) % 2])

    stage.play(script)
    with connected(stage) as client:
        for name, body in BODIES.items():
            first, second = client.ask(CHAT.path, body=body), client.ask(CHAT.path, body=body)
            assert (name, first.status, first.reason) == (name, 502, "heartbeats_only")
            assert (name, second.status, second.body) == (name, 200, WHOLE)
            assert (name, got[-2:] == [body, body]) == (name, True)


# Odd HTTP

BODY = json.dumps(CHAT.request).encode()
HEAD = f"POST {CHAT.path} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n".encode()


@pytest.mark.parametrize(
    "chunks",
    [
        b"%x;a=b;c\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY),
        b'%x;name="a;\\"b"\r\n%s\r\n0;last=1\r\n\r\n' % (len(BODY), BODY),
        b"%05x \r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY),
        b"%X\r\n%s\r\n000\r\n\r\n" % (len(BODY), BODY),
        b"".join(b"1\r\n%c\r\n" % byte for byte in BODY) + b"0\r\n\r\n",
    ],
    ids=["extensions", "quoted", "padded", "upper-case", "bytes"],
)
def test_a_request_in_odd_chunks_is_guarded(stage: Stage, chunks: bytes) -> None:
    got: list[bytes] = []

    def script(connection: Connection) -> None:
        got.append(connection.read_request().body)
        connection.answer(HEARTBEAT)

    stage.play(script)
    assert send_and_read(stage, HEAD + chunks).reason == "heartbeats_only"
    assert got == [BODY]


@pytest.mark.parametrize(
    "head",
    [
        b"content-length: -1\r\n",
        b"content-length: 5\r\ncontent-length: 50\r\n",
        b"content-length: 5\r\ntransfer-encoding: chunked\r\n",
        b"transfer-encoding: gzip\r\n",
        b"no colon\r\n",
    ],
)
def test_a_request_that_is_no_http_is_refused_and_never_passed_on(stage: Stage, head: bytes) -> None:
    asked = threading.Event()

    def script(connection: Connection) -> None:
        connection.read_request()
        asked.set()

    stage.play(script)
    reply = send_and_read(stage, f"POST {CHAT.path} HTTP/1.1\r\nhost: x\r\n".encode() + head + b"\r\n" + BODY)
    assert (reply.status, asked.is_set()) == (400, False)


def test_a_hundred_requests_sent_at_once_are_answered_in_their_order(stage: Stage) -> None:
    def script(connection: Connection) -> None:
        while True:
            number = int(connection.read_request().path.split("/")[1])
            connection.answer(*((HEARTBEAT,) if number % 2 else (chat(str(number)), DONE)))

    stage.play(script)
    with connected(stage) as client:
        client.send(b"".join(post(f"/{number}{CHAT.path}", CHAT.request) for number in range(100)))
        for number in range(100):
            reply = client.read_reply()
            if number % 2:
                assert reply.reason == "heartbeats_only"
            else:
                assert reply.body == chat(str(number)) + DONE


def test_a_client_that_says_it_is_done_with_sending_is_taken_for_one_that_left(stage: Stage) -> None:
    left = threading.Event()

    def script(connection: Connection) -> None:
        connection.read_request()
        connection.send_headers()
        connection.wait_until_left()
        left.set()

    stage.play(script)
    with connected(stage) as client:
        client.post("/half-closed" + CHAT.path, CHAT.request)
        stage.proxy.wait_for("PROBED headers /half-closed/")
        client.finish_sending()
        assert left.wait(PATIENCE)


# Between two moments

WAITING = """
import asyncio

async def responseheaders(flow):
    print("WAITING", flush=True)
    while flow.client_conn.connected:
        await asyncio.sleep(0.01)
"""


def test_a_client_that_leaves_while_headers_are_looked_at_is_recorded_as_one_that_left(
    tmp_path: Path, stage: Stage
) -> None:
    script, folder = tmp_path / "waiting.py", tmp_path / "recordings"
    script.write_text(WAITING)
    stage.play(sends(HEARTBEAT, then=SILENCE))
    with (
        Proxy.running(
            tmp_path, mode=f"reverse:{stage.urls['plain']}", scripts=(script,), options={"sse_record": str(folder)}
        ) as proxy,
        RawClient.connected(proxy.port) as client,
    ):
        client.post(CHAT.path, CHAT.request)
        proxy.wait_for("WAITING")
        client.leave()
        assert proxy.flow()["facts"]["verdict"] == "client_left"
        (path,) = recorded(folder)
        proxy.assert_unharmed()
    assert path.name.endswith("-client_left.sse.jsonl")


# The end


def test_a_proxy_that_is_stopped_during_a_hold_has_recorded_all_that_was_held(tmp_path: Path, stage: Stage) -> None:
    folder = tmp_path / "recordings"
    held = (HEARTBEAT, CHAT.preamble[0], chat("Hello")[:-9])
    # What is sent at once is received at once.
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in held)
    stage.play(sends_raw(head("Transfer-Encoding: chunked") + chunks, SILENCE))
    url = stage.urls["plain"]
    options = {"sse_record": str(folder), "sse_log": str(tmp_path / "log")}
    with (
        Proxy.running(tmp_path, mode=f"reverse:{url}", options=options) as proxy,
        RawClient.connected(proxy.port) as client,
    ):
        client.post(CHAT.path, CHAT.request)
        # The recorder writes behind what it hears: a line for the request, and one for the first chunk.
        until(lambda: folder.exists() and [path for path in folder.iterdir() if path.read_text().count("\n") >= 2])
        assert proxy.stop() == 0
        with pytest.raises((EOFError, ConnectionError)):
            client.read_reply()
    (path,) = recorded(folder)
    recording = load(path)
    assert b"".join(chunk.data for chunk in recording.chunks) == b"".join(held)
    assert recording.warnings == ()
