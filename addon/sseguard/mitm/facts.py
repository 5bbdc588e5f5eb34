"""What is known of a guarded exchange, as primitives in its flow: for the reporter, other addons, and the screens."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from mitmproxy import http

from sseguard.gate import Gate
from sseguard.redaction.redact import Redactor
from sseguard.routing.routes import printable
from sseguard.verdicts import Verdict

PREFIX = "sseguard_"

#: The most that is written down of what a provider said, in characters.
MAX_DETAIL = 200


@dataclass(frozen=True, slots=True)
class Facts:
    """One exchange in figures. Times are seconds since the request was complete.

    Attributes:
        verdict: how it ended.
        status: what the client got, or None if nothing.
        model: as asked for.
        host: that was asked.
        dialect: of the API.
        first_byte, first_answer: when they came, or None.
        heartbeats: comments, pings and events without data.
        frames: blocks with data.
        bytes: of the body, from upstream.
        seconds: until the end.
        request_id: upstream's.
        detail: what the provider or the network said, without secrets.
    """

    verdict: str
    status: int | None
    model: str
    host: str
    dialect: str
    first_byte: float | None
    first_answer: float | None
    heartbeats: int
    frames: int
    bytes: int
    seconds: float
    request_id: str | None
    detail: str


def put(flow: http.HTTPFlow, gate: Gate) -> None:
    """Write down how `gate` ended, in the flow's metadata, comment and marker."""
    verdict = gate.verdict or Verdict.CLIENT_LEFT
    facts = Facts(
        verdict=verdict.value,
        status=None if verdict is Verdict.CLIENT_LEFT or flow.response is None else flow.response.status_code,
        model=gate.call.model,
        host=gate.call.host,
        dialect=gate.call.dialect.value,
        first_byte=_rounded(gate.first_byte),
        first_answer=_rounded(gate.first_answer),
        heartbeats=gate.heartbeats,
        frames=gate.events,
        bytes=gate.size,
        seconds=_rounded(gate.ended) or 0.0,
        request_id=gate.request_id,
        detail=_without_secrets(_detail(gate), flow.request),
    )
    for name, value in asdict(facts).items():
        flow.metadata[PREFIX + name] = value
    flow.comment = f"{flow.comment} {_note(facts)}" if flow.comment else _note(facts)
    flow.marked = flow.marked or _marker(verdict)


def forget(flow: http.HTTPFlow) -> None:
    """Take back what `put` wrote down, of a flow that is sent once more."""
    if (facts := get(flow)) is None:
        return
    flow.comment = flow.comment.replace(_note(facts), "").strip()
    if flow.marked == _marker(Verdict(facts.verdict)):
        flow.marked = ""
    for field in fields(Facts):
        flow.metadata.pop(PREFIX + field.name, None)


def get(flow: http.HTTPFlow) -> Facts | None:
    """What `put` wrote down; None for a flow that was not guarded."""
    values: dict[str, Any] = {field.name: flow.metadata.get(PREFIX + field.name) for field in fields(Facts)}
    return Facts(**values) if values["verdict"] else None


def _note(facts: Facts) -> str:
    return f"sseguard: {facts.verdict}" + (f" ({printable(facts.detail, 240)})" if facts.detail else "")


def _marker(verdict: Verdict) -> str:
    if verdict.is_good:
        return ""
    return ":yellow_circle:" if verdict in (Verdict.TRUNCATED, Verdict.CLIENT_LEFT) else ":red_circle:"


def _detail(gate: Gate) -> str:
    if gate.failure is None:
        return ""
    error = gate.failure.provider_error
    return error.message if error else gate.failure.excerpt


def _without_secrets(text: str, request: http.Request) -> str:
    """What was said, shortened, but not the key that the provider complains of, not even the beginning of it."""
    if not text:
        return ""
    headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.fields)
    stream = Redactor().exchange(request.pretty_url, headers).stream()
    chunks = [*stream.feed(0.0, text.encode("utf-8", "replace")), *stream.finish()]
    return b"".join(chunk.data for chunk in chunks).decode("utf-8", "replace")[:MAX_DETAIL]


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
