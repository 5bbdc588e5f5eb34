"""Event streams in blocks: every line ending, every chunking, and lines without end."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable

import pytest

from reference import blocks, dispatch
from sseguard.sse import BlockSplitter, CommentStripper, Event, is_foreign, parse

BOM = b"\xef\xbb\xbf"


def split(*chunks: bytes) -> list[bytes]:
    splitter = BlockSplitter()
    return [block for chunk in chunks for block in splitter.feed(chunk)]


def strip(*chunks: bytes) -> bytes:
    return b"".join(map(CommentStripper().feed, chunks))


def one_by_one(body: bytes) -> Iterable[bytes]:
    return (body[i : i + 1] for i in range(len(body)))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", []),
        (b"\n\n\n", []),
        (b"data: x\n\n", [b"data: x"]),
        (b"data: x\n", []),
        (b"data: x", []),
        (b"data: x\n\ndata: y\n\n", [b"data: x", b"data: y"]),
        (b"event: a\ndata: x\ndata: y\n\n", [b"event: a\ndata: x\ndata: y"]),
        (b"\n\ndata: x\n\n\n\n", [b"data: x"]),
        (b": hi\n\n", [b": hi"]),
        (b":\n", [b":"]),
        (b": a\n: b\n\n", [b": a", b": b"]),
        (b": a\ndata: x\n\n", [b": a", b"data: x"]),
        (b"data: x\n: inside\n\n", [b"data: x\n: inside"]),
        (b"id: 1\n\n", [b"id: 1"]),
        (BOM + b"data: x\n\n", [b"data: x"]),
        (BOM + BOM + b"data: x\n\n", [BOM + b"data: x"]),
        (b"data: x\n\n" + BOM + b"data: y\n\n", [b"data: x", BOM + b"data: y"]),
        (b"\xef\xbbdata: x\n\n", [b"\xef\xbbdata: x"]),
        (b"data: \0\xff\n\n", [b"data: \0\xff"]),
    ],
)
@pytest.mark.parametrize("ending", [b"\n", b"\r", b"\r\n"])
def test_blocks_stand_between_blank_lines_whatever_ends_a_line(
    body: bytes, expected: list[bytes], ending: bytes
) -> None:
    body = body.replace(b"\n", ending)
    assert split(body) == expected
    assert split(*one_by_one(body)) == expected
    if not body.startswith(BOM):
        assert split(b"\n", body) == expected  # no first chunk, so that it may take the short path


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"data: x\n\r\ndata: y\r\r", [b"data: x", b"data: y"]),
        (b"data: x\r\n\ndata: y\n\r", [b"data: x", b"data: y"]),
        (b"data: a\rdata: b\r\ndata: c\n\r\n", [b"data: a\ndata: b\ndata: c"]),
        (b"data: x\r\n\r\n\r\n\ndata: y\r\r\n", [b"data: x", b"data: y"]),
        (b": a\r: b\r\n\rdata: x\n\n", [b": a", b": b", b"data: x"]),
    ],
)
def test_line_endings_may_be_mixed(body: bytes, expected: list[bytes]) -> None:
    assert split(body) == split(*one_by_one(body)) == expected


STREAM = BOM + b": hi\r\n\r\nevent: a\rdata: {\rdata: }\r\rid: 1\n\n\ndata: \xe4\xbd\xa0\r\n\r\n: c\ndata: [DONE]\n\n"


@pytest.mark.parametrize("at", range(len(STREAM) + 1))
def test_every_split_in_two_gives_the_blocks_and_safe_points_of_the_reference(at: int) -> None:
    splitter, found = BlockSplitter(), []
    for chunk in (STREAM[:at], STREAM[at:]):
        found += splitter.feed(chunk)
    assert found == blocks(STREAM).complete
    assert splitter.pending == 0


@pytest.mark.parametrize("size", range(len(STREAM) + 1))
def test_pending_counts_the_bytes_since_the_last_safe_point(size: int) -> None:
    splitter = BlockSplitter()
    for chunk in one_by_one(STREAM[:size]):
        splitter.feed(chunk)
    assert splitter.pending == size - blocks(STREAM[:size]).safe
    assert splitter.rest() == blocks(STREAM[:size]).rest


def test_a_frame_comes_out_with_the_chunk_that_completes_it() -> None:
    splitter = BlockSplitter()
    assert splitter.feed(b"data: x\n") == []
    assert splitter.feed(b"\n") == [b"data: x"]
    assert splitter.feed(b"data: y\r\n\r") == [b"data: y"]
    assert splitter.feed(b"\n") == []
    assert splitter.feed(b": late\r") == [b": late"]
    assert splitter.pending == 0


def test_an_lf_after_a_cr_in_the_next_chunk_ends_no_second_line() -> None:
    assert split(b"data: x\r", b"\ndata: y\r", b"\n\r", b"\n") == [b"data: x\ndata: y"]


def test_an_lf_that_follows_no_cr_ends_a_line_even_beside_one() -> None:
    assert split(b"data: x\n", b"\ndata: y\r\n\r\n") == [b"data: x", b"data: y"]


def test_a_cr_in_the_next_chunk_ends_a_line_of_its_own() -> None:
    assert split(b"data: x\r", b"\rdata: y\n\n") == [b"data: x", b"data: y"]


@pytest.mark.parametrize("size", [1, 2, 7, 100])
def test_a_block_beyond_the_limit_is_given_up_and_the_next_one_read(size: int) -> None:
    body = b"data: " + b"x" * 50 + b"\ndata: more\n\ndata: y\n\n"
    splitter, found, oversized = BlockSplitter(limit=20), [], False
    for start in range(0, len(body), size):
        found += splitter.feed(body[start : start + size])
        oversized = oversized or splitter.oversized
    # In one piece it is there already: there is nothing to save by forgetting it.
    assert found == ([b"data: y"] if size < 100 else body[:-2].split(b"\n\n"))
    assert oversized == (size < 100)
    assert not splitter.oversized


def test_a_block_of_the_limit_is_not_beyond_it() -> None:
    splitter = BlockSplitter(limit=7)
    assert splitter.feed(b"data: x") == []
    assert not splitter.oversized
    assert splitter.feed(b"\n\n") == [b"data: x"]


def test_an_overlong_comment_inside_an_event_is_a_part_of_it() -> None:
    splitter = BlockSplitter(limit=20)
    assert splitter.feed(b"data: x\n: " + b"x" * 20) == []
    assert splitter.oversized
    assert splitter.feed(b"\ndata: y\n\n") == []


def test_an_overlong_comment_is_a_comment_still() -> None:
    splitter = BlockSplitter(limit=20)
    for _ in range(100):
        assert splitter.feed(b": and so on") == []
        assert not splitter.oversized
    assert splitter.feed(b"\ndata: x\n\n") == [b":", b"data: x"]


def test_a_blank_line_ends_an_oversized_block_wherever_it_was_given_up() -> None:
    splitter = BlockSplitter(limit=4)
    assert splitter.feed(b"data: x\n") == []
    assert splitter.oversized
    assert splitter.rest() == b""
    assert splitter.feed(b": no comment in here\n") == []
    assert splitter.oversized
    assert splitter.feed(b"\n: a\n") == [b": a"]
    assert not splitter.oversized


@pytest.mark.parametrize("line", [b"data: " + b"x" * 16, b":" + b"x" * 16, b"data\n" * 4, b"x" * 16])
def test_a_block_without_end_takes_no_memory_beyond_the_limit(line: bytes) -> None:
    splitter = BlockSplitter(limit=1 << 16)
    splitter.feed(line)
    tracemalloc.start()
    for _ in range(20_000):
        splitter.feed(bytes(bytearray(line)))  # a copy each time, as from a socket
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (b"data: x", Event(b"", b"x", known=True)),
        (b"data:x", Event(b"", b"x", known=True)),
        (b"data:  x", Event(b"", b" x", known=True)),
        (b"data", Event(b"", b"", known=True)),
        (b"data:", Event(b"", b"", known=True)),
        (b"data: a\ndata\ndata: b", Event(b"", b"a\n\nb", known=True)),
        (b"event: a\nevent: b\ndata: x", Event(b"b", b"x", known=True)),
        (b"data: x\nevent:a", Event(b"a", b"x", known=True)),
        (b"data: a: b", Event(b"", b"a: b", known=True)),
        (b"id: 1\nretry: 5", Event(b"", None, known=True)),
        (b": comment", Event(b"", None, known=True)),
        (b"foo: bar\n: comment", Event(b"", None, known=True)),
        (b"data: x\nfoo: bar", Event(b"", b"x", known=True)),
        (b"foo: bar\nbaz", Event(b"", None, known=False)),
        (b"Data: x", Event(b"", None, known=False)),
        (b" data: x", Event(b"", None, known=False)),
        (b'error: {"code":500}', Event(b"error", b'{"code":500}', known=True)),
    ],
)
def test_fields_are_read_as_the_standard_says(block: bytes, expected: Event) -> None:
    assert parse(block) == expected


@pytest.mark.parametrize(
    "head",
    [b"", b"d", b"data", b"data: <html>", b":", b": <html>", b"\n\r\n", b"\r\nevent: x", BOM, BOM[:2],
     BOM + b"data: x", b"x-my_field: 1", b"id\ndata: x"],
)  # fmt: skip
def test_what_may_be_an_event_stream_is_not_foreign(head: bytes) -> None:
    assert not is_foreign(head)


@pytest.mark.parametrize(
    "head",
    [b"<", b"<!DOCTYPE html>", b"{", b'{"error": 1}', b"[", b"Internal Server Error", b"\r\n\r\n <html>", BOM + b"{",
     b"\x1f\x8b\x08", b"data x: y", b"\0", b"\xef\xbb{"],
)  # fmt: skip
def test_html_json_prose_and_binary_are_foreign(head: bytes) -> None:
    assert is_foreign(head)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b": hi\n\ndata: x\n\n", b"data: x\n\n"),
        (b": a\n: b\n\n\n\ndata: x\n\n", b"data: x\n\n"),
        (b"data: x\n: inside\n\n", b"data: x\n\n"),
        (b"id: 7\ndata: x\n\n: a\n\n: b\n\n", b"id: 7\ndata: x\n\n"),
        (b"id: 7\n\n: a\n\n", b"id: 7\n\n"),
        (b"data: : kept\n\n", b"data: : kept\n\n"),
        (b"data: x\n\n", b"data: x\n\n"),
        (BOM + b": hi\n\ndata: x\n\n", BOM + b"data: x\n\n"),
        (BOM + BOM + b": no comment\n\n", BOM + BOM + b": no comment\n\n"),
        (b"\xef\xbb: no comment\n\n", b"\xef\xbb: no comment\n\n"),
        (BOM[:2], BOM[:2]),
        (b":", b""),
        (b"", b""),
    ],
)
@pytest.mark.parametrize("ending", [b"\n", b"\r", b"\r\n"])
def test_comments_are_stripped_with_the_blank_lines_that_end_no_event(
    body: bytes, expected: bytes, ending: bytes
) -> None:
    body, expected = body.replace(b"\n", ending), expected.replace(b"\n", ending)
    assert strip(body) == expected
    assert strip(*one_by_one(body)) == expected


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        ([b"data: x\r", b"\n", b"\n", b": a\n", b"\n"], b"data: x\r\n\n"),
        ([b": a\r", b"\n", b"\n", b"data: x\n"], b"data: x\n"),
        ([b"data: x\n\n", BOM, b": part of a field\n"], b"data: x\n\n" + BOM + b": part of a field\n"),
    ],
)
def test_stripping_is_right_where_a_chunk_begins_in_the_middle(chunks: list[bytes], expected: bytes) -> None:
    assert strip(*chunks) == expected


@pytest.mark.parametrize("at", range(len(STREAM) + 1))
def test_stripping_changes_no_event_wherever_the_stream_is_split(at: int) -> None:
    assert dispatch(strip(STREAM[:at], STREAM[at:])) == dispatch(STREAM)
