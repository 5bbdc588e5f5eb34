"""What the player sends and gets, as values: the headers that hold for a replay, JSON answers of its own, requests."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any

from .recording import Chunk, Ending, Headers, RecordedRequest, RecordedResponse, Recording

# RFC 9110, section 7.6.1: they belong to one connection, and the recorded one is gone.
_HOP_BY_HOP = frozenset({"connection", "keep-alive", "proxy-connection", "trailer", "transfer-encoding", "upgrade"})


@dataclass(frozen=True, slots=True)
class Received:
    """A request as the player got it. `path` is the request target, query included; headers are read as Latin-1."""

    method: str
    path: str
    headers: Headers
    body: bytes

    @property
    def json(self) -> Any:
        """The body as in `RecordedRequest`: a JSON value, a `str` when it is not JSON, `None` when there is none."""
        if not self.body:
            return None
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return self.body.decode("utf-8", "replace")


def response_headers(recording: Recording, method: str) -> list[tuple[bytes, bytes]]:
    """The recorded headers without the framing that cannot hold; h11 adds what is missing, chunked where it can be.

    A recorded `content-length` stays where it is true, and where it promises more than a stream that broke brought:
    the client is to see that it came short. Without any framing, an answer that ended with its headers gets
    `content-length: 0`.
    """
    lengths = {value.strip() for name, value in recording.response.headers if name.lower() == "content-length"}
    keeps = method == "HEAD" or _length_holds(recording, lengths)
    dropped = _HOP_BY_HOP if keeps else _HOP_BY_HOP | {"content-length"}
    headers = [
        (name.encode("ascii"), _header_bytes(value.strip(" \t")))
        for name, value in recording.response.headers
        if name.lower() not in dropped
    ]
    if not lengths and _ended_with_headers(recording):
        headers.append((b"content-length", b"0"))
    return headers


def _header_bytes(value: str) -> bytes:
    """Back to the recorded bytes, each of them one character; UTF-8 for what only a person can have written."""
    try:
        return value.encode("latin-1")
    except UnicodeEncodeError:
        return value.encode("utf-8", "replace")


def _length_holds(recording: Recording, lengths: set[str]) -> bool:
    if len(lengths) != 1 or not (text := min(lengths)).isdecimal() or not text.isascii() or len(text) > 18:
        return False
    sent = sum(len(chunk.data) for chunk in recording.chunks)
    return int(text) == sent if recording.end is Ending.EOF else int(text) >= sent


def _ended_with_headers(recording: Recording) -> bool:
    chunked = any(name.lower() == "transfer-encoding" for name, _ in recording.response.headers)
    at_once = recording.end is Ending.EOF and not recording.chunks and recording.ended == 0
    return at_once and not chunked


def without_body(recording: Recording) -> Recording:
    """For HEAD, 204 and 304, which end with their headers (RFC 9112, section 6.3)."""
    return replace(recording, chunks=(), end=Ending.EOF, ended=0.0)


def refusal(status: int, kind: str, message: str) -> Recording:
    """An error of the player's own, in the form that the OpenAI SDKs and most others read a message from."""
    return json_answer(status, {"error": {"message": message, "type": kind, "param": None, "code": status}})


def json_answer(status: int, value: object) -> Recording:
    """A complete JSON response, as a recording like any other."""
    body = json.dumps(value).encode("ascii")
    headers = (("content-type", "application/json"), ("content-length", str(len(body))))
    request = RecordedRequest("POST", "/", (), None)
    return Recording(request, RecordedResponse(status, headers), (Chunk(0.0, body),), Ending.EOF, 0.0, "")


def reason_phrase(status: int) -> str:
    """The words that go with a status, empty if there are none (RFC 9112 section 4)."""
    # Anthropic's 529 is in no registry.
    return "Overloaded" if status == 529 else _PHRASES.get(status, "")


_PHRASES = {status.value: status.phrase for status in HTTPStatus}
