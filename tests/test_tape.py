from __future__ import annotations

import base64
import gzip
import json
import tracemalloc
import zlib
from typing import Any

import pytest

from harness.codings import CODINGS, encoded
from harness.streams import HEARTBEAT, chat
from sseguard.codings import Decoder
from sseguard.recordings.assessment import assess
from sseguard.recordings.fixture import loads
from sseguard.recordings.recording import Chunk, Ending, Headers, RecordedResponse, Recording
from sseguard.recordings.tape import MAX_DEPTH, Request, Tape
from sseguard.redaction.redact import Redactor

URL = "https://openrouter.ai/api/v1/chat/completions"
STREAM: Headers = (("content-type", "text/event-stream"),)
KEY = "sk-or-" + "v1-" + "0123456789abcdef" * 4
PLACE = "<redacted:openrouter-key:1>"
CODED = [coding for coding in CODINGS if coding != "identity"]


def tape(
    *, url: str = URL, headers: Headers = (), body: bytes = b"{}", answered: Headers = STREAM, status: int = 200
) -> Tape:
    request = Request("POST", url, headers, body)
    return Tape(Redactor(), request, RecordedResponse(status, answered), "2026-11-22T09:00:00Z")


def coded(coding: str) -> Headers:
    return (*STREAM, ("content-encoding", coding))


def text_of(taped: Tape, *chunks: bytes, end: Ending = Ending.EOF) -> str:
    parts = [taped.begin(), *(taped.chunk(float(at), chunk) for at, chunk in enumerate(chunks))]
    return "".join((*parts, taped.end(float(len(chunks)), end)))


def recorded(taped: Tape, *chunks: bytes, end: Ending = Ending.EOF) -> Recording:
    return loads(text_of(taped, *chunks, end=end))


def data_of(recording: Recording) -> list[bytes]:
    return [chunk.data for chunk in recording.chunks]


def body_of(body: bytes, headers: Headers = ()) -> Any:
    return recorded(tape(body=body, headers=headers)).request.body


# Lines


def test_each_chunk_can_be_written_as_it_comes() -> None:
    lines = tape()
    lines.begin()
    assert lines.chunk(0.5, HEARTBEAT) == '[0.5, "chunk", ": OPENROUTER PROCESSING\\n\\n"]\n'
    assert lines.end(1.25, Ending.CUT) == '[1.25, "end", "cut"]\n'


def test_bytes_that_are_not_utf_8_on_their_own_are_base64() -> None:
    whole = "data: größer\n\n".encode()
    split = whole.index("ö".encode()) + 1
    text = text_of(tape(), whole[:split], whole[split:])
    assert text.count('"chunk64"') == 2
    assert data_of(loads(text)) == [whole[:split], whole[split:]]


@pytest.mark.parametrize("end", Ending)
def test_the_end_is_told(end: Ending) -> None:
    recording = recorded(tape(), HEARTBEAT, end=end)
    assert (recording.end, recording.ended) == (end, 1.0)


def test_what_was_held_back_comes_before_the_end_at_its_own_time() -> None:
    lines = tape()
    lines.begin()
    assert lines.chunk(0.5, b"data: half a li") == ""
    assert lines.end(2.0, Ending.CUT) == '[0.5, "chunk", "data: half a li"]\n[2.0, "end", "cut"]\n'


# The request


def test_a_request_is_kept_as_json() -> None:
    assert body_of(b'{"model": "a/b", "n": 1}') == {"model": "a/b", "n": 1}


@pytest.mark.parametrize("body", [b"not json", b"[1,", b"\xff", b'{"a": 1} {}'])
def test_a_body_that_is_not_json_is_kept_as_text(body: bytes) -> None:
    assert body_of(body) == body.decode("utf-8", "replace")


def test_no_body_is_none() -> None:
    assert body_of(b"") is None


@pytest.mark.parametrize("coding", CODED)
def test_a_compressed_request_is_read(coding: str) -> None:
    body = b"".join(encoded(coding, b'{"model": "a/b"}'))
    assert body_of(body, (("Content-Encoding", coding),)) == {"model": "a/b"}


@pytest.mark.parametrize("coding", ["gzip", "never-heard-of"])
def test_a_request_that_cannot_be_read_is_told_by_its_length(coding: str) -> None:
    assert body_of(b"?????", (("content-encoding", coding),)) == "<5 bytes that cannot be read>"


@pytest.mark.parametrize("depth", [MAX_DEPTH, MAX_DEPTH + 1, 950, 994, 5000, 200_000])
def test_a_deeply_nested_body_gives_a_file_that_loads(depth: int) -> None:
    body = b"[" * depth + b"]" * depth
    kept = body_of(body)
    assert kept == (json.loads(body) if depth <= MAX_DEPTH else body.decode())


def test_brackets_in_texts_are_no_nesting() -> None:
    body = json.dumps({"text": '[{"\\' * 1000})
    assert body_of(body.encode()) == json.loads(body)


def test_an_unfinished_text_of_many_quotes_is_seen_through_in_linear_time() -> None:
    body = b"[" * 300 + b'"' + b'\\"' * 200_000
    assert body_of(body) == body.decode()


@pytest.mark.parametrize("value", ["a\x0bb", "a\0b", "a\x0cb"])
def test_headers_that_http_cannot_carry_are_mended(value: str) -> None:
    recording = recorded(tape(headers=(("x", value),), answered=(*STREAM, ("y", value))))
    assert dict(recording.request.headers)["x"] == dict(recording.response.headers)["y"] == "a b"


def test_lone_surrogates_are_written() -> None:
    assert body_of(b'{"a": "\\ud83d"}') == {"a": "\ud83d"}


# Secrets

BEARER = (("Authorization", f"Bearer {KEY}"),)


@pytest.mark.parametrize(
    "secret",
    [
        KEY,
        "".join(f"\\u{ord(letter):04x}" for letter in KEY),
        "".join(f"\\u{ord(letter):04X}" for letter in KEY),
        "".join(f"%{ord(letter):02x}" for letter in KEY),
    ],
    ids=["plain", "json-escapes", "upper-json-escapes", "percent"],
)
def test_a_key_in_a_request_body_is_not_written(secret: str) -> None:
    text = text_of(tape(body=b'{"model": "a/b", "messages": [{"content": "%s"}]}' % secret.encode()))
    assert PLACE in text
    assert KEY not in text
    assert loads(text).request.body == {"model": "a/b", "messages": [{"content": PLACE}]}


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be", "utf-32"])
def test_a_key_in_a_body_of_another_encoding_is_not_written(encoding: str) -> None:
    text = text_of(tape(body=json.dumps({"user": KEY}).encode(encoding)))
    assert KEY not in text
    assert loads(text).request.body == {"user": PLACE}


def test_a_slash_that_is_escaped_hides_no_key() -> None:
    secret = "AKIA" + "ABCDEFGHIJKLMNOP"
    value = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYzzzzzzzzKEY"
    body = json.dumps({"aws_access_key_id": secret, "aws_secret_access_key": value}).replace("/", "\\/")
    text = text_of(tape(body=body.encode()))
    assert secret not in text
    assert value not in text


@pytest.mark.parametrize("coding", CODED)
def test_a_key_in_a_compressed_request_is_not_written(coding: str) -> None:
    body = b"".join(encoded(coding, json.dumps({"user": KEY}).encode()))
    assert body_of(body, (("content-encoding", coding),)) == {"user": PLACE}


def test_the_same_key_is_the_same_placeholder_everywhere() -> None:
    taped = tape(url=f"{URL}?key={KEY}", headers=BEARER, body=json.dumps({"user": KEY}).encode())
    text = text_of(taped, chat(f"Your key: {KEY}"))
    assert KEY not in text
    assert text.count(PLACE) == 4


def test_a_key_split_over_chunks_goes_and_the_chunks_stay() -> None:
    whole = chat(f"Your key: {KEY}") + HEARTBEAT
    chunks = [whole[start : start + 7] for start in range(0, len(whole), 7)]
    recording = recorded(tape(), *chunks)
    assert len(recording.chunks) == len(chunks)
    assert b"".join(data_of(recording)) == chat(f"Your key: {PLACE}") + HEARTBEAT


class Blind(Redactor):
    """A redactor that finds nothing, so that only the last scan is left."""

    def exchange(self, url: str, headers: Headers) -> Any:
        exchange = super().exchange(url, headers)
        stream = super().exchange("", ()).stream()
        stream.feed = lambda at, data: [Chunk(at, data)]  # type: ignore[method-assign]
        exchange.url, exchange.headers = url, headers
        exchange.body = lambda data: data  # type: ignore[method-assign]
        exchange.response_headers = lambda headers: headers  # type: ignore[method-assign]
        exchange.stream = lambda: stream  # type: ignore[method-assign]
        return exchange


def test_the_last_scan_refuses_what_redaction_has_missed() -> None:
    request = Request("POST", f"{URL}?x={KEY}", (("x", KEY),), json.dumps({"user": KEY}).encode())
    answered = RecordedResponse(200, (*STREAM, ("y", KEY)))
    taped = Tape(Blind(), request, answered, "")
    text = text_of(taped, chat("Hello"), chat(KEY))
    assert KEY not in text
    assert taped.refused == ["openrouter-key"] * 5
    assert data_of(loads(text))[0] == chat("Hello")


def test_host_and_model_are_told_without_secrets() -> None:
    taped = tape(body=json.dumps({"model": KEY}).encode())
    assert (taped.host, taped.model) == ("openrouter.ai", PLACE)


def test_the_model_may_stand_in_the_path_or_in_a_compressed_body() -> None:
    path = "https://generativelanguage.googleapis.com/v1beta/models/gemini-pro:streamGenerateContent"
    assert tape(url=path).model == "gemini-pro"
    assert tape(body=gzip.compress(b'{"model": "a/b"}'), headers=(("content-encoding", "gzip"),)).model == "a/b"
    assert tape(body=b'{"model": 5}').model == ""


# Content codings

FRAMES = (chat("Hello"), HEARTBEAT, chat(f"The key: {KEY}"), chat("", "stop"))
CLEAN = (*FRAMES[:2], chat(f"The key: {PLACE}"), FRAMES[3])


@pytest.mark.parametrize("coding", [*CODED, "gzip, br", "deflate, gzip", "zstd, br, gzip", "identity, gzip"])
def test_a_coded_body_keeps_its_coding_and_its_steps(coding: str) -> None:
    chunks = list(FRAMES)
    for name in coding.split(", "):
        coded_once = encoded(name, *chunks)
        chunks = coded_once if name == "identity" else [*coded_once[:-2], coded_once[-2] + coded_once[-1]]
    recording = recorded(tape(answered=coded(coding)), *chunks)
    decoder = Decoder(coding)
    assert tuple(map(decoder.feed, data_of(recording))) == CLEAN
    assert decoder.is_whole
    assert KEY.encode() not in b"".join(data_of(recording))


@pytest.mark.parametrize("coding", CODED)
def test_a_coded_body_ends_in_the_chunk_in_which_it_ended(coding: str) -> None:
    recording = recorded(tape(answered=coded(coding)), *encoded(coding, *FRAMES))
    assert len(recording.chunks) == len(FRAMES) + 1
    assert recording.chunks[-1].data
    decoder = Decoder(coding)
    for data in data_of(recording)[:-1]:
        decoder.feed(data)
        assert not decoder.is_whole
    decoder.feed(data_of(recording)[-1])
    assert decoder.is_whole


@pytest.mark.parametrize("coding", CODED)
def test_a_coded_body_that_breaks_off_is_left_open(coding: str) -> None:
    recording = recorded(tape(answered=coded(coding)), *encoded(coding, *FRAMES)[:2], end=Ending.CUT)
    decoder = Decoder(coding)
    assert tuple(map(decoder.feed, data_of(recording))) == CLEAN[:2]
    assert not decoder.is_whole


def test_an_end_that_is_held_back_is_coded_where_it_belongs() -> None:
    # The second chunk waits for its line to be complete, which happens with the third.
    frames = (chat("Hello"), b"data: {", b"}\n\n")
    recording = recorded(tape(answered=coded("gzip")), *encoded("gzip", *frames))
    decoder = Decoder("gzip")
    assert tuple(map(decoder.feed, data_of(recording))) == (*frames, b"")
    assert decoder.is_whole


def test_several_gzip_members_stay_readable() -> None:
    chunks = [gzip.compress(chat("Hello")), gzip.compress(HEARTBEAT), b"\0\0\0", gzip.compress(chat("", "stop"))]
    recording = recorded(tape(answered=coded("gzip")), *chunks)
    decoder = Decoder("gzip")
    assert list(map(decoder.feed, data_of(recording))) == [chat("Hello"), HEARTBEAT, b"", chat("", "stop")]


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd", "gzip, br"])
def test_what_is_not_coded_as_it_says_becomes_filler_of_its_length(coding: str) -> None:
    garbage = b"<html>" + KEY.encode()
    text = text_of(tape(answered=coded(coding)), garbage, garbage)
    assert KEY not in text
    assert data_of(loads(text)) == [b"?" * len(garbage)] * 2
    assert assess(loads(text)).verdict == "malformed"


def test_a_coded_body_that_goes_bad_is_filler_from_there_on() -> None:
    good = encoded("gzip", chat("Hello"), HEARTBEAT)[:2]
    recording = recorded(tape(answered=coded("gzip")), *good, b"\xff" * 9, KEY.encode())
    decoder = Decoder("gzip")
    assert [decoder.feed(data) for data in data_of(recording)[:2]] == [chat("Hello"), HEARTBEAT]
    assert data_of(recording)[2:] == [b"?" * 9, b"?" * len(KEY)]


@pytest.mark.parametrize("verdict", ["malformed", "answered"])
def test_the_verdict_on_a_body_that_goes_bad_stays(verdict: str) -> None:
    good = [] if verdict == "malformed" else encoded("gzip", chat("Hello"), chat("", "stop"))[:2]
    chunks = [*good, b"not gzip at all"]
    taped = recorded(tape(answered=coded("gzip")), *chunks)
    # As it came: the same recording with the bytes that the tape does not keep.
    text = "".join(
        f'[{at}.0, "chunk64", {json.dumps(base64.b64encode(chunk).decode())}]\n' for at, chunk in enumerate(chunks)
    )
    live = loads(tape(answered=coded("gzip")).begin() + text + f'[{len(chunks)}.0, "end", "eof"]\n')
    assert assess(taped).verdict == assess(live).verdict == verdict


def test_an_unknown_coding_is_all_filler() -> None:
    recording = recorded(tape(answered=coded("never-heard-of")), KEY.encode(), b"x")
    assert data_of(recording) == [b"?" * len(KEY), b"?"]


def test_a_bomb_is_filler() -> None:
    bomb = zlib.compress(bytes(64 << 20))
    recording = recorded(tape(answered=coded("deflate")), bomb)
    assert data_of(recording) == [b"?" * len(bomb)]


# Bounds


@pytest.mark.parametrize(
    "chunk", [chat("Hello") * 200, b"x" * 65536, b"data: " + b"y" * 60000], ids=["frames", "endless line", "long lines"]
)
def test_memory_is_flat_however_long_the_stream(chunk: bytes) -> None:
    taped = tape()
    taped.begin()
    for _ in range(50):
        taped.chunk(0.0, chunk)
    tracemalloc.start()
    try:
        for _ in range(150):
            taped.chunk(0.0, chunk)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20
