"""A recording while it happens: what came from upstream, line by line, without secrets.

A compressed body is decoded, freed of secrets, and coded again the same way, flushed chunk by chunk: its coding and its
chunk boundaries stay, its compressed bytes need not. What cannot be decoded is replaced by filler of the same length,
which cannot be decoded either.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from . import recording, redact
from .codings import CodingError, Decoder, Encoder, decode
from .recording import Chunk, Ending, Headers, RecordedRequest, RecordedResponse

#: The largest request body that is kept, in bytes.
MAX_BODY = 64 << 20


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
    """

    def __init__(self, redactor: redact.Redactor, request: Request, response: RecordedResponse, recorded: str) -> None:
        #: The kinds of what still looked like a key when it was to be written, and was refused.
        self.refused: list[str] = []
        self._redactor = redactor
        self._exchange = redactor.exchange(request.url, request.headers)
        headers = self._exchange.response_headers(response.headers)
        self._request = RecordedRequest(
            request.method, self._exchange.url, self._exchange.headers, self._checked_body(request)
        )
        self._response = RecordedResponse(response.status, headers)
        self._recorded = recorded
        self._stream = self._exchange.stream()
        coding = _header(response.headers, "content-encoding")
        try:
            self._decoder, self._encoder = Decoder(coding), Encoder(coding)
            self._readable = True
        except LookupError:
            self._readable = False

    def begin(self) -> str:
        """The first line."""
        return recording.header_line(self._request, self._response, self._recorded)

    def chunk(self, at: float, data: bytes) -> str:
        """What can be written now that `data` has come, `at` seconds after the response headers."""
        if not self._readable:
            return recording.chunk_line(at, _filler(data))
        try:
            text = self._decoder.feed(data)
        except CodingError:
            self._readable = False
            return self._lines(self._stream.finish()) + recording.chunk_line(at, _filler(data))
        return self._lines(self._stream.feed(at, text))

    def end(self, at: float, ending: Ending) -> str:
        """The rest, when nothing more comes."""
        lines = ""
        if self._readable:
            lines = self._lines(self._stream.finish())
        return lines + recording.end_line(at, ending)

    def _lines(self, chunks: Iterable[Chunk]) -> str:
        return "".join(
            recording.chunk_line(chunk.at, self._encoder.feed(self._checked(chunk.data))) for chunk in chunks
        )

    def _checked(self, data: bytes) -> bytes:
        """`data`, or a placeholder for all of it if there is still something like a key in it."""
        finding = self._exchange.last_scan(data)
        if finding is None:
            return data
        self.refused.append(finding.kind)
        return self._redactor.placeholder(finding.kind, data)

    def _checked_body(self, request: Request) -> object:
        try:
            data = decode(_header(request.headers, "content-encoding"), request.body, MAX_BODY)
        except (LookupError, CodingError):
            return f"<{len(request.body)} bytes that cannot be read>"
        if not data:
            return None
        safe = self._checked(self._exchange.body(data))
        try:
            return json.loads(safe)
        except (ValueError, RecursionError):
            return safe.decode("utf-8", "replace")


def _header(headers: Headers, name: str) -> str:
    return ", ".join(value for key, value in headers if key.lower() == name)


def _filler(data: bytes) -> bytes:
    return b"?" * len(data)
