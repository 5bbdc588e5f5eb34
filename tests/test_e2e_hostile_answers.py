"""Answers that lie about themselves, and words that a terminal would obey."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness import Proxy, Upstream
from harness.apis import CHAT
from harness.raw import RawClient, Reply
from harness.scripts import CLOSE, SILENCE, head, sends, sends_raw
from harness.stage import TUNER
from harness.streams import ANSWER, HEARTBEAT, data
from harness.waiting import recorded

WHOLE = b"".join(ANSWER)


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream.running(SILENCE) as upstream:
        yield upstream


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory, upstream: Upstream) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("proxy")
    with Proxy.running(folder, mode=f"reverse:{upstream.url}", scripts=(TUNER,)) as proxy, proxy.leaving_nothing():
        yield proxy
        proxy.assert_unharmed()


# Lies

CHUNKED = head("Transfer-Encoding: chunked")


def chunked(*chunks: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)


BAD = b'data: {"a\x00b\xff\n\n\x00\n\n\xff\xfe\r\n\r\n'

#: What upstream sends before it closes, the status, and the verdict or, where nothing is told, the body.
LIES: dict[str, tuple[bytes, int, str | bytes]] = {
    "length-too-short": (head(f"Content-Length: {len(WHOLE) - 20}") + WHOLE, 200, WHOLE[:-20]),
    "length-too-short-for-an-answer": (head("Content-Length: 9") + HEARTBEAT, 502, "heartbeats_only"),
    "length-too-long": (head("Content-Length: 99999") + HEARTBEAT, 502, "cut"),
    "length-too-long-behind-an-answer": (head("Content-Length: 99999") + WHOLE, 200, WHOLE),
    "length-astronomical": (head(f"Content-Length: {'9' * 30}") + HEARTBEAT, 502, "cut"),
    "length-negative": (head("Content-Length: -5") + WHOLE, 502, "cut"),
    "length-no-number": (head("Content-Length: many") + WHOLE, 502, "cut"),
    "two-lengths": (head("Content-Length: 5", "Content-Length: 50") + WHOLE, 502, "cut"),
    "chunk-without-size": (CHUNKED + b"zz\r\nhello", 502, "cut"),
    "chunk-of-negative-size": (CHUNKED + b"-5\r\nhello", 502, "cut"),
    "identity-twice": (
        head("Content-Encoding: identity", "Content-Encoding: identity", "Transfer-Encoding: chunked")
        + chunked(*ANSWER, b""), 200, WHOLE,
    ),
    "gzip-twice": (
        head("Content-Encoding: gzip", "Content-Encoding: gzip", "Transfer-Encoding: chunked")
        + chunked(twice := gzip.compress(gzip.compress(WHOLE)), b""), 200, twice,
    ),
    "gzip-twice-packed-once": (
        head("Content-Encoding: gzip", "Content-Encoding: gzip", "Transfer-Encoding: chunked")
        + chunked(gzip.compress(WHOLE), b""), 502, "malformed",
    ),
    "gzip-not-packed": (
        head("Content-Encoding: gzip", "Transfer-Encoding: chunked") + chunked(WHOLE, b""), 502, "malformed",
    ),
    "gzip-unnamed": (CHUNKED + chunked(gzip.compress(WHOLE), b""), 502, "malformed"),
    "nul-and-no-utf-8": (CHUNKED + chunked(HEARTBEAT, BAD, *ANSWER, b""), 502, "malformed"),
    "nul-and-no-utf-8-behind-an-answer": (
        CHUNKED + chunked(*ANSWER[:3], BAD, *ANSWER[3:], b""), 200, b"".join((*ANSWER[:3], BAD, *ANSWER[3:])),
    ),
    "headers-of-60-kb": (
        head(f"X-Large: {'x' * 61_440}", "Transfer-Encoding: chunked") + chunked(*ANSWER, b""), 200, WHOLE,
    ),
    "headers-of-60-kb-and-no-answer": (
        head(f"X-Request-Id: {'x' * 61_440}", "Transfer-Encoding: chunked") + chunked(HEARTBEAT, b""),
        502, "heartbeats_only",
    ),
    "a-thousand-headers": (
        head(*(f"X-RateLimit-{i}: {'x' * 50}" for i in range(1000)), "Transfer-Encoding: chunked")
        + chunked(HEARTBEAT, b""), 502, "heartbeats_only",
    ),
}  # fmt: skip


def test_lies_are_told_where_they_matter_and_passed_on_where_not(proxy: Proxy, upstream: Upstream) -> None:
    for name, (sent, status, told) in LIES.items():
        upstream.script = sends_raw(sent, CLOSE)
        with RawClient.connected(proxy.port) as client:
            reply = client.ask(CHAT.path, CHAT.request)
        assert (name, reply.status) == (name, status)
        if isinstance(told, str):
            assert (name, reply.reason, reply.head.headers["x-sseguard"]) == (name, told, told)
        else:
            assert (name, reply.body) == (name, told)


# Words for a terminal

#: Clears the screen, sets the title, rings the bell, feigns a header and a line, turns the text round.
WORDS = "\x1b[2J\x1b]0;owned\x07\b\r\nset-cookie: a=b\r\n\r\nanswered 200\u202e\x9b31m\x00\u2028../../x"


def test_what_a_terminal_would_obey_is_in_no_header_line_or_name_of_a_file(
    proxy: Proxy, upstream: Upstream, tmp_path: Path
) -> None:
    (tmp_path / "recordings").mkdir()
    proxy.set(sse_record=str(tmp_path / "recordings"), sse_log=str(tmp_path / "log"))
    error = {"error": {"message": WORDS, "type": WORDS, "code": 400, "metadata": {"provider_name": WORDS}}}
    ids: dict[str, Any] = {
        "x_request_id": "r\x1b[31m\x9b2J",
        "retry_after": "1\x1b[2J",
        "x_ratelimit_limit": "\x07",
        "cf_ray": "7-F",
    }
    comment = b": " + WORDS.replace("\r\n", " ").encode() + b"\n\n"
    upstream.script = sends(comment, data(error), **ids)
    path = "/" + "%1b%0a" + CHAT.path
    reply = ask(proxy, path)
    upstream.script = sends(comment, comment, **ids)
    silence = ask(proxy, path)
    proxy.set(sse_record="", sse_log="")
    assert json.loads(reply.body)["error"]["metadata"]["provider_error"] == WORDS
    for answer in (reply, silence):
        assert "set-cookie" not in answer.head.headers
        assert answer.head.headers["cf-ray"] == "7-F"
        assert not [name for name, value in answer.head.headers.items() if not (name + value).isprintable()]
        assert all(character >= 0x20 for character in answer.body)
    for file in (*recorded(tmp_path / "recordings", 2), tmp_path / "log"):
        assert file.name.isascii()
        assert file.name.isprintable()
        assert all(line.isprintable() for line in file.read_text("utf-8").splitlines())
    assert all(line.isprintable() for line in proxy.lines), [line for line in proxy.lines if not line.isprintable()]


def ask(proxy: Proxy, path: str) -> Reply:
    with RawClient.connected(proxy.port) as client:
        return client.ask(path, {**CHAT.request, "model": WORDS})
