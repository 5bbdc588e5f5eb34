"""Values that a name announces: `"password": "…"`, `API_KEY=…`, `?key=…`, `Authorization: Bearer …`, `://u:p@`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from .secret_patterns import named, parameter_kind, random_looking


class Value(NamedTuple):
    """The range of a value in some bytes, the kind of secret its name says it is, and what is secret about it."""

    start: int
    end: int
    kind: str
    secret: bytes


#: Every name that `named` knows has one of these in it, in any case.
STEMS = (b"key", b"token", b"secret", b"passw", b"passp", b"pwd", b"auth", b"credential", b"cookie")

#: One search for them all, and for a scheme, in lower-case bytes.
ANNOUNCES = re.compile(b"|".join((*STEMS, b"bearer")))

#: Words that stand before the value proper (https://www.iana.org/assignments/http-authschemes, and common ones).
SCHEME = re.compile(
    rb"(?i:bearer|basic|digest|token|negotiate|ntlm|dpop|hawk|oauth|ssws|apikey|api-key|key|aws4-hmac-sha256)"
    rb"(?:\s|%20|\+){1,4}"
)
_NAME_BYTES = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-"
_NAME_REST = re.compile(rb"[\w.-]{0,40}")
_BETWEEN = re.compile(rb"(\\{0,7}[\"'])?\]?\s{0,8}(?:=>|[:=])\s{0,8}")
_QUOTE = re.compile(rb"(\\{0,7})([\"'])")
_BARE = re.compile(rb"[^\s\"'\\,;&<>{}()\[\]]{8,512}")
_WORDS = re.compile(rb"[^\s\"'\\,:{}\[\]]{4,4096}")
_SINGLE = re.compile(rb"[^'\"\\\n]{1,1024}")
# In a JSON string inside JSON, quotes wear a backslash, three one level deeper. More of them are part of the value.
_DOUBLE = {0: re.compile(rb'(?:[^"\\]|\\.){1,8192}', re.DOTALL)} | {
    depth: re.compile(rb'(?:[^"\\]|\\+[^"\\]|\\{%d,}"){1,8192}' % (depth + 1)) for depth in (1, 3, 7)
}
_BEARER = re.compile(rb"(?i:bearer)(?:\s|%20|\+){1,4}([\w.~+/=-]{8,4096})")


def announced(data: bytes) -> Iterator[Value]:
    """The values in `data` that follow a name of a secret and a `:` or `=`."""
    lower = data.lower()
    if len(data) < 4096 and not ANNOUNCES.search(lower):
        return
    for stem in STEMS:
        at = lower.find(stem)
        while at >= 0:
            value = _announced_at(data, lower, at)
            if value:
                yield value
            at = lower.find(stem, max(at + len(stem), value.end if value else 0))
    if b"bearer" in lower:
        for found in _BEARER.finditer(data):
            if random_looking(found[1]):
                yield Value(*found.span(1), "authorization", found[1])


def _announced_at(data: bytes, lower: bytes, at: int) -> Value | None:
    rest = _NAME_REST.match(data, at)
    between = _BETWEEN.match(data, rest.end()) if rest else None
    if not rest or not between:
        return None
    meaning = named(name_around(lower, at))
    if meaning is None:
        return None
    value, quoted = _value(data, between, limit=16384 if meaning.sure else 512)
    if value is None:
        return None
    scheme = SCHEME.match(data, value[0], value[1])
    start = scheme.end() if scheme else value[0]
    text = data[start : value[1]]
    enough = bool(text) if quoted and meaning.sure else len(text) >= (12 if quoted else 8) and random_looking(text)
    return Value(start, value[1], meaning.kind, text) if enough else None


def name_around(lower: bytes, at: int) -> str:
    """The name of which a stem was found `at` some place in lower-case bytes; 40 bytes to either side at most."""
    before = lower[max(0, at - 40) : at]
    start = at - len(before) + len(before.rstrip(_NAME_BYTES))
    if lower[max(0, start - 4) : start] == b"api ":
        start -= 4
    rest = _NAME_REST.match(lower, at)
    return lower[start : rest.end() if rest else at].decode("latin-1")


def _value(data: bytes, between: re.Match[bytes], *, limit: int) -> tuple[tuple[int, int] | None, bool]:
    at = between.end()
    quote = _QUOTE.match(data, at)
    if quote is None:
        if between[1]:
            return None, False
        scheme = SCHEME.match(data, at)
        bare = _BARE.match(data, scheme.end() if scheme else at)
        return (bare.span() if bare else None), False
    # A quote that ends a JSON string is not the one that begins a value: `"text": "your password: ", "id": …`
    ends_text = quote[0] == b'"' and not data[quote.end() : quote.end() + 1].isalnum()
    if quote[0] != between[1] if between[1] else ends_text:
        return None, False
    pattern = _SINGLE if quote[2] == b"'" else _DOUBLE.get(len(quote[1]), _WORDS)
    found = pattern.match(data, quote.end(), quote.end() + limit)
    return (found.span() if found else None), True


_PARAMETER = re.compile(rb"(^|[?&;#])([\w.\-\[\]]{1,40})=([^&#\s\"'<>\\;]+)")
_USERINFO = re.compile(rb"://([^\s/@\"'<>\\?#]{1,512})@")


def in_url(run: bytes) -> Iterator[Value]:
    """The values in a URL, or a piece of one, that are secrets: parameters by their name, and user information."""
    for found in _PARAMETER.finditer(run) if b"=" in run.rstrip(b"=") else ():
        kind = _kind(found)
        if kind:
            yield Value(*found.span(3), kind, found[3])
    for found in _USERINFO.finditer(run) if b"@" in run else ():
        user, colon, password = found[1].partition(b":")
        if colon or random_looking(user):
            yield Value(*found.span(1), "userinfo", password or user)


def _kind(parameter: re.Match[bytes]) -> str | None:
    name = parameter[2].decode("ascii")
    if parameter[1]:
        return parameter_kind(name)
    # At the start there is no sign of a URL, and `key=itemgetter` is code.
    meaning = named(name)
    return meaning.kind if meaning and (meaning.sure or random_looking(parameter[3])) else None
