"""What the guard makes of a recording: the exchange again, in recorded time and without a network."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from sseguard import endpoints, errors
from sseguard.codings import CodingError, Decoder
from sseguard.dialects import Dialect
from sseguard.error_headers import error_headers, request_id
from sseguard.gate import Abort, Action, Call, End, Gate, Limits, Refuse, Relay
from sseguard.verdicts import Verdict

from .matching import question
from .recording import Chunk, Ending, Headers, RecordedResponse, Recording

_EOF = Ending.EOF


@dataclass(frozen=True, slots=True)
class Assessment:
    """The outcome of a recorded exchange.

    Attributes:
        verdict: of the guard, or None if it does not guard such an exchange.
        status: what the client gets.
        message: what it is told, empty if nothing.
    """

    verdict: Verdict | None
    status: int
    message: str = ""


def dialect_of(recording: Recording) -> Dialect:
    """The dialect of the endpoint that was asked; that of chat completions for one that is not known."""
    endpoint = endpoints.find(urlsplit(recording.request.url).path)
    return endpoint.dialect if endpoint else Dialect.CHAT


def is_guarded(recording: Recording) -> bool:
    """Whether the guard watches over such an exchange: an event stream, answered 2xx, from a generation endpoint."""
    kind = re.split(r"[;,\s]", header(recording.response.headers, "content-type").strip(), maxsplit=1)[0].lower()
    asked = endpoints.find(urlsplit(recording.request.url).path) is not None and recording.request.method == "POST"
    return asked and 200 <= recording.response.status < 300 and kind == "text/event-stream"


def assess(recording: Recording, limits: Limits | None = None) -> Assessment:
    """What the guard makes of `recording`. Raises LookupError for a content coding that is not known."""
    if not is_guarded(recording):
        return Assessment(None, recording.response.status)
    gate = _gate(recording, limits)
    for _ in _play(recording, gate):
        pass
    told_by_status = gate.failure is not None and not gate.released
    status = gate.failure.status if gate.failure is not None and told_by_status else recording.response.status
    return Assessment(gate.verdict, status, gate.failure.message if gate.failure else "")


def guarded(recording: Recording, limits: Limits | None = None) -> Recording:
    """What a client of the guard gets of `recording`, as a recording. Raises LookupError as `assess` does."""
    if not is_guarded(recording):
        return recording
    gate = _gate(recording, limits)
    response, chunks, end, ended = recording.response, [], recording.end, recording.ended
    for at, action in _play(recording, gate):
        match action:
            case Relay(data):
                chunks.append(Chunk(at, data))
            case Refuse(failure):
                headers = tuple(error_headers(failure, response.headers))
                body = errors.body(gate.call.dialect, failure, gate.evidence(at))
                # The headers were held until now, so the answer is there at once when it comes.
                response, chunks, end, ended = RecordedResponse(failure.status, headers), [Chunk(0.0, body)], _EOF, 0.0
            case End(data):
                chunks += [Chunk(at, data)] if data else []
                end, ended = _EOF, at
            case Abort():
                end, ended = Ending.CUT, at
    return replace(recording, response=response, chunks=tuple(chunks), end=end, ended=ended)


def _gate(recording: Recording, limits: Limits | None) -> Gate:
    gate = Gate(_call(recording), limits or Limits(), 0.0)
    headers = recording.response.headers
    gate.opened(Decoder(header(headers, "content-encoding")), 0.0, request_id=request_id(headers))
    return gate


def _play(recording: Recording, gate: Gate) -> Iterator[tuple[float, Action]]:
    """Let happen to `gate` what happened to the recording, with every deadline in between."""
    for chunk in recording.chunks:
        yield from _tick(gate, chunk.at)
        yield from ((chunk.at, action) for action in gate.feed(chunk.data, chunk.at))
    yield from _tick(gate, recording.ended)
    match recording.end:
        case Ending.EOF:
            last = gate.end(recording.ended)
        case Ending.CUT:
            last = gate.cut("the connection broke", recording.ended)
        case Ending.CLIENT_LEFT:
            last = []
            gate.left(recording.ended)
    yield from ((recording.ended, action) for action in last)


def _tick(gate: Gate, now: float) -> Iterator[tuple[float, Action]]:
    """Let every deadline up to `now` come."""
    while (due := gate.deadline) is not None and due <= now:
        yield from ((due, action) for action in gate.tick(due))


def header(headers: Headers, name: str) -> str:
    """The value of a header, empty if it is not there; several joined as RFC 9110 section 5.3 has it."""
    return ", ".join(value for key, value in headers if key.lower() == name)


def decoded(recording: Recording) -> Iterator[Chunk]:
    """The chunks of the response without its content coding; as they are from where on they cannot be decoded."""
    try:
        decoder: Decoder | None = Decoder(header(recording.response.headers, "content-encoding"))
    except LookupError:
        decoder = None
    for chunk in recording.chunks:
        try:
            yield Chunk(chunk.at, decoder.feed(chunk.data)) if decoder else chunk
        except CodingError:
            decoder = None
            yield chunk


def model_of(recording: Recording) -> str:
    """The model that was asked for, empty if none was."""
    model = question(recording.request.method, recording.request.url, recording.request.body).model
    return model if isinstance(model, str) else ""


def _call(recording: Recording) -> Call:
    body = recording.request.body
    count = body.get("n") if isinstance(body, dict) else None
    choices = count if isinstance(count, int) and not isinstance(count, bool) and count > 0 else 1
    host = urlsplit(recording.request.url).hostname or ""
    return Call(dialect_of(recording), model=model_of(recording), host=host, choices=choices)
