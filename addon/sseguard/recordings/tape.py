"""A recording while it happens: what came from upstream, line by line, without secrets.

A compressed body is decoded, freed of secrets, and coded again the same way, flushed chunk by chunk and ended in the
chunk that ended it: its coding and its chunk boundaries stay, its compressed bytes need not. (Brotli and zstd have no
bytes for a chunk that decodes to nothing: it stays as an empty one.) What cannot be decoded is replaced by filler of
the same length, which cannot be decoded either.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from sseguard.codings import CodingError, Decoder, Encoder, decode
from sseguard.redaction import redact
from sseguard.redaction.filler import StreamFiller, fill_body

from . import recording
from .matching import question
from .recording import Chunk, Ending, Headers, RecordedRequest, RecordedResponse

#: The largest request body that is kept, in bytes.
MAX_BODY = 64 << 20

#: How deeply a request body may be nested to be kept as JSON. Python reads some 900 levels, on a stack that is empty.
MAX_DEPTH = 200

_NESTING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|([\[{])|[\]}]', re.DOTALL)

#: JSON's escapes of what a key may be made of, and what UTF-16 has between its letters. Written anew, they are gone.
_ESCAPES = re.compile(rb"\\u00[2-7]|\\/|\0")

#: In a header's value, or a URL, HTTP cannot carry these, and no recording with them can be loaded.
_UNSENDABLE = re.compile(r"[\r\n\0\v\f]")


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it was sent. `body` is still in the content coding that `headers` name."""

    method: str
    url: str
    headers: Headers
    body: bytes


class Tape:
    """The lines of one recording.

    Args:
        redactor: of the whole run, so that equal secrets get equal placeholders.
        request: what was asked.
        response: how upstream began to answer.
        recorded: when, as an ISO 8601 time.
        keep_text: keep prompt and answer; if not, filler of the same length stands for them.
    """

    def __init__(
        self,
        redactor: redact.Redactor,
        request: Request,
        response: RecordedResponse,
        recorded: str,
        *,
        keep_text: bool = True,
    ) -> None:
        #: The kinds of what still looked like a key when it was to be written, and was refused.
        self.refused: list[str] = []
        self._redactor = redactor
        self._filler = None if keep_text else StreamFiller()
        self._exchange = redactor.exchange(request.url, request.headers)
        headers = self._exchange.response_headers(response.headers)
        url, body = self._checked_text(self._exchange.url), self._checked_body(request)
        self._request = RecordedRequest(request.method, url, self._checked_headers(self._exchange.headers), body)
        self._response = RecordedResponse(response.status, self._checked_headers(headers))
        self._recorded = recorded
        self._stream = self._exchange.stream()
        try:
            self._recoder: _Recoder | None = _Recoder(_header(response.headers, "content-encoding"))
        except LookupError:
            self._recoder = None

    @property
    def host(self) -> str:
        """The host that was asked, without secrets."""
        return urlsplit(self._request.url).hostname or ""

    @property
    def model(self) -> str:
        """The model that was asked for, without secrets; empty if none was."""
        model = question(self._request.method, self._request.url, self._request.body).model
        return model if isinstance(model, str) else ""

    def begin(self) -> str:
        """The first line."""
        return recording.header_line(self._request, self._response, self._recorded)

    def chunk(self, at: float, data: bytes) -> str:
        """What can be written now that `data` has come, `at` seconds after the response headers."""
        if self._recoder is None:
            return recording.chunk_line(at, _filler(data))
        try:
            text = self._recoder.decode(data)
        except CodingError:
            held = self._lines(self._recoder, self._stream.finish())
            self._recoder = None
            return held + recording.chunk_line(at, _filler(data))
        return self._lines(self._recoder, self._stream.feed(at, text))

    def end(self, at: float, ending: Ending) -> str:
        """The rest, when nothing more comes."""
        lines = self._lines(self._recoder, self._stream.finish()) if self._recoder else ""
        return lines + recording.end_line(at, ending)

    def _lines(self, recoder: _Recoder, chunks: Iterable[Chunk]) -> str:
        return "".join(recording.chunk_line(chunk.at, recoder.encode(self._safe(chunk.data))) for chunk in chunks)

    def _safe(self, data: bytes) -> bytes:
        return self._checked(self._filler.feed(data) if self._filler else data)

    def _checked(self, data: bytes) -> bytes:
        """`data`, or a placeholder for all of it if there is still something like a key in it."""
        finding = self._exchange.last_scan(data)
        if finding is None:
            return data
        self.refused.append(finding.kind)
        return self._redactor.placeholder(finding.kind, data)

    def _checked_text(self, text: str) -> str:
        checked = self._checked(text.encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")
        return _UNSENDABLE.sub(" ", checked)

    def _checked_headers(self, headers: Headers) -> Headers:
        return tuple((name, self._checked_text(value)) for name, value in headers)

    def _checked_body(self, request: Request) -> object:
        try:
            data = decode(_header(request.headers, "content-encoding"), request.body, MAX_BODY)
        except (LookupError, CodingError):
            return f"<{len(request.body)} bytes that cannot be read>"
        if not data:
            return None
        if _ESCAPES.search(data):
            data = _written_plainly(data)
        free = self._exchange.body(data)
        safe = self._checked(fill_body(free) if self._filler else free)
        value = _json(safe)
        return safe.decode("utf-8", "replace") if value is None else value


class _Recoder:
    """Decodes a body step by step, and codes what became of it. Raises LookupError as `Decoder` does."""

    __slots__ = ("_coding", "_decoded", "_decoder", "_encoded", "_encoder", "_over", "_whole")

    def __init__(self, coding: str) -> None:
        self._coding = coding
        self._decoder, self._encoder = Decoder(coding), Encoder(coding)
        self._decoded = self._encoded = 0  # steps
        self._whole = 0  # after how many steps the coded body was complete
        self._over = False

    def decode(self, data: bytes) -> bytes:
        """Raises CodingError."""
        text = self._decoder.feed(data)
        self._decoded += 1
        if self._decoder.is_whole and data:
            self._whole = self._decoded
        return text

    def encode(self, data: bytes) -> bytes:
        """To be called once for each step that was decoded, in order; it may be steps behind."""
        self._encoded += 1
        if self._over:
            if not data:  # padding
                return b""
            self._encoder, self._over = Encoder(self._coding), False
        self._over = self._encoded == self._whole
        return self._encoder.feed(data) + (self._encoder.finish() if self._over else b"")


def _json(data: bytes) -> object:
    """The value that `data` is in JSON; None if it is none, or one that could not be read everywhere."""
    if not _is_flat(data):
        return None
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _is_flat(data: bytes) -> bool:
    if data.count(b"[") + data.count(b"{") <= MAX_DEPTH:
        return True
    depth = 0
    for token in _NESTING.finditer(data):
        if token[0][:1] != b'"':
            depth += 1 if token[1] else -1
        if depth > MAX_DEPTH:
            return False
    return True


def _written_plainly(data: bytes) -> bytes:
    """JSON as it will be written, so that a key behind escapes is seen; what is not JSON as it is."""
    value = _json(data)
    return data if value is None else json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


def _header(headers: Headers, name: str) -> str:
    return ", ".join(value for key, value in headers if key.lower() == name)


def _filler(data: bytes) -> bytes:
    return b"?" * len(data)
