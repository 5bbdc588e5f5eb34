"""mitmproxy's private shape: this one is known, another is told apart, and without it guarding goes on in public."""

import json
import threading
import warnings
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from mitmproxy.addonmanager import Loader
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.layers import http as proxy_http
from mitmproxy.proxy.layers.http._http1 import Http1Client

from harness import Connection, Proxy, Upstream
from harness.proxy import ADDON, PATIENCE
from harness.raw import RawClient
from harness.streams import ANSWER, DONE, HEARTBEAT, chat, data
from sseguard.mitm import layers
from sseguard.mitm.guard import Guard
from sseguard.mitm.options import Options

PARENT = proxy_http.HttpStream


def install() -> Any:
    return layers.install(lambda _: None, lambda _: None, lambda _: False)


# The canary


def test_this_mitmproxy_is_one_that_is_known_and_gets_its_own_back() -> None:
    undo = install()
    try:
        assert proxy_http.HttpStream is not PARENT
        assert issubclass(proxy_http.HttpStream, PARENT)
    finally:
        undo()
    assert proxy_http.HttpStream is PARENT
    undo()
    assert proxy_http.HttpStream is PARENT


def test_what_came_later_is_not_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    undo = install()
    later = type("Later", (PARENT,), {})
    monkeypatch.setattr(proxy_http, "HttpStream", later)
    undo()
    assert proxy_http.HttpStream is later
    monkeypatch.undo()
    undo()
    assert proxy_http.HttpStream is PARENT


def test_a_guard_that_is_done_gives_mitmproxy_its_own_back() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # mitmproxy's own, of pyparsing
        from mitmproxy.addons.proxyserver import Proxyserver  # noqa: PLC0415
        from mitmproxy.test import taddons  # noqa: PLC0415
    with taddons.context(Proxyserver()) as context:  # type: ignore[no-untyped-call]
        guard = Guard(Options())
        guard.load(Loader(context.master))  # type: ignore[no-untyped-call]
        assert proxy_http.HttpStream is not PARENT
        guard.done()
        guard.done()
    assert proxy_http.HttpStream is PARENT


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (PARENT, "_handle_event"),
        (PARENT, "state_wait_for_response_headers"),
        (PARENT, "state_done"),
        (PARENT, "state_errored"),
        (PARENT, "start_response_stream"),
        (PARENT, "send_response"),
        (PARENT, "handle_protocol_error"),
        (Http1Client, "read_headers"),
        (Http1Client, "read_body"),
        (proxy_http, "SendHttp"),
        (proxy_http, "Http1Client"),
        (commands, "RequestWakeup"),
        (commands, "SendData"),
        (events, "Wakeup"),
    ],
)
def test_a_part_that_is_missing_is_named_and_nothing_is_put_in_place(
    monkeypatch: pytest.MonkeyPatch, owner: Any, name: str
) -> None:
    for holder in (*getattr(owner, "__mro__", ()), owner):
        if name in vars(holder):
            monkeypatch.delattr(holder, name)
    with pytest.raises(layers.UnknownShapeError, match=f"Expected {name} in "):
        install()
    assert proxy_http.HttpStream is PARENT


def test_another_way_to_make_streams_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxy_http.HttpLayer, "make_stream", lambda *_: SimpleNamespace())
    with pytest.raises(layers.UnknownShapeError, match=r"Expected HttpLayer\.make_stream to look up HttpStream"):
        install()
    assert proxy_http.HttpStream is PARENT


# Without it

REQUEST = {"model": "openai/model", "stream": True, "messages": []}
PATH = "/v1/chat/completions"

#: How mitmproxy's inside may come to differ: what the layer needs is gone, or what it imports.
BREAKS = {
    "renamed": (
        "import types\n"
        "from mitmproxy.proxy.layers import http\n"
        "Stream = http.HttpStream\n"
        "make_stream = types.FunctionType(\n"
        "    (lambda self, stream_id: (yield from _made(self, stream_id))).__code__, globals())\n"
        "def _made(self, stream_id):\n"
        "    from mitmproxy.proxy import events\n"
        "    self.streams[stream_id] = Stream(self.context.fork(), stream_id)\n"
        "    yield from self.event_to_child(self.streams[stream_id], events.Start())\n"
        "http.HttpLayer.make_stream = make_stream\n"
    ),
    "moved": (
        "from mitmproxy.proxy.layers.http import _events\n"
        "import sys\n"
        "sys.modules['mitmproxy.proxy.layers.http._events'] = None\n"
    ),
}


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream.running(lambda connection: connection.wait_until_left()) as upstream:
        yield upstream


@pytest.fixture(scope="module", params=BREAKS)
def proxy(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, upstream: Upstream
) -> Iterator[Proxy]:
    """With the addon in a mitmproxy whose inside it does not know."""
    folder = tmp_path_factory.mktemp("fallback")
    script = folder / "another_shape.py"
    script.write_text(BREAKS[request.param])
    options = {"sse_hold_seconds": "60", "sse_routes": "127.0.0.1/blocked=openai"}
    with Proxy.running(
        folder, mode=f"reverse:{upstream.url}", addon=False, scripts=(script, ADDON), options=options
    ) as proxy:
        yield proxy
        proxy.assert_unharmed()


def ask(proxy: Proxy, name: str = "") -> httpx.Response:
    return httpx.post(f"{proxy.url}{name}{PATH}", json=REQUEST, timeout=PATIENCE, trust_env=False)


def answering(*chunks: bytes, **headers: str) -> Any:
    def script(connection: Connection) -> None:
        connection.read_request()
        connection.answer(*chunks, **headers)

    return script


def error_in(stream: bytes) -> dict[str, Any]:
    """The metadata of the one error frame that `stream` is."""
    found: dict[str, Any] = json.loads(stream.removeprefix(b"data: "))["error"]["metadata"]
    return found


def test_an_unknown_shape_is_told_with_what_it_means_and_what_to_do(proxy: Proxy) -> None:
    line = proxy.wait_for(r"This mitmproxy \(\d.*\) is not one that sseguard can hold response headers in: .*").string
    assert "a failure is told inside the stream, with status 200. Use mitmproxy 11.0 to 12.x for real statuses." in line


def test_without_holding_the_headers_come_at_once(proxy: Proxy, upstream: Upstream) -> None:
    has_them = threading.Event()

    def script(connection: Connection) -> None:
        connection.read_request()
        connection.send_headers()
        assert has_them.wait(PATIENCE)
        for chunk in ANSWER:
            connection.send_chunk(chunk)
        connection.end()

    upstream.script = script
    with httpx.stream("POST", proxy.url + PATH, json=REQUEST, trust_env=False) as response:
        assert response.status_code == 200
        has_them.set()
        assert response.read() == b"".join(ANSWER)
    assert proxy.flow()["facts"]["verdict"] == "answered"


@pytest.mark.parametrize(
    ("chunks", "before", "verdict"),
    [
        ((HEARTBEAT, HEARTBEAT), HEARTBEAT * 2, "heartbeats_only"),
        ((DONE,), b"", "done_only"),
        ((chat(),), chat(), "preamble_only"),
        ((b"<html>",), b"", "malformed"),
    ],
)
def test_without_holding_a_failure_is_told_inside_the_stream(
    proxy: Proxy, upstream: Upstream, chunks: tuple[bytes, ...], before: bytes, verdict: str
) -> None:
    upstream.script = answering(*chunks)
    response = ask(proxy)
    assert response.status_code == 200
    assert response.content.startswith(before)
    assert error_in(response.content.removeprefix(before))["reason"] == verdict
    assert proxy.flow()["facts"]["verdict"] == verdict


def test_without_holding_the_providers_own_error_is_passed_on(proxy: Proxy, upstream: Upstream) -> None:
    error = data({"error": {"message": "Slow down", "code": 429}})
    upstream.script = answering(error)
    assert ask(proxy).content == error
    assert proxy.flow()["facts"]["verdict"] == "provider_error"


def test_without_holding_a_cut_is_as_mitmproxy_makes_it_and_is_told_to_the_person(
    proxy: Proxy, upstream: Upstream
) -> None:
    def script(connection: Connection) -> None:
        connection.read_request()
        connection.send_headers()
        connection.send_chunk(chat("Hello"))
        connection.close()

    upstream.script = script
    with RawClient.connected(proxy.port) as client:
        client.post(PATH, REQUEST)
        client.read_head()
        assert client.read_chunk() == chat("Hello")
        with pytest.raises((EOFError, ConnectionError)):
            client.read_chunk()
    assert proxy.flow()["facts"]["verdict"] == "cut_late"


def test_without_holding_an_empty_response_with_a_length_is_still_refused(proxy: Proxy, upstream: Upstream) -> None:
    def script(connection: Connection) -> None:
        connection.read_request()
        connection.send_headers(content_length="0")

    upstream.script = script
    response = ask(proxy)
    assert (response.status_code, response.headers["x-sseguard"]) == (502, "empty")
    assert proxy.flow()["facts"]["verdict"] == "empty"


def test_without_holding_a_failure_behind_an_announced_length_is_told_and_harms_no_kept_connection(
    proxy: Proxy, upstream: Upstream
) -> None:
    def script(connection: Connection) -> None:
        while True:
            connection.read_request()
            connection.send_headers(content_length=str(len(HEARTBEAT)))
            connection.send(HEARTBEAT)

    upstream.script = script
    with RawClient.connected(proxy.port) as client:
        for _ in range(2):
            reply = client.ask(PATH, REQUEST)
            assert error_in(reply.body.removeprefix(HEARTBEAT))["reason"] == "heartbeats_only"
            assert proxy.flow()["facts"]["verdict"] == "heartbeats_only"


def test_without_holding_models_are_still_judged(proxy: Proxy) -> None:
    response = ask(proxy, "/blocked")
    assert (response.status_code, response.headers["x-sseguard"]) == (400, "misrouted")
    assert proxy.flow()["server_connected"] is False


def test_without_holding_a_client_that_leaves_is_noticed(proxy: Proxy, upstream: Upstream) -> None:
    left = threading.Event()

    def script(connection: Connection) -> None:
        connection.read_request()
        connection.send_headers()
        connection.send_chunk(chat("Hello"))
        connection.wait_until_left()
        left.set()

    upstream.script = script
    with RawClient.connected(proxy.port) as client:
        client.post(PATH, REQUEST)
        client.read_until(b"Hello")
    assert left.wait(PATIENCE)
    assert proxy.flow()["facts"]["verdict"] == "client_left"
