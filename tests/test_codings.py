"""Compressed bodies: decoded as they come, within bounds, and never a crash."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from collections.abc import Iterable, Iterator

import brotli
import pytest
import zstandard

from sseguard.codings import MAX_CODINGS, MAX_STEP, CodingError, Decoder, Encoder, decode

CODINGS = ("gzip", "deflate", "br", "zstd")
FRAMES = [f'data: {{"n": {n}, "text": "Hello, \u4e16\u754c"}}\n\n'.encode() for n in range(50)]
BODY = b"".join(FRAMES)


def bare_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


PACKED = {
    "gzip": gzip.compress(BODY, mtime=0),
    "deflate": zlib.compress(BODY),
    "br": brotli.compress(BODY),
    "zstd": zstandard.compress(BODY),
}


def one_by_one(data: bytes) -> Iterable[bytes]:
    return (data[i : i + 1] for i in range(len(data)))


def undo(coding: str, chunks: Iterable[bytes]) -> bytes:
    return b"".join(map(Decoder(coding).feed, chunks))


def zeros(coding: str, megabytes: int) -> Iterator[bytes]:
    """A bomb."""
    block = bytes(1 << 20)
    match coding:
        case "br":
            packer = brotli.Compressor(quality=9, lgwin=24)
            yield from (packer.process(block) for _ in range(megabytes))
            yield packer.finish()
        case "zstd":
            obj = zstandard.ZstdCompressor().compressobj()
            yield from (obj.compress(block) for _ in range(megabytes))
            yield obj.flush()
        case _:
            squeeze = zlib.compressobj(wbits=zlib.MAX_WBITS | (16 if coding == "gzip" else 0))
            yield from (squeeze.compress(block) for _ in range(megabytes))
            yield squeeze.flush()


# --- what is well coded ---


@pytest.mark.parametrize("coding", CODINGS)
def test_a_body_is_decoded_whole_and_byte_by_byte(coding: str) -> None:
    assert undo(coding, [PACKED[coding]]) == BODY
    assert undo(coding, one_by_one(PACKED[coding])) == BODY
    assert decode(coding, PACKED[coding], limit=len(BODY)) == BODY


@pytest.mark.parametrize("coding", CODINGS)
def test_each_flushed_frame_comes_out_with_the_bytes_that_complete_it(coding: str) -> None:
    packer, unpacker = Encoder(coding), Decoder(coding)
    assert [unpacker.feed(packer.feed(frame)) for frame in FRAMES] == FRAMES
    assert unpacker.feed(packer.finish()) == b""


@pytest.mark.parametrize("coding", [*CODINGS, "gzip, br", "zstd, deflate", "identity", ""])
def test_what_is_encoded_in_steps_is_decoded_in_any(coding: str) -> None:
    packer = Encoder(coding)
    packed = b"".join([*map(packer.feed, FRAMES), packer.finish()])
    assert undo(coding, [packed]) == undo(coding, one_by_one(packed)) == BODY


@pytest.mark.parametrize("coding", [*CODINGS, "gzip, br", "br, zstd"])
def test_a_coded_body_is_whole_with_its_end_and_not_before(coding: str) -> None:
    packer, unpacker = Encoder(coding), Decoder(coding)
    whole = [unpacker.is_whole]
    unpacker.feed(packer.feed(BODY))
    whole.append(unpacker.is_whole)
    end = packer.finish()
    for chunk in (end[:-1], end[-1:]):
        unpacker.feed(chunk)
        whole.append(unpacker.is_whole)
    assert whole == [False, False, False, True]


def test_one_stage_that_is_whole_does_not_make_a_whole_body() -> None:
    decoder = Decoder("br, gzip")
    decoder.feed(gzip.compress(PACKED["br"][:-5]))
    assert not decoder.is_whole


def test_a_body_that_is_not_coded_is_never_known_to_be_whole() -> None:
    assert not Decoder("").is_whole


@pytest.mark.parametrize("name", ["gzip", "x-gzip", "GZIP", " gzip ", "gzip,identity", "identity, gzip,"])
def test_the_name_of_a_coding_is_read_in_any_spelling(name: str) -> None:
    assert undo(name, [PACKED["gzip"]]) == BODY


@pytest.mark.parametrize("header", ["", "identity", " , Identity"])
def test_no_coding_is_nothing_to_undo(header: str) -> None:
    assert Decoder(header).is_identity
    assert undo(header, [BODY]) == decode(header, BODY, limit=len(BODY)) == BODY


def test_the_coding_applied_last_is_undone_first() -> None:
    assert undo("br, gzip", [gzip.compress(PACKED["br"])]) == BODY


@pytest.mark.parametrize("chunks", [list, one_by_one])
@pytest.mark.parametrize("padding", [b"", b"\0" * 600])
def test_gzip_may_come_in_members_with_zeros_between_and_behind(chunks: type, padding: bytes) -> None:
    body = b"".join(gzip.compress(frame, mtime=0) + padding for frame in FRAMES)
    assert undo("gzip", chunks([body]) if chunks is list else one_by_one(body)) == BODY


@pytest.mark.parametrize("size", [1, 15, 16, 17, 1 << 20])
def test_zstd_may_come_in_frames(size: int) -> None:
    body = b"".join(map(zstandard.compress, FRAMES))
    assert undo("zstd", (body[i : i + size] for i in range(0, len(body), size))) == BODY


@pytest.mark.parametrize("size", [1, 2, 1 << 20])
def test_deflate_may_be_bare(size: int) -> None:
    body = bare_deflate(BODY)
    assert undo("deflate", (body[i : i + size] for i in range(0, len(body), size))) == BODY


def test_what_stands_behind_deflate_is_passed_over() -> None:
    assert undo("deflate", [PACKED["deflate"] + b"padding", b"more"]) == BODY


@pytest.mark.parametrize("coding", CODINGS)
def test_a_truncated_body_is_decoded_as_far_as_it_goes(coding: str) -> None:
    packer = Encoder(coding)
    packed = b"".join(map(packer.feed, FRAMES))  # and no end
    assert undo(coding, [packed]) == BODY


@pytest.mark.parametrize("coding", [*CODINGS, "gzip, br", "identity"])
def test_no_bytes_decode_to_none(coding: str) -> None:
    assert Decoder(coding).feed(b"") == b""
    assert decode(coding, b"", limit=0) == b""


# --- what is not ---


@pytest.mark.parametrize("coding", CODINGS)
def test_a_body_that_is_not_coded_as_it_says_is_an_error(coding: str) -> None:
    with pytest.raises(CodingError, match=r"^Expected a body coded as its header says, got .+\.$"):
        undo(coding, [BODY])


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd"])
def test_damage_in_the_middle_is_an_error(coding: str) -> None:
    damaged = PACKED[coding][:30] + b"\xff" * 20 + PACKED[coding][50:]
    with pytest.raises(CodingError, match="got "):
        undo(coding, one_by_one(damaged))


@pytest.mark.parametrize("header", ["compress", "gzip, aws-chunked", "utf-8", "gzip;q=1", "br gzip"])
def test_an_unknown_coding_is_a_lookup_error(header: str) -> None:
    for call in (Decoder, Encoder, lambda header: decode(header, b"", 0)):
        with pytest.raises(LookupError):
            call(header)


def test_more_codings_than_anyone_needs_are_a_lookup_error() -> None:
    Decoder(", ".join(["gzip"] * MAX_CODINGS))
    with pytest.raises(LookupError):
        Decoder(", ".join(["gzip"] * (MAX_CODINGS + 1)))


def test_a_decoder_that_has_given_up_gives_nothing_and_takes_anything() -> None:
    decoder = Decoder("gzip")
    decoder.give_up()
    assert decoder.feed(b"no gzip") == b""
    assert not decoder.is_identity


# --- bounds ---


@pytest.mark.parametrize("coding", CODINGS)
def test_a_bomb_is_stopped_before_it_fills_the_memory(coding: str) -> None:
    bomb = b"".join(zeros(coding, megabytes=150))
    decoder = Decoder(coding)
    tracemalloc.start()
    with pytest.raises(CodingError, match=f"^Expected at most {MAX_STEP} bytes from one step, got more"):
        decoder.feed(bomb)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 * MAX_STEP


@pytest.mark.parametrize(("window_log", "fits"), [(23, True), (24, False)])
def test_a_zstd_body_may_have_a_window_of_8_mib_and_no_more(window_log: int, fits: bool) -> None:
    packer = zstandard.ZstdCompressor(
        compression_params=zstandard.ZstdCompressionParameters(window_log=window_log)
    ).compressobj()
    body = packer.compress(BODY) + packer.flush()
    if fits:
        assert undo("zstd", [body]) == BODY
    else:
        with pytest.raises(CodingError, match="too much memory"):
            undo("zstd", [body])


@pytest.mark.parametrize("coding", CODINGS)
def test_as_much_as_a_step_may_give_is_given(coding: str) -> None:
    assert len(undo(coding, [b"".join(zeros(coding, MAX_STEP >> 20))])) == MAX_STEP


@pytest.mark.parametrize("coding", ["", *CODINGS])
def test_a_whole_body_beyond_the_limit_is_an_error(coding: str) -> None:
    packed = PACKED.get(coding, BODY)
    with pytest.raises(CodingError, match=f"^Expected at most {len(BODY) - 1} bytes, got more"):
        decode(coding, packed, limit=len(BODY) - 1)


def test_a_whole_body_may_be_larger_than_a_step() -> None:
    parts = [gzip.compress(bytes(MAX_STEP // 2), mtime=0) + bytes(70_000) for _ in range(4)]
    assert decode("gzip", b"".join(parts), limit=2 * MAX_STEP) == bytes(2 * MAX_STEP)
