"""Bytes seen without their escapes, or decoded from base64, with the way back to where each byte came from.

A view is the other reading of some bytes and a function that leads from a range in it to the range it was read
from; that range covers whole escapes and whole groups of four base64 digits.
"""

from __future__ import annotations

import base64
import binascii
import re
from bisect import bisect_right
from collections.abc import Callable, Iterator
from typing import NamedTuple


class View(NamedTuple):
    """Another reading of some bytes."""

    data: bytes
    #: From a range in `data` to the range in the bytes that were read.
    origin: Callable[[int, int], tuple[int, int]]


# Percent-encoding (RFC 3986) and the escapes of JSON strings (RFC 8259 section 7), with the `\x2d` of repr().
_ESCAPE = re.compile(rb'%([0-9A-Fa-f]{2})|\\u([0-9A-Fa-f]{4})|\\x([0-9A-Fa-f]{2})|\\(["\\/bfnrt])')
_SIMPLE = {b'"': b'"', b"\\": b"\\", b"/": b"/", b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t"}


def unescaped(data: bytes) -> View | None:
    """`data` with one level of escapes taken away, or None if it has none."""
    read = _ESCAPE.sub(_character, data) if b"%" in data or b"\\" in data else data
    return None if read == data else View(read, _escape_origin(data))


def _character(escape: re.Match[bytes]) -> bytes:
    percent, unicode, byte, simple = escape.groups()
    if unicode:
        return chr(int(unicode, 16)).encode("utf-8", "surrogatepass")
    return _SIMPLE[simple] if simple else bytes((int(percent or byte, 16),))


def _escape_origin(data: bytes) -> Callable[[int, int], tuple[int, int]]:
    marks: list[tuple[int, int]] = []  # (offset in the view, offset in data), where the distance changes

    def back(offset: int) -> int:
        seen, real = marks[bisect_right(marks, (offset, len(data))) - 1]
        return real + offset - seen

    def origin(start: int, end: int) -> tuple[int, int]:
        if not marks:  # only now: most views hold nothing
            marks.append((0, 0))
            for escape in _ESCAPE.finditer(data):
                seen, real = marks[-1]
                at = seen + escape.start() - real
                marks.append((at, escape.start()))
                marks.append((at + len(_character(escape)), escape.end()))
        return back(start), max(back(end - 1) + 1, back(end))

    return origin


#: What base64 is written with (RFC 4648 sections 4 and 5).
BASE64_BYTES = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_"

# From a length on at which a key may be inside.
_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{20,}(?:\r?\n[A-Za-z0-9+/_-]+)*={0,2}")
_URLSAFE = bytes.maketrans(b"-_", b"+/")
_PRINTABLE = bytes(97 if 32 <= byte < 127 else 32 for byte in range(256))

# A run this long is a file, and begins where its encoder began; a shorter one may have letters before it.
_ALIGNED = 4096


def decoded(data: bytes) -> Iterator[View]:
    """Each base64 run of `data`, decoded from each digit it may have begun at.

    Only what holds eight printable characters in a row is given.
    """
    for found in _BASE64.finditer(data):
        digits = found[0].rstrip(b"=")
        places = None
        if b"\n" in digits:
            places = [place for place, byte in enumerate(digits) if byte not in b"\r\n"]
            digits = digits.replace(b"\r", b"").replace(b"\n", b"")
        digits = digits.translate(_URLSAFE)
        for skip in range(1 if len(digits) > _ALIGNED else 4):
            read = _decode(digits[skip:])
            if b"aaaaaaaa" in read.translate(_PRINTABLE):
                yield View(read, _base64_origin(found, len(digits), skip, places))


def _decode(digits: bytes) -> bytes:
    whole = digits[: len(digits) - (len(digits) % 4 == 1)]
    return binascii.a2b_base64(whole + b"=" * (-len(whole) % 4))


def _base64_origin(
    found: re.Match[bytes], digits: int, skip: int, places: list[int] | None
) -> Callable[[int, int], tuple[int, int]]:
    def origin(start: int, end: int) -> tuple[int, int]:
        first = skip + start // 3 * 4
        after = skip - -end // 3 * 4
        length = places[after - 1] + 1 if places and after < digits else after
        last = found.start() + length if after < digits else found.end()  # then the padding goes too
        return found.start() + (places[first] if places else first), last

    return origin


class Digits(NamedTuple):
    """Base64 digits that a value always gives at one place, and whether it shares the digit beside them."""

    form: bytes
    left: bool
    right: bool


def base64_needles(value: bytes) -> Iterator[Digits]:
    """What `value` looks like inside base64, at each of the three places where it may begin."""
    for shift in range(3):
        digits = base64.b64encode(bytes(shift) + value)
        end, rest = divmod((shift + len(value)) * 8, 6)
        inner = digits[-(-shift * 8 // 6) : end]
        for form in {inner, inner.translate(bytes.maketrans(b"+/", b"-_"))}:
            yield Digits(form, left=shift > 0, right=rest > 0)
