"""The error that a client sees, in its own dialect: as a JSON body, or as a frame in a stream that has begun.

Forms: OpenAI https://platform.openai.com/docs/guides/error-codes, OpenRouter https://openrouter.ai/docs/api-reference/errors,
Anthropic https://docs.anthropic.com/en/api/errors, Gemini https://ai.google.dev/gemini-api/docs/troubleshooting.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .dialects import Dialect
from .verdicts import Verdict, message_of, status_of

if TYPE_CHECKING:
    from .provider_error import ProviderError


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was seen of an exchange.

    Attributes:
        heartbeats: comments, pings and events without data.
        events: blocks with data, pings not counted.
        bytes: body bytes from upstream, as they came.
        seconds: from the request's end to the verdict.
        model: the model id of the request, empty if unknown.
        host: the host that was asked.
        request_id: upstream's request id, or None.
    """

    heartbeats: int = 0
    events: int = 0
    bytes: int = 0
    seconds: float = 0.0
    model: str = ""
    host: str = ""
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a client does not get the answer it asked for.

    Attributes:
        verdict: the reason.
        status: the HTTP status, 400 to 599.
        message: for a person.
        provider_error: what the provider itself said, if it did.
        excerpt: the start of a body that could not be read, or what the network said.
        details: more for the metadata.
    """

    verdict: Verdict
    status: int
    message: str
    provider_error: ProviderError | None = None
    excerpt: str = ""
    details: Mapping[str, object] = field(default_factory=dict)


def failure(verdict: Verdict, *, provider_error: ProviderError | None = None, excerpt: str = "") -> Failure:
    """The failure that goes with `verdict`; a provider's error keeps its own status and words."""
    message = message_of(verdict)
    if provider_error is None:
        return Failure(verdict, status_of(verdict), message, excerpt=excerpt)
    said = f'{message} It said: "{provider_error.message}"' if provider_error.message else message
    return Failure(verdict, provider_error.status, said, provider_error, excerpt)


def body(dialect: Dialect, failure: Failure, evidence: Evidence) -> bytes:
    """The JSON body of the error response."""
    return _json(_error(dialect, failure, evidence))


def frame(dialect: Dialect, failure: Failure, evidence: Evidence) -> bytes:
    """An error frame for a stream that has begun, such that the dialect's SDKs raise it."""
    error = _error(dialect, failure, evidence)
    match dialect:
        case Dialect.CHAT | Dialect.GEMINI:
            return b"data: " + _json(error) + b"\n\n"
        case Dialect.ANTHROPIC:
            return b"event: error\ndata: " + _json(error) + b"\n\n"
        case Dialect.RESPONSES:
            # The event as specified has no `error` object, but that is what the SDK looks for when it raises.
            inner = error["error"]
            flat = {"code": str(inner["code"]), "message": inner["message"], "param": None}
            event = {"type": "error", "sequence_number": evidence.events, **flat, **error}
            return b"event: error\ndata: " + _json(event) + b"\n\n"


def _error(dialect: Dialect, failure: Failure, evidence: Evidence) -> dict[str, Any]:
    status, message, metadata = failure.status, failure.message, _metadata(failure, evidence)
    said = failure.provider_error
    match dialect:
        case Dialect.CHAT | Dialect.RESPONSES:
            kind = (said and said.type) or _OPENAI_TYPES.get(status, "server_error" if status >= 500 else _INVALID)
            error = {"message": message, "type": kind, "param": None, "code": status, "metadata": metadata}
            return {"error": error}
        case Dialect.ANTHROPIC:
            kind = _ANTHROPIC_TYPES.get(status, "api_error" if status >= 500 else _INVALID)
            error = {"type": kind, "message": message, "metadata": metadata}
            return {"type": "error", "error": error, "request_id": evidence.request_id}
        case Dialect.GEMINI:
            kind = _GOOGLE_STATUSES.get(status, "INTERNAL" if status >= 500 else "INVALID_ARGUMENT")
            return {"error": {"code": status, "message": message, "status": kind, "metadata": metadata}}


def _metadata(failure: Failure, evidence: Evidence) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "reason": failure.verdict.value,
        "heartbeats": evidence.heartbeats,
        "events": evidence.events,
        "bytes": evidence.bytes,
        "seconds": round(evidence.seconds, 3),
        "model": evidence.model,
        "host": evidence.host,
        "request_id": evidence.request_id,
    }
    if failure.provider_error is not None:
        metadata["provider_error"] = failure.provider_error.message
        metadata["provider_code"] = failure.provider_error.code
    if failure.excerpt:
        metadata["excerpt"] = failure.excerpt
    return {**metadata, **failure.details}


def _json(value: object) -> bytes:
    # ASCII throughout: a provider's words may hold lone surrogates or line separators.
    return json.dumps(value, separators=(",", ":")).encode("ascii")


_INVALID = "invalid_request_error"

_OPENAI_TYPES = {
    401: "authentication_error",
    402: "insufficient_quota",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}

_ANTHROPIC_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}

#: https://cloud.google.com/apis/design/errors#handling_errors
_GOOGLE_STATUSES = {
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
