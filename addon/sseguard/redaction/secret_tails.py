"""Whether the end of a text that goes on could be the beginning of a secret.

Where this says no, what comes next can be judged without what came before. It errs on the side of waiting: a
word that mixes letters and digits may turn out to be base64.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from .secret_fields import ANNOUNCES, STEMS, name_around
from .secret_patterns import PEM_END, PEM_OPEN, RUN_BYTES, SHAPES, keys_begun, named
from .secret_scan import Hit, Rank, Wanted


class Opening(NamedTuple):
    """A secret may have begun at `start`. `hit`, to the end of the text, is what is one without much doubt."""

    start: int
    hit: Hit | None = None


#: Only this much of a text is looked at, in bytes; more than a key or a JWT.
REACH = 16384

# A value may follow its name at this distance, with as much of the value as is waited for.
_NEAR = 640

# A word that is only perhaps a secret is followed over this many bytes: the longest usual keys, in base64.
_PATIENCE = 320


def opening(text: bytes, wanted: Wanted) -> Opening | None:
    """The earliest place in `text`, the body of a JSON string or of a line, where an unfinished secret may be."""
    tail = text[-REACH:]
    if not wanted.user and _quiet(tail) and next(_known(tail, wanted), None) is None:
        return None
    openings = list(_openings(_flat(tail), tail, wanted))
    if not openings:
        return None
    skipped = len(text) - len(tail)
    hit = next((one.hit for one in openings if one.hit), None)
    if hit and skipped:
        hit = Hit(hit.start + skipped, hit.end + skipped, hit.kind, hit.value, hit.rank)
    return Opening(min(one.start for one in openings) + skipped, hit)


def _quiet(text: bytes) -> bool:
    """Whether a text ends in an ordinary word, and announces nothing: the usual case, told apart cheaply."""
    word = text[len(text.rstrip(RUN_BYTES)) :]
    ordinary = not word or (len(word) > 1 and word[1:].islower() and word.isalpha() and not _starts(word))
    return ordinary and b"\\" not in text and not ANNOUNCES.search(text[-_NEAR:].lower()) and b"-----BEGIN" not in text


def _openings(flat: bytes, tail: bytes, wanted: Wanted) -> Iterator[Opening]:
    begin = tail.rfind(b"-----BEGIN")
    if begin >= 0 and PEM_OPEN.fullmatch(tail, begin) and not PEM_END.search(tail, begin):
        yield Opening(begin, _rest(tail, begin, "private-key") if b"KEY" in tail[begin:] else None)
    yield from _known(tail, wanted)
    awaited = _awaited(flat)
    if awaited is not None:
        yield Opening(awaited)
    run = len(flat.rstrip(RUN_BYTES))
    if run < len(flat):
        yield from _in_run(flat, run, wanted)


# Escapes of two bytes, made into two bytes that end or continue a word as the character does.
_PAIR = re.compile(rb"\\[^u]", re.DOTALL)
_FLAT = {b'\\"': b' "', b"\\/": b"//"}


def _flat(text: bytes) -> bytes:
    return _PAIR.sub(lambda pair: _FLAT.get(pair[0], b"  "), text) if b"\\" in text else text


def _rest(text: bytes, start: int, kind: str) -> Hit:
    return Hit(start, len(text), kind, text[start:], Rank.KEY)


def _known(text: bytes, wanted: Wanted) -> Iterator[Opening]:
    last = text[-1:]
    for needle in wanted.needles:
        form = needle.form
        start = text.find(form[:1], max(0, len(text) - len(form) + 1)) if last in form else -1
        while start >= 0:
            found = len(text) - start
            # Every other word ends as some secret begins; two bytes of one are no secret.
            if form.startswith(text[start:]) and (found > 2 or not text[start - 1 : start].isalnum()):
                hit = Hit(start, len(text), needle.kind, needle.value, Rank.KNOWN) if found >= 6 else None
                yield Opening(start, hit)
                break
            start = text.find(form[:1], start + 1)


# A name, and as much of a value as there is; `secret_fields` has the whole form.
_AWAITED = re.compile(
    rb"[\w.-]{0,40}\s?[\"']?\]?\s{0,8}(?:(?:=>|[:=])\s{0,8}"
    rb"(?:[\"']([^\"']{0,512})|((?:[\w-]{1,20}(?:\s|%20|\+){1,4})?[^\s\"',;&<>{}()\[\]]{0,512})))?"
)
_BEARER = re.compile(rb"bearer\s{0,4}([\w.~+/=-]*)")


def _awaited(flat: bytes) -> int | None:
    """Where the value begins that a name at the end of the text announces, if it may go on."""
    near = max(0, len(flat) - _NEAR)
    lower = flat[near:].lower()
    for stem in STEMS:
        at = lower.rfind(stem)
        if at >= 0 and (found := _AWAITED.fullmatch(lower, at)) and named(name_around(lower, at)):
            return near + (found.start(found.lastindex) if found.lastindex else len(lower))
    at = lower.rfind(b"bearer")
    found = _BEARER.fullmatch(lower, at) if at >= 0 else None
    return near + found.start(1) if found else None


# What a key or the name of one begins with, cut off anywhere, in lower case.
_NAMES = (
    b"api_key", b"api-key", b"apikey", b"secret", b"password", b"passphrase", b"token", b"bearer",
    b"authorization", b"credential", b"access_token", b"https://", b"http://",
)  # fmt: skip
_STARTS = frozenset(
    [prefix[:end].lower() for shape in SHAPES for prefix in shape.prefixes for end in range(1, len(prefix) + 1)]
    + [name[:end] for name in _NAMES for end in range(2, len(name) + 1)]
    + [b"-----begin"[:end] for end in range(2, 11)]
)
_LONGEST = max(map(len, _STARTS))
_KEY_REST = re.compile(rb"[\w./-]*")
_MIXED = re.compile(rb"[A-Za-z][0-9]|[0-9][A-Za-z]|[a-z][A-Z]|[%\\]|://|=.|[A-Z][A-Z]")


def _in_run(flat: bytes, start: int, wanted: Wanted) -> Iterator[Opening]:
    for key in keys_begun(flat, start):
        if _KEY_REST.fullmatch(flat, key.end):
            yield Opening(key.start, _rest(flat, key.start, key.shape.kind) if len(flat) - key.start >= 8 else None)
            break
    # One letter says nothing about the word that it begins, and some streams come letter by letter.
    word = flat[start:]
    letter = len(word) == 1 and (word.isalnum() or word == b"-")
    if wanted.user or letter or _MIXED.search(word) or _starts(word):
        yield Opening(max(start, len(flat) - _PATIENCE))


def _starts(word: bytes) -> bool:
    run = word[-_LONGEST - 1 :].lower()
    for length in range(1, min(len(run), _LONGEST) + 1):
        if run[-length:] in _STARTS and (length > 3 or not run[-length - 1 : -length].isalnum()):
            return True
    return False
