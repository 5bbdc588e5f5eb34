"""Bytes on their way out: up to the last safe point, unless a frame is too large to wait for."""

from __future__ import annotations

import tracemalloc

import pytest

from sseguard.outlet import Outlet


def outlet(*held: bytes, limit: int = 100, aligned: bool = True, strip: bool = False) -> Outlet:
    it = Outlet(limit)
    it.aligned = aligned
    if strip:
        it.strip_comments()
    for data in held:
        it.put(data)
    return it


def test_what_ends_at_a_safe_point_goes_out_at_once() -> None:
    it = outlet(b"data: x\n\n")
    assert it.take(pending=0) == b"data: x\n\n"
    assert it.size == 0


def test_the_start_of_a_frame_waits_for_the_rest_of_it() -> None:
    it = outlet(b"data: x\n\ndata", b": y")
    assert it.take(pending=7) == b"data: x\n\n"
    assert it.size == 7
    it.put(b"\n\n")
    assert it.take(pending=0) == b"data: y\n\n"
    assert it.takes_frames


def test_nothing_goes_out_of_a_frame_that_has_just_begun() -> None:
    it = outlet(b"data")
    assert it.take(pending=4) == b""
    assert it.takes_frames


def test_a_frame_of_the_limit_is_kept_and_one_byte_more_is_let_out_in_part() -> None:
    it = outlet(b"x" * 10, limit=10)
    assert it.take(pending=10) == b""
    it.put(b"y")
    assert it.take(pending=11) == b"x" * 10 + b"y"
    assert not it.takes_frames


def test_complete_frames_do_not_count_against_the_limit_of_the_unfinished_one() -> None:
    it = outlet(b"data: x\n\n" * 20 + b"data", limit=10)
    assert it.is_over_limit
    assert it.take(pending=4) == b"data: x\n\n" * 20
    assert it.takes_frames
    assert it.size == 4


def test_the_rest_of_a_torn_frame_follows_as_it_comes() -> None:
    it = outlet(b"data: 12345", limit=10)
    assert it.take(pending=11) == b"data: 12345"
    it.put(b"6")
    assert it.take(pending=12) == b"6"
    assert (it.torn, it.size) == (True, 0)
    it.put(b"\n\nda")
    assert it.take(pending=2) == b"\n\n"
    assert (it.torn, it.size) == (False, 2)


def test_a_torn_frame_that_is_complete_takes_frames_behind_it() -> None:
    it = outlet(b"data: 12345", limit=0)
    it.take(pending=11)
    it.put(b"\n\n")
    assert it.take(pending=0) == b"\n\n"
    assert it.takes_frames


@pytest.mark.parametrize("held", [[], [b"data: x\n\n"], [b"da"]])
@pytest.mark.parametrize(("data", "pending"), [(b"ta: y\n\n", 0), (b"data: y\n\n: z\n\nd", 1), (b"more", 6)])
@pytest.mark.parametrize("limit", [3, 100])
@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("strip", [True, False])
def test_to_pass_on_is_to_put_and_take(
    held: list[bytes], data: bytes, pending: int, limit: int, aligned: bool, strip: bool
) -> None:
    one, two = (outlet(*held, limit=limit, aligned=aligned, strip=strip) for _ in range(2))
    two.put(data)
    assert one.pass_on(data, pending) == two.take(pending)
    assert (one.torn, one.size, one.take_all()) == (two.torn, two.size, two.take_all())


def test_a_body_without_safe_points_goes_out_as_it_comes_and_takes_no_frame() -> None:
    it = outlet(b"\x1f\x8b", aligned=False)
    assert it.take(pending=1) == b"\x1f\x8b"
    assert not it.takes_frames


@pytest.mark.parametrize(
    ("held", "pending", "expected"),
    [
        (b"data: x\n\n", 0, b"data: x\n\n"),
        (b"data: x\n\ndata: {", 7, b"data: x\n\n"),
        (b"data: {", 7, b""),
    ],
)
def test_the_incomplete_tail_of_a_broken_frame_is_dropped(held: bytes, pending: int, expected: bytes) -> None:
    it = outlet(held)
    assert it.take_whole(pending, complete=False) == expected
    assert it.size == 0


@pytest.mark.parametrize(
    ("tail", "expected"),
    [
        (b"data: {}", b"data: {}\n\n"),
        (b"data: {}\n", b"data: {}\n\n"),
        (b"data: {}\r\n", b"data: {}\r\n\n"),
        (b"data: {}\r", b"data: {}\r\n\n"),  # one LF would only make a CRLF of the CR
    ],
)
def test_a_frame_that_lacks_only_its_blank_line_gets_it(tail: bytes, expected: bytes) -> None:
    assert outlet(b"data: x\n\n" + tail).take_whole(len(tail), complete=True) == b"data: x\n\n" + expected


def test_comments_are_left_out_across_takes() -> None:
    it = outlet(b": hi\n\ndata: x\n\nda", strip=True)
    assert it.take(pending=2) == b"data: x\n\n"
    it.put(b"ta: y\n\n: bye\n\n")
    assert it.take(pending=0) == b"data: y\n\n"
    it.put(b": again\n\ndata: z")
    assert it.take_all() == b"data: z"


def test_what_is_dropped_does_not_come_out() -> None:
    it = outlet(b"data: x\n\n")
    it.drop()
    assert (it.size, it.take_all()) == (0, b"")


def test_small_pieces_take_little_more_memory_than_their_bytes() -> None:
    it = outlet(limit=1 << 20)
    tracemalloc.start()
    for _ in range(100_000):
        it.put(bytes(bytearray(b"xy")))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert it.size == 200_000
    assert peak < 300_000


def test_a_growing_frame_is_not_copied_with_every_piece_of_it() -> None:
    pieces = [b"data: " + b"x" * 600, b"y" * 600, b"z" * 600]
    it = outlet(limit=10_000)
    for count, piece in enumerate(pieces, start=1):
        it.put(piece)
        assert it.take(pending=it.size) == b""
        assert it._held == pieces[:count]
    assert it.take(pending=0) == b"".join(pieces)


def test_no_bytes_are_no_matter() -> None:
    it = outlet(b"")
    assert (it.size, it.take(pending=0), it.take_all()) == (0, b"", b"")
