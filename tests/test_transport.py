"""Recordings in which the same bytes travel differently; compressed ones; other responses than streams."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import replace

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from healthy import CHAT, HEALTHY, STREAM, body, header, recording
from mutants import CHUNKS, JSON_HEADERS, URL, assert_sound, compressed, gzipped, texts, times
from sseguard.dialects import Dialect
from sseguard.mutations import faults, surgery, transport
from sseguard.mutations.mutate import MutationError, mutate
from sseguard.recordings.recording import Chunk, Ending, RecordedResponse

ALL_FRAMES = "Expected a number of frames from 0 to 7, which is all that the recording has, got "
SIZE = len(body(CHAT))


def character_wanted(number: int, found: int) -> str:
    return (
        f"Expected the number of a character of several bytes, from 1, got {number}, and the body has {found} up to "
        "there. Providers that escape such characters as \\u… send none; cut by bytes instead."
    )


def test_a_cut_keeps_what_came_before_it() -> None:
    mutated = transport.cut_after_frames(CHAT, 4)
    assert mutated.chunks == CHAT.chunks[:4]
    assert (mutated.end, mutated.ended) == (Ending.CUT, 1.0)


def test_a_cut_before_the_first_byte_comes_with_the_headers() -> None:
    mutated = transport.cut_after_bytes(CHAT, 0)
    assert (mutated.chunks, mutated.end, mutated.ended) == ((), Ending.CUT, 0.0)


@given(st.sampled_from(Dialect), st.data())
def test_a_cut_behind_so_many_bytes_leaves_so_many(dialect: Dialect, data: st.DataObject) -> None:
    count = data.draw(st.integers(0, len(body(HEALTHY[dialect]))))
    assert body(transport.cut_after_bytes(HEALTHY[dialect], count)) == body(HEALTHY[dialect])[:count]


@pytest.mark.parametrize("dialect", Dialect)
def test_a_cut_in_a_character_leaves_bytes_that_are_no_text(dialect: Dialect) -> None:
    for number, character in enumerate("üß世界", 1):
        left = body(transport.cut_in_character(HEALTHY[dialect], number))
        assert left.endswith(character.encode()[:1])
        with pytest.raises(UnicodeDecodeError):
            left.decode()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cut-after-frames=10", ALL_FRAMES + "10."),
        ("cut-after-bytes=9999", ALL_FRAMES.replace("frames from 0 to 7", f"bytes from 0 to {SIZE}") + "9999."),
        ("stall=1:8", ALL_FRAMES + "8."),
        ("error=openai:8", ALL_FRAMES + "8."),
        ("stall=86401", "Expected seconds from 0 to 86400 (a day), got 86401.0."),
        ("heartbeats-first=1:86401", "Expected seconds from 0 to 86400 (a day), got 86401.0."),
        ("heartbeats-first=1000001", "Expected a number from 0 to 1000000, got 1000001."),
        ("glue=0", "Expected a number of frames from 1, got 0."),
        ("rechunk=1:0", "Expected a largest chunk of 1 byte or more, got 0."),
        ("cut-in-character=5", character_wanted(5, 4)),
        ("cut-in-character=0", character_wanted(0, 0)),
    ],
)  # fmt: skip
def test_what_a_recording_has_no_room_for_is_refused_with_what_it_has(text: str, message: str) -> None:
    with pytest.raises(MutationError) as caught:
        mutate(CHAT, text)
    assert str(caught.value) == f"{text}: {message}"


@pytest.mark.parametrize("number", [-1, 8])
def test_a_count_that_python_gives_is_checked_too(number: int) -> None:
    with pytest.raises(MutationError, match="from 0 to 7"):
        transport.cut_after_frames(CHAT, number)
    with pytest.raises(MutationError, match="got nan"):
        transport.stall(CHAT, float("nan"))
    with pytest.raises(MutationError, match="got -1"):
        transport.cut_after_bytes(CHAT, -1)
    with pytest.raises(MutationError, match="got -1"):
        faults.heartbeats_first(CHAT, -1)


def test_a_stall_delays_what_follows_and_splits_a_chunk_where_it_must() -> None:
    mutated = mutate(CHAT, "glue", "stall=5:3")
    assert texts(mutated) == [b"".join(texts(CHAT)[:3]), b"".join(texts(CHAT)[3:])]
    assert [*times(mutated), mutated.ended] == [1.75, 6.75, CHAT.ended + 5]


def test_frames_are_glued_together_by_so_many() -> None:
    mutated = transport.glue(CHAT, 3)
    assert texts(mutated) == [b"".join(texts(CHAT)[:3]), b"".join(texts(CHAT)[3:6]), texts(CHAT)[6]]
    assert times(mutated) == [0.75, 1.5, 1.75]
    assert texts(transport.glue(CHAT, 7)) == [body(CHAT)]


def test_a_frame_in_pieces_is_glued_to_one_chunk() -> None:
    assert transport.glue(transport.bytewise(CHAT), 1).chunks == CHAT.chunks


def test_all_of_a_body_is_glued_to_one_chunk_when_the_last_byte_came() -> None:
    assert transport.glue(CHAT).chunks == (Chunk(1.75, body(CHAT)),)
    assert transport.glue(recording(URL)).chunks == ()


def test_each_byte_keeps_its_time() -> None:
    mutated = transport.bytewise(recording(URL, b"ab", b"", b"c"))
    assert mutated.chunks == (Chunk(0.25, b"a"), Chunk(0.25, b"b"), Chunk(0.75, b"c"))


def test_random_chunks_are_no_larger_than_asked() -> None:
    sizes = {len(chunk.data) for chunk in transport.rechunk(CHAT, 5, 4).chunks}
    assert sizes == {1, 2, 3, 4}


def test_the_bytes_of_a_chunk_have_all_come_when_it_does() -> None:
    assert times(transport.rechunk(recording(URL, b"abc", b"def"), 1, 1000)) == [0.5]


@pytest.mark.parametrize("name", ["crlf", "cr"])
@given(CHUNKS.map(lambda chunks: [data.translate(bytes(b"\r\n:a"[i % 4] for i in range(256))) for data in chunks]))
def test_lines_end_as_asked_and_are_the_same_lines(name: str, data: list[bytes]) -> None:
    old, new = b"".join(data), body(mutate(recording(URL, *data), name))
    end = {"crlf": b"\r\n", "cr": b"\r"}[name]
    assert new == old.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", end)


def test_gzip_can_be_read_chunk_by_chunk() -> None:
    mutated = transport.gzip(CHAT)
    unpacker = zlib.decompressobj(wbits=31)
    assert [unpacker.decompress(chunk.data) for chunk in mutated.chunks] == texts(CHAT)
    assert unpacker.eof
    assert header(mutated, "content-encoding") == "gzip"
    assert times(mutated) == times(CHAT)


def test_gzip_takes_the_place_of_an_empty_coding() -> None:
    plain = replace(CHAT, response=RecordedResponse(200, (*STREAM, ("content-encoding", "identity"))))
    assert transport.gzip(plain).response.headers == (*STREAM, ("content-encoding", "gzip"))


def test_gzip_of_nothing_is_still_gzip() -> None:
    assert zlib.decompress(body(transport.gzip(recording(URL))), wbits=31) == b""


def test_gzip_of_a_stream_that_breaks_off_breaks_off_too() -> None:
    unpacker = zlib.decompressobj(wbits=31)
    assert unpacker.decompress(body(mutate(CHAT, "cut-after-frames=3", "gzip"))) == b"".join(texts(CHAT)[:3])
    assert not unpacker.eof


# --- compressed recordings ---


@pytest.mark.parametrize(
    ("coding", "pack"),
    [
        ("gzip", lambda data: zlib.compress(data, wbits=31)),
        ("deflate", zlib.compress),
        ("br", brotli.compress),
        ("ZSTD", zstandard.ZstdCompressor().compress),
    ],
)
def test_what_needs_frames_decodes_a_compressed_body_first(coding: str, pack: Callable[[bytes], bytes]) -> None:
    mutated = mutate(compressed(CHAT, coding, pack), "glue=1")
    assert body(mutated) == body(CHAT)
    assert mutated.response == RecordedResponse(200, STREAM)


def test_a_decoded_chunk_keeps_its_time() -> None:
    assert surgery.decoded(transport.gzip(CHAT)).chunks == CHAT.chunks


def test_what_needs_no_frames_leaves_the_coding_alone() -> None:
    original = gzipped(CHAT)
    assert body(mutate(original, "bytewise", "stall=3", "glue")) == body(original)
    assert body(mutate(original, "cut-after-bytes=30")) == body(original)[:30]
    assert header(mutate(original, "cut-after-bytes=30"), "Content-Encoding") == "gzip"


def test_gzip_of_what_is_compressed_already_is_gzip_once() -> None:
    mutated = mutate(compressed(CHAT, "br", brotli.compress), "gzip")
    assert zlib.decompress(body(mutated), wbits=31) == body(CHAT)
    assert [value for name, value in mutated.response.headers if name.lower() == "content-encoding"] == ["gzip"]


@pytest.mark.parametrize(
    ("coding", "message"),
    [
        ("snappy", "Expected a content-encoding of gzip, deflate, br or zstd, got 'snappy'. Cut by bytes, or "),
        ("gzip", "Expected a body coded as its header says, got Error -3 while decompressing data: "),
    ],
)  # fmt: skip
def test_a_body_that_cannot_be_decoded_is_refused(coding: str, message: str) -> None:
    with pytest.raises(MutationError) as caught:
        transport.cut_after_frames(compressed(CHAT, coding, bytes), 1)
    assert str(caught.value).startswith(message)
    assert "ut by bytes" in str(caught.value)


def test_a_compressed_bomb_is_refused() -> None:
    with pytest.raises(MutationError, match=r"^crlf: Expected at most 8388608 bytes from one step"):
        mutate(gzipped(recording(URL, bytes(surgery.MAX_BODY + 1))), "crlf")


def test_a_body_too_large_to_decode_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surgery, "MAX_BODY", len(body(CHAT)))
    assert transport.cut_after_frames(gzipped(CHAT), 7).chunks[-1].data.endswith(b"[DONE]\n\n")
    monkeypatch.setattr(surgery, "MAX_BODY", len(body(CHAT)) - 1)
    with pytest.raises(MutationError, match=r"^Expected a body of at most \d+ bytes when decoded, got more\.$"):
        transport.cut_after_frames(gzipped(CHAT), 7)


def test_a_body_too_large_to_search_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surgery, "MAX_BODY", 10)
    assert transport.glue(recording(URL, bytes(10))).chunks
    with pytest.raises(
        MutationError, match=r"^Expected a body of at most 10 bytes, got 11: record a shorter answer\.$"
    ):
        faults.malformed(recording(URL, bytes(11)))


def test_more_chunks_than_memory_bears_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surgery, "MAX_CHUNKS", 10)
    assert len(transport.bytewise(recording(URL, bytes(10))).chunks) == 10
    with pytest.raises(
        MutationError, match=r"^Expected a body for at most 10 chunks, got more: take a shorter recording"
    ):
        transport.bytewise(recording(URL, bytes(11)))


# --- other responses, and their headers ---


@pytest.mark.parametrize("text", ["heartbeats-only", "done-only", "malformed", "error=openai", "glue=2", "stall=1:1"])
def test_what_needs_frames_needs_an_event_stream(text: str) -> None:
    with pytest.raises(MutationError, match=r"Expected a recording of text/event-stream .*, got 'application/json'"):
        mutate(recording(URL, b"{}", headers=JSON_HEADERS), text)


@pytest.mark.parametrize(
    "text",
    ["empty", "cut-after-bytes=1", "stall=1", "glue", "bytewise", "rechunk=1", "gzip", "html", "json-padded", "crlf"],
)
def test_the_others_do_with_any_response(text: str) -> None:
    assert_sound(mutate(recording(URL, b"{}", headers=JSON_HEADERS), text))


@pytest.mark.parametrize("kind", ["text/event-stream", "Text/Event-Stream;charset=", " text/event-stream ; ="])
def test_an_event_stream_may_be_spelled_in_any_way(kind: str) -> None:
    assert surgery.is_event_stream(recording(URL, headers=(("Content-Type", kind),)))


def test_a_response_without_a_type_is_no_event_stream() -> None:
    assert not surgery.is_event_stream(recording(URL, headers=()))


@pytest.mark.parametrize(
    ("text", "stays"),
    [("glue", True), ("bytewise", True), ("stall=1", True), ("cut-after-bytes=5", True), ("cut-after-frames=2", True),
     ("empty", False), ("crlf", False), ("heartbeats-first=1", False), ("gzip", False)],
)  # fmt: skip
def test_a_content_length_goes_where_it_would_lie(text: str, stays: bool) -> None:
    counted = replace(CHAT, response=RecordedResponse(200, (*STREAM, ("content-length", str(len(body(CHAT)))))))
    assert (header(mutate(counted, text), "content-length") is not None) is stays
