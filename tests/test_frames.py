"""Finding frames in a recording, cutting between them and replacing them."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from healthy import recording
from mutants import CHUNKS, LINES, URL
from sseguard.mutations import frames, surgery
from sseguard.mutations.frames import framed, split_frames
from sseguard.recordings.recording import Chunk
from sseguard.sse import BOM, BlockSplitter


@example(b": a\r\n\r\ndata: b")
@given(st.lists(LINES).map(b"".join))
def test_frames_are_the_blocks_of_the_stream_as_raw_bytes(data: bytes) -> None:
    found = split_frames(data)
    splitter = BlockSplitter()
    blocks = splitter.feed(data)
    rest = splitter.rest()
    bare = split_frames(data.removeprefix(BOM))
    said = [text for text in bare if text.strip(b"\r\n")]
    assert b"".join(found) == data
    assert len(said) == len(blocks) + (1 if rest else 0)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", ()),
        (b"data: a\n\ndata: b\n\n", (b"data: a\n\n", b"data: b\n\n")),
        (b": a\n\n: b\n\n\ndata: c", (b": a\n\n", b": b\n\n\n", b"data: c")),
        (b": a\n: b\ndata: c\n: d\n\n", (b": a\n", b": b\n", b"data: c\n: d\n\n")),
        (b"data: a\n: b\ndata: c\n\n", (b"data: a\n: b\ndata: c\n\n",)),
        (BOM + b": a\ndata: b\n\n", (BOM + b": a\n", b"data: b\n\n")),
        (b"\n\ndata: a\n\n", (b"\n\ndata: a\n\n",)),
        (BOM + b": a\n\ndata: b\r\r", (BOM + b": a\n\n", b"data: b\r\r")),
    ],
)
def test_a_frame_takes_the_blank_lines_behind_it(data: bytes, expected: tuple[bytes, ...]) -> None:
    assert split_frames(data) == expected


@given(CHUNKS, st.integers(0, 150))
def test_a_split_takes_so_many_bytes_and_leaves_the_others(data: list[bytes], offset: int) -> None:
    chunks = recording(URL, *data).chunks
    before, after = surgery.split_at(chunks, offset)
    assert b"".join(chunk.data for chunk in before) == b"".join(data)[:offset]
    assert b"".join(chunk.data for chunk in (*before, *after)) == b"".join(data)
    assert {chunk.at for chunk in (*before, *after)} <= {chunk.at for chunk in chunks}


def test_a_split_between_chunks_splits_none() -> None:
    chunks = recording(URL, b"abc", b"de").chunks
    assert surgery.split_at(chunks, 0) == ((), chunks)
    assert surgery.split_at(chunks, 3) == (chunks[:1], chunks[1:])
    assert surgery.split_at(chunks, 4) == ((chunks[0], Chunk(0.5, b"d")), (Chunk(0.5, b"e"),))
    assert surgery.split_at(chunks, 5) == (chunks, ())


@given(st.data(), st.lists(st.lists(LINES, max_size=4).map(b"".join), max_size=8))
def test_frames_that_are_rewritten_take_the_place_of_the_old_ones(data: st.DataObject, pieces: list[bytes]) -> None:
    stream = framed(recording(URL, *pieces))
    news = [data.draw(st.sampled_from([old, b"", b"new"])) for old in stream.frames]
    chunks = frames.rewritten(stream, news)
    assert b"".join(chunk.data for chunk in chunks) == b"".join(news)
    assert all(chunk.data for chunk in chunks)
