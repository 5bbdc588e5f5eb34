"""Where the secrets are in some bytes, also escaped, percent- or base64-encoded, one inside the other.

A key is always part of one *run*: bytes without blanks, quotes or brackets. Runs shorter than a key are skipped
in one pass in C, so ordinary text costs little; each longer one is looked at as it stands, without its escapes,
and decoded. Beside runs there are values that a name announces, PEM blocks, values known beforehand, and the
user's own patterns. Time is linear in the input (a pattern of the user's may have other ideas).
"""

from __future__ import annotations

import enum
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import quote_from_bytes

from .secret_fields import ANNOUNCES, announced, in_url
from .secret_patterns import PEM, PLACEHOLDER, RUN_BYTES, keys
from .secret_views import base64_needles, decoded, unescaped


class Rank(enum.IntEnum):
    """How well a secret is known. Where several overlap, the best known gives the kind and the value."""

    #: A pattern of the user's matched.
    USER = 0
    #: A name announced it.
    NAME = 1
    #: It has the shape of a provider's keys.
    KEY = 2
    #: It was seen before, where only secrets are.
    KNOWN = 3


@dataclass(frozen=True, slots=True)
class Hit:
    """A secret: its range in the bytes that were scanned, what it is, and the secret itself, decoded."""

    start: int
    end: int
    kind: str
    value: bytes
    rank: Rank


@dataclass(frozen=True, slots=True)
class Needle:
    """A form that a known secret may take. In base64 the digits to its `left` and `right` may hold bits of it."""

    form: bytes
    value: bytes
    kind: str
    left: bool = False
    right: bool = False


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to look for beside the built-in patterns."""

    needles: tuple[Needle, ...] = ()
    user: tuple[re.Pattern[bytes], ...] = ()


#: Nothing but the built-in patterns.
NOTHING = Wanted()


def needles(value: bytes, kind: str) -> tuple[Needle, ...]:
    """The forms to search for a secret that may look like anything."""
    text = value.decode("utf-8", "replace")
    quoted = quote_from_bytes(value, safe="")
    plain = {value, quoted.encode(), re.sub("%..", lambda m: m[0].lower(), quoted).encode()}
    plain |= {json.dumps(text)[1:-1].encode(), json.dumps(text, ensure_ascii=False)[1:-1].encode("utf-8")}
    coded = (Needle(digits.form, value, kind, digits.left, digits.right) for digits in base64_needles(value))
    return (*(Needle(form, value, kind) for form in sorted(plain)), *coded)


# A view inside a view inside a view: percent-encoded JSON with a base64 value, say.
_MAX_DEPTH = 3
_RUN_TABLE = bytes(97 if byte in RUN_BYTES else 32 for byte in range(256))
_LONG = b"a" * 12
_WRAPPED = re.compile(rb"\r?\n(?=[A-Za-z0-9+/_=-]{4})")


def find(data: bytes, wanted: Wanted = NOTHING) -> list[Hit]:
    """The secrets in `data`, in order and without overlap. Placeholders are left alone."""
    if wanted is NOTHING and len(data) < 1024 and _quiet(data):
        return []
    spared = PLACEHOLDER.sub(_blank, data) if b"<redacted:" in data else data
    hits = list(_all(spared, wanted, 0))
    if not hits:
        return hits
    whole = merged(hits)
    return whole if spared is data else [part for hit in whole for part in _parts(spared, hit)]


def _quiet(data: bytes) -> bool:
    """Whether there is no long run and no name of a secret: so with most parts of most frames."""
    return _LONG not in data.translate(_RUN_TABLE) and b"-----BEGIN" not in data and not ANNOUNCES.search(data.lower())


def _blank(placeholder: re.Match[bytes]) -> bytes:
    return bytes(len(placeholder[0]))


def _parts(spared: bytes, hit: Hit) -> Iterator[Hit]:
    """What of `hit` is no placeholder."""
    text = spared[hit.start : hit.end]
    if b"\0" not in text:
        yield hit
        return
    for found in _FILLED.finditer(text):
        yield Hit(hit.start + found.start(), hit.start + found.end(), hit.kind, found[0], hit.rank)


_FILLED = re.compile(rb"[^\0]+")


def _all(data: bytes, wanted: Wanted, depth: int) -> Iterator[Hit]:
    for value in announced(data):
        yield Hit(value.start, value.end, value.kind, _plain(value.secret), Rank.NAME)
    if b"-----BEGIN" in data:
        for found in PEM.finditer(data):
            yield Hit(*found.span(), "private-key", _bare_pem(found[0]), Rank.KEY)
    yield from _known(data, wanted.needles)
    for pattern in wanted.user:
        for found in pattern.finditer(data):
            if found[0]:
                yield Hit(*found.span(), "custom", found[0], Rank.USER)
    harmless: set[bytes] = set()  # a model id, or the id of an answer, comes again and again
    for start, end in _runs(data):
        run = data[start:end]
        if run in harmless:
            continue
        hits = list(_in_run(run, start, wanted, depth))
        if not hits and len(run) <= 128 and len(harmless) < _MAX_CLEAN:
            harmless.add(run)
        yield from hits


def _plain(value: bytes) -> bytes:
    view = unescaped(value)
    return view.data if view else value


def _bare_pem(block: bytes) -> bytes:
    """A PEM block without its line breaks, however they are written, so that it gets one number."""
    return re.sub(rb"\\+u000[adAD]|\\+[nr]|\s|data:", b"", block)


def _known(data: bytes, wanted: Iterable[Needle]) -> Iterator[Hit]:
    for needle in wanted:
        start = data.find(needle.form)
        while start >= 0:
            end = start + len(needle.form)
            left = needle.left and data[start - 1 : start].isalnum()
            right = needle.right and data[end : end + 1].isalnum()
            yield Hit(start - left, end + right, needle.kind, needle.value, Rank.KNOWN)
            start = data.find(needle.form, end)


def _runs(data: bytes) -> Iterator[tuple[int, int]]:
    table = data.translate(_RUN_TABLE)
    start = table.find(_LONG)
    while start >= 0:
        end = _end(table, start)
        line = start
        # Base64 in lines of up to 76 digits (RFC 2045) is one run.
        while end - line >= 40 and (wrapped := _WRAPPED.match(data, end)):
            line = wrapped.end()
            end = _end(table, line)
        yield start, end
        start = table.find(_LONG, end)


def _end(table: bytes, start: int) -> int:
    end = table.find(b" ", start)
    return len(table) if end < 0 else end


def _in_run(run: bytes, base: int, wanted: Wanted, depth: int) -> Iterator[Hit]:
    # In a megabyte of base64 only its beginning can be a key: the shapes without punctuation stand alone.
    whole = len(run) < 4096 or b"-" in run or b"_" in run or b"." in run
    for key in keys(run, len(run) if whole else 1024):
        yield Hit(base + key.start, base + key.end, key.shape.kind, run[key.start : key.end], Rank.KEY)
    for value in in_url(run):
        yield Hit(base + value.start, base + value.end, value.kind, _plain(value.secret), Rank.NAME)
    if depth < _MAX_DEPTH:
        plain = unescaped(run)
        for view in (*((plain,) if plain else ()), *decoded(run)):
            for hit in _all(view.data, wanted, depth + 1):
                start, end = view.origin(hit.start, hit.end)
                yield Hit(base + start, base + end, hit.kind, hit.value, hit.rank)


def with_begun(hits: list[Hit], begun: Hit | None) -> list[Hit]:
    """`hits` and one that has only begun, unless that is the beginning of one of them."""
    if begun is None or any(hit.start <= begun.start < hit.end for hit in hits):
        return hits
    return merged([*hits, begun])


def merged(hits: Iterable[Hit]) -> list[Hit]:
    """`hits` in order, those that overlap made one."""
    whole: list[Hit] = []
    for hit in sorted(hits, key=lambda hit: (hit.start, -hit.end)):
        if not whole or hit.start >= whole[-1].end:
            whole.append(hit)
            continue
        last = whole[-1]
        best = max(last, hit, key=lambda one: (one.rank, one.end - one.start, -len(one.value)))
        whole[-1] = Hit(last.start, max(last.end, hit.end), best.kind, best.value, best.rank)
    return whole


class CleanFields:
    """Says of lines that they are harmless, part by part between commas, and remembers the parts.

    Frames of one stream have most of their members in common, so those are looked at once. What `harmless` looks
    for must not have a comma in it.
    """

    __slots__ = ("_harmless", "_known")

    def __init__(self, harmless: Callable[[bytes], bool]) -> None:
        self._harmless = harmless
        self._known: set[bytes] = set()

    def __call__(self, line: bytes) -> bool:
        """Whether each part of `line` is harmless."""
        new = set(line.split(b",")).difference(self._known)
        if not all(map(self._harmless, new)):
            return False
        if len(self._known) > _MAX_CLEAN:
            self._known.clear()
        self._known.update(part for part in new if len(part) <= 128)
        return True


_MAX_CLEAN = 1024
