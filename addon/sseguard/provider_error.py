"""What a provider says is wrong, and the HTTP status that it should have answered with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

#: Status by the start of a type or code name. The names are those of OpenAI, OpenRouter, Anthropic and Google.
_STATUS_BY_NAME = (
    ("rate_limit", 429),
    ("resource_exhausted", 429),
    ("too_many_requests", 429),
    ("overloaded", 529),
    ("insufficient_quota", 402),
    ("billing", 402),
    ("payment_required", 402),
    ("authentication", 401),
    ("invalid_api_key", 401),
    ("unauthenticated", 401),
    ("unauthorized", 401),
    ("permission", 403),
    ("forbidden", 403),
    ("not_found", 404),
    ("model_not_found", 404),
    ("invalid_request", 400),
    ("invalid_argument", 400),
    ("invalid_prompt", 400),
    ("context_length_exceeded", 400),
    ("timeout", 504),
    ("deadline_exceeded", 504),
    ("unavailable", 503),
    ("service_unavailable", 503),
    ("server_error", 500),
    ("api_error", 500),
)

UNKNOWN_STATUS = 500


@dataclass(frozen=True, slots=True)
class ProviderError:
    """An error object, read.

    Attributes:
        status: the HTTP status to answer with, 400 to 599.
        message: the provider's words, unchanged (empty when it gave none).
        type: its error type name, or None.
        code: its error code, or None.
    """

    status: int
    message: str
    type: str | None = None
    code: str | int | None = None

    @classmethod
    def read(cls, value: object) -> ProviderError:
        """Read what stood under `error`: an object in any provider's form, or just words."""
        if isinstance(value, list) and value:
            value = value[0]
        if not isinstance(value, dict):
            return cls(UNKNOWN_STATUS, "" if value is None or value is True else str(value))
        if isinstance(inner := value.get("error"), dict):
            value = {**value, **inner}
        return cls(_status(value), _message(value), _name(value.get("type")), _code(value.get("code")))


def _status(value: dict[str, Any]) -> int:
    for key in ("code", "status", "status_code"):
        if (number := _number(value.get(key))) is not None:
            return number
    for name in _names(value):
        for start, status in _STATUS_BY_NAME:
            if name.startswith(start):
                return status
    return UNKNOWN_STATUS


def _number(value: object) -> int | None:
    """`value` as an error status, if it is one (a bool is not, though Python calls it a number)."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) == 3:
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 400 <= value <= 599:
        return value
    return None


def _names(value: dict[str, Any]) -> Iterator[str]:
    """The names in an error object, the most precise first."""
    for key in ("code", "type", "status"):
        if isinstance(name := value.get(key), str):
            yield name.lower()


def _message(value: dict[str, Any]) -> str:
    for key in ("message", "detail", "msg", "error"):
        if isinstance(text := value.get(key), str) and text:
            return text
    return ""


def _name(value: object) -> str | None:
    """`value` as a type name; that an error's type is `error` says nothing."""
    return value if isinstance(value, str) and value != "error" else None


def _code(value: object) -> str | int | None:
    return value if isinstance(value, str | int) and not isinstance(value, bool) else None
