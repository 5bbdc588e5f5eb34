"""No secrets on disk: what a recorder writes goes through here first.

    redactor = Redactor(compile_patterns(options), key)     # one for the proxy's run
    exchange = redactor.exchange(url, headers)              # one per request: learns what the client sent
    exchange.url, exchange.headers, exchange.body(data)     # may be written
    exchange.response_headers(headers)
    stream = exchange.stream()                              # then feed(at, data) and finish()
    exchange.last_scan(line)                                # refuse what still looks like a key

A secret becomes `<redacted:openrouter-key:1>`: its kind, and a number by first appearance in this run of the
proxy. The same secret gets the same placeholder wherever it stands and however it is encoded. Redacting what is
redacted already changes nothing.

What a header, or the URL, says is a secret is looked for by its value in all else of that exchange, if it is
long enough not to be a word. Nothing here is a proof: a secret without a known shape, name or earlier appearance
looks like any other text.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from sseguard.recordings.recording import Headers

from .redact_stream import StreamRedactor, finds_nothing
from .secret_fields import SCHEME
from .secret_patterns import PLACEHOLDER, header_kind
from .secret_scan import NOTHING, CleanFields, Hit, Rank, Wanted, find, needles

#: Secrets that are remembered by number; beyond it the oldest would get a new number.
MAX_NUMBERED = 65536


class Redactor:
    """Numbers the secrets of one run of the proxy. Not for several threads at once."""

    def __init__(self, patterns: Iterable[re.Pattern[bytes]] = (), key: bytes = b"") -> None:
        """Begin without any secret.

        Args:
            patterns: of the user's, as from `compile_patterns`.
            key: up to 64 random bytes; digests under it are remembered instead of the secrets.
        """
        self._patterns = tuple(patterns)
        self._key = key
        self._places: dict[bytes, bytes] = {}
        self._counts: dict[str, int] = {}
        # Streams have much in common: what is harmless in one is so in all.
        self.no_key = CleanFields(_has_no_key)
        self.no_secret = CleanFields(finds_nothing)

    def exchange(self, url: str, headers: Headers) -> Exchange:
        """Begin an exchange with the request's URL and headers."""
        return Exchange(self, self._patterns, url, headers)

    def placeholder(self, kind: str, value: bytes) -> bytes:
        """The placeholder of a secret, the same for the same `value` whatever its `kind` is this time."""
        digest = hashlib.blake2b(value, digest_size=16, key=self._key).digest()
        place = self._places.get(digest)
        if place is None:
            number = self._counts[kind] = self._counts.get(kind, 0) + 1
            place = self._places[digest] = f"<redacted:{kind}:{number}>".encode("ascii")
            if len(self._places) > MAX_NUMBERED:
                del self._places[next(iter(self._places))]
        return place


class Exchange:
    """One request and its response. What the one says is secret is taken out of the other too.

    Attributes:
        url: the request's URL, redacted.
        headers: the request's headers, redacted.
    """

    def __init__(self, redactor: Redactor, patterns: tuple[re.Pattern[bytes], ...], url: str, headers: Headers) -> None:
        self._redactor = redactor
        self._known: dict[bytes, str] = {}
        self._wanted = Wanted(user=patterns)
        for hit in find(_encoded(url)):
            self._learn(hit.value, hit.kind)
        self.headers: Headers = self._headers(headers)
        self.url: str = self.text(url)

    def response_headers(self, headers: Headers) -> Headers:
        """The response's headers, redacted; cookies that they set are known from here on."""
        return self._headers(headers)

    def body(self, data: bytes) -> bytes:
        """A whole body without its secrets. JSON stays JSON, and its shape stays. No compressed bytes, please."""
        hits = find(data, self._wanted)
        parts, done = [], 0
        for hit in hits:
            parts += [data[done : hit.start], self._place(hit)]
            done = hit.end
        return b"".join([*parts, data[done:]]) if hits else data

    def text(self, text: str) -> str:
        """`body` for a string."""
        return _decoded(self.body(_encoded(text)))

    def stream(self) -> StreamRedactor:
        """For the response's chunks; call it after `response_headers`."""
        return StreamRedactor(self._wanted, self._place, self._redactor.no_secret)

    def last_scan(self, text: str | bytes) -> Finding | None:
        """What in `text`, about to be written, looks like a key or is known to be a secret, if anything does."""
        data = _encoded(text) if isinstance(text, str) else text
        known = any(needle.form in data for needle in self._wanted.needles)
        if not known and b"-----BEGIN" not in data and self._redactor.no_key(data):
            return None
        return looks_secret(data, self._wanted)

    def _place(self, hit: Hit) -> bytes:
        return self._redactor.placeholder(hit.kind, hit.value)

    def _learn(self, value: bytes, kind: str) -> None:
        long_enough = len(value) >= 12 or (len(value) >= 8 and re.search(rb"\d", value))
        if long_enough and value not in self._known and len(self._known) < MAX_KNOWN:
            self._known[value] = kind
            self._wanted = Wanted((*self._wanted.needles, *needles(value, kind)), self._wanted.user)

    def _headers(self, headers: Headers) -> Headers:
        # Twice: a value in the first header may be named only by the last.
        secret = tuple((name, self._header(name, value)) for name, value in headers)
        return tuple((name, self.text(value)) for name, value in secret)

    def _header(self, name: str, value: str) -> str:
        kind = header_kind(name)
        data = _encoded(value)
        if kind is None:
            return value
        if kind == "cookie":
            done = self._cookies(data, first_only=name.lower() == "set-cookie")
        else:
            scheme = SCHEME.match(data)
            start = scheme.end() if scheme else 0
            basic = data[:start].strip().lower() == b"basic"
            done = data[:start] + self._secret(data[start:], kind, basic=basic)
        return _decoded(done)

    def _cookies(self, data: bytes, *, first_only: bool) -> bytes:
        cookies, semicolon, attributes = data.partition(b";") if first_only else (data, b"", b"")
        done = []
        for cookie in cookies.split(b";"):
            name, equals, value = cookie.partition(b"=")
            done.append(name + equals + self._secret(value, "cookie") if equals else self._secret(name, "cookie"))
        return b";".join(done) + semicolon + attributes

    def _secret(self, value: bytes, kind: str, *, basic: bool = False) -> bytes:
        """The placeholder for a header's value; a key or a password inside it is what counts."""
        if not value.strip() or PLACEHOLDER.fullmatch(value):
            return value
        inside = _password(value) if basic else value
        for hit in find(value):
            if hit.rank is Rank.KEY:
                inside, kind = hit.value, hit.kind
        if kind != "account-id":
            self._learn(inside, kind)
            self._learn(value, kind)
        return self._redactor.placeholder(kind, inside)


#: Secrets of one exchange that are looked for by value.
MAX_KNOWN = 64


def _password(credentials: bytes) -> bytes:
    """What is secret in Basic credentials (RFC 7617): the password, or the user where there is none."""
    try:
        user, _, password = base64.b64decode(credentials).partition(b":")
    except binascii.Error:
        return credentials
    return password or user or credentials


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that looks like a secret: its kind, and its range in bytes (of the UTF-8 form, for a string).

    The secret itself is left out, so that a finding may be logged.
    """

    kind: str
    start: int
    end: int


def looks_secret(text: str | bytes, wanted: Wanted = NOTHING) -> Finding | None:
    """The first key in `text`, plain or encoded, or None. Placeholders are no keys.

    Only what has a key's shape counts, or is in `wanted`: not what merely has a name that says so.
    """
    for hit in find(_encoded(text) if isinstance(text, str) else text, wanted):
        if hit.rank >= Rank.KEY:
            return Finding(hit.kind, hit.start, hit.end)
    return None


def _has_no_key(part: bytes) -> bool:
    return looks_secret(part) is None


def _encoded(text: str) -> bytes:
    # Headers and hand-edited recordings may hold lone surrogates.
    return text.encode("utf-8", "surrogatepass")


def _decoded(data: bytes) -> str:
    try:
        return data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:  # a pattern of the user's cut a character in two
        return data.decode("utf-8", "replace")
