"""Content codings (RFC 9110 section 8.4.1): a decoded copy of a compressed body, step by step and within bounds."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

import brotli
import zstandard

#: How much one step may unpack, in bytes. mitmproxy reads 64 KiB at once; text packs at 20:1, a bomb at 1000:1.
MAX_STEP = 8 << 20

#: How much of a whole body is decoded at once, in bytes.
STEP = 64 << 10

#: How much an unpacker without an output limit is given at once, in bytes. The worst of bombs makes 32 MiB of it.
SLICE = 16

#: How many codings may lie one over the other. Each takes its memory, and no honest server needs more than one.
MAX_CODINGS = 4

#: The largest window of a zstd body, in bytes: as much as RFC 9659 allows. Others could keep 128 MiB busy.
ZSTD_WINDOW = 8 << 20

#: Takes input, gives output piece by piece.
Unpack = Callable[[bytes], Iterable[bytes]]

#: Whether what was unpacked so far is a whole body: more may follow, but need not.
IsWhole = Callable[[], bool]


class CodingError(ValueError):
    """Raised when a body is not coded as its header says, or unpacks to more than `MAX_STEP` bytes in one step."""


class Decoder:
    """Undoes the codings of a `content-encoding` header, last applied first.

    Raises LookupError for a coding that is not known, and for more than `MAX_CODINGS`.
    """

    __slots__ = ("_stages", "_whole")

    def __init__(self, header: str) -> None:
        stages = [_UNPACKERS[name]() for name in reversed(_names(header))]
        self._stages: list[Unpack] = [unpack for unpack, _ in stages]
        self._whole: list[IsWhole] = [is_whole for _, is_whole in stages]

    @property
    def is_identity(self) -> bool:
        """Whether there is nothing to undo."""
        return not self._stages

    @property
    def is_whole(self) -> bool:
        """Whether a coded body is complete, as its codings tell; never for one that is not coded."""
        return bool(self._whole) and all(is_whole() for is_whole in self._whole)

    def give_up(self) -> None:
        """Decode nothing more."""
        self._stages = [lambda _: ()]

    def feed(self, data: bytes) -> bytes:
        """What `data` adds to the decoded body. Raises CodingError."""
        for stage in self._stages:
            data = _collect(stage, data)
        return data


class Encoder:
    """Applies the codings of a `content-encoding` header, so that each step can be decoded by itself.

    Raises LookupError for a coding that is not known, and for more than `MAX_CODINGS`.
    """

    __slots__ = ("_stages",)

    def __init__(self, header: str) -> None:
        self._stages = [_PACKERS[name]() for name in _names(header)]

    def feed(self, data: bytes) -> bytes:
        """`data` coded, and flushed."""
        for pack, flush in self._stages:
            data = pack(data) + flush()
        return data

    def finish(self) -> bytes:
        """What ends the coded body."""
        rest = b""
        for pack, flush in self._stages:
            rest = (pack(rest) if rest else b"") + flush(last=True)
        return rest


def decode(header: str, body: bytes, limit: int) -> bytes:
    """A whole body, decoded. Raises LookupError as `Decoder` does, and CodingError for more than `limit` bytes."""
    decoder, out, size = Decoder(header), [], 0
    if decoder.is_identity and len(body) <= limit:
        return body
    for start in range(0, len(body), STEP):
        out.append(decoder.feed(body[start : start + STEP]))
        size += len(out[-1])
        if size > limit:
            raise CodingError(f"Expected at most {limit} bytes, got more.")
    return b"".join(out)


def _names(header: str) -> list[str]:
    """The codings that change a body, in the order in which they were applied. Raises LookupError for too many."""
    names = [name.strip().lower() for name in header.split(",")]
    names = [name for name in names if name not in ("", "identity")]
    if len(names) > MAX_CODINGS:
        raise LookupError(f"Expected at most {MAX_CODINGS} codings, got {len(names)}.")
    return names


def _collect(unpack: Unpack, data: bytes) -> bytes:
    out, size = [], 0
    try:
        for piece in unpack(data):
            out.append(piece)
            size += len(piece)
            if size > MAX_STEP:
                raise CodingError(f"Expected at most {MAX_STEP} bytes from one step, got more.")
    except (zlib.error, brotli.error, zstandard.ZstdError) as e:
        raise CodingError(f"Expected a body coded as its header says, got {e}.") from e
    return b"".join(out)


def _slices(data: bytes) -> Iterator[bytes]:
    return (data[i : i + SLICE] for i in range(0, len(data), SLICE))


def _gzip() -> tuple[Unpack, IsWhole]:
    """gzip, of one or several members (RFC 1952 section 2.2)."""
    member, begun = None, False

    def unpack(data: bytes) -> Iterator[bytes]:
        nonlocal member, begun
        # Padding with zeros behind a member is common.
        while data := data if member else data.lstrip(b"\0"):
            member, begun = member or zlib.decompressobj(zlib.MAX_WBITS | 16), True
            yield member.decompress(data, MAX_STEP)
            data = member.unconsumed_tail or member.unused_data
            if member.eof:
                member = None

    return unpack, lambda: begun and member is None


def _deflate() -> tuple[Unpack, IsWhole]:
    """`deflate`, in its zlib wrapping as specified or bare as often sent."""
    stream = None

    def unpack(data: bytes) -> Iterator[bytes]:
        nonlocal stream
        if stream is None and data:
            # The low half of a zlib header's first byte is 8; as bare deflate that would be a stored block, never seen.
            stream = zlib.decompressobj(zlib.MAX_WBITS if data[0] & 0x0F == 8 else -zlib.MAX_WBITS)
        while data and stream is not None and not stream.eof:
            yield stream.decompress(data, MAX_STEP)
            data = stream.unconsumed_tail

    return unpack, lambda: stream is not None and stream.eof


def _brotli() -> tuple[Unpack, IsWhole]:
    stream = brotli.Decompressor()
    return lambda data: map(stream.process, _slices(data)), stream.is_finished


def _zstd() -> tuple[Unpack, IsWhole]:
    """zstd, of one or several frames (RFC 8878 section 3)."""
    frame, whole = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW).decompressobj(), False

    def unpack(data: bytes) -> Iterator[bytes]:
        nonlocal frame, whole
        for part in _slices(data):
            rest = part
            while rest:
                yield frame.decompress(rest)
                rest, whole = frame.unused_data, frame.eof
                if whole:
                    frame = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW).decompressobj()

    return unpack, lambda: whole


_UNPACKERS: dict[str, Callable[[], tuple[Unpack, IsWhole]]] = {
    "gzip": _gzip,
    "x-gzip": _gzip,
    "deflate": _deflate,
    "br": _brotli,
    "zstd": _zstd,
}


class Flush(Protocol):
    """Gives what a packer has kept back."""

    def __call__(self, *, last: bool = False) -> bytes: ...


def _zlib_packer(wbits: int) -> tuple[Callable[[bytes], bytes], Flush]:
    packer = zlib.compressobj(wbits=wbits)
    return packer.compress, lambda *, last=False: packer.flush(zlib.Z_FINISH if last else zlib.Z_SYNC_FLUSH)


def _brotli_packer() -> tuple[Callable[[bytes], bytes], Flush]:
    packer = brotli.Compressor()
    return packer.process, lambda *, last=False: packer.finish() if last else packer.flush()


def _zstd_packer() -> tuple[Callable[[bytes], bytes], Flush]:
    packer = zstandard.ZstdCompressor().compressobj()
    modes = zstandard.COMPRESSOBJ_FLUSH_FINISH, zstandard.COMPRESSOBJ_FLUSH_BLOCK
    return packer.compress, lambda *, last=False: packer.flush(modes[0] if last else modes[1])


_PACKERS: dict[str, Callable[[], tuple[Callable[[bytes], bytes], Flush]]] = {
    "gzip": lambda: _zlib_packer(zlib.MAX_WBITS | 16),
    "x-gzip": lambda: _zlib_packer(zlib.MAX_WBITS | 16),
    "deflate": lambda: _zlib_packer(zlib.MAX_WBITS),
    "br": _brotli_packer,
    "zstd": _zstd_packer,
}
