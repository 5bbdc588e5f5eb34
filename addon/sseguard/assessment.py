"""What the guard makes of a recording: the exchange again, in recorded time and without a network."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from . import endpoints
from .codings import Decoder
from .dialects import Dialect
from .gate import Call, Gate, Limits
from .matching import question
from .recording import Ending, Headers, Recording
from .verdicts import Verdict


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
    kind = header(recording.response.headers, "content-type").split(";")[0].strip().lower()
    asked = endpoints.find(urlsplit(recording.request.url).path) is not None and recording.request.method == "POST"
    return asked and 200 <= recording.response.status < 300 and kind == "text/event-stream"


def assess(recording: Recording, limits: Limits | None = None) -> Assessment:
    """Play `recording` to a gate. Raises LookupError for a content coding that is not known."""
    if not is_guarded(recording):
        return Assessment(None, recording.response.status)
    gate = Gate(_call(recording), limits or Limits(), 0.0)
    gate.opened(Decoder(header(recording.response.headers, "content-encoding")), 0.0)
    for chunk in recording.chunks:
        _tick(gate, chunk.at)
        gate.feed(chunk.data, chunk.at)
    _tick(gate, recording.ended)
    match recording.end:
        case Ending.EOF:
            gate.end(recording.ended)
        case Ending.CUT:
            gate.cut("the connection broke", recording.ended)
        case Ending.CLIENT_LEFT:
            gate.left(recording.ended)
    failure = gate.failure
    told_in_status = failure is not None and not gate.released
    status = failure.status if failure is not None and told_in_status else recording.response.status
    return Assessment(gate.verdict, status, failure.message if failure else "")


def header(headers: Headers, name: str) -> str:
    """The value of a header, empty if it is not there; several joined as RFC 9110 section 5.3 has it."""
    return ", ".join(value for key, value in headers if key.lower() == name)


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


def _tick(gate: Gate, now: float) -> None:
    """Let every deadline up to `now` come."""
    while gate.deadline is not None and gate.deadline <= now:
        gate.tick(gate.deadline)
