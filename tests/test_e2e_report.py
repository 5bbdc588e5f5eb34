"""What a person sees of an exchange: a line, the flow's comment, marker and metadata, and the log of JSON lines."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from harness import Connection, Proxy, Upstream
from harness.raw import RawClient
from harness.streams import ANSWER, HEARTBEAT, chat, data
from harness.terminal import COLOR, Terminal

PATH = "/v1/chat/completions"

#: Clears the screen, sets the title, rings the bell, goes back, feigns a line, turns the text round.
HOSTILE = "\x1b[2J\x1b]0;owned\x07\b\r\nanswered 200\u202e\x9b31m\x00"


def hostile(text: str) -> bool:
    """Whether there is anything in it that a terminal would obey."""
    return any(not character.isprintable() for character in text)


def complaint(name: str, key: str) -> bytes:
    """Of a key, whole in JSON, or cut off where an excerpt ends."""
    if name == "/key":
        return data({"error": {"message": f"Incorrect API key provided: {key}.", "code": 401}})
    return b"Nothing like a stream. " * 8 + b"Key: " + key.encode()


def provider(connection: Connection) -> None:
    """Answers by path, again and again."""
    while True:
        request = connection.read_request()
        match request.path.removesuffix(PATH):
            case "/good":
                connection.answer(*ANSWER)
            case "/beats":
                connection.answer(HEARTBEAT, HEARTBEAT)
            case "/half":
                connection.answer(chat("Hello"))
            case "/limit":
                connection.answer(data({"error": {"message": "Slow down", "code": 429}}))
            case "/key" | "/garbled-key" as name:
                connection.answer(complaint(name, request.headers["authorization"].removeprefix("Bearer ")))
            case "/hostile":
                comment = b": " + HOSTILE.replace("\r\n", "").encode() + b"\n\n"
                connection.answer(comment, data({"error": {"message": HOSTILE, "code": 400, "type": HOSTILE}}))
            case "/garbage":
                connection.answer(HOSTILE.encode(), x_request_id="r\x1b[31m")
            case "/cut":
                connection.send_headers(x_request_id="req-7")
                connection.send_chunk(chat("Hello"))
                connection.close()
                return


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream.running(provider) as upstream:
        yield upstream


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory, upstream: Upstream) -> Iterator[Proxy]:
    with Proxy.running(tmp_path_factory.mktemp("proxy"), mode=f"reverse:{upstream.url}") as proxy:
        yield proxy
        proxy.assert_unharmed()


def ask(port: int, name: str, model: str = "vendor/model") -> httpx.Response:
    request = {"model": model, "stream": True, "messages": []}
    return httpx.post(f"http://127.0.0.1:{port}{name}{PATH}", json=request, trust_env=False)


def flow_of(proxy: Proxy, name: str) -> dict[str, Any]:
    while (flow := proxy.flow())["path"] != name + PATH:
        pass
    return flow


def line_of(proxy: Proxy, verdict: str) -> str:
    """The last line on an exchange with this verdict, with what the clock says masked."""
    proxy.wait_for(rf"^\[[\d:.]+\] {verdict} ")
    line = [line for line in proxy.lines if re.match(rf"\[[\d:.]+\] {verdict} ", line)][-1]
    return re.sub(r" \d\.\d\ds", " 0.00s", line.partition("] ")[2])


# The line


def test_an_answer_is_told_in_one_line(proxy: Proxy) -> None:
    ask(proxy.port, "/good")
    assert line_of(proxy, "answered") == (
        "answered             200  vendor/model                    127.0.0.1         byte  0.00s  answer  0.00s"
        "     1 heartbeats      5 frames  in  0.00s"
    )


def test_a_refusal_is_told_in_one_line(proxy: Proxy) -> None:
    ask(proxy.port, "/beats")
    assert line_of(proxy, "heartbeats_only") == (
        "heartbeats_only      502  vendor/model                    127.0.0.1         byte  0.00s  answer      -"
        "     2 heartbeats      0 frames  in  0.00s"
    )


def test_what_the_provider_said_ends_the_line(proxy: Proxy) -> None:
    ask(proxy.port, "/limit", model="")
    assert line_of(proxy, "provider_error") == (
        "provider_error       429  -                               127.0.0.1         byte  0.00s  answer      -"
        "     0 heartbeats      1 frames  in  0.00s  Slow down"
    )


def test_each_exchange_is_told_once_and_what_is_not_guarded_never(proxy: Proxy) -> None:
    before = len([line for line in proxy.lines if " heartbeats " in line])
    ask(proxy.port, "/half")
    flow_of(proxy, "/half")
    httpx.get(f"{proxy.url}/good{PATH}", trust_env=False)
    flow_of(proxy, "/good")
    assert len([line for line in proxy.lines if " heartbeats " in line]) == before + 1


@pytest.mark.parametrize("name", ["/hostile", "/garbage"])
def test_hostile_text_is_told_escaped_and_cut_short(proxy: Proxy, name: str) -> None:
    ask(proxy.port, name, model=HOSTILE + "m" * 1000)
    flow_of(proxy, name)
    line = [line for line in proxy.lines if " heartbeats " in line][-1]
    assert r"\x1b[2J" in line
    assert "m" * 40 not in line
    assert len(line) < 400
    assert not any(hostile(line) for line in proxy.lines)


def test_a_key_that_the_provider_repeats_is_told_to_the_client_alone(proxy: Proxy) -> None:
    key = "a-key-like-no-other-1"
    answer = httpx.post(
        f"{proxy.url}/key{PATH}", json={"stream": True}, headers={"authorization": f"Bearer {key}"}, trust_env=False
    )
    assert key in answer.json()["error"]["metadata"]["provider_error"]
    flow = flow_of(proxy, "/key")
    assert flow["facts"]["detail"] == "Incorrect API key provided: <redacted:authorization:1>."
    assert flow["comment"] == f"sseguard: provider_error ({flow['facts']['detail']})"
    assert line_of(proxy, "provider_error").endswith(flow["facts"]["detail"])
    assert key not in proxy.output


def test_a_key_that_is_cut_off_in_what_the_provider_says_is_not_told_in_part(proxy: Proxy) -> None:
    key = "a-key-like-no-other-1"
    body, headers = {"stream": True}, {"authorization": f"Bearer {key}"}
    answer = httpx.post(f"{proxy.url}/garbled-key{PATH}", json=body, headers=headers, trust_env=False)
    assert answer.json()["error"]["metadata"]["reason"] == "malformed"
    detail = flow_of(proxy, "/garbled-key")["facts"]["detail"]
    assert detail.startswith("Nothing like a stream. ")
    assert key[:6] not in detail


# The terminal


@pytest.fixture(scope="module")
def terminal(tmp_path_factory: pytest.TempPathFactory, upstream: Upstream) -> Iterator[Terminal]:
    folder = tmp_path_factory.mktemp("terminal")
    with Terminal.running(folder, f"reverse:{upstream.url}", keep_host_header="true") as terminal:
        yield terminal


@pytest.mark.parametrize(
    ("name", "verdict", "color"),
    [
        ("/good", rb"answered ", rb"\x1b\[32m"),
        ("/half", rb"truncated ", rb"\x1b\[33m\x1b\[1m"),
        ("/beats", rb"heartbeats_only ", rb"\x1b\[31m\x1b\[1m"),
    ],
)
def test_the_verdict_is_coloured_by_its_outcome(terminal: Terminal, name: str, verdict: bytes, color: bytes) -> None:
    ask(terminal.port, name)
    found = terminal.wait_for(rb"((?:\x1b\[[0-9;]*m)+)" + verdict + rb" *\x1b\[0m")
    assert re.search(color, found[1]), found


@pytest.mark.parametrize("name", ["/hostile", "/garbage", "/good"])
def test_hostile_text_never_reaches_the_terminal(terminal: Terminal, name: str) -> None:
    seen = len(terminal.seen)
    ask(terminal.port, name, model=HOSTILE)
    ask(terminal.port, "/limit", model=f"behind{name}")
    terminal.wait_for(f"behind{name}[^\n]*Slow down".encode())
    shown = COLOR.sub(b"", terminal.seen[seen:]).replace(b"\r\n", b"").decode()
    assert r"\x1b[2J" in shown
    assert not hostile(shown), shown


def test_a_hostile_host_never_reaches_the_terminal(terminal: Terminal) -> None:
    seen = len(terminal.seen)
    with RawClient.connected(terminal.port) as client:
        client.ask("/good" + PATH, {}, host="h\x1b[2J\x07", content_encoding="nonsense\x1b[2J")
    ask(terminal.port, "/limit", model="behind-the-host")
    terminal.wait_for(rb"behind-the-host[^\n]*Slow down")
    shown = COLOR.sub(b"", terminal.seen[seen:]).replace(b"\r\n", b"").decode()
    assert "Model not judged" in shown
    assert not hostile(shown), shown


# The flow


def test_the_flow_carries_the_facts_as_primitives_with_comment_and_marker(proxy: Proxy) -> None:
    ask(proxy.port, "/cut")
    flow = flow_of(proxy, "/cut")
    facts = flow["facts"]
    times = {name: facts.pop(name) for name in ("first_byte", "first_answer", "seconds")}
    assert all(isinstance(time, float) and 0 <= time < 30 for time in times.values())
    detail = facts.pop("detail")
    assert facts == {
        "verdict": "cut_late",
        "status": 200,
        "model": "vendor/model",
        "host": "127.0.0.1",
        "dialect": "chat",
        "heartbeats": 0,
        "frames": 1,
        "bytes": len(chat("Hello")),
        "request_id": "req-7",
    }
    assert detail.startswith("HTTP/1 protocol error: peer closed connection")
    assert flow["comment"] == f"sseguard: cut_late ({detail})"
    assert flow["marked"] == ":red_circle:"


@pytest.mark.parametrize(
    ("name", "comment", "marker"),
    [
        ("/good", "sseguard: answered", ""),
        ("/half", "sseguard: truncated", ":yellow_circle:"),
        ("/limit", "sseguard: provider_error (Slow down)", ":red_circle:"),
    ],
)
def test_comment_and_marker_tell_the_outcome(proxy: Proxy, name: str, comment: str, marker: str) -> None:
    ask(proxy.port, name)
    flow = flow_of(proxy, name)
    assert (flow["comment"], flow["marked"]) == (comment, marker)


# The log


def test_the_log_has_one_line_of_json_for_each_exchange_whatever_it_says(tmp_path: Path, upstream: Upstream) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text('{"verdict": "of yesterday"}\n')
    options = {"sse_log": str(log)}
    with Proxy.running(tmp_path, mode=f"reverse:{upstream.url}", options=options) as proxy:
        for name in ("/good", "/beats", "/hostile", "/garbage", "/cut"):
            ask(proxy.port, name, model=HOSTILE)
        httpx.get(f"{proxy.url}/good{PATH}", trust_env=False)
        assert proxy.stop() == 0
    text = log.read_bytes().decode("ascii")
    assert not hostile(text.replace("\n", ""))
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line["verdict"] for line in lines] == [
        *("of yesterday", "answered", "heartbeats_only", "provider_error", "malformed", "cut_late"),
    ]
    assert {line["model"] for line in lines[1:]} == {HOSTILE}
    assert lines[3]["detail"] == HOSTILE
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", lines[1].pop("time"))
    for name in ("first_byte", "first_answer", "seconds"):
        assert isinstance(lines[1].pop(name), float)
    assert lines[1] == {
        "method": "POST",
        "path": f"/good{PATH}",
        "verdict": "answered",
        "status": 200,
        "model": HOSTILE,
        "host": "127.0.0.1",
        "dialect": "chat",
        "heartbeats": 1,
        "frames": 5,
        "bytes": len(b"".join(ANSWER)),
        "request_id": None,
        "detail": "",
    }


def test_a_log_that_cannot_be_written_is_told_once_and_the_traffic_goes_on(tmp_path: Path, upstream: Upstream) -> None:
    # Whatever is written there, the disk is full.
    with Proxy.running(tmp_path, mode=f"reverse:{upstream.url}", options={"sse_log": "/dev/full"}) as proxy:
        for _ in range(3):
            assert ask(proxy.port, "/good").content == b"".join(ANSWER)
            assert ask(proxy.port, "/beats").status_code == 502
        proxy.wait_for("Expected to write to /dev/full, got .*No space left on device")
        proxy.assert_unharmed()
        assert proxy.stop() == 0
    assert proxy.output.count("/dev/full") == 1


def test_a_blocked_request_is_logged_like_any_other(tmp_path: Path, upstream: Upstream) -> None:
    log = tmp_path / "log.jsonl"
    options = {"sse_log": str(log), "sse_routes": "127.0.0.1=openai"}
    with Proxy.running(tmp_path, mode=f"reverse:{upstream.url}", options=options) as proxy:
        assert ask(proxy.port, "/good").status_code == 400
        assert line_of(proxy, "misrouted") == (
            "misrouted            400  vendor/model                    127.0.0.1         byte      -  answer      -"
            "     0 heartbeats      0 frames  in  0.00s"
        )
        assert proxy.stop() == 0
    (line,) = map(json.loads, log.read_text().splitlines())
    assert (line["verdict"], line["status"], line["bytes"]) == ("misrouted", 400, 0)


def test_an_answer_to_a_client_that_has_left_is_told_without_a_status(proxy: Proxy, upstream: Upstream) -> None:
    def script(connection: Connection) -> None:
        connection.read_request()
        connection.send_headers()
        connection.send_chunk(chat("Hello"))
        connection.wait_until_left()

    upstream.script = script
    try:
        with RawClient.connected(proxy.port) as client:
            client.post("/left" + PATH, {"model": "m", "stream": True})
            client.read_until(b"Hello")
        assert flow_of(proxy, "/left")["facts"]["status"] is None
    finally:
        upstream.script = provider
    assert line_of(proxy, "client_left").startswith("client_left            -  m ")
